//! What each primitive must return, to the last bit.

mod factors;

use super::*;
use crate::device::{LINE, philox};

/// Values with a prime period, so that swapped blocks would show, with zeros, ties and subnormals.
fn pattern(len: usize, period: usize) -> Vec<f32> {
    (0..len)
        .map(|i| match i % period {
            0 => 0.0,
            1 => f32::from_bits(3),
            r if r % 3 == 0 => -0.25 * (r / 3 % 5) as f32,
            r => (r as f32 - period as f32 / 2.0) * 1.37e-3,
        })
        .collect()
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn devices() -> Vec<Cpu> {
    Level::all().into_iter().map(|level| Cpu { level, ..Cpu::new() }).collect()
}

fn buf(d: &Cpu, x: &[f32]) -> CpuBuf {
    d.load(Chunk { dtype: DType::F32, bytes: &bytes(x) }).unwrap()
}

/// 16 + 8 + … + 1 elements visit every tail of a vector loop.
const LENGTHS: [usize; 7] = [0, 1, 31, 63, 64, 1000, LINE + 127];

#[test]
fn every_bf16_and_f16_converts_as_the_half_crate_does_and_back() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for d in devices() {
        let b = d.load(Chunk { dtype: DType::BF16, bytes: &all }).unwrap();
        let h = d.load(Chunk { dtype: DType::F16, bytes: &all }).unwrap();
        for bits in 0..=u16::MAX {
            let (b, h) = (b.values()[bits as usize], h.values()[bits as usize]);
            let (want_b, want_h) =
                (half::bf16::from_bits(bits).to_f32(), half::f16::from_bits(bits).to_f32());
            assert!(b.to_bits() == want_b.to_bits() || b.is_nan() && want_b.is_nan(), "{bits:04x}");
            assert!(h.to_bits() == want_h.to_bits() || h.is_nan() && want_h.is_nan(), "{bits:04x}");
        }
        let mut back = vec![0; all.len()];
        d.store(&b, DType::BF16, &mut back).unwrap();
        let quiet = |x: &[u8], nan: u16| {
            let x = u16::from_le_bytes([x[0], x[1]]);
            if x & 0x7fff > nan { None } else { Some(x) }
        };
        for (a, b) in all.chunks(2).zip(back.chunks(2)) {
            assert_eq!(quiet(a, 0x7f80), quiet(b, 0x7f80));
        }
        d.store(&h, DType::F16, &mut back).unwrap();
        for (a, b) in all.chunks(2).zip(back.chunks(2)) {
            assert_eq!(quiet(a, 0x7c00), quiet(b, 0x7c00));
        }
    }
}

#[test]
fn storing_rounds_as_the_half_crate_does() {
    // Every exponent with the mantissas around a tie, for both narrow types.
    let mut x = vec![0.0, f32::INFINITY, f32::NAN, 65519.99, 65520.0, 3.4e38];
    for e in 0..=254u32 {
        for m in [0, 0x0fff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000, 0x7f_ffff] {
            x.push(f32::from_bits(e << 23 | m));
            x.push(-f32::from_bits(e << 23 | m));
        }
    }
    for d in devices() {
        let b = buf(&d, &x);
        let (mut bf16, mut f16) = (vec![0; 2 * x.len()], vec![0; 2 * x.len()]);
        assert_eq!(d.store(&b, DType::BF16, &mut bf16).unwrap(), Finiteness::NonFinite);
        assert_eq!(d.store(&b, DType::F16, &mut f16).unwrap(), Finiteness::NonFinite);
        for (i, x) in x.iter().enumerate() {
            let b = half::bf16::from_le_bytes([bf16[2 * i], bf16[2 * i + 1]]);
            let h = half::f16::from_le_bytes([f16[2 * i], f16[2 * i + 1]]);
            assert!(b == half::bf16::from_f32(*x) || x.is_nan() && b.is_nan(), "{x:e}");
            assert!(h == half::f16::from_f32(*x) || x.is_nan() && h.is_nan(), "{x:e}");
        }
    }
}

#[test]
fn all_levels_agree_with_the_plain_one() {
    let plain = Cpu { level: Level::Plain, ..Cpu::new() };
    for d in devices() {
        for len in LENGTHS {
            let (x, y, z) = (pattern(len, 101), pattern(len, 89), pattern(len, 97));
            let run = |d: &Cpu| {
                let mut out = Vec::new();
                let (bx, by, bz) = (buf(d, &x), buf(d, &y), buf(d, &z));
                let mut sum = buf(d, &x);
                d.axpy(&mut sum, 0.3, &by).unwrap();
                d.add_scaled(&mut sum, -1.7, Chunk { dtype: DType::F32, bytes: &bytes(&z) }).unwrap();
                d.divide(&mut sum, 3.0).unwrap();
                d.scale(&mut sum, 1.1).unwrap();
                d.scale_rows(&mut sum, 50, &z).unwrap();
                d.scale_columns(&mut sum, &pattern(31, 7)).unwrap();
                out.extend(bytes(sum.values()));
                let mut columns = vec![0.5; 31];
                d.add_column_dots(&bx, &by, &mut columns).unwrap();
                out.extend(columns.iter().flat_map(|x| x.to_le_bytes()));
                let mut dropped = buf(d, &x);
                d.keep_random(&mut dropped, Draw::new(99, 0.4), 17).unwrap();
                out.extend(bytes(dropped.values()));
                let ranked = RankedDraw { key: 7, density: 0.5, epsilon: 0.3 };
                if len % 31 == 0 {
                    let mut ranks = buf(d, &z);
                    d.keep_ranked(&mut ranks, 31, ranked, 62).unwrap();
                    out.extend(bytes(ranks.values()));
                }
                d.keep_ranked(&mut dropped, len.max(1), ranked, 0).unwrap();
                d.keep_where(&mut dropped, &by).unwrap();
                d.drop_largest(&mut dropped, Cut { key: 0.25f32.to_bits(), last: 500 }, 17).unwrap();
                d.near_swap(&mut dropped, &bz, 1e-3).unwrap();
                out.extend(bytes(dropped.values()));
                d.divide_each(&mut dropped, &bz, 1e-3).unwrap();
                out.extend(bytes(dropped.values()));
                let all = [buf(d, &x), buf(d, &y), buf(d, &z)];
                let weights = [buf(d, &y), buf(d, &z), buf(d, &x)];
                let vote = d.elect_weighted(&all, &weights, Divisor::AgreeingWeights).unwrap();
                out.extend(bytes(vote.values()));
                out.extend(bytes(d.variance(&all).unwrap().values()));
                out.extend(bytes(d.pool(&all, 0.01, &[1.1, 0.9, 1.0]).unwrap().values()));
                for overlap in d.overlaps(&all, 0.01).unwrap() {
                    out.extend([overlap.shared, overlap.alone].iter().flat_map(|n| n.to_le_bytes()));
                }
                out.extend(d.row_divergences(&bx, &by, 100).unwrap().iter().flat_map(|x| x.to_le_bytes()));
                let plain = d.elect(&all, &[0.5, 1.0, 0.2], Vote::Plain, Divisor::AgreeingWeightsFrom(0.6));
                out.extend(bytes(plain.unwrap().values()));
                let mut bins = vec![0; Window::ALL.bins];
                let above = d.abs_counts(&bx, Window::ALL, &mut bins).unwrap();
                out.extend(above.above.to_le_bytes());
                out.extend(above.residue.to_le_bytes());
                out.extend(bins.iter().flat_map(|b| b.to_le_bytes()));
                out.extend(d.line_dots(&bx, &by, 300).unwrap().iter().flat_map(|x| x.to_le_bytes()));
                out.extend(d.line_abs_sums(&bx, 300).unwrap().iter().flat_map(|x| x.to_le_bytes()));
                let vote = d
                    .elect(&[bx, by, bz], &[0.5, 1.0, -0.2], Vote::Weighted, Divisor::AgreeingWeights)
                    .unwrap();
                out.extend(bytes(vote.values()));
                out
            };
            assert_eq!(run(&d), run(&plain), "{d:?} {len}");
        }
    }
}

#[test]
fn several_blocks_meet_element_by_element() {
    let d = Cpu::new();
    let block = |x: &[f32]| buf(&d, x);
    let deltas =
        || [block(&[1.0, 0.0, 5.0, 2.0]), block(&[3.0, 0.0, 5.0, 0.0]), block(&[-1.0, 4.0, 5.0, 0.0])];
    assert_eq!(d.variance(&deltas()).unwrap().values(), [8.0 / 3.0, 32.0 / 9.0, 0.0, 8.0 / 9.0]);
    // Three change it, one alone by its factor, three, one alone.
    assert_eq!(d.pool(&deltas(), 0.5, &[10.0, 1.0, 0.5]).unwrap().values(), [1.0, 2.0, 5.0, 20.0]);
    let overlaps = d.overlaps(&deltas(), 0.5).unwrap();
    assert_eq!(overlaps.iter().map(|o| (o.shared, o.alone)).collect::<Vec<_>>(), [(2, 1), (2, 0), (2, 1)]);
    // The weighted votes of the first element sum to less than zero, the plain ones to more.
    let vote = |vote| d.elect(&deltas(), &[0.1, 0.1, 0.8], vote, Divisor::One).unwrap().values()[0];
    assert_eq!((vote(Vote::Weighted), vote(Vote::Plain)), (-0.8, 0.1 + 0.1 * 3.0));
    let least = Divisor::AgreeingWeightsFrom(0.4);
    let merged = d.elect(&deltas(), &[0.125, 0.125, 0.75], Vote::Plain, least).unwrap();
    assert_eq!(merged.values()[..2], [0.5 / 0.4, 4.0]);
}

#[test]
fn divergences_are_those_of_the_definition() {
    let d = Cpu::new();
    let (x, y) = (pattern(90, 31), pattern(90, 37));
    let softmax = |x: &[f32]| -> Vec<f64> {
        let total: f64 = x.iter().map(|x| f64::from(*x).exp()).sum();
        x.iter().map(|x| f64::from(*x).exp() / total + 1e-8).collect()
    };
    let rows = d.row_divergences(&buf(&d, &x), &buf(&d, &y), 45).unwrap();
    for (row, (x, y)) in rows.iter().zip(x.chunks(45).zip(y.chunks(45))) {
        let want: f64 = softmax(x).iter().zip(softmax(y)).map(|(p, q)| p * (p / q).ln()).sum();
        assert!((row - want).abs() < 1e-14, "{row} {want}");
    }
    assert_eq!(d.row_divergences(&buf(&d, &x), &buf(&d, &x), 90).unwrap(), [0.0]);
}

#[test]
fn random_drop_is_the_same_from_any_starting_point() {
    let d = Cpu::new();
    let draw = Draw::new(philox::key(5, "t", 1), 0.5);
    let ones = vec![1.0; 1000];
    let mut whole = buf(&d, &ones);
    d.keep_random(&mut whole, draw, 0).unwrap();
    for (start, end) in [(0, 1), (1, 2), (3, 70), (63, 65), (64, 200), (129, 1000)] {
        let mut part = buf(&d, &ones[start..end]);
        d.keep_random(&mut part, draw, start as u64).unwrap();
        assert_eq!(part.values(), &whole.values()[start..end]);
    }
    let kept = whole.values().iter().filter(|x| **x != 0.0).count();
    assert!((400..600).contains(&kept), "{kept}");
    for (density, want) in [(0.0, 0.0), (1.0, 1.0)] {
        let mut all = buf(&d, &ones);
        d.keep_random(&mut all, Draw::new(1, density), 0).unwrap();
        assert!(all.values().iter().all(|x| *x == want));
    }
}

/// By the definition: ranks by sorting, then each draw against its chance.
#[test]
fn ranks_decide_as_the_definition_says() {
    let d = Cpu::new();
    let draw = RankedDraw { key: philox::key(9, "t", 0), density: 0.45, epsilon: 0.4 };
    // Rows that are counted whole, that have a histogram, and that must be sorted; with ties.
    for (width, period) in [(1, 7), (2, 7), (100, 41), (700, 211), (700, 3), (9000, 5), (70_000, 997)] {
        let x = pattern(2 * width, period);
        let mut draws = vec![0; 2 * width];
        simd::draws(d.level, draw.key, 30, &mut draws);
        let mut thinned = buf(&d, &x);
        d.keep_ranked(&mut thinned, width, draw, 30).unwrap();
        for (row, start) in [(&x[..width], 0), (&x[width..], width)] {
            let mut order: Vec<usize> = (0..width).collect();
            order.sort_by(|a, b| row[*a].abs().total_cmp(&row[*b].abs()).then(a.cmp(b)));
            for (rank, i) in order.into_iter().enumerate() {
                let share = if width > 1 { rank as f64 / (width - 1) as f64 } else { 0.5 };
                let chance = draw.density - draw.epsilon + 2.0 * draw.epsilon * share;
                let keep = f64::from(draws[start + i]) / f64::from(1u32 << 24) < chance;
                assert_eq!(thinned.values()[start + i], if keep { row[i] } else { 0.0 }, "{width} {i}");
            }
        }
    }
}

#[test]
fn draws_are_those_of_an_even_drop() {
    let d = Cpu::new();
    let draw = Draw::new(12, 0.3);
    let mut kept = buf(&d, &vec![1.0; 700]);
    d.keep_random(&mut kept, draw, 45).unwrap();
    let mut draws = vec![0; 700];
    simd::draws(d.level, draw.key, 45, &mut draws);
    for (kept, draw_of) in kept.values().iter().zip(draws) {
        assert_eq!(*kept == 1.0, draw_of < draw.keep_below);
    }
}

#[test]
fn counting_and_cutting_agree_with_a_sort() {
    let x = pattern(3000, 211);
    let key = |x: f32| x.abs().to_bits();
    for d in devices() {
        let b = buf(&d, &x);
        for window in [
            Window::ALL,
            Window { low: key(0.25), shift: 0, bins: 1 },
            Window { low: 1024, shift: 9, bins: 77 },
            Window { low: key(0.1) & !0xffff, shift: 16, bins: 200 },
        ] {
            let mut bins = vec![0; window.bins];
            let Outside { above, residue } = d.abs_counts(&b, window, &mut bins).unwrap();
            let mut want = vec![0; window.bins];
            let (mut want_above, mut want_residue) = (0, 0);
            for x in &x {
                if u64::from(key(*x)) >= window.high() {
                    want_above += 1;
                } else if key(*x) >= window.low {
                    want[((key(*x) - window.low) >> window.shift) as usize] += 1;
                    want_residue |= key(*x) & ((1 << window.shift) - 1);
                }
            }
            assert_eq!((above, residue, bins), (want_above, want_residue, want));
        }
        let cut = Cut { key: key(0.5), last: 1700 };
        let mut rest = buf(&d, &x);
        d.drop_largest(&mut rest, cut, 500).unwrap();
        let mut kept = buf(&d, &x);
        d.keep_largest(&mut kept, cut, 500).unwrap();
        for (i, (kept, x)) in kept.values().iter().zip(&x).enumerate() {
            let keep = key(*x) > cut.key || key(*x) == cut.key && i as u64 + 500 <= cut.last;
            assert_eq!(*kept, if keep { *x } else { 0.0 });
            assert_eq!(rest.values()[i], if keep { 0.0 } else { *x });
        }
    }
}

#[test]
fn rows_of_a_product_are_summed_in_order_at_any_width() {
    let (rank, stride) = (7, LINE + 130);
    let (left, right) = (pattern(rank, 11), pattern(rank * stride, 127));
    for len in LENGTHS {
        let sum = |column: usize| (0..rank).fold(0.0, |sum, k| sum + left[k] * right[k * stride + column]);
        for d in devices() {
            // From the first column on, and from one in the middle.
            for first in [0, 3] {
                let mut out = vec![f32::NAN; len];
                d.combine(&left, &right[first..], stride, &mut out);
                let want: Vec<f32> = (0..len).map(|column| sum(first + column)).collect();
                assert_eq!(bytes(&out), bytes(&want), "{len} from {first}");
            }
        }
    }
}
