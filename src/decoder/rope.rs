//! Rotary positions (Su et al. 2021, RoFormer) and the ways of stretching them over longer texts.
//!
//! Frequencies are rounded to f32 where `transformers` rounds them, so that the angles of far positions
//! come out the same.

use std::f64::consts::TAU;

use super::family::Rotation;
use super::fields::Fields;
use crate::problem::{Problem, Problems};

/// How frequencies are changed for contexts longer than those of the first training.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided by a factor: positions are interpolated (Chen et al. 2023).
    Linear {
        /// By how much the context grows.
        factor: f64,
    },
    /// Long waves divided by a factor, short ones kept, a smooth change between (Llama 3.1).
    Llama3 {
        /// By how much the context grows.
        factor: f64,
        /// Waves longer than the original context over this are divided.
        low: f64,
        /// Waves shorter than the original context over this are kept.
        high: f64,
        /// Context of the first training.
        original: f64,
    },
    /// Interpolation by the number of turns within the original context (Peng et al. 2023, YaRN).
    Yarn {
        /// By how much the context grows.
        factor: f64,
        /// Dimensions with more turns than this are kept.
        fast: f64,
        /// Dimensions with fewer turns than this are divided.
        slow: f64,
        /// Context of the first training.
        original: f64,
        /// Whether the bounds are rounded to whole dimensions.
        truncate: bool,
    },
    /// A factor for each dimension, one list for short texts and one for long (Ding et al. 2024, LongRoPE).
    Long {
        /// For texts of up to `original` tokens.
        short: Vec<f64>,
        /// For longer ones.
        long: Vec<f64>,
        /// Context of the first training.
        original: usize,
    },
}

/// The rotary positions of one kind of layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// Elements of a head that are rotated; the rest stay as they are.
    pub dims: usize,
    /// How frequencies are changed.
    pub scaling: Scaling,
    /// Factor on cosines and sines.
    pub attention_factor: f64,
}

/// What the configuration says outside of the rope's own object.
pub(super) struct Around {
    pub(super) head_dim: usize,
    pub(super) theta: f64,
    pub(super) partial: f64,
    pub(super) max_positions: usize,
    pub(super) original: Option<usize>,
    pub(super) rotation: Rotation,
    /// The configuration's path, for messages.
    pub(super) at: String,
}

impl Rope {
    /// Reads the object `rope_parameters` or `rope_scaling`, if there is one.
    pub(super) fn read(around: &Around, fields: Option<&Fields<'_>>, problems: &mut Problems) -> Self {
        let own = |key: &str, p: &mut Problems| fields.and_then(|f| f.positive(key, p));
        let theta = own("rope_theta", problems).unwrap_or(around.theta);
        let partial = own("partial_rotary_factor", problems).unwrap_or(around.partial);
        if partial != 1.0 && around.rotation == Rotation::Whole {
            // transformers ignores it here or fails on it, by the kind of scaling.
            let what =
                format!("partial_rotary_factor is {partial}, but heads of this family turn as a whole");
            problems.push(Problem::error(&around.at, what));
        }
        let dims = (around.head_dim as f64 * partial) as usize / 2 * 2;
        let mut rope =
            Self { theta, dims: dims.min(around.head_dim), scaling: Scaling::None, attention_factor: 1.0 };
        if let Some(fields) = fields {
            rope.read_scaling(around, fields, problems);
        }
        rope
    }

    fn read_scaling(&mut self, around: &Around, fields: &Fields<'_>, problems: &mut Problems) {
        let kind =
            ["rope_type", "type"].iter().find_map(|key| fields.text(key, problems)).unwrap_or("default");
        // Phi 3 says it outside, and means that even where it is said inside too.
        let inside = fields.size("original_max_position_embeddings", problems);
        let original = around.original.or(inside);
        let mut needed = |key: &str| fields.required_positive(key, problems);
        match kind {
            "default" => {}
            // Phi 3 once called LongRoPE so.
            "su" | "yarn" if around.rotation == Rotation::Partial => {
                self.read_long(around, original, fields, problems)
            }
            "linear" => self.scaling = Scaling::Linear { factor: needed("factor") },
            "llama3" => {
                self.scaling = Scaling::Llama3 {
                    factor: needed("factor"),
                    low: needed("low_freq_factor"),
                    high: needed("high_freq_factor"),
                    original: original.unwrap_or(around.max_positions) as f64,
                };
            }
            "yarn" => {
                let original = original.unwrap_or(around.max_positions) as f64;
                let factor = fields.positive("factor", problems);
                let factor = factor.unwrap_or(around.max_positions as f64 / original);
                self.attention_factor = yarn_attention(fields, factor, problems);
                self.scaling = Scaling::Yarn {
                    factor,
                    fast: fields.positive("beta_fast", problems).unwrap_or(32.0),
                    slow: fields.positive("beta_slow", problems).unwrap_or(1.0),
                    original,
                    truncate: fields.flag("truncate", problems).unwrap_or(true),
                };
            }
            "longrope" => self.read_long(around, original, fields, problems),
            other => problems.push(
                fields
                    .error(format!("rope of type `{other}` is not supported"))
                    .hint("supported are: default, linear, llama3, yarn, longrope"),
            ),
        }
    }

    fn read_long(
        &mut self,
        around: &Around,
        original: Option<usize>,
        fields: &Fields<'_>,
        problems: &mut Problems,
    ) {
        let original = original.unwrap_or(around.max_positions);
        let factor = fields.positive("factor", problems);
        let factor = factor.unwrap_or(around.max_positions as f64 / original as f64);
        let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
        self.attention_factor = fields.positive("attention_factor", problems).unwrap_or(default);
        let wanted = self.dims / 2;
        let mut list = |key: &str| {
            let list = fields.numbers(key, problems).unwrap_or_default();
            if list.len() != wanted {
                let what = format!("{key} has {} numbers, but {wanted} are wanted", list.len());
                problems.push(fields.error(what));
            }
            list
        };
        self.scaling = Scaling::Long { short: list("short_factor"), long: list("long_factor"), original };
    }

    /// Radians a position for each pair of elements, in a text of `len` tokens.
    pub fn frequencies(&self, len: usize) -> Vec<f32> {
        let plain = |i: usize| self.theta.powf((2 * i) as f64 / self.dims as f64);
        let pairs = 0..self.dims / 2;
        match &self.scaling {
            Scaling::None => pairs.map(|i| (1.0 / plain(i)) as f32).collect(),
            Scaling::Linear { factor } => pairs.map(|i| (1.0 / plain(i) / factor) as f32).collect(),
            Scaling::Llama3 { factor, low, high, original } => pairs
                .map(|i| {
                    let frequency = 1.0 / plain(i);
                    let turns = original * frequency / TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (frequency * (kept + (1.0 - kept) / factor)) as f32
                })
                .collect(),
            Scaling::Yarn { factor, fast, slow, original, truncate } => {
                let dim_of =
                    |turns: f64| self.dims as f64 * (original / (turns * TAU)).ln() / (2.0 * self.theta.ln());
                let (mut first, mut last) = (dim_of(*fast), dim_of(*slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                let (first, last) = (first.max(0.0), last.min(self.dims as f64 - 1.0));
                let span = if first == last { 0.001 } else { last - first };
                pairs
                    .map(|i| {
                        let divided = ((i as f64 - first) / span).clamp(0.0, 1.0);
                        ((1.0 - divided + divided / factor) / plain(i)) as f32
                    })
                    .collect()
            }
            Scaling::Long { short, long, original } => {
                let factors = if len > *original { long } else { short };
                pairs.zip(factors).map(|(i, factor)| (1.0 / (factor * plain(i))) as f32).collect()
            }
        }
    }

    /// The longest text that has other frequencies than longer ones.
    pub(super) fn short_texts(&self) -> Option<usize> {
        match &self.scaling {
            Scaling::Long { original, .. } => Some(*original),
            _ => None,
        }
    }
}

/// YaRN's factor on cosines and sines (section 3.4, in the square root that both get).
fn yarn_attention(fields: &Fields<'_>, factor: f64, problems: &mut Problems) -> f64 {
    let scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let (one, all) = (fields.number("mscale", problems), fields.number("mscale_all_dim", problems));
    let default = match (one.filter(|x| *x != 0.0), all.filter(|x| *x != 0.0)) {
        (Some(one), Some(all)) => scale(one) / scale(all),
        _ => scale(1.0),
    };
    fields.positive("attention_factor", problems).unwrap_or(default)
}

/// Cosines and sines for positions `0..len`.
#[derive(Debug)]
pub(super) struct RopeTable {
    dims: usize,
    /// `[len, dims / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Which way a head is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// By its position's angles.
    Forth,
    /// By their negatives: the transpose of the same rotation, which a gradient goes through.
    Back,
}

impl RopeTable {
    pub(super) fn new(frequencies: &[f32], rope: &Rope, len: usize) -> Self {
        let size = len * frequencies.len();
        let (mut cos, mut sin) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for position in 0..len {
            for frequency in frequencies {
                let angle = f64::from(position as f32 * frequency);
                cos.push((angle.cos() * rope.attention_factor) as f32);
                sin.push((angle.sin() * rope.attention_factor) as f32);
            }
        }
        Self { dims: rope.dims, cos, sin }
    }

    /// Turns the first `dims` elements of a head at `position`: element `i` with element `i + dims / 2`.
    #[inline(always)]
    pub(super) fn turn(&self, head: &mut [f32], position: usize, turn: Turn) {
        let sign = match turn {
            Turn::Forth => 1.0,
            Turn::Back => -1.0,
        };
        let half = self.dims / 2;
        let at = position * half..(position + 1) * half;
        let (first, second) = head[..self.dims].split_at_mut(half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(&self.cos[at.clone()]).zip(&self.sin[at])
        {
            let sin = sign * sin;
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: Scaling) -> Rope {
        Rope { theta: 1e4, dims: 8, scaling, attention_factor: 1.0 }
    }

    #[test]
    fn frequencies_fall_from_one_by_the_base() {
        let plain = rope(Scaling::None).frequencies(1);
        for (f, want) in plain.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((f - want).abs() < 1e-7 * want);
        }
        let linear = rope(Scaling::Linear { factor: 4.0 }).frequencies(1);
        assert_eq!(linear, plain.iter().map(|f| f / 4.0).collect::<Vec<_>>());
    }

    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let plain = rope(Scaling::None).frequencies(1);
        let scaled =
            rope(Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 1000.0 }).frequencies(1);
        // Turns in 1000 positions: 159, 16, 1.6, 0.16.
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[1], plain[1]);
        assert!(scaled[2] < plain[2] && scaled[2] > plain[2] / 8.0);
        assert_eq!(scaled[3], plain[3] / 8.0);
    }

    #[test]
    fn turning_keeps_lengths_and_position_zero() {
        let rope = rope(Scaling::None);
        let table = RopeTable::new(&rope.frequencies(100), &rope, 100);
        let before: Vec<f32> = (0..10).map(|i| i as f32 - 4.0).collect();
        let mut head = before.clone();
        table.turn(&mut head, 0, Turn::Forth);
        assert_eq!(head, before);
        table.turn(&mut head, 73, Turn::Forth);
        assert_eq!(head[8..], before[8..], "elements beyond the rotated ones stay");
        for i in 0..4 {
            let length = |h: &[f32]| h[i].hypot(h[i + 4]);
            assert!((length(&head) - length(&before)).abs() < 1e-5);
        }
    }
}
