//! Progress: a bar with speed and time left; on a pipe, a line now and then.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use growmerge::execute::Observer;
use indicatif::{ProgressBar, ProgressStyle};

use super::size;

/// On a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Bytes of inputs.
    Bytes,
    /// Tokens of text.
    Tokens,
}

impl Measure {
    fn show(self, n: u64) -> String {
        match self {
            Self::Bytes => size::show(n),
            Self::Tokens => format!("{} tokens", size::count(n)),
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Bytes => "{bar:40} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            Self::Tokens => "{bar:40} {percent:>3}%  {pos}/{len} tokens  {per_sec}  {eta} left",
        }
    }
}

/// Shows how much of the work is done.
pub(super) enum Progress {
    /// A terminal.
    Bar(ProgressBar),
    /// A pipe or a log file.
    Lines(Lines),
    /// `--quiet`, or JSON.
    Silent,
}

pub(super) struct Lines {
    measure: Measure,
    total: AtomicU64,
    done: AtomicU64,
    started: Instant,
    last: Mutex<Instant>,
}

impl Progress {
    /// Of work whose size [`Progress::announce`] will tell.
    pub(super) fn new(measure: Measure, silent: bool) -> Self {
        if silent {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            let (total, done) = (AtomicU64::new(0), AtomicU64::new(0));
            return Self::Lines(Lines { measure, total, done, started: now, last: Mutex::new(now) });
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(measure.template()) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Bar(bar)
    }

    /// How much there is to do.
    pub(super) fn announce(&self, total: u64) {
        match self {
            Self::Bar(bar) => bar.set_length(total),
            Self::Lines(lines) => lines.total.store(total, Ordering::Relaxed),
            Self::Silent => {}
        }
    }

    /// So much more is done.
    pub(super) fn add(&self, amount: u64) {
        match self {
            Self::Bar(bar) => bar.inc(amount),
            Self::Lines(lines) => lines.add(amount),
            Self::Silent => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn add(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            let total = self.total.load(Ordering::Relaxed);
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            let left = total.saturating_sub(done) as f64 / rate;
            eprintln!(
                "{:3.0}%  {} of {}  {}/s  {left:.0} s left",
                100.0 * done as f64 / total.max(1) as f64,
                self.measure.show(done),
                self.measure.show(total),
                self.measure.show(rate as u64),
            );
        }
    }
}

impl Observer for Progress {
    fn begin(&self, total: u64) {
        self.announce(total);
    }

    fn advance(&self, bytes: u64) {
        self.add(bytes);
    }

    fn note(&self, what: &str) {
        match self {
            Self::Bar(bar) => bar.println(format!("warning: {what}")),
            Self::Lines(_) => eprintln!("warning: {what}"),
            Self::Silent => {}
        }
    }
}
