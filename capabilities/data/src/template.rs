//! `text.template.render`: references only.
//!
//! `{{ name.path }}` names a value: fields by name, array elements by number. A string is put in as it is, anything else as
//! compact JSON. What is put in is never scanned again. There is no logic, no default and no escaping, so that a template
//! cannot do anything but name values; a name that does not resolve is an error, not an empty text. Writing this by hand
//! is some thirty lines; a template engine would bring logic that nobody asked for.

use redress_guest::Failure;
use redress_guest::serde_json::{Value, json};
use serde::Deserialize;

/// The input of `render`.
#[derive(Deserialize)]
pub struct Render {
    template: String,
    values: Value,
}

/// The template with every reference replaced.
pub fn render(input: &Render) -> Result<Value, Failure> {
    let (mut text, mut rest) = (String::with_capacity(input.template.len()), input.template.as_str());
    while let Some((before, after)) = rest.split_once("{{") {
        let at = input.template.len() - after.len();
        let line = input.template.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let (reference, after) = after
            .split_once("}}")
            .ok_or_else(|| Failure::invalid_input(format!("`{{{{` in line {line} of the template is never closed")))?;
        text.push_str(before);
        let name = reference.trim();
        match lookup(&input.values, name) {
            Some(Value::String(value)) => text.push_str(value),
            Some(value) => text.push_str(&value.to_string()),
            None => {
                let message = format!("`{name}` in line {line} of the template names nothing in `values`");
                return Err(Failure::invalid_input(message));
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(json!({ "text": text }))
}

fn lookup<'a>(values: &'a Value, name: &str) -> Option<&'a Value> {
    name.split('.').try_fold(values, |value, segment| match value {
        Value::Object(fields) => fields.get(segment),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str, values: Value) -> Result<String, String> {
        let rendered = render(&Render { template: template.to_owned(), values });
        rendered.map(|output| output["text"].as_str().unwrap().to_owned()).map_err(|failure| failure.message)
    }

    #[test]
    fn references_are_replaced_and_nothing_else() {
        let values = json!({ "a": "x", "b": { "c": [1, { "d": null }] }, "t": "{{ a }}" });
        for (template, text) in [
            ("", ""),
            ("no reference } {", "no reference } {"),
            ("{{ a }}{{a}}", "xx"),
            ("{{ b.c.0 }}-{{ b.c.1.d }}-{{ b.c }}", "1-null-[1,{\"d\":null}]"),
            ("{{ t }}", "{{ a }}"),
        ] {
            assert_eq!(run(template, values.clone()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_does_not_resolve_is_an_error_with_its_line() {
        let values = json!({ "a": "x" });
        let error = run("1\n2 {{ a.b }}", values.clone()).unwrap_err();
        assert_eq!(error, "`a.b` in line 2 of the template names nothing in `values`");
        let error = run("{{ a", values.clone()).unwrap_err();
        assert_eq!(error, "`{{` in line 1 of the template is never closed");
        assert!(run("{{ }}", values).is_err());
    }
}
