//! JSON Schemas of inputs and outputs, compiled once when a component is loaded.
//!
//! A schema comes from a stranger. It cannot refer to another document, its patterns run in linear time, it must not refer to
//! itself in a circle without going deeper into the value, and how deeply it is nested is bounded, since both compiling and
//! checking go as deep on the stack of the host.
//!
//! Checking is work of the host, which neither fuel nor `wall_time` ends, so it is bounded before it begins. A schema is
//! refused if it could look at one value very many times ([`looks`]): one that refers to itself twice would look twice as
//! often with each level of the value. And how much a schema asks times how much there is in a value has an upper bound,
//! beyond which the value is refused unseen.

use std::collections::HashMap;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::types::{Failure, code};

/// How many problems are named at once.
const NAMED: usize = 5;

/// How deep the JSON of a schema is nested at most.
const NESTED: usize = 64;

/// How many references a schema has at most.
const REFERENCES: usize = 64;

/// How many keywords and references lead on from each other on the same value at most.
const SAME_VALUE: usize = 8;

/// How deep a value can be nested: as deep as JSON is read.
const DEPTH: usize = 128;

/// How often one value may be looked at, along a way to the deepest one that is possible.
const LOOKS: f64 = 20_000.0;

/// What a schema asks times what there is in a value, at most: a few seconds at worst, and nothing that is meant well.
const WORK: u64 = 4_000_000_000;

/// A compiled schema, what it was compiled from, and how much it asks of each value.
#[derive(Debug)]
pub(super) struct Schema {
    validator: Validator,
    text: Value,
    weight: u64,
}

/// The schemas of one capability.
pub(super) struct Schemas {
    input: Schema,
    output: Schema,
}

/// Compiles one schema; an error says what is wrong with it.
pub(super) fn compile(schema: &Value) -> Result<Schema, String> {
    if !schema.is_object() {
        return Err("a schema must be a JSON object".into());
    }
    refuse_circles(schema)?;
    let looks = looks(schema);
    if looks > LOOKS {
        return Err(
            "the schema is too intricate: it refers to itself, or to another part of it, more than once for the same \
                    value, so that a nested value would be looked at too often"
                .into(),
        );
    }
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .offline()
        .build(schema)
        .map_err(|error| error.to_string())?;
    // A look costs as much as some bytes of a schema do.
    let weight = (schema.to_string().len() as u64).max(32 * looks as u64);
    Ok(Schema { validator, text: schema.clone(), weight })
}

/// A subschema, as numbers of others: what it applies to the same value, to values by name, and to other values within.
#[derive(Default)]
struct Node {
    same: Vec<usize>,
    named: Vec<usize>,
    within: Vec<usize>,
}

/// How many subschemas look at the values on the way to the deepest one, at most. Values of different names are different
/// values; of all others it is assumed that each applies to every value within. Circles on the same value are refused
/// before.
fn looks(schema: &Value) -> f64 {
    let mut numbers: HashMap<*const Value, usize> = HashMap::new();
    let mut order = vec![schema];
    numbers.insert(schema, 0);
    let mut nodes: Vec<Node> = Vec::new();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        let mut node = Node::default();
        for (key, value) in at.as_object().into_iter().flatten() {
            let parts: Vec<&Value> = match value {
                Value::Array(parts) => parts.iter().collect(),
                Value::String(target) if key == "$ref" => {
                    target.strip_prefix('#').and_then(|p| schema.pointer(p)).into_iter().collect()
                }
                Value::Object(parts) if MAPS.contains(&key.as_str()) => parts.values().collect(),
                value => vec![value],
            };
            let list = match key.as_str() {
                "properties" => &mut node.named,
                "$ref" | "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" | "dependentSchemas"
                | "dependencies" => &mut node.same,
                key if WITHIN.contains(&key) => &mut node.within,
                _ => continue,
            };
            for part in parts.into_iter().filter(|part| part.is_object()) {
                let number = *numbers.entry(part).or_insert_with(|| {
                    order.push(part);
                    order.len() - 1
                });
                list.push(number);
            }
        }
        nodes.push(node);
    }
    let mut below = vec![0.0; nodes.len()];
    for _ in 0..DEPTH {
        let mut here = vec![None; nodes.len()];
        for number in 0..nodes.len() {
            look(&nodes, number, &below, &mut here);
        }
        below = here.into_iter().map(Option::unwrap_or_default).collect();
    }
    below.first().copied().unwrap_or_default()
}

/// The looks from one subschema on; `below` are those from each of them on a value that is one level less deep.
fn look(nodes: &[Node], number: usize, below: &[f64], here: &mut [Option<f64>]) -> f64 {
    if let Some(known) = here.get(number).copied().flatten() {
        return known;
    }
    let Some(node) = nodes.get(number) else { return 0.0 };
    let deeper = |number: &usize| below.get(*number).copied().unwrap_or_default();
    let same: f64 = node.same.iter().map(|number| look(nodes, *number, below, here)).sum();
    let named = node.named.iter().map(deeper).fold(0.0, f64::max);
    let within: f64 = node.within.iter().map(deeper).sum();
    let looks = 1.0 + same + named + within;
    if let Some(slot) = here.get_mut(number) {
        *slot = Some(looks);
    }
    looks
}

/// Keywords whose value is a map from names to schemas.
const MAPS: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];

/// Keywords that apply to values within, besides `properties`.
const WITHIN: [&str; 10] = [
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "contentSchema",
];

/// Looks at every subschema: references lead to a place in the same schema, and none leads back to itself on the same value,
/// since that would never end.
fn refuse_circles(schema: &Value) -> Result<(), String> {
    let (mut steps, mut references) = (0, 0);
    let mut waiting = vec![(0, schema)];
    while let Some((depth, at)) = waiting.pop() {
        if depth > NESTED {
            return Err(format!("the schema is nested more than {NESTED} deep"));
        }
        match at {
            Value::Object(fields) => {
                if let Some(key) = UNSUPPORTED.iter().find(|key| fields.get(**key).is_some_and(Value::is_string)) {
                    return Err(format!("`{key}` is not supported: use `$ref` with `#/...`"));
                }
                if !std::ptr::eq(at, schema) && fields.get("$id").is_some_and(Value::is_string) {
                    return Err("`$id` is not supported inside a schema".into());
                }
                references += usize::from(fields.get("$ref").is_some_and(Value::is_string));
                if references > REFERENCES {
                    return Err(format!("the schema has more than {REFERENCES} references"));
                }
                follow(schema, at, &mut Vec::new(), 0, &mut steps)?;
                let schemas = fields.iter().filter(|(key, _)| !DATA.contains(&key.as_str()));
                waiting.extend(schemas.map(|(_, value)| (depth + 1, value)));
            }
            Value::Array(items) => waiting.extend(items.iter().map(|item| (depth + 1, item))),
            _ => {}
        }
    }
    Ok(())
}

const UNSUPPORTED: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"];

/// Keywords whose values are no schemas.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];

/// Follows what applies to the same value as the subschema `at`.
fn follow<'a>(
    root: &'a Value,
    at: &'a Value,
    path: &mut Vec<&'a str>,
    depth: usize,
    steps: &mut usize,
) -> Result<(), String> {
    *steps += 1;
    if depth > SAME_VALUE || *steps > 100_000 {
        return Err(format!(
            "the schema is too intricate: `allOf`, `$ref` and the like lead on more than {SAME_VALUE} times"
        ));
    }
    let Value::Object(fields) = at else { return Ok(()) };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("$ref", Value::String(target)) => {
                if path.contains(&target.as_str()) {
                    return Err(format!("`$ref: {target}` goes round in a circle"));
                }
                let next = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                let next = next.ok_or_else(|| format!("`$ref: {target}` does not lead to a place in this schema"))?;
                path.push(target);
                follow(root, next, path, depth + 1, steps)?;
                path.pop();
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().try_for_each(|part| follow(root, part, path, depth + 1, steps))?;
            }
            ("not" | "if" | "then" | "else", part) => follow(root, part, path, depth + 1, steps)?,
            ("dependentSchemas" | "dependencies", Value::Object(parts)) => {
                parts.values().try_for_each(|part| follow(root, part, path, depth + 1, steps))?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Schemas {
    pub(super) fn new(input: Schema, output: Schema) -> Schemas {
        Schemas { input, output }
    }

    pub(super) fn check_input(&self, value: &Value) -> Result<(), Failure> {
        check(&self.input, value, "input").map_err(|message| Failure::new(code::INVALID_INPUT, message))
    }

    /// The JSON pointer to the first value that does not fit.
    pub(super) fn input_misfit(&self, value: &Value) -> Option<String> {
        if too_much(&self.input, value) {
            return Some(String::new());
        }
        let error = self.input.validator.iter_errors(value).next()?;
        let place = error.instance_path();
        Some(match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.first().map_or(place.clone(), |name| place.join(name.as_str())).to_string()
            }
            _ => place.to_string(),
        })
    }

    pub(super) fn check_output(&self, value: &Value) -> Result<(), Failure> {
        check(&self.output, value, "output").map_err(|message| Failure::new(code::INVALID_OUTPUT, message))
    }
}

/// Whether checking would take too long.
fn too_much(schema: &Schema, value: &Value) -> bool {
    let (mut size, mut waiting) = (0_u64, vec![value]);
    while let Some(value) = waiting.pop() {
        size += 2;
        match value {
            // Patterns look at each character, and cheaply.
            Value::String(text) => size += text.len() as u64 / 8,
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => {
                size += fields.keys().map(|key| key.len() as u64 / 8).sum::<u64>();
                waiting.extend(fields.values());
            }
            _ => {}
        }
    }
    size.saturating_mul(schema.weight) > WORK
}

fn check(schema: &Schema, value: &Value, whole: &str) -> Result<(), String> {
    if too_much(schema, value) {
        return Err(format!("`{whole}`: there is too much in it to be checked against a schema as large as this one"));
    }
    if schema.validator.is_valid(value) {
        return Ok(());
    }
    let problems: Vec<String> = schema
        .validator
        .iter_errors(value)
        .take(NAMED)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = place.trim_start_matches('/').replace('/', ".");
            let place = if place.is_empty() { whole.to_owned() } else { format!("{whole}.{place}") };
            let text: String = said(&error, &schema.text).chars().take(300).collect();
            format!("`{place}`: {text}")
        })
        .collect();
    Err(problems.join("; "))
}

/// What is wrong with a value. Where it fits none of several schemas, or more of them than it should, that says what to give.
fn said(error: &ValidationError<'_>, schema: &Value) -> String {
    let words = match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => none_fits(context),
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            schema.pointer(error.schema_path().as_str()).and_then(|parts| several_fit(parts, error.instance()))
        }
        _ => None,
    };
    words.unwrap_or_else(|| error.to_string())
}

/// `give A or B` if in each alternative only something is missing; else what is wrong with each.
fn none_fits(alternatives: &[Vec<ValidationError<'_>>]) -> Option<String> {
    let missing = |errors: &Vec<ValidationError<'_>>| -> Option<String> {
        let name = |error: &ValidationError<'_>| match error.kind() {
            ValidationErrorKind::Required { property } => property.as_str().map(|name| format!("`{name}`")),
            _ => None,
        };
        errors.iter().map(name).collect::<Option<Vec<_>>>().map(|names| names.join(" and "))
    };
    if let Some(missing) = alternatives.iter().map(missing).collect::<Option<Vec<_>>>() {
        return Some(format!("give {}", missing.join(" or ")));
    }
    let first = alternatives.iter().map(|errors| errors.first().map(ToString::to_string));
    let first: Vec<String> = first.collect::<Option<_>>()?;
    Some(format!("it fits none of {} alternatives: {}", first.len(), first.join("; or ")))
}

/// `give only one of A and B`, if the alternatives differ in what they require.
fn several_fit(alternatives: &Value, value: &Value) -> Option<String> {
    let given =
        |names: &Vec<Value>| names.iter().all(|name| name.as_str().is_some_and(|name| value.get(name).is_some()));
    let required = alternatives.as_array()?.iter().map(|part| part.get("required")?.as_array());
    let fitting = required.collect::<Option<Vec<_>>>()?.into_iter().filter(|names| given(names));
    let told = |names: &Vec<Value>| {
        let names: Vec<String> = names.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
        names.join(" with ")
    };
    let told: Vec<String> = fitting.map(told).collect();
    (told.len() > 1).then(|| format!("give only one of {}", told.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_names_the_place_in_the_value() {
        let validator = compile(&json!({
            "type": "object",
            "properties": { "a": { "type": "array", "items": { "type": "string" } } },
            "additionalProperties": false,
        }))
        .unwrap();
        assert_eq!(
            check(&validator, &json!({"a": ["x", 1]}), "input").unwrap_err(),
            "`input.a.1`: 1 is not of type \"string\""
        );
        assert!(check(&validator, &json!({"b": 1}), "input").unwrap_err().starts_with("`input`: "));
    }

    #[test]
    fn alternatives_say_what_to_give() {
        let content = json!([{ "required": ["text"] }, { "required": ["bytes", "encoding"] }]);
        for (key, value, told) in [
            ("oneOf", json!({}), "`input`: give `text` or `bytes` and `encoding`"),
            ("anyOf", json!({"bytes": 1}), "`input`: give `text` or `encoding`"),
            (
                "oneOf",
                json!({"text": 1, "bytes": 1, "encoding": 1}),
                "`input`: give only one of `text` and `bytes` with `encoding`",
            ),
        ] {
            let schema = compile(&json!({ key: content })).unwrap();
            assert_eq!(check(&schema, &value, "input").unwrap_err(), told);
        }
        let typed = compile(&json!({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}})).unwrap();
        assert_eq!(
            check(&typed, &json!({"a": 1}), "input").unwrap_err(),
            "`input.a`: it fits none of 2 alternatives: 1 is not of type \"string\"; or 1 is not of type \"null\""
        );
        let both = compile(&json!({"oneOf": [{"type": "object"}, {"required": ["a"]}]})).unwrap();
        assert!(check(&both, &json!({"a": 1}), "input").unwrap_err().contains("more than one"));
    }

    #[test]
    fn what_is_not_expected_is_the_place() {
        let schema = compile(&json!({"properties": {"a": {"properties": {}, "additionalProperties": false}}})).unwrap();
        let schemas = Schemas::new(schema, compile(&json!({})).unwrap());
        assert_eq!(schemas.input_misfit(&json!({"a": {"x/y": 1}})).as_deref(), Some("/a/x~1y"));
    }

    #[test]
    fn a_schema_that_refers_to_another_document_or_to_itself_in_a_circle_is_refused() {
        for bad in [
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
            json!({"properties": {"a": {"allOf": [{"$ref": "#/properties/a"}]}}}),
            json!({"$dynamicRef": "#x"}),
            (0..100).fold(json!({}), |inner, _| json!({"items": inner})),
            (0..10).fold(json!({}), |inner, _| json!({"allOf": [inner]})),
            json!({"prefixItems": vec![json!({"$ref": "#/$defs/a"}); 100], "$defs": {"a": {}}}),
            json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}),
            json!({"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}}),
            json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}),
            (0..16).fold(json!({}), |inner, _| json!({"items": {"allOf": [inner, inner]}})),
            json!({"type": "nonsense"}),
            json!({"pattern": "("}),
            json!(true),
        ] {
            assert!(compile(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schema_of_a_tree_may_refer_to_itself() {
        let tree = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        let validator = compile(&tree).unwrap();
        assert!(check(&validator, &json!({"child": {"child": {}}}), "input").is_ok());
        assert!(check(&validator, &json!({"child": {"child": 1}}), "input").is_err());
    }

    #[test]
    fn what_would_take_too_long_to_check_is_refused_unseen() {
        let wide: serde_json::Map<String, Value> = (0..5_000).map(|i| (format!("a{i}|."), json!({}))).collect();
        let schema = compile(&json!({"patternProperties": wide})).unwrap();
        let object = |count: u32| Value::Object((0..count).map(|i| (i.to_string(), json!(1))).collect());
        assert!(check(&schema, &object(10), "output").is_ok());
        let error = check(&schema, &object(100_000), "output").unwrap_err();
        assert_eq!(error, "`output`: there is too much in it to be checked against a schema as large as this one");
        let plain = compile(&json!({"type": "object", "properties": {"content": {"type": "string"}}})).unwrap();
        assert!(check(&plain, &json!({"content": "x".repeat(4 << 20)}), "output").is_ok());
        assert!(check(&plain, &json!({"content": vec![1; 2 << 20]}), "output").is_err());
    }

    #[test]
    fn the_deepest_check_that_is_possible_fits_on_the_stack_of_a_worker() {
        let step = json!({"properties": {"a": {"$ref": "#"}}});
        let schema = (0..SAME_VALUE - 2).fold(step, |inner, _| json!({"allOf": [inner]}));
        let validator = compile(&schema).unwrap();
        let deep = format!("{}1{}", r#"{"a":"#.repeat(120), "}".repeat(120));
        let value = crate::types::parse_strict(deep.as_bytes()).unwrap();
        let check = move || check(&validator, &value, "input").is_ok();
        assert!(std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap());
    }
}
