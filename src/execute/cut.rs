//! The search for the k-th largest magnitude by counting passes.
//!
//! Magnitudes sort like their bit patterns ([`Window`]), so counting how many fall into which bin of a
//! window finds the threshold exactly: narrow the window to the bin in which the k-th largest lies until
//! a bin is one key wide. A guess from a sample makes the first window so narrow that one pass is
//! nearly always enough; a wrong guess costs a pass, never the result.

use crate::device::{Cut, Outside, Window};

/// Bins of one counting pass at most: 1 MiB of counters.
pub(super) const MAX_BINS: usize = 1 << 18;
/// Enough where all inputs are 16-bit floats, whose differences leave wide bins exact: counters that
/// stay in the cache.
pub(super) const FEW_BINS: usize = 1 << 15;
/// One past the largest key of an f32.
const KEYS: u64 = 1 << 31;

/// What the next pass over the tensor must count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Magnitudes in a window.
    Count(Window),
    /// Where the elements equal to `key` are, to keep the first `take` of them.
    Locate { key: u32, take: u64 },
    /// Nothing.
    Done(Cut),
}

/// A search in progress: feed it counts until it is done.
#[derive(Clone, Debug)]
pub(super) struct CutSearch {
    pub(super) keep: u64,
    max_bins: usize,
    pub(super) step: Step,
}

/// A window over the keys `low..high`, and some before them, in at most `max_bins` bins.
pub(super) fn window(low: u64, high: u64, max_bins: usize) -> Window {
    let mut shift = 0;
    loop {
        let start = low >> shift << shift;
        let bins = high.saturating_sub(start).max(1).div_ceil(1 << shift);
        if bins <= max_bins as u64 {
            return Window { low: start as u32, shift, bins: bins as usize };
        }
        shift += 1;
    }
}

impl CutSearch {
    /// A search for the `keep`-th largest (counted from 1); `guess` is a range of keys in which it
    /// probably lies, both ends included.
    pub(super) fn new(keep: u64, guess: Option<(u32, u32)>, max_bins: usize) -> Self {
        let max_bins = max_bins.clamp(2, MAX_BINS);
        let first = match guess {
            Some((low, high)) => window(u64::from(low), u64::from(high) + 1, max_bins),
            None if max_bins >= Window::ALL.bins => Window::ALL,
            None => window(0, KEYS, max_bins),
        };
        Self { keep, max_bins, step: Step::Count(first) }
    }

    /// Takes the counts of the window that [`Step::Count`] asked for: outside of it and in its `bins`.
    pub(super) fn counted(&mut self, outside: Outside, bins: &[u64]) {
        let Step::Count(asked) = self.step else { return };
        if outside.above >= self.keep {
            self.step = Step::Count(window(asked.high(), KEYS, self.max_bins));
            return;
        }
        let mut larger = outside.above;
        for (bin, count) in bins.iter().enumerate().rev() {
            if larger + count >= self.keep {
                let low = u64::from(asked.low) + ((bin as u64) << asked.shift);
                self.step = if asked.shift == 0 || outside.residue == 0 {
                    self.found(low as u32, self.keep - larger, *count)
                } else {
                    Step::Count(window(low, low + (1 << asked.shift), self.max_bins))
                };
                return;
            }
            larger += count;
        }
        self.step = Step::Count(window(0, u64::from(asked.low), self.max_bins));
    }

    /// `take` of the `equal` elements with the threshold's key are kept.
    fn found(&self, key: u32, take: u64, equal: u64) -> Step {
        // Which zeros are kept makes no difference: they are zero either way.
        if take == equal || key == 0 {
            Step::Done(Cut { key, last: u64::MAX })
        } else {
            Step::Locate { key, take }
        }
    }

    /// Takes the flat index of the last kept element among the equals.
    pub(super) fn located(&mut self, last: u64) {
        if let Step::Locate { key, .. } = self.step {
            self.step = Step::Done(Cut { key, last });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(x: &[f32], w: Window) -> (Outside, Vec<u64>) {
        let mut bins = vec![0; w.bins];
        let mut outside = Outside::default();
        for x in x {
            let key = x.abs().to_bits();
            if u64::from(key) >= w.high() {
                outside.above += 1;
            } else if key >= w.low {
                outside.residue |= key & ((1 << w.shift) - 1);
                bins[((key - w.low) >> w.shift) as usize] += 1;
            }
        }
        (outside, bins)
    }

    /// The definition: sort by magnitude, largest first, lower index first among equals; cut at k.
    fn naive(x: &[f32], keep: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..x.len()).collect();
        order.sort_by(|a, b| x[*b].abs().total_cmp(&x[*a].abs()).then(a.cmp(b)));
        let mut kept = vec![false; x.len()];
        order[..keep].iter().for_each(|i| kept[*i] = true);
        kept
    }

    proptest! {
        #[test]
        fn finds_what_a_sort_finds_from_any_guess(
            x in proptest::collection::vec(prop_oneof![Just(0.0f32), (-2i8..3).prop_map(f32::from), any::<f32>().prop_filter("number", |x| !x.is_nan())]
                , 2..60),
            share in 0.0..1.0f64,
            guess in proptest::option::of((0u32..0x7f80_0000, 0u32..0x100_0000)),
            max_bins in 2usize..5000,
        ) {
            let keep = ((share * x.len() as f64) as usize).max(1);
            let guess = guess.map(|(low, span)| (low, low.saturating_add(span).min(0x7fff_ffff)));
            let mut search = CutSearch::new(keep as u64, guess, max_bins);
            let cut = loop {
                match search.step {
                    Step::Count(w) => {
                        let (outside, bins) = count(&x, w);
                        search.counted(outside, &bins);
                    }
                    Step::Locate { key, take } => {
                        let mut equal = x.iter().enumerate().filter(|(_, x)| x.abs().to_bits() == key);
                        search.located(equal.nth(take as usize - 1).unwrap().0 as u64);
                    }
                    Step::Done(cut) => break cut,
                }
            };
            for (i, (x, kept)) in x.iter().zip(naive(&x, keep)).enumerate() {
                let key = x.abs().to_bits();
                let keeps = key > cut.key || key == cut.key && i as u64 <= cut.last;
                prop_assert!(keeps == kept || *x == 0.0);
            }
        }
    }
}
