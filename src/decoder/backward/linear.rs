//! Projections.

use crate::decoder::layout::Gradients;
use crate::decoder::matmul::{Linear, Old, View, Widener, product};

/// Of `y = x · Wᵀ + b`: from `d_y`, `[tokens, outputs]`, to `d_x`, `[tokens, inputs]`, and into the gradients of
/// `W` and `b`.
pub(super) fn backward(
    linear: &Linear<'_>,
    x: &[f32],
    d_y: &[f32],
    d_x: &mut [f32],
    old: Old,
    widener: &mut Widener,
    gradients: &mut Gradients,
) {
    let (outputs, inputs) = (linear.weight.rows, linear.weight.cols);
    let tokens = x.len() / inputs;
    let x = View::dense(x, tokens, inputs);
    for (first, weight) in linear.parts() {
        let d_part = View::strided(&d_y[first..], tokens, weight.rows, outputs);
        let d_weight = gradients.at(weight.place, weight.rows * inputs);
        product(d_weight, inputs, Old::Add, 1.0, d_part.t(), x);
        let values = View::dense(widener.all(&weight), weight.rows, inputs);
        let old = if first == 0 { old } else { Old::Add };
        product(d_x, inputs, old, 1.0, d_part, values);
    }
    if let Some(bias) = &linear.bias {
        let d_bias = gradients.at(bias.place, outputs);
        for row in d_y.chunks_exact(outputs) {
            d_bias.iter_mut().zip(row).for_each(|(d, y)| *d += y);
        }
    }
}
