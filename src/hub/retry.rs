//! Trying again: what may pass by itself gets some time to do so.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use super::trouble::{Again, Trouble};

/// How often to look whether to go on.
const LOOK: Duration = Duration::from_millis(100);

/// How often something is tried, and how long is waited in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tries without any progress, the first one included.
    pub tries: u32,
    /// The wait after the first try; it doubles with each.
    pub first: Duration,
    /// The longest wait of our own choice.
    pub longest: Duration,
    /// The longest wait that a server may ask for.
    pub patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 5,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(8),
            // The Hub counts requests in windows of five minutes.
            patience: Duration::from_secs(300),
        }
    }
}

impl Policy {
    /// Before try number `tried + 1`, with half of it left to chance: clients that failed together should not come
    /// back together.
    fn wait(&self, tried: u32, asked: Option<Duration>, chance: f64) -> Duration {
        match asked {
            Some(asked) => asked.min(self.patience),
            None => {
                let doubled = self.first.saturating_mul(2u32.saturating_pow(tried.saturating_sub(1)));
                doubled.min(self.longest).mul_f64(0.5 + 0.5 * chance)
            }
        }
    }
}

/// The tries of one thing.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Without progress, the one under way not counted.
    failed: u32,
}

impl Tries {
    /// This try got further than all before it: whatever ends it, the count begins again. Must not be said of
    /// bytes that were there already, or a server that always fails at the same place is asked for ever.
    pub(super) fn progress(&mut self) {
        self.failed = 0;
    }
}

/// Calls `once` until it succeeds, fails in a way that more tries do not mend, or has failed often enough.
pub(super) fn run<T>(
    policy: &Policy,
    once: impl FnMut(&mut Tries) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    run_until(policy, &|| false, once)
}

/// As [`run`], given up as soon as it is to be: what failed last is told then.
pub(super) fn run_until<T>(
    policy: &Policy,
    is_cancelled: &dyn Fn() -> bool,
    once: impl FnMut(&mut Tries) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let sleep = |wait: Duration| {
        let until = Instant::now() + wait;
        while !is_cancelled() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return true,
                left => std::thread::sleep(left.min(LOOK)),
            }
        }
        false
    };
    run_with(policy, sleep, once)
}

/// `sleep` says whether to go on.
fn run_with<T>(
    policy: &Policy,
    mut sleep: impl FnMut(Duration) -> bool,
    mut once: impl FnMut(&mut Tries) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut tries = Tries::default();
    loop {
        let trouble = match once(&mut tries) {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        tries.failed += 1;
        let asked = match trouble.kind.again() {
            Again::Useless => return Err(trouble),
            Again::After(asked) => asked,
        };
        if tries.failed >= policy.tries {
            return Err(trouble);
        }
        let wait = policy.wait(tries.failed, asked, chance());
        if wait > policy.longest {
            tracing::warn!("{trouble}; trying again in {} s", wait.as_secs());
        } else {
            tracing::info!("{trouble}; trying again in {} ms", wait.as_millis());
        }
        if !sleep(wait) {
            return Err(trouble);
        }
    }
}

/// A number in [0, 1), another one each time.
fn chance() -> f64 {
    // The standard library's hashers are keyed at random, which is all that is needed here.
    let bits = std::hash::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::trouble::{About, Kind};

    const POLICY: Policy = Policy {
        tries: 4,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(250),
        patience: Duration::from_secs(60),
    };

    fn trouble(kind: Kind) -> Trouble {
        About::default().trouble(kind)
    }

    fn cut() -> Trouble {
        trouble(Kind::Cut { host: "h".into(), why: "w".into() })
    }

    /// The waits in between, and how it ended.
    fn tried(kinds: Vec<Result<(), Kind>>) -> (Vec<Duration>, Result<(), Trouble>) {
        let mut waits = Vec::new();
        let mut kinds = kinds.into_iter();
        let ended = run_with(
            &POLICY,
            |wait| {
                waits.push(wait);
                true
            },
            |_| kinds.next().unwrap().map_err(trouble),
        );
        assert!(kinds.next().is_none(), "not all of them were asked for");
        (waits, ended)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let server = || Err(Kind::Server { host: "h".into(), status: 503, after: None });
        let (waits, ended) = tried(vec![server(), server(), server(), server()]);
        assert!(ended.is_err());
        let ms: Vec<u128> = waits.iter().map(Duration::as_millis).collect();
        assert!((50..=100).contains(&ms[0]) && (100..=200).contains(&ms[1]), "{ms:?}");
        assert!((125..=250).contains(&ms[2]) && ms.len() == 3, "{ms:?}");
    }

    #[test]
    fn a_server_that_names_a_time_gets_it_within_reason() {
        let limited = |s| Err(Kind::RateLimited { after: Some(Duration::from_secs(s)) });
        let (waits, ended) = tried(vec![limited(7), limited(10_000), Ok(())]);
        assert!(ended.is_ok());
        assert_eq!(waits, [Duration::from_secs(7), POLICY.patience]);
    }

    #[test]
    fn what_cannot_be_mended_is_tried_once() {
        let (waits, ended) = tried(vec![Err(Kind::NoSuchFile)]);
        assert!(waits.is_empty() && ended.is_err());
    }

    #[test]
    fn progress_begins_the_count_again() {
        let mut calls = 0;
        let ended = run_with(
            &POLICY,
            |_| true,
            |tries| -> Result<(), Trouble> {
                calls += 1;
                if calls <= 10 {
                    tries.progress();
                }
                Err(cut())
            },
        );
        assert!(ended.is_err());
        assert_eq!(calls, 10 + 3, "the tenth call fails once, three more follow");
    }

    #[test]
    fn chance_is_within_its_bounds_and_varies() {
        let drawn: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        assert!(drawn.iter().any(|x| *x < 0.5) && drawn.iter().any(|x| *x >= 0.5));
    }
}
