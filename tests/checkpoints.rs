//! Checkpoints as people have them: ties, optional tensors, integers, custom code, files that change.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use growmerge::device::cpu::Cpu;
use growmerge::execute::{self, Observer, Options, Piece, Sealed, Sink};
use growmerge::problem::{Error, ExecError};
use safetensors::tensor::Dtype;
use support::{Memory, Silent, Tensor, Tensors, command, f32s, merge, plan, read, recipe, values, write};

const EMBED: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

fn row(x: f32) -> Tensor {
    f32s(&[2, 3], [x; 6])
}

fn layer(i: usize, part: &str) -> String {
    format!("model.layers.{i}.{part}.weight")
}

/// Writes models with these tensors into a folder and returns a recipe that averages them.
fn average(folder: &Path, models: &[&[(&str, Tensor)]]) -> String {
    let mut paths = Vec::new();
    for (i, tensors) in models.iter().enumerate() {
        paths.push(folder.join(format!("m{i}")));
        let tensors: Tensors = tensors.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
        write(&paths[i], &tensors);
    }
    recipe("linear", None, &paths, "{weight: 1}")
}

#[test]
fn a_tied_model_gives_its_embedding_for_a_head_that_others_store() {
    let folder = tempfile::tempdir().unwrap();
    let text = average(folder.path(), &[&[(EMBED, row(1.0)), (HEAD, row(5.0))], &[(EMBED, row(3.0))]]);
    let merged = merge(&text);
    assert_eq!(values(&merged[EMBED]), [2.0; 6]);
    assert_eq!(values(&merged[HEAD]), [4.0; 6]);
    // Where nobody stores a head, none is made up.
    let text = average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]);
    assert_eq!(merge(&text).len(), 1);
}

#[test]
fn optional_tensors_may_be_missing_and_integers_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let inv_freq = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let up = layer(0, "mlp.up_proj");
    let ids = |bytes: [u8; 4]| Tensor { dtype: Dtype::U8, shape: vec![4], bytes: bytes.to_vec() };
    let text = average(
        folder.path(),
        &[
            &[
                (EMBED, row(1.0)),
                (&up, row(0.0)),
                (inv_freq, row(7.0)),
                ("model.position_ids", ids([1, 2, 3, 4])),
            ],
            &[(EMBED, row(2.0)), (&up, row(0.0)), ("model.position_ids", ids([9, 9, 9, 9]))],
        ],
    );
    let plan = plan(&text);
    let merged = merge(&text);
    assert_eq!(values(&merged[inv_freq]), [7.0; 6]);
    assert_eq!(merged["model.position_ids"].bytes, [1, 2, 3, 4]);
    let left: Vec<_> = plan.left_out.iter().map(|l| (l.tensor.as_str(), l.why.as_str())).collect();
    assert_eq!(left, [("model.position_ids", "integers are copied from one model")]);
}

#[test]
fn slices_renumber_layers_and_name_what_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, c) = (layer(0, "mlp.up_proj"), layer(1, "mlp.up_proj"), layer(2, "mlp.up_proj"));
    let tensors: [(&str, Tensor); 4] =
        [(EMBED, row(9.0)), (a.as_str(), row(0.0)), (b.as_str(), row(1.0)), (c.as_str(), row(2.0))];
    average(folder.path(), &[&tensors]);
    let model = folder.path().join("m0");
    std::fs::write(
        model.join("config.json"),
        r#"{"num_hidden_layers": 3, "layer_types": ["full", "sliding", "full2"], "torch_dtype": "float32"}"#,
    )
    .unwrap();
    let text = format!(
        "merge_method: passthrough\nslices:\n  - sources: [{{model: {0}, layer_range: [1, 3]}}]\n  - sources: [{{model: {0}, layer_range: [1, 2]}}]\n",
        model.display()
    );
    let plan = plan(&text);
    let merged = merge(&text);
    let of = |i| values(&merged[&layer(i, "mlp.up_proj")])[0];
    assert_eq!((merged.len(), of(0), of(1), of(2)), (4, 1.0, 2.0, 1.0));
    let config = plan.config.as_ref().unwrap();
    assert_eq!(config["num_hidden_layers"], 3);
    assert_eq!(config["layer_types"], serde_json::json!(["sliding", "full2", "sliding"]));
    assert_eq!(plan.left_out.len(), 1);
    assert_eq!(
        (plan.left_out[0].tensor.as_str(), plan.left_out[0].why.as_str()),
        (a.as_str(), "its layer is in no slice")
    );
}

#[test]
fn strangers_are_merged_too_with_shapes_that_differ_by_layer() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = |x: f32| -> Vec<(&str, Tensor)> {
        vec![
            ("transformer.wte.weight", row(x)),
            ("transformer.h.0.mixer.odd_name", f32s(&[5], [x; 5])),
            ("transformer.h.1.mixer.odd_name", f32s(&[1, 7], [x; 7])),
            ("thing", f32s(&[], [x])),
        ]
    };
    let (a, b) = (tensors(1.0), tensors(2.0));
    let merged = merge(&average(folder.path(), &[&a, &b]));
    assert!(merged.len() == 4 && merged.values().all(|t| values(t).iter().all(|x| *x == 1.5)));
}

#[test]
fn an_oddly_named_file_is_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let text = average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]);
    let odd = folder.path().join("m1/weights-final.safetensors");
    std::fs::rename(folder.path().join("m1/model.safetensors"), &odd).unwrap();
    assert_eq!(values(&merge(&text)[EMBED]), [2.0; 6]);
    let text = text.replace(folder.path().join("m1").to_str().unwrap(), odd.to_str().unwrap());
    assert_eq!(values(&merge(&text)[EMBED]), [2.0; 6]);
}

#[test]
fn code_named_by_auto_map_is_carried_over_and_missing_code_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]);
    let model = folder.path().join("m0");
    let config = r#"{"model_type": "hyperllama", "torch_dtype": "float32", "auto_map": {
        "AutoConfig": "configuration_hyperllama.C", "AutoModel": "modeling_hyperllama.M",
        "AutoTokenizer": ["../../etc/passwd.T", "other/repo--tokenization.T"]}}"#;
    std::fs::write(model.join("config.json"), config).unwrap();
    std::fs::write(model.join("modeling_hyperllama.py"), "from .helpers import x\n").unwrap();
    std::fs::write(model.join("helpers.py"), "# helps\n").unwrap();
    let plan = plan(&text);
    let names: Vec<&str> = plan.companions.iter().map(|c| c.name.as_str()).collect();
    assert!(names.contains(&"modeling_hyperllama.py") && names.contains(&"helpers.py"), "{names:?}");
    assert_eq!(names.len(), 2, "nothing from elsewhere: {names:?}");
    assert!(plan.warnings.to_string().contains("configuration_hyperllama.py, which is not in the folder"));
}

#[test]
fn configs_that_disagree_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]);
    std::fs::write(folder.path().join("m1/config.json"), r#"{"model_type": "mistral"}"#).unwrap();
    let told = plan(&text).warnings.to_string();
    assert!(told.contains(r#"config.json has model_type = "mistral""#), "{told}");
}

#[test]
fn parameters_of_other_methods_are_warned_of_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]);
    let told = plan(&text.replace("{weight: 1}", "{weight: 1, density: 0.5}")).warnings.to_string();
    assert!(told.contains("method `linear` has no parameter `density`"), "{told}");
}

#[test]
fn output_files_have_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let text = average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]);
    let (recipe, out) = (folder.path().join("r.yaml"), folder.path().join("out"));
    std::fs::write(&recipe, text).unwrap();
    command().args(["merge", "--quiet"]).arg(&recipe).arg(&out).assert().success();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let files: Vec<PathBuf> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 5);
    assert!(
        files.iter().all(|f| mode(f) == mode(&recipe)),
        "{:?}",
        files.iter().map(|f| mode(f)).collect::<Vec<_>>()
    );
    let header = read(&out);
    assert_eq!(values(&header[EMBED]), [2.0; 6]);
    let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
    assert!(bytes[8..].starts_with(br#"{"__metadata__":{"format":"pt"}"#));
}

/// Cuts an input short as soon as the first bytes were merged.
struct Cuts(PathBuf);

impl Observer for Cuts {
    fn advance(&self, _bytes: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.0).unwrap();
        file.set_len(4096).unwrap();
    }
}

#[test]
fn an_input_that_shrinks_during_the_merge_is_an_error_and_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |x: f32| f32s(&[1000, 700], vec![x; 700_000]);
    let names: Vec<String> = (0..8).map(|i| layer(i, "mlp.up_proj")).collect();
    let model = |x: f32| -> Vec<(&str, Tensor)> { names.iter().map(|n| (n.as_str(), tensor(x))).collect() };
    let (a, b) = (model(1.0), model(2.0));
    let plan = plan(&average(folder.path(), &[&a, &b]));
    let cancel = AtomicBool::new(false);
    let options = Options { threads: 2, cancel: &cancel };
    let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
    let cuts = Cuts(folder.path().join("m1/model.safetensors"));
    let done = execute::run(&Cpu::new(), &plan, &jobs, &options, &Memory::default(), &cuts);
    assert!(matches!(done, Err(Error::Exec(ExecError::InputShrank { .. }))), "{done:?}");
}

#[test]
fn a_cancelled_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(&average(folder.path(), &[&[(EMBED, row(1.0))], &[(EMBED, row(3.0))]]));
    let cancel = AtomicBool::new(true);
    let options = Options { threads: 2, cancel: &cancel };
    let done = execute::run(&Cpu::new(), &plan, &[0], &options, &Memory::default(), &Silent);
    assert!(matches!(done, Err(Error::Exec(ExecError::Interrupted))));
}

/// Counts units that were begun and not yet taken, and takes them slowly.
#[derive(Default)]
struct Slow {
    begun: AtomicUsize,
    most: AtomicUsize,
}

impl Sink for Slow {
    fn piece(&self, _job: usize, _at: u64, len: usize) -> Piece {
        self.most.fetch_max(1 + self.begun.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        Piece::new(Vec::new(), len, 0)
    }

    fn write(&self, _job: usize, _at: u64, _piece: Piece) -> Result<(), ExecError> {
        std::thread::sleep(std::time::Duration::from_millis(20));
        self.begun.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn seal(&self, _job: usize, _sealed: Sealed) -> Result<(), ExecError> {
        Ok(())
    }
}

#[test]
fn a_slow_disk_does_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 24 * execute::UNIT / 1000;
    let tensor = Tensor { dtype: Dtype::BF16, shape: vec![rows, 1000], bytes: vec![0; 2000 * rows] };
    let plan = plan(&average(folder.path(), &[&[(EMBED, tensor.clone())], &[(EMBED, tensor)]]));
    let cancel = AtomicBool::new(false);
    let options = Options { threads: 7, cancel: &cancel };
    let sink = Slow::default();
    execute::run(&Cpu::new(), &plan, &[0], &options, &sink, &Silent).unwrap();
    let most = sink.most.into_inner();
    assert!((2..=4).contains(&most), "{most} of 24 units at once");
}
