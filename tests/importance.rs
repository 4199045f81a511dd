//! Squared gradients and Gram matrices against naive sums, and what `growmerge importance` refuses.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::checkpoint::Checkpoint;
use growmerge::decoder::{Batch, Config, Decoder, Gradients, Layout, Memory, Scratch};
use growmerge::eval::{Model, ModelSource, Reading, Split, Start, Text, Tokenizer};
use growmerge::importance::{Fisher, Grams, Sample, Sampling, Task};
use growmerge::plan::PlanOptions;
use oracle::decoder::{Decoder as Oracle, Text as OracleText};
use rand::RngExt;
use rayon::prelude::*;
use support::decoders::{Case, families, fresh_seed, mixed, random_of};
use support::{Silent, command, read_file, save, values};

const SAMPLING: Sampling = Sampling { tokens: 700, context: 24, seed: 5 };

fn quickstart(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(language)
}

fn text(language: &str) -> Text {
    let path = quickstart("texts").join(format!("{language}.txt"));
    Text::read(language, &path, &Reading { split: Split::Line, field: "text".into() }).unwrap()
}

fn model(folder: &Path) -> Model {
    let source = ModelSource::open(folder.to_str().unwrap(), &PlanOptions::default()).unwrap();
    source.load(2, &Silent).unwrap()
}

fn task<'a>(model: &'a Model, text: &'a Text, threads: usize) -> Task<'a> {
    let (tokenizer, start) = (None, &Start::Auto);
    Task { model, text, tokenizer, start, sampling: SAMPLING, threads, progress: &Silent }
}

/// The same sample, by the tokenizer alone.
fn sample(text: &Text) -> Sample {
    let tokenizer = Tokenizer::open(&quickstart("fo"), &Start::Auto).unwrap();
    Sample::draw(text, &tokenizer, 2048, SAMPLING).unwrap()
}

fn decoder(model: &Model) -> Decoder<'_> {
    let config = Config::read(&model.config, "config.json").unwrap();
    Decoder::new(config, model.tensors(), &model.name, 64).unwrap()
}

fn near(got: &[f64], want: &[f64], part: f64) -> bool {
    let largest = want.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() <= part * largest)
}

#[test]
fn importance_is_the_mean_of_squares_of_each_sequences_gradient() {
    let (model, text) = (model(&quickstart("fo")), text("fo"));
    let fisher = Fisher::measure(&task(&model, &text, 2)).unwrap();
    let (sample, decoder) = (sample(&text), decoder(&model));
    assert_eq!((fisher.about.tokens, fisher.about.sequences), (700, sample.sequences().len()));
    let mut want: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut nats = 0.0;
    for sequence in sample.sequences() {
        let mut gradients = Gradients::new(model.tensors());
        let mut batch = Batch::default();
        batch.push(&sequence.ids, sequence.scored.clone());
        nats +=
            decoder.gradients(&batch, 1.0, &mut Scratch::default(), &mut Memory::default(), &mut gradients);
        for slot in gradients.layout().slots() {
            let sums = want.entry(slot.name.clone()).or_insert_with(|| vec![0.0; slot.range.len()]);
            let of_tensor = gradients.tensor(&slot.name).unwrap();
            sums.iter_mut().zip(of_tensor).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g) / 700.0);
        }
    }
    let mut sum = 0.0;
    for (name, want) in &want {
        let got: Vec<f64> = fisher.tensor(name).unwrap().iter().map(|x| f64::from(*x)).collect();
        assert!(near(&got, want, 1e-5), "{name}");
        assert!(got.iter().any(|x| *x > 0.0), "{name}");
        sum += want.iter().sum::<f64>();
    }
    let count = want.values().map(Vec::len).sum::<usize>() as f64;
    assert!((fisher.mean / (sum / count) - 1.0).abs() < 1e-5);
    assert!((fisher.nats / (nats / 700.0) - 1.0).abs() < 1e-9);
}

#[test]
fn a_file_has_the_models_names_and_shapes_and_the_same_bytes_for_any_threads() {
    let (model, text) = (model(&quickstart("is")), text("is"));
    let folder = tempfile::tempdir().unwrap();
    let write = |threads: usize| {
        let path = folder.path().join(format!("{threads}.safetensors"));
        let fisher = Fisher::measure(&task(&model, &text, threads)).unwrap();
        fisher.save(&path).unwrap();
        let grams = folder.path().join(format!("{threads}-gram.safetensors"));
        Grams::measure(&task(&model, &text, threads)).unwrap().save(&grams).unwrap();
        (std::fs::read(&path).unwrap(), std::fs::read(grams).unwrap(), fisher, path)
    };
    let (bytes, grams, fisher, path) = write(1);
    for threads in [2, 3, 7] {
        let other = write(threads);
        assert!((&bytes, &grams) == (&other.0, &other.1), "{threads} threads");
    }
    let checkpoint = Checkpoint::open(path.to_str().unwrap()).unwrap();
    let own = Checkpoint::open(quickstart("is").to_str().unwrap()).unwrap();
    let shapes =
        |c: &Checkpoint| c.tensors().iter().map(|t| (t.name.clone(), t.shape.clone())).collect::<Vec<_>>();
    assert_eq!(shapes(&checkpoint), shapes(&own));
    for (name, tensor) in read_file(&path) {
        let wanted: Vec<f64> =
            fisher.tensor(&name).unwrap().iter().map(|x| half::bf16::from_f32(*x).to_f64()).collect();
        assert_eq!(values(&tensor), wanted, "{name}");
    }
    let header = String::from_utf8_lossy(&bytes[8..2000]).into_owned();
    for part in [r#""format":"growmerge fisher 1""#, r#""language":"is""#, r#""tokens":"700""#, r#""mean":""#]
    {
        assert!(header.contains(part), "{header}");
    }
}

/// What goes into each projection, against the decoder in f64, of every family and of random mixtures.
#[test]
fn inputs_of_projections_follow_the_oracle() {
    let seed = fresh_seed();
    let drawn = (0..40).map(|i| {
        let name = format!("mixture {i}");
        mixed(&name, &mut random_of(seed, &name))
    });
    let cases: Vec<Case> = families().into_iter().chain(drawn).collect();
    // Cases are not to be shared between threads; their parts are.
    for case in cases {
        let random = &mut random_of(seed, &case.name);
        let mut ids =
            |len: usize| (0..len).map(|_| random.random_range(0..case.config.vocab as u32)).collect();
        let texts = [OracleText { ids: ids(19), scored: 1..19 }, OracleText { ids: ids(8), scored: 3..6 }];
        let mut batch = Batch::default();
        texts.iter().for_each(|text| batch.push(&text.ids, text.scored.clone()));
        let decoder = Decoder::new(case.config.clone(), &*case.tensors, &case.name, 32).unwrap();
        let mut got = BTreeMap::new();
        decoder.inputs(&batch, &mut Scratch::default(), &mut |layer, site, x| {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            assert!(got.insert((layer, site), x).is_none());
        });
        let oracle = Oracle::new(&case.config, &*case.tensors);
        let mut want: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for text in &texts {
            for (name, rows) in oracle.inputs(text) {
                want.entry(name).or_default().extend(rows.concat());
            }
        }
        let fed = decoder.fed(&Layout::of(&*case.tensors));
        for fed in &fed {
            assert!(!fed.weights.is_empty());
            for name in &fed.weights {
                let want = want.remove(name).unwrap_or_else(|| panic!("{}: {name}", case.name));
                assert!(near(&got[&(fed.layer, fed.site)], &want, 1e-4), "{}: {name}", case.name);
                assert_eq!(case.tensors.tensor(name).unwrap().shape[1], fed.width, "{}: {name}", case.name);
            }
        }
        assert!(want.is_empty(), "{}: {:?}", case.name, want.keys());
        assert_eq!(fed.len(), got.len());
    }
}

#[test]
fn gram_matrices_are_means_of_products() {
    let (model, text) = (model(&quickstart("fo")), text("fo"));
    let grams = Grams::measure(&task(&model, &text, 3)).unwrap();
    let (sample, decoder) = (sample(&text), decoder(&model));
    let fed = decoder.fed(&Layout::of(model.tensors()));
    let mut rows: BTreeMap<_, Vec<Vec<f64>>> = BTreeMap::new();
    for sequence in sample.sequences() {
        let mut batch = Batch::default();
        batch.push(&sequence.ids, sequence.scored.clone());
        decoder.inputs(&batch, &mut Scratch::default(), &mut |layer, site, x| {
            let width = fed.iter().find(|f| (f.layer, f.site) == (layer, site)).unwrap().width;
            let x = x.chunks(width).map(|x| x.iter().map(|x| f64::from(*x)).collect());
            rows.entry((layer, site)).or_default().extend(x);
        });
    }
    assert_eq!(grams.weights().count(), fed.iter().map(|f| f.weights.len()).sum::<usize>());
    fed.par_iter().for_each(|fed| {
        let rows = &rows[&(fed.layer, fed.site)];
        let mut want = vec![0.0; fed.width * fed.width];
        for x in rows {
            for (i, j) in (0..fed.width).flat_map(|i| (0..fed.width).map(move |j| (i, j))) {
                want[i * fed.width + j] += x[i] * x[j] / rows.len() as f64;
            }
        }
        for name in &fed.weights {
            let got: Vec<f64> = grams.of(name).unwrap().iter().map(|x| f64::from(*x)).collect();
            assert!(near(&got, &want, 1e-5), "{name}");
            let symmetric = |i: usize, j: usize| got[i * fed.width + j] == got[j * fed.width + i];
            assert!((0..fed.width).all(|i| (0..i).all(|j| symmetric(i, j))), "{name}");
        }
    });
}

/// Runs `growmerge importance` on a model and a text; the exit code, and what was said.
fn run(model: &Path, text: &str, more: &[&str]) -> (i32, String) {
    let mut command = command();
    command
        .arg("importance")
        .arg(model)
        .args(["--text", text, "--tokens", "300", "--threads", "2"])
        .args(more);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn what_is_wrong_is_said_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let at = |name: &str| path(name).display().to_string();
    std::fs::write(path("empty.txt"), "\n\n").unwrap();
    std::fs::write(path("fo.txt"), "Føroyar eru oyggjar.\n").unwrap();
    std::fs::write(path("one.txt"), "a\n").unwrap();
    std::fs::create_dir(path("strange")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(quickstart("fo").join(file), path("strange").join(file)).unwrap();
    }
    let config = std::fs::read_to_string(quickstart("fo").join("config.json")).unwrap();
    let model_type = config.split("model_type\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let strange = config.replace(&format!("\"{model_type}\""), "\"mamba\"");
    assert_ne!(config, strange);
    std::fs::write(path("strange/config.json"), &strange).unwrap();

    let out = at("out.safetensors");
    let fo = format!("fo={}", at("fo.txt"));
    let (code, said) = run(&path("strange"), &format!("fo={}", at("empty.txt")), &["-o", &at("no/out")]);
    assert_eq!(code, 2, "{said}");
    for part in ["the text is empty", "there is no folder", "mamba"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said) =
        run(&quickstart("fo"), &format!("fo={}", at("one.txt")), &["-o", &out, "--bos", "none"]);
    assert!(code == 2 && said.contains("no token of the text can be predicted"), "{said}");
    let (code, said) = run(&quickstart("fo"), &fo, &["-o", &at("fo.txt")]);
    assert!(code == 2 && said.contains("is there already") && said.contains("--overwrite"), "{said}");
    let (code, said) = run(&quickstart("fo"), &fo, &["-o", &out, "--context", "4000000"]);
    assert!(code == 2 && said.contains("longer than"), "{said}");
    let (code, said) = run(&quickstart("fo"), "fo", &["-o", &out]);
    assert!(code == 2 && said.contains("LANGUAGE=FILE"), "{said}");
    assert!(!path("out.safetensors").exists());

    let (code, said) = run(&quickstart("fo"), &fo, &["-o", &out]);
    assert!(code == 0 && said.contains("mean importance") && path("out.safetensors").exists(), "{said}");
    let (code, said) = run(&quickstart("fo"), &fo, &["-o", &out, "--overwrite", "--gram", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == 0 && json["language"] == "fo" && json["weights"].as_u64().unwrap() > 0, "{said}");
}

#[test]
fn weights_that_compute_nothing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(quickstart("fo").join(file), folder.path().join(file)).unwrap();
    }
    let tensors = read_file(&quickstart("fo").join("model.safetensors"));
    let fill = |value: f32| {
        let filled = tensors.iter().map(|(name, t)| {
            let len = t.shape.iter().product::<usize>();
            let value = if name.contains("embed") { value.min(1.0) } else { value };
            (name.clone(), support::f32s(&t.shape, std::iter::repeat_n(value, len)))
        });
        save(&folder.path().join("model.safetensors"), &filled.collect());
    };
    let text = text("fo");
    fill(3e38);
    let told = Fisher::measure(&task(&model(folder.path()), &text, 2)).err().unwrap().to_string();
    assert!(told.contains("the squared gradient of tensor") && told.contains("NaN or infinite"), "{told}");
    let told = Grams::measure(&task(&model(folder.path()), &text, 2)).err().unwrap().to_string();
    assert!(told.contains("what goes into") && told.contains("NaN or infinite"), "{told}");
    fill(0.0);
    let told = Fisher::measure(&task(&model(folder.path()), &text, 2)).err().unwrap().to_string();
    assert!(told.contains("importance is zero"), "{told}");
}
