//! Words of a recipe and tokenizers of models → vocabulary.

use std::collections::HashMap;
use std::sync::Arc;

use super::files::{Files, configs, written};
use super::output::{Extension, Other, Output};
use super::rows::{self, Matrix};
use super::tokenizer::{self, Tokenizer};
use super::{Finder, Model, ModelSummary, Owner, Summary, Vocabulary, notice, sample, source, special};
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
    finder: &Finder<'_>,
    problems: &mut Problems,
) -> Option<Vocabulary> {
    let place = &words.source.place;
    // The model whose vocabulary the output begins with: one that is merged, or another.
    let owner = match &words.source.value {
        VocabularySource::Union | VocabularySource::Base => Owner::Model(base),
        VocabularySource::Model(model) => source::owner(model, models, finder, place, problems)?,
    };
    let begun_with = match &owner {
        Owner::Model(owner) => Some(*owner),
        Owner::Outside(_) => None,
    };
    let tokenizers = Tokenizers::read(models, base, begun_with, finder, words, problems)?;
    let matrices = matrices(models, &tokenizers, problems)?;
    let (at, outside) = match &owner {
        Owner::Model(owner) => (*owner, None),
        Owner::Outside(outside) => (base, Some((outside, outside.tokenizer(finder, place, problems)?))),
    };
    let first: &Tokenizer = outside.as_ref().map_or(&tokenizers.all[at], |(_, tokenizer)| tokenizer);
    let outside = outside.as_ref().map(|(outside, _)| *outside);
    let files = |name: &str| match outside {
        Some(outside) => outside.read(name, finder.unreadable),
        None => (models[at].read)(name),
    };
    let files =
        Files { read: &files, at: outside.map_or(models[at].folder, |outside| outside.folder.path()) };
    let merged = outside.is_none().then_some(at);

    let others: Vec<Other<'_>> = matrices
        .iter()
        .zip(models)
        .filter(|(m, _)| !std::ptr::eq(m.tokenizer, first))
        .map(|(m, model)| Other { name: model.name(), tokenizer: m.tokenizer, rows: m.rows })
        .collect();
    let output = extend(first, words, &others, models, &matrices, problems);
    if problems.has_errors() {
        return None;
    }
    let owner_name = match &words.source.value {
        VocabularySource::Union | VocabularySource::Base => models[base].name().to_owned(),
        VocabularySource::Model(model) => model.to_string(),
    };
    notice::without_row(&owner_name, first, words, &matrices, problems);
    // Of a model that is not merged, the configuration says how many rows it has.
    let outside_rows = || special::size(&files.json("config.json", problems)?);
    let stored = merged.map(|owner| matrices[owner].rows).or_else(outside_rows).unwrap_or(0);
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
    let references: Vec<&ModelRef> = models.iter().map(|m| m.reference).collect();
    let resolved = words.tokens.iter().map(|r| rows::resolve(r, &matrices, &references, problems));
    let rules = words.tokens.iter().map(|r| r.token.as_str()).zip(resolved);
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
    let config = configs(&tokenizers.all[base], models, base, &files, merged, &output, rows, problems);
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
    let vocabulary = Vocabulary { summary, rows: maps, owner, written, extended, config };
    (!problems.has_errors()).then_some(vocabulary)
}

impl Tokenizers {
    fn read(
        models: &[Model<'_>],
        base: usize,
        begun_with: Option<usize>,
        finder: &Finder<'_>,
        words: &VocabularyWords,
        problems: &mut Problems,
    ) -> Option<Self> {
        // Only the file that the output's is made of is needed as a whole.
        let kept = begun_with.and_then(|model| (models[model].read)("tokenizer.json"));
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
                } else if finder.unreadable.borrow().has_errors() {
                    // It may be there, and will be told to be unreadable.
                    return None;
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
                Ok(mut tokenizer) => {
                    if kept.as_ref() != Some(&bytes) {
                        tokenizer.forget_map();
                    }
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

/// The output's tokens: those of the first tokenizer, of the others if asked, and of the recipe.
fn extend(
    first: &Tokenizer,
    words: &VocabularyWords,
    others: &[Other<'_>],
    models: &[Model<'_>],
    matrices: &[Matrix<'_>],
    problems: &mut Problems,
) -> Output {
    use crate::recipe::RowSource;
    let mut extension = Extension::of(first);
    let united = if words.source.value == VocabularySource::Union { others } else { &[] };
    extension.unite(united);
    let references: Vec<&ModelRef> = models.iter().map(|m| m.reference).collect();
    let mut known = Vec::new();
    for rule in &words.tokens {
        // Flags are those of the model that the row comes from, else of the first that has the token.
        let from = rule.source.as_ref().and_then(|source| match source {
            RowSource::Model(model) | RowSource::Token(model, _) | RowSource::Id(model, _) => {
                source::row_giver(model, &references, &rule.place).ok()
            }
            RowSource::Zero => None,
        });
        let like = from.into_iter().chain(0..matrices.len()).find_map(|m| {
            let tokenizer = matrices[m].tokenizer;
            tokenizer.added.get(tokenizer.ids.get(&rule.token)?)
        });
        if !extension.add_token(&rule.token, like) && rule.source.is_none() {
            known.push(rule);
        }
    }
    notice::idle_rules(words, &known, matrices, problems);
    let output = extension.finish(united, problems);
    if words.source.value == VocabularySource::Union {
        for (model, matrix) in models.iter().zip(matrices) {
            notice::left_out(model.name(), matrix, &output, problems);
        }
    }
    output
}
