//! RAM+: Reinforced Agent Merging with changes of single models enlarged, tensor by tensor; see
//! [`super::ram`].

use super::param::{RAM_ALPHA, RAM_EPSILON, RAM_R};
use super::ram::{self, Reinforcement};
use super::{AnyOperator, Base, Invalid, Method, Setup};

pub(super) static METHOD: Method = Method {
    name: "ramplus_tl",
    summary: "ram, with what one model changes alone enlarged",
    paper: "Reinforced Agent Merging 2026, arXiv 2601.13572",
    base: Base::Reference,
    inputs: 1..=usize::MAX,
    params: &[&RAM_R, &RAM_ALPHA, &RAM_EPSILON],
    prepare,
};

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let number = |param| setup.global.number(param).map(|x| x as f32);
    ram::operator(setup, Some(Reinforcement { r: number(&RAM_R)?, alpha: number(&RAM_ALPHA)? }))
}
