//! What commands have in common that do something with one model and write one file.

use std::path::Path;

use growmerge::decoder::Config;
use growmerge::eval::{ModelSource, is_recipe};
use growmerge::plan::Plan;
use growmerge::problem::{Error, Problem, Problems};

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

/// Tokens of what `option` is about: as many as it says, else 512, or what the model was made for.
pub(super) fn tokens(
    (option, what): (&str, &str),
    given: Option<u32>,
    config: &Config,
) -> Result<usize, Problems> {
    let limit = config.max_positions.max(2);
    let Some(window) = given.map(|c| c as usize) else { return Ok(limit.min(512)) };
    if window > limit {
        let what =
            format!("{what} of {window} tokens are longer than the {limit} that the model was made for");
        return Err(Problem::error(option, what).into());
    }
    Ok(window)
}
