//! 8-bit floats with scales, as what they stand for.

use std::fmt;
use std::ops::Range;

use crate::checkpoint::DType;

/// How 8 bits are a number (Micikevicius et al. 2022, FP8 formats for deep learning, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Sign, 4 bits of exponent, 3 of fraction; no infinity.
    E4M3,
    /// Sign, 5 bits of exponent, 2 of fraction: the upper half of a half-precision number.
    E5M2,
}

impl Format {
    /// Of an element type, if it is one of these.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F8E4M3 => Some(Self::E4M3),
            DType::F8E5M2 => Some(Self::E5M2),
            _ => None,
        }
    }

    /// The number of each of the 256 codes; all of them are exact in f32.
    fn table(self) -> [f32; 256] {
        let (fraction_bits, bias) = match self {
            Self::E4M3 => (3, 7),
            Self::E5M2 => (2, 15),
        };
        std::array::from_fn(|code| {
            let magnitude = (code & 0x7f) as i32;
            let (exponent, fraction) = (magnitude >> fraction_bits, magnitude & ((1 << fraction_bits) - 1));
            let whole = f64::from(1 << fraction_bits);
            let value = match (self, exponent, fraction) {
                (Self::E4M3, 15, 7) => f64::NAN,
                (Self::E5M2, 31, 0) => f64::INFINITY,
                (Self::E5M2, 31, _) => f64::NAN,
                (_, 0, fraction) => f64::from(fraction) / whole * 2f64.powi(1 - bias),
                (_, exponent, fraction) => (1.0 + f64::from(fraction) / whole) * 2f64.powi(exponent - bias),
            };
            (if code & 0x80 == 0 { value } else { -value }) as f32
        })
    }
}

/// A matrix of 8-bit floats with a scale for each block of it: `w[i, j] = code[i, j] · scale[i / rows, j /
/// columns]`, one multiplication in f32. A vector is a matrix of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Of the codes.
    pub format: Format,
    /// Elements in a row.
    pub width: usize,
    /// Rows of a block.
    pub rows: usize,
    /// Columns of a block.
    pub columns: usize,
}

impl Scaled {
    /// Numbers of some elements: `codes` are those of `run`, `scales` all of the matrix, row by row.
    pub fn fill(&self, codes: &[u8], run: Range<usize>, scales: &[f32], out: &mut [f32]) {
        let table = self.format.table();
        let across = self.width.div_ceil(self.columns);
        let mut next = run.start;
        while next < run.end {
            let (row, column) = (next / self.width, next % self.width);
            let block = column / self.columns;
            let end = ((block + 1) * self.columns).min(self.width);
            let len = (end - column).min(run.end - next);
            let scale = scales.get(row / self.rows * across + block).copied().unwrap_or(f32::NAN);
            let at = next - run.start;
            for (out, code) in out[at..at + len].iter_mut().zip(&codes[at..at + len]) {
                *out = table[usize::from(*code)] * scale;
            }
            next += len;
        }
    }
}

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            Format::E4M3 => "float8 e4m3",
            Format::E5M2 => "float8 e5m2",
        };
        write!(f, "{format}, scaled in blocks of {} x {}", self.rows, self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_numbers_of_the_paper() {
        let e4m3 = Format::E4M3.table();
        // Table 1 of the paper: largest, smallest normal, largest and smallest subnormal.
        assert_eq!(
            [e4m3[0x7e], e4m3[0x08], e4m3[0x07], e4m3[0x01]],
            [448.0, 0.015625, 0.013671875, 0.001953125]
        );
        assert_eq!(e4m3[0x80].to_bits(), (-0.0f32).to_bits());
        assert!(e4m3[0x7f].is_nan() && e4m3[0xff].is_nan());
        assert_eq!(e4m3.iter().filter(|x| x.is_nan()).count(), 2);
        let e5m2 = Format::E5M2.table();
        for (code, x) in e5m2.iter().enumerate() {
            let half = half::f16::from_bits((code as u16) << 8).to_f32();
            assert!(x.to_bits() == half.to_bits() || x.is_nan() && half.is_nan(), "{code:x}: {x} {half}");
        }
    }

    #[test]
    fn any_run_has_the_scales_of_its_blocks() {
        let scaled = Scaled { format: Format::E4M3, width: 7, rows: 2, columns: 3 };
        let codes: Vec<u8> = (0..35u8).map(|i| i * 3).collect();
        let scales: Vec<f32> = (0..9).map(|i| i as f32 + 0.5).collect();
        let table = Format::E4M3.table();
        let whole: Vec<f32> =
            (0..35).map(|i| table[usize::from(codes[i])] * scales[i / 7 / 2 * 3 + i % 7 / 3]).collect();
        for start in 0..35 {
            for end in start..=35 {
                let mut out = vec![0.0; end - start];
                scaled.fill(&codes[start..end], start..end, &scales, &mut out);
                assert_eq!(out, whole[start..end]);
            }
        }
    }
}
