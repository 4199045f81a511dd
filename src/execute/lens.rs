//! What a worker reads of a source: stored bytes, what a view makes of them, or what another plan makes.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::stage::Making;
use super::{Options, rows};
use crate::adapter::Factors;
use crate::checkpoint::{DType, TensorInfo};
use crate::device::cpu::Cpu;
use crate::device::{Chunk, Device};
use crate::plan::{Input, Leaf, Origin, Plan, Source};
use crate::problem::{Error, ExecError};
use crate::view::{Rows, Scaled, Tiling, View};

/// What it takes to see: views and stages compute on the host.
#[derive(Clone, Copy)]
pub(super) struct Eye<'a> {
    pub(super) host: &'a Cpu,
    pub(super) options: &'a Options<'a>,
}

/// One source of a job.
pub(super) struct Lens<'a> {
    pub(super) source: Source,
    /// As it is seen.
    pub(super) info: &'a TensorInfo,
    /// The stored tensors behind it.
    pub(super) leaves: Vec<Leaf<'a>>,
    glass: Glass<'a>,
    keeps_type: bool,
}

/// How elements come about.
pub(super) enum Glass<'a> {
    /// As they are stored.
    Stored(Chunk<'a>),
    /// As copies.
    Tiled {
        stored: Chunk<'a>,
        tiling: &'a Tiling,
        /// Of its noise.
        scales: Vec<f32>,
    },
    /// As what 8-bit floats stand for.
    Scaled { below: Box<Glass<'a>>, scaled: &'a Scaled, scales: Vec<f32> },
    /// With an adapter's update.
    Adapted { below: Box<Glass<'a>>, factors: Factors<'a> },
    /// In f32.
    Cast(Box<Glass<'a>>),
    /// As rows of several tensors.
    Rows {
        below: Vec<Glass<'a>>,
        rows: &'a Rows,
        /// Their type, where they are only copied.
        copied: Option<DType>,
        /// The mean row, where one is needed.
        average: Vec<f32>,
    },
    /// By another plan.
    Made(Box<Making<'a>>),
}

/// A worker's memory for one source: what a view makes of a block, and what it needs for that.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) block: Vec<f32>,
    pub(super) room: Vec<f32>,
    /// Of what the view is made of.
    pub(super) below: Vec<Desk>,
}

impl<'a> Lens<'a> {
    /// Looks a source up, and measures what its views must know of the whole tensor.
    pub(super) fn open(eye: Eye<'a>, plan: &'a Plan, source: Source) -> Result<Self, Error> {
        let input: &'a Input = &plan.inputs[source.input];
        let lens = Self {
            source,
            info: &input.tensors()[source.tensor],
            leaves: input.leaves(source.tensor),
            glass: Glass::open(eye, input, source.tensor)?,
            keeps_type: input.keeps_type(source.tensor),
        };
        lens.check_intact()?;
        Ok(lens)
    }

    /// Whether its elements are 16-bit floats, as they are seen.
    pub(super) fn is_half(&self) -> bool {
        self.keeps_type && self.info.dtype.size() <= 2
    }

    /// Some elements as they are seen, f32 where a view does arithmetic.
    pub(super) fn chunk<'d>(
        &'d self,
        eye: Eye<'_>,
        elements: Range<usize>,
        desk: &'d mut Desk,
    ) -> Result<Chunk<'d>, Error> {
        self.glass.chunk(eye, elements, desk)
    }

    /// Brings what some elements are made of into memory before they are used.
    pub(super) fn prefetch(&self, elements: &Range<usize>) {
        self.leaves.iter().for_each(|leaf| leaf.prefetch(elements.clone()));
    }

    /// Whether the files behind it still are what they were when they were opened.
    pub(super) fn check_intact(&self) -> Result<(), ExecError> {
        self.leaves.iter().try_for_each(Leaf::check_intact)
    }

    /// Where an element comes from: the stored tensor, the place in it, and the width of a row there.
    pub(super) fn place(&self, element: usize) -> (usize, usize) {
        if let Glass::Rows { rows, .. } = &self.glass {
            return rows::place(rows, element);
        }
        let own = || (element, self.info.shape.last().copied().unwrap_or(1).max(1));
        self.leaves.first().map_or_else(own, |leaf| leaf.place(element))
    }

    /// The model that an element comes from: of rows it may be another one.
    pub(super) fn model<'i>(&self, inputs: &'i [Input], element: usize) -> &'i str {
        let input = &inputs[self.source.input];
        let other = match &self.glass {
            Glass::Rows { rows, .. } => rows::other(rows, element),
            _ => None,
        };
        let of = other.and_then(|other| input.origin(self.source.tensor)?.of.get(other));
        of.map_or(input, |(other, _)| other).name()
    }
}

impl<'a> Glass<'a> {
    fn open(eye: Eye<'a>, input: &'a Input, tensor: usize) -> Result<Self, Error> {
        match input {
            Input::Stored(checkpoint) => {
                let info = &checkpoint.tensors()[tensor];
                Ok(Self::Stored(Chunk { dtype: info.dtype, bytes: checkpoint.bytes(info) }))
            }
            Input::Beside(_) => {
                let stored = input.leaves(tensor).first().map_or(Chunk::NOTHING, |leaf| leaf.chunk());
                Ok(Self::Stored(stored))
            }
            Input::Stage(stage) => Ok(Self::Made(Box::new(Making::open(eye, &stage.plan, tensor)?))),
            Input::Seen(_) => match input.origin(tensor) {
                Some(origin) => Self::through(eye, origin),
                None => Ok(Self::Stored(Chunk { dtype: DType::F32, bytes: &[] })),
            },
        }
    }

    fn through(eye: Eye<'a>, origin: &'a Origin) -> Result<Self, Error> {
        let below = |i: usize| match origin.of.get(i) {
            Some((input, tensor)) => Self::open(eye, input, *tensor),
            None => Ok(Self::Stored(Chunk { dtype: DType::F32, bytes: &[] })),
        };
        if let View::Rows(rows) = &origin.view {
            return rows::open(eye, origin, rows, (0..origin.of.len()).map(below).collect::<Result<_, _>>()?);
        }
        match (&origin.view, below(0)?) {
            (View::Tiled(tiling), Self::Stored(stored)) => {
                let go_on = || !eye.options.cancel.load(Ordering::Relaxed);
                let scales = match &tiling.noise {
                    Some(noise) => noise.scales(tiling, eye.host, stored, go_on),
                    None => Vec::new(),
                };
                Ok(Self::Tiled { stored, tiling, scales })
            }
            (View::Scaled(scaled), stored) => {
                let scales = match below(1)? {
                    Self::Stored(Chunk { bytes: [], .. }) => vec![1.0],
                    Self::Stored(scales) => eye.host.load(scales)?.values().to_vec(),
                    _ => Vec::new(),
                };
                Ok(Self::Scaled { below: Box::new(stored), scaled, scales })
            }
            (View::Adapted(update), matrix) => {
                let stored = |i: usize| match below(i) {
                    Ok(Self::Stored(chunk)) => chunk,
                    _ => Chunk::NOTHING,
                };
                let mut desk = Desk::default();
                let read = |elements: Range<usize>, out: &mut [f32]| -> Result<(), Error> {
                    eye.host.widen(matrix.chunk(eye, elements, &mut desk)?, out);
                    Ok(())
                };
                let go_on = || !eye.options.cancel.load(Ordering::Relaxed);
                let factors = update.open([stored(1), stored(2), stored(3)], eye.host, read, go_on)?;
                Ok(Self::Adapted { below: Box::new(matrix), factors })
            }
            (View::Cast, below) => Ok(Self::Cast(Box::new(below))),
            // Only stored tensors are tiled: `Input::grown` sees to it.
            (View::Plain | View::Tiled(_) | View::Rows(_), below) => Ok(below),
        }
    }

    pub(super) fn chunk<'d>(
        &'d self,
        eye: Eye<'_>,
        elements: Range<usize>,
        desk: &'d mut Desk,
    ) -> Result<Chunk<'d>, Error> {
        match self {
            Self::Stored(stored) => {
                let size = stored.dtype.size();
                let bytes = stored.bytes.get(elements.start * size..elements.end * size).unwrap_or_default();
                Ok(Chunk { dtype: stored.dtype, bytes })
            }
            Self::Tiled { stored, tiling, .. } if tiling.is_copy() => {
                let size = stored.dtype.size();
                let bytes = room(&mut desk.block, elements.len() * size);
                tiling.copy(stored.bytes, size, elements, bytes);
                Ok(Chunk { dtype: stored.dtype, bytes })
            }
            Self::Tiled { stored, tiling, scales } => {
                desk.block.resize(elements.len(), 0.0);
                tiling.fill(eye.host, *stored, elements, scales, &mut desk.block, &mut desk.room);
                Ok(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(&desk.block) })
            }
            Self::Scaled { below, scaled, scales } => {
                let Desk { block, below: desks, .. } = desk;
                desks.resize_with(1, Desk::default);
                let codes = below.chunk(eye, elements.clone(), &mut desks[0])?;
                block.resize(elements.len(), 0.0);
                scaled.fill(codes.bytes, elements, scales, block);
                Ok(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(block) })
            }
            Self::Adapted { below, factors } => {
                let Desk { block, room, below: desks } = desk;
                desks.resize_with(1, Desk::default);
                block.resize(elements.len(), 0.0);
                eye.host.widen(below.chunk(eye, elements.clone(), &mut desks[0])?, block);
                factors.add(eye.host, elements, block, room);
                Ok(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(block) })
            }
            Self::Cast(below) => {
                let Desk { block, below: desks, .. } = desk;
                desks.resize_with(1, Desk::default);
                block.resize(elements.len(), 0.0);
                eye.host.widen(below.chunk(eye, elements, &mut desks[0])?, block);
                Ok(Chunk { dtype: DType::F32, bytes: bytemuck::cast_slice(block) })
            }
            Self::Rows { below, rows, copied: Some(dtype), .. } => {
                rows::copy(eye, below, rows, *dtype, elements, desk)
            }
            Self::Rows { below, rows, copied: None, average } => {
                rows::fill(eye, below, rows, average, elements, desk)
            }
            Self::Made(making) => making.chunk(elements, desk),
        }
    }
}

/// So many bytes of a buffer.
pub(super) fn room(block: &mut Vec<f32>, len: usize) -> &mut [u8] {
    block.resize(len.div_ceil(4), 0.0);
    &mut bytemuck::cast_slice_mut(block)[..len]
}
