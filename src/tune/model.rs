//! A merged model in memory, as the decoder takes it.

use crate::checkpoint::DType;
use crate::decoder::{Layout, Tensor, Tensors};
use crate::plan::Plan;

/// A merged model in f32.
#[derive(Debug)]
pub(super) struct Merged {
    /// Which element is whose.
    pub(super) layout: Layout,
    /// All of them, in the layout's order.
    pub(super) values: Vec<f32>,
}

impl Merged {
    /// Zeros for every tensor of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let layout = Layout::new(plan.jobs.iter().map(|job| (job.name.clone(), job.shape.clone())));
        let values = vec![0.0; layout.len()];
        Self { layout, values }
    }
}

impl Tensors for Merged {
    fn names(&self) -> Vec<&str> {
        self.layout.slots().iter().map(|slot| slot.name.as_str()).collect()
    }

    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let slot = self.layout.slot(name)?;
        let bytes = bytemuck::cast_slice(&self.values[slot.range.clone()]);
        Some(Tensor { dtype: DType::F32, shape: &slot.shape, bytes })
    }
}
