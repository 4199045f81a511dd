//! One file, brought into the cache: continued where it was cut, checked against what it is known by, and shown only when
//! it is whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use super::cache::{self, Cache};
use super::digest::Sum;
use super::name::RepoName;
use super::retry::{self, Tries};
use super::trouble::{About, Kind, Trouble};
use super::web::Web;
use crate::checkpoint::{Identity, Listed, Watch};
use crate::problem::{Error, ExecError, Problem};

/// How often to look whether another process is done with a file.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes read at once of what arrived before.
const BLOCK: usize = 1 << 20;

/// What is wanted.
pub(super) struct Download<'a> {
    pub(super) web: &'a Web,
    pub(super) cache: &'a Cache,
    pub(super) repo: &'a RepoName,
    pub(super) commit: &'a str,
    pub(super) file: &'a Listed,
    pub(super) watch: &'a dyn Watch,
}

/// How a try ended that was not the network's fault.
enum Stop {
    Trouble(Trouble),
    Machine(ExecError),
}

impl Download<'_> {
    /// Brings it here, unless it is.
    ///
    /// # Errors
    /// What the Hub, the network or the disk does; a file whose bytes are not those that the Hub lists.
    pub(super) fn run(&self) -> Result<(), Error> {
        let about = About::repo(self.repo).revision(self.commit).file(&self.file.name);
        let Some(identity) = &self.file.identity else {
            return Err(about.trouble(Kind::Odd("it lists the file without a hash".into())).into());
        };
        let key = cache::key(identity);
        if !self.is_whole(key) {
            let lock = self.cache.lock(key)?;
            self.wait_for(&lock, key)?;
            // Another process may have been quicker.
            if !self.is_whole(key) {
                self.fetch(&about, identity)?;
            }
        }
        self.watch.here(self.file.bytes);
        Ok(self.cache.link(self.commit, &self.file.name, key)?)
    }

    fn is_whole(&self, key: &str) -> bool {
        fs::metadata(self.cache.blob(key))
            .is_ok_and(|about| about.is_file() && about.len() == self.file.bytes)
    }

    /// The Python client locks the same file in the same way.
    fn wait_for(&self, lock: &File, key: &str) -> Result<(), Error> {
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if self.watch.is_cancelled() => {
                    return Err(ExecError::Interrupted.into());
                }
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            "{}: {}: waiting for another process that fetches it",
                            self.repo,
                            self.file.name
                        );
                    }
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::Error(e)) => {
                    return Err(ExecError::io("lock", &self.cache.blob(key))(e).into());
                }
            }
        }
    }

    fn fetch(&self, about: &About, identity: &Identity) -> Result<(), Error> {
        let key = cache::key(identity);
        let path = self.cache.partial(key);
        cache::make_parent(&path)?;
        // What arrived before may be wrong; what arrives now from the beginning is not given a third chance.
        for last in [false, true] {
            let mut partial = Partial::open(&path, identity, self.file.bytes)?;
            let begun = partial.len > 0;
            self.fill(&mut partial)?;
            let found = partial.sum.identity();
            if found == *identity {
                partial.file.sync_all().map_err(ExecError::io("sync", &path))?;
                drop(partial.file);
                fs::rename(&path, self.cache.blob(key)).map_err(ExecError::io("rename", &path))?;
                self.cache.set_verified(key);
                return Ok(());
            }
            fs::remove_file(&path).map_err(ExecError::io("remove", &path))?;
            if last || !begun {
                let what = format!(
                    "what arrived is not what the Hub lists: its hash is {}, expected was {key}; it was deleted",
                    cache::key(&found)
                );
                let hint =
                    "fetch it again; if that does not help, a proxy or a mirror changes files on the way";
                return Err(Problem::error(about.to_string(), what).hint(hint).into());
            }
            tracing::warn!("{about}: what had arrived before is damaged; fetching it from the beginning");
        }
        Ok(())
    }

    /// Adds what is missing, however often the connection breaks.
    fn fill(&self, partial: &mut Partial) -> Result<(), Error> {
        let mut machine = None;
        let mut furthest = partial.len;
        let is_cancelled = || self.watch.is_cancelled();
        let filled = retry::run_until(self.web.policy(), &is_cancelled, |tries| {
            let now = self.once(partial, tries, &mut furthest);
            now.or_else(|stop| match stop {
                Stop::Trouble(trouble) => Err(trouble),
                Stop::Machine(error) => {
                    machine = Some(error);
                    Ok(())
                }
            })
        });
        match (filled, machine) {
            (_, Some(error)) => Err(error.into()),
            (Err(_), None) if is_cancelled() => Err(ExecError::Interrupted.into()),
            (filled, None) => Ok(filled?),
        }
    }

    /// One connection.
    fn once(&self, partial: &mut Partial, tries: &mut Tries, furthest: &mut u64) -> Result<(), Stop> {
        let len = self.file.bytes;
        if partial.len == len {
            return Ok(());
        }
        let about = || About::repo(self.repo).revision(self.commit).file(&self.file.name);
        let wanted = (partial.len > 0).then_some(partial.len..len);
        let mut body =
            self.web.get(self.repo, self.commit, &self.file.name, wanted).map_err(Stop::Trouble)?;
        match body.total {
            // Less may come of a connection that breaks behind a proxy; more cannot be the file.
            Some(total) if total < len => {
                let why = format!("{total} of {len} bytes are sent");
                return Err(Stop::Trouble(about().trouble(Kind::Cut { host: body.host(), why })));
            }
            Some(total) if total > len => {
                let what = format!("{total} bytes are sent, {len} are listed");
                return Err(Stop::Trouble(about().trouble(Kind::Odd(what))));
            }
            _ => {}
        }
        if body.first != partial.len {
            partial.restart(len)?;
        }
        while let Some(bytes) = body.chunk().map_err(Stop::Trouble)? {
            if self.watch.is_cancelled() {
                return Err(Stop::Machine(ExecError::Interrupted));
            }
            if partial.len + bytes.len() as u64 > len {
                let what = format!("more is sent than the {len} bytes that are listed");
                return Err(Stop::Trouble(about().trouble(Kind::Odd(what))));
            }
            partial.add(&bytes)?;
            if partial.len > *furthest {
                *furthest = partial.len;
                tries.progress();
            }
            self.watch.here(partial.len);
        }
        if partial.len < len {
            let why = format!("{} of {len} bytes arrived", partial.len);
            return Err(Stop::Trouble(about().trouble(Kind::Cut { host: body.host(), why })));
        }
        Ok(())
    }
}

/// A file that is arriving.
struct Partial<'a> {
    path: &'a Path,
    file: File,
    identity: &'a Identity,
    len: u64,
    sum: Sum,
}

impl<'a> Partial<'a> {
    /// What arrived before, summed; more than the file has cannot be of it.
    fn open(path: &'a Path, identity: &'a Identity, len: u64) -> Result<Self, ExecError> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = open.map_err(ExecError::io("open", path))?;
        let mut sum = Sum::new(identity, len);
        let mut there = 0;
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block).map_err(ExecError::io("read", path))? {
                0 => break,
                n => {
                    sum.add(&block[..n]);
                    there += n as u64;
                }
            }
        }
        let mut partial = Self { path, file, identity, len: there, sum };
        if there > len {
            partial.begin_again(len)?;
        }
        Ok(partial)
    }

    fn begin_again(&mut self, len: u64) -> Result<(), ExecError> {
        use std::io::Seek;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(ExecError::io("empty", self.path))?;
        self.len = 0;
        self.sum = Sum::new(self.identity, len);
        Ok(())
    }

    fn restart(&mut self, len: u64) -> Result<(), Stop> {
        self.begin_again(len).map_err(Stop::Machine)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.file.write_all(bytes).map_err(|e| Stop::Machine(ExecError::io("write", self.path)(e)))?;
        self.sum.add(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}
