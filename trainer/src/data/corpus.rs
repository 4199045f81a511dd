//! The sequences of a run, by number.

use std::path::Path;

use growmerge::device::philox;
use growmerge::eval::{Reading, Start, Tokenizer};
use growmerge::mix::mix;
use growmerge::problem::{Error, ExecError, Problem, Problems};

use super::interleaving::{Interleaving, Turn};
use super::mixture::Mixture;
use super::permutation::Permutation;
use super::quota::quotas;
use super::shard::{Rules, Shard};

/// All sequences of a run.
///
/// A text of `t` tokens is a ring of `t / sequence` chunks that follow one another from a start that each epoch
/// draws anew; an epoch reads each chunk once, in an order that it draws anew. A sequence is a chunk and the token
/// after it.
#[derive(Debug)]
pub struct Corpus {
    shards: Vec<Shard>,
    shares: Vec<Share>,
    interleaving: Interleaving,
    /// Tokens of a sequence that are predicted.
    sequence: usize,
    seed: u64,
    tokenizer: String,
    warnings: Problems,
}

/// What a run reads of a text.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// Its name in the mixture.
    pub name: String,
    /// Tokens of the text, end tokens included.
    pub tokens: u64,
    /// Sequences of the run that come from it.
    pub sequences: u64,
    /// How often that is all of it.
    pub epochs: f64,
}

impl Corpus {
    /// Tokenizes what is not in the cache yet and divides the run.
    ///
    /// `vocab_size` are the rows of the model's embedding, `sequence_len` the tokens of a sequence that are
    /// predicted, `sequences_in_run` the steps of a run times its batch.
    ///
    /// # Errors
    /// Everything that is wrong with the mixture, the texts or the tokenizer; a full disk.
    pub fn open(
        mixture: &Mixture,
        tokenizer: &Path,
        vocab_size: usize,
        sequence_len: usize,
        sequences_in_run: u64,
        seed: u64,
        cache: &Path,
    ) -> Result<Self, Error> {
        let mut problems = mixture.check().err().unwrap_or_default();
        if sequence_len == 0 {
            problems.push(Problem::error("sequence", "a sequence needs at least one token"));
        }
        if sequences_in_run == 0 {
            problems.push(Problem::error("steps", "the run has no sequence"));
        }
        let opened = Tokenizer::open(tokenizer, &Start::Nothing).map_err(|p| problems.extend(p)).ok();
        let end = opened.as_ref().and_then(|opened| end_token(opened, tokenizer, vocab_size, &mut problems));
        let (Some(opened), Some(end), false) = (opened, end, problems.has_errors()) else {
            return Err(problems.into());
        };
        let reading = Reading { split: mixture.documents, field: mixture.field.clone() };
        let rules = Rules { tokenizer: &opened, end, vocab: vocab_size, reading, cache };
        let mut shards = Vec::new();
        let mut warnings = Problems::new();
        for source in &mixture.sources {
            match Shard::open(&source.text, &rules) {
                Ok((shard, _)) if shard.len() <= sequence_len as u64 => {
                    let what = format!(
                        "the text `{}` is {} tokens, shorter than a sequence",
                        source.name,
                        shard.len()
                    );
                    let hint =
                        format!("a sequence takes {} tokens: shorten it, or add text", sequence_len + 1);
                    problems.push(Problem::error(at(&source.name), what).hint(hint));
                }
                Ok((shard, warning)) => {
                    warning.into_iter().for_each(|w| warnings.push(w));
                    shards.push(shard);
                }
                Err(Error::Input(found)) => problems.extend(found),
                Err(error) => return Err(error),
            }
        }
        if problems.has_errors() {
            return Err(problems.into());
        }
        let shares = divide(mixture, &shards, sequence_len, sequences_in_run);
        check(&shares, mixture.max_epochs, &mut problems, &mut warnings);
        if problems.has_errors() {
            return Err(problems.into());
        }
        let interleaving = Interleaving::new(shares.iter().map(|s| s.sequences).collect());
        let tokenizer = opened.sha256().to_owned();
        Ok(Self { shards, shares, interleaving, sequence: sequence_len, seed, tokenizer, warnings })
    }

    /// Puts the `sequence_len + 1` tokens of sequence number `position` of the run into `out`, replacing what is in
    /// it. They follow from the mixture, the seed and `position` alone. After the last sequence comes the first again.
    ///
    /// # Errors
    /// If the cached tokens were cut short while the run goes on.
    pub fn sequence(&self, position: u64, out: &mut Vec<u32>) -> Result<(), ExecError> {
        out.clear();
        let turn = self.interleaving.turn(position % self.interleaving.len());
        let Some((turn, shard)) = turn.and_then(|turn| Some((turn, self.shards.get(turn.source)?))) else {
            return Ok(());
        };
        shard.read(self.start(shard, turn), self.sequence + 1, out)
    }

    /// Where in its text a sequence begins.
    fn start(&self, shard: &Shard, turn: Turn) -> u64 {
        let (tokens, sequence) = (shard.len(), self.sequence as u64);
        let chunks = tokens / sequence;
        let (epoch, index) = (turn.uses / chunks, turn.uses % chunks);
        let key = philox::key(self.seed, &self.shares[turn.source].name, epoch as usize);
        let offset = (u128::from(mix(!key)) * u128::from(tokens)) >> 64;
        (offset as u64 + Permutation::new(chunks, key).at(index) * sequence) % tokens
    }

    /// Sequences of the run.
    pub fn sequences(&self) -> u64 {
        self.interleaving.len()
    }

    /// What is read of each text, in the mixture's order.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// SHA-256 over the tokens of all texts, in lower-case hex: with the run's description it tells what is read.
    pub fn sha256(&self) -> String {
        let all: Vec<&str> = self.digests().collect();
        growmerge::write::sha256_hex(all.join("\n").as_bytes())
    }

    /// SHA-256 of each text's tokens, in the mixture's order.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().map(Shard::sha256)
    }

    /// SHA-256 of `tokenizer.json`.
    pub fn tokenizer_sha256(&self) -> &str {
        &self.tokenizer
    }

    /// What the user should know: damaged shards that were made again, shares that are nothing.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }
}

/// How many sequences each text gives, and how often that is all of it.
fn divide(mixture: &Mixture, shards: &[Shard], sequence: usize, run: u64) -> Vec<Share> {
    let chunks: Vec<f64> = shards.iter().map(|s| (s.len() / sequence as u64) as f64).collect();
    let most: Vec<f64> = chunks.iter().map(|c| c * mixture.max_epochs).collect();
    let quotas = quotas(mixture, run, &most);
    let texts = mixture.sources.iter().zip(shards).zip(&chunks).zip(quotas);
    texts
        .map(|(((source, shard), chunks), sequences)| Share {
            name: source.name.clone(),
            tokens: shard.len(),
            sequences,
            epochs: sequences as f64 / chunks,
        })
        .collect()
}

/// No text is read too often, or never.
fn check(shares: &[Share], max_epochs: f64, problems: &mut Problems, warnings: &mut Problems) {
    for share in shares {
        if share.sequences == 0 {
            let what = format!("the share of `{}` is too small for a single sequence", share.name);
            warnings.push(Problem::warning(at(&share.name), what));
            continue;
        }
        // Shares are whole sequences: less than one too many was rounded.
        let one_less = share.epochs * (share.sequences - 1) as f64 / share.sequences as f64;
        if one_less >= max_epochs {
            let what = format!("the run needs {:.2} epochs of `{}`", share.epochs, share.name);
            let hint = format!(
                "max_epochs allows {max_epochs}: add text, shorten the run, or give it a smaller share"
            );
            problems.push(Problem::error(at(&share.name), what).hint(hint));
        }
    }
}

fn at(source: &str) -> String {
    format!("data.sources.{source}")
}

fn end_token(tokenizer: &Tokenizer, folder: &Path, vocab: usize, problems: &mut Problems) -> Option<u32> {
    let place = || folder.join("tokenizer_config.json").display().to_string();
    let Some((end, token)) = tokenizer.end() else {
        let problem = Problem::error(place(), "the tokenizer has no token to put between documents");
        problems.push(problem.hint("name one that is in the vocabulary as `eos_token`"));
        return None;
    };
    if end as usize >= vocab {
        let what = format!("the end token `{token}` has id {end}, but the embedding has {vocab} rows");
        problems.push(Problem::error(place(), what).hint("tokenizer and weights are of two models"));
        return None;
    }
    Some(end)
}
