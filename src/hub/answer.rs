//! From an answer that is no success, or no answer, to what is wrong.

use std::error::Error as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::token::Token;
use super::trouble::{About, Kind, Trouble};

/// A server's words are cut here.
const LONGEST: usize = 300;

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The Hub.
    Hub(String),
    /// A host that the Hub sent us to, without a token.
    Elsewhere(String),
}

impl From {
    /// Its name.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Hub(host) | Self::Elsewhere(host) => host,
        }
    }
}

/// An answer that is no success, as far as it matters.
pub(super) struct Failure<'a> {
    pub(super) from: From,
    pub(super) status: u16,
    /// `X-Error-Code`.
    pub(super) code: Option<&'a str>,
    /// `X-Error-Message`, or what the body says.
    pub(super) message: &'a str,
    /// When to ask again.
    pub(super) after: Option<Duration>,
    /// What was asked with.
    pub(super) token: Option<&'a Token>,
}

impl Failure<'_> {
    /// What is wrong. The Hub's code says it; statuses say less, since the Hub answers 401 to whoever asks without
    /// a token for what is not there.
    pub(super) fn trouble(self, about: &About) -> Trouble {
        let why = plain(self.message, self.token);
        let missing = || if self.token.is_some() { Kind::NoSuchRepo } else { Kind::Hidden };
        let kind = match (self.status, self.code, self.from) {
            (416, ..) => Kind::NoSuchRange,
            (429, ..) => Kind::RateLimited { after: self.after },
            // A storage server's refusals are of an address that has expired: the Hub gives a new one.
            (status @ (408 | 500..), _, from) | (status, _, from @ From::Elsewhere(_)) => {
                Kind::Server { host: from.host().to_owned(), status, after: self.after }
            }
            (_, Some("GatedRepo"), _) => Kind::Gated,
            (_, Some("RepoNotFound"), _) => missing(),
            (_, Some("RevisionNotFound"), _) => Kind::NoSuchRevision,
            (_, Some("EntryNotFound"), _) => Kind::NoSuchFile,
            (401, ..) if self.token.is_some() => Kind::TokenRefused,
            (401, ..) => Kind::Hidden,
            (403, ..) => Kind::Forbidden(why),
            (404, ..) if about.is_file() => Kind::NoSuchFile,
            (404, ..) => missing(),
            (409 | 412, ..) => Kind::Conflict(why),
            (status, ..) => Kind::Refused { status, why },
        };
        about.trouble(kind)
    }
}

/// A server's words in one line of bounded length, without what a terminal would obey and without the token.
pub(super) fn plain(text: &str, token: Option<&Token>) -> String {
    let text = token.map_or_else(|| text.to_owned(), |token| token.redact(text));
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// What happened to a request that got no whole answer.
pub(super) fn unanswered(error: &reqwest::Error, host: &str, stall: Duration) -> Kind {
    let host = host.to_owned();
    // The innermost reason: those around it repeat each other, and the outermost has the address.
    let mut source = error.source();
    let mut why = String::new();
    while let Some(inner) = source {
        why = inner.to_string();
        source = inner.source();
    }
    let why = plain(&why, None);
    match error {
        e if e.is_timeout() && !e.is_connect() => Kind::Stalled { host, after: stall },
        e if e.is_connect() || e.is_timeout() => Kind::Connection { host, why },
        // Decoding fails when a body ends early as much as when it is no JSON; the latter has serde's reason.
        e if e.is_decode() && e.source().is_some_and(|s| s.is::<serde_json::Error>()) => Kind::Odd(why),
        e if e.is_builder() => Kind::Client(why),
        _ => Kind::Cut { host, why },
    }
}

/// When a server would like to be asked again: `Retry-After` in seconds or as a date, or the Hub's own
/// `RateLimit: "api";r=0;t=55`, which counts if nothing remains.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let limit = text("ratelimit").and_then(|limit| {
        let value =
            |key: &str| limit.split(';').find_map(|p| p.trim().strip_prefix(key)?.parse::<u64>().ok());
        (value("r=") == Some(0)).then(|| value("t=")).flatten()
    });
    let after = || {
        let text = text(RETRY_AFTER.as_str())?.trim();
        text.parse::<u64>().ok().or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
            Some(seconds_of(text)?.saturating_sub(now))
        })
    };
    limit.or_else(after).map(Duration::from_secs)
}

/// Seconds since 1970 of an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7; the two obsolete forms
/// are not read).
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = date.split_once(", ")?;
    let [day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|m| *m == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let [hour, minute, second] = time.split(':').map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>()?[..]
    else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::name::RepoName;

    fn kind(from: From, status: u16, code: Option<&str>, token: Option<&Token>) -> Kind {
        let about = About::repo(&RepoName::parse("a/b").unwrap());
        Failure { from, status, code, message: "as it says", after: None, token }.trouble(&about).kind
    }

    #[test]
    fn codes_say_what_statuses_do_not() {
        let token = Token::parse("hf_x").unwrap();
        let with = token.as_ref();
        let hub = || From::Hub("hub".into());
        for (status, code, token, want) in [
            (401, Some("RepoNotFound"), None, Kind::Hidden),
            (401, None, None, Kind::Hidden),
            (401, None, with, Kind::TokenRefused),
            (401, Some("GatedRepo"), None, Kind::Gated),
            (403, Some("GatedRepo"), with, Kind::Gated),
            (403, None, with, Kind::Forbidden("as it says".into())),
            (404, Some("RepoNotFound"), with, Kind::NoSuchRepo),
            (404, Some("RevisionNotFound"), with, Kind::NoSuchRevision),
            (404, Some("EntryNotFound"), None, Kind::NoSuchFile),
            (404, None, None, Kind::Hidden),
            (412, None, with, Kind::Conflict("as it says".into())),
            (400, None, with, Kind::Refused { status: 400, why: "as it says".into() }),
            (416, None, with, Kind::NoSuchRange),
            (429, None, with, Kind::RateLimited { after: None }),
            (503, None, with, Kind::Server { host: "hub".into(), status: 503, after: None }),
        ] {
            assert_eq!(kind(hub(), status, code, token), want, "{status} {code:?}");
        }
        let cdn = From::Elsewhere("cdn".into());
        let want = Kind::Server { host: "cdn".into(), status: 403, after: None };
        assert_eq!(kind(cdn, 403, None, with), want, "an address that has expired, not the token");
    }

    #[test]
    fn a_servers_words_are_harmless() {
        let token = Token::parse("hf_secret").unwrap();
        let said = plain("bad token hf_secret\n\u{1b}[31m\tred", token.as_ref());
        assert_eq!(said, "bad token *** [31m red");
        assert_eq!(plain(&"ä".repeat(400), None).chars().count(), LONGEST + 1);
    }

    #[test]
    fn waits_in_seconds_as_a_date_and_in_the_hubs_words() {
        let asked = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            asked_wait(&headers).map(|d| d.as_secs())
        };
        assert_eq!(asked("retry-after", "120"), Some(120));
        assert_eq!(asked("retry-after", "soon"), None);
        assert_eq!(asked("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(asked("ratelimit", "\"api\";r=0;t=55"), Some(55));
        assert_eq!(asked("ratelimit", "\"api\";r=10;t=55"), None);
        assert_eq!(seconds_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds_of("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for text in ["Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT", "06 Nov", ""] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}
