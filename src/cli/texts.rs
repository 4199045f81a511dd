//! Texts by language, as several commands take them.

use std::path::PathBuf;

use growmerge::eval::{Reading, Split, Text, folder};
use growmerge::problem::{Problem, Problems};

/// Where texts are, and what a document is
#[derive(clap::Args)]
#[group(id = "texts_and_documents")]
pub(super) struct Options {
    /// Text of a language, as et=et.txt; again for each language
    #[arg(long, value_name = "LANG=FILE", value_parser = named)]
    text: Vec<(String, PathBuf)>,
    /// Folder of texts called <language>.txt or .jsonl, as they are or in .gz or .zst
    #[arg(long, value_name = "DIR")]
    texts: Option<PathBuf>,
    /// Field of a .jsonl line that holds the document
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// What a document of a .txt file is [default: line]
    #[arg(long, value_enum)]
    documents: Option<SplitChoice>,
}

/// What a document is, where nothing but the options says it
#[derive(clap::Args)]
pub(super) struct Documents {
    /// Field of a .jsonl line that holds the document
    #[arg(long, value_name = "NAME", default_value = "text")]
    field: String,
    /// What a document of a .txt file is
    #[arg(long, value_enum, default_value = "line")]
    documents: SplitChoice,
}

impl Documents {
    pub(super) fn reading(&self) -> Reading {
        Reading { split: self.documents.into(), field: self.field.clone() }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitChoice {
    /// A line
    Line,
    /// Lines up to a blank one
    Paragraph,
    /// The whole file
    File,
}

impl From<SplitChoice> for Split {
    fn from(choice: SplitChoice) -> Self {
        match choice {
            SplitChoice::Line => Self::Line,
            SplitChoice::Paragraph => Self::Paragraph,
            SplitChoice::File => Self::File,
        }
    }
}

/// `et=et.txt`.
pub(super) fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((language, path)) if !language.is_empty() && !path.is_empty() => {
            Ok((language.to_owned(), path.into()))
        }
        _ => Err("write it as LANGUAGE=FILE, for instance et=et.txt".into()),
    }
}

impl Options {
    /// What a document is: as the options say, else `default`, else a line.
    pub(super) fn split(&self, default: Option<Split>) -> Split {
        self.documents.map(Split::from).or(default).unwrap_or(Split::Line)
    }

    /// Reads all of them.
    pub(super) fn read(&self, split: Option<Split>) -> Result<Vec<Text>, Problems> {
        let mut named = match &self.texts {
            Some(dir) => folder(dir)?,
            None => Vec::new(),
        };
        named.extend(self.text.iter().cloned());
        self.read_all(&named, split)
    }

    /// Reads other texts by the same rules.
    pub(super) fn read_all(
        &self,
        named: &[(String, PathBuf)],
        split: Option<Split>,
    ) -> Result<Vec<Text>, Problems> {
        let reading = Reading { split: self.split(split), field: self.field.clone() };
        let mut problems = Problems::new();
        let mut texts: Vec<Text> = Vec::new();
        for (language, path) in named {
            // They are printed, and become names in reports.
            if language.chars().any(char::is_control) {
                let what = format!("{language:?} is no name for a language");
                problems.push(Problem::error("", what));
                continue;
            }
            if texts.iter().any(|t| t.language == *language) {
                let what = format!("there are two texts of `{language}`");
                problems.push(Problem::error(path.display().to_string(), what));
            }
            match Text::read(language, path, &reading) {
                Ok(text) => texts.push(text),
                Err(found) => problems.extend(found),
            }
        }
        if problems.has_errors() { Err(problems) } else { Ok(texts) }
    }
}
