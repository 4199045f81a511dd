//! The output's vocabulary: another's, and what is added behind it. No id of the one it starts from moves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::tokenizer::{Kind, Spelling, Tokenizer};
use crate::problem::{Problem, Problems};

/// A vocabulary and the tokenizer file that goes with it.
#[derive(Debug)]
pub(super) struct Output {
    /// Every token by its id.
    pub(super) tokens: BTreeMap<u32, String>,
    /// Every id by its token.
    pub(super) ids: HashMap<String, u32>,
    /// Added tokens that the tokenizer which it starts from does not have as such.
    pub(super) added: BTreeMap<u32, Map<String, Value>>,
    /// Tokens that encode texts otherwise than the tokenizer which it starts from: new ones, and those
    /// that have become added tokens.
    pub(super) changed: BTreeSet<u32>,
    /// The file; `None` where it is the one that it starts from, to the byte.
    pub(super) json: Option<Value>,
}

/// A vocabulary that others are added to, and how many of its tokens count: those with a row.
pub(super) struct Other<'a> {
    pub(super) name: &'a str,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) rows: usize,
}

/// Collects what is added to a tokenizer.
pub(super) struct Extension<'a> {
    first: &'a Tokenizer,
    ids: HashMap<String, u32>,
    /// New tokens of the vocabulary proper, in the order of their ids.
    plain: Vec<(u32, String)>,
    added: BTreeMap<u32, Map<String, Value>>,
    next: u32,
}

impl<'a> Extension<'a> {
    pub(super) fn of(first: &'a Tokenizer) -> Self {
        let next = first.end() as u32;
        Self { first, ids: first.ids.clone(), plain: Vec::new(), added: BTreeMap::new(), next }
    }

    /// Adds what other vocabularies have more: first plain tokens, model after model and each by its ids, then
    /// added tokens likewise, with the flags that are seen first.
    pub(super) fn unite(&mut self, others: &[Other<'_>]) {
        let is_added: BTreeSet<&str> = others.iter().flat_map(added).map(|(token, _)| token).collect();
        for other in others {
            let with_row = other.tokenizer.tokens.iter().filter(|(id, _)| (**id as usize) < other.rows);
            for (_, token) in with_row.filter(|(_, token)| !is_added.contains(token.as_str())) {
                if !self.ids.contains_key(token) {
                    let id = self.id_for(token);
                    self.plain.push((id, token.clone()));
                }
            }
        }
        for (token, fields) in others.iter().flat_map(added) {
            self.add(token, fields);
        }
    }

    /// Adds one token as others have it, or plainly; returns whether it is new.
    pub(super) fn add_token(&mut self, token: &str, like: Option<&Map<String, Value>>) -> bool {
        if self.ids.contains_key(token) {
            return false;
        }
        // Normalizers that put something in front of a text would keep such a token from being found.
        let plain = json!({
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false
        });
        let plain = plain.as_object().cloned().unwrap_or_default();
        self.add(token, like.unwrap_or(&plain));
        true
    }

    fn add(&mut self, token: &str, fields: &Map<String, Value>) {
        let special = fields.get("special") == Some(&Value::Bool(true));
        let id = match self.ids.get(token).copied() {
            // A plain token that is special elsewhere becomes special.
            Some(id) if special && !self.first.added.contains_key(&id) => id,
            Some(_) => return,
            None => self.id_for(token),
        };
        self.added.entry(id).or_insert_with(|| {
            let mut all =
                Map::from_iter([("id".to_owned(), json!(id)), ("content".to_owned(), json!(token))]);
            let flags = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "id" | "content"));
            all.extend(flags.map(|(key, value)| (key.clone(), value.clone())));
            all
        });
    }

    fn id_for(&mut self, token: &str) -> u32 {
        let id = self.next;
        self.next += 1;
        self.ids.insert(token.to_owned(), id);
        id
    }

    /// The vocabulary, and the file if anything was added. `others` give merges and scores.
    pub(super) fn finish(self, others: &[Other<'_>], problems: &mut Problems) -> Output {
        let mut tokens = self.first.tokens.clone();
        let first_new = self.first.end() as u32;
        let new = self.plain.iter().map(|(id, token)| (*id, token.clone()));
        let content = |fields: &Map<String, Value>| fields["content"].as_str().unwrap_or_default().to_owned();
        tokens.extend(new.chain(self.added.iter().map(|(id, fields)| (*id, content(fields)))));
        let changed = self.added.keys().copied().chain(first_new..self.next).collect::<BTreeSet<u32>>();
        let json = (!changed.is_empty()).then(|| self.file(&tokens, others, problems));
        Output { tokens, ids: self.ids, added: self.added, changed, json }
    }

    fn file(&self, tokens: &BTreeMap<u32, String>, others: &[Other<'_>], problems: &mut Problems) -> Value {
        let mut json = self.first.json.clone();
        let mut added = self.first.added.clone();
        added.extend(self.added.clone());
        json["added_tokens"] = added.into_values().map(Value::Object).collect();
        if !self.plain.is_empty() {
            match &mut json["model"]["vocab"] {
                // Added tokens are put in as well: loaders would give them the ids behind the vocabulary.
                Value::Object(vocab) => {
                    let all = tokens.iter().filter(|(_, token)| !token.is_empty());
                    let missing: Vec<_> = all.filter(|(_, token)| !vocab.contains_key(*token)).collect();
                    vocab.extend(missing.into_iter().map(|(id, token)| (token.clone(), json!(id))));
                }
                Value::Array(pieces) => self.pieces(pieces, tokens, others, problems),
                _ => {}
            }
            self.reach(&mut json, others, problems);
        }
        json
    }

    /// Unigram: a piece for every id, with the score that its own tokenizer gives it.
    fn pieces(
        &self,
        pieces: &mut Vec<Value>,
        tokens: &BTreeMap<u32, String>,
        others: &[Other<'_>],
        problems: &mut Problems,
    ) {
        let score = |piece: &Value| piece.get(1).and_then(Value::as_f64);
        let lowest = pieces.iter().filter_map(score).fold(0.0, f64::min) - 10.0;
        let score_of = |token: &str| {
            let of = |other: &Other<'_>| {
                let id = *other.tokenizer.ids.get(token)?;
                score(other.tokenizer.json["model"]["vocab"].get(id as usize)?)
            };
            others.iter().find_map(of).unwrap_or(lowest)
        };
        for id in pieces.len() as u32..self.next {
            let Some(token) = tokens.get(&id) else {
                let what = format!("has no token with id {id}, but pieces behind it");
                problems.push(Problem::error(&self.first.at, what).hint("choose another `tokenizer_source`"));
                return;
            };
            pieces.push(json!([token, score_of(token)]));
        }
    }

    /// Lets texts reach the new tokens, where the tokenizers are of one kind. Merges go behind those that are
    /// there, and only if they make a new token: so a text is encoded as before, but for runs of tokens that
    /// a new one replaces.
    fn reach(&self, json: &mut Value, others: &[Other<'_>], problems: &mut Problems) {
        let new: BTreeSet<&str> = self.plain.iter().map(|(_, token)| token.as_str()).collect();
        let first = Signature::of(self.first);
        let mut merges = Vec::new();
        for other in others {
            let theirs = Signature::of(other.tokenizer);
            if first == theirs {
                merges.extend(pairs(&other.tokenizer.json));
                continue;
            }
            let count = other.tokenizer.tokens.values().filter(|token| new.contains(token.as_str())).count();
            if count > 0 {
                let what = format!(
                    "{count} new tokens of {} get rows, but texts do not reach them: it is {}, the vocabulary that \
                     they are added to {}",
                    other.name,
                    theirs.describe(),
                    first.describe()
                );
                let hint = "with `tokenizer_source: base` they are left out";
                problems.push(Problem::warning("tokenizer", what).hint(hint));
            }
        }
        if first.kind != Kind::Bpe {
            return;
        }
        let skip = first.prefix.chars().count();
        let made = |(a, b): &(String, String)| format!("{a}{}", b.chars().skip(skip).collect::<String>());
        let mut seen = BTreeSet::new();
        merges.retain(|pair| {
            let known = self.ids.contains_key(&pair.0) && self.ids.contains_key(&pair.1);
            known && new.contains(made(pair).as_str()) && seen.insert(pair.clone())
        });
        let Some(Value::Array(list)) = json["model"].get_mut("merges") else { return };
        let as_pairs = list.first().is_some_and(Value::is_array) || merges.iter().any(|(a, b)| spaced(a, b));
        if as_pairs && list.first().is_some_and(Value::is_string) {
            let both = |text: &str| text.split_once(' ').map(|(a, b)| json!([a, b]));
            list.iter_mut().for_each(|m| *m = m.as_str().and_then(both).unwrap_or_default());
        }
        list.extend(merges.into_iter().map(|(a, b)| match as_pairs {
            true => json!([a, b]),
            false => json!(format!("{a} {b}")),
        }));
    }
}

fn spaced(a: &str, b: &str) -> bool {
    a.contains(' ') || b.contains(' ')
}

/// What must agree for the tokens of one tokenizer to be reached in another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    kind: Kind,
    spelling: Spelling,
    prefix: String,
    suffix: String,
}

impl Signature {
    fn of(tokenizer: &Tokenizer) -> Self {
        let text = |key: &str| {
            tokenizer.json["model"].get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (prefix, suffix) = (text("continuing_subword_prefix"), text("end_of_word_suffix"));
        Self { kind: tokenizer.kind, spelling: tokenizer.spelling, prefix, suffix }
    }

    fn describe(&self) -> String {
        format!("{:?} over {}", self.kind, self.spelling.describe())
    }
}

/// Merges in either form.
fn pairs(json: &Value) -> Vec<(String, String)> {
    let list = json["model"].get("merges").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        both => Some((both.get(0)?.as_str()?.to_owned(), both.get(1)?.as_str()?.to_owned())),
    };
    list.iter().filter_map(pair).collect()
}

/// Added tokens with a row, by their ids.
fn added<'a>(other: &Other<'a>) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    let (tokenizer, rows) = (other.tokenizer, other.rows);
    let with_row = tokenizer.added.iter().filter(move |(id, _)| (**id as usize) < rows);
    with_row.map(|(id, fields)| (tokenizer.tokens[id].as_str(), fields))
}
