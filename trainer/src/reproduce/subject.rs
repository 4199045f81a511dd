//! What a study makes and measures: setups, languages, subsets of them, models and merges.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What all models come from.
pub const ENGLISH: &str = "en";
/// Languages that models are adapted to, in the order of the paper's table.
pub const LANGUAGES: [&str; 5] = ["et", "fo", "is", "fa", "sv"];

/// One of [`LANGUAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language(usize);

impl Language {
    /// All five.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..LANGUAGES.len()).map(Self)
    }

    /// Its code.
    pub fn code(self) -> &'static str {
        LANGUAGES[self.0]
    }
}

/// Where the growing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Setup {
    /// Not at all.
    #[serde(rename = "1x")]
    Small,
    /// Between English pretraining and adaptation.
    #[serde(rename = "1x-cloned")]
    Cloned,
    /// After four fifths of English pretraining.
    #[serde(rename = "2x")]
    Grown,
}

impl Setup {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Small, Self::Cloned, Self::Grown];

    /// The paper's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "1x",
            Self::Cloned => "1x-cloned",
            Self::Grown => "2x",
        }
    }

    /// Whether its models have the grown size.
    pub fn size(self) -> Size {
        match self {
            Self::Small => Size::Small,
            Self::Cloned | Self::Grown => Size::Large,
        }
    }
}

/// The two sizes of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// That of the seed.
    Small,
    /// Grown.
    Large,
}

/// Two or more languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subset(u8);

impl Subset {
    /// All languages.
    pub const WHOLE: Self = Self((1 << LANGUAGES.len()) - 1);

    /// Every subset whose number of members is among `sizes` and at least 2; pairs first.
    pub fn of_sizes(sizes: &[usize]) -> Vec<Self> {
        let mut all: Vec<Self> = (0..=Self::WHOLE.0).map(Self).collect();
        all.retain(|s| s.len() >= 2 && sizes.contains(&s.len()));
        all.sort_by_key(|s| (s.len(), s.members().collect::<Vec<_>>()));
        all
    }

    /// Members in order.
    pub fn members(self) -> impl Iterator<Item = Language> {
        Language::all().filter(move |l| self.0 >> l.0 & 1 == 1)
    }

    /// How many.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<&str> = self.members().map(Language::code).collect();
        f.write_str(&codes.join("+"))
    }
}

/// The five methods of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Mean of the models.
    Linear,
    /// Mean direction times mean length.
    Multislerp,
    /// Mean difference from English.
    TaskArithmetic,
    /// Larger half of each difference, and the sign of the majority.
    Ties,
    /// Random half of each difference, and the sign of the majority.
    DareTies,
}

/// Whether a method has a factor on the merged difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// `lambda`.
    Lambda,
    /// It merges models, not differences, so there is nothing to scale.
    None,
}

impl Method {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Linear, Self::Multislerp, Self::TaskArithmetic, Self::Ties, Self::DareTies];

    /// As recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Multislerp => "multislerp",
            Self::TaskArithmetic => "task_arithmetic",
            Self::Ties => "ties",
            Self::DareTies => "dare_ties",
        }
    }

    /// Whether it can be scaled.
    pub fn factor(self) -> Factor {
        match self {
            Self::Linear | Self::Multislerp => Factor::None,
            Self::TaskArithmetic | Self::Ties | Self::DareTies => Factor::Lambda,
        }
    }
}

/// How lambda came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tuning {
    /// The paper's setting, 1.
    Paper,
    /// The value with the lowest loss on valid text.
    Swept,
}

/// A model of a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Before adaptation.
    English,
    /// Adapted to one language.
    Language(Language),
    /// The same on the way, when it had cost as many operations as the small setup's whole run.
    Matched(Language),
    /// Adapted to one language in a run that cost as many operations as the small setup's, with its own decay.
    Shorter(Language),
    /// Adapted to all languages at once.
    Joint,
    /// Merged from models of single languages.
    Merge(Subset, Method, Tuning),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::English => f.write_str(ENGLISH),
            Self::Language(language) => f.write_str(language.code()),
            Self::Matched(language) => write!(f, "{} at equal cost, on the way", language.code()),
            Self::Shorter(language) => write!(f, "{} at equal cost, in a run of its own", language.code()),
            Self::Joint => f.write_str("multilingual"),
            Self::Merge(subset, method, _) => write!(f, "{} {subset}", method.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_26_subsets_of_two_or_more() {
        let all = Subset::of_sizes(&[1, 2, 3, 4, 5]);
        let names: std::collections::BTreeSet<String> = all.iter().map(Subset::to_string).collect();
        assert_eq!((all.len(), names.len()), (26, 26));
        assert_eq!(all.iter().filter(|s| s.len() == 2).count(), 10);
        assert_eq!([all[0].to_string(), all[25].to_string()], ["et+fo", "et+fo+is+fa+sv"]);
        assert_eq!(all[25], Subset::WHOLE);
        assert_eq!(Subset::of_sizes(&[5]), [Subset::WHOLE]);
    }

    #[test]
    fn methods_with_a_lambda_are_those_that_know_the_parameter() {
        for method in Method::ALL {
            let known = growmerge::method::Method::named(method.name()).unwrap();
            assert_eq!(
                known.param("lambda").is_some(),
                method.factor() == Factor::Lambda,
                "{}",
                method.name()
            );
        }
    }
}
