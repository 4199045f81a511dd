//! Where the Hub is, where its files are kept, who asks, and how patiently.
//!
//! The variables are those of the Python client, read as it reads them, so that both find the same cache and
//! the same token. Proxies are read from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` where connections are made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::retry::Policy;
use super::token::Token;
use crate::problem::{Problem, Problems};

const ENDPOINT: &str = "https://huggingface.co";
/// A connection on which nothing came for so long is given up.
const STALL: Duration = Duration::from_secs(30);

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It may.
    Online,
    /// Only what is in the cache is there.
    Offline,
}

/// What is the same for every request.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host, and the folder that everything is below: it ends with a slash.
    pub(super) endpoint: Url,
    pub(super) cache: PathBuf,
    pub(super) token: Option<Token>,
    pub(super) network: Network,
    pub(super) policy: Policy,
    pub(super) stall: Duration,
}

impl Settings {
    /// Of this process's environment.
    ///
    /// # Errors
    /// Variables that cannot be what they are for, and a token file that cannot be read.
    pub fn from_env() -> Result<Self, Problems> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Of the variables that `var` knows; an empty one counts as absent.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let vars = Vars(|name: &str| var(name).filter(|value| !value.trim().is_empty()));
        let mut problems = Problems::new();
        let endpoint = vars.get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint =
            endpoint_of(&endpoint).map_err(|why| problems.push(Problem::error("HF_ENDPOINT", why)));
        let token = vars.token().map_err(|found| problems.extend(found));
        let offline = vars.get("HF_HUB_OFFLINE").or_else(|| vars.get("TRANSFORMERS_OFFLINE"));
        let network = if is_true(offline) { Network::Offline } else { Network::Online };
        match (endpoint, token) {
            (Ok(endpoint), Ok(token)) => {
                let policy = Policy::default();
                Ok(Self { endpoint, cache: vars.cache(), token, network, policy, stall: STALL })
            }
            _ => Err(problems),
        }
    }

    /// Another cache folder.
    #[must_use]
    pub fn with_cache(self, cache: PathBuf) -> Self {
        Self { cache, ..self }
    }

    /// Another Hub.
    ///
    /// # Errors
    /// If it is no address of one.
    pub fn with_endpoint(self, endpoint: &str) -> Result<Self, Problems> {
        let endpoint = endpoint_of(endpoint).map_err(|why| Problem::error("endpoint", why))?;
        Ok(Self { endpoint, ..self })
    }

    /// Another token, or none.
    #[must_use]
    pub fn with_token(self, token: Option<Token>) -> Self {
        Self { token, ..self }
    }

    /// With the network, or without.
    #[must_use]
    pub fn with_network(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// More or less patience with what fails.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// More or less patience with what says nothing.
    #[must_use]
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Whether the network may be used.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The Hub's host, for messages.
    pub(super) fn host(&self) -> String {
        host_of(&self.endpoint)
    }
}

/// Host and port of an address: the part of it that may be told.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn endpoint_of(text: &str) -> Result<Url, String> {
    let text = text.trim().trim_end_matches('/');
    // The text is not repeated: it may hold a password.
    let url = Url::parse(&format!("{text}/")).map_err(|e| format!("is no address of a Hub: {e}"))?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("holds a user's name or password; who asks is said by a token".into())
        }
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" | "https" => Err("holds more than host and path".into()),
        scheme => Err(format!("begins with `{scheme}:` instead of `https:`")),
    }
}

/// The values that the Python client takes for yes.
fn is_true(value: Option<String>) -> bool {
    let value = value.unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

/// Variables that are not empty.
struct Vars<F>(F);

impl<F: Fn(&str) -> Option<String>> Vars<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    /// A path, with the user's home in place of `~`.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.get(name)?;
        let below_home = match value.strip_prefix('~') {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix('/'),
            None => None,
        };
        Some(below_home.map_or_else(|| PathBuf::from(&value), |rest| self.user().join(rest)))
    }

    fn user(&self) -> PathBuf {
        self.get("HOME").map_or_else(std::env::temp_dir, PathBuf::from)
    }

    /// Where everything of the Hub's clients is.
    fn home(&self) -> PathBuf {
        let caches = || self.path("XDG_CACHE_HOME").unwrap_or_else(|| self.user().join(".cache"));
        self.path("HF_HOME").unwrap_or_else(|| caches().join("huggingface"))
    }

    fn cache(&self) -> PathBuf {
        let named = || self.path("HF_HUB_CACHE").or_else(|| self.path("HUGGINGFACE_HUB_CACHE"));
        named().unwrap_or_else(|| self.home().join("hub"))
    }

    fn token(&self) -> Result<Option<Token>, Problems> {
        if is_true(self.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
            return Ok(None);
        }
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            let token = Token::parse(&self.get(name).unwrap_or_default());
            if let Some(token) = token.map_err(|why| Problem::error(name, why))? {
                return Ok(Some(token));
            }
        }
        let path = self.path("HF_TOKEN_PATH").unwrap_or_else(|| self.home().join("token"));
        let at = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Token::parse(&text).map_err(|why| Problem::error(at, why).into()),
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(e) => Err(Problem::error(at, format!("the token in it cannot be read: {e}")).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Result<Settings, Problems> {
        let find = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::from_vars(|name| find(name).or((name == "HOME").then(|| "/nowhere".to_owned())))
    }

    #[test]
    fn the_cache_is_where_the_python_client_has_it() {
        let cache = |vars: &[(&str, &str)]| of(vars).unwrap().cache;
        assert_eq!(cache(&[]), Path::new("/nowhere/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/h")]), Path::new("/nowhere/h/hub"));
        let both = [("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")];
        assert_eq!(cache(&both), Path::new("/old"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/new"), both[1]]), Path::new("/new"));
        assert_eq!(cache(&[("HF_HUB_CACHE", ""), both[1]]), Path::new("/old"));
    }

    #[test]
    fn the_token_is_the_first_that_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let file = folder.path().join("elsewhere").display().to_string();
        let token = |vars: &[(&str, &str)]| of(vars).unwrap().token.map(|t| t.secret().to_owned());
        assert_eq!(token(&[("HF_HOME", &home)]), None);
        std::fs::write(folder.path().join("token"), "hf_home\n").unwrap();
        std::fs::write(&file, " hf_file ").unwrap();
        assert_eq!(token(&[("HF_HOME", &home)]).as_deref(), Some("hf_home"));
        let vars = [("HF_HOME", home.as_str()), ("HF_TOKEN_PATH", &file), ("HF_TOKEN", "hf_var")];
        assert_eq!(token(&vars[..2]).as_deref(), Some("hf_file"));
        assert_eq!(token(&vars).as_deref(), Some("hf_var"));
        assert_eq!(token(&[vars[0], vars[1], ("HF_TOKEN", " ")]).as_deref(), Some("hf_file"));
        let off = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        assert_eq!(token(&[vars[0], vars[2], off]), None);
        assert_eq!(token(&[vars[2], (off.0, "0")]).as_deref(), Some("hf_var"));
    }

    #[test]
    fn what_cannot_be_is_said_without_secrets() {
        let wrong = of(&[("HF_ENDPOINT", "https://me:hunter2@hub"), ("HF_TOKEN", "hf_a\nb")]).unwrap_err();
        let text = wrong.to_string();
        assert!(text.contains("HF_ENDPOINT") && text.contains("HF_TOKEN"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("hf_a"), "{text}");
        for endpoint in ["hub", "ftp://hub", "https://hub?x=1", "https://"] {
            assert!(of(&[("HF_ENDPOINT", endpoint)]).is_err(), "{endpoint}");
        }
        let mirror = of(&[("HF_ENDPOINT", "http://127.0.0.1:8080/hf//")]).unwrap();
        assert_eq!(
            (mirror.endpoint.as_str(), mirror.host()),
            ("http://127.0.0.1:8080/hf/", "127.0.0.1:8080".into())
        );
    }

    #[test]
    fn offline_as_the_python_client_understands_it() {
        for (value, network) in [
            ("1", Network::Offline),
            ("true", Network::Offline),
            ("0", Network::Online),
            ("", Network::Online),
        ] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).unwrap().network, network, "{value}");
        }
        let older = ("TRANSFORMERS_OFFLINE", "YES");
        assert_eq!(of(&[older]).unwrap().network, Network::Offline);
        assert_eq!(of(&[older, ("HF_HUB_OFFLINE", "0")]).unwrap().network, Network::Online);
    }
}
