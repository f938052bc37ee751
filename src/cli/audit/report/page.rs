//! The templates, and the one place at which text becomes HTML.
//!
//! Whatever a template prints passes [`safe`]: first control, bidirectional and other characters that cannot be seen are shown by
//! their numbers, then everything that means something in HTML is escaped. No filter leads around it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::cli::error::CliError;
use crate::document::escape;

const STYLE: &str = include_str!("style.css");
const TEMPLATES: [(&str, &str); 6] = [
    ("style.css", STYLE.trim_ascii_end()),
    ("head.html", include_str!("head.html")),
    ("row.html", include_str!("row.html")),
    ("middle.html", include_str!("middle.html")),
    ("run.html", include_str!("run.html")),
    ("tail.html", include_str!("tail.html")),
];

/// The templates, ready.
pub(super) struct Page(Environment<'static>);

impl Page {
    /// Compiles them.
    pub(super) fn new() -> Result<Page, CliError> {
        let mut templates = Environment::empty();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        templates.set_formatter(safe);
        let style = format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE.trim_ascii_end())));
        templates.add_global("style_digest", style);
        for (name, text) in TEMPLATES {
            templates.add_template(name, text).map_err(|error| failed(&error))?;
        }
        Ok(Page(templates))
    }

    /// One template with its values.
    pub(super) fn render(&self, name: &str, values: &impl Serialize) -> Result<String, CliError> {
        let template = self.0.get_template(name).map_err(|error| failed(&error))?;
        template.render(Serde(values)).map_err(|error| failed(&error))
    }
}

fn failed(error: &Error) -> CliError {
    CliError::engine("output", format!("the report cannot be made: {error:#}"))
}

/// Writes a value as text that is nothing but text.
fn safe(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "a value of the report is missing"));
    }
    Ok(out.write_str(&html(&value.to_string()))?)
}

/// Text as HTML.
fn html(text: &str) -> String {
    escape(text).chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_text_in_html() {
        assert_eq!(html("<b onload=\"x\">&'"), "&lt;b onload=&quot;x&quot;&gt;&amp;&#39;");
        assert_eq!(html("a\u{1b}[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\u{a}");
    }

    #[test]
    fn a_value_that_is_missing_is_an_error_and_not_a_gap() {
        let error = Page::new().unwrap().render("row.html", &serde_json::json!({"submitted": "now"})).unwrap_err();
        assert!(error.message().contains("the report cannot be made"), "{}", error.message());
    }
}
