use serde_json::Value;
use thiserror::Error;

use super::template::is_name;
use crate::types::{CanonicalError, parse_strict};

/// What the command line gives for an input.
#[derive(Clone, Debug, PartialEq)]
pub enum InputArgument {
    /// `k=text`: a string.
    Text(String),
    /// `k:=JSON`: any value.
    Json(Value),
    /// `k=@FILE`: the content of a file, which the command line reads.
    File(String),
}

/// An argument that gives no input.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArgumentError {
    /// There is no name, or nothing after it.
    #[error("`{0}` is not an input: write `name=text`, `name:=JSON` or `name=@FILE`")]
    Form(String),
    /// The name could not be referred to.
    #[error("`{0}` is not the name of an input: it has letters, digits, `_` and `-`, and begins with a letter or `_`")]
    Name(String),
    /// What follows `:=` is not JSON.
    #[error("the value of `{name}` is {error}; a plain text is written `{name}=text`")]
    Json {
        /// The input.
        name: String,
        /// What is wrong.
        error: CanonicalError,
    },
}

/// Reads `name=text`, `name:=JSON` or `name=@FILE`. A text that begins with `@` is given as JSON: `name:="@text"`.
pub fn parse_input_argument(argument: &str) -> Result<(String, InputArgument), ArgumentError> {
    let form = || ArgumentError::Form(argument.to_owned());
    let (before, value) = argument.split_once('=').ok_or_else(form)?;
    let (name, json) = before.strip_suffix(':').map_or((before, false), |name| (name, true));
    if name.is_empty() || value == "@" {
        return Err(form());
    }
    if !is_name(name) {
        return Err(ArgumentError::Name(name.to_owned()));
    }
    let value = match value.strip_prefix('@') {
        _ if json => InputArgument::Json(
            parse_strict(value.as_bytes()).map_err(|error| ArgumentError::Json { name: name.to_owned(), error })?,
        ),
        Some(file) => InputArgument::File(file.to_owned()),
        None => InputArgument::Text(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_input_is_given_as_text_json_or_file() {
        let parse = |text| parse_input_argument(text).unwrap();
        assert_eq!(parse("k=a=b"), ("k".into(), InputArgument::Text("a=b".into())));
        assert_eq!(parse("k="), ("k".into(), InputArgument::Text(String::new())));
        assert_eq!(parse("k:=[1, \"x=y\"]"), ("k".into(), InputArgument::Json(json!([1, "x=y"]))));
        assert_eq!(parse("k:=\"@x\""), ("k".into(), InputArgument::Json(json!("@x"))));
        assert_eq!(parse("k=@a/b.txt"), ("k".into(), InputArgument::File("a/b.txt".into())));
        assert_eq!(parse("k=:=1"), ("k".into(), InputArgument::Text(":=1".into())));
    }

    #[test]
    fn what_gives_no_input_is_refused() {
        for text in ["", "k", "=x", ":=1", "k=@"] {
            assert_eq!(parse_input_argument(text), Err(ArgumentError::Form(text.to_owned())));
        }
        for (text, name) in [("a b=1", "a b"), ("a.b=1", "a.b"), ("1=1", "1"), ("a::=1", "a:")] {
            assert_eq!(parse_input_argument(text), Err(ArgumentError::Name(name.to_owned())));
        }
        for text in ["k:=", "k:=text", "k:={\"a\":1,\"a\":2}", "k:=9007199254740993"] {
            let error = parse_input_argument(text).unwrap_err();
            assert!(matches!(&error, ArgumentError::Json { name, .. } if name == "k"), "{text}");
            assert!(error.to_string().contains("`k=text`"));
        }
    }
}
