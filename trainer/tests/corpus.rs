//! Sequences of a run against the texts they come from.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use growmerge::eval::{Split, Start, Tokenizer};
use growmerge::problem::Error;
use growmerge_trainer::data::{Corpus, Mixture, Portion, Sampling, Source};
use proptest::prelude::*;

fn tokenizer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/quickstart/en")
}

fn source(name: &str, text: &Path, portion: Portion) -> Source {
    Source { name: name.into(), text: vec![text.to_owned()], portion }
}

fn mixture(sources: Vec<Source>) -> Mixture {
    Mixture {
        sources,
        max_epochs: 1e9,
        sampling: Sampling::Weights,
        documents: Split::Line,
        field: "text".into(),
    }
}

fn open(mixture: &Mixture, len: usize, run: u64, seed: u64, cache: &Path) -> Result<Corpus, Error> {
    Corpus::open(mixture, &tokenizer(), 2048, len, run, seed, cache)
}

fn sequences(corpus: &Corpus) -> Vec<Vec<u32>> {
    let mut out = Vec::new();
    let one = |position| {
        corpus.sequence(position, &mut out).unwrap();
        out.clone()
    };
    (0..corpus.sequences()).map(one).collect()
}

/// Tokens as the rules say: documents, each followed by the end token.
fn naive(lines: &[&str]) -> Vec<u32> {
    let tokenizer = Tokenizer::open(&tokenizer(), &Start::Nothing).unwrap();
    let tokens = tokenizer.encode(lines, 2048).unwrap();
    tokens.into_iter().flat_map(|t| t.ids.into_iter().chain([0])).collect()
}

/// Where in a ring of tokens a sequence begins, if that is one place only.
fn find(ring: &[u32], sequence: &[u32]) -> Vec<usize> {
    let at = |start: &usize| (0..sequence.len()).all(|i| ring[(start + i) % ring.len()] == sequence[i]);
    (0..ring.len()).filter(at).collect()
}

#[test]
fn sequences_are_stretches_of_the_documents_with_end_tokens_between() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.txt"), folder.path().join("b.jsonl.gz"));
    std::fs::write(&a, "One line.\n\nAnother line, a longer one.  \n").unwrap();
    let mut gz = flate2::write::GzEncoder::new(std::fs::File::create(&b).unwrap(), Default::default());
    gz.write_all(b"{\"text\": \"A record\\nof two lines\"}\n{\"text\": \"and the last\"}\n").unwrap();
    gz.finish().unwrap();
    let mut mixture = mixture(vec![source("x", &a, Portion::Weight(1.0))]);
    mixture.sources[0].text.push(b);
    let ring = naive(&["One line.", "Another line, a longer one.", "A record\nof two lines", "and the last"]);
    let corpus = open(&mixture, 6, 40, 1, folder.path()).unwrap();
    assert_eq!(corpus.shares()[0].tokens, ring.len() as u64);
    let found: Vec<Vec<usize>> = sequences(&corpus).iter().map(|s| find(&ring, s)).collect();
    assert!(found.iter().all(|f| !f.is_empty()), "{found:?}");
    let starts: std::collections::BTreeSet<usize> = found.into_iter().flatten().collect();
    assert!(starts.len() > ring.len() / 2, "chunk borders move: {starts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Words that occur once tell where each sequence is from: in every epoch each chunk is read once, and none
    /// of its tokens is predicted twice.
    #[test]
    fn every_epoch_reads_every_chunk_once(
        lines in 30usize..200, len in 1usize..24, epochs in 1u64..5, extra in 0u64..7, seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("x.txt");
        let all: Vec<String> = (0..lines).map(|i| format!("n{i} {}", i * i)).collect();
        std::fs::write(&text, all.join("\n")).unwrap();
        let ring = naive(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let chunks = (ring.len() / len) as u64;
        let run = chunks * epochs + extra.min(chunks - 1);
        let mixture = mixture(vec![source("x", &text, Portion::Weight(1.0))]);
        let corpus = open(&mixture, len, run, seed, folder.path()).unwrap();
        prop_assert_eq!(corpus.sequences(), run);
        let all = sequences(&corpus);
        prop_assert!(all.iter().all(|s| s.len() == len + 1));
        for epoch in all.chunks(chunks as usize).filter(|e| e.len() == chunks as usize) {
            // How often each token of the vocabulary is predicted: at most as often as it is in the text.
            let count = |tokens: &mut dyn Iterator<Item = u32>| {
                let mut counts = BTreeMap::new();
                tokens.for_each(|t| *counts.entry(t).or_insert(0u32) += 1);
                counts
            };
            let predicted = count(&mut epoch.iter().flat_map(|s| s[1..].iter().copied()));
            let there = count(&mut ring.iter().copied());
            for (token, n) in &predicted {
                prop_assert!(there.get(token) >= Some(n));
            }
            prop_assert_eq!(predicted.values().sum::<u32>() as usize, chunks as usize * len);
            // Sequences of which the place is certain begin whole sequences apart from each other.
            let places: Vec<usize> =
                epoch.iter().map(|s| find(&ring, s)).filter(|f| f.len() == 1).map(|f| f[0]).collect();
            let mut sorted = places.clone();
            sorted.sort_unstable();
            prop_assert!(sorted.windows(2).all(|p| p[1] - p[0] >= len));
        }
    }

    #[test]
    fn quotas_are_exact_and_sequences_follow_from_seed_and_position(
        weights in proptest::collection::vec(0.1..10.0f64, 1..4), run in 1u64..300, seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        // The texts share no letter, so that a sequence tells its source.
        let texts: Vec<PathBuf> = (0..weights.len()).map(|i| {
            let path = folder.path().join(format!("{i}.txt"));
            std::fs::write(&path, ["a", "b", "c"][i].repeat(40 + 30 * i) + "\n").unwrap();
            path
        }).collect();
        let sources = weights.iter().zip(&texts).enumerate()
            .map(|(i, (w, t))| source(&i.to_string(), t, Portion::Weight(*w))).collect();
        let mixture = mixture(sources);
        let corpus = open(&mixture, 3, run, seed, folder.path()).unwrap();
        let all = sequences(&corpus);
        let rings: Vec<Vec<u32>> = (0..weights.len())
            .map(|i| naive(&[&["a", "b", "c"][i].repeat(40 + 30 * i)])).collect();
        for (i, share) in corpus.shares().iter().enumerate() {
            let from = all.iter().filter(|s| s.iter().any(|t| *t != 0 && rings[i].contains(t))).count() as u64;
            prop_assert_eq!(from, share.sequences);
            let exact = run as f64 * weights[i] / weights.iter().sum::<f64>();
            prop_assert!((share.sequences as f64 - exact).abs() < 1.0);
        }
        // Another process, any order.
        let again = open(&mixture, 3, run, seed, folder.path()).unwrap();
        let mut out = vec![7; 9];
        for position in (0..run).rev() {
            again.sequence(position, &mut out).unwrap();
            prop_assert_eq!(&out, &all[position as usize]);
        }
    }
}

#[test]
fn seeds_give_other_orders_and_other_sources_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("x.txt");
    let lines: Vec<String> = (0..200).map(|i| format!("line {i}")).collect();
    std::fs::write(&text, lines.join("\n")).unwrap();
    let other = folder.path().join("y.txt");
    std::fs::write(&other, "zzz ".repeat(400)).unwrap();
    let alone = mixture(vec![source("x", &text, Portion::Weight(1.0))]);
    let of = |seed| sequences(&open(&alone, 8, 60, seed, folder.path()).unwrap());
    let (one, two) = (of(1), of(2));
    assert_ne!(one, two);
    let both =
        mixture(vec![source("y", &other, Portion::Replay(0.25)), source("x", &text, Portion::Weight(1.0))]);
    let with: Vec<Vec<u32>> = sequences(&open(&both, 8, 80, 1, folder.path()).unwrap());
    let of_x: Vec<Vec<u32>> = with.iter().filter(|s| one.contains(s)).cloned().collect();
    assert_eq!(of_x, one);
    // Every stretch of the run has its share of replay.
    let replayed = with.chunks(4).filter(|c| c.iter().filter(|s| !one.contains(s)).count() == 1).count();
    assert_eq!(replayed, 20);
}

#[test]
fn shards_are_kept_and_damaged_ones_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, text) = (folder.path().join("cache"), folder.path().join("x.txt"));
    std::fs::write(&text, "Some text. ".repeat(50)).unwrap();
    let mixture = mixture(vec![source("x", &text, Portion::Weight(1.0))]);
    let first = sequences(&open(&mixture, 8, 20, 1, &cache).unwrap());
    let shards = || -> Vec<PathBuf> {
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let shard = shards().pop().unwrap();
    assert_eq!(shards().len(), 1);
    // An independent reader of the format.
    let bytes = std::fs::read(&shard).unwrap();
    let view = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(view.tensor("tokens").unwrap().dtype(), safetensors::Dtype::U16);
    let written = std::fs::metadata(&shard).unwrap().modified().unwrap();
    let corpus = open(&mixture, 8, 20, 1, &cache).unwrap();
    assert!(corpus.warnings().is_empty());
    assert_eq!(std::fs::metadata(&shard).unwrap().modified().unwrap(), written, "it was not used");
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..9], &[], &flipped] {
        std::fs::write(&shard, damaged).unwrap();
        let corpus = open(&mixture, 8, 20, 1, &cache).unwrap();
        let told = corpus.warnings().to_string();
        assert!(told.contains("is damaged; the text was tokenized again"), "{told}");
        assert_eq!(sequences(&corpus), first);
        assert_eq!(std::fs::read(&shard).unwrap(), bytes);
    }
    // Another text, another shard; the old one stays.
    std::fs::write(&text, "Another text. ".repeat(50)).unwrap();
    let other = open(&mixture, 8, 20, 1, &cache).unwrap();
    assert_eq!(shards().len(), 2);
    assert_eq!(corpus.sha256().len(), 64);
    assert_ne!(other.sha256(), corpus.sha256());
}

#[test]
fn a_large_vocabulary_takes_wide_shards() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("x.txt");
    std::fs::write(&text, "Some text. ".repeat(50)).unwrap();
    let mixture = mixture(vec![source("x", &text, Portion::Weight(1.0))]);
    let narrow = sequences(&open(&mixture, 8, 20, 1, folder.path()).unwrap());
    let wide = Corpus::open(&mixture, &tokenizer(), 70_000, 8, 20, 1, folder.path()).unwrap();
    assert_eq!(sequences(&wide), narrow);
}

#[test]
fn everything_wrong_is_told_at_once_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let texts = [
        ("short", file("short.txt", b"too short")),
        ("empty", file("empty.txt", b" \n\n")),
        ("latin", file("latin.txt", b"good\nbad \xe5 byte\n")),
        ("field", file("field.jsonl", b"{\"content\": \"x\"}\n")),
        ("gone", folder.path().join("gone.txt")),
    ];
    let sources = texts.iter().map(|(n, t)| source(n, t, Portion::Weight(1.0))).collect();
    let told = open(&mixture(sources), 64, 10, 1, folder.path()).unwrap_err().to_string();
    for wanted in [
        "the text `short` is ",
        "shorter than a sequence",
        "a sequence takes 65 tokens",
        "empty.txt: the text is empty",
        "latin.txt:2: is not UTF-8: byte 0xe5 at 9",
        "field.jsonl:1: has no text in field `text`",
        "gone.txt: cannot read",
    ] {
        assert!(told.contains(wanted), "{wanted} in\n{told}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 5, "only the short text has a shard");
}

#[test]
fn a_mixture_that_needs_more_epochs_than_allowed_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("x.txt");
    std::fs::write(&text, "Some text. ".repeat(50)).unwrap();
    let mut mixture = mixture(vec![source("et", &text, Portion::Weight(1.0))]);
    mixture.max_epochs = 3.0;
    let chunks = open(&mixture, 8, 1, 1, folder.path()).unwrap().shares()[0].tokens / 8;
    for sampling in [Sampling::Weights, Sampling::Unimax] {
        mixture.sampling = sampling;
        let corpus = open(&mixture, 8, chunks * 3, 1, folder.path()).unwrap();
        assert!((corpus.shares()[0].epochs - 3.0).abs() < 1e-9);
        let told = open(&mixture, 8, chunks * 7, 1, folder.path()).unwrap_err().to_string();
        assert!(told.contains("data.sources.et: the run needs 7.00 epochs of `et`"), "{told}");
        assert!(told.contains("max_epochs allows 3"), "{told}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("x.txt");
    std::fs::write(&text, "Some text. ".repeat(50)).unwrap();
    let mixture = mixture(vec![source("et", &text, Portion::Weight(1.0))]);
    let told = Corpus::open(&mixture, &tokenizer(), 300, 8, 1, 1, folder.path()).unwrap_err().to_string();
    assert!(told.contains("but the embedding has 300 rows"), "{told}");
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(tokenizer().join("tokenizer.json"), other.path().join("tokenizer.json")).unwrap();
    std::fs::write(other.path().join("tokenizer_config.json"), "{\"eos_token\": \"</s>\"}").unwrap();
    let told = Corpus::open(&mixture, other.path(), 2048, 8, 1, 1, folder.path()).unwrap_err().to_string();
    assert!(told.contains("has no token to put between documents"), "{told}");
}

#[test]
fn a_disk_that_takes_nothing_is_the_machines_failure() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("x.txt");
    std::fs::write(&text, "Some text. ".repeat(50)).unwrap();
    let mixture = mixture(vec![source("et", &text, Portion::Weight(1.0))]);
    // A file where the cache should be.
    let error = open(&mixture, 8, 1, 1, &text).unwrap_err();
    assert!(matches!(error, Error::Exec(_)), "{error}");
}
