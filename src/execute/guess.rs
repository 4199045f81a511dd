//! Where a cut probably is, so that one counting pass finds it.

use super::cut::{self, FEW_BINS};
use super::search::Wanted;
use crate::device::{Device, LINE, Window};
use crate::problem::ExecError;

/// Where a cut probably is, judged from a sample.
#[derive(Debug)]
pub(super) struct Guess {
    /// The range of keys, both ends included.
    pub(super) range: (u32, u32),
    /// The likeliest keys, if there are few.
    pub(super) likely: Vec<u32>,
}

/// Guesses where the cut among `elements` magnitudes is, from a sample of them.
pub(super) fn guess<D: Device>(
    d: &D,
    sample: &D::Buf,
    sampled: u64,
    wanted: Wanted,
    elements: u64,
) -> Result<Guess, ExecError> {
    let share = match wanted {
        Wanted::Count(keep) => keep as f64 / elements as f64,
        Wanted::OfNonZero(share) => {
            let zeros: u32 = d.equal_counts(sample, 0, LINE)?.into_iter().sum();
            share * (1.0 - f64::from(zeros) / sampled as f64)
        }
    };
    let rank = share * sampled as f64;
    // Neighbours resemble each other, so the sample is worth less than its size: four standard
    // deviations of a sample four times smaller.
    let margin = 4.0 * (4.0 * sampled as f64 * share * (1.0 - share)).sqrt() + 4.0;
    let mut all = vec![0; Window::ALL.bins];
    let above = d.abs_counts(sample, Window::ALL, &mut all)?.above;
    let first_key = |bin: usize| (bin as u32) << Window::ALL.shift;
    let low = bin_at(above, &all, rank + margin).map_or(0, first_key);
    let high = bin_at(above, &all, rank - margin).map_or(0x7fff_ffff, |bin| first_key(bin + 1) - 1);

    // A closer look for keys that many elements have.
    let window = cut::window(u64::from(low), u64::from(high) + 1, FEW_BINS);
    let mut bins = vec![0; window.bins];
    let outside = d.abs_counts(sample, window, &mut bins)?;
    let mut likely = Vec::new();
    if let Some(at) = bin_at(outside.above, &bins, rank)
        && (window.shift == 0 || outside.residue == 0)
    {
        let filled = |bin: &usize| bins[*bin] > 0;
        likely.extend((0..=at).rev().filter(filled).take(2));
        likely.extend((at + 1..bins.len()).find(filled));
    }
    let key = |bin: usize| window.low + ((bin as u32) << window.shift);
    Ok(Guess { range: (low, high), likely: likely.into_iter().map(key).collect() })
}

/// The bin with the magnitude of a rank, 1 being the largest.
fn bin_at(above: u64, bins: &[u32], rank: f64) -> Option<usize> {
    let mut larger = above as f64;
    if rank < larger.max(1.0) {
        return None;
    }
    bins.iter().rposition(|count| {
        larger += f64::from(*count);
        larger >= rank
    })
}
