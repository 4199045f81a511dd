//! A Hub on 127.0.0.1: what the Hugging Face Hub answers to a client that reads and writes models over plain
//! HTTP, with faults on request. Two ports: the hub itself, and where its signed links to large files lead (its CDN
//! and, for uploads, its store). Xet is not spoken.
//!
//! Paths, headers, keys and statuses are those that `huggingface_hub` 2.4 and `hf-hub` 1.0 ask for; `python.rs`
//! lets the former use this server.
#![allow(missing_docs, dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod card;
mod faults;
mod http;
mod listing;
mod objects;
mod repositories;
mod resolve;
mod routes;
mod server;
mod upload;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

pub use faults::Fault;
pub use http::Port;
pub use repositories::{Access, Repo};
pub use server::Seen;

/// A running server; it stops when this is dropped, with every open connection.
pub struct Loopback {
    hub: Arc<Hub>,
    accepting: Vec<JoinHandle<()>>,
}

/// What all connections share.
struct Hub {
    hub_port: u16,
    cdn_port: u16,
    state: Mutex<State>,
    /// Where uploads go.
    folder: tempfile::TempDir,
    stopping: AtomicBool,
    connections: Mutex<BTreeMap<u64, TcpStream>>,
}

struct State {
    repositories: BTreeMap<String, repositories::Repository>,
    /// Old names, and where those repositories are now.
    renamed: BTreeMap<String, String>,
    /// Secrets, whose they are, and what they allow.
    tokens: BTreeMap<String, (String, Access)>,
    faults: faults::Faults,
    seen: Vec<Seen>,
    /// Entries of a tree that come at once.
    page: usize,
    /// Larger objects are uploaded in parts of this many bytes.
    part: u64,
}

impl Loopback {
    /// Both ports are free ones.
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// The hub's own port is this one.
    pub fn start_at(port: u16) -> Self {
        let (hub_end, cdn_end) = (listener(port), listener(0));
        let state = State {
            repositories: BTreeMap::new(),
            renamed: BTreeMap::new(),
            tokens: BTreeMap::new(),
            faults: faults::Faults::default(),
            seen: Vec::new(),
            page: 1000,
            part: 16 << 20,
        };
        let hub = Arc::new(Hub {
            hub_port: hub_end.local_addr().unwrap().port(),
            cdn_port: cdn_end.local_addr().unwrap().port(),
            state: Mutex::new(state),
            folder: tempfile::tempdir().unwrap(),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = [(hub_end, Port::Hub), (cdn_end, Port::Cdn)]
            .map(|(end, port)| server::accept(hub.clone(), end, port))
            .into();
        Self { hub, accepting }
    }

    /// What `HF_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        self.hub.url(Port::Hub)
    }

    /// `host:port` of one of the two.
    pub fn address(&self, port: Port) -> String {
        self.hub.address(port)
    }

    /// A public model repository; made with an empty commit on `main` if there is none of this name.
    pub fn repo(&self, name: &str) -> Repo {
        self.hub
            .state()
            .repositories
            .entry(name.into())
            .or_insert_with(|| repositories::Repository::new(name));
        Repo::new(self.hub.clone(), name)
    }

    /// A token that the hub knows. It writes to the repositories of its owner.
    pub fn token(&self, secret: &str, owner: &str, access: Access) {
        self.hub.state().tokens.insert(secret.into(), (owner.into(), access));
    }

    /// What was at `from` is found at `to`, and the old name redirects there.
    pub fn rename(&self, from: &str, to: &str) {
        let mut state = self.hub.state();
        let mut repository = state.repositories.remove(from).expect(from);
        repository.name = to.into();
        state.repositories.insert(to.into(), repository);
        state.renamed.insert(from.into(), to.into());
    }

    /// Trees come in pages of this many entries.
    pub fn page(&self, entries: usize) {
        self.hub.state().page = entries;
    }

    /// Objects of more bytes than this are uploaded in parts of this size.
    pub fn part(&self, bytes: u64) {
        self.hub.state().part = bytes;
    }

    /// Something that goes wrong at its next occasion.
    pub fn fault(&self, fault: Fault) {
        self.hub.state().faults.add(fault);
    }

    /// Faults whose occasion has not come.
    pub fn faults_left(&self) -> usize {
        self.hub.state().faults.len()
    }

    /// Every request so far, in the order in which they were answered.
    pub fn requests(&self) -> Vec<Seen> {
        self.hub.state().seen.clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.hub.state().seen.clear();
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.hub.stopping.store(true, Ordering::SeqCst);
        for port in [self.hub.hub_port, self.hub.cdn_port] {
            let _ = TcpStream::connect(("127.0.0.1", port)); // wakes the thread that accepts
        }
        for thread in self.accepting.drain(..) {
            let _ = thread.join();
        }
        for connection in self.hub.connections.lock().unwrap().values() {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that fails while it holds the lock should not hide what it says behind a second panic.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn address(&self, port: Port) -> String {
        let number = match port {
            Port::Hub => self.hub_port,
            Port::Cdn => self.cdn_port,
        };
        format!("127.0.0.1:{number}")
    }

    fn url(&self, port: Port) -> String {
        format!("http://{}", self.address(port))
    }
}

fn listener(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|e| panic!("port {port}: {e}"))
}
