//! What each primitive notes; `results.rs` and `ranked.rs` have those that run something.

use super::node::{Arg, MOST_AT_ALL, MOST_WORDS, Node};
use super::program::Sink;
use super::{Cuda, CudaBuf};
use crate::checkpoint::DType;
use crate::device::{
    Chunk, Cut, Device, Divisor, Draw, Finiteness, Importance, Outside, Overlap, Power, RankedDraw, Vote,
    Window,
};
use crate::problem::ExecError;

impl CudaBuf {
    fn arg(&self) -> Arg {
        Arg::Value(self.node.clone())
    }
}

fn values(bufs: &[CudaBuf]) -> Arg {
    Arg::Values(bufs.iter().map(|buf| buf.node.clone()).collect())
}

/// Keys equal to the cut's are kept before this place of a block.
fn until(cut: Cut, first: u64) -> Arg {
    Arg::U64(cut.last.saturating_add(1).saturating_sub(first))
}

impl Cuda {
    /// Notes a value; what would make a kernel too large is computed first.
    fn note(&self, call: &'static str, args: Vec<Arg>, len: usize) -> Result<CudaBuf, ExecError> {
        let mut node = Node::made(call, args);
        if let (true, Node::Made { args, .. }) = (node.words() > MOST_WORDS, node.as_ref()) {
            let settle = |arg: &Arg| {
                Ok(match arg {
                    Arg::Value(node) => Arg::Value(self.settled(node, len)?),
                    Arg::Values(nodes) => Arg::Values(
                        nodes.iter().map(|node| self.settled(node, len)).collect::<Result<_, ExecError>>()?,
                    ),
                    other => other.clone(),
                })
            };
            node = Node::made(call, args.iter().map(settle).collect::<Result<_, ExecError>>()?);
            // So many inputs at once that no launch takes them all: the host does.
            if node.words() > MOST_AT_ALL {
                return Err(ExecError::DeviceMemory { bytes: node.words() * 8 });
            }
        }
        Ok(CudaBuf { node, len })
    }

    /// Notes what becomes of a value.
    fn change(&self, x: &mut CudaBuf, call: &'static str, args: Vec<Arg>) -> Result<(), ExecError> {
        *x = self.note(call, args, x.len)?;
        Ok(())
    }
}

impl Device for Cuda {
    type Buf = CudaBuf;

    fn block_elements(&self) -> usize {
        self.block_elements
    }

    fn leave(&self) {
        Cuda::leave(self);
    }

    fn zeros(&self, len: usize) -> Result<CudaBuf, ExecError> {
        self.note("zero", Vec::new(), len)
    }

    fn load(&self, x: Chunk<'_>) -> Result<CudaBuf, ExecError> {
        Ok(CudaBuf { node: self.stored(x)?, len: x.len() })
    }

    fn delta(&self, x: Chunk<'_>, base: &CudaBuf) -> Result<CudaBuf, ExecError> {
        let x = self.load(x)?;
        self.note("subtract", vec![x.arg(), base.arg()], x.len)
    }

    fn add_scaled(&self, acc: &mut CudaBuf, w: f32, x: Chunk<'_>) -> Result<(), ExecError> {
        let x = self.load(x)?;
        self.axpy(acc, w, &x)
    }

    fn axpy(&self, acc: &mut CudaBuf, w: f32, x: &CudaBuf) -> Result<(), ExecError> {
        self.change(acc, "axpy", vec![acc.arg(), Arg::F32(w), x.arg()])
    }

    fn scale(&self, x: &mut CudaBuf, factor: f32) -> Result<(), ExecError> {
        self.change(x, "scale", vec![x.arg(), Arg::F32(factor)])
    }

    fn divide(&self, x: &mut CudaBuf, divisor: f32) -> Result<(), ExecError> {
        self.change(x, "divide", vec![x.arg(), Arg::F32(divisor)])
    }

    fn add(&self, acc: &mut CudaBuf, x: &CudaBuf) -> Result<(), ExecError> {
        self.change(acc, "add", vec![acc.arg(), x.arg()])
    }

    fn scale_rows(&self, x: &mut CudaBuf, width: usize, factors: &[f32]) -> Result<(), ExecError> {
        let (rows, width) = (Arg::U64(factors.len() as u64), Arg::U64(width.max(1) as u64));
        let args = vec![x.arg(), Arg::Index, Arg::Table(self.table(factors)?), rows, width];
        self.change(x, "scale_row", args)
    }

    fn scale_columns(&self, x: &mut CudaBuf, factors: &[f32]) -> Result<(), ExecError> {
        if factors.is_empty() {
            return Ok(());
        }
        let args =
            vec![x.arg(), Arg::Index, Arg::Table(self.table(factors)?), Arg::U64(factors.len() as u64)];
        self.change(x, "scale_column", args)
    }

    fn repeat_rows(&self, values: &[f32], width: usize) -> Result<CudaBuf, ExecError> {
        let (rows, wide) = (Arg::U64(values.len() as u64), Arg::U64(width.max(1) as u64));
        let args = vec![Arg::Index, Arg::Table(self.table(values)?), rows, wide];
        self.note("row_value", args, values.len() * width)
    }

    fn divide_each(&self, x: &mut CudaBuf, y: &CudaBuf, least: f32) -> Result<(), ExecError> {
        self.change(x, "divide_each", vec![x.arg(), y.arg(), Arg::F32(least)])
    }

    fn line_dots(&self, x: &CudaBuf, y: &CudaBuf, line: usize) -> Result<Vec<f64>, ExecError> {
        self.lines(Sink::LineDots, &[x, y], line, 0)
    }

    fn add_column_dots(&self, x: &CudaBuf, y: &CudaBuf, sums: &mut [f64]) -> Result<(), ExecError> {
        self.columns(x, y, sums)
    }

    fn line_abs_sums(&self, x: &CudaBuf, line: usize) -> Result<Vec<f64>, ExecError> {
        self.lines(Sink::LineAbsSums, &[x], line, 0)
    }

    fn abs_counts(&self, x: &CudaBuf, window: Window, bins: &mut [u32]) -> Result<Outside, ExecError> {
        self.counts(x, window, bins)
    }

    fn equal_counts(&self, x: &CudaBuf, key: u32, line: usize) -> Result<Vec<u32>, ExecError> {
        self.lines(Sink::EqualCounts, &[x], line, key)
    }

    fn keep_largest(&self, x: &mut CudaBuf, cut: Cut, first: u64) -> Result<(), ExecError> {
        let args = vec![x.arg(), Arg::Index, Arg::U32(cut.key), until(cut, first)];
        self.change(x, "keep_largest", args)
    }

    fn drop_largest(&self, x: &mut CudaBuf, cut: Cut, first: u64) -> Result<(), ExecError> {
        let args = vec![x.arg(), Arg::Index, Arg::U32(cut.key), until(cut, first)];
        self.change(x, "drop_largest", args)
    }

    fn keep_where(&self, x: &mut CudaBuf, mask: &CudaBuf) -> Result<(), ExecError> {
        self.change(x, "keep_where", vec![x.arg(), mask.arg()])
    }

    fn keep_random(&self, x: &mut CudaBuf, draw: Draw, first: u64) -> Result<(), ExecError> {
        let Draw { key, keep_below } = draw;
        let args = vec![x.arg(), Arg::Index, Arg::U64(key), Arg::U32(keep_below), Arg::U64(first)];
        self.change(x, "keep_random", args)
    }

    fn keep_ranked(
        &self,
        x: &mut CudaBuf,
        width: usize,
        draw: RankedDraw,
        first: u64,
    ) -> Result<(), ExecError> {
        self.rank(x, width.max(1), draw, first)
    }

    fn elect(
        &self,
        deltas: &[CudaBuf],
        weights: &[f32],
        vote: Vote,
        divisor: Divisor,
    ) -> Result<CudaBuf, ExecError> {
        let Some(len) = deltas.first().map(|x| x.len) else { return self.zeros(0) };
        let votes = match vote {
            Vote::Weighted => weights.to_vec(),
            Vote::Plain => vec![1.0; weights.len()],
        };
        let mut args = vec![values(deltas), Arg::Floats(votes), Arg::Floats(weights.to_vec())];
        let call = match divisor {
            Divisor::One => "elect",
            Divisor::AgreeingWeights => "elect_mean",
            Divisor::AgreeingWeightsFrom(least) => {
                args.push(Arg::F32(least));
                "elect_mean_from"
            }
        };
        self.note(call, args, len)
    }

    fn elect_weighted(
        &self,
        weighted: &[CudaBuf],
        weights: &[CudaBuf],
        divisor: Divisor,
    ) -> Result<CudaBuf, ExecError> {
        let Some(len) = weighted.first().map(|x| x.len) else { return self.zeros(0) };
        let mut args = vec![values(weighted), values(weights)];
        let call = match divisor {
            Divisor::One => "elect_weighted",
            Divisor::AgreeingWeights => "elect_weighted_mean",
            Divisor::AgreeingWeightsFrom(least) => {
                args.push(Arg::F32(least));
                "elect_weighted_mean_from"
            }
        };
        self.note(call, args, len)
    }

    fn variance(&self, x: &[CudaBuf]) -> Result<CudaBuf, ExecError> {
        let Some(len) = x.first().map(|x| x.len) else { return self.zeros(0) };
        self.note("variance", vec![values(x)], len)
    }

    fn mean_by_importance(
        &self,
        x: &[CudaBuf],
        importance: &[CudaBuf],
        by: &Importance,
    ) -> Result<CudaBuf, ExecError> {
        let Some(len) = x.first().map(|x| x.len) else { return self.zeros(0) };
        let (call, exponent) = match by.power {
            Power::Zero => ("mean_by_importance<power_zero>", 0.0),
            Power::Root => ("mean_by_importance<power_root>", 0.5),
            Power::One => ("mean_by_importance<power_one>", 1.0),
            Power::Any(exponent) => ("mean_by_importance<power_any>", exponent),
        };
        let (weights, divisors) = by.models.iter().map(|m| (m.weight, m.divisor)).unzip();
        let args = vec![
            values(x),
            values(importance),
            Arg::Doubles(weights),
            Arg::Doubles(divisors),
            Arg::F64(by.floor),
            Arg::F64(exponent),
        ];
        self.note(call, args, len)
    }

    fn near_swap(&self, x: &mut CudaBuf, y: &CudaBuf, t: f32) -> Result<(), ExecError> {
        self.change(x, "near_swap", vec![x.arg(), y.arg(), Arg::F32(t)])
    }

    fn pool(&self, deltas: &[CudaBuf], epsilon: f32, alone: &[f32]) -> Result<CudaBuf, ExecError> {
        let Some(len) = deltas.first().map(|x| x.len) else { return self.zeros(0) };
        self.note("pool", vec![values(deltas), Arg::Floats(alone.to_vec()), Arg::F32(epsilon)], len)
    }

    fn overlaps(&self, deltas: &[CudaBuf], epsilon: f32) -> Result<Vec<Overlap>, ExecError> {
        self.shared_changes(deltas, epsilon)
    }

    fn row_divergences(&self, x: &CudaBuf, y: &CudaBuf, width: usize) -> Result<Vec<f64>, ExecError> {
        self.lines(Sink::Divergences, &[x, y], width, 0)
    }

    fn store(&self, x: &CudaBuf, dtype: DType, out: &mut [u8]) -> Result<Finiteness, ExecError> {
        self.bring(x, dtype, out)
    }
}
