//! Train, merge, repeat: each language is trained on from a merge for a few steps, and the models are merged again, as
//! differences from that merge (Branch-and-Merge, arXiv 2407.08699).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use growmerge::problem::Error;
use growmerge::write::{Existing, Sync};
use serde_json::json;

use crate::grow;
use crate::languages::bench::{Artefact, Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};
use crate::languages::words::Words;
use crate::reproduce::runs::{Files, Goal, describe};
use crate::reproduce::{Language, Lengths, Quiet};
use crate::train::config::Start;

const LAMBDA: Axis = Axis::new("lambda", &[0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0], 4);

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "branches from task_arithmetic",
        about: "one round of training from the merge, merged by task_arithmetic again",
        kind: Kind::Trained,
        reads: Reads::Train,
        axes: &[LAMBDA],
        after: &["task_arithmetic"],
        make: |bench, at| rounds(bench, at, 1),
    },
    Contender {
        name: "branches in three rounds",
        about: "three rounds of a third of the steps each, their lambda that of the last",
        kind: Kind::Trained,
        reads: Reads::Train,
        axes: &[LAMBDA],
        after: &["task_arithmetic"],
        make: |bench, at| rounds(bench, at, 3),
    },
];

/// As many rounds of training and merging; rounds before the last are merged at the factor that the search begins with.
fn rounds(bench: &Bench<'_>, at: &Point, rounds: u64) -> Result<Made, Error> {
    let first = bench.merge_from_base("task_arithmetic").with("weight", 1.0).with("normalize", true);
    let mut words = first.with("lambda", bench.chosen("task_arithmetic").get("lambda"));
    let mut artefacts = Vec::new();
    let steps = (bench.shared.effort.round_steps / rounds).max(1);
    for round in 1..=rounds {
        let merged = written(bench, &format!("merge {round} of {rounds}"), &words.text())?;
        let each = Language::all().map(|l| trained(bench, &merged.folder, l, (round, rounds), steps));
        let trained: Vec<Artefact> = each.collect::<Result<_, _>>()?;
        let lambda = if round == rounds { at.get("lambda") } else { LAMBDA.values[LAMBDA.start] };
        let models = trained.iter().map(|a| a.folder.clone());
        let next = Words::new("task_arithmetic", models).on_base(&merged.folder);
        words = next.with("weight", 1.0).with("normalize", true).with("lambda", lambda);
        artefacts.push(merged);
        artefacts.extend(trained);
    }
    Ok(Made { recipe: words.text(), artefacts })
}

/// A merge as a model on disk.
fn written(bench: &Bench<'_>, name: &str, recipe: &str) -> Result<Artefact, Error> {
    let identity = json!({ "recipe": bench.identity(recipe), "seed": bench.seed });
    bench.artefact(&bench.name(name), &identity, |out| {
        let never = AtomicBool::new(false);
        let options = grow::Options {
            existing: Existing::Refuse,
            sync: Sync::System,
            threads: bench.shared.threads,
            cancel: &never,
        };
        grow::write(recipe, out, &options, &Quiet).map(drop)
    })
}

/// A model of one language, trained on from a merge with an order of texts of its own.
fn trained(
    bench: &Bench<'_>,
    from: &Path,
    language: Language,
    (round, rounds): (u64, u64),
    steps: u64,
) -> Result<Artefact, Error> {
    let mut lengths: Lengths = bench.shared.lengths.clone();
    lengths.languages.insert(language.code(), steps);
    let run = |start: &Path, files: &Files| {
        let start = Start::Checkpoint(start.to_owned());
        let goal = Goal::Language(language);
        let mut run = describe(bench.study, bench.seed, goal, &lengths, start, files, Vec::new());
        // Orders of texts are numbered by seed and goal, below ten of each hundred.
        run.seed += 10 * round;
        run.validation = None;
        run
    };
    let digest = bench.digest(from);
    let identity =
        serde_json::to_value(run(Path::new(&digest), bench.shared.file_digests)).unwrap_or_default();
    let name = format!("{} {round} of {rounds}", language.code());
    let artefact = bench
        .continued(&name, &identity, |out| bench.shared.maker.train(&run(from, bench.shared.files), out))?;
    Ok(artefact)
}
