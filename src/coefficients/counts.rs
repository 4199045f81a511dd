//! How often a language uses each token of a vocabulary.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value};

use super::open::open;
use crate::checkpoint::{DType, Saved, save};
use crate::problem::{ExecError, Problem, Problems};

/// What the metadata must say.
const FORMAT: &str = "growmerge counts 1";
const HINT: &str = "`growmerge count` makes files of counts";

/// Counts of a language's tokens, and of what text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The user's name for the language.
    pub language: String,
    /// SHA-256 of the `tokenizer.json` whose tokens are counted, in hex.
    pub tokenizer: String,
    /// Bytes of text.
    pub bytes: u64,
    /// Documents.
    pub documents: u64,
    /// By id.
    pub counts: Vec<u64>,
    /// SHA-256 of the file that they were read from, in hex.
    pub sha256: String,
    /// Bytes of that file.
    pub file_bytes: u64,
}

impl Counts {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there, or is something else.
    pub fn open(path: &Path) -> Result<Self, Problems> {
        let opened = open(path, FORMAT, HINT)?;
        let name = path.display().to_string();
        let wrong = |what: String| Problems::from(Problem::error(&name, what).hint(HINT));
        let Some(tensor) = opened.tensors.tensor("counts") else {
            return Err(wrong("has no tensor `counts`".into()));
        };
        if tensor.dtype != DType::I64 || tensor.shape.len() != 1 {
            let what = format!("`counts` is {} {:?}, not a list of I64", tensor.dtype.name(), tensor.shape);
            return Err(wrong(what));
        }
        let values = opened.tensors.bytes(tensor).as_chunks::<8>().0.iter().map(|x| i64::from_le_bytes(*x));
        let counts: Option<Vec<u64>> = values.map(|x| u64::try_from(x).ok()).collect();
        let Some(counts) = counts else { return Err(wrong("a count is negative".into())) };
        if counts.iter().try_fold(0u64, |n, x| n.checked_add(*x)).is_none_or(|total| total == 0) {
            return Err(wrong("nothing was counted".into()));
        }
        let text = |key: &str| text(&opened.metadata, key);
        let number = |key: &str| text(key).parse().unwrap_or_default();
        Ok(Self {
            language: text("language"),
            tokenizer: text("tokenizer"),
            bytes: number("bytes"),
            documents: number("documents"),
            counts,
            sha256: opened.sha256,
            file_bytes: opened.bytes,
        })
    }

    /// Writes a file; what stood there before is replaced when it is whole.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> Result<(), ExecError> {
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("language", self.language.clone()),
            ("tokenizer", self.tokenizer.clone()),
            ("tokens", self.tokens().to_string()),
            ("bytes", self.bytes.to_string()),
            ("documents", self.documents.to_string()),
        ];
        let counts = Saved {
            name: "counts".into(),
            dtype: DType::I64,
            shape: vec![self.counts.len()],
            // Nobody counts beyond 2^63.
            bytes: Cow::Owned(self.counts.iter().flat_map(|n| n.to_le_bytes()).collect()),
        };
        save(path, &metadata, &[counts])
    }

    /// All tokens together.
    pub fn tokens(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Different tokens that occur.
    pub fn used(&self) -> usize {
        self.counts.iter().filter(|n| **n > 0).count()
    }

    /// How often a token occurs, as a share of all.
    pub fn share(&self, token: usize) -> f64 {
        self.counts.get(token).map_or(0.0, |n| *n as f64) / self.tokens().max(1) as f64
    }
}

fn text(metadata: &Map<String, Value>, key: &str) -> String {
    metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, write: impl FnOnce(&Path)) -> Result<Counts, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        write(&path);
        Counts::open(&path).map_err(|p| p.to_string())
    }

    #[test]
    fn counts_come_back() {
        let counts = Counts {
            language: "et".into(),
            tokenizer: "ab".into(),
            bytes: 1 << 40,
            documents: 3,
            counts: vec![0, 5, 1 << 50, 0],
            ..Counts::default()
        };
        let read = written("et.safetensors", |path| counts.write(path).unwrap()).unwrap();
        assert_eq!((read.tokens(), read.used(), read.sha256.len()), (5 + (1 << 50), 2, 64));
        assert_eq!(read.share(1), 5.0 / read.tokens() as f64);
        assert_eq!(read.share(9), 0.0);
        assert_eq!(Counts { sha256: String::new(), file_bytes: 0, ..read }, counts);
    }

    #[test]
    fn other_files_are_named() {
        let list = |dtype, shape: &[usize], bytes: Vec<u8>| Saved {
            name: "counts".into(),
            dtype,
            shape: shape.to_vec(),
            bytes: Cow::Owned(bytes),
        };
        let format = [("format", FORMAT.to_owned())];
        type Write = Box<dyn FnOnce(&Path)>;
        let cases: [(&str, Write); 6] = [
            ("no such file", Box::new(|_| {})),
            ("has no `format: growmerge counts 1`", Box::new(|p| save(p, &[], &[]).unwrap())),
            ("its format is `pt`, not", Box::new(|p| save(p, &[("format", "pt".into())], &[]).unwrap())),
            (
                "`counts` is F32 [1], not a list of I64",
                Box::new(move |p| save(p, &format, &[list(DType::F32, &[1], vec![0; 4])]).unwrap()),
            ),
            (
                "a count is negative",
                Box::new(move |p| {
                    let format = [("format", FORMAT.to_owned())];
                    save(p, &format, &[list(DType::I64, &[1], vec![255; 8])]).unwrap();
                }),
            ),
            ("nothing was counted", Box::new(|p| Counts::default().write(p).unwrap())),
        ];
        for (wanted, write) in cases {
            let told = written("x.safetensors", write).unwrap_err();
            assert!(told.contains(wanted) && told.contains("growmerge count"), "{told}");
        }
    }
}
