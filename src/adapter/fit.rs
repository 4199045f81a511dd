//! Which tensors of a base an adapter changes, and how.

use std::collections::BTreeMap;

use serde_json::Value;

use super::names::{self, Name};
use super::place::{Fitting, Parts};
use super::{Adapter, HEAD, LowRank};
use crate::arch::{Family, Role};
use crate::checkpoint::TensorInfo;
use crate::problem::{Problem, Problems};

/// Whose tensor is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// The base's, at this position.
    Base(usize),
    /// The adapter's: it takes the place of the base's.
    Adapter(usize),
}

/// A tensor of the adapted model that is not the base's.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The tensor of the base whose shape and element type it has.
    pub like: usize,
    /// What it is made of.
    pub below: Below,
    /// What is added to that.
    pub update: Option<Update>,
}

/// An update, and the adapter's tensors that it is made of, by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// What is computed.
    pub low_rank: LowRank,
    /// `A` …
    pub a: usize,
    /// … `B` …
    pub b: usize,
    /// … and `m`, of a DoRA.
    pub magnitude: Option<usize>,
}

impl Update {
    /// All of them, in the order in which [`LowRank::open`] takes them.
    pub fn tensors(&self) -> impl Iterator<Item = usize> {
        [Some(self.a), Some(self.b), self.magnitude].into_iter().flatten()
    }
}

/// What an adapter does to a base.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Every tensor that changes, or is new, sorted by name.
    pub changes: Vec<Change>,
    /// Whether a head that was tied to the embedding now stands alone.
    pub unties: bool,
    /// What the user should know.
    pub warnings: Problems,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A tensor of the base.
    Stored(usize),
    /// The head of a model that stores none, because it is tied to the embedding.
    TiedHead,
}

impl Adapter {
    /// Finds a tensor of the base for everything that the adapter holds. `base` are its tensors as they are
    /// seen, sorted by name; `config` is its `config.json`.
    ///
    /// # Errors
    /// Every tensor that has no place in this base, or another shape.
    pub fn fit(&self, base: &[TensorInfo], config: Option<&Value>) -> Result<Fit, Problems> {
        let mut fitting = Fitting { adapter: self, base, tied: tied(base, config), found: Vec::new() };
        let (mut modules, mut wholes) = (BTreeMap::<String, Parts>::new(), BTreeMap::new());
        for (at, tensor) in self.tensors().iter().enumerate() {
            let twice = match names::parse(&tensor.name) {
                Name::Part(module, part) => modules.entry(module).or_default().0.insert(part, at).is_some(),
                Name::Whole(name) => wholes.insert(name, at).is_some(),
                Name::Original => false,
                Name::UpdateBias(_) => {
                    fitting.wrong(tensor, "is the bias of an update, which cannot be applied");
                    false
                }
                Name::Unknown => {
                    fitting.wrong(tensor, "is no part of a LoRA that is known");
                    false
                }
            };
            if twice {
                fitting.wrong(
                    tensor,
                    "is there under two names; several adapters in one file cannot be told apart",
                );
            }
        }
        let incomplete =
            self.incomplete(base, &modules.keys().collect::<Vec<_>>(), &wholes.keys().collect::<Vec<_>>())?;
        let mut targets: BTreeMap<Target, (Option<usize>, Option<Update>)> = BTreeMap::new();
        for (name, at) in wholes {
            if let Some(target) = fitting.whole(&name, at) {
                targets.entry(target).or_default().0 = Some(at);
            }
        }
        for (module, parts) in modules {
            if let Some((target, update)) = fitting.update(&module, &parts) {
                targets.entry(target).or_default().1 = Some(update);
            }
        }
        let tied = fitting.tied;
        fitting.report()?;
        if targets.is_empty() {
            return Err(Problem::error(self.name(), "changes nothing: it holds no tensors").into());
        }
        let mut fit = self.put_together(base, tied, targets);
        fit.warnings.extend(incomplete);
        Ok(fit)
    }

    /// What `adapter_config.json` names and the weights lack: an adapter is small, and a part of one looks whole.
    ///
    /// # Errors
    /// A module that is to be stored as a whole and is not there.
    fn incomplete(
        &self,
        base: &[TensorInfo],
        modules: &[&String],
        wholes: &[&String],
    ) -> Result<Problems, Problems> {
        let is_of = |path: &str, end: &str| path == end || path.ends_with(&format!(".{end}"));
        let module_of =
            |tensor: &str| tensor.rsplit_once('.').map_or(String::new(), |(module, _)| module.to_owned());
        let (mut problems, mut warnings) = (Problems::new(), Problems::new());
        for saved in &self.settings().saved {
            if !wholes.iter().any(|name| is_of(&module_of(name), saved)) {
                let what = format!("modules_to_save names `{saved}`, but no tensor of it is here");
                problems.push(Problem::error(self.name(), what).hint("is the download complete?"));
            }
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let targets = &self.settings().targets;
        let is_target = |path: &str| targets.iter().any(|end| is_of(path, end));
        let matrices = base.iter().filter(|t| t.shape.len() == 2 && t.name.ends_with(".weight"));
        let wanted = matrices.filter(|t| is_target(&module_of(&t.name))).count();
        let found = modules.iter().filter(|module| is_target(module)).count();
        if found < wanted {
            let what = format!("has updates for {found} of the {wanted} modules that target_modules names");
            warnings.push(Problem::warning(self.name(), what).hint("is the download complete?"));
        }
        Ok(warnings)
    }

    /// Decides what becomes of a tied head, and names everything.
    fn put_together(
        &self,
        base: &[TensorInfo],
        tied: Option<usize>,
        mut targets: BTreeMap<Target, (Option<usize>, Option<Update>)>,
    ) -> Fit {
        let mut warnings = self.warnings().clone();
        if self.settings.keeps_tie {
            // The head's part is the embedding's once more.
            targets.remove(&Target::TiedHead);
        } else if let Some(embedding) = tied
            && targets.keys().any(|t| [Target::TiedHead, Target::Stored(embedding)].contains(t))
        {
            targets.entry(Target::TiedHead).or_default();
            let what = "changes the embedding or the head of a model that has one tensor for both";
            let hint = "the head becomes a tensor of its own, as it was while the adapter was trained";
            warnings.push(Problem::warning(self.name(), what).hint(hint));
        }
        let unties = targets.contains_key(&Target::TiedHead);
        let change = |(target, (whole, update)): (Target, (Option<usize>, Option<Update>))| {
            let (like, name) = match (target, tied) {
                (Target::Stored(at), _) => (at, base[at].name.clone()),
                (Target::TiedHead, tied) => (tied.unwrap_or_default(), HEAD.to_owned()),
            };
            Change { name, like, below: whole.map_or(Below::Base(like), Below::Adapter), update }
        };
        let mut changes: Vec<Change> = targets.into_iter().map(change).collect();
        changes.sort_by(|a, b| a.name.cmp(&b.name));
        Fit { changes, unties, warnings }
    }
}

/// The position of the embedding that a head is tied to, where the model stores no head.
fn tied(base: &[TensorInfo], config: Option<&Value>) -> Option<usize> {
    let said = config.and_then(|c| c.get("tie_word_embeddings")).and_then(Value::as_bool);
    if base.iter().any(|t| t.name == HEAD) || said == Some(false) {
        return None;
    }
    let family = Family::of(config.and_then(|c| c.get("model_type")).and_then(Value::as_str));
    // The two names that go with a head of that name.
    let is_embedding = |name: &str| name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight");
    base.iter().position(|t| is_embedding(&t.name) && family.locate(&t.name).role == Role::Embed)
}
