//! Numbers of a normal distribution from a counter, by Box and Muller (1958), with a logarithm, a sine and a
//! cosine of plain f32 arithmetic: libraries of different machines disagree in the last bit.

use super::SIGN;
use crate::device::philox::{self, WIDE};

/// Numbers that are made together.
const GROUP: usize = 4 * WIDE;

/// The numbers `first ..` of a key, mean 0 and variance 1, at most 5.8 in magnitude.
#[inline(always)]
pub(in crate::device) fn normals(key: u64, first: u64, out: &mut [f32]) {
    let skip = (first % 4) as usize;
    let mut counter = first / 4;
    let head = (GROUP - skip).min(out.len());
    let (head, rest) = out.split_at_mut(if skip == 0 { 0 } else { head });
    if !head.is_empty() {
        head.copy_from_slice(&group(counter, key)[skip..skip + head.len()]);
        counter = counter.wrapping_add(WIDE as u64);
    }
    let (groups, tail) = rest.as_chunks_mut::<GROUP>();
    for out in groups {
        *out = group(counter, key);
        counter = counter.wrapping_add(WIDE as u64);
    }
    if !tail.is_empty() {
        tail.copy_from_slice(&group(counter, key)[..tail.len()]);
    }
}

/// Four numbers of each of `WIDE` counters: two draws, a length and an angle, make two of them.
#[inline(always)]
fn group(counter: u64, key: u64) -> [f32; GROUP] {
    let lanes = philox::wide(counter, key);
    let mut out = [0f32; GROUP];
    for pair in [0, 2] {
        let (mut along, mut across) = ([0f32; WIDE], [0f32; WIDE]);
        for j in 0..WIDE {
            let length = (-2.0 * ln(lanes[pair][j] as u32)).sqrt();
            let (cos, sin) = turn(lanes[pair + 1][j] as u32);
            along[j] = length * cos;
            across[j] = length * sin;
        }
        for j in 0..WIDE {
            out[4 * j + pair] = along[j];
            out[4 * j + pair + 1] = across[j];
        }
    }
    out
}

/// The logarithm of a draw as a fraction of one, which is never zero: `u = 2ᵏ·m` with `m` between `√½` and
/// `√2`; `ln m = 2·artanh s`, `s = (m - 1)/(m + 1)`.
#[inline(always)]
fn ln(draw: u32) -> f32 {
    const MANTISSA: u32 = (1 << 23) - 1;
    const SQRT_HALF: u32 = 0x3f35_04f3; // bits of √½
    let u = ((draw >> 8) + 1).cast_signed() as f32 * (1.0 / 16_777_216.0);
    let offset = u.to_bits().wrapping_sub(SQRT_HALF);
    let k = offset.cast_signed() >> 23;
    let m = f32::from_bits((offset & MANTISSA) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (((square / 9.0 + 1.0 / 7.0) * square + 0.2) * square + 1.0 / 3.0) * square;
    k as f32 * std::f32::consts::LN_2 + (2.0 * s + 2.0 * s * series)
}

/// Cosine and sine of an angle: two bits of the draw are its quadrant, the others an angle of at most an
/// eighth of a turn, for which a few terms of Taylor's series suffice.
#[inline(always)]
fn turn(draw: u32) -> (f32, f32) {
    let quadrant = draw >> 30;
    let fraction = ((draw << 2) >> 8).cast_signed() as f32 * (1.0 / 16_777_216.0);
    let x = (fraction - 0.5) * std::f32::consts::FRAC_PI_2;
    let square = x * x;
    let sin = ((((square / 362_880.0 - 1.0 / 5_040.0) * square + 1.0 / 120.0) * square - 1.0 / 6.0) * square)
        * x
        + x;
    let cos = (((square / 40_320.0 - 1.0 / 720.0) * square + 1.0 / 24.0) * square - 0.5) * square + 1.0;
    let (along, across) = if quadrant & 1 == 0 { (cos, sin) } else { (sin, cos) };
    let flip = |x: f32, negative: u32| f32::from_bits(x.to_bits() ^ (negative * SIGN));
    (flip(along, ((quadrant + 1) >> 1) & 1), flip(across, quadrant >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_and_angle_are_those_of_the_library() {
        for i in 0..200_000u32 {
            let draw = i.wrapping_mul(2_654_435_761);
            let u = f64::from((draw >> 8) + 1) / 16_777_216.0;
            assert!((f64::from(ln(draw)) - u.ln()).abs() <= 2e-7 * u.ln().abs().max(1e-3), "{u}");
            let quarter = std::f64::consts::FRAC_PI_2;
            let angle = (f64::from(draw >> 30) + f64::from((draw << 2) >> 8) / 16_777_216.0 - 0.5) * quarter;
            let (cos, sin) = turn(draw);
            assert!((f64::from(cos) - angle.cos()).abs() < 2e-7, "{angle}");
            assert!((f64::from(sin) - angle.sin()).abs() < 2e-7, "{angle}");
        }
        assert_eq!(ln(u32::MAX), 0.0);
    }

    #[test]
    fn they_are_normal_and_do_not_depend_on_where_one_begins() {
        let mut all = vec![0f32; 100_000];
        normals(7, 0, &mut all);
        for (first, len) in [(0, 1), (1, 5), (3, 128), (130, 700), (4097, 301), (99_999, 1)] {
            let mut some = vec![0f32; len];
            normals(7, first as u64, &mut some);
            assert_eq!(some, all[first..first + len], "{first}");
        }
        let moment = |p: i32| all.iter().map(|x| f64::from(*x).powi(p)).sum::<f64>() / all.len() as f64;
        // Standard errors: 0.003, 0.0045, 0.012, 0.03.
        for (p, want, within) in [(1, 0.0, 0.015), (2, 1.0, 0.02), (3, 0.0, 0.06), (4, 3.0, 0.15)] {
            assert!((moment(p) - want).abs() < within, "moment {p} is {}", moment(p));
        }
        let within = all.iter().filter(|x| x.abs() < 1.0).count() as f64 / all.len() as f64;
        assert!((within - 0.6827).abs() < 0.008, "{within}");
        // Neighbours, which share a length, are not correlated.
        let neighbours: f64 = all.windows(2).map(|w| f64::from(w[0] * w[1])).sum::<f64>() / 1e5;
        assert!(neighbours.abs() < 0.02, "{neighbours}");
    }
}
