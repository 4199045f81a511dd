//! A model that is stored in 8-bit floats, as the numbers that they stand for; what else is quantised is refused.

use serde_json::Value;

use super::{Change, Dropped, Input, Origin, Sight};
use crate::checkpoint::{Checkpoint, DType, TensorInfo};
use crate::problem::{Problem, Problems};
use crate::view::{Format, Scaled, View};

/// What tensors of scales are called behind the name of their weight: DeepSeek and `quant_method: fp8`, then
/// compressed-tensors, fbgemm and modelopt. Both are multiplied with.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];

/// Scales of activations and caches: without meaning once the weights are numbers again.
const ACTIVATIONS: [&str; 5] = [".input_scale", ".input_scale_ub", ".output_scale", ".k_scale", ".v_scale"];

/// Parts of names that only other kinds of quantised weights have, and whose they are.
const FOREIGN: [(&str, &str); 7] = [
    (".qweight", "GPTQ or AWQ"),
    (".weight_packed", "compressed-tensors (packed)"),
    (".absmax", "bitsandbytes"),
    (".quant_state", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    ("_blocks", "MXFP4"),
    (".weight_zero_point", "integers with zero points"),
];

/// Side of a block where `config.json` does not say, as DeepSeek has it.
const BLOCK: usize = 128;

impl Input {
    /// This model with its 8-bit floats as numbers; a model without any is left as it is.
    ///
    /// # Errors
    /// By name what is quantised in another way; scales that do not fit.
    pub fn dequantised(self) -> Result<Self, Problems> {
        let Self::Stored(checkpoint) = &self else { return Ok(self) };
        let quantisation = quantisation(checkpoint);
        let eight_bits = checkpoint.tensors().iter().any(|t| Format::of(t.dtype).is_some());
        let mut problems = Problems::new();
        foreign(checkpoint, quantisation, eight_bits, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        if !eight_bits {
            return Ok(self);
        }
        let sides = quantisation.and_then(|q| q.get("weight_block_size")).filter(|s| !s.is_null());
        if let Some(sides) = sides.filter(|_| quantisation.and_then(side).is_none()) {
            let what = format!("weight_block_size in config.json is {sides}, not two sides of a block");
            return Err(Problem::error(checkpoint.name(), what).into());
        }
        let dtype = dtype(checkpoint.config());
        let (mut tensors, mut dropped, mut count) = (Vec::new(), Vec::new(), 0);
        for (at, tensor) in checkpoint.tensors().iter().enumerate() {
            if let Some(why) = left_behind(checkpoint, &tensor.name) {
                dropped.push(Dropped { tensor: tensor.name.clone(), why });
                continue;
            }
            let mut of = vec![(self.clone(), at)];
            let Some(format) = Format::of(tensor.dtype) else {
                tensors.push((tensor.clone(), Origin { view: View::Plain, of }));
                continue;
            };
            count += 1;
            let scales = scales_of(checkpoint, &tensor.name);
            if scales.len() > 1 {
                let what = "has scales under two names, and both cannot be meant";
                problems
                    .push(Problem::error(&tensor.name, what).hint("they end in `_scale_inv` and `_scale`"));
            }
            let scale = scales.first().copied();
            match blocks(tensor, scale.map(|i| &checkpoint.tensors()[i]), quantisation) {
                Ok((rows, columns)) => {
                    let width = tensor.shape.last().copied().unwrap_or(1).max(1);
                    let view = View::Scaled(Scaled { format, width, rows, columns });
                    of.extend(scale.map(|i| (self.clone(), i)));
                    tensors.push((TensorInfo { dtype, ..tensor.clone() }, Origin { view, of }));
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let mut config = checkpoint.config().cloned();
        if let Some(map) = config.as_mut().and_then(Value::as_object_mut) {
            map.shift_remove("quantization_config");
        }
        let (name, change) = (checkpoint.name().to_owned(), Change::Dequantised(count));
        Ok(Sight { under: self, also: Vec::new(), name, change, tensors, config, dropped }.into())
    }
}

fn quantisation(checkpoint: &Checkpoint) -> Option<&Value> {
    let config = checkpoint.config()?;
    let config = config.get("quantization_config").or_else(|| config.get("compression_config"));
    config.filter(|q| !q.is_null())
}

/// Refuses weights that are neither numbers nor 8-bit floats.
fn foreign(checkpoint: &Checkpoint, quantisation: Option<&Value>, eight_bits: bool, problems: &mut Problems) {
    let hint = "merge the model that they were made from; of quantised weights only 8-bit floats can be read";
    let mut refuse = |what: String| problems.push(Problem::error(checkpoint.name(), what).hint(hint));
    let method = quantisation.map(|q| q.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed"));
    let known = ["fp8", "compressed-tensors", "fbgemm_fp8", "modelopt"];
    let named = checkpoint.tensors().iter().find_map(|t| {
        let (_, whose) = FOREIGN.iter().find(|(part, _)| t.name.ends_with(part))?;
        // A floating-point tensor of such a name is something else.
        (!t.dtype.is_mergeable() || *whose == "bitsandbytes").then_some((&t.name, *whose))
    });
    match (method, named) {
        (Some(method), _) if !known.contains(&method) => {
            refuse(format!("the weights are quantised by `{method}` (quantization_config in config.json)"));
        }
        (_, Some((tensor, whose))) => refuse(format!("{tensor} is a quantised weight of {whose}")),
        (Some(method), None) if !eight_bits => refuse(format!(
            "config.json says that the weights are quantised by `{method}`, but none are 8-bit floats"
        )),
        _ => {}
    }
}

/// Why a tensor has no place among numbers.
fn left_behind(checkpoint: &Checkpoint, name: &str) -> Option<String> {
    if ACTIVATIONS.iter().any(|end| name.ends_with(end)) {
        return Some("a scale of activations, which are not quantised any more".into());
    }
    let weight = SCALES.iter().find_map(|end| name.strip_suffix(end))?;
    let scaled = checkpoint.tensor(weight).is_some_and(|t| Format::of(t.dtype).is_some());
    scaled.then(|| format!("the scales of {weight} are in its numbers"))
}

fn scales_of(checkpoint: &Checkpoint, weight: &str) -> Vec<usize> {
    let position = |name: String| checkpoint.tensors().binary_search_by(|t| t.name.cmp(&name)).ok();
    SCALES.iter().filter_map(|end| position(format!("{weight}{end}"))).collect()
}

/// Rows and columns of a block that has one scale.
fn blocks(
    weight: &TensorInfo,
    scale: Option<&TensorInfo>,
    config: Option<&Value>,
) -> Result<(usize, usize), Problems> {
    let width = weight.shape.last().copied().unwrap_or(1).max(1);
    let height = (weight.elements() / width).max(1);
    let Some(scale) = scale else {
        // Without a scale the numbers are those of the codes; only where nothing says otherwise.
        return match config {
            None => Ok((height, width)),
            Some(_) => Err(Problem::error(&weight.name, "is an 8-bit float without a tensor of scales")
                .hint("its scales should be in a tensor of that name with `_scale` or `_scale_inv` behind it")
                .into()),
        };
    };
    let shape = format!("{:?}", scale.shape);
    let refuse = |what: &str| -> Problems {
        Problem::error(&scale.name, format!("{what}; its shape is {shape}")).into()
    };
    if !scale.dtype.is_mergeable() {
        return Err(refuse(&format!("scales are stored as {}", scale.dtype.name())));
    }
    if scale.elements() == 1 {
        return Ok((height, width));
    }
    if weight.shape.len() > 2 {
        return Err(refuse("scales of a tensor of more than two dimensions must be one number"));
    }
    match scale.shape[..] {
        [rows] | [rows, 1] if rows == height && config.is_none_or(|c| side(c).is_none()) => Ok((1, width)),
        [down, across] => {
            let [rows, columns] = config.and_then(side).unwrap_or([BLOCK, BLOCK]);
            let fits = height.div_ceil(rows) == down && width.div_ceil(columns) == across;
            if fits {
                Ok((rows, columns))
            } else {
                Err(refuse(&format!("blocks of {rows} x {columns} do not fit {height} x {width} weights")))
            }
        }
        _ => Err(refuse(&format!("fits no blocks of {height} x {width} weights"))),
    }
}

/// The sides of a block as `config.json` gives them: at the top, or for groups of layers that all agree.
fn side(config: &Value) -> Option<[usize; 2]> {
    let pair = |v: &Value| -> Option<[usize; 2]> {
        let sides: Vec<usize> = v.as_array()?.iter().filter_map(|x| Some(x.as_u64()? as usize)).collect();
        <[usize; 2]>::try_from(sides).ok().filter(|s| s.iter().all(|x| *x > 0))
    };
    let groups = || config.get("config_groups")?.as_object();
    let of_groups = || groups()?.values().find_map(|g| pair(g.get("weights")?.get("block_structure")?));
    config.get("weight_block_size").and_then(pair).or_else(of_groups)
}

/// The type that the model computes in: what `config.json` says, else bfloat16.
fn dtype(config: Option<&Value>) -> DType {
    let named = config.and_then(|c| c.get("dtype").or_else(|| c.get("torch_dtype"))).and_then(Value::as_str);
    match named {
        Some("float16") => DType::F16,
        Some("float32") => DType::F32,
        _ => DType::BF16,
    }
}
