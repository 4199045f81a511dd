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

/// What becomes of a branch.
pub(super) struct Commit<'a> {
    /// Its last commit, as it was seen: the Hub refuses to go on from another one.
    pub(super) parent: &'a str,
    pub(super) message: &'a str,
    /// Files that are in the commit itself.
    pub(super) small: Vec<&'a LocalFile>,
    /// Files that are in the store.
    pub(super) large: Vec<&'a LocalFile>,
    /// Paths that go.
    pub(super) outdated: Vec<String>,
}

impl Commit<'_> {
    /// Makes it, and gives its name. `files` is the model that the branch has afterwards.
    pub(super) fn make(&self, target: &Target<'_>, files: &[LocalFile]) -> Result<String, Error> {
        let lines = Bytes::from(self.lines()?);
        let commit = retry::run(target.web.policy(), |_| match post(target, &lines) {
            Err(trouble) => after_all(target, self.parent, files)?.ok_or(trouble),
            made => made,
        })?;
        Ok(commit)
    }

    /// A line of JSON for the message, and one for each file.
    fn lines(&self) -> Result<Vec<u8>, ExecError> {
        let mut lines = Vec::new();
        let mut add = |key: &str, value: Value| {
            lines.extend(json!({ "key": key, "value": value }).to_string().into_bytes());
            lines.push(b'\n');
        };
        let summary = self.message;
        add("header", json!({ "summary": summary, "description": "", "parentCommit": self.parent }));
        for file in &self.small {
            let bytes = std::fs::read(&file.on_disk).map_err(ExecError::io("read", &file.on_disk))?;
            let content = STANDARD.encode(bytes);
            add("file", json!({ "path": file.path, "encoding": "base64", "content": content }));
        }
        for LocalFile { path, sha256, size, .. } in &self.large {
            add("lfsFile", json!({ "path": path, "algo": "sha256", "oid": sha256, "size": size }));
        }
        for path in &self.outdated {
            add("deletedFile", json!({ "path": path }));
        }
        Ok(lines)
    }
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
