//! Checkpoints made on the spot, and merges run on them.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

pub mod decoders;
pub mod every;
pub mod lists;
pub mod toy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use growmerge::device::Device;
use growmerge::device::cpu::Cpu;
use growmerge::execute::{self, Observer, Options, Piece, Sealed, Sink};
use growmerge::method::{AnyOperator, RunsOn};
use growmerge::plan::{Plan, PlanOptions};
use growmerge::problem::{Error, ExecError};
use growmerge::recipe::{Reading, Recipe};
use safetensors::tensor::{Dtype, TensorView};

/// A tensor to write: dtype, shape and bytes.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type Tensors = BTreeMap<String, Tensor>;

pub fn f32s(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    assert_eq!(bytes.len(), 4 * shape.iter().product::<usize>());
    Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

pub fn stored(dtype: Dtype, shape: &[usize], values: &[f32]) -> Tensor {
    let bytes = match dtype {
        Dtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F64 => values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
        other => panic!("{other:?}"),
    };
    Tensor { dtype, shape: shape.to_vec(), bytes }
}

/// The values of a floating tensor, exactly.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    let b = &tensor.bytes;
    match tensor.dtype {
        Dtype::F32 => b.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        Dtype::F64 => b.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::BF16 => {
            b.chunks(2).map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f64()).collect()
        }
        Dtype::F16 => b.chunks(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f64()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Writes `folder/model.safetensors` with the safetensors crate, and a config.
pub fn write(folder: &Path, tensors: &Tensors) {
    std::fs::create_dir_all(folder).unwrap();
    save(&folder.join("model.safetensors"), tensors);
    let config = r#"{"model_type": "llama", "torch_dtype": "float32", "num_hidden_layers": 2}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
}

pub fn save(path: &Path, tensors: &Tensors) {
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, t)| (name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Reads every weight file of a folder with the safetensors crate.
pub fn read(folder: &Path) -> Tensors {
    let mut all = Tensors::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            for (name, tensor) in read_file(&path) {
                assert!(all.insert(name, tensor).is_none());
            }
        }
    }
    all
}

/// Reads one weight file with the safetensors crate.
pub fn read_file(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: &TensorView<'_>| Tensor {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.tensors().iter().map(|(name, view)| (name.clone(), tensor(view))).collect()
}

/// Merged bytes in memory.
#[derive(Default)]
pub struct Memory(pub Mutex<BTreeMap<usize, Vec<u8>>>);

impl Sink for Memory {
    fn write(&self, job: usize, at: u64, piece: Piece) -> Result<(), ExecError> {
        let bytes = piece.bytes();
        let mut all = self.0.lock().unwrap();
        let tensor = all.entry(job).or_default();
        let end = at as usize + bytes.len();
        tensor.resize(tensor.len().max(end), 0xAA);
        tensor[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn seal(&self, _job: usize, _sealed: Sealed) -> Result<(), ExecError> {
        Ok(())
    }
}

pub struct Silent;

impl Observer for Silent {
    fn advance(&self, _bytes: u64) {}
}

pub fn plan(recipe: &str) -> Plan {
    plan_with(recipe, &PlanOptions::default())
}

pub fn plan_with(recipe: &str, options: &PlanOptions) -> Plan {
    Plan::from_reading(Reading::parse("recipe.yaml", recipe), options).unwrap_or_else(|p| panic!("{p}"))
}

/// Why a recipe is refused.
pub fn refusal(recipe: &str) -> String {
    match Recipe::parse("recipe.yaml", recipe) {
        Err(problems) => problems.to_string(),
        Ok(recipe) => match Plan::build(&recipe, &PlanOptions::default()) {
            Err(problems) => problems.to_string(),
            Ok(_) => panic!("this recipe was accepted:\n{}", recipe.text),
        },
    }
}

/// Runs a plan in memory.
pub fn run<D: Device>(plan: &Plan, device: &D, threads: usize) -> Result<Tensors, Error>
where
    dyn AnyOperator: RunsOn<D>,
{
    let cancel = AtomicBool::new(false);
    let options = Options { threads, cancel: &cancel };
    let sink = Memory::default();
    let jobs: Vec<usize> = (0..plan.jobs.len()).collect();
    execute::run(device, plan, &jobs, &options, &sink, &Silent)?;
    let mut bytes = sink.0.into_inner().unwrap();
    let tensor = |(i, job): (usize, &growmerge::plan::Job)| {
        let dtype = serde_json::from_value(serde_json::json!(job.dtype.name())).unwrap();
        let bytes = bytes.remove(&i).unwrap_or_default();
        (job.name.clone(), Tensor { dtype, shape: job.shape.clone(), bytes })
    };
    Ok(plan.jobs.iter().enumerate().map(tensor).collect())
}

/// Merges in memory with the default device on two threads.
pub fn merge(recipe: &str) -> Tensors {
    run(&plan(recipe), &Cpu::new(), 2).unwrap_or_else(|e| panic!("{e}"))
}

/// A recipe over model folders, all with the same text below `parameters:`.
pub fn recipe(method: &str, base: Option<&Path>, models: &[PathBuf], parameters: &str) -> String {
    let mut text = format!("merge_method: {method}\nmodels:\n");
    for model in models {
        text += &format!("  - model: {}\n", model.display());
    }
    if let Some(base) = base {
        text += &format!("base_model: {}\n", base.display());
    }
    if !parameters.is_empty() {
        text += &format!("parameters: {parameters}\n");
    }
    text
}

/// Deterministic noise in [-1, 1) from a seed; small, repeatable, and no method under test.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (self.0 >> 33) as u32;
        ((x ^ (x >> 15)) & 0xff_ffff) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A fine-tune of `base`: a third of the differences zero, a third multiples of 2^-10 (so that
    /// magnitudes tie), a third arbitrary.
    pub fn tuned(&mut self, base: &[f32]) -> Vec<f32> {
        base.iter()
            .map(|x| match (self.next() * 1.5).round() as i32 {
                0 => *x,
                1 => x + (self.next() * 8.0).round() / 1024.0,
                _ => x + self.next() * 0.01,
            })
            .collect()
    }
}

/// The program itself, as a user runs it, in the folder of the repository. It asks no Hub: of that there are tests
/// of their own.
pub fn command() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_growmerge"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("GROWMERGE_SIMD");
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nowhere");
    command
}
