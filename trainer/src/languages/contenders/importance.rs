//! Weights by how much each element, or each input, matters to a model on its own language's text.

use std::path::{Path, PathBuf};

use growmerge::eval::{ModelSource, Reading, Split, Start, Text};
use growmerge::importance::{Fisher, Grams, Sampling, Task};
use growmerge::plan::PlanOptions;
use growmerge::problem::Error;
use serde_json::json;

use crate::languages::bench::{Artefact, Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::Axis;
use crate::languages::words::quoted;
use crate::reproduce::{Language, Quiet};

const LAMBDA: Axis = Axis::new("lambda", &[0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5], 3);
const EXPONENT: Axis = Axis::new("exponent", &[0.15, 0.25, 0.35, 0.5, 0.7, 1.0], 3);
const FLOOR: Axis = Axis::new("floor", &[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], 3);
const SHRINKAGE: Axis = Axis::new("shrinkage", &[0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99], 4);

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "fisher",
        about: "each element of the differences by its importance",
        kind: Kind::Importance,
        reads: Reads::Fit,
        axes: &[EXPONENT, LAMBDA, FLOOR],
        after: &[],
        make: |bench, at| {
            let measured = measured(bench, Measure::Fisher)?;
            let words = bench.merge_from_base("fisher").each("importance", |i| quoted(&measured[i].1));
            let words = words.with("exponent", at.get("exponent")).with("floor", at.get("floor"));
            let recipe = words.with("lambda", at.get("lambda")).text();
            Ok(Made { recipe, artefacts: measured.into_iter().map(|m| m.0).collect() })
        },
    },
    Contender {
        name: "regmean",
        about: "projections by what goes into them, the mean of the rest",
        kind: Kind::Importance,
        reads: Reads::Fit,
        axes: &[SHRINKAGE, LAMBDA],
        after: &[],
        make: |bench, at| {
            let measured = measured(bench, Measure::Grams)?;
            let words = bench.merge_from_base("regmean").each("grams", |i| quoted(&measured[i].1));
            let recipe = words.with("shrinkage", at.get("shrinkage")).with("lambda", at.get("lambda")).text();
            Ok(Made { recipe, artefacts: measured.into_iter().map(|m| m.0).collect() })
        },
    },
];

/// What is measured of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    /// Squared gradients.
    Fisher,
    /// Products of inputs.
    Grams,
}

/// A file for each language's model on its own text, and the folder that it is in.
fn measured(bench: &Bench<'_>, what: Measure) -> Result<Vec<(Artefact, PathBuf)>, Error> {
    let one = |(language, model): (Language, &PathBuf)| {
        let code = language.code();
        let text = bench.shared.portions.fit.get(code).map_or(Path::new(""), |p| &p.path);
        let of = match what {
            Measure::Fisher => "fisher",
            Measure::Grams => "grams",
        };
        let identity = json!({ of: bench.digest(model), "text": bench.digest(text) });
        let artefact = bench.artefact(&bench.name(&format!("{of} {code}")), &identity, |out| {
            crate::files::folder(out)?;
            measure(bench, what, (language, model), text, &out.join("measured.safetensors"))
        })?;
        let file = artefact.folder.join("measured.safetensors");
        bench.know(&file, bench.digest(&artefact.folder));
        Ok((artefact, file))
    };
    Language::all().zip(&bench.experts).map(one).collect()
}

fn measure(
    bench: &Bench<'_>,
    what: Measure,
    (language, model): (Language, &Path),
    text: &Path,
    out: &Path,
) -> Result<(), Error> {
    let model = ModelSource::open(&model.to_string_lossy(), &PlanOptions::default())?;
    let model = model.load(bench.shared.threads, &Quiet)?;
    let text = Text::read(language.code(), text, &Reading { split: Split::Line, field: "text".into() })?;
    let sampling = Sampling { tokens: 1 << 40, context: bench.study.sequence, seed: bench.seed };
    let (model, text, start) = (&model, &text, &Start::Auto);
    let threads = bench.shared.threads;
    let task = Task { model, text, tokenizer: None, start, sampling, threads, progress: &Quiet };
    match what {
        Measure::Fisher => Fisher::measure(&task)?.save(out)?,
        Measure::Grams => Grams::measure(&task)?.save(out)?,
    }
    Ok(())
}
