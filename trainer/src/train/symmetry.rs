//! How far a clone has left its symmetry.
//!
//! A clone by HyperCloning repeats each matrix in blocks. Without noise the blocks get the same gradients and stay the
//! same for ever, and the wide model can represent nothing that the small one cannot.

use super::model::Model;

/// `‖W − tile average‖ / ‖W‖` over all projections of a model, taken as `copies · copies` blocks each: 0 for a clone
/// without noise, √(1 − 1/copies²) for matrices without any likeness of blocks. `None` if no projection has blocks.
pub fn asymmetry(model: &Model, copies: usize) -> Option<f64> {
    let (mut apart, mut all) = (0.0, 0.0);
    for slot in model.layout().slots() {
        let [rows, cols] = slot.shape[..] else { continue };
        let projection = slot.name.ends_with("_proj.weight");
        if !projection || !rows.is_multiple_of(copies) || !cols.is_multiple_of(copies) {
            continue;
        }
        let values = &model.values()[slot.range.clone()];
        let (high, wide) = (rows / copies, cols / copies);
        for (i, j) in (0..high).flat_map(|i| (0..wide).map(move |j| (i, j))) {
            let blocks = (0..copies * copies)
                .map(|b| f64::from(values[(i + b / copies * high) * cols + j + b % copies * wide]));
            let mean = blocks.clone().sum::<f64>() / (copies * copies) as f64;
            blocks.for_each(|x| {
                apart += (x - mean) * (x - mean);
                all += x * x;
            });
        }
    }
    (all > 0.0).then(|| (apart / all).sqrt())
}
