//! Bytes of a file on their way to a link, a few at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, ETAG};
use reqwest::{Body, Method, Url};
use tokio::sync::mpsc;

use super::files::LocalFile;
use crate::hub::answer::unanswered;
use crate::hub::retry;
use crate::hub::settings::host_of;
use crate::hub::trouble::{About, Kind, Trouble};
use crate::hub::web::Web;

/// Bytes that are read at once; there are never more than [`AHEAD`] + 2 of these in memory.
const CHUNK: usize = 256 << 10;
/// Chunks that wait to be sent.
const AHEAD: usize = 4;
/// A store that has all bytes may take its time to check them.
const PATIENCE: Duration = Duration::from_secs(120);

/// A part of a file, maybe all of it, and where it goes.
pub(super) struct Part<'a> {
    pub(super) file: &'a LocalFile,
    /// Its first byte.
    pub(super) start: u64,
    /// How many.
    pub(super) bytes: u64,
    /// A link is a permission: it is never shown.
    pub(super) link: &'a Url,
}

/// Why a part was not sent.
pub(super) enum Unsent {
    /// The link is not good any more, or what came was not what was sent: a new link may help.
    Link(Trouble),
    /// Everything else.
    End(Trouble),
}

impl Part<'_> {
    /// Sends it, again if need be; `count` is told how much of it is on its way. Gives the store's name for it.
    pub(super) fn send(
        &self,
        web: &Web,
        about: &About,
        count: &mut dyn FnMut(u64),
    ) -> Result<Option<String>, Unsent> {
        let sent = retry::run(web.policy(), |_| match self.once(web, about, count) {
            Err(trouble) if is_of_link(&trouble.kind) => Ok(Err(Unsent::Link(trouble))),
            other => other.map(Ok),
        });
        sent.unwrap_or_else(|trouble| Err(Unsent::End(trouble)))
    }

    /// One try. The request runs by itself and takes its bytes from a short queue; this thread reads the file into it.
    fn once(&self, web: &Web, about: &About, count: &mut dyn FnMut(u64)) -> Result<Option<String>, Trouble> {
        let host = host_of(self.link);
        let stalled = || about.trouble(Kind::Stalled { host: host.clone(), after: web.stall() });
        let unreadable = |e: io::Error| about.trouble(Kind::Disk(e.to_string()));
        let file = File::open(&self.file.on_disk).map_err(unreadable)?;
        let (queue, taken) = mpsc::channel::<Bytes>(AHEAD);
        let body = stream::unfold(taken, |mut taken| async {
            let chunk = taken.recv().await?;
            Some((Ok::<_, io::Error>(chunk), taken))
        });
        // Stores want to know the length, which a stream does not say.
        let request = web.request(Method::PUT, self.link.clone()).header(CONTENT_LENGTH, self.bytes);
        let answer = web.spawn(request.body(Body::wrap_stream(body)));
        let mut sent = 0;
        while sent < self.bytes {
            let mut chunk = vec![0; CHUNK.min((self.bytes - sent) as usize)];
            if let Err(e) = file.read_exact_at(&mut chunk, self.start + sent) {
                answer.abort();
                return Err(unreadable(e));
            }
            let length = chunk.len() as u64;
            match web.wait(web.stall(), queue.send(chunk.into())) {
                Some(Ok(())) => {}
                // An answer before the end: the store does not want the rest, or the connection broke.
                Some(Err(_)) => break,
                None => {
                    answer.abort();
                    return Err(stalled());
                }
            }
            sent += length;
            count(sent);
        }
        drop(queue);
        let abort = answer.abort_handle();
        let answer = match web.wait(PATIENCE.max(web.stall()), answer) {
            Some(Ok(Ok(answer))) => answer,
            Some(Ok(Err(e))) => return Err(about.trouble(unanswered(&e, &host, web.stall()))),
            Some(Err(_)) => {
                return Err(about.trouble(Kind::Cut { host, why: "the request was dropped".into() }));
            }
            None => {
                abort.abort();
                return Err(stalled());
            }
        };
        let answer = web.checked(about, answer)?;
        Ok(answer.headers().get(ETAG).and_then(|etag| Some(etag.to_str().ok()?.to_owned())))
    }
}

/// A store refuses links that have expired, and knows no other reason to refuse.
fn is_of_link(kind: &Kind) -> bool {
    matches!(kind, Kind::Server { status: 400..=499, .. })
}
