//! `grow`: a model is widened by HyperCloning while it is read.

use std::cmp::Ordering;

use super::keys::Level;
use super::node::{Node, Yaml};
use super::reader::{Entries, Reader, join, number};

/// Factors beyond this are slips.
const MAX_FACTOR: f64 = 1024.0;

/// How a model is widened (Samragh et al. 2024, HyperCloning).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Grow {
    /// Factor of the hidden size and of the numbers of heads.
    pub width: usize,
    /// Factor of the intermediate size.
    pub intermediate: usize,
    /// Noise that cancels out, so that the copies can learn different things.
    #[serde(flatten)]
    pub noise: Option<NoiseWords>,
    /// What becomes of a tied head's factor; `None` where the recipe does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadForm>,
    /// The factor to write, with [`HeadForm::Factor`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<Amount>,
}

/// Noise that is added to pairs of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct NoiseWords {
    /// How far it lies below the weights, in decibels.
    #[serde(rename = "noise_snr")]
    pub snr: Amount,
    /// Seed of its draws.
    pub seed: u64,
}

/// How a wide model divides the logits of a tied head, which add up a copy of the small model's for each
/// factor of its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadForm {
    /// In the weight of the final norm: a plain tied model.
    Norm,
    /// By `lm_head_normalization_factor`, as the HyperLlama models do.
    Factor,
    /// In a head of its own.
    Untied,
}

/// A finite number that can be told from others.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(transparent)]
pub struct Amount(pub f64);

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl HeadForm {
    /// Every word.
    pub const ALL: [(&'static str, Self); 3] =
        [("norm", Self::Norm), ("factor", Self::Factor), ("untied", Self::Untied)];

    /// As written.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, form)| *form == self).map_or("", |(word, _)| word)
    }
}

impl Reader<'_> {
    /// A factor, or a mapping.
    pub(super) fn grow(&mut self, node: &Node, path: &str) -> Option<Grow> {
        if !matches!(node.yaml, Yaml::Map(_)) {
            let width = self.factor(node, path)?;
            return Some(Grow { width, intermediate: width, noise: None, head: None, factor: None });
        }
        let entries = self.mapping(node, path, Level::Grow)?;
        let below = |key: &str| join(path, key);
        let Some(width) = entries.given("width") else {
            self.hinted(path, node, "`width` is missing", "a factor alone will do as well, as in `grow: 2`");
            return None;
        };
        let width = self.factor(width, &below("width"));
        let intermediate = match entries.given("intermediate") {
            Some(node) => self.factor(node, &below("intermediate")),
            None => width,
        };
        let noise = self.noise(&entries, path)?;
        let head = match entries.given("head") {
            Some(node) => Some(self.head_form(node, &below("head"))?),
            None => None,
        };
        let factor = match entries.given("factor") {
            Some(node) if head != Some(HeadForm::Factor) => {
                self.error(&below("factor"), node, "`factor` goes with `head: factor` only");
                return None;
            }
            Some(node) => Some(self.amount(node, &below("factor"), |x| x > 0.0, "above zero")?),
            None => None,
        };
        Some(Grow { width: width?, intermediate: intermediate?, noise, head, factor })
    }

    fn noise(&mut self, entries: &Entries<'_>, path: &str) -> Option<Option<NoiseWords>> {
        let seed = match entries.given("seed") {
            Some(node) => {
                let whole = |x: f64| x.fract() == 0.0 && (0.0..9e15).contains(&x);
                Some(self.amount(node, &join(path, "seed"), whole, "a whole number from 0 on")?.0 as u64)
            }
            None => None,
        };
        match (entries.given("noise_snr"), seed) {
            (None, None) => Some(None),
            (None, Some(_)) => {
                if let Some(node) = entries.given("seed") {
                    let hint = "add `noise_snr: 10`, for example";
                    self.hinted(&join(path, "seed"), node, "`seed` has no effect without `noise_snr`", hint);
                }
                None
            }
            (Some(node), seed) => {
                let sane = |x: f64| (-100.0..=200.0).contains(&x);
                let snr = self.amount(node, &join(path, "noise_snr"), sane, "decibels from -100 to 200")?;
                Some(Some(NoiseWords { snr, seed: seed.unwrap_or(0) }))
            }
        }
    }

    /// A whole factor of a width.
    fn factor(&mut self, node: &Node, path: &str) -> Option<usize> {
        match number(&node.yaml).filter(|_| !matches!(node.yaml, Yaml::Bool(_))) {
            Some(x) if x.fract() == 0.0 && (1.0..=MAX_FACTOR).contains(&x) => Some(x as usize),
            other => {
                let found = other.map_or(node.yaml.kind().to_owned(), |x| x.to_string());
                let what = format!("must be a whole factor from 1 to {MAX_FACTOR}, not {found}");
                let hint = "a model grows by whole copies: `grow: 2` doubles its width";
                self.hinted(path, node, what, hint);
                None
            }
        }
    }

    fn amount(&mut self, node: &Node, path: &str, fits: impl Fn(f64) -> bool, what: &str) -> Option<Amount> {
        match number(&node.yaml) {
            Some(x) if x.is_finite() && fits(x) => Some(Amount(x)),
            other => {
                let found = other.map_or(node.yaml.kind().to_owned(), |x| x.to_string());
                self.error(path, node, format!("must be {what}, not {found}"));
                None
            }
        }
    }

    fn head_form(&mut self, node: &Node, path: &str) -> Option<HeadForm> {
        let text = self.text_of(node, path)?;
        let found = HeadForm::ALL.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            self.error(path, node, format!("must be norm, factor or untied, not `{}`", text.value));
        }
        found.map(|(_, form)| *form)
    }
}
