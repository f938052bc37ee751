//! What the names in references mean.
//!
//! The first name of a reference is looked for in this order:
//!
//! 1. `inputs`: an input of the workflow, which must have been given or have a default;
//! 2. a step: its output;
//! 3. an input, its `inputs.` left out;
//! 4. a field of an output, its step left out, if exactly one step's output schema declares it.
//!
//! The last two are older spellings. Whatever was written, the reference names its root in full from then on. A step's
//! output can be used where the step is sure to have finished, and a field of it, if the output schema leaves that open or
//! declares it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::template::{INPUTS, Reference, array_place};
use crate::document::{Diagnostic, Span, suggest};
use crate::types::{CapabilityInfo, StepName};

/// What can be referred to from anywhere in a document.
pub(super) struct Scope<'a> {
    inputs: &'a Map<String, Value>,
    places: HashMap<StepName, usize>,
    steps: Vec<Output<'a>>,
    offers: HashMap<&'a str, Vec<usize>>,
}

/// A step, as others see it.
pub(super) struct Output<'a> {
    pub name: StepName,
    pub kind: OutputKind<'a>,
}

/// What is known of a step's output.
pub(super) enum OutputKind<'a> {
    /// It fits the schema of this capability.
    Of(&'a CapabilityInfo),
    /// Nothing: the step's capability is not known, which was said already.
    Unknown,
    /// The step only waits and returns nothing.
    Nothing,
}

/// Whether a step's output may be used where a reference stands; if not, a message and a help.
pub(super) type Usable<'f> = &'f dyn Fn(usize) -> Result<(), (String, String)>;

impl<'a> Scope<'a> {
    pub(super) fn new(inputs: &'a Map<String, Value>, steps: Vec<Output<'a>>) -> Scope<'a> {
        let mut offers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, step) in steps.iter().enumerate() {
            if let OutputKind::Of(info) = step.kind {
                info.output_fields().into_iter().for_each(|field| offers.entry(field).or_default().push(place));
            }
        }
        let places = steps.iter().enumerate().rev().map(|(place, step)| (step.name.clone(), place)).collect();
        Scope { inputs, places, steps, offers }
    }

    /// Binds a reference that stands at `span`; `alone` if it is all of its text.
    pub(super) fn bind(
        &self,
        reference: &mut Reference,
        span: Span,
        alone: bool,
        usable: Usable<'_>,
    ) -> Result<(), Diagnostic> {
        if reference.is_input() {
            return self.check_input(reference, span, alone);
        }
        if let Some(step) = self.places.get(reference.root()) {
            return self.check_output(*step, reference, span, usable);
        }
        if self.inputs.contains_key(reference.root()) {
            reference.qualify(INPUTS);
            return self.check_input(reference, span, alone);
        }
        match self.offers.get(reference.root()).map(Vec::as_slice) {
            Some([step]) => {
                if let Some(output) = self.steps.get(*step) {
                    reference.qualify(output.name.as_str());
                }
                self.check_output(*step, reference, span, usable)
            }
            Some(several) => {
                let names = several.iter().filter_map(|step| self.steps.get(*step)).take(3);
                let spelled: Vec<_> = names.map(|step| format!("`{}.{reference}`", step.name)).collect();
                let message = format!("`{reference}` could be the output of {} steps", several.len());
                Err(Diagnostic::error("ambiguous-reference", span, message)
                    .help(format!("name the step: {}", spelled.join(", "))))
            }
            None => Err(self.unknown(reference, span)),
        }
    }

    fn check_input(&self, reference: &Reference, span: Span, alone: bool) -> Result<(), Diagnostic> {
        let Some(name) = reference.fields().first() else {
            let all: Vec<_> = self.inputs.keys().take(5).map(|name| format!("`inputs.{name}`")).collect();
            let error = Diagnostic::error("unknown-reference", span, "`inputs` alone is not a value");
            return Err(match all.as_slice() {
                [] => error,
                names => error.help(format!("name the input: {}", names.join(", "))),
            });
        };
        if !self.inputs.contains_key(name) {
            let error = Diagnostic::error("missing-input", span, format!("the input `{name}` is not given"));
            return Err(match suggest(name, self.inputs.keys().map(String::as_str)) {
                Some(word) => error.did_you_mean(Some(&format!("inputs.{word}"))),
                None => error.help(format!("give it with `--input {name}=...`, or a default under `inputs`")),
            });
        }
        let Some(value) = reference.find(self.inputs, |_| None) else {
            let message = format!("`{reference}` has no value: the input `{name}` has no such field");
            return Err(Diagnostic::error("unknown-field", span, message));
        };
        match reference.spell(value) {
            Err(error) if !alone => Err(Diagnostic::error("not-text", span, error.to_string()).help(error.help())),
            _ => Ok(()),
        }
    }

    fn check_output(
        &self,
        step: usize,
        reference: &Reference,
        span: Span,
        usable: Usable<'_>,
    ) -> Result<(), Diagnostic> {
        usable(step).map_err(|(message, help)| Diagnostic::error("not-finished", span, message).help(help))?;
        let name = reference.root();
        match self.steps.get(step).map(|output| &output.kind) {
            Some(OutputKind::Of(info)) => check_fields(&info.output, reference.fields()).map_err(|undeclared| {
                let message = match undeclared.parent {
                    [] => format!("`{}` returns no field `{}`", info.id, undeclared.field),
                    parent => format!("`{name}.{}` has no field `{}`", parent.join("."), undeclared.field),
                };
                let error = Diagnostic::error("unknown-field", span, message);
                match suggest(undeclared.field, undeclared.declared.iter().copied()) {
                    Some(word) => error.did_you_mean(Some(word)),
                    None if undeclared.declared.is_empty() => error,
                    None => {
                        let all: Vec<_> = undeclared.declared.iter().take(8).map(|d| format!("`{d}`")).collect();
                        error.help(format!("its fields are {}", all.join(", ")))
                    }
                }
            }),
            Some(OutputKind::Nothing) => {
                let message = format!("the step `{name}` returns nothing: it only waits for an approval");
                Err(Diagnostic::error("unknown-field", span, message))
            }
            Some(OutputKind::Unknown) | None => Ok(()),
        }
    }

    fn unknown(&self, reference: &Reference, span: Span) -> Diagnostic {
        let root = reference.root();
        let message = format!("`{root}` is neither a step nor an input");
        let error = Diagnostic::error("unknown-reference", span, message);
        let names = self.steps.iter().map(|step| step.name.as_str()).chain([INPUTS]);
        if let Some(word) = suggest(root, names) {
            return error.did_you_mean(Some(word));
        }
        match suggest(root, self.inputs.keys().map(String::as_str)) {
            Some(word) => error.did_you_mean(Some(&format!("inputs.{word}"))),
            None => {
                error.help(format!("if it is an input, give it with `--input {root}=...`, or a default under `inputs`"))
            }
        }
    }
}

/// A field that a schema rules out.
struct Undeclared<'s> {
    parent: &'s [String],
    field: &'s str,
    declared: Vec<&'s str>,
}

/// Follows `fields` through a JSON Schema, as far as it can tell.
fn check_fields<'s>(schema: &'s Value, fields: &'s [String]) -> Result<(), Undeclared<'s>> {
    /// With one of these, more may be allowed than `properties` says.
    const OPEN: [&str; 8] =
        ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"];
    let mut schema = schema;
    for (depth, field) in fields.iter().enumerate() {
        let Some(keywords) = schema.as_object() else { return Ok(()) };
        if OPEN.iter().any(|keyword| keywords.contains_key(*keyword)) {
            return Ok(());
        }
        let properties = keywords.get("properties").and_then(Value::as_object);
        let items = keywords.get("items").filter(|_| array_place(field).is_some());
        if let Some(inner) = properties.and_then(|all| all.get(field)).or(items) {
            schema = inner;
            continue;
        }
        let open = match keywords.get("additionalProperties") {
            Some(Value::Bool(open)) => *open,
            Some(_) => true,
            None => properties.is_none() && may_have(keywords.get("type"), field),
        };
        if open {
            return Ok(());
        }
        let declared = properties.into_iter().flat_map(|all| all.keys().map(String::as_str)).collect();
        return Err(Undeclared { parent: fields.get(..depth).unwrap_or_default(), field, declared });
    }
    Ok(())
}

/// Whether a value of one of these types may have a part of this name.
fn may_have(types: Option<&Value>, part: &str) -> bool {
    let may = |word: &Value| match word.as_str() {
        Some("string" | "number" | "integer" | "boolean" | "null") => false,
        Some("array") => array_place(part).is_some(),
        _ => true,
    };
    match types {
        Some(Value::Array(words)) => words.iter().any(may),
        Some(word) => may(word),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn declared(schema: &Value, path: &str) -> bool {
        let fields: Vec<String> = path.split('.').map(str::to_owned).collect();
        check_fields(schema, &fields).is_ok()
    }

    #[test]
    fn a_field_is_followed_through_the_schema_as_far_as_it_tells() {
        let schema = json!({"type": "object", "properties": {
            "path": {"type": "string"}, "size": {"type": ["integer", "null"]}, "any": {}, "yes": true,
            "entries": {"type": "array", "items": {"properties": {"name": {"type": "string"}}}},
            "open": {"properties": {"a": {}}, "additionalProperties": true},
            "typed": {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
            "closed": {"additionalProperties": false},
            "choice": {"oneOf": [{}], "properties": {"a": {}}},
        }});
        for good in ["path", "any.x.y", "yes.x", "entries.0.name", "open.b", "typed.b", "choice.b", "entries"] {
            assert!(declared(&schema, good), "{good}");
        }
        for bad in ["pth", "path.x", "size.0", "entries.0.nam", "entries.name", "closed.x"] {
            assert!(!declared(&schema, bad), "{bad}");
        }
        assert!(declared(&json!(true), "x") && declared(&json!({}), "x") && declared(&json!({"type": "object"}), "x"));
    }
}
