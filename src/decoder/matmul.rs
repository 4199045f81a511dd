//! Matrix products: a safe wrapper around the `gemm` crate, and weights in their stored type.
#![allow(unsafe_code)]

use super::layout::Place;
use super::scratch::Grow;
use crate::checkpoint::DType;
use crate::device::Chunk;
use crate::device::cpu::Cpu;

/// A matrix somewhere in a slice.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Elements from a row to the next.
    down: usize,
    /// Elements from a column to the next.
    across: usize,
}

impl<'a> View<'a> {
    /// Rows that begin `stride` elements apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "rows of a matrix overlap");
        Self { data, rows, cols, down: stride, across: 1 }
    }

    /// Rows without gaps.
    pub(crate) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// The same matrix, transposed.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, down: self.across, across: self.down, ..self }
    }

    /// Whether every element lies within the slice.
    fn fits(&self) -> bool {
        let last = self.rows.saturating_sub(1) * self.down + self.cols.saturating_sub(1) * self.across;
        self.rows == 0 || self.cols == 0 || last < self.data.len()
    }
}

/// What becomes of the old contents of a product's destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old {
    /// Overwritten.
    Replace,
    /// Added to.
    Add,
}

/// `out = scale · x · w`, or `out += …`; `out` has `x.rows` rows at `stride`. On one thread: texts are what
/// is shared out between threads, so that no sum depends on their number.
///
/// # Panics
/// If shapes do not fit one another or their slices: a mistake of the decoder, not of a model.
pub(crate) fn product(out: &mut [f32], stride: usize, old: Old, scale: f32, x: View<'_>, w: View<'_>) {
    assert_eq!(x.cols, w.rows, "inner dimensions of a product");
    assert!(x.fits(), "left side of a product");
    assert!(w.fits(), "right side of a product");
    assert!(stride >= w.cols, "rows of a destination overlap");
    assert!(x.rows == 0 || (x.rows - 1) * stride + w.cols <= out.len(), "destination of a product");
    // SAFETY: the assertions above keep every element that these sizes and strides address within its
    // slice; `out` is borrowed exclusively and so overlaps neither side.
    unsafe {
        gemm::gemm(
            x.rows,
            w.cols,
            x.cols,
            out.as_mut_ptr(),
            1,
            stride as isize,
            old == Old::Add,
            x.data.as_ptr(),
            x.across as isize,
            x.down as isize,
            w.data.as_ptr(),
            w.across as isize,
            w.down as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows that a product with weights has at least: below 65, `gemm` takes other ways through small products,
/// which add in another order, and a row's result would depend on how many rows there are.
const MIN_ROWS: usize = 65;

/// [`product`] with transposed weights of at least four outputs, in which no row of the result depends on
/// the other rows of `x`.
pub(super) fn project(out: &mut [f32], stride: usize, old: Old, scale: f32, x: View<'_>, w: View<'_>) {
    let (rows, outputs) = (x.rows, w.rows);
    if rows >= MIN_ROWS {
        product(out, stride, old, scale, x, w.t());
        return;
    }
    let mut padded_x = vec![0.0; MIN_ROWS * x.cols];
    for (to, from) in padded_x.chunks_exact_mut(x.cols).zip(x.data.chunks(x.down)).take(rows) {
        to.copy_from_slice(&from[..x.cols]);
    }
    let mut padded = vec![0.0; MIN_ROWS * outputs];
    for (to, from) in padded.chunks_exact_mut(outputs).zip(out.chunks(stride)).take(rows) {
        to.copy_from_slice(&from[..outputs]);
    }
    product(&mut padded, outputs, old, scale, View::dense(&padded_x, MIN_ROWS, x.cols), w.t());
    for (from, to) in padded.chunks_exact(outputs).zip(out.chunks_mut(stride)).take(rows) {
        to[..outputs].copy_from_slice(from);
    }
}

/// A weight matrix in its stored type, `[rows, cols]` with one row for each output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix<'a> {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    dtype: DType,
    bytes: &'a [u8],
    /// Where its gradient lies.
    pub(super) place: Place,
}

impl<'a> Matrix<'a> {
    /// `bytes` must be `rows · cols` elements of a float type; `None` if they are not.
    pub(super) fn new(rows: usize, cols: usize, dtype: DType, bytes: &'a [u8], place: Place) -> Option<Self> {
        // A configuration may ask for sizes that no memory has.
        let len = rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.size()));
        let fits = dtype.is_mergeable() && len == Some(bytes.len());
        fits.then_some(Self { rows, cols, dtype, bytes, place })
    }

    /// Nothing; stands in for a tensor that is missing, until that is reported.
    pub(super) const EMPTY: Self =
        Self { rows: 0, cols: 0, dtype: DType::F32, bytes: &[], place: Place::NOWHERE };

    /// Whether another holds the same values, wherever it lies.
    pub(super) fn equals(&self, other: &Self) -> bool {
        (self.rows, self.cols, self.dtype, self.bytes) == (other.rows, other.cols, other.dtype, other.bytes)
    }

    /// `rows` of its rows, from row `first` on; nothing if it has not that many.
    #[must_use]
    pub fn part(&self, first: usize, rows: usize) -> Self {
        let row = self.cols * self.dtype.size();
        match self.bytes.get(first * row..(first + rows) * row) {
            Some(bytes) => Self { rows, bytes, place: self.place.after(first * self.cols), ..*self },
            None => Self::EMPTY,
        }
    }
}

/// Turns weights into f32; its memory is reused from matrix to matrix.
#[derive(Debug, Default)]
pub(super) struct Widener {
    cpu: Cpu,
    buffer: Vec<f32>,
}

impl Widener {
    /// All values of a matrix: where they lie if they are stored as f32, else converted.
    pub(super) fn all<'b>(&'b mut self, matrix: &Matrix<'b>) -> &'b [f32] {
        if let (DType::F32, Ok(values)) = (matrix.dtype, bytemuck::try_cast_slice(matrix.bytes)) {
            return values;
        }
        let out = self.buffer.grow(matrix.rows * matrix.cols);
        self.cpu.widen(Chunk { dtype: matrix.dtype, bytes: matrix.bytes }, out);
        out
    }

    /// One row of a matrix.
    pub(super) fn row(&self, matrix: &Matrix<'_>, row: usize, out: &mut [f32]) {
        self.cpu.widen(Chunk { dtype: matrix.dtype, bytes: matrix.part(row, 1).bytes }, out);
    }
}

/// Elements of a projection that are widened at once: 16 MiB, whatever the size of a model's matrices.
const WIDENED: usize = 1 << 22;

/// A norm's weights or a projection's bias, in f32.
#[derive(Clone, Debug)]
pub struct Vector {
    /// As they enter the arithmetic: of a norm that adds 1 to its weight, with that 1.
    pub values: Vec<f32>,
    /// Where their gradient lies.
    pub(super) place: Place,
}

/// A projection: `y = x · Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear<'a> {
    /// `[outputs, inputs]`.
    pub weight: Matrix<'a>,
    /// One for each output.
    pub bias: Option<Vector>,
}

impl<'a> Linear<'a> {
    /// `x` is `[tokens, inputs]`, `out` `[tokens, outputs]`; `widener` lends memory for the weights.
    pub(super) fn apply(&self, x: &[f32], out: &mut [f32], old: Old, widener: &mut Widener) {
        let (outputs, inputs) = (self.weight.rows, self.weight.cols);
        let x = View::dense(x, x.len() / inputs, inputs);
        for (first, weight) in self.parts() {
            let weight = View::dense(widener.all(&weight), weight.rows, inputs);
            project(&mut out[first..], outputs, old, 1.0, x, weight);
        }
        if let Some(bias) = &self.bias {
            for row in out.chunks_exact_mut(outputs) {
                row.iter_mut().zip(&bias.values).for_each(|(y, b)| *y += b);
            }
        }
    }

    /// Parts of its rows that are widened at once: the first row and the part. Of about one size, so that
    /// none is left with a row or two.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, Matrix<'a>)> + use<'a> {
        let weight = self.weight;
        let part = weight.rows.div_ceil((weight.rows * weight.cols).div_ceil(WIDENED).max(1)).max(1);
        (0..weight.rows)
            .step_by(part)
            .map(move |first| (first, weight.part(first, part.min(weight.rows - first))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products of every shape around the kernels' tile sizes, either side transposed or not, against the
    /// definition in f64.
    #[test]
    fn products_follow_the_definition() {
        let value = |i: usize| ((i * 7919) % 1013) as f32 / 500.0 - 1.0;
        let matrix = |rows: usize, cols: usize, first: usize| -> Vec<f32> {
            (0..rows * cols).map(|i| value(i + first)).collect()
        };
        for (m, k, n) in [(1, 1, 1), (1, 64, 7), (3, 5, 2), (17, 33, 65), (48, 16, 48), (130, 100, 31)] {
            for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
                // A transposed side lies in memory the other way, and with a gap after each row.
                let (x_rows, x_cols) = if left { (k, m) } else { (m, k) };
                let (w_rows, w_cols) = if right { (n, k) } else { (k, n) };
                let (x, w) = (matrix(x_rows, x_cols + 3, 0), matrix(w_rows, w_cols, 5));
                let x_view = View::strided(&x, x_rows, x_cols, x_cols + 3);
                let w_view = View::dense(&w, w_rows, w_cols);
                let x_view = if left { x_view.t() } else { x_view };
                let w_view = if right { w_view.t() } else { w_view };
                let mut out = vec![0.5; m * n];
                product(&mut out, n, Old::Add, 2.0, x_view, w_view);
                for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let x_at = |l: usize| if left { x[l * (m + 3) + i] } else { x[i * (k + 3) + l] };
                    let w_at = |l: usize| if right { w[j * k + l] } else { w[l * n + j] };
                    let sum: f64 = (0..k).map(|l| f64::from(x_at(l)) * f64::from(w_at(l))).sum();
                    let (want, got) = (0.5 + 2.0 * sum, f64::from(out[i * n + j]));
                    assert!((got - want).abs() < 1e-4, "{m} {k} {n}: {got} for {want}");
                }
            }
        }
    }

    /// A matrix that is widened in parts, against its product in one piece.
    #[test]
    fn parts_of_a_projection_are_the_whole() {
        let (outputs, inputs) = (1025, 8192);
        assert!(outputs * inputs > 2 * WIDENED);
        let bytes: Vec<u8> = (0..outputs * inputs).flat_map(|i| [0, 0x3c + (i % 7) as u8]).collect();
        let weight = Matrix::new(outputs, inputs, DType::BF16, &bytes, Place::NOWHERE).unwrap();
        let bias: Vec<f32> = (0..outputs).map(|i| i as f32).collect();
        let x: Vec<f32> = (0..3 * inputs).map(|i| ((i * 31) % 17) as f32 - 8.0).collect();
        let mut widener = Widener::default();
        let mut got = vec![1.0; 3 * outputs];
        let vector = Vector { values: bias.clone(), place: Place::NOWHERE };
        let linear = Linear { weight, bias: Some(vector) };
        linear.apply(&x, &mut got, Old::Add, &mut widener);
        let mut want = vec![1.0; 3 * outputs];
        let whole = View::dense(widener.all(&weight), outputs, inputs);
        project(&mut want, outputs, Old::Add, 1.0, View::dense(&x, 3, inputs), whole);
        for row in want.chunks_exact_mut(outputs) {
            row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b);
        }
        assert!(got == want);
    }

    /// What the independence of results from the packing of texts rests on.
    #[test]
    fn a_row_does_not_depend_on_the_rows_around_it() {
        for (k, n) in [(96, 70), (96, 4), (1500, 30), (16, 300)] {
            rows_are_independent(k, n);
        }
    }

    fn rows_are_independent(k: usize, n: usize) {
        let value = |i: usize| ((i * 6007) % 1021) as f32 / 500.0 - 1.0;
        let x: Vec<f32> = (0..200 * k).map(value).collect();
        let w: Vec<f32> = (0..n * k).map(|i| value(i + 9)).collect();
        let run = |first: usize, rows: usize| {
            let mut out = vec![0.0; rows * n];
            let x = View::dense(&x[first * k..], rows, k);
            project(&mut out, n, Old::Replace, 1.0, x, View::dense(&w, n, k));
            out
        };
        let whole = run(0, 200);
        for (first, rows) in [(7, 1), (0, 2), (3, 5), (10, 17), (64, 64), (1, 65), (100, 100), (150, 33)] {
            let part = run(first, rows);
            assert!(part == whole[first * n..(first + rows) * n], "rows {first}+{rows} of {k} by {n}");
        }
    }
}
