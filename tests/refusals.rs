//! Bad input of every kind: the message, the exit code, and nothing left that looks like a model.
//!
//! The messages are snapshots (`tests/snapshots`): `INSTA_UPDATE=always cargo test --test refusals`
//! rewrites them, and the diff is what a reviewer reads.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use support::{Tensors, command, f32s, stored};

/// A folder with three good checkpoints, in which a case breaks something.
struct World(tempfile::TempDir);

const WEIGHTS: [&str; 3] =
    ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"];

fn tensors(scale: f32) -> Tensors {
    let x = |n: usize| (0..n).map(move |i| scale * (i as f32 - 7.5));
    WEIGHTS.iter().map(|name| ((*name).to_owned(), f32s(&[4, 6], x(24)))).collect()
}

const GOOD: &str = "merge_method: task_arithmetic\nbase_model: base\nmodels:\n  - model: a\n  - model: b\nparameters:\n  weight: 0.5\n";

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        for (name, scale) in [("base", 1.0), ("a", 1.1), ("b", 0.8)] {
            support::write(&world.path(name), &tensors(scale));
        }
        world.recipe(GOOD);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn recipe(&self, text: &str) {
        std::fs::write(self.path("recipe.yaml"), text).unwrap();
    }

    fn weights(&self, model: &str) -> PathBuf {
        self.path(model).join("model.safetensors")
    }

    fn change(&self, model: &str, change: impl FnOnce(&mut Tensors)) {
        let mut tensors = support::read(&self.path(model));
        change(&mut tensors);
        support::save(&self.weights(model), &tensors);
    }

    fn bytes(&self, model: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.weights(model)).unwrap();
        change(&mut bytes);
        std::fs::write(self.weights(model), bytes).unwrap();
    }

    /// Replaces the header by any text; the data stay.
    fn header(&self, model: &str, change: impl FnOnce(&str) -> String) {
        self.bytes(model, |bytes| {
            let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let text = change(std::str::from_utf8(&bytes[8..8 + len]).unwrap());
            let data = bytes.split_off(8 + len);
            *bytes = [(text.len() as u64).to_le_bytes().to_vec(), text.into_bytes(), data].concat();
        });
    }

    /// Makes `a` a sharded checkpoint whose index says this.
    fn index(&self, weight_map: &str) {
        std::fs::rename(self.weights("a"), self.path("a/shard.safetensors")).unwrap();
        let text = format!("{{\"metadata\": {{}}, \"weight_map\": {weight_map}}}");
        std::fs::write(self.path("a/model.safetensors.index.json"), text).unwrap();
    }

    /// Runs a merge and describes how it was refused.
    fn refused(&self, name: &str, code: i32, args: &[&str]) -> String {
        let mut merge = command();
        merge.current_dir(self.0.path()).args(["merge", "recipe.yaml", "out", "--quiet"]).args(args);
        let run = merge.assert();
        let stderr = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert_eq!(run.get_output().status.code(), Some(code), "{name}: {stderr}");
        assert!(run.get_output().stdout.is_empty());
        assert!(!looks_whole(&self.path("out")), "{name}");
        format!("## {name}\n{stderr}\n")
    }
}

fn looks_whole(out: &Path) -> bool {
    out.join("growmerge.json").exists() || out.join("model.safetensors").exists()
}

/// What is broken, and how.
type Case<'a> = (&'a str, &'a dyn Fn(&World));

/// Runs every case in a world of its own; the snapshot holds all messages.
fn refusals(cases: &[Case<'_>]) -> String {
    let mut text = String::new();
    for (name, break_it) in cases {
        let world = World::new();
        break_it(&world);
        // One thread: of several bad tensors the first is named.
        text += &world.refused(name, 2, &["--threads", "1"]);
    }
    text
}

#[test]
fn the_good_world_is_accepted() {
    let world = World::new();
    let mut merge = command();
    merge.current_dir(world.0.path()).args(["merge", "recipe.yaml", "out", "--quiet"]).assert().success();
    assert!(looks_whole(&world.path("out")));
}

#[test]
fn weight_files() {
    let text = refusals(&[
        ("truncated", &|w| w.bytes("a", |b| b.truncate(b.len() - 5))),
        ("truncated in the header", &|w| w.bytes("a", |b| b.truncate(40))),
        ("padded", &|w| w.bytes("a", |b| b.extend([0; 3]))),
        ("empty", &|w| w.bytes("a", Vec::clear)),
        ("a header longer than the file", &|w| {
            w.bytes("a", |b| b[..8].copy_from_slice(&9999u64.to_le_bytes()))
        }),
        ("a header of 100 MB", &|w| w.bytes("a", |b| b[..8].copy_from_slice(&100_000_001u64.to_le_bytes()))),
        ("a header length that overflows", &|w| w.bytes("a", |b| b[..8].fill(255))),
        ("a header that is not JSON", &|w| w.header("a", |h| h.replace('{', "["))),
        ("a header that is not UTF-8", &|w| w.bytes("a", |b| b[12] = 255)),
        ("offsets beyond the file", &|w| w.header("a", |h| h.replace("[192,288]", "[192,9288]"))),
        ("offsets that overflow", &|w| {
            w.header("a", |h| h.replace("[192,288]", "[18446744073709551520,18446744073709551615]"));
        }),
        ("offsets that run backwards", &|w| w.header("a", |h| h.replace("[192,288]", "[288,192]"))),
        ("overlapping tensors", &|w| w.header("a", |h| h.replace("[192,288]", "[96,192]"))),
        ("a hole", &|w| {
            w.header("a", |h| h.replace("[192,288]", "[200,296]"));
            w.bytes("a", |b| b.extend([0; 8]));
        }),
        ("a shape that disagrees with its bytes", &|w| w.header("a", |h| h.replacen("[4,6]", "[4,7]", 1))),
        ("a shape that overflows", &|w| {
            w.header("a", |h| h.replacen("[4,6]", "[4294967296,4294967296]", 1));
        }),
        ("a negative dimension", &|w| w.header("a", |h| h.replacen("[4,6]", "[-4,6]", 1))),
        ("an unknown dtype", &|w| w.header("a", |h| h.replacen("F32", "F33", 1))),
        ("a name twice", &|w| w.header("a", |h| h.replace("layers.1", "layers.0"))),
        ("8-bit floats that are not numbers", &|w| {
            for model in ["base", "a", "b"] {
                w.header(model, |h| h.replacen("\"F32\",\"shape\":[4,6]", "\"F8_E4M3\",\"shape\":[16,6]", 1));
            }
        }),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn folders() {
    let text = refusals(&[
        ("no such model", &|w| std::fs::remove_dir_all(w.path("a")).unwrap()),
        ("a Hub name", &|w| w.recipe(&GOOD.replace("model: a", "model: acme/llama-et"))),
        ("no weights", &|w| std::fs::remove_file(w.weights("a")).unwrap()),
        ("pickles", &|w| {
            std::fs::rename(w.weights("a"), w.path("a/pytorch_model.bin")).unwrap();
        }),
        ("an adapter", &|w| {
            std::fs::rename(w.weights("a"), w.path("a/adapter_model.safetensors")).unwrap();
        }),
        ("two files without an index", &|w| {
            std::fs::copy(w.weights("a"), w.path("a/x.safetensors")).unwrap();
            std::fs::rename(w.weights("a"), w.path("a/y.safetensors")).unwrap();
        }),
        ("an index that is not JSON", &|w| {
            w.index("{}");
            std::fs::write(w.path("a/model.safetensors.index.json"), "{").unwrap();
        }),
        ("an index without a map", &|w| w.index("[]")),
        ("a missing shard", &|w| {
            w.index(&format!("{{\"{}\": \"shard.safetensors\", \"x\": \"gone.safetensors\"}}", WEIGHTS[0]));
        }),
        ("a shard above the folder", &|w| w.index("{\"x\": \"../b/model.safetensors\"}")),
        ("a shard with an absolute path", &|w| w.index("{\"x\": \"/etc/hostname\"}")),
        ("a tensor that its shard does not have", &|w| {
            let all = WEIGHTS.map(|n| format!("\"{n}\": \"shard.safetensors\"")).join(", ");
            w.index(&format!("{{{all}, \"model.norm.weight\": \"shard.safetensors\"}}"));
        }),
        ("a config that is not JSON", &|w| std::fs::write(w.path("base/config.json"), "{,}").unwrap()),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn models_that_do_not_fit() {
    let text = refusals(&[
        ("a shape differs", &|w| {
            w.change("a", |t| drop(t.insert(WEIGHTS[0].into(), f32s(&[6, 4], [0.; 24]))))
        }),
        ("a vocabulary differs", &|w| {
            w.change("a", |t| drop(t.insert(WEIGHTS[2].into(), f32s(&[5, 6], [0.; 30]))));
        }),
        ("layer counts differ", &|w| w.change("a", |t| drop(t.remove(WEIGHTS[1])))),
        ("a tensor is missing", &|w| w.change("a", |t| drop(t.remove(WEIGHTS[2])))),
        ("integers in one model", &|w| {
            w.change("a", |t| t.get_mut(WEIGHTS[0]).unwrap().dtype = Dtype::I32);
        }),
        ("a NaN in an input", &|w| {
            w.change("b", |t| {
                t.get_mut(WEIGHTS[1]).unwrap().bytes[56..60].copy_from_slice(&f32::NAN.to_le_bytes())
            });
        }),
        ("an infinity in the base", &|w| {
            let x = f32::NEG_INFINITY.to_le_bytes();
            w.change("base", |t| t.get_mut(WEIGHTS[1]).unwrap().bytes[..4].copy_from_slice(&x));
        }),
        ("an overflow in the result", &|w| {
            w.change("a", |t| drop(t.insert(WEIGHTS[0].into(), stored(Dtype::F32, &[4, 6], &[3e38; 24]))));
            w.recipe(&GOOD.replace("0.5", "9"));
        }),
        ("an overflow of float16", &|w| w.recipe(&(GOOD.replace("0.5", "1e5") + "dtype: float16\n"))),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn recipes() {
    let linear = GOOD.replace("task_arithmetic", "linear").replace("base_model: base\n", "");
    let set = |from: &'static str, to: &'static str| move |w: &World| w.recipe(&GOOD.replacen(from, to, 1));
    let whole = |text: &str| {
        let text = text.to_owned();
        move |w: &World| w.recipe(&text)
    };
    let text = refusals(&[
        ("empty", &whole("\n")),
        ("not YAML", &whole("merge_method: [")),
        ("a list", &whole("- merge_method: linear\n")),
        ("no method", &set("merge_method: task_arithmetic\n", "")),
        ("an unknown method", &set("task_arithmetic", "task_arithmetik")),
        ("no base", &set("base_model: base\n", "")),
        ("no models", &set("models:\n  - model: a\n  - model: b\n", "")),
        ("modules without a value", &set("models:\n  - model: a\n  - model: b\n", "modules: null\n")),
        ("models and slices", &set("models:", "slices: [1]\nmodels:")),
        ("a misspelt parameter", &set("  weight: 0.5", "  wieght: 0.5")),
        ("a parameter beside the model", &set("- model: a", "- model: a\n    weight: 0.3")),
        ("a missing parameter", &set("parameters:\n  weight: 0.5\n", "")),
        ("a misspelt key", &set("base_model", "basemodel")),
        ("a key twice", &set("models:", "merge_method: linear\nmodels:")),
        ("a vocabulary that no tokenizer tells of", &set("models:", "tokenizer_source: union\nmodels:")),
        ("a second document", &set("parameters:", "---\nparameters:")),
        ("an adapter", &set("model: a", "model: a+lora")),
        ("a model twice", &set("- model: b", "- model: a")),
        ("an unknown dtype", &set("parameters:", "dtype: bfloat61\nparameters:")),
        ("text for a number", &set("0.5", "half")),
        ("not finite", &set("0.5", ".nan")),
        (
            "infinite, in a list and in a rule",
            &set("0.5", "[1, -.inf, .inf]\n  density: [{value: .Inf}]").then("ties"),
        ),
        ("a number that only YAML has", &set("0.5", "1e999")),
        (
            "infinite layers",
            &whole(
                "merge_method: passthrough\nslices:\n  - sources:\n      - {model: a, layer_range: [0, .inf]}\n",
            ),
        ),
        ("a weight beyond float32", &set("0.5", "1e39")),
        ("amounts beyond float32", &set("0.5", "0.5\n  lambda: [1, -1e300]")),
        ("weights whose sum is beyond float32", &whole(&linear.replace("0.5", "2e38"))),
        ("density out of range", &set("0.5", "0.5\n  density: 1.5\nmerge_method_: x").then("ties")),
        ("density below zero", &set("0.5", "0.5\n  density: -0.1").then("ties")),
        ("density that keeps nothing", &set("0.5", "0.5\n  density: 0.01").then("ties")),
        ("a chance beyond one", &set("0.5", "0.5\n  density: 0.9\n  epsilon: 0.2").then("della")),
        ("a chance below zero", &set("0.5", "0.5\n  density: 0.1").then("della_linear")),
        ("outliers beyond all", &set("0.5", "0.5\n  density: 0.1\n  gamma: 1.5").then("breadcrumbs")),
        ("crumbs that are none", &set("0.5", "0.5\n  density: 0.01").then("breadcrumbs_ties")),
        ("a selection beyond all", &set("weight: 0.5", "select_topk: 1.01").then("sce")),
        ("weights that sum to zero", &|w| {
            w.recipe(&linear.replace("model: a", "model: a\n    parameters: {weight: -0.5}"));
        }),
        ("too many models", &set("task_arithmetic", "slerp")),
        (
            "too few models",
            &whole(&GOOD.replace("task_arithmetic", "model_stock").replace("  - model: b\n", "")),
        ),
        (
            "one model for nuslerp",
            &whole(&GOOD.replace("task_arithmetic", "nuslerp").replace("  - model: b\n", "")),
        ),
        (
            "no distance to swap",
            &whole(
                &GOOD
                    .replace("task_arithmetic", "nearswap")
                    .replace("  - model: b\n", "")
                    .replace("weight", "lambda"),
            ),
        ),
        (
            "two models to fuse",
            &whole(&GOOD.replace("task_arithmetic", "arcee_fusion").replace("  weight: 0.5\n", "  {}\n")),
        ),
        (
            "a negative threshold",
            &whole(&GOOD.replace("task_arithmetic", "ram").replace("weight: 0.5", "epsilon: -1")),
        ),
        (
            "half a step",
            &whole(&GOOD.replace("task_arithmetic", "karcher").replace("weight: 0.5", "max_iter: 2.5")),
        ),
        (
            "a negative tolerance",
            &whole(&GOOD.replace("task_arithmetic", "karcher").replace("weight: 0.5", "tol: -1")),
        ),
        (
            "weights on a sphere that sum to zero",
            &whole(
                &GOOD
                    .replace("task_arithmetic", "multislerp")
                    .replace("model: a", "model: a\n    parameters: {weight: -0.5}"),
            ),
        ),
        ("several problems at once", &|w| {
            let many = "merge_method: tiez\nbase_model: bse\nmodels:\n  - model: a\n    density: 0.5\n  - modle: b\ndtype: f16\n";
            w.recipe(many);
        }),
        (
            "layers beyond the model",
            &whole(
                "merge_method: passthrough\nslices:\n  - sources:\n      - {model: a, layer_range: [0, 9]}\n",
            ),
        ),
        (
            "no layers",
            &whole(
                "merge_method: passthrough\nslices:\n  - sources:\n      - {model: a, layer_range: [2, 2]}\n",
            ),
        ),
        ("a bomb of aliases", &|w| {
            let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
            for i in 1..12 {
                let list = vec![format!("*a{}", i - 1); 10].join(", ");
                let _ = writeln!(bomb, "a{i}: &a{i} [{list}]");
            }
            w.recipe(&bomb);
        }),
        ("lists in lists", &whole(&GOOD.replace("0.5", &format!("{}1{}", "[".repeat(70), "]".repeat(70))))),
        ("deep nesting", &|w| w.recipe(&"[".repeat(100_000))),
        ("two megabytes", &|w| w.recipe(&"# x\n".repeat(600_000))),
        ("not text", &|w| std::fs::write(w.path("recipe.yaml"), [0xff, 0xfe, 0, 1]).unwrap()),
        ("no file", &|w| std::fs::remove_file(w.path("recipe.yaml")).unwrap()),
        ("a folder", &|w| {
            std::fs::remove_file(w.path("recipe.yaml")).unwrap();
            std::fs::create_dir(w.path("recipe.yaml")).unwrap();
        }),
    ]);
    insta::assert_snapshot!(text);
}

/// The same change in a recipe for another method.
trait Then {
    fn then(self, method: &str) -> impl Fn(&World);
}

impl<F: Fn(&World)> Then for F {
    fn then(self, method: &str) -> impl Fn(&World) {
        move |w| {
            self(w);
            let text = std::fs::read_to_string(w.path("recipe.yaml")).unwrap();
            w.recipe(&text.replace("task_arithmetic", method).replace("\nmerge_method_: x", ""));
        }
    }
}

#[test]
fn output_folders() {
    let mut text = String::new();
    let mut case = |name: &str, code: i32, prepare: &dyn Fn(&World), args: &[&str]| {
        let world = World::new();
        prepare(&world);
        text += &world.refused(name, code, args);
    };
    let folder = |w: &World| std::fs::create_dir(w.path("out")).unwrap();
    case("not empty", 2, &|w| (folder(w), std::fs::write(w.path("out/notes.txt"), "x").unwrap()).0, &[]);
    case("a file", 2, &|w| std::fs::write(w.path("out"), "x").unwrap(), &[]);
    case("no memory", 3, &|_| {}, &["--memory", "1k"]);
    case("no thread", 2, &|_| {}, &["--threads", "0"]);
    case("a size without sense", 2, &|_| {}, &["--shard-size", "many"]);
    case("two flags that exclude each other", 2, &|_| {}, &["--resume", "--overwrite"]);
    insta::assert_snapshot!(text);

    let world = World::new();
    let before = std::fs::read(world.weights("a")).unwrap();
    let mut merge = command();
    merge.current_dir(world.0.path()).args(["merge", "recipe.yaml", "./a/../a", "--overwrite"]);
    let told = merge.assert().code(2);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("is one of the inputs"));
    assert_eq!(std::fs::read(world.weights("a")).unwrap(), before);
}

#[test]
fn a_folder_that_an_input_links_into_is_not_overwritten() {
    let world = World::new();
    std::fs::create_dir(world.path("out")).unwrap();
    std::fs::rename(world.weights("a"), world.path("out/model.safetensors")).unwrap();
    std::os::unix::fs::symlink("../out/model.safetensors", world.weights("a")).unwrap();
    let mut merge = command();
    merge.current_dir(world.0.path()).args(["merge", "recipe.yaml", "out", "--overwrite"]).assert().code(2);
    assert!(world.path("out/model.safetensors").exists());
}

/// Root may write anywhere, so a read-only folder is tried only where it is read-only.
#[test]
fn a_folder_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let closed = world.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    let target = if std::fs::write(closed.join("x"), "").is_ok() { "/proc/growmerge" } else { "closed/out" };
    let mut merge = command();
    let told = merge.current_dir(world.0.path()).args(["merge", "recipe.yaml", target]).assert().code(3);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("cannot create"));
}

/// A full file system is not at hand everywhere, but a merge that needs more than there is can be had
/// anywhere; it is refused before it writes.
#[test]
fn a_full_disk_is_told_before_anything_is_written() {
    let world = World::new();
    let huge = 1u64 << 43;
    for model in ["base", "a", "b"] {
        // Eight sparse terabytes: only their length exists.
        let header = format!(
            "{{\"{}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,{huge}]}}}}",
            WEIGHTS[0],
            huge / 4
        );
        let file = std::fs::File::create(world.weights(model)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &(header.len() as u64).to_le_bytes(), 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, header.as_bytes(), 8).unwrap();
        if file.set_len(8 + header.len() as u64 + huge).is_err() {
            // Straight to the stream: what a passing test prints otherwise is not shown.
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), b"skipped: no sparse file of 8 TiB here\n");
            return;
        }
    }
    let text = world.refused("full disk", 3, &[]);
    assert!(text.contains("no space left for out"), "{text}");
    assert!(!world.path("out/model.safetensors.partial").exists());
}

#[test]
fn links_are_fine_and_nan_is_when_allowed() {
    let world = World::new();
    let blobs = world.path("blobs");
    std::fs::create_dir(&blobs).unwrap();
    std::fs::rename(world.weights("a"), blobs.join("sha")).unwrap();
    std::os::unix::fs::symlink("../blobs/sha", world.weights("a")).unwrap();
    world.change("b", |t| t.get_mut(WEIGHTS[1]).unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    world.recipe(&format!("{GOOD}non_finite: allow\n"));
    let mut merge = command();
    merge.current_dir(world.0.path()).args(["merge", "recipe.yaml", "out", "--quiet"]).assert().success();
    let merged = support::values(&support::read(&world.path("out"))[WEIGHTS[1]]);
    assert!(merged[0].is_nan() && merged[1].is_finite());
}
