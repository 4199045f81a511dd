//! Extracting adapters: exact where the difference has the rank, the tail of the singular values elsewhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use growmerge::adapter::extract::{Embeddings, Extracted, Extraction, extract};
use growmerge::checkpoint::Checkpoint;
use growmerge::problem::Error;
use regex::Regex;
use serde_json::Value;
use support::toy::{TOY, Toy, write_model};
use support::{Noise, Tensors, f32s, read_file, values};

const RANK: usize = 6;

struct World(tempfile::TempDir);

impl World {
    /// A base, and a model whose tensors are changed by `change`.
    fn new(toy: &Toy, change: impl Fn(&str, &[usize], &[f64]) -> Option<Vec<f32>>) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let base = toy.tensors();
        let model: Tensors = base
            .iter()
            .map(|(name, tensor)| {
                let changed = change(name, &tensor.shape, &values(tensor));
                (name.clone(), changed.map_or_else(|| tensor.clone(), |x| f32s(&tensor.shape, x)))
            })
            .collect();
        write_model(&world.path("base"), &base, &toy.config());
        write_model(&world.path("model"), &model, &toy.config());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str) -> Checkpoint {
        Checkpoint::open(self.path(name).to_str().unwrap()).unwrap()
    }

    fn extract(&self, out: &str, how: &Extraction) -> Result<Extracted, Error> {
        extract(&self.open("model"), &self.open("base"), &self.path(out), how, &|_| {})
    }

    fn config(&self, out: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(out).join("adapter_config.json")).unwrap()).unwrap()
    }

    /// `‖Δ - B·A‖ / ‖Δ‖` of one tensor, in f64 and element by element.
    fn error(&self, out: &str, module: &str) -> f64 {
        let adapter = read_file(&self.path(out).join("adapter_model.safetensors"));
        let of = |part: &str| &adapter[&format!("base_model.model.{module}.{part}")];
        let (a, b) = (of("lora_A.weight"), of("lora_B.weight"));
        let (rank, columns) = (a.shape[0], a.shape[1]);
        let (a, b) = (values(a), values(b));
        let weight = |name: &str| {
            values(&read_file(&self.path(name).join("model.safetensors"))[&format!("{module}.weight")])
        };
        let (mut all, mut left) = (0.0, 0.0);
        for (i, (x, y)) in weight("model").iter().zip(weight("base")).enumerate() {
            let (row, column) = (i / columns, i % columns);
            let made: f64 = (0..rank).map(|k| b[row * rank + k] * a[k * columns + column]).sum();
            all += (x - y).powi(2);
            left += (x - y - made).powi(2);
        }
        (left / all).sqrt()
    }
}

fn how() -> Extraction {
    Extraction {
        rank: RANK,
        exclude: Vec::new(),
        save: Vec::new(),
        embeddings: Embeddings::Leave,
        seed: 1,
        threads: 2,
    }
}

fn is_projection(name: &str) -> bool {
    name.contains("_proj.weight")
}

/// `x` plus a matrix of rank `rank`, whose parts get smaller.
fn low_rank(name: &str, shape: &[usize], x: &[f64], rank: usize) -> Vec<f32> {
    let mut noise = Noise(name.bytes().map(u64::from).sum::<u64>() + 7);
    let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| f64::from(noise.next())).collect() };
    let mut out = x.to_vec();
    for part in 0..rank {
        let (down, across) = (draw(shape[0]), draw(shape[1]));
        for (i, out) in out.iter_mut().enumerate() {
            *out += down[i / shape[1]] * across[i % shape[1]] / (1.0 + part as f64);
        }
    }
    out.into_iter().map(|x| x as f32).collect()
}

#[test]
fn a_difference_of_small_rank_is_found_whole() {
    for rank in [1, 3, RANK] {
        let world = World::new(&TOY, |n, s, x| is_projection(n).then(|| low_rank(n, s, x, rank)));
        let extracted = world.extract("lora", &how()).unwrap();
        assert_eq!(extracted.updates.len(), 7 * TOY.layers);
        assert!(extracted.missed.is_empty() && extracted.saved.is_empty());
        for update in &extracted.updates {
            assert!(update.error < 2e-6, "{update:?}");
            let module = update.tensor.strip_suffix(".weight").unwrap();
            assert!((world.error("lora", module) - update.error).abs() < 1e-7, "{update:?}");
        }
    }
}

/// Singular values of the difference by brute force: the error of the best rank is what is left of them.
#[test]
fn the_error_is_the_tail_of_the_singular_values() {
    let toy = Toy { hidden: 96, heads: 12, intermediate: 150, layers: 1, ..TOY };
    for spread in [0.0, 1.0] {
        let world = World::new(&toy, |n, s, x| {
            let mut noise = Noise(n.len() as u64 + 99);
            // Columns of the same size, or ever smaller ones.
            let size = |i: usize| 0.01 * (1.0 + (i % s[1]) as f32).powf(-spread);
            is_projection(n)
                .then(|| x.iter().enumerate().map(|(i, x)| *x as f32 + size(i) * noise.next()).collect())
        });
        let extracted = world.extract("lora", &how()).unwrap();
        for update in &extracted.updates {
            let delta = world.delta(&update.tensor);
            let best = tail(&delta, update.shape[1], RANK);
            println!("{} {spread}: {:.6} best {best:.6}", update.tensor, update.error);
            assert!(update.error >= best * (1.0 - 1e-5), "{update:?}: no better than the best, {best}");
            assert!(update.error <= best * 1.01, "{update:?}: best is {best}");
            assert_eq!(update.rank, RANK);
            let norm = delta.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((update.norm / norm - 1.0).abs() < 1e-6);
        }
    }
}

impl World {
    fn delta(&self, tensor: &str) -> Vec<f64> {
        let of = |name: &str| values(&read_file(&self.path(name).join("model.safetensors"))[tensor]);
        of("model").iter().zip(of("base")).map(|(x, y)| f64::from((x - y) as f32)).collect()
    }
}

/// The part of a matrix that no matrix of rank `rank` has: one-sided Jacobi on its columns, in f64.
fn tail(x: &[f64], columns: usize, rank: usize) -> f64 {
    let mut a: Vec<Vec<f64>> =
        (0..columns).map(|c| x.iter().skip(c).step_by(columns).copied().collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..30 {
        for p in 0..columns {
            for q in p + 1..columns {
                let (pp, qq, pq) = (dot(&a[p], &a[p]), dot(&a[q], &a[q]), dot(&a[p], &a[q]));
                if pq.abs() <= 1e-14 * (pp * qq).sqrt() {
                    continue;
                }
                let ratio = (qq - pp) / (2.0 * pq);
                let tan = ratio.signum() / (ratio.abs() + (1.0 + ratio * ratio).sqrt());
                let (cos, sin) = (1.0 / (1.0 + tan * tan).sqrt(), tan / (1.0 + tan * tan).sqrt());
                let (left, right) = a.split_at_mut(q);
                for (x, y) in left[p].iter_mut().zip(&mut right[0]) {
                    (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
                }
            }
        }
    }
    let mut squares: Vec<f64> = a.iter().map(|c| dot(c, c)).collect();
    squares.sort_by(|a, b| b.total_cmp(a));
    (squares.iter().skip(rank).sum::<f64>() / squares.iter().sum::<f64>()).sqrt()
}

#[test]
fn the_same_adapter_for_any_number_of_threads() {
    let world = World::new(&TOY, |n, s, x| is_projection(n).then(|| low_rank(n, s, x, 9)));
    let bytes = |out: &str, threads: usize, seed: u64| {
        world.extract(out, &Extraction { threads, seed, ..how() }).unwrap();
        std::fs::read(world.path(out).join("adapter_model.safetensors")).unwrap()
    };
    let one = bytes("one", 1, 1);
    assert!(one == bytes("three", 3, 1));
    assert!(one != bytes("seed", 1, 2), "the seed decides the directions");
}

#[test]
fn the_configuration_says_what_was_found() {
    let one_layer = |name: &str| name.contains("layers.1.self_attn.q_proj") || name.contains("k_proj");
    let rank = |name: &str| if name.contains("layers.2") { 2 } else { 5 };
    let world = World::new(&TOY, |n, s, x| one_layer(n).then(|| low_rank(n, s, x, rank(n))));
    world.extract("lora", &how()).unwrap();
    let config = world.config("lora");
    assert_eq!(config["peft_type"], "LORA");
    assert_eq!((&config["r"], &config["lora_alpha"]), (&5.into(), &5.into()));
    let smaller = serde_json::json!({ "model.layers.2.self_attn.k_proj": 2 });
    assert_eq!((&config["rank_pattern"], &config["alpha_pattern"]), (&smaller, &smaller));
    // All of k_proj, but only one q_proj.
    assert_eq!(config["target_modules"], serde_json::json!(["k_proj", "model.layers.1.self_attn.q_proj"]));
    assert_eq!(config["base_model_name_or_path"], world.path("base").to_str().unwrap());
}

/// What the adapter cannot hold is said, and left out or stored whole as asked.
#[test]
fn what_is_not_captured_is_said() {
    let world = World::new(&TOY, |n, s, x| match s {
        [_, _] => Some(low_rank(n, s, x, 3)),
        _ => Some(x.iter().map(|x| *x as f32 + 0.125).collect()),
    });
    let extracted = world.extract("plain", &how()).unwrap();
    let missed: Vec<&str> = extracted.missed.iter().map(|m| m.tensor.as_str()).collect();
    assert_eq!(missed.len(), 1 + 2 * TOY.layers + 1, "{missed:?}");
    assert!(missed.contains(&"model.embed_tokens.weight") && missed.contains(&"model.norm.weight"));
    assert!(extracted.missed.iter().all(|m| m.why.contains("--save-module")));

    let saving = Extraction { save: vec!["norm".into(), "embed_tokens".into()], ..how() };
    let extracted = world.extract("saved", &saving).unwrap();
    assert_eq!(extracted.saved, ["model.embed_tokens.weight", "model.norm.weight"]);
    let stored = read_file(&world.path("saved").join("adapter_model.safetensors"));
    let model = read_file(&world.path("model").join("model.safetensors"));
    for name in &extracted.saved {
        assert_eq!(stored[&format!("base_model.model.{name}")].bytes, model[name].bytes);
    }
    assert_eq!(
        world.config("saved")["modules_to_save"],
        serde_json::json!(["model.embed_tokens", "model.norm"])
    );

    let excluding = Extraction {
        exclude: vec![Regex::new("mlp").unwrap(), Regex::new(r"layers\.0\.").unwrap()],
        embeddings: Embeddings::Update,
        ..how()
    };
    let extracted = world.extract("excluded", &excluding).unwrap();
    let updated: Vec<&str> = extracted.updates.iter().map(|u| u.tensor.as_str()).collect();
    assert_eq!(updated.len(), 1 + 4 * 2);
    assert!(updated.contains(&"model.embed_tokens.weight"));
    assert!(extracted.updates.iter().all(|u| u.error < 2e-6), "{:?}", extracted.updates);
    let stored = read_file(&world.path("excluded").join("adapter_model.safetensors"));
    assert_eq!(stored["base_model.model.model.embed_tokens.lora_embedding_A"].shape, [3, TOY.vocab]);
    assert_eq!(stored["base_model.model.model.embed_tokens.lora_embedding_B"].shape, [TOY.hidden, 3]);
}

fn told(result: Result<Extracted, Error>) -> String {
    result.map(|e| panic!("was extracted: {e:?}")).map_err(|e: Error| e.to_string()).unwrap_or_else(|e| e)
}

#[test]
fn what_cannot_be_extracted_is_refused() {
    let world = World::new(&TOY, |n, s, x| is_projection(n).then(|| low_rank(n, s, x, 2)));
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = read_file(&world.path("model").join("model.safetensors"));
        change(&mut tensors);
        write_model(&world.path("other"), &tensors, &TOY.config());
        let other = world.open("other");
        told(extract(&other, &world.open("base"), &world.path("never"), &how(), &|_| {}))
    };
    let layer = "model.layers.1.mlp.up_proj.weight";
    let told_of = with(&|t| drop(t.insert(layer.into(), f32s(&[2, 24], vec![0.0; 48]))));
    assert!(told_of.contains("has shape [2, 24], in the base [40, 24]"), "{told_of}");
    let told_of = with(&|t| t.get_mut(layer).unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    assert!(told_of.contains("up_proj.weight differs from the base's by NaN"), "{told_of}");
    let base = read_file(&world.path("base").join("model.safetensors"));
    let told_of = with(&|t| *t = base.clone());
    assert!(told_of.contains("does not differ from"), "{told_of}");
    assert!(!world.path("never").exists(), "nothing is written where nothing can be extracted");

    let unknown = Extraction { save: vec!["lm_heed".into()], ..how() };
    let told_of = told(world.extract("never", &unknown));
    assert!(told_of.contains("--save-module lm_heed: the base has no such module"), "{told_of}");
    // A pattern that matches nothing is a slip, whatever else is excluded.
    for (pattern, hint) in [
        ("q_porj", "did you mean `q_proj`?"),
        ("model.layers.0.mlp.up_proj.weigth", "did you mean `model.layers.0.mlp.up_proj.weight`?"),
        ("crossattn", "names such as model.embed_tokens.weight"),
    ] {
        let exclude =
            [format!("mlp|{pattern}"), pattern.to_owned()].iter().map(|p| Regex::new(p).unwrap()).collect();
        let told_of = told(world.extract("never", &Extraction { exclude, ..how() }));
        assert!(told_of.contains(&format!("--exclude {pattern}: matches no tensor")), "{told_of}");
        assert!(told_of.contains(hint) && told_of.matches("error").count() == 1, "{told_of}");
    }
    std::fs::create_dir(world.path("full")).unwrap();
    std::fs::write(world.path("full").join("notes.txt"), "mine").unwrap();
    let told_of = told(world.extract("full", &how()));
    assert!(told_of.contains("the folder is not empty (notes.txt)"), "{told_of}");
}

#[test]
fn the_command_prints_a_table_and_json() {
    let world = World::new(&TOY, |n, s, x| match s {
        [_, _] if is_projection(n) => Some(low_rank(n, s, x, 2)),
        [_] => Some(x.iter().map(|x| *x as f32 + 0.5).collect()),
        _ => None,
    });
    let run = |out: &str, more: &[&str]| {
        let mut command = support::command();
        let paths = [world.path("model"), world.path("base"), world.path(out)];
        command.arg("extract-lora").args(paths).args(["--rank", "4"]).args(more);
        command.output().unwrap()
    };
    let output = run("lora", &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("model.layers.0.mlp.down_proj.weight"), "{text}");
    assert!(text.contains("21 updates, error "), "{text}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("warning: model.norm.weight: not captured"), "{errors}");
    let output = run("json", &["--json", "--save-module", "norm"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["updates"].as_array().unwrap().len(), 21);
    assert!(all["error"].as_f64().unwrap() < 1e-5);
    assert_eq!(all["saved"], serde_json::json!(["model.norm.weight"]));
    assert!(Path::new(&world.path("json").join("adapter_config.json")).is_file());
    let output = run("lora", &[]);
    assert_eq!(output.status.code(), Some(2), "a folder is not written over");
}
