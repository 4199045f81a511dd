//! The part of a text that is measured: documents in a random order that a seed decides, in windows.

use std::ops::Range;

use crate::decoder::Batch;
use crate::eval::{Text, Tokenizer, windows};
use crate::mix::mix;
use crate::problem::{Problem, Problems};

/// Which part of a text is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Tokens that are predicted, at most.
    pub tokens: usize,
    /// Tokens of a window; a longer document is cut into several, side by side.
    pub context: usize,
    /// Decides which documents are taken, where the text has more than enough.
    pub seed: u64,
}

/// A run of tokens of which some are predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Those that are predicted, each from those before it.
    pub scored: Range<usize>,
}

impl Sequence {
    /// Adds it to a batch.
    pub fn push_to(&self, batch: &mut Batch) {
        batch.push(&self.ids, self.scored.clone());
    }
}

/// The sequences of a text that are measured, longest first: threads that begin together then end together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample(Vec<Sequence>);

impl Sample {
    /// Takes documents until there are enough tokens.
    ///
    /// # Errors
    /// If the tokenizer fails, makes ids beyond `vocab`, or no token of the text can be predicted.
    pub fn draw(
        text: &Text,
        tokenizer: &Tokenizer,
        vocab: usize,
        sampling: Sampling,
    ) -> Result<Self, Problems> {
        let mut order: Vec<usize> = (0..text.documents.len()).collect();
        order.sort_by_key(|i| (mixed(sampling.seed, *i as u64), *i));
        let mut sequences = Vec::new();
        let mut left = sampling.tokens;
        // Documents are encoded some at a time: of a long text only a part is needed.
        for some in order.chunks(256) {
            let documents: Vec<&str> = some.iter().map(|i| text.documents[*i].as_str()).collect();
            for tokens in tokenizer.encode(&documents, vocab)? {
                for window in windows(tokens.ids.len(), sampling.context, sampling.context) {
                    let scored =
                        window.scored.start..window.scored.end.min(window.scored.start.saturating_add(left));
                    if scored.is_empty() {
                        continue;
                    }
                    left -= scored.len();
                    let from = window.range.start;
                    let ids = tokens.ids[from..scored.end].to_vec();
                    sequences.push(Sequence { ids, scored: scored.start - from..scored.end - from });
                }
            }
            if left == 0 {
                break;
            }
        }
        if sequences.is_empty() {
            let what = "no token of the text can be predicted: each is the first of its document";
            let at = text.path.display().to_string();
            return Err(Problem::error(at, what).hint("--bos gives documents a beginning").into());
        }
        sequences.sort_by_key(|sequence| std::cmp::Reverse(sequence.ids.len()));
        Ok(Self(sequences))
    }

    /// In the order in which they are summed.
    pub fn sequences(&self) -> &[Sequence] {
        &self.0
    }

    /// Tokens that are predicted.
    pub fn tokens(&self) -> usize {
        self.0.iter().map(|sequence| sequence.scored.len()).sum()
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.0.iter().map(|sequence| sequence.ids.len()).max().unwrap_or(0)
    }
}

/// A number for each index.
fn mixed(seed: u64, index: u64) -> u64 {
    mix(mix(seed) ^ index)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::eval::Start;

    fn text(documents: &[&str]) -> Text {
        let documents = documents.iter().map(|d| (*d).to_owned()).collect();
        Text { language: "fo".into(), path: "fo.txt".into(), documents }
    }

    fn draw(text: &Text, start: &Start, sampling: Sampling) -> Result<Sample, Problems> {
        let fo = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart/fo");
        Sample::draw(text, &Tokenizer::open(&fo, start).unwrap(), 2048, sampling)
    }

    #[test]
    fn a_sample_has_as_many_tokens_as_it_may_and_each_only_once() {
        let documents: Vec<String> = (0..700).map(|i| format!("Føroyar eru {i} oyggjar.")).collect();
        let text = text(&documents.iter().map(String::as_str).collect::<Vec<_>>());
        let sampling = |tokens, seed| Sampling { tokens, context: 4, seed };
        let all = draw(&text, &Start::Auto, sampling(1 << 30, 0)).unwrap();
        for tokens in [1, 50, 1001, 3000] {
            let some = draw(&text, &Start::Auto, sampling(tokens, 3)).unwrap();
            assert_eq!(some.tokens(), tokens.min(all.tokens()));
            assert!(some.longest() <= 4 && some.sequences().iter().all(|s| s.scored.end == s.ids.len()));
        }
        let drawn = |seed| draw(&text, &Start::Auto, sampling(500, seed)).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let lengths: Vec<usize> = all.sequences().iter().map(|s| s.ids.len()).collect();
        assert!(lengths.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_text_of_single_tokens_needs_a_beginning() {
        let (one, sampling) = (text(&["a"]), Sampling { tokens: 10, context: 8, seed: 0 });
        assert_eq!(draw(&one, &Start::Auto, sampling).unwrap().tokens(), 1);
        let told = draw(&one, &Start::Nothing, sampling).unwrap_err().to_string();
        assert!(told.contains("no token of the text can be predicted"), "{told}");
    }
}
