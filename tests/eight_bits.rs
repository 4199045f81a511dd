//! Models in 8-bit floats, against a naive reading of codes and scales.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;

use growmerge::device::cpu::Cpu;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use support::{Noise, Tensor, Tensors, f32s, plan, refusal, run, stored, values};

/// A half-precision number has the same fields with a larger bias: shifted, it is 2^-8 of the number.
fn e4m3(code: u8) -> f64 {
    let half = half::f16::from_bits(u16::from(code & 0x7f) << 7).to_f64() * 256.0;
    if code & 0x80 == 0 { half } else { -half }
}

fn e5m2(code: u8) -> f64 {
    half::f16::from_bits(u16::from(code) << 8).to_f64()
}

/// Codes of numbers: no NaN, no infinity.
fn codes(noise: &mut Noise, count: usize) -> Vec<u8> {
    let any = |noise: &mut Noise| ((noise.next() + 1.0) * 128.0) as u8;
    (0..count)
        .map(|_| {
            loop {
                let code = any(noise);
                if code & 0x7f < 0x7c {
                    break code;
                }
            }
        })
        .collect()
}

fn eight(dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Tensor {
    Tensor { dtype, shape: shape.to_vec(), bytes }
}

fn write(folder: &Path, tensors: &Tensors, quantisation: &Value) {
    support::write(folder, tensors);
    let config = json!({"model_type": "llama", "dtype": "bfloat16", "quantization_config": quantisation});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

fn linear(folder: &Path) -> String {
    let (a, b) = (folder.join("a").display().to_string(), folder.join("b").display().to_string());
    format!(
        "merge_method: linear\ndtype: float32\nmodels:\n  - {{model: {a}, parameters: {{weight: 0.75}}}}\n  \
         - {{model: {b}, parameters: {{weight: 0.25}}}}\n"
    )
}

/// `a` in 8 bits, `b` in f32; what `a` stands for.
struct World {
    folder: tempfile::TempDir,
    numbers: Vec<(String, Vec<f64>)>,
    other: Tensors,
}

fn world(layout: &str, seed: u64) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(seed);
    let (rows, columns) = (300, 133);
    let name = "model.layers.0.mlp.up_proj.weight";
    let bytes = codes(&mut noise, rows * columns);
    let float = |dtype| if dtype == Dtype::F8_E5M2 { e5m2 } else { e4m3 };
    // Blocks, names of the scales, and what config.json says of them.
    let (dtype, block, suffix, shape, quantisation) = match layout {
        "deepseek" => (
            Dtype::F8_E4M3,
            [128, 128],
            Some("_scale_inv"),
            vec![3, 2],
            json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}),
        ),
        "other blocks" => (
            Dtype::F8_E4M3,
            [50, 64],
            Some("_scale"),
            vec![6, 3],
            json!({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups":
                {"group_0": {"weights": {"num_bits": 8, "type": "float", "block_structure": [50, 64]}}}}),
        ),
        "rows" => (
            Dtype::F8_E4M3,
            [1, columns],
            Some("_scale"),
            vec![rows, 1],
            json!({"quant_method": "fbgemm_fp8"}),
        ),
        "one" => (
            Dtype::F8_E5M2,
            [rows, columns],
            Some("_scale"),
            vec![1],
            json!({"quant_method": "compressed-tensors", "format": "float-quantized"}),
        ),
        _ => (Dtype::F8_E5M2, [rows, columns], None, vec![], Value::Null),
    };
    let across = columns.div_ceil(block[1]);
    let count: usize = shape.iter().product();
    let scales: Vec<f32> = (0..count).map(|_| noise.next() * 0.01 + 0.02).collect();
    let number = |(i, code): (usize, &u8)| {
        let (row, column) = (i / columns, i % columns);
        let scale = suffix.map_or(1.0, |_| f64::from(scales[row / block[0] * across + column / block[1]]));
        float(dtype)(*code) * scale
    };
    let numbers = vec![(name.to_owned(), bytes.iter().enumerate().map(number).collect())];
    let mut tensors = Tensors::from([(name.to_owned(), eight(dtype, &[rows, columns], bytes))]);
    if let Some(suffix) = suffix {
        tensors.insert(format!("{name}{suffix}"), f32s(&shape, scales.iter().copied()));
        tensors.insert("model.layers.0.mlp.up_proj.input_scale".into(), f32s(&[1], [3.0]));
    }
    let norm: Vec<f32> = (0..columns).map(|_| noise.next()).collect();
    let norm = stored(Dtype::BF16, &[columns], &norm);
    tensors.insert("model.norm.weight".into(), norm.clone());
    write(&folder.path().join("a"), &tensors, &quantisation);
    let values: Vec<f32> = (0..rows * columns).map(|_| noise.next()).collect();
    let other = Tensors::from([
        (name.to_owned(), f32s(&[rows, columns], values)),
        ("model.norm.weight".into(), norm),
    ]);
    support::write(&folder.path().join("b"), &other);
    World { folder, numbers, other }
}

#[test]
fn codes_are_read_as_what_they_stand_for() {
    for (seed, layout) in ["deepseek", "other blocks", "rows", "one", "bare"].into_iter().enumerate() {
        let World { folder, numbers, other } = world(layout, seed as u64 + 1);
        let plan = plan(&linear(folder.path()));
        assert_eq!(plan.jobs.len(), 2, "{layout}: scales are not tensors of the output");
        assert!(plan.warnings.to_string().contains("8-bit floats"), "{}", plan.warnings);
        assert!(plan.config.as_ref().unwrap().get("quantization_config").is_none(), "{layout}");
        let merged = run(&plan, &Cpu::new(), 1).unwrap();
        for (name, expected) in &numbers {
            let b = values(&other[name]);
            for (i, found) in values(&merged[name]).iter().enumerate() {
                let expected = 0.75 * expected[i] + 0.25 * b[i];
                let allowed = 1e-6 * (expected.abs() + b[i].abs());
                assert!((found - expected).abs() <= allowed, "{layout} {name}[{i}]: {found} {expected}");
            }
        }
        for (threads, block) in [(2, 4096), (7, 4096 * 3)] {
            let again = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
            assert!(
                merged.iter().all(|(name, t)| t.bytes == again[name].bytes),
                "{layout} {threads} {block}"
            );
        }
    }
}

/// A merge that cuts by magnitude sees the numbers as well, not the codes.
#[test]
fn ties_sees_the_numbers() {
    let World { folder, numbers, .. } = world("deepseek", 11);
    let name = &numbers[0].0;
    // The same model in f32.
    let mut plain = support::read(&folder.path().join("b"));
    let bytes = numbers[0].1.iter().map(|x| *x as f32);
    plain.insert(name.clone(), f32s(&[300, 133], bytes));
    support::write(&folder.path().join("c"), &plain);
    let recipe = |model: &str| {
        let at = |name| folder.path().join(name).display().to_string();
        format!(
            "merge_method: ties\ndtype: float32\nbase_model: {}\nmodels:\n  - model: {}\n  - model: {}\nparameters: \
             {{weight: 1, density: 0.3}}\n",
            at("b"), at(model), at("b")
        ).replace(&format!("  - model: {}\nparameters", at("b")), "parameters")
    };
    let of = |model| run(&plan(&recipe(model)), &Cpu::new(), 2).unwrap();
    assert!(of("a")[name].bytes == of("c")[name].bytes);
}

#[test]
fn what_else_is_quantised_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("a");
    let weight = "model.layers.0.mlp.up_proj.weight";
    let int = |dtype, shape: &[usize]| {
        eight(dtype, shape, vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8])
    };
    let refused = |tensors: Tensors, quantisation: Value| {
        write(&at, &tensors, &quantisation);
        let text = refusal(&format!("merge_method: passthrough\nmodels: [{{model: {}}}]\n", at.display()));
        text.replace(&at.display().to_string(), "a")
    };
    let code = |shape: &[usize]| int(Dtype::F8_E4M3, shape);
    let f = |shape: &[usize]| f32s(shape, vec![1.0; shape.iter().product()]);
    let gptq = Tensors::from([("model.layers.0.mlp.up_proj.qweight".to_owned(), int(Dtype::I32, &[4, 4]))]);
    let eight = |scale: Tensor| {
        Tensors::from([(weight.to_owned(), code(&[4, 6])), (format!("{weight}_scale"), scale)])
    };
    let fp8 = json!({"quant_method": "fp8", "weight_block_size": [2, 3]});
    let mut two = eight(f(&[2, 2]));
    two.insert(format!("{weight}_scale_inv"), f(&[2, 2]));
    let texts = [
        refused(gptq.clone(), json!({"quant_method": "gptq", "bits": 4})),
        refused(gptq, Value::Null),
        refused(Tensors::from([("x.weight".to_owned(), f(&[2]))]), json!({"quant_method": "fp8"})),
        refused(Tensors::from([(weight.to_owned(), code(&[4, 6]))]), fp8.clone()),
        refused(eight(f(&[3, 2])), fp8.clone()),
        refused(eight(f(&[5])), fp8.clone()),
        refused(eight(int(Dtype::U8, &[2, 2])), fp8.clone()),
        refused(two, fp8),
        refused(eight(f(&[2, 2])), json!({"quant_method": "fp8", "weight_block_size": [0, 128]})),
    ];
    insta::assert_snapshot!(texts.join("\n\n"));
}
