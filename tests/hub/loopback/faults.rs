//! What goes wrong, where, and how often. A fault waits for the requests that it fits and is spent on them in
//! order, so a test says exactly what its client met.

use std::sync::Arc;
use std::time::Duration;

use super::http::{Port, Request, Response};

/// Something that goes wrong once, or as often as it is told to.
#[derive(Clone)]
pub struct Fault {
    target: String,
    method: Option<&'static str>,
    port: Option<Port>,
    spared: usize,
    times: usize,
    damage: Damage,
}

#[derive(Clone)]
pub(super) enum Damage {
    Cut(u64),
    Flip(u64),
    Stall { after: u64, pause: Duration },
    Length(i64),
    IgnoreRange,
    NoHashes,
    Status { status: u16, retry_after: Option<String> },
    Missing,
    Close,
    CutUpload(u64),
    Meanwhile(Arc<dyn Fn() + Send + Sync>),
}

/// A place, waiting for what happens there.
pub struct At(String);

impl Fault {
    /// Requests whose path or query, decoded, has this in it. A file's name finds the file on either port: a signed
    /// link has the name in its query.
    pub fn on(target: &str) -> At {
        At(target.into())
    }

    /// Instead of once.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Not before this many requests that it fits have passed unharmed.
    pub fn after(self, spared: usize) -> Self {
        Self { spared, ..self }
    }

    /// Requests with this method only.
    pub fn method(self, method: &'static str) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Requests to this port only.
    pub fn port(self, port: Port) -> Self {
        Self { port: Some(port), ..self }
    }

    fn fits(&self, request: &Request) -> bool {
        let query: Vec<String> = request.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let target = format!("/{}?{}", request.parts.join("/"), query.join("&"));
        target.contains(&self.target)
            && self.method.is_none_or(|m| m == request.method)
            && self.port.is_none_or(|p| p == request.port)
    }
}

impl At {
    fn suffers(self, damage: Damage) -> Fault {
        Fault { target: self.0, method: None, port: None, spared: 0, times: 1, damage }
    }

    /// The connection ends after this many bytes of a body.
    pub fn cut(self, bytes: u64) -> Fault {
        self.suffers(Damage::Cut(bytes))
    }

    /// One byte of the file, counted from its beginning, arrives as another.
    pub fn flip(self, byte: u64) -> Fault {
        self.suffers(Damage::Flip(byte))
    }

    /// After this many bytes of a body nothing comes for a while.
    pub fn stall(self, after: u64, pause: Duration) -> Fault {
        self.suffers(Damage::Stall { after, pause })
    }

    /// `Content-Length` is off by this much; the body is as it should be, and the connection ends with it.
    pub fn length_off(self, by: i64) -> Fault {
        self.suffers(Damage::Length(by))
    }

    /// All of the file comes, whatever range was asked for.
    pub fn ignore_range(self) -> Fault {
        self.suffers(Damage::IgnoreRange)
    }

    /// An answer without `ETag` and `X-Linked-ETag`.
    pub fn no_hashes(self) -> Fault {
        self.suffers(Damage::NoHashes)
    }

    /// This status instead of an answer.
    pub fn status(self, status: u16) -> Fault {
        self.suffers(Damage::Status { status, retry_after: None })
    }

    /// This status, and when to try again: seconds or a date.
    pub fn busy(self, status: u16, retry_after: &str) -> Fault {
        self.suffers(Damage::Status { status, retry_after: Some(retry_after.into()) })
    }

    /// No such file, although the tree has it.
    pub fn missing(self) -> Fault {
        self.suffers(Damage::Missing)
    }

    /// The connection ends without an answer.
    pub fn close(self) -> Fault {
        self.suffers(Damage::Close)
    }

    /// The connection ends when this many bytes of the request's body have arrived.
    pub fn cut_upload(self, bytes: u64) -> Fault {
        self.suffers(Damage::CutUpload(bytes))
    }

    /// This is done before the answer is made: what somebody else does to the repository in the meantime.
    pub fn meanwhile(self, act: impl Fn() + Send + Sync + 'static) -> Fault {
        self.suffers(Damage::Meanwhile(Arc::new(act)))
    }
}

#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What happens to this request before it is answered.
    pub(super) fn before(&mut self, request: &Request) -> Option<Damage> {
        let has_body = matches!(request.method.as_str(), "POST" | "PUT");
        self.take(request, |damage| match damage {
            Damage::Status { .. } | Damage::Missing | Damage::Close | Damage::Meanwhile(_) => true,
            Damage::CutUpload(_) => has_body,
            _ => false,
        })
    }

    /// What happens to this answer.
    pub(super) fn after(&mut self, request: &Request, response: &Response) -> Option<Damage> {
        let hashes = |r: &Response| r.headers.iter().any(|(name, _)| is_hash(name));
        let body = matches!(response.status, 200 | 206) && response.length > 0 && request.method != "HEAD";
        let run = response.first..response.first + response.length;
        self.take(request, |damage| match damage {
            Damage::Cut(_) | Damage::Stall { .. } | Damage::Length(_) => body,
            Damage::Flip(byte) => body && run.contains(byte),
            Damage::IgnoreRange => body && response.status == 206,
            Damage::NoHashes => hashes(response),
            _ => false,
        })
    }

    fn take(&mut self, request: &Request, occasion: impl Fn(&Damage) -> bool) -> Option<Damage> {
        let fits = |fault: &Fault| fault.fits(request) && occasion(&fault.damage);
        for fault in self.0.iter_mut().filter(|fault| fits(fault)) {
            if fault.spared > 0 {
                fault.spared -= 1;
                continue;
            }
            fault.times -= 1;
            let damage = fault.damage.clone();
            self.0.retain(|fault| fault.times > 0);
            return Some(damage);
        }
        None
    }
}

impl Damage {
    /// What is left of an answer whose head it changes.
    pub(super) fn apply(&self, mut response: Response) -> Response {
        match self {
            Self::NoHashes => response.headers.retain(|(name, _)| !is_hash(name)),
            Self::IgnoreRange => {
                response.headers.retain(|(name, _)| *name != "Content-Range");
                (response.status, response.first) = (200, 0);
                response.length = response.content.len();
            }
            _ => {}
        }
        response
    }
}

fn is_hash(header: &str) -> bool {
    matches!(header, "ETag" | "X-Linked-ETag")
}
