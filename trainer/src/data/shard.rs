//! A text in tokens, on disk: made once, then mapped.
//!
//! A shard is a safetensors file with one tensor, `tokens`, of unsigned integers of 16 or 32 bits; its metadata has
//! the SHA-256 of the tensor's bytes. The file's name is a digest of all that decides its contents, so a shard that is
//! there is the right one, and what is there but damaged is made again.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use growmerge::checkpoint::{Checkpoint, DType, TensorInfo};
use growmerge::eval::{Documents, Reading, Tokenizer};
use growmerge::problem::{Error, ExecError, Problem, Problems};
use serde_json::json;
use sha2::{Digest, Sha256};

/// What a text becomes tokens by.
pub(super) struct Rules<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// Id of the token that follows each document.
    pub(super) end: u32,
    /// Ids are below this.
    pub(super) vocab: usize,
    pub(super) reading: Reading,
    pub(super) cache: &'a Path,
}

/// The tokens of a text, mapped.
#[derive(Debug)]
pub(super) struct Shard {
    file: Checkpoint,
    tensor: TensorInfo,
    sha256: String,
}

/// Bytes of text that are encoded at once, on all threads.
const BATCH: usize = 4 << 20;
/// Length prefix and JSON, padded with spaces: written last, when the number of tokens is known.
const HEADER: usize = 512;
/// Wrong lines of a file that are named.
const LISTED: usize = 5;
const TENSOR: &str = "tokens";
/// What the name of a shard begins with as long as it is not complete.
const ASIDE: &str = ".tokens-";
/// A file is locked long before it is so old.
const YOUNG: Duration = Duration::from_secs(60);

impl Shard {
    /// The tokens of some files, from the cache if it has them, and what was wrong with those in the cache, if
    /// anything was.
    ///
    /// # Errors
    /// What is wrong with the text, or that it cannot be stored.
    pub(super) fn open(text: &[PathBuf], rules: &Rules<'_>) -> Result<(Self, Option<Problem>), Error> {
        let path = rules.cache.join(format!("{}.safetensors", digest(text, rules)?));
        let mut warning = None;
        if path.exists() {
            match Self::map(&path, rules) {
                Ok(shard) => return Ok((shard, None)),
                Err(what) => {
                    let at = path.display().to_string();
                    warning = Some(Problem::warning(at, format!("{what}; the text was tokenized again")));
                }
            }
        }
        write(text, rules, &path)?;
        let shard = Self::map(&path, rules).map_err(|what| {
            Problem::error(path.display().to_string(), format!("{what}, though it was written just now"))
                .hint("the disk or the memory of this machine may be damaged")
        })?;
        Ok((shard, warning))
    }

    /// Of the tokens.
    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> u64 {
        self.tensor.elements() as u64
    }

    /// Adds tokens from `start` on to `out`, going on at the beginning after the last.
    ///
    /// # Errors
    /// If the file was cut short meanwhile.
    pub(super) fn read(&self, start: u64, count: usize, out: &mut Vec<u32>) -> Result<(), ExecError> {
        let bytes = self.file.bytes(&self.tensor);
        let size = self.tensor.dtype.size();
        let value = |token: &[u8]| token.iter().rev().fold(0, |n, byte| (n << 8) | u32::from(*byte));
        let rest = bytes.get(start as usize * size..).unwrap_or_default();
        out.extend(rest.chunks_exact(size).chain(bytes.chunks_exact(size).cycle()).take(count).map(value));
        self.file.check_intact(&self.tensor)
    }

    /// Maps a shard and makes sure of its contents; what is wrong with it is the middle of a sentence.
    fn map(path: &Path, rules: &Rules<'_>) -> Result<Self, String> {
        let damaged = "is damaged";
        let file = Checkpoint::open(&path.to_string_lossy()).map_err(|_| damaged)?;
        let tensor = file.tensor(TENSOR).filter(|t| t.dtype == rules.dtype()).cloned().ok_or(damaged)?;
        let metadata = crate::tensors::metadata(&file).ok_or(damaged)?;
        let found = growmerge::write::sha256_hex(file.bytes(&tensor));
        let intact = metadata.get("sha256").is_some_and(|s| *s == found.as_str()) && tensor.elements() > 0;
        if intact { Ok(Self { file, tensor, sha256: found }) } else { Err(damaged.into()) }
    }
}

impl Rules<'_> {
    fn dtype(&self) -> DType {
        if self.vocab <= 1 << 16 { DType::U16 } else { DType::U32 }
    }
}

/// All that decides the tokens: the bytes of the files in their order, the tokenizer, and the rules.
fn digest(text: &[PathBuf], rules: &Rules<'_>) -> Result<String, Error> {
    let mut problems = Problems::new();
    let mut about = format!("growmerge tokens 1\n{}\n", rules.tokenizer.sha256());
    about.push_str(&format!("{:?} {} {}\n", rules.reading, rules.end, rules.vocab));
    for path in text {
        match sha256(path) {
            Ok(sum) => about.push_str(&format!("{sum} {}\n", kind(path))),
            Err(e) => {
                problems.push(Problem::error(path.display().to_string(), format!("cannot read: {e}")));
            }
        }
    }
    if problems.has_errors() {
        Err(problems.into())
    } else {
        Ok(growmerge::write::sha256_hex(about.as_bytes()))
    }
}

/// The endings of a file's name, which say how it is read.
fn kind(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.split_once('.').map(|(_, endings)| endings.to_owned()).unwrap_or_default()
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hash)),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a shard aside and renames it, so that what has the name is whole.
fn write(text: &[PathBuf], rules: &Rules<'_>, path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(rules.cache).map_err(ExecError::io("create", rules.cache))?;
    remove_dead(rules.cache);
    let mut builder = tempfile::Builder::new();
    builder.prefix(ASIDE).permissions(std::fs::Permissions::from_mode(0o666));
    let file = builder.tempfile_in(rules.cache);
    let file = file.map_err(ExecError::io("create a file in", rules.cache))?;
    // Held as long as the file is written, so that nobody takes it for one that a kill left.
    file.as_file().lock().map_err(ExecError::io("lock", file.path()))?;
    let mut shard = Writer::new(file.as_file(), path, rules.dtype())?;
    let mut problems = Problems::new();
    for path in text {
        match tokenize(path, rules, &mut shard) {
            Ok(()) => {}
            Err(Error::Input(found)) => problems.extend(found),
            Err(error) => return Err(error),
        }
    }
    if problems.has_errors() {
        return Err(problems.into());
    }
    shard.finish().map_err(ExecError::io("write", path))?;
    file.persist(path).map_err(|e| ExecError::io("rename", path)(e.error))?;
    Ok(crate::files::sync_folder_of(path)?)
}

/// Removes shards that nobody writes any more: their writers were killed. A young one may be about to be locked.
fn remove_dead(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(ASIDE) {
            continue;
        }
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        let dead = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if dead && age.is_some_and(|age| age > YOUNG) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Adds the documents of a file, each followed by the end token.
fn tokenize(path: &Path, rules: &Rules<'_>, shard: &mut Writer<'_>) -> Result<(), Error> {
    let mut documents = Documents::open(path, &rules.reading)?;
    let mut problems = Problems::new();
    let mut any = false;
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for document in documents.by_ref() {
            match document {
                Ok(document) => {
                    bytes += document.len();
                    batch.push(document);
                }
                Err(found) => problems.extend(found),
            }
            if bytes >= BATCH || problems.iter().count() == LISTED {
                break;
            }
        }
        if problems.iter().count() == LISTED || batch.is_empty() {
            break;
        }
        any = true;
        for ids in rules.tokenizer.ids(&batch, rules.vocab)? {
            shard.add(&ids)?;
            shard.add(&[rules.end])?;
        }
    }
    if !any && problems.is_empty() {
        problems.push(Problem::error(path.display().to_string(), "the text is empty"));
    }
    if problems.has_errors() { Err(problems.into()) } else { Ok(()) }
}

/// Writes tokens behind a gap, and the header into the gap.
struct Writer<'a> {
    file: BufWriter<&'a File>,
    /// For messages: what the file will be called.
    path: &'a Path,
    dtype: DType,
    tokens: u64,
    hash: Sha256,
}

impl<'a> Writer<'a> {
    fn new(file: &'a File, path: &'a Path, dtype: DType) -> Result<Self, ExecError> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&[b' '; HEADER]).map_err(ExecError::io("write", path))?;
        Ok(Self { file, path, dtype, tokens: 0, hash: Sha256::new() })
    }

    fn add(&mut self, ids: &[u32]) -> Result<(), ExecError> {
        let size = self.dtype.size();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes().into_iter().take(size)).collect();
        self.tokens += ids.len() as u64;
        self.hash.update(&bytes);
        self.file.write_all(&bytes).map_err(ExecError::io("write", self.path))
    }

    fn finish(self) -> io::Result<()> {
        let header = json!({
            "__metadata__": {"format": "growmerge tokens 1", "sha256": hex(self.hash)},
            TENSOR: {
                "dtype": self.dtype.name(),
                "shape": [self.tokens],
                "data_offsets": [0, self.tokens * self.dtype.size() as u64],
            },
        });
        let mut file = self.file;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&((HEADER - 8) as u64).to_le_bytes())?;
        file.write_all(header.to_string().as_bytes())?;
        file.flush()?;
        file.get_ref().sync_all()
    }
}
