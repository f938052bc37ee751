//! `text.regex.match`.

use redress_guest::Failure;
use redress_guest::serde_json::{Map, Value, json};
use regex::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

/// The most matches that are returned; `truncated` says whether there are more.
const MAX_MATCHES: usize = 1000;

/// The most memory that a compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// The input of `match`.
#[derive(Deserialize)]
pub struct Find {
    text: String,
    pattern: String,
}

/// The matches of the pattern, from left to right, not overlapping.
pub fn find(input: &Find) -> Result<Value, Failure> {
    let pattern = compile(&input.pattern)
        .map_err(|error| Failure::invalid_input(format!("the pattern is not a regular expression: {error}")))?;
    let mut found = pattern.captures_iter(&input.text);
    let matches: Vec<Value> = found.by_ref().take(MAX_MATCHES).map(|captures| describe(&pattern, &captures)).collect();
    Ok(json!({ "matched": !matches.is_empty(), "matches": matches, "truncated": found.next().is_some() }))
}

/// A pattern within its memory limit.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build()
}

fn describe(pattern: &Regex, captures: &Captures) -> Value {
    let text = |group: Option<regex::Match>| group.map(|group| group.as_str().to_owned());
    let groups: Vec<Option<String>> = captures.iter().skip(1).map(text).collect();
    let named: Map<String, Value> =
        pattern.capture_names().flatten().map(|name| (name.to_owned(), json!(text(captures.name(name))))).collect();
    let whole = captures.get_match();
    json!({ "text": whole.as_str(), "start": whole.start(), "end": whole.end(), "groups": groups, "named": named })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, pattern: &str) -> Result<Value, Failure> {
        find(&Find { text: text.to_owned(), pattern: pattern.to_owned() })
    }

    #[test]
    fn matches_come_with_their_places_and_groups() {
        let found = run("ab12 cd", r"(?<word>[a-z]+)(\d+)?").unwrap();
        let expected = json!({
            "matched": true, "truncated": false, "matches": [
                { "text": "ab12", "start": 0, "end": 4, "groups": ["ab", "12"], "named": { "word": "ab" } },
                { "text": "cd", "start": 5, "end": 7, "groups": ["cd", null], "named": { "word": "cd" } },
            ],
        });
        assert_eq!(found, expected);
        assert_eq!(run("x", "y").unwrap(), json!({ "matched": false, "matches": [], "truncated": false }));
    }

    #[test]
    fn many_matches_are_cut_and_it_is_said() {
        let found = run(&"a".repeat(1001), "a").unwrap();
        assert_eq!((found["matches"].as_array().unwrap().len(), &found["truncated"]), (1000, &json!(true)));
    }

    #[test]
    fn bad_and_monstrous_patterns_are_invalid_input() {
        for pattern in ["(", r"(a)\1", "((a{100}){100}){100}"] {
            assert_eq!(run("a", pattern).unwrap_err().code, "invalid-input", "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_explodes_elsewhere_takes_linear_time_here() {
        assert_eq!(run(&"a".repeat(50_000), "^(a+)+$b").unwrap()["matched"], false);
    }
}
