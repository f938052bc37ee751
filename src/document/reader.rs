use crate::types::Duration;

use super::{Diagnostic, Diagnostics, Key, Node, Span};

/// Reads a mapping whose keys are all known. A room names the keys once, here; any other key is an error with a
/// suggestion.
#[derive(Clone, Copy)]
pub struct MapReader<'n> {
    what: &'static str,
    span: Span,
    entries: &'n [(Key, Node)],
}

impl<'n> MapReader<'n> {
    /// Takes `node`, called `what` in messages (`a rule`), and reports each key that is not in `known`; none if it is not
    /// a mapping, which is reported too.
    pub fn new(
        node: &'n Node,
        what: &'static str,
        known: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> Option<MapReader<'n>> {
        let Some(entries) = node.as_mapping() else {
            diagnostics.push(wrong_type(what, "a mapping", node).help(format!("its keys are {}", in_backticks(known))));
            return None;
        };
        for (key, _) in entries {
            if known.contains(&key.name.as_str()) {
                continue;
            }
            let unknown = Diagnostic::error("unknown-key", key.span, format!("unknown key `{}` in {what}", key.name));
            diagnostics.push(match suggest(&key.name, known.iter().copied()) {
                Some(word) => unknown.did_you_mean(Some(word)),
                None => unknown.help(format!("the keys of {what} are {}", in_backticks(known))),
            });
        }
        Some(MapReader { what, span: node.span, entries })
    }

    /// The value of a key, if it stands there. A key without a value stands there and has the value null.
    pub fn optional(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The value of a key that must stand there.
    pub fn required(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<&'n Node> {
        let value = self.optional(key);
        if value.is_none() {
            diagnostics.push(Diagnostic::error(
                "missing-key",
                self.span,
                format!("{} needs the key `{key}`", self.what),
            ));
        }
        value
    }

    /// A key with its place, and its value.
    pub fn entry(&self, key: &str) -> Option<(&'n Key, &'n Node)> {
        self.entries.iter().find(|(found, _)| found.name == key).map(|(key, value)| (key, value))
    }

    /// Where the mapping stands.
    pub fn span(&self) -> Span {
        self.span
    }
}

/// Reads a string; `what` names it in the error.
pub fn string<'n>(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Option<&'n str> {
    let text = node.as_str();
    if text.is_none() {
        let error = wrong_type(what, "a string", node);
        let quotable = node.scalar().is_some() && !node.is_null();
        diagnostics.push(if quotable { error.help("put it in quotes") } else { error });
    }
    text
}

/// Reads a boolean.
pub fn boolean(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<bool> {
    let value = node.as_bool();
    if value.is_none() {
        diagnostics.push(wrong_type(what, "a boolean", node).help("write `true` or `false`"));
    }
    value
}

/// Reads an integer that is not negative.
pub fn integer(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<u64> {
    let value = node.as_integer().and_then(|value| u64::try_from(value).ok());
    if value.is_none() {
        diagnostics.push(match node.as_number() {
            Some(_) => Diagnostic::error("wrong-value", node.span, format!("{what} must be a whole number from 0 on")),
            None => wrong_type(what, "a whole number", node),
        });
    }
    value
}

/// Reads a length of time, such as `30s`.
pub fn duration(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<Duration> {
    if let Some(number) = node.as_number() {
        let error = Diagnostic::error("wrong-value", node.span, format!("{what} needs a unit"));
        diagnostics.push(error.help(format!("write `{number}s` for seconds; `ms`, `m`, `h` and `d` are units, too")));
        return None;
    }
    match Duration::parse(string(node, what, diagnostics)?) {
        Ok(duration) => Some(duration),
        Err(error) => {
            diagnostics.push(Diagnostic::error("wrong-value", node.span, error.to_string()));
            None
        }
    }
}

/// Reads a length of time longer than none.
pub fn positive_duration(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<Duration> {
    let duration = duration(node, what, diagnostics)?;
    if duration == Duration(0) {
        let message = format!("{what} must be longer than nothing");
        diagnostics.push(Diagnostic::error("wrong-value", node.span, message));
        return None;
    }
    Some(duration)
}

/// Reads a list, which may be empty.
pub fn list<'n>(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Option<&'n [Node]> {
    let items = node.as_sequence();
    if items.is_none() {
        let error = wrong_type(what, "a list", node);
        diagnostics.push(match node.as_str() {
            Some(text) => error.help(format!("write a list: `[\"{text}\"]`")),
            None => error.help("write a list: `[...]`"),
        });
    }
    items
}

/// Reads a list of at least one string, each with its node.
pub fn strings<'n>(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Option<Vec<(&'n str, &'n Node)>> {
    let items = list(node, what, diagnostics)?;
    if items.is_empty() {
        diagnostics.push(Diagnostic::error("empty-list", node.span, format!("{what} must not be an empty list")));
        return None;
    }
    let each = format!("each item of {what}");
    let read: Vec<_> = items.iter().map(|item| string(item, &each, diagnostics).map(|text| (text, item))).collect();
    read.into_iter().collect()
}

fn wrong_type(what: &str, wanted: &str, node: &Node) -> Diagnostic {
    Diagnostic::error("wrong-type", node.span, format!("{what} must be {wanted}, found {}", node.what()))
}

fn in_backticks(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The candidate that `word` was probably meant to be.
pub fn suggest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    let furthest = (word.chars().count() / 3).max(1);
    let scored = candidates.into_iter().map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c));
    scored.filter(|(distance, _)| *distance <= furthest).min_by_key(|(distance, _)| *distance).map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Source, parse};

    fn with<T>(text: &str, read: impl FnOnce(&Node, &mut Diagnostics) -> T) -> (T, Vec<(String, Option<String>)>) {
        let source = Source::new("f.yaml", text);
        let node = parse(&source).unwrap();
        let mut diagnostics = Diagnostics::new(source);
        let value = read(&node, &mut diagnostics);
        (value, diagnostics.iter().map(|d| (d.message.clone(), d.help.clone())).collect())
    }

    fn value_of<T>(text: &str, read: impl FnOnce(&Node, &mut Diagnostics) -> Option<T>) -> Result<T, String> {
        let text = format!("k: {text}");
        let (value, mut said) = with(&text, |node, d| read(&node.as_mapping().unwrap()[0].1, d));
        value.ok_or_else(|| said.remove(0).0)
    }

    #[test]
    fn every_unknown_key_is_reported_with_a_suggestion() {
        let (_, said) = with("defualt: a\nzzzzzz: b\nrules: c\n", |node, d| {
            MapReader::new(node, "the policy", &["default", "rules"], d).unwrap().optional("rules").unwrap().span
        });
        assert_eq!(said[0], ("unknown key `defualt` in the policy".into(), Some("did you mean `default`?".into())));
        assert_eq!(said[1].1.as_deref(), Some("the keys of the policy are `default`, `rules`"));
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn a_missing_key_and_a_wrong_kind_are_reported() {
        let (value, said) = with("a: 1", |node, d| {
            let reader = MapReader::new(node, "a rule", &["a", "b"], d).unwrap();
            assert_eq!(reader.entry("a").unwrap().0.span, reader.span());
            reader.required("b", d).is_some()
        });
        assert!(!value);
        assert_eq!(said, [("a rule needs the key `b`".to_owned(), None)]);
        let (reader, said) = with("[a]", |node, d| MapReader::new(node, "a rule", &["a"], d).is_some());
        assert!(!reader);
        assert_eq!(said[0].0, "a rule must be a mapping, found a list");
    }

    #[test]
    fn values_are_read_by_their_type() {
        assert_eq!(value_of("x", |n, d| string(n, "`k`", d).map(str::to_owned)), Ok("x".into()));
        assert_eq!(
            value_of("5", |n, d| string(n, "`k`", d).map(str::to_owned)),
            Err("`k` must be a string, found a number".into())
        );
        assert_eq!(
            value_of("", |n, d| string(n, "`k`", d).map(str::to_owned)),
            Err("`k` must be a string, found nothing".into())
        );
        assert_eq!(value_of("true", |n, d| boolean(n, "`k`", d)), Ok(true));
        assert_eq!(value_of("yes", |n, d| boolean(n, "`k`", d)), Err("`k` must be a boolean, found a string".into()));
        assert_eq!(value_of("7", |n, d| integer(n, "`k`", d)), Ok(7));
        assert_eq!(value_of("-7", |n, d| integer(n, "`k`", d)), Err("`k` must be a whole number from 0 on".into()));
        assert_eq!(
            value_of("{}", |n, d| integer(n, "`k`", d)),
            Err("`k` must be a whole number, found a mapping".into())
        );
        assert_eq!(value_of("7d", |n, d| duration(n, "`k`", d)), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(value_of("7", |n, d| duration(n, "`k`", d)), Err("`k` needs a unit".into()));
        assert!(value_of("7 days", |n, d| duration(n, "`k`", d)).is_err());
        assert!(value_of("[7d]", |n, d| duration(n, "`k`", d)).is_err());
        assert_eq!(value_of("[]", |n, d| list(n, "`k`", d).map(<[Node]>::len)), Ok(0));
        assert_eq!(
            value_of("io.fs", |n, d| list(n, "`k`", d).map(<[Node]>::len)),
            Err("`k` must be a list, found a string".into())
        );
        assert_eq!(value_of("[a, b]", |n, d| strings(n, "`k`", d).map(|s| s.len())), Ok(2));
        assert_eq!(
            value_of("[]", |n, d| strings(n, "`k`", d).map(|s| s.len())),
            Err("`k` must not be an empty list".into())
        );
        assert_eq!(
            value_of("[a, 1, true]", |n, d| strings(n, "`k`", d).map(|s| s.len())),
            Err("each item of `k` must be a string, found a number".into())
        );
    }

    #[test]
    fn a_suggestion_is_close_or_there_is_none() {
        assert_eq!(suggest("defualt", ["rules", "default"]), Some("default"));
        assert_eq!(suggest("deny", ["ALLOW", "DENY"]), Some("DENY"));
        assert_eq!(suggest("io.fs.write", ["io.fs.write_file", "io.fs.delete"]), None);
        assert_eq!(suggest("x", ["default"]), None);
    }
}
