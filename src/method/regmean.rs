//! RegMean: each projection of the merged model does on every model's inputs what that model's own does, as nearly as
//! one matrix can.
//!
//! For a row `r` of the projections `xᵢ[r] = (Σ Gᵢ')⁻¹ Σ Gᵢ'·xᵢ[r]`, with `Gᵢ' = wᵢ·(α·Gᵢ + (1 - α)·diag Gᵢ)`, `Gᵢ` the
//! Gram matrix of what goes into model `i`'s projection and `α` the shrinkage. Tensors without such a matrix are
//! averaged by weight, which may be that of a row. With a base, `xᵢ` are differences from it, and what comes out times `lambda` is added to it.
//!
//! The factor of `Σ Gᵢ'` is made once for each tensor; rows are solved by themselves. All of it is in f64 and on the host.

use super::fisher::{lambda, on_base, weights};
use super::param::{GRAMS, LAMBDA, ROW_WEIGHT_OF_ONE, SHRINKAGE};
use super::weights::{RowLengths, RowWeights, Weights};
use super::{AnyOperator, Base, Beside, Block, Invalid, Method, Operator, Setup};
use crate::checkpoint::DType;
use crate::device::cpu::{Cpu, LANES_OF_ROWS};
use crate::device::{Chunk, Device, Finiteness};
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "regmean",
    summary: "projections that on each model's inputs come nearest to what that model's own do",
    paper: "Jin et al. 2023, Dataless Knowledge Fusion by Merging Weights of Language Models, arXiv 2212.09849",
    base: Base::Optional,
    inputs: 1..=usize::MAX,
    params: &[&GRAMS, &ROW_WEIGHT_OF_ONE, &SHRINKAGE, &LAMBDA],
    prepare,
};

/// A tensor that has no Gram matrix.
#[derive(Debug)]
struct Mean {
    weights: Vec<f32>,
    sum: f32,
    lambda: f32,
}

/// A tensor that has no Gram matrix, and rows with weights of their own.
#[derive(Debug)]
struct RowMean {
    weights: RowWeights,
    lambda: f32,
}

/// A projection.
#[derive(Debug)]
struct RegMean {
    weights: Vec<f64>,
    shrinkage: f64,
    /// Columns.
    width: usize,
    lambda: f32,
}

/// A projection whose sum of Gram matrices is factored.
#[derive(Debug)]
struct Solver {
    weights: Vec<f64>,
    shrinkage: f64,
    width: usize,
    lambda: f32,
    /// Cholesky's, `[width, width]`, of which the lower triangle counts.
    factor: Vec<f64>,
    /// Columns to which no text brought anything in any model: there the mean by weight is as good as any.
    unused: Vec<usize>,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let lambda = lambda(setup)?;
    let shrinkage = setup.global.number(&SHRINKAGE)?;
    match (setup.beside, Weights::of(setup)?) {
        (Beside::Grams, Weights::Numbers(_)) => {
            let (weights, width) = (weights(setup)?, setup.row());
            Ok(Box::new(RegMean { weights, shrinkage, width, lambda }))
        }
        (Beside::Grams, Weights::Rows(_)) => {
            Err(Invalid::new("a projection is solved for all rows with one weight for each model")
                .hint("give weights of rows to other tensors, with a `filter` under `weight`"))
        }
        (_, Weights::Numbers(numbers)) => {
            weights(setup)?;
            Ok(Box::new(Mean { sum: numbers.iter().sum(), weights: numbers, lambda }))
        }
        (_, Weights::Rows(weights)) => {
            if weights.has_negative() {
                return Err(Invalid::new("a weight of rows or columns is negative: the models are averaged"));
            }
            match weights.zero_sum(setup.elements() as usize / setup.row()) {
                Some(zero) => Err(Invalid::new(format!("{zero}: there is nothing to average"))),
                None => Ok(Box::new(RowMean { weights, lambda })),
            }
        }
    }
}

impl Operator for RowMean {
    fn grain(&self) -> usize {
        self.weights.width()
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = x.base.map(|base| d.load(base)).transpose()?;
        let (weights, width) = (&self.weights, self.weights.width());
        let (first, rows) = (x.first as usize / width, x.len() / width);
        let in_block = weights.in_block(first, rows, &RowLengths::default());
        let mut mixed = d.zeros(x.len())?;
        for (weight, mut vector) in in_block.iter().zip(super::vectors(d, x.models, base.as_ref())?) {
            weights.weigh(d, &mut vector, weight)?;
            d.add(&mut mixed, &vector)?;
        }
        d.divide_each(&mut mixed, &weights.total(d, rows, &in_block)?, 0.0)?;
        on_base(d, &mut mixed, base.as_ref(), self.lambda)?;
        Ok(mixed)
    }
}

impl Operator for Mean {
    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = x.base.map(|base| d.load(base)).transpose()?;
        let mut mixed = d.zeros(x.len())?;
        for (weight, vector) in self.weights.iter().zip(super::vectors(d, x.models, base.as_ref())?) {
            d.axpy(&mut mixed, *weight, &vector)?;
        }
        d.divide(&mut mixed, self.sum)?;
        on_base(d, &mut mixed, base.as_ref(), self.lambda)?;
        Ok(mixed)
    }
}

impl Operator for RegMean {
    fn grain(&self) -> usize {
        self.width * LANES_OF_ROWS
    }

    fn begin(
        &self,
        grams: &[Chunk<'_>],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn AnyOperator>>, Invalid> {
        let (cpu, width) = (Cpu::new(), self.width);
        let mut factor = vec![0f64; width * width];
        for (gram, weight) in grams.iter().zip(&self.weights) {
            cpu.add_gram(&mut factor, gram.bytes, width, *weight, self.shrinkage);
        }
        let unused: Vec<usize> = (0..width).filter(|i| factor[i * width + i] == 0.0).collect();
        unused.iter().for_each(|i| factor[i * width + i] = 1.0);
        if let Err(column) = cpu.cholesky(&mut factor, width, go_on) {
            let what = format!(
                "the sum of the models' Gram matrices is not positive definite (at column {column} of {width})"
            );
            let hint = "lower `shrinkage`, or measure the matrices on more text";
            return Err(Invalid::new(what).hint(hint));
        }
        let (weights, shrinkage, lambda) = (self.weights.clone(), self.shrinkage, self.lambda);
        Ok(Some(Box::new(Solver { weights, shrinkage, width, lambda, factor, unused })))
    }

    /// Blocks are merged by the [`Solver`] that [`Operator::begin`] makes.
    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        d.zeros(x.len())
    }
}

impl Operator for Solver {
    fn grain(&self) -> usize {
        self.width * LANES_OF_ROWS
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = x.base.map(|base| d.load(base)).transpose()?;
        let vectors = super::vectors(d, x.models, base.as_ref())?;
        let mut host = Vec::with_capacity(vectors.len());
        for vector in &vectors {
            host.push(on_host(d, vector, x.len())?);
        }
        let mut out = vec![0f32; x.len()];
        let group = self.width * LANES_OF_ROWS;
        for (i, out) in out.chunks_mut(group).enumerate() {
            let rows = host.iter().map(|x| x.get(i * group..i * group + out.len()).unwrap_or_default());
            self.solve(&rows.collect::<Vec<_>>(), x.beside, out);
        }
        let mut mixed = d.load(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(&out) })?;
        on_base(d, &mut mixed, base.as_ref(), self.lambda)?;
        Ok(mixed)
    }
}

impl Solver {
    /// Some rows, at most [`LANES_OF_ROWS`], of the result, from those of the models.
    fn solve(&self, models: &[&[f32]], grams: &[Chunk<'_>], out: &mut [f32]) {
        let (cpu, width) = (Cpu::new(), self.width);
        let mut right = vec![[0f64; LANES_OF_ROWS]; width];
        let mut x = right.clone();
        let mut means = vec![[0f64; LANES_OF_ROWS]; self.unused.len()];
        let sum: f64 = self.weights.iter().sum();
        for ((rows, gram), weight) in models.iter().zip(grams).zip(&self.weights) {
            for (lane, row) in rows.chunks_exact(width).enumerate() {
                x.iter_mut().zip(row).for_each(|(x, value)| x[lane] = f64::from(*value));
            }
            cpu.add_gram_product(&mut right, gram.bytes, *weight, self.shrinkage, &x);
            for (mean, column) in means.iter_mut().zip(&self.unused) {
                mean.iter_mut().zip(&x[*column]).for_each(|(mean, x)| *mean += weight / sum * x);
            }
        }
        self.unused.iter().zip(means).for_each(|(column, mean)| right[*column] = mean);
        cpu.solve(&self.factor, &mut right);
        for (lane, row) in out.chunks_exact_mut(width).enumerate() {
            row.iter_mut().zip(&right).for_each(|(out, x)| *out = x[lane] as f32);
        }
    }
}

/// A block's values.
fn on_host<D: Device>(d: &D, x: &D::Buf, len: usize) -> Result<Vec<f32>, ExecError> {
    let mut values = vec![0f32; len];
    let _: Finiteness = d.store(x, DType::F32, bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}
