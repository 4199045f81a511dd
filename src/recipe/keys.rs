//! Every key of the recipe language, in one visible list: the reader, the schema and "did you mean" use it.

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// At the top.
    Recipe,
    /// In an entry of `models`.
    Model,
    /// In an entry of `modules`.
    Module,
    /// In an entry of `slices`.
    Slice,
    /// In an entry of a slice's `sources`.
    Source,
    /// In a model that is written as a mapping.
    Reference,
    /// In `grow`.
    Grow,
    /// In a rule of a parameter.
    Rule,
    /// In a weight that says where it comes from.
    Weight,
    /// In `tokenizer`.
    Tokenizer,
    /// In the rule of a token.
    Token,
    /// In a token's source that is written as a mapping.
    Row,
    /// In `matrix`, beside its axes.
    Matrix,
    /// In an axis that is made of subsets.
    Subsets,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Read.
    Supported,
    /// Accepted, but without effect.
    NoEffect,
    /// Has a meaning in a recipe with a `matrix`, and is gone when that is expanded.
    Grid,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Where it stands.
    pub level: Level,
    /// As written.
    pub name: &'static str,
    /// What becomes of it.
    pub status: Status,
    /// One line for the schema.
    pub doc: &'static str,
}

const fn key(level: Level, name: &'static str, status: Status, doc: &'static str) -> Key {
    Key { level, name, status, doc }
}

use Level::{
    Grow, Matrix, Model, Module, Recipe, Reference, Row, Rule, Slice, Source, Subsets, Token, Tokenizer,
    Weight,
};
use Status::{Grid, NoEffect, Supported};

/// All keys.
pub static KEYS: &[Key] = &[
    key(Recipe, "merge_method", Supported, "the method; `growmerge methods` lists them"),
    key(Recipe, "models", Supported, "whole models that are merged over each other"),
    key(Recipe, "slices", Supported, "output layers put together from layers of models"),
    key(
        Recipe,
        "base_model",
        Supported,
        "the model that differences are taken from; gives config and tokenizer",
    ),
    key(Recipe, "parameters", Supported, "parameters for all models and layers"),
    key(Recipe, "dtype", Supported, "element type of the output: bfloat16, float16 or float32"),
    key(Recipe, "out_dtype", Supported, "element type of the output, over `dtype`"),
    key(Recipe, "name", Supported, "a name for the merged model, used in its card"),
    key(Recipe, "non_finite", Supported, "refuse (default) or allow NaN and infinity; not in mergekit"),
    key(Recipe, "matrix", Grid, "axes that make many recipes of this one; not in mergekit"),
    key(
        Recipe,
        "modules",
        Supported,
        "parts of a model, as encoder and decoder, each put together by itself",
    ),
    key(Recipe, "tokenizer", Supported, "whose vocabulary the output gets, and the rows of single tokens"),
    key(Recipe, "tokenizer_source", Supported, "whose vocabulary the output gets: union, base or a model"),
    key(
        Recipe,
        "chat_template",
        Supported,
        "auto (that of most models), alpaca, chatml, exaone, llama3, mistral, or Jinja text",
    ),
    key(Model, "model", Supported, "a local checkpoint: a folder or a safetensors file"),
    key(Model, "grow", Supported, "widen this model by HyperCloning while it is read; not in mergekit"),
    key(Model, "lora", Supported, "an adapter that is applied to this model while it is read"),
    key(Model, "parameters", Supported, "parameters of this model"),
    key(Model, "for", Grid, "one entry for each element, as in `language in languages`; with a matrix"),
    key(Module, "models", Supported, "whole modules that are merged over each other"),
    key(Module, "slices", Supported, "the module's layers put together from layers of models"),
    key(Module, "parameters", Supported, "parameters for this module"),
    key(Slice, "sources", Supported, "what is merged into these layers"),
    key(Slice, "base_model", Supported, "a base for this slice only"),
    key(Slice, "parameters", Supported, "parameters for this slice"),
    key(Slice, "residual_weight", NoEffect, "read by mergekit and never used"),
    key(Slice, "for", Grid, "one entry for each element, as in `language in languages`; with a matrix"),
    key(Source, "model", Supported, "a local checkpoint: a folder or a safetensors file"),
    key(Source, "layer_range", Supported, "[first, end): layers of that model, counted from 0"),
    key(Source, "grow", Supported, "widen this model by HyperCloning while it is read; not in mergekit"),
    key(Source, "lora", Supported, "an adapter that is applied to this model while it is read"),
    key(Source, "parameters", Supported, "parameters of this source"),
    key(Source, "for", Grid, "one entry for each element, as in `language in languages`; with a matrix"),
    key(Reference, "model", Supported, "a local checkpoint: a folder or a safetensors file"),
    key(Reference, "lora", Supported, "an adapter that is applied to this model while it is read"),
    key(Reference, "path", Supported, "a local path, with `revision`"),
    key(Reference, "revision", Supported, "revision of a Hub repository"),
    key(
        Reference,
        "override_architecture",
        NoEffect,
        "names and layers are read off the tensors, so no class is needed",
    ),
    key(Reference, "grow", Supported, "widen this model by HyperCloning while it is read; not in mergekit"),
    key(Grow, "width", Supported, "factor of the hidden size and of the number of heads"),
    key(Grow, "intermediate", Supported, "factor of the intermediate size (default: width)"),
    key(
        Grow,
        "noise_snr",
        Supported,
        "adds noise that cancels out: decibels below the weights (default: none)",
    ),
    key(Grow, "seed", Supported, "seed of the noise (default: 0)"),
    key(Grow, "head", Supported, "what a tied head's factor becomes: norm (default), factor or untied"),
    key(Grow, "factor", Supported, "with `head: factor`, the lm_head_normalization_factor to write"),
    key(
        Tokenizer,
        "source",
        Supported,
        "union (default), base, or a model: whose vocabulary the output gets",
    ),
    key(
        Tokenizer,
        "tokens",
        Supported,
        "tokens with a rule of their own; those that are not there are added",
    ),
    key(Tokenizer, "pad_to_multiple_of", Supported, "the number of rows is the next multiple of this"),
    key(Token, "source", Supported, "row for models without one: a model, or a mapping with `kind`"),
    key(Token, "force", Supported, "whether the source replaces rows that models have (default: false)"),
    key(Row, "kind", Supported, "zero, or model_token"),
    key(Row, "model", Supported, "with model_token, the model whose row it is"),
    key(Row, "token", Supported, "with model_token, the token of that row"),
    key(Row, "token_id", Supported, "with model_token, the number of that row"),
    key(Rule, "filter", Supported, "part of a tensor name, or `*`; the first rule that matches decides"),
    key(Rule, "value", Supported, "a number, or numbers spread over the layers"),
    key(
        Weight,
        "tokens",
        Supported,
        "rows of embeddings by counts: a folder of `growmerge count`, or a file",
    ),
    key(Weight, "language", Supported, "whose counts (default: the last part of the model's path)"),
    key(Weight, "smoothing", Supported, "added to a token's share of its text (default: 1e-6)"),
    key(Weight, "norms", Supported, "`rows`: by the lengths of the rows of the models' differences"),
    key(Weight, "power", Supported, "exponent of the share or length, from 0 to 8 (default: 1)"),
    key(Weight, "scale", Supported, "what the weights of a row add up to (default: 1)"),
    key(Weight, "file", Supported, "coefficients by tensor, row and column"),
    key(Weight, "entry", Supported, "whose coefficients (default: the last part of the model's path)"),
    key(Matrix, "exclude", Supported, "values of axes whose members are left out"),
    key(Matrix, "include", Supported, "values of axes whose members get `set`, or are added"),
    key(Subsets, "subsets", Supported, "a list: the axis has its subsets as values"),
    key(Subsets, "at_least", Supported, "smallest number of members of a subset (default: 1)"),
    key(Subsets, "at_most", Supported, "largest number of members of a subset (default: all)"),
];

/// The keys of a level.
pub(super) fn at(level: Level) -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.iter().filter(move |k| k.level == level)
}

/// The parameters of all of mergekit's methods: they belong under `parameters:`, and one that a method
/// does not take is no typing slip.
pub const PARAMETERS: &[&str] = &[
    "weight",
    "density",
    "t",
    "normalize",
    "rescale",
    "lambda",
    "int8_mask",
    "gamma",
    "epsilon",
    "scale",
    "nuslerp_flatten",
    "nuslerp_row_wise",
    "normalize_weights",
    "eps",
    "max_iter",
    "tol",
    "select_topk",
    "r",
    "alpha",
    "filter_wise",
];
