//! What commands that carry out studies have in common: how large one is, what its report says of itself, and progress.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use growmerge_trainer::reproduce::{About, Lengths, Scale, Status, Study, Watch};
use growmerge_trainer::train;
use indicatif::{ProgressBar, ProgressStyle};

/// Scales, as they are asked for.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Size {
    /// A few minutes on two cores; shows that everything runs, and nothing else
    Smoke,
    /// Below an hour on two cores
    Mini,
    /// About ten hours on two cores, by the speed of mini
    Small,
}

impl Size {
    /// The scale and its name.
    pub(super) fn scale(self) -> (Scale, &'static str) {
        match self {
            Self::Smoke => (Scale::Smoke, "smoke"),
            Self::Mini => (Scale::Mini, "mini"),
            Self::Small => (Scale::Small, "small"),
        }
    }
}

/// How the report will say that it came about.
pub(super) fn about(commit: Option<&String>, threads: usize) -> About {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|m| m.1.to_owned()));
    let model = model.unwrap_or_else(|| std::env::consts::ARCH.into());
    About {
        command: format!("growmerge-trainer {}", words.join(" ")),
        version: env!("CARGO_PKG_VERSION"),
        commit: commit.cloned(),
        date: date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400),
        machine: format!("{model}, {threads} threads"),
        seconds: 0.0,
    }
}

/// Year, month and day of so many days after the first of January 1970, by Howard Hinnant's `civil_from_days`: years
/// begin in March, so that the leap day is their last.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// On a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar on a terminal, lines on a pipe, or nothing.
pub(super) struct Show {
    quiet: bool,
    pub(super) bar: ProgressBar,
    last: Mutex<Instant>,
    /// What is being made.
    stage: Mutex<String>,
    measured: AtomicUsize,
    /// What was said to be there, which searches look up for every setting.
    found: Mutex<BTreeSet<String>>,
}

impl Show {
    pub(super) fn new(quiet: bool) -> Self {
        let hidden = quiet || !std::io::stderr().is_terminal();
        let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left") {
            bar.set_style(style);
        }
        let (last, stage) = (Mutex::new(Instant::now()), Mutex::new(String::new()));
        Self { quiet, bar, last, stage, measured: AtomicUsize::new(0), found: Mutex::default() }
    }

    fn is_new(&self, name: &str) -> bool {
        self.found.lock().is_ok_and(|mut found| found.insert(name.to_owned()))
    }

    pub(super) fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// On a pipe, not more often than every ten seconds.
    fn now_and_then(&self, text: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            drop(last);
            self.say(&text());
        }
    }
}

impl Watch for Show {
    fn begin(&self, study: &Study, lengths: &Lengths) {
        self.say(&serde_yaml::to_string(study).unwrap_or_default());
        let each: Vec<String> = lengths.languages.iter().map(|(l, steps)| format!("{l} {steps}")).collect();
        self.say(&format!(
            "steps that the texts allow: {} + {} of English; {}\n",
            lengths.seed,
            lengths.english,
            each.join(", ")
        ));
    }

    fn stage(&self, name: &str, status: Status) {
        match status {
            Status::Begun => {
                if let Ok(mut stage) = self.stage.lock() {
                    name.clone_into(&mut stage);
                }
            }
            Status::Found => {
                if self.is_new(name) {
                    self.say(&format!("{name}: found"));
                }
            }
            Status::Done { seconds } => {
                self.is_new(name);
                self.say(&format!("{name}: {seconds:.1} s"));
            }
        }
    }

    fn measuring(&self, total: usize) {
        self.say(&format!("measuring {total} models and merges"));
        self.bar.reset();
        self.bar.set_length(total as u64);
        self.bar.set_message("models and merges");
    }

    fn measured(&self, count: usize) {
        let done = self.measured.fetch_add(count, Ordering::Relaxed) + count;
        self.bar.set_position(done as u64);
        self.now_and_then(|| format!("{done} measured"));
    }
}

impl train::Watch for Show {
    fn begin(&self, about: &train::About<'_>) {
        let stage = self.stage.lock().map(|s| s.clone()).unwrap_or_default();
        self.bar.reset();
        self.bar.set_length(about.run.steps);
        self.bar.set_message(stage);
        if !about.warnings.is_empty() {
            self.say(&about.warnings.to_string());
        }
    }

    fn line(&self, line: &train::Line) {
        if let train::Line::Step { step, loss, tokens, seconds, .. } = line {
            self.bar.set_position(*step);
            self.now_and_then(|| {
                format!("  step {step}, {tokens} tokens, {seconds:.0} s: {loss:.4} nats/token")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_are_dates() {
        assert_eq!(
            [0, 59, 11_016, 19_782, 20_781].map(date),
            ["1970-01-01", "1970-03-01", "2000-02-29", "2024-02-29", "2026-11-24"]
        );
    }
}
