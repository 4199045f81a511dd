//! Two models on one text: whether growth kept the function.

use std::path::Path;

use growmerge::checkpoint::{Checkpoint, DType};
use growmerge::decoder::{Config, Decoder, Scratch};
use growmerge::eval::{Reading, Split, Start, Text, Tokenizer};
use growmerge::plan::{Job, Plan};
use growmerge::problem::{Error, Problem};
use growmerge::view::View;

/// Tokens that are compared at most, and those of one window.
const TOKENS: usize = 1024;
const WINDOW: usize = 256;

/// How far apart two models are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Tokens of the text that were compared.
    pub tokens: usize,
    /// The largest difference of two logits.
    pub largest: f64,
    /// The largest logit of the first model in magnitude.
    pub logit: f64,
    /// Unit of the least exact element type among the second model's weights.
    pub unit: f64,
}

impl Difference {
    /// What rounding explains of [`Difference::largest`]: of the sums, which run in another order in a wider
    /// model, and of the weights too where they were rounded.
    pub fn allowed(&self, weights: Rounding) -> f64 {
        // Sums in f32 agree to about 1e-6 of the logits' range in the models that were tried; a hundred times that
        // leaves room for deep ones, and is far below what a wrong formula does. Weights that are rounded one by one
        // move a logit by a few units in the last place of their type.
        let share = match weights {
            Rounding::Sums => 1e-4,
            Rounding::Weights => (8.0 * self.unit).max(1e-4),
        };
        share * self.logit
    }
}

/// What was rounded between two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Nothing that is stored: all weights were divided by powers of two.
    Sums,
    /// Weights.
    Weights,
}

impl Rounding {
    /// Of a plan of one model.
    pub fn of(plan: &Plan) -> Self {
        let inputs = &plan.inputs;
        let halves = |x: f32| x.to_bits().trailing_zeros() >= f32::MANTISSA_DIGITS - 1;
        let exact = |job: &Job| {
            job.sources().all(|source| {
                let divided = match inputs[source.input].origin(source.tensor).map(|o| &o.view) {
                    None | Some(View::Plain) => true,
                    Some(View::Tiled(tiling)) => tiling.noise.is_none() && halves(tiling.divisor),
                    Some(_) => false,
                };
                divided && source.info(inputs).dtype == job.dtype
            })
        };
        if plan.jobs.iter().all(exact) { Self::Sums } else { Self::Weights }
    }
}

/// Runs both models on the first tokens of a text file, by the first one's tokenizer.
///
/// # Errors
/// What is wrong with a model or the text.
pub fn compare(small: &str, wide: &str, text: &Path) -> Result<Difference, Error> {
    let (small, wide) = (Checkpoint::open(small)?, Checkpoint::open(wide)?);
    let (of_small, of_wide) = (config(&small)?, config(&wide)?);
    if of_small.vocab != of_wide.vocab {
        let what = format!("has {} tokens, {} has {}", of_wide.vocab, small.name(), of_small.vocab);
        return Err(Problem::error(wide.name(), what).into());
    }
    let reading = Reading { split: Split::File, field: "text".into() };
    let text = Text::read("", text, &reading)?;
    let tokenizer = Tokenizer::open(small.folder().path(), &Start::Auto)?;
    let ids = tokenizer.ids(&text.documents, of_small.vocab)?.concat();
    let ids = &ids[..ids.len().min(TOKENS)];
    let window = WINDOW.min(of_small.max_positions);
    let of_small = Decoder::new(of_small, &small, small.name(), window)?;
    let of_wide = Decoder::new(of_wide, &wide, wide.name(), window)?;
    let (mut scratch, mut largest, mut logit) = (Scratch::default(), 0f64, 0f64);
    for ids in ids.chunks(window) {
        let (a, b) = (of_small.logits(ids, &mut scratch), of_wide.logits(ids, &mut scratch));
        for (a, b) in a.into_iter().zip(b) {
            let far = f64::from(a - b).abs();
            // A NaN is as far as can be.
            largest = if far.is_nan() { f64::INFINITY } else { largest.max(far) };
            logit = logit.max(f64::from(a.abs()));
        }
    }
    let unit = wide.tensors().iter().map(|t| unit(t.dtype)).fold(0.0, f64::max);
    Ok(Difference { tokens: ids.len(), largest, logit, unit })
}

fn config(model: &Checkpoint) -> Result<Config, Error> {
    let Some(config) = model.config() else {
        let what = "there is no config.json, so nothing says how the model computes";
        return Err(Problem::error(model.name(), what).into());
    };
    Ok(Config::read(config, &format!("{}/config.json", model.name()))?)
}

/// The distance from 1 to the next number.
fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 1.0 / 128.0,
        DType::F16 => 1.0 / 1024.0,
        _ => f64::from(f32::EPSILON),
    }
}
