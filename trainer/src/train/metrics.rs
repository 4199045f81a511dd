//! `metrics.jsonl`: a line for each step and each measurement.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use growmerge::problem::ExecError;
use serde::{Deserialize, Serialize};

use super::validation::Scores;
use crate::files;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Texts that were measured.
    Measured {
        /// Steps taken before.
        step: u64,
        /// By language.
        validation: Scores,
        /// See [`asymmetry`](super::asymmetry), for two copies.
        #[serde(skip_serializing_if = "Option::is_none")]
        asymmetry: Option<f64>,
    },
    /// A step.
    Step {
        /// Counted from 1.
        step: u64,
        /// Of its batch, before the step, in nats per token.
        loss: f64,
        /// Learning rate.
        lr: f64,
        /// Before clipping.
        gradient_norm: f64,
        /// Tokens that were predicted so far.
        tokens: u64,
        /// Since the run, or its continuation, began.
        seconds: f64,
    },
}

impl Line {
    /// Steps taken when it was written.
    pub fn step(&self) -> u64 {
        match self {
            Self::Measured { step, .. } | Self::Step { step, .. } => *step,
        }
    }
}

/// The file, to be added to.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Keeps the lines of the first `steps` steps: a run continues from its last state, and did more since. The
    /// measurement after the last of them is made again.
    pub(super) fn open(path: &Path, steps: u64) -> Result<Self, ExecError> {
        let before = |line: &Line| match line {
            Line::Measured { step, .. } => *step < steps,
            Line::Step { step, .. } => *step <= steps,
        };
        let lines: Vec<String> = text(path)?
            .lines()
            .filter(|line| serde_json::from_str(line).is_ok_and(|line| before(&line)))
            .map(|line| line.to_owned() + "\n")
            .collect();
        files::write(path, lines.concat().as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(ExecError::io("open", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn add(&mut self, line: &Line) -> Result<(), ExecError> {
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        self.file.write_all(text.as_bytes()).map_err(ExecError::io("write", &self.path))
    }

    /// Makes sure that all lines are on the disk: a state that outlives them would leave a gap.
    pub(super) fn sync(&self) -> Result<(), ExecError> {
        self.file.sync_all().map_err(ExecError::io("sync", &self.path))
    }
}

/// All lines of a file, none if it is not there; what cannot be read, as a line cut off by a crash, is left out.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(path: &Path) -> Result<Vec<Line>, ExecError> {
    Ok(text(path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn text(path: &Path) -> Result<String, ExecError> {
    match std::fs::read(path) {
        // A crash may have cut a line in the middle of a character.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(ExecError::io("read", path)(e)),
    }
}
