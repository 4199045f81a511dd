//! The loops of the CPU device: plain Rust that the compiler turns into vectors.
//!
//! `#[inline(always)]`, because [`super::simd`] compiles each of them once per instruction set. Loops
//! over whole slices or fixed-size arrays, no early exits, so that they vectorise.

mod convert;
mod count;
mod drop;
mod elementwise;
mod importance;
mod normal;
mod rank;
mod reduce;
mod softmax;
mod solve;
mod vote;

pub(super) use convert::*;
pub(super) use count::*;
pub(super) use drop::*;
pub(super) use elementwise::*;
pub(super) use importance::*;
pub(super) use normal::*;
pub(super) use rank::*;
pub(super) use reduce::*;
pub(super) use softmax::*;
pub(super) use solve::*;
pub(super) use vote::*;

const SIGN: u32 = 0x8000_0000;
