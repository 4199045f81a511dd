//! Texts that grow by a token at a time: keys and values of the tokens before are kept.

use super::attention::Heads;
use super::config::{Config, LayerKind};
use super::forward::{Pass, Turn};
use super::matmul::{Old, View, product};
use super::ops;
use super::rows::Rows;
use super::scratch::Grow;

/// Keys and values of growing texts, for every layer.
#[derive(Debug)]
pub struct Cache {
    context: usize,
    /// Tokens of each text.
    lens: Vec<usize>,
    /// Of each layer `[texts, context, kv_heads · head_dim]`.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Cache {
    /// What one text of up to `context` tokens takes.
    pub fn bytes(config: &Config, context: usize) -> usize {
        let numbers = 2 * config.layers.len() * config.kv_heads * config.head_dim;
        numbers.saturating_mul(size_of::<f32>()).saturating_mul(context)
    }

    /// For so many texts of up to `context` tokens, all of them empty.
    pub fn new(config: &Config, texts: usize, context: usize) -> Self {
        let size = texts * context * config.kv_heads * config.head_dim;
        let layers = || config.layers.iter().map(|_| vec![0.0; size]).collect();
        Self { context, lens: vec![0; texts], keys: layers(), values: layers() }
    }

    /// Tokens that a text may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens that a text has.
    pub fn len(&self, text: usize) -> usize {
        self.lens[text]
    }

    /// Makes a text empty.
    pub fn clear(&mut self, text: usize) {
        self.lens[text] = 0;
    }

    /// Counts the tokens whose keys and values every layer has now.
    pub(super) fn grow(&mut self, texts: &[usize]) {
        texts.iter().for_each(|text| self.lens[*text] += 1);
    }
}

/// The next token of some texts.
pub(super) struct Next<'n> {
    pub(super) cache: &'n mut Cache,
    /// Whose token each is; none twice.
    pub(super) texts: &'n [usize],
    pub(super) ids: &'n [u32],
}

impl Rows for Next<'_> {
    fn ids(&self) -> &[u32] {
        self.ids
    }

    fn attend(
        &mut self,
        pass: &Pass<'_, '_>,
        (index, kind): (usize, LayerKind),
        heads: Heads<&mut [f32], &[f32]>,
        out: &mut [f32],
        scores: &mut Vec<f32>,
    ) {
        let (config, context) = (pass.config, self.cache.context);
        let (dim, group) = (config.head_dim, config.heads / config.kv_heads);
        let (wide, narrow) = (config.heads * dim, config.kv_heads * dim);
        self.rotate(pass, kind, heads.queries, wide);
        self.rotate(pass, kind, heads.keys, narrow);
        let (keys, values) = (&mut self.cache.keys[index], &mut self.cache.values[index]);
        for (row, text) in self.texts.iter().enumerate() {
            let position = self.cache.lens[*text];
            let own = (text * context + position) * narrow;
            keys[own..own + narrow].copy_from_slice(&heads.keys[row * narrow..(row + 1) * narrow]);
            values[own..own + narrow].copy_from_slice(&heads.values[row * narrow..(row + 1) * narrow]);
            let oldest = kind.window.map_or(0, |window| (position + 1).saturating_sub(window));
            let seen = position + 1 - oldest;
            for head in 0..config.kv_heads {
                let first = (text * context + oldest) * narrow + head * dim;
                let at = row * wide + head * group * dim;
                let scores = scores.grow(group * seen);
                let queries = View::dense(&heads.queries[at..], group, dim);
                let with = View::strided(&keys[first..], seen, dim, narrow).t();
                product(scores, seen, Old::Replace, config.attention_scale, queries, with);
                if let Some(cap) = config.attention_cap {
                    ops::soft_cap(pass.arch, scores, cap);
                }
                ops::masked_softmax(pass.arch, scores, seen, |_| 0..seen);
                let weights = View::dense(scores, group, seen);
                let of = View::strided(&values[first..], seen, dim, narrow);
                product(&mut out[at..], dim, Old::Replace, 1.0, weights, of);
            }
        }
    }
}

impl Next<'_> {
    /// Turns every head of each token by its position. The frequencies are those of the longest text that the cache has
    /// room for: keys that are kept cannot change when a text becomes a long one.
    fn rotate(&self, pass: &Pass<'_, '_>, kind: LayerKind, heads: &mut [f32], width: usize) {
        let Some(table) = pass.tables.of(kind, self.cache.context) else { return };
        ops::wide(
            pass.arch,
            #[inline(always)]
            || {
                for (row, text) in heads.chunks_exact_mut(width).zip(self.texts) {
                    row.chunks_exact_mut(pass.config.head_dim)
                        .for_each(|head| table.turn(head, self.cache.lens[*text], Turn::Forth));
                }
            },
        );
    }
}
