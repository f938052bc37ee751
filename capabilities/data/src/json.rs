//! `data.json.query` and `data.json.merge`.

use redress_guest::Failure;
use redress_guest::serde_json::{Map, Value, json};
use serde::Deserialize;
use serde_json_path::JsonPath;
use serde_json_path::functions::{LogicalType, ValueType};

use crate::text::compile;

/// The input of `query`.
#[derive(Deserialize)]
pub struct Query {
    value: Value,
    query: String,
}

/// The values that the query selects, in document order.
pub fn query(input: &Query) -> Result<Value, Failure> {
    let path = JsonPath::parse(&input.query)
        .map_err(|error| Failure::invalid_input(format!("`{}` is not a JSONPath query: {error}", input.query)))?;
    let matches = path.query(&input.value).all();
    Ok(json!({ "count": matches.len(), "first": matches.first(), "matches": matches }))
}

/// RFC 9535, section 2.4.6: the whole value matches.
#[serde_json_path::function(name = "match")]
fn match_whole(value: ValueType, pattern: ValueType) -> LogicalType {
    matches(&value, &pattern, |pattern| format!("(?R)^(?:{pattern})$"))
}

/// RFC 9535, section 2.4.7: something in the value matches.
#[serde_json_path::function]
fn search(value: ValueType, pattern: ValueType) -> LogicalType {
    matches(&value, &pattern, |pattern| format!("(?R){pattern}"))
}

/// What is not text or not a pattern does not match, says the RFC.
fn matches(value: &ValueType, pattern: &ValueType, whole: fn(&str) -> String) -> LogicalType {
    let text = |value: &ValueType| value.as_value().and_then(Value::as_str).map(str::to_owned);
    match (text(value), text(pattern)) {
        (Some(value), Some(pattern)) => compile(&whole(&pattern)).is_ok_and(|pattern| pattern.is_match(&value)).into(),
        _ => LogicalType::False,
    }
}

/// The input of `merge`.
#[derive(Deserialize)]
pub struct Merge {
    target: Value,
    patch: Value,
}

/// The target with the patch applied.
pub fn merge(input: Merge) -> Value {
    json!({ "value": patched(input.target, input.patch) })
}

/// RFC 7386, section 2.
fn patched(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        let before = target.remove(&name).unwrap_or(Value::Null);
        if !value.is_null() {
            target.insert(name, patched(before, value));
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: Value, text: &str) -> Result<Value, Failure> {
        query(&Query { value, query: text.to_owned() })
    }

    #[test]
    fn a_query_returns_all_it_selects() {
        let value = json!({ "a": [{ "n": 1, "s": "x1" }, { "n": 2, "s": "y" }, { "n": 3, "s": "x3" }] });
        for (text, expected) in [
            ("$.a[*].n", json!([1, 2, 3])),
            ("$.a[?@.n > 1].s", json!(["y", "x3"])),
            ("$..n", json!([1, 2, 3])),
            ("$.a[-1:].n", json!([3])),
            ("$.a[?match(@.s, 'x[0-9]')].n", json!([1, 3])),
            ("$.a[?search(@.s, '[0-9]')].n", json!([1, 3])),
            ("$.a[?match(@.s, '[0-9]')].n", json!([])),
            ("$.a[?match(@.s, '\\\\p{Ll}.?')].n", json!([1, 2, 3])),
            ("$.a[?match(@.s, '(')].n", json!([])),
            ("$.a[?match(@.n, '1')].n", json!([])),
            ("$.a[?length(@.s) == 1].n", json!([2])),
            ("$.none", json!([])),
        ] {
            let found = run(value.clone(), text).unwrap();
            assert_eq!(found["matches"], expected, "{text}");
            assert_eq!(found["first"], expected.get(0).cloned().unwrap_or(Value::Null), "{text}");
        }
    }

    #[test]
    fn a_query_that_is_not_one_is_invalid_input() {
        let failure = run(json!({}), "$.[").unwrap_err();
        assert_eq!(failure.code, "invalid-input");
        assert!(failure.message.starts_with("`$.[` is not a JSONPath query: "), "{}", failure.message);
    }

    #[test]
    fn merging_follows_the_examples_of_rfc_7386() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(merge(Merge { target, patch }), json!({ "value": result }));
        }
    }
}
