use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle};

use super::node::{is_integer, resolve};
use super::{Diagnostic, Diagnostics, Key, Node, NodeKind, Scalar, Source, Span, Style};
use crate::types::is_written_as_unsafe;

/// The largest document that [`parse`] reads.
const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 64;

/// Reads a document. An error holds everything that is wrong with it, up to the first place where it is not YAML at all.
pub fn parse(source: &Source) -> Result<Node, Diagnostics> {
    parse_up_to(source, MAX_BYTES)
}

/// The same for a kind of document that may be larger, or must be smaller.
pub fn parse_up_to(source: &Source, max_bytes: usize) -> Result<Node, Diagnostics> {
    source.check(max_bytes)?;
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
    };
    let mut builder = Builder { source, diagnostics: Diagnostics::new(source.clone()), stack: Vec::new(), root: None };
    for event in Parser::new_from_str_with_options(source.text(), options) {
        let more = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                let place = builder.place(*error.marker(), *error.marker());
                let first = source.line(place.line).chars().nth(place.column - 1);
                let special = first.is_some_and(|c| matches!(c, '*' | '&' | '!' | '%' | '@' | '`'));
                let help = special.then_some("a string that begins with this character stands in quotes");
                builder.error("not-yaml", place, format!("not valid YAML: {}", error.info()), help);
                false
            }
        };
        if !more {
            break;
        }
    }
    builder.finish()
}

/// A list or mapping whose end was not seen yet.
struct Open {
    start: Marker,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, lines: HashMap<String, usize>, key: Option<Key> },
}

struct Builder<'s> {
    source: &'s Source,
    diagnostics: Diagnostics,
    stack: Vec<Open>,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Takes one event; false if the rest is not worth reading.
    fn event(&mut self, event: Event<'_>, span: granit_parser::Span) -> bool {
        let place = self.place(span.start, span.end);
        if let Some(tag) = span.tag_span() {
            let tag = self.place(tag.start, tag.end);
            self.error("tag", tag, "tags are not allowed".into(), Some("write the value without `!...`"));
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let help =
                    "one file holds one document: remove `---` and what follows, or move it to a file of its own";
                self.error("second-document", place, "a second document begins here".into(), Some(help));
                return false;
            }
            Event::Anchor(_, name) => {
                let help = "write the value out where it is used";
                self.error("anchor", place, format!("the anchor `&{name}` is not allowed"), Some(help));
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let help = "write the value out; a string that begins with `*` stands in quotes";
                self.error("alias", place, "aliases are not allowed".into(), Some(help));
                self.complete(Node {
                    span: place,
                    kind: NodeKind::Scalar { text: String::new(), style: Style::Quoted },
                });
            }
            Event::Scalar(text, style, ..) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                if style == Style::Plain && resolve(&text) == Scalar::Float(f64::INFINITY) {
                    self.number_out_of_range(&text, place);
                }
                // The parser writes `~` where nothing stands.
                let text = if span.start == span.end { String::new() } else { text.into_owned() };
                self.complete(Node { span: place, kind: NodeKind::Scalar { text, style } });
            }
            Event::SequenceStart(..) => return self.open(span.start, OpenKind::Sequence(Vec::new())),
            Event::MappingStart(..) => {
                let kind = OpenKind::Mapping { entries: Vec::new(), lines: HashMap::new(), key: None };
                return self.open(span.start, kind);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            _ => {}
        }
        true
    }

    fn open(&mut self, start: Marker, kind: OpenKind) -> bool {
        if self.stack.len() == MAX_DEPTH {
            let place = self.place(start, start);
            self.error("too-deep", place, format!("lists and mappings are nested deeper than {MAX_DEPTH}"), None);
            return false;
        }
        self.stack.push(Open { start, kind });
        true
    }

    fn close(&mut self, end: Marker) {
        let Some(Open { start, kind }) = self.stack.pop() else { return };
        let whole = self.place(start, end);
        let node = match kind {
            OpenKind::Sequence(items) => Node { span: whole, kind: NodeKind::Sequence(items) },
            OpenKind::Mapping { entries, .. } => {
                // A flow mapping is shown from its brace on, a block mapping by its first key.
                let first = entries.first().map(|(key, _)| key.span);
                let span = first.filter(|key| (key.line, key.column) == (whole.line, whole.column)).unwrap_or(whole);
                Node { span, kind: NodeKind::Mapping(entries) }
            }
        };
        self.complete(node);
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, mut node: Node) {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.kind {
            OpenKind::Sequence(items) => items.push(node),
            OpenKind::Mapping { entries, lines, key } => match key.take() {
                Some(key) => {
                    if matches!(&node.kind, NodeKind::Scalar { text, style: Style::Plain } if text.is_empty()) {
                        node.span = key.span;
                    }
                    entries.push((key, node));
                }
                None => {
                    let (name, problem) = read_key(&node, lines);
                    lines.entry(name.clone()).or_insert(node.span.line);
                    *key = Some(Key { name, span: node.span });
                    if let Some(problem) = problem {
                        self.diagnostics.push(problem);
                    }
                }
            },
        }
    }

    fn number_out_of_range(&mut self, text: &str, place: Span) {
        let (code, message) = if is_integer(text) || text.parse().is_ok_and(is_written_as_unsafe) {
            ("unsafe-integer", format!("the integer `{text}` is beyond 2^53 and would not survive as JSON"))
        } else {
            ("not-finite", format!("`{text}` is a number that JSON cannot write"))
        };
        self.error(code, place, message, Some("put it in quotes to make it a string"));
    }

    fn error(&mut self, code: &'static str, place: Span, message: String, help: Option<&str>) {
        let diagnostic = Diagnostic::error(code, place, message);
        self.diagnostics.push(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
    }

    /// The place from `start` to `end`, or to the end of the first line.
    fn place(&self, start: Marker, end: Marker) -> Span {
        let len = if start.line() == end.line() {
            end.index().saturating_sub(start.index())
        } else {
            let rest = start.byte_offset().and_then(|offset| self.source.text().get(offset..)).unwrap_or("");
            rest.split(['\n', '\r']).next().unwrap_or("").trim_end().chars().count()
        };
        Span { line: start.line(), column: start.col() + 1, len: len.max(1) }
    }

    fn finish(mut self) -> Result<Node, Diagnostics> {
        if !self.diagnostics.has_errors() {
            match self.root.take() {
                Some(node) if !node.is_null() => return Ok(node),
                _ => self.error("empty", Span::START, "the file has no content".into(), None),
            }
        }
        Err(self.diagnostics)
    }
}

/// A key's name, and what is wrong with it.
fn read_key(node: &Node, lines: &HashMap<String, usize>) -> (String, Option<Diagnostic>) {
    let Some(Scalar::String(name)) = node.scalar() else {
        let message = format!("a key must be a string, found {}", node.what());
        let problem = Diagnostic::error("key-not-a-string", node.span, message);
        let name = match &node.kind {
            NodeKind::Scalar { text, .. } => text.clone(),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => String::new(),
        };
        let help = if name.is_empty() { "write a name".to_owned() } else { format!("put it in quotes: `\"{name}\"`") };
        return (name, Some(problem.help(help)));
    };
    let plain = matches!(node.kind, NodeKind::Scalar { style: Style::Plain, .. });
    let problem = if plain && name == "<<" {
        let problem = Diagnostic::error("merge-key", node.span, "the merge key `<<` is not allowed");
        Some(problem.help("write the keys out"))
    } else {
        lines.get(name).map(|line| {
            let problem = Diagnostic::error("duplicate-key", node.span, format!("the key `{name}` stands twice"));
            problem.help(format!("it stands on line {line} already: keep one of the two"))
        })
    };
    (name.to_owned(), problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Node, Diagnostics> {
        parse(&Source::new("f.yaml", text))
    }

    fn refused(text: &str) -> Vec<(&'static str, usize, usize, usize)> {
        read(text).unwrap_err().iter().map(|d| (d.code, d.span.line, d.span.column, d.span.len)).collect()
    }

    #[test]
    fn a_document_becomes_the_json_it_means() {
        let node =
            read("a: [1, 2.5, yes, 'on', null, ~]\nb:\n  - c: |\n      x\n  - \"\\u00e9\"\nd: {e: true}\n").unwrap();
        let expected = json!({"a": [1, 2.5, "yes", "on", null, null], "b": [{"c": "x\n"}, "é"], "d": {"e": true}});
        assert_eq!(node.to_json(), expected);
    }

    #[test]
    fn every_node_knows_its_place() {
        let node =
            read("default: DENY\nrules:\n  - principal: \"agent:*\" # all\n    when: {a: [x, yz]}\n  -\n").unwrap();
        let at = |span: Span| (span.line, span.column, span.len);
        let top = node.as_mapping().unwrap();
        assert_eq!(at(node.span), (1, 1, 7));
        assert_eq!(at(top[0].0.span), (1, 1, 7));
        assert_eq!(at(top[0].1.span), (1, 10, 4));
        let rules = top[1].1.as_sequence().unwrap();
        assert_eq!(at(rules[0].span), (3, 5, 9));
        let rule = rules[0].as_mapping().unwrap();
        assert_eq!(at(rule[0].1.span), (3, 16, 9));
        assert_eq!(at(rule[0].1.inner_span(6, 1)), (3, 23, 1));
        assert_eq!(at(rule[1].1.span), (4, 11, 12));
        let list = rule[1].1.as_mapping().unwrap()[0].1.clone();
        assert_eq!(at(list.span), (4, 15, 7));
        assert_eq!(at(list.as_sequence().unwrap()[1].span), (4, 19, 2));
        assert_eq!(rules[1].span.line, 5);
    }

    #[test]
    fn a_value_that_is_missing_stands_at_its_key() {
        let node = read("a: 1\nb:\nc: 2\n").unwrap();
        assert_eq!(node.as_mapping().unwrap()[1].1.span, Span { line: 2, column: 1, len: 1 });
        assert!(node.as_mapping().unwrap()[1].1.is_null());
    }

    #[test]
    fn what_readers_differ_on_is_refused_with_its_place() {
        assert_eq!(refused("a: 1\nb: 2\na: 3\n"), [("duplicate-key", 3, 1, 1)]);
        assert_eq!(refused("a: {b: 1, 'b': 2}\n"), [("duplicate-key", 1, 11, 3)]);
        assert_eq!(refused("1: a\n"), [("key-not-a-string", 1, 1, 1)]);
        assert_eq!(refused("true: a\n"), [("key-not-a-string", 1, 1, 4)]);
        assert_eq!(refused("? [a, b]\n: c\n"), [("key-not-a-string", 1, 3, 6)]);
        assert_eq!(refused("a: &x 1\n"), [("anchor", 1, 4, 2)]);
        assert_eq!(refused("a: *x\n"), [("alias", 1, 4, 2)]);
        assert_eq!(refused("a: !!str 1\n"), [("tag", 1, 4, 5)]);
        assert_eq!(refused("<<: {a: 1}\n"), [("merge-key", 1, 1, 2)]);
        assert_eq!(refused("a: 1\n---\nb: 2\n"), [("second-document", 2, 1, 3)]);
        assert_eq!(refused("a: 9007199254740993\n"), [("unsafe-integer", 1, 4, 16)]);
        assert_eq!(refused("a: 1e17\n"), [("unsafe-integer", 1, 4, 4)]);
        assert_eq!(refused("a: [.inf, 1e999]\n"), [("not-finite", 1, 5, 4), ("not-finite", 1, 11, 5)]);
        assert!(read("a: 9007199254740992\n").is_ok());
    }

    #[test]
    fn a_document_without_content_is_refused() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n", "---\n...\n"] {
            assert_eq!(refused(text), [("empty", 1, 1, 1)], "{text:?}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_place() {
        for text in ["a: [1, 2\n", "a: b: c\n", "a:\n\t- b\n", "%YAML 1.2\n---\na: 1\n", "\"a\n"] {
            let codes: Vec<_> = refused(text).into_iter().map(|(code, ..)| code).collect();
            assert_eq!(codes, ["not-yaml"], "{text:?}");
        }
    }

    #[test]
    fn nesting_deeper_than_64_is_refused() {
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(64)).is_ok());
        assert_eq!(refused(&nested(65)), [("too-deep", 1, 65, 1)]);
        let block: String = (0..65).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert_eq!(refused(&block)[0].0, "too-deep");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_refused_with_places_in_it(text in "[ab01:,.*&!<>|?%~'\"\\[\\]{}#\\-\n\r\t é漢\u{202e}]{0,40}") {
            let source = Source::new("f.yaml", text.as_str());
            match parse(&source) {
                Ok(node) => prop_assert!(crate::types::canonical_bytes(&node.to_json()).is_ok()),
                Err(refused) => {
                    prop_assert!(refused.has_errors());
                    for d in refused.iter() {
                        prop_assert!(d.span.line >= 1 && d.span.column >= 1 && d.span.len >= 1);
                        prop_assert!(d.span.column <= source.line(d.span.line).chars().count() + 1, "{:?}", d);
                    }
                    let shown = refused.to_string();
                    prop_assert!(!shown.contains(['\u{202e}', '\t', '\r']), "{}", shown);
                }
            }
        }
    }

    #[test]
    fn all_errors_are_reported_at_once_and_sorted() {
        assert_eq!(refused("a: &x 1\nb: *x\na: !t 2\n").iter().map(|e| e.1).collect::<Vec<_>>(), [1, 2, 3, 3]);
    }
}
