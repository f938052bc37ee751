//! Messages of agents, read as strictly as all other input: the library that reads them takes the last of two keys, and rounds integers.

use std::borrow::Cow;

use rmcp::model::JsonObject;
use serde_json::{Value, json};

use crate::types::parse_strict;

/// What stands in place of the arguments of a call that is refused; no tool has an input of this name.
const REFUSED: &str = "\0refused";

/// A message as it may be read. A call whose JSON another reader could take for something else is made one that [`refused`] knows, so that
/// it is answered as every other call is. What is no JSON at all stays as it is.
pub fn strict(message: &[u8]) -> Cow<'_, [u8]> {
    let Err(error) = parse_strict(message) else { return Cow::Borrowed(message) };
    let Ok(mut read) = serde_json::from_slice::<Value>(message) else { return Cow::Borrowed(message) };
    if read.get("method").is_none_or(|method| method != "tools/call") {
        return Cow::Borrowed(message);
    }
    if let Some(params) = read.get_mut("params").and_then(Value::as_object_mut) {
        params.insert("arguments".to_owned(), json!({ REFUSED: error.to_string() }));
    }
    Cow::Owned(read.to_string().into_bytes())
}

/// Why the arguments of a call are refused, if they are.
pub fn refused(arguments: &JsonObject) -> Option<&str> {
    arguments.get(REFUSED)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_two_readers_may_read_differently_is_refused_and_all_else_stays_as_it_is() {
        for same in [
            r#"{"id":1,"method":"tools/call","params":{"name":"a","arguments":{"a":1}}}"#,
            r#"{"id":1,"method":"ping","method":"ping"}"#,
            r#"{"id":1,"method":"tools/call","#,
            "[1]",
            "",
        ] {
            assert_eq!(strict(same.as_bytes()), Cow::Borrowed(same.as_bytes()), "{same}");
        }
        for (message, why) in [
            (
                r#"{"id":7,"method":"tools/call","params":{"name":"a","arguments":{"b":{"a":1,"a":2}}}}"#,
                "`a` stands twice",
            ),
            (r#"{"id":7,"method":"tools/call","params":{"name":"b","name":"a"}}"#, "`name` stands twice"),
            (r#"{"id":7,"method":"tools/call","params":{"name":"a","arguments":{"b":18446744073709551616}}}"#, "2^53"),
        ] {
            let read: Value = serde_json::from_slice(&strict(message.as_bytes())).unwrap();
            assert_eq!((&read["id"], &read["params"]["name"]), (&json!(7), &json!("a")));
            let why_not = refused(read["params"]["arguments"].as_object().unwrap()).unwrap();
            assert!(why_not.contains(why), "{why_not}");
        }
        assert_eq!(refused(&JsonObject::new()), None);
    }
}
