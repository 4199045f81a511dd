//! Ways to merge languages, held against joint training: [`run()`].
//!
//! The models are those of [`crate::reproduce`]. `split` cuts text that no training saw, `contenders` lists what is tried,
//! `search` chooses settings on one text, `judge` reports them on another, `results` and `tables` say what came of it.
//! Every step is found again when an experiment is started again.

mod arm;
mod bench;
mod contender;
mod contenders;
mod effort;
mod judge;
mod point;
mod report;
mod results;
mod rows;
mod scores;
mod search;
mod split;
mod tables;
mod trained;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use growmerge::eval::{Reading, Split, Text};
use growmerge::problem::{Error, Problem, Problems};

use crate::files;
use crate::reproduce::ledger::Ledger;
use crate::reproduce::yardstick::{Measure, Pick, Yardstick};
use crate::reproduce::{About, Maker, Options, Part, Study, Texts};
use bench::Shared;
use judge::Judge;
use results::Results;
use split::{Portion, Portions};
use trained::Trained;

pub use arm::Arm;
pub use effort::Effort;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What the models are.
    pub study: Study,
    /// What contenders are given.
    pub effort: Effort,
    /// Where the models come from.
    pub arms: Vec<Arm>,
    /// Names of contenders, in which `*` is any text; all of them if it is empty.
    pub only: Vec<String>,
    /// A page that gets the summaries.
    pub page: Option<PathBuf>,
}

/// Carries out an experiment in the folder of a study, which may have the models already, and writes its report to
/// `language-level/` in it. Returns where the report is.
///
/// # Errors
/// What is wrong with texts or folder; no contender of the asked names; what makers of models say;
/// [`growmerge::problem::ExecError::Interrupted`]; what the machine does.
pub fn run(
    experiment: &Experiment,
    texts: &Texts,
    out: &Path,
    maker: &dyn Maker,
    options: Options<'_>,
    about: &About,
) -> Result<PathBuf, Error> {
    let started = Instant::now();
    let Experiment { study, effort, .. } = experiment;
    let contenders = contenders::matching(&experiment.only);
    if contenders.is_empty() {
        let names: Vec<&str> = contenders::all().iter().map(|c| c.name).collect();
        let hint = format!("there are: {}", names.join(", "));
        return Err(Problem::error("--only", "names no merge").hint(hint).into());
    }
    if let Some(page) = &experiment.page {
        report::check_page(page)?;
    }
    let folder = out.join("language-level");
    let made = folder.join("made");
    [&out.join("models"), &made].into_iter().try_for_each(|f| files::folder(f))?;
    let ledger = Ledger::open(&folder.join("measured.jsonl"))?;
    let portions = Portions::cut(texts, effort.fit_bytes, &folder)?;
    let trained = Trained::new(experiment, texts, out, maker, options)?;
    let (tokenizer, vocab) = (&trained.tokenizer.folder, study.model.vocab as usize);
    let cut = |portions: &BTreeMap<&'static str, Portion>, tokens| {
        let read = |language: &'static str| read(language, portions);
        Yardstick::of(Part::Valid, read, (Pick::Spread, tokens), tokenizer, vocab, study.sequence)
    };
    let fit = cut(&portions.fit, usize::MAX)?;
    let choose = cut(&portions.choose, effort.choose_tokens)?;
    let test = (Pick::Spread, effort.test_tokens);
    let test = Yardstick::new(texts, Part::Test, test, tokenizer, vocab, study.sequence)?;
    let shared = Shared {
        effort,
        portions: &portions,
        texts,
        files: &trained.files,
        file_digests: &trained.file_digests,
        lengths: &trained.lengths,
        maker,
        folder: &made,
        threads: options.threads,
        cancel: options.cancel,
        watch: options.watch,
    };
    let mut judge = Judge { choose: &choose, test: &test, ledger };
    let amounts = [("fit", &fit), ("choose", &choose), ("test", &test)];
    let amounts = amounts.map(|(name, y)| (name, y.languages.iter().map(measured).collect())).into();
    let mut results = Results { contenders, cells: BTreeMap::new() };
    options.watch.measuring(experiment.arms.len() * study.seeds.len() * results.contenders.len());
    for arm in &experiment.arms {
        let study = arm.study(study);
        for seed in &study.seeds {
            let cell = trained.cell(&mut judge, shared, &study, (*arm, *seed), &results)?;
            results.cells.entry(*arm).or_default().push(cell);
            let about = About { seconds: started.elapsed().as_secs_f64(), ..about.clone() };
            let study = &experiment.study;
            let report =
                report::Report { about: &about, study, effort, amounts: &amounts, results: &results };
            report.write(&folder)?;
            if let Some(page) = &experiment.page {
                report.put_into(page)?;
            }
        }
    }
    Ok(folder.join("report.md"))
}

/// A portion's sentences, from its file.
fn read(language: &'static str, portions: &BTreeMap<&'static str, Portion>) -> Result<Text, Problems> {
    let path = portions.get(language).map_or(Path::new(""), |p| &p.path);
    Text::read(language, path, &Reading { split: Split::Line, field: "text".into() })
}

/// Of a text: sentences, tokens and bytes.
fn measured(m: &Measure) -> (&'static str, [usize; 3]) {
    (m.language, [m.sentences.len(), m.tokens, m.bytes.iter().sum()])
}
