//! `when`: what a rule demands of the input.
//!
//! An answer never shows a value of the input: it goes into the journal and to other people than the input does.

use serde_json::Value;

use crate::document::{Diagnostic, Diagnostics, Node, Span, integer, list, suggest};
use crate::types::{ResourceGlob, canonical_bytes};

use super::keys::OPERATORS;
use super::pattern::at_node;

/// What one rule demands of one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// Such as `inputs.url`.
    field: String,
    operators: Vec<Operator>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operator {
    Equals(Value),
    In(Vec<Value>),
    Glob(Vec<ResourceGlob>),
    Min(f64),
    Max(f64),
    MinLength(u64),
    MaxLength(u64),
}

/// Whether a condition holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Truth {
    Holds,
    /// It does not, and why.
    Fails(String),
    /// The named field is not known yet.
    Unknown(String),
    /// It cannot be evaluated, and why.
    Error(String),
}

/// What is known of an input: its value, and the fields in it that are not known yet (`inputs.url`; `inputs` for all).
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub value: Option<&'a Value>,
    pub unknown: &'a [String],
}

/// Whether all conditions hold. All are looked at, so that their order does not matter: an error counts most, then a
/// condition that fails, then one that is not known.
pub(super) fn all(conditions: &[Condition], input: Input<'_>) -> Truth {
    let rank = |truth: &Truth| match truth {
        Truth::Holds => 0,
        Truth::Unknown(_) => 1,
        Truth::Fails(_) => 2,
        Truth::Error(_) => 3,
    };
    let mut answer = Truth::Holds;
    for condition in conditions {
        let truth = condition.evaluate(input);
        if rank(&truth) > rank(&answer) {
            answer = truth;
        }
    }
    answer
}

/// The one thing that would have to be otherwise for all conditions to hold; none if it is more than one, or nothing.
pub(super) fn only_wish(conditions: &[Condition], input: Input<'_>) -> Option<String> {
    let mut wishes = conditions.iter().flat_map(|condition| condition.wishes(input));
    wishes.next().filter(|_| wishes.next().is_none())
}

impl Condition {
    /// What would have to be otherwise for it to hold, a clause each.
    fn wishes(&self, input: Input<'_>) -> Vec<String> {
        let field = &self.field;
        let of = |operator: &Operator| format!("`{field}` {}", operator.wish());
        let mut found = input.value;
        for name in field.split('.').skip(1) {
            found = found.and_then(|value| value.get(name));
        }
        match found.filter(|_| !input.unknown.iter().any(|u| is_within(u, field) || is_within(field, u))) {
            Some(value) => self.operators.iter().filter(|o| !matches!(o.evaluate(value), Ok(None))).map(of).collect(),
            None => vec![self.operators.iter().map(of).collect::<Vec<_>>().join(" and ")],
        }
    }

    fn evaluate(&self, input: Input<'_>) -> Truth {
        let field = &self.field;
        let related = |unknown: &String| is_within(unknown, field) || is_within(field, unknown);
        let Some(value) = input.value.filter(|_| !input.unknown.iter().any(related)) else {
            return Truth::Unknown(field.clone());
        };
        let mut found = value;
        for name in field.split('.').skip(1) {
            match found {
                Value::Object(fields) => match fields.get(name) {
                    Some(inner) => found = inner,
                    None => return Truth::Error(format!("`{field}` is missing")),
                },
                _ => return Truth::Error(format!("`{field}` is missing: `{name}` is not in an object")),
            }
        }
        let mut answer = Truth::Holds;
        for operator in &self.operators {
            match operator.evaluate(found) {
                Ok(None) => {}
                Ok(Some(why)) if answer == Truth::Holds => answer = Truth::Fails(format!("`{field}` {why}")),
                Ok(Some(_)) => {}
                Err(why) => return Truth::Error(format!("`{field}` {why}")),
            }
        }
        answer
    }
}

/// Whether the field `inner` is `outer` or lies in it.
fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Operator {
    /// What it asks of a value, as the file says it.
    fn wish(&self) -> String {
        match self {
            Operator::Equals(wanted) => format!("were {}", shown(wanted)),
            Operator::In(wanted) => {
                format!("were {}", wanted.iter().map(shown).collect::<Vec<_>>().join(" or "))
            }
            Operator::Glob(globs) => {
                let texts: Vec<_> = globs.iter().map(|glob| format!("`{}`", glob.as_str())).collect();
                format!("matched {}", texts.join(" or "))
            }
            Operator::Min(min) => format!("were at least {min}"),
            Operator::Max(max) => format!("were at most {max}"),
            Operator::MinLength(min) => format!("had a length of at least {min}"),
            Operator::MaxLength(max) => format!("had a length of at most {max}"),
        }
    }

    /// None if it holds, else why not; an error if it cannot be said.
    fn evaluate(&self, value: &Value) -> Result<Option<String>, String> {
        let unless = |holds: bool, why: String| Ok(if holds { None } else { Some(why) });
        match self {
            Operator::Equals(wanted) if kind(wanted) != kind(value) => {
                Err(format!("is {}, and `equals` compares it with {}", kind(value), kind(wanted)))
            }
            Operator::Equals(wanted) => unless(same(wanted, value), "is not what `equals` says".into()),
            Operator::In(wanted) if !wanted.iter().any(|wanted| kind(wanted) == kind(value)) => {
                Err(format!("is {}, and `in` names none", kind(value)))
            }
            Operator::In(wanted) => unless(wanted.iter().any(|w| same(w, value)), "is not in the list of `in`".into()),
            Operator::Glob(globs) => {
                let text = value.as_str().ok_or_else(|| format!("is {}, and `glob` needs a string", kind(value)))?;
                let mut matched = false;
                for glob in globs {
                    matched |= glob.matches(text)?;
                }
                let texts: Vec<_> = globs.iter().map(|glob| format!("`{}`", glob.as_str())).collect();
                unless(matched, format!("does not match {}", texts.join(" or ")))
            }
            Operator::Min(min) => unless(number(value, "min")? >= *min, format!("is below `min: {min}`")),
            Operator::Max(max) => unless(number(value, "max")? <= *max, format!("is above `max: {max}`")),
            Operator::MinLength(min) => {
                unless(length(value, "min_length")? >= *min, format!("is shorter than `min_length: {min}`"))
            }
            Operator::MaxLength(max) => {
                unless(length(value, "max_length")? <= *max, format!("is longer than `max_length: {max}`"))
            }
        }
    }
}

fn shown(wanted: &Value) -> String {
    format!("`{wanted}`")
}

fn number(value: &Value, operator: &str) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("is {}, and `{operator}` needs a number", kind(value)))
}

/// Characters of a string, items of a list.
fn length(value: &Value, operator: &str) -> Result<u64, String> {
    match value {
        Value::String(text) => Ok(text.chars().count() as u64),
        Value::Array(items) => Ok(items.len() as u64),
        _ => Err(format!("is {}, and `{operator}` needs a string or a list", kind(value))),
    }
}

/// Equal as JSON: `1` and `1.0` are one number, and the order of keys does not matter.
fn same(a: &Value, b: &Value) -> bool {
    matches!((canonical_bytes(a), canonical_bytes(b)), (Ok(a), Ok(b)) if a == b)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads the value of `when`.
pub(super) fn read(node: &Node, diagnostics: &mut Diagnostics) -> Vec<Condition> {
    let Some(fields) = node.as_mapping() else {
        let error = format!("`when` must be a mapping, found {}", node.what());
        let help = "write `when: { inputs.amount: { max: 100 } }`";
        diagnostics.push(Diagnostic::error("wrong-type", node.span, error).help(help));
        return Vec::new();
    };
    if fields.is_empty() {
        diagnostics.push(Diagnostic::error("empty-mapping", node.span, "`when` has no condition").help("leave it out"));
    }
    let mut conditions = Vec::new();
    for (key, value) in fields {
        let field = key.name.clone();
        if !is_field(&field) {
            let message = format!("`{field}` is not a field of the input");
            let help = "write `inputs.` and the name of a field, such as `inputs.url`";
            diagnostics.push(Diagnostic::error("unknown-field", key.span, message).help(help));
        }
        let Some(entries) = value.as_mapping().filter(|entries| !entries.is_empty()) else {
            let message = format!("the condition on `{field}` must be a mapping of operators, found {}", value.what());
            let help = match value.as_str() {
                Some(text) => format!("write `{{ equals: \"{text}\" }}`"),
                None => format!("the operators are {}", operators()),
            };
            diagnostics.push(Diagnostic::error("wrong-type", value.span, message).help(help));
            continue;
        };
        let read = entries.iter().filter_map(|(key, node)| read_operator(&key.name, key.span, node, diagnostics));
        conditions.push(Condition { field, operators: read.collect() });
    }
    conditions
}

fn is_field(text: &str) -> bool {
    text.strip_prefix("inputs.").is_some_and(|rest| rest.split('.').all(|name| !name.is_empty()))
}

fn operators() -> String {
    OPERATORS.map(|name| format!("`{name}`")).join(", ")
}

fn read_operator(name: &str, at: Span, node: &Node, diagnostics: &mut Diagnostics) -> Option<Operator> {
    let what = format!("`{name}`");
    match name {
        "equals" => Some(Operator::Equals(node.to_json())),
        "in" => {
            let items = list(node, &what, diagnostics)?;
            if items.is_empty() {
                diagnostics.push(Diagnostic::error("empty-list", node.span, "`in` must not be an empty list"));
            }
            Some(Operator::In(items.iter().map(Node::to_json).collect()))
        }
        "glob" => read_globs(node, diagnostics).map(Operator::Glob),
        "min" => read_number(node, &what, diagnostics).map(Operator::Min),
        "max" => read_number(node, &what, diagnostics).map(Operator::Max),
        "min_length" => integer(node, &what, diagnostics).map(Operator::MinLength),
        "max_length" => integer(node, &what, diagnostics).map(Operator::MaxLength),
        _ => {
            let unknown = Diagnostic::error("unknown-operator", at, format!("unknown operator `{name}`"));
            diagnostics.push(match suggest(name, OPERATORS) {
                Some(word) => unknown.did_you_mean(Some(word)),
                None => unknown.help(format!("the operators are {}", operators())),
            });
            None
        }
    }
}

fn read_number(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<f64> {
    let value = node.as_number();
    if value.is_none() {
        let message = format!("{what} must be a number, found {}", node.what());
        diagnostics.push(Diagnostic::error("wrong-type", node.span, message));
    }
    value
}

/// One glob, or a list of them.
fn read_globs(node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<ResourceGlob>> {
    let items = node.as_sequence().unwrap_or(std::slice::from_ref(node));
    if items.is_empty() {
        diagnostics.push(Diagnostic::error("empty-list", node.span, "`glob` must not be an empty list"));
    }
    let mut globs = Vec::new();
    for item in items {
        let text = crate::document::string(item, "`glob`", diagnostics)?;
        match ResourceGlob::parse(text) {
            Ok(glob) => globs.push(glob),
            Err(error) => diagnostics.push(at_node(error, "bad-glob", item)),
        }
    }
    Some(globs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Source, parse};
    use serde_json::json;

    fn conditions(text: &str) -> Result<Vec<Condition>, Vec<String>> {
        let source = Source::new("p.yaml", text);
        let node = parse(&source).unwrap();
        let mut diagnostics = Diagnostics::new(source);
        let conditions = read(&node, &mut diagnostics);
        if diagnostics.is_empty() {
            Ok(conditions)
        } else {
            Err(diagnostics.iter().map(|d| d.message.clone()).collect())
        }
    }

    fn judge(text: &str, value: Value) -> Truth {
        all(&conditions(text).unwrap(), Input { value: Some(&value), unknown: &[] })
    }

    fn is_error(truth: Truth) -> bool {
        matches!(truth, Truth::Error(_))
    }

    fn fails(truth: Truth) -> bool {
        matches!(truth, Truth::Fails(_))
    }

    #[test]
    fn equals_and_in_compare_values_of_one_kind() {
        assert_eq!(judge("inputs.a: {equals: 1}", json!({"a": 1.0})), Truth::Holds);
        assert_eq!(judge("inputs.a.b: {equals: {x: [1]}}", json!({"a": {"b": {"x": [1]}}})), Truth::Holds);
        assert!(fails(judge("inputs.a: {equals: x}", json!({"a": "y"}))));
        assert!(is_error(judge("inputs.a: {equals: x}", json!({"a": 1}))));
        assert_eq!(judge("inputs.a: {in: [x, 2]}", json!({"a": 2})), Truth::Holds);
        assert!(fails(judge("inputs.a: {in: [x, y]}", json!({"a": "z"}))));
        assert!(is_error(judge("inputs.a: {in: [x, y]}", json!({"a": true}))));
        assert!(is_error(judge("inputs.a: {in: [x, y]}", json!({"a": null}))));
    }

    #[test]
    fn bounds_hold_for_numbers_and_lengths() {
        assert_eq!(judge("inputs.a: {min: 1, max: 2}", json!({"a": 1.5})), Truth::Holds);
        assert!(fails(judge("inputs.a: {min: 1}", json!({"a": 0}))));
        assert!(fails(judge("inputs.a: {max: 100}", json!({"a": 100.5}))));
        assert!(is_error(judge("inputs.a: {max: 100}", json!({"a": "5"}))));
        assert_eq!(judge("inputs.a: {min_length: 2, max_length: 2}", json!({"a": "éé"})), Truth::Holds);
        assert!(fails(judge("inputs.a: {max_length: 1}", json!({"a": [1, 2]}))));
        assert!(fails(judge("inputs.a: {min_length: 1}", json!({"a": ""}))));
        assert!(is_error(judge("inputs.a: {max_length: 1}", json!({"a": {}}))));
    }

    #[test]
    fn a_glob_holds_if_one_of_the_list_matches() {
        let globs = "inputs.p: {glob: [\"/w/**\", \"/tmp/*\"]}";
        assert_eq!(judge(globs, json!({"p": "/tmp/a"})), Truth::Holds);
        assert!(fails(judge(globs, json!({"p": "/etc/passwd"}))));
        assert!(is_error(judge(globs, json!({"p": "/w/../etc"}))));
        assert!(is_error(judge(globs, json!({"p": 1}))));
    }

    #[test]
    fn a_missing_field_is_an_error_and_counts_more_than_one_that_fails() {
        assert!(is_error(judge("inputs.a: {equals: 1}", json!({}))));
        assert!(is_error(judge("inputs.a.b: {equals: 1}", json!({"a": [1]}))));
        assert!(is_error(judge("{inputs.a: {max: 1}, inputs.b: {max: 1}}", json!({"a": 5}))));
        assert!(is_error(judge("{inputs.b: {max: 1}, inputs.a: {max: 1}}", json!({"a": 5}))));
        assert!(is_error(judge("inputs.a: {max: 1, max_length: 1}", json!({"a": 5}))));
        assert!(fails(judge("inputs.a: {max: 1, min: 7}", json!({"a": 5}))));
    }

    #[test]
    fn an_answer_never_shows_a_value_of_the_input() {
        for (when, value) in
            [("{equals: x}", json!("hunter2")), ("{glob: /a}", json!("/hunter2")), ("{in: [a]}", json!("hunter2"))]
        {
            let truth = judge(&format!("inputs.a: {when}"), json!({"a": value}));
            assert!(!format!("{truth:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_field_is_unknown_with_what_it_lies_in_and_what_lies_in_it() {
        let conditions = conditions("inputs.a.b: {equals: 1}").unwrap();
        let value = json!({"a": {"b": 1}});
        let judge = |unknown: &str| all(&conditions, Input { value: Some(&value), unknown: &[unknown.to_owned()] });
        for unknown in ["inputs", "inputs.a", "inputs.a.b", "inputs.a.b.c"] {
            assert_eq!(judge(unknown), Truth::Unknown("inputs.a.b".into()), "{unknown}");
        }
        for unknown in ["inputs.b", "inputs.a.bc", "inputs.a.c"] {
            assert_eq!(judge(unknown), Truth::Holds, "{unknown}");
        }
        assert_eq!(all(&conditions, Input { value: None, unknown: &[] }), Truth::Unknown("inputs.a.b".into()));
    }

    #[test]
    fn of_a_field_that_is_not_known_all_that_is_asked_of_it_is_wished_for() {
        let conditions = conditions("inputs.a.b: {min: 3, max: 9}").unwrap();
        let value = json!({"a": {"b": 20}});
        let wish = |unknown: &str| {
            only_wish(&conditions, Input { value: Some(&value), unknown: &[unknown.to_owned()] }).unwrap()
        };
        for unknown in ["inputs", "inputs.a", "inputs.a.b", "inputs.a.b.c"] {
            assert_eq!(wish(unknown), "`inputs.a.b` were at least 3 and `inputs.a.b` were at most 9", "{unknown}");
        }
        assert_eq!(wish("inputs.a.c"), "`inputs.a.b` were at most 9");
    }

    #[test]
    fn what_is_not_a_condition_is_refused() {
        for (text, said) in [
            ("[a]", "`when` must be a mapping, found a list"),
            ("{}", "`when` has no condition"),
            ("url: {equals: 1}", "`url` is not a field of the input"),
            ("inputs.: {equals: 1}", "`inputs.` is not a field of the input"),
            ("inputs.a: x", "the condition on `inputs.a` must be a mapping of operators, found a string"),
            ("inputs.a: {}", "the condition on `inputs.a` must be a mapping of operators, found a mapping"),
            ("inputs.a: {maxx: 1}", "unknown operator `maxx`"),
            ("inputs.a: {regex: x}", "unknown operator `regex`"),
            ("inputs.a: {max: x}", "`max` must be a number, found a string"),
            ("inputs.a: {in: []}", "`in` must not be an empty list"),
            ("inputs.a: {in: x}", "`in` must be a list, found a string"),
            ("inputs.a: {glob: []}", "`glob` must not be an empty list"),
            ("inputs.a: {glob: [1]}", "`glob` must be a string, found a number"),
            ("inputs.a: {glob: /a/../b}", "the segment `..` is not allowed in a glob"),
            ("inputs.a: {max_length: -1}", "`max_length` must be a whole number from 0 on"),
        ] {
            assert_eq!(conditions(text), Err(vec![said.to_owned()]), "{text}");
        }
    }
}
