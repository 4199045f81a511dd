//! The loopback Hub as it is written to: what ends in a commit, and what does not.

use serde_json::{Value, json};

use crate::loopback::{Access, Loopback, Port};
use crate::plain::{ask, bytes, place, post, sha256};

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
