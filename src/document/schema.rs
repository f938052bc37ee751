//! JSON Schemas of the files that people write, made of the lists of keys that the loaders read by: so a key that a loader knows
//! is in the schema, and no other.
//!
//! A schema helps to write a file. It says what stands where; what patterns, paths and names may look like, and what belongs
//! together, only the loader says.

use serde_json::{Map, Value, json};

/// The draft that the schemas are written in.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A whole schema: `root` with a title and its draft.
pub fn document(title: &str, description: &str, root: Value) -> Value {
    let mut schema = json!({ "$schema": DRAFT, "title": title, "description": description });
    if let (Some(schema), Value::Object(root)) = (schema.as_object_mut(), root) {
        schema.extend(root);
    }
    schema
}

/// A mapping with exactly `keys`; `of` says what stands under each.
pub fn mapping(keys: &[&str], required: &[&str], of: impl Fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), of(key))).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if let Some(schema) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

/// What a value is for, besides what it may be.
pub fn described(description: &str, mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(description));
    }
    schema
}

/// A text.
pub fn text(description: &str) -> Value {
    described(description, json!({ "type": "string" }))
}

/// One of a few words.
pub fn word(description: &str, words: &[&str]) -> Value {
    described(description, json!({ "enum": words }))
}

/// `true` or `false`.
pub fn flag(description: &str) -> Value {
    described(description, json!({ "type": "boolean" }))
}

/// A whole number from `least` on.
pub fn count(description: &str, least: u64) -> Value {
    described(description, json!({ "type": "integer", "minimum": least }))
}

/// A length of time, such as `30s`.
pub fn time(description: &str) -> Value {
    described(description, json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["30s", "4h"] }))
}

/// A list, which may be empty.
pub fn items(description: &str, item: &Value) -> Value {
    described(description, json!({ "type": "array", "items": item }))
}

/// A list of at least one.
pub fn some(description: &str, item: &Value) -> Value {
    described(description, json!({ "type": "array", "items": item, "minItems": 1 }))
}

/// A list of at least one text.
pub fn texts(description: &str) -> Value {
    some(description, &json!({ "type": "string" }))
}

/// A text, or a list of at least one.
pub fn one_or_more(description: &str) -> Value {
    let list = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    described(description, json!({ "anyOf": [{ "type": "string" }, list] }))
}

/// A mapping from names that the author chooses.
pub fn named(description: &str, value: &Value) -> Value {
    described(description, json!({ "type": "object", "additionalProperties": value }))
}
