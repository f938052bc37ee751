//! Which values of inputs and outputs are not for everybody's eyes.
//!
//! A schema marks them (`"x-redress-sensitive": true`), and a policy names more of them. What is marked is decided, delivered and
//! recorded like anything else; it is only not shown unless somebody asks for it.

use std::fmt;

use serde_json::Value;

use super::{Pattern, Policy};
use crate::document::Span;
use crate::types::CapabilityId;

/// What stands in the place of a value that is not shown.
pub const MASKED: &str = "(sensitive)";
/// The key of a schema that marks what it describes.
pub const MARK: &str = "x-redress-sensitive";
/// How deep a value is looked into; what lies deeper is not shown.
const DEPTH: usize = 128;

/// Whether a value went into a capability or came out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It was given.
    Inputs,
    /// It was returned.
    Outputs,
}

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Side::Inputs => "inputs",
            Side::Outputs => "outputs",
        }
    }
}

/// A place in values: `inputs.customer.email`, with `*` for any one name. Lists are looked into without a name of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    side: Side,
    names: Vec<String>,
}

impl FieldPath {
    /// Reads a path; the error says what to write instead.
    pub fn parse(text: &str) -> Result<FieldPath, String> {
        let wrong = || {
            format!(
                "`{text}` does not name a field: write `inputs.email` or `outputs.token`, with `*` for any one name"
            )
        };
        let mut names = text.split('.').map(str::to_owned);
        let side = match names.next().as_deref() {
            Some("inputs") => Side::Inputs,
            Some("outputs") => Side::Outputs,
            _ => return Err(wrong()),
        };
        let names: Vec<String> = names.collect();
        let good = |name: &String| !name.is_empty() && (name == "*" || !name.contains('*'));
        if names.is_empty() || !names.iter().all(good) { Err(wrong()) } else { Ok(FieldPath { side, names }) }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.side.as_str(), self.names.join("."))
    }
}

/// An entry of `sensitive:`.
#[derive(Clone, Debug)]
pub(super) struct SensitiveFields {
    pub capabilities: Vec<Pattern>,
    /// Where each of them stands.
    pub capability_spans: Vec<Span>,
    pub fields: Vec<FieldPath>,
}

impl Policy {
    /// Masks what this policy says is sensitive in a value of a capability; true if there was any.
    pub fn mask(&self, capability: &CapabilityId, side: Side, value: &mut Value) -> bool {
        let entries = self.sensitive.iter().filter(|entry| Pattern::any(&entry.capabilities, capability.as_str()));
        let mut any = false;
        for field in entries.flat_map(|entry| &entry.fields).filter(|field| field.side == side) {
            any |= mask_path(value, &field.names, 0);
        }
        any
    }
}

impl Policy {
    /// Whether this policy names anything of a capability.
    pub fn names_sensitive(&self, capability: &CapabilityId) -> bool {
        self.sensitive.iter().any(|entry| Pattern::any(&entry.capabilities, capability.as_str()))
    }
}

/// Whether a schema marks anything.
pub fn marks_any(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.get(MARK) == Some(&Value::Bool(true)) || fields.values().any(marks_any),
        Value::Array(items) => items.iter().any(marks_any),
        _ => false,
    }
}

fn mask_path(value: &mut Value, names: &[String], depth: usize) -> bool {
    if names.is_empty() || depth > DEPTH {
        *value = Value::String(MASKED.to_owned());
        return true;
    }
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |any, item| mask_path(item, names, depth + 1) | any),
        Value::Object(fields) => {
            let Some((name, rest)) = names.split_first() else { return false };
            let named = fields.iter_mut().filter(|(key, _)| name == "*" || *key == name);
            named.fold(false, |any, (_, inner)| mask_path(inner, rest, depth + 1) | any)
        }
        _ => false,
    }
}

/// Masks what a schema marks in a value that it accepts; true if there was any.
pub fn mask_marked(schema: &Value, value: &mut Value) -> bool {
    mask_by(schema, schema, value, 0)
}

fn mask_by(root: &Value, schema: &Value, value: &mut Value, depth: usize) -> bool {
    if schema.get(MARK) == Some(&Value::Bool(true)) || depth > DEPTH {
        *value = Value::String(MASKED.to_owned());
        return true;
    }
    let mut any = false;
    let mut inner = |schema: &Value, value: &mut Value| any |= mask_by(root, schema, value, depth + 1);
    if let Some(part) =
        schema.get("$ref").and_then(Value::as_str).and_then(|part| root.pointer(part.strip_prefix('#')?))
    {
        inner(part, value);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            inner(part, value);
        }
    }
    for key in ["if", "then", "else"] {
        if let Some(part) = schema.get(key) {
            inner(part, value);
        }
    }
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, value) in fields {
                let own = properties.and_then(|properties| properties.get(name));
                let more =
                    ["additionalProperties", "unevaluatedProperties"].into_iter().filter_map(|key| schema.get(key));
                let patterns = schema.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
                // What a pattern says is taken for every name: rather too much than too little.
                let parts = own.into_iter().chain(patterns.map(|(_, part)| part));
                let parts = parts.chain(more.filter(|_| own.is_none()));
                parts.for_each(|part| inner(part, value));
            }
        }
        Value::Array(items) => {
            let prefix = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let others = ["items", "contains"].into_iter().filter_map(|key| schema.get(key)).collect::<Vec<_>>();
            for (index, item) in items.iter_mut().enumerate() {
                prefix.get(index).into_iter().chain(others.iter().copied()).for_each(|part| inner(part, item));
            }
        }
        _ => {}
    }
    any
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::Source;

    #[test]
    fn what_a_schema_marks_is_masked_wherever_it_lies() {
        let schema = json!({
            "properties": {
                "name": {}, "token": { "type": "string", "x-redress-sensitive": true },
                "list": { "items": { "properties": { "pin": { "$ref": "#/$defs/secret" } } } },
                "more": { "additionalProperties": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/secret" }] } },
            },
            "$defs": { "secret": { "x-redress-sensitive": true } },
        });
        let mut value = json!({
            "name": "n", "token": "t", "list": [{ "pin": 1, "at": 2 }, { "pin": [3] }], "more": { "a": { "b": 4 } }, "free": 5,
        });
        assert!(mask_marked(&schema, &mut value));
        let expected = json!({
            "name": "n", "token": MASKED, "list": [{ "pin": MASKED, "at": 2 }, { "pin": MASKED }], "more": { "a": MASKED },
            "free": 5,
        });
        assert_eq!(value, expected);
        assert!(!mask_marked(&json!({ "properties": { "name": {} } }), &mut value));
        let mut endless = json!({ "a": 1 });
        mask_marked(&json!({ "$ref": "#" }), &mut endless);
        assert_eq!(endless, json!(MASKED), "what cannot be told is not shown");
    }

    #[test]
    fn what_a_policy_names_is_masked_for_the_capabilities_that_it_names() {
        let text = "rules: []\nsensitive:\n  - { capabilities: [\"crm.*\"], fields: [\"inputs.customer.email\", \"outputs.*.token\"] }\n";
        let policy = Policy::load(Source::new("policy.yaml", text), "/").unwrap().0;
        let id = |id: &str| CapabilityId::parse(id).unwrap();
        let masked = |capability: &str, side, mut value: Value| {
            let any = policy.mask(&id(capability), side, &mut value);
            (any, value)
        };
        let input = json!({ "customer": [{ "email": "a@b", "name": "n" }], "email": "c@d" });
        let expected = json!({ "customer": [{ "email": MASKED, "name": "n" }], "email": "c@d" });
        assert_eq!(masked("crm.contact.add", Side::Inputs, input.clone()), (true, expected));
        assert_eq!(masked("crm.contact.add", Side::Outputs, input.clone()), (false, input.clone()));
        assert_eq!(masked("data.hash", Side::Inputs, input.clone()), (false, input));
        let output = json!({ "session": { "token": "t" }, "token": "u" });
        assert_eq!(
            masked("crm.login", Side::Outputs, output).1,
            json!({ "session": { "token": MASKED }, "token": "u" })
        );
    }

    /// A value inside of so many lists.
    fn within_lists(depth: usize, value: Value) -> Value {
        (0..depth).fold(value, |inner, _| Value::Array(vec![inner]))
    }

    #[test]
    fn what_lies_deeper_than_is_looked_is_masked_and_what_lies_just_so_deep_is_looked_at() {
        let names = |count: usize| vec!["*".to_owned(); count];
        let masked = |mut value: Value, names: &[String]| {
            assert!(mask_path(&mut value, names, 0));
            value
        };
        let fields = json!({ "a": 1, "b": 2 });
        let own = json!({ "a": MASKED, "b": 2 });
        let named = ["a".to_owned()];
        assert_eq!(masked(within_lists(DEPTH, fields.clone()), &named), within_lists(DEPTH, own));
        assert_eq!(masked(within_lists(DEPTH + 1, fields), &named), within_lists(DEPTH + 1, json!(MASKED)));
        let within_fields = |depth: usize, value: Value| (0..depth).fold(value, |inner, _| json!({ "f": inner }));
        let deep = masked(within_fields(DEPTH + 2, json!(1)), &names(DEPTH + 2));
        assert_eq!(deep, within_fields(DEPTH + 1, json!(MASKED)));
        // Each list is two steps, into its items and to what they refer to.
        let schema = json!({ "items": { "$ref": "#" } });
        let mut value = within_lists(DEPTH / 2, json!(1));
        assert!(!mask_marked(&schema, &mut value));
        assert_eq!(value, within_lists(DEPTH / 2, json!(1)));
        let mut value = within_lists(DEPTH / 2 + 1, json!(1));
        assert!(mask_marked(&schema, &mut value));
        assert_eq!(value, within_lists(DEPTH / 2 + 1, json!(MASKED)));
    }

    #[test]
    fn it_is_told_that_something_was_masked_however_often_and_wherever_it_was() {
        for (field, value) in [
            ("inputs.list.pin", json!({ "list": [{ "pin": 1 }, { "pin": 2 }] })),
            ("inputs.list.pin", json!({ "list": [{ "pin": 1 }, {}] })),
            ("inputs.list.pin", json!({ "list": [{}, { "pin": 1 }] })),
            ("inputs.*.pin", json!({ "a": { "pin": 1 }, "b": { "pin": 2 } })),
            ("inputs.*.pin", json!({ "a": { "pin": 1 }, "b": {} })),
            ("inputs.*.pin", json!({ "a": {}, "b": { "pin": 1 } })),
        ] {
            let mut masked = value.clone();
            assert!(mask_path(&mut masked, &FieldPath::parse(field).unwrap().names, 0), "{value}");
            assert_ne!(masked, value);
        }
        let mut without = json!({ "list": [{}, []] });
        assert!(!mask_path(&mut without, &FieldPath::parse("inputs.list.pin").unwrap().names, 0));
    }

    #[test]
    fn a_schema_that_marks_something_anywhere_and_a_policy_that_names_something_are_known() {
        let mark = json!({ "x-redress-sensitive": true });
        for schema in [mark.clone(), json!({ "properties": { "a": mark } }), json!({ "anyOf": [{}, mark] })] {
            assert!(marks_any(&schema), "{schema}");
        }
        for schema in [json!({ "x-redress-sensitive": false }), json!({ "properties": { "a": {} } }), json!(true)] {
            assert!(!marks_any(&schema), "{schema}");
        }
        let text = "rules: []\nsensitive:\n  - { capabilities: [\"crm.*\"], fields: [\"inputs.email\"] }\n";
        let policy = Policy::load(Source::new("policy.yaml", text), "/").unwrap().0;
        let named = |id: &str| policy.names_sensitive(&CapabilityId::parse(id).unwrap());
        assert!(named("crm.add") && !named("data.hash"));
    }

    #[test]
    fn a_path_is_read_back_as_it_was_written_and_any_other_text_is_refused() {
        for text in ["inputs.email", "outputs.a.*.b"] {
            assert_eq!(FieldPath::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "inputs", "inputs.", "input.a", "inputs..a", "inputs.a*", "email"] {
            assert!(FieldPath::parse(text).is_err(), "{text}");
        }
    }
}
