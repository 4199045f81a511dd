//! Kinds of layers that `config.json` tells by their numbers: every sixth layer sees all, the first three are dense.
//! Where a layer gets another number, its kind is spelt out.

use serde_json::{Value, json};

/// A key from which the kinds of layers follow.
struct Pattern {
    key: &'static str,
    /// Whether layer `l` is of the second kind, for the value `n > 0`.
    second: fn(l: usize, n: usize) -> bool,
    /// The list that says the same layer by layer.
    list: Option<List>,
}

/// A list of two kinds.
#[derive(Clone, Copy)]
struct List {
    key: &'static str,
    words: [Word; 2],
}

#[derive(Clone, Copy)]
enum Word {
    Text(&'static str),
    Number(u8),
}

impl From<Word> for Value {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => json!(text),
            Word::Number(number) => json!(number),
        }
    }
}

const fn attention(first: &'static str) -> Option<List> {
    Some(List { key: "layer_types", words: [Word::Text(first), Word::Text("full_attention")] })
}

const LAST_OF: fn(usize, usize) -> bool = |l, n| (l + 1).is_multiple_of(n);
const FIRST_OF: fn(usize, usize) -> bool = |l, n| l.is_multiple_of(n);
const ROPE: Option<List> = Some(List { key: "no_rope_layers", words: [Word::Number(1), Word::Number(0)] });

/// As `transformers` reads these keys; a list, if there is one, counts more.
static PATTERNS: &[Pattern] = &[
    Pattern { key: "sliding_window_pattern", second: LAST_OF, list: attention("sliding_attention") },
    Pattern { key: "full_attention_interval", second: LAST_OF, list: attention("linear_attention") },
    Pattern { key: "global_attn_every_n_layers", second: FIRST_OF, list: attention("sliding_attention") },
    Pattern { key: "no_rope_layer_interval", second: LAST_OF, list: ROPE },
    Pattern { key: "interleave_moe_layer_step", second: LAST_OF, list: None },
    Pattern { key: "decoder_sparse_step", second: LAST_OF, list: None },
    Pattern { key: "first_k_dense_replace", second: |l, n| l < n, list: None },
    Pattern { key: "attn_layer_period", second: FIRST_OF, list: None },
    Pattern { key: "expert_layer_period", second: FIRST_OF, list: None },
];

/// Spells kinds out where the layers, each with its old number and the config it comes from, no longer have those
/// that `ours` gives them; warns where there is no way to.
pub(super) fn follow(
    ours: &Value,
    layers: &[(Value, usize)],
    write: &mut dyn FnMut(&str, Value),
    warn: &mut dyn FnMut(String),
) {
    for Pattern { key, second, list } in PATTERNS {
        let Some(n) = period(ours, key) else { continue };
        let said = |list: &str| ours.get(list).is_some_and(Value::is_array);
        if list.is_some_and(|list| said(list.key))
            || *key == "interleave_moe_layer_step" && said("moe_layers")
        {
            continue; // the list counts, and has followed
        }
        let is: Vec<bool> =
            layers.iter().map(|(from, l)| second(*l, period(from, key).unwrap_or(n))).collect();
        if is.iter().enumerate().all(|(l, is)| second(l, n) == *is) {
            continue;
        }
        let leading = is.iter().take_while(|is| **is).count();
        match list {
            Some(List { key, words }) => {
                write(key, is.iter().map(|is| Value::from(words[usize::from(*is)])).collect())
            }
            None if *key == "first_k_dense_replace" && is[leading..].iter().all(|is| !is) => {
                write(key, json!(leading));
            }
            None => {
                warn(format!("by `{key}: {n}` some layers are of another kind than where they come from"))
            }
        }
    }
    if ours.get("scale_attn_by_inverse_layer_idx") == Some(&json!(true))
        && layers.iter().enumerate().any(|(i, (_, layer))| i != *layer)
    {
        warn("by `scale_attn_by_inverse_layer_idx` attention is scaled by the number of the layer".into());
    }
}

/// The value of a pattern's key; Gemma 2 has one that older configs do not spell out.
fn period(section: &Value, key: &str) -> Option<usize> {
    let value = |key: &str| section.get(key).and_then(Value::as_u64).filter(|n| *n > 0).map(|n| n as usize);
    let gemma2 = section.get("model_type").is_some_and(|t| t == "gemma2");
    match key {
        "sliding_window_pattern" => {
            value(key).or_else(|| value("_sliding_window_pattern")).or_else(|| gemma2.then_some(2))
        }
        _ => value(key),
    }
}
