//! What the tables and claims are about, as forms of measurements.

use super::form::Form;
use super::subject::{ENGLISH, Factor, Language, Method, Setup, Subject, Subset, Tuning};

/// Change of English from before adaptation; above zero is forgetting.
pub(super) fn lost(setup: Setup, subject: Subject) -> Form {
    Form::bits(setup, subject, ENGLISH).minus(Form::bits(setup, Subject::English, ENGLISH))
}

/// The mean of [`lost`] over the models of single languages.
pub(super) fn forgetting(setup: Setup) -> Form {
    Form::mean(Language::all().map(|l| lost(setup, Subject::Language(l))))
}

/// Bits per byte of English after adaptation, mean over the models of single languages.
pub(super) fn english_after(setup: Setup) -> Form {
    Form::mean(Language::all().map(|l| Form::bits(setup, Subject::Language(l), ENGLISH)))
}

/// Bits per byte of a merge above those of a reference, mean over the languages in it.
fn above(setup: Setup, merge: Subject, subset: Subset, reference: impl Fn(Language) -> Subject) -> Form {
    Form::mean(
        subset
            .members()
            .map(|l| Form::bits(setup, merge, l.code()).minus(Form::bits(setup, reference(l), l.code()))),
    )
}

/// A merge above the joint model of all five languages.
pub(super) fn above_joint(setup: Setup, subset: Subset, method: Method, tuning: Tuning) -> Form {
    above(setup, Subject::Merge(subset, method, tuning), subset, |_| Subject::Joint)
}

/// A merge above the models that it was merged from, each in its own language.
pub(super) fn above_own(setup: Setup, subset: Subset, method: Method, tuning: Tuning) -> Form {
    above(setup, Subject::Merge(subset, method, tuning), subset, Subject::Language)
}

/// The mean of a model over some languages.
pub(super) fn mean_of(setup: Setup, subject: Subject, subset: Subset) -> Form {
    Form::mean(subset.members().map(|l| Form::bits(setup, subject, l.code())))
}

/// All methods, with lambda as asked for where there is one.
pub(super) fn merges(tuning: Tuning) -> impl Iterator<Item = (Method, Tuning)> {
    Method::ALL.into_iter().map(move |m| match m.factor() {
        Factor::None => (m, Tuning::Paper),
        Factor::Lambda => (m, tuning),
    })
}

/// Means over the subsets of a study.
#[derive(Clone, Debug)]
pub(super) struct Means {
    /// The subsets.
    pub subsets: Vec<Subset>,
}

impl Means {
    /// A method above the joint model, mean over subsets.
    pub(super) fn distance(&self, setup: Setup, method: Method, tuning: Tuning) -> Form {
        Form::mean(self.subsets.iter().map(|s| above_joint(setup, *s, method, tuning)))
    }

    /// The same, mean over all five methods. `linear` and `task_arithmetic` are the same at the paper's setting and count
    /// twice there, so that means at both settings are of the same methods.
    pub(super) fn distance_of_all(&self, setup: Setup, tuning: Tuning) -> Form {
        Form::mean(merges(tuning).map(|(m, t)| self.distance(setup, m, t)))
    }

    /// Bits per byte that a method gains by its chosen lambda, mean over subsets; below zero is better.
    pub(super) fn swept(&self, setup: Setup, method: Method) -> Form {
        Form::mean(self.subsets.iter().map(|s| {
            let of = |tuning| above_joint(setup, *s, method, tuning);
            of(Tuning::Swept).minus(of(Tuning::Paper))
        }))
    }
}
