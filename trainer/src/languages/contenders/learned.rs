//! Coefficients that are learned from the tokens of texts.

use super::differences::Differences;
use super::learning::{
    APART, LAYERS, Learning, PAIRS, ROWS, ROWS_AND_COLUMNS, mean, token_rows, token_rows_apart,
};
use crate::languages::contender::{Contender, Kind, Reads};

/// All of them.
pub(super) static ALL: &[Contender] = &[
    Contender {
        name: "learned layers",
        about: "a coefficient for each layer's attention, MLP and norms, from the mean",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| LAYERS.begun(bench, mean(bench)),
    },
    Contender {
        name: "learned rows",
        about: "a coefficient for each row, from token rows",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| ROWS.begun(bench, token_rows(bench)?),
    },
    Contender {
        name: "learned rows and columns",
        about: "a coefficient for each row and each column, from token rows",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| ROWS_AND_COLUMNS.begun(bench, token_rows(bench)?),
    },
    Contender {
        name: "learned rows and columns of embedding and head",
        about: "the same where the head is not the embedding",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| APART.begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "learned pairs of rows and columns of embedding and head",
        about: "two products of such coefficients for each matrix: rank two",
        kind: Kind::Learned,
        reads: Reads::FitAndCounts,
        axes: &[],
        after: &[],
        make: |bench, _| PAIRS.begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "learned from what the models write",
        about: "rows and columns of embedding and head, from text that each model has written instead of text of its language",
        kind: Kind::Learned,
        reads: Reads::Counts,
        axes: &[],
        after: &[],
        make: |bench, _| APART.on_written().begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "learned pairs from what the models write",
        about: "the same with two products for each matrix",
        kind: Kind::Learned,
        reads: Reads::Counts,
        axes: &[],
        after: &[],
        make: |bench, _| PAIRS.on_written().begun(bench, token_rows_apart(bench)?),
    },
    Contender {
        name: "learned from what the models write and no counts",
        about: "rows and columns from such text, begun from the mean: nothing is read",
        kind: Kind::Learned,
        reads: Reads::Nothing,
        axes: &[],
        after: &[],
        make: |bench, _| ROWS_AND_COLUMNS.on_written().begun(bench, mean(bench)),
    },
    Contender {
        name: "learned rows and columns from the mean",
        about: "a coefficient for each row and each column, without counts",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| ROWS_AND_COLUMNS.begun(bench, mean(bench)),
    },
    Contender {
        name: "learned rows and columns of trimmed differences",
        about: "the same of the larger half of each difference",
        kind: Kind::Learned,
        reads: Reads::Fit,
        axes: &[],
        after: &[],
        make: |bench, _| {
            Learning { differences: Differences::Trimmed, ..ROWS_AND_COLUMNS }.begun(bench, mean(bench))
        },
    },
];
