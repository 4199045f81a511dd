//! The next token, from what a model predicts.

use crate::mix::{INCREMENT, mix};

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Predictions are raised to the power `1 / temperature`: 1 is what the model says, 0 always its likeliest token.
    pub temperature: f64,
    /// The likeliest tokens that have so much of the probability together are those to draw from (Holtzman et al. 2020,
    /// arXiv 1904.09751); 1 for all.
    pub top_p: f64,
    /// Tokens of a document, at most.
    pub length: usize,
    /// Decides what is drawn.
    pub seed: u64,
}

/// One document's draws.
#[derive(Debug)]
pub(super) struct Draw {
    temperature: f64,
    top_p: f64,
    state: u64,
}

/// Of each token its share, and the token.
pub(super) type Shares = Vec<(f64, u32)>;

impl Draw {
    pub(super) fn new(sampling: &Sampling, document: u64) -> Self {
        let Sampling { temperature, top_p, seed, .. } = *sampling;
        Self { temperature, top_p, state: mix(mix(seed) ^ document) }
    }

    /// Draws a token; `None` if a logit is NaN or infinite. `shares` is memory that is used again.
    pub(super) fn next(&mut self, logits: &[f32], shares: &mut Shares) -> Option<u32> {
        let number = mix(self.state);
        self.state = self.state.wrapping_add(INCREMENT);
        if !logits.iter().all(|x| x.is_finite()) {
            return None;
        }
        let (likeliest, largest) = likeliest(logits)?;
        if self.temperature == 0.0 {
            return Some(likeliest);
        }
        shares.clear();
        let share = |logit: f32| (f64::from(logit - largest) / self.temperature).exp();
        shares.extend((0u32..).zip(logits).map(|(id, logit)| (share(*logit), id)));
        let mut total: f64 = shares.iter().map(|s| s.0).sum();
        if self.top_p < 1.0 {
            // Equal shares in the order of ids: the sort is stable.
            shares.sort_by(|a, b| b.0.total_cmp(&a.0));
            let (most, mut sum) = (total * self.top_p, 0.0);
            let enough = shares.iter().position(|share| {
                sum += share.0;
                sum >= most
            });
            shares.truncate(enough.map_or(shares.len(), |last| last + 1));
            total = shares.iter().map(|s| s.0).sum();
        }
        let mut left = total * unit(number);
        let drawn = shares.iter().find(|share| {
            left -= share.0;
            left < 0.0
        });
        Some(drawn.map_or(likeliest, |share| share.1))
    }
}

/// The first of the largest logits, and how large it is.
fn likeliest(logits: &[f32]) -> Option<(u32, f32)> {
    let all = (0u32..).zip(logits.iter().copied());
    all.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// From 0 to below 1, in steps of 2⁻⁵³.
fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [1.0, 3.0, 0.0, 2.0];

    fn shares(temperature: f64, top_p: f64) -> [f64; 4] {
        let sampling = Sampling { temperature, top_p, length: 1, seed: 3 };
        let mut counts = [0.0; 4];
        let draws = 40_000;
        for document in 0..draws {
            let id = Draw::new(&sampling, document).next(&LOGITS, &mut Vec::new()).unwrap();
            counts[id as usize] += 1.0 / draws as f64;
        }
        counts
    }

    fn assert_near(shares: [f64; 4], weights: [f64; 4]) {
        let total: f64 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(weights) {
            // Five standard errors of a share of one half.
            assert!((share - weight / total).abs() < 0.0125, "{shares:?}");
        }
    }

    #[test]
    fn tokens_come_as_often_as_is_predicted() {
        let e = |x: f64| x.exp();
        assert_near(shares(1.0, 1.0), [e(1.0), e(3.0), e(0.0), e(2.0)]);
        assert_near(shares(0.5, 1.0), [e(2.0), e(6.0), e(0.0), e(4.0)]);
        // The likeliest has 64 % and the next 24 %: both are needed for 70 %, the first is enough for 60 %.
        assert_near(shares(1.0, 0.7), [0.0, e(3.0), 0.0, e(2.0)]);
        assert_eq!(shares(1.0, 0.6)[1], shares(0.0, 1.0)[1]);
    }

    #[test]
    fn numbers_follow_from_seed_document_and_place() {
        let sampling = |seed| Sampling { temperature: 1.0, top_p: 1.0, length: 1, seed };
        let flat = [0.0; 1000];
        let drawn = |seed, document| {
            let mut draw = Draw::new(&sampling(seed), document);
            [(); 4].map(|()| draw.next(&flat, &mut Vec::new()).unwrap())
        };
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(1, 3));
        assert_ne!(drawn(1, 2), drawn(2, 2));
        assert_ne!(drawn(1, 2), [drawn(1, 2)[0]; 4]);
    }

    #[test]
    fn what_is_no_number_is_not_drawn_from() {
        let sampling = Sampling { temperature: 0.0, top_p: 1.0, length: 1, seed: 0 };
        let next = |logits: &[f32]| Draw::new(&sampling, 0).next(logits, &mut Vec::new());
        assert_eq!(next(&[1.0, 2.0, 2.0]), Some(1), "the first of the likeliest");
        assert_eq!(next(&[1.0, f32::NAN]), None);
        assert_eq!(next(&[1.0, f32::INFINITY]), None);
        assert_eq!(next(&[]), None);
    }
}
