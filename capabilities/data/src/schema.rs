//! JSON Schemas of inputs and outputs (2020-12), strict: no property that is not named. Each function returns both.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Content, DIALECT, object};

fn any(description: &str) -> Value {
    json!({ "description": description })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

/// Of `data.json.query`.
pub fn query() -> (Value, Value) {
    let input = object(&[("value", any("the document")), ("query", text("a JSONPath query, such as `$.items[*].id`"))]);
    let output = object(&[
        ("count", count("how many values were selected")),
        ("first", any("the first of them; null if there is none")),
        ("matches", json!({ "type": "array", "description": "all of them, in document order" })),
    ]);
    (input, output)
}

/// Of `data.json.merge`.
pub fn merge() -> (Value, Value) {
    let input = object(&[("target", any("what is changed")), ("patch", any("what changes it"))]);
    (input, object(&[("value", any("the result"))]))
}

/// Of `text.template.render`.
pub fn render() -> (Value, Value) {
    let values = json!({ "type": "object", "description": "what the references name" });
    let input = object(&[("template", text("text with `{{ name.path }}` references")), ("values", values)]);
    (input, object(&[("text", text("the result"))]))
}

/// Of `text.regex.match`.
pub fn regex() -> (Value, Value) {
    let group = json!({ "type": ["string", "null"] });
    let mut found = object(&[
        ("text", text("what matched")),
        ("start", count("byte offset of its begin")),
        ("end", count("byte offset of its end")),
        ("groups", json!({ "type": "array", "items": group, "description": "null where a group took no part" })),
        ("named", json!({ "type": "object", "additionalProperties": group, "description": "groups that have a name" })),
    ]);
    if let Value::Object(fields) = &mut found {
        fields.remove("$schema");
    }
    let input = object(&[("text", text("where to look")), ("pattern", text("what to look for"))]);
    let output = object(&[
        ("matched", json!({ "type": "boolean" })),
        ("matches", json!({ "type": "array", "items": found, "maxItems": 1000 })),
        ("truncated", json!({ "type": "boolean", "description": "whether there are more than 1 000 matches" })),
    ]);
    (input, output)
}

/// Of `data.hash`.
pub fn digest() -> (Value, Value) {
    let input = json!({
        "$schema": DIALECT, "type": "object",
        "properties": Content::properties(), "oneOf": Content::one_of(), "additionalProperties": false,
    });
    let sha256 = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "lower-case hexadecimal" });
    (input, object(&[("sha256", sha256), ("size", count("bytes"))]))
}
