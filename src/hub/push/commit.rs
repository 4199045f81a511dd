//! One commit: small files as they are, large ones by their hashes.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Target;
use super::files::{self, LocalFile};
use super::modes::Planned;
use crate::hub::retry;
use crate::hub::trouble::{Kind, Trouble, is_commit};
use crate::problem::{Error, ExecError};

/// The Hub looks at every file before it answers.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    commit_oid: String,
}

/// Makes the commit on top of `parent`, and gives its name. `files` is what the branch has afterwards.
pub(super) fn make(
    target: &Target<'_>,
    parent: &str,
    message: &str,
    files: &[LocalFile],
    planned: &Planned<'_>,
) -> Result<String, Error> {
    let lines = Bytes::from(lines(parent, message, planned)?);
    let commit = retry::run(target.web.policy(), |_| match post(target, &lines) {
        Err(trouble) => after_all(target, parent, files)?.ok_or(trouble),
        made => made,
    })?;
    Ok(commit)
}

/// A line of JSON for the message, and one for each file. The Hub refuses a commit whose parent is not the branch's
/// last one any more.
fn lines(parent: &str, message: &str, planned: &Planned<'_>) -> Result<Vec<u8>, ExecError> {
    let mut lines = Vec::new();
    let mut add = |key: &str, value: Value| {
        lines.extend(json!({ "key": key, "value": value }).to_string().into_bytes());
        lines.push(b'\n');
    };
    add("header", json!({ "summary": message, "description": "", "parentCommit": parent }));
    for file in &planned.small {
        let bytes = std::fs::read(&file.on_disk).map_err(ExecError::io("read", &file.on_disk))?;
        let content = STANDARD.encode(bytes);
        add("file", json!({ "path": file.path, "encoding": "base64", "content": content }));
    }
    for file in &planned.large {
        add("lfsFile", json!({ "path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.size }));
    }
    Ok(lines)
}

/// One try.
fn post(target: &Target<'_>, lines: &Bytes) -> Result<String, Trouble> {
    let (web, about) = (target.web, target.about());
    let answer = web.send_within(PATIENCE, &about, Method::POST, target.api("commit"), |request| {
        request.header(CONTENT_TYPE, "application/x-ndjson").body(lines.clone())
    })?;
    let commit = web.json::<Answer>(&about, answer)?.commit_oid;
    if is_commit(&commit) { Ok(commit) } else { Err(about.trouble(Kind::Odd("it names no commit".into()))) }
}

/// Of a try that failed, the commit that it made: its answer may have been lost.
fn after_all(target: &Target<'_>, parent: &str, files: &[LocalFile]) -> Result<Option<String>, Trouble> {
    let now = target.web.commit(target.repo, target.branch)?;
    if now == parent {
        return Ok(None);
    }
    let tree = target.web.tree(target.repo, &now)?;
    Ok(files::changed(files, &tree).is_empty().then_some(now))
}
