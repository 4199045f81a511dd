//! Trained tokenizers: the same bytes every time, the merges of the definition, and readable by the evaluation.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use growmerge::eval::{Start, Tokenizer};
use growmerge_trainer::tokenizer::{SMALLEST, train};
use proptest::prelude::*;

const LANGUAGES: [&str; 6] = ["en", "et", "fa", "fo", "is", "sv"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("growmerge-trainer").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("tokenizer").args(arguments);
    command
}

fn told(arguments: &[&str]) -> String {
    let output = command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_same_texts_give_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let texts = LANGUAGES.map(|l| format!("--text={l}=texts/{l}/train.txt.gz"));
    let mut seen = HashSet::new();
    for threads in ["1", "2", "3", "2"] {
        let out = folder.path().join(format!("{threads}-{}", seen.len()));
        let mut arguments: Vec<&str> = texts.iter().map(String::as_str).collect();
        arguments.extend(["--vocab=2048", "--bytes-per-language=100000"]);
        let out_name = out.to_str().unwrap();
        arguments.push(out_name);
        let output = command(&arguments).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let table = String::from_utf8(output.stdout).unwrap();
        for language in LANGUAGES {
            let row = table.lines().find(|l| l.starts_with(&format!("{language} "))).unwrap();
            let cells: Vec<&str> = row.split_whitespace().collect();
            let used: u64 = cells[2].parse().unwrap();
            assert!((99_000..=100_000).contains(&used), "{row}");
            let (tokens, ratio): (f64, f64) = (cells[3].parse().unwrap(), cells[4].parse().unwrap());
            assert!((used as f64 / tokens - ratio).abs() < 0.001 && ratio > 1.5, "{row}");
        }
        let files = ["tokenizer.json", "tokenizer_config.json"].map(|f| std::fs::read(out.join(f)).unwrap());
        seen.insert(files);
        std::fs::remove_dir_all(&out).unwrap();
    }
    assert_eq!(seen.len(), 1);
}

/// BPE as Sennrich et al. 2016 have it (algorithm 1), with the pair of the smallest ids first among equals.
fn naive(lines: &[String], vocab: usize) -> Vec<(String, String)> {
    let mut tokens: Vec<String> = vec!["<|end|>".into()];
    // ASCII stands for itself, space for Ġ, and the rest of the alphabet does not occur.
    let mut alphabet: Vec<char> = (0u8..=255).map(byte_char).collect();
    alphabet.sort_unstable();
    tokens.extend(alphabet.iter().map(char::to_string));
    let id = |tokens: &[String], s: &str| tokens.iter().position(|t| t == s).unwrap();
    let mut words: Vec<Vec<usize>> = Vec::new();
    for line in lines {
        for (i, word) in line.split(' ').enumerate() {
            let space = if i > 0 { "Ġ" } else { "" };
            words.push(format!("{space}{word}").chars().map(|c| id(&tokens, &c.to_string())).collect());
        }
    }
    let mut merges = Vec::new();
    while tokens.len() < vocab {
        let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for word in &words {
            word.windows(2).for_each(|p| *counts.entry((p[0], p[1])).or_default() += 1);
        }
        let Some(most) = counts.values().max() else { break };
        let (a, b) = *counts.iter().find(|(_, n)| *n == most).unwrap().0;
        let new = tokens.len();
        merges.push((tokens[a].clone(), tokens[b].clone()));
        tokens.push(format!("{}{}", tokens[a], tokens[b]));
        for word in &mut words {
            let mut merged = Vec::new();
            let mut i = 0;
            while i < word.len() {
                let pair = word[i] == a && word.get(i + 1) == Some(&b);
                merged.push(if pair { new } else { word[i] });
                i += if pair { 2 } else { 1 };
            }
            *word = merged;
        }
    }
    merges
}

/// GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return byte as char;
    }
    let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + before).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn merges_are_those_of_the_definition(
        lines in proptest::collection::vec("[a-e]{1,9}( [a-e]{1,9}){0,7}", 8..40), more in 1usize..30,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let wanted = naive(&lines, SMALLEST + more);
        let trained = train(&[("x".into(), vec![path])], SMALLEST + more, None);
        if wanted.len() < more {
            prop_assert!(trained.unwrap_err().to_string().contains("tokens, not"));
        } else {
            let json: serde_json::Value = serde_json::from_str(&trained.unwrap().json).unwrap();
            let merges: Vec<(String, String)> =
                serde_json::from_value(json["model"]["merges"].clone()).unwrap();
            prop_assert_eq!(merges, wanted);
        }
    }
}

#[test]
fn the_evaluation_reads_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let text = |l: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("texts/{l}/valid.txt.gz"));
    let texts: Vec<(String, Vec<PathBuf>)> =
        ["fo", "fa"].iter().map(|l| ((*l).to_owned(), vec![text(l)])).collect();
    let trained = train(&texts, 600, None).unwrap();
    let used: Vec<u64> = trained.languages.iter().map(|l| l.bytes).collect();
    assert!(used[0] == trained.languages[0].available && used[1] <= used[0] && used[1] + 1000 > used[0]);
    let out = folder.path().join("new/folder");
    trained.save(&out).unwrap();
    let tokenizer = Tokenizer::open(&out, &Start::Auto).unwrap();
    assert_eq!((tokenizer.start(), tokenizer.end()), (Some("<|end|>"), Some((0, "<|end|>"))));
    // What was never seen is bytes.
    for text in ["Føroyar eru oyggjar.", "سلام دنیا", "漢字 🙂", "  two  "] {
        let tokens = tokenizer.encode(&[text], 600).unwrap().remove(0);
        assert_eq!(tokens.ids[0], 0);
        assert_eq!(tokens.bytes(0..tokens.ids.len()), text.len(), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("a.txt"), "a few words\n").unwrap();
    std::fs::write(path("empty.txt"), "\n").unwrap();
    std::fs::write(path("latin.txt"), b"b\xe5d\n").unwrap();
    let (a, empty, latin, gone) = (
        format!("--text=a={}", path("a.txt")),
        format!("--text=b={}", path("empty.txt")),
        format!("--text=c={}", path("latin.txt")),
        format!("--text=d={}", path("gone.txt")),
    );
    let out = path("out");
    let said = told(&[&a, "--vocab=18446744073709551615", &out]);
    assert!(said.contains("vocab: 18446744073709551615 tokens are too many"), "{said}");
    let said = told(&[&a, &empty, &latin, &gone, "--vocab=100", "--bytes-per-language=50", &out]);
    for wanted in [
        "vocab: 100 tokens are too few",
        "257 are needed",
        "b: the text is empty",
        "latin.txt:1: is not UTF-8",
        "gone.txt: cannot read",
        "a: the text has 11 bytes, fewer than are to be used of each",
    ] {
        assert!(said.contains(wanted), "{wanted} in\n{said}");
    }
    assert!(told(&[&a, "--vocab=9000", &out]).contains("tokens, not 9000"));
    assert!(told(&["--text=a.txt", "--vocab=300", &out]).contains("is not of the form LANGUAGE=FILE"));
    assert!(!Path::new(&out).exists());
    std::fs::create_dir(&out).unwrap();
    std::fs::write(path("out/tokenizer.json"), "{}").unwrap();
    assert!(told(&[&a, "--vocab=260", &out]).contains("there is a tokenizer already"));
}
