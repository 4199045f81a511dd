//! NearSwap: elements of the base go to the other model's where the two are near each other, and the less
//! of the way the farther apart they are: `w = t / |a - b|`, at most 1, and `w·b + (1 - w)·a`.

use super::param::NEARSWAP_T;
use super::{AnyOperator, Base, Block, Invalid, Method, Operator, Setup};
use crate::device::Device;
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "nearswap",
    summary: "base with the other model's elements where the two are near",
    paper: "alchemonaut 2024, huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    base: Base::First,
    inputs: 2..=2,
    params: &[&NEARSWAP_T],
    prepare,
};

#[derive(Debug)]
struct NearSwap {
    t: f32,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    Ok(Box::new(NearSwap { t: setup.global.number(&NEARSWAP_T)? as f32 }))
}

impl Operator for NearSwap {
    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let [base, other] = *x.models else { return d.zeros(x.len()) };
        let mut merged = d.load(base)?;
        d.near_swap(&mut merged, &d.load(other)?, self.t)?;
        Ok(merged)
    }
}
