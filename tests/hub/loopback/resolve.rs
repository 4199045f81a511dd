//! Files: where they are, and their bytes or ranges of them.
//!
//! Nothing is answered at once. A file in git is found under its commit, by a redirect within the hub; a large one
//! behind a signed link to the CDN. Size and hash are on the first answer.

use super::Hub;
use super::http::{Answer, Port, Request, Response, encode};
use super::objects::{self, Content};
use super::routes::{no_such_file, no_such_revision, readable};

pub(super) fn resolve(hub: &Hub, request: &Request, name: &str, revision: &str, path: &str) -> Answer {
    let state = hub.state();
    let repository = readable(&state, request, name)?;
    let commit = repository.commit(revision).ok_or_else(|| no_such_revision(revision))?;
    let with_commit = |response: Response| response.with("X-Repo-Commit", commit);
    let entry = repository.commits[commit].get(path).ok_or_else(|| with_commit(no_such_file()))?;
    let file = path.rsplit('/').next().unwrap_or(path);
    let location = match &entry.lfs {
        None => {
            let path: Vec<String> = path.split('/').map(encode).collect();
            let came = encode(request.target.split('?').next().unwrap_or_default());
            format!(
                "/api/resolve-cache/models/{name}/{commit}/{}?{came}=&etag={}",
                path.join("/"),
                encode(&entry.etag())
            )
        }
        Some(sha256) => {
            let shown = encode(&format!("inline; filename=\"{file}\";"));
            let signature = signature("get", name, sha256);
            let cdn = hub.url(Port::Cdn);
            format!(
                "{cdn}/repos/{name}/{sha256}?response-content-disposition={shown}&Expires=4102444800&Signature={signature}"
            )
        }
    };
    let status = if entry.lfs.is_some() { 302 } else { 307 };
    let response = Response::new(status, format!("Redirecting to {location}"))
        .with("Content-Type", "text/plain; charset=utf-8")
        .with("Location", location)
        .with("Accept-Ranges", "bytes")
        .with("X-Linked-Size", entry.content.len().to_string())
        .with("X-Linked-ETag", entry.etag());
    Ok(with_commit(response))
}

/// A file in git, from where its commit is part of the name.
pub(super) fn regular(hub: &Hub, request: &Request, name: &str, commit: &str, path: &str) -> Answer {
    let state = hub.state();
    let repository = readable(&state, request, name)?;
    let tree = repository.commits.get(commit).ok_or_else(|| no_such_revision(commit))?;
    let entry = tree.get(path).ok_or_else(no_such_file)?;
    let response = bytes(request, &entry.content, &entry.etag());
    Ok(response.with("X-Repo-Commit", commit).with("Content-Type", "text/plain; charset=utf-8"))
}

/// A large file, for one who has a signed link to it.
pub(super) fn large(hub: &Hub, request: &Request, name: &str, oid: &str) -> Answer {
    if request.asks("Signature") != Some(&signature("get", name, oid)) {
        return Err(Response::new(403, "<Error><Code>AccessDenied</Code></Error>"));
    }
    let state = hub.state();
    let content = state.repositories.get(name).and_then(|r| r.objects.get(oid)).ok_or_else(no_such_file)?;
    // A store has hashes of its own, and they are not those of the hub.
    let etag = format!("\"{}-2\"", &objects::sha256(oid.as_bytes())[..32]);
    Ok(bytes(request, content, &etag).with("Content-Type", "application/octet-stream"))
}

/// What a link is signed with; nobody guesses it.
pub(super) fn signature(act: &str, name: &str, oid: &str) -> String {
    objects::sha256(format!("{act} {name} {oid}, signed by the loopback hub").as_bytes())
}

/// All of a content, the range that was asked for, or that it has not changed (RFC 9110, sections 13 and 14).
fn bytes(request: &Request, content: &Content, etag: &str) -> Response {
    let total = content.len();
    let all =
        || Response { status: 200, headers: Vec::new(), first: 0, length: total, content: content.clone() };
    let response = if request.header("if-none-match") == Some(etag) {
        Response::new(304, "")
    } else if request.header("if-range").is_some_and(|known| known != etag) {
        all()
    } else {
        match request.header("range").map_or(Range::All, |range| Range::parse(range, total)) {
            Range::All => all(),
            Range::Part { first, length } => Response { status: 206, first, length, ..all() }
                .with("Content-Range", format!("bytes {first}-{}/{total}", first + length - 1)),
            Range::Beyond => Response::new(416, "").with("Content-Range", format!("bytes */{total}")),
        }
    };
    response.with("ETag", etag).with("Accept-Ranges", "bytes")
}

enum Range {
    All,
    Part { first: u64, length: u64 },
    Beyond,
}

impl Range {
    /// One range of bytes; anything else is as if nothing had been asked for.
    fn parse(text: &str, total: u64) -> Self {
        let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
            return Self::All;
        };
        let (first, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => (first, total.min(last.saturating_add(1))),
            (Ok(first), Err(_)) if last.is_empty() => (first, total),
            (Err(_), Ok(count)) if first.is_empty() => (total.saturating_sub(count), total),
            _ => return Self::All,
        };
        if first < end { Self::Part { first, length: end - first } } else { Self::Beyond }
    }
}
