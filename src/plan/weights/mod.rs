//! Weights that say where they come from → numbers for the rows of one tensor.
//!
//! Files are opened when the first tensor asks for them, each once; what is wrong is said once for all tensors, at the place in
//! the recipe that names the file.

mod check;
mod file;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) use check::check;

use super::Library;
use crate::arch::Role;
use crate::coefficients::{Coefficients, Counts};
use crate::method::{Arg, Args, NormShare, Param};
use crate::problem::Problems;
use crate::recipe::{By, ModelRef, Named, Place, Weighting};

/// A file that weights come from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CoefficientFile {
    /// As the recipe names it; of a folder of counts, the file in it.
    pub path: String,
    /// What is in it: `counts` or `coefficients`.
    pub holds: &'static str,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A tensor whose weights are wanted.
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) shape: &'a [usize],
    pub(super) role: Role,
}

impl Target<'_> {
    /// Elements in a row: the last dimension. A vector is one row.
    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    fn rows(&self) -> usize {
        self.shape.iter().product::<usize>() / self.width()
    }
}

/// What is wrong, and the tensors that it is wrong with.
struct Complaint {
    place: Place,
    hint: Option<String>,
    tensor: String,
    count: usize,
}

/// Resolves weights, tensor after tensor.
#[derive(Default)]
pub(super) struct Weigher {
    counts: BTreeMap<String, Option<Arc<Counts>>>,
    coefficients: BTreeMap<String, Option<Arc<Coefficients>>>,
    /// Where the counts were asked for.
    asked: BTreeMap<String, Place>,
    /// Entries of files that tensors were looked up in, and by whom.
    entries: BTreeMap<(String, String), Place>,
    problems: Problems,
    complaints: BTreeMap<String, Complaint>,
}

/// What is known when all tensors have their weights.
pub(super) struct Weighed {
    pub(super) files: Vec<CoefficientFile>,
    /// Each file of counts, and where it was asked for.
    pub(super) counts: Vec<(String, Arc<Counts>, Place)>,
}

impl Weigher {
    /// Puts resolved weights into the arguments of each model whose weight is said in words; false if there is no resolving
    /// them, which [`Weigher::finish`] reports.
    pub(super) fn weigh(
        &mut self,
        library: &mut Library,
        target: &Target<'_>,
        models: &[(&ModelRef, Option<Weighting>)],
        param: &'static Param,
        args: &mut [Args],
    ) -> bool {
        let mut complete = true;
        let mut by_tokens = Vec::new();
        for (i, (model, words)) in models.iter().enumerate() {
            let Some(words) = words else { continue };
            let arg = match &words.by {
                By::Tokens { .. } => {
                    by_tokens.push(i);
                    continue;
                }
                By::File { path, entry } => {
                    self.of_file(library, target, path, entry.as_deref(), model, &words.place)
                }
                By::Norms { power, scale } => {
                    Some(Arg::Norms { norms: NormShare { power: *power, scale: *scale } })
                }
            };
            match arg {
                Some(arg) => args[i].set(param, arg),
                None => complete = false,
            }
        }
        if !by_tokens.is_empty() {
            let words: Vec<_> =
                by_tokens.iter().filter_map(|i| Some((models[*i].0, models[*i].1.as_ref()?))).collect();
            match self.of_tokens(library, target, &words) {
                Some(all) => by_tokens.iter().zip(all).for_each(|(i, arg)| args[*i].set(param, arg)),
                None => complete = false,
            }
        }
        complete
    }

    fn complain(&mut self, tensor: &str, place: &Place, what: String, hint: Option<String>) {
        let entry = self.complaints.entry(what).or_insert_with(|| Complaint {
            place: place.clone(),
            hint,
            tensor: tensor.to_owned(),
            count: 0,
        });
        entry.count += 1;
    }

    /// Reports what was found, and which coefficients are for none of the tensors that there are.
    pub(super) fn finish(self, tensors: &[&str], problems: &mut Problems) -> Weighed {
        problems.extend(self.problems);
        for (what, Complaint { place, hint, tensor, count }) in self.complaints {
            let more = match count {
                1 => String::new(),
                2 => " (and 1 more tensor)".to_owned(),
                n => format!(" (and {} more tensors)", n - 1),
            };
            let mut problem = place.problem(format!("{what}: {tensor}{more}"));
            problem.hint = hint;
            problems.push(problem);
        }
        // Where tensors are missing for another reason, names may be strange for that.
        let complete = !problems.has_errors();
        for ((path, entry), place) in self.entries.iter().filter(|_| complete) {
            let Some(Some(file)) = self.coefficients.get(path) else { continue };
            let strangers = file.strangers(entry, tensors);
            if let Some(first) = strangers.first() {
                let more = if strangers.len() > 1 {
                    format!(" and {} more", strangers.len() - 1)
                } else {
                    String::new()
                };
                let what =
                    format!("{path} has coefficients for `{first}`{more}, of which there is no tensor");
                problems.push(place.warning(what).did_you_mean(first, tensors.iter().copied()));
            }
        }
        let mut files: Vec<CoefficientFile> = Vec::new();
        let mut counts = Vec::new();
        for (path, read) in self.counts {
            let Some(read) = read else { continue };
            let (sha256, bytes) = (read.sha256.clone(), read.file_bytes);
            files.push(CoefficientFile { path: path.clone(), holds: "counts", sha256, bytes });
            if let Some(place) = self.asked.get(&path) {
                counts.push((path, read, place.clone()));
            }
        }
        for (path, read) in self.coefficients {
            let Some(read) = read else { continue };
            let (sha256, bytes) = (read.sha256.clone(), read.bytes);
            files.push(CoefficientFile { path, holds: "coefficients", sha256, bytes });
        }
        Weighed { files, counts }
    }

    /// Notes what is wrong with a file, where the recipe names it.
    fn unreadable(&mut self, found: &Problems, place: &Place) {
        for problem in found.iter() {
            let spot = problem.spot.clone().or_else(|| place.spot.clone());
            self.problems.push(problem.clone().spot(spot));
        }
    }
}

/// What a model is called where nobody says: the last part of its path.
pub(super) fn label(model: &ModelRef) -> &str {
    let path = model.path.trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or(path);
    match model.named {
        Named::Path => last.strip_suffix(".safetensors").unwrap_or(last),
        Named::Stage => last,
    }
}

/// Counts are of one tokenizer, and the rows of the output are those of its own.
pub(super) fn compare_tokenizers(weighed: &Weighed, ours: Option<&str>, problems: &mut Problems) {
    let mut differing = BTreeSet::new();
    for (path, counts, place) in &weighed.counts {
        match ours {
            Some(ours) if ours == counts.tokenizer => {}
            Some(ours) => {
                if differing.insert(&counts.tokenizer) {
                    let what = format!(
                        "{path} has counts of another tokenizer: {} there, {} in the output (SHA-256 of tokenizer.json)",
                        short(&counts.tokenizer),
                        short(ours)
                    );
                    let hint = "count the texts again with the tokenizer of the merged model: `growmerge count FOLDER \
                                --text …`";
                    problems.push(place.problem(what).hint(hint));
                }
            }
            None => {
                let what = format!("the output has no tokenizer.json to compare with that of {path}");
                problems.push(place.warning(what));
            }
        }
    }
}

fn short(sha256: &str) -> &str {
    match sha256 {
        "" => "not said",
        sha256 => sha256.get(..16).unwrap_or(sha256),
    }
}
