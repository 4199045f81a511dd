//! Files that `tune` writes.

use std::path::{Path, PathBuf};

use growmerge::problem::{Error, Problem, Problems};

use super::Args;

/// Where results go.
pub(super) struct Files {
    /// Coefficients.
    pub(super) coefficients: PathBuf,
    /// What a run needs to go on.
    pub(super) state: PathBuf,
}

impl Files {
    /// Refuses names that cannot be, and a state that nobody asked to go on with.
    pub(super) fn new(args: &Args) -> Result<Self, Error> {
        let name = || args.output.display().to_string();
        if !matches!(args.output.extension().and_then(|e| e.to_str()), Some("yaml" | "yml")) {
            let problem = Problem::error(name(), "must end in .yaml: it will be a recipe");
            return Err(problem.into());
        }
        into_folder(&args.output)?;
        args.html.as_deref().map_or(Ok(()), into_folder)?;
        let files = Self {
            coefficients: args.output.with_extension("safetensors"),
            state: args.output.with_extension("tune-state"),
        };
        for file in [&args.output, &files.coefficients].into_iter().filter(|file| file.exists()) {
            let what = match same(file, &args.recipe) {
                true => "is the recipe itself, which is not replaced",
                false if !args.overwrite => "is there already",
                false => continue,
            };
            let hint = "name another file with --output, or replace what was learned before with --overwrite";
            return Err(Problem::error(file.display().to_string(), what).hint(hint).into());
        }
        if files.state.is_file() && !args.resume {
            let what = "is what an interrupted run left";
            let hint = "go on with --resume, or remove it to begin anew";
            return Err(Problem::error(files.state.display().to_string(), what).hint(hint).into());
        }
        Ok(files)
    }
}

/// Whether two names are of one file.
fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Refuses a file in a folder that is not there.
pub(super) fn into_folder(file: &Path) -> Result<(), Problems> {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(Problem::error(file.display().to_string(), "there is no such folder to write to").into())
}
