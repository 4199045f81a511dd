//! The lines of a file that may be packed, checked to be UTF-8.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ruzstd::decoding::StreamingDecoder;

use crate::problem::{Problem, Problems};

/// Bytes of the longest line: a packed file may hold far more than memory.
const LONGEST: u64 = 1 << 30;

/// Lines with their ends, without the byte order mark.
pub(super) struct Lines {
    name: String,
    reader: Option<Box<dyn BufRead + Send>>,
    /// Lines so far.
    number: usize,
    /// Bytes before the next line.
    offset: usize,
    /// Bytes of the file that were read.
    read: Arc<AtomicU64>,
}

/// A file that counts what is read of it.
struct Metered {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Lines {
    /// Opens a file; its name says how it is packed.
    pub(super) fn open(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| unreadable(&name, &e))?;
        let read = Arc::new(AtomicU64::new(0));
        let file = Metered { file, read: read.clone() };
        let reader: Box<dyn BufRead + Send> = match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
            Some("zst") => Box::new(BufReader::new(Frames::Between(BufReader::new(file)))),
            _ => Box::new(BufReader::with_capacity(1 << 16, file)),
        };
        Ok(Self { name, reader: Some(reader), number: 0, offset: 0, read })
    }

    /// The file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// File and number of the line that was read last.
    pub(super) fn at(&self) -> String {
        format!("{}:{}", self.name, self.number)
    }

    /// Bytes of the file that were read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn read(&mut self, reader: &mut dyn BufRead) -> Result<Option<String>, Problems> {
        let mut bytes = Vec::new();
        let read = reader.take(LONGEST + 1).read_until(b'\n', &mut bytes);
        let read = read.map_err(|e| unreadable(&self.name, &e))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 > LONGEST {
            let what = format!("the line has more than {LONGEST} bytes");
            return Err(Problem::error(self.at(), what).into());
        }
        let mut line = String::from_utf8(bytes).map_err(|e| self.not_utf8(&e))?;
        if self.number == 1 && line.starts_with('\u{feff}') {
            line.drain(..'\u{feff}'.len_utf8());
        }
        self.offset += read;
        Ok(Some(line))
    }

    fn not_utf8(&self, error: &std::string::FromUtf8Error) -> Problems {
        let good = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(good).copied().unwrap_or_default();
        let what = format!("is not UTF-8: byte {byte:#04x} at {}", self.offset + good);
        Problem::error(self.at(), what).hint("convert the file first, for instance with iconv").into()
    }
}

impl Iterator for Lines {
    type Item = Result<String, Problems>;

    /// A file that cannot be read, or is no text, ends with the problem.
    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let line = self.read(reader.as_mut()).transpose()?;
        if line.is_ok() {
            self.reader = Some(reader);
        }
        Some(line)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at())
    }
}

fn unreadable(name: &str, error: &io::Error) -> Problems {
    Problem::error(name, format!("cannot read: {error}")).into()
}

/// A `.zst` file: frames, one after another.
enum Frames {
    Between(BufReader<Metered>),
    Within(Box<StreamingDecoder<BufReader<Metered>, ruzstd::decoding::FrameDecoder>>),
    /// Also after an error.
    End,
}

impl Read for Frames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            *self = match std::mem::replace(self, Self::End) {
                Self::End => return Ok(0),
                Self::Between(mut file) => match file.fill_buf()?.is_empty() {
                    true => return Ok(0),
                    false => Self::Within(Box::new(StreamingDecoder::new(file).map_err(io::Error::other)?)),
                },
                Self::Within(mut frame) => match frame.read(into)? {
                    0 if !into.is_empty() => Self::Between(frame.into_inner()),
                    read => {
                        *self = Self::Within(frame);
                        return Ok(read);
                    }
                },
            };
        }
    }
}
