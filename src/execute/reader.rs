//! Sources read by others than a merge: the same elements, as f32.

use std::ops::Range;

use super::Options;
use super::lens::{Desk, Eye, Lens};
use crate::checkpoint::TensorInfo;
use crate::device::cpu::Cpu;
use crate::plan::{Plan, Source};
use crate::problem::{Error, ExecError};

/// A tensor of one of a plan's inputs as a merge sees it: stored, through views, or as a stage makes it.
pub struct Reader<'a> {
    lens: Lens<'a>,
    eye: Eye<'a>,
}

/// Memory of one thread for reading; it grows to what the largest read needs and stays.
#[derive(Default)]
pub struct Room(Desk);

impl<'a> Reader<'a> {
    /// Opens a source, and measures what views and stages must know of the whole tensor.
    ///
    /// # Errors
    /// NaN or infinity in what a stage reads; a file that changed; [`ExecError::Interrupted`].
    pub fn open(
        host: &'a Cpu,
        options: &'a Options<'a>,
        plan: &'a Plan,
        source: Source,
    ) -> Result<Self, Error> {
        let eye = Eye { host, options };
        Ok(Self { lens: Lens::open(eye, plan, source)?, eye })
    }

    /// The tensor as it is seen.
    pub fn info(&self) -> &TensorInfo {
        self.lens.info
    }

    /// Reads as many elements as `out` has from `first` on.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn read(&self, first: usize, room: &mut Room, out: &mut [f32]) -> Result<(), Error> {
        let elements: Range<usize> = first..first + out.len();
        let chunk = self.lens.chunk(self.eye, elements, &mut room.0)?;
        self.eye.host.widen(chunk, out);
        Ok(())
    }

    /// Whether the files behind it still are what they were.
    ///
    /// # Errors
    /// If one is not.
    pub fn check_intact(&self) -> Result<(), ExecError> {
        self.lens.check_intact()
    }
}
