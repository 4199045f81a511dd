//! What a user should know of single tokens: that they are left out, have no row, or have a rule without effect.

use super::output::Output;
use super::rows::Matrix;
use super::tokenizer::Tokenizer;
use crate::problem::{Problem, Problems};
use crate::recipe::{Reach, TokenRule, VocabularyWords};

/// Tokens that a message names.
const NAMED: usize = 3;

/// As in `` `a`, `b`, `c` and 4 more ``.
pub(super) fn list<'a>(tokens: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = tokens.len().saturating_sub(NAMED);
    let named: Vec<String> = tokens.take(NAMED).map(|token| format!("`{token}`")).collect();
    let named = named.join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// Tokens that a union leaves out, because their model has no row for them and no other model has the token.
pub(super) fn left_out(model: &str, matrix: &Matrix<'_>, output: &Output, problems: &mut Problems) {
    let beyond = matrix.tokenizer.tokens.range(matrix.rows.min(u32::MAX as usize) as u32..);
    let left: Vec<&str> =
        beyond.map(|(_, token)| token.as_str()).filter(|token| !output.ids.contains_key(*token)).collect();
    if !left.is_empty() {
        let what = format!(
            "its {} rows do not reach {} of its tokens, left out of the union: {}",
            matrix.rows,
            left.len(),
            list(left.iter().copied())
        );
        let hint = "one that is named under `tokenizer.tokens` is added, with the mean of all rows if it has no `source`";
        problems.push(Problem::warning(model, what).hint(hint));
    }
}

/// Tokens of the vocabulary that the output begins with for which neither a model nor a rule has a row.
pub(super) fn without_row(
    owner: &str,
    first: &Tokenizer,
    words: &VocabularyWords,
    matrices: &[Matrix<'_>],
    problems: &mut Problems,
) {
    let has_row = |token: &str| matrices.iter().any(|m| m.tokenizer.row(token, m.rows).is_some());
    let has_rule = |token: &str| words.tokens.iter().any(|rule| rule.token == token);
    let bare: Vec<&str> = first.tokens.values().map(String::as_str).collect();
    let bare: Vec<&str> = bare.into_iter().filter(|token| !has_row(token) && !has_rule(token)).collect();
    if !bare.is_empty() {
        let what = format!(
            "no model has a row for {} of its tokens, which get the mean of all other rows: {}",
            bare.len(),
            list(bare.iter().copied())
        );
        problems.push(Problem::warning(owner, what));
    }
}

/// Rules under `tokenizer.tokens` that change nothing; `known` are tokens without a `source` that the output
/// has in any case.
pub(super) fn idle_rules(
    words: &VocabularyWords,
    known: &[&TokenRule],
    matrices: &[Matrix<'_>],
    problems: &mut Problems,
) {
    let all_have = |rule: &&TokenRule| {
        let gives = rule.source.is_some() && rule.reach == Reach::Missing;
        gives && matrices.iter().all(|m| m.tokenizer.row(&rule.token, m.rows).is_some())
    };
    let stand_ins: Vec<&TokenRule> = words.tokens.iter().filter(all_have).collect();
    let mut tell = |rules: &[&TokenRule], why: &str, hint: &str| {
        let Some(first) = rules.first() else { return };
        let what = format!("no effect: {why} {}", list(rules.iter().map(|rule| rule.token.as_str())));
        problems.push(first.place.warning(what).hint(hint));
    };
    tell(
        &stand_ins,
        "all models have rows of their own for",
        "`force: true` puts the row of `source` in their place",
    );
    tell(
        known,
        "without a `source` a rule adds a token, but the output has",
        "`source` and `force: true` give a row",
    );
}
