//! Vocabularies: whose the output gets, and which row of which model each of its rows is.
//!
//! Everything is decided from `tokenizer.json` and the number of rows, before a weight is read: the output's
//! tokens and their ids, for each model a [`RowMap`], and the files that go with them. No id of the vocabulary
//! that the output begins with ever moves. The tokenizer that will be written is read back and must encode a
//! sample as planned ([`sample`]).

mod compare;
mod decide;
mod files;
mod notice;
mod output;
mod print;
mod rows;
pub mod sample;
mod source;
pub mod special;
mod template;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use compare::{Comparison, HINT, compare};
pub use decide::decide;
pub use rows::{Counts, Row, RowMap};
pub use source::{Finder, Outside};
pub use template::{chat_template, check_markers};

use crate::checkpoint::Identity;
use crate::recipe::ModelRef;

/// Gives a file beside a model's weights, by its name.
pub type Read<'a> = Box<dyn Fn(&str) -> Option<Vec<u8>> + 'a>;

/// A model as far as its vocabulary goes.
pub struct Model<'a> {
    /// As the recipe names it.
    pub reference: &'a ModelRef,
    /// Where its files are, for messages.
    pub folder: &'a Path,
    /// A file beside its weights.
    pub read: Read<'a>,
    /// What its `tokenizer.json` is known by, if that is known without reading it.
    pub identity: Option<Identity>,
    /// Its `config.json`.
    pub config: Option<&'a Value>,
    /// Rows of its embedding, if it has one.
    pub rows: Option<usize>,
}

impl Model<'_> {
    fn name(&self) -> &str {
        &self.reference.path
    }
}

/// The output's vocabulary, fully decided.
#[derive(Debug)]
pub struct Vocabulary {
    /// In words and numbers.
    pub summary: Summary,
    /// For each model, the rows of its new matrices.
    pub rows: Vec<RowMap>,
    /// Whose tokenizer files the output gets.
    pub owner: Owner,
    /// Files that are not the owner's.
    pub written: BTreeMap<&'static str, Vec<u8>>,
    /// Whether tokens were added, so that other forms of the tokenizer do not fit any more.
    pub extended: bool,
    /// `config.json` of the output.
    pub config: Option<Value>,
}

/// The model whose vocabulary the output begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One of those that are merged.
    Model(usize),
    /// Another.
    Outside(Outside),
}

/// A vocabulary in words and numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// `union`, `base`, or a model as the recipe names it.
    pub source: String,
    /// Tokens of the output.
    pub tokens: usize,
    /// Rows of its matrices.
    pub rows: usize,
    /// What becomes of each model's rows.
    pub models: Vec<ModelSummary>,
}

/// What becomes of a model's rows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct ModelSummary {
    /// As the recipe names it.
    pub model: String,
    /// Tokens of its own tokenizer.
    pub tokens: usize,
    /// Rows that were kept, moved, added and dropped.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its special tokens before and after.
    pub special: Vec<special::SpecialId>,
    /// How its own tokenizer and the output's encode the sample of texts.
    pub sample: sample::SampleReport,
}

/// Forms of a tokenizer beside `tokenizer.json`, which do not fit once tokens were added.
pub const OTHER_FORMS: &[&str] = &[
    "tokenizer.model",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
];

/// Files that belong to a tokenizer, whatever its form.
pub fn is_tokenizer_file(name: &str) -> bool {
    matches!(
        name,
        "tokenizer.json"
            | "tokenizer_config.json"
            | "special_tokens_map.json"
            | "chat_template.jinja"
            | "chat_template.json"
    ) || OTHER_FORMS.contains(&name)
}
