//! One model's tensors as they are, or times a factor: for layer stacking.

use super::param::SCALE;
use super::{AnyOperator, Arg, Base, Block, Invalid, Method, Operator, Setup};
use crate::device::Device;
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "passthrough",
    summary: "copy of one model, for stacking layers",
    paper: "mergekit; used by Kim et al. 2023, SOLAR, arXiv 2312.15166",
    base: Base::Joins,
    inputs: 1..=1,
    params: &[&SCALE],
    prepare,
};

#[derive(Debug)]
struct Passthrough {
    factor: Option<f32>,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    let factor = match setup.models.first().and_then(|m| m.get(&SCALE)) {
        Some(Arg::Number(factor)) => Some(*factor as f32),
        _ => None,
    };
    Ok(Box::new(Passthrough { factor }))
}

impl Operator for Passthrough {
    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let Some(model) = x.models.first() else { return d.zeros(x.len()) };
        let mut out = d.load(*model)?;
        if let Some(factor) = self.factor {
            d.scale(&mut out, factor)?;
        }
        Ok(out)
    }
}
