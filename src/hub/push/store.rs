//! Large files on their way to the Hub's store: Git LFS's batch API with its transfer `basic`, and the Hub's own
//! `multipart`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::files::LocalFile;
use super::part::{Part, Unsent};
use super::{Target, each};
use crate::execute::Observer;
use crate::hub::retry;
use crate::hub::trouble::{About, Kind, Trouble};
use crate::hub::web::Web;
use crate::problem::Error;

/// Objects in one question.
const BATCH: usize = 100;
/// A store puts parts together, and checks the whole, before it answers.
const PATIENCE: Duration = Duration::from_secs(300);
const LFS: &str = "application/vnd.git-lfs+json";

#[derive(Deserialize)]
struct Answer {
    objects: Vec<Object>,
}

/// What is to be done with an object; nothing if the Hub has it.
#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    #[serde(deserialize_with = "link")]
    href: Url,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
    message: String,
}

fn link<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let text = String::deserialize(from)?;
    Url::parse(&text).map_err(|_| serde::de::Error::custom("a link is no address"))
}

/// An object, and how much of it was counted as sent.
struct Sending<'f> {
    file: &'f LocalFile,
    counted: AtomicU64,
}

/// An object in a round, with the links of that round.
struct Upload<'r, 'f> {
    sending: &'r Sending<'f>,
    links: Vec<Url>,
    /// Bytes of each part but the last.
    part: u64,
    /// Where the parts' names are sent, if there are parts.
    complete: Option<Url>,
    verify: Option<Url>,
    /// How the store calls each part.
    etags: Mutex<BTreeMap<usize, String>>,
    left: AtomicUsize,
}

/// Sends what the Hub has not. Links are good for a while only, so every round asks for new ones; what has arrived
/// by then is no more asked for.
pub(super) fn send(
    target: &Target<'_>,
    files: &[&LocalFile],
    jobs: usize,
    observer: &dyn Observer,
) -> Result<(), Error> {
    // Two files with the same bytes are one object.
    let objects: BTreeMap<&str, &LocalFile> = files.iter().map(|f| (f.sha256.as_str(), *f)).collect();
    let all: Vec<Sending<'_>> =
        objects.into_values().map(|file| Sending { file, counted: AtomicU64::new(0) }).collect();
    let (web, about) = (target.web, target.about());
    let mut fewest = None;
    let sent = retry::run(web.policy(), |tries| {
        let uploads = ask(target, &all)?;
        match fewest {
            None => observer.begin(uploads.iter().map(|u| u.sending.file.size).sum()),
            Some(fewest) if uploads.len() < fewest => tries.progress(),
            Some(_) => {}
        }
        fewest = Some(uploads.len());
        let parts: Vec<(usize, usize)> = (0..uploads.len())
            .flat_map(|upload| (0..uploads[upload].links.len()).map(move |part| (upload, part)))
            .collect();
        match each(jobs, &parts, |&(upload, part)| uploads[upload].send(web, &about, part, observer)) {
            Ok(_) => Ok(Ok(())),
            Err(Unsent::Link(trouble)) => Err(trouble),
            Err(Unsent::End(trouble)) => Ok(Err(trouble)),
        }
    });
    Ok(sent??)
}

/// What the Hub has not, with links for it.
fn ask<'r, 'f>(target: &Target<'_>, all: &'r [Sending<'f>]) -> Result<Vec<Upload<'r, 'f>>, Trouble> {
    let Target { web, repo, branch } = target;
    let about = target.about();
    let git = format!("{}.git", repo.name());
    let mut uploads = Vec::new();
    for batch in all.chunks(BATCH) {
        let object = |s: &Sending<'_>| json!({ "oid": s.file.sha256, "size": s.file.size });
        let question = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": batch.iter().map(object).collect::<Vec<_>>(),
            "hash_algo": "sha256",
            "ref": { "name": branch },
        });
        let url = web.url([repo.owner(), &git, "info", "lfs", "objects", "batch"]);
        let answer = web.send(&about, Method::POST, url, |request| lfs(request, &question))?;
        let mut objects = web.json::<Answer>(&about, answer)?.objects;
        for sending in batch {
            let about = about.clone().file(&sending.file.path);
            let Some(at) = objects.iter().position(|o| o.oid == sending.file.sha256) else {
                return Err(about.trouble(Kind::Odd("it does not say where this goes".into())));
            };
            let Object { actions, error, .. } = objects.swap_remove(at);
            if let Some(Refusal { code, message }) = error {
                return Err(about.trouble(Kind::Refused { status: code, why: web.plain(&message) }));
            }
            let Some(Actions { upload: Some(upload), verify }) = actions else { continue };
            let upload = Upload::new(sending, upload, verify).map_err(|odd| about.trouble(Kind::Odd(odd)))?;
            uploads.push(upload);
        }
    }
    Ok(uploads)
}

fn lfs(request: RequestBuilder, question: &Value) -> RequestBuilder {
    request.header(ACCEPT, LFS).header(CONTENT_TYPE, LFS).body(question.to_string())
}

impl<'r, 'f> Upload<'r, 'f> {
    fn new(sending: &'r Sending<'f>, upload: Action, verify: Option<Action>) -> Result<Self, String> {
        let size = sending.file.size;
        let chunk = upload.header.get("chunk_size").map(|chunk| match chunk {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
        let (links, part, complete) = match chunk {
            None => (vec![upload.href], size, None),
            Some(part) => {
                let part: u64 = part.filter(|part| *part > 0).ok_or("its parts have no size")?;
                let numbered = upload.header.iter().filter_map(|(number, link)| {
                    Some((number.parse::<u64>().ok()?, Url::parse(link.as_str()?).ok()?))
                });
                let links: BTreeMap<u64, Url> = numbered.collect();
                if !links.keys().copied().eq(1..=size.div_ceil(part)) {
                    return Err("its parts are not those of this file".into());
                }
                (links.into_values().collect(), part, Some(upload.href))
            }
        };
        let left = AtomicUsize::new(links.len());
        let verify = verify.map(|action| action.href);
        Ok(Self { sending, links, part, complete, verify, etags: Mutex::default(), left })
    }

    /// Sends a part; the last one to arrive completes the object.
    fn send(&self, web: &Web, about: &About, number: usize, observer: &dyn Observer) -> Result<(), Unsent> {
        let file = self.sending.file;
        let about = about.clone().file(&file.path);
        let start = number as u64 * self.part;
        let part = Part { file, start, bytes: self.part.min(file.size - start), link: &self.links[number] };
        let mut told = 0;
        let mut count = |sent: u64| {
            // Of what was sent before, nothing counts again; and no more than there is.
            let new = sent.saturating_sub(told);
            told += new;
            let before = self.sending.counted.fetch_add(new, Ordering::Relaxed);
            observer.advance(new.min(file.size.saturating_sub(before)));
        };
        if let Some(etag) = part.send(web, &about, &mut count)? {
            self.etags.lock().unwrap_or_else(PoisonError::into_inner).insert(number + 1, etag);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.complete(web, &about).map_err(|trouble| match trouble.kind {
            // What arrived is not what it is called.
            Kind::NoSuchFile | Kind::Refused { .. } => {
                let why = "what arrived is not what was sent".to_owned();
                Unsent::Link(about.trouble(Kind::Cut { host: web.host(), why }))
            }
            _ => Unsent::End(trouble),
        })
    }

    fn complete(&self, web: &Web, about: &About) -> Result<(), Trouble> {
        let LocalFile { sha256, size, .. } = self.sending.file;
        if let Some(url) = &self.complete {
            let etags = self.etags.lock().unwrap_or_else(PoisonError::into_inner);
            if etags.len() != self.links.len() {
                return Err(about.trouble(Kind::Odd("a part has no ETag".into())));
            }
            let part = |(number, etag): (&usize, &String)| json!({ "partNumber": number, "etag": etag });
            let parts: Vec<Value> = etags.iter().map(part).collect();
            self.post(web, about, url, &json!({ "oid": sha256, "parts": parts }))?;
        }
        match &self.verify {
            Some(url) => self.post(web, about, url, &json!({ "oid": sha256, "size": size })),
            None => Ok(()),
        }
    }

    fn post(&self, web: &Web, about: &About, url: &Url, question: &Value) -> Result<(), Trouble> {
        let once =
            || web.send_within(PATIENCE, about, Method::POST, url.clone(), |request| lfs(request, question));
        retry::run(web.policy(), |_| once()).map(|_| ())
    }
}
