//! What goes over the wire, against servers of a few lines. `tests/hub` has a whole Hub.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;
use crate::hub::api::{State, TreeFile, Visibility};
use crate::hub::body::Body;
use crate::hub::name::RepoName;
use crate::hub::token::Token;
use crate::problem::Error;

/// Answers every request with what `answer` makes of its head; keeps all heads, in lower case.
struct Server {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                seen.lock().unwrap().push(head.join("\n").to_lowercase());
                let answer = answer(head.first().map_or("", |line| line.as_str()));
                stream.write_all(answer.as_bytes()).unwrap();
                if answer.contains("X-Stall") {
                    std::thread::sleep(Duration::from_secs(2));
                }
            }
        });
        Self { address, heads }
    }

    fn web(&self) -> Web {
        self.web_with(|settings| settings)
    }

    fn web_with(&self, change: impl Fn(Settings) -> Settings) -> Web {
        let token = Token::parse("hf_secret").unwrap();
        let settings = Settings::from_vars(|_| None).unwrap().with_endpoint(&self.address).unwrap();
        let quick = Duration::from_millis(1);
        let policy = Policy { tries: 3, first: quick, longest: quick, patience: quick };
        Web::open(&change(settings.with_token(token).with_policy(policy))).unwrap()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn repo() -> RepoName {
    RepoName::parse("owner/name").unwrap()
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn read(mut body: Body<'_>) -> Result<Vec<u8>, Trouble> {
    let mut all = Vec::new();
    while let Some(chunk) = body.chunk()? {
        all.extend(chunk);
    }
    Ok(all)
}

#[test]
fn the_token_goes_to_the_hub_and_not_where_it_redirects_to() {
    let cdn = Server::start(|line| match line.contains("/first") {
        true => answer("302 Found", &["Location: /second?signature=s"], ""),
        false => answer("206 Partial Content", &["Content-Range: bytes 2-4/9"], "cde"),
    });
    let location = format!("Location: {}/first?signature=s", cdn.address);
    let hub = Server::start(move |line| match line.contains("/moved/") {
        true => answer("302 Found", &[&location], ""),
        false => answer("307 Temporary Redirect", &["Location: /moved/x"], ""),
    });
    let web = hub.web();
    let body = web.get(&repo(), COMMIT, "a b/c#?.bin", Some(2..5)).unwrap();
    assert_eq!((body.first, body.total), (2, Some(9)));
    assert_eq!(read(body).unwrap(), b"cde");
    let asked = hub.heads();
    assert!(
        asked[0].starts_with(&format!("get /owner/name/resolve/{COMMIT}/a%20b/c%23%3f.bin ")),
        "{asked:?}"
    );
    assert!(
        asked.len() == 2 && asked.iter().all(|h| h.contains("authorization: bearer hf_secret")),
        "{asked:?}"
    );
    // The second hop stays on the CDN: a comparison with the hop before it would find nothing foreign there.
    let elsewhere = cdn.heads();
    assert!(elsewhere.len() == 2 && elsewhere.iter().all(|h| !h.contains("hf_secret")), "{elsewhere:?}");
    assert!(
        elsewhere.iter().all(|h| h.contains("range: bytes=2-4") && !h.contains("referer")),
        "{elsewhere:?}"
    );
}

#[test]
fn ranges_are_taken_as_they_are_answered() {
    let server = Server::start(|line| match () {
        () if line.contains("/ignored") => answer("200 OK", &[], "abcdef"),
        () if line.contains("/other") => {
            answer("206 Partial Content", &["Content-Range: bytes 0-2/6"], "abc")
        }
        () => answer("416 Range Not Satisfiable", &["Content-Range: bytes */6"], ""),
    });
    let web = server.web();
    let get = |file: &str| web.get(&repo(), COMMIT, file, Some(3..6));
    let body = get("ignored").unwrap();
    assert_eq!((body.first, body.total), (0, Some(6)));
    assert!(matches!(get("other").map(|_| ()), Err(Trouble { kind: Kind::Odd(_), .. })));
    assert_eq!(get("beyond").map(|_| ()).unwrap_err().kind, Kind::NoSuchRange);
    assert_eq!(web.get(&repo(), COMMIT, "../up", None).map(|_| ()).unwrap_err().kind, Kind::NoSuchFile);
}

#[test]
fn broken_and_silent_connections_are_told_apart() {
    let server = Server::start(|line| match line.contains("/cut") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd".into(),
        false => "HTTP/1.1 200 OK\r\nX-Stall: yes\r\nContent-Length: 10\r\n\r\nabcd".into(),
    });
    let web = server.web_with(|settings| settings.with_stall(Duration::from_millis(300)));
    let mut cut = web.get(&repo(), COMMIT, "cut", None).unwrap();
    assert_eq!(cut.chunk().unwrap().unwrap(), "abcd");
    assert!(matches!(cut.chunk(), Err(Trouble { kind: Kind::Cut { .. }, .. })));
    let mut silent = web.get(&repo(), COMMIT, "silent", None).unwrap();
    assert_eq!(silent.chunk().unwrap().unwrap(), "abcd");
    assert!(matches!(silent.chunk(), Err(Trouble { kind: Kind::Stalled { .. }, .. })));
    let nobody = Server { address: "http://127.0.0.1:1".into(), heads: Arc::default() };
    let trouble = nobody.web().get(&repo(), COMMIT, "x", None).map(|_| ()).unwrap_err();
    assert!(matches!(trouble.kind, Kind::Connection { .. }), "{trouble}");
    let text = Error::from(trouble).to_string();
    assert!(text.contains("127.0.0.1:1") && !text.contains("http"), "{text}");
}

#[test]
fn revisions_are_asked_for_again_while_the_hub_is_not_well() {
    let answers = Mutex::new(vec![
        answer("200 OK", &[], &format!(r#"{{"id": "owner/name", "sha": "{COMMIT}", "private": true}}"#)),
        answer("429 Too Many Requests", &["Retry-After: 1"], ""),
        answer("503 Service Unavailable", &[], ""),
    ]);
    let server = Server::start(move |_| answers.lock().unwrap().pop().unwrap());
    let state = server.web().state(&repo(), "feature/x").unwrap();
    assert_eq!(state, State { commit: COMMIT.into(), visibility: Visibility::Private });
    let heads = server.heads();
    assert_eq!(heads.len(), 3);
    assert!(heads[0].starts_with("get /api/models/owner/name/revision/feature%2fx?"), "{}", heads[0]);
    assert!(heads[0].contains("authorization: bearer hf_secret"));
}

#[test]
fn without_a_token_none_is_sent_and_without_the_network_nothing() {
    let refused = || answer("401 Unauthorized", &["X-Error-Code: RepoNotFound"], "");
    let server = Server::start(move |_| refused());
    let web = server.web_with(|settings| settings.with_token(None));
    assert_eq!(web.commit(&repo(), "main").unwrap_err().kind, Kind::Hidden);
    assert_eq!(web.get(&repo(), COMMIT, "x", None).map(|_| ()).unwrap_err().kind, Kind::Hidden);
    let heads = server.heads();
    assert!(heads.len() == 2 && heads.iter().all(|h| !h.contains("authorization")), "{heads:?}");
    let web = server.web_with(|settings| settings.with_network(Network::Offline));
    assert_eq!(web.commit(&repo(), "main").unwrap_err().kind, Kind::Offline);
    assert_eq!(web.tree(&repo(), COMMIT).unwrap_err().kind, Kind::Offline);
    assert_eq!(web.get(&repo(), COMMIT, "x", None).map(|_| ()).unwrap_err().kind, Kind::Offline);
    assert_eq!(server.heads().len(), 2);
}

#[test]
fn a_tree_is_read_page_by_page() {
    let weights = r#"[{"type": "file", "oid": "p", "size": 9, "path": "w.safetensors",
        "lfs": {"oid": "ff", "size": 9, "pointerSize": 130}}]"#;
    let first = r#"[{"type": "directory", "oid": "d", "path": "sub", "size": 0},
        {"type": "file", "oid": "c", "size": 2, "path": "sub/config.json"}]"#;
    let address = Arc::new(Mutex::new(String::new()));
    let own = address.clone();
    let server = Server::start(move |line| match line.contains("cursor=2") {
        true => answer("200 OK", &[], weights),
        false => {
            let link = format!("Link: <{}/next?cursor=2>; rel=\"next\"", own.lock().unwrap());
            answer("200 OK", &[&link], first)
        }
    });
    address.lock().unwrap().clone_from(&server.address);
    let file = |path: &str, size, oid: &str, sha256: Option<&str>| TreeFile {
        path: path.into(),
        size,
        oid: oid.into(),
        sha256: sha256.map(str::to_owned),
    };
    let tree = server.web().tree(&repo(), COMMIT).unwrap();
    assert_eq!(tree, [file("sub/config.json", 2, "c", None), file("w.safetensors", 9, "p", Some("ff"))]);
}
