//! `{axis}` and `{axis.field}` in the words of a recipe → the values of one member.

use super::axes::{is_word, text};
use crate::problem::nearest;
use crate::recipe::node::{Node, Yaml};
use crate::recipe::reader::{Reader, join};

/// What placeholders can name, the innermost last.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'a>(Vec<(&'a str, &'a Node)>);

impl<'a> Scope<'a> {
    pub(super) fn with(&self, name: &'a str, value: &'a Node) -> Self {
        let mut scope = self.clone();
        scope.0.push((name, value));
        scope
    }

    fn find(&self, name: &str) -> Option<&'a Node> {
        self.0.iter().rev().find(|(n, _)| *n == name).map(|(_, node)| *node)
    }
}

/// A part of a text.
enum Part<'t> {
    Words(&'t str),
    /// `axis` or `axis.field`, without braces.
    Placeholder(&'t str),
}

/// Cuts a text at its placeholders. Braces in pairs, and before `%` and `#`, are left alone: chat templates
/// are full of them.
///
/// # Errors
/// The text from a brace on that begins no placeholder.
fn parts(text: &str) -> Result<Vec<Part<'_>>, &str> {
    let (mut parts, mut words, mut at) = (Vec::new(), 0, 0);
    while let Some(brace) = text[at..].find('{').map(|i| at + i) {
        let rest = &text[brace + 1..];
        if rest.starts_with(['{', '%', '#']) {
            at = brace + 2;
            continue;
        }
        let inside = rest.find('}').map(|end| &rest[..end]);
        let Some(inside) = inside.filter(|i| i.split('.').all(is_word)) else { return Err(&text[brace..]) };
        parts.extend((words < brace).then(|| Part::Words(&text[words..brace])));
        parts.push(Part::Placeholder(inside));
        at = brace + inside.len() + 2;
        words = at;
    }
    parts.extend((words < text.len()).then(|| Part::Words(&text[words..])));
    Ok(parts)
}

impl Reader<'_> {
    /// The same tree with every placeholder filled; what cannot be filled is a problem.
    pub(super) fn fill(&mut self, node: &Node, path: &str, scope: &Scope<'_>) -> Node {
        let yaml = match &node.yaml {
            Yaml::Text(text) if text.contains('{') => self.filled_text(text, node, path, scope),
            Yaml::List(list) => {
                let mut filled = Vec::new();
                for item in list {
                    let path = format!("{path}[{}]", filled.len());
                    match item.get("for") {
                        Some(head) => self.repeat(head, item, &path, scope, &mut filled),
                        None => filled.push(self.fill(item, &path, scope)),
                    }
                }
                Yaml::List(filled)
            }
            Yaml::Map(map) => {
                if let [(Node { yaml: Yaml::Text(key), .. }, Node { yaml: Yaml::Null, .. })] = &map[..]
                    && scope.find(key.split('.').next().unwrap_or_default()).is_some()
                {
                    let what = format!("`{{{key}}}` without quotes is a mapping in YAML");
                    self.hinted(path, node, what, format!("write \"{{{key}}}\""));
                }
                let fill = |(key, value): &(Node, Node)| {
                    let below = match &key.yaml {
                        Yaml::Text(key) => join(path, key),
                        _ => path.to_owned(),
                    };
                    (key.clone(), self.fill(value, &below, scope))
                };
                Yaml::Map(map.iter().map(fill).collect())
            }
            other => other.clone(),
        };
        Node { yaml, ..*node }
    }

    /// A text that is one placeholder becomes the value itself, any other stays text.
    fn filled_text(&mut self, text: &str, node: &Node, path: &str, scope: &Scope<'_>) -> Yaml {
        let parts = match parts(text) {
            Ok(parts) => parts,
            Err(rest) => {
                let shown: String = rest.chars().take(20).collect();
                let hint = "placeholders are {axis} or {axis.field}, without spaces";
                self.hinted(path, node, format!("`{shown}` is no placeholder"), hint);
                return Yaml::Null;
            }
        };
        if let [Part::Placeholder(name)] = parts[..] {
            let value = self.lookup(name, node, path, scope);
            return value.map_or(Yaml::Null, |value| value.get("name").unwrap_or(value).yaml.clone());
        }
        let mut filled = String::new();
        for part in parts {
            match part {
                Part::Words(words) => filled += words,
                Part::Placeholder(name) => {
                    let Some(value) = self.lookup(name, node, path, scope) else { continue };
                    match super::axes::text(value) {
                        Some(text) => filled += &text,
                        None => {
                            let what = format!("`{{{name}}}` is {}, not text", value.yaml.kind());
                            self.error(path, node, what);
                        }
                    }
                }
            }
        }
        Yaml::Text(filled)
    }

    /// What a placeholder stands for.
    fn lookup<'n>(&mut self, name: &str, node: &Node, path: &str, scope: &Scope<'n>) -> Option<&'n Node> {
        let mut words = name.split('.');
        let first = words.next().unwrap_or_default();
        let Some(mut value) = scope.find(first) else {
            let known = scope.0.iter().map(|(name, _)| *name);
            let problem = self.place(path, node).problem(format!("there is no axis `{first}`"));
            let hint = nearest(first, known.clone()).map_or_else(
                || format!("known here are: {}", known.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{{{near}}}`?"),
            );
            self.problems.push(problem.hint(hint));
            return None;
        };
        let mut of = first.to_owned();
        for field in words {
            let Some(inner) = value.get(field) else {
                let called = text(value).map(|t| format!(" `{t}`")).unwrap_or_default();
                let what = format!("`{of}`{called} has no field `{field}`");
                let fields = match &value.yaml {
                    Yaml::Map(map) => map.as_slice(),
                    _ => &[],
                };
                let fields = fields.iter().filter_map(|(key, _)| match &key.yaml {
                    Yaml::Text(key) => Some(key.as_str()),
                    _ => None,
                });
                let problem = self.place(path, node).problem(what).did_you_mean(field, fields);
                self.problems.push(problem);
                return None;
            };
            value = inner;
            of = join(&of, field);
        }
        Some(value)
    }

    /// `for: word in list`: the item once for each element.
    fn repeat(&mut self, head: &Node, item: &Node, path: &str, scope: &Scope<'_>, filled: &mut Vec<Node>) {
        let below = join(path, "for");
        let words = match &head.yaml {
            Yaml::Text(text) => text.split_whitespace().collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let [word, "in", list] = words[..] else {
            let what = "must be of the form `language in languages`";
            return self.hinted(
                &below,
                head,
                what,
                "a word of your choice, and an axis whose values are lists",
            );
        };
        if !is_word(word) || scope.find(word).is_some() {
            let what = format!("`{word}` is an axis already, or no word");
            return self.hinted(&below, head, what, "take another word, of letters and digits");
        }
        let Some(value) = self.lookup(list, head, &below, scope) else { return };
        let Yaml::List(elements) = &value.yaml else {
            let what = format!("`{list}` is {}, not a list", value.yaml.kind());
            return self.error(&below, head, what);
        };
        let mut item = item.clone();
        if let Yaml::Map(map) = &mut item.yaml {
            super::axes::take(map, "for");
        }
        let path = path.rsplit_once('[').map_or(path, |(list, _)| list);
        for element in elements {
            let path = format!("{path}[{}]", filled.len());
            filled.push(self.fill(&item, &path, &scope.with(word, element)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_placeholders_and_nowhere_else() {
        let show = |text: &str| match parts(text) {
            Ok(parts) => parts
                .iter()
                .map(|p| match p {
                    Part::Words(words) => format!("<{words}>"),
                    Part::Placeholder(name) => format!("[{name}]"),
                })
                .collect(),
            Err(rest) => format!("!{rest}"),
        };
        assert_eq!(show("a{b}c{d.e}"), "<a>[b]<c>[d.e]");
        assert_eq!(show("{b}"), "[b]");
        assert_eq!(show("no}ne"), "<no}ne>");
        assert_eq!(show("{{ x }}{% if y %}{# z #}{b}"), "<{{ x }}{% if y %}{# z #}>[b]");
        for wrong in ["{", "{}", "{ b}", "{b", "{b.}", "{.b}", "{1}", "é{b c}"] {
            assert!(show(wrong).starts_with('!'), "{wrong}");
        }
    }
}
