//! JSON Schemas of inputs and outputs, compiled once when a component is loaded.
//!
//! A schema comes from a stranger. It cannot refer to another document, its patterns run in linear time, it must not refer to
//! itself in a circle without going deeper into the value, and how deeply it is nested is bounded, since both compiling and
//! checking go as deep on the stack of the host.

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

/// The schemas of one capability.
pub(super) struct Schemas {
    input: Schema,
    output: Schema,
}

/// A compiled schema, and what it was compiled from.
#[derive(Debug)]
pub(super) struct Schema {
    validator: Validator,
    text: Value,
}

/// Compiles one schema; an error says what is wrong with it.
pub(super) fn compile(schema: &Value) -> Result<Schema, String> {
    if !schema.is_object() {
        return Err("a schema must be a JSON object".into());
    }
    refuse_circles(schema)?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .offline()
        .build(schema)
        .map(|validator| Schema { validator, text: schema.clone() })
        .map_err(|error| error.to_string())
}

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

fn check(schema: &Schema, value: &Value, whole: &str) -> Result<(), String> {
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
