//! Texts with references: `Hello {{ inputs.customer }}`. References only, no logic.
//!
//! ```text
//! template  = { text | "{{{{" | "{{" name { "." part } "}}" }
//! name      = letter or "_", then letters, digits, "_", "-"
//! part      = letters, digits, "_", "-"               a field of an object, or the place in an array, from 0
//! ```
//!
//! White space inside the braces does not matter; `{{{{` stands for `{{` itself, and a `}}` without a beginning for itself.
//!
//! A text is parsed once, when its document is loaded. What a reference brings in is never scanned again, so a value that
//! contains `{{` is delivered as it is: no output of a step can make a later step read something that its author did not
//! write. A text that is a reference and nothing else becomes the value with its type; inside other text, strings are
//! inserted as they are, numbers and booleans in their canonical JSON spelling, and anything else is an error, because
//! there is no one way to write it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

pub use super::budget::Budget;
use crate::types::canonical_bytes;

/// The name under which a document refers to the inputs of its workflow. No step can have it.
pub const INPUTS: &str = "inputs";

/// A parsed text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Text(String),
    Reference(Reference),
}

/// What stands between `{{` and `}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    path: Vec<String>,
    #[serde(skip)]
    start: usize,
    #[serde(skip)]
    len: usize,
}

/// A text that is not a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct TemplateError {
    /// What is wrong.
    pub problem: TemplateProblem,
    /// Where it begins, in characters of the text.
    pub offset: usize,
    /// Its length in characters.
    pub len: usize,
}

/// What can be wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateProblem {
    /// `{{` without `}}`.
    #[error("`{{{{` is never closed")]
    Unclosed,
    /// Something that is not a dotted name.
    #[error("`{{{{{0}}}}}` is not a reference")]
    NotAReference(String),
}

impl TemplateProblem {
    /// What to write instead.
    pub fn help(&self) -> &'static str {
        match self {
            TemplateProblem::Unclosed => "close it with `}}`; a literal `{{` is written `{{{{`",
            TemplateProblem::NotAReference(_) => {
                "write `{{ inputs.name }}` or `{{ step.field }}`, without logic; a literal `{{` is written `{{{{`"
            }
        }
    }
}

/// Why a template has no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The reference leads nowhere.
    #[error("`{reference}` has no value")]
    Missing {
        /// The reference with all its names, braces left out.
        reference: String,
    },
    /// A value that cannot stand inside other text.
    #[error("`{reference}` is {what}, which cannot be put into a text")]
    NotText {
        /// The reference with all its names, braces left out.
        reference: String,
        /// What it is: `null`, `a list` or `an object`.
        what: &'static str,
    },
    /// The result is too large.
    #[error("the resolved input is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl ResolveError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            ResolveError::Missing { .. } => "look at what the step returned, or give the input",
            ResolveError::NotText { .. } => {
                "let the reference stand alone, which keeps its type, or refer to a field that is a string, number or boolean"
            }
            ResolveError::TooLarge { .. } => "refer to the field that is needed instead of all of the output",
        }
    }
}

/// Gives the value that a reference leads to, if there is one.
pub type Lookup<'f, 'v> = &'f dyn Fn(&Reference) -> Option<&'v Value>;

impl Template {
    /// Parses a text.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut template = Template { parts: Vec::new() };
        let mut rest = text;
        let mut offset = 0;
        while let Some((before, tail)) = rest.split_once("{{") {
            template.push_text(before);
            offset += before.chars().count();
            if let Some(tail) = tail.strip_prefix("{{") {
                template.push_text("{{");
                offset += 4;
                rest = tail;
                continue;
            }
            let Some((inside, tail)) = tail.split_once("}}") else {
                return Err(TemplateError { problem: TemplateProblem::Unclosed, offset, len: 2 });
            };
            let len = inside.chars().count() + 4;
            let name = inside.trim();
            if !is_reference(name) {
                let problem = TemplateProblem::NotAReference(shortened(inside));
                return Err(TemplateError { problem, offset, len });
            }
            let path = name.split('.').map(str::to_owned).collect();
            template.parts.push(Part::Reference(Reference { path, start: offset, len }));
            offset += len;
            rest = tail;
        }
        template.push_text(rest);
        Ok(template)
    }

    /// Everything that it refers to, in the order of the text.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }

    /// The same, to be bound.
    pub(super) fn references_mut(&mut self) -> impl Iterator<Item = &mut Reference> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }

    /// Whether it is one reference and nothing else, so that the value keeps its type.
    pub fn is_whole(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Reference(_)])
    }

    /// The value, its references replaced by what `lookup` finds.
    pub fn resolve(&self, lookup: Lookup<'_, '_>, budget: &mut Budget) -> Result<Value, ResolveError> {
        if let [Part::Reference(reference)] = self.parts.as_slice() {
            let value = reference.look_up(lookup)?;
            budget.take_value(value)?;
            return Ok(value.clone());
        }
        let mut text = String::new();
        for part in &self.parts {
            let before = text.len();
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Reference(reference) => match reference.look_up(lookup)? {
                    Value::String(value) => {
                        budget.take(value.len())?;
                        text.push_str(value);
                        continue;
                    }
                    value => text.push_str(&reference.spell(value)?),
                },
            }
            budget.take(text.len() - before)?;
        }
        Ok(Value::String(text))
    }

    fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }
}

impl Reference {
    /// The names, the first one being `inputs` or a step's name in a document that was loaded. Never empty.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The first name.
    pub fn root(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// The names after the first one.
    pub fn fields(&self) -> &[String] {
        self.path.get(1..).unwrap_or_default()
    }

    /// Where it begins in its text, and how long it is, braces included, both in characters.
    pub fn place(&self) -> (usize, usize) {
        (self.start, self.len)
    }

    /// What it leads to, given the inputs of the workflow and the output of each step that has one.
    pub fn find<'v>(
        &self,
        inputs: &'v Map<String, Value>,
        output: impl Fn(&str) -> Option<&'v Value>,
    ) -> Option<&'v Value> {
        match (self.root(), self.fields()) {
            (INPUTS, [name, rest @ ..]) => inputs.get(name).and_then(|value| descend(value, rest)),
            (INPUTS, []) => None,
            (step, fields) => output(step).and_then(|value| descend(value, fields)),
        }
    }

    /// Whether it leads to an input of the workflow, and so to a value that is known before anything runs.
    pub fn is_input(&self) -> bool {
        self.root() == INPUTS
    }

    /// The spelling of `value` inside other text.
    pub fn spell(&self, value: &Value) -> Result<String, ResolveError> {
        let not_text = |what| ResolveError::NotText { reference: self.to_string(), what };
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) => canonical_bytes(value)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| not_text("a number beyond 2^53")),
            Value::Null => Err(not_text("null")),
            Value::Array(_) => Err(not_text("a list")),
            Value::Object(_) => Err(not_text("an object")),
        }
    }

    /// Puts `root` before the names: the reference was a short form.
    pub(super) fn qualify(&mut self, root: &str) {
        self.path.insert(0, root.to_owned());
    }

    fn look_up<'v>(&self, lookup: Lookup<'_, 'v>) -> Result<&'v Value, ResolveError> {
        lookup(self).ok_or_else(|| ResolveError::Missing { reference: self.to_string() })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path.join("."))
    }
}

/// Whether a name can stand first in a reference.
pub(super) fn is_name(name: &str) -> bool {
    is_part(name) && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
}

/// The place in an array that a part of a reference means; `01` means none.
pub(super) fn array_place(part: &str) -> Option<usize> {
    let good = part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    if good { part.parse().ok() } else { None }
}

/// The text of a template that stands for `text` itself.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", "{{{{")
}

/// What `names` lead to inside `value`.
fn descend<'v>(value: &'v Value, names: &[String]) -> Option<&'v Value> {
    names.iter().try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => array_place(name).and_then(|place| items.get(place)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// What a message shows of a text that may be long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}... ", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_reference(text: &str) -> bool {
    let mut parts = text.split('.');
    parts.next().is_some_and(is_name) && parts.all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn resolve(text: &str, root: &Value) -> Result<Value, ResolveError> {
        let inputs = root["inputs"].as_object().cloned().unwrap_or_default();
        let lookup = |reference: &Reference| reference.find(&inputs, |step| root.get(step));
        Template::parse(text).unwrap().resolve(&lookup, &mut Budget::new(1_000))
    }

    #[test]
    fn a_reference_alone_keeps_the_type_of_its_value() {
        let root = json!({"inputs": {"n": 7, "list": [{"x": null}], "t": true, "o": {"a": 1}}});
        assert_eq!(resolve("{{ inputs.n }}", &root), Ok(json!(7)));
        assert_eq!(resolve("{{inputs.list}}", &root), Ok(json!([{"x": null}])));
        assert_eq!(resolve("{{ inputs.list.0.x }}", &root), Ok(json!(null)));
        assert_eq!(resolve("{{\tinputs.o\n}}", &root), Ok(json!({"a": 1})));
        assert_eq!(resolve("{{ step }}", &json!({"step": {"a": 1}})), Ok(json!({"a": 1})));
    }

    #[test]
    fn inside_a_text_values_are_spelled_as_json_spells_them() {
        let root = json!({"s": {"text": "a b", "n": 1.0, "big": 1e21, "t": false}});
        assert_eq!(resolve("<{{ s.text }}|{{s.n}}|{{s.big}}|{{s.t}}>", &root), Ok(json!("<a b|1|1e+21|false>")));
        assert_eq!(resolve(" {{ s.t }}", &root), Ok(json!(" false")));
    }

    #[test]
    fn what_has_no_spelling_inside_a_text_is_an_error() {
        let root = json!({"s": {"nothing": null, "list": [], "object": {}}});
        for (field, what) in [("nothing", "null"), ("list", "a list"), ("object", "an object")] {
            let error = resolve(&format!("x{{{{ s.{field} }}}}"), &root).unwrap_err();
            assert_eq!(error, ResolveError::NotText { reference: format!("s.{field}"), what });
            assert!(error.help().contains("stand alone"));
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_an_error() {
        let root = json!({"s": {"list": [1], "text": "abc"}});
        for reference in [
            "inputs",
            "inputs.x",
            "s.none",
            "s.list.1",
            "s.list.00",
            "s.list.x",
            "s.text.0",
            "t",
            "s.list.99999999999999999999",
        ] {
            let error = resolve(&format!("{{{{{reference}}}}}"), &root).unwrap_err();
            assert_eq!(error, ResolveError::Missing { reference: reference.to_owned() });
            assert!(error.help().contains("input"));
        }
    }

    #[test]
    fn four_braces_stand_for_two() {
        let root = json!({"s": "x"});
        assert_eq!(resolve("{{{{ s }} and {{ s }} and }}", &root), Ok(json!("{{ s }} and x and }}")));
        assert_eq!(resolve("{{{{", &root), Ok(json!("{{")));
        assert_eq!(resolve("{ { s } }", &root), Ok(json!("{ { s } }")));
        assert_eq!(resolve("", &root), Ok(json!("")));
    }

    #[test]
    fn what_is_brought_in_is_not_scanned_again() {
        let root = json!({"a": "{{ b }}", "b": "secret"});
        assert_eq!(resolve("{{ a }}", &root), Ok(json!("{{ b }}")));
        assert_eq!(resolve("<{{ a }}>", &root), Ok(json!("<{{ b }}>")));
        assert_eq!(resolve("{{ a }}{{ a }}", &root), Ok(json!("{{ b }}{{ b }}")));
    }

    #[test]
    fn what_is_not_a_reference_is_refused_with_its_place() {
        for (text, offset, len) in [
            ("é {{ a + b }}", 2, 11),
            ("{{}}", 0, 4),
            ("{{ .a }}", 0, 8),
            ("{{ a..b }}", 0, 10),
            ("{{ 1a }}", 0, 8),
            ("{{ a | upper }}", 0, 15),
            ("{{ a[0] }}", 0, 10),
            ("{{ a }} {{ $b }}", 8, 8),
            ("{{{ a }}}", 0, 8),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(matches!(error.problem, TemplateProblem::NotAReference(_)), "{text}");
            assert_eq!((error.offset, error.len), (offset, len), "{text}");
            assert!(error.problem.help().contains("without logic"));
        }
        assert_eq!(Template::parse("{{ a b }}").unwrap_err().to_string(), "`{{ a b }}` is not a reference");
        let long = format!("{{{{{}}}}}", "é ".repeat(500));
        assert!(Template::parse(&long).unwrap_err().to_string().len() < 200);
        let error = Template::parse("{{{{ {{ a }").unwrap_err();
        assert_eq!((error.to_string(), error.offset), ("`{{` is never closed".to_owned(), 5));
        assert!(error.problem.help().contains("close it"));
    }

    #[test]
    fn a_result_beyond_its_limit_is_refused() {
        let root = json!({"a": "x".repeat(600), "o": {"k": "y".repeat(2_000)}});
        assert!(resolve("{{ a }}", &root).is_ok());
        for text in ["{{ a }}{{ a }}", "{{ o }}", &"z".repeat(1_001)] {
            assert_eq!(resolve(text, &root), Err(ResolveError::TooLarge { limit: 1_000 }));
        }
        assert!(ResolveError::TooLarge { limit: 1 }.help().contains("field"));
    }

    #[test]
    fn references_know_their_names_and_their_place() {
        let template = Template::parse("é{{ a.b.0 }} {{c}}").unwrap();
        let found: Vec<_> = template.references().map(|r| (r.to_string(), r.root().to_owned(), r.place())).collect();
        assert_eq!(found, [("a.b.0".into(), "a".into(), (1, 11)), ("c".into(), "c".into(), (13, 5))]);
        assert!(!template.is_whole() && Template::parse("{{ a }}").unwrap().is_whole());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            ".{0,3}\\{\\{.{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn random_text_never_panics_and_without_braces_is_itself(text in "([a-z.{} é]|\\{\\{|\\}\\})*") {
            if let Ok(template) = Template::parse(&text) {
                let value = Value::from("v");
                let resolved = template.resolve(&|_| Some(&value), &mut Budget::new(10_000));
                prop_assert!(resolved.is_ok());
                if !text.contains("{{") {
                    prop_assert_eq!(resolved, Ok(Value::from(text)));
                }
            }
        }

        #[test]
        fn a_whole_reference_is_the_identical_value(value in any_value()) {
            let template = Template::parse("{{ x.y }}").unwrap();
            prop_assert_eq!(template.resolve(&|_| Some(&value), &mut Budget::new(1 << 20)), Ok(value.clone()));
        }

        #[test]
        fn a_text_that_is_brought_in_is_delivered_verbatim(text in any::<String>(), braces in "([a-z.]|\\{|\\}){0,12}") {
            let template = Template::parse("<{{ x.y }}>").unwrap();
            for text in [text, braces] {
                let value = Value::from(text.as_str());
                let resolved = template.resolve(&|_| Some(&value), &mut Budget::new(1 << 20));
                prop_assert_eq!(resolved, Ok(Value::from(format!("<{text}>"))));
            }
        }

        #[test]
        fn a_literal_stands_for_itself(text in any::<String>(), braces in "([a-z]|\\{|\\}){0,12}") {
            for text in [text, braces] {
                let resolved = Template::parse(&literal(&text)).unwrap().resolve(&|_| None, &mut Budget::new(1 << 20));
                prop_assert_eq!(resolved, Ok(Value::from(text)));
            }
        }
    }
}
