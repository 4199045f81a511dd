//! JSON Schema of recipes, made from the same lists that the reader and the methods use.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use crate::method::{Kind, METHODS};
use crate::recipe::{HeadForm, KEYS, Level, Status};

/// The schema of a recipe file.
pub fn recipe_schema() -> Schema {
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "growmerge recipe",
        "$defs": {
            "value": { "type": ["number", "boolean", "string"] },
            "ramp": {
                "description": "numbers spread evenly over the layers",
                "type": "array",
                "minItems": 1,
                "items": { "$ref": "#/$defs/value" }
            },
            "setting": {
                "anyOf": [
                    { "$ref": "#/$defs/value" },
                    { "$ref": "#/$defs/ramp" },
                    { "type": "array", "minItems": 1, "items": object(Level::Rule, &["value"]) }
                ]
            },
            "weighting": either(object(Level::Weight, &[]), &["tokens", "file", "norms"]),
            "weight": {
                "anyOf": [
                    { "$ref": "#/$defs/value" },
                    { "$ref": "#/$defs/ramp" },
                    { "$ref": "#/$defs/weighting" },
                    { "type": "array", "minItems": 1, "items": weight_rule() }
                ]
            },
            "parameters": { "type": "object", "properties": parameters() },
            "model": object(Level::Model, &["model"]),
            "module": either(object(Level::Module, &[]), &["models", "slices"]),
            "slice": object(Level::Slice, &["sources"]),
            "source": object(Level::Source, &["model", "layer_range"]),
            "token": object(Level::Token, &[]),
            "row": { "anyOf": [{ "type": "string" }, object(Level::Row, &["kind"]), { "$ref": "#/$defs/reference" }] },
            "reference": { "anyOf": [{ "type": "string" }, object(Level::Reference, &[])] },
            "grow": {
                "anyOf": [
                    { "type": "integer", "minimum": 1 },
                    object(Level::Grow, &["width"]),
                    { "$ref": "#/$defs/placeholder" }
                ]
            },
            "axis_value": {
                "description": "a word, a number, a list, or a mapping with a name, fields, and keys of the recipe to set",
                "anyOf": [
                    { "$ref": "#/$defs/value" },
                    { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/axis_value" } },
                    {
                        "type": "object",
                        "required": ["name"],
                        "properties": { "name": { "$ref": "#/$defs/value" }, "set": { "type": "object" } }
                    }
                ]
            },
            "axis_values": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/axis_value" } },
            "axis": { "anyOf": [{ "$ref": "#/$defs/axis_values" }, object(Level::Subsets, &["subsets"])] },
            "matrix": matrix(),
            "placeholder": { "type": "string", "pattern": "\\{[A-Za-z]" }
        }
    });
    if let (Value::Object(top), Value::Object(recipe)) =
        (Value::from(schema.clone()), object(Level::Recipe, &["merge_method"]))
    {
        let mut whole: Map<String, Value> = top;
        whole.extend(recipe);
        // What a recipe needs may come from the sets of a matrix.
        whole.remove("required");
        whole.insert("if".into(), json!({ "not": { "required": ["matrix"] } }));
        whole.insert(
            "then".into(),
            json!({
                "required": ["merge_method"],
                "oneOf": [{ "required": ["models"] }, { "required": ["slices"] }, { "required": ["modules"] }]
            }),
        );
        schema = Schema::from(whole);
    }
    schema
}

/// An object that has exactly one of these keys.
fn either(mut object: Value, keys: &[&str]) -> Value {
    object["oneOf"] = keys.iter().map(|key| json!({ "required": [key] })).collect();
    object
}

/// A rule whose value may be a mapping.
fn weight_rule() -> Value {
    let mut rule = object(Level::Rule, &["value"]);
    rule["properties"]["value"] = json!({
        "anyOf": [{ "$ref": "#/$defs/value" }, { "$ref": "#/$defs/ramp" }, { "$ref": "#/$defs/weighting" }]
    });
    rule
}

/// The keys of a level that have a meaning.
fn object(level: Level, required: &[&str]) -> Value {
    let keys =
        KEYS.iter().filter(|k| k.level == level && matches!(k.status, Status::Supported | Status::Grid));
    let properties: Map<String, Value> = keys
        .map(|key| {
            let mut value = match (level, key.name) {
                // There are tokens in a vocabulary too.
                (Level::Weight, "tokens") => key_type("file"),
                (_, name) => key_type(name),
            };
            value.insert("description".into(), json!(key.doc));
            (key.name.to_owned(), Value::Object(value))
        })
        .collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn key_type(name: &str) -> Map<String, Value> {
    let list =
        |of: &str| json!({ "type": "array", "minItems": 1, "items": { "$ref": format!("#/$defs/{of}") } });
    let schema = match name {
        "merge_method" => json!({ "enum": METHODS.iter().map(|m| m.name).collect::<Vec<_>>() }),
        "models" => list("model"),
        "slices" => list("slice"),
        "modules" => json!({
            "type": "object", "minProperties": 1, "additionalProperties": { "$ref": "#/$defs/module" }
        }),
        "sources" => list("source"),
        "parameters" => json!({ "$ref": "#/$defs/parameters" }),
        "base_model" | "model" | "lora" => json!({ "$ref": "#/$defs/reference" }),
        "grow" => json!({ "$ref": "#/$defs/grow" }),
        "width" | "intermediate" => json!({ "type": "integer", "minimum": 1 }),
        "seed" => json!({ "type": "integer", "minimum": 0 }),
        "noise_snr" => json!({ "type": "number" }),
        "factor" => json!({ "type": "number", "exclusiveMinimum": 0 }),
        "head" => json!({ "enum": HeadForm::ALL.map(|(word, _)| word) }),
        "dtype" | "out_dtype" => json!({ "enum": ["bfloat16", "float16", "float32"] }),
        "tokenizer" => object(Level::Tokenizer, &[]),
        "source" => json!({ "$ref": "#/$defs/row" }),
        "tokens" => json!({ "type": "object", "additionalProperties": { "$ref": "#/$defs/token" } }),
        "pad_to_multiple_of" => json!({ "type": "integer", "minimum": 1 }),
        "force" => json!({ "type": "boolean" }),
        "kind" => json!({ "enum": ["zero", "model_token"] }),
        "token_id" => json!({ "type": "integer", "minimum": 0 }),
        "non_finite" => json!({ "enum": ["refuse", "allow"] }),
        "matrix" => json!({ "$ref": "#/$defs/matrix" }),
        "subsets" => json!({ "$ref": "#/$defs/axis_values" }),
        "at_least" | "at_most" => json!({ "type": "integer", "minimum": 1 }),
        "exclude" | "include" => json!({ "type": "array", "items": { "type": "object" } }),
        "for" => json!({ "type": "string", "pattern": "^\\S+ +in +\\S+$" }),
        "norms" => json!({ "enum": ["rows"] }),
        "power" | "smoothing" => json!({ "type": "number", "minimum": 0 }),
        "scale" => json!({ "type": "number" }),
        "layer_range" => json!({
            "type": "array", "minItems": 2, "maxItems": 2, "items": { "type": "integer", "minimum": 0 }
        }),
        "value" => json!({ "anyOf": [{ "$ref": "#/$defs/value" }, { "$ref": "#/$defs/ramp" }] }),
        _ => json!({ "type": "string" }),
    };
    // In a grid a placeholder may stand for whatever is not text anyway.
    let is_text = schema.get("type").is_some_and(|t| t == "string") || schema.get("$ref").is_some();
    let schema = match is_text || FIXED.contains(&name) {
        true => schema,
        false => json!({ "anyOf": [schema, { "$ref": "#/$defs/placeholder" }] }),
    };
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Keys whose values no placeholder can replace, or that take any text.
const FIXED: [&str; 7] = ["value", "matrix", "subsets", "at_least", "at_most", "exclude", "include"];

/// Axes of any name, and what is left out or added.
fn matrix() -> Value {
    let mut matrix = object(Level::Matrix, &[]);
    if let Value::Object(map) = &mut matrix {
        map.insert("additionalProperties".into(), json!({ "$ref": "#/$defs/axis" }));
    }
    matrix
}

/// Every parameter of every method, with the methods that take it.
fn parameters() -> Map<String, Value> {
    let mut properties = Map::new();
    for method in METHODS {
        for param in method.params {
            let takers = METHODS.iter().filter(|m| m.param(param.name).is_some()).map(|m| m.name);
            let takers = takers.collect::<Vec<_>>().join(", ");
            let words = match param.kind {
                Kind::Choice(words) => format!(" ({})", words.join(", ")),
                _ => String::new(),
            };
            let text = format!("{}{words}; for {takers}", param.doc);
            let of = if param.kind == Kind::Weight { "weight" } else { "setting" };
            let value = json!({ "$ref": format!("#/$defs/{of}"), "description": text });
            properties.entry(param.name).or_insert(value);
        }
    }
    properties
}
