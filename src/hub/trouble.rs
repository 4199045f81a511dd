//! What can go wrong between here and the Hub, in the user's words.

use std::fmt;
use std::time::Duration;

use super::name::RepoName;
use crate::problem::{Error, ExecError, Problem};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    repo: Option<RepoName>,
    revision: Option<String>,
    file: Option<String>,
}

impl About {
    /// A repository.
    pub(super) fn repo(repo: &RepoName) -> Self {
        Self { repo: Some(repo.clone()), revision: None, file: None }
    }

    /// A branch, tag or commit of it.
    pub(super) fn revision(self, revision: &str) -> Self {
        Self { revision: Some(revision.to_owned()), ..self }
    }

    /// A file of it.
    pub(super) fn file(self, file: &str) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// Whether it was a file.
    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// What went wrong with it.
    pub(super) fn trouble(&self, kind: Kind) -> Trouble {
        Trouble { about: Box::new(self.clone()), kind }
    }
}

/// `owner/name@revision: file`; a commit and the main branch are left away, since nobody wrote them.
impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(repo) = &self.repo else { return f.write_str("the Hub") };
        write!(f, "{repo}")?;
        if let Some(revision) = self.revision.as_deref().filter(|r| !is_commit(r) && *r != super::MAIN) {
            write!(f, "@{revision}")?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ": {file}"))
    }
}

/// Whether a revision is a commit's full name, 40 hexadecimal digits in lower case.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What went wrong, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) about: Box<About>,
    pub(super) kind: Kind,
}

/// What went wrong. No variant holds an address, a header or a token; hosts are names with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The Hub has no such repository, or none that this token may see.
    NoSuchRepo,
    /// Asked without a token: no such repository, or a private one. The Hub does not say which.
    Hidden,
    /// Its owner wants to be asked first.
    Gated,
    /// Something that only a token allows.
    TokenMissing,
    /// The Hub does not know the token.
    TokenRefused,
    /// The token does not allow it; the Hub's words.
    Forbidden(String),
    /// No such branch, tag or commit.
    NoSuchRevision,
    /// The revision has no such file.
    NoSuchFile,
    /// The file does not have the bytes that were asked for.
    NoSuchRange,
    /// Somebody else changed it meanwhile; the Hub's words.
    Conflict(String),
    /// Not to be done; the Hub's words.
    Refused {
        /// HTTP's number for it.
        status: u16,
        /// The Hub's reason.
        why: String,
    },
    /// Too many requests.
    RateLimited {
        /// When the Hub would like to be asked again.
        after: Option<Duration>,
    },
    /// The network was not to be used.
    Offline,
    /// The server is not well, or a storage server does not take its own address any more.
    Server {
        /// Which.
        host: String,
        /// HTTP's number for it.
        status: u16,
        /// When it would like to be asked again.
        after: Option<Duration>,
    },
    /// No connection, or none that can be trusted.
    Connection {
        /// Whereto.
        host: String,
        /// The system's reason.
        why: String,
    },
    /// A connection on which nothing came.
    Stalled {
        /// From where.
        host: String,
        /// How long.
        after: Duration,
    },
    /// A connection that ended too early.
    Cut {
        /// From where.
        host: String,
        /// The system's reason.
        why: String,
    },
    /// An answer that is not what it should be.
    Odd(String),
    /// No connection can be made from here at all.
    Client(String),
    /// The file cannot be read here.
    Disk(String),
}

/// Whether more tries can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// They cannot.
    Useless,
    /// They can, after the time that the server named.
    After(Option<Duration>),
}

impl Kind {
    /// Whether it may pass by itself.
    pub(super) fn again(&self) -> Again {
        match self {
            Self::RateLimited { after } | Self::Server { after, .. } => Again::After(*after),
            Self::Connection { .. } | Self::Stalled { .. } | Self::Cut { .. } => Again::After(None),
            _ => Again::Useless,
        }
    }

    /// Whether it is the machine's or the network's, and not the user's to mend.
    fn is_outside(&self) -> bool {
        matches!(self, Self::Odd(_) | Self::Client(_) | Self::Disk(_)) || self.again() != Again::Useless
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchRepo => Some(
                "check the spelling; a private repository needs a token that may read it (HF_TOKEN, or `hf auth login`)",
            ),
            Self::Hidden => Some(
                "check the spelling, or give a token that may read it (HF_TOKEN, or `hf auth login`): without one \
                 the Hub does not say which of the two it is",
            ),
            Self::Gated => Some(
                "ask for access on the model's page, then use a token of that account (HF_TOKEN, or `hf auth login`)",
            ),
            Self::TokenMissing => Some("set HF_TOKEN, or log in with `hf auth login`"),
            Self::TokenRefused => Some(
                "make a new token at the Hub's settings page; HF_TOKEN counts before the file that `hf auth login` writes",
            ),
            Self::Forbidden(_) => Some("the token needs the right to do this; see the Hub's settings page"),
            Self::NoSuchRevision => Some("a revision is a branch, a tag or a commit"),
            Self::NoSuchFile => Some("it may have been removed or renamed in a newer revision"),
            Self::Offline => {
                Some("allow the network (no --offline, no HF_HUB_OFFLINE), or fetch it beforehand")
            }
            Self::Conflict(_) => Some("run the same command again"),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRepo => write!(f, "the Hub has no such repository"),
            Self::Hidden => write!(f, "no such repository, or a private one"),
            Self::Gated => write!(f, "gated: its owner grants access on request"),
            Self::TokenMissing => write!(f, "needs a token, and there is none"),
            Self::TokenRefused => write!(f, "the Hub refused the token"),
            Self::Forbidden(why) => write!(f, "the token does not allow this{}", words(why)),
            Self::NoSuchRevision => write!(f, "has no such revision"),
            Self::NoSuchFile => write!(f, "is not there"),
            Self::NoSuchRange => write!(f, "is shorter than it was said to be"),
            Self::Conflict(why) => write!(f, "was changed meanwhile{}", words(why)),
            Self::Refused { status, why } => write!(f, "the Hub refused this ({status}){}", words(why)),
            Self::RateLimited { after: Some(after) } => {
                write!(f, "too many requests; the Hub asks to wait {} s", after.as_secs())
            }
            Self::RateLimited { after: None } => write!(f, "too many requests"),
            Self::Offline => write!(f, "the network is not to be used"),
            Self::Server { host, status, .. } => write!(f, "{host} answered with error {status}"),
            Self::Connection { host, why } => write!(f, "no connection to {host}{}", words(why)),
            Self::Stalled { host, after } => {
                write!(f, "nothing came from {host} for {:.1} s", after.as_secs_f64())
            }
            Self::Cut { host, why } => write!(f, "the connection to {host} broke{}", words(why)),
            Self::Odd(what) => write!(f, "the answer is not that of a Hub: {what}"),
            Self::Client(why) => write!(f, "no connection can be made{}", words(why)),
            Self::Disk(why) => write!(f, "cannot be read{}", words(why)),
        }
    }
}

/// A reason behind a sentence.
fn words(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.kind)
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let problem = Self::error(trouble.about.to_string(), trouble.kind.to_string());
        match trouble.kind.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

/// What the user can mend is a problem, the rest the network's failure.
impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        if trouble.kind.is_outside() {
            return ExecError::Network { what: trouble.to_string() }.into();
        }
        Problem::from(trouble).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_repository_revision_and_file() {
        let repo = About::repo(&RepoName::parse("a/b").unwrap());
        let told = |about: About, kind| Problem::from(about.trouble(kind)).to_string();
        let text = told(repo.clone().revision("v1"), Kind::NoSuchRevision);
        assert!(text.starts_with("error: a/b@v1: has no such revision\n  hint: "), "{text}");
        let of_commit = repo.clone().revision(&"0a".repeat(20)).file("config.json");
        assert!(told(of_commit, Kind::NoSuchFile).starts_with("error: a/b: config.json: is not there\n"));
        let both = told(repo.clone(), Kind::Hidden);
        assert!(both.contains("private") && both.contains("spelling") && both.contains("HF_TOKEN"), "{both}");
    }

    #[test]
    fn what_more_tries_may_mend_is_the_networks() {
        let host = || "hub".to_owned();
        let network = [
            Kind::Server { host: host(), status: 503, after: None },
            Kind::Stalled { host: host(), after: Duration::from_secs(30) },
            Kind::Cut { host: host(), why: String::new() },
            Kind::Connection { host: host(), why: "refused".into() },
            Kind::RateLimited { after: None },
        ];
        for kind in network {
            assert_ne!(kind.again(), Again::Useless, "{kind}");
            assert_eq!(Error::from(About::default().trouble(kind)).exit_code(), 3);
        }
        for kind in [Kind::Gated, Kind::Offline, Kind::TokenRefused, Kind::NoSuchFile, Kind::NoSuchRange] {
            assert_eq!(kind.again(), Again::Useless, "{kind}");
            assert_eq!(Error::from(About::default().trouble(kind)).exit_code(), 2);
        }
        assert_eq!(Error::from(About::default().trouble(Kind::Odd("x".into()))).exit_code(), 3);
    }
}
