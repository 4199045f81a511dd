//! HyperCloning (Samragh et al. 2024, arXiv 2409.12903): what a wide tensor is made of, by its role.
//!
//! Every hidden vector of the wide model is `n` copies of the small one's, every intermediate vector `m`
//! copies. A linear layer keeps that up if the blocks in each of its rows of blocks sum to the small
//! weight, which copies divided by their number do; norms, biases and embeddings are copied as they are.
//! Logits then come out `n` times too large, which a head of its own takes off by itself; for a tied head
//! there are three forms ([`HeadForm`]).

use super::{Noise, Tiling, View, config, tie};
use crate::arch::{self, Located, Position, Role};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::problem::{Problem, Problems};
use crate::recipe::{Grow, HeadForm};

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadNorm {
    /// None.
    Absent,
    /// Of each head by itself: heads do not change.
    EachHead,
    /// Of all heads together.
    AllHeads,
}

/// The families whose every tensor and switch is known to pass the copies on. Others are refused: fused
/// projections and experts would be cut at the wrong places, Gemma's embeddings depend on the hidden size.
static FAMILIES: &[(&str, HeadNorm)] = &[
    ("llama", HeadNorm::Absent),
    ("hyperllama", HeadNorm::Absent),
    ("mistral", HeadNorm::Absent),
    ("qwen2", HeadNorm::Absent),
    ("qwen3", HeadNorm::EachHead),
    ("smollm3", HeadNorm::Absent),
    ("olmo2", HeadNorm::AllHeads),
];

/// The embedding's names.
pub const EMBEDDING: [&str; 2] = ["model.embed_tokens.weight", "embed_tokens.weight"];
/// The head's name.
pub const HEAD: &str = "lm_head.weight";

/// What becomes of the logits' factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head {
    /// There is a head of its own, divided by the width.
    Own,
    /// The head is tied, and logits are divided by this number altogether: in the final norm …
    Norm(f64),
    /// … partly there and the rest, the second number, in the configuration …
    Factor(f64, f64),
    /// … or in a head that is made of the embedding.
    Untied(f64),
}

/// A model's growth, resolved: the formula of every tensor.
#[derive(Clone, Debug)]
pub struct Growth {
    words: Grow,
    family: arch::Family,
    head_norm: HeadNorm,
    pub(super) sizes: config::Sizes,
    pub(super) head: Head,
    /// Whether the head is stored though it will be tied.
    pub(super) drops_head: bool,
}

impl Growth {
    /// Resolves what a recipe says of a model. `words.head` other than `untied` on a model whose head is not
    /// tied compares the head's weights with the embedding's; nothing else reads a weight.
    ///
    /// # Errors
    /// Everything that keeps the model from being grown.
    pub fn new(model: &Checkpoint, words: Grow) -> Result<Self, Problems> {
        let refuse = |what: String, hint: &str| Problem::error(model.name(), what).hint(hint);
        let Some(original) = model.config() else {
            let hint = "its sizes and heads are read from there";
            return Err(refuse("cannot be grown without a config.json".into(), hint).into());
        };
        let model_type = original.get("model_type").and_then(|t| t.as_str()).unwrap_or_default();
        let Some((_, head_norm)) = FAMILIES.iter().find(|(name, _)| *name == model_type) else {
            let known = FAMILIES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let what = format!("no growth formulas are known for model_type `{model_type}`");
            return Err(refuse(what, &format!("known are: {known}")).into());
        };
        let sizes = config::Sizes::read(original, model.name())?;
        let (head, drops_head) = head(model, &words, model_type, &sizes)?;
        let family = arch::Family::of(Some(model_type));
        Ok(Self { words, family, head_norm: *head_norm, sizes, head, drops_head })
    }

    /// What the recipe says.
    pub fn words(&self) -> &Grow {
        &self.words
    }

    /// The wide shape of a tensor, and how it comes about; `None` for a head that becomes the embedding.
    ///
    /// # Errors
    /// Why there is no formula for it.
    pub fn view(&self, tensor: &TensorInfo) -> Result<Option<(Vec<usize>, View)>, Problems> {
        if tensor.name.ends_with("rotary_emb.inv_freq") {
            return Ok(Some((tensor.shape.clone(), View::Plain)));
        }
        if !tensor.dtype.is_mergeable() {
            let what = format!("stored as {}, which cannot be divided", tensor.dtype.name());
            let hint = "only floating-point models can be grown";
            return Err(Problem::error(&tensor.name, what).hint(hint).into());
        }
        let located = self.family.locate(&tensor.name);
        if located.role == Role::Head && self.drops_head {
            return Ok(None);
        }
        let Some(formula) = self.formula(&tensor.name, &located) else {
            let what = "no growth formula is known for this tensor";
            let hint = "quantised weights, adapters and experts cannot be grown";
            return Err(Problem::error(&tensor.name, what).hint(hint).into());
        };
        if tensor.shape != formula.small {
            let what = format!("has shape {:?}, but by config.json it has {:?}", tensor.shape, formula.small);
            let hint = "config.json and weights are of two models";
            return Err(Problem::error(&tensor.name, what).hint(hint).into());
        }
        Ok(Some(formula.view(&tensor.name, &self.words)))
    }

    /// The head that is made of a tied embedding: its name, shape and view.
    pub fn new_head(&self, embedding: &TensorInfo) -> Option<(String, Vec<usize>, View)> {
        let Head::Untied(divisor) = self.head else { return None };
        let formula = Formula { divisor, ..self.embedding() };
        let (shape, view) = formula.view(&embedding.name, &self.words);
        Some((HEAD.into(), shape, view))
    }

    fn embedding(&self) -> Formula {
        Formula::matrix([self.sizes.vocab, self.sizes.hidden], 1, self.words.width)
    }

    fn formula(&self, name: &str, located: &Located) -> Option<Formula> {
        let config::Sizes { hidden, intermediate, heads, kv_heads, head_dim, .. } = self.sizes;
        let (n, m) = (self.words.width, self.words.intermediate);
        let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
        let in_layer = matches!(located.position, Position::Layer(_));
        // Rows and columns, copies down and across, rows of a block of noise.
        let linear = |out: usize, into: usize, down: usize, across: usize, block: usize| {
            if name.ends_with(".bias") {
                return Some(Formula::vector(out, down));
            }
            let plain = Formula::matrix([out, into], down, across);
            let formula = Formula { divisor: across as f64, noise_rows: Some(block), ..plain };
            (name.ends_with("_proj.weight") && in_layer).then_some(formula)
        };
        match located.role {
            Role::Embed => Some(self.embedding()),
            Role::Head if !name.ends_with(".weight") => None,
            Role::Head => Some(match self.head {
                Head::Own => Formula { divisor: n as f64, ..self.embedding() },
                Head::Untied(divisor) => Formula { divisor, ..self.embedding() },
                Head::Norm(_) | Head::Factor(..) => self.embedding(),
            }),
            Role::Norm if !name.ends_with(".weight") => None,
            Role::Norm if name.contains("q_norm") || name.contains("k_norm") => match self.head_norm {
                HeadNorm::Absent => None,
                HeadNorm::EachHead => Some(Formula::vector(head_dim, 1)),
                HeadNorm::AllHeads if name.contains("q_norm") => Some(Formula::vector(wide, n)),
                HeadNorm::AllHeads => Some(Formula::vector(narrow, n)),
            },
            Role::Norm if in_layer => Some(Formula::vector(hidden, n)),
            Role::Norm => Some(Formula { divisor: self.final_norm(), ..Formula::vector(hidden, n) }),
            Role::Query => linear(wide, hidden, n, n, head_dim),
            Role::Key | Role::Value => linear(narrow, hidden, n, n, head_dim),
            Role::AttnOut => linear(hidden, wide, n, n, hidden),
            Role::Gate | Role::Up => linear(intermediate, hidden, m, n, intermediate),
            Role::Down => linear(hidden, intermediate, n, m, hidden),
            Role::Qkv | Role::GateUp | Role::Router | Role::Other => None,
        }
    }

    /// What the final norm's weight is divided by.
    fn final_norm(&self) -> f64 {
        match self.head {
            Head::Own | Head::Untied(_) => 1.0,
            Head::Norm(divisor) => divisor,
            Head::Factor(divisor, factor) => divisor / factor,
        }
    }
}

/// A small shape, and what becomes of it.
struct Formula {
    small: Vec<usize>,
    down: usize,
    across: usize,
    divisor: f64,
    /// Rows of a block of noise, for the weights of linear layers.
    noise_rows: Option<usize>,
}

impl Formula {
    fn matrix(small: [usize; 2], down: usize, across: usize) -> Self {
        Self { small: small.to_vec(), down, across, divisor: 1.0, noise_rows: None }
    }

    fn vector(len: usize, copies: usize) -> Self {
        Self { small: vec![len], down: 1, across: copies, divisor: 1.0, noise_rows: None }
    }

    fn view(self, name: &str, words: &Grow) -> (Vec<usize>, View) {
        let Self { small, down, across, divisor, noise_rows } = self;
        let (rows, columns) = match small[..] {
            [rows, columns] => (rows, columns),
            _ => (1, small.iter().product()),
        };
        let wide = match small.len() {
            1 => vec![columns * across],
            _ => vec![rows * down, columns * across],
        };
        // With one column block there is nothing to take the noise off again.
        let noise = match (words.noise, noise_rows) {
            (Some(noise), Some(rows)) if across > 1 => Some(Noise::new(noise.seed, name, noise.snr.0, rows)),
            _ => None,
        };
        let tiling = Tiling { divisor: divisor as f32, noise, ..Tiling::copies(rows, columns, down, across) };
        let unchanged = down * across == 1 && tiling.is_copy();
        (wide, if unchanged { View::Plain } else { View::Tiled(tiling) })
    }
}

/// What becomes of the head, and whether a stored one is left out.
fn head(
    model: &Checkpoint,
    words: &Grow,
    model_type: &str,
    sizes: &config::Sizes,
) -> Result<(Head, bool), Problems> {
    let stored = model.tensor(HEAD);
    let width = words.width as f64;
    let (divisor, drops) = match (sizes.tied, words.head, stored) {
        (true, ..) => (width * sizes.factor, false),
        (false, None | Some(HeadForm::Untied), Some(_)) => return Ok((Head::Own, false)),
        (false, _, None) => {
            let what = format!("config.json says the head is not tied, but there is no {HEAD}");
            return Err(Problem::error(model.name(), what).hint("the checkpoint is incomplete").into());
        }
        (false, Some(form), Some(head)) => {
            let embedding = EMBEDDING.iter().find_map(|name| model.tensor(name));
            let of_embedding = match embedding {
                Some(embedding) => tie::divisor(model, embedding, head)
                    .map_err(|e| Problem::error(model.name(), e.to_string()))?,
                None => None,
            };
            let Some(own) = of_embedding else {
                let what = format!(
                    "`head: {}` asks for a tied head, but {HEAD} is no multiple of the embedding",
                    form.word()
                );
                let hint = "leave `head` out: a head of its own is divided by the width";
                return Err(Problem::error(model.name(), what).hint(hint).into());
            };
            (width * own * sizes.factor, true)
        }
    };
    let head = match words.head.unwrap_or(HeadForm::Norm) {
        HeadForm::Norm => Head::Norm(divisor),
        HeadForm::Untied => Head::Untied(divisor),
        HeadForm::Factor if !["llama", "hyperllama"].contains(&model_type) => {
            let what = format!("`head: factor` makes a hyperllama, which a {model_type} does not fit");
            return Err(Problem::error(model.name(), what).hint("use `head: norm` or `head: untied`").into());
        }
        HeadForm::Factor => Head::Factor(divisor, words.factor.map_or(divisor, |f| f.0)),
    };
    Ok((head, drops))
}
