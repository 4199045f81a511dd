//! Which request is answered by whom, who may ask, and how the hub says no.

use std::sync::Arc;

use super::http::{Answer, Incoming, Port, Request, Response};
use super::repositories::{Access, Repository, Visibility};
use super::{Hub, State, api, card, listing, resolve, upload};

pub(super) fn answer(hub: &Arc<Hub>, request: &Request, body: &mut Incoming<'_>) -> Answer {
    let parts: Vec<&str> = request.parts.iter().map(String::as_str).collect();
    if request.port == Port::Cdn {
        // As S3 does: a signed link and a token are one too many, so a token that strays is noticed.
        if request.header("authorization").is_some() {
            return Err(Response::new(400, "<Error><Code>InvalidArgument</Code></Error>"));
        }
        return match (request.method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", ["repos", owner, name, oid]) => {
                resolve::large(hub, request, &named(owner, name), oid)
            }
            ("PUT", ["uploads", owner, name, oid]) => {
                upload::store(hub, request, &named(owner, name), oid, body)
            }
            _ => Err(nothing_here()),
        };
    }
    if let Some(response) = moved(&hub.state(), request, &parts) {
        return Ok(response);
    }
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["api", "whoami-v2"]) => api::whoami(hub, request),
        ("POST", ["api", "repos", "create"]) => api::create(hub, request, &body.json()?),
        ("POST", ["api", "validate-yaml"]) => card::validate(&body.json()?),
        ("POST", ["api", "complete_multipart"]) => upload::complete(hub, request, &body.json()?),
        ("GET" | "HEAD", ["api", "resolve-cache", "models", owner, name, commit, path @ ..]) => {
            resolve::regular(hub, request, &named(owner, name), commit, &path.join("/"))
        }
        (method, ["api", "models", owner, name, rest @ ..]) => {
            let name = named(owner, name);
            match (method, rest) {
                ("GET", []) => listing::info(hub, request, &name, "main"),
                ("GET", ["revision", revision]) => listing::info(hub, request, &name, revision),
                ("GET", ["refs"]) => listing::refs(hub, request, &name),
                ("GET", ["tree", revision, path @ ..]) => {
                    listing::tree(hub, request, &name, revision, &path.join("/"))
                }
                ("POST", ["paths-info", revision]) => {
                    listing::paths_info(hub, request, &name, revision, &body.json()?)
                }
                ("POST", ["branch", branch]) => api::branch(hub, request, &name, branch, &body.json()?),
                ("POST", ["preupload", revision]) => {
                    upload::modes(hub, request, &name, revision, &body.json()?)
                }
                ("POST", ["commit", revision]) => api::commit(hub, request, &name, revision, &body.text()?),
                _ => Err(nothing_here()),
            }
        }
        ("GET" | "HEAD", [owner, name, "resolve", revision, path @ ..]) => {
            resolve::resolve(hub, request, &named(owner, name), revision, &path.join("/"))
        }
        ("POST", [owner, name, "info", "lfs", "objects", act]) => match (name.strip_suffix(".git"), *act) {
            (Some(name), "batch") => upload::batch(hub, request, &named(owner, name), &body.json()?),
            (Some(name), "verify") => upload::verify(hub, request, &named(owner, name), &body.json()?),
            _ => Err(nothing_here()),
        },
        _ => Err(nothing_here()),
    }
}

fn named(owner: &str, name: &str) -> String {
    format!("{owner}/{name}")
}

/// The way to where a repository is called differently now.
fn moved(state: &State, request: &Request, parts: &[&str]) -> Option<Response> {
    let name = match parts {
        ["api", "models", owner, name, ..] | [owner, name, ..] => named(owner, name),
        _ => return None,
    };
    let to = state.renamed.get(&name)?;
    Some(Response::new(307, "").with("Location", request.target.replacen(&name, to, 1)))
}

/// Whose token came along, and what it allows.
pub(super) fn user(state: &State, request: &Request) -> Result<Option<(String, Access)>, Response> {
    if request.header("authorization").is_none() {
        return Ok(None);
    }
    let known = request.token().and_then(|token| state.tokens.get(token));
    let refused = || Response::refusal(401, None, "Invalid credentials in Authorization header");
    known.cloned().map(Some).ok_or_else(refused)
}

/// A repository, for one who may know of it.
pub(super) fn visible<'a>(
    state: &'a State,
    request: &Request,
    name: &str,
) -> Result<&'a Repository, Response> {
    let user = user(state, request)?;
    let repository = state.repositories.get(name);
    let hidden =
        |r: &&Repository| r.visibility == Visibility::Private && !may_read(r, request, user.as_ref());
    match (repository.filter(|r| !hidden(r)), user) {
        (Some(repository), _) => Ok(repository),
        (None, None) => Err(Response::refusal(401, Some("RepoNotFound"), "Invalid username or password.")),
        (None, Some(_)) => Err(Response::refusal(404, Some("RepoNotFound"), "Repository not found")),
    }
}

/// A repository, for one who may have its files.
pub(super) fn readable<'a>(
    state: &'a State,
    request: &Request,
    name: &str,
) -> Result<&'a Repository, Response> {
    let repository = visible(state, request, name)?;
    let user = user(state, request)?;
    let restricted = format!("Access to model {name} is restricted");
    let gated =
        |status, then: &str| Err(Response::refusal(status, Some("GatedRepo"), &(restricted.clone() + then)));
    match (repository.visibility, &user) {
        (Visibility::Gated, None) => {
            gated(401, ". You must have access to it and be authenticated to access it. Please log in.")
        }
        (Visibility::Gated, Some(_)) if !may_read(repository, request, user.as_ref()) => {
            gated(403, " and you are not in the authorized list. Visit its page to ask for access.")
        }
        _ => Ok(repository),
    }
}

/// A repository, for one who may change it.
pub(super) fn writable<'a>(
    state: &'a mut State,
    request: &Request,
    name: &str,
) -> Result<&'a mut Repository, Response> {
    visible(state, request, name)?;
    owner(state, request, name.split('/').next().unwrap_or_default())?;
    state.repositories.get_mut(name).ok_or_else(nothing_here)
}

/// One who may write under this name.
pub(super) fn owner(state: &State, request: &Request, namespace: &str) -> Result<(), Response> {
    match user(state, request)? {
        None => Err(Response::refusal(401, None, "Invalid username or password.")),
        Some((_, Access::Read)) => {
            Err(Response::refusal(403, None, "Forbidden: you must use a write token to change a repository."))
        }
        Some((user, Access::Write)) if user != namespace => {
            let message =
                format!("You don't have the rights to change models under the namespace \"{namespace}\"");
            Err(Response::refusal(403, None, &message))
        }
        Some(_) => Ok(()),
    }
}

fn may_read(repository: &Repository, request: &Request, user: Option<&(String, Access)>) -> bool {
    let owner = repository.name.split('/').next();
    request.token().is_some_and(|token| repository.readers.contains(token))
        || user.is_some_and(|(user, _)| Some(user.as_str()) == owner)
}

pub(super) fn no_such_file() -> Response {
    Response::refusal(404, Some("EntryNotFound"), "Entry not found")
}

pub(super) fn no_such_revision(revision: &str) -> Response {
    Response::refusal(404, Some("RevisionNotFound"), &format!("Invalid rev id: {revision}"))
}

fn nothing_here() -> Response {
    Response::refusal(404, None, "Sorry, we can't find the page you are looking for.")
}
