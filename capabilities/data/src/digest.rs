//! `data.hash`.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Content, Failure, sha256_hex};

/// The SHA-256 and size of the content.
pub fn digest(content: Content) -> Result<Value, Failure> {
    let bytes = content.into_bytes()?;
    Ok(json!({ "sha256": sha256_hex(&bytes), "size": bytes.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_the_same_bytes_in_base64_have_one_digest() {
        let of = |input: Value| digest(serde_json::from_value(input).unwrap()).unwrap();
        assert_eq!(of(json!({ "content": "abc" })), of(json!({ "content_base64": "YWJj" })));
        assert_eq!(of(json!({ "content": "" }))["size"], 0);
    }
}
