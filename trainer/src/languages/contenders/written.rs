//! What coefficients are learned from: text of a language, or what its model writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use growmerge::eval::{Model, ModelSource, Reading, Split, Start, Text, Tokenizer, documents_as_file};
use growmerge::generate::{Sampling, Task, WRITING, generate};
use growmerge::plan::PlanOptions;
use growmerge::problem::{Error, Problems};
use growmerge::tune::{Goal, Wanted};
use serde_json::json;

use super::learning::Lessons;
use crate::languages::bench::{Artefact, Bench, Shared};
use crate::languages::split::Portion;
use crate::reproduce::{ENGLISH, Language, Quiet, all_languages};

/// How often English counts beside each of the five languages: often enough that it stays what joint training leaves.
pub(super) const ENGLISH_SHARE: f64 = 0.4;

/// Texts for learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texts {
    /// The text to fit on; the text that chooses settings for others decides when learning ends.
    Fit,
    /// As much that each language's model has written, English that of the English model. An eighth of it decides when
    /// learning ends.
    Written,
}

/// All languages, and English a little; where predictions are learned from, each with its model.
pub(super) fn goal(bench: &Bench<'_>, written: Option<&Artefact>, lessons: Lessons) -> Result<Goal, Error> {
    let mut teachers = teachers(bench, lessons)?;
    let read = |path: &Path, language: &str| {
        Text::read(language, path, &Reading { split: Split::Line, field: "text".into() })
    };
    let path = |portion: Option<&'_ Portion>| portion.map_or_else(Default::default, |p| p.path.clone());
    let portions = &bench.shared.portions;
    let mut wanted = |language: &'static str| {
        let weight = if language == ENGLISH { ENGLISH_SHARE } else { 1.0 };
        let (text, held_out) = match written {
            Some(written) => (read(&written.folder.join(file(language)), language)?, None),
            None => {
                let held_out = read(&path(portions.choose.get(language)), language)?;
                (read(&path(portions.fit.get(language)), language)?, Some(held_out))
            }
        };
        Ok(Wanted { text, held_out, weight, teacher: teachers.remove(language) })
    };
    let wanted = all_languages().map(&mut wanted).collect::<Result<Vec<_>, Problems>>()?;
    let tokenizer = Tokenizer::open(&bench.shared.files.tokenizer, &Start::Auto)?;
    let vocab = bench.study.model.vocab as usize;
    Ok(Goal::new(wanted, &tokenizer, vocab, bench.study.sequence)?)
}

/// The model of each language, English that of the base.
fn teachers(bench: &Bench<'_>, lessons: Lessons) -> Result<BTreeMap<&'static str, Arc<Model>>, Error> {
    if lessons == Lessons::Tokens {
        return Ok(BTreeMap::new());
    }
    let models = std::iter::once(&bench.base).chain(&bench.experts);
    let names = std::iter::once(ENGLISH).chain(Language::all().map(Language::code));
    let load = |(language, folder): (&'static str, &PathBuf)| {
        let source = ModelSource::open(&folder.to_string_lossy(), &PlanOptions::default())?;
        Ok((language, Arc::new(source.load(bench.shared.threads, &Quiet)?)))
    };
    names.zip(models).map(load).collect()
}

fn file(language: &str) -> String {
    format!("{language}.txt")
}

/// A text of each language by its model, of as many bytes as there are to fit on.
pub(super) fn written(bench: &Bench<'_>) -> Result<Artefact, Error> {
    let Shared { effort, threads, cancel, .. } = bench.shared;
    let models: Vec<&Path> =
        std::iter::once(&bench.base).chain(&bench.experts).map(std::path::PathBuf::as_path).collect();
    let digests: Vec<String> = models.iter().map(|model| bench.digest(model)).collect();
    let sampling = Sampling { temperature: 1.0, top_p: 1.0, length: bench.study.sequence, seed: bench.seed };
    let identity = json!({
        "written": digests, "tokenizer": bench.shared.file_digests.tokenizer, "bytes": effort.fit_bytes,
        "length": sampling.length, "seed": bench.seed, "writing": WRITING,
    });
    bench.artefact(&bench.name("written"), &identity, |out| {
        crate::files::folder(out)?;
        for (language, model) in all_languages().zip(models) {
            let source = ModelSource::open(&model.to_string_lossy(), &PlanOptions::default())?;
            let model = source.load(threads, &Quiet)?;
            let task = Task {
                model: &model,
                tokenizer: Some(&bench.shared.files.tokenizer),
                start: &Start::Auto,
                sampling,
                bytes: effort.fit_bytes,
                threads,
                cancel,
                progress: &Quiet,
            };
            let path = out.join(file(language));
            let documents = generate(&task)?.documents;
            crate::files::write(&path, documents_as_file(&path, &documents))?;
        }
        Ok(())
    })
}
