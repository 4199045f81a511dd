//! Many files, brought into the cache by a few threads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::checkpoint::{Place, Watch};
use crate::problem::{Error, ExecError, Problem, Problems};

/// Told how files arrive, from several threads.
pub trait Observer: Sync {
    /// Before the first: bytes of all files, and how many of them are here already.
    fn begin(&self, bytes: u64, here: u64);

    /// A file is begun, of so many bytes.
    fn file(&self, file: usize, name: &str, bytes: u64);

    /// So many bytes of a file are here.
    fn here(&self, file: usize, bytes: u64);

    /// A file is whole.
    fn done(&self, file: usize);
}

/// A file on its way.
struct Watching<'a> {
    observer: &'a dyn Observer,
    file: usize,
    stop: &'a AtomicBool,
    cancel: &'a AtomicBool,
}

impl Watch for Watching<'_> {
    fn here(&self, bytes: u64) {
        self.observer.here(self.file, bytes);
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.cancel.load(Ordering::Relaxed)
    }
}

/// Brings files here, `jobs` at a time; each once, however often it is named. When one fails the others stop, and what
/// arrived of them is continued by the next call.
///
/// # Errors
/// What is wrong with files, all of it; what the network or the disk does; too little space, before anything is asked for.
pub fn fetch(
    places: &[&Place],
    jobs: usize,
    observer: &dyn Observer,
    cancel: &AtomicBool,
) -> Result<(), Error> {
    let mut files: Vec<(&Place, u64)> = Vec::new();
    for place in places.iter().filter(|place| place.is_away()) {
        if files.iter().all(|(known, _)| known != place) {
            files.push((place, place.bytes()));
        }
    }
    let here: u64 = files.iter().map(|(place, _)| place.arrived()).sum();
    let all: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    if let Some((place, _)) = files.first() {
        refuse_if_full(place.folder.path(), all - here)?;
    }
    observer.begin(all, here);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (problems, machine) = (Mutex::new(Problems::new()), Mutex::new(None));
    let locked = |error: Error| {
        stop.store(true, Ordering::Relaxed);
        match error {
            Error::Input(found) => problems.lock().unwrap_or_else(PoisonError::into_inner).extend(found),
            // Those that were stopped have nothing to tell.
            Error::Exec(ExecError::Interrupted) => {}
            Error::Exec(error) => {
                machine.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    let work = || {
        while !stop.load(Ordering::Relaxed) && !cancel.load(Ordering::Relaxed) {
            let file = next.fetch_add(1, Ordering::Relaxed);
            let Some((place, bytes)) = files.get(file) else { break };
            observer.file(file, &place.folder.at(&place.name), *bytes);
            match place.bring(&Watching { observer, file, stop: &stop, cancel }) {
                Ok(()) => observer.done(file),
                Err(error) => locked(error),
            }
        }
    };
    std::thread::scope(|scope| (0..jobs.clamp(1, files.len().max(1))).for_each(|_| drop(scope.spawn(work))));
    let problems = problems.into_inner().unwrap_or_else(PoisonError::into_inner);
    let machine = machine.into_inner().unwrap_or_else(PoisonError::into_inner);
    match machine {
        _ if problems.has_errors() => Err(problems.into()),
        Some(error) => Err(error.into()),
        None if cancel.load(Ordering::Relaxed) => Err(ExecError::Interrupted.into()),
        None => Ok(()),
    }
}

/// Asks the file system that will have the files, by the nearest folder that exists.
fn refuse_if_full(folder: &Path, needed: u64) -> Result<(), Error> {
    let Some(there) = folder.ancestors().find(|f| f.is_dir()) else { return Ok(()) };
    let Ok(about) = rustix::fs::statvfs(there) else { return Ok(()) };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let what = format!("{needed} bytes are to be fetched, {free} are free");
    let problem = Problem::error(there.display().to_string(), what);
    Err(problem.hint("free some space, or choose another cache folder with --cache or HF_HUB_CACHE").into())
}
