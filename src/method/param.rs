//! The parameters that methods take: name, scope, range and default, each stated once.

/// Whether a parameter has one value for a tensor or one for each of its models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Looked up for each model: its own `parameters` first.
    Model,
    /// Looked up without a model: `parameters` of the slice, then of the recipe.
    Global,
}

/// Which values are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any finite number.
    Number,
    /// Any finite number, or a mapping that says where numbers for rows come from.
    Weight,
    /// A number in `[0, 1]`.
    Fraction,
    /// A number that is not negative.
    Amount,
    /// A whole number that is not negative.
    Count,
    /// `true` or `false` (1 or 0).
    Switch,
    /// One of these words; `false` stands for the first, `true` for the second.
    Choice(&'static [&'static str]),
    /// A file that stands beside the models. It is opened when a merge is planned, and is no argument.
    File(FileKind),
}

/// What a file beside the models holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// For each weight how much it matters: tensors with the model's names and shapes.
    Importance,
    /// For projections the Gram matrix of what goes into them.
    Grams,
}

impl FileKind {
    /// What `format` says in the header of such a file.
    pub fn format(self) -> &'static str {
        match self {
            Self::Importance => "growmerge fisher 1",
            Self::Grams => "growmerge gram 1",
        }
    }

    /// In a word or two.
    pub fn words(self) -> &'static str {
        match self {
            Self::Importance => "importance",
            Self::Grams => "Gram matrices",
        }
    }

    /// How it is made.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Importance => "`growmerge importance MODEL --text LANG=FILE -o FILE` makes one",
            Self::Grams => "`growmerge importance MODEL --gram --text LANG=FILE -o FILE` makes one",
        }
    }
}

/// What holds when a recipe does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    /// A recipe must say.
    Required,
    /// This number (of a switch: 1 or 0; of a choice: the word's position).
    Value(f64),
    /// Nothing: the method does without.
    Absent,
}

/// One parameter.
#[derive(Debug, PartialEq)]
pub struct Param {
    /// As in a recipe.
    pub name: &'static str,
    /// Per model or for all.
    pub scope: Scope,
    /// Allowed values.
    pub kind: Kind,
    /// Default.
    pub fallback: Fallback,
    /// One line for help and schema.
    pub doc: &'static str,
}

impl Param {
    const fn new(
        name: &'static str,
        scope: Scope,
        kind: Kind,
        fallback: Fallback,
        doc: &'static str,
    ) -> Self {
        Self { name, scope, kind, fallback, doc }
    }

    /// The default in words.
    pub fn default_text(&self) -> String {
        match (self.fallback, self.kind) {
            (Fallback::Required, _) => "required".into(),
            (Fallback::Absent, _) => "none".into(),
            (Fallback::Value(v), Kind::Switch) => (v != 0.0).to_string(),
            (Fallback::Value(v), Kind::Choice(words)) => (*words.get(v as usize).unwrap_or(&"")).into(),
            (Fallback::Value(v), _) => v.to_string(),
        }
    }

    /// The allowed values in words.
    pub fn kind_text(&self) -> String {
        match self.kind {
            Kind::Number => "number".into(),
            Kind::Weight => "number or mapping".into(),
            Kind::Fraction => "number in [0, 1]".into(),
            Kind::Amount => "number from 0 on".into(),
            Kind::Count => "whole number from 0 on".into(),
            Kind::Switch => "true or false".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::File(kind) => format!("file of {}", kind.words()),
        }
    }
}

use Fallback::{Absent, Required, Value};
use Kind::{Amount, Choice, Count, File, Fraction, Number, Switch, Weight};
use Scope::{Global, Model};

const WEIGHT_DOC: &str = "how much of the model, or of its difference, goes in";
pub(super) static WEIGHT: Param = Param::new(
    "weight",
    Model,
    Weight,
    Required,
    "how much of the model, or of its difference, goes in; of each row by {tokens: …}, {norms: rows} or {file: …}",
);
/// Of methods that weigh whole tensors.
pub(super) static NUMBER_WEIGHT: Param = Param::new("weight", Model, Number, Required, WEIGHT_DOC);
pub(super) static SCALE: Param = Param::new("scale", Model, Number, Absent, "factor on the copied tensor");
pub(super) static DENSITY: Param =
    Param::new("density", Model, Fraction, Value(1.0), "share of each difference that is kept");
pub(super) static UNUSED_DENSITY: Param = Param::new(
    "density",
    Model,
    Fraction,
    Value(1.0),
    "accepted for mergekit's sake, without effect: this method drops nothing",
);
pub(super) static T: Param =
    Param::new("t", Global, Number, Required, "position between base (0) and the other model (1)");
pub(super) static LAMBDA: Param =
    Param::new("lambda", Global, Number, Value(1.0), "factor on the merged difference");
pub(super) static NORMALIZE: Param =
    Param::new("normalize", Global, Switch, Value(1.0), "divide by the sum of the weights");
pub(super) static NORMALIZE_OFF: Param =
    Param::new("normalize", Global, Switch, Value(0.0), "divide by the sum of the weights");
pub(super) static INT8_MASK: Param = Param::new(
    "int8_mask",
    Global,
    Switch,
    Value(0.0),
    "accepted for mergekit's sake, without effect: it saves memory there and changes no number",
);
pub(super) static UNUSED_RESCALE: Param = Param::new(
    "rescale",
    Global,
    Switch,
    Value(0.0),
    "accepted for mergekit's sake, without effect: this method drops nothing",
);
pub(super) static NUSLERP_FLATTEN: Param = Param::new(
    "nuslerp_flatten",
    Global,
    Switch,
    Value(1.0),
    "take each tensor as one vector; otherwise each row, or each column",
);
pub(super) static NUSLERP_ROW_WISE: Param = Param::new(
    "nuslerp_row_wise",
    Global,
    Switch,
    Value(0.0),
    "with `nuslerp_flatten: false`: true takes columns, false rows (mergekit's meaning, against the name)",
);
pub(super) static NORMALIZE_WEIGHTS: Param =
    Param::new("normalize_weights", Global, Switch, Value(1.0), "divide the weights by their sum");
pub(super) static MULTISLERP_EPS: Param = Param::new(
    "eps",
    Global,
    Amount,
    Value(1e-8),
    "added to lengths; a mean shorter than this has no direction",
);
pub(super) static MAX_ITER: Param =
    Param::new("max_iter", Global, Count, Value(10.0), "steps towards the mean at most");
pub(super) static TOL: Param =
    Param::new("tol", Global, Amount, Value(1e-5), "angles and lengths below this count as nothing");
pub(super) static FILTER_WISE: Param =
    Param::new("filter_wise", Global, Switch, Value(0.0), "each row by its own angles, not the whole tensor");
pub(super) static NEARSWAP_T: Param = Param::new(
    "t",
    Global,
    Number,
    Required,
    "distance up to which an element is the other model's; beyond, it is that share of the way",
);
pub(super) static RAM_EPSILON: Param =
    Param::new("epsilon", Global, Amount, Value(1e-5), "differences up to this size are no change");
pub(super) static RAM_R: Param = Param::new(
    "r",
    Global,
    Number,
    Value(0.1),
    "how much a model's own changes are enlarged by its shared ones",
);
pub(super) static RAM_ALPHA: Param =
    Param::new("alpha", Global, Amount, Value(0.2), "the most that shared over own changes count");
pub(super) static GAMMA: Param = Param::new(
    "gamma",
    Model,
    Fraction,
    Value(0.01),
    "share of each difference's largest elements that is dropped",
);
pub(super) static DELLA_EPSILON: Param = Param::new(
    "epsilon",
    Model,
    Fraction,
    Value(0.15),
    "how far the chance to stay departs from the density: down for the smallest of a row, up for the largest",
);
pub(super) static SELECT_TOPK: Param = Param::new(
    "select_topk",
    Global,
    Fraction,
    Value(1.0),
    "share of the elements on which the models differ that is kept: those that vary most",
);

/// Of methods in which every model counts alike where nothing is said.
pub(super) static WEIGHT_OF_ONE: Param =
    Param::new("weight", Model, Number, Value(1.0), "how much the model counts");
/// The same where rows may have weights of their own.
pub(super) static ROW_WEIGHT_OF_ONE: Param =
    Param::new("weight", Model, Weight, Value(1.0), "how much the model counts");
pub(super) static IMPORTANCE: Param = Param::new(
    "importance",
    Model,
    File(FileKind::Importance),
    Required,
    "how much each weight of the model matters, as `growmerge importance` writes it",
);
pub(super) static EXPONENT: Param = Param::new(
    "exponent",
    Global,
    Amount,
    Value(0.5),
    "power of the importance; 1 is the paper's, 0 the mean",
);
pub(super) static FLOOR: Param = Param::new(
    "floor",
    Global,
    Amount,
    Value(1e-3),
    "the least that an importance counts, as a part of what it is divided by",
);
/// What importance is divided by; words and positions belong together.
pub(super) const DIVISOR_WORDS: &[&str] = &["none", "model"];
pub(super) static IMPORTANCE_DIVISOR: Param = Param::new(
    "importance_divisor",
    Global,
    Choice(DIVISOR_WORDS),
    Value(1.0),
    "what importance is divided by first: the mean over its model, or nothing",
);
pub(super) static GRAMS: Param = Param::new(
    "grams",
    Model,
    File(FileKind::Grams),
    Required,
    "Gram matrices of what goes into the model's projections, as `growmerge importance --gram` writes them",
);
pub(super) static SHRINKAGE: Param = Param::new(
    "shrinkage",
    Global,
    Fraction,
    Value(0.9),
    "factor on what is not on the diagonal of a Gram matrix",
);

/// How kept elements make up for dropped ones; words and positions belong together.
pub(super) const RESCALE_WORDS: &[&str] = &["none", "l1", "density"];
const RESCALE_DOC: &str = "make up for dropped elements: l1 keeps each difference's sum of magnitudes \
    (mergekit's rule, also `true`), density divides by the density (the DARE paper's), none or `false` neither";
pub(super) static RESCALE: Param =
    Param::new("rescale", Global, Choice(RESCALE_WORDS), Value(1.0), RESCALE_DOC);
pub(super) static RESCALE_OFF: Param =
    Param::new("rescale", Global, Choice(RESCALE_WORDS), Value(0.0), RESCALE_DOC);
