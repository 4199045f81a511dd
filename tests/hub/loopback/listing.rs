//! What is in a repository: its facts, its branches and tags, its files with sizes and hashes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Hub;
use super::http::{Answer, Port, Request, Response, encode};
use super::objects;
use super::repositories::{Entry, Tree, Visibility};
use super::routes::{no_such_file, no_such_revision, visible};

pub(super) fn info(hub: &Hub, request: &Request, name: &str, revision: &str) -> Answer {
    let state = hub.state();
    let repository = visible(&state, request, name)?;
    let commit = repository.commit(revision).ok_or_else(|| no_such_revision(revision))?;
    let sibling = |(path, entry): (&String, &Entry)| {
        let mut sibling = json!({ "rfilename": path });
        if request.asks("blobs").is_some() {
            let value = file(path, entry);
            (sibling["blobId"], sibling["size"]) = (value["oid"].clone(), value["size"].clone());
            if let Some(sha256) = &entry.lfs {
                sibling["lfs"] = value["lfs"].clone();
                sibling["lfs"]["sha256"] = sha256.as_str().into();
            }
        }
        sibling
    };
    let siblings: Vec<Value> = repository.commits[commit].iter().map(sibling).collect();
    let facts = json!({
        "_id": "000000000000000000000000",
        "id": name,
        "modelId": name,
        "author": name.split('/').next(),
        "sha": commit,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "private": repository.visibility == Visibility::Private,
        "gated": if repository.visibility == Visibility::Gated { json!("manual") } else { json!(false) },
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
    });
    Ok(Response::json(200, &facts))
}

pub(super) fn refs(hub: &Hub, request: &Request, name: &str) -> Answer {
    let state = hub.state();
    let repository = visible(&state, request, name)?;
    let list = |kind: &str, refs: &BTreeMap<String, String>| -> Vec<Value> {
        let value = |(name, commit): (&String, &String)| json!({ "name": name, "ref": format!("refs/{kind}/{name}"), "targetCommit": commit });
        refs.iter().map(value).collect()
    };
    let (branches, tags) = (list("heads", &repository.branches), list("tags", &repository.tags));
    Ok(Response::json(200, &json!({ "branches": branches, "tags": tags, "converts": [] })))
}

/// Files and folders below `path`, a page at a time; the link to the next page is in a header.
pub(super) fn tree(hub: &Hub, request: &Request, name: &str, revision: &str, path: &str) -> Answer {
    let state = hub.state();
    let repository = visible(&state, request, name)?;
    let commit = repository.commit(revision).ok_or_else(|| no_such_revision(revision))?;
    let entries = entries(&repository.commits[commit], path, request.asks("recursive") == Some("true"));
    if entries.is_empty() && !path.is_empty() {
        return Err(no_such_file());
    }
    let begin: usize = request.asks("cursor").and_then(|c| c.parse().ok()).unwrap_or(0);
    let limit = request.asks("limit").and_then(|l| l.parse().ok()).unwrap_or(state.page);
    let page: Vec<Value> = entries.iter().skip(begin).take(limit).cloned().collect();
    let next = begin + page.len();
    let response = Response::json(200, &page.into());
    if next >= entries.len() {
        return Ok(response);
    }
    let kept = request.query.iter().filter(|(key, _)| key != "cursor");
    let kept: String = kept.map(|(key, value)| format!("{}={}&", encode(key), encode(value))).collect();
    let target = request.target.split('?').next().unwrap_or_default();
    let link = format!("<{}{target}?{kept}cursor={next}>; rel=\"next\"", hub.url(Port::Hub));
    Ok(response.with("Link", link))
}

pub(super) fn paths_info(hub: &Hub, request: &Request, name: &str, revision: &str, body: &Value) -> Answer {
    let state = hub.state();
    let repository = visible(&state, request, name)?;
    let commit = repository.commit(revision).ok_or_else(|| no_such_revision(revision))?;
    let asked = body["paths"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let tree = &repository.commits[commit];
    let found: Vec<Value> = asked.filter_map(|path| Some(file(path, tree.get(path)?))).collect();
    Ok(Response::json(200, &found.into()))
}

fn entries(tree: &Tree, path: &str, recursive: bool) -> Vec<Value> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut folders = BTreeSet::new();
    let mut found = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| path.starts_with(&prefix)) {
        let below = &path[prefix.len()..];
        let mut ends = below.match_indices('/').map(|(end, _)| &path[..prefix.len() + end]);
        let shown = if recursive { ends.collect() } else { Vec::from_iter(ends.next()) };
        for folder in shown.into_iter().filter(|f| folders.insert(f.to_string())) {
            let oid = objects::git_id("tree", folder.as_bytes());
            found.push(json!({ "type": "directory", "oid": oid, "size": 0, "path": folder }));
        }
        if recursive || !below.contains('/') {
            found.push(file(path, entry));
        }
    }
    found
}

fn file(path: &str, entry: &Entry) -> Value {
    let size = entry.content.len();
    let mut value = json!({ "type": "file", "oid": entry.oid, "size": size, "path": path });
    if let Some(sha256) = &entry.lfs {
        let pointer = objects::pointer(sha256, size).len();
        value["lfs"] = json!({ "oid": sha256, "size": size, "pointerSize": pointer });
    }
    value
}
