//! What goes wrong, in the user's words: a place, what is wrong there, and a hint.
//!
//! Two kinds of failure exist. A [`Problem`] is the user's to mend (a recipe, a checkpoint, an output
//! folder); problems are collected, so that one run names all of them. An [`ExecError`] is the
//! machine's (disk, memory) or an interruption, and ends the run where it happens.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Whether a [`Problem`] stops the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The command cannot go on; exit code 2.
    Error,
    /// The command cannot go on, through no fault of the user's; exit code 3.
    Failure,
    /// The command goes on; the user should know.
    Warning,
}

/// A line of a text file, for messages that show it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Spot {
    /// The file as the user named it.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// Characters of the line that `text` leaves out before it.
    #[serde(skip)]
    pub skipped: usize,
    /// The line itself, without its end; of a long one the part around the column.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Where: a path in the recipe (`models[1].parameters.density`), a file, a tensor.
    pub at: String,
    /// What is wrong, as a sentence without a full stop.
    pub what: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The line of the recipe, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot: Option<Spot>,
    /// Of a grid's problem, the members that have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Members>,
}

/// The members of a grid that have a problem.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Members {
    /// Their names.
    pub names: Vec<String>,
    /// How many members there are.
    pub of: usize,
}

impl Problem {
    /// An error at a place.
    pub fn error(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            at: at.into(),
            what: what.into(),
            hint: None,
            spot: None,
            members: None,
        }
    }

    /// A warning at a place.
    pub fn warning(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, what) }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds "did you mean …" when one of `known` is near `name`.
    #[must_use]
    pub fn did_you_mean<'a>(mut self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if self.hint.is_none() {
            self.hint = nearest(name, known).map(|n| format!("did you mean `{n}`?"));
        }
        self
    }

    /// Adds the line that is shown with it.
    #[must_use]
    pub fn spot(mut self, spot: Option<Spot>) -> Self {
        self.spot = spot;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error | Severity::Failure => "error",
            Severity::Warning => "warning",
        };
        match self.at.as_str() {
            "" => write!(f, "{kind}: {}", self.what)?,
            at => write!(f, "{kind}: {at}: {}", self.what)?,
        }
        if let Some(Spot { file, line, column, skipped, text }) = &self.spot {
            let caret = column.saturating_sub(*skipped);
            let gutter = line.to_string().len();
            write!(f, "\n{:gutter$}--> {file}:{line}:{column}", "")?;
            write!(f, "\n{:gutter$} |\n{line} | {text}", "")?;
            write!(f, "\n{:gutter$} | {:>caret$}", "", "^")?;
        }
        if let Some(members) = &self.members {
            write!(f, "\n  in: {members}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Members that a message names.
const NAMED: usize = 3;

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, of } = self;
        if names.len() == *of && *of > 1 {
            return write!(f, "all {of} members");
        }
        let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        match names.len().saturating_sub(NAMED) {
            0 => write!(f, "{shown}"),
            more => write!(f, "{shown} and {more} more of {of} members"),
        }
    }
}

/// Problems in the order they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, unless the very same was said before.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Problems) {
        other.0.into_iter().for_each(|p| self.push(p));
    }

    /// Whether any of them stops the command.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|p| p.severity != Severity::Warning)
    }

    /// No problem of either kind.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

/// Collects the problems of a grid's members: each once, with the members that have it.
#[derive(Debug)]
pub struct Gathering {
    /// How many members there are.
    of: usize,
    found: Vec<Problem>,
    /// Positions in `found` by what is wrong.
    known: HashMap<String, Vec<usize>>,
}

impl Gathering {
    /// Of so many members.
    pub fn new(of: usize) -> Self {
        Self { of, found: Vec::new(), known: HashMap::new() }
    }

    /// Adds what is wrong with a member.
    pub fn add(&mut self, member: &str, problems: &Problems) {
        for problem in problems.iter() {
            let same = |at: &&usize| {
                let other = &self.found[**at];
                // A line that is repeated has another path in each member; a model that is named on several
                // lines is one model.
                let same_place =
                    problem.spot.is_some() && problem.spot == other.spot || other.at == problem.at;
                same_place && other.severity == problem.severity && other.hint == problem.hint
            };
            let places = self.known.entry(problem.what.clone()).or_default();
            let at = places.iter().find(same).copied().unwrap_or_else(|| {
                places.push(self.found.len());
                let members = Some(Members { names: Vec::new(), of: self.of });
                self.found.push(Problem { members, ..problem.clone() });
                self.found.len() - 1
            });
            if let Some(Members { names, .. }) = &mut self.found[at].members
                && names.last().is_none_or(|n| n != member)
            {
                names.push(member.to_owned());
            }
        }
    }

    /// All of them, in the order in which they were first found.
    pub fn problems(self) -> Problems {
        Problems(self.found)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What the machine did to a merge, or to a file that was being read or written. Exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "read", "write", "sync" …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The disk is full. What was written so far is kept.
    #[error(
        "no space left for {}: free some, then run the same command with --resume to continue",
        path.display()
    )]
    DiskFull {
        /// The file that did not fit.
        path: PathBuf,
    },
    /// An input is shorter than when it was opened.
    #[error("{} shrank while it was being read; its contents cannot be trusted", path.display())]
    InputShrank {
        /// The input file.
        path: PathBuf,
    },
    /// A file that is elsewhere was not brought here before it was to be read.
    #[error("{} is not here yet: fetch it first", path.display())]
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
    /// The network, or a server, failed for longer than patience lasts.
    #[error("{what}")]
    Network {
        /// What was wanted of which host, and what happened.
        what: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; run the same command with --resume to continue")]
    Interrupted,
    /// The memory budget is too small, or the system gave none.
    #[error("{what}")]
    Memory {
        /// What was needed and what was allowed, in bytes.
        what: String,
    },
    /// A device has no room for a block; smaller ones may fit.
    #[error("the device has not enough memory left")]
    DeviceMemory {
        /// How many bytes were asked for; zero where the driver wanted some for itself.
        bytes: usize,
    },
    /// A device, its driver or its compiler failed.
    #[error("{what}")]
    Device {
        /// What was attempted, and what came back.
        what: String,
    },
    /// A device was asked for arithmetic that it does not have.
    #[error("there is no arithmetic for elements of type {dtype}")]
    NoArithmetic {
        /// The element type.
        dtype: &'static str,
    },
}

impl ExecError {
    /// Wraps an I/O error with what was attempted and where; a full disk becomes [`ExecError::DiskFull`].
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// Either kind of failure; the kind decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's input is wrong: exit code 2.
    #[error("{0}")]
    Input(Problems),
    /// The machine failed: exit code 3.
    #[error("error: {0}")]
    Exec(#[from] ExecError),
}

impl Error {
    /// What a command that fails with it exits with: 2 for the user's input, 3 for the machine, 130 for an
    /// interruption.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(problems) if problems.iter().any(|p| p.severity == Severity::Failure) => 3,
            Self::Input(_) => 2,
            Self::Exec(ExecError::Interrupted) => 130,
            Self::Exec(_) => 3,
        }
    }
}

/// Where everything is told as a problem, the machine's failures are too; they keep their exit code.
impl From<Error> for Problems {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(problems) => problems,
            Error::Exec(error) => {
                Problem { severity: Severity::Failure, ..Problem::error("", error.to_string()) }.into()
            }
        }
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Input(problems)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Input(problem.into())
    }
}

/// The nearest of some known names, if one is near enough to be a typing slip.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |s: &str| s.to_lowercase().replace('-', "_");
    let wanted = fold(name);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&wanted, &fold(k)), k))
        .filter(|(distance, k)| *distance <= 1.max(k.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_the_slip_and_nothing_far_away() {
        let known = ["density", "weight", "dare_ties"];
        assert_eq!(nearest("densty", known), Some("density"));
        assert_eq!(nearest("DARE-TIES", known), Some("dare_ties"));
        assert_eq!(nearest("gamma", known), None);
    }

    #[test]
    fn a_problem_of_several_members_is_said_once() {
        let mut gathering = Gathering::new(5);
        let two = |at: &str| Problems(vec![Problem::error(at, "no such file"), Problem::error("b", "odd")]);
        for name in ["m1", "m2", "m3", "m4", "m5"] {
            gathering.add(name, &two("a"));
        }
        gathering.add("m5", &two("c"));
        let text = gathering.problems().to_string();
        let want = "error: a: no such file\n  in: all 5 members\nerror: b: odd\n  in: all 5 members\n\
                    error: c: no such file\n  in: m5";
        assert_eq!(text, want);
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect();
        assert_eq!(Members { names: names(4), of: 9 }.to_string(), "0, 1, 2 and 1 more of 9 members");
    }

    #[test]
    fn a_problem_shows_place_line_caret_and_hint() {
        let spot =
            Spot { file: "r.yaml".into(), line: 12, column: 3, skipped: 0, text: "  densty: 1".into() };
        let p = Problem::error("parameters", "unknown").hint("spell it").spot(Some(spot));
        let want = "error: parameters: unknown\n  --> r.yaml:12:3\n   |\n12 |   densty: 1\n   |   ^\n  hint: spell it";
        assert_eq!(p.to_string(), want);
    }
}
