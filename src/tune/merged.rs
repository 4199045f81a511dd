//! The merged model for given coefficients, and the way back from its gradient to theirs.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::model::Merged;
use super::rows;
use super::space::{Part, Space, TensorSpace};
use crate::decoder::Gradients;
use crate::device::cpu::Cpu;
use crate::execute::{Options, Reader, Room};
use crate::plan::{Plan, Source};
use crate::problem::{Error, ExecError};

/// Elements of whole rows that one thread deals with at a time.
const PIECE: usize = 1 << 14;

/// Pieces whose gradients are in memory before they are added, in order.
const WAVE: usize = 64;

/// Bytes that bases and differences may take to stay in memory; larger ones are read anew each time.
pub(super) const KEPT: usize = 256 << 20;

/// What is merged: base and models of every tensor, read when they are needed.
pub(super) struct Sources<'a> {
    space: &'a Space,
    /// Of each tensor of the space: the base, then its models.
    readers: Vec<Vec<Reader<'a>>>,
    pieces: Vec<Piece>,
}

/// Some rows of a tensor.
struct Piece {
    /// Position in the space.
    tensor: usize,
    rows: Range<usize>,
    /// In the merged model.
    elements: Range<usize>,
    /// The base, then each model's difference from it; nothing if they are read when they are needed.
    kept: Vec<f32>,
}

/// Memory of one thread.
#[derive(Default)]
struct Desk {
    base: Vec<f32>,
    model: Vec<f32>,
    rooms: Vec<Room>,
}

/// Of a model the factors of rows and, in f32, of columns.
type OfModel = (Vec<f64>, Vec<f32>);

/// Of each model the gradients of factors of rows and of columns.
type PerModel = Vec<(Vec<f64>, Vec<f64>)>;

impl<'a> Sources<'a> {
    /// Opens every tensor; those that are not learned are copied into `merged` for good. Bases and differences stay in memory
    /// if all of them take no more than `most` bytes.
    ///
    /// # Errors
    /// What a merge would say of them.
    pub(super) fn open(
        host: &'a Cpu,
        options: &'a Options<'a>,
        plan: &'a Plan,
        space: &'a Space,
        merged: &mut Merged,
        most: usize,
    ) -> Result<Self, Error> {
        let open = |source| Reader::open(host, options, plan, source);
        let (mut readers, mut pieces) = (Vec::new(), Vec::new());
        for (at, tensor) in space.tensors.iter().enumerate() {
            let job = &plan.jobs[tensor.job];
            let sources = job.base.iter().chain(&job.models);
            readers.push(sources.map(|source| open(*source)).collect::<Result<Vec<_>, Error>>()?);
            let start = merged.layout.slot(&job.name).map_or(0, |slot| slot.range.start);
            let step = (PIECE / tensor.columns).max(1);
            pieces.extend((0..tensor.rows).step_by(step).map(|first| {
                let rows = first..(first + step).min(tensor.rows);
                let elements = start + rows.start * tensor.columns..start + rows.end * tensor.columns;
                Piece { tensor: at, rows, elements, kept: Vec::new() }
            }));
        }
        pieces.sort_by_key(|piece| piece.elements.start);
        let learned = |job: usize| space.tensors.iter().any(|tensor| tensor.job == job);
        let fixed = plan.jobs.iter().enumerate().filter(|(i, _)| !learned(*i));
        for (_, job) in fixed {
            let Some(source) = job.models.first() else { continue };
            let source: Source = *source;
            let slot = merged.layout.slot(&job.name).map(|slot| slot.range.clone());
            if job.dtype.is_mergeable() {
                open(source)?.read(0, &mut Room::default(), &mut merged.values[slot.unwrap_or_default()])?;
            }
        }
        let mut sources = Self { space, readers, pieces };
        if sources.bytes() <= most {
            let keep = |desk: &mut Desk, piece: &Piece| sources.keep(desk, piece);
            let kept = sources.pieces.par_iter().map_init(Desk::default, keep);
            let kept = kept.collect::<Result<Vec<Vec<f32>>, Error>>()?;
            sources.pieces.iter_mut().zip(kept).for_each(|(piece, kept)| piece.kept = kept);
        }
        Ok(sources)
    }

    /// What bases and differences take in memory.
    fn bytes(&self) -> usize {
        let of_piece = |piece: &Piece| piece.elements.len() * self.readers[piece.tensor].len();
        self.pieces.iter().map(of_piece).sum::<usize>() * size_of::<f32>()
    }

    /// A piece's base and differences.
    fn keep(&self, desk: &mut Desk, piece: &Piece) -> Result<Vec<f32>, Error> {
        let mut kept = Vec::with_capacity(piece.elements.len() * self.readers[piece.tensor].len());
        self.differences(desk, piece, |model, base, delta| {
            if model == 0 {
                kept.extend_from_slice(base);
            }
            kept.extend_from_slice(delta);
        })?;
        Ok(kept)
    }

    /// Merges with coefficients `x`.
    ///
    /// # Errors
    /// A file that changed; what a stage says.
    pub(super) fn merge(&self, x: &[f64], merged: &mut Merged) -> Result<(), Error> {
        let factors = self.factors(x);
        let arch = Arch::new();
        let mut rest = merged.values.as_mut_slice();
        let (mut work, mut done) = (Vec::with_capacity(self.pieces.len()), 0);
        for piece in &self.pieces {
            let (_, behind) = rest.split_at_mut(piece.elements.start - done);
            let (own, behind) = behind.split_at_mut(piece.elements.len());
            work.push((piece, own));
            (rest, done) = (behind, piece.elements.end);
        }
        let merge = |desk: &mut Desk, (piece, out): (&Piece, &mut [f32])| {
            let width = self.space.tensors[piece.tensor].columns;
            self.differences(desk, piece, |model, base, delta| {
                let (of_rows, of_columns) = &factors[piece.tensor][model];
                if model == 0 {
                    out.copy_from_slice(base);
                }
                rows::add(arch, width, &of_rows[piece.rows.clone()], of_columns, delta, out);
            })
        };
        work.into_par_iter().map_init(Desk::default, merge).collect::<Result<Vec<()>, Error>>()?;
        Ok(())
    }

    /// The gradient of the coefficients `x`, from that of the weights that they make.
    ///
    /// # Errors
    /// As [`Sources::merge`].
    pub(super) fn pull(&self, x: &[f64], gradients: &Gradients) -> Result<Vec<f64>, Error> {
        let factors = self.factors(x);
        let arch = Arch::new();
        let pull = |desk: &mut Desk, piece: &Piece| {
            let gradient = &gradients.values()[piece.elements.clone()];
            let mut pulled = PerModel::new();
            self.differences(desk, piece, |model, _, delta| {
                let (of_rows, of_columns) = &factors[piece.tensor][model];
                let (mut d_rows, mut d_columns) = (vec![0.0; piece.rows.len()], vec![0.0; of_columns.len()]);
                let factors = (&of_rows[piece.rows.clone()], &of_columns[..]);
                rows::pull(arch, factors, gradient, delta, &mut d_rows, &mut d_columns);
                pulled.push((d_rows, d_columns));
            })?;
            Ok(pulled)
        };
        let empty = |(tensor, factors): (&TensorSpace, &Vec<OfModel>)| -> PerModel {
            factors.iter().map(|(_, columns)| (vec![0.0; tensor.rows], vec![0.0; columns.len()])).collect()
        };
        let mut sums: Vec<PerModel> = self.space.tensors.iter().zip(&factors).map(empty).collect();
        for wave in self.pieces.chunks(WAVE) {
            let pulled = wave.par_iter().map_init(Desk::default, pull);
            for (piece, pulled) in wave.iter().zip(pulled.collect::<Result<Vec<PerModel>, Error>>()?) {
                for ((rows, columns), (d_rows, d_columns)) in sums[piece.tensor].iter_mut().zip(pulled) {
                    rows[piece.rows.clone()].copy_from_slice(&d_rows);
                    columns.iter_mut().zip(d_columns).for_each(|(sum, d)| *sum += d);
                }
            }
        }
        let mut gradient = vec![0.0; self.space.len()];
        for (tensor, sums) in self.space.tensors.iter().zip(&sums) {
            for (part, (rows, columns)) in tensor.parts.iter().zip(sums) {
                part.pull(tensor, rows, columns, &mut gradient);
            }
        }
        Ok(gradient)
    }

    /// Whether all files still are what they were.
    ///
    /// # Errors
    /// If one is not.
    pub(super) fn check_intact(&self) -> Result<(), ExecError> {
        self.readers.iter().flatten().try_for_each(Reader::check_intact)
    }

    /// Of each tensor and model the factors of rows and of columns.
    fn factors(&self, x: &[f64]) -> Vec<Vec<OfModel>> {
        let of_model = |tensor: &TensorSpace, part: &Part| {
            let (rows, columns) = part.factors(tensor, x);
            (rows, columns.into_iter().map(|c| c as f32).collect())
        };
        let tensors = self.space.tensors.iter();
        tensors.map(|tensor| tensor.parts.iter().map(|part| of_model(tensor, part)).collect()).collect()
    }

    /// Shows the base and each model's difference from it, model after model.
    fn differences(
        &self,
        desk: &mut Desk,
        piece: &Piece,
        mut show: impl FnMut(usize, &[f32], &[f32]),
    ) -> Result<(), Error> {
        if let Some((base, deltas)) = piece.kept.split_at_checked(piece.elements.len())
            && !deltas.is_empty()
        {
            let deltas = deltas.chunks_exact(base.len()).enumerate();
            deltas.for_each(|(model, delta)| show(model, base, delta));
            return Ok(());
        }
        let Desk { base, model, rooms } = desk;
        let readers = &self.readers[piece.tensor];
        let first = piece.rows.start * self.space.tensors[piece.tensor].columns;
        rooms.resize_with(readers.len().max(rooms.len()), Room::default);
        let mut pairs = readers.iter().zip(rooms);
        base.resize(piece.elements.len(), 0.0);
        model.resize(piece.elements.len(), 0.0);
        if let Some((reader, room)) = pairs.next() {
            reader.read(first, room, base)?;
        }
        for (at, (reader, room)) in pairs.enumerate() {
            reader.read(first, room, model)?;
            model.iter_mut().zip(base.iter()).for_each(|(x, base)| *x -= base);
            show(at, base, model);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
