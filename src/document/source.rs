use std::sync::Arc;

use super::{Diagnostic, Diagnostics};

/// A document's text and the name by which its file was given. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

/// A place in a document: a line, a column and a length in characters, the first two counted from 1. What spans several
/// lines is represented by its part on the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The length in characters, at least 1.
    pub len: usize,
}

impl Span {
    /// The first character of a document.
    pub const START: Span = Span { line: 1, column: 1, len: 1 };
}

impl Source {
    /// A document that is text already.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Source {
        Source { name: name.into(), text: text.into() }
    }

    /// A document as it was read from a file; invalid UTF-8 is refused with its place.
    pub fn from_bytes(name: impl Into<Arc<str>>, bytes: &[u8]) -> Result<Source, Diagnostics> {
        let name = name.into();
        std::str::from_utf8(bytes).map(|text| Source::new(name.clone(), text)).map_err(|error| {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let source = Source::new(name, String::from_utf8_lossy(bytes).as_ref());
            let span = source.span_at(valid.len());
            let refused = Diagnostic::error("not-utf8", span, "the file is not valid UTF-8");
            Diagnostics::of(source, refused.help("save the file with the encoding UTF-8"))
        })
    }

    /// The name of the file, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of this number, counted from 1, without its line break.
    pub fn line(&self, number: usize) -> &str {
        lines(&self.text).nth(number.saturating_sub(1)).unwrap_or("")
    }

    /// The place of the character at a byte offset.
    fn span_at(&self, offset: usize) -> Span {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let (line, last) = lines(before).enumerate().last().unwrap_or((0, ""));
        Span { line: line + 1, column: last.chars().count() + 1, len: 1 }
    }

    /// Refuses what no document may contain, before it is parsed.
    pub(super) fn check(&self, max_bytes: usize) -> Result<(), Diagnostics> {
        let refuse = |diagnostic| Err(Diagnostics::of(self.clone(), diagnostic));
        if self.text.len() > max_bytes {
            let message = format!("the file has {} bytes, more than the {max_bytes} that are read", self.text.len());
            return refuse(Diagnostic::error("too-large", Span::START, message));
        }
        let bad = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || c == '\u{feff}';
        if let Some((offset, c)) = self.text.char_indices().find(|(_, c)| bad(*c)) {
            let message = match c {
                '\u{feff}' => "the file contains a byte order mark".to_owned(),
                _ => format!("the file contains the control character U+{:04X}", u32::from(c)),
            };
            let help = "remove it; inside double quotes a control character can be written as `\\xNN`";
            return refuse(Diagnostic::error("control-character", self.span_at(offset), message).help(help));
        }
        Ok(())
    }
}

/// The lines of `text` by the line breaks of YAML: `\n`, `\r\n`, `\r`. There is always a last one, which may be empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (line, tail) = match text.split_once(['\n', '\r']) {
            None => (text, None),
            Some((line, tail)) => {
                let carriage_return = text.as_bytes().get(line.len()) == Some(&b'\r');
                (line, Some(if carriage_return { tail.strip_prefix('\n').unwrap_or(tail) } else { tail }))
            }
        };
        rest = tail;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_every_line_break_of_yaml() {
        assert_eq!(lines("a\nb\r\nc\rd\n").collect::<Vec<_>>(), ["a", "b", "c", "d", ""]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn invalid_utf8_is_refused_with_its_place() {
        let error = Source::from_bytes("f.yaml", b"a: b\nc: \xff\n").unwrap_err();
        let places: Vec<_> = error.iter().map(|d| (d.code, d.span.line, d.span.column)).collect();
        assert_eq!(places, [("not-utf8", 2, 4)]);
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        for (text, code, place) in [
            ("a: \u{0}", "control-character", (1, 4)),
            ("a: b\n# \u{1b}[31m", "control-character", (2, 3)),
            ("\u{feff}a: b", "control-character", (1, 1)),
            ("a: \u{85}", "control-character", (1, 4)),
        ] {
            let error = Source::new("f.yaml", text).check(64).unwrap_err();
            let found: Vec<_> = error.iter().map(|d| (d.code, (d.span.line, d.span.column))).collect();
            assert_eq!(found, [(code, place)], "{text:?}");
        }
        assert!(Source::new("f.yaml", "a: \"\t\"\r\n").check(64).is_ok());
        let large = Source::new("f.yaml", "#".repeat(65));
        assert_eq!(large.check(64).unwrap_err().iter().map(|d| d.code).collect::<Vec<_>>(), ["too-large"]);
    }
}
