//! What is wrong with a document, and where: shown with the line, and with a way out.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};
use unicode_width::UnicodeWidthChar;

use super::{Source, Span};

/// The most diagnostics that are rendered one by one.
const MAX_SHOWN: usize = 50;
/// The most diagnostics that are kept; of the others only the number is.
const MAX_KEPT: usize = 1_000;
/// The most columns of a line that are shown.
const MAX_COLUMNS: usize = 160;
/// How many characters are shown before the place in a line that is too long.
const CONTEXT: usize = 60;

/// Whether a document is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is.
    Error,
    /// It loads, and somebody should look.
    Warning,
}

/// One thing to say about a place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it refuses the document.
    pub severity: Severity,
    /// A word that programs compare.
    pub code: &'static str,
    /// What is wrong, in lower case, input in backticks.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The place.
    pub span: Span,
}

impl Diagnostic {
    /// A reason to refuse the document.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, code, message: message.into(), help: None, span }
    }

    /// Something that loads all the same.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// The same with a line that says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// The same with `did you mean`, if there is something similar.
    pub fn did_you_mean(self, suggestion: Option<&str>) -> Diagnostic {
        match suggestion {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }
}

/// Everything there is to say about one document, sorted by place. Its text form is made for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    source: Source,
    sorted: Vec<Diagnostic>,
    /// How many were found beyond those that are kept, and whether an error is among them.
    left_out: usize,
    errors_left_out: bool,
}

impl Diagnostics {
    /// Nothing yet.
    pub fn new(source: Source) -> Diagnostics {
        Diagnostics { source, sorted: Vec::new(), left_out: 0, errors_left_out: false }
    }

    /// A single one.
    pub fn of(source: Source, diagnostic: Diagnostic) -> Diagnostics {
        let mut one = Diagnostics::new(source);
        one.push(diagnostic);
        one
    }

    /// Adds one at its place.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let at = self.sorted.partition_point(|other| other.span <= diagnostic.span);
        self.sorted.insert(at, diagnostic);
        if let Some(last) = (self.sorted.len() > MAX_KEPT).then(|| self.sorted.pop()).flatten() {
            self.left_out += 1;
            self.errors_left_out |= last.severity == Severity::Error;
        }
    }

    /// The document.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// All, by place.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.sorted.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether the document is refused.
    pub fn has_errors(&self) -> bool {
        self.errors_left_out || self.sorted.iter().any(|d| d.severity == Severity::Error)
    }

    /// The objects `{code, message, file, line, column, help}`, by place.
    pub fn to_json(&self) -> Vec<Value> {
        let object = |d: &Diagnostic| {
            json!({
                "code": d.code, "message": d.message, "file": self.source.name(),
                "line": d.span.line, "column": d.span.column, "help": d.help,
            })
        };
        self.sorted.iter().map(object).collect()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    /// Each as `error: message`, its place, the line with the place underlined, and the help; an empty line between two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.sorted.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            self.render(f, diagnostic)?;
        }
        match (self.sorted.len() + self.left_out).checked_sub(MAX_SHOWN) {
            Some(more @ 1..) => writeln!(f, "\nand {more} more"),
            _ => Ok(()),
        }
    }
}

impl Diagnostics {
    fn render(&self, f: &mut fmt::Formatter<'_>, d: &Diagnostic) -> fmt::Result {
        let word = match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Span { line, column, .. } = d.span;
        let (text, underline) = underlined(self.source.line(line), d.span);
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{word}: {}", escape(&d.message))?;
        writeln!(f, "{gutter}--> {}:{line}:{column}", escape(self.source.name()))?;
        writeln!(f, "{}", format!("{number} | {text}").trim_end())?;
        writeln!(f, "{gutter} | {underline}")?;
        match &d.help {
            Some(help) => writeln!(f, "help: {}", escape(help)),
            None => Ok(()),
        }
    }
}

/// A line as it is shown, and the carets below the place.
fn underlined(line: &str, span: Span) -> (String, String) {
    let start = span.column.saturating_sub(1);
    let skipped = if line.chars().count() > MAX_COLUMNS { start.saturating_sub(CONTEXT) } else { 0 };
    let (mut text, mut underline) = (String::new(), String::new());
    if skipped > 0 {
        text.push_str("...");
        underline.push_str("   ");
    }
    let mut columns = 0;
    for (index, c) in line.chars().enumerate().skip(skipped) {
        if columns >= MAX_COLUMNS {
            text.push_str("...");
            break;
        }
        let width = show(c, &mut text);
        columns += width;
        if index < start + span.len {
            let mark = if index < start { ' ' } else { '^' };
            underline.extend(std::iter::repeat_n(mark, width));
        }
    }
    if !underline.contains('^') {
        underline.push('^');
    }
    (text, underline)
}

/// Text from a document as it may be printed: control, bidirectional and zero-width characters are written as escapes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        show(c, &mut out);
    }
    out
}

/// JSON as it may be printed: the same value, with the characters that [`escape`] shows by their numbers written as `\u` and four digits.
pub fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Between its strings JSON has none of these but line breaks.
        if c == '\n' || (c.width().is_some_and(|width| width > 0) && !is_format(c)) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// Writes one character so that it can be seen; returns the columns that it takes.
fn show(c: char, out: &mut String) -> usize {
    match c.width() {
        _ if c == '\t' => {
            out.push_str("    ");
            4
        }
        Some(width @ 1..) if !is_format(c) => {
            out.push(c);
            width
        }
        _ => {
            let escaped = format!("\\u{{{:x}}}", u32::from(c));
            out.push_str(&escaped);
            escaped.len()
        }
    }
}

/// Whether nothing of a text can be seen.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_format(c) || c.width().is_none_or(|width| width == 0))
}

/// Characters that change how others are shown, whatever width a table gives them.
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_value_once_it_may_be_printed() {
        let value = serde_json::json!({ "a\u{202e}b": "c\u{9b}d\u{e0041}\u{2028}\u{301}e\n" });
        for json in [value.to_string(), format!("{value:#}")] {
            let escaped = escape_json(&json);
            assert!(escaped.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    fn span(line: usize, column: usize, len: usize) -> Span {
        Span { line, column, len }
    }

    fn rendered(text: &str, diagnostic: Diagnostic) -> String {
        Diagnostics::of(Source::new("p.yaml", text), diagnostic).to_string()
    }

    #[test]
    fn a_diagnostic_shows_its_line_and_underlines_the_place() {
        let shown = rendered("a: 1\nbb: 22\n", Diagnostic::error("x", span(2, 5, 2), "bad `22`").help("write 1"));
        assert_eq!(shown, "error: bad `22`\n --> p.yaml:2:5\n2 | bb: 22\n  |     ^^\nhelp: write 1\n");
        let warning = rendered("a", Diagnostic::warning("x", span(1, 1, 1), "odd").did_you_mean(Some("b")));
        assert_eq!(warning, "warning: odd\n --> p.yaml:1:1\n1 | a\n  | ^\nhelp: did you mean `b`?\n");
    }

    #[test]
    fn the_underline_fits_wide_characters_and_tabs() {
        let (text, underline) = underlined("\t漢字 x", span(1, 5, 1));
        assert_eq!((text.as_str(), underline.as_str()), ("    漢字 x", "         ^"));
        let (_, underline) = underlined("漢字", span(1, 2, 1));
        assert_eq!(underline, "  ^^");
        let (_, past_the_end) = underlined("ab", span(1, 3, 5));
        assert_eq!(past_the_end, "  ^");
    }

    #[test]
    fn what_a_file_says_never_reaches_the_terminal_raw() {
        let evil = "a\u{202e}b\u{200b}c\u{1b}[31m\u{e0041}";
        let shown = rendered(evil, Diagnostic::error("x", span(1, 3, 1), format!("`{evil}`")).help(evil));
        assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{shown}");
        assert!(shown.contains("1 | a\\u{202e}b\\u{200b}c\\u{1b}[31m"));
        assert!(shown.contains("\n  |          ^\n"), "{shown}");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_around_the_place() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (text, underline) = underlined(&line, span(1, 501, 1));
        assert!(text.starts_with("...aaa") && text.ends_with("bbb...") && text.len() < 200);
        assert_eq!(text.find('X'), underline.find('^'));
    }

    #[test]
    fn diagnostics_are_sorted_and_the_list_has_an_end() {
        let mut all = Diagnostics::new(Source::new("p.yaml", "a"));
        assert!(all.is_empty() && !all.has_errors());
        for line in (1..=60).rev() {
            all.push(Diagnostic::warning("x", span(line, 1, 1), "m"));
        }
        assert!(!all.has_errors());
        assert!(all.iter().map(|d| d.span.line).eq(1..=60));
        assert!(all.to_string().ends_with("\nand 10 more\n"));
    }

    #[test]
    fn json_names_the_place() {
        let all = Diagnostics::of(Source::new("p.yaml", "a"), Diagnostic::error("code", span(1, 1, 1), "m"));
        let expected = json!({"code": "code", "message": "m", "file": "p.yaml", "line": 1, "column": 1, "help": null});
        assert_eq!(all.to_json(), [expected]);
    }

    #[test]
    fn a_hostile_document_cannot_make_the_list_grow_without_bound() {
        let source = Source::new("f", "x\n");
        let mut all = Diagnostics::new(source);
        for line in 1..=5_000 {
            all.push(Diagnostic::error("e", Span { line, column: 1, len: 1 }, "wrong"));
        }
        assert_eq!(all.iter().count(), MAX_KEPT);
        assert!(all.has_errors() && all.to_string().ends_with("and 4950 more\n"));
    }
}
