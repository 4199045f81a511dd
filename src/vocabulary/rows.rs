//! Which row of an embedding each output row is: for each model, each token's own row or a stand-in.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::output::Output;
use super::source::row_giver;
use super::tokenizer::Tokenizer;
use crate::problem::Problems;

/// Where a row of a matrix with a row for each token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A row of the model's own matrix.
    Own(u32),
    /// A row of another model's.
    Of {
        /// Position of the other model.
        input: u32,
        /// Row of its matrix.
        row: u32,
    },
    /// The mean of rows of several models: a position in [`RowMap::means`].
    Mean(u32),
    /// Zeros.
    Zero,
    /// The mean of all other rows of this model's new matrix.
    Average,
}

/// The rows of one model's new matrices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMap {
    /// For each output row.
    pub rows: Vec<Row>,
    /// Rows of which a mean is taken, in order: model and row.
    pub means: Arc<Vec<Vec<(u32, u32)>>>,
}

impl RowMap {
    /// Whether it changes nothing in a matrix of `rows` rows.
    pub fn is_identity(&self, rows: usize) -> bool {
        self.rows.len() == rows && self.rows.iter().enumerate().all(|(i, row)| *row == Row::Own(i as u32))
    }

    /// Whether every row is one that is there, or zeros.
    pub fn only_copies(&self) -> bool {
        self.rows.iter().all(|row| matches!(row, Row::Own(_) | Row::Of { .. } | Row::Zero))
    }

    /// SHA-256 of everything in it, in hex.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for row in &self.rows {
            let [kind, input, number] = match *row {
                Row::Own(row) => [0, 0, row],
                Row::Of { input, row } => [1, input, row],
                Row::Mean(mean) => [2, 0, mean],
                Row::Zero => [3, 0, 0],
                Row::Average => [4, 0, 0],
            };
            [kind, input, number].iter().for_each(|number| hash.update(number.to_le_bytes()));
        }
        for mean in self.means.iter() {
            hash.update((mean.len() as u64).to_le_bytes());
            mean.iter()
                .for_each(|(input, row)| hash.update([input.to_le_bytes(), row.to_le_bytes()].concat()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The models whose rows it uses, beside the model's own.
    pub fn others(&self) -> Vec<usize> {
        let single = self.rows.iter().filter_map(|row| match row {
            Row::Of { input, .. } => Some(*input as usize),
            _ => None,
        });
        let in_means = self.rows.iter().filter_map(|row| match row {
            Row::Mean(mean) => self.means.get(*mean as usize),
            _ => None,
        });
        let mut all: Vec<usize> =
            single.chain(in_means.flatten().map(|(input, _)| *input as usize)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What happened to a model's rows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Counts {
    /// Rows of its matrix.
    pub rows: usize,
    /// Tokens that keep their row and id.
    pub kept: usize,
    /// Tokens that keep their row under another id.
    pub remapped: usize,
    /// Tokens that get a row it does not have: another model's, a mean, or zeros.
    pub added: usize,
    /// Its tokens that the output does not have, those without a row among them.
    pub dropped: usize,
    /// Rows of the output that belong to no token.
    pub padded: usize,
}

/// What a recipe says of one token, with models looked up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// A stand-in for models that have no row.
    Missing(Row),
    /// A row for all.
    All(Row),
}

/// A model as far as its rows go.
pub(super) struct Matrix<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) rows: usize,
}

/// The rows of every model for every output row. Of models that lack a token, `base` stands in first; padding is
/// that of `owner`, the model whose vocabulary the output begins with. `rule` gives what the recipe says of a token.
pub(super) fn assign(
    output: &Output,
    rows: usize,
    models: &[Matrix<'_>],
    base: usize,
    owner: usize,
    rule: &dyn Fn(&str) -> Option<Rule>,
) -> (Vec<RowMap>, Vec<Counts>) {
    let mut maps = vec![Vec::with_capacity(rows); models.len()];
    let mut counts: Vec<Counts> =
        models.iter().map(|m| Counts { rows: m.rows, ..Counts::default() }).collect();
    let mut means: Vec<Vec<(u32, u32)>> = Vec::new();
    let mut own = Vec::with_capacity(models.len());
    for id in 0..rows as u32 {
        let Some(token) = output.tokens.get(&id) else {
            for ((m, map), count) in maps.iter_mut().enumerate().zip(&mut counts) {
                map.push(padding(models, m, owner, id));
                count.padded += 1;
            }
            continue;
        };
        own.clear();
        own.extend(models.iter().map(|m| m.tokenizer.row(token, m.rows)));
        let rule = rule(token);
        let mut default = None;
        for ((m, map), count) in maps.iter_mut().enumerate().zip(&mut counts) {
            let row = match (own[m], rule) {
                (Some(row), None | Some(Rule::Missing(_))) => {
                    *(if row == id { &mut count.kept } else { &mut count.remapped }) += 1;
                    Row::Own(row)
                }
                (_, Some(Rule::All(row) | Rule::Missing(row))) => {
                    count.added += 1;
                    row
                }
                (None, None) => {
                    count.added += 1;
                    *default.get_or_insert_with(|| stand_in(&own, base, &mut means))
                }
            };
            map.push(match row {
                Row::Of { input, row } if input as usize == m => Row::Own(row),
                row => row,
            });
        }
    }
    for (m, count) in models.iter().zip(&mut counts) {
        // Tokens without a row too: they are not in a union, and texts with them encode otherwise.
        count.dropped = m.tokenizer.tokens.values().filter(|token| !output.ids.contains_key(*token)).count();
    }
    let means = Arc::new(means);
    (maps.into_iter().map(|rows| RowMap { rows, means: means.clone() }).collect(), counts)
}

/// The row of models that lack a token: the base's if it has one, else the only one there is, else the mean of
/// those that there are.
fn stand_in(own: &[Option<u32>], base: usize, means: &mut Vec<Vec<(u32, u32)>>) -> Row {
    let there = || own.iter().enumerate().filter_map(|(input, row)| Some((input as u32, (*row)?)));
    match (own[base], there().count()) {
        (Some(row), _) => Row::Of { input: base as u32, row },
        (None, 0) => Row::Average,
        (None, 1) => there().next().map_or(Row::Average, |(input, row)| Row::Of { input, row }),
        (None, _) => {
            means.push(there().collect());
            Row::Mean(means.len() as u32 - 1)
        }
    }
}

/// A row without a token: the model's own, if it is padding there too, else the owner's, else an average.
fn padding(models: &[Matrix<'_>], m: usize, owner: usize, id: u32) -> Row {
    let pads = |m: &Matrix<'_>| (id as usize) < m.rows && !m.tokenizer.tokens.contains_key(&id);
    match () {
        () if pads(&models[m]) => Row::Own(id),
        () if pads(&models[owner]) => Row::Of { input: owner as u32, row: id },
        () => Row::Average,
    }
}

/// Looks a recipe's rule up; what is wrong with it goes to `problems`.
pub(super) fn resolve(
    rule: &crate::recipe::TokenRule,
    models: &[Matrix<'_>],
    references: &[&crate::recipe::ModelRef],
    problems: &mut Problems,
) -> Option<Rule> {
    use crate::recipe::{Reach, RowSource};
    let source = rule.source.as_ref()?;
    let position = |model, problems: &mut Problems| {
        row_giver(model, references, &rule.place).map_err(|found| problems.extend(found)).ok()
    };
    let of = |input: usize, row: u32| Row::Of { input: input as u32, row };
    let of_token = |input: usize, token: &str, model, problems: &mut Problems| {
        let matrix = &models[input];
        let row = matrix.tokenizer.row(token, matrix.rows);
        if row.is_none() {
            let known = matrix.tokenizer.ids.keys().map(String::as_str);
            let what = match matrix.tokenizer.ids.get(token) {
                Some(id) => {
                    format!("token `{token}` of {model} has id {id}, but its matrix has {} rows", matrix.rows)
                }
                None => format!("{model} has no token `{token}`"),
            };
            let problem = rule.place.problem(what);
            let near = if token.chars().count() > 3 { problem.did_you_mean(token, known) } else { problem };
            problems.push(near);
        }
        Some(of(input, row?))
    };
    let row = match source {
        RowSource::Zero => Row::Zero,
        RowSource::Model(model) => of_token(position(model, problems)?, &rule.token, model, problems)?,
        RowSource::Token(model, token) => of_token(position(model, problems)?, token, model, problems)?,
        RowSource::Id(model, id) => {
            let input = position(model, problems)?;
            if *id >= models[input].rows {
                let what = format!("token_id {id} is beyond the {} rows of {model}", models[input].rows);
                problems.push(rule.place.problem(what));
                return None;
            }
            of(input, *id as u32)
        }
    };
    Some(match rule.reach {
        Reach::All => Rule::All(row),
        Reach::Missing => Rule::Missing(row),
    })
}
