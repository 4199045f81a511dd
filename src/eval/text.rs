//! Text files → documents.
//!
//! `.txt` is split into documents by line or at blank lines, `.jsonl` has a document in a field of each
//! line; both may be compressed (`.gz`, `.zst`).

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::lines::Lines;
use crate::problem::{Problem, Problems};

/// What a document of a `.txt` file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// A line.
    Line,
    /// Lines up to a blank one.
    Paragraph,
    /// The whole file.
    File,
}

/// How files are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What a document of a `.txt` file is.
    pub split: Split,
    /// The field of a `.jsonl` line that holds the document.
    pub field: String,
}

/// The documents of one language.
#[derive(Clone, Debug)]
pub struct Text {
    /// The user's name for it.
    pub language: String,
    /// Where it came from.
    pub path: PathBuf,
    /// Documents in order, none of them empty.
    pub documents: Vec<String>,
}

/// Bytes of text that are taken from one file, unpacked: what is measured is held in memory.
const MOST: u64 = 1 << 30;

/// Suffixes that [`folder`] takes for text.
const SUFFIXES: [&str; 6] = [".txt", ".jsonl", ".txt.gz", ".jsonl.gz", ".txt.zst", ".jsonl.zst"];

impl Text {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, by line.
    pub fn read(language: &str, path: &Path, reading: &Reading) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let mut all = Documents::open(path, reading)?;
        let mut bytes = 0;
        let bounded = std::iter::from_fn(|| {
            let document = all.next().filter(|_| bytes <= MOST)?;
            bytes += document.as_ref().map_or(0, |d| d.len() as u64);
            Some(if bytes > MOST { Err(too_much(&name)) } else { document })
        });
        let documents = each(bounded, |document| document)?;
        if documents.is_empty() {
            return Err(Problem::error(name, "the text is empty").into());
        }
        Ok(Self { language: language.into(), path: path.into(), documents })
    }

    /// SHA-256 over the documents, as they are measured: how the file was compressed does not matter.
    pub fn sha256(&self) -> String {
        let mut all = Vec::new();
        for document in &self.documents {
            all.extend((document.len() as u64).to_le_bytes());
            all.extend(document.as_bytes());
        }
        crate::write::sha256_hex(&all)
    }
}

/// `<language>.txt` and the like in a folder, by language.
///
/// # Errors
/// If the folder cannot be read, holds no text, or a language twice.
pub fn folder(folder: &Path) -> Result<Vec<(String, PathBuf)>, Problems> {
    let name = folder.display().to_string();
    let unreadable = |e: io::Error| Problem::error(&name, format!("cannot read: {e}"));
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let language = SUFFIXES.iter().find_map(|s| file.strip_suffix(s)).filter(|l| !l.is_empty());
        if let Some(language) = language.filter(|_| path.is_file()) {
            found.push((language.to_owned(), path));
        }
    }
    found.sort();
    if found.is_empty() {
        let what =
            format!("there is no text in the folder; wanted are files like et{}", SUFFIXES.join(", et"));
        return Err(Problem::error(name, what).into());
    }
    if let Some(pair) = found.windows(2).find(|p| p[0].0 == p[1].0) {
        let what = format!("{} and {} are both of `{}`", pair[0].1.display(), pair[1].1.display(), pair[0].0);
        return Err(Problem::error(name, what).into());
    }
    Ok(found)
}

/// The documents of a file, one after another: a file may be larger than memory.
///
/// Documents lose white space at their ends; blank ones are none. A line that is wrong is a problem, after which
/// the next line can be asked for.
#[derive(Debug)]
pub struct Documents {
    lines: Lines,
    shape: Shape,
}

/// How lines become documents.
#[derive(Debug)]
enum Shape {
    Split(Split),
    /// Each line is an object, and the document in this field of it.
    Field(String),
}

impl Documents {
    /// Opens a file; what is in it is looked at in [`Documents::next`].
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, reading: &Reading) -> Result<Self, Problems> {
        let shape = match is_jsonl(path) {
            true => Shape::Field(reading.field.clone()),
            false => Shape::Split(reading.split),
        };
        Ok(Self { lines: Lines::open(path)?, shape })
    }

    /// Bytes of the file, packed as it may be, that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.lines.bytes_read()
    }

    /// Lines up to a blank one, without that and those before.
    fn paragraph(&mut self) -> Option<Result<String, Problems>> {
        let mut paragraph = String::new();
        loop {
            match self.lines.next() {
                Some(Err(problem)) => return Some(Err(problem)),
                Some(Ok(line)) if !line.trim_end().is_empty() => {
                    if !paragraph.is_empty() {
                        paragraph.push('\n');
                    }
                    paragraph.push_str(line.trim_end());
                }
                None | Some(Ok(_)) if !paragraph.is_empty() => return Some(Ok(paragraph)),
                Some(Ok(_)) => {}
                None => return None,
            }
        }
    }

    fn whole(&mut self) -> Option<Result<String, Problems>> {
        let mut all = String::new();
        for line in self.lines.by_ref() {
            match line {
                Ok(line) => all.push_str(&line),
                Err(problem) => return Some(Err(problem)),
            }
            if all.len() as u64 > MOST {
                return Some(Err(too_much(self.lines.name())));
            }
        }
        all.truncate(all.trim_end().len());
        Some(all).filter(|a| !a.is_empty()).map(Ok)
    }
}

impl Iterator for Documents {
    type Item = Result<String, Problems>;

    fn next(&mut self) -> Option<Self::Item> {
        match &self.shape {
            Shape::Split(Split::Paragraph) => return self.paragraph(),
            Shape::Split(Split::File) => return self.whole(),
            Shape::Split(Split::Line) | Shape::Field(_) => {}
        }
        loop {
            let mut line = match self.lines.next()? {
                Ok(line) => line,
                Err(problem) => return Some(Err(problem)),
            };
            line.truncate(line.trim_end().len());
            if line.is_empty() {
                continue;
            }
            let Shape::Field(name) = &self.shape else { return Some(Ok(line)) };
            match parse(self.lines.at(), &line).and_then(|(at, value)| field(at, &value, name)) {
                Ok(text) if text.trim().is_empty() => {}
                other => return Some(other),
            }
        }
    }
}

/// The lines of a `.jsonl` file as objects, each with its place for messages.
pub(super) fn json_lines(path: &Path) -> Result<Vec<(String, Value)>, Problems> {
    let mut lines = Lines::open(path)?;
    let parsed = std::iter::from_fn(|| {
        loop {
            let line = lines.next()?;
            let blank = line.as_ref().is_ok_and(|l| l.trim().is_empty());
            if !blank {
                return Some(line.and_then(|line| parse(lines.at(), &line)));
            }
        }
    });
    each(parsed, |line| line)
}

fn parse(at: String, line: &str) -> Result<(String, Value), Problems> {
    match serde_json::from_str(line) {
        Ok(value) => Ok((at, value)),
        Err(e) => Err(Problem::error(at, format!("is not JSON: {e}")).into()),
    }
}

/// The text in a field of a line's object.
fn field(at: String, value: &Value, field: &str) -> Result<String, Problems> {
    let Some(object) = value.as_object() else {
        return Err(Problem::error(at, "is not a JSON object").into());
    };
    let Some(text) = object.get(field).and_then(Value::as_str) else {
        let known = object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let problem = Problem::error(at, format!("has no text in field `{field}`"));
        let hint = format!("its fields are: {known}; choose one as `field`");
        return Err(if known.is_empty() { problem } else { problem.hint(hint) }.into());
    };
    Ok(text.to_owned())
}

/// All results, or the first few problems: they tell what kind of file it is.
pub(super) fn each<T, U>(
    items: impl IntoIterator<Item = T>,
    mut read: impl FnMut(T) -> Result<U, Problems>,
) -> Result<Vec<U>, Problems> {
    let mut problems = Problems::new();
    let mut all = Vec::new();
    for item in items {
        match read(item) {
            Ok(value) => all.push(value),
            Err(found) => problems.extend(found),
        }
        if problems.iter().count() == 5 {
            break;
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(all) }
}

/// Documents as a file of this name has them: in the field `text` of an object a line (`.jsonl`), or as lines, in which all
/// white space is a blank.
pub fn documents_as_file(path: &Path, documents: &[String]) -> String {
    let line = |document: &String| match is_jsonl(path) {
        true => serde_json::json!({ "text": document }).to_string() + "\n",
        false => document.split_whitespace().collect::<Vec<_>>().join(" ") + "\n",
    };
    documents.iter().map(line).collect()
}

fn is_jsonl(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    plain.ends_with(".jsonl") || plain.ends_with(".json")
}

fn too_much(name: &str) -> Problems {
    let problem = Problem::error(name, format!("the text has more than {MOST} bytes"));
    problem.hint("measure a part of it").into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn documents(name: &str, bytes: &[u8], split: Split) -> Vec<String> {
        let (_folder, path) = file(name, bytes);
        Text::read("x", &path, &Reading { split, field: "text".into() }).unwrap().documents
    }

    const TEXT: &[u8] = "\u{feff}Ein \r\n\n\nzwei\ndrei\n".as_bytes();

    #[test]
    fn lines_paragraphs_and_files() {
        assert_eq!(documents("a.txt", TEXT, Split::Line), ["Ein", "zwei", "drei"]);
        assert_eq!(documents("a.txt", TEXT, Split::Paragraph), ["Ein", "zwei\ndrei"]);
        assert_eq!(documents("a.txt", TEXT, Split::File), ["Ein \r\n\n\nzwei\ndrei"]);
    }

    #[test]
    fn packed_files_are_the_same_text() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(TEXT).unwrap();
        assert_eq!(documents("a.txt.gz", &gz.finish().unwrap(), Split::Line), ["Ein", "zwei", "drei"]);
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let mut zst = ruzstd::encoding::compress_to_vec(&TEXT[..10], level);
        zst.extend(ruzstd::encoding::compress_to_vec(&TEXT[10..], level));
        assert_eq!(documents("a.txt.zst", &zst, Split::Line), ["Ein", "zwei", "drei"]);
        let lines = b"{\"text\": \"one\\ntwo\"}\n\n{\"text\": \" \"}\n";
        assert_eq!(documents("a.jsonl", lines, Split::Line), ["one\ntwo"]);
    }

    #[test]
    fn bad_files_are_named_by_line() {
        let cases: [(&str, &[u8], &str); 5] = [
            ("a.txt", b"\n \n", "the text is empty"),
            ("a.txt", b"a\nb\xff", "a.txt:2: is not UTF-8: byte 0xff at 3"),
            ("a.jsonl", b"{\"text\": 1}", "a.jsonl:1: has no text in field `text`"),
            ("a.jsonl", b"{\"text\": \"x\"}\n{", "a.jsonl:2: is not JSON"),
            ("a.txt.gz", b"plain", "cannot read"),
        ];
        for (name, bytes, wanted) in cases {
            let (_folder, path) = file(name, bytes);
            let reading = Reading { split: Split::Line, field: "text".into() };
            let problems = Text::read("x", &path, &reading).unwrap_err().to_string();
            assert!(problems.contains(wanted), "{problems}");
        }
    }

    #[test]
    fn a_folder_holds_each_language_once() {
        let (dir, _) = file("et.txt", b"x");
        std::fs::write(dir.path().join("fo.jsonl.zst"), b"").unwrap();
        std::fs::write(dir.path().join("README.md"), b"").unwrap();
        let found: Vec<String> = folder(dir.path()).unwrap().into_iter().map(|f| f.0).collect();
        assert_eq!(found, ["et", "fo"]);
        std::fs::write(dir.path().join("et.txt.gz"), b"").unwrap();
        assert!(folder(dir.path()).unwrap_err().to_string().contains("both of `et`"));
    }
}
