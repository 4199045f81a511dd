//! A thread that flushes files on request, while tensors are still being merged.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

type Flushed = Result<(), (usize, io::Error)>;

/// Its errors count: the system reports a failed write-back once, to whoever asks first.
#[derive(Debug)]
pub(super) struct Flusher(Mutex<Option<(mpsc::Sender<usize>, JoinHandle<Flushed>)>>);

impl Flusher {
    /// One that does nothing.
    pub(super) fn idle() -> Self {
        Self(Mutex::new(None))
    }

    /// One that flushes these files; where no thread can be had, one that does nothing.
    pub(super) fn start(files: Vec<Arc<File>>) -> Self {
        let (requests, queue) = mpsc::channel::<usize>();
        let work = move || queue.iter().try_for_each(|i| files[i].sync_data().map_err(|e| (i, e)));
        let thread = std::thread::Builder::new().name("flush".into()).spawn(work).ok();
        Self(Mutex::new(thread.map(|thread| (requests, thread))))
    }

    /// Asks for a file to be flushed.
    pub(super) fn flush(&self, file: usize) {
        if let Some((requests, _)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // The thread ends early only on an error, which `join` reports.
            let _ = requests.send(file);
        }
    }

    /// Waits for all requests. The error names the file.
    pub(super) fn join(&self) -> Flushed {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((requests, thread)) = taken else { return Ok(()) };
        drop(requests);
        // A thread that panicked has flushed nothing more; the final sync is still to come.
        thread.join().unwrap_or(Ok(()))
    }
}
