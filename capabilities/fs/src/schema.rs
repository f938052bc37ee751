//! JSON Schemas of inputs and outputs (2020-12), strict: no property that is not named.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Content, DIALECT, object};

/// A path as a component sees it.
pub fn path() -> Value {
    json!({ "type": "string", "pattern": "^/", "maxLength": 4096, "description": "absolute, in normal form: no `.`, `..` or empty segments" })
}

fn sha256() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 in lower-case hexadecimal" })
}

fn size() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "bytes" })
}

fn kind() -> Value {
    json!({ "enum": ["file", "directory", "link", "other"] })
}

/// The input of `write_file` and `append_file`.
pub fn content_input() -> Value {
    let mut properties = Content::properties();
    properties.insert("path".into(), path());
    properties.insert(
        "if_sha256".into(),
        json!({
            "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "do it only if the file has this SHA-256 now",
        }),
    );
    json!({
        "$schema": DIALECT, "type": "object",
        "properties": properties, "required": ["path"], "oneOf": Content::one_of(), "additionalProperties": false,
    })
}

/// The output of `write_file` and `append_file`.
pub fn written() -> Value {
    object(&[("path", path()), ("sha256", sha256()), ("size", size()), ("created", json!({ "type": "boolean" }))])
}

/// The output of `read_file`.
pub fn read_file() -> Value {
    let mut properties = Content::properties();
    properties.insert("path".into(), path());
    properties.insert("sha256".into(), sha256());
    properties.insert("size".into(), size());
    json!({
        "$schema": DIALECT, "type": "object",
        "properties": properties, "required": ["path", "sha256", "size"], "oneOf": Content::one_of(),
        "additionalProperties": false,
    })
}

/// The output of `list_dir`.
pub fn list_dir() -> Value {
    let entry = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "type": kind(),
            "size": { "type": "integer", "minimum": 0, "description": "bytes of a file; 0 for anything else" },
        },
        "required": ["name", "type", "size"], "additionalProperties": false,
    });
    object(&[("path", path()), ("entries", json!({ "type": "array", "items": entry }))])
}

/// The output of `exists`.
pub fn exists() -> Value {
    let kind =
        json!({ "enum": ["file", "directory", "link", "other", null], "description": "null if nothing is there" });
    object(&[("path", path()), ("exists", json!({ "type": "boolean" })), ("type", kind)])
}

/// The output of `hash_file`.
pub fn digest() -> Value {
    object(&[("path", path()), ("sha256", sha256()), ("size", size())])
}

/// The output of `make_dir`.
pub fn made() -> Value {
    let created =
        json!({ "type": "array", "items": path(), "description": "the directories that were made, parents first" });
    object(&[("path", path()), ("created", created)])
}

/// Input and output of `copy` and `move`.
pub fn from_to() -> Value {
    object(&[("from", path()), ("to", path())])
}

/// The input of `delete`.
pub fn delete() -> Value {
    json!({
        "$schema": DIALECT, "type": "object",
        "properties": {
            "path": path(),
            "recursive": { "type": "boolean", "description": "also a directory that is not empty" },
        },
        "required": ["path"], "additionalProperties": false,
    })
}
