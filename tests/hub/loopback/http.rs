//! HTTP/1.1 as far as a client of the Hub speaks it: requests with bodies of a known length or in chunks,
//! connections that stay open, answers with a length.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::Value;

use super::objects::Content;

/// Which of the two listeners a request came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    Hub,
    Cdn,
}

/// The head of a request.
pub struct Request {
    pub port: Port,
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Decoded segments of the path.
    pub parts: Vec<String>,
    pub query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// `None` at the end of the connection.
    pub fn read(reader: &mut BufReader<TcpStream>, port: Port) -> io::Result<Option<Self>> {
        let Some(first) = line(reader)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::Error::other(format!("no request: {first}")));
        };
        let mut headers = Vec::new();
        while let Some(text) = line(reader)?.filter(|l| !l.is_empty()) {
            if let Some((name, value)) = text.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        };
        Ok(Some(Self {
            port,
            method: method.into(),
            target: target.into(),
            parts: path.split('/').filter(|s| !s.is_empty()).map(decode).collect(),
            query: query.split('&').filter(|q| !q.is_empty()).map(pair).collect(),
            headers,
        }))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn asks(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The token that came along.
    pub fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut text = String::new();
    let length = reader.by_ref().take(64 << 10).read_line(&mut text)?;
    Ok((length > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Percent-encoding undone.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        let pair = (byte == b'%').then(|| rest.as_slice().get(..2)).flatten();
        let pair = pair.and_then(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok());
        if pair.is_some() {
            rest.nth(1);
        }
        bytes.push(pair.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything but unreserved characters as `%XX`.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// How a request's body ends.
enum Ending {
    /// After this many more bytes.
    Length(u64),
    /// With a chunk of no bytes; this many are left of the present one.
    Chunks(u64),
    Reached,
}

/// The body of a request as it arrives.
pub struct Incoming<'a> {
    reader: &'a mut BufReader<TcpStream>,
    ending: Ending,
    /// Bytes so far.
    pub received: u64,
    /// The connection breaks after this many.
    pub breaks_after: Option<u64>,
}

impl<'a> Incoming<'a> {
    pub fn of(request: &Request, reader: &'a mut BufReader<TcpStream>, breaks_after: Option<u64>) -> Self {
        let ending = match request.header("content-length") {
            Some(length) => Ending::Length(length.parse().unwrap_or(0)),
            None if request.header("transfer-encoding").is_some() => Ending::Chunks(0),
            None => Ending::Reached,
        };
        Self { reader, ending, received: 0, breaks_after }
    }

    pub fn text(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.read_to_string(&mut text).map(|_| text)
    }

    pub fn json(&mut self) -> io::Result<Value> {
        Ok(serde_json::from_str(&self.text()?).unwrap_or(Value::Null))
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Ending::Chunks(0) = self.ending {
            let size = line(self.reader)?
                .filter(|l| !l.is_empty())
                .map_or_else(|| line(self.reader), |l| Ok(Some(l)))?;
            let size = size.and_then(|s| u64::from_str_radix(s.split(';').next()?.trim(), 16).ok());
            self.ending = match size {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(0) => line(self.reader).map(|_| Ending::Reached)?,
                Some(size) => Ending::Chunks(size),
            };
        }
        let (Ending::Length(left) | Ending::Chunks(left)) = &mut self.ending else { return Ok(0) };
        let allowed = self.breaks_after.map_or(u64::MAX, |n| n - self.received);
        if allowed == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let most = usize::try_from(allowed.min(*left)).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0); // asked for nothing, a buffered reader waits for something
        }
        let length = self.reader.read(&mut into[..most])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received += length as u64;
        *left -= length as u64;
        Ok(length)
    }
}

/// An answer: a status, headers, and a run of bytes of some content.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub content: Content,
    pub first: u64,
    pub length: u64,
}

/// An answer or a refusal; both are sent.
pub type Answer = Result<Response, Response>;

impl Response {
    pub fn new(status: u16, bytes: impl Into<Vec<u8>>) -> Self {
        let content = Content::from(bytes.into());
        Self { status, headers: Vec::new(), first: 0, length: content.len(), content }
    }

    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status, value.to_string()).with("Content-Type", "application/json; charset=utf-8")
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// As the Hub refuses: what a program looks at in the headers, what a person reads there and in the body.
    pub fn refusal(status: u16, code: Option<&str>, message: &str) -> Self {
        let response = Self::json(status, &serde_json::json!({ "error": message }));
        let response = response.with("X-Error-Message", message);
        match code {
            Some(code) => response.with("X-Error-Code", code),
            None => response,
        }
    }
}

impl From<io::Error> for Response {
    /// Of a body that did not come whole: the connection is gone, and nobody will read this.
    fn from(error: io::Error) -> Self {
        Self::new(0, error.to_string())
    }
}
