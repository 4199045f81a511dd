//! The report of a study: one page with pictures, the same as Markdown, every measurement as CSV, and all of it as JSON.

use std::path::Path;

use growmerge::problem::Error;
use growmerge::report::{Part, page, text};
use serde_json::{Value, json};

use super::About;
use super::book::Book;
use super::claims::{Claim, claims};
use super::measures::Means;
use super::models::Models;
use super::pictures;
use super::rows::{csv, rows};
use super::runs::Lengths;
use super::scale::Study;
use super::subject::{ENGLISH, Setup, Subset, Tuning};
use super::tables::{self, Titled};
use crate::files;

/// Everything that a report is made from.
pub(super) struct Report<'a> {
    /// How it was made.
    pub about: &'a About,
    /// What was asked for.
    pub study: &'a Study,
    /// Steps that were taken.
    pub lengths: &'a Lengths,
    /// What was made.
    pub models: &'a Models,
    /// What was measured.
    pub book: &'a Book,
}

/// What a report says, before it is laid out.
struct Content {
    claims: Vec<Claim>,
    /// One for each claim.
    contrasts: Vec<Titled>,
    /// Shown at once.
    tables: Vec<Titled>,
    /// Shown when asked for.
    details: Vec<Titled>,
    limits: Vec<String>,
}

impl Report<'_> {
    /// Writes `report.html`, `report.md`, `results.csv` and `results.json` into a folder.
    ///
    /// # Errors
    /// If one cannot be written, or the curves cannot be read.
    pub(super) fn write(&self, folder: &Path) -> Result<Vec<Claim>, Error> {
        let content = self.content();
        let title = "Grow up and merge, in miniature";
        let parts = self.parts(&content)?;
        let rows = rows(self.book);
        files::write(&folder.join("report.html"), page(title, &parts))?;
        files::write(&folder.join("report.md"), text(title, &parts))?;
        files::write(&folder.join("results.csv"), csv(&rows))?;
        let json = self.json(&content, &rows);
        files::write(
            &folder.join("results.json"),
            &(serde_json::to_string_pretty(&json).unwrap_or_default() + "\n"),
        )?;
        Ok(content.claims)
    }

    fn content(&self) -> Content {
        let Self { study, lengths, models, book, .. } = self;
        let means = self.means();
        let tables = vec![
            tables::english(book),
            tables::whole(book, Tuning::Paper),
            tables::whole(book, Tuning::Swept),
            tables::swept(book, &means, study),
            tables::operations(book, study, lengths),
            tables::models(book),
        ];
        let subsets = [Tuning::Paper, Tuning::Swept]
            .into_iter()
            .flat_map(|t| Setup::ALL.map(|s| tables::subsets(book, &means, s, t)));
        let details = subsets.chain([tables::texts(book, lengths), tables::stages(models)]).collect();
        let claims = claims(book, &means);
        let contrasts = claims.iter().map(|c| tables::contrasts(c, book)).collect();
        Content { claims, contrasts, tables, details, limits: self.limits() }
    }

    fn means(&self) -> Means {
        Means { subsets: Subset::of_sizes(&self.study.merges.sizes) }
    }

    fn parts(&self, content: &Content) -> Result<Vec<Part>, Error> {
        let Self { about, study, book, .. } = self;
        let mut parts = vec![
            Part::Text(about.line()),
            Part::Text(format!(
                "An English model is adapted to five languages, alone and jointly, in three setups: small (1x), grown before adaptation (1x-cloned), grown at four fifths of English \
                 pretraining (2x). The models of single languages are merged: {} subsets by five methods. All numbers are bits per byte of held-out test text; lower is better.",
                self.means().subsets.len()
            )),
            Part::Heading("What this study cannot say".into()),
            Part::Points(content.limits.clone()),
        ];
        for (claim, table) in content.claims.iter().zip(&content.contrasts) {
            parts.push(Part::Heading(format!("Claim: {}", claim.claim)));
            parts.push(Part::Points(claim.answer.clone()));
            parts.push(folded(table));
        }
        for table in &content.tables {
            parts.extend(titled(table));
        }
        for setup in Setup::ALL {
            parts.push(Part::Heading(format!(
                "{}: each language, its own model, joint training and merges of all five (lambda chosen)",
                setup.name()
            )));
            parts.push(Part::Picture(pictures::languages(book, setup)));
        }
        let means = self.means();
        for (tuning, name) in [(Tuning::Paper, "the paper's setting"), (Tuning::Swept, "lambda chosen")] {
            for setup in Setup::ALL {
                parts.push(Part::Heading(format!(
                    "{}: bits per byte above joint training, {name}",
                    setup.name()
                )));
                parts.push(Part::Picture(pictures::subsets(book, &means, setup, tuning)));
            }
        }
        parts.push(Part::Heading("Lambda".into()));
        for method in pictures::scaled() {
            let name = method.name();
            parts.push(Part::Text(format!("{name}: the merged languages, mean over subsets")));
            parts.push(Part::Picture(pictures::lambda(book, method, |p| p.members)));
            parts.push(Part::Text(format!("{name}: {ENGLISH}, mean over subsets")));
            parts.push(Part::Picture(pictures::lambda(book, method, |p| p.english)));
        }
        parts.push(Part::Heading("Training".into()));
        for (name, picture) in pictures::training(self.models)? {
            parts.push(Part::Text(name));
            parts.push(Part::Picture(picture));
        }
        parts.push(Part::Heading("Details".into()));
        for table in &content.details {
            parts.push(Part::Folded(
                table.title.clone(),
                vec![Part::Text(table.note.clone()), Part::Table(table.table.clone())],
            ));
        }
        let study = serde_yaml::to_string(study).unwrap_or_default();
        parts.push(Part::Folded(
            "Every number that decides the study".into(),
            vec![Part::Points(study.lines().map(str::to_owned).collect())],
        ));
        Ok(parts)
    }

    fn json(&self, content: &Content, rows: &[super::rows::Row]) -> Value {
        json!({
            "about": self.about,
            "study": self.study,
            "steps": self.lengths,
            "flop_ratio": self.study.flop_ratio(),
            "limits": content.limits,
            "claims": content.claims,
            "tables": content.contrasts.iter().chain(&content.tables).chain(&content.details).collect::<Vec<_>>(),
            "stages": self.models.stages,
            "measurements": rows,
        })
    }
}

fn titled(table: &Titled) -> [Part; 3] {
    [Part::Heading(table.title.clone()), Part::Text(table.note.clone()), Part::Table(table.table.clone())]
}

fn folded(table: &Titled) -> Part {
    let parts = vec![Part::Text(table.note.clone()), Part::Table(table.table.clone())];
    Part::Folded(table.title.clone(), parts)
}
