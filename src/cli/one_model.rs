//! What commands have in common that do something with one model and write one file.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use growmerge::eval::{ModelSource, is_recipe};
use growmerge::plan::Plan;
use growmerge::problem::{Error, ExecError, Problem, Problems};

use super::elsewhere;
use super::plan::Numbers;

/// A checkpoint, or a recipe that is planned.
pub(super) fn source(
    name: &str,
    numbers: &Numbers,
    elsewhere: &elsewhere::Options,
) -> Result<ModelSource, Error> {
    if is_recipe(name) {
        let path = Path::new(name);
        let reading = growmerge::recipe::Reading::from_file(path)?;
        let mut library = elsewhere.library_of(path, [&reading])?;
        let plan = Plan::from_reading_with(reading, &numbers.plan_options(), &mut library)?;
        return Ok(ModelSource::planned(name, plan)?);
    }
    let model = elsewhere::named(name)?;
    let mut library = elsewhere.library(None, std::slice::from_ref(&model))?;
    Ok(ModelSource::stored(name, library.checkpoint(&model)?)?)
}

/// Says what is wrong with a file that is to be written, before there is work that could be lost.
pub(super) fn refuse_output(path: &Path, overwrite: bool) -> Result<(), Problems> {
    let at = path.display().to_string();
    if path.is_dir() {
        return Err(Problem::error(at, "is a folder, not a file").into());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Problem::error(at, format!("there is no folder {}", folder.display())).into());
    }
    if path.exists() && !overwrite {
        return Err(Problem::error(at, "is there already").hint("--overwrite replaces it").into());
    }
    Ok(())
}

/// A file that is written when everything is done, and whole: that it can be is found out before.
pub(super) struct Output {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Output {
    pub(super) fn begin(path: &Path) -> Result<Self, ExecError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any new file: what the umask leaves of these.
        builder.prefix(".growmerge-").permissions(Permissions::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(ExecError::io("create a file in", folder))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn end(mut self, text: &str) -> Result<(), ExecError> {
        let path = self.path;
        self.file.write_all(text.as_bytes()).map_err(ExecError::io("write", &path))?;
        self.file.persist(&path).map_err(|e| ExecError::io("rename", &path)(e.error))?;
        Ok(())
    }
}

/// Tokens of what `option` is about: as many as it says, else 512, or what the model was made for.
pub(super) fn tokens(
    (option, what): (&str, &str),
    given: Option<u32>,
    source: &ModelSource,
) -> Result<usize, Error> {
    let config = growmerge::decoder::Config::read(&source.config, &source.name)?;
    let limit = config.max_positions.max(2);
    let Some(window) = given.map(|c| c as usize) else { return Ok(limit.min(512)) };
    if window > limit {
        let what =
            format!("{what} of {window} tokens are longer than the {limit} that the model was made for");
        return Err(Problem::error(option, what).into());
    }
    Ok(window)
}
