//! The loopback Hub as it is read from, asked over plain TCP.

use serde_json::json;

use crate::loopback::{Access, Loopback, Port};
use crate::plain::{ask, bytes, get, place, sha256};

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
