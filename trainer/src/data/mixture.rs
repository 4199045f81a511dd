//! Which share of a run each text has, as the user says it.

use std::path::PathBuf;

use growmerge::eval::Split;
use growmerge::problem::{Problem, Problems};
use serde::{Deserialize, Serialize};

/// The texts of a run and their shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Texts by name.
    pub sources: Vec<Source>,
    /// How often a text may be read; four times is nearly as good as four times the text (Muennighoff et al.
    /// 2023, *Scaling Data-Constrained Language Models*). A mixture that needs more is refused.
    #[serde(default = "default_max_epochs")]
    pub max_epochs: f64,
    /// How what replay leaves of the run is divided.
    #[serde(default)]
    pub sampling: Sampling,
    /// What a document of a `.txt` file is; each is followed by the tokenizer's end token.
    #[serde(default = "default_documents")]
    pub documents: Split,
    /// The field of a `.jsonl` line that is the document.
    #[serde(default = "default_field")]
    pub field: String,
}

/// One text, and its share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Source {
    /// What it is called in plans, reports and messages; the order of its chunks depends on it too.
    pub name: String,
    /// `.txt` or `.jsonl`, also packed (`.gz`, `.zst`). One after another they are one text.
    pub text: Vec<PathBuf>,
    /// How much of the run it is.
    pub portion: Portion,
}

/// How much of a run a text is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// In proportion to the other weights, of what replay leaves.
    Weight(f64),
    /// This share of the whole run.
    Replay(f64),
}

/// How what replay leaves of a run is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// In proportion to the weights.
    #[default]
    Weights,
    /// Evenly, except that no text is read more than `max_epochs` times; what it leaves goes to the larger ones
    /// (Chung et al. 2023, *UniMax*).
    Unimax,
}

/// A source as it is written: at most one of `weight` and `replay`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    text: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<f64>,
}

impl TryFrom<Fields> for Source {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let portion = match (fields.weight, fields.replay) {
            (Some(_), Some(_)) => return Err(format!("{} has both `weight` and `replay`", fields.name)),
            (None, Some(replay)) => Portion::Replay(replay),
            (weight, None) => Portion::Weight(weight.unwrap_or(1.0)),
        };
        Ok(Self { name: fields.name, text: fields.text, portion })
    }
}

impl From<Source> for Fields {
    fn from(source: Source) -> Self {
        let (weight, replay) = match source.portion {
            Portion::Weight(weight) => (Some(weight), None),
            Portion::Replay(replay) => (None, Some(replay)),
        };
        Self { name: source.name, text: source.text, weight, replay }
    }
}

impl Mixture {
    /// What can be said without reading a text.
    ///
    /// # Errors
    /// All of it.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        if self.sources.is_empty() {
            problems.push(Problem::error("data.sources", "there is no text to train on"));
        }
        if !(self.max_epochs > 0.0 && self.max_epochs.is_finite()) {
            let what = format!("{} is not a positive number", self.max_epochs);
            problems.push(Problem::error("data.max_epochs", what));
        }
        let mut replay = 0.0;
        for (i, source) in self.sources.iter().enumerate() {
            let at = |field: &str| format!("data.sources[{i}].{field}");
            if source.name.is_empty() {
                problems.push(Problem::error(at("name"), "is empty"));
            }
            if self.sources[..i].iter().any(|s| s.name == source.name) {
                let what = format!("`{}` is the name of two texts", source.name);
                let hint = "files that belong together go into one `text` list";
                problems.push(Problem::error(at("name"), what).hint(hint));
            }
            if source.text.is_empty() {
                problems.push(Problem::error(at("text"), "names no file"));
            }
            match source.portion {
                Portion::Weight(w) if !(w > 0.0 && w.is_finite()) => {
                    let problem = Problem::error(at("weight"), format!("{w} is not a positive number"));
                    problems.push(problem.hint("leave the text out if it is not to be read"));
                }
                Portion::Weight(w) if w != 1.0 && self.sampling == Sampling::Unimax => {
                    let problem = Problem::error(at("weight"), "sampling `unimax` divides evenly");
                    problems.push(problem.hint("leave weights out, or choose `sampling: weights`"));
                }
                Portion::Replay(r) if !(r > 0.0 && r < 1.0) => {
                    let what = format!("{r} is not between 0 and 1");
                    let hint = "it is a share of the run: 0.02 is every fiftieth sequence";
                    problems.push(Problem::error(at("replay"), what).hint(hint));
                }
                Portion::Replay(r) => replay += r,
                Portion::Weight(_) => {}
            }
        }
        let weighted = self.sources.iter().any(|s| matches!(s.portion, Portion::Weight(_)));
        if replay >= 1.0 {
            let what = format!("replay is {replay} of the run and leaves nothing");
            problems.push(Problem::error("data.sources", what));
        } else if !weighted && !self.sources.is_empty() {
            let problem = Problem::error("data.sources", "all texts are replay");
            problems
                .push(problem.hint("at least one text needs a weight instead: the rest of the run is its"));
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }
}

fn default_max_epochs() -> f64 {
    4.0
}

fn default_documents() -> Split {
    Split::Line
}

fn default_field() -> String {
    "text".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Mixture {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn what_is_printed_is_complete_and_reads_the_same() {
        let mixture =
            read("sources:\n- {name: et, text: [et.txt]}\n- {name: en, text: [a, b], replay: 0.02}\n");
        assert_eq!(mixture.sources[0].portion, Portion::Weight(1.0));
        assert_eq!(mixture.check(), Ok(()));
        let printed = serde_yaml::to_string(&mixture).unwrap();
        for line in ["weight: 1.0", "replay: 0.02", "max_epochs: 4.0", "sampling: weights", "field: text"] {
            assert!(printed.contains(line), "{printed}");
        }
        assert!(!printed.contains("null"), "{printed}");
        assert_eq!(read(&printed), mixture);
    }

    #[test]
    fn a_source_has_a_weight_or_a_replay() {
        let both = "sources: [{name: et, text: [a], weight: 1, replay: 0.1}]";
        let told = serde_yaml::from_str::<Mixture>(both).unwrap_err().to_string();
        assert!(told.contains("et has both `weight` and `replay`"), "{told}");
        let unknown = "sources: [{name: et, text: [a], share: 1}]";
        assert!(serde_yaml::from_str::<Mixture>(unknown).unwrap_err().to_string().contains("share"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let bad = "
max_epochs: 0
sources:
- {name: a, text: [], weight: -1}
- {name: a, text: [a], replay: 1.5}
- {name: '', text: [a], weight: .nan}
- {name: c, text: [a], replay: 0.5}
- {name: d, text: [a], replay: 0.5}";
        let told = read(bad).check().unwrap_err().to_string();
        for wanted in [
            "data.max_epochs: 0 is not a positive number",
            "data.sources[0].text: names no file",
            "data.sources[0].weight: -1 is not a positive number",
            "data.sources[1].name: `a` is the name of two texts",
            "data.sources[1].replay: 1.5 is not between 0 and 1",
            "data.sources[2].name: is empty",
            "data.sources[2].weight: NaN is not",
            "replay is 1 of the run and leaves nothing",
        ] {
            assert!(told.contains(wanted), "{wanted} in\n{told}");
        }
        let told = |yaml: &str| read(yaml).check().unwrap_err().to_string();
        assert!(told("sources: []").contains("there is no text"));
        assert!(told("sources: [{name: a, text: [a], replay: 0.5}]").contains("all texts are replay"));
        let weighted = "{sampling: unimax, sources: [{name: a, text: [a], weight: 2}]}";
        assert!(told(weighted).contains("divides evenly"));
    }
}
