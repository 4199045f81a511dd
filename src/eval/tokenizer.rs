//! `tokenizer.json`, the tokens that texts begin and end with, and how many bytes each token stands for.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;

use super::Home;
use crate::problem::{Problem, Problems};

/// What texts begin with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// What the tokenizer puts in front itself; if that is nothing, the `bos_token` of its
    /// configuration, unless that says `add_bos_token: false`; else nothing.
    Auto,
    /// Nothing: the first token of each text is not scored.
    Nothing,
    /// This token.
    Token(String),
}

impl Start {
    /// As options name it: `auto`, `none`, or a token.
    pub fn named(name: &str) -> Self {
        match name {
            "auto" => Self::Auto,
            "none" => Self::Nothing,
            token => Self::Token(token.to_owned()),
        }
    }
}

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The start token, if there is one, then those of the text.
    pub ids: Vec<u32>,
    /// Bytes of the text up to the end of each token; a character that is split between tokens counts for
    /// the first of them.
    pub ends: Vec<usize>,
}

impl Tokens {
    /// Bytes that a range of tokens stands for.
    pub fn bytes(&self, range: Range<usize>) -> usize {
        let until = |token: usize| token.checked_sub(1).and_then(|t| self.ends.get(t)).copied().unwrap_or(0);
        until(range.end) - until(range.start)
    }
}

/// A tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    start: Option<(u32, String)>,
    end: Option<(u32, String)>,
    sha256: String,
}

/// All of them, or the first problem: which is found first by threads must not decide what is said.
fn in_order<T>(found: Vec<Result<T, Problems>>) -> Result<Vec<T>, Problems> {
    found.into_iter().collect()
}

impl Tokenizer {
    /// Reads `tokenizer.json` in a folder and decides on the start token.
    ///
    /// # Errors
    /// If it is not there, cannot be parsed, or does not know the start token.
    pub fn open(folder: &Path, start: &Start) -> Result<Self, Problems> {
        Self::of(&Home::Folder(folder.to_owned()), start)
    }

    /// The same of files that need not be in a folder.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn of(home: &Home, start: &Start) -> Result<Self, Problems> {
        let path = home.path().join("tokenizer.json");
        let name = path.display().to_string();
        let bytes = home.read("tokenizer.json").map_err(|e| missing(home.path(), &name, &e))?;
        let unreadable = |e| Problem::error(&name, format!("is not a tokenizer: {e}"));
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(unreadable)?;
        inner.with_padding(None);
        // Without truncation there is nothing that could fail.
        let _ = inner.with_truncation(None);
        let sha256 = crate::write::sha256_hex(&bytes);
        let mut tokenizer = Self { inner, path, start: None, end: None, sha256 };
        tokenizer.start = tokenizer.find_start(home, start)?;
        let end = configured(home, "eos_token").unwrap_or_else(|| "<|end|>".into());
        tokenizer.end = tokenizer.inner.token_to_id(&end).map(|id| (id, end));
        Ok(tokenizer)
    }

    fn find_start(&self, home: &Home, start: &Start) -> Result<Option<(u32, String)>, Problems> {
        let wanted = match start {
            Start::Nothing => return Ok(None),
            Start::Token(token) => token.clone(),
            Start::Auto => match self.own_start()? {
                Some(own) => return Ok(Some(own)),
                None => match configured(home, "bos_token") {
                    Some(token) => token,
                    None => return Ok(None),
                },
            },
        };
        match self.inner.token_to_id(&wanted) {
            Some(id) => Ok(Some((id, wanted))),
            None => {
                Err(Problem::error(self.name(), format!("there is no token `{wanted}` to begin texts with"))
                    .hint("choose another with --bos, or --bos none")
                    .into())
            }
        }
    }

    /// What the tokenizer's post-processor puts in front of a text.
    fn own_start(&self) -> Result<Option<(u32, String)>, Problems> {
        let encode = |special| {
            let encoded = self.inner.encode("a", special).map_err(|e| self.failed(&e))?;
            Ok::<_, Problems>(encoded.get_ids().to_vec())
        };
        let (plain, with) = (encode(false)?, encode(true)?);
        let added = with.len().saturating_sub(plain.len());
        let front = (0..=added).find(|n| with[*n..].starts_with(&plain)).unwrap_or(0);
        // Several tokens in front would be a prompt; the last of them is what the text follows.
        let token = front.checked_sub(1).and_then(|last| with.get(last));
        Ok(token.map(|id| (*id, self.inner.id_to_token(*id).unwrap_or_default())))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, error: &tokenizers::Error) -> Problem {
        Problem::error(self.name(), format!("cannot encode: {error}"))
    }

    /// The token that texts begin with.
    pub fn start(&self) -> Option<&str> {
        self.start.as_ref().map(|s| s.1.as_str())
    }

    /// The id of the token that texts begin with.
    pub fn start_id(&self) -> Option<u32> {
        self.start.as_ref().map(|s| s.0)
    }

    /// Ids of special tokens and of the one that stands between texts: what is in no text, but before, behind or between
    /// them.
    pub fn special_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_tokens_decoder();
        let special = added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id);
        let mut ids: Vec<u32> = special.chain(self.end.as_ref().map(|end| end.0)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The text that tokens stand for, without special ones. Bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn text(&self, ids: &[u32]) -> Result<String, Problems> {
        let text = self.inner.decode(ids, true);
        Ok(text.map_err(|e| Problem::error(self.name(), format!("cannot decode: {e}")))?)
    }

    /// The token that stands between texts: the `eos_token` of its configuration, or `<|end|>` where it names
    /// none, with its id. `None` if the vocabulary has no such token.
    pub fn end(&self) -> Option<(u32, &str)> {
        self.end.as_ref().map(|(id, token)| (*id, token.as_str()))
    }

    /// Whether the same ids stand for the same tokens.
    pub fn has_tokens_of(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 || self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// Of `tokenizer.json`.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Encodes texts, each with the start token in front.
    ///
    /// # Errors
    /// If the tokenizer fails, or makes ids for which an embedding of `vocab` rows has none.
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T], vocab: usize) -> Result<Vec<Tokens>, Problems> {
        in_order(texts.par_iter().map(|text| self.encode_one(text.as_ref(), vocab)).collect())
    }

    fn encode_one(&self, text: &str, vocab: usize) -> Result<Tokens, Problems> {
        let encoded = self.inner.encode(text, false).map_err(|e| self.failed(&e))?;
        let (mut ids, mut ends) =
            (Vec::with_capacity(encoded.len() + 1), Vec::with_capacity(encoded.len() + 1));
        if let Some((id, _)) = &self.start {
            ids.push(*id);
            ends.push(0);
        }
        let mut furthest = 0;
        for (id, (_, end)) in encoded.get_ids().iter().zip(encoded.get_offsets()) {
            furthest = furthest.max(*end);
            ids.push(*id);
            ends.push(furthest);
        }
        // White space that the tokenizer drops at the end belongs to the last token.
        if !encoded.is_empty()
            && let Some(last) = ends.last_mut()
        {
            *last = text.len();
        }
        self.check(&ids, vocab)?;
        Ok(Tokens { ids, ends })
    }

    /// The ids of texts, with no token added in front or behind: faster than [`Tokenizer::encode`], which also
    /// says what each token stands for.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn ids<T: AsRef<str> + Sync>(&self, texts: &[T], vocab: usize) -> Result<Vec<Vec<u32>>, Problems> {
        let one = |text: &T| {
            let encoded = self.inner.encode_fast(text.as_ref(), false).map_err(|e| self.failed(&e))?;
            self.check(encoded.get_ids(), vocab)?;
            Ok(encoded.get_ids().to_vec())
        };
        in_order(texts.par_iter().map(one).collect())
    }

    /// Calls `each` with the ids of a text, with no token added in front or behind, on this thread.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn each_id(&self, text: &str, each: impl FnMut(u32)) -> Result<(), Problems> {
        let encoded = self.inner.encode_fast(text, false).map_err(|e| self.failed(&e))?;
        encoded.get_ids().iter().copied().for_each(each);
        Ok(())
    }

    /// One more than the largest id of a token.
    pub fn ids_end(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    fn check(&self, ids: &[u32], vocab: usize) -> Result<(), Problems> {
        let Some(id) = ids.iter().find(|id| **id as usize >= vocab) else { return Ok(()) };
        let token = self.inner.id_to_token(*id).unwrap_or_default();
        let what = format!("token `{token}` has id {id}, but the embedding has {vocab} rows");
        Err(Problem::error(self.name(), what).hint("tokenizer and weights are of two models").into())
    }
}

fn missing(folder: &Path, name: &str, error: &std::io::Error) -> Problem {
    if error.kind() != std::io::ErrorKind::NotFound {
        return Problem::error(name, format!("cannot read: {error}"));
    }
    let problem = Problem::error(folder.display().to_string(), "the model has no tokenizer.json");
    if folder.join("tokenizer.model").exists() || folder.join("vocab.json").exists() {
        problem.hint(
            "it has a tokenizer in another form: load it with transformers' AutoTokenizer and save it again",
        )
    } else {
        problem.hint("--tokenizer takes one from another folder")
    }
}

/// A special token of `tokenizer_config.json`: a string, or an object with `content`. With `add_bos_token: false`
/// texts begin with none; that no end is *added* does not mean that there is none.
fn configured(home: &Home, name: &str) -> Option<String> {
    let bytes = home.read("tokenizer_config.json").ok()?;
    let config: Value = serde_json::from_slice(&bytes).ok()?;
    if name == "bos_token" && config.get("add_bos_token") == Some(&Value::Bool(false)) {
        return None;
    }
    let token = config.get(name)?;
    let token = token.as_str().or_else(|| token.get("content")?.as_str())?;
    Some(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quickstart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart/fo")
    }

    #[test]
    fn the_start_token_is_the_tokenizers_choice_or_the_users() {
        let start =
            |start: Start| Tokenizer::open(&quickstart(), &start).map(|t| t.start().map(str::to_owned));
        assert_eq!(start(Start::Auto).unwrap().unwrap(), "<|end|>");
        assert_eq!(start(Start::Nothing).unwrap(), None);
        assert_eq!(start(Start::Token("Ġvera".into())).unwrap().unwrap(), "Ġvera");
        let told = start(Start::Token("<s>".into())).unwrap_err().to_string();
        assert!(told.contains("no token `<s>`"), "{told}");
        // A post-processor that adds one goes before the configuration.
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(quickstart().join("tokenizer.json")).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["post_processor"] = serde_json::json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "!", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "\"", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"!": {"id": "!", "ids": [1], "tokens": ["!"]},
                               "\"": {"id": "\"", "ids": [2], "tokens": ["\""]}}});
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        std::fs::write(folder.path().join("tokenizer_config.json"), "{\"bos_token\": \"<|end|>\"}").unwrap();
        assert_eq!(Tokenizer::open(folder.path(), &Start::Auto).unwrap().start(), Some("!"));
        // A configuration may say that there is none.
        std::fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        let config = "{\"bos_token\": {\"content\": \"<|end|>\"}, \"add_bos_token\": false}";
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        assert_eq!(Tokenizer::open(folder.path(), &Start::Auto).unwrap().start(), None);
    }

    #[test]
    fn the_bytes_of_all_tokens_are_those_of_the_text() {
        let tokenizer = Tokenizer::open(&quickstart(), &Start::Auto).unwrap();
        for text in ["Føroyar eru oyggjar.", "سلام دنیا", "a", "  two  ", "𝄞 clef 🙂"] {
            let tokens = tokenizer.encode(&[text], 2048).unwrap().remove(0);
            assert_eq!(tokens.bytes(0..tokens.ids.len()), text.len(), "{text}");
            assert_eq!(tokens.bytes(0..1), 0, "the start token stands for nothing");
            let each: usize = (0..tokens.ids.len()).map(|t| tokens.bytes(t..t + 1)).sum();
            assert_eq!(each, text.len(), "{text}");
            assert!(tokens.ends.iter().all(|e| text.is_char_boundary(*e)));
        }
    }

    #[test]
    fn ids_beyond_the_embedding_are_named() {
        let tokenizer = Tokenizer::open(&quickstart(), &Start::Auto).unwrap();
        let told = tokenizer.encode(&["Føroyar"], 300).unwrap_err().to_string();
        assert!(told.contains("but the embedding has 300 rows"), "{told}");
        assert_eq!(tokenizer.ids(&["Føroyar"], 300).unwrap_err().to_string(), told);
    }

    #[test]
    fn ids_are_those_of_the_tokens_without_a_start() {
        let tokenizer = Tokenizer::open(&quickstart(), &Start::Nothing).unwrap();
        let texts = ["Føroyar eru oyggjar.", "سلام دنیا", "", " \n"];
        let wanted: Vec<_> = tokenizer.encode(&texts, 2048).unwrap().into_iter().map(|t| t.ids).collect();
        assert_eq!(tokenizer.ids(&texts, 2048).unwrap(), wanted);
    }

    #[test]
    fn the_end_is_the_configured_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(quickstart().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
        let end = |config: &str| {
            std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
            let tokenizer = Tokenizer::open(folder.path(), &Start::Nothing).unwrap();
            tokenizer.end().map(|(id, token)| (id, token.to_owned()))
        };
        assert_eq!(end("{}"), Some((0, "<|end|>".into())));
        assert_eq!(end(r#"{"eos_token": {"content": "!"}, "add_eos_token": false}"#), Some((1, "!".into())));
        assert_eq!(end(r#"{"eos_token": "</s>"}"#), None);
    }
}
