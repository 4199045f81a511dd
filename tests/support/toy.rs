//! Small decoders of the Llama kind with arbitrary weights.

use std::path::Path;

use growmerge::checkpoint::Checkpoint;
use growmerge::decoder::{Config, Decoder, Scratch};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::{Noise, Tensors, save, stored};

#[derive(Clone)]
pub struct Toy {
    pub vocab: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub bias: bool,
    pub tied: bool,
    pub activation: &'static str,
    pub dtype: Dtype,
    pub seed: u64,
}

/// The toy of the formulas' numerical check: grouped queries, odd numbers, a tied head.
pub const TOY: Toy = Toy {
    vocab: 97,
    hidden: 24,
    heads: 3,
    kv_heads: 1,
    head_dim: 8,
    intermediate: 40,
    layers: 3,
    bias: false,
    tied: true,
    activation: "gelu",
    dtype: Dtype::F32,
    seed: 1,
};

impl Toy {
    pub fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": self.vocab,
            "hidden_size": self.hidden, "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim, "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
            "attention_bias": self.bias, "mlp_bias": self.bias, "tie_word_embeddings": self.tied,
            "hidden_act": self.activation, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "max_position_embeddings": 64, "torch_dtype": "float32",
        })
    }

    pub fn tensors(&self) -> Tensors {
        let mut noise = Noise(self.seed);
        let mut all = Tensors::new();
        let mut add = |name: String, shape: &[usize], mean: f32, size: f32| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| mean + size * noise.next()).collect();
            all.insert(name, stored(self.dtype, shape, &values));
        };
        let (d, i) = (self.hidden, self.intermediate);
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        add("model.embed_tokens.weight".into(), &[self.vocab, d], 0.0, 0.4);
        add("model.norm.weight".into(), &[d], 1.0, 0.3);
        if !self.tied {
            add("lm_head.weight".into(), &[self.vocab, d], 0.0, 0.4);
        }
        for layer in 0..self.layers {
            let at = |name: &str| format!("model.layers.{layer}.{name}");
            add(at("input_layernorm.weight"), &[d], 1.0, 0.3);
            add(at("post_attention_layernorm.weight"), &[d], 1.0, 0.3);
            for (name, out, into) in [
                ("self_attn.q_proj", wide, d),
                ("self_attn.k_proj", narrow, d),
                ("self_attn.v_proj", narrow, d),
                ("self_attn.o_proj", d, wide),
                ("mlp.gate_proj", i, d),
                ("mlp.up_proj", i, d),
                ("mlp.down_proj", d, i),
            ] {
                add(at(&format!("{name}.weight")), &[out, into], 0.0, 0.4);
                if self.bias {
                    add(at(&format!("{name}.bias")), &[out], 0.0, 0.4);
                }
            }
        }
        all
    }

    pub fn write(&self, folder: &Path) {
        write_model(folder, &self.tensors(), &self.config());
    }
}

pub fn write_model(folder: &Path, tensors: &Tensors, config: &Value) {
    std::fs::create_dir_all(folder).unwrap();
    save(&folder.join("model.safetensors"), tensors);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// Logits of a model on a text of ids that is the same for every model.
pub fn logits(folder: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder.to_str().unwrap()).unwrap();
    logits_by(folder, checkpoint.config().unwrap())
}

/// The same under another configuration.
pub fn logits_by(folder: &Path, config: &Value) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder.to_str().unwrap()).unwrap();
    let config = Config::read(config, "config.json").unwrap_or_else(|p| panic!("{p}"));
    let vocab = config.vocab as u32;
    let decoder = Decoder::new(config, &checkpoint, "model", 32).unwrap_or_else(|p| panic!("{p}"));
    let ids: Vec<u32> = (0..19).map(|i| (i * i * 31 + 7 * i + 3) % vocab).collect();
    decoder.logits(&ids, &mut Scratch::default())
}

/// The largest difference of two models' logits, as a part of the largest of the first.
pub fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).fold(0.0, f64::max);
    far / a.iter().map(|a| f64::from(a.abs())).fold(0.0, f64::max)
}
