//! A vocabulary in words.

use std::fmt;

use super::sample::SampleReport;
use super::special::SpecialId;
use super::{ModelSummary, Summary};

/// As in `union: 412 tokens in 448 rows`, and two or three lines for each model.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} tokens in {} rows", self.source, self.tokens, self.rows)?;
        self.models.iter().try_for_each(|model| write!(f, "\n{model}"))
    }
}

impl fmt::Display for ModelSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        write!(f, "  {}  {} tokens in {} rows: {} kept", self.model, self.tokens, counts.rows, counts.kept)?;
        for (count, what) in [
            (counts.remapped, "remapped"),
            (counts.added, "added"),
            (counts.dropped, "dropped"),
            (counts.padded, "padding"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let special: Vec<String> = self.special.iter().map(ToString::to_string).collect();
        if !special.is_empty() {
            write!(f, "\n    {}", special.join(", "))?;
        }
        write!(f, "\n    {}", self.sample)
    }
}

/// As in `eos 2 → 5`.
impl fmt::Display for SpecialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.key.trim_end_matches("_token_id");
        let before: Vec<String> = self.before.iter().map(u32::to_string).collect();
        let show = |id: &Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
        let after: Vec<String> = self.after.iter().map(show).collect();
        write!(f, "{name} {} → {}", before.join(" "), after.join(" "))
    }
}

/// As in `sample: 50 of 55 texts become the same tokens, …`.
impl fmt::Display for SampleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { texts, same, tokens_before, tokens_after, .. } = self;
        write!(f, "sample: {same} of {texts} texts become the same tokens")?;
        if same == texts {
            return Ok(());
        }
        write!(
            f,
            "; {tokens_before} tokens were, {tokens_after} are; others are in {}",
            self.differ.join(" ")
        )?;
        if !self.because_of.is_empty() {
            let tokens: Vec<String> = self.because_of.iter().map(|token| format!("`{token}`")).collect();
            write!(f, ", by tokens such as {}", tokens.join(" "))?;
        }
        Ok(())
    }
}
