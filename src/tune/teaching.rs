//! Learning from what models of single languages predict, instead of from the one token that a text has.
//!
//! A text says one token at each place; the model of its language says how likely every token is there. Learning from the
//! second is distillation (Hinton et al. 2015, arXiv 1503.02531), here at temperature 1: the gradient of logits is `p − q`, with `q`
//! the teacher's distribution, and has less noise than `p − token`.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::packing::Picked;
use crate::decoder::{Batch, Config, Decoder, Scratch, Weights};
use crate::eval::{Model, ModelSource, Start, Tokenizer, Tokens};
use crate::problem::{Problem, Problems};

/// The teachers of all languages, ready to be asked.
pub(super) struct Teachers<'a> {
    /// Of each language in the order of the goal.
    decoders: Vec<Option<Decoder<'a>>>,
    /// Of each, memory that is used again.
    scratches: Vec<Mutex<Scratch>>,
}

impl<'a> Teachers<'a> {
    /// Of the models of each language, for windows of so many tokens.
    ///
    /// # Errors
    /// What the decoder does not know or does not find.
    pub(super) fn new(
        models: impl Iterator<Item = Option<&'a Model>>,
        context: usize,
    ) -> Result<Self, Problems> {
        let of_model = |model: Option<&'a Model>| model.map(|model| decoder(model, context)).transpose();
        let decoders = models.map(of_model).collect::<Result<Vec<_>, Problems>>()?;
        let scratches = decoders.iter().map(|_| Mutex::default()).collect();
        Ok(Self { decoders, scratches })
    }

    /// Gives each text what the teacher of its language predicts. Each language is one batch, whatever the number of threads.
    pub(super) fn teach(&self, texts: &mut [Picked<'_>]) {
        let Self { decoders, scratches } = self;
        let of_languages: Vec<&mut [Picked<'_>]> =
            texts.chunk_by_mut(|a, b| a.language == b.language).collect();
        of_languages.into_par_iter().for_each(|texts| {
            let Some(language) = texts.first().map(|text| text.language) else { return };
            let Some(teacher) = &decoders[language] else { return };
            let mut batch = Batch::default();
            let mut place = |text: &Picked<'_>| {
                let first = batch.scored();
                batch.push(text.ids, text.scored.clone());
                first..batch.scored()
            };
            let places: Vec<Range<usize>> = texts.iter().map(&mut place).collect();
            let mut scratch = scratches[language].lock().unwrap_or_else(PoisonError::into_inner);
            let predictions = Arc::new(teacher.predictions(&batch, &mut scratch));
            for (text, rows) in texts.iter_mut().zip(places) {
                text.lesson = Some((predictions.clone(), rows));
            }
        });
    }
}

/// Refuses a model that cannot teach a language to a merge with an embedding of `vocab` rows, in windows of `context` tokens. Its
/// weights need not have been read.
///
/// # Errors
/// Another size of the vocabulary; windows that are too long for it; what the decoder does not know or does not find.
pub fn suits(
    teacher: &ModelSource,
    language: &str,
    (vocab, context): (usize, usize),
) -> Result<(), Problems> {
    let config = read(&teacher.config, &teacher.name)?;
    fits(&config, (&teacher.name, language), (vocab, context))?;
    Weights::find(&config, teacher.tensors(), &teacher.name).map(drop)
}

/// The same of one that was read, and that it speaks of the same tokens.
///
/// # Errors
/// As [`suits`]; a tokenizer in which ids stand for other tokens, or that makes other tokens of the text.
pub(super) fn check(
    teacher: &Model,
    language: &str,
    (documents, tokens): (&[String], &[Tokens]),
    (tokenizer, vocab, context): (&Tokenizer, usize, usize),
) -> Result<(), Problems> {
    let at = &teacher.name;
    fits(&read(&teacher.config, at)?, (at, language), (vocab, context))?;
    let start = tokenizer.start().map_or(Start::Nothing, |token| Start::Token(token.to_owned()));
    let own = Tokenizer::of(&teacher.tokenizer, &start).map_err(|problems| {
        let what = format!("cannot teach `{language}` without a tokenizer: {problems}");
        Problem::error(at, what).hint("copy the tokenizer's files of the merge's models beside it")
    })?;
    let refuse = |what: &str| {
        let problem = Problem::error(at, format!("{what}, so it cannot teach `{language}`"));
        Err(problem.hint("a teacher needs the vocabulary of the merge").into())
    };
    if !own.has_tokens_of(tokenizer) {
        return refuse("in its tokenizer ids stand for other tokens than in the merge's");
    }
    // Files that differ may still mean the same.
    if own.sha256() != tokenizer.sha256() && own.encode(documents, vocab)? != tokens {
        return refuse("makes other tokens of the text than the merge");
    }
    Ok(())
}

fn read(config: &serde_json::Value, name: &str) -> Result<Config, Problems> {
    Config::read(config, &format!("{name}: config.json"))
}

fn fits(
    config: &Config,
    (name, language): (&str, &str),
    (vocab, context): (usize, usize),
) -> Result<(), Problems> {
    let mut problems = Problems::new();
    if config.vocab != vocab {
        let what = format!(
            "its embedding has {} rows and that of the merge {vocab}, so it cannot teach `{language}`",
            config.vocab
        );
        let hint = "teach with a recipe of this model alone that has the merge's tokenizer and padding";
        problems.push(Problem::error(name, what).hint(hint));
    }
    if config.max_positions < context {
        let what = format!(
            "was made for {} tokens, and windows of `{language}` have up to {context}",
            config.max_positions
        );
        problems.push(Problem::error(name, what).hint("shorten them with --context"));
    }
    if problems.has_errors() { Err(problems) } else { Ok(()) }
}

fn decoder(model: &Model, context: usize) -> Result<Decoder<'_>, Problems> {
    Decoder::new(read(&model.config, &model.name)?, model.tensors(), &model.name, context)
}
