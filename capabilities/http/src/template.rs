//! References to the answer of a request, in the request that undoes it.
//!
//! `{response.status}`, `{response.body}`, `{response.headers.NAME}`, `{response.json}` and below it keys and array indices
//! joined by dots: `{response.json.items.0.id}`. References only: nothing is computed. A string of a JSON body that is one
//! reference and nothing else becomes the value itself; everywhere else a reference stands for text, a number or a
//! truth value. What goes in is not scanned again. A reference that does not resolve is a failure, never an empty text.
//!
//! Braces around anything else are text, save a dotted word such as `{respnse.json.id}`, which is taken for a slip.

use std::collections::BTreeMap;

use redress_guest::Failure;
use redress_guest::serde_json::Value;

use crate::answer::Answer;

/// The code of a failure: an answer does not have what the undo refers to, or it cannot stand there.
pub const UNRESOLVED: &str = "undo-unresolved";

/// What references stand for, by their text without braces.
pub type Values = BTreeMap<String, Value>;

/// A part of a text.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// Stands for a value: `response.json.id`.
    Reference(&'a str),
}

/// Takes a text apart.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Failure> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut looked = 0;
    while let Some(open) = rest.get(looked..).and_then(|part| part.find('{')).map(|at| at + looked) {
        let (before, from) = rest.split_at(open);
        let inside = from.get(1..).and_then(|part| part.split_once('}'));
        match inside {
            Some((name, after)) if is_reference(name)? => {
                if !before.is_empty() {
                    pieces.push(Piece::Text(before));
                }
                pieces.push(Piece::Reference(name));
                (rest, looked) = (after, 0);
            }
            _ => looked = open + 1,
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn is_reference(name: &str) -> Result<bool, Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let meant = name == "response"
        || name.starts_with("response.") && !name.contains(['{', ' ', '"', '\n'])
        || name.contains('.') && name.bytes().all(plain);
    let known = match name.strip_prefix("response.") {
        Some("status" | "body" | "json") => true,
        Some(rest) => {
            let rest = rest.strip_prefix("headers.").or_else(|| rest.strip_prefix("json."));
            rest.is_some_and(|path| path.split('.').all(|part| !part.is_empty()))
        }
        None => false,
    };
    match (meant, known) {
        (false, _) => Ok(false),
        (true, true) => Ok(true),
        (true, false) => Err(Failure::invalid_input(format!("`{{{name}}}` is not a reference")).with_details(
            "write `{key}`, `{response.status}`, `{response.body}`, `{response.headers.NAME}` or `{response.json.PATH}`",
        )),
    }
}

/// What `reference` stands for in this answer.
pub fn look_up(reference: &str, answer: &Answer) -> Option<Value> {
    match reference.strip_prefix("response.")? {
        "status" => Some(Value::from(answer.status)),
        "body" => answer.text().map(Value::from),
        "json" => answer.json().map(|json| json.into_owned()),
        rest => match rest.strip_prefix("headers.") {
            Some(name) => answer.headers.get(&name.to_ascii_lowercase()).map(|value| Value::from(value.as_str())),
            None => {
                let json = answer.json()?;
                let found = rest.strip_prefix("json.")?.split('.').try_fold(json.as_ref(), |value, part| match value {
                    Value::Object(fields) => fields.get(part),
                    Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                    _ => None,
                });
                found.filter(|value| is_exact(value)).cloned()
            }
        },
    }
}

/// Whether a number is as the target wrote it: one that only fits a floating point number may have lost digits.
fn is_exact(value: &Value) -> bool {
    value.as_i64().is_some() || value.as_u64().is_some() || value.as_f64().is_none_or(|n| n.abs() < 9e15)
}

/// A text with its references replaced.
pub fn fill(text: &str, values: &Values) -> Result<String, Failure> {
    fill_with(text, values, |_, _, value| Ok(value))
}

/// A URL with its references replaced. A reference at the start stands for the start of a URL; anywhere else its value is one
/// segment of a path or one value of a query, whatever characters it has. In a path, those are an error that the host would
/// refuse in any spelling, since servers disagree about them.
pub fn fill_url(url: &str, values: &Values) -> Result<String, Failure> {
    fill_with(url, values, |filled, name, value| {
        let odd = matches!(value.as_str(), "" | "." | "..") || value.contains(['/', '\\', '%', '\0']);
        if filled.is_empty() {
            Ok(value)
        } else if odd && !filled.contains('?') {
            Err(unresolved(format!("`{{{name}}}` is `{value}`, which cannot be a part of a path")))
        } else {
            Ok(encoded(&value))
        }
    })
}

/// A JSON value with the references in its strings replaced.
pub fn fill_json(json: &Value, values: &Values) -> Result<Value, Failure> {
    Ok(match json {
        Value::String(text) => match pieces(text)?.as_slice() {
            [Piece::Reference(name)] => value_of(name, values)?.clone(),
            _ => Value::String(fill(text, values)?),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| fill_json(item, values)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let filled = fields.iter().map(|(name, value)| Ok((name.clone(), fill_json(value, values)?)));
            Value::Object(filled.collect::<Result<_, Failure>>()?)
        }
        other => other.clone(),
    })
}

fn fill_with(
    text: &str,
    values: &Values,
    put: impl Fn(&str, &str, String) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let mut filled = String::new();
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Reference(name) => {
                let value = match value_of(name, values)? {
                    Value::String(text) => text.clone(),
                    value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
                    Value::Null | Value::Array(_) | Value::Object(_) => {
                        return Err(unresolved(format!("`{{{name}}}` is neither text nor a number")));
                    }
                };
                let part = put(&filled, name, value)?;
                filled.push_str(&part);
            }
        }
    }
    Ok(filled)
}

fn value_of<'v>(name: &str, values: &'v Values) -> Result<&'v Value, Failure> {
    values.get(name).ok_or_else(|| unresolved(format!("the answer has nothing at `{{{name}}}`, which its undo needs")))
}

/// The failure of a reference.
pub fn unresolved(message: String) -> Failure {
    Failure::new(UNRESOLVED, message)
}

/// Percent-encoded, save what RFC 3986 calls unreserved.
fn encoded(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use redress_guest::serde_json::json;

    fn values() -> Values {
        let answer = Answer::new(
            201,
            [("Content-Type", "application/json"), ("Location", "/items/7")],
            br#"{"id":"a b/c","n":7,"big":18446744073709551615,"huge":18446744073709551616,"list":[{"id":1}],"none":null}"#
                .to_vec(),
        );
        let names = [
            "response.status",
            "response.headers.Location",
            "response.json.id",
            "response.json.n",
            "response.json.big",
            "response.json.huge",
            "response.json.list.0.id",
            "response.json.list",
            "response.json.list.1",
            "response.json.none",
        ];
        names.into_iter().filter_map(|name| Some((name.to_owned(), look_up(name, &answer)?))).collect()
    }

    #[test]
    fn a_reference_stands_for_what_the_answer_says() {
        let fill = |text: &str| fill(text, &values()).map_err(|failure| failure.code);
        assert_eq!(fill("{response.status} {response.json.n}{response.json.list.0.id}"), Ok("201 71".into()));
        assert_eq!(fill("{response.headers.Location}"), Ok("/items/7".into()));
        assert_eq!(fill("{response.json.big}"), Ok("18446744073709551615".into()));
        assert_eq!(fill(r#"{"a": {"b": 1}} {viewer} {"#), Ok(r#"{"a": {"b": 1}} {viewer} {"#.into()));
        assert_eq!(fill("${secret:TOKEN}"), Ok("${secret:TOKEN}".into()));
    }

    #[test]
    fn a_reference_that_does_not_resolve_is_a_failure() {
        for (text, code) in [
            ("{response.json.gone}", "undo-unresolved"),
            ("{response.json.list.1}", "undo-unresolved"),
            ("{response.json.none}", "undo-unresolved"),
            ("{response.json.list}", "undo-unresolved"),
            ("{response.json.huge}", "undo-unresolved"),
            ("{respnse.json.id}", "invalid-input"),
            ("{response}", "invalid-input"),
            ("{response.id}", "invalid-input"),
            ("{response.json.}", "invalid-input"),
        ] {
            assert_eq!(fill(text, &values()).map_err(|failure| failure.code), Err(code.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_an_answer_says_cannot_change_the_shape_of_a_url() {
        let url = |text: &str, value: &str| {
            let values = Values::from([("response.json.id".to_owned(), json!(value))]);
            fill_url(text, &values).map_err(|failure| failure.code)
        };
        assert_eq!(url("https://h/i/{response.json.id}", "a?b#c d"), Ok("https://h/i/a%3Fb%23c%20d".into()));
        assert_eq!(url("https://h/i?id={response.json.id}", "a/../b&c"), Ok("https://h/i?id=a%2F..%2Fb%26c".into()));
        assert_eq!(url("{response.json.id}/cancel", "https://h/i/7"), Ok("https://h/i/7/cancel".into()));
        for value in ["", ".", "..", "a/b", "..\\a", "%2e", "a\0"] {
            assert_eq!(url("https://h/i/{response.json.id}", value), Err("undo-unresolved".into()), "{value}");
        }
    }

    #[test]
    fn a_string_that_is_one_reference_becomes_the_value_itself_and_is_not_scanned_again() {
        let template =
            json!({"id": "{response.json.n}", "all": ["{response.json.list}"], "text": "n={response.json.n}", "x": 1});
        let filled = fill_json(&template, &values()).unwrap();
        assert_eq!(filled, json!({"id": 7, "all": [[{"id": 1}]], "text": "n=7", "x": 1}));
        let values = Values::from([("response.body".to_owned(), json!("{response.json.n}"))]);
        assert_eq!(fill("{response.body}", &values).unwrap(), "{response.json.n}");
    }
}
