//! Some of a text, spread evenly over it.

use std::path::PathBuf;

use growmerge::eval::{Documents, Reading, Split};
use growmerge::problem::{Problem, Problems};

/// The texts of one language.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    pub(super) language: &'a str,
    files: &'a [PathBuf],
    reading: Reading,
    /// Of all documents, without the ends of lines.
    pub(super) bytes: u64,
}

impl<'a> Source<'a> {
    /// Reads the texts once.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn measure(language: &'a str, files: &'a [PathBuf]) -> Result<Self, Problems> {
        let reading = Reading { split: Split::Line, field: "text".into() };
        let mut source = Self { language, files, reading, bytes: 0 };
        let mut problems = Problems::new();
        let mut bytes = 0;
        for document in source.documents() {
            match document {
                Ok(document) => bytes += document.len() as u64,
                Err(found) => problems.extend(found),
            }
            if problems.iter().count() == 5 {
                break;
            }
        }
        if bytes == 0 && problems.is_empty() {
            problems.push(Problem::error(language, "the text is empty"));
        }
        source.bytes = bytes;
        if problems.has_errors() { Err(problems) } else { Ok(source) }
    }

    fn documents(&self) -> impl Iterator<Item = Result<String, Problems>> + Send + use<'a> {
        let reading = self.reading.clone();
        self.files.iter().flat_map(move |path| {
            let (documents, problem) = match Documents::open(path, &reading) {
                Ok(documents) => (Some(documents), None),
                Err(problems) => (None, Some(Err(problems))),
            };
            problem.into_iter().chain(documents.into_iter().flatten())
        })
    }

    /// Documents of at most `wanted` bytes, and nearly that: each is taken if the bytes taken so far stay below
    /// the share of the bytes read so far.
    pub(super) fn sample(
        &self,
        wanted: u64,
    ) -> impl Iterator<Item = Result<String, Problems>> + Send + use<'a> {
        let all = u128::from(self.bytes);
        let (mut seen, mut taken) = (0u128, 0u128);
        self.documents().filter(move |document| {
            let Ok(document) = document else { return true };
            let len = document.len() as u128;
            seen += len;
            let take = (taken + len) * all <= u128::from(wanted) * seen;
            taken += if take { len } else { 0 };
            take
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_are_large_enough_and_even(lengths in proptest::collection::vec(1usize..50, 1..300), share in 0.0..=1.0f64) {
            let folder = tempfile::tempdir().unwrap();
            let files = [folder.path().join("x.txt")];
            let lines: Vec<String> = lengths.iter().map(|n| "x".repeat(*n)).collect();
            std::fs::write(&files[0], lines.join("\n")).unwrap();
            let source = Source::measure("x", &files).unwrap();
            prop_assert_eq!(source.bytes, lengths.iter().sum::<usize>() as u64);
            let wanted = (source.bytes as f64 * share) as u64;
            let taken: Vec<usize> = source.sample(wanted).map(|d| d.unwrap().len()).collect();
            let bytes = taken.iter().sum::<usize>() as u64;
            prop_assert!(bytes <= wanted && bytes + 50 > wanted);
            // The first half of the text gives half of the sample.
            let half = lengths.len() / 2;
            std::fs::write(&files[0], lines[..half].join("\n")).unwrap();
            let before = lengths[..half].iter().sum::<usize>() as f64;
            let of_half: usize = source.sample(wanted).map(|d| d.unwrap().len()).sum();
            prop_assert!((of_half as f64 - before * wanted as f64 / source.bytes as f64).abs() <= 50.0);
        }
    }
}
