//! YAML text that says what a tree says, in words that YAML 1.1 (PyYAML) and 1.2 read alike.

use std::fmt::Write;

use super::node::{Node, Yaml};

/// The text of a document.
pub(super) fn emit(node: &Node) -> String {
    let mut text = String::new();
    block(&mut text, node, 0);
    text
}

/// A value from the beginning of a line on, or behind a `- `.
fn block(text: &mut String, node: &Node, indent: usize) {
    match &node.yaml {
        Yaml::Map(map) if !map.is_empty() => {
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    let _ = write!(text, "{:indent$}", "");
                }
                flow(text, key);
                text.push(':');
                below(text, value, indent);
            }
        }
        Yaml::List(list) if !list.iter().all(is_scalar) => {
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    let _ = write!(text, "{:indent$}", "");
                }
                text.push_str("- ");
                block(text, item, indent + 2);
            }
        }
        _ => {
            flow(text, node);
            text.push('\n');
        }
    }
}

/// A value behind `key:`, on the same line if it has no parts.
fn below(text: &mut String, value: &Node, indent: usize) {
    let inner = match &value.yaml {
        Yaml::Map(map) if !map.is_empty() => indent + 2,
        Yaml::List(list) if !list.iter().all(is_scalar) => indent + 2,
        _ => {
            text.push(' ');
            flow(text, value);
            text.push('\n');
            return;
        }
    };
    let _ = write!(text, "\n{:inner$}", "");
    block(text, value, inner);
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.yaml, Yaml::List(_) | Yaml::Map(_))
}

fn flow(text: &mut String, node: &Node) {
    let _ = match &node.yaml {
        Yaml::Null => write!(text, "null"),
        Yaml::Bool(x) => write!(text, "{x}"),
        // There is no infinity and no NaN in a tree: the reader refuses both.
        Yaml::Number(x) if *x == 0.0 && x.is_sign_negative() => write!(text, "-0.0"),
        Yaml::Number(x) => write!(text, "{x}"),
        Yaml::Text(x) if is_plain(x) => write!(text, "{x}"),
        Yaml::Text(x) => write!(text, "{}", quoted(x)),
        Yaml::List(list) => {
            text.push('[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                flow(text, item);
            }
            write!(text, "]")
        }
        Yaml::Map(map) => {
            text.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                flow(text, key);
                text.push_str(": ");
                flow(text, value);
            }
            write!(text, "}}")
        }
    };
}

/// Whether every YAML reads this as text without quotes: a word or a path, and none of the words that
/// YAML 1.1 takes for something else.
fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        || text.starts_with("./")
        || text.starts_with("../");
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./+@".contains(c);
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    begins && text.chars().all(inside) && !words.contains(&text.to_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' => write!(quoted, "\\\""),
            '\\' => write!(quoted, "\\\\"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            // Not allowed as they are, or taken for the end of a line.
            c if c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c) => {
                write!(quoted, "\\u{:04x}", u32::from(c))
            }
            c => write!(quoted, "{c}"),
        };
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::super::node::parse;
    use super::*;

    /// The same tree, places aside.
    fn same(a: &Node, b: &Node) -> bool {
        match (&a.yaml, &b.yaml) {
            (Yaml::List(a), Yaml::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Yaml::Map(a), Yaml::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
            }
            (Yaml::Number(a), Yaml::Number(b)) => a.to_bits() == b.to_bits(),
            (Yaml::Text(a), Yaml::Text(b)) => a == b,
            (Yaml::Bool(a), Yaml::Bool(b)) => a == b,
            (a, b) => matches!((a, b), (Yaml::Null, Yaml::Null)),
        }
    }

    fn round(text: &str) -> String {
        let node = parse("r.yaml", text).unwrap().remove(0);
        let emitted = emit(&node);
        let again = parse("r.yaml", &emitted).unwrap_or_else(|p| panic!("{p}\n{emitted}"));
        assert!(again.len() == 1 && same(&node, &again[0]), "{text}\n→\n{emitted}");
        emitted
    }

    #[test]
    fn what_is_emitted_says_the_same() {
        let text = "a: 1\nb: [1.5, x, 'no', \"1x\", null, true]\nc:\n  - d: {e: []}\n    f: {}\n  - [[1], [2, {g: 'h: i'}]]\n\
                    'j k': \"l\\nm\\u2028\\\"\\\\\\t\"\n'y': -1e-7\np: ''\nq: './r'\ns: '.5'\nt: -0.0\nu: '---'\n";
        let emitted = round(text);
        assert!(emitted.contains("b: [1.5, x, \"no\", \"1x\", null, true]\n"), "{emitted}");
        assert_eq!(round(&emitted), emitted);
    }

    #[test]
    fn lists_of_mappings_look_as_people_write_them() {
        let text = "models:\n  - model: a/b-1\n    parameters:\n      weight: [0, 1]\n  - model: c\n";
        assert_eq!(round(text), text);
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives(text in "\\PC{0,12}|[a-z0-9.:#\\-{}\\[\\]&*!|>'\"%@`,?~ \n\t]{0,12}") {
            let node = |yaml| Node { yaml, line: 1, column: 1 };
            let value = || node(Yaml::Text(text.clone()));
            let tree = node(Yaml::Map(vec![(node(Yaml::Text("k".into())), node(Yaml::List(vec![value(), value()])))]));
            let again = parse("r.yaml", &emit(&tree)).unwrap_or_else(|p| panic!("{p}"));
            proptest::prop_assert!(same(&tree, &again[0]), "{:?}", emit(&tree));
        }
    }
}
