//! Texts that grow token by token against texts as a whole, and what `growmerge generate` writes and refuses.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::checkpoint::Checkpoint;
use growmerge::decoder::{Cache, Config, Decoder, Scratch};
use growmerge::eval::{Model, ModelSource, Start, Tokenizer};
use growmerge::generate::{Sampling, Task, Written, generate};
use growmerge::plan::PlanOptions;
use growmerge::problem::{Error, ExecError};
use rand::RngExt;
use serde_json::{Value, json};
use support::decoders::{Case, families, fresh_seed, mixed, random_of};
use support::{Silent, command, read_file, save};

fn quickstart(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(language)
}

fn model(folder: &Path) -> Model {
    let source = ModelSource::open(folder.to_str().unwrap(), &PlanOptions::default()).unwrap();
    source.load(2, &Silent).unwrap()
}

const SAMPLING: Sampling = Sampling { temperature: 1.0, top_p: 1.0, length: 48, seed: 7 };

fn written(model: &Model, sampling: Sampling, bytes: usize, threads: usize) -> Result<Written, Error> {
    let (start, cancel) = (&Start::Auto, &AtomicBool::new(false));
    generate(&Task { model, tokenizer: None, start, sampling, bytes, threads, cancel, progress: &Silent })
}

/// Three texts that begin at different times and are as far as they can be at the end: each token's logits are those of
/// the text as a whole.
fn grown_is_whole(case: &Case, context: usize, seed: u64) {
    let mut random = random_of(seed, &case.name);
    let decoder = Decoder::new(case.config.clone(), case.tensors.as_ref(), &case.name, context).unwrap();
    let vocab = case.config.vocab;
    let late = [0, 3, 11];
    let texts = late
        .map(|late| -> Vec<u32> { (late..context).map(|_| random.random_range(0..vocab as u32)).collect() });
    let mut scratch = Scratch::default();
    let mut cache = Cache::new(&case.config, late.len(), context);
    let mut grown = vec![Vec::new(); late.len()];
    for time in 0..context {
        // In another order each time: what a text gets is not decided by its place.
        let mut growing: Vec<usize> = (0..late.len()).filter(|text| time >= late[*text]).collect();
        let by = time % growing.len();
        growing.rotate_left(by);
        let ids: Vec<u32> = growing.iter().map(|text| texts[*text][time - late[*text]]).collect();
        let logits = decoder.next(&mut cache, &growing, &ids, &mut scratch);
        for (text, logits) in growing.iter().zip(logits.chunks_exact(vocab)) {
            grown[*text].extend_from_slice(logits);
        }
    }
    for (text, grown) in texts.iter().zip(&grown).take(1) {
        let whole = decoder.logits(text, &mut scratch);
        let (low, high) = whole.iter().fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
        let far = whole.iter().zip(grown).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            whole.len() == grown.len() && far <= 1e-5 * (high - low),
            "{}: {far} of {}",
            case.name,
            high - low
        );
    }
    // Shorter texts alone in a cache: the same bits.
    for (text, grown) in texts.iter().zip(&grown).skip(1) {
        let mut cache = Cache::new(&case.config, 1, context);
        let alone: Vec<f32> =
            text.iter().flat_map(|id| decoder.next(&mut cache, &[0], &[*id], &mut scratch)).collect();
        let same = alone.iter().zip(grown).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(alone.len() == grown.len() && same, "{}: other texts change a bit", case.name);
    }
}

#[test]
fn what_follows_a_token_is_what_follows_it_in_the_whole_text() {
    let seed = fresh_seed();
    let families = families();
    assert!(families.len() >= 15);
    // Some families compute otherwise beyond 16 tokens, and windows have 8.
    for context in [14, 41] {
        families.iter().for_each(|case| grown_is_whole(case, context, seed));
    }
    for i in 0..24 {
        let name = format!("mixed {i}");
        grown_is_whole(&mixed(&name, &mut random_of(seed, &name)), 41, seed);
    }
}

#[test]
#[should_panic(expected = "a text is full")]
fn a_text_cannot_be_longer_than_its_cache() {
    let case = &families()[0];
    let decoder = Decoder::new(case.config.clone(), case.tensors.as_ref(), "model", 2).unwrap();
    let mut cache = Cache::new(&case.config, 1, 2);
    let mut scratch = Scratch::default();
    (0..3).for_each(|_| drop(decoder.next(&mut cache, &[0], &[1], &mut scratch)));
}

/// With temperature 0, by the logits of whole texts.
#[test]
fn the_likeliest_text_is_that_of_the_likeliest_tokens() {
    let folder = quickstart("sv");
    let sampling = Sampling { temperature: 0.0, length: 24, ..SAMPLING };
    let text = written(&model(&folder), sampling, 1, 1).unwrap();
    let checkpoint = Checkpoint::open(folder.to_str().unwrap()).unwrap();
    let config = Config::read(checkpoint.config().unwrap(), "config.json").unwrap();
    let vocab = config.vocab;
    let decoder = Decoder::new(config, &checkpoint, "sv", 32).unwrap();
    let tokenizer = Tokenizer::open(&folder, &Start::Auto).unwrap();
    let mut ids = vec![tokenizer.start_id().unwrap()];
    while ids.len() <= 24 {
        let logits = decoder.logits(&ids, &mut Scratch::default());
        let last = &logits[logits.len() - vocab..];
        let best = (0..vocab).max_by(|a, b| last[*a].total_cmp(&last[*b]).then(b.cmp(a))).unwrap();
        if Some(best as u32) == tokenizer.end().map(|end| end.0) {
            break;
        }
        ids.push(best as u32);
    }
    assert_eq!(text.documents, [tokenizer.text(&ids[1..]).unwrap().trim()]);
    assert_eq!((text.cut, text.left_out), (usize::from(ids.len() == 25), 0));
}

/// Another token at the end of texts than before them, and one that is called something else: a document ends with each.
#[test]
fn documents_end_with_any_special_token() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(quickstart("fo").join(file), folder.join(file)).unwrap();
    }
    let all = written(&model(&quickstart("fo")), SAMPLING, 12_000, 2).unwrap().documents;
    for end in ["</s>", "."] {
        let config = json!({ "bos_token": "<|end|>", "eos_token": end });
        std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
        let told = written(&model(folder), SAMPLING, 4000, 2).unwrap().documents;
        assert!(told.len() > 20);
        match end {
            "</s>" => assert_eq!(told, all[..told.len()]),
            // The same tokens are drawn, and some documents end before they did.
            _ => {
                assert!(told.iter().all(|d| all.iter().any(|whole| whole.starts_with(d.as_str()))));
                assert!(told.iter().any(|d| !all.contains(d)));
            }
        }
    }
}

#[test]
fn documents_depend_on_nothing_but_seed_and_number() {
    let model = model(&quickstart("fo"));
    let all = written(&model, SAMPLING, 12_000, 1).unwrap();
    assert!(all.documents.len() > 128 && all.documents.iter().map(String::len).sum::<usize>() >= 12_000);
    assert!(all.documents.iter().all(|d| d.trim() == d && !d.is_empty() && !d.contains('\u{fffd}')));
    for threads in [2, 3] {
        assert_eq!(written(&model, SAMPLING, 12_000, threads).unwrap(), all);
    }
    let fewer = written(&model, SAMPLING, 700, 3).unwrap().documents;
    assert_eq!(fewer, all.documents[..fewer.len()]);
    let bytes = |documents: &[String]| documents.iter().map(String::len).sum::<usize>();
    assert!(bytes(&fewer) >= 700 && bytes(&fewer[..fewer.len() - 1]) < 700);
    let other = written(&model, Sampling { seed: 8, ..SAMPLING }, 700, 1).unwrap();
    assert_ne!(other.documents, fewer);
    let distinct: BTreeSet<&String> = all.documents.iter().collect();
    assert!(distinct.len() * 10 > all.documents.len() * 9, "each has random numbers of its own");
    let short = written(&model, Sampling { length: 3, ..SAMPLING }, 700, 1).unwrap();
    assert!(short.cut * 10 > short.documents.len() * 9);
}

/// What a model writes is what it expects, and not what another does.
#[test]
fn models_expect_what_they_write() {
    let folder = tempfile::tempdir().unwrap();
    let out = |language: &str| folder.path().join(format!("{language}.txt"));
    for language in ["fo", "sv"] {
        let told = command()
            .args([
                "generate",
                quickstart(language).to_str().unwrap(),
                "--bytes",
                "8000",
                "--json",
                "--output",
            ])
            .arg(out(language))
            .output()
            .unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert!(told["bytes"].as_u64().unwrap() >= 8000);
        let lines = std::fs::read_to_string(out(language)).unwrap();
        assert_eq!(lines.lines().count() as u64, told["documents"].as_u64().unwrap());
    }
    let bits = |model: &str, text: &str| {
        let text = format!("{text}={}", out(text).display());
        let told = command()
            .args(["eval", quickstart(model).to_str().unwrap(), "--text", &text, "--json"])
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        told["models"][0]["languages"][0]["bits_per_byte"]["value"].as_f64().unwrap()
    };
    for (own, other) in [("fo", "sv"), ("sv", "fo")] {
        let (expected, not) = (bits(own, own), bits(other, own));
        assert!(expected + 0.5 < not, "{own}: {expected}, by {other} {not}");
    }
}

#[test]
fn jsonl_keeps_what_lines_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let mut generate = command();
        generate.args(["generate", quickstart("en").to_str().unwrap(), "--bytes", "500", "--quiet", "-o"]);
        generate.arg(&out).args(more).assert().success().stdout("");
        std::fs::read_to_string(out).unwrap()
    };
    let lines = write("en.txt", &["--temperature", "0.5", "--top-p", "0.9", "--seed", "3"]);
    let objects = write("en.jsonl", &["--temperature", "0.5", "--top-p", "0.9", "--seed", "3"]);
    let documents: Vec<String> = objects
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    let folded: String =
        documents.iter().map(|d| d.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect();
    assert_eq!(folded, lines);
    assert_eq!(
        write("en.txt", &["--overwrite", "--temperature", "0.5", "--top-p", "0.9", "--seed", "3"]),
        lines
    );
    assert_ne!(write("en.txt", &["--overwrite"]), lines);
}

/// A recipe is a model too.
#[test]
fn a_merge_that_was_never_written_writes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("merged.txt");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart.yaml");
    command()
        .args(["generate", recipe.to_str().unwrap(), "--bytes", "300", "-o"])
        .arg(&out)
        .assert()
        .success();
    assert!(std::fs::metadata(out).unwrap().len() >= 300);
}

/// Exit code 2, a sentence that says what is wrong, and no file.
#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there.txt");
    std::fs::write(&there, "kept").unwrap();
    // A model whose tokenizer knows no token that a text could begin with.
    let bare = folder.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(quickstart("fo").join(file), bare.join(file)).unwrap();
    }
    std::fs::write(bare.join("tokenizer_config.json"), json!({ "eos_token": "</s>" }).to_string()).unwrap();
    let fo = quickstart("fo");
    let (fo, bare) = (fo.to_str().unwrap(), bare.to_str().unwrap());
    let cases: [(&str, &str, &[&str], &str); 9] = [
        (fo, "fo.csv", &[], "neither a .txt nor a .jsonl"),
        (fo, "none/fo.txt", &[], "there is no folder"),
        (fo, "there.txt", &[], "is there already"),
        ("no such model", "fo.txt", &[], "no such model"),
        (fo, "fo.txt", &["--length", "9999999"], "--length"),
        (fo, "fo.txt", &["--length", "9999"], "longer than the 2048"),
        (fo, "fo.txt", &["--temperature", "nan"], "a number from 0 to 100"),
        (fo, "fo.txt", &["--top-p", "0"], "a number above 0"),
        (bare, "fo.txt", &[], "no token that a text begins with"),
    ];
    for (model, out, more, wanted) in cases {
        let told = command()
            .args(["generate", model, "-o"])
            .arg(folder.path().join(out))
            .args(more)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&told.stderr).replace('\n', " ");
        assert_eq!(told.status.code(), Some(2), "{words}");
        assert!(words.contains(wanted), "{wanted}: {words}");
        assert_eq!(folder.path().join(out).exists(), out == "there.txt");
    }
    assert_eq!(std::fs::read_to_string(there).unwrap(), "kept");
    // What the system does not let one write is found before anything is drawn.
    let told =
        command().args(["generate", fo, "-o", "/proc/fo.txt", "--bytes", "1000000000"]).output().unwrap();
    assert_eq!(told.status.code(), Some(3), "{}", String::from_utf8_lossy(&told.stderr));
    // A name that is no UTF-8 is printed as well as it can be.
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.txt"));
    let told = command().args(["generate", fo, "--bytes", "9", "--json", "-o"]).arg(&odd).output().unwrap();
    assert!(told.status.success() && odd.exists(), "{}", String::from_utf8_lossy(&told.stderr));
}

/// A model that cannot be drawn from, one that has nothing to say, and one that is stopped.
#[test]
fn models_that_do_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(quickstart("fo").join(file), folder.join(file)).unwrap();
    }
    let tensors = read_file(&quickstart("fo").join("model.safetensors"));
    let with = |name: &str, change: &dyn Fn(&mut [u8])| {
        let mut tensors = tensors.clone();
        change(&mut tensors.get_mut(name).unwrap().bytes);
        save(&folder.join("model.safetensors"), &tensors);
        model(folder)
    };
    // The largest number of bfloat16 in the last norm: logits beyond all numbers.
    let huge = with("model.norm.weight", &|bytes| {
        bytes.chunks_exact_mut(2).for_each(|x| x.copy_from_slice(&0x7f7f_u16.to_le_bytes()));
    });
    let told = written(&huge, SAMPLING, 100, 1).unwrap_err();
    assert!(told.to_string().contains("for token 0 of a text is NaN or infinite"), "{told}");
    assert_eq!(told.exit_code(), 2);
    // Without a last norm every token is as likely as the others, and the end is the first of them.
    let silent = with("model.norm.weight", &|bytes| bytes.fill(0));
    let told = written(&silent, Sampling { temperature: 0.0, ..SAMPLING }, 100, 1).unwrap_err();
    assert!(told.to_string().contains("with no text in them"), "{told}");
    let stopped = generate(&Task {
        model: &model(&quickstart("fo")),
        tokenizer: None,
        start: &Start::Auto,
        sampling: SAMPLING,
        bytes: 1 << 20,
        threads: 1,
        cancel: &AtomicBool::new(true),
        progress: &Silent,
    });
    assert!(matches!(stopped, Err(Error::Exec(ExecError::Interrupted))));
}
