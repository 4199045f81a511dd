//! Requests over plain TCP: a client that hides nothing of what the loopback Hub does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::loopback::{Loopback, Port};

pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One request; `None` if the connection ends before the head of an answer, and a shorter body if it ends in it.
pub fn ask(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all((head + "\r\n").as_bytes()).unwrap();
    let _ = stream.write_all(body); // the server may hang up first
    reply(&mut BufReader::new(stream), method)
}

pub fn reply(reader: &mut impl BufRead, method: &str) -> Option<Reply> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1)?.parse().unwrap();
    let pair = |line: &String| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut reply = Reply { status, headers: lines[1..].iter().filter_map(pair).collect(), body: Vec::new() };
    let length: u64 = reply.header("content-length").parse().unwrap_or(0);
    if method != "HEAD" {
        reader.take(length).read_to_end(&mut reply.body).unwrap();
    }
    Some(reply)
}

pub fn get(hub: &Loopback, target: &str, headers: &[(&str, &str)]) -> Reply {
    ask(&hub.address(Port::Hub), "GET", target, headers, b"").unwrap()
}

pub fn post(hub: &Loopback, target: &str, token: &str, body: &str) -> Reply {
    let token = format!("Bearer {token}");
    ask(&hub.address(Port::Hub), "POST", target, &[("Authorization", &token)], body.as_bytes()).unwrap()
}

/// Whom a link leads to, and what to ask there.
pub fn place(link: &str) -> (&str, &str) {
    let rest = link.strip_prefix("http://").unwrap();
    rest.split_at(rest.find('/').unwrap())
}

pub fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
