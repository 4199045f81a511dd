//! Which files go where: the Hub decides, by name, size and beginning.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::Target;
use super::files::LocalFile;
use crate::hub::retry;
use crate::hub::trouble::{Kind, Trouble};
use crate::problem::{Error, Problem};

/// Files in one question.
const BATCH: usize = 256;
/// No file of more bytes is taken into a commit itself.
const LONGEST: u64 = 32 << 20;

/// Where each file goes.
pub(super) struct Planned<'f> {
    /// Into the commit itself.
    pub(super) small: Vec<&'f LocalFile>,
    /// To the store.
    pub(super) large: Vec<&'f LocalFile>,
}

#[derive(Deserialize)]
struct Answer {
    files: Vec<Told>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    path: String,
    upload_mode: Mode,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Regular,
    Lfs,
}

/// Asks the Hub.
pub(super) fn ask<'f>(target: &Target<'_>, files: &[&'f LocalFile]) -> Result<Planned<'f>, Error> {
    let about = target.about();
    let mut planned = Planned { small: Vec::new(), large: Vec::new() };
    for batch in files.chunks(BATCH) {
        let told = retry::run(target.web.policy(), |_| once(target, batch))?;
        for &file in batch {
            let Some(told) = told.iter().find(|told| told.path == file.path) else {
                let what = format!("it does not say where {} goes", file.path);
                return Err(about.trouble(Kind::Odd(what)).into());
            };
            if told.should_ignore {
                let what = format!("the repository's .gitignore keeps {} out", file.path);
                let problem = Problem::error(about.to_string(), what);
                return Err(problem.hint("a model without it is not whole: change the .gitignore").into());
            }
            match told.upload_mode {
                // The store takes no empty objects.
                Mode::Lfs if file.size > 0 => planned.large.push(file),
                _ if file.size > LONGEST => {
                    let what = format!("it wants the {} bytes of {} in a commit", file.size, file.path);
                    return Err(about.trouble(Kind::Odd(what)).into());
                }
                _ => planned.small.push(file),
            }
        }
    }
    Ok(planned)
}

fn once(target: &Target<'_>, batch: &[&LocalFile]) -> Result<Vec<Told>, Trouble> {
    let describe = |file: &&LocalFile| {
        let sample = STANDARD.encode(&file.sample);
        json!({ "path": file.path, "size": file.size, "sample": sample })
    };
    let question = json!({ "files": batch.iter().map(describe).collect::<Vec<_>>() });
    let (web, about) = (target.web, target.about());
    let answer =
        web.send(&about, Method::POST, target.api("preupload"), |request| request.json(&question))?;
    Ok(web.json::<Answer>(&about, answer)?.files)
}
