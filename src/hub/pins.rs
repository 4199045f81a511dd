//! `RECIPE.lock`: the commits that a recipe's models were when it was locked, so that it means the same next year.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trouble::is_commit;
use crate::problem::{Error, ExecError, Problem, Problems};
use crate::recipe::AdapterRef;
use crate::write::write_small;

/// Commits by what a recipe calls them, `owner/name` or `owner/name@revision`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    models: BTreeMap<String, String>,
    #[serde(skip)]
    file: PathBuf,
}

impl Pins {
    /// Of a recipe; nothing if it is not locked.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn of(recipe: &Path) -> Result<Option<Self>, Error> {
        let file = Self::path(recipe);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ExecError::io("read", &file)(e).into()),
        };
        let at = file.display().to_string();
        let hint = "`growmerge lock` writes it anew";
        let pins: Self = serde_yaml::from_str(&text).map_err(|e| {
            Problem::error(&at, format!("is not what `growmerge lock` writes: {e}")).hint(hint)
        })?;
        let mut problems = Problems::new();
        for (model, commit) in pins.models.iter().filter(|(_, commit)| !is_commit(commit)) {
            problems.push(Problem::error(&at, format!("{model}: `{commit}` is no commit")).hint(hint));
        }
        if problems.has_errors() { Err(problems.into()) } else { Ok(Some(Self { file, ..pins })) }
    }

    /// Where a recipe's commits are.
    pub fn path(recipe: &Path) -> PathBuf {
        let mut name = recipe.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    /// The commit of a model.
    ///
    /// # Errors
    /// If it is not locked.
    pub(super) fn commit(&self, model: &AdapterRef) -> Result<&str, Problems> {
        let found = self.models.get(&model.to_string()).map(String::as_str);
        found.ok_or_else(|| {
            let what = format!("is not in {}", self.file.display());
            Problem::error(model.to_string(), what)
                .hint("run `growmerge lock` on the recipe again, or remove that file")
                .into()
        })
    }

    /// Adds a model.
    pub fn add(&mut self, model: &AdapterRef, commit: &str) {
        self.models.insert(model.to_string(), commit.to_owned());
    }

    /// Models and commits, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models.iter().map(|(model, commit)| (model.as_str(), commit.as_str()))
    }

    /// Writes them beside a recipe.
    ///
    /// # Errors
    /// What the disk does.
    pub fn write(&self, recipe: &Path) -> Result<PathBuf, ExecError> {
        let path = Self::path(recipe);
        let mut text = String::from(
            "# What the recipe's models were: written by `growmerge lock`, read by every other command.\nmodels:\n",
        );
        for (model, commit) in self.iter() {
            // Quoted: a commit may look like a number.
            text.push_str(&format!("  {model:?}: {commit:?}\n"));
        }
        if self.models.is_empty() {
            text.push_str("  {}\n");
        }
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        write_small(folder, name, text.as_bytes())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = folder.path().join("recipe.yaml");
        assert_eq!(Pins::of(&recipe).unwrap(), None);
        let model =
            |revision: Option<&str>| AdapterRef { path: "a/b".into(), revision: revision.map(Into::into) };
        let mut pins = Pins::default();
        pins.write(&recipe).unwrap();
        assert_eq!(Pins::of(&recipe).unwrap().unwrap().iter().count(), 0);
        pins.add(&model(None), &"0".repeat(40));
        pins.add(&model(Some("v1")), &"12".repeat(20));
        let path = pins.write(&recipe).unwrap();
        let read = Pins::of(&recipe).unwrap().unwrap();
        assert!(read.iter().eq(pins.iter()));
        assert_eq!(read.commit(&model(Some("v1"))).unwrap(), "12".repeat(20));
        assert!(read.commit(&model(Some("v2"))).unwrap_err().to_string().contains("growmerge lock"));
        for text in ["models:\n  a/b: main\n", "model: {}\n", "models: [a]\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Pins::of(&recipe).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
