//! JSON Schemas of inputs and outputs, compiled once when a component is loaded.
//!
//! A schema comes from a stranger: it cannot refer to another document, its patterns run in linear time, and it must not
//! refer to itself in a circle without going deeper into the value.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::types::{Failure, code};

/// How many problems are named at once.
const NAMED: usize = 5;

/// The schemas of one capability.
pub(super) struct Schemas {
    input: Validator,
    output: Validator,
}

/// Compiles one schema; an error says what is wrong with it.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() {
        return Err("a schema must be a JSON object".into());
    }
    refuse_circles(schema)?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .offline()
        .build(schema)
        .map_err(|error| error.to_string())
}

/// A `$ref` that is reached from itself through keywords that apply to the same value would never end.
fn refuse_circles(schema: &Value) -> Result<(), String> {
    let mut path = Vec::new();
    follow(schema, schema, &mut path, &mut 0)
}

fn follow<'a>(root: &'a Value, at: &'a Value, path: &mut Vec<&'a str>, steps: &mut usize) -> Result<(), String> {
    *steps += 1;
    if *steps > 10_000 {
        return Err("the schema is too intricate".into());
    }
    let Value::Object(fields) = at else { return Ok(()) };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                if path.contains(&target.as_str()) {
                    return Err(format!("`$ref: {target}` goes round in a circle"));
                }
                let Some(next) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { continue };
                path.push(target);
                follow(root, next, path, steps)?;
                path.pop();
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().try_for_each(|part| follow(root, part, path, steps))?;
            }
            ("not" | "if" | "then" | "else", part) => follow(root, part, path, steps)?,
            ("dependentSchemas", Value::Object(parts)) => {
                parts.values().try_for_each(|part| follow(root, part, path, steps))?;
            }
            // What these hold applies to a part of the value, or to nothing until it is referred to.
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(parts)) => {
                parts.values().try_for_each(|part| follow(root, part, &mut Vec::new(), steps))?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Schemas {
    pub(super) fn new(input: Validator, output: Validator) -> Schemas {
        Schemas { input, output }
    }

    pub(super) fn check_input(&self, value: &Value) -> Result<(), Failure> {
        check(&self.input, value, "input").map_err(|message| Failure::new(code::INVALID_INPUT, message))
    }

    /// The JSON pointer to the first value that does not fit.
    pub(super) fn input_misfit(&self, value: &Value) -> Option<String> {
        self.input.iter_errors(value).next().map(|error| error.instance_path().to_string())
    }

    pub(super) fn check_output(&self, value: &Value) -> Result<(), Failure> {
        check(&self.output, value, "output").map_err(|message| Failure::new(code::INVALID_OUTPUT, message))
    }
}

fn check(validator: &Validator, value: &Value, whole: &str) -> Result<(), String> {
    if validator.is_valid(value) {
        return Ok(());
    }
    let problems: Vec<String> = validator
        .iter_errors(value)
        .take(NAMED)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = place.trim_start_matches('/').replace('/', ".");
            let place = if place.is_empty() { whole.to_owned() } else { format!("{whole}.{place}") };
            let text: String = error.to_string().chars().take(300).collect();
            format!("`{place}`: {text}")
        })
        .collect();
    Err(problems.join("; "))
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
    fn a_schema_that_refers_to_another_document_or_to_itself_in_a_circle_is_refused() {
        for bad in [
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
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
        assert!(validator.is_valid(&json!({"child": {"child": {}}})));
        assert!(!validator.is_valid(&json!({"child": {"child": 1}})));
    }
}
