//! Coefficients that are learned from what each language's model predicts, instead of from the tokens of a text.

use super::learning::{
    APART, Learning, Length, Lessons, PAIRS, ROWS_AND_COLUMNS, mean, token_rows, token_rows_apart,
};
use crate::languages::contender::{Contender, Kind, Reads};

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "taught rows and columns",
        about: "learned rows and columns, from what each language's model predicts on the text instead of from its tokens",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| taught(ROWS_AND_COLUMNS).begun(bench, token_rows(bench)?),
    },
    Contender {
        name: "taught rows and columns of embedding and head",
        about: "the same where the head is not the embedding",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| taught(APART).begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "taught rows and columns of embedding and head in few steps",
        about: "the same in a quarter of the steps",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            Learning { length: Length::Brief, ..taught(APART) }.begun(bench, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "taught rows and columns of embedding and head in fewer steps",
        about: "the same in three fifths of the steps",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            Learning { length: Length::Short, ..taught(APART) }.begun(bench, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "taught pairs of rows and columns of embedding and head",
        about: "two products of coefficients for each matrix, so learned",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| taught(PAIRS).begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "taught pairs in more steps",
        about: "the same in five times as many steps",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| {
            Learning { length: Length::Long, ..taught(PAIRS) }.begun(bench, token_rows_apart(bench)?)
        },
    },
    Contender {
        name: "taught on what the models write",
        about: "rows and columns of embedding and head, from text that each model has written and what it predicts there",
        kind: Kind::Learned,
        reads: Reads::Counts,
        axes: &[],
        after: &[],
        make: |bench, _| taught(APART).on_written().begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "taught pairs on what the models write",
        about: "the same with two products for each matrix",
        kind: Kind::Learned,
        reads: Reads::Counts,
        axes: &[],
        after: &[],
        make: |bench, _| taught(PAIRS).on_written().begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "taught on what the models write and no counts",
        about: "rows and columns, begun from the mean: nothing is read",
        kind: Kind::Learned,
        reads: Reads::Nothing,
        axes: &[],
        after: &[],
        make: |bench, _| taught(ROWS_AND_COLUMNS).on_written().begun(bench, mean(bench)),
    },
];

/// Learned from predictions.
const fn taught(learning: Learning) -> Learning {
    Learning { lessons: Lessons::Predictions, ..learning }
}
