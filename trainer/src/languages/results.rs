//! What came of an experiment, to be asked by arm, seed, contender and goal.

use std::collections::BTreeMap;

use growmerge::eval::Estimate;

use super::arm::Arm;
use super::contender::{Contender, Kind};
use super::judge::Outcome;
use super::scores::{Goal, Scores, gap_closed};
use crate::reproduce::form::mean;

/// One arm and seed.
#[derive(Debug)]
pub(super) struct Cell {
    /// Of the study.
    pub seed: u64,
    /// Before adaptation.
    pub english: Scores,
    /// Each language by its own model.
    pub own: Scores,
    /// All languages trained together.
    pub joint: Scores,
    /// What training the joint model took.
    pub joint_seconds: f64,
    /// What became of each contender.
    pub outcomes: BTreeMap<(&'static str, Goal), Outcome>,
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Results {
    /// Who was tried, in the order of the tables.
    pub contenders: Vec<&'static Contender>,
    /// By arm, in the order of seeds.
    pub cells: BTreeMap<Arm, Vec<Cell>>,
}

impl Results {
    /// The seeds of an arm.
    pub(super) fn of(&self, arm: Arm) -> &[Cell] {
        self.cells.get(&arm).map_or(&[], Vec::as_slice)
    }

    /// The classical contender with the lowest mean of five languages on the text that chooses, mean over seeds. Test text
    /// does not pick it, as it picks nothing.
    pub(super) fn best_classical(&self, arm: Arm) -> Option<&'static str> {
        let classical = self.contenders.iter().filter(|c| c.kind == Kind::Classical);
        let score = |name: &'static str| {
            let each = self.of(arm).iter().map(|c| c.outcomes.get(&(name, Goal::Five)).map(|o| o.chosen_by));
            each.sum::<Option<f64>>()
        };
        let scored = classical.filter_map(|c| Some((c.name, score(c.name)?)));
        scored.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
    }

    /// Something of each seed's outcome of a contender, mean over seeds with its error.
    pub(super) fn over_seeds(
        &self,
        arm: Arm,
        contender: &'static str,
        goal: Goal,
        of: impl Fn(&Cell, &Outcome) -> Option<f64>,
    ) -> Estimate {
        let each = self.of(arm).iter().filter_map(|c| of(c, c.outcomes.get(&(contender, goal))?));
        mean(&each.collect::<Vec<f64>>())
    }

    /// The share of the gap that a contender closes.
    pub(super) fn gap(&self, arm: Arm, contender: &'static str, goal: Goal) -> Estimate {
        let best = self.best_classical(arm);
        self.over_seeds(arm, contender, goal, |cell, outcome| {
            let classical = cell.outcomes.get(&(best?, Goal::Five))?.scores.five();
            Some(gap_closed(classical, outcome.scores.five(), cell.joint.five()))
        })
    }

    /// How much more bits per byte of English a contender needs than the joint model, as a share of those.
    pub(super) fn english_against_joint(&self, arm: Arm, contender: &'static str, goal: Goal) -> Estimate {
        self.over_seeds(arm, contender, goal, |cell, outcome| {
            Some(outcome.scores.english() / cell.joint.english() - 1.0)
        })
    }
}
