//! First weights: normal with a standard deviation of `initializer_range` (1/√hidden if the configuration has
//! none); the two projections that write into the residual stream are divided by √(2 · layers), so that the
//! stream's variance does not grow with depth (Radford et al. 2019, section 2.3). Norms begin at 1, biases at 0.

use growmerge::decoder::{Config, Layout, NormWeight};
use growmerge::device::cpu::Cpu;
use growmerge::device::philox;
use growmerge::problem::{Problem, Problems};
use serde_json::{Map, Value};

/// Weights, gradients and two moments.
const COPIES: u128 = 4;

/// Of all tensors that the configuration asks for.
///
/// # Errors
/// If there is not the memory to train so many.
pub(super) fn layout(config: &Config) -> Result<Layout, Problems> {
    let shapes = growmerge::decoder::shapes(config);
    let size = |shape: &[usize]| shape.iter().map(|n| *n as u128).product::<u128>();
    let elements: u128 = shapes.iter().map(|(_, shape)| size(shape)).sum();
    let room =
        usize::try_from(COPIES * elements).is_ok_and(|n| Vec::<f32>::new().try_reserve_exact(n).is_ok());
    if room {
        return Ok(Layout::new(shapes));
    }
    let gigabytes = (COPIES * elements * 4).div_ceil(1 << 30);
    let what =
        format!("{elements} parameters need {gigabytes} GiB of memory to be trained, which is not there");
    Err(Problem::error("start.scratch", what)
        .hint("sizes and number of layers are in the configuration")
        .into())
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
