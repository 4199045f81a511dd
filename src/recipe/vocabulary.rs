//! Whose vocabulary the output gets: `tokenizer_source`, `tokenizer`, and the rows of single tokens.

use super::keys::Level;
use super::node::{Node, Yaml};
use super::reader::{Entries, Reader, join, number};
use super::{Located, ModelRef, Place};

/// More rows of padding than this are a slip.
const MAX_MULTIPLE: f64 = 1e6;

/// What a recipe says of the output's vocabulary.
#[derive(Clone, Debug)]
pub struct VocabularyWords {
    /// Whose it is.
    pub source: Located<VocabularySource>,
    /// Tokens with a rule of their own, in the order of the recipe.
    pub tokens: Vec<TokenRule>,
    /// The number of rows is a multiple of this.
    pub pad_to_multiple_of: Option<usize>,
}

/// Whose vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VocabularySource {
    /// The base's, and behind it what the other models have more.
    Union,
    /// The base's.
    Base,
    /// A model's, which need not be among those that are merged.
    Model(ModelRef),
}

/// Where the rows of a token come from.
#[derive(Clone, Debug)]
pub struct TokenRule {
    /// The token, which is added to the vocabulary if it is not there.
    pub token: String,
    /// For models that have no row of their own; without it the rule for all tokens holds.
    pub source: Option<RowSource>,
    /// Whose rows it replaces.
    pub reach: Reach,
    /// Where it stands.
    pub place: Place,
}

/// Whether a rule holds for models that have a row of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only for models without one.
    Missing,
    /// For all: `force: true`.
    All,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// The model's row of the same token.
    Model(ModelRef),
    /// Zeros.
    Zero,
    /// A model's row of this token.
    Token(ModelRef, String),
    /// A model's row with this number.
    Id(ModelRef, usize),
}

impl Reader<'_> {
    /// `tokenizer_source` or `tokenizer`, but not both.
    pub(super) fn vocabulary(&mut self, entries: &Entries<'_>) -> Option<VocabularyWords> {
        match (entries.given("tokenizer_source"), entries.given("tokenizer")) {
            (None, None) => None,
            (Some(_), Some(node)) => {
                self.hinted(
                    "tokenizer",
                    node,
                    "`tokenizer_source` and `tokenizer` exclude each other",
                    "`tokenizer: {source: …}` says the same as `tokenizer_source`",
                );
                None
            }
            (Some(node), None) => {
                let source = self.vocabulary_source(node, "tokenizer_source")?;
                Some(VocabularyWords { source, tokens: Vec::new(), pad_to_multiple_of: None })
            }
            (None, Some(node)) => self.tokenizer(node),
        }
    }

    fn tokenizer(&mut self, node: &Node) -> Option<VocabularyWords> {
        let entries = self.mapping(node, "tokenizer", Level::Tokenizer)?;
        let source = match entries.given("source") {
            Some(node) => self.vocabulary_source(node, "tokenizer.source"),
            None => Some(Located { value: VocabularySource::Union, place: self.place("tokenizer", node) }),
        };
        let tokens = entries.given("tokens").map_or(Some(Vec::new()), |n| self.token_rules(n));
        let pad_to_multiple_of = match entries.given("pad_to_multiple_of") {
            Some(node) => Some(self.multiple(node, "tokenizer.pad_to_multiple_of")?),
            None => None,
        };
        Some(VocabularyWords { source: source?, tokens: tokens?, pad_to_multiple_of })
    }

    fn vocabulary_source(&mut self, node: &Node, path: &str) -> Option<Located<VocabularySource>> {
        let value = match &node.yaml {
            Yaml::Text(text) if text == "union" => VocabularySource::Union,
            Yaml::Text(text) if text == "base" => VocabularySource::Base,
            _ => {
                let known = self.models.len();
                let model = self.model(node, path)?;
                // Its tokenizer is read, its weights only if it is merged.
                self.models.truncate(known);
                VocabularySource::Model(model.value)
            }
        };
        Some(Located { value, place: self.place(path, node) })
    }

    fn token_rules(&mut self, node: &Node) -> Option<Vec<TokenRule>> {
        let path = "tokenizer.tokens";
        let Yaml::Map(map) = &node.yaml else {
            self.error(path, node, format!("must map tokens to rules, not {}", node.yaml.kind()));
            return None;
        };
        let rules = map.iter().map(|(key, value)| {
            let Yaml::Text(token) = &key.yaml else {
                self.hinted(path, key, "tokens must be text", "put the token in quotes");
                return None;
            };
            if token.is_empty() {
                self.error(path, key, "a token cannot be empty");
                return None;
            }
            let below = format!("{path}[{token:?}]");
            let place = self.place(&below, key);
            let mut rule = TokenRule { token: token.clone(), source: None, reach: Reach::Missing, place };
            if matches!(value.yaml, Yaml::Null) {
                return Some(rule);
            }
            let entries = self.mapping(value, &below, Level::Token)?;
            if let Some(node) = entries.given("source") {
                rule.source = Some(self.row_source(node, &join(&below, "source"))?);
            }
            if let Some(node) = entries.given("force") {
                rule.reach = self.reach(node, &join(&below, "force"))?;
            }
            if rule.reach == Reach::All && rule.source.is_none() {
                self.error(&below, key, "`force` needs a `source` that it can force");
                return None;
            }
            Some(rule)
        });
        rules.collect::<Vec<_>>().into_iter().collect()
    }

    fn reach(&mut self, node: &Node, path: &str) -> Option<Reach> {
        match number(&node.yaml) {
            Some(0.0) => Some(Reach::Missing),
            Some(1.0) => Some(Reach::All),
            _ => {
                self.error(path, node, format!("must be true or false, not {}", node.yaml.kind()));
                None
            }
        }
    }

    fn row_source(&mut self, node: &Node, path: &str) -> Option<RowSource> {
        let Yaml::Map(map) = &node.yaml else {
            return self.model(node, path).map(|m| RowSource::Model(m.value));
        };
        if !map.iter().any(|(key, _)| matches!(&key.yaml, Yaml::Text(key) if key == "kind")) {
            return self.model(node, path).map(|m| RowSource::Model(m.value));
        }
        let entries = self.mapping(node, path, Level::Row)?;
        let kind = self.text_of(entries.given("kind")?, &join(path, "kind"))?;
        match kind.value.as_str() {
            "zero" => self.zero(&entries, path),
            "model_token" => self.model_token(&entries, node, path),
            other => {
                let problem = kind.place.problem(format!("unknown kind `{other}`")).hint(
                    "there are `zero` and `model_token`; a model alone gives its row of the same token",
                );
                self.problems.push(problem);
                None
            }
        }
    }

    fn zero(&mut self, entries: &Entries<'_>, path: &str) -> Option<RowSource> {
        let beside = ["model", "token", "token_id"].map(|key| (key, entries.given(key)));
        let beside = beside.into_iter().find_map(|(key, node)| Some((key, node?)));
        let Some((key, node)) = beside else { return Some(RowSource::Zero) };
        let hint = "zeros are nobody's row: leave it out, or write `kind: model_token`";
        self.hinted(&join(path, key), node, format!("`{key}` goes with `kind: model_token` only"), hint);
        None
    }

    fn model_token(&mut self, entries: &Entries<'_>, node: &Node, path: &str) -> Option<RowSource> {
        let Some(model) = entries.given("model") else {
            self.error(path, node, "`model` is missing");
            return None;
        };
        let model = self.model(model, &join(path, "model"))?.value;
        match (entries.given("token"), entries.given("token_id")) {
            (Some(token), None) => {
                Some(RowSource::Token(model, self.text_of(token, &join(path, "token"))?.value))
            }
            (None, Some(id)) => match number(&id.yaml) {
                Some(x) if x.fract() == 0.0 && (0.0..1e9).contains(&x) => {
                    Some(RowSource::Id(model, x as usize))
                }
                _ => {
                    self.error(&join(path, "token_id"), id, "must be a whole number from 0 on");
                    None
                }
            },
            _ => {
                self.error(path, node, "needs either `token` or `token_id`");
                None
            }
        }
    }

    fn multiple(&mut self, node: &Node, path: &str) -> Option<usize> {
        match number(&node.yaml).filter(|_| !matches!(node.yaml, Yaml::Bool(_))) {
            Some(x) if x.fract() == 0.0 && (1.0..=MAX_MULTIPLE).contains(&x) => Some(x as usize),
            _ => {
                self.error(path, node, format!("must be a whole number from 1 to {MAX_MULTIPLE}"));
                None
            }
        }
    }
}
