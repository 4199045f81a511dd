//! Words of a recipe and tokenizers of models → vocabulary.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::{Extension, Other, Output};
use super::rows::{self, Matrix};
use super::special::{self, Change};
use super::tokenizer::{self, Tokenizer};
use super::{Model, ModelSummary, Owner, Summary, Vocabulary, sample};
use crate::problem::{Problem, Problems};
use crate::recipe::{ModelRef, VocabularySource, VocabularyWords};

/// Models' tokenizers; files that are equal are parsed once.
struct Tokenizers {
    all: Vec<Arc<Tokenizer>>,
}

/// An id further than this beyond both tokens and rows is damage, and would make rows that nobody wants.
const MAX_GAP: usize = 1 << 16;

/// Decides the output's vocabulary. `base` is the position of the model that `base` means and that gives
/// `config.json`.
///
/// Nothing is returned where `problems` has got errors.
pub fn decide(
    words: &VocabularyWords,
    models: &[Model<'_>],
    base: usize,
    problems: &mut Problems,
) -> Option<Vocabulary> {
    let tokenizers = Tokenizers::read(models, base, words, problems)?;
    let matrices = matrices(models, &tokenizers, problems)?;
    let find = |wanted: &ModelRef| {
        let equal = models.iter().position(|m| m.reference == wanted);
        equal.or_else(|| models.iter().position(|m| m.reference.path == wanted.path))
    };
    // The model whose vocabulary the output begins with: one that is merged, or another.
    let (owner, other) = match &words.source.value {
        VocabularySource::Union | VocabularySource::Base => (Some(base), None),
        VocabularySource::Model(model) => match find(model) {
            Some(owner) => (Some(owner), None),
            None => (None, Some((model, outside(model, words, problems)?))),
        },
    };
    let at = owner.unwrap_or(base);
    let first: &Tokenizer = other.as_ref().map_or(&tokenizers.all[at], |(_, tokenizer)| tokenizer);
    let outside = other.as_ref().map(|(model, _)| Path::new(&model.path));
    let files = |name: &str| match outside {
        Some(folder) => std::fs::read(folder.join(name)).ok(),
        None => (models[at].read)(name),
    };
    let files = Files { read: &files, at: outside.unwrap_or(models[at].folder) };

    let others: Vec<Other<'_>> = matrices
        .iter()
        .zip(models)
        .filter(|(m, _)| !std::ptr::eq(m.tokenizer, first))
        .map(|(m, model)| Other { name: model.name(), tokenizer: m.tokenizer, rows: m.rows })
        .collect();
    let output = extend(first, words, &others, &find, &matrices, problems);
    if problems.has_errors() {
        return None;
    }
    // Of a model that is not merged, the configuration says how many rows it has.
    let outside_rows = || special::size(&files.json("config.json", problems)?);
    let stored = owner.map(|owner| matrices[owner].rows).or_else(outside_rows).unwrap_or(0);
    let needed = output.tokens.last_key_value().map_or(0, |(id, _)| *id as usize + 1);
    if let Some((id, token)) = output.tokens.last_key_value()
        && needed > stored.max(output.tokens.len()) + MAX_GAP
    {
        let tokens = output.tokens.len();
        let what = format!("token `{token}` has id {id}, but there are {tokens} tokens and {stored} rows");
        problems.push(Problem::error(models[base].name(), what).hint("is the tokenizer.json damaged?"));
        return None;
    }
    let rows = match words.pad_to_multiple_of {
        Some(multiple) => needed.next_multiple_of(multiple),
        None => needed.max(stored),
    };
    let rules = words.tokens.iter().map(|r| (r.token.as_str(), rows::resolve(r, &matrices, &find, problems)));
    let rules: HashMap<&str, Option<rows::Rule>> = rules.collect();
    let rule = |token: &str| rules.get(token).copied().flatten();
    let (maps, counts) = rows::assign(&output, rows, &matrices, base, at, &rule);

    let written = written(&output, &files, first, problems)?;
    let back = match written.get("tokenizer.json") {
        Some(bytes) => match Tokenizer::parse("the output's tokenizer.json", bytes) {
            Ok(back) => Some(back),
            Err(found) => {
                problems.extend(found);
                return None;
            }
        },
        None => None,
    };
    if let Some(back) = &back {
        sample::check(&output, back, first, problems);
    }
    let back = back.as_ref().unwrap_or(first);
    let config = configs(&tokenizers.all[base], models, base, &files, owner, &output, rows, problems);
    let summaries =
        models.iter().zip(&tokenizers.all).zip(counts).map(|((model, tokenizer), counts)| ModelSummary {
            model: model.name().to_owned(),
            tokens: tokenizer.tokens.len(),
            counts,
            special: special::of_model(model.config, tokenizer, &output),
            sample: sample::report(&output, back, tokenizer),
        });
    let summary = Summary {
        source: match &words.source.value {
            VocabularySource::Union => "union".into(),
            VocabularySource::Base => "base".into(),
            VocabularySource::Model(model) => model.to_string(),
        },
        tokens: output.tokens.len(),
        rows,
        models: summaries.collect(),
    };
    let (config, generation) = config;
    let mut written = written;
    written.extend(generation.map(|bytes| ("generation_config.json", bytes)));
    let extended = output.json.is_some();
    let owner = outside.map_or(Owner::Model(at), |folder| Owner::Outside(folder.to_owned()));
    let vocabulary = Vocabulary { summary, rows: maps, owner, written, extended, config };
    (!problems.has_errors()).then_some(vocabulary)
}

impl Tokenizers {
    fn read(
        models: &[Model<'_>],
        base: usize,
        words: &VocabularyWords,
        problems: &mut Problems,
    ) -> Option<Self> {
        let spot = &words.source.place.spot;
        let mut parsed: Vec<(Vec<u8>, Arc<Tokenizer>)> = Vec::new();
        let mut all = vec![None; models.len()];
        // The base comes first: a model without a tokenizer, but of the base's size, is taken to have the base's.
        let order = std::iter::once(base).chain((0..models.len()).filter(|m| *m != base));
        for m in order {
            let model = &models[m];
            let Some(bytes) = (model.read)("tokenizer.json") else {
                if m != base && model.rows == models[base].rows && all[base].is_some() {
                    let what =
                        format!("has no tokenizer.json and is taken to have that of {}", models[base].name());
                    problems.push(Problem::warning(model.name(), what));
                    all[m] = all[base].clone();
                } else {
                    problems.push(tokenizer::missing(model.folder).spot(spot.clone()));
                }
                continue;
            };
            if let Some((_, known)) = parsed.iter().find(|(seen, _)| *seen == bytes) {
                all[m] = Some(known.clone());
                continue;
            }
            match Tokenizer::parse(&model.folder.join("tokenizer.json").display().to_string(), &bytes) {
                Ok(tokenizer) => {
                    let tokenizer = Arc::new(tokenizer);
                    parsed.push((bytes, tokenizer.clone()));
                    all[m] = Some(tokenizer);
                }
                Err(found) => found.iter().for_each(|p| problems.push(p.clone().spot(spot.clone()))),
            }
        }
        let all: Option<Vec<_>> = all.into_iter().collect();
        all.map(|all| Self { all })
    }
}

/// Every model needs rows to choose from.
fn matrices<'a>(
    models: &[Model<'_>],
    tokenizers: &'a Tokenizers,
    problems: &mut Problems,
) -> Option<Vec<Matrix<'a>>> {
    for model in models.iter().filter(|m| m.rows.is_none()) {
        let what = "no embedding was found, so its vocabulary cannot be changed";
        problems.push(Problem::error(model.name(), what));
    }
    let matrix = |(model, tokenizer): (&Model<'_>, &'a Arc<Tokenizer>)| {
        Some(Matrix { tokenizer: tokenizer.as_ref(), rows: model.rows? })
    };
    models.iter().zip(&tokenizers.all).map(matrix).collect()
}

/// A tokenizer of a model that is not merged.
fn outside(model: &ModelRef, words: &VocabularyWords, problems: &mut Problems) -> Option<Tokenizer> {
    let folder = Path::new(&model.path);
    let read = match std::fs::read(folder.join("tokenizer.json")) {
        Ok(bytes) => Tokenizer::parse(&folder.join("tokenizer.json").display().to_string(), &bytes),
        Err(_) => Err(tokenizer::missing(folder).into()),
    };
    match read {
        Ok(tokenizer) => Some(tokenizer),
        Err(found) => {
            for problem in found.iter() {
                problems.push(problem.clone().spot(words.source.place.spot.clone()));
            }
            None
        }
    }
}

/// The output's tokens: those of the first tokenizer, of the others if asked, and of the recipe.
fn extend(
    first: &Tokenizer,
    words: &VocabularyWords,
    others: &[Other<'_>],
    find: &dyn Fn(&ModelRef) -> Option<usize>,
    matrices: &[Matrix<'_>],
    problems: &mut Problems,
) -> Output {
    use crate::recipe::RowSource;
    let mut extension = Extension::of(first);
    let united = if words.source.value == VocabularySource::Union { others } else { &[] };
    extension.unite(united);
    for rule in &words.tokens {
        // Flags are those of the model that the row comes from, else of the first that has the token.
        let from = rule.source.as_ref().and_then(|source| match source {
            RowSource::Model(model) | RowSource::Token(model, _) | RowSource::Id(model, _) => find(model),
            RowSource::Zero => None,
        });
        let like = from.into_iter().chain(0..matrices.len()).find_map(|m| {
            let tokenizer = matrices[m].tokenizer;
            tokenizer.added.get(tokenizer.ids.get(&rule.token)?)
        });
        extension.add_token(&rule.token, like);
    }
    extension.finish(united, problems)
}

/// The files that are not those of the folder.
fn written(
    output: &Output,
    files: &Files<'_>,
    first: &Tokenizer,
    problems: &mut Problems,
) -> Option<BTreeMap<&'static str, Vec<u8>>> {
    let mut written = BTreeMap::new();
    let Some(json) = &output.json else { return Some(written) };
    written.insert("tokenizer.json", pretty(json));
    if let Some(mut config) = files.json("tokenizer_config.json", problems) {
        // Older loaders list added tokens there, and some believe it more than tokenizer.json.
        if let Some(decoder) = config.get_mut("added_tokens_decoder").and_then(Value::as_object_mut) {
            let all = first.added.iter().chain(&output.added);
            for (id, fields) in all.filter(|(id, _)| output.added.contains_key(id)) {
                let flags = fields.iter().filter(|(key, _)| *key != "id");
                let flags = flags.map(|(key, value)| (key.clone(), value.clone())).collect();
                decoder.insert(id.to_string(), Value::Object(flags));
            }
        }
        written.insert("tokenizer_config.json", pretty(&config));
    }
    Some(written)
}

/// `config.json` and `generation_config.json` with the sizes and ids of the output.
#[expect(clippy::too_many_arguments, reason = "everything that decides two files")]
fn configs(
    from: &Tokenizer,
    models: &[Model<'_>],
    base: usize,
    files: &Files<'_>,
    owner: Option<usize>,
    output: &Output,
    rows: usize,
    problems: &mut Problems,
) -> (Option<Value>, Option<Vec<u8>>) {
    let is_base = owner == Some(base);
    let tokenizer_config = files.json("tokenizer_config.json", problems);
    let [theirs, generation] = match is_base {
        true => [None, None],
        false => {
            let config =
                owner.map_or_else(|| files.json("config.json", problems), |o| models[o].config.cloned());
            [config, files.json("generation_config.json", problems)]
        }
    };
    let owner = |first, second| (!is_base).then_some([first, second]);
    let (config_first, generation_first) =
        (owner(theirs.as_ref(), generation.as_ref()), owner(generation.as_ref(), theirs.as_ref()));
    let change = Change { from, owner: config_first, tokenizer_config: tokenizer_config.as_ref(), output };
    let mut config = models[base].config.cloned();
    if let Some(config) = &mut config {
        let at = format!("{}/config.json", models[base].name());
        change.apply(config, &at, problems);
        special::set_size(config, rows);
    }
    let of_base = Files { read: &*models[base].read, at: models[base].folder };
    let written = of_base.json("generation_config.json", problems).map(|old| {
        let mut new = old.clone();
        let change = Change { owner: generation_first, ..change };
        change.apply(&mut new, &of_base.name("generation_config.json"), problems);
        (new != old).then(|| pretty(&new))
    });
    (config, written.flatten())
}

/// Files beside a model's weights.
struct Files<'a> {
    read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    at: &'a Path,
}

impl Files<'_> {
    fn name(&self, file: &str) -> String {
        self.at.join(file).display().to_string()
    }

    /// A JSON file that need not be there.
    fn json(&self, file: &str, problems: &mut Problems) -> Option<Value> {
        match serde_json::from_slice(&(self.read)(file)?) {
            Ok(value) => Some(value),
            Err(error) => {
                problems.push(Problem::error(self.name(file), format!("is not JSON: {error}")));
                None
            }
        }
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_else(|_| json!(null).to_string().into_bytes());
    bytes.push(b'\n');
    bytes
}
