//! What is shown while files arrive: a bar for each, and one for all.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use growmerge::hub::Observer;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::progress::{Measure, Progress};
use super::size;

/// Shows how files arrive.
pub(super) struct Bars {
    /// One for each file, on a terminal.
    files: Option<MultiProgress>,
    total: Progress,
    running: Mutex<HashMap<usize, File>>,
}

/// A file on its way.
struct File {
    bar: Option<ProgressBar>,
    /// Bytes that the total knows of.
    told: u64,
}

impl Bars {
    pub(super) fn new(silent: bool) -> Self {
        let terminal = !silent && std::io::stderr().is_terminal();
        let files = terminal.then(MultiProgress::new);
        let total = match (&files, Progress::new(Measure::Bytes, silent)) {
            (Some(files), Progress::Bar(bar)) => Progress::Bar(files.add(bar)),
            (_, total) => total,
        };
        Self { files, total, running: Mutex::default() }
    }

    /// Takes the bars away.
    pub(super) fn finish(&self) {
        for (_, file) in self.running().drain() {
            file.bar.iter().for_each(ProgressBar::finish_and_clear);
        }
        self.total.finish();
    }

    fn running(&self) -> MutexGuard<'_, HashMap<usize, File>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        matches!(self.total, Progress::Silent)
    }

    fn bar(&self, name: &str, bytes: u64) -> Option<ProgressBar> {
        let files = self.files.as_ref()?;
        let bar = files.insert_from_back(1, ProgressBar::new(bytes));
        let style =
            ProgressStyle::with_template("{bar:20} {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12}  {msg}");
        style.into_iter().for_each(|style| bar.set_style(style));
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Some(bar)
    }
}

impl Observer for Bars {
    fn begin(&self, bytes: u64, here: u64) {
        self.total.announce(bytes);
        if !self.is_silent() && bytes > 0 {
            let before =
                if here > 0 { format!(", {} of it here already", size::show(here)) } else { String::new() };
            let text = format!("fetching {}{before}", size::show(bytes));
            match &self.files {
                Some(files) => drop(files.println(text)),
                None => eprintln!("{text}"),
            }
        }
    }

    fn file(&self, file: usize, name: &str, bytes: u64) {
        let bar = self.bar(name, bytes);
        self.running().insert(file, File { bar, told: 0 });
    }

    fn here(&self, file: usize, bytes: u64) {
        let mut running = self.running();
        let Some(file) = running.get_mut(&file) else { return };
        file.bar.iter().for_each(|bar| bar.set_position(bytes));
        // A file that had to be begun again is not taken back from the total.
        self.total.add(bytes.saturating_sub(file.told));
        file.told = file.told.max(bytes);
    }

    fn done(&self, file: usize) {
        if let Some(File { bar: Some(bar), .. }) = self.running().remove(&file) {
            bar.finish_and_clear();
        }
    }
}
