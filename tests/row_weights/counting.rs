//! `growmerge count` against a count written for reading, and what it refuses.

use std::io::Write;
use std::path::{Path, PathBuf};

use growmerge::coefficients::Counts;
use tokenizers::Tokenizer;

use super::support::command;

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart/en")
}

/// Each line by itself.
fn naive(lines: &[&str]) -> (Vec<u64>, u64, u64) {
    let tokenizer = Tokenizer::from_file(quickstart().join("tokenizer.json")).unwrap();
    let mut counts = vec![0; 2048];
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect();
    for line in &lines {
        for id in tokenizer.encode(*line, false).unwrap().get_ids() {
            counts[*id as usize] += 1;
        }
    }
    (counts, lines.iter().map(|line| line.len() as u64).sum(), lines.len() as u64)
}

fn text(language: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(format!("recipes/quickstart/texts/{language}.txt"))).unwrap()
}

fn gz(path: &Path, text: &str) {
    let mut file =
        flate2::write::GzEncoder::new(std::fs::File::create(path).unwrap(), flate2::Compression::fast());
    file.write_all(text.as_bytes()).unwrap();
    file.finish().unwrap();
}

#[test]
fn counts_of_several_files_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (et, fa) = (text("et"), text("fa"));
    // Long enough for several batches, with blank lines and an end without a line break.
    let long = format!("{}\n\n  \n{}", et.repeat(30), "viimane rida");
    std::fs::write(at("a.txt"), &long).unwrap();
    gz(&at("b.txt.gz"), &et);
    let lines: String =
        fa.lines().map(|l| serde_json::json!({ "id": 1, "content": l }).to_string() + "\n").collect();
    std::fs::write(at("fa.jsonl"), lines).unwrap();
    let count = |out: &str, threads: &str| {
        let mut command = command();
        command.arg("count").arg(quickstart()).args(["--threads", threads, "--field", "content"]);
        command.arg("--text").arg(format!("et={},{}", at("a.txt").display(), at("b.txt.gz").display()));
        command.arg("--text").arg(format!("fa={}", at("fa.jsonl").display()));
        let run = command.arg("-o").arg(at(out)).assert().success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    };
    let told = count("one", "1");
    assert!(told.contains("tokens/byte") && told.contains("et.safetensors"), "{told}");
    count("four", "4");
    let all: Vec<&str> = long.lines().chain(et.lines()).collect();
    for (language, lines) in [("et", all), ("fa", fa.lines().collect())] {
        let name = format!("{language}.safetensors");
        let files = ["one", "four"].map(|out| std::fs::read(at(out).join(&name)).unwrap());
        assert_eq!(files[0], files[1], "the same bytes from any number of threads");
        let read = Counts::open(&at("one").join(&name)).unwrap();
        let (counts, bytes, documents) = naive(&lines);
        assert_eq!((&read.counts, read.bytes, read.documents), (&counts, bytes, documents));
        assert_eq!(read.language, language);
        let tokenizer = std::fs::read(quickstart().join("tokenizer.json")).unwrap();
        assert_eq!(read.tokenizer, growmerge::write::sha256_hex(&tokenizer));
    }
}

#[test]
fn a_folder_of_texts_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart/texts");
    let mut command = command();
    command
        .arg("count")
        .arg(quickstart())
        .arg("--texts")
        .arg(texts)
        .arg("-o")
        .arg(folder.path())
        .arg("--json");
    let told = command.assert().success().get_output().stdout.clone();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let languages = told["languages"].as_array().unwrap();
    assert_eq!(languages.len(), 6);
    for language in languages {
        let (counts, bytes, _) =
            naive(&text(language["language"].as_str().unwrap()).lines().collect::<Vec<_>>());
        assert_eq!(language["tokens"], counts.iter().sum::<u64>());
        assert_eq!(language["used"], counts.iter().filter(|n| **n > 0).count());
        assert_eq!(language["bytes"], bytes);
    }
}

#[test]
fn what_cannot_be_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("et.txt"), "tere\n").unwrap();
    std::fs::write(at("empty.txt"), "\n \n").unwrap();
    std::fs::write(at("bad.txt"), b"tere\nm\xff\n").unwrap();
    std::fs::write(at("a_file"), "").unwrap();
    let model = quickstart().display().to_string();
    let told = |args: &[&str], code: i32| {
        let run = command().arg("count").args(args).assert().code(code);
        String::from_utf8(run.get_output().stderr.clone()).unwrap()
    };
    let out = at("out");
    let et = format!("et={}", at("et.txt"));
    for (args, code, wanted) in [
        (vec![model.as_str(), "-o", &out], 2, vec!["there is no text to count", "--text LANG=FILE"]),
        (
            vec![&model, "-o", &out, "--text", &et, "--text", &et],
            2,
            vec!["`et` is given twice", "several files of a language: et=a.txt,b.txt"],
        ),
        (vec![&model, "-o", &out, "--text", "et"], 2, vec!["write it as LANGUAGE=FILE"]),
        (vec![&model, "-o", &out, "--text", "et=a,,b"], 2, vec!["must not be empty"]),
        (
            vec![&model, "-o", &out, "--text", "x/y=a"],
            2,
            vec!["`x/y` cannot be the name of a file", "no such file"],
        ),
        (
            vec!["/not/there", "-o", &out, "--text", "et=/nor/this"],
            2,
            vec!["/not/there", "/nor/this: no such file"],
        ),
        (
            vec![&model, "-o", &out, "--text", &format!("et={}", at("empty.txt"))],
            2,
            vec!["there is no text to count"],
        ),
        (
            vec![&model, "-o", &out, "--text", &format!("et={},{}", at("et.txt"), at("bad.txt"))],
            2,
            vec!["bad.txt:2: is not UTF-8"],
        ),
        // The first of these could be counted.
        (
            vec![&model, "-o", &out, "--text", &et, "--text", &format!("fo={}", at("bad.txt"))],
            2,
            vec!["bad.txt:2: is not UTF-8"],
        ),
        (
            vec![&model, "-o", &out, "--text", &format!("e\tt={}", at("et.txt"))],
            2,
            vec!["`e\\tt` cannot be the name of a file"],
        ),
        (vec![&model, "-o", &at("a_file"), "--text", &et], 3, vec!["cannot create", "a_file"]),
        (
            vec![folder.path().to_str().unwrap(), "-o", &out, "--text", &et],
            2,
            vec!["the model has no tokenizer.json"],
        ),
    ] {
        let told = told(&args, code);
        for part in wanted {
            assert!(told.contains(part), "wanted: {part}\n{told}");
        }
    }
    assert!(std::fs::read_dir(&out).unwrap().next().is_none(), "nothing was left");
    // What was counted once is not lost by mistake.
    let args = [model.as_str(), "-o", &out, "--quiet", "--text", &et];
    command().arg("count").args(args).assert().success().stdout("");
    assert!(told(&args, 2).contains("--overwrite replaces them"));
    command().arg("count").args(args).arg("--overwrite").assert().success();
}
