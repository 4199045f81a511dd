//! Weights from a file of coefficients.

use std::sync::Arc;

use super::super::Library;
use super::{Target, Weigher, label};
use crate::coefficients::Coefficients;
use crate::method::{Arg, Factors};
use crate::recipe::{ModelRef, Place};

impl Weigher {
    /// A model's weight for a tensor: a number where the file has one for all of it.
    pub(super) fn of_file(
        &mut self,
        library: &mut Library,
        target: &Target<'_>,
        path: &str,
        entry: Option<&str>,
        model: &ModelRef,
        place: &Place,
    ) -> Option<Arg> {
        let file = self.file(library, path, place)?;
        let entry = self.entry(&file, entry, model, place)?;
        let Some((name, found)) = file.find(&entry, target.name) else {
            let of = if entry.is_empty() { String::new() } else { format!(" under `{entry}`") };
            let what = format!("{path} has no coefficient{of} for");
            let hint = "add one under its name, the beginning of its name up to a dot, or `*`";
            self.complain(target.name, place, what, Some(hint.into()));
            return None;
        };
        let (rows, width) = (target.rows(), target.width());
        let name = if entry.is_empty() { name.to_owned() } else { format!("{entry}/{name}") };
        let mut fits = true;
        if found.rows.len() > 1 && found.rows.len() != rows {
            let what = format!("{path} has {} coefficients under `{name}` for {rows} rows", found.rows.len());
            let hint = match rows {
                1 => format!("a vector is one row: factors of its elements go under `{name}/columns`"),
                _ => "rows are runs of the last dimension".to_owned(),
            };
            self.complain(target.name, place, what, Some(hint));
            fits = false;
        }
        if !found.columns.is_empty() && found.columns.len() != width {
            let what = format!(
                "{path} has {} factors under `{name}/columns` for {width} columns",
                found.columns.len()
            );
            self.complain(target.name, place, what, Some("columns are the last dimension".into()));
            fits = false;
        }
        if !fits {
            return None;
        }
        if let ([one], []) = (&found.rows[..], &found.columns[..]) {
            return Some(Arg::Number(f64::from(*one)));
        }
        let whose = if entry.is_empty() { String::new() } else { format!(" ({entry})") };
        let factors = Factors::rows(found.rows.clone(), format!("rows of {path}{whose}"));
        Some(Arg::Factors(factors.with_columns(found.columns.clone())))
    }

    fn file(&mut self, library: &mut Library, path: &str, place: &Place) -> Option<Arc<Coefficients>> {
        if let Some(known) = self.coefficients.get(path) {
            return known.clone();
        }
        let found = library.coefficients(path).map_err(|found| self.unreadable(&found, place)).ok();
        self.coefficients.insert(path.to_owned(), found.clone());
        found
    }

    /// The label under which a file has the coefficients of a model.
    fn entry(
        &mut self,
        file: &Coefficients,
        said: Option<&str>,
        model: &ModelRef,
        place: &Place,
    ) -> Option<String> {
        let known = file.entries();
        let wanted = said.unwrap_or_else(|| label(model));
        let entry = match (known.contains(&wanted), said) {
            (true, _) => wanted,
            // A file for one model needs no labels.
            (false, None) if known == [""] => "",
            _ => {
                let named: Vec<&str> = known.iter().copied().filter(|e| !e.is_empty()).collect();
                let has = match named.is_empty() {
                    true => "it has coefficients without a label: leave `entry` out".to_owned(),
                    false => format!("it has {}: name one under `entry`", named.join(", ")),
                };
                let what = format!("{} has no entry `{wanted}`", file.name());
                let problem = place.problem(what).did_you_mean(wanted, named);
                self.problems.push(if problem.hint.is_none() { problem.hint(has) } else { problem });
                return None;
            }
        };
        self.entries.entry((file.name().to_owned(), entry.to_owned())).or_insert_with(|| place.clone());
        Some(entry.to_owned())
    }
}
