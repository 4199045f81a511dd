//! The tensors of a decoder, found by name and held against the configuration.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::config::Config;
use super::layout::{Layout, Place};
use super::matmul::{Linear, Matrix, Vector};
use super::{NormPlace, NormWeight, Projections, QueryKeyNorm};
use crate::checkpoint::{Checkpoint, DType};
use crate::device::Chunk;
use crate::device::cpu::Cpu;
use crate::problem::{Problem, Problems};

/// A stored tensor.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: &'a [usize],
    /// Its elements, in the file's order.
    pub bytes: &'a [u8],
}

/// Tensors by name: a checkpoint's, or those of a merge that was never written.
pub trait Tensors: Sync {
    /// All names.
    fn names(&self) -> Vec<&str>;
    /// The tensor of a name.
    fn tensor(&self, name: &str) -> Option<Tensor<'_>>;
}

impl Tensors for Checkpoint {
    fn names(&self) -> Vec<&str> {
        self.tensors().iter().map(|t| t.name.as_str()).collect()
    }

    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let info = Checkpoint::tensor(self, name)?;
        Some(Tensor { dtype: info.dtype, shape: &info.shape, bytes: self.bytes(info) })
    }
}

/// One layer's weights.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Before attention, if any.
    pub attention_norm: Option<Vector>,
    /// `[heads · head_dim, hidden]`.
    pub query: Linear<'a>,
    /// `[kv_heads · head_dim, hidden]`.
    pub key: Linear<'a>,
    /// `[kv_heads · head_dim, hidden]`.
    pub value: Linear<'a>,
    /// Of queries, if any.
    pub query_norm: Option<Vector>,
    /// Of keys, if any.
    pub key_norm: Option<Vector>,
    /// `[hidden, heads · head_dim]`.
    pub output: Linear<'a>,
    /// After attention, inside of the residual, if any.
    pub attention_post_norm: Option<Vector>,
    /// Before the MLP, if any.
    pub mlp_norm: Option<Vector>,
    /// `[intermediate, hidden]`.
    pub gate: Linear<'a>,
    /// `[intermediate, hidden]`.
    pub up: Linear<'a>,
    /// `[hidden, intermediate]`.
    pub down: Linear<'a>,
    /// After the MLP, inside of the residual, if any.
    pub mlp_post_norm: Option<Vector>,
}

/// All weights, each of the shape that the configuration gives it.
#[derive(Debug)]
pub struct Weights<'a> {
    /// `[vocab, hidden]`.
    pub embedding: Matrix<'a>,
    /// In order.
    pub layers: Vec<Layer<'a>>,
    /// After the last layer.
    pub norm: Vector,
    /// `[vocab, hidden]`; the embedding if they are tied.
    pub head: Linear<'a>,
}

/// Problems that are listed one by one, and tensors that are named in one message.
const LISTED: usize = 5;

impl<'a> Weights<'a> {
    /// Finds every tensor that `config` asks for.
    ///
    /// # Errors
    /// Each tensor that is missing, of another shape or no float, and tensors that the configuration
    /// has no use for. `model` names the model in messages.
    pub fn find(config: &Config, tensors: &'a dyn Tensors, model: &str) -> Result<Self, Problems> {
        let find = Finder::new(config, tensors, model);
        let weights = find.all();
        find.finish()?;
        Ok(weights)
    }
}

/// Every tensor that a configuration asks for, by name, with its shape.
pub fn shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
    let find = Finder::new(config, &Nothing, "");
    find.all();
    find.asked.into_inner()
}

/// A checkpoint without tensors.
struct Nothing;

impl Tensors for Nothing {
    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn tensor(&self, _name: &str) -> Option<Tensor<'_>> {
        None
    }
}

struct Finder<'c, 'a> {
    config: &'c Config,
    tensors: &'a dyn Tensors,
    model: &'c str,
    /// What names begin with: `model.`, or nothing where the file holds the model without its head.
    prefix: &'static str,
    layout: Layout,
    used: RefCell<BTreeSet<String>>,
    /// Names and shapes, in the order of asking.
    asked: RefCell<Vec<(String, Vec<usize>)>>,
    problems: RefCell<Vec<Problem>>,
}

impl<'c, 'a> Finder<'c, 'a> {
    fn new(config: &'c Config, tensors: &'a dyn Tensors, model: &'c str) -> Self {
        let prefix = if tensors.tensor("embed_tokens.weight").is_some() { "" } else { "model." };
        let layout = Layout::of(tensors);
        Self {
            config,
            tensors,
            model,
            prefix,
            layout,
            used: RefCell::default(),
            asked: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    fn all(&self) -> Weights<'a> {
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let embedding = self.matrix("embed_tokens.weight", vocab, hidden);
        Weights {
            embedding,
            layers: (0..self.config.layers.len()).map(|layer| self.layer(layer)).collect(),
            norm: self.norm("norm.weight", hidden),
            head: Linear { weight: self.head(embedding), bias: None },
        }
    }

    fn problem(&self, what: String) {
        self.problems.borrow_mut().push(Problem::error(self.model, what));
    }

    /// A tensor of this shape; an empty one if it is not there, which is a problem.
    fn tensor(&self, name: &str, shape: &[usize]) -> Tensor<'a> {
        self.used.borrow_mut().insert(name.to_owned());
        self.asked.borrow_mut().push((name.to_owned(), shape.to_vec()));
        let empty = Tensor { dtype: DType::F32, shape: &[], bytes: &[] };
        let Some(tensor) = self.tensors.tensor(name) else {
            self.problem(format!("config.json asks for tensor {name}, which is missing"));
            return empty;
        };
        if tensor.shape != shape {
            let found = tensor.shape;
            self.problem(format!("tensor {name} has shape {found:?}, but by config.json it has {shape:?}"));
            return empty;
        }
        if !tensor.dtype.is_mergeable() {
            let what = format!("tensor {name} is of type {}, which has no arithmetic", tensor.dtype.name());
            self.problem(what);
            return empty;
        }
        tensor
    }

    fn matrix_named(&self, name: &str, rows: usize, cols: usize) -> Matrix<'a> {
        let tensor = self.tensor(name, &[rows, cols]);
        let place = self.layout.place(name);
        Matrix::new(rows, cols, tensor.dtype, tensor.bytes, place).unwrap_or(Matrix::EMPTY)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Matrix<'a> {
        self.matrix_named(&format!("{}{name}", self.prefix), rows, cols)
    }

    fn vector(&self, name: &str, len: usize) -> Vector {
        let name = format!("{}{name}", self.prefix);
        let tensor = self.tensor(&name, &[len]);
        let mut values = vec![0.0; tensor.bytes.len() / tensor.dtype.size()];
        Cpu::new().widen(Chunk { dtype: tensor.dtype, bytes: tensor.bytes }, &mut values);
        Vector { values, place: self.layout.place(&name) }
    }

    fn norm(&self, name: &str, len: usize) -> Vector {
        let mut weight = self.vector(name, len);
        if self.config.norm == NormWeight::OnePlus {
            weight.values.iter_mut().for_each(|w| *w += 1.0);
        }
        weight
    }

    fn linear(&self, name: &str, rows: usize, cols: usize, bias: bool) -> Linear<'a> {
        Linear {
            weight: self.matrix(&format!("{name}.weight"), rows, cols),
            bias: bias.then(|| self.vector(&format!("{name}.bias"), rows)),
        }
    }

    /// The head, or the embedding it is tied to; a tied model may store the head too, if it is the same.
    fn head(&self, embedding: Matrix<'a>) -> Matrix<'a> {
        const NAME: &str = "lm_head.weight";
        if !self.config.tied {
            return self.matrix_named(NAME, self.config.vocab, self.config.hidden);
        }
        self.used.borrow_mut().insert(NAME.into());
        if let Some(stored) = self.tensors.tensor(NAME)
            && !Matrix::new(embedding.rows, embedding.cols, stored.dtype, stored.bytes, Place::NOWHERE)
                .is_some_and(|head| head.equals(&embedding))
        {
            self.problem(format!(
                "config.json ties the head to the embedding, but {NAME} is stored and differs"
            ));
        }
        embedding
    }

    fn layer(&self, layer: usize) -> Layer<'a> {
        let config = self.config;
        let (hidden, inner) = (config.hidden, config.intermediate);
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let at = |name: &str| format!("layers.{layer}.{name}");
        let norm = |name: &str| Some(self.norm(&at(&format!("{name}.weight")), hidden));
        let (before, after) = match config.place {
            NormPlace::Before => ([norm("input_layernorm"), norm("post_attention_layernorm")], [None, None]),
            NormPlace::After => {
                ([None, None], [norm("post_attention_layernorm"), norm("post_feedforward_layernorm")])
            }
            NormPlace::Both => (
                [norm("input_layernorm"), norm("pre_feedforward_layernorm")],
                [norm("post_attention_layernorm"), norm("post_feedforward_layernorm")],
            ),
        };
        let head_norm = |name: &str, all: usize| {
            let len = match config.query_key_norm {
                QueryKeyNorm::Absent => return None,
                QueryKeyNorm::EachHead => config.head_dim,
                QueryKeyNorm::AllHeads => all,
            };
            Some(self.norm(&at(&format!("self_attn.{name}.weight")), len))
        };
        let biases = config.biases;
        let linear = |name: &str, rows, cols, bias| self.linear(&at(name), rows, cols, bias);
        let ([query, key, value], [gate, up]) = match config.projections {
            Projections::Apart => (
                [
                    linear("self_attn.q_proj", wide, hidden, biases.qkv),
                    linear("self_attn.k_proj", narrow, hidden, biases.qkv),
                    linear("self_attn.v_proj", narrow, hidden, biases.qkv),
                ],
                [
                    linear("mlp.gate_proj", inner, hidden, biases.mlp),
                    linear("mlp.up_proj", inner, hidden, biases.mlp),
                ],
            ),
            Projections::Fused => {
                let qkv = self.matrix(&at("self_attn.qkv_proj.weight"), wide + 2 * narrow, hidden);
                let both = self.matrix(&at("mlp.gate_up_proj.weight"), 2 * inner, hidden);
                let part = |of: Matrix<'a>, from, rows| Linear { weight: of.part(from, rows), bias: None };
                (
                    [part(qkv, 0, wide), part(qkv, wide, narrow), part(qkv, wide + narrow, narrow)],
                    [part(both, 0, inner), part(both, inner, inner)],
                )
            }
        };
        let [attention_norm, mlp_norm] = before;
        let [attention_post_norm, mlp_post_norm] = after;
        Layer {
            attention_norm,
            query,
            key,
            value,
            query_norm: head_norm("q_norm", wide),
            key_norm: head_norm("k_norm", narrow),
            output: linear("self_attn.o_proj", hidden, wide, biases.output),
            attention_post_norm,
            mlp_norm,
            gate,
            up,
            down: linear("mlp.down_proj", hidden, inner, biases.mlp),
            mlp_post_norm,
        }
    }

    /// Reports what was missing, and what was left over.
    fn finish(self) -> Result<(), Problems> {
        let found = self.problems.into_inner();
        let beyond = found.len().saturating_sub(LISTED);
        let mut problems = Problems::new();
        found.into_iter().take(LISTED).for_each(|p| problems.push(p));
        if beyond > 0 {
            let what = format!("… and {beyond} more tensors are not as config.json says");
            problems.push(Problem::error(self.model, what));
        }
        let used = self.used.into_inner();
        let unused: Vec<&str> = self
            .tensors
            .names()
            .into_iter()
            .filter(|name| !used.contains(*name) && !name.ends_with("rotary_emb.inv_freq"))
            .collect();
        if !unused.is_empty() {
            let more = if unused.len() > LISTED { ", …" } else { "" };
            let what = format!(
                "{} tensors have no place in the {} that config.json describes: {}{more}",
                unused.len(),
                self.config.model_type,
                unused[..unused.len().min(LISTED)].join(", "),
            );
            problems.push(Problem::error(self.model, what).hint("config.json and weights are of two models"));
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }
}
