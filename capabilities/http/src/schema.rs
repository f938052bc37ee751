//! JSON Schemas of inputs and outputs (2020-12), strict: no property that is not named.

use redress_guest::DIALECT;
use redress_guest::serde_json::{Map, Value, json};

fn url(description: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 8192, "description": description })
}

fn headers() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" },
        "additionalProperties": { "type": "string", "maxLength": 65536 },
        "maxProperties": 100,
        "description": "by name; `${secret:NAME}` in a value stands for a granted secret, which the host puts in its place",
    })
}

fn expect_status() -> Value {
    json!({
        "type": "array", "minItems": 1,
        "items": { "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^([1-5]xx|[1-5][0-9]{2}-[1-5][0-9]{2})$" },
        ] },
        "description": "what counts as success, such as `[200, \"3xx\", \"400-404\"]`; `2xx` if it is left out",
    })
}

fn properties(of: Value) -> Map<String, Value> {
    match of {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Where to, and what counts as success.
fn addressed(url_is: &str) -> Map<String, Value> {
    properties(json!({ "url": url(url_is), "headers": headers(), "expect_status": expect_status() }))
}

fn method(words: &[&str]) -> Value {
    json!({ "enum": words })
}

const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

fn message(url_is: &str) -> Map<String, Value> {
    let mut fields = addressed(url_is);
    fields.extend(properties(json!({
        "method": method(&METHODS),
        "body": { "type": "string", "description": "a text" },
        "body_base64": { "type": "string", "contentEncoding": "base64", "description": "any bytes, in base64 with padding" },
        "json": { "description": "any JSON" },
    })));
    fields
}

fn closed(properties: Map<String, Value>, required: &[&str]) -> Value {
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        // At most one body.
        "not": { "anyOf": [
            { "required": ["body", "body_base64"] }, { "required": ["body", "json"] }, { "required": ["body_base64", "json"] },
        ] },
    })
}

fn whole(schema: Value) -> Value {
    let mut schema = properties(schema);
    schema.insert("$schema".into(), DIALECT.into());
    Value::Object(schema)
}

const ABSOLUTE: &str = "an `http` or `https` URL in normal form";

/// The input of `get`.
pub fn get() -> Value {
    let mut fields = addressed(ABSOLUTE);
    fields.insert("method".into(), method(&["GET", "HEAD"]));
    whole(json!({ "type": "object", "properties": fields, "required": ["url"], "additionalProperties": false }))
}

/// The input of `send`.
pub fn send() -> Value {
    whole(closed(message(ABSOLUTE), &["url", "method"]))
}

/// The input of `request`.
pub fn request() -> Value {
    let undo =
        || closed(message("at the scheme, host and port of the request; these may be left out"), &["url", "method"]);
    let mut lookup = addressed("a URL that finds what the request made, by `{key}`");
    lookup.insert("undo".into(), undo());
    let mut fields = message(ABSOLUTE);
    fields.extend(properties(json!({
        "undo": undo(),
        "lookup": { "type": "object", "properties": lookup, "required": ["url"], "additionalProperties": false },
        "settle_seconds": {
            "type": "integer", "minimum": 0, "maximum": 604_800,
            "description": "how long an undo waits for a target that shows no outcome yet; 300 if it is left out",
        },
    })));
    whole(closed(fields, &["url", "method", "undo"]))
}

/// The output of all of them.
pub fn answer() -> Value {
    let body = ["json", "body", "body_base64"].map(|name| json!({ "required": [name] }));
    whole(json!({
        "type": "object",
        "properties": {
            "status": { "type": "integer", "minimum": 100, "maximum": 999 },
            "headers": {
                "type": "object", "additionalProperties": { "type": "string" },
                "description": "by lower-case name; several of one name are joined by `, `",
            },
            "json": { "description": "the body, if its `content-type` is JSON" },
            "body": { "type": "string", "description": "the body, if it is other text" },
            "body_base64": { "type": "string", "contentEncoding": "base64", "description": "any other body" },
        },
        "required": ["status", "headers"], "oneOf": body, "additionalProperties": false,
    }))
}
