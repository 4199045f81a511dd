//! Without a rule: whether the models' vocabularies are one, so that their rows may be merged as they lie.

use std::collections::HashMap;

use super::Model;
use super::tokenizer::token_ids;
use crate::problem::{Problem, Problems};

/// What the tokenizers of models say of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Row for row the same tokens, as far as can be told.
    Same,
    /// The same tokens, but matrices with unequal numbers of rows behind them.
    Padding,
}

/// The hint that goes with vocabularies that differ.
pub const HINT: &str = "rows of different tokens must not be mixed: say whose vocabulary the output gets, with \
                        `tokenizer_source: base` or `tokenizer_source: union`";

/// Compares every model's `tokenizer.json` with that of `donor`. Files that are equal are not parsed, and those that
/// are known to be are not even read.
pub fn compare(models: &[Model<'_>], donor: usize, problems: &mut Problems) -> Comparison {
    let file = |m: &Model<'_>| (m.read)("tokenizer.json");
    if let Some(all) = &models[donor].identity
        && models.iter().all(|m| m.identity.as_ref() == Some(all))
    {
        return match models.iter().any(|m| m.rows != models[donor].rows) {
            true => Comparison::Padding,
            false => Comparison::Same,
        };
    }
    let Some(reference) = file(&models[donor]) else { return Comparison::Same };
    let mut known: Option<HashMap<String, u32>> = None;
    let (mut told, mut uneven) = (true, false);
    for model in models {
        let padded = model.rows != models[donor].rows;
        match file(model) {
            Some(bytes) if bytes == reference => uneven |= padded,
            None => told &= !padded,
            Some(bytes) => {
                let donor_ids = match &known {
                    Some(ids) => ids,
                    None => match ids(&models[donor], &reference, problems) {
                        Some(ids) => known.insert(ids),
                        None => return Comparison::Same,
                    },
                };
                match ids(model, &bytes, problems) {
                    Some(ids) if ids == *donor_ids => uneven |= padded,
                    Some(ids) if !padded => differ(model, &ids, &models[donor], donor_ids, problems),
                    _ => told &= !padded,
                }
            }
        }
    }
    if uneven && told { Comparison::Padding } else { Comparison::Same }
}

fn ids(model: &Model<'_>, bytes: &[u8], problems: &mut Problems) -> Option<HashMap<String, u32>> {
    let at = model.folder.join("tokenizer.json").display().to_string();
    let json = serde_json::from_slice(bytes).map_err(|e| Problem::error(&at, e.to_string()).into());
    match json.and_then(|json| token_ids(&at, &json)) {
        // A token without a row changes nothing.
        Ok(ids) => Some(
            ids.into_iter().filter(|(_, id)| model.rows.is_none_or(|rows| (*id as usize) < rows)).collect(),
        ),
        Err(found) => {
            let why = found.iter().next().map(|p| p.what.clone()).unwrap_or_default();
            let what = format!("cannot be compared with the vocabularies of other models: {why}");
            problems.push(Problem::warning(&at, what));
            None
        }
    }
}

/// Says how two vocabularies over equally many rows differ: an error where one row stands for two tokens.
fn differ(
    model: &Model<'_>,
    ids: &HashMap<String, u32>,
    donor: &Model<'_>,
    donor_ids: &HashMap<String, u32>,
    problems: &mut Problems,
) {
    let by_id = |ids: &HashMap<String, u32>| -> HashMap<u32, String> {
        ids.iter().map(|(token, id)| (*id, token.clone())).collect()
    };
    let (tokens, donor_tokens) = (by_id(ids), by_id(donor_ids));
    let mut conflicts: Vec<(u32, &str, &str)> = tokens
        .iter()
        .filter_map(|(id, token)| Some((*id, token.as_str(), donor_tokens.get(id)?.as_str())))
        .filter(|(_, here, there)| here != there)
        .collect();
    conflicts.sort_unstable();
    if let Some((id, here, there)) = conflicts.first() {
        let count = conflicts.len();
        let what = format!(
            "its vocabulary is not that of {}: {count} ids stand for another token, the first being {id}, \
             `{here}` here and `{there}` there",
            donor.name()
        );
        problems.push(Problem::error(model.name(), what).hint(HINT));
        return;
    }
    // No row stands for two tokens, but a token may have two rows, or one may meet padding.
    let moved =
        ids.iter().filter(|(token, id)| donor_ids.get(*token).is_some_and(|there| there != *id)).count();
    let only_here = ids.keys().filter(|token| !donor_ids.contains_key(*token)).count();
    let only_there = donor_ids.keys().filter(|token| !ids.contains_key(*token)).count();
    if moved > 0 {
        let what = format!("{moved} of its tokens have another id than in {}", donor.name());
        problems.push(Problem::error(model.name(), what).hint(HINT));
    } else if only_here + only_there > 0 {
        let what = format!(
            "{only_here} of its tokens are not in the vocabulary of {}, and {only_there} of that one's not in its own; \
             their rows are merged with rows that stand for no token",
            donor.name()
        );
        problems
            .push(Problem::warning(model.name(), what).hint("`tokenizer_source: union` keeps all of them"));
    }
}
