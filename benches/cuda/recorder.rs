//! A runtime that counts what is uploaded, and writes launches down to do them again by themselves.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use growmerge::device::cuda::runtime::{Address, Kernel, Lane, Memory, Runtime, Shape};
use growmerge::device::cuda::source::Source;
use growmerge::problem::ExecError;

#[derive(Debug)]
pub(crate) struct Recorder {
    inner: Arc<dyn Runtime>,
    notes: Arc<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    uploaded: AtomicU64,
    lanes: AtomicUsize,
    recording: AtomicBool,
    launches: Mutex<Vec<Launch>>,
}

#[derive(Clone, Debug)]
struct Launch {
    lane: usize,
    kernel: Arc<dyn Kernel>,
    shape: Shape,
    words: Vec<u64>,
}

/// Launches of a merge, in the order of their queues.
pub(crate) struct Recording {
    inner: Arc<dyn Runtime>,
    by_lane: Vec<Vec<Launch>>,
}

impl Recorder {
    pub(crate) fn new(inner: Arc<dyn Runtime>) -> Self {
        Self { inner, notes: Arc::default() }
    }

    /// Bytes that were uploaded since the last call.
    pub(crate) fn take_uploaded(&self) -> u64 {
        self.notes.uploaded.swap(0, Ordering::Relaxed)
    }

    /// Writes down what is launched meanwhile. What the launches read and write must stay allocated until they were replayed: the
    /// device that made them keeps its memory.
    pub(crate) fn record(&self, act: impl FnOnce()) -> Recording {
        self.notes.recording.store(true, Ordering::SeqCst);
        act();
        self.notes.recording.store(false, Ordering::SeqCst);
        let mut by_lane: Vec<Vec<Launch>> = Vec::new();
        for launch in self.notes.launches.lock().unwrap().drain(..) {
            by_lane.resize_with(by_lane.len().max(launch.lane + 1), Vec::new);
            by_lane[launch.lane].push(launch);
        }
        by_lane.retain(|launches| !launches.is_empty());
        Recording { inner: self.inner.clone(), by_lane }
    }
}

impl Recording {
    /// Nothing was launched.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_lane.is_empty()
    }

    /// Does all of it once more, the queues side by side, and waits. Results are of no use: counters begin where they ended.
    pub(crate) fn replay(&self) {
        std::thread::scope(|scope| {
            for launches in &self.by_lane {
                scope.spawn(move || {
                    let mut lane = self.inner.lane().unwrap();
                    for launch in launches {
                        lane.launch(launch.kernel.as_ref(), launch.shape, &launch.words).unwrap();
                    }
                    lane.wait().unwrap();
                });
            }
        });
    }
}

/// A kernel that can be kept beside the one who launches it.
#[derive(Debug)]
struct Shared(Arc<dyn Kernel>);

impl Kernel for Shared {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Runtime for Recorder {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn memory(&self) -> Result<Memory, ExecError> {
        self.inner.memory()
    }

    fn processors(&self) -> u32 {
        self.inner.processors()
    }

    fn compile(&self, source: &Source) -> Result<Arc<dyn Kernel>, ExecError> {
        Ok(Arc::new(Shared(self.inner.compile(source)?)))
    }

    fn lane(&self) -> Result<Box<dyn Lane>, ExecError> {
        let number = self.notes.lanes.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Watched { inner: self.inner.lane()?, number, notes: self.notes.clone() }))
    }
}

#[derive(Debug)]
struct Watched {
    inner: Box<dyn Lane>,
    number: usize,
    notes: Arc<Notes>,
}

impl Lane for Watched {
    fn allocate(&mut self, bytes: usize) -> Result<Address, ExecError> {
        self.inner.allocate(bytes)
    }

    fn free(&mut self, at: Address) {
        self.inner.free(at);
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), ExecError> {
        self.notes.uploaded.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.inner.upload(to, bytes)
    }

    fn clear(&mut self, at: Address, bytes: usize) -> Result<(), ExecError> {
        self.inner.clear(at, bytes)
    }

    fn launch(&mut self, kernel: &dyn Kernel, shape: Shape, words: &[u64]) -> Result<(), ExecError> {
        let Some(Shared(kernel)) = kernel.as_any().downcast_ref() else {
            return Err(ExecError::Device { what: "a kernel of another runtime".into() });
        };
        if self.notes.recording.load(Ordering::SeqCst) {
            let (lane, words) = (self.number, words.to_vec());
            self.notes.launches.lock().unwrap().push(Launch { lane, kernel: kernel.clone(), shape, words });
        }
        self.inner.launch(kernel.as_ref(), shape, words)
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), ExecError> {
        self.inner.download(from, bytes)
    }

    fn wait(&mut self) -> Result<(), ExecError> {
        self.inner.wait()
    }
}
