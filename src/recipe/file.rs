//! What a recipe file holds: one recipe, or a grid of them.

use std::path::Path;

use super::book::{self, Reading};
use super::grid::{self, Grid};
use super::node;
use crate::problem::{Error, ExecError, Problem, Problems};

/// Recipes are small; a larger file is something else.
const MAX_BYTES: u64 = 1 << 20;

/// A recipe file that was read.
#[derive(Clone, Debug)]
pub enum Contents {
    /// It makes one model.
    Recipe(Reading),
    /// It makes many.
    Grid(Grid),
}

impl Contents {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no text file, or as [`Contents::parse`]; [`Error::Exec`] if it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let (name, text) = text(path)?;
        Ok(Self::parse(&name, &text)?)
    }

    /// Reads a recipe's text; `file` is used in messages only.
    ///
    /// # Errors
    /// What is wrong with the YAML, or with a `matrix`. What is wrong with a recipe is in its reading.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let documents = node::parse(file, text)?;
        let matrix = documents.iter().find_map(|d| d.get("matrix"));
        match (&documents[..], matrix) {
            (_, None) => Ok(Self::Recipe(book::read(file, text, &documents))),
            ([root], Some(matrix)) => grid::expand(file, text, root, matrix).map(Self::Grid),
            (_, Some(matrix)) => {
                let spot = node::spot(file, text, matrix.line, matrix.column);
                let problem = Problem::error("matrix", "a grid cannot have several documents").spot(spot);
                Err(problem.hint("merge its stages by a recipe of their own first").into())
            }
        }
    }
}

impl Reading {
    /// Reads the file of a single recipe; what is wrong with its contents is in the result.
    ///
    /// # Errors
    /// [`Error::Input`] if it is no text file, [`Error::Exec`] if it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let (name, text) = text(path)?;
        Ok(Self::parse(&name, &text))
    }

    /// Reads the text of a single recipe; `file` is used in messages only. A grid is a problem.
    pub fn parse(file: &str, text: &str) -> Self {
        match Contents::parse(file, text) {
            Ok(Contents::Recipe(reading)) => reading,
            Ok(Contents::Grid(grid)) => {
                let what = format!("is a grid of {} recipes", grid.members.len());
                Self::nothing(Problem::error(file, what).hint("choose one of them with --only").into())
            }
            Err(problems) => Self::nothing(problems),
        }
    }
}

/// The name of a file in messages, and its text.
fn text(path: &Path) -> Result<(String, String), Error> {
    let name = path.display().to_string();
    let refuse = |what: &str| Err(Error::from(Problem::error(&name, what)));
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return refuse("no such recipe file"),
        Err(e) => return Err(ExecError::io("read", path)(e).into()),
    };
    if about.is_dir() {
        return Err(Problem::error(&name, "is a folder, not a recipe").hint("give the YAML file").into());
    }
    if about.len() > MAX_BYTES {
        return refuse("is larger than 1 MiB, too large for a recipe");
    }
    let bytes = std::fs::read(path).map_err(ExecError::io("read", path))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(_) => refuse("is not UTF-8 text"),
    }
}
