//! `W + s·B·A`, any run of elements at a time.

use std::fmt;
use std::ops::Range;

use crate::device::Chunk;
use crate::device::cpu::Cpu;

/// How the matrix that is changed is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// A row for each output, as linear layers are: `B·A` lies as it is.
    OutIn,
    /// A row for each input, as embeddings and the Conv1D of GPT-2 are: `B·A` is transposed.
    InOut,
}

/// What becomes of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing more.
    Lora,
    /// Every output's weights are brought to a trained length `m`.
    Dora,
}

/// An update of one matrix: `W + s·B·A` with `A: [rank, in]` and `B: [out, rank]`, or of [`Kind::Dora`].
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// Whether there are lengths.
    pub kind: Kind,
    /// Rows of the matrix, as it is stored.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// Columns of `B` and rows of `A`.
    pub rank: usize,
    /// `s`.
    pub scale: f32,
    /// Which side of the matrix the outputs are on.
    pub orientation: Orientation,
}

/// What an update keeps in memory while a tensor is read: the factor whose rows are combined, `rank · columns`
/// elements, and for DoRA a number for each output. The other factor is read where it is mapped.
#[derive(Debug)]
pub struct Factors<'a> {
    update: &'a LowRank,
    left: Chunk<'a>,
    /// `[rank, columns]`.
    right: Vec<f32>,
    /// What an output's weights are multiplied by; empty without lengths.
    lengths: Vec<f32>,
}

impl LowRank {
    /// Bytes that [`Factors`] keeps, and a worker needs beside them.
    pub fn memory(&self) -> usize {
        let outputs = if self.kind == Kind::Dora { self.outputs() } else { 0 };
        ((self.rank + 2) * self.columns + self.rank + 4 * outputs) * 4
    }

    fn outputs(&self) -> usize {
        match self.orientation {
            Orientation::OutIn => self.rows,
            Orientation::InOut => self.columns,
        }
    }

    /// Loads the factors: `A`, `B`, and `m` of a DoRA, as they are stored. `below` gives elements of the matrix
    /// that is changed; for DoRA all of it is read once, row after row, for as long as `go_on` says so.
    ///
    /// # Errors
    /// Those of `below`.
    pub fn open<'a, E>(
        &'a self,
        [a, b, m]: [Chunk<'a>; 3],
        cpu: &Cpu,
        mut below: impl FnMut(Range<usize>, &mut [f32]) -> Result<(), E>,
        go_on: impl Fn() -> bool,
    ) -> Result<Factors<'a>, E> {
        let widened = |x: Chunk<'_>| {
            let mut values = vec![0.0; x.len()];
            cpu.widen(x, &mut values);
            values
        };
        let (left, right) = match self.orientation {
            Orientation::OutIn => (b, widened(a)),
            Orientation::InOut => (a, transposed(&widened(b), self.columns, self.rank)),
        };
        let mut factors = Factors { update: self, left, right, lengths: Vec::new() };
        if self.kind == Kind::Dora {
            let mut squares = vec![0.0; self.outputs()];
            let (mut row, mut room) = (vec![0.0; self.columns], Vec::new());
            for at in (0..self.rows).take_while(|_| go_on()) {
                let elements = at * self.columns..(at + 1) * self.columns;
                below(elements.clone(), &mut row)?;
                factors.add(cpu, elements, &mut row, &mut room);
                match self.orientation {
                    Orientation::OutIn => squares[at] = cpu.squares(&row),
                    Orientation::InOut => cpu.add_squares(&row, &mut squares),
                }
            }
            let wanted = widened(m);
            factors.lengths = wanted.iter().zip(squares).map(|(m, x)| m / (f64::sqrt(x) as f32)).collect();
        }
        Ok(factors)
    }
}

impl Factors<'_> {
    /// Changes a run of elements: `out` holds those of the matrix below. Every element is computed by itself, in
    /// one order: the products over the rank are summed from zero, the sum is scaled, then added. `room` is
    /// memory to work in.
    pub fn add(&self, cpu: &Cpu, run: Range<usize>, out: &mut [f32], room: &mut Vec<f32>) {
        let LowRank { columns, rank, scale, orientation, .. } = *self.update;
        room.resize(rank + columns, 0.0);
        let (left, products) = room.split_at_mut(rank);
        let mut next = run.start;
        while next < run.end {
            let (row, column) = (next / columns, next % columns);
            let len = (columns - column).min(run.end - next);
            let out = &mut out[next - run.start..next - run.start + len];
            let products = &mut products[..len];
            self.left_row(cpu, row, left);
            cpu.combine(left, &self.right[column..], columns, products);
            cpu.add_scaled_values(out, scale, products);
            if !self.lengths.is_empty() {
                match orientation {
                    Orientation::OutIn => cpu.scale_values(out, self.lengths[row]),
                    Orientation::InOut => cpu.multiply_values(out, &self.lengths[column..column + len]),
                }
            }
            next += len;
        }
    }

    /// The numbers that a row of the product combines the rows of the right factor by.
    fn left_row(&self, cpu: &Cpu, row: usize, out: &mut [f32]) {
        let Chunk { dtype, bytes } = self.left;
        let size = dtype.size();
        let widen = |from: usize, out: &mut [f32]| {
            let bytes = &bytes[from * size..(from + out.len()) * size];
            cpu.widen(Chunk { dtype, bytes }, out);
        };
        match self.update.orientation {
            Orientation::OutIn => widen(row * out.len(), out),
            Orientation::InOut => {
                let width = self.update.rows;
                out.iter_mut().enumerate().for_each(|(k, x)| widen(k * width + row, std::slice::from_mut(x)));
            }
        }
    }
}

/// `[rows, columns]` to `[columns, rows]`.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

/// As in `LoRA of rank 8, scaled by 2`.
impl fmt::Display for LowRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Dora { "DoRA" } else { "LoRA" };
        write!(f, "{kind} of rank {}, scaled by {}", self.rank, self.scale)
    }
}
