//! A parameter's setting: a value, a ramp over the layers, or rules by tensor name.

use super::{Located, Weighting};

/// One value: booleans are 1 and 0, numeric strings are numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// Any other word; few parameters take one.
    Word(String),
    /// Of a weight: where it comes from.
    Weighting(Box<Weighting>),
}

/// What a recipe says of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// The same everywhere.
    Constant(Value),
    /// Numbers spread evenly over the depth of a slice.
    Ramp(Vec<Value>),
    /// The first rule that matches the tensor's name.
    Rules(Vec<Rule>),
}

/// A value for some tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Part of the tensor's name, case-sensitive; `None` matches all.
    pub filter: Option<String>,
    /// The value.
    pub value: Profile,
}

/// A constant or a ramp.
#[derive(Clone, Debug, PartialEq)]
pub enum Profile {
    /// The same everywhere.
    Constant(Value),
    /// Numbers spread evenly over the depth.
    Ramp(Vec<Value>),
}

impl Setting {
    /// The value at depth `t` in `[0, 1]` for a tensor; `None` when no rule matches, and the next level
    /// of parameters decides.
    pub fn at(&self, t: f64, tensor: &str) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Ramp(points) => ramp(points, t),
            Self::Rules(rules) => {
                let matches = |r: &&Rule| r.filter.as_ref().is_none_or(|f| tensor.contains(f.as_str()));
                rules.iter().find(matches).and_then(|r| match &r.value {
                    Profile::Constant(value) => Some(value.clone()),
                    Profile::Ramp(points) => ramp(points, t),
                })
            }
        }
    }
}

/// Linear between two neighbouring points, in f64 and in mergekit's order of operations.
fn ramp(points: &[Value], t: f64) -> Option<Value> {
    let number = |i: usize| match points.get(i) {
        Some(Value::Number(x)) => Some(*x),
        _ => None,
    };
    let last = points.len().checked_sub(1)?;
    let scaled = t.clamp(0.0, 1.0) * last as f64;
    let i = scaled as usize;
    let j = last.min(i + 1);
    let fraction = scaled - i as f64;
    Some(Value::Number((1.0 - fraction) * number(i)? + fraction * number(j)?))
}

/// Settings by name, in the order of the recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub(super) Vec<(String, Located<Setting>)>);

impl Settings {
    /// The setting of that name.
    pub fn get(&self, name: &str) -> Option<&Located<Setting>> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, s)| s)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Located<Setting>)> {
        self.0.iter().map(|(n, s)| (n.as_str(), s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(x: &[f64]) -> Vec<Value> {
        x.iter().map(|x| Value::Number(*x)).collect()
    }

    #[test]
    fn a_ramp_of_three_over_six_layers() {
        let ramp = Setting::Ramp(numbers(&[0.0, 1.0, 0.5]));
        let got: Vec<f64> = (0..6)
            .map(|i| match ramp.at(f64::from(i) / 5.0, "") {
                Some(Value::Number(x)) => (x * 1e12).round() / 1e12,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(got, [0.0, 0.4, 0.8, 0.9, 0.7, 0.5]);
        assert_eq!(Setting::Ramp(numbers(&[3.0])).at(0.7, ""), Some(Value::Number(3.0)));
    }

    #[test]
    fn the_first_matching_rule_decides_and_none_leaves_it_open() {
        let rule = |filter: Option<&str>, x| Rule {
            filter: filter.map(str::to_owned),
            value: Profile::Constant(Value::Number(x)),
        };
        let rules = Setting::Rules(vec![rule(Some("mlp"), 1.0), rule(Some("m"), 2.0)]);
        assert_eq!(rules.at(0.0, "layers.0.mlp.up"), Some(Value::Number(1.0)));
        assert_eq!(rules.at(0.0, "norm"), Some(Value::Number(2.0)));
        assert_eq!(rules.at(0.0, "MLP"), None);
        assert_eq!(Setting::Rules(vec![rule(None, 3.0)]).at(0.0, "x"), Some(Value::Number(3.0)));
    }
}
