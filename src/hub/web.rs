//! Requests, as the rest of the program sees them: blocking, bounded in time, and with the token for the Hub alone.
//!
//! A runtime lives in [`Web`]; any number of threads may wait on it. Redirects are followed here and not by reqwest,
//! whose second hop to another host would carry `Authorization` again: it compares each hop with the one before it only.

use std::future::Future;
use std::time::Duration;

use hf_hub::HFClient;
use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::answer::{Failure, From, asked_wait, plain, unanswered};
use super::retry::Policy;
use super::settings::{Network, Settings, host_of};
use super::token::Token;
use super::trouble::{About, Kind, Trouble};

/// Hops from one address to the next.
const REDIRECTS: usize = 10;
/// Of the body of an answer that is no success, so much is read.
const LONGEST_FAILURE: usize = 64 << 10;
/// hf-hub looks for a token itself if it is given none; of one that no header can hold it sends nothing.
const NO_TOKEN: &str = "\n";

/// The way to the Hub.
pub(super) struct Web {
    runtime: Runtime,
    client: Client,
    pub(super) hub: HFClient,
    settings: Settings,
}

impl Web {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// If this machine cannot make any.
    pub(super) fn open(settings: &Settings) -> Result<Self, Trouble> {
        let failed = |why: String| About::default().trouble(Kind::Client(why));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hub")
            .enable_all()
            .build()
            .map_err(|e| failed(e.to_string()))?;
        let build = |builder: ClientBuilder| builder.build().map_err(|e| failed(e.without_url().to_string()));
        let client = build(configured(settings).redirect(redirect::Policy::none()))?;
        let endpoint = settings.endpoint.clone();
        let within = redirect::Policy::custom(move |hop| {
            if hop.previous().len() <= REDIRECTS && same_origin(hop.url(), &endpoint) {
                hop.follow()
            } else {
                hop.stop()
            }
        });
        let token = settings.token.as_ref();
        let hub = HFClient::builder()
            .endpoint(settings.endpoint.as_str())
            .token(token.map_or(NO_TOKEN, |t| t.secret()))
            .cache_dir(&settings.cache)
            .client(build(configured(settings).redirect(within))?)
            .retry_max_attempts(0)
            .build()
            .map_err(|_| failed("hf-hub has no client".into()))?;
        Ok(Self { runtime, client, hub, settings: settings.clone() })
    }

    /// How patiently to try again.
    pub(super) fn policy(&self) -> &Policy {
        &self.settings.policy
    }

    /// Whether the network is not to be used.
    pub(super) fn is_offline(&self) -> bool {
        self.settings.network == Network::Offline
    }

    /// How long to wait for something to come.
    pub(super) fn stall(&self) -> Duration {
        self.settings.stall
    }

    /// The Hub's host.
    pub(super) fn host(&self) -> String {
        self.settings.host()
    }

    /// Who asks.
    pub(super) fn token(&self) -> Option<&Token> {
        self.settings.token.as_ref()
    }

    /// Sends a request in the background: its body is still to come.
    pub(super) fn spawn(&self, request: RequestBuilder) -> JoinHandle<reqwest::Result<Response>> {
        self.runtime.spawn(async { request.send().await })
    }

    /// An address on the Hub; whatever is in a part stays in that part.
    pub(super) fn url<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.settings.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Waits for an answer, or for too long. Clocks and sockets of the answer must be made while it is polled.
    pub(super) fn wait<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(limit, answer).await }).ok()
    }

    /// # Errors
    /// If the network is not to be used.
    pub(super) fn may_ask(&self, about: &About) -> Result<(), Trouble> {
        match self.settings.network {
            Network::Online => Ok(()),
            Network::Offline => Err(about.trouble(Kind::Offline)),
        }
    }

    /// A request to any address; the token goes with it if that is the Hub's.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let token = self.settings.token.as_ref().filter(|_| same_origin(&url, &self.settings.endpoint));
        let request = self.client.request(method, url);
        match token.and_then(|t| t.header()) {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    /// One try: sends what `build` adds to a request, follows redirects, and gives an answer that is a success.
    pub(super) fn send(
        &self,
        about: &About,
        method: Method,
        url: Url,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Trouble> {
        self.send_within(self.stall(), about, method, url, build)
    }

    /// As [`Web::send`], for what takes a server long.
    pub(super) fn send_within(
        &self,
        limit: Duration,
        about: &About,
        method: Method,
        mut url: Url,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Trouble> {
        self.may_ask(about)?;
        for _ in 0..=REDIRECTS {
            let host = host_of(&url);
            let request = build(self.request(method.clone(), url.clone()));
            let response = match self.wait(limit, async { request.send().await }) {
                Some(Ok(response)) => response,
                Some(Err(e)) => return Err(about.trouble(unanswered(&e, &host, limit))),
                None => return Err(about.trouble(Kind::Stalled { host, after: limit })),
            };
            match next_hop(&response, &method) {
                Ok(Some(next)) => url = next,
                Ok(None) => return self.checked(about, response),
                Err(what) => return Err(about.trouble(Kind::Odd(what.into()))),
            }
        }
        Err(about.trouble(Kind::Odd("it redirects too often".into())))
    }

    /// The answer, if it is a success.
    pub(super) fn checked(&self, about: &About, mut response: Response) -> Result<Response, Trouble> {
        if response.status().is_success() {
            return Ok(response);
        }
        let from = match host_of(response.url()) {
            host if same_origin(response.url(), &self.settings.endpoint) => From::Hub(host),
            host => From::Elsewhere(host),
        };
        let mut body = Vec::new();
        while let Some(Ok(Some(chunk))) = self.wait(self.stall(), response.chunk()) {
            body.extend(chunk);
            if body.len() > LONGEST_FAILURE {
                break;
            }
        }
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let in_body = || said.as_ref().map(reasons);
        let failure = Failure {
            from,
            status: response.status().as_u16(),
            code: text("x-error-code"),
            message: &text("x-error-message").map(str::to_owned).or_else(in_body).unwrap_or_default(),
            after: asked_wait(response.headers()),
            token: self.settings.token.as_ref(),
        };
        Err(failure.trouble(about))
    }

    /// A server's words, fit to be shown.
    pub(super) fn plain(&self, words: &str) -> String {
        plain(words, self.token())
    }

    /// An answer's JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, about: &About, answer: Response) -> Result<T, Trouble> {
        let host = host_of(answer.url());
        match self.wait(self.stall(), answer.json()) {
            Some(Ok(value)) => Ok(value),
            Some(Err(e)) => Err(about.trouble(unanswered(&e, &host, self.stall()))),
            None => Err(about.trouble(Kind::Stalled { host, after: self.stall() })),
        }
    }
}

/// What both clients have in common. reqwest's own `read_timeout` is not among it: it counts from a request's first
/// byte to the answer's, and would end every upload that takes longer.
fn configured(settings: &Settings) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("growmerge/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.stall)
        .referer(false)
        // HTTP/2 would put all downloads into one connection, and share its window among them.
        .http1_only()
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// What the body of a refusal says: `{"error": "…"}`, or `{"errors": [{"message": "…"}]}`.
fn reasons(body: &Value) -> String {
    let listed = body["errors"].as_array().into_iter().flatten().map(|e| &e["message"]);
    std::iter::once(&body["error"]).chain(listed).filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
}

/// Where an answer sends us instead.
fn next_hop(response: &Response, method: &Method) -> Result<Option<Url>, &'static str> {
    let keeps_method = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT];
    let others = [StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND, StatusCode::SEE_OTHER];
    let status = response.status();
    if !keeps_method.contains(&status) && !others.contains(&status) {
        return Ok(None);
    }
    if *method != Method::GET && !keeps_method.contains(&status) {
        return Err("it redirects what was to be written");
    }
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let next = location.and_then(|l| response.url().join(l).ok()).ok_or("it redirects to nowhere")?;
    match (response.url().scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(Some(next)),
        _ => Err("it redirects from an encrypted connection to an open one"),
    }
}

#[cfg(test)]
mod tests;
