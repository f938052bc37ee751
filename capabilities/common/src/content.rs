use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::Digest;
pub use sha2::Sha256;

use crate::Failure;

/// Content in JSON: `content` for text, `content_base64` for anything else; exactly one of them.
#[derive(Debug, Deserialize)]
pub struct Content {
    content: Option<String>,
    content_base64: Option<String>,
}

impl Content {
    /// The schema of the two fields, to be put under `properties`; use it with [`Content::one_of`].
    pub fn properties() -> Map<String, Value> {
        let properties = json!({
            "content": { "type": "string", "description": "text, stored as UTF-8" },
            "content_base64": { "type": "string", "contentEncoding": "base64", "description": "any bytes, in base64 with padding" },
        });
        match properties {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// The schema's rule that exactly one of the two fields is there.
    pub fn one_of() -> Value {
        json!([{ "required": ["content"] }, { "required": ["content_base64"] }])
    }

    /// The bytes that are meant.
    pub fn into_bytes(self) -> Result<Vec<u8>, Failure> {
        match (self.content, self.content_base64) {
            (Some(text), None) => Ok(text.into_bytes()),
            (None, Some(text)) => Content::decode("content_base64", &text),
            _ => Err(Failure::invalid_input("give either `content` or `content_base64`")),
        }
    }

    /// The field that holds these bytes: `content` if they are UTF-8, else `content_base64`.
    pub fn field(bytes: Vec<u8>) -> (&'static str, String) {
        match String::from_utf8(bytes) {
            Ok(text) => ("content", text),
            Err(error) => ("content_base64", Content::encode(error.as_bytes())),
        }
    }

    /// The bytes of a field in base64 with padding.
    pub fn decode(field: &str, text: &str) -> Result<Vec<u8>, Failure> {
        STANDARD.decode(text).map_err(|error| Failure::invalid_input(format!("`{field}` is not base64: {error}")))
    }

    /// Base64 with padding.
    pub fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }
}

/// The SHA-256 of some bytes in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// Ends a digest that was fed piece by piece.
pub fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<Vec<u8>, String> {
        let content: Content = serde_json::from_str(text).unwrap();
        content.into_bytes().map_err(|failure| failure.code)
    }

    #[test]
    fn content_is_text_or_base64_and_never_both() {
        assert_eq!(bytes(r#"{"content":"ä"}"#), Ok("ä".as_bytes().to_vec()));
        assert_eq!(bytes(r#"{"content_base64":"/wA="}"#), Ok(vec![255, 0]));
        for bad in ["{}", r#"{"content":"a","content_base64":"YQ=="}"#, r#"{"content_base64":"*"}"#] {
            assert_eq!(bytes(bad), Err("invalid-input".to_owned()), "{bad}");
        }
    }

    #[test]
    fn bytes_come_back_as_they_went_in() {
        assert_eq!(Content::field(b"abc".to_vec()), ("content", "abc".to_owned()));
        assert_eq!(Content::field(vec![255, 0]), ("content_base64", "/wA=".to_owned()));
    }

    #[test]
    fn digests_are_lower_case_hexadecimal() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
