//! A view's rows, gathered from the tensors that they are in.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::lens::{Desk, Eye, Glass, room};
use crate::checkpoint::DType;
use crate::device::Chunk;
use crate::plan::Origin;
use crate::problem::{Error, ExecError};
use crate::view::{From, Rows};

/// Elements that are gathered at once where all of a matrix is gone through.
const BLOCK: usize = 1 << 14;

/// Opens the view: finds out whether rows are only copied, and takes the mean row where one is needed.
pub(super) fn open<'a>(
    eye: Eye<'_>,
    origin: &'a Origin,
    rows: &'a Rows,
    below: Vec<Glass<'a>>,
) -> Result<Glass<'a>, Error> {
    let keep = origin.of.iter().all(|(input, tensor)| input.keeps_type(*tensor));
    let own = origin.of.first().map(|(input, tensor)| input.tensors()[*tensor].dtype);
    let copied = own.filter(|_| rows.exact && keep);
    let average = match rows.needs_average() {
        true => average(eye, &below, rows)?,
        false => Vec::new(),
    };
    Ok(Glass::Rows { below, rows, copied, average })
}

/// The mean of all rows that are not the mean: sums in f64, row after row.
fn average(eye: Eye<'_>, below: &[Glass<'_>], rows: &Rows) -> Result<Vec<f32>, Error> {
    let mut sums = vec![0.0_f64; rows.width];
    let none = vec![0.0; rows.width];
    let mut added = 0;
    let (mut desk, mut block) = (Desk::default(), Vec::new());
    let total = rows.map.rows.len() * rows.width;
    for start in (0..total).step_by(BLOCK) {
        if eye.options.cancel.load(Ordering::Relaxed) {
            return Err(ExecError::Interrupted.into());
        }
        let elements = start..(start + BLOCK).min(total);
        block.resize(elements.len(), 0.0);
        gather(eye, below, rows, &none, elements.clone(), &mut block, &mut desk)?;
        for run in rows.runs(elements.clone()).filter(|run| !matches!(run.from, From::Average(_))) {
            let first = elements.start + run.at;
            for (i, x) in block[run.at..run.at + run.len].iter().enumerate() {
                sums[(first + i) % rows.width] += f64::from(*x);
            }
            added += run.len;
        }
    }
    let count = (added / rows.width).max(1) as f64;
    Ok(sums.into_iter().map(|sum| (sum / count) as f32).collect())
}

/// A run of elements in the type that all rows have.
pub(super) fn copy<'d>(
    eye: Eye<'_>,
    below: &'d [Glass<'_>],
    rows: &Rows,
    dtype: DType,
    elements: Range<usize>,
    desk: &'d mut Desk,
) -> Result<Chunk<'d>, Error> {
    let size = dtype.size();
    desk.below.resize_with(below.len(), Desk::default);
    let bytes = room(&mut desk.block, elements.len() * size);
    for run in rows.runs(elements) {
        let out = &mut bytes[run.at * size..(run.at + run.len) * size];
        match run.from {
            From::Tensor(tensor, first) => {
                let chunk = below[tensor].chunk(eye, first..first + run.len, &mut desk.below[tensor])?;
                out.copy_from_slice(chunk.bytes);
            }
            _ => out.fill(0),
        }
    }
    Ok(Chunk { dtype, bytes })
}

/// A run of elements as f32.
pub(super) fn fill<'d>(
    eye: Eye<'_>,
    below: &'d [Glass<'_>],
    rows: &Rows,
    average: &[f32],
    elements: Range<usize>,
    desk: &'d mut Desk,
) -> Result<Chunk<'d>, Error> {
    let mut block = std::mem::take(&mut desk.block);
    block.resize(elements.len(), 0.0);
    let gathered = gather(eye, below, rows, average, elements, &mut block, desk);
    desk.block = block;
    gathered.map(|()| Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(&desk.block) })
}

fn gather(
    eye: Eye<'_>,
    below: &[Glass<'_>],
    rows: &Rows,
    average: &[f32],
    elements: Range<usize>,
    out: &mut [f32],
    desk: &mut Desk,
) -> Result<(), Error> {
    desk.below.resize_with(below.len(), Desk::default);
    for run in rows.runs(elements) {
        let out = &mut out[run.at..run.at + run.len];
        match run.from {
            From::Tensor(tensor, first) => {
                let chunk = below[tensor].chunk(eye, first..first + run.len, &mut desk.below[tensor])?;
                eye.host.widen(chunk, out);
            }
            From::Mean(of, column) => {
                out.fill(0.0);
                desk.room.resize(run.len, 0.0);
                for (input, row) in of {
                    let (tensor, first) = (rows.tensor(*input), *row as usize * rows.width + column);
                    let chunk = below[tensor].chunk(eye, first..first + run.len, &mut desk.below[tensor])?;
                    eye.host.widen(chunk, &mut desk.room);
                    out.iter_mut().zip(&desk.room).for_each(|(sum, x)| *sum += x);
                }
                eye.host.divide_values(out, of.len() as f32);
            }
            From::Zero => out.fill(0.0),
            From::Average(column) => out.copy_from_slice(&average[column..column + run.len]),
        }
    }
    Ok(())
}

/// Where an element comes from: its place in the tensor that it is in, and the width of a row.
pub(super) fn place(rows: &Rows, element: usize) -> (usize, usize) {
    match rows.runs(element..element + 1).next().map(|run| run.from) {
        Some(From::Tensor(_, first)) => (first, rows.width),
        _ => (element, rows.width),
    }
}

/// Which of the view's tensors an element comes from, if it is that of another model.
pub(super) fn other(rows: &Rows, element: usize) -> Option<usize> {
    match rows.runs(element..element + 1).next()?.from {
        From::Tensor(tensor, _) if tensor > 0 => Some(tensor),
        From::Mean(of, _) => of.first().map(|(input, _)| rows.tensor(*input)),
        _ => None,
    }
}
