//! A byte-level BPE tokenizer of several languages, from equally many bytes of each.
//!
//! [`train`] samples every language evenly over its texts, learns merges from all samples together (Sennrich et al.
//! 2016; on bytes: Radford et al. 2019) and measures how long a token is in each language. `<|end|>` is token 0, then
//! come the 256 bytes in the order of the characters that stand for them, then merges in the order they were learned.
//! The same texts give the same tokenizer, byte for byte.

mod sample;

use std::path::{Path, PathBuf};

use growmerge::problem::{Error, Problem, Problems};
use rayon::prelude::*;
use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use crate::files;
use sample::Source;

/// What stands between documents.
pub const END: &str = "<|end|>";
/// The end token and a token for each byte.
pub const SMALLEST: usize = 257;
/// Sixteen times the largest vocabularies in use; room for all tokens is made before the first is learned.
pub const LARGEST: usize = 1 << 22;
/// Counts of pairs are 32-bit numbers.
const MOST: u64 = i32::MAX as u64;
/// Bytes that are encoded at once, on all threads.
const BATCH: usize = 4 << 20;

/// A tokenizer that was just trained.
#[derive(Clone, Debug)]
pub struct Trained {
    /// `tokenizer.json`.
    pub json: String,
    /// What it was trained on, in the order given.
    pub languages: Vec<Sampled>,
}

/// What was used of a language, and how well the tokenizer packs it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Sampled {
    /// The user's name for it.
    pub language: String,
    /// Bytes of its texts.
    pub available: u64,
    /// Bytes that merges were learned from.
    pub bytes: u64,
    /// Tokens that these are now.
    pub tokens: u64,
}

/// Trains a tokenizer with `vocab` tokens on `bytes` of each language: as many as the smallest has, if `None`. Texts are
/// files as [`Documents`](growmerge::eval::Documents) reads them, a line or a field `text` being a document.
///
/// # Errors
/// Everything that is wrong with the texts; a vocabulary that is too small for all bytes or too large for the text.
pub fn train(texts: &[(String, Vec<PathBuf>)], vocab: usize, bytes: Option<u64>) -> Result<Trained, Error> {
    let sources = open(texts, vocab, bytes)?;
    let smallest = sources.iter().map(|s| s.bytes).min().unwrap_or(0);
    let wanted = bytes.unwrap_or(smallest);
    let tokenizer = learn(&sources, vocab, wanted)?;
    let languages = sources.iter().map(|s| measure(s, wanted, &tokenizer)).collect::<Result<_, _>>()?;
    Ok(Trained { json: tokenizer.to_string(true).map_err(|e| failed(&e))?, languages })
}

/// Everything that can be said before training.
fn open<'a>(
    texts: &'a [(String, Vec<PathBuf>)],
    vocab: usize,
    bytes: Option<u64>,
) -> Result<Vec<Source<'a>>, Problems> {
    let mut problems = Problems::new();
    if texts.is_empty() {
        problems.push(Problem::error("", "there is no text to train a tokenizer on"));
    }
    if vocab < SMALLEST {
        let what = format!("{vocab} tokens are too few");
        let hint = format!("{SMALLEST} are needed for the bytes and {END}");
        problems.push(Problem::error("vocab", what).hint(hint));
    }
    if vocab > LARGEST {
        problems.push(Problem::error("vocab", format!("{vocab} tokens are too many; {LARGEST} are allowed")));
    }
    let mut sources = Vec::new();
    for (i, (language, files)) in texts.iter().enumerate() {
        if texts[..i].iter().any(|t| t.0 == *language) {
            problems.push(Problem::error(language, "is there twice"));
        }
        match Source::measure(language, files) {
            Ok(source) => sources.push(source),
            Err(found) => problems.extend(found),
        }
    }
    for source in &sources {
        if bytes.is_some_and(|wanted| wanted > source.bytes) {
            let what = format!("the text has {} bytes, fewer than are to be used of each", source.bytes);
            problems.push(Problem::error(source.language, what).hint("use fewer, or add text"));
        }
    }
    let each = bytes.or_else(|| sources.iter().map(|s| s.bytes).min()).unwrap_or(0);
    if each == 0 && !problems.has_errors() {
        problems.push(Problem::error("", "nothing of each language is nothing to learn from"));
    }
    if each.saturating_mul(sources.len() as u64) > MOST {
        let what = format!("{each} bytes of each language are more than {MOST} together");
        problems.push(
            Problem::error("", what).hint("merges need no more than a few hundred megabytes: use fewer"),
        );
    }
    if problems.has_errors() { Err(problems) } else { Ok(sources) }
}

fn learn(sources: &[Source<'_>], vocab: usize, wanted: u64) -> Result<Tokenizer, Error> {
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END, true)])
        .show_progress(false)
        .build();
    // The texts were read once without a problem; one that comes up now is kept until training returns.
    let mut problems = Problems::new();
    let documents = sources
        .iter()
        .flat_map(|s| s.sample(wanted))
        .filter_map(|document| document.map_err(|found| problems.extend(found)).ok());
    let trained = tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), documents).map(|_| ());
    if problems.has_errors() {
        return Err(problems.into());
    }
    trained.map_err(|e| failed(&e))?;
    let got = tokenizer.get_vocab_size(true);
    if got < vocab {
        let problem = Problem::error("vocab", format!("the text gives {got} tokens, not {vocab}"));
        return Err(problem
            .hint("every word is one token by then: use a smaller vocabulary, or more text")
            .into());
    }
    Ok(tokenizer)
}

fn measure(source: &Source<'_>, wanted: u64, tokenizer: &Tokenizer) -> Result<Sampled, Error> {
    let language = source.language.to_owned();
    let mut sampled = Sampled { language, available: source.bytes, bytes: 0, tokens: 0 };
    let mut documents = source.sample(wanted);
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH
            && let Some(document) = documents.next()
        {
            let document = document?;
            bytes += document.len();
            batch.push(document);
        }
        if batch.is_empty() {
            return Ok(sampled);
        }
        let count = |text: &String| Ok(tokenizer.encode_fast(text.as_str(), false)?.len() as u64);
        let tokens: tokenizers::Result<u64> = batch.par_iter().map(count).sum();
        sampled.bytes += bytes as u64;
        sampled.tokens += tokens.map_err(|e| failed(&e))?;
    }
}

fn failed(error: &tokenizers::Error) -> Error {
    Problem::error("", format!("the tokenizer cannot be trained: {error}")).into()
}

impl Trained {
    /// Writes `tokenizer.json` and `tokenizer_config.json`, which transformers and the decoder read, into a folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let config = json!({
            "add_prefix_space": false,
            "bos_token": END,
            "clean_up_tokenization_spaces": false,
            "eos_token": END,
            "tokenizer_class": "PreTrainedTokenizerFast",
        });
        files::folder(folder)?;
        files::write(&folder.join("tokenizer.json"), self.json.as_bytes())?;
        files::write(&folder.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())?;
        Ok(())
    }
}
