//! The loopback Hub itself, asked over plain TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::loopback::{Access, Fault, Loopback, Port};

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One request; `None` if the connection ends before the head of an answer, and a shorter body if it ends in it.
fn ask(address: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
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

fn reply(reader: &mut impl BufRead, method: &str) -> Option<Reply> {
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

fn get(hub: &Loopback, target: &str, headers: &[(&str, &str)]) -> Reply {
    ask(&hub.address(Port::Hub), "GET", target, headers, b"").unwrap()
}

fn post(hub: &Loopback, target: &str, token: &str, body: &str) -> Reply {
    let token = format!("Bearer {token}");
    ask(&hub.address(Port::Hub), "POST", target, &[("Authorization", &token)], body.as_bytes()).unwrap()
}

/// Whom a link leads to, and what to ask there.
fn place(link: &str) -> (&str, &str) {
    let rest = link.strip_prefix("http://").unwrap();
    rest.split_at(rest.find('/').unwrap())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn large_files_are_behind_a_signed_link_to_the_other_port() {
    let hub = Loopback::start();
    let weights = bytes(100_000);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weights"), &weights).unwrap();
    let repo = hub.repo("a/m");
    let commit = repo
        .put_lfs("model.safetensors", weights.clone())
        .put_file("b/c d", &folder.path().join("weights"))
        .commit();
    for file in ["model.safetensors", "b/c%20d"] {
        let link = get(&hub, &format!("/a/m/resolve/main/{file}"), &[]);
        assert_eq!((link.status, link.header("X-Linked-Size")), (302, "100000"));
        assert_eq!(link.header("X-Linked-ETag"), format!("\"{}\"", sha256(&weights)));
        assert_eq!(link.header("X-Repo-Commit"), commit);
        let (address, target) = place(link.header("Location"));
        assert_eq!(address, hub.address(Port::Cdn));
        let asked = |range: &str| ask(address, "GET", target, &[("Range", range)], b"").unwrap();
        let all = ask(address, "GET", target, &[], b"").unwrap();
        assert!(all.status == 200 && all.body == weights && !all.header("ETag").contains(&sha256(&weights)));
        let part = asked("bytes=10-19");
        assert_eq!((part.status, part.header("Content-Range")), (206, "bytes 10-19/100000"));
        assert_eq!(part.body, weights[10..20]);
        assert_eq!(asked("bytes=99990-").body, weights[99_990..]);
        assert_eq!(asked("bytes=-7").body, weights[99_993..]);
        assert_eq!(asked("bytes=99990-200000").body, weights[99_990..]);
        let beyond = asked("bytes=100000-");
        assert_eq!((beyond.status, beyond.header("Content-Range")), (416, "bytes */100000"));
        let head = ask(address, "HEAD", target, &[], b"").unwrap();
        assert_eq!((head.status, head.header("Content-Length")), (200, "100000"));
        // A link that is not signed, and a token where none belongs.
        assert_eq!(ask(address, "GET", target.split('?').next().unwrap(), &[], b"").unwrap().status, 403);
        assert_eq!(ask(address, "GET", target, &[("Authorization", "Bearer x")], b"").unwrap().status, 400);
    }
    let seen = hub.requests();
    assert_eq!(seen.iter().filter(|s| s.range.as_deref() == Some("bytes=10-19") && s.sent == 10).count(), 2);
    assert_eq!(seen.iter().filter(|s| s.authorization.is_some()).count(), 2);
}

#[test]
fn small_files_are_found_under_their_commit() {
    let hub = Loopback::start();
    let commit = hub.repo("a/m").put("hello.txt", "hello\n").commit();
    let moved = get(&hub, "/a/m/resolve/main/hello.txt", &[]);
    assert_eq!((moved.status, moved.header("X-Linked-Size")), (307, "6"));
    let target = moved.header("Location").to_owned();
    assert!(target.starts_with(&format!("/api/resolve-cache/models/a/m/{commit}/hello.txt?")), "{target}");
    let file = get(&hub, &target, &[]);
    assert_eq!(file.body, b"hello\n");
    // What `git hash-object` says.
    assert_eq!(file.header("ETag"), "\"ce013625030ba8dba906f756967f9e9ca394464a\"");
    assert_eq!(get(&hub, &target, &[("If-None-Match", file.header("ETag"))]).status, 304);
    let other = [("Range", "bytes=1-"), ("If-Range", "\"other\"")];
    assert_eq!(get(&hub, &target, &other).body, b"hello\n");
    // The old commit stays what it was.
    hub.repo("a/m").put("hello.txt", "bye\n").commit();
    assert_eq!(get(&hub, &target, &[]).body, b"hello\n");
}

#[test]
fn revisions_trees_and_pages() {
    let hub = Loopback::start();
    let repo = hub.repo("a/m");
    let first = repo.put("config.json", "{}").put_lfs("x/model.safetensors", bytes(50)).commit();
    repo.tag("v1").branch("other/branch");
    let second = repo.put("x/y/z.txt", "z").commit();
    for (revision, commit) in [
        ("main", &second),
        ("v1", &first),
        ("other%2Fbranch", &first),
        (&first[..8], &first),
        (&second, &second),
    ] {
        let info = get(&hub, &format!("/api/models/a/m/revision/{revision}"), &[]).json();
        assert_eq!(info["sha"], *commit, "{revision}");
    }
    let missing = get(&hub, "/api/models/a/m/revision/gone", &[]);
    assert_eq!((missing.status, missing.header("X-Error-Code")), (404, "RevisionNotFound"));
    let missing = get(&hub, "/a/m/resolve/main/gone", &[]);
    assert_eq!((missing.status, missing.header("X-Error-Code")), (404, "EntryNotFound"));
    assert_eq!(missing.header("X-Repo-Commit"), second);

    hub.page(2);
    let (mut link, mut paths) = (String::from("/api/models/a/m/tree/main?recursive=true"), Vec::new());
    let mut pages = 0;
    loop {
        let page = get(&hub, &link, &[]);
        paths.extend(page.json().as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page.header("Link").strip_suffix(">; rel=\"next\"") else { break };
        let (address, target) = place(next.strip_prefix('<').unwrap());
        assert_eq!(address, hub.address(Port::Hub));
        link = target.into();
    }
    assert_eq!(pages, 3);
    let names: Vec<&str> = paths.iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["config.json", "x", "x/model.safetensors", "x/y", "x/y/z.txt"]);
    assert_eq!((&paths[1]["type"], &paths[0]["type"]), (&json!("directory"), &json!("file")));
    let lfs = &paths[2]["lfs"];
    assert_eq!((&lfs["oid"], &lfs["size"]), (&json!(sha256(&bytes(50))), &json!(50)));
    let top = get(&hub, "/api/models/a/m/tree/main", &[]).json();
    assert_eq!(top.as_array().unwrap().len(), 2);

    hub.rename("a/m", "b/n");
    let moved = get(&hub, "/a/m/resolve/main/config.json", &[]);
    assert_eq!((moved.status, moved.header("Location")), (307, "/b/n/resolve/main/config.json"));
    assert_eq!(get(&hub, "/api/models/b/n", &[]).json()["id"], "b/n");
}

#[test]
fn who_may_see_and_read() {
    let hub = Loopback::start();
    hub.token("hf_owner", "a", Access::Write);
    hub.token("hf_friend", "f", Access::Read);
    hub.token("hf_other", "o", Access::Read);
    hub.repo("a/private").private("hf_friend").put("config.json", "{}").commit();
    hub.repo("a/gated").gated("hf_friend").put("config.json", "{}").commit();
    let ask = |target: &str, token: &str| {
        let token = format!("Bearer {token}");
        let headers = [("Authorization", token.as_str())];
        let reply = get(&hub, target, if token == "Bearer " { &[] } else { &headers });
        (reply.status, reply.header("X-Error-Code").to_owned())
    };
    let said = |status, code: &str| (status, code.to_owned());
    let file = "/a/private/resolve/main/config.json";
    for (token, answer) in [
        ("hf_owner", said(307, "")),
        ("hf_friend", said(307, "")),
        ("hf_other", said(404, "RepoNotFound")),
        ("hf_unknown", said(401, "")),
        ("", said(401, "RepoNotFound")),
    ] {
        assert_eq!(ask(file, token), answer, "{token}");
    }
    assert_eq!(ask("/api/models/a/no", ""), said(401, "RepoNotFound"));
    assert_eq!(ask("/api/models/a/no", "hf_other"), said(404, "RepoNotFound"));
    let file = "/a/gated/resolve/main/config.json";
    for (token, answer) in
        [("hf_friend", said(307, "")), ("hf_other", said(403, "GatedRepo")), ("", said(401, "GatedRepo"))]
    {
        assert_eq!(ask(file, token), answer, "{token}");
    }
    assert_eq!(ask("/api/models/a/gated", "").0, 200);
    assert_eq!(ask("/api/whoami-v2", "hf_other").0, 200);
}

#[test]
fn uploads_end_in_one_commit_or_in_none() {
    let hub = Loopback::start();
    hub.token("hf_w", "a", Access::Write);
    hub.token("hf_r", "a", Access::Read);
    hub.part(1000);
    let made = r#"{"name":"m","organization":null,"private":true,"type":"model"}"#;
    assert_eq!(post(&hub, "/api/repos/create", "hf_r", made).status, 403);
    assert_eq!(post(&hub, "/api/repos/create", "hf_w", made).json()["name"], "a/m");
    assert_eq!(post(&hub, "/api/repos/create", "hf_w", made).status, 409);
    assert!(hub.repo("a/m").is_private());
    let modes = json!({ "files": [
        { "path": "config.json", "size": 3, "sample": "e30K" },
        { "path": "x.dat", "size": 3, "sample": "AAEC" },
        { "path": "m.safetensors", "size": 3, "sample": "e30K" },
    ] });
    let modes = post(&hub, "/api/models/a/m/preupload/main", "hf_w", &modes.to_string()).json();
    assert_eq!(
        ["regular", "lfs", "lfs"].map(Value::from),
        [0, 1, 2].map(|i| modes["files"][i]["uploadMode"].clone())
    );

    let (small, large) = (bytes(700), bytes(2500));
    let objects = json!({ "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256", "objects":
        [{ "oid": sha256(&small), "size": 700 }, { "oid": sha256(&large), "size": 2500 }] });
    let batch = |n: usize| {
        let answer = post(&hub, "/a/m.git/info/lfs/objects/batch", "hf_w", &objects.to_string()).json();
        answer["objects"][n]["actions"].clone()
    };
    let commit = |oid: &str, size: usize| {
        let lines = [
            json!({ "key": "header", "value": { "summary": "two files", "description": "" } }),
            json!({ "key": "file", "value": { "path": "config.json", "content": "e30K", "encoding": "base64" } }),
            json!({ "key": "lfsFile", "value": { "path": "m.safetensors", "algo": "sha256", "oid": oid, "size": size } }),
        ];
        post(&hub, "/api/models/a/m/commit/main", "hf_w", &lines.map(|l| l.to_string()).join("\n"))
    };
    let before = hub.repo("a/m").head("main");
    let put = |link: &Value, headers: &[(&str, &str)], body: &[u8]| {
        let (address, target) = place(link.as_str().unwrap());
        assert_eq!(address, hub.address(Port::Cdn));
        ask(address, "PUT", target, headers, body).unwrap()
    };
    let verify = |oid: &str, size: usize| {
        let body = json!({ "oid": oid, "size": size }).to_string();
        post(&hub, "/a/m.git/info/lfs/objects/verify", "hf_w", &body).status
    };
    // Nothing sent, and something else sent: not accepted.
    assert_eq!(commit(&sha256(&small), 700).status, 400);
    let link = batch(0)["upload"]["href"].clone();
    assert_eq!(put(&link, &[], &bytes(701)).status, 200);
    assert_eq!((verify(&sha256(&small), 700), commit(&sha256(&small), 700).status), (404, 400));
    assert_eq!(put(&link, &[("Transfer-Encoding", "chunked")], b"2\r\nab\r\n0\r\n\r\n").status, 501);
    assert_eq!(put(&link, &[], &small).status, 200);
    assert_eq!(verify(&sha256(&small), 700), 200);
    assert_eq!(batch(0), Value::Null, "nothing to do for what is there");
    assert_eq!(hub.repo("a/m").head("main"), before);

    // In parts: all of them, in order, with what each was answered with.
    let upload = batch(1)["upload"].clone();
    assert_eq!(upload["header"]["chunk_size"], "1000");
    let parts: Vec<Value> = (0..3)
        .map(|i| {
            let link = &upload["header"][format!("{:05}", i + 1)];
            let reply = put(link, &[], large.chunks(1000).nth(i).unwrap());
            json!({ "partNumber": i + 1, "etag": reply.header("ETag") })
        })
        .collect();
    let complete = |parts: &[Value]| {
        let (_, target) = place(upload["href"].as_str().unwrap());
        let body = json!({ "oid": sha256(&large), "parts": parts }).to_string();
        ask(&hub.address(Port::Hub), "POST", target, &[], body.as_bytes()).unwrap().status
    };
    assert_eq!((complete(&parts[..2]), complete(&parts)), (400, 200));
    let done = commit(&sha256(&large), 2500).json();
    let repo = hub.repo("a/m");
    assert_eq!(repo.head("main").unwrap(), done["commitOid"].as_str().unwrap());
    assert_eq!(repo.files("main"), [".gitattributes", "config.json", "m.safetensors"]);
    assert_eq!(repo.read("main", "m.safetensors").unwrap(), large);
    assert_eq!(repo.read("main", "config.json").unwrap(), b"{}\n");
    let stale =
        format!(r#"{{"key":"header","value":{{"summary":"s","parentCommit":"{}"}}}}"#, before.unwrap());
    assert_eq!(post(&hub, "/api/models/a/m/commit/main", "hf_w", &stale).status, 412);
    assert_eq!(
        post(&hub, "/api/models/a/m/commit/gone", "hf_w", &stale).header("X-Error-Code"),
        "RevisionNotFound"
    );
    assert_eq!(post(&hub, "/api/models/a/m/branch/b", "hf_w", "{}").status, 200);
    assert_eq!(post(&hub, "/api/models/a/m/branch/b", "hf_w", "{}").status, 409);
    let card = json!({ "content": "---\nbase_model: nowhere\ntags: [merge]\n---\ntext" }).to_string();
    assert_eq!(post(&hub, "/api/validate-yaml", "hf_w", &card).status, 400);
    let card = json!({ "content": "---\nbase_model: [a/b]\ntags: [merge]\n---\ntext" }).to_string();
    assert_eq!(post(&hub, "/api/validate-yaml", "hf_w", &card).status, 200);
}

#[test]
fn faults_come_when_and_as_often_as_they_are_told_to() {
    let hub = Loopback::start();
    let weights = bytes(10_000);
    hub.repo("a/m").put_lfs("m.safetensors", weights.clone()).commit();
    let link = get(&hub, "/a/m/resolve/main/m.safetensors", &[]).header("Location").to_owned();
    let (address, target) = place(&link);
    let read = |headers: &[(&str, &str)]| ask(address, "GET", target, headers, b"");

    hub.fault(Fault::on("m.safetensors").cut(123).times(2).after(1));
    // The link itself is no occasion: it has no body of the file.
    assert_eq!(get(&hub, "/a/m/resolve/main/m.safetensors", &[]).status, 302);
    let lengths: Vec<usize> = (0..4).map(|_| read(&[]).unwrap().body.len()).collect();
    assert_eq!(lengths, [10_000, 123, 123, 10_000]);
    assert_eq!(hub.requests().last().unwrap().sent, 10_000);

    hub.fault(Fault::on("m.safetensors").flip(5000));
    assert_eq!(read(&[("Range", "bytes=0-4999")]).unwrap().body, weights[..5000]);
    let differs = |body: Vec<u8>| (0..10_000).filter(|i| body[*i] != weights[*i]).collect::<Vec<_>>();
    assert_eq!(differs(read(&[]).unwrap().body), [5000]);
    assert!(differs(read(&[]).unwrap().body).is_empty());

    hub.fault(Fault::on("m.safetensors").stall(100, Duration::from_millis(150)));
    let begin = Instant::now();
    assert!(read(&[]).unwrap().body == weights && begin.elapsed() >= Duration::from_millis(150));

    hub.fault(Fault::on("m.safetensors").busy(429, "3").port(Port::Cdn));
    assert_eq!(get(&hub, "/a/m/resolve/main/m.safetensors", &[]).status, 302);
    let busy = read(&[]).unwrap();
    assert_eq!((busy.status, busy.header("Retry-After")), (429, "3"));

    hub.fault(Fault::on("m.safetensors").ignore_range());
    let all = read(&[("Range", "bytes=9000-")]).unwrap();
    assert_eq!((all.status, all.header("Content-Range"), all.body.len()), (200, "", 10_000));
    hub.fault(Fault::on("m.safetensors").length_off(10));
    let longer = read(&[]).unwrap();
    assert_eq!((longer.header("Content-Length"), longer.body.len()), ("10010", 10_000));
    hub.fault(Fault::on("m.safetensors").close());
    assert!(read(&[]).is_none());
    hub.fault(Fault::on("/resolve/main/m.safetensors").no_hashes());
    assert_eq!(get(&hub, "/a/m/resolve/main/m.safetensors", &[]).header("X-Linked-ETag"), "");
    hub.fault(Fault::on("/resolve/main/m.safetensors").missing());
    assert_eq!(get(&hub, "/a/m/resolve/main/m.safetensors", &[]).header("X-Error-Code"), "EntryNotFound");

    let repo = hub.repo("a/m");
    hub.fault(Fault::on("/tree/").meanwhile(move || {
        repo.put("new.txt", "new").commit();
    }));
    assert_eq!(get(&hub, "/api/models/a/m", &[]).json()["siblings"].as_array().unwrap().len(), 1);
    assert_eq!(get(&hub, "/api/models/a/m/tree/main", &[]).json().as_array().unwrap().len(), 2);
    assert_eq!(hub.faults_left(), 0);

    hub.token("hf_w", "a", Access::Write);
    hub.fault(Fault::on("/commit/").cut_upload(4));
    let broken = ask(&hub.address(Port::Hub), "POST", "/api/models/a/m/commit/main", &[], b"0123456789");
    assert!(broken.is_none());
    let last = hub.requests().pop().unwrap();
    assert_eq!((last.status, last.received, last.method.as_str()), (0, 4, "POST"));
}

#[test]
fn connections_stay_open_and_end_with_the_server() {
    let hub = Loopback::start();
    hub.repo("a/m").put("f", "text").commit();
    let stream = TcpStream::connect(hub.address(Port::Hub)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for method in ["HEAD", "GET", "GET"] {
        (&stream).write_all(format!("{method} /a/m/resolve/main/f HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(reply(&mut reader, method).unwrap().status, 307);
    }
    // A body in chunks.
    (&stream).write_all(b"POST /api/validate-yaml HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    (&stream).write_all(b"9\r\n{\"content\r\n5\r\n\":\"\"}\r\n0\r\n\r\n").unwrap();
    assert_eq!(reply(&mut reader, "POST").unwrap().json()["warnings"].as_array().unwrap().len(), 1);
    let address = hub.address(Port::Hub);
    drop(hub);
    assert_eq!(reader.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(address).is_err());
}
