//! What came back, and how it becomes an output: JSON, text or bytes, as its `content-type` says.

use std::borrow::Cow;
use std::collections::BTreeMap;

use redress_guest::serde_json::{self, Value, json};
use redress_guest::{Content, Failure};

/// What an output may have; the host takes 4 MiB unless a grant says less.
pub const MAX_OUTPUT: usize = 4 << 20;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers by lower-case name; several of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Json(Value),
    Text(String),
    Bytes(Vec<u8>),
    /// More than fits into any output: status and headers are all that is known of the answer.
    TooLarge,
}

impl Answer {
    /// What was received, its body in the form that its `content-type` asks for. Of one that is longer than any output can
    /// be, only the length is looked at.
    pub fn new<'h>(status: u16, headers: impl IntoIterator<Item = (&'h str, &'h str)>, body: Vec<u8>) -> Answer {
        let mut joined: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in headers {
            let known = joined.entry(name.to_ascii_lowercase()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value);
        }
        let body = match body.len() {
            0..=MAX_OUTPUT => choose(joined.get("content-type").map(String::as_str), body),
            _ => Body::TooLarge,
        };
        Answer { status, headers: joined, body }
    }

    /// Reads back what [`Answer::output`] returned.
    pub fn from_output(output: &str) -> Result<Answer, Failure> {
        #[derive(serde::Deserialize)]
        struct Output {
            status: u16,
            headers: BTreeMap<String, String>,
            #[serde(flatten)]
            rest: serde_json::Map<String, Value>,
        }
        let unknown =
            |why: String| Failure::new("unknown-undo", format!("the output of the step cannot be read: {why}"));
        let mut output: Output = serde_json::from_str(output).map_err(|error| unknown(error.to_string()))?;
        let body = match (output.rest.remove("json"), output.rest.remove("body"), output.rest.remove("body_base64")) {
            (Some(value), ..) => Body::Json(value),
            (_, Some(Value::String(text)), _) => Body::Text(text),
            (.., Some(Value::String(text))) => Body::Bytes(Content::decode("body_base64", &text)?),
            _ => return Err(unknown("it has no body".into())),
        };
        Ok(Answer { status: output.status, headers: output.headers, body })
    }

    /// The output of the capability.
    pub fn output(self) -> Result<Value, Failure> {
        let (status, headers) = (self.status, self.headers);
        let output = match self.body {
            Body::Json(value) => json!({ "status": status, "headers": headers, "json": value }),
            Body::Text(text) => json!({ "status": status, "headers": headers, "body": text }),
            Body::Bytes(bytes) => {
                json!({ "status": status, "headers": headers, "body_base64": Content::encode(&bytes) })
            }
            Body::TooLarge => return Err(too_large("the answer has more than 4 MiB")),
        };
        let size = output.to_string().len();
        if size > MAX_OUTPUT {
            return Err(too_large(&format!("the output would have {size} bytes")));
        }
        Ok(output)
    }

    /// The body as JSON, if that is what it is.
    pub fn json(&self) -> Option<Cow<'_, Value>> {
        match &self.body {
            Body::Json(value) => Some(Cow::Borrowed(value)),
            // JSON with numbers that an output cannot hold.
            Body::Text(text) if is_json(self.headers.get("content-type")?) => {
                serde_json::from_str(text).ok().map(Cow::Owned)
            }
            Body::Text(_) | Body::Bytes(_) | Body::TooLarge => None,
        }
    }

    /// The body, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) => Some(text),
            Body::Json(_) | Body::Bytes(_) | Body::TooLarge => None,
        }
    }

    /// Its status and what it says it is, for a person.
    pub fn summary(&self) -> String {
        match self.headers.get("content-type") {
            Some(kind) => {
                let kind: String = kind.chars().take(100).collect();
                format!("status {} with the content type `{kind}`", self.status)
            }
            None => format!("status {} without a content type", self.status),
        }
    }

    /// The first part of the body, for a person.
    pub fn excerpt(&self) -> Option<String> {
        let text = match &self.body {
            Body::Json(value) => value.to_string(),
            Body::Text(text) => text.clone(),
            Body::Bytes(bytes) => format!("{} bytes that are not text", bytes.len()),
            Body::TooLarge => "more than 4 MiB".to_owned(),
        };
        (!text.is_empty()).then(|| text.chars().take(1_000).collect())
    }
}

fn too_large(what: &str) -> Failure {
    Failure::new("too-large", format!("{what}; a step can return at most 4 MiB, binary content about 3 MiB"))
}

fn choose(content_type: Option<&str>, bytes: Vec<u8>) -> Body {
    let json = content_type.is_some_and(is_json);
    if !json && content_type.is_some_and(|name| !is_text(name)) && !bytes.is_empty() {
        return Body::Bytes(bytes);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Body::Bytes(error.into_bytes()),
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if json && is_safe(&value) => Body::Json(value),
        _ => Body::Text(text),
    }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

fn is_text(content_type: &str) -> bool {
    let essence = essence(content_type);
    let known = [
        "application/xml",
        "application/javascript",
        "application/yaml",
        "application/toml",
        "application/x-ndjson",
        "application/jsonl",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "application/sql",
    ];
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || known.contains(&essence.as_str())
}

/// Whether every integer survives in an output: not beyond 2^53.
fn is_safe(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|n| n.fract() != 0.0 || n.abs() < 9_007_199_254_740_992.0),
        Value::Array(items) => items.iter().all(is_safe),
        Value::Object(fields) => fields.values().all(is_safe),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(content_type: &str, body: &[u8]) -> Value {
        let headers = [("Content-Type", content_type)].into_iter().filter(|(_, value)| !value.is_empty());
        let mut output = Answer::new(200, headers, body.to_vec()).output().unwrap();
        output["headers"].take();
        output
    }

    fn with(name: &str, value: Value) -> Value {
        json!({ "status": 200, "headers": null, name: value })
    }

    #[test]
    fn the_content_type_decides_the_form_of_the_body() {
        assert_eq!(output("application/json; charset=utf-8", b"{\"a\": 1}"), with("json", json!({"a": 1})));
        assert_eq!(output("application/problem+json", b"null"), with("json", Value::Null));
        assert_eq!(output("text/plain", b"{\"a\": 1}"), with("body", json!("{\"a\": 1}")));
        assert_eq!(output("", b"text"), with("body", json!("text")));
        assert_eq!(output("", &[255, 0]), with("body_base64", json!("/wA=")));
        assert_eq!(output("image/png", b"abc"), with("body_base64", json!("YWJj")));
        assert_eq!(output("application/json", b""), with("body", json!("")));
        assert_eq!(output("image/png", b""), with("body", json!("")));
    }

    #[test]
    fn json_that_an_output_cannot_hold_is_text_and_can_still_be_referred_to() {
        let body = br#"{"id": 9007199254740993}"#;
        assert_eq!(output("application/json", body), with("body", json!(r#"{"id": 9007199254740993}"#)));
        assert_eq!(output("application/json", b"{"), with("body", json!("{")));
        let answer = Answer::new(200, [("content-type", "application/json")], body.to_vec());
        assert_eq!(answer.json().unwrap().get("id"), Some(&json!(9_007_199_254_740_993_u64)));
    }

    #[test]
    fn an_answer_is_read_back_from_its_output() {
        for (content_type, body) in
            [("application/json", &b"[1]"[..]), ("text/plain", b"x"), ("image/png", &[0, 255]), ("text/plain", b"")]
        {
            let answer = Answer::new(201, [("content-type", content_type), ("a", "1"), ("A", "2")], body.to_vec());
            assert_eq!(answer.headers["a"], "1, 2");
            let output = answer.clone().output().unwrap().to_string();
            assert_eq!(Answer::from_output(&output).unwrap(), answer);
        }
    }

    #[test]
    fn more_than_a_step_can_return_is_refused_by_name() {
        for length in [3 << 20, 5 << 20] {
            let answer = Answer::new(200, [("content-type", "image/png")], vec![7; length]);
            assert_eq!(answer.output().unwrap_err().code, "too-large");
        }
    }
}
