//! The report of an experiment: Markdown, the same as a page, and every measurement as CSV.

use std::path::Path;

use growmerge::problem::{Error, ExecError, Problem};
use growmerge::report::{Part, page, text};

use super::arm::Arm;
use super::effort::Effort;
use super::results::Results;
use super::scores::Goal;
use super::tables::{self, Amounts};
use crate::files;
use crate::reproduce::form::t_quantile;
use crate::reproduce::{About, Scale, Study};

/// Where the tables of a page begin and end.
const MARKS: [&str; 2] = ["<!-- tables: growmerge-trainer languages -->", "<!-- end of tables -->"];

/// Everything that a report is made from.
pub(super) struct Report<'a> {
    /// How it was made.
    pub about: &'a About,
    /// What the models are.
    pub study: &'a Study,
    /// What contenders were given.
    pub effort: &'a Effort,
    /// What was read.
    pub amounts: &'a Amounts,
    /// What was found.
    pub results: &'a Results,
}

impl Report<'_> {
    /// Writes `report.md`, `report.html` and `results.csv` into a folder.
    ///
    /// # Errors
    /// If one cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let parts = self.parts();
        let title = "Merging languages, in miniature";
        files::write(&folder.join("report.md"), text(title, &parts))?;
        files::write(&folder.join("report.html"), page(title, &parts))?;
        files::write(&folder.join("results.csv"), super::rows::csv(self.results))?;
        Ok(())
    }

    /// Puts the summaries between the marks of a page.
    ///
    /// # Errors
    /// A page without them; what the machine does.
    pub(super) fn put_into(&self, page: &Path) -> Result<(), Error> {
        let tables = text("", &self.summaries());
        let tables = tables.split_once('\n').map_or("", |(_, rest)| rest.trim());
        Ok(files::write(page, with_tables(page, tables)?)?)
    }

    fn arms(&self) -> impl Iterator<Item = Arm> {
        Arm::ALL.into_iter().filter(|a| !self.results.of(*a).is_empty())
    }

    fn summaries(&self) -> Vec<Part> {
        let one = |arm: Arm| {
            [Part::Heading(arm.name().to_owned()), Part::Table(tables::summary(self.results, arm))]
        };
        let mut parts = vec![Part::Text(self.about.line())];
        parts.extend(self.arms().flat_map(one));
        parts
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Text(self.about.line()), Part::Heading("What this says".into())];
        parts.push(Part::Points(self.rules()));
        parts.extend(self.summaries().split_off(1));
        parts.push(Part::Heading("Details".into()));
        for arm in self.arms() {
            for (goal, by) in
                [(Goal::Five, "chosen by the five languages"), (Goal::Six, "chosen with English")]
            {
                let languages = Part::Table(tables::languages(self.results, arm, goal));
                let settings = Part::Table(tables::settings(self.results, arm, goal));
                parts.push(Part::Folded(format!("{}: every language, {by}", arm.name()), vec![languages]));
                parts.push(Part::Folded(format!("{}: settings, {by}", arm.name()), vec![settings]));
            }
        }
        parts.push(Part::Folded("Texts".into(), vec![Part::Table(tables::texts(self.amounts))]));
        let study = serde_yaml::to_string(self.study).unwrap_or_default();
        let effort = serde_yaml::to_string(self.effort).unwrap_or_default();
        let lines = study.lines().chain(effort.lines()).map(str::to_owned).collect();
        parts.push(Part::Folded("Every number that decides it".into(), vec![Part::Points(lines)]));
        parts
    }

    /// How to read the tables, and what they cannot say.
    fn rules(&self) -> Vec<String> {
        let Self { study, effort, .. } = self;
        let mut rules = Vec::new();
        if study.scale == Scale::Smoke {
            rules.push(
                "This is the smoke run: it shows that every part works. Its models are barely trained, and its numbers \
                 mean nothing."
                    .to_owned(),
            );
        }
        rules.push(
            "Bits per byte of test text, lower is better; five: the mean over et, fo, is, fa and sv. Columns with English \
             are of the settings that were chosen with English as a sixth language."
                .into(),
        );
        rules.push(
            "Gap closed: (best classical - merge) / (best classical - joint training), of the mean over five. The best \
             classical merge of a setup is the one with the lowest mean on the text that chooses, by the five, over all seeds."
                .into(),
        );
        rules.push(format!(
            "Settings are searched one axis at a time, at most {} for each merge and goal, on text of which no sentence is fitted \
             or trained on; test text is measured once, with what was chosen. Where a setting is the first or last value \
             tried, the table of settings says so.",
            effort.tries
        ));
        rules.push(format!(
            "Reads: what a merge is made from beside the models. fit: at most {} KB a language; counts: how often each \
             token occurs in the training text; train: the training text itself.",
            effort.fit_bytes / 1000
        ));
        rules.push(
            "Seconds: making what the merge needs, and choosing its settings with everything else that was made, merged and measured \
             for that; of joint training: both, of the seconds that the joint model took. By the clock of a machine that may \
             have been busy."
                .into(),
        );
        let results = &self.results.contenders;
        let after = results.iter().filter(|c| !c.after.is_empty());
        let after: Vec<String> = after.map(|c| format!("{} (of {})", c.name, c.after.join(", "))).collect();
        if !after.is_empty() {
            rules.push(format!(
                "Some merges begin with what was chosen for another, whose tries and seconds are not counted as theirs: {}.",
                after.join("; ")
            ));
        }
        let n = study.seeds.len();
        rules.push(if n == 1 {
            "One seed: nothing is known of how much another would differ.".into()
        } else {
            format!(
                "± is the standard error of the mean over {n} seeds; a 95 % interval is ± {:.1} of them.",
                t_quantile(n)
            )
        });
        rules
    }
}

/// Whether tables can be put into a page.
///
/// # Errors
/// A page without marks; what the machine does.
pub(super) fn check_page(page: &Path) -> Result<(), Error> {
    with_tables(page, "").map(drop)
}

/// The text of a page with these tables.
fn with_tables(page: &Path, tables: &str) -> Result<String, Error> {
    let old = std::fs::read_to_string(page).map_err(ExecError::io("read", page))?;
    let new = between_marks(&old, tables).ok_or_else(|| {
        let what = format!("has no `{}` before `{}`", MARKS[0], MARKS[1]);
        Problem::error(page.display().to_string(), what).hint("tables are put between the two lines")
    })?;
    Ok(new)
}

/// A page with other text between its marks.
fn between_marks(page: &str, new: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n\n{new}\n\n{}{after}", MARKS[0], MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("before\n{}\nold\n{}\nafter\n", MARKS[0], MARKS[1]);
        let new = between_marks(&page, "new").unwrap();
        assert_eq!(new, format!("before\n{}\n\nnew\n\n{}\nafter\n", MARKS[0], MARKS[1]));
        assert_eq!(between_marks(&new, "new").unwrap(), new);
        assert_eq!(between_marks("no marks", "new"), None);
    }

    #[test]
    fn a_page_without_marks_is_known_before_there_are_tables() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        assert!(check_page(&page).is_err(), "there is none");
        std::fs::write(&page, "no marks").unwrap();
        let told = check_page(&page).unwrap_err().to_string();
        assert!(told.contains("page.md") && told.contains(MARKS[0]), "{told}");
        std::fs::write(&page, MARKS.join("\n")).unwrap();
        check_page(&page).unwrap();
        assert_eq!(std::fs::read_to_string(&page).unwrap(), MARKS.join("\n"));
    }
}
