//! Connections: a thread for each, requests one after the other, answers as the faults let them be.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Hub;
use super::faults::Damage;
use super::http::{Incoming, Port, Request, Response};
use super::routes;

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub port: Port,
    /// As it came: encoded, without the query.
    pub path: String,
    pub query: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    /// 0 where the connection ended before an answer.
    pub status: u16,
    /// Bytes of the answer's body; counted when it begins, and again if the client leaves early.
    pub sent: u64,
    /// Bytes of the request's body.
    pub received: u64,
}

enum Then {
    NextRequest,
    HangUp,
}

pub(super) fn accept(hub: Arc<Hub>, listener: TcpListener, port: Port) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            if hub.stopping() {
                break;
            }
            let Ok(stream) = stream else { continue };
            let id = number * 2 + u64::from(port == Port::Cdn);
            hub.connections.lock().unwrap().insert(id, stream.try_clone().unwrap());
            let hub = hub.clone();
            std::thread::spawn(move || {
                let _ = converse(&hub, &stream, port);
                let _ = stream.shutdown(Shutdown::Both);
                hub.connections.lock().unwrap().remove(&id);
            });
        }
    })
}

fn converse(hub: &Arc<Hub>, stream: &TcpStream, port: Port) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader, port)? {
        match exchange(hub, stream, &mut reader, &request)? {
            Then::NextRequest => {}
            Then::HangUp => break,
        }
    }
    Ok(())
}

fn exchange(
    hub: &Arc<Hub>,
    mut stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    request: &Request,
) -> io::Result<Then> {
    let first = hub.state().faults.before(request);
    let breaks_after = match first {
        Some(Damage::CutUpload(bytes)) => Some(bytes),
        _ => None,
    };
    if request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Incoming::of(request, reader, breaks_after);
    let answer = match first {
        Some(Damage::Close) => Err(Response::new(0, "")),
        Some(Damage::Missing) => Err(routes::no_such_file()),
        Some(Damage::Status { status, retry_after }) => Err(trouble(status, retry_after)),
        Some(Damage::Meanwhile(act)) => {
            act();
            routes::answer(hub, request, &mut body)
        }
        _ => routes::answer(hub, request, &mut body),
    };
    let mut response = answer.unwrap_or_else(|refusal| refusal);
    if response.status != 0 && io::copy(&mut body.by_ref(), &mut io::sink()).is_err() {
        response.status = 0;
    }
    let received = body.received;
    let last = hub.state().faults.after(request, &response);
    if let Some(damage) = &last {
        response = damage.apply(response);
    }
    let planned = match (&last, request.method.as_str()) {
        _ if response.status == 0 => 0,
        (_, "HEAD") => 0,
        (Some(Damage::Cut(bytes)), _) => response.length.min(*bytes),
        _ => response.length,
    };
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let place = {
        let mut state = hub.state();
        state.seen.push(Seen {
            method: request.method.clone(),
            port: request.port,
            path: path.into(),
            query: query.into(),
            range: request.header("range").map(Into::into),
            authorization: request.header("authorization").map(Into::into),
            status: response.status,
            sent: planned,
            received,
        });
        state.seen.len() - 1
    };
    if response.status == 0 {
        return Ok(Then::HangUp);
    }
    let mut sent = 0;
    let ended = send(hub, stream, request, &response, last.as_ref(), planned, &mut sent);
    if sent < planned
        && let Some(seen) = hub.state().seen.get_mut(place)
    {
        seen.sent = sent;
    }
    ended
}

fn trouble(status: u16, retry_after: Option<String>) -> Response {
    let message = match status {
        429 => "We had to rate limit you.",
        _ => "Internal Error - We're working hard to fix this as soon as possible!",
    };
    let response = Response::refusal(status, None, message);
    match retry_after {
        Some(when) => response.with("Retry-After", when),
        None => response,
    }
}

fn send(
    hub: &Hub,
    mut stream: &TcpStream,
    request: &Request,
    response: &Response,
    damage: Option<&Damage>,
    length: u64,
    sent: &mut u64,
) -> io::Result<Then> {
    let claimed = match damage {
        Some(Damage::Length(by)) => response.length.saturating_add_signed(*by),
        _ => response.length,
    };
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if response.status != 304 {
        head += &format!("Content-Length: {claimed}\r\n");
    }
    head += "X-Request-Id: Root=1-loopback\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(Then::NextRequest);
    }
    let (content, first) = (&response.content, response.first);
    match damage {
        Some(Damage::Cut(_) | Damage::Length(_)) => {
            content.pour(stream, first, length, sent)?;
            return Ok(Then::HangUp);
        }
        Some(Damage::Flip(byte)) => {
            content.pour(stream, first, byte - first, sent)?;
            stream.write_all(&[!content.byte(*byte)?])?;
            *sent += 1;
            content.pour(stream, byte + 1, first + length - byte - 1, sent)?;
        }
        Some(Damage::Stall { after, pause }) => {
            let after = length.min(*after);
            content.pour(stream, first, after, sent)?;
            let until = Instant::now() + *pause;
            while Instant::now() < until && !hub.stopping() {
                std::thread::sleep(Duration::from_millis(5));
            }
            content.pour(stream, first + after, length - after, sent)?;
        }
        _ => content.pour(stream, first, length, sent)?,
    }
    Ok(if request.header("connection") == Some("close") { Then::HangUp } else { Then::NextRequest })
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
