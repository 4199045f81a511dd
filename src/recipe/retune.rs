//! A recipe with other weights: the text of the old one, with a file of coefficients in place of its numbers.

use super::emit::emit;
use super::node::{Node, Yaml, parse};
use crate::problem::{Problem, Problems};

/// Keys that coefficients of a file stand in for.
const REPLACED: [&str; 3] = ["weight", "lambda", "normalize"];

/// The recipe `text`, in which each of its `models:` takes the coefficients that `entries` names, in their order, from
/// `file`; a model without an entry stays as it is. Comments are lost.
///
/// # Errors
/// If it is no recipe with `models:`.
pub fn with_coefficients(text: &str, entries: &[Option<String>], file: &str) -> Result<String, Problems> {
    let mut documents = parse("recipe", text)?;
    let result = documents.iter().position(|d| d.get("name").is_none());
    let result = result.unwrap_or(documents.len().saturating_sub(1));
    let refuse = || {
        let problem =
            Problem::error("models", "the recipe has no `models:`, whose weights could be replaced");
        Problems::from(problem.hint("write it without slices and modules"))
    };
    let Some(Node { yaml: Yaml::Map(root), .. }) = documents.get_mut(result) else { return Err(refuse()) };
    let Some(models) = value(root, "models") else { return Err(refuse()) };
    let Yaml::List(models) = &mut models.yaml else { return Err(refuse()) };
    for (model, entry) in models.iter_mut().zip(entries) {
        let (Yaml::Map(model), Some(entry)) = (&mut model.yaml, entry) else { continue };
        let weight = vec![(word("file"), word(file)), (word("entry"), word(entry))];
        let parameters = parameters(model);
        parameters.push((word("weight"), node(Yaml::Map(weight))));
    }
    parameters(root).push((word("normalize"), node(Yaml::Bool(false))));
    Ok(documents.iter().map(emit).collect::<Vec<_>>().join("---\n"))
}

/// The parameters of a recipe or a model, without what is replaced.
fn parameters(of: &mut Vec<(Node, Node)>) -> &mut Vec<(Node, Node)> {
    let at = of.iter().position(|(key, value)| is(key, "parameters") && matches!(value.yaml, Yaml::Map(_)));
    let at = at.unwrap_or_else(|| {
        of.retain(|(key, _)| !is(key, "parameters"));
        of.push((word("parameters"), node(Yaml::Map(Vec::new()))));
        of.len() - 1
    });
    match of.get_mut(at) {
        Some((_, Node { yaml: Yaml::Map(map), .. })) => {
            map.retain(|(key, _)| !REPLACED.iter().any(|name| is(key, name)));
            map
        }
        _ => unreachable!("it is a mapping, or was just made one"),
    }
}

fn value<'a>(map: &'a mut [(Node, Node)], name: &str) -> Option<&'a mut Node> {
    map.iter_mut().find(|(key, _)| is(key, name)).map(|(_, value)| value)
}

fn is(key: &Node, name: &str) -> bool {
    matches!(&key.yaml, Yaml::Text(text) if text == name)
}

fn word(text: &str) -> Node {
    node(Yaml::Text(text.to_owned()))
}

fn node(yaml: Yaml) -> Node {
    Node { yaml, line: 0, column: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_replaced_and_nothing_else() {
        let text = "# mine\nmerge_method: task_arithmetic\nbase_model: en\nmodels:\n  - model: en\n  - model: et\n    \
                    parameters: {weight: 0.3, density: 1}\n  - model: {path: fo, revision: r}\nparameters: {lambda: 2, \
                    normalize: true}\ndtype: bfloat16\n";
        let entries = [None, Some("et".to_owned()), Some("fo".to_owned())];
        let tuned = with_coefficients(text, &entries, "out/c.safetensors").unwrap();
        let want = "merge_method: task_arithmetic\nbase_model: en\nmodels:\n  - model: en\n  - model: et\n    \
                    parameters:\n      density: 1\n      weight:\n        file: out/c.safetensors\n        entry: et\n  - \
                    model:\n      path: fo\n      revision: r\n    parameters:\n      weight:\n        file: \
                    out/c.safetensors\n        entry: fo\nparameters:\n  normalize: false\ndtype: bfloat16\n";
        assert_eq!(tuned, want);
        assert_eq!(with_coefficients(&tuned, &entries, "out/c.safetensors").unwrap(), tuned);
    }

    #[test]
    fn of_several_documents_the_result_is_meant() {
        let text = "name: a\nmerge_method: ties\nmodels: [{model: x}]\n---\nmerge_method: task_arithmetic\nmodels: [{model: a}]\n";
        let tuned = with_coefficients(text, &[Some("a".into())], "c").unwrap();
        assert_eq!(tuned.matches("entry: a").count(), 1);
        assert!(
            tuned.starts_with("name: a\nmerge_method: ties\n") && tuned.contains("---\nmerge_method: task")
        );
        assert!(with_coefficients("merge_method: x\nslices: []\n", &[], "c").is_err());
    }
}
