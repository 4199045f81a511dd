//! What `eval` and `check` share: texts, rules, models, and where reports go.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Place;
use growmerge::decoder::Config;
use growmerge::eval::{
    Evaluation, Evaluator, ModelSource, Pairs, Rules, Split, Start, Text, Unit, is_recipe,
};
use growmerge::plan::Plan;
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::recipe::Contents;

use super::grid::Only;
use super::plan::Numbers;
use super::progress::{Measure, Progress};
use super::{elsewhere, texts};

/// Texts and rules
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    texts: texts::Options,
    /// Measure all documents of a language as one, joined by blank lines
    #[arg(long)]
    join: bool,
    /// Tokens of a window [default: 2048, or the model's limit]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..=1 << 22))]
    context: Option<u32>,
    /// From one window to the next [default: half a window]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    stride: Option<u32>,
    /// What texts begin with: auto (what the tokenizer puts in front, or else its bos_token unless it
    /// has add_bos_token: false), none, or a token
    #[arg(long, value_name = "TOKEN")]
    bos: Option<String>,
    /// Folder to take the tokenizer from [default: the model's]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Append the report as Markdown to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one HTML page, with a picture
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print errors only
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    only: Only,
    #[command(flatten)]
    numbers: Numbers,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

/// Opened inputs.
pub(super) struct Inputs {
    pub(super) models: Vec<ModelSource>,
    pub(super) texts: Vec<Text>,
    pairs: Vec<Pairs>,
}

impl Options {
    /// Opens models and texts; what is wrong with any of them is reported together.
    pub(super) fn open(
        &self,
        models: &[String],
        pairs: &[(String, PathBuf)],
        split: Option<Split>,
    ) -> Result<Inputs, Error> {
        let mut problems = Problems::new();
        let mut keep = |found: Problems| problems.extend(found);
        let texts = self.texts.read(split).map_err(&mut keep).unwrap_or_default();
        let mut pairs_read: Vec<Pairs> = Vec::new();
        for (language, path) in pairs {
            if pairs_read.iter().any(|p| p.language == *language) {
                let what = format!("there are two files of pairs of `{language}`");
                keep(Problem::error(path.display().to_string(), what).into());
            }
            match Pairs::read(language, path) {
                Ok(pairs) => pairs_read.push(pairs),
                Err(found) => keep(found),
            }
        }
        if texts.is_empty() && pairs.is_empty() && !problems.has_errors() {
            let problem = Problem::error("", "there is nothing to measure");
            problems.push(problem.hint("give texts with --texts DIR or --text LANG=FILE"));
        }
        let mut opened = Vec::new();
        let mut grids = 0;
        for name in models {
            match self.model(name, &mut grids) {
                Ok(model) => opened.push(model),
                Err(Error::Input(found)) => problems.extend(found),
                Err(other) => return Err(other),
            }
        }
        if grids == 0 && !problems.has_errors() {
            problems.extend(self.only.refuse().err().unwrap_or_default());
        }
        if problems.has_errors() {
            return Err(problems.into());
        }
        self.bring(&opened)?;
        Ok(Inputs { models: opened, texts, pairs: pairs_read })
    }

    /// A checkpoint, a recipe, or the member of a grid that was asked for, which is called by its own name.
    fn model(&self, name: &str, grids: &mut usize) -> Result<ModelSource, Error> {
        let options = self.numbers.plan_options();
        if !is_recipe(name) {
            let model = elsewhere::named(name)?;
            let mut library = self.elsewhere.library(None, std::slice::from_ref(&model))?;
            return Ok(ModelSource::stored(name, library.checkpoint(&model)?)?);
        }
        let path = Path::new(name);
        let (name, reading) = match Contents::from_file(path)? {
            Contents::Grid(grid) => {
                *grids += 1;
                let member = self.only.single(&grid)?;
                (member.name.clone(), member.reading.clone())
            }
            Contents::Recipe(reading) => (name.to_owned(), reading),
        };
        let mut library = self.elsewhere.library_of(path, [&reading])?;
        let plan = Plan::from_reading_with(reading, &options, &mut library)?;
        Ok(ModelSource::planned(&name, plan)?)
    }

    /// Brings here what models have elsewhere.
    fn bring(&self, models: &[ModelSource]) -> Result<(), Error> {
        let away: Vec<Place> = models.iter().flat_map(ModelSource::away).collect();
        self.elsewhere.bring(&away.iter().collect::<Vec<_>>(), self.silent(), &AtomicBool::new(false))?;
        Ok(models.iter().try_for_each(ModelSource::attach)?)
    }

    /// The rules that the options ask for; where they are silent, those of `default`, else our own.
    pub(super) fn rules(&self, models: &[ModelSource], default: Option<&Rules>) -> Result<Rules, Problems> {
        let limits =
            models.iter().filter_map(|m| Config::read(&m.config, &m.name).ok()?.max_positions.into());
        let limit = limits.min().unwrap_or(2048).max(2);
        let context = match (self.context, default) {
            (Some(context), _) => context as usize,
            (None, Some(rules)) => rules.context,
            (None, None) => limit.min(2048),
        };
        if context > limit && !self.silent() {
            let what = format!(
                "windows of {context} tokens are longer than the {limit} that the model was made for"
            );
            eprintln!("{}", Problem::warning("--context", what));
        }
        let stride = match (self.stride, self.context, default) {
            (Some(stride), _, _) => stride as usize,
            (None, None, Some(rules)) => rules.stride,
            _ => (context / 2).max(1),
        };
        if stride > context {
            let what = format!(
                "{stride} is more than a window of {context} tokens: what lies between would not be measured"
            );
            return Err(Problem::error("--stride", what).into());
        }
        let start = match (self.bos.as_deref(), default) {
            (None, Some(rules)) => rules.start.clone(),
            (words, _) => Start::named(words.unwrap_or("auto")),
        };
        let unit = match default {
            _ if self.join => Unit::Window,
            Some(rules) => rules.unit,
            None => Unit::Document,
        };
        Ok(Rules { unit, split: self.texts.split(default.map(|r| r.split)), context, stride, start })
    }

    /// Measures all models, one after another in memory; what can be told to be wrong with any of them is
    /// reported before a weight is read.
    pub(super) fn evaluate(&self, inputs: &mut Inputs, rules: &Rules) -> Result<Vec<Evaluation>, Error> {
        let models = std::mem::take(&mut inputs.models);
        let mut problems = Problems::new();
        for model in &models {
            if let Err(found) = self.evaluator(inputs, rules, &Progress::Silent).check(model) {
                problems.extend(found);
            }
        }
        if problems.has_errors() {
            return Err(problems.into());
        }
        let measure = |source: ModelSource| {
            if !self.silent() && !source.warnings.is_empty() {
                eprintln!("{}", source.warnings);
            }
            let progress = Progress::new(Measure::Bytes, self.silent());
            let model = source.load(self.threads(), &progress);
            progress.finish();
            let progress = Progress::new(Measure::Tokens, self.silent());
            let evaluation = self.evaluator(inputs, rules, &progress).evaluate(&model?);
            progress.finish();
            evaluation
        };
        models.into_iter().map(measure).collect()
    }

    fn evaluator<'a>(
        &'a self,
        inputs: &'a Inputs,
        rules: &'a Rules,
        progress: &'a Progress,
    ) -> Evaluator<'a> {
        Evaluator {
            texts: &inputs.texts,
            pairs: &inputs.pairs,
            rules,
            tokenizer: self.tokenizer.as_deref(),
            threads: self.threads(),
            progress,
        }
    }

    /// Writes the report to the files that were asked for.
    pub(super) fn write(&self, title: &str, report: &growmerge::report::Report<'_>) -> Result<(), Error> {
        if let Some(path) = &self.markdown {
            let text = growmerge::report::markdown(report)?;
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(unwritable(path))?;
        }
        if let Some(path) = &self.html {
            write(path, &growmerge::report::html(title, report)?)?;
        }
        Ok(())
    }

    fn threads(&self) -> usize {
        self.threads.map_or_else(super::cores, usize::from)
    }

    fn silent(&self) -> bool {
        self.quiet || self.json
    }
}

/// Writes a report file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(unwritable(path))?;
    Ok(())
}

/// Not [`ExecError::io`], whose hint for a full disk is about merges.
fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> ExecError {
    let path = path.to_owned();
    move |source| ExecError::Io { action: "write", path, source }
}
