//! Copies of a matrix side by side and below each other, made block by block.

use std::fmt;
use std::ops::Range;

use super::Noise;
use crate::device::Chunk;
use crate::device::cpu::Cpu;

/// `down × across` copies of a matrix, divided by a number, with or without noise:
/// `T[i, j] = W[i mod rows, j mod columns] / divisor ± N` (Samragh et al. 2024, HyperCloning, section 3).
///
/// A vector is a matrix of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    /// Rows of the stored matrix.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// Copies below each other.
    pub down: usize,
    /// Copies side by side.
    pub across: usize,
    /// What every element is divided by; the quotient rounds once, to f32.
    pub divisor: f32,
    /// What is added to one copy and taken off its neighbour.
    pub noise: Option<Noise>,
}

/// Part of a row of the wide matrix.
struct Part {
    row: usize,
    columns: Range<usize>,
    /// Where it begins in the run of elements that it is part of.
    at: usize,
}

impl Tiling {
    /// Copies without arithmetic.
    pub fn copies(rows: usize, columns: usize, down: usize, across: usize) -> Self {
        Self { rows, columns, down, across, divisor: 1.0, noise: None }
    }

    /// Elements in a row.
    pub fn width(&self) -> usize {
        self.columns * self.across
    }

    /// Pairs of neighbouring column blocks, the ones that get noise; an odd last block has none.
    pub fn pairs(&self) -> usize {
        self.across / 2
    }

    /// Whether its elements are stored ones.
    pub fn is_copy(&self) -> bool {
        self.divisor == 1.0 && self.noise.is_none()
    }

    /// The stored element that a wide one is a copy of.
    pub fn origin(&self, element: usize) -> usize {
        let (row, column) = (element / self.width(), element % self.width());
        row % self.rows * self.columns + column % self.columns
    }

    /// The stored elements whose first copies lie in a run of wide elements. Neighbouring runs have
    /// neighbouring elements, so over a tensor each stored element comes up once, in order.
    pub fn first_copies(&self, run: Range<usize>) -> Range<usize> {
        let before = |element: usize| match (element / self.width(), element % self.width()) {
            (row, column) if row < self.rows => row * self.columns + column.min(self.columns),
            _ => self.rows * self.columns,
        };
        before(run.start)..before(run.end)
    }

    /// The stored rows that a run of wide elements is made of, as ranges of elements.
    pub fn origins(&self, run: Range<usize>) -> [Range<usize>; 2] {
        if run.is_empty() {
            return [0..0, 0..0];
        }
        let (first, last) = (run.start / self.width(), (run.end - 1) / self.width());
        let elements = |rows: Range<usize>| rows.start * self.columns..rows.end * self.columns;
        match (first % self.rows, last % self.rows) {
            _ if last - first >= self.rows => [elements(0..self.rows), 0..0],
            (first, last) if first <= last => [elements(first..last + 1), 0..0],
            (first, last) => [elements(first..self.rows), elements(0..last + 1)],
        }
    }

    fn parts(&self, run: Range<usize>) -> impl Iterator<Item = Part> + use<> {
        let width = self.width();
        let mut next = run.start;
        std::iter::from_fn(move || {
            let (row, column) = (next / width, next % width);
            let len = (width - column).min(run.end.checked_sub(next).filter(|left| *left > 0)?);
            let part = Part { row, columns: column..column + len, at: next - run.start };
            next += len;
            Some(part)
        })
    }

    /// Splits columns of a wide row where copies meet: the block, its own columns, and where they begin.
    fn blocks(&self, columns: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, usize)> + use<> {
        let small = self.columns;
        let mut next = columns.start;
        std::iter::from_fn(move || {
            let (block, from) = (next / small, next % small);
            let len = (small - from).min(columns.end.checked_sub(next).filter(|left| *left > 0)?);
            let found = (block, from..from + len, next - columns.start);
            next += len;
            Some(found)
        })
    }

    /// A run of wide elements of a tiling that [is a copy](Tiling::is_copy), `size` bytes each.
    pub fn copy(&self, stored: &[u8], size: usize, run: Range<usize>, out: &mut [u8]) {
        for part in self.parts(run) {
            let origin = part.row % self.rows * self.columns;
            for (_, columns, at) in self.blocks(part.columns) {
                let from = &stored[(origin + columns.start) * size..(origin + columns.end) * size];
                let to = (part.at + at) * size;
                out[to..to + from.len()].copy_from_slice(from);
            }
        }
    }

    /// A run of wide elements as f32. `scales` are those of [`Noise::scales`]; `room` is memory to work in.
    pub fn fill(
        &self,
        cpu: &Cpu,
        stored: Chunk<'_>,
        run: Range<usize>,
        scales: &[f32],
        out: &mut [f32],
        room: &mut Vec<f32>,
    ) {
        for part in self.parts(run) {
            let out = &mut out[part.at..part.at + part.columns.len()];
            self.quotients(cpu, stored, &part, out);
            if let Some(noise) = &self.noise {
                self.add_noise(cpu, noise, &part, scales, out, room);
            }
        }
    }

    fn quotients(&self, cpu: &Cpu, stored: Chunk<'_>, part: &Part, out: &mut [f32]) {
        let mut whole = None;
        for (_, columns, at) in self.blocks(part.columns.clone()) {
            match whole {
                Some(from) if columns.len() == self.columns => {
                    out.copy_within(from..from + self.columns, at);
                }
                _ => {
                    let out = &mut out[at..at + columns.len()];
                    self.stored_row(cpu, stored, part.row % self.rows, columns.clone(), out);
                    whole = (columns.len() == self.columns).then_some(at);
                }
            }
        }
    }

    /// Some columns of a stored row, divided.
    pub(super) fn stored_row(
        &self,
        cpu: &Cpu,
        stored: Chunk<'_>,
        row: usize,
        columns: Range<usize>,
        out: &mut [f32],
    ) {
        let size = stored.dtype.size();
        let origin = row * self.columns;
        let bytes = &stored.bytes[(origin + columns.start) * size..(origin + columns.end) * size];
        cpu.widen(Chunk { dtype: stored.dtype, bytes }, out);
        if self.divisor != 1.0 {
            cpu.divide_values(out, self.divisor);
        }
    }

    fn add_noise(
        &self,
        cpu: &Cpu,
        noise: &Noise,
        part: &Part,
        scales: &[f32],
        out: &mut [f32],
        room: &mut Vec<f32>,
    ) {
        room.resize(self.columns, 0.0);
        let pairs = self.pairs();
        let mut drawn = None;
        for (block, columns, at) in self.blocks(part.columns.clone()) {
            let pair = block / 2;
            let Some(scale) = scales.get(part.row / noise.block_rows * pairs + pair).filter(|_| pair < pairs)
            else {
                continue;
            };
            let room = &mut room[..columns.len()];
            // The second of a pair gets the same noise; it was drawn already if the first is here as a whole.
            if drawn != Some((pair, columns.clone())) {
                let first = (part.row * pairs + pair) * self.columns + columns.start;
                cpu.normals(noise.key, first as u64, room);
                drawn = Some((pair, columns.clone()));
            }
            let signed = if block % 2 == 0 { *scale } else { -scale };
            cpu.add_scaled_values(&mut out[at..at + columns.len()], signed, room);
        }
    }
}

/// As in `2 x 2 copies / 2, noise at 10 dB with seed 1`.
impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} copies", self.down, self.across)?;
        if self.divisor != 1.0 {
            write!(f, " / {}", self.divisor)?;
        }
        match &self.noise {
            Some(noise) => write!(f, ", noise at {} dB with seed {}", noise.snr, noise.seed),
            None => Ok(()),
        }
    }
}
