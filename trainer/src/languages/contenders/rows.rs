//! A weight for each row: of the embedding by how often each language uses the row's token, of any matrix by how much
//! each model has changed it.

use growmerge::coefficients::Counts;
use growmerge::eval::{Start, Tokenizer};
use growmerge::problem::Error;
use serde_json::json;

use super::layers::{VALUES, swapped};
use crate::languages::bench::{Artefact, Bench, Made};
use crate::languages::contender::{Contender, Kind, Reads};
use crate::languages::point::{Axis, Point};
use crate::languages::words::{Words, quoted};
use crate::reproduce::{Language, Part};

const POWER: Axis = Axis::new("power", &[0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0], 3);
const NORM_POWER: Axis = Axis::new("power", &[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0], 3);
/// What the weights of an embedding row add up to.
const ROWS: Axis = Axis::new("rows", &[0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.6, 2.0], 4);
/// The same of everything else.
const BODY: Axis = Axis::new("body", &[0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5], 2);
const SMOOTHING: Axis = Axis::new("smoothing", &[1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 3e-4], 2);
const ATTENTION: Axis = Axis::new("attention", BODY.values, 2);
const MLP: Axis = Axis::new("mlp", BODY.values, 2);
const ENDS: Axis = Axis::new("ends", VALUES, 3);
const MIDDLE: Axis = Axis::new("middle", VALUES, 2);
const DENSITY: Axis = Axis::new("density", &[0.2, 0.35, 0.5, 0.7, 0.9], 3);

/// Without any text.
pub(super) static SIZES: &[Contender] = &[
    Contender {
        name: "row norms of the embedding",
        about: "embedding rows by how much each model changed them, the mean of the rest",
        kind: Kind::Structure,
        reads: Reads::Nothing,
        axes: &[NORM_POWER, ROWS, BODY],
        after: &[],
        make: |bench, at| {
            let by_norm = by_norm(at, at.get("rows"));
            let rules =
                format!("[{{filter: embed, value: {by_norm}}}, {{value: {}}}]", share(bench, at, "body"));
            Ok(sum(bench).with("weight", rules).into())
        },
    },
    Contender {
        name: "row norms of everything",
        about: "rows of all matrices by how much each model changed them",
        kind: Kind::Structure,
        reads: Reads::Nothing,
        axes: &[NORM_POWER, ROWS, BODY],
        after: &[],
        make: |bench, at| {
            let [rows, body] = ["rows", "body"].map(|scale| by_norm(at, at.get(scale)));
            let rules = format!("[{{filter: embed, value: {rows}}}, {{value: {body}}}]");
            Ok(sum(bench).with("weight", rules).into())
        },
    },
];

/// By counts of tokens.
pub(super) static COUNTS: &[Contender] = &[
    Contender {
        name: "token rows",
        about: "embedding rows by how often each language uses the token, the mean of the rest",
        kind: Kind::Counts,
        reads: Reads::Counts,
        axes: &[POWER, ROWS, BODY, SMOOTHING],
        after: &[],
        make: |bench, at| {
            with_counts(bench, sum(bench), at, &|bench, at| share(bench, at, "body").to_string())
        },
    },
    Contender {
        name: "token rows + attention + MLP",
        about: "the same with a factor for attention and one for the MLP",
        kind: Kind::Counts,
        reads: Reads::Counts,
        axes: &[POWER, ROWS, ATTENTION, MLP, SMOOTHING],
        after: &[],
        make: |bench, at| {
            with_counts(bench, sum(bench), at, &|bench, at| {
                let [attention, mlp] = ["attention", "mlp"].map(|name| share(bench, at, name));
                format!("{attention}}}, {{filter: mlp, value: {mlp}}}, {{value: {attention}")
            })
        },
    },
    Contender {
        name: "token rows + row norms",
        about: "embedding rows by counts, rows of all else by how much each model changed them",
        kind: Kind::Counts,
        reads: Reads::Counts,
        axes: &[POWER, ROWS, BODY, SMOOTHING],
        after: &["row norms of everything"],
        make: |bench, at| {
            let power = bench.chosen("row norms of everything");
            with_counts(bench, sum(bench), at, &|_, at| by_norm(&power, at.get("body")))
        },
    },
    Contender {
        name: "token rows + ties",
        about: "the same weights on the largest elements, by elected sign",
        kind: Kind::Counts,
        reads: Reads::Counts,
        axes: &[POWER, ROWS, BODY, DENSITY],
        after: &[],
        make: |bench, at| {
            let words =
                bench.merge_from_base("ties").with("normalize", false).with("density", at.get("density"));
            with_counts(bench, words, at, &|bench, at| share(bench, at, "body").to_string())
        },
    },
    Contender {
        name: "token rows + layer swapping",
        about: "embedding rows by counts, one factor for the first and last layer and one for those between",
        kind: Kind::Counts,
        reads: Reads::Counts,
        axes: &[POWER, ROWS, ENDS, MIDDLE],
        after: &[],
        make: |bench, at| with_counts(bench, sum(bench), at, &swapped),
    },
    Contender {
        name: "token rows + multislerp",
        about: "embedding rows by counts, the mean direction of differences for the rest",
        kind: Kind::Counts,
        reads: Reads::Counts,
        axes: &[POWER, ROWS, BODY],
        after: &[],
        make: with_directions,
    },
];

/// The sum of differences.
pub(super) fn sum(bench: &Bench<'_>) -> Words {
    bench.merge_from_base("task_arithmetic").with("normalize", false)
}

/// One model's share of what all weights add up to.
pub(super) fn share(bench: &Bench<'_>, at: &Point, name: &str) -> f64 {
    at.get(name) / bench.experts.len() as f64
}

fn by_norm(at: &Point, scale: f64) -> String {
    format!("{{norms: rows, power: {}, scale: {scale}}}", at.get("power"))
}

/// Embedding rows by counts, the rest as `body` says.
fn with_counts(
    bench: &Bench<'_>,
    words: Words,
    at: &Point,
    body: &dyn Fn(&Bench<'_>, &Point) -> String,
) -> Result<Made, Error> {
    let (weight, counts) = weight_by_counts(bench, at, &body(bench, at))?;
    let languages: Vec<Language> = Language::all().collect();
    let words = words.each("weight", |i| languages.get(i).map_or(String::new(), |l| weight(*l)));
    Ok(Made { recipe: words.text(), artefacts: vec![counts] })
}

/// Embedding rows by counts; all else from a stage that merges by direction.
fn with_directions(bench: &Bench<'_>, at: &Point) -> Result<Made, Error> {
    let (weight, counts) = weight_by_counts(bench, at, "0")?;
    let base = quoted(&bench.base);
    let (mut models, mut rows) = (String::new(), String::new());
    for (language, expert) in Language::all().zip(&bench.experts) {
        let expert = quoted(expert);
        models += &format!("  - model: {expert}\n");
        rows += &format!("  - {{model: {expert}, parameters: {{weight: {}}}}}\n", weight(language));
    }
    let share = share(bench, at, "body");
    let recipe = format!(
        "name: directions\nmerge_method: multislerp\nbase_model: {base}\nmodels:\n{models}parameters: {{weight: {share}, \
         normalize_weights: false}}\ndtype: float32\n---\nmerge_method: task_arithmetic\nbase_model: {base}\nmodels:\n{rows}  \
         - {{model: directions, parameters: {{weight: [{{filter: embed, value: 0}}, {{value: 1}}]}}}}\n\
         parameters: {{normalize: false}}\ndtype: float32\n"
    );
    Ok(Made { recipe, artefacts: vec![counts] })
}

/// The weight of a language's model: of embedding rows by counts, else `rest`; and the counts.
pub(super) fn weight_by_counts(
    bench: &Bench<'_>,
    at: &Point,
    rest: &str,
) -> Result<(impl Fn(Language) -> String + use<>, Artefact), Error> {
    let rest = rest.to_owned();
    let counts = counts(bench)?;
    // What has no smoothing of its own to choose takes the middle of what others choose from.
    let smoothing = Some(at.get("smoothing")).filter(|s| s.is_finite()).unwrap_or(1e-5);
    let (power, rows, path) = (at.get("power"), at.get("rows"), quoted(&counts.folder));
    let weight = move |language: Language| {
        let code = language.code();
        format!(
            "[{{filter: embed, value: {{tokens: {path}, language: {code}, power: {power}, smoothing: {smoothing}, scale: \
             {rows}}}}}, {{value: {rest}}}]"
        )
    };
    Ok((weight, counts))
}

/// Counts of the tokens in each language's training text.
pub(super) fn counts(bench: &Bench<'_>) -> Result<Artefact, Error> {
    let shared = &bench.shared;
    let identity = json!({ "counts": shared.file_digests.train, "tokenizer": shared.file_digests.tokenizer });
    bench.artefact("counts", &identity, |out| {
        crate::files::folder(out)?;
        let tokenizer = Tokenizer::open(&shared.files.tokenizer, &Start::Auto)?;
        let vocab = bench.study.model.vocab as usize;
        for language in Language::all().map(Language::code) {
            let text = shared.texts.read(language, Part::Train)?;
            let mut counts = vec![0; vocab];
            for id in tokenizer.ids(&text.documents, vocab)?.into_iter().flatten() {
                counts[id as usize] += 1;
            }
            let counts = Counts {
                language: language.into(),
                tokenizer: tokenizer.sha256().into(),
                bytes: text.documents.iter().map(|d| d.len() as u64).sum(),
                documents: text.documents.len() as u64,
                counts,
                ..Counts::default()
            };
            counts.write(&out.join(format!("{language}.safetensors")))?;
        }
        Ok(())
    })
}
