//! One model on all texts: everything between opened files and an [`Evaluation`].

use std::path::Path;

use super::Home;
use super::measure::{Measured, Prepared, Unit, measure};
use super::model::{Model, ModelSource};
use super::pairs::{Judged, Pairs};
use super::statistics::{Estimate, paired};
use super::text::{Split, Text};
use super::tokenizer::{Start, Tokenizer};
use crate::decoder::{Config, Decoder, Weights};
use crate::execute::Observer;
use crate::problem::{Error, Problem, Problems};

/// What decides the numbers besides model and text. Perplexities with different rules do not compare.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rules {
    /// What is one observation: a document, or a window over all of them.
    pub unit: Unit,
    /// What a document of a `.txt` file is.
    pub split: Split,
    /// Tokens of a window.
    pub context: usize,
    /// From the beginning of a window to that of the next.
    pub stride: usize,
    /// What texts begin with.
    pub start: Start,
}

impl Rules {
    /// Windows that can be asked for, in tokens: from one that can predict something to more than any model's.
    pub const CONTEXTS: std::ops::RangeInclusive<usize> = 2..=1 << 22;

    /// One line that says everything, with the token that texts began with.
    pub fn describe(&self, start: Option<&str>) -> String {
        self.line(start.map(|token| format!("begun with {token}")))
    }

    /// The same before a tokenizer was asked.
    pub fn asked_for(&self) -> String {
        self.line(match &self.start {
            Start::Auto => Some("begun as the tokenizer says".into()),
            Start::Nothing => None,
            Start::Token(token) => Some(format!("begun with {token}")),
        })
    }

    fn line(&self, begins: Option<String>) -> String {
        let documents = match (self.unit, self.split) {
            (Unit::Document, Split::Line) => "each line by itself",
            (Unit::Document, Split::Paragraph) => "each paragraph by itself",
            (Unit::Document, Split::File) => "each file as one document",
            (Unit::Window, _) => "all documents of a language joined by blank lines",
        };
        let begins = begins.unwrap_or_else(|| "first token not scored".into());
        format!("{documents}, {begins}; windows of {} tokens, {} apart", self.context, self.stride)
    }
}

/// One language of an evaluation.
#[derive(Clone, Debug)]
pub struct Language {
    /// The user's name for it.
    pub language: String,
    /// Documents of its text.
    pub documents: usize,
    /// Documents of which no token could be scored.
    pub skipped: usize,
    /// SHA-256 of the text.
    pub text_sha256: String,
    /// What its units are.
    pub unit: Unit,
    /// What was measured.
    pub measured: Measured,
    /// Scored tokens a second, on all threads.
    pub tokens_per_second: f64,
}

impl Language {
    /// Bits per byte minus those of another model on the same text.
    ///
    /// # Errors
    /// If the units are not the same: windows, made by different tokenizers.
    pub fn difference(&self, other: &Self) -> Result<Estimate, Problems> {
        let (ours, theirs) = (&self.measured.units, &other.measured.units);
        // As many windows may still be other windows; a document is the same for every tokenizer.
        let same = ours.len() == theirs.len()
            && (self.unit == Unit::Document || ours.iter().zip(theirs).all(|(a, b)| a.bytes == b.bytes));
        if self.text_sha256 != other.text_sha256 || !same {
            let what = "the windows of these models do not cover the same text, so they cannot be paired";
            return Err(Problem::error(&self.language, what)
                .hint("measure documents instead of joined text")
                .into());
        }
        Ok(paired(&self.measured.bits(), &other.measured.bits()))
    }
}

/// Minimal pairs of one language, judged.
#[derive(Clone, Debug)]
pub struct JudgedPairs {
    /// The user's name for it.
    pub language: String,
    /// How.
    pub judged: Judged,
}

/// What was found out about one model.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The model as the user named it.
    pub model: String,
    /// Of its weights; see [`Model::digest`].
    pub digest: String,
    /// Of its `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// What its texts began with.
    pub start: Option<String>,
    /// How it was measured.
    pub rules: Rules,
    /// In the order of the texts.
    pub languages: Vec<Language>,
    /// In the order of the files.
    pub pairs: Vec<JudgedPairs>,
}

/// Everything that is measured, and how.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    /// One for each language.
    pub texts: &'a [Text],
    /// Minimal pairs.
    pub pairs: &'a [Pairs],
    /// How.
    pub rules: &'a Rules,
    /// A folder to take the tokenizer from instead of the model's own.
    pub tokenizer: Option<&'a Path>,
    /// Worker threads, at least 1; no number depends on how many.
    pub threads: usize,
    /// Is told how many tokens of a model will be scored, and of tokens as they are.
    pub progress: &'a dyn Observer,
}

impl Evaluator<'_> {
    /// What can be said of a model before a weight is read: configuration, shapes and tokenizer.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn check(&self, model: &ModelSource) -> Result<(), Problems> {
        let mut problems = Problems::new();
        let config = Config::read(&model.config, &format!("{}: config.json", model.name));
        let weights = config.and_then(|c| Weights::find(&c, model.tensors(), &model.name).map(drop));
        let tokenizer = self.tokenizer(&model.tokenizer).map(drop);
        [weights, tokenizer].into_iter().filter_map(Result::err).for_each(|found| problems.extend(found));
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }

    fn tokenizer(&self, own: &Home) -> Result<Tokenizer, Problems> {
        match self.tokenizer {
            Some(folder) => Tokenizer::open(folder, &self.rules.start),
            None => Tokenizer::of(own, &self.rules.start),
        }
    }

    /// Measures a model.
    ///
    /// # Errors
    /// What is wrong with configuration, weights, tokenizer or texts for this model.
    pub fn evaluate(&self, model: &Model) -> Result<Evaluation, Error> {
        let config = Config::read(&model.config, &format!("{}: config.json", model.name))?;
        let tokenizer = self.tokenizer(&model.tokenizer)?;
        let prepared = self.prepare(&tokenizer, config.vocab)?;
        // Not the context: it may be far longer than any text.
        let longest = prepared.iter().map(Prepared::longest).max().unwrap_or(0);
        let decoder = Decoder::new(config, model.tensors(), &model.name, longest)?;
        self.progress.begin(prepared.iter().map(Prepared::scored).sum::<usize>() as u64);
        let mut measured = measure(&decoder, &prepared, self.threads, self.progress);
        model.check_intact()?;
        if measured.iter().any(|m| !m.total().nats.is_finite()) {
            let what = "computes no number for some token, though its weights are numbers";
            let hint = "config.json may be of another model";
            return Err(Problem::error(&model.name, what).hint(hint).into());
        }
        let judged = measured.split_off(self.texts.len());
        let language = |(text, measured): (&Text, Measured)| self.language(text, measured);
        let judge = |(pairs, measured): (&Pairs, &Measured)| JudgedPairs {
            language: pairs.language.clone(),
            judged: Judged::new(measured),
        };
        Ok(Evaluation {
            model: model.name.clone(),
            digest: model.digest.clone(),
            tokenizer_sha256: tokenizer.sha256().to_owned(),
            start: tokenizer.start().map(str::to_owned),
            rules: self.rules.clone(),
            languages: self.texts.iter().zip(measured).map(language).collect(),
            pairs: self.pairs.iter().zip(&judged).map(judge).collect(),
        })
    }

    /// Texts, then pairs, in tokens and windows; what is wrong with any of them is reported together.
    fn prepare(&self, tokenizer: &Tokenizer, vocab: usize) -> Result<Vec<Prepared>, Problems> {
        let mut problems = Problems::new();
        let texts = self.texts.iter().map(|text| prepare(text, self.rules, tokenizer, vocab));
        let pairs = self.pairs.iter().map(|pairs| pairs.prepare(tokenizer, vocab, self.rules.context));
        let mut prepared = Vec::new();
        for result in texts.chain(pairs) {
            match result {
                Ok(text) => prepared.push(text),
                Err(found) => problems.extend(found),
            }
        }
        if problems.has_errors() { Err(problems) } else { Ok(prepared) }
    }

    fn language(&self, text: &Text, measured: Measured) -> Language {
        Language {
            language: text.language.clone(),
            documents: text.documents.len(),
            skipped: match self.rules.unit {
                Unit::Document => measured.units.iter().filter(|u| u.tokens == 0).count(),
                Unit::Window => 0,
            },
            text_sha256: text.sha256(),
            unit: self.rules.unit,
            tokens_per_second: measured.total().tokens as f64 / measured.seconds.max(1e-9),
            measured,
        }
    }
}

fn prepare(text: &Text, rules: &Rules, tokenizer: &Tokenizer, vocab: usize) -> Result<Prepared, Problems> {
    let at = text.path.display().to_string();
    let tokens = match rules.unit {
        Unit::Document => tokenizer.encode(&text.documents, vocab)?,
        Unit::Window => {
            let tokens = tokenizer.encode(&[text.documents.join("\n\n")], vocab)?;
            let found = tokens.iter().map(|t| t.ids.len()).sum::<usize>();
            if found < rules.context {
                let what = format!("has {found} tokens, fewer than one window of {}", rules.context);
                let hint = "choose a smaller --context, or leave --join out";
                return Err(Problem::error(at, what).hint(hint).into());
            }
            tokens
        }
    };
    let prepared = Prepared::new(tokens, rules.context, rules.stride, rules.unit);
    if prepared.scored() == 0 {
        return Err(Problem::error(
            at,
            "no token of the text can be scored: each is the first of its document",
        )
        .hint("--bos gives documents a beginning")
        .into());
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::baseline::tests::evaluation;

    #[test]
    fn windows_of_other_tokenizers_are_not_paired() {
        let language = |unit: Unit, bytes: usize| {
            let mut language = evaluation(&[1.0, 2.0]).languages.remove(0);
            (language.unit, language.measured.units[1].bytes) = (unit, bytes);
            language
        };
        let paired = |unit: Unit, bytes: usize| language(unit, 10).difference(&language(unit, bytes)).is_ok();
        assert!(paired(Unit::Window, 10));
        assert!(!paired(Unit::Window, 9));
        assert!(paired(Unit::Document, 9), "a first token that is not scored may be longer or shorter");
    }
}
