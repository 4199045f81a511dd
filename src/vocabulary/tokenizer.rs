//! `tokenizer.json` as data: which token has which id, and what the file says of each.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value};

use crate::problem::{Problem, Problems};

/// How a tokenizer puts texts together from its vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Merges of pairs, in order.
    Bpe,
    /// Pieces with scores; ids are positions.
    Unigram,
    /// The longest piece first.
    WordPiece,
    /// Whole words.
    WordLevel,
}

/// How tokens are spelled: tokens of two tokenizers are the same text only if both spell alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// A character for each byte, `Ġ` for a space.
    Bytes,
    /// `▁` for a space.
    Metaspace,
    /// As they are.
    Plain,
}

impl Spelling {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Bytes => "bytes, with `Ġ` for a space",
            Self::Metaspace => "characters, with `▁` for a space",
            Self::Plain => "plain characters",
        }
    }
}

/// A tokenizer, as its file describes it.
#[derive(Debug)]
pub(super) struct Tokenizer {
    /// The file.
    pub(super) at: String,
    /// Its contents; see [`Tokenizer::forget_map`].
    pub(super) json: Value,
    pub(super) kind: Kind,
    pub(super) spelling: Spelling,
    /// Every token by its id, added ones among them.
    pub(super) tokens: BTreeMap<u32, String>,
    /// Every id by its token.
    pub(super) ids: HashMap<String, u32>,
    /// What the file says of each added token.
    pub(super) added: BTreeMap<u32, Map<String, Value>>,
    /// The same, ready to encode.
    pub(super) inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads its contents; `at` is used in messages only.
    pub(super) fn parse(at: &str, bytes: &[u8]) -> Result<Self, Problems> {
        let refuse = |what: String| Problem::error(at, what);
        let json: Value =
            serde_json::from_slice(bytes).map_err(|e| refuse(format!("is not a tokenizer: {e}")))?;
        let Vocabulary { kind, tokens, ids, added } = vocabulary(at, &json)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| refuse(format!("is not a tokenizer: {e}")))?;
        inner.with_padding(None);
        // Without truncation there is nothing that could fail.
        let _ = inner.with_truncation(None);
        let moved = added.keys().find(|id| inner.token_to_id(&tokens[id]) != Some(**id));
        if let Some(id) = moved {
            let what = match inner.token_to_id(&tokens[id]) {
                Some(other) => format!("token `{}` has id {id}, but loads as {other}", tokens[id]),
                None => format!("token `{}` with id {id} does not load", tokens[id]),
            };
            let hint = "ids of added tokens must follow those of the vocabulary without a gap";
            return Err(refuse(what).hint(hint).into());
        }
        let spelling = spelling(&json);
        Ok(Self { at: at.into(), json, kind, spelling, tokens, ids, added, inner })
    }

    /// Takes the map of tokens out of the file's contents, where it is most of them: `tokens` and `ids` have it too.
    pub(super) fn forget_map(&mut self) {
        if let Some(vocab) = self.json.pointer_mut("/model/vocab").filter(|vocab| vocab.is_object()) {
            vocab.take();
        }
    }

    /// The first id behind all tokens.
    pub(super) fn end(&self) -> usize {
        self.tokens.last_key_value().map_or(0, |(id, _)| *id as usize + 1)
    }

    /// A token's id, if a matrix of `rows` rows has one for it.
    pub(super) fn row(&self, token: &str, rows: usize) -> Option<u32> {
        self.ids.get(token).copied().filter(|id| (*id as usize) < rows)
    }
}

struct Vocabulary {
    kind: Kind,
    tokens: BTreeMap<u32, String>,
    ids: HashMap<String, u32>,
    added: BTreeMap<u32, Map<String, Value>>,
}

/// The token-to-id map of a file, if it is one.
pub(super) fn token_ids(at: &str, json: &Value) -> Result<HashMap<String, u32>, Problems> {
    vocabulary(at, json).map(|v| v.ids)
}

fn vocabulary(at: &str, json: &Value) -> Result<Vocabulary, Problems> {
    let refuse = |what: String| Problem::error(at, what);
    let model = json.get("model").and_then(Value::as_object);
    let model = model.ok_or_else(|| refuse("is not a tokenizer: it has no `model`".into()))?;
    let kind = kind(model).ok_or_else(|| {
        refuse("is of a kind that is not known".into()).hint("known are BPE, Unigram, WordPiece, WordLevel")
    })?;
    let mut tokens = BTreeMap::new();
    let mut ids = HashMap::new();
    let mut collisions = Vec::new();
    let mut add = |token: &str, id: u32| match tokens.insert(id, token.to_owned()) {
        Some(other) if other != token => collisions.push((id, other, token.to_owned())),
        _ => {
            ids.insert(token.to_owned(), id);
        }
    };
    let id_of = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match model.get("vocab") {
        Some(Value::Object(map)) => {
            for (token, id) in map {
                let id = id_of(id).ok_or_else(|| refuse(format!("token `{token}` has no id")))?;
                add(token, id);
            }
        }
        Some(Value::Array(list)) => {
            for (id, piece) in (0..).zip(list) {
                let piece = piece.get(0).and_then(Value::as_str);
                add(piece.ok_or_else(|| refuse(format!("piece {id} is no text")))?, id);
            }
        }
        _ => return Err(refuse("is not a tokenizer: its model has no `vocab`".into()).into()),
    }
    let mut added = BTreeMap::new();
    let list = json.get("added_tokens").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for token in list {
        let fields = token.as_object();
        let content = fields.and_then(|f| f.get("content")?.as_str());
        let id = fields.and_then(|f| id_of(f.get("id")?));
        let (Some(fields), Some(content), Some(id)) = (fields, content, id) else {
            return Err(refuse("an added token lacks `id` or `content`".into()).into());
        };
        add(content, id);
        added.insert(id, fields.clone());
    }
    if let Some((id, one, other)) = collisions.first() {
        let more =
            if collisions.len() > 1 { format!(" ({} ids collide)", collisions.len()) } else { String::new() };
        let problem = refuse(format!("tokens `{one}` and `{other}` both have id {id}{more}"));
        return Err(problem.hint("each token needs an id of its own: add the tokens again").into());
    }
    let mut twice = tokens.iter().filter(|(id, token)| ids.get(*token) != Some(id));
    if let Some((id, token)) = twice.next() {
        return Err(refuse(format!("token `{token}` has two ids, {id} and {}", ids[token])).into());
    }
    Ok(Vocabulary { kind, tokens, ids, added })
}

/// Files of older versions do not always say.
fn kind(model: &Map<String, Value>) -> Option<Kind> {
    match model.get("type").and_then(Value::as_str) {
        Some("BPE") => Some(Kind::Bpe),
        Some("Unigram") => Some(Kind::Unigram),
        Some("WordPiece") => Some(Kind::WordPiece),
        Some("WordLevel") => Some(Kind::WordLevel),
        Some(_) => None,
        None if model.contains_key("merges") => Some(Kind::Bpe),
        None => None,
    }
}

fn spelling(json: &Value) -> Spelling {
    let parts = ["pre_tokenizer", "normalizer", "decoder"].map(|part| json.get(part).map(Value::to_string));
    let any = |word: &str| parts.iter().flatten().any(|part| part.contains(word));
    match () {
        () if any("\"ByteLevel\"") => Spelling::Bytes,
        () if any("\"Metaspace\"") || any("▁") => Spelling::Metaspace,
        () => Spelling::Plain,
    }
}

/// That a model has no tokenizer that can be read.
pub(super) fn missing(folder: &Path) -> Problem {
    let problem = Problem::error(folder.display().to_string(), "the model has no tokenizer.json");
    if folder.join("tokenizer.model").exists() || folder.join("vocab.json").exists() {
        problem.hint(
            "it has a tokenizer in another form: load it with transformers' AutoTokenizer and save it again",
        )
    } else {
        problem.hint(
            "vocabularies are merged by what the tokenizers say; put the model's tokenizer into its folder",
        )
    }
}
