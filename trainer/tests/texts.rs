//! The texts that come with the crate.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use growmerge::eval::{Reading, Split, Text};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Sentences without case and punctuation.
fn sentences(path: &Path) -> Vec<String> {
    let reading = Reading { split: Split::Line, field: "text".into() };
    let fold = |line: String| line.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    Text::read("x", path, &reading).unwrap().documents.into_iter().map(fold).collect()
}

#[test]
fn nothing_that_is_trained_on_is_measured() {
    for language in ["en", "et", "fa", "fo", "is", "sv"] {
        let folder = here().join("texts").join(language);
        let measured = here().join("../recipes/quickstart/texts").join(format!("{language}.txt"));
        let mut seen: HashSet<String> = sentences(&measured).into_iter().collect();
        for file in ["test.txt.gz", "valid.txt.gz", "train.txt.gz"] {
            for sentence in sentences(&folder.join(file)) {
                assert!(seen.insert(sentence.clone()), "{language}/{file} repeats {sentence}");
            }
        }
        assert!(seen.len() > 3000, "the test looks at something");
    }
}

/// The sizes that the README states.
#[test]
fn sizes_are_those_of_the_readme() {
    let readme = std::fs::read_to_string(here().join("texts/README.md")).unwrap();
    let thousands = |n: usize| {
        let digits = n.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    for language in ["en", "et", "fa", "fo", "is", "sv"] {
        let row = readme.lines().find(|l| l.starts_with(&format!("| {language} | "))).unwrap();
        for file in ["train", "valid", "test"] {
            let path = here().join(format!("texts/{language}/{file}.txt.gz"));
            let reading = Reading { split: Split::Line, field: "text".into() };
            let lines = Text::read("x", &path, &reading).unwrap().documents;
            let bytes: usize = lines.iter().map(|l| l.len() + 1).sum();
            let wanted = format!(" {} / {}", thousands(lines.len()), thousands(bytes));
            assert!(row.contains(&wanted), "{wanted} in {row}");
        }
    }
}
