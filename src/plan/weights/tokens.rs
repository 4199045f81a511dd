//! Rows of embeddings by how often each language uses their tokens.

use std::path::Path;
use std::sync::Arc;

use super::super::Library;
use super::{Target, Weigher, label};
use crate::arch::Role;
use crate::coefficients::Counts;
use crate::device::power;
use crate::method::{Arg, Factors};
use crate::recipe::{By, ModelRef, Place, Weighting};

/// One model's part in the shares of a row.
struct Part {
    counts: Arc<Counts>,
    path: String,
    power: f64,
    smoothing: f64,
    scale: f64,
}

impl Weigher {
    /// The weights of all models that are weighed by tokens.
    pub(super) fn of_tokens(
        &mut self,
        library: &mut Library,
        target: &Target<'_>,
        words: &[(&ModelRef, &Weighting)],
    ) -> Option<Vec<Arg>> {
        let parts: Vec<Option<Part>> = words.iter().map(|(m, w)| self.part(library, m, w)).collect();
        let parts: Vec<Part> = parts.into_iter().collect::<Option<_>>()?;
        let of_tokens = matches!(target.role, Role::Embed | Role::Head);
        if !of_tokens {
            let mean = |part: &Part| Arg::Number(part.scale / parts.len() as f64);
            return Some(parts.iter().map(mean).collect());
        }
        if parts.len() > 1 && parts.iter().all(|p| p.path == parts[0].path) {
            let what = format!("all models are weighed by {}, and so alike", parts[0].path);
            let hint = "leave `language` out: each model's is then the last part of its path";
            let warning = words[0].1.place.warning(what).hint(hint);
            // Embedding and head would each say it.
            if !self.problems.iter().any(|told| *told == warning) {
                self.problems.push(warning);
            }
        }
        // A vector has one element for each token: a column each.
        let is_vector = target.shape.len() == 1;
        let tokens = if is_vector { target.width() } else { target.rows() };
        let mut fit = true;
        for (part, (_, words)) in parts.iter().zip(words) {
            let beyond = part.counts.counts.iter().skip(tokens).any(|n| *n > 0);
            if beyond {
                let what = format!(
                    "{} has counts of {} tokens, but here are {tokens} rows",
                    part.path,
                    part.counts.counts.len()
                );
                let hint = "counts belong to a tokenizer: `growmerge count` makes them for a model";
                self.complain(target.name, &words.place, what, Some(hint.into()));
                fit = false;
            }
        }
        if !fit {
            return None;
        }
        let factors = shares(&parts, tokens).into_iter().zip(&parts).map(|(shares, part)| {
            let origin = format!("rows of {}", part.path);
            Arg::Factors(match is_vector {
                true => Factors::rows(Vec::new(), origin).with_columns(shares),
                false => Factors::rows(shares, origin),
            })
        });
        Some(factors.collect())
    }

    fn part(&mut self, library: &mut Library, model: &ModelRef, words: &Weighting) -> Option<Part> {
        let By::Tokens { path, language, power, smoothing, scale } = &words.by else { return None };
        let is_file = Path::new(path).is_file();
        let wanted = language.as_deref().unwrap_or_else(|| label(model));
        let path = match is_file {
            true => path.clone(),
            false => Path::new(path).join(format!("{wanted}.safetensors")).display().to_string(),
        };
        let counts =
            self.counts(library, &path, (!is_file).then_some(wanted), language.is_some(), &words.place)?;
        Some(Part { counts, path, power: *power, smoothing: *smoothing, scale: *scale })
    }

    fn counts(
        &mut self,
        library: &mut Library,
        path: &str,
        language: Option<&str>,
        is_said: bool,
        place: &Place,
    ) -> Option<Arc<Counts>> {
        if let Some(known) = self.counts.get(path) {
            return known.clone();
        }
        let found = match language {
            Some(language) if !Path::new(path).is_file() => {
                self.no_counts(path, language, is_said, place);
                None
            }
            _ => library.counts(path).map_err(|found| self.unreadable(&found, place)).ok(),
        };
        if let (Some(found), Some(language)) = (&found, language)
            && !found.language.is_empty()
            && found.language != language
        {
            let what = format!("{path} says that it has the counts of `{}`", found.language);
            self.problems.push(place.warning(what));
        }
        self.asked.entry(path.to_owned()).or_insert_with(|| place.clone());
        self.counts.insert(path.to_owned(), found.clone());
        found
    }

    /// A language without a file in the folder.
    fn no_counts(&mut self, path: &str, language: &str, is_said: bool, place: &Place) {
        let folder = Path::new(path).parent().unwrap_or(Path::new("."));
        let files = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut known: Vec<String> =
            files.filter_map(|f| f.strip_suffix(".safetensors").map(str::to_owned)).collect();
        known.sort();
        let what = format!("there are no counts of `{language}`: {path} is not there");
        let problem = place.problem(what).did_you_mean(language, known.iter().map(String::as_str));
        let has =
            if known.is_empty() { String::new() } else { format!("; the folder has {}", known.join(", ")) };
        let hint = match is_said {
            true => format!("`growmerge count MODEL --text {language}=TEXT -o FOLDER` makes them{has}"),
            false => {
                format!("the model's path ends in `{language}`; another name goes under `language:`{has}")
            }
        };
        self.problems.push(if problem.hint.is_none() { problem.hint(hint) } else { problem });
    }
}

/// `scale · g^power / Σ g^power` with `g` a token's share of a text plus the smoothing, for each model and token. A token that nobody
/// uses belongs to all alike.
fn shares(parts: &[Part], tokens: usize) -> Vec<Vec<f32>> {
    let mut all: Vec<Vec<f32>> = parts.iter().map(|_| Vec::with_capacity(tokens)).collect();
    let totals: Vec<f64> = parts.iter().map(|p| p.counts.tokens().max(1) as f64).collect();
    let mut powers = vec![0.0; parts.len()];
    for token in 0..tokens {
        for ((x, part), total) in powers.iter_mut().zip(parts).zip(&totals) {
            let count = part.counts.counts.get(token).copied().unwrap_or_default();
            *x = power(count as f64 / total + part.smoothing, part.power);
        }
        let sum: f64 = powers.iter().sum();
        for ((shares, part), x) in all.iter_mut().zip(parts).zip(&powers) {
            let share = if sum > 0.0 { x / sum } else { 1.0 / parts.len() as f64 };
            shares.push((part.scale * share) as f32);
        }
    }
    all
}
