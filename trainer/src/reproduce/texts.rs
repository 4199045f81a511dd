//! The folder of texts: `<language>/{train,valid,test}.txt`, as they are or packed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::eval::{Reading, Split, Text};
use growmerge::problem::{Error, ExecError, Problem, Problems};
use growmerge::write::sha256_hex;
use serde::{Deserialize, Serialize};

use super::subject::{ENGLISH, LANGUAGES};

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Trained on.
    Train,
    /// For choosing.
    Valid,
    /// For reporting.
    Test,
}

impl Part {
    const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// Its file's name without suffix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// English, then the languages of the study.
pub fn all_languages() -> impl Iterator<Item = &'static str> + Clone {
    std::iter::once(ENGLISH).chain(LANGUAGES)
}

/// The files of a folder that has every text of the study.
#[derive(Clone, Debug)]
pub struct Texts {
    files: BTreeMap<(&'static str, Part), File>,
}

#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    sha256: String,
}

impl Texts {
    /// Finds all files and hashes each.
    ///
    /// # Errors
    /// Every text that is not there; a file that cannot be read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut problems = Problems::new();
        let mut files = BTreeMap::new();
        for language in all_languages() {
            for part in Part::ALL {
                let found = [".txt", ".txt.gz", ".txt.zst"]
                    .map(|suffix| folder.join(language).join(format!("{}{suffix}", part.name())))
                    .into_iter()
                    .find(|p| p.is_file());
                let Some(path) = found else {
                    let at = folder.join(language).join(format!("{}.txt", part.name())).display().to_string();
                    let problem = Problem::error(at, "is not there, nor as .txt.gz or .txt.zst");
                    problems.push(problem.hint("--texts names a folder with a folder for each language"));
                    continue;
                };
                let bytes = std::fs::read(&path).map_err(ExecError::io("read", &path))?;
                files.insert((language, part), File { path, sha256: sha256_hex(&bytes) });
            }
        }
        if problems.has_errors() { Err(problems.into()) } else { Ok(Self { files }) }
    }

    fn file(&self, language: &str, part: Part) -> &File {
        let found = self.files.iter().find(|(key, _)| key.0 == language && key.1 == part);
        #[allow(clippy::expect_used)] // `open` found all, and callers know no other languages
        found.map(|f| f.1).expect("a language of the study")
    }

    /// Where a text is.
    pub fn path(&self, language: &str, part: Part) -> &Path {
        &self.file(language, part).path
    }

    /// SHA-256 of its file, in hex.
    pub fn sha256(&self, language: &str, part: Part) -> &str {
        &self.file(language, part).sha256
    }

    /// Its sentences.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(&self, language: &str, part: Part) -> Result<Text, Problems> {
        let reading = Reading { split: Split::Line, field: "text".into() };
        Text::read(language, self.path(language, part), &reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_texts_are_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("en")).unwrap();
        std::fs::write(folder.path().join("en/train.txt.gz"), b"").unwrap();
        let Err(Error::Input(problems)) = Texts::open(folder.path()) else { panic!("there is no text") };
        assert_eq!(problems.iter().count(), 6 * 3 - 1, "{problems}");
        assert!(problems.to_string().contains("fo/test.txt: is not there"), "{problems}");
    }
}
