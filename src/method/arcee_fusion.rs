//! Arcee Fusion: of the model's difference from the base only what is important.
//!
//! Important is an element whose difference, times the divergence of its row's softmax from the base's,
//! lies above the outlier bound of all these scores: median plus 1.5 times the distance of the quartiles.
//! mergekit takes the quartiles of a random million of scores where there are more; here they are those
//! of all scores, found by counting.

use super::{
    AnyOperator, Base, Block, Invalid, Keep, Measured, Method, Operator, Quantity, Setup, Stat, Then,
    importance,
};
use crate::device::{Cut, Device};
use crate::problem::ExecError;

pub(super) static METHOD: Method = Method {
    name: "arcee_fusion",
    summary: "base plus the most important of one model's differences",
    paper: "Arcee AI 2024, arcee.ai; mergekit (Goddard et al. 2024, arXiv 2403.13257)",
    base: Base::Reference,
    inputs: 1..=1,
    params: &[],
    prepare,
};

#[derive(Debug)]
struct ArceeFusion {
    width: usize,
    elements: u64,
}

fn prepare(setup: &Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid> {
    Ok(Box::new(ArceeFusion { width: setup.row(), elements: setup.elements() }))
}

impl Operator for ArceeFusion {
    fn needs(&self) -> Vec<Stat> {
        // Quartiles are elements of the ascending order, at the index rounded down.
        let last = self.elements.saturating_sub(1);
        let counts = [1, 2, 3].map(|quarters| self.elements - last * quarters / 4).to_vec();
        let of = Quantity::Importance { width: self.width };
        vec![Stat::Cuts { of, keep: Keep::Counts(counts), then: Then::Magnitude }]
    }

    fn grain(&self) -> usize {
        self.width
    }

    fn settle(&self, measured: Vec<Measured>) -> Vec<Measured> {
        let mut measured = measured.into_iter();
        let Some(Measured::CutRows(cuts, divergences)) = measured.next() else { return Vec::new() };
        let [first, median, third] = cuts[..] else { return Vec::new() };
        let score = |cut: Cut| f32::from_bits(cut.key);
        let bound = score(median) + 1.5 * (score(third) - score(first));
        vec![Measured::CutRows(vec![Cut { key: bound.to_bits(), last: u64::MAX }], divergences)]
    }

    fn merge<D: Device>(&self, d: &D, x: &Block<'_>) -> Result<D::Buf, ExecError> {
        let base = d.load(x.base())?;
        let mut merged =
            super::vectors(d, x.models, Some(&base))?.pop().map_or_else(|| d.zeros(x.len()), Ok)?;
        if let (Some(Measured::CutRows(cuts, divergences)), [model]) = (x.stats.first(), x.models) {
            let bound = cuts.first().copied().unwrap_or(Cut::NONE);
            // Scores of zero reach a bound of zero, but would be taken for dropped ones.
            if bound.key > 0 {
                let rows = divergences.get(x.first as usize / self.width..).unwrap_or_default();
                let mut scores = importance(d, *model, &base, self.width, rows)?;
                d.keep_largest(&mut scores, bound, x.first)?;
                d.keep_where(&mut merged, &scores)?;
            }
        }
        d.add(&mut merged, &base)?;
        Ok(merged)
    }
}
