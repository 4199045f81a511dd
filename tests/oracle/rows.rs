//! The methods of differences where every element has weights of its own.

use super::{Deltas, Drop, thin};

/// How a model is weighed.
#[derive(Clone, Debug)]
pub enum Weight {
    Number(f64),
    /// For each row, times a factor for each column.
    Rows(Vec<f64>, Vec<f64>),
    /// By the share of the lengths of the rows of the differences: power, scale.
    Norms(f64, f64),
}

/// The weight of each element of each model.
pub fn weights(all: &[Weight], deltas: &[Vec<f64>], width: usize) -> Vec<Vec<f64>> {
    let rows = deltas[0].len() / width;
    let length =
        |x: &[f64], row: usize| x[row * width..(row + 1) * width].iter().map(|x| x * x).sum::<f64>().sqrt();
    let part = |i: usize, row: usize| match all[i] {
        Weight::Norms(power, _) => length(&deltas[i], row).powf(power),
        _ => 0.0,
    };
    let of = |i: usize, e: usize| {
        let (row, column) = (e / width, e % width);
        match &all[i] {
            Weight::Number(x) => *x,
            Weight::Rows(of_rows, columns) => {
                let row = if of_rows.len() == 1 { of_rows[0] } else { of_rows[row] };
                row * columns.get(column).copied().unwrap_or(1.0)
            }
            Weight::Norms(_, scale) => {
                let total: f64 = (0..all.len()).map(|j| part(j, row)).sum();
                if total > 0.0 { scale * part(i, row) / total } else { 0.0 }
            }
        }
    };
    (0..all.len()).map(|i| (0..rows * width).map(|e| of(i, e)).collect()).collect()
}

pub fn linear(models: &[Vec<f64>], weights: &[Vec<f64>], normalize: bool) -> Vec<f64> {
    let element = |e: usize| {
        let sum: f64 = models.iter().zip(weights).map(|(x, w)| w[e] * x[e]).sum();
        let total: f64 = weights.iter().map(|w| w[e]).sum();
        if normalize { sum / total } else { sum }
    };
    (0..models[0].len()).map(element).collect()
}

pub fn differences(base: &[f64], models: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let of = |x: &Vec<f64>| x.iter().zip(base).map(|(x, b)| f64::from((x - b) as f32)).collect();
    models.iter().map(of).collect()
}

pub struct RowDeltas {
    /// Of each element of each model.
    pub weights: Vec<Vec<f64>>,
    pub drops: Vec<Drop>,
    pub elect: bool,
    pub normalize: bool,
    pub lambda: f64,
}

impl RowDeltas {
    /// Of the two results where a vote nearly cancels out, the one near `got`.
    pub fn merge_near(&self, base: &[f64], models: &[Vec<f64>], got: &[f64]) -> Vec<f64> {
        let deltas: Vec<Vec<f64>> =
            differences(base, models).into_iter().zip(&self.drops).map(|(x, drop)| thin(x, drop)).collect();
        let element = |e: usize| {
            let one = Deltas {
                weights: self.weights.iter().map(|w| w[e]).collect(),
                drops: Vec::new(),
                elect: self.elect,
                normalize: self.normalize,
                lambda: 1.0,
            };
            let x: Vec<f64> = deltas.iter().map(|d| d[e]).collect();
            let [a, b] = [1e-6, -1e-6].map(|bias| base[e] + self.lambda * one.mix(&x, bias));
            if (a - got[e]).abs() < (b - got[e]).abs() { a } else { b }
        };
        (0..base.len()).map(element).collect()
    }
}
