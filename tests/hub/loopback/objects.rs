//! Bytes that the hub has, and what they are called by.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use sha2::{Digest, Sha256};

/// Bytes in memory, or a file that others may have made.
#[derive(Clone)]
pub enum Content {
    Bytes(Arc<[u8]>),
    File { path: Arc<Path>, length: u64 },
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl Content {
    pub fn file(path: PathBuf) -> io::Result<Self> {
        let length = std::fs::metadata(&path)?.len();
        Ok(Self::File { path: path.into(), length })
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            Self::File { path, .. } => std::fs::read(path),
        }
    }

    pub fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Self::File { path, .. } => Box::new(File::open(path)?),
        })
    }

    pub fn byte(&self, at: u64) -> io::Result<u8> {
        match self {
            Self::Bytes(bytes) => Ok(bytes[usize::try_from(at).unwrap()]),
            Self::File { path, .. } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(at))?;
                let mut byte = [0];
                file.read_exact(&mut byte).map(|()| byte[0])
            }
        }
    }

    /// In hexadecimal digits; files are read in blocks.
    pub fn sha256(&self) -> io::Result<String> {
        digest(self.open()?, io::sink())
    }

    /// Sends a run of bytes and adds to `sent`.
    pub fn pour(&self, mut stream: &TcpStream, first: u64, length: u64, sent: &mut u64) -> io::Result<()> {
        const BLOCK: usize = 256 << 10;
        match self {
            Self::Bytes(bytes) => {
                let first = usize::try_from(first).unwrap();
                let run = &bytes[first..first + usize::try_from(length).unwrap()];
                for block in run.chunks(BLOCK) {
                    stream.write_all(block)?;
                    *sent += block.len() as u64;
                }
            }
            Self::File { path, .. } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(first))?;
                let mut file = file.take(length);
                let mut block = vec![0; BLOCK];
                while file.limit() > 0 {
                    let read = file.read(&mut block)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    stream.write_all(&block[..read])?;
                    *sent += read as u64;
                }
            }
        }
        Ok(())
    }
}

/// Passes everything on, in blocks, and returns its SHA-256.
pub fn digest(mut from: impl Read, mut to: impl Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 256 << 10];
    loop {
        let length = from.read(&mut block)?;
        if length == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&block[..length]);
        to.write_all(&block[..length])?;
    }
}

/// What stands in git for a large file.
pub fn pointer(sha256: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

/// What git calls a file of these bytes.
pub fn blob_id(bytes: &[u8]) -> String {
    git_id("blob", bytes)
}

/// SHA-1 of kind, length and bytes.
pub fn git_id(kind: &str, bytes: &[u8]) -> String {
    use sha1::Digest;
    let mut hash = sha1::Sha1::new();
    hash.update(format!("{kind} {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `None` if the text is no base64.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text.trim_end()).ok()
}
