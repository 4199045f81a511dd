//! Reading files of a repository: an answer's bytes, as they come.

use std::ops::Range;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::answer::unanswered;
use super::name::RepoName;
use super::settings::host_of;
use super::trouble::{About, Kind, Trouble};
use super::web::Web;

impl Web {
    /// One try to read a file, or a part of it.
    pub(super) fn get(
        &self,
        repo: &RepoName,
        commit: &str,
        file: &str,
        range: Option<Range<u64>>,
    ) -> Result<Body<'_>, Trouble> {
        let about = About::repo(repo).revision(commit).file(file);
        // Parts like these would be resolved on the way, and another file be asked for.
        if file.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(about.trouble(Kind::NoSuchFile));
        }
        let parts = [repo.owner(), repo.name(), "resolve", commit];
        let url = self.url(parts.into_iter().chain(file.split('/')));
        let asked = range.as_ref().map(|r| format!("bytes={}-{}", r.start, r.end.saturating_sub(1)));
        let response = self.send(&about, Method::GET, url, |request| {
            // As it is: a compressed answer would have other ranges and lengths.
            let request = request.header(ACCEPT_ENCODING, "identity");
            asked.iter().fold(request, |request, asked| request.header(RANGE, asked))
        })?;
        let (first, total) = match (response.status(), range) {
            (StatusCode::PARTIAL_CONTENT, Some(range)) => match content_range(&response) {
                Some((first, total)) if first == range.start => (first, total),
                _ => return Err(about.trouble(Kind::Odd("it is of another range than asked for".into()))),
            },
            (StatusCode::OK, _) => (0, response.content_length()),
            (status, _) => return Err(about.trouble(Kind::Odd(format!("status {}", status.as_u16())))),
        };
        Ok(Body { web: self, about, response, first, total })
    }
}

/// First byte and total of `Content-Range: bytes 0-99/1234`.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The bytes of a file, as they come.
pub(super) struct Body<'w> {
    web: &'w Web,
    about: About,
    response: Response,
    /// Where in the file its bytes begin: 0 if the server ignored the range.
    pub(super) first: u64,
    /// Length of the whole file, if the server said it.
    pub(super) total: Option<u64>,
}

impl Body<'_> {
    /// Where it comes from.
    pub(super) fn host(&self) -> String {
        host_of(self.response.url())
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// If the connection broke, or nothing came for too long.
    pub(super) fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        let stall = self.web.stall();
        let host = host_of(self.response.url());
        match self.web.wait(stall, self.response.chunk()) {
            Some(Ok(chunk)) => Ok(chunk),
            Some(Err(e)) => Err(self.about.trouble(unanswered(&e, &host, stall))),
            None => Err(self.about.trouble(Kind::Stalled { host, after: stall })),
        }
    }
}
