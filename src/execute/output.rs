//! A job's output on its way out: hashed in order, handed to the sink, sealed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use super::run::{Context, Run, locked};
use super::{Piece, Sealed};
use crate::checksum::Joined;
use crate::device::Device;
use crate::problem::ExecError;

/// The part of a job that needs its units in order.
pub(super) struct Seal {
    /// `None` while a worker is hashing.
    pub(super) sha: Option<Sha256>,
    pub(super) next: usize,
    pub(super) waiting: BTreeMap<usize, Piece>,
    /// Of each unit, the checksum and length of what was read of each stored tensor.
    pub(super) crcs: Vec<Vec<(u64, u64)>>,
}

impl Seal {
    /// Nothing hashed yet.
    pub(super) fn new(units: usize) -> Self {
        Self { sha: Some(Sha256::new()), next: 0, waiting: BTreeMap::new(), crcs: vec![Vec::new(); units] }
    }
}

impl<'a> Run<'a> {
    /// Passes a unit through the hash and on to the sink as soon as its turn comes, and with it all that
    /// waited for it. True for the worker that hands over the last unit.
    ///
    /// A unit counts as hashed only once the sink has it, so no more than [`AHEAD`](super::board::AHEAD)
    /// are in memory, however fast the others are.
    pub(super) fn hand_over<D: Device>(
        &self,
        context: &Context<'a, D>,
        unit: usize,
        piece: Piece,
    ) -> Result<bool, ExecError> {
        let mut seal = locked(&self.seal);
        seal.waiting.insert(unit, piece);
        let Some(mut sha) = seal.sha.take() else { return Ok(false) };
        loop {
            let unit = seal.next;
            let Some(piece) = seal.waiting.remove(&unit) else { break };
            drop(seal);
            sha.update(piece.bytes());
            let at = self.range(unit).start * self.job.dtype.size();
            context.sink.write(self.index, at as u64, piece)?;
            seal = locked(&self.seal);
            seal.next += 1;
            self.hashed.store(seal.next, Ordering::Release);
        }
        seal.sha = Some(sha);
        Ok(seal.next == self.units)
    }

    /// The tensor is complete: says so to the sink.
    pub(super) fn seal<D: Device>(&self, context: &Context<'a, D>) -> Result<(), ExecError> {
        let mut seal = locked(&self.seal);
        let sha256 = seal.sha.take().unwrap_or_default().finalize();
        let whole = self.whole_sums()?;
        let joined = |i| {
            let mut joined = Joined::new();
            for (sum, len) in seal.crcs.iter().filter_map(|unit| unit.get(i)) {
                joined.add(*sum, *len);
            }
            joined.sum()
        };
        let inputs = whole.into_iter().enumerate();
        let inputs = inputs.map(|(i, whole)| whole.unwrap_or_else(|| joined(i))).collect();
        context.sink.seal(self.index, Sealed { sha256, inputs })?;
        tracing::debug!(tensor = self.job.name, "merged");
        // Passes that were saved count as done, so that the total comes out.
        let total = self.job.input_bytes(&context.plan.inputs) * self.job.passes();
        self.report(context, total);
        Ok(())
    }
}
