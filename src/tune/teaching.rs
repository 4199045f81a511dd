//! Learning from what models of single languages predict, instead of from the one token that a text has.
//!
//! A text says one token at each place; the model of its language says how likely every token is there. Learning from the
//! second is distillation (Hinton et al. 2015, arXiv 1503.02531), here at temperature 1: the gradient of logits is `p − q`, with `q`
//! the teacher's distribution, and has less noise than `p − token`.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::packing::Picked;
use crate::decoder::{Batch, Config, Decoder, Scratch};
use crate::eval::{Model, Start, Tokenizer, Tokens};
use crate::problem::{Problem, Problems};

/// The teachers of all languages, ready to be asked.
pub(super) struct School<'a> {
    /// Of each language in the order of the goal.
    teachers: Vec<Option<Decoder<'a>>>,
    desks: Vec<Mutex<Scratch>>,
}

impl<'a> School<'a> {
    /// Of the models of each language, for windows of so many tokens.
    ///
    /// # Errors
    /// What [`check`] says.
    pub(super) fn new(
        models: impl Iterator<Item = Option<&'a Model>>,
        context: usize,
    ) -> Result<Self, Problems> {
        let of_model = |model: Option<&'a Model>| model.map(|model| decoder(model, context)).transpose();
        let teachers = models.map(of_model).collect::<Result<Vec<_>, Problems>>()?;
        let desks = teachers.iter().map(|_| Mutex::default()).collect();
        Ok(Self { teachers, desks })
    }

    /// Gives each text what the teacher of its language predicts. Each language is one batch, whatever the number of threads.
    pub(super) fn teach(&self, texts: &mut [Picked<'_>]) {
        let Self { teachers, desks } = self;
        let of_languages: Vec<&mut [Picked<'_>]> =
            texts.chunk_by_mut(|a, b| a.language == b.language).collect();
        of_languages.into_par_iter().for_each(|texts| {
            let Some(language) = texts.first().map(|text| text.language) else { return };
            let Some(teacher) = &teachers[language] else { return };
            let mut batch = Batch::default();
            let mut place = |text: &Picked<'_>| {
                let first = batch.scored();
                batch.push(text.ids, text.scored.clone());
                first..batch.scored()
            };
            let places: Vec<Range<usize>> = texts.iter().map(&mut place).collect();
            let mut desk = desks[language].lock().unwrap_or_else(PoisonError::into_inner);
            let predictions = Arc::new(teacher.predictions(&batch, &mut desk));
            for (text, rows) in texts.iter_mut().zip(places) {
                text.lesson = Some((predictions.clone(), rows));
            }
        });
    }
}

/// Refuses a teacher that does not speak of the same tokens.
///
/// # Errors
/// A tokenizer that makes other tokens of a text, another size of the vocabulary, an architecture that the decoder does not know.
pub(super) fn check(
    teacher: &Model,
    language: &str,
    (documents, tokens): (&[String], &[Tokens]),
    (tokenizer, vocab, context): (&Tokenizer, usize, usize),
) -> Result<(), Problems> {
    let at = &teacher.name;
    let own = decoder(teacher, context)?.config().vocab;
    if own != vocab {
        let what = format!("has {own} tokens and the merge {vocab}, so it cannot teach it");
        return Err(Problem::error(at, what).into());
    }
    let start = tokenizer.start().map_or(Start::Nothing, |token| Start::Token(token.to_owned()));
    let of_teacher = Tokenizer::of(&teacher.tokenizer, &start)?;
    // Files that differ may still mean the same.
    if of_teacher.sha256() != tokenizer.sha256() && of_teacher.encode(documents, vocab)? != tokens {
        let what =
            format!("makes other tokens of the text of `{language}` than the merge, so it cannot teach it");
        return Err(Problem::error(at, what).into());
    }
    Ok(())
}

fn decoder(model: &Model, context: usize) -> Result<Decoder<'_>, Problems> {
    let config = Config::read(&model.config, &model.name)?;
    if config.max_positions < context {
        let what =
            format!("was made for {} tokens, and windows are {context} tokens long", config.max_positions);
        return Err(Problem::error(&model.name, what).hint("shorten them with --context").into());
    }
    Decoder::new(config, model.tensors(), &model.name, context)
}
