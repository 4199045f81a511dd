//! How learning goes, for whoever waits.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use growmerge::tune::{Evaluation, Watch};

/// On a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A line for each look, and on the way now and then.
pub(super) struct Show {
    silent: bool,
    /// What is counted.
    count: &'static str,
    names: Vec<String>,
    last: Mutex<Instant>,
}

impl Show {
    pub(super) fn new(silent: bool, count: &'static str, names: Vec<String>) -> Self {
        Self { silent, count, names, last: Mutex::new(Instant::now()) }
    }

    fn line(&self, bits: &[f64]) -> String {
        let each = self.names.iter().zip(bits).map(|(name, bits)| format!("{name} {bits:.3}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Watch for Show {
    fn step(&self, step: u64, bits: &[f64]) {
        let Ok(mut last) = self.last.lock() else { return };
        if !self.silent && last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("{} {step}: {}", self.count, self.line(bits));
        }
    }

    fn looked(&self, look: &Evaluation) {
        if !self.silent {
            let Evaluation { step, value, bits } = look;
            eprintln!("after {} {step}, held out: {value:.4} ({})", self.count, self.line(bits));
        }
        if let Ok(mut last) = self.last.lock() {
            *last = Instant::now();
        }
    }
}
