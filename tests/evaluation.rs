//! `eval` and `check` as a user meets them: tables, reports, verdicts, and what bad input gets.
//!
//! Messages are snapshots: `INSTA_UPDATE=always cargo test --test evaluation` rewrites them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde_json::Value;
use support::{command, stored};

/// A folder with a copy of the quickstart's Faroese model and a little text.
struct World(tempfile::TempDir);

const MODEL: &str = "recipes/quickstart/fo";
const TEXT: &str = "Føroyar eru oyggjar.\nHann segði: «Eg veit ikki.»\n\nTað er gott veður í dag.\n";

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(MODEL);
        std::fs::create_dir(world.path("fo")).unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(root.join(name), world.path("fo").join(name)).unwrap();
        }
        std::fs::create_dir(world.path("texts")).unwrap();
        world.write("texts/fo.txt", TEXT);
        world.write("texts/en.txt", "The islands are far away.\nHe said nothing.\n");
        world
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(below), text).unwrap();
    }

    /// Changes `config.json`.
    fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("fo/config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        self.write("fo/config.json", config.to_string());
    }

    fn command(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = command();
        command.current_dir(self.0.path()).args(args);
        command
    }

    /// What a command prints, which must end with this code.
    fn prints(&self, code: i32, args: &[&str]) -> String {
        let run = self.command(args).assert();
        let output = run.get_output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Without the column of speeds, which is never the same.
fn without_speed(table: &str) -> String {
    let cut = |line: &str| match line.rsplit_once("  ") {
        Some((rest, last)) if last.trim().parse::<f64>().is_ok() || last == "tokens/s" => {
            rest.trim_end().to_owned()
        }
        _ => line.to_owned(),
    };
    table.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// Digits behind a point are hidden: another processor's last bits must not fail a snapshot.
fn masked(text: &str) -> String {
    let mut fraction = false;
    let mask = |c: char| {
        fraction = c == '.' || fraction && c.is_ascii_digit();
        if fraction && c != '.' { '#' } else { c }
    };
    text.chars().map(mask).collect()
}

#[test]
fn tables_for_people() {
    let world = World::new();
    world.write("pairs.jsonl", "{\"good\": \"Tað er gott.\", \"bad\": \"Tað gott er.\"}\n{\"sentence_good\": \"Hann er her.\", \"sentence_bad\": \"Her hann er her er.\"}\n");
    let mut text = without_speed(&world.prints(0, &["eval", "fo", "--texts", "texts", "--context", "16"]));
    let pairs = ["eval", "fo", "--text", "fo=texts/fo.txt", "--pairs", "fo=pairs.jsonl", "--bos", "!"];
    text += "\n\n";
    let both = world.prints(0, &pairs);
    let (measured, judged) = both.split_once("\nlanguage  pairs").unwrap();
    text += &format!("{}\nlanguage  pairs{judged}", without_speed(measured));
    insta::assert_snapshot!(masked(&text));
}

/// Every number, of a model twice: differences are exactly nothing.
#[test]
fn json_for_programs() {
    let world = World::new();
    let args = ["eval", "fo", "fo", "--texts", "texts", "--compare", "--json", "--join", "--context", "16"];
    let json: Value = serde_json::from_str(&world.prints(0, &args)).unwrap();
    let language = &json["models"][0]["languages"][1];
    assert_eq!(language["language"], "fo");
    assert_eq!(language["sentences"], 3);
    assert_eq!(language["bytes"], TEXT.trim_end().replace("\n\n", "\n").replace('\n', "\n\n").len());
    let (nats, tokens) = (language["nats"].as_f64().unwrap(), language["tokens"].as_f64().unwrap());
    let per_token = language["nats_per_token"]["value"].as_f64().unwrap();
    assert!((per_token - nats / tokens).abs() < 1e-12);
    let bits = language["bits_per_byte"]["value"].as_f64().unwrap();
    let bytes = language["bytes"].as_f64().unwrap();
    assert!((bits - nats / bytes / std::f64::consts::LN_2).abs() < 1e-12);
    assert!(language["bits_per_byte"]["error"].as_f64().unwrap() > 0.0);
    assert_eq!(json["models"][0]["rules"]["unit"], "window");
    assert_eq!(json["models"][0]["start"], "<|end|>");
    assert_eq!(json["models"][0]["weights_sha256"], json["models"][1]["weights_sha256"]);
    let same = &json["differences"][0]["bits_per_byte"]["fo"];
    assert_eq!((same["value"].as_f64(), same["error"].as_f64()), (Some(0.0), Some(0.0)));
}

#[test]
fn reports_in_files() {
    let world = World::new();
    world.write("summary.md", "before\n");
    let args =
        ["eval", "fo", "--texts", "texts", "--quiet", "--markdown", "summary.md", "--html", "page.html"];
    assert_eq!(world.prints(0, &args), "");
    let markdown = std::fs::read_to_string(world.path("summary.md")).unwrap();
    assert!(markdown.starts_with("before\n### fo\n"), "appended: {markdown}");
    assert!(markdown.contains("\n| fo | 3 | "), "{markdown}");
    let page = std::fs::read_to_string(world.path("page.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("<title>fo, fo: ") && !page.contains("http"), "{page}");
    // An XML parser would be one more dependency; tags that do not pair up are what goes wrong.
    for tag in ["svg", "table", "tr", "td", "th", "text", "title"] {
        let count = |t: &str| page.matches(t).count();
        assert_eq!(
            count(&format!("<{tag}>")) + count(&format!("<{tag} ")),
            count(&format!("</{tag}>")),
            "{tag}"
        );
    }
}

#[test]
fn texts_of_every_kind_are_the_same_text() {
    let world = World::new();
    let lines: String = TEXT
        .lines()
        .filter(|l| !l.is_empty())
        .map(|l| format!("{}\n", serde_json::json!({"satz": l})))
        .collect();
    world.write("fo.jsonl", &lines);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, TEXT.as_bytes()).unwrap();
    world.write("fo.txt.gz", gz.finish().unwrap());
    let zst = ruzstd::encoding::compress_to_vec(TEXT.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    world.write("fo.txt.zst", zst);
    let nats = |file: &str| {
        let text = format!("fo={file}");
        let json = world.prints(0, &["eval", "fo", "--text", &text, "--json", "--field", "satz"]);
        serde_json::from_str::<Value>(&json).unwrap()["models"][0]["languages"][0]["nats"].clone()
    };
    let plain = nats("texts/fo.txt");
    for file in ["fo.jsonl", "fo.txt.gz", "fo.txt.zst"] {
        assert_eq!(nats(file), plain, "{file}");
    }
}

#[test]
fn a_check_passes_fails_and_says_why() {
    let world = World::new();
    let check = |code: i32, more: &[&str]| {
        let args = [&["check", "fo", "--texts", "texts", "--baseline", "b.json"], more].concat();
        world.prints(code, &args)
    };
    check(0, &["--update", "--context", "32", "--tolerance", "en=50%"]);
    let mut text = check(0, &[]);
    assert!(text.contains("windows of 32 tokens"), "rules are the baseline's: {text}");
    // A worse model: noise on one matrix.
    let weights = world.path("fo/model.safetensors");
    let mut tensors = support::read(&world.path("fo"));
    let tensor = tensors.get_mut("model.layers.1.mlp.down_proj.weight").unwrap();
    let mut noise = support::Noise(3);
    let worse: Vec<f32> = support::values(tensor).iter().map(|x| *x as f32 + 0.5 * noise.next()).collect();
    *tensor = stored(Dtype::BF16, &tensor.shape.clone(), &worse);
    support::save(&weights, &tensors);
    text += &check(1, &["--junit", "j.xml", "--markdown", "m.md", "--html", "p.html", "--noise", "0"]);
    text += &check(1, &["--quiet", "--noise", "0"]);
    check(0, &["--tolerance", "fo=90%", "--noise", "0"]);
    check(0, &["--tolerance", "90%", "--noise", "0"]);
    check(0, &["--noise", "1000"]);
    insta::assert_snapshot!(masked(&text));
    let junit = std::fs::read_to_string(world.path("j.xml")).unwrap();
    insta::assert_snapshot!("junit", masked(&junit));
    assert!(std::fs::read_to_string(world.path("m.md")).unwrap().contains("### One language became worse"));
    assert!(std::fs::read_to_string(world.path("p.html")).unwrap().contains("<tr class=\"fail\">"));
    let args = ["check", "fo", "--texts", "texts", "--baseline", "b.json", "--json", "--noise", "0"];
    let json: Value = serde_json::from_str(&world.prints(1, &args)).unwrap();
    assert_eq!(json["passed"], false);
    assert_eq!(json["verdicts"][1]["why"], "worse");
}

/// A reader that goes away, or a report that cannot be written, changes no verdict.
#[test]
fn a_closed_pipe_is_no_pass() {
    let world = World::new();
    let keep = ["check", "fo", "--texts", "texts", "--baseline", "b.json", "--update"];
    world.prints(0, &keep);
    world.configure(|c| c["hidden_act"] = "silu".into());
    let script = "\"$0\" check fo --texts texts --baseline b.json --noise 0 --tolerance 0 | true; exit ${PIPESTATUS[0]}";
    let status = std::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_growmerge")])
        .current_dir(world.0.path())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let run =
        world.command(&["eval", "fo", "--texts", "texts", "--html", "nowhere/page.html"]).assert().code(3);
    let output = run.get_output();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nfo "), "the table is printed all the same");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.matches("No such file").count(), 1, "{stderr}");
}

/// What is broken, the command, and how.
type Case<'a> = (&'a str, &'a [&'a str], &'a dyn Fn(&World));

const EVAL: &[&str] = &["eval", "fo", "--texts", "texts"];

fn refusals(cases: &[Case<'_>]) -> String {
    let mut text = String::new();
    for (name, args, break_it) in cases {
        let world = World::new();
        break_it(&world);
        let run = world.command(args).assert();
        let output = run.get_output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(output.stdout.is_empty(), "{name}");
        let _ = write!(text, "## {name}\n$ growmerge {}\n{stderr}\n", args.join(" "));
    }
    text
}

#[test]
fn bad_texts() {
    let text = refusals(&[
        ("empty", EVAL, &|w| w.write("texts/fo.txt", "\n  \n")),
        ("not UTF-8", EVAL, &|w| w.write("texts/fo.txt", b"gott\nve\xf0ur\n")),
        ("shorter than a window", &["eval", "fo", "--texts", "texts", "--join"], &|_| {}),
        ("nothing to score", &["eval", "fo", "--texts", "texts", "--bos", "none"], &|w| {
            w.write("texts/fo.txt", "a\nb\n");
        }),
        ("no text at all", &["eval", "fo"], &|_| {}),
        ("a folder without texts", &["eval", "fo", "--texts", "fo"], &|_| {}),
        ("no such folder", &["eval", "fo", "--texts", "nowhere"], &|_| {}),
        (
            "two texts of a language",
            &["eval", "fo", "--texts", "texts", "--text", "fo=texts/en.txt"],
            &|_| {},
        ),
        ("another field", &["eval", "fo", "--text", "fo=f.jsonl"], &|w| w.write("f.jsonl", "{\"a\": \"b\"}")),
        ("pairs without a beginning", &["eval", "fo", "--pairs", "fo=p.jsonl", "--bos", "none"], &|w| {
            w.write("p.jsonl", "{\"good\": \"x\", \"bad\": \"y\"}");
        }),
        ("lines of every wrong kind", &["eval", "fo", "--text", "fo=f.jsonl"], &|w| {
            w.write("f.jsonl", "{\"text\": 1}\n[]\n\n7\n{\"text\": \"good\"}\n{}\n");
        }),
        ("no name", &["eval", "fo", "--text", "f\u{1b}o=texts/fo.txt"], &|_| {}),
        ("no pair", &["eval", "fo", "--pairs", "fo=p.jsonl"], &|w| w.write("p.jsonl", "{\"good\": \"x\"}")),
        ("texts and model both", EVAL, &|w| {
            w.write("texts/en.txt", "");
            w.write("texts/fo.txt", b"\xff");
            std::fs::remove_file(w.path("fo/model.safetensors")).unwrap();
        }),
        (
            "a stride too long",
            &["eval", "fo", "--texts", "texts", "--context", "8", "--stride", "9"],
            &|_| {},
        ),
        ("nothing to compare", &["eval", "fo", "--texts", "texts", "--compare"], &|_| {}),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn bad_models() {
    let change = |name: &'static str, change: fn(&mut support::Tensors)| {
        move |w: &World| {
            assert!(!name.is_empty());
            let mut tensors = support::read(&w.path("fo"));
            change(&mut tensors);
            support::save(&w.path("fo/model.safetensors"), &tensors);
        }
    };
    let nan = change("nan", |t| {
        let tensor = t.get_mut("model.layers.2.mlp.up_proj.weight").unwrap();
        tensor.bytes[2 * 64 * 7..][..2].copy_from_slice(&[0xc0, 0x7f]);
    });
    let missing = change("missing", |t| drop(t.remove("model.layers.3.self_attn.k_proj.weight")));
    let integers = change("integers", |t| {
        let norm = t.get_mut("model.norm.weight").unwrap();
        norm.dtype = Dtype::I16;
    });
    let text = refusals(&[
        ("no tokenizer", EVAL, &|w| std::fs::remove_file(w.path("fo/tokenizer.json")).unwrap()),
        ("a tokenizer that is none", EVAL, &|w| w.write("fo/tokenizer.json", "{}")),
        ("ids beyond the embedding", EVAL, &|w| {
            let mut tensors = support::read(&w.path("fo"));
            let embed = tensors.get_mut("model.embed_tokens.weight").unwrap();
            embed.shape[0] = 300;
            embed.bytes.truncate(2 * 64 * 300);
            support::save(&w.path("fo/model.safetensors"), &tensors);
            w.configure(|c| c["vocab_size"] = 300.into());
        }),
        ("no such start token", &["eval", "fo", "--texts", "texts", "--bos", "<s>"], &|_| {}),
        ("NaN", EVAL, &nan),
        ("a tensor is missing", EVAL, &missing),
        ("integers", EVAL, &integers),
        ("fewer layers in the config", EVAL, &|w| w.configure(|c| c["num_hidden_layers"] = 3.into())),
        ("other widths in the config", EVAL, &|w| {
            w.configure(|c| {
                c["intermediate_size"] = 128.into();
                c["num_key_value_heads"] = 4.into();
            });
        }),
        ("biases in the config only", EVAL, &|w| w.configure(|c| c["mlp_bias"] = true.into())),
        ("an untied head", EVAL, &|w| w.configure(|c| c["tie_word_embeddings"] = false.into())),
        ("an unknown family", EVAL, &|w| w.configure(|c| c["model_type"] = "mamba".into())),
        ("words of other kinds", EVAL, &|w| {
            w.configure(|c| {
                c["rope_parameters"] = serde_json::json!([]);
                c["hidden_act"] = 7.into();
            });
        }),
        ("a model that computes no numbers", EVAL, &|w| {
            w.configure(|c| c["lm_head_normalization_factor"] = 1e-300.into());
        }),
        ("two models", &["eval", "fo", "et", "--texts", "texts"], &|w| {
            w.configure(|c| c["model_type"] = "mamba".into());
            std::fs::create_dir(w.path("et")).unwrap();
            for name in ["config.json", "model.safetensors"] {
                std::fs::copy(w.path("fo").join(name), w.path("et").join(name)).unwrap();
            }
        }),
        ("a config full of mistakes", EVAL, &|w| {
            w.configure(|c| {
                c["hidden_size"] = "64".into();
                c["num_key_value_heads"] = 3.into();
                c["rms_norm_eps"] = 0.into();
                c["hidden_act"] = "relu2".into();
                c["rope_parameters"] = serde_json::json!({"rope_type": "dynamic", "factor": 2.0});
                c["num_hidden_layers"] = 1_000_000_000.into();
            });
        }),
        ("no config", EVAL, &|w| std::fs::remove_file(w.path("fo/config.json")).unwrap()),
        ("no model", &["eval", "nowhere", "--texts", "texts"], &|_| {}),
        ("a recipe that is wrong", &["eval", "r.yaml", "--texts", "texts"], &|w| {
            w.write("r.yaml", "merge_method: liner\nmodels: [{model: fo}]\n");
        }),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn bad_baselines() {
    const CHECK: &[&str] = &["check", "fo", "--texts", "texts", "--baseline", "b.json"];
    let keep = |w: &World| drop(w.prints(0, &[CHECK, &["--update"]].concat()));
    let other_rules = [CHECK, &["--context", "8", "--bos", "none"]].concat();
    let text = refusals(&[
        ("none", CHECK, &|_| {}),
        ("no baseline", CHECK, &|w| w.write("b.json", "[1]")),
        ("of another model", CHECK, &|w| {
            std::fs::rename(w.path("fo"), w.path("et")).unwrap();
            w.prints(0, &["check", "et", "--texts", "texts", "--baseline", "b.json", "--update"]);
            std::fs::rename(w.path("et"), w.path("fo")).unwrap();
        }),
        ("another beginning", CHECK, &|w| {
            keep(w);
            std::fs::remove_file(w.path("fo/tokenizer_config.json")).unwrap();
        }),
        ("damaged", CHECK, &|w| {
            keep(w);
            let text = std::fs::read_to_string(w.path("b.json")).unwrap();
            w.write("b.json", text.replace("\"bits_per_byte\": ", "\"bits_per_byte\": 9"));
        }),
        ("a tolerance for nobody", &[CHECK, &["--tolerance", "f0=2%"]].concat(), &keep),
        ("other rules", &other_rules, &keep),
        ("other texts", CHECK, &|w| {
            keep(w);
            w.write("texts/fo.txt", "Annar tekstur.\n");
            std::fs::rename(w.path("texts/en.txt"), w.path("texts/is.txt")).unwrap();
        }),
    ]);
    insta::assert_snapshot!(text);
}
