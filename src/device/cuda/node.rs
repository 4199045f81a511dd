//! Values that are recorded and not yet computed.
//!
//! A primitive that works on each element by itself only notes what it would do. When values are needed, to be stored or
//! summed, everything that leads to them becomes one kernel (`program.rs`): a merge reads each input once and writes its
//! result once, whatever its method does between, and the arithmetic stands in `kernels/element.cuh` alone.

use std::sync::Arc;

use super::memory::Block;
use crate::checkpoint::DType;

/// Of how many words a kernel's arguments may be before what they are made of is computed by a kernel of its own: sources of
/// this size still compile in a blink.
pub(super) const MOST_WORDS: usize = 768;
/// How many there may be where that does not help; a launch takes 32,764 bytes.
pub(super) const MOST_AT_ALL: usize = 4000;

/// A value for each element of a block.
#[derive(Debug)]
pub(super) enum Node {
    /// As it lies in the device's memory.
    Stored { block: Arc<Block>, dtype: DType },
    /// What a function of `kernels/element.cuh` makes of others.
    Made { call: &'static str, args: Vec<Arg>, words: usize },
}

/// An argument of a function, in the order of its parameters.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    Value(Arc<Node>),
    /// An array, one of each block.
    Values(Vec<Arc<Node>>),
    F32(f32),
    F64(f64),
    U32(u32),
    U64(u64),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    /// Floats in the device's memory.
    Table(Arc<Block>),
    /// The element's place in the block.
    Index,
}

impl Arg {
    /// An upper bound of the words that it takes, with all that it is made of.
    fn words(&self) -> usize {
        match self {
            Self::Value(node) => node.words(),
            Self::Values(nodes) => nodes.iter().map(|n| n.words()).sum(),
            Self::F32(_) | Self::F64(_) | Self::U32(_) | Self::U64(_) | Self::Table(_) => 1,
            Self::Floats(x) => x.len(),
            Self::Doubles(x) => x.len(),
            Self::Index => 0,
        }
    }
}

impl Node {
    pub(super) fn stored(block: Arc<Block>, dtype: DType) -> Arc<Self> {
        Arc::new(Self::Stored { block, dtype })
    }

    pub(super) fn made(call: &'static str, args: Vec<Arg>) -> Arc<Self> {
        let words = args.iter().map(Arg::words).sum();
        Arc::new(Self::Made { call, args, words })
    }

    /// An upper bound of the words that a kernel needs for it: what several values share counts for each.
    pub(super) fn words(&self) -> usize {
        match self {
            Self::Stored { .. } => 1,
            Self::Made { words, .. } => *words,
        }
    }

    /// The values that it is directly made of.
    pub(super) fn of(&self) -> impl Iterator<Item = &Arc<Self>> {
        let args = match self {
            Self::Stored { .. } => &[][..],
            Self::Made { args, .. } => args,
        };
        args.iter().flat_map(|arg| match arg {
            Arg::Value(node) => std::slice::from_ref(node),
            Arg::Values(nodes) => nodes,
            _ => &[],
        })
    }
}
