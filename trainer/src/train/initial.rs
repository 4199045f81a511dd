//! First weights: normal with a standard deviation of `initializer_range` (1/√hidden if the configuration has
//! none); the two projections that write into the residual stream are divided by √(2 · layers), so that the
//! stream's variance does not grow with depth (Radford et al. 2019, section 2.3). Norms begin at 1, biases at 0.

use growmerge::decoder::{Config, Layout, NormWeight};
use growmerge::device::cpu::Cpu;
use growmerge::device::philox;
use serde_json::{Map, Value};

/// Of all tensors that the configuration asks for.
pub(super) fn layout(config: &Config) -> Layout {
    Layout::new(growmerge::decoder::shapes(config))
}

/// A weight for each element.
pub(super) fn weights(json: &Map<String, Value>, config: &Config, layout: &Layout, seed: u64) -> Vec<f32> {
    let range = json.get("initializer_range").and_then(Value::as_f64);
    let deviation = range.unwrap_or(1.0 / (config.hidden as f64).sqrt());
    let into_stream = deviation / (2.0 * config.layers.len() as f64).sqrt();
    let (cpu, mut values) = (Cpu::new(), vec![0.0; layout.len()]);
    for slot in layout.slots() {
        let values = &mut values[slot.range.clone()];
        match slot.shape.len() {
            1 if slot.name.ends_with("bias") || config.norm == NormWeight::OnePlus => {}
            1 => values.fill(1.0),
            _ => {
                let out = slot.name.ends_with("o_proj.weight") || slot.name.ends_with("down_proj.weight");
                let deviation = if out { into_stream } else { deviation };
                cpu.normals(philox::key(seed, &slot.name, 0), 0, values);
                values.iter_mut().for_each(|v| *v *= deviation as f32);
            }
        }
    }
    values
}
