//! The decoder once more, in f64 and written for reading: a token and a head at a time, all attention scores of
//! a query in one list, all logits of a position in another.
//!
//! Formulas: the papers that `src/decoder` names, and `transformers` where they leave a choice. What rope's
//! frequencies are is tested elsewhere (`tests/families.rs`), so they are taken from the configuration.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use growmerge::checkpoint::DType;
use growmerge::decoder::{
    Activation, Config, LayerKind, NormPlace, NormWeight, Projections, QueryKeyNorm, Tensors,
};

/// Token ids, and which of them are predicted from those before them.
#[derive(Clone, Debug)]
pub struct Text {
    pub ids: Vec<u32>,
    pub scored: Range<usize>,
}

/// A model whose every weight can be changed.
#[derive(Clone)]
pub struct Decoder {
    config: Config,
    weights: BTreeMap<String, Vec<f64>>,
    prefix: &'static str,
    /// What went into each projection, by the name of its weight, where that is asked for.
    seen: Option<Arc<Mutex<BTreeMap<String, Rows>>>>,
}

/// A vector for each token.
pub type Rows = Vec<Vec<f64>>;

impl Decoder {
    pub fn new(config: &Config, tensors: &dyn Tensors) -> Self {
        let weights: BTreeMap<String, Vec<f64>> =
            tensors.names().into_iter().map(|name| (name.to_owned(), widened(tensors, name))).collect();
        let prefix = if weights.contains_key("embed_tokens.weight") { "" } else { "model." };
        Self { config: config.clone(), weights, prefix, seen: None }
    }

    /// A tensor's elements, in the file's order.
    pub fn tensor_mut(&mut self, name: &str) -> &mut [f64] {
        self.weights.get_mut(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Negative log probability of all scored tokens together, in nats.
    pub fn loss(&self, texts: &[Text]) -> f64 {
        texts.iter().flat_map(|text| self.losses(text)).sum()
    }

    /// What a text brings to each projection, by the name of its weight; of the head only rows that predict something.
    pub fn inputs(&self, text: &Text) -> BTreeMap<String, Rows> {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let recorder = Self { seen: Some(seen.clone()), ..self.clone() };
        // The last token is predicted and goes into nothing.
        let stream = recorder.stream(&text.ids[..text.scored.end - 1]);
        let mut all = seen.lock().unwrap().clone();
        if !self.config.tied {
            let rows = text.scored.clone().map(|at| self.norm(&stream[at - 1], "norm"));
            all.insert("lm_head.weight".into(), rows.collect());
        }
        all
    }

    /// Of each scored token of a text.
    pub fn losses(&self, text: &Text) -> Vec<f64> {
        let stream = self.stream(&text.ids);
        let loss = |at: usize| {
            let logits = self.logits(&stream[at - 1]);
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            sum.ln() - logits[text.ids[at] as usize]
        };
        text.scored.clone().map(loss).collect()
    }

    fn logits(&self, stream: &[f64]) -> Vec<f64> {
        let config = &self.config;
        let head =
            if config.tied { self.weight("embed_tokens.weight") } else { &self.weights["lm_head.weight"] };
        let x = self.norm(stream, "norm");
        let logits = head.chunks(config.hidden).map(|row| f64::from(config.logit_scale) * dot(row, &x));
        logits.map(|logit| soft_cap(logit, config.logit_cap)).collect()
    }

    /// The residual stream after the last layer.
    fn stream(&self, ids: &[u32]) -> Rows {
        let config = &self.config;
        let embedding = self.weight("embed_tokens.weight");
        let embed = |id: &u32| {
            let row = &embedding[*id as usize * config.hidden..][..config.hidden];
            row.iter().map(|x| x * f64::from(config.embedding_scale)).collect()
        };
        let mut stream: Rows = ids.iter().map(embed).collect();
        let [attention_norms, mlp_norms] = match config.place {
            NormPlace::Before => [(Some("input_layernorm"), None), (Some("post_attention_layernorm"), None)],
            NormPlace::After => {
                [(None, Some("post_attention_layernorm")), (None, Some("post_feedforward_layernorm"))]
            }
            NormPlace::Both => [
                (Some("input_layernorm"), Some("post_attention_layernorm")),
                (Some("pre_feedforward_layernorm"), Some("post_feedforward_layernorm")),
            ],
        };
        for (index, kind) in config.layers.iter().enumerate() {
            let layer = format!("layers.{index}.");
            stream = self.around(stream, &layer, attention_norms, |x| self.attention(&layer, *kind, &x));
            stream =
                self.around(stream, &layer, mlp_norms, |x| x.iter().map(|x| self.mlp(&layer, x)).collect());
        }
        stream
    }

    /// `stream + after(branch(before(stream)))`.
    fn around(
        &self,
        stream: Rows,
        layer: &str,
        (before, after): (Option<&str>, Option<&str>),
        branch: impl Fn(Rows) -> Rows,
    ) -> Rows {
        let normed = |rows: &Rows, name: Option<&str>| -> Rows {
            match name {
                Some(name) => rows.iter().map(|x| self.norm(x, &format!("{layer}{name}"))).collect(),
                None => rows.clone(),
            }
        };
        let branch = normed(&branch(normed(&stream, before)), after);
        stream.iter().zip(branch).map(|(x, b)| x.iter().zip(b).map(|(x, b)| x + b).collect()).collect()
    }

    fn attention(&self, layer: &str, kind: LayerKind, x: &Rows) -> Rows {
        let config = &self.config;
        let dim = config.head_dim;
        let (wide, narrow) = (config.heads * dim, config.kv_heads * dim);
        let (mut queries, mut keys, mut values) = (Rows::new(), Rows::new(), Rows::new());
        for x in x {
            let project = |name: &str| self.linear(x, &format!("{layer}self_attn.{name}_proj"));
            let all = match config.projections {
                Projections::Apart => [project("q"), project("k"), project("v")].concat(),
                Projections::Fused => project("qkv"),
            };
            queries.push(self.head_norm(&all[..wide], &format!("{layer}self_attn.q_norm")));
            keys.push(self.head_norm(&all[wide..wide + narrow], &format!("{layer}self_attn.k_norm")));
            values.push(all[wide + narrow..].to_vec());
        }
        self.rotate(&mut queries, kind);
        self.rotate(&mut keys, kind);
        let mut out = Rows::new();
        for (at, query) in queries.iter().enumerate() {
            // A token sees itself and those before it, or so many of them.
            let oldest = kind.window.map_or(0, |window| (at + 1).saturating_sub(window));
            let mut gathered = vec![0.0; wide];
            for head in 0..config.heads {
                let own = head * dim..(head + 1) * dim;
                let shared = head / (config.heads / config.kv_heads);
                let shared = shared * dim..(shared + 1) * dim;
                let score = |seen: usize| {
                    let product = dot(&query[own.clone()], &keys[seen][shared.clone()]);
                    soft_cap(f64::from(config.attention_scale) * product, config.attention_cap)
                };
                let scores: Vec<f64> = (oldest..=at).map(score).collect();
                for (seen, weight) in (oldest..=at).zip(softmax(&scores)) {
                    for (sum, value) in gathered[own.clone()].iter_mut().zip(&values[seen][shared.clone()]) {
                        *sum += weight * value;
                    }
                }
            }
            out.push(self.linear(&gathered, &format!("{layer}self_attn.o_proj")));
        }
        out
    }

    /// Turns element `i` of a head with element `i + dims / 2` by the angle of the row's position.
    fn rotate(&self, rows: &mut Rows, kind: LayerKind) {
        let Some(rope) = kind.rope.map(|rope| &self.config.ropes[rope]) else { return };
        let (frequencies, half) = (rope.frequencies(rows.len()), rope.dims / 2);
        for (position, row) in rows.iter_mut().enumerate() {
            for head in row.chunks_mut(self.config.head_dim) {
                for (i, frequency) in frequencies.iter().enumerate() {
                    // transformers rounds angles to f32.
                    let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
                    let (sin, cos) = (sin * rope.attention_factor, cos * rope.attention_factor);
                    let (a, b) = (head[i], head[i + half]);
                    (head[i], head[i + half]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
    }

    fn mlp(&self, layer: &str, x: &[f64]) -> Vec<f64> {
        let project = |name: &str| self.linear(x, &format!("{layer}mlp.{name}_proj"));
        let both = match self.config.projections {
            Projections::Apart => [project("gate"), project("up")].concat(),
            Projections::Fused => project("gate_up"),
        };
        let (gate, up) = both.split_at(self.config.intermediate);
        let activation = match self.config.activation {
            Activation::Silu => |x: f64| x / (1.0 + (-x).exp()),
            Activation::Gelu => |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
            Activation::GeluTanh => |x: f64| {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            },
        };
        let inner: Vec<f64> = gate.iter().zip(up).map(|(gate, up)| activation(*gate) * up).collect();
        self.linear(&inner, &format!("{layer}mlp.down_proj"))
    }

    fn weight(&self, name: &str) -> &[f64] {
        self.find(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn find(&self, name: &str) -> Option<&[f64]> {
        self.weights.get(&format!("{}{name}", self.prefix)).map(Vec::as_slice)
    }

    /// `W x + b`, where there is a `b`.
    fn linear(&self, x: &[f64], name: &str) -> Vec<f64> {
        if let Some(seen) = &self.seen {
            let weight = format!("{}{name}.weight", self.prefix);
            seen.lock().unwrap().entry(weight).or_default().push(x.to_vec());
        }
        let product = self.weight(&format!("{name}.weight")).chunks(x.len()).map(|row| dot(row, x));
        match self.find(&format!("{name}.bias")) {
            Some(bias) => product.zip(bias).map(|(x, b)| x + b).collect(),
            None => product.collect(),
        }
    }

    fn norm(&self, x: &[f64], name: &str) -> Vec<f64> {
        let root = (dot(x, x) / x.len() as f64 + f64::from(self.config.norm_eps)).sqrt();
        let weight = self.weight(&format!("{name}.weight")).iter().map(|w| match self.config.norm {
            NormWeight::Plain => *w,
            NormWeight::OnePlus => 1.0 + w,
        });
        x.iter().zip(weight).map(|(x, w)| x / root * w).collect()
    }

    /// The norm of queries or keys, where the family has one.
    fn head_norm(&self, x: &[f64], name: &str) -> Vec<f64> {
        match self.config.query_key_norm {
            QueryKeyNorm::Absent => x.to_vec(),
            QueryKeyNorm::EachHead => {
                x.chunks(self.config.head_dim).flat_map(|head| self.norm(head, name)).collect()
            }
            QueryKeyNorm::AllHeads => self.norm(x, name),
        }
    }
}

fn widened(tensors: &dyn Tensors, name: &str) -> Vec<f64> {
    let tensor = tensors.tensor(name).unwrap_or_else(|| panic!("there is no {name}"));
    match tensor.dtype {
        DType::F32 => {
            tensor.bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
        }
        DType::F16 => {
            tensor.bytes.chunks(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f64()).collect()
        }
        DType::BF16 => {
            tensor.bytes.chunks(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f64()).collect()
        }
        other => panic!("{name} is of type {}", other.name()),
    }
}

/// Eight sums side by side: one sum, each addition waiting for the one before, would be most of the tests' time.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let powers: Vec<f64> = scores.iter().map(|score| score.exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn soft_cap(x: f64, cap: Option<f32>) -> f64 {
    match cap.map(f64::from) {
        Some(cap) => cap * (x / cap).tanh(),
        None => x,
    }
}

/// The error function: `2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!` (Abramowitz and Stegun, 7.1.6), whose terms have
/// one sign, so that nothing cancels.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, 0.0);
    for n in 0.. {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * n + 3);
        if term.abs() <= 1e-18 * sum.abs() {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}
