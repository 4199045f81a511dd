//! What a run needs to go on: coefficients, moments, the best so far, and every look.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::Settings;
use super::adam::Adam;
use super::objective::Goal;
use super::run::Evaluation;
use crate::checkpoint::{DType, Saved, save};
use crate::coefficients::{Opened, open};
use crate::eval::Model;
use crate::plan::Plan;
use crate::problem::{Error, ExecError, Problem};
use crate::write::sha256_hex;

/// What the metadata must say.
const FORMAT: &str = "growmerge tune state 3";

/// A run as it is after some steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Coefficients.
    pub(super) x: Vec<f64>,
    pub(super) adam: Adam,
    /// Those with the lowest objective.
    pub(super) best: Vec<f64>,
    pub(super) best_step: u64,
    pub(super) looks: Vec<Evaluation>,
}

impl State {
    /// Before the first look.
    pub(super) fn new(start: &[f64]) -> Self {
        Self {
            x: start.to_vec(),
            adam: Adam::new(start.len()),
            best: start.to_vec(),
            best_step: 0,
            looks: Vec::new(),
        }
    }

    /// Takes a look at the coefficients as they are now into account.
    pub(super) fn looked(&mut self, look: Evaluation) {
        let best = self.looks.iter().map(|l| l.value).reduce(f64::min);
        if best.is_none_or(|best| look.value < best) {
            (self.best, self.best_step) = (self.x.clone(), look.step);
        }
        self.looks.push(look);
    }

    /// Looks since the best.
    pub(super) fn since_best(&self) -> u64 {
        self.looks.iter().filter(|look| look.step > self.best_step).count() as u64
    }

    /// Writes it, in place of an older one.
    pub(super) fn write(&self, path: &Path, identity: &str) -> Result<(), ExecError> {
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("identity", identity.to_owned()),
            ("steps", self.adam.steps.to_string()),
            ("best_step", self.best_step.to_string()),
            ("looks", serde_json::to_string(&self.looks).unwrap_or_default()),
        ];
        let list = |name: &str, values: &[f64]| Saved {
            name: name.into(),
            dtype: DType::F64,
            shape: vec![values.len()],
            bytes: Cow::Owned(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        };
        let Adam { first, second, .. } = &self.adam;
        let all =
            [list("best", &self.best), list("first", first), list("second", second), list("x", &self.x)];
        save(path, &metadata, &all)
    }

    /// Reads what an interrupted run of this identity with so many coefficients left; `None` if there is nothing.
    pub(super) fn read(path: &Path, identity: &str, len: usize) -> Result<Option<Self>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let name = path.display().to_string();
        let Opened { tensors, metadata, .. } = open(path, FORMAT, "remove it to begin anew")?;
        let text = |key: &str| metadata.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        if text("identity") != identity {
            let what = "is the state of another run: of another recipe, other texts or settings";
            return Err(Problem::error(name, what).hint("remove it to begin anew").into());
        }
        let list = |name: &str| {
            let info = tensors.tensor(name).filter(|t| t.dtype == DType::F64 && t.shape == [len])?;
            Some(tensors.bytes(info).as_chunks::<8>().0.iter().map(|x| f64::from_le_bytes(*x)).collect())
        };
        let whole = || {
            let steps = text("steps").parse().ok()?;
            let adam = Adam { first: list("first")?, second: list("second")?, steps };
            let looks = serde_json::from_str(text("looks")).ok()?;
            Some(Self {
                x: list("x")?,
                adam,
                best: list("best")?,
                best_step: text("best_step").parse().ok()?,
                looks,
            })
        };
        match whole() {
            Some(state) => Ok(Some(state)),
            None => Err(Problem::error(name, "is damaged").hint("remove it to begin anew").into()),
        }
    }
}

/// Everything that decides a run, in one number.
pub(super) fn identity(plan: &Plan, goal: &Goal, settings: &Settings) -> String {
    let settings = serde_json::to_string(settings).unwrap_or_default();
    let mut text = format!(
        "{FORMAT}\n{}\n{}\n{settings}\n{} {}\n",
        plan.digest, plan.stamp, goal.context, goal.tokenizer
    );
    for language in &goal.languages {
        // The digest is of weights alone, and they compute by their configuration.
        let of_teacher = |teacher: &Arc<Model>| format!("{} {}", teacher.digest, teacher.config);
        let teacher = language.teacher.as_ref().map(of_teacher).unwrap_or_default();
        text += &format!("{} {} {} {teacher}\n", language.name, language.weight, language.sha256);
    }
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let look = |step, value| Evaluation { step, bits: vec![value, value + 1.0 / 3.0], value };
        let mut state = State::new(&[1.0, 0.1, -3.0]);
        state.looked(look(0, 2.0));
        state.adam.step(&mut state.x, &[0.5, -0.25, 1e-9], 0.1);
        state.looked(look(20, 1.5));
        state.adam.step(&mut state.x, &[0.5, -0.25, 1e-9], 0.1);
        state.looked(look(40, 1.75));
        state
    }

    #[test]
    fn a_state_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.state");
        assert_eq!(State::read(&path, "a", 3).unwrap(), None);
        let state = state();
        assert_eq!((state.best_step, state.since_best()), (20, 1));
        assert_ne!(state.best, state.x);
        state.write(&path, "a").unwrap();
        assert_eq!(State::read(&path, "a", 3).unwrap(), Some(state));
        let told = State::read(&path, "b", 3).unwrap_err().to_string();
        assert!(told.contains("another run"), "{told}");
        let told = State::read(&path, "a", 4).unwrap_err().to_string();
        assert!(told.contains("damaged"), "{told}");
    }
}
