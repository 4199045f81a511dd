//! Progress of a merge: a bar with GB/s and time left; on a pipe, a line now and then.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use growmerge::execute::Observer;
use indicatif::{ProgressBar, ProgressStyle};

use super::size;

/// On a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how many input bytes are dealt with.
pub(super) enum Progress {
    /// A terminal.
    Bar(ProgressBar),
    /// A pipe or a log file.
    Lines { total: u64, done: AtomicU64, started: Instant, last: Mutex<Instant> },
    /// `--quiet`, or JSON.
    Silent,
}

impl Progress {
    /// For `total` bytes.
    pub(super) fn new(total: u64, silent: bool) -> Self {
        if silent {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Self::Lines { total, done: AtomicU64::new(0), started: now, last: Mutex::new(now) };
        }
        let bar = ProgressBar::new(total);
        let template = "{bar:40} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Bar(bar)
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn advance(&self, bytes: u64) {
        match self {
            Self::Bar(bar) => bar.inc(bytes),
            Self::Lines { total, done, started, last } => {
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    let rate = done as f64 / started.elapsed().as_secs_f64();
                    let left = (total.saturating_sub(done)) as f64 / rate;
                    eprintln!(
                        "{:3.0}%  {} of {}  {}/s  {left:.0} s left",
                        100.0 * done as f64 / (*total).max(1) as f64,
                        size::show(done),
                        size::show(*total),
                        size::show(rate as u64),
                    );
                }
            }
            Self::Silent => {}
        }
    }
}
