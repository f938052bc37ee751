//! A request as the caller writes it, and the message that it becomes.

use std::collections::BTreeMap;

use redress_guest::serde_json::{self, Value};
use redress_guest::{Content, Failure};
use serde::{Deserialize, Deserializer, Serialize};

use crate::answer::Answer;
use crate::status::{Statuses, unexpected};
use crate::template::{Piece, UNRESOLVED, Values, fill, fill_json, fill_url, pieces};

/// A method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the methods of HTTP")]
pub enum Method {
    #[default]
    Get,
    Head,
    Options,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Whether it changes nothing, by convention.
    pub fn is_read(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// A request as the caller writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Request {
    /// An `http` or `https` URL.
    pub url: String,
    /// The method; GET if none is named.
    #[serde(default)]
    pub method: Method,
    /// Headers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A body of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A body of any bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// A body of JSON; `null` is one.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// What counts as success; 2xx if nothing is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<Statuses>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The method.
    pub method: Method,
    /// Whether it goes by TLS.
    pub tls: bool,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Headers, `content-length` among them where there is a body.
    pub headers: Vec<(String, String)>,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

impl Message {
    /// Method and URL without the query, which may hold what is nobody's business.
    pub fn name(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {scheme}://{}{path}", self.method.as_str(), self.authority)
    }

    /// The answer, if it is one of those expected.
    pub fn expect(&self, expected: &Statuses, answer: Answer) -> Result<Answer, Failure> {
        if expected.contain(answer.status) { Ok(answer) } else { Err(unexpected(&self.name(), &answer)) }
    }
}

impl Request {
    /// The statuses that count as success.
    pub fn expected(&self) -> Statuses {
        self.expect_status.clone().unwrap_or_else(|| Statuses::of("2xx", &[]))
    }

    /// Refuses what cannot be sent whatever an answer may say.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(statuses) = &self.expect_status {
            statuses.check()?;
        }
        for (name, value) in &self.headers {
            check_header(name, value)?;
        }
        if let Some(text) = &self.body_base64 {
            Content::decode("body_base64", text)?;
        }
        Ok(())
    }

    /// The same request with `{key}` replaced wherever a reference may stand.
    pub fn with_key(&self, key: &str) -> Request {
        let put = |text: &String| text.replace("{key}", key);
        Request {
            url: put(&self.url),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), put(value))).collect(),
            body: self.body.as_ref().map(put),
            json: self.json.as_ref().map(|json| with_key(json, key)),
            ..self.clone()
        }
    }

    /// The references to an answer.
    pub fn references(&self) -> Result<Vec<String>, Failure> {
        let mut texts: Vec<&str> = vec![&self.url];
        texts.extend(self.headers.values().map(String::as_str));
        texts.extend(self.body.as_deref());
        if let Some(json) = &self.json {
            strings(json, &mut texts);
        }
        let mut references = Vec::new();
        for text in texts {
            let found = pieces(text)?.into_iter().filter_map(|piece| match piece {
                Piece::Reference(name) => Some(name.to_owned()),
                Piece::Text(_) => None,
            });
            references.extend(found);
        }
        Ok(references)
    }

    /// The same request with its references to an answer replaced; one without scheme and host goes to `origin`, and none
    /// goes elsewhere.
    pub fn filled(&self, values: &Values, origin: &str) -> Result<Request, Failure> {
        let fill_body = |text: &String| fill(text, values);
        let headers = self.headers.iter().map(|(name, value)| Ok((name.clone(), fill(value, values)?)));
        let filled = Request {
            url: absolute(&fill_url(&self.url, values)?, origin)?,
            headers: headers.collect::<Result<_, Failure>>()?,
            body: self.body.as_ref().map(fill_body).transpose()?,
            json: self.json.as_ref().map(|json| fill_json(json, values)).transpose()?,
            ..self.clone()
        };
        filled.check()?;
        Ok(filled)
    }

    /// What is sent for it; with a key, if it is no read.
    pub fn message(&self, key: Option<&str>) -> Result<Message, Failure> {
        let (scheme, authority, path) = split(&self.url)?;
        let (body, kind) = match (&self.json, &self.body, &self.body_base64) {
            (Some(json), None, None) => (json.to_string().into_bytes(), "application/json"),
            (None, Some(text), None) => (text.clone().into_bytes(), "text/plain; charset=utf-8"),
            (None, None, Some(text)) => (Content::decode("body_base64", text)?, "application/octet-stream"),
            (None, None, None) => (Vec::new(), ""),
            _ => return Err(Failure::invalid_input("give only one of `body`, `body_base64` and `json`")),
        };
        let mut headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut add = |name: &str, value: String| {
            if !self.headers.keys().any(|known| known.eq_ignore_ascii_case(name)) {
                headers.push((name.to_owned(), value));
            }
        };
        if !kind.is_empty() {
            add("content-type", kind.to_owned());
        }
        add("user-agent", concat!("redress-http/", env!("CARGO_PKG_VERSION")).to_owned());
        if !self.method.is_read() || !body.is_empty() {
            add("content-length", body.len().to_string());
        }
        if let Some(key) = key.filter(|_| !self.method.is_read()) {
            add(KEY_HEADER, key.to_owned());
        }
        Ok(Message {
            method: self.method,
            tls: scheme == "https",
            authority: authority.to_owned(),
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers,
            body,
        })
    }
}

const KEY_HEADER: &str = "idempotency-key";

fn with_key(json: &Value, key: &str) -> Value {
    match json {
        Value::String(text) => Value::String(text.replace("{key}", key)),
        Value::Array(items) => Value::Array(items.iter().map(|item| with_key(item, key)).collect()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), with_key(value, key)));
            Value::Object(fields.collect::<serde_json::Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn strings<'v>(json: &'v Value, texts: &mut Vec<&'v str>) {
    match json {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_header(name: &str, value: &str) -> Result<(), Failure> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Failure::invalid_input(format!("`{name}` is not the name of a header")));
    }
    let own = [KEY_HEADER, "content-length", "host", "connection", "transfer-encoding", "upgrade"];
    if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(Failure::invalid_input(format!("the header `{name}` is set by the capability or its host")));
    }
    if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(Failure::invalid_input(format!("the header `{name}` has a control character")));
    }
    Ok(())
}

/// Scheme, authority, and the rest of a URL.
fn split(url: &str) -> Result<(&str, &str, &str), Failure> {
    let invalid = |why: &str| Failure::invalid_input(format!("`{url}` {why}"));
    if !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid("has a character that does not belong into a URL: percent-encode it"));
    }
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("is not a URL"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(invalid("is neither an `http` nor an `https` URL"));
    }
    if rest.contains(['#', '\\', '{', '}']) {
        return Err(invalid("has a fragment, a backslash or a brace, which is never sent"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(invalid("must have a host and no user: put a password into a header, as `${secret:NAME}`"));
    }
    Ok((scheme, authority, path))
}

/// Scheme and host of a URL.
pub fn origin(url: &str) -> Result<String, Failure> {
    split(url).map(|(scheme, authority, _)| format!("{scheme}://{authority}"))
}

/// The URL at `origin`; an error if it lies elsewhere.
fn absolute(url: &str, at: &str) -> Result<String, Failure> {
    if url.starts_with('/') && !url.starts_with("//") {
        return Ok(format!("{at}{url}"));
    }
    // As some targets write it in `Location`: with the usual port, or a host in capitals.
    if let Ok((scheme, authority, path)) = split(url) {
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.to_ascii_lowercase();
        if format!("{scheme}://{}", authority.strip_suffix(usual).unwrap_or(&authority)) == at {
            return Ok(format!("{at}{path}"));
        }
    }
    Err(Failure { code: UNRESOLVED.to_owned(), ..elsewhere(url, at) })
}

/// Whether a URL with references can lie at `at`: it says so itself, or an answer will say it.
pub fn check_origin(url: &str, at: &str) -> Result<(), Failure> {
    let relative = url.starts_with('/') && !url.starts_with("//");
    let below = url.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if relative || below || url.starts_with("{response.") { Ok(()) } else { Err(elsewhere(url, at)) }
}

fn elsewhere(url: &str, at: &str) -> Failure {
    Failure::invalid_input(format!("the undo request goes to `{url}`, which is not at `{at}`"))
        .with_details("an undo may only send to the scheme, host and port that the request was sent to")
}

#[cfg(test)]
mod tests {
    use super::*;
    use redress_guest::serde_json::json;

    fn request(value: Value) -> Request {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_form_of_the_body_decides_what_is_sent_and_as_what() {
        for (value, body, kind) in [
            (json!({"url": "https://h", "method": "POST", "json": {"b": 1}}), &b"{\"b\":1}"[..], "application/json"),
            (json!({"url": "https://h", "method": "POST", "json": null}), b"null", "application/json"),
            (json!({"url": "https://h", "method": "POST", "body": "x"}), b"x", "text/plain; charset=utf-8"),
            (
                json!({"url": "https://h", "method": "POST", "body_base64": "/wA="}),
                &[255, 0],
                "application/octet-stream",
            ),
            (
                json!({"url": "https://h", "method": "POST", "body": "<a/>", "headers": {"Content-Type": "text/xml"}}),
                b"<a/>",
                "text/xml",
            ),
        ] {
            let message = request(value).message(Some("k")).unwrap();
            assert_eq!((message.body.as_slice(), message.path.as_str()), (body, "/"));
            let sent = |name: &str| {
                let mut found = message.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
                (found.next().map(|(_, value)| value.as_str()), found.next())
            };
            assert_eq!(sent("content-type"), (Some(kind), None));
            assert_eq!(sent("content-length").0, Some(body.len().to_string().as_str()));
            assert_eq!(sent("idempotency-key").0, Some("k"));
        }
        let both = request(json!({"url": "https://h", "method": "POST", "body": "x", "json": 1}));
        assert_eq!(both.message(None).unwrap_err().code, "invalid-input");
    }

    #[test]
    fn a_read_carries_no_key() {
        let message = request(json!({"url": "https://h/a?b=c"})).message(Some("k")).unwrap();
        assert_eq!((message.path.as_str(), message.name().as_str()), ("/a?b=c", "GET https://h/a"));
        assert!(message.headers.iter().all(|(name, _)| name == "user-agent"), "{:?}", message.headers);
    }

    #[test]
    fn a_url_or_header_that_cannot_be_meant_is_refused_before_anything_is_sent() {
        for url in [
            "h/a",
            "ftp://h/a",
            "https://",
            "https://u:p@h/",
            "https://h/#a",
            "https://h/{id}",
            "https://h/a b",
            "https://h/\u{e9}",
        ] {
            assert_eq!(request(json!({"url": url})).message(None).unwrap_err().code, "invalid-input", "{url}");
        }
        for (name, value) in [
            ("Idempotency-Key", "k"),
            ("Host", "h"),
            ("a b", "x"),
            ("", "x"),
            ("x", "a\r\nb: c"),
            ("Content-Length", "1"),
        ] {
            let request = request(json!({"url": "https://h", "headers": {name: value}}));
            assert_eq!(request.check().unwrap_err().code, "invalid-input", "{name}");
        }
    }

    #[test]
    fn the_key_goes_wherever_a_reference_may_stand() {
        let template = json!({
            "url": "https://h/{key}", "method": "PUT", "headers": {"x-ref": "r-{key}", "authorization": "${secret:T}"},
            "json": {"{key}": ["{key}", 1]},
        });
        let with_key = request(template).with_key("do-1");
        let expected = json!({
            "url": "https://h/do-1", "method": "PUT", "headers": {"x-ref": "r-do-1", "authorization": "${secret:T}"},
            "json": {"{key}": ["do-1", 1]},
        });
        assert_eq!(serde_json::to_value(with_key).unwrap(), expected);
    }

    #[test]
    fn an_undo_goes_to_the_origin_of_its_request_and_nowhere_else() {
        let filled = |url: &str, location: &str| {
            let values = Values::from([("response.headers.location".to_owned(), json!(location))]);
            request(json!({"url": url, "method": "DELETE"}))
                .filled(&values, "https://h:8443")
                .map(|request| request.url)
        };
        assert_eq!(filled("/a", "").unwrap(), "https://h:8443/a");
        assert_eq!(filled("https://h:8443/a", "").unwrap(), "https://h:8443/a");
        assert_eq!(filled("{response.headers.location}", "/items/1").unwrap(), "https://h:8443/items/1");
        assert_eq!(filled("{response.headers.location}", "https://H:8443/items/1").unwrap(), "https://h:8443/items/1");
        assert_eq!(absolute("https://h:443/a?b", "https://h").unwrap(), "https://h/a?b");
        for (url, location) in [
            ("https://h/a", ""),
            ("http://h:8443/a", ""),
            ("{response.headers.location}", "https://evil/items/1"),
            ("{response.headers.location}", "//evil/items/1"),
            ("{response.headers.location}", "items/1"),
        ] {
            assert_eq!(filled(url, location).unwrap_err().code, "undo-unresolved", "{url} {location}");
        }
        for (url, good) in [
            ("https://h:8443", true),
            ("https://h:8443/x/{response.json.id}", true),
            ("/x", true),
            ("{response.headers.location}", true),
            ("https://h:84430/x", false),
            ("https://h:8443@evil/x", false),
            ("https://{response.json.host}/x", false),
            ("//evil/x", false),
        ] {
            assert_eq!(check_origin(url, "https://h:8443").is_ok(), good, "{url}");
        }
    }
}
