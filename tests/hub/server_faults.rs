//! The loopback Hub when things go wrong: exactly as often as a test says.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::loopback::{Access, Fault, Loopback, Port};
use crate::plain::{ask, bytes, get, place, reply};

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
