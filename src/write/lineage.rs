//! What a merged model inherits from those that it is made of, for its card: their names on the Hub, their licence
//! if they agree, their languages.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::checkpoint::{Checkpoint, Folder};
use crate::plan::Plan;

const CARD: &str = "README.md";

/// What is said of a model's origin in the front matter of its card.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lineage {
    /// `owner/name` of every model that came from the Hub. Paths of this machine would be refused there, and are
    /// nobody's business.
    pub(super) base_models: Vec<String>,
    /// Its identifier, if all models have the same.
    pub(super) license: Option<String>,
    /// ISO 639 codes.
    pub(super) languages: Vec<String>,
}

impl Lineage {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut checkpoints = Vec::new();
        collect(plan, &mut checkpoints);
        let mut seen = BTreeSet::new();
        checkpoints.retain(|c| seen.insert(c.folder().path().to_owned()));
        let cards: Vec<Card> = checkpoints.iter().map(|c| Card::of(c.folder())).collect();
        let names = checkpoints.iter().filter_map(|c| Some(c.folder().remote()?.name().to_owned()));
        Self { base_models: once(names), ..Self::inherited(&cards) }
    }

    fn inherited(cards: &[Card]) -> Self {
        // A model without a word on its licence may not be given one.
        let license = cards.first().and_then(|c| c.license.clone());
        let license = license.filter(|l| cards.iter().all(|c| c.license.as_ref() == Some(l)));
        let languages = once(cards.iter().flat_map(|c| c.languages.clone()));
        Self { base_models: Vec::new(), license, languages }
    }
}

/// Each of some words once, where it first was.
fn once(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(word.clone())).collect()
}

/// The checkpoints of a plan, and of the stages that it is made of.
fn collect<'p>(plan: &'p Plan, into: &mut Vec<&'p Checkpoint>) {
    for input in plan.models() {
        into.extend(input.checkpoints());
        input.stage().into_iter().for_each(|stage| collect(&stage.plan, into));
    }
}

/// The front matter of an input's card, as far as it is inherited.
#[derive(Debug, Default, PartialEq, Eq)]
struct Card {
    license: Option<String>,
    languages: Vec<String>,
}

impl Card {
    /// Of a card that is here; one that is not, or cannot be read, says nothing.
    fn of(folder: &Folder) -> Self {
        let text = match folder.holds(CARD) && !folder.is_away(CARD) {
            true => read(&folder.path().join(CARD)),
            false => String::new(),
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let front = front_matter(text).unwrap_or_default();
        let words = |key: &str| match &front[key] {
            Value::Array(values) => values.iter().filter_map(word).collect(),
            value => Vec::from_iter(word(value)),
        };
        // Without the text that explains it, `other` says nothing.
        let license =
            words("license").into_iter().find(|l| is_identifier(l) && l != "other" && l != "unknown");
        let languages = words("language").into_iter().filter(|l| is_language(l)).collect();
        Self { license, languages }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The metadata at the beginning of a card.
pub(super) fn front_matter(text: &str) -> Option<Value> {
    let rest = text
        .trim_start_matches('\u{feff}')
        .strip_prefix("---")?
        .trim_start_matches('\r')
        .strip_prefix('\n')?;
    let (front, _) = rest.split_once("\n---")?;
    serde_yaml::from_str(front).ok()
}

/// A word; what older YAML takes for "no" is Norwegian here.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(false) => Some("no".to_owned()),
        _ => None,
    }
}

/// As the Hub has its licences.
fn is_identifier(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

/// Two or three letters (ISO 639-1 to 639-3), or one of the Hub's two words that are none.
pub(super) fn is_language(text: &str) -> bool {
    let code = (2..=3).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase());
    code || ["multilingual", "code"].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(front: &str) -> Card {
        Card::parse(&format!("---\n{front}\n---\n\n# A model\n---\n"))
    }

    #[test]
    fn cards_are_read_with_mistakes_and_without() {
        let read = card("license: apache-2.0\nlanguage:\n- et\n- no\n- Estonian\ntags: [x]");
        assert_eq!(read.license.as_deref(), Some("apache-2.0"));
        assert_eq!(read.languages, ["et", "no"]);
        assert_eq!(card("language: fo").languages, ["fo"]);
        assert_eq!(card("license: [mit]").license.as_deref(), Some("mit"));
        for front in ["license: other", "license: My Own", "license: {a: b}", "]["] {
            assert_eq!(card(front), Card::default(), "{front}");
        }
        assert_eq!(Card::parse("# no front matter\nlicense: mit\n"), Card::default());
    }

    #[test]
    fn a_licence_is_inherited_from_all_or_not_at_all() {
        let of = |fronts: &[&str]| Lineage::inherited(&fronts.iter().map(|f| card(f)).collect::<Vec<_>>());
        let both = of(&["license: mit\nlanguage: [en, et]", "license: mit\nlanguage: [en, fo]"]);
        assert_eq!(
            (both.license.as_deref(), both.languages),
            (Some("mit"), vec!["en".into(), "et".into(), "fo".into()])
        );
        assert_eq!(of(&["license: mit", "license: apache-2.0"]).license, None);
        assert_eq!(of(&["license: mit", "language: fo"]).license, None);
        assert_eq!(of(&[]), Lineage::default());
    }
}
