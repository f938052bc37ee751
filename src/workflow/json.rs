use std::fmt::Write as _;

use serde_json::Value;

use super::template;

/// JSON text that is strict YAML too and means the same in both: whatever a reader of YAML could take for something else
/// is escaped.
pub(super) fn to_document(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text.push('\n');
    text
}

/// The same value with every string written as a template that stands for it.
pub(super) fn literal(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(template::literal(text)),
        Value::Array(items) => Value::Array(items.iter().map(literal).collect()),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), literal(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Array(items) if !items.is_empty() => {
            write_items(('[', ']'), items.iter(), depth, out, |item, out| write(item, depth + 1, out));
        }
        Value::Object(fields) if !fields.is_empty() => {
            write_items(('{', '}'), fields.iter(), depth, out, |(name, value), out| {
                write_string(name, out);
                out.push_str(": ");
                write(value, depth + 1, out);
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
}

fn write_items<T>(
    brackets: (char, char),
    items: impl Iterator<Item = T>,
    depth: usize,
    out: &mut String,
    each: impl Fn(T, &mut String),
) {
    out.push(brackets.0);
    for (index, item) in items.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.extend(std::iter::repeat_n("  ", depth + 1));
        each(item, out);
    }
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
    out.push(brackets.1);
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // What is not text in YAML, and what some readers take for the end of a line.
            _ if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Source, parse};
    use proptest::prelude::*;
    use serde_json::json;

    fn read_back(value: &Value) -> Value {
        parse(&Source::new("f", to_document(value))).unwrap().to_json()
    }

    #[test]
    fn a_value_means_the_same_read_as_yaml() {
        let value = json!({"a": [], "b": {}, "c": [1, -2.5, 1e300, null, true, "true", "{{ x }}", "- a: &b *c #"],
            "\u{0}\u{7f}\u{85}\u{2028}\u{feff}": "\r\n\t \u{1f600} \u{e000}\u{fffe}", "": " a ", "x: y": {"k": ["\\\"'"]}});
        assert_eq!(read_back(&value), value);
        let text = to_document(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    proptest! {
        #[test]
        fn any_text_means_the_same_read_as_yaml(text in any::<String>(), odd in "[\\PC\\x00-\\x20\u{80}-\u{a0}'\"#&*!|>%@`-]{0,20}") {
            let value = json!({"v": [text, odd]});
            prop_assert_eq!(read_back(&value), value);
        }
    }
}
