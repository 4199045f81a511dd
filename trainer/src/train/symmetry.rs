//! How far a clone has left its symmetry.
//!
//! A clone by HyperCloning repeats each matrix in blocks. Without noise the blocks get the same gradients and stay the
//! same for ever, and the wide model can represent nothing that the small one cannot.

use growmerge::decoder::Slot;

use super::model::Model;

/// How far blocks of a matrix are apart: squares of differences from their mean, and of everything.
#[derive(Clone, Copy, Debug, Default)]
struct Apart {
    apart: f64,
    all: f64,
}

/// Adds those of a matrix, row by row, that is cut into `blocks` rows and columns of blocks; nothing if it cannot be.
fn add(sums: &mut Apart, slot: &Slot, values: &[f32], blocks: [usize; 2]) {
    let [rows, cols] = slot.shape[..] else { return };
    let [down, across] = blocks;
    if !rows.is_multiple_of(down) || !cols.is_multiple_of(across) {
        return;
    }
    let (high, wide) = (rows / down, cols / across);
    for (i, j) in (0..high).flat_map(|i| (0..wide).map(move |j| (i, j))) {
        let blocks = (0..down * across)
            .map(|b| f64::from(values[(i + b / across * high) * cols + j + b % across * wide]));
        let mean = blocks.clone().sum::<f64>() / (down * across) as f64;
        blocks.for_each(|x| {
            sums.apart += (x - mean) * (x - mean);
            sums.all += x * x;
        });
    }
}

fn projections(model: &Model) -> impl Iterator<Item = (&Slot, &[f32])> {
    let slots = model.layout().slots().iter().filter(|s| s.name.ends_with("_proj.weight"));
    slots.map(|s| (s, &model.values()[s.range.clone()]))
}

/// `‖W − tile average‖ / ‖W‖` over all projections of a model, taken as `copies · copies` blocks each: 0 for a clone
/// without noise, √(1 − 1/copies²) for matrices without any likeness of blocks. `None` if no projection has blocks.
pub fn asymmetry(model: &Model, copies: usize) -> Option<f64> {
    let mut sums = Apart::default();
    for (slot, values) in projections(model) {
        add(&mut sums, slot, values, [copies, copies]);
    }
    (sums.all > 0.0).then(|| (sums.apart / sums.all).sqrt())
}

/// Numbers of copies that are looked for; those of any other width up to ten are made of them.
const COPIES: [usize; 4] = [2, 3, 5, 7];
/// The largest [`asymmetry`] of copies that were rounded.
const ROUNDED: f64 = 1e-6;

/// A projection that consists of copies, whatever the width, above each other or side by side: its model is a clone
/// without noise, or was made wider inside only.
pub(super) fn symmetric(model: &Model) -> Option<&str> {
    let cuts = || COPIES.iter().flat_map(|n| [[*n, 1], [1, *n]]);
    let copies = |slot: &Slot, values: &[f32]| {
        cuts().any(|blocks| {
            let mut sums = Apart::default();
            add(&mut sums, slot, values, blocks);
            sums.all > 0.0 && sums.apart <= ROUNDED * ROUNDED * sums.all
        })
    };
    projections(model).find(|(slot, values)| copies(slot, values)).map(|(slot, _)| slot.name.as_str())
}
