//! Growing by HyperCloning: the weights, byte for byte, and the engine's promises about them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::device::cpu::Cpu;
use growmerge::device::{LINE, philox};
use growmerge::execute::{self, Options};
use growmerge::plan::Plan;
use growmerge::write::{Draft, Existing, Opened, Sync, verify};
use oracle::hypercloning;
use safetensors::tensor::Dtype;
use support::toy::{TOY, Toy, write_model};
use support::{Silent, Tensors, command, merge, plan, read, run, stored, values};

fn grown(model: &Path, grow: &str) -> String {
    format!("merge_method: passthrough\nmodels:\n  - {{model: {}, grow: {grow}}}\n", model.display())
}

/// What every tensor of a tied toy becomes, by the name of its role.
fn expected(toy: &Toy, n: usize, m: usize, noise: Option<(f64, u64)>) -> Tensors {
    let mut wide = Tensors::new();
    for (name, tensor) in toy.tensors() {
        let x = values(&tensor);
        let matrix = |down: usize, across: usize, block: usize| {
            let shape = [tensor.shape[0], tensor.shape[1]];
            let mut y = hypercloning::clone(&x, shape, down, across);
            if let Some((snr, seed)) = noise.filter(|_| across > 1) {
                let key = philox::noise_key(seed, &name);
                let rows = shape[0] * down;
                hypercloning::add_noise(&mut y, [rows, shape[1]], across, block, snr, key);
            }
            (vec![shape[0] * down, shape[1] * across], y)
        };
        let whole = tensor.shape[0];
        let (shape, y) = match name.rsplit_once('.').unwrap() {
            (part, "weight") if part.ends_with("q_proj") => matrix(n, n, toy.head_dim),
            (part, "weight") if part.ends_with("k_proj") => matrix(n, n, toy.head_dim),
            (part, "weight") if part.ends_with("v_proj") => matrix(n, n, toy.head_dim),
            (part, "weight") if part.ends_with("o_proj") => matrix(n, n, whole),
            (part, "weight") if part.ends_with("gate_proj") => matrix(m, n, whole),
            (part, "weight") if part.ends_with("up_proj") => matrix(m, n, whole),
            (part, "weight") if part.ends_with("down_proj") => matrix(n, m, whole),
            (part, "bias") => {
                let copies = if part.ends_with("gate_proj") || part.ends_with("up_proj") { m } else { n };
                (vec![x.len() * copies], hypercloning::tile(&x, [1, x.len()], 1, copies))
            }
            ("model.embed_tokens", _) => {
                let shape = [tensor.shape[0], tensor.shape[1]];
                (vec![shape[0], shape[1] * n], hypercloning::tile(&x, shape, 1, n))
            }
            ("model.norm", _) => {
                let y = hypercloning::tile(&x, [1, x.len()], 1, n);
                (vec![x.len() * n], y.iter().map(|y| y / n as f64).collect())
            }
            _ => (vec![x.len() * n], hypercloning::tile(&x, [1, x.len()], 1, n)),
        };
        let y: Vec<f32> = y.into_iter().map(|y| y as f32).collect();
        wide.insert(name, stored(toy.dtype, &shape, &y));
    }
    wide
}

#[test]
fn weights_are_those_of_the_definition() {
    for (dtype, n, m, seed) in [
        (Dtype::F32, 2, 2, 11),
        (Dtype::F32, 3, 2, 12),
        (Dtype::F32, 1, 5, 13),
        (Dtype::BF16, 2, 1, 14),
        (Dtype::BF16, 3, 3, 15),
        (Dtype::F16, 4, 2, 16),
    ] {
        let toy = Toy { dtype, seed, bias: true, heads: 4, kv_heads: 2, ..TOY };
        let folder = tempfile::tempdir().unwrap();
        toy.write(folder.path());
        let got = merge(&grown(folder.path(), &format!("{{width: {n}, intermediate: {m}}}")));
        let want = expected(&toy, n, m, None);
        assert!(got.keys().eq(want.keys()));
        for (name, want) in want {
            assert_eq!(got[&name].shape, want.shape, "{name}");
            assert_eq!(got[&name].dtype, want.dtype, "{name}");
            assert!(got[&name].bytes == want.bytes, "{n} x {m} in {dtype:?}: {name}");
        }
    }
}

#[test]
fn noise_is_that_of_the_definition() {
    for (n, m, snr, seed) in [(2, 2, 10.0, 3), (3, 2, 0.0, 4), (4, 1, -3.5, 5), (1, 2, 20.0, 6)] {
        let toy = Toy { seed: seed * 7, heads: 4, kv_heads: 2, ..TOY };
        let folder = tempfile::tempdir().unwrap();
        toy.write(folder.path());
        let words = format!("{{width: {n}, intermediate: {m}, noise_snr: {snr}, seed: {seed}}}");
        let got = merge(&grown(folder.path(), &words));
        for (name, want) in expected(&toy, n, m, Some((snr, seed))) {
            let (got, want) = (values(&got[&name]), values(&want));
            let size = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
            let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far < 2e-6 * size, "{name}: {far:e} of {size:e}");
        }
    }
}

/// In every block of rows and pair of column blocks: the ratio, the opposite signs, and the quiet odd block.
#[test]
fn the_ratio_is_met_exactly_and_noise_cancels_out() {
    let toy = Toy { heads: 4, kv_heads: 2, ..TOY };
    let folder = tempfile::tempdir().unwrap();
    toy.write(folder.path());
    let snr = 10.0;
    let with = merge(&grown(folder.path(), "{width: 5, intermediate: 3, noise_snr: 10, seed: 1}"));
    let without = merge(&grown(folder.path(), "{width: 5, intermediate: 3}"));
    let other_seed = merge(&grown(folder.path(), "{width: 5, intermediate: 3, noise_snr: 10, seed: 2}"));
    let mut blocks = 0;
    for (name, small) in toy.tensors() {
        let (noisy, quiet) = (values(&with[&name]), values(&without[&name]));
        if !name.ends_with("_proj.weight") {
            assert_eq!(noisy, quiet, "{name}");
            continue;
        }
        assert_ne!(noisy, values(&other_seed[&name]), "{name}");
        let [rows, columns] = small.shape[..] else { panic!() };
        let width = with[&name].shape[1];
        let heads = ["q_proj", "k_proj", "v_proj"].iter().any(|p| name.contains(p));
        let block_rows = if heads { toy.head_dim } else { rows };
        let at = |block: usize, i: usize, j: usize| i * width + block * columns + j;
        let mut seen: Vec<Vec<f64>> = Vec::new();
        for top in (0..with[&name].shape[0]).step_by(block_rows) {
            let places: Vec<(usize, usize)> =
                (top..top + block_rows).flat_map(|i| (0..columns).map(move |j| (i, j))).collect();
            for block in 0..width / columns {
                let noise: Vec<f64> =
                    places.iter().map(|(i, j)| noisy[at(block, *i, *j)] - quiet[at(block, *i, *j)]).collect();
                if block == width / columns - 1 {
                    assert!(noise.iter().all(|x| *x == 0.0), "{name}: the odd block is quiet");
                    continue;
                }
                let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
                let weights: Vec<f64> = places.iter().map(|(i, j)| quiet[at(block, *i, *j)]).collect();
                let ratio = 10.0 * (squares(&weights) / squares(&noise)).log10();
                assert!((ratio - snr).abs() < 1e-5, "{name}: {ratio} dB");
                if block % 2 == 0 {
                    assert!(seen.iter().all(|other| *other != noise), "{name}: noise comes twice");
                    seen.push(noise);
                    blocks += 1;
                } else {
                    let far = noise.iter().zip(seen.last().unwrap()).map(|(a, b)| (a + b).abs());
                    assert!(far.fold(0.0, f64::max) < 1e-6, "{name}: does not cancel out");
                }
            }
        }
    }
    assert!(blocks > 100);
}

/// Tensors of several units, with rows that no line and no block is a multiple of.
fn large(folder: &Path) -> Vec<String> {
    let toy = Toy { vocab: 8_111, hidden: 66, heads: 11, kv_heads: 11, head_dim: 6, ..TOY };
    let toy = Toy { intermediate: 2_003, layers: 1, dtype: Dtype::BF16, ..toy };
    toy.write(&folder.join("small"));
    Toy { seed: 9, ..toy }.write(&folder.join("other"));
    let passthrough = grown(&folder.join("small"), "{width: 2, intermediate: 3, noise_snr: 10}");
    let merged = format!(
        "merge_method: ties\nbase_model: {{model: {0}, grow: {{width: 3, head: untied, noise_snr: 5}}}}\nmodels:\n  \
         - {{model: {1}, grow: {{width: 3, head: untied, noise_snr: 5}}}}\nparameters: {{weight: 1, density: 0.3}}\n",
        folder.join("small").display(),
        folder.join("other").display()
    );
    vec![passthrough, merged]
}

fn same(a: &Tensors, b: &Tensors) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((n, x), (m, y))| n == m && x.bytes == y.bytes)
}

#[test]
fn threads_blocks_and_vectors_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (i, text) in large(folder.path()).iter().enumerate() {
        let plan = plan(text);
        assert!(plan.jobs.iter().any(|j| j.elements() > 2 * growmerge::device::UNIT));
        let one = run(&plan, &Cpu::new(), 1).unwrap();
        for (threads, block) in [(2, LINE), (5, 3 * LINE), (7, 1 << 24)] {
            let other = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
            assert!(same(&one, &other), "{threads} threads, blocks of {block}:\n{text}");
        }
        let recipe = folder.path().join("recipe.yaml");
        std::fs::write(&recipe, text).unwrap();
        for level in ["plain", "avx2"] {
            let out = folder.path().join(format!("{level}{i}"));
            let mut merge = command();
            merge.env("GROWMERGE_SIMD", level).arg("merge").args([&recipe, &out]).arg("--quiet");
            merge.assert().success();
            assert!(same(&one, &read(&out)), "{level}:\n{text}");
        }
    }
}

/// Writes the jobs of a plan that `which` takes, and finishes if that is all that were left.
fn write(plan: &Plan, out: &Path, existing: Existing, which: impl Fn(usize) -> bool) -> usize {
    let Opened::Draft(draft, todo) = Draft::open(plan, out, existing, Sync::System).unwrap() else {
        panic!("complete already");
    };
    let now: Vec<usize> = todo.iter().copied().filter(|j| which(*j)).collect();
    let options = Options { threads: 2, cancel: &AtomicBool::new(false) };
    execute::run(&Cpu::new(), plan, &now, &options, draft.as_ref(), &Silent).unwrap();
    if now.len() == todo.len() {
        draft.finish(None).unwrap();
    }
    now.len()
}

#[test]
fn an_interrupted_growth_goes_on_and_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    TOY.write(&folder.path().join("small"));
    let text = grown(&folder.path().join("small"), "{width: 2, noise_snr: 10, seed: 7, head: untied}");
    let plan = plan(&text);
    let out = folder.path().join("out");
    let first = write(&plan, &out, Existing::Refuse, |job| job % 3 != 0);
    let rest = write(&plan, &out, Existing::Resume, |_| true);
    assert_eq!(first + rest, plan.jobs.len());
    assert!(first > 0 && rest > 0);
    assert!(same(&read(&out), &merge(&text)));
    // The manifest says how it was grown, and knows the input's bytes.
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("growmerge.json")).unwrap()).unwrap();
    let words = serde_json::json!({
        "width": 2, "intermediate": 2, "noise_snr": 10.0, "seed": 7, "head": "untied"
    });
    assert_eq!(manifest["inputs"][0]["grow"], words);
    assert!(manifest["inputs"][0]["files"][0]["crc64nvme"].is_string());
    let tensors = manifest["tensors"].as_array().unwrap();
    let source = |name: &str| &tensors.iter().find(|t| t["name"] == name).unwrap()["sources"][0];
    assert_eq!(source("lm_head.weight")["tensor"], "model.embed_tokens.weight");
    assert_eq!(source("lm_head.weight")["view"], "1 x 2 copies / 2");
    assert_eq!(
        source("model.layers.0.mlp.down_proj.weight")["view"],
        "2 x 2 copies / 2, noise at 10 dB with seed 7"
    );
    let report = verify(&out).unwrap();
    assert!(report.is_good(), "{report:?}");
    // A change of the small model is seen, and another growth is another plan.
    let file = folder.path().join("small/model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(!verify(&out).unwrap().is_good());
    let digest = |grow: &str| support::plan(&grown(&folder.path().join("small"), grow)).digest;
    let digests = [
        "2",
        "3",
        "{width: 2, noise_snr: 10}",
        "{width: 2, noise_snr: 10, seed: 1}",
        "{width: 2, head: factor}",
    ]
    .map(digest);
    for (i, a) in digests.iter().enumerate() {
        assert!(digests.iter().skip(i + 1).all(|b| a != b));
    }
}

/// A small model grown on the fly beside a large one, and the same from a grown checkpoint on disk.
#[test]
fn on_the_fly_or_from_disk_makes_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    for dtype in [Dtype::F32, Dtype::BF16] {
        let toy = Toy { dtype, ..TOY };
        toy.write(&path("small"));
        Toy { seed: 2, ..toy.clone() }.write(&path("small2"));
        // A large model of its own: nothing but its shapes is that of a clone.
        let large = Toy { hidden: 48, heads: 6, kv_heads: 2, intermediate: 80, seed: 3, ..toy.clone() };
        large.write(&path("large"));
        for name in ["small", "small2"] {
            let text = grown(&path(name), "2");
            write_model(&path(&format!("{name}-wide")), &merge(&text), &plan(&text).config.unwrap());
        }
        for (method, parameters, others) in [
            ("linear", "{weight: 0.5}", true),
            ("task_arithmetic", "{weight: 0.5, lambda: 1.5}", true),
            ("ties", "{weight: 1.0, density: 0.4}", true),
            ("dare_ties", "{weight: 1.0, density: 0.4}", true),
            ("della", "{weight: 1.0, density: 0.4, epsilon: 0.1}", true),
            ("breadcrumbs", "{weight: 1.0, density: 0.8, gamma: 0.05}", true),
            ("sce", "{select_topk: 0.5}", true),
            ("model_stock", "{}", true),
            ("ram", "{}", true),
            ("slerp", "{t: 0.3}", false),
            ("arcee_fusion", "{}", false),
        ] {
            let recipe = |small: &str| {
                let base = if method == "linear" {
                    String::new()
                } else {
                    format!("base_model: {}\n", path("large").display())
                };
                let mut text = format!("merge_method: {method}\n{base}models:\n");
                for name in ["small", "small2"].into_iter().take(if others { 2 } else { 1 }) {
                    text += &small.replace("NAME", path(name).to_str().unwrap());
                }
                if method == "linear" {
                    text += &format!("  - model: {}\n", path("large").display());
                }
                text + &format!("parameters: {parameters}\n")
            };
            let on_the_fly = merge(&recipe("  - {model: NAME, grow: 2}\n"));
            let from_disk = merge(&recipe("  - model: NAME-wide\n"));
            assert!(same(&on_the_fly, &from_disk), "{method} in {dtype:?}");
        }
        // As the base, in the mapping form, and as a slice.
        let tasks = |base: &str| {
            let large = path("large");
            merge(&format!(
                "merge_method: task_arithmetic\nbase_model: {}\nmodels:\n  - model: {}\nparameters: {{weight: 0.5}}\n",
                base.replace("NAME", path("small").to_str().unwrap()),
                large.display()
            ))
        };
        assert!(same(&tasks("{model: NAME, grow: 2}"), &tasks("NAME-wide")));
        let slices = |source: &str| {
            let source = source.replace("NAME", path("small").to_str().unwrap());
            let large = path("large");
            merge(&format!(
                "merge_method: passthrough\nslices:\n  - sources: [{{{source}, layer_range: [0, 2]}}]\n  - sources: \
                 [{{model: {}, layer_range: [1, 3]}}]\n",
                large.display()
            ))
        };
        assert!(same(&slices("model: NAME, grow: 2"), &slices("model: NAME-wide")));
    }
}

/// NaN is told with its place in the small model, wherever a worker meets a copy of it first.
#[test]
fn a_nan_is_found_where_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = TOY.tensors();
    let name = "model.layers.1.mlp.up_proj.weight";
    let at = (3 * 24 + 5) * 4;
    tensors.get_mut(name).unwrap().bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    write_model(folder.path(), &tensors, &TOY.config());
    let told = run(&plan(&grown(folder.path(), "3")), &Cpu::new(), 2).err().unwrap().to_string();
    assert!(told.contains("NaN in row 3, column 5"), "{told}");
}
