//! Every primitive, with fresh random blocks.

use growmerge::checkpoint::DType;
use growmerge::device::cpu::Cpu;
use growmerge::device::{
    Chunk, Cut, Device, Divisor, Draw, Finiteness, Importance, LINE, ModelImportance, Power, RankedDraw,
    Vote, Window,
};
use growmerge::problem::ExecError;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::card::devices;
use super::host::{Host, Threads};

const ROOM: usize = 1 << 30;

/// 16 + 8 + … + 1 elements visit every tail; some are longer than a line.
const LENGTHS: [usize; 8] = [1, 3, 4, 31, 63, 64, 1000, LINE + 127];

/// Ordinary numbers, zeros of both signs, equals, subnormals, large and small ones.
fn block(rng: &mut StdRng, len: usize) -> Vec<f32> {
    let one = |_| match rng.random_range(0..12) {
        0 => 0.0,
        1 => -0.0,
        2 => 0.25,
        3 => f32::from_bits(rng.random_range(1..4000)),
        4 => f32::from_bits(rng.random::<u32>() & 0xbfff_ffff) * 1e-3,
        _ => rng.random_range(-1.0f32..1.0),
    };
    (0..len).map(one).map(|x: f32| if x.is_finite() { x } else { 1.0 }).collect()
}

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn load<D: Device>(d: &D, x: &[f32]) -> Result<D::Buf, ExecError> {
    d.load(Chunk { dtype: DType::F32, bytes: &bytes(x) })
}

/// A block's bits; zeros of either sign are told apart.
fn see<D: Device>(d: &D, x: &D::Buf, len: usize) -> Result<Vec<u8>, ExecError> {
    let mut out = vec![0; 4 * len];
    d.store(x, DType::F32, &mut out)?;
    Ok(out)
}

/// What every primitive makes of some blocks: a name, and bytes.
type Results = Vec<(&'static str, Vec<u8>)>;

fn words<T: bytemuck::Pod>(x: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(x).to_vec()
}

/// One element after another.
fn elementwise<D: Device>(d: &D, blocks: &[Vec<f32>], out: &mut Results) -> Result<(), ExecError> {
    let [x, y, z, ..] = blocks else { panic!() };
    let len = x.len();
    let (by, bz) = (load(d, y)?, load(d, z)?);
    let mut note = |name, x: &D::Buf| see(d, x, len).map(|bytes| out.push((name, bytes)));
    note("zeros", &d.zeros(len)?)?;
    note("load", &load(d, x)?)?;
    note("delta", &d.delta(Chunk { dtype: DType::F32, bytes: &bytes(x) }, &by)?)?;
    let mut sum = load(d, x)?;
    d.add_scaled(&mut sum, -1.7, Chunk { dtype: DType::F32, bytes: &bytes(z) })?;
    note("add_scaled", &sum)?;
    d.axpy(&mut sum, 0.3, &by)?;
    note("axpy", &sum)?;
    d.scale(&mut sum, 1.1)?;
    note("scale", &sum)?;
    d.divide(&mut sum, 3.0)?;
    note("divide", &sum)?;
    d.add(&mut sum, &bz)?;
    note("add", &sum)?;
    d.scale_rows(&mut sum, 50, &z[..len.div_ceil(50).min(len)])?;
    note("scale_rows", &sum)?;
    d.scale_columns(&mut sum, &y[..len.min(31)])?;
    note("scale_columns", &sum)?;
    let mut divided = load(d, x)?;
    d.divide_each(&mut divided, &bz, 0.3)?;
    note("divide_each", &divided)?;
    for (name, first, last) in
        [("keep_largest", 17, 500), ("keep_largest of none", 0, 0), ("… of all", 3, u64::MAX)]
    {
        let mut kept = load(d, x)?;
        d.keep_largest(&mut kept, Cut { key: 0.25f32.to_bits(), last }, first)?;
        note(name, &kept)?;
    }
    let mut dropped = load(d, x)?;
    d.drop_largest(&mut dropped, Cut { key: 0.25f32.to_bits(), last: 500 }, 17)?;
    note("drop_largest", &dropped)?;
    d.keep_where(&mut dropped, &by)?;
    note("keep_where", &dropped)?;
    for first in [0, 1, 17, (1 << 34) - 5] {
        let mut drawn = load(d, x)?;
        d.keep_random(&mut drawn, Draw::new(0x1234_5678_9abc_def0, 0.4), first)?;
        note("keep_random", &drawn)?;
    }
    let mut near = load(d, x)?;
    d.near_swap(&mut near, &by, 1e-2)?;
    note("near_swap", &near)?;
    Ok(())
}

/// Several blocks at once.
fn together<D: Device>(d: &D, blocks: &[Vec<f32>], out: &mut Results) -> Result<(), ExecError> {
    let len = blocks[0].len();
    let all = blocks.iter().map(|x| load(d, x)).collect::<Result<Vec<_>, _>>()?;
    let others = blocks.iter().rev().map(|x| load(d, x)).collect::<Result<Vec<_>, _>>()?;
    let positive: Vec<Vec<f32>> = blocks.iter().map(|x| x.iter().map(|x| x.abs()).collect()).collect();
    let positive = positive.iter().map(|x| load(d, x)).collect::<Result<Vec<_>, _>>()?;
    let weights: Vec<f32> = (0..all.len()).map(|i| 0.7 - 0.45 * i as f32).collect();
    let mut note = |name, x: &D::Buf| see(d, x, len).map(|bytes| out.push((name, bytes)));
    for divisor in [Divisor::One, Divisor::AgreeingWeights, Divisor::AgreeingWeightsFrom(0.6)] {
        note("elect", &d.elect(&all, &weights, Vote::Weighted, divisor)?)?;
        note("elect, plain votes", &d.elect(&all, &weights, Vote::Plain, divisor)?)?;
        note("elect_weighted", &d.elect_weighted(&all, &others, divisor)?)?;
    }
    note("variance", &d.variance(&all)?)?;
    note("pool", &d.pool(&all, 0.3, &weights)?)?;
    let models: Vec<ModelImportance> = (0..all.len())
        .map(|i| ModelImportance { weight: 0.3 + i as f64, divisor: 1.0 / (1.0 + i as f64) })
        .collect();
    for (exponent, floor) in [(0.0, 0.0), (0.5, 1e-3), (1.0, 0.0), (0.7, 1e-3), (3.3, 0.0)] {
        let by = Importance { models: models.clone(), floor, power: Power::of(exponent) };
        note("mean_by_importance", &d.mean_by_importance(&all, &positive, &by)?)?;
    }
    let overlaps = d.overlaps(&all, 0.3)?;
    out.push(("overlaps", words(&overlaps.iter().flat_map(|o| [o.shared, o.alone]).collect::<Vec<_>>())));
    Ok(())
}

/// Sums, counts, and whole rows.
fn reductions<D: Device>(d: &D, blocks: &[Vec<f32>], out: &mut Results) -> Result<(), ExecError> {
    let [x, y, ..] = blocks else { panic!() };
    let len = x.len();
    let (bx, by) = (load(d, x)?, load(d, y)?);
    for line in [1, 7, 300, LINE] {
        out.push(("line_dots", words(&d.line_dots(&bx, &by, line)?)));
        out.push(("line_dots with itself", words(&d.line_dots(&bx, &bx, line)?)));
        out.push(("line_abs_sums", words(&d.line_abs_sums(&bx, line)?)));
        out.push(("equal_counts", words(&d.equal_counts(&bx, 0.25f32.to_bits(), line)?)));
        out.push(("row_divergences", words(&d.row_divergences(&bx, &by, line)?)));
    }
    for width in [1, 31, len] {
        let mut sums = vec![0.5; width];
        d.add_column_dots(&bx, &by, &mut sums)?;
        out.push(("add_column_dots", words(&sums)));
        let values: Vec<f32> = y.iter().take(len / width).copied().collect();
        let repeated = d.repeat_rows(&values, width)?;
        out.push(("repeat_rows", see(d, &repeated, values.len() * width)?));
    }
    let key = |x: f32| x.to_bits();
    for window in [
        Window::ALL,
        Window { low: key(0.25), shift: 0, bins: 1 },
        Window { low: 1024, shift: 9, bins: 77 },
        Window { low: key(0.1) & !0xffff, shift: 16, bins: 200 },
    ] {
        let mut bins = vec![3; window.bins];
        let outside = d.abs_counts(&bx, window, &mut bins)?;
        out.push(("abs_counts", words(&bins)));
        out.push(("abs_counts outside", words(&[outside.above, u64::from(outside.residue)])));
    }
    for width in [1, 2, 4, 8, 41, 103, 250, 500, len].into_iter().filter(|width| len % width == 0) {
        let mut ranked = load(d, x)?;
        d.keep_ranked(&mut ranked, width, RankedDraw { key: 7, density: 0.5, epsilon: 0.3 }, 62)?;
        // A zero that is dropped and one that is kept are the same, but for their sign.
        let bits: Vec<u32> =
            words_of(&see(d, &ranked, len)?).map(|b| if b << 1 == 0 { 0 } else { b }).collect();
        out.push(("keep_ranked", words(&bits)));
    }
    Ok(())
}

fn words_of(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()))
}

fn all<D: Device>(d: &D, blocks: &[Vec<f32>]) -> Results {
    let mut out = Vec::new();
    elementwise(d, blocks, &mut out).unwrap();
    together(d, blocks, &mut out).unwrap();
    reductions(d, blocks, &mut out).unwrap();
    out
}

fn agree(threads: Threads, lengths: &[usize], models: &[usize]) {
    let devices = devices(threads);
    for len in lengths {
        let seed = rand::random();
        let mut rng = StdRng::seed_from_u64(seed);
        for models in models {
            let blocks: Vec<Vec<f32>> = (0..*models).map(|_| block(&mut rng, *len)).collect();
            let want = all(&Cpu::new(), &blocks);
            for cuda in &devices {
                for (cpu, cuda) in want.iter().zip(all(cuda, &blocks)) {
                    assert_eq!(cpu.0, cuda.0);
                    assert_eq!(cpu.1, cuda.1, "{} of {models} blocks of {len}, seed {seed}", cpu.0);
                }
            }
        }
    }
}

#[test]
fn every_primitive_gives_the_same_bytes() {
    agree(Threads::One, &LENGTHS, &[3, 5]);
}

/// Barriers and shared memory count here.
#[test]
fn threads_of_a_block_side_by_side_give_the_same_bytes() {
    agree(Threads::Together(6), &[1000], &[3]);
}

/// Every bit pattern of the narrow types, and all exponents of the wide ones, there and back.
#[test]
fn every_type_is_read_and_stored_alike() {
    let devices = devices(Threads::One);
    let narrow: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mantissas = [0, 0x0fff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000, 0x7f_ffff];
    let wide: Vec<f32> = (0..=255u32)
        .flat_map(|e| mantissas.map(|m| f32::from_bits(e << 23 | m)))
        .flat_map(|x| [x, -x])
        .collect();
    let wider: Vec<u8> = wide.iter().flat_map(|x| (f64::from(*x) * (1.0 + 1e-9)).to_le_bytes()).collect();
    let chunks = [
        Chunk { dtype: DType::BF16, bytes: &narrow },
        Chunk { dtype: DType::F16, bytes: &narrow },
        Chunk { dtype: DType::F32, bytes: &bytes(&wide) },
        Chunk { dtype: DType::F64, bytes: &wider },
    ];
    fn stored<D: Device>(d: &D, chunk: Chunk<'_>, to: DType) -> (Vec<u8>, Finiteness) {
        let mut out = vec![0; chunk.len() * to.size()];
        let finite = d.store(&d.load(chunk).unwrap(), to, &mut out).unwrap();
        (out, finite)
    }
    for chunk in chunks {
        for to in [DType::BF16, DType::F16, DType::F32, DType::F64] {
            let cpu = stored(&Cpu::new(), chunk, to);
            assert_eq!(cpu.1, Finiteness::NonFinite);
            for cuda in &devices {
                assert!(cpu == stored(cuda, chunk, to), "{:?} to {to:?}", chunk.dtype);
            }
        }
    }
    for cuda in &devices {
        let finite = Chunk { dtype: DType::F32, bytes: &bytes(&[1.0, -2.0, 3.0]) };
        assert_eq!(stored(cuda, finite, DType::F16).1, Finiteness::Finite);
        let integers = Chunk { dtype: DType::I64, bytes: &[0; 8] };
        assert!(matches!(cuda.load(integers), Err(ExecError::NoArithmetic { .. })));
    }
}

#[test]
fn empty_blocks_are_no_trouble() {
    let Some(host) = Host::new(Threads::One, ROOM) else { return };
    let (cuda, shared) = host.device();
    let nothing = cuda.load(Chunk::NOTHING).unwrap();
    assert_eq!(cuda.store(&nothing, DType::F32, &mut []).unwrap(), Finiteness::Finite);
    assert!(cuda.line_dots(&nothing, &nothing, LINE).unwrap().is_empty());
    assert!(cuda.overlaps(&[], 0.1).unwrap().is_empty());
    let variance = cuda.variance(&[]).unwrap();
    assert_eq!(cuda.store(&variance, DType::F32, &mut []).unwrap(), Finiteness::Finite);
    assert_eq!(shared.launches.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// A sum of more blocks than one kernel takes, and ranks in rows that are too long to be counted.
#[test]
fn what_is_too_large_for_a_kernel_is_done_in_parts() {
    let devices = devices(Threads::One);
    let mut rng = StdRng::seed_from_u64(rand::random());
    let many: Vec<Vec<f32>> = (0..900).map(|_| block(&mut rng, 9)).collect();
    fn sum<D: Device>(d: &D, many: &[Vec<f32>]) -> Vec<u8> {
        let mut sum = d.zeros(9).unwrap();
        for (i, x) in many.iter().enumerate() {
            d.axpy(&mut sum, 1.0 / (i + 1) as f32, &load(d, x).unwrap()).unwrap();
        }
        see(d, &sum, 9).unwrap()
    }
    for cuda in &devices {
        assert_eq!(sum(&Cpu::new(), &many), sum(cuda, &many));
    }
    let long = block(&mut rng, 70_000);
    fn ranked<D: Device>(d: &D, x: &[f32]) -> Vec<u8> {
        let mut out = load(d, x).unwrap();
        d.keep_ranked(&mut out, x.len(), RankedDraw { key: 3, density: 0.4, epsilon: 0.2 }, 11).unwrap();
        see(d, &out, x.len()).unwrap()
    }
    for cuda in &devices {
        assert_eq!(ranked(&Cpu::new(), &long), ranked(cuda, &long));
    }
}
