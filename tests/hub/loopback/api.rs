//! Repositories are made, branched and committed to.

use serde_json::{Value, json};

use super::Hub;
use super::http::{Answer, Port, Request, Response};
use super::objects;
use super::repositories::{Access, Entry, Repository, Tree, Visibility};
use super::routes::{no_such_revision, owner, user, writable};
use super::upload;

pub(super) fn whoami(hub: &Hub, request: &Request) -> Answer {
    let Some((name, access)) = user(&hub.state(), request)? else {
        return Err(Response::refusal(401, None, "Invalid username or password."));
    };
    let role = if access == Access::Write { "write" } else { "read" };
    let token = json!({ "type": "access_token", "accessToken": { "displayName": "token", "role": role } });
    Ok(Response::json(200, &json!({ "type": "user", "id": "0", "name": name, "orgs": [], "auth": token })))
}

pub(super) fn create(hub: &Hub, request: &Request, body: &Value) -> Answer {
    let mut state = hub.state();
    let Some((own, _)) = user(&state, request)? else {
        return Err(Response::refusal(401, None, "Invalid username or password."));
    };
    let namespace = body["organization"].as_str().unwrap_or(&own);
    owner(&state, request, namespace)?;
    let name = format!("{namespace}/{}", body["name"].as_str().unwrap_or_default());
    let url = format!("{}/{name}", hub.url(Port::Hub));
    if state.repositories.contains_key(&name) {
        let message = format!("You already created this model repo: {name}");
        return Err(
            Response::json(409, &json!({ "error": message, "url": url })).with("X-Error-Message", message)
        );
    }
    let mut repository = Repository::new(&name);
    if body["private"] == true || body["visibility"] == "private" {
        repository.visibility = Visibility::Private;
    }
    let attributes =
        upload::LARGE.map(|end| format!("*{end} filter=lfs diff=lfs merge=lfs -text\n")).concat();
    repository.add("main", Tree::from([(".gitattributes".into(), Entry::regular(attributes.into()))]));
    state.repositories.insert(name.clone(), repository);
    Ok(Response::json(200, &json!({ "url": url, "name": name, "id": "0" })))
}

pub(super) fn branch(hub: &Hub, request: &Request, name: &str, branch: &str, body: &Value) -> Answer {
    let mut state = hub.state();
    let repository = writable(&mut state, request, name)?;
    let from = body["startingPoint"].as_str().unwrap_or("main");
    let commit = repository.commit(from).ok_or_else(|| no_such_revision(from))?.to_owned();
    if repository.branches.contains_key(branch) {
        return Err(Response::refusal(409, None, "Reference already exists"));
    }
    repository.branches.insert(branch.into(), commit);
    Ok(Response::json(200, &json!({})))
}

/// A commit: a line with its message, then a line for each file (NDJSON). All of it happens or nothing.
pub(super) fn commit(hub: &Hub, request: &Request, name: &str, branch: &str, body: &str) -> Answer {
    let mut state = hub.state();
    let repository = writable(&mut state, request, name)?;
    let head = repository.branches.get(branch).ok_or_else(|| no_such_revision(branch))?.clone();
    let mut lines = body.lines().filter(|l| !l.trim().is_empty());
    let bad = |message: &str| Response::refusal(400, None, message);
    let parsed =
        |line: &str| serde_json::from_str::<Value>(line).map_err(|e| bad(&format!("Invalid NDJSON: {e}")));

    let header = lines.next().map(parsed).transpose()?.filter(|line| line["key"] == "header");
    let header = header.ok_or_else(|| bad("The first line must be the header"))?["value"].take();
    if header["summary"].as_str().is_none_or(str::is_empty) {
        return Err(bad("\"summary\" is not allowed to be empty"));
    }
    if header["parentCommit"].as_str().is_some_and(|parent| parent != head) {
        return Err(Response::refusal(
            412,
            None,
            "A commit has happened since. Please refresh and try again.",
        ));
    }

    let mut tree = repository.commits[&head].clone();
    for line in lines {
        let line = parsed(line)?;
        let value = &line["value"];
        let path = value["path"].as_str().unwrap_or_default();
        if path.is_empty() || path.split('/').any(|p| matches!(p, "" | "." | ".." | ".git")) {
            return Err(bad(&format!("Invalid path: \"{path}\"")));
        }
        match line["key"].as_str() {
            Some("file") => {
                let content = value["content"].as_str().unwrap_or_default();
                let bytes = match value["encoding"].as_str() {
                    Some("base64") => objects::base64(content).ok_or_else(|| bad("Invalid base64"))?,
                    _ => content.into(),
                };
                if bytes.len() > upload::REGULAR {
                    return Err(bad(&format!("Your push was rejected because {path} is too large for git")));
                }
                tree.insert(path.into(), Entry::regular(bytes));
            }
            Some("lfsFile") => {
                let oid = value["oid"].as_str().unwrap_or_default();
                let object = repository
                    .objects
                    .get(oid)
                    .filter(|o| value["size"].as_u64().is_none_or(|s| s == o.len()));
                let Some(object) = object else {
                    let message =
                        "Your push was rejected because an LFS pointer pointed to a file that does not exist";
                    return Err(bad(&format!("{message}. Offending file: {path}")));
                };
                tree.insert(path.into(), Entry::large(object.clone(), oid.into()));
            }
            Some("deletedFile") => {
                if tree.remove(path).is_none() {
                    let message = format!("A file with this name doesn't exist: {path}");
                    return Err(Response::refusal(404, Some("EntryNotFound"), &message));
                }
            }
            Some("deletedFolder") => {
                let folder = format!("{}/", path.trim_end_matches('/'));
                tree.retain(|path, _| !path.starts_with(&folder));
            }
            other => return Err(bad(&format!("Unknown operation: {other:?}"))),
        }
    }
    let commit = repository.add(branch, tree);
    let url = format!("{}/{name}/commit/{commit}", hub.url(Port::Hub));
    Ok(Response::json(
        200,
        &json!({ "success": true, "commitOid": commit, "commitUrl": url, "hookOutput": "" }),
    ))
}
