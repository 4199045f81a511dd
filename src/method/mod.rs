//! Merge methods: what exists, what parameters each takes, and its arithmetic.
//!
//! A method is a [`Method`] record, an [`Operator`] written once over the device primitives, and a
//! line in [`METHODS`]. Help, the recipe schema, validation and the agreement tests follow from there.
//! Methods know nothing of recipes, files or threads.

mod arcee_fusion;
mod args;
mod breadcrumbs;
mod breadcrumbs_ties;
mod dare_linear;
mod dare_ties;
mod della;
mod della_linear;
mod deltas;
mod factors;
mod fisher;
mod gram;
mod karcher;
mod linear;
mod model_stock;
mod multislerp;
mod nearswap;
mod nuslerp;
mod operator;
mod param;
mod passthrough;
mod ram;
mod ramplus_tl;
mod regmean;
mod sce;
mod slerp;
mod task_arithmetic;
mod ties;
mod weights;

use std::ops::RangeInclusive;

use crate::device::{Chunk, Device};
use crate::problem::ExecError;

pub use args::{Arg, Args, Beside, Invalid, Setup};
pub use factors::{Factors, NormShare};
pub use operator::{
    AbsSums, AnyOperator, Band, Block, Keep, Measured, Operator, Quantity, RandomDrop, RunsOn, Stat, Then,
    Vectors,
};
pub(crate) use operator::{divergences, importance};
pub use param::{Fallback, FileKind, Kind, Param, Scope};

/// Every method, in the order in which `growmerge methods` lists them.
pub static METHODS: &[&Method] = &[
    &linear::METHOD,
    &slerp::METHOD,
    &nuslerp::METHOD,
    &multislerp::METHOD,
    &karcher::METHOD,
    &model_stock::METHOD,
    &task_arithmetic::METHOD,
    &ties::METHOD,
    &dare_linear::METHOD,
    &dare_ties::METHOD,
    &breadcrumbs::METHOD,
    &breadcrumbs_ties::METHOD,
    &della_linear::METHOD,
    &della::METHOD,
    &sce::METHOD,
    &nearswap::METHOD,
    &ram::METHOD,
    &ramplus_tl::METHOD,
    &arcee_fusion::METHOD,
    &fisher::METHOD,
    &regmean::METHOD,
    &passthrough::METHOD,
];

/// What a method makes of `base_model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A base, if given, is one more input, behind the models.
    Joins,
    /// A base, if given, is no input: the models' differences from it are merged and added to it.
    Optional,
    /// A base is required and is the first of the inputs.
    First,
    /// A base is required; the models' differences from it are merged and added to it.
    Reference,
}

/// One merge method: its description and the function that turns resolved parameters into arithmetic.
#[derive(Debug)]
pub struct Method {
    /// As in a recipe's `merge_method`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// The role of `base_model`.
    pub base: Base,
    /// How many inputs: for [`Base::Joins`] and [`Base::First`] with the base, otherwise without it.
    pub inputs: RangeInclusive<usize>,
    /// Every parameter that it accepts.
    pub params: &'static [&'static Param],
    /// Parameters of one tensor → arithmetic for that tensor.
    pub prepare: fn(&Setup<'_>) -> Result<Box<dyn AnyOperator>, Invalid>,
}

impl Method {
    /// The method of that name.
    pub fn named(name: &str) -> Option<&'static Method> {
        METHODS.iter().copied().find(|m| m.name == name)
    }

    /// The parameter that names a file beside each model, if the method has one, and what is in it.
    pub fn file(&self) -> Option<(&'static Param, FileKind)> {
        self.params.iter().find_map(|p| match p.kind {
            Kind::File(kind) => Some((*p, kind)),
            _ => None,
        })
    }

    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().copied().find(|p| p.name == name)
    }
}

/// The vectors of a block: models, or their differences from a base.
pub(crate) fn vectors<D: Device>(
    d: &D,
    models: &[Chunk<'_>],
    base: Option<&D::Buf>,
) -> Result<Vec<D::Buf>, ExecError> {
    let vector = |model: &Chunk<'_>| base.map_or_else(|| d.load(*model), |base| d.delta(*model, base));
    models.iter().map(vector).collect()
}

/// Something of each pair of the upper triangle, row by row, the diagonal included.
pub(crate) fn pairs<B, T>(
    vectors: &[B],
    mut of: impl FnMut(&B, &B) -> Result<T, ExecError>,
) -> Result<Vec<T>, ExecError> {
    let mut all = Vec::new();
    for (i, a) in vectors.iter().enumerate() {
        for b in vectors.iter().skip(i) {
            all.push(of(a, b)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, m) in METHODS.iter().enumerate() {
            assert!(METHODS.iter().skip(i + 1).all(|other| other.name != m.name));
            for (i, p) in m.params.iter().enumerate() {
                assert!(
                    m.params.iter().skip(i + 1).all(|other| other.name != p.name),
                    "{} {}",
                    m.name,
                    p.name
                );
            }
        }
    }
}
