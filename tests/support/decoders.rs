//! Tiny decoders: those of `tests/families`, and random ones with any mixture of switches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use growmerge::checkpoint::{Checkpoint, DType};
use growmerge::decoder::{
    Activation, Biases, Config, LayerKind, NormPlace, NormWeight, Projections, QueryKeyNorm, Rope, Scaling,
    Tensor, Tensors, shapes,
};
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

/// A model to be tested.
pub struct Case {
    pub name: String,
    pub config: Config,
    pub tensors: Box<dyn Tensors>,
}

/// Another seed in each run, printed; `GROWMERGE_TEST_SEED` repeats one.
pub fn fresh_seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("GROWMERGE_TEST_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    println!("GROWMERGE_TEST_SEED={seed}");
    seed
}

/// A case's own stream of random numbers, whatever the order of cases.
pub fn random_of(seed: u64, case: &str) -> SmallRng {
    SmallRng::seed_from_u64(
        case.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
    )
}

/// Every model of `tests/families`.
pub fn families() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("model.safetensors").exists()).collect();
    folders.sort();
    folders.iter().map(|folder| stored(folder)).collect()
}

fn stored(folder: &Path) -> Case {
    let checkpoint = Checkpoint::open(folder.to_str().unwrap()).unwrap();
    let config = Config::read(checkpoint.config().unwrap(), "config.json").unwrap();
    Case {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        config,
        tensors: Box::new(checkpoint),
    }
}

/// Tensors in memory, in f32.
struct Held(BTreeMap<String, (Vec<usize>, Vec<u8>)>);

impl Tensors for Held {
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (shape, bytes) = self.0.get(name)?;
        Some(Tensor { dtype: DType::F32, shape, bytes })
    }
}

/// A model whose switches and sizes are drawn; no family needs to have that mixture.
pub fn mixed(name: &str, random: &mut SmallRng) -> Case {
    let config = mixed_config(random);
    drawn(name, config, random)
}

/// One layer of drawn switches, whose matrices are too large to be widened in one piece, and whose vocabulary is so
/// large that few positions' logits are held at once.
pub fn large(name: &str, random: &mut SmallRng) -> Case {
    let mut config = mixed_config(random);
    config.layers.truncate(1);
    (config.hidden, config.intermediate, config.vocab) = (64, 65_600, 70_000);
    drawn(name, config, random)
}

/// Random weights.
fn drawn(name: &str, config: Config, random: &mut SmallRng) -> Case {
    let normal = |random: &mut SmallRng| -> f32 { StandardNormal.sample(random) };
    let mut tensors = BTreeMap::new();
    for (name, shape) in shapes(&config) {
        let (center, spread) = match (shape.as_slice(), name.ends_with("bias")) {
            // Enough to bend activations, caps and softmaxes; with much more, rounding grows from layer to layer.
            ([_, inputs], _) => (0.0, 1.0 / (*inputs as f32).sqrt()),
            (_, true) => (0.0, 0.5),
            (_, false) => (if config.norm == NormWeight::OnePlus { 0.0 } else { 1.0 }, 0.3),
        };
        let elements = shape.iter().product::<usize>();
        let values = (0..elements).flat_map(|_| (center + spread * normal(random)).to_le_bytes()).collect();
        tensors.insert(name, (shape, values));
    }
    Case { name: name.to_owned(), config, tensors: Box::new(Held(tensors)) }
}

fn mixed_config(random: &mut SmallRng) -> Config {
    let one_of = |random: &mut SmallRng, of: &[usize]| *of.choose(random).unwrap();
    let maybe = |random: &mut SmallRng, value: f32| random.random_bool(0.5).then_some(value);
    let projections = *[Projections::Apart, Projections::Apart, Projections::Fused].choose(random).unwrap();
    let apart = projections == Projections::Apart;
    // Heads need not fill the hidden size; few sizes are multiples of a vector's.
    let (kv_heads, group) = (one_of(random, &[1, 2, 3]), one_of(random, &[1, 2, 3]));
    let head_dim = one_of(random, &[4, 6, 8, 10]);
    let ropes = [Scaling::None, Scaling::Linear { factor: 3.0 }];
    let rope = |scaling: &Scaling| Rope {
        theta: 100.0,
        dims: head_dim - 2,
        scaling: scaling.clone(),
        attention_factor: 1.25,
    };
    let layer = |random: &mut SmallRng| LayerKind {
        rope: *[None, Some(0), Some(1)].choose(random).unwrap(),
        window: *[None, Some(1), Some(3), Some(7)].choose(random).unwrap(),
    };
    let query_key_norm =
        *[QueryKeyNorm::Absent, QueryKeyNorm::EachHead, QueryKeyNorm::AllHeads].choose(random).unwrap();
    let attention_cap = maybe(random, 1.0);
    let layers: Vec<LayerKind> = (0..one_of(random, &[1, 2, 3])).map(|_| layer(random)).collect();
    // A key's bias moves all scores of a query alike, and so changes nothing, unless it is normed, capped or turned:
    // its gradient would be rounding.
    let key_bias_counts = query_key_norm != QueryKeyNorm::Absent
        || attention_cap.is_some()
        || layers.iter().all(|layer| layer.rope.is_some());
    Config {
        model_type: "llama",
        vocab: one_of(random, &[17, 48, 1100]),
        hidden: one_of(random, &[10, 16, 21]),
        intermediate: one_of(random, &[11, 16, 40]),
        heads: kv_heads * group,
        kv_heads,
        head_dim,
        norm_eps: 1e-2,
        norm: *[NormWeight::Plain, NormWeight::OnePlus].choose(random).unwrap(),
        place: *[NormPlace::Before, NormPlace::After, NormPlace::Both].choose(random).unwrap(),
        query_key_norm,
        projections,
        // Fused projections have none in any family.
        biases: Biases {
            qkv: apart && key_bias_counts && random.random_bool(0.5),
            output: random.random_bool(0.5),
            mlp: apart && random.random_bool(0.5),
        },
        activation: *[Activation::Silu, Activation::Gelu, Activation::GeluTanh].choose(random).unwrap(),
        attention_scale: random.random_range(0.2..0.6),
        attention_cap,
        logit_cap: maybe(random, 2.0),
        logit_scale: random.random_range(0.5..1.5),
        embedding_scale: random.random_range(0.5..2.0),
        tied: random.random_bool(0.5),
        layers,
        ropes: ropes.iter().map(rope).collect(),
        max_positions: 64,
    }
}
