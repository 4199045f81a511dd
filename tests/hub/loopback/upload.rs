//! Large files on their way in: which they are, where they go, and whether they have arrived.
//!
//! The batch API of Git LFS with its transfer `basic`, and the Hub's own `multipart`: the header of the answer gives
//! `chunk_size` and a link for each part.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::Hub;
use super::http::{Answer, Incoming, Port, Request, Response, encode};
use super::objects::{self, Content};
use super::resolve::signature;
use super::routes::{no_such_revision, writable};

/// Endings of names of files that are large whatever their size, as a new repository's `.gitattributes` has them.
pub(super) const LARGE: [&str; 8] =
    [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".model"];
/// A file in git has at most this many bytes.
pub(super) const REGULAR: usize = 10 << 20;

/// Which files of a commit go where.
pub(super) fn modes(hub: &Hub, request: &Request, name: &str, revision: &str, body: &Value) -> Answer {
    let mut state = hub.state();
    let repository = writable(&mut state, request, name)?;
    let commit = repository.commit(revision).ok_or_else(|| no_such_revision(revision))?;
    let tree = &repository.commits[commit];
    let mode = |file: &Value| {
        let path = file["path"].as_str().unwrap_or_default();
        let sample = objects::base64(file["sample"].as_str().unwrap_or_default()).unwrap_or_default();
        let size = file["size"].as_u64().unwrap_or(0);
        let mode = if is_large(path, size, &sample) { "lfs" } else { "regular" };
        let mut mode = json!({ "path": path, "uploadMode": mode, "shouldIgnore": false });
        if let Some(entry) = tree.get(path) {
            mode["oid"] = entry.lfs.as_ref().unwrap_or(&entry.oid).as_str().into();
        }
        mode
    };
    let files: Vec<Value> = body["files"].as_array().into_iter().flatten().map(mode).collect();
    Ok(Response::json(200, &json!({ "files": files, "commitOid": commit })))
}

/// By its name, its size, or because it is no text.
pub(super) fn is_large(path: &str, size: u64, sample: &[u8]) -> bool {
    LARGE.iter().any(|end| path.ends_with(end)) || size > REGULAR as u64 || sample.contains(&0)
}

/// Where objects go that the repository has not.
pub(super) fn batch(hub: &Hub, request: &Request, name: &str, body: &Value) -> Answer {
    let mut state = hub.state();
    let part = state.part;
    let repository = writable(&mut state, request, name)?;
    let knows_parts = body["transfers"].as_array().is_some_and(|t| t.contains(&"multipart".into()));
    let multipart = |size: u64| knows_parts && size > part;
    let mut transfer = "basic";
    let mut objects = Vec::new();
    for object in body["objects"].as_array().into_iter().flatten() {
        let (oid, size) = (object["oid"].as_str().unwrap_or_default(), object["size"].as_u64().unwrap_or(0));
        let mut answer = json!({ "oid": oid, "size": size });
        if oid.len() != 64 || size == 0 {
            answer["error"] = json!({ "code": 422, "message": "Invalid object" });
        } else if !repository.objects.contains_key(oid) {
            let upload = if multipart(size) {
                transfer = "multipart";
                parts(hub, name, oid, size, part)
            } else {
                let signature = signature("put", name, oid);
                json!({ "href": format!("{}/uploads/{name}/{oid}?Signature={signature}", hub.url(Port::Cdn)) })
            };
            let verify = format!("{}/{name}.git/info/lfs/objects/verify", hub.url(Port::Hub));
            answer["authenticated"] = true.into();
            answer["actions"] = json!({ "upload": upload, "verify": { "href": verify } });
        }
        objects.push(answer);
    }
    let response = Response::json(200, &json!({ "transfer": transfer, "objects": objects }));
    Ok(response.with("Content-Type", "application/vnd.git-lfs+json"))
}

fn parts(hub: &Hub, name: &str, oid: &str, size: u64, part: u64) -> Value {
    let mut header = Map::from_iter([("chunk_size".to_owned(), Value::from(part.to_string()))]);
    for number in 1..=size.div_ceil(part) {
        let signature = signature(&format!("put {number}"), name, oid);
        let link =
            format!("{}/uploads/{name}/{oid}?partNumber={number}&Signature={signature}", hub.url(Port::Cdn));
        header.insert(format!("{number:05}"), link.into());
    }
    let signature = signature("complete", name, oid);
    let href =
        format!("{}/api/complete_multipart?repo={}&Signature={signature}", hub.url(Port::Hub), encode(name));
    json!({ "href": href, "header": header })
}

/// An object, or a part of one, for one who has a signed link. Only an object that is what it is called is kept.
pub(super) fn store(hub: &Hub, request: &Request, name: &str, oid: &str, body: &mut Incoming<'_>) -> Answer {
    let number: Option<usize> = request.asks("partNumber").and_then(|n| n.parse().ok());
    let act = number.map_or("put".into(), |n| format!("put {n}"));
    if request.asks("Signature") != Some(&signature(&act, name, oid)) {
        return Err(Response::new(403, "<Error><Code>AccessDenied</Code></Error>"));
    }
    // A store wants to know the length in advance.
    if request.header("content-length").is_none_or(|length| length == "0") {
        return Err(Response::new(501, "<Error><Code>NotImplemented</Code></Error>"));
    }
    let (content, sha256) = keep(hub, body)?;
    let mut state = hub.state();
    let repository = state.repositories.get_mut(name).ok_or_else(|| Response::new(404, ""))?;
    let etag = format!("\"{}\"", &sha256[..32]);
    match number {
        Some(number) => {
            repository.parts.insert((oid.into(), number), (content, etag.clone()));
        }
        None if sha256 == oid => {
            repository.objects.insert(oid.into(), content);
        }
        None => {}
    }
    Ok(Response::new(200, "").with("ETag", etag))
}

/// A file of what comes, and its SHA-256.
fn keep(hub: &Hub, from: impl Read) -> std::io::Result<(Content, String)> {
    let mut file = tempfile::NamedTempFile::new_in(hub.folder())?;
    let sha256 = objects::digest(from, &mut file)?;
    let (_, path) = file.keep()?;
    Ok((Content::file(path)?, sha256))
}

/// All parts of an object have been sent.
pub(super) fn complete(hub: &Hub, request: &Request, body: &Value) -> Answer {
    let (name, oid) = (request.asks("repo").unwrap_or_default(), body["oid"].as_str().unwrap_or_default());
    if request.asks("Signature") != Some(&signature("complete", name, oid)) {
        return Err(Response::refusal(403, None, "Invalid signature"));
    }
    let told = body["parts"].as_array().cloned().unwrap_or_default();
    let mut pieces: Vec<Box<dyn Read>> = Vec::new();
    let mut state = hub.state();
    let repository = state.repositories.get_mut(name).ok_or_else(|| Response::new(404, ""))?;
    let sent = repository.parts.range((oid.to_owned(), 0)..=(oid.to_owned(), usize::MAX));
    let sent: Vec<(usize, Content, String)> =
        sent.map(|((_, n), (c, e))| (*n, c.clone(), e.clone())).collect();
    for (index, (number, content, etag)) in sent.iter().enumerate() {
        let part = told.get(index).unwrap_or(&Value::Null);
        if part["partNumber"] != *number || part["etag"] != etag.as_str() || *number != index + 1 {
            return Err(Response::refusal(400, None, &format!("Part {number} is not the one that was sent")));
        }
        pieces.push(content.open()?);
    }
    if sent.is_empty() || told.len() != sent.len() {
        return Err(Response::refusal(400, None, "Not all parts were sent"));
    }
    let whole = pieces.into_iter().reduce(|all, piece| Box::new(all.chain(piece))).unwrap();
    let (content, sha256) = keep(hub, whole)?;
    if sha256 == oid {
        repository.objects.insert(oid.into(), content);
    }
    repository.parts.retain(|(of, _), _| of != oid);
    Ok(Response::json(200, &json!({ "success": true })))
}

/// Whether an object has arrived as it should.
pub(super) fn verify(hub: &Hub, request: &Request, name: &str, body: &Value) -> Answer {
    let mut state = hub.state();
    let repository = writable(&mut state, request, name)?;
    let object = repository.objects.get(body["oid"].as_str().unwrap_or_default());
    match object.filter(|object| body["size"] == object.len()) {
        Some(_) => Ok(Response::json(200, &json!({}))),
        None => {
            Err(Response::refusal(404, None, "The object is not in the store, or is not what it is called"))
        }
    }
}
