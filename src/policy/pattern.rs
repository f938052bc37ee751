use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::{Diagnostic, Node};
use crate::types::{CapabilityId, PatternError, Principal, check_characters, wild};

/// The most stars in one pattern.
const MAX_STARS: usize = 4;
/// The longest pattern, as long as the longest id.
const MAX_LEN: usize = 256;

/// A pattern over principals or capability ids: `*` stands for any run of characters, dots and colons included, or for
/// none; everything else stands for itself; the whole text must match.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

/// The diagnostic that points into the string `node`.
pub(super) fn at_node(error: PatternError, code: &'static str, node: &Node) -> Diagnostic {
    Diagnostic::error(code, node.inner_span(error.at, error.len), error.message).help(error.help)
}

impl Pattern {
    /// Reads a pattern; an error points at the character and says what to write instead.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::new(0, 1, "the pattern is empty", "write `*` for everything"));
        }
        if text.len() > MAX_LEN {
            let message = format!("the pattern is longer than {MAX_LEN} characters");
            return Err(PatternError::new(MAX_LEN, text.len() - MAX_LEN, message, "no id is that long"));
        }
        check_characters(text, "names are printable ASCII")?;
        if let Some((before, _)) = text.split_once("**") {
            let help = "write `*`: it crosses dots and colons already";
            return Err(PatternError::new(before.len(), 2, "`**` is not allowed in a pattern", help));
        }
        if let Some((at, _)) = text.match_indices('*').nth(MAX_STARS) {
            let message = format!("the pattern has more than {MAX_STARS} stars");
            return Err(PatternError::new(at, 1, message, "write several patterns"));
        }
        Ok(Pattern(text.into()))
    }

    /// Reads a pattern over principals; without a star it must be a principal.
    pub fn principal(text: &str) -> Result<Pattern, PatternError> {
        let pattern = Pattern::parse(text)?;
        match Principal::parse(text) {
            Err(error) if !text.contains('*') => {
                let help = "write a kind and a name, such as `user:alice`, `agent:*` or `group:name`";
                Err(PatternError::new(0, text.len(), error.to_string(), help))
            }
            _ => Ok(pattern),
        }
    }

    /// Reads a pattern over capability ids; without a star it must be an id.
    pub fn capability(text: &str) -> Result<Pattern, PatternError> {
        let pattern = Pattern::parse(text)?;
        match CapabilityId::parse(text) {
            Err(error) if !text.contains('*') => {
                let help = "write an id such as `io.fs.read_file`, or a pattern such as `io.fs.*`";
                Err(PatternError::new(0, text.len(), error.to_string(), help))
            }
            _ => Ok(pattern),
        }
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no star: only its own text matches.
    pub(super) fn is_one(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        wild(self.0.as_bytes(), text.as_bytes(), |p| *p == b'*', |p, t| p == t)
    }

    /// Whether any of `patterns` matches.
    pub fn any(patterns: &[Pattern], text: &str) -> bool {
        patterns.iter().any(|pattern| pattern.matches(text))
    }

    /// Whether there is a text that both match.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let at = |row: &[bool], j: usize| row.get(j).copied().unwrap_or(false);
        // From the ends on: row `i`, column `j` says whether the rests `a[i..]` and `b[j..]` have a text in common.
        let mut below: Vec<bool> = Vec::new();
        for i in (0..=a.len()).rev() {
            let mut row = vec![false; b.len() + 1];
            for j in (0..=b.len()).rev() {
                let common = match (a.get(i), b.get(j)) {
                    (None, None) => true,
                    (Some(b'*'), _) | (_, Some(b'*')) => at(&below, j) || at(&row, j + 1),
                    (Some(x), Some(y)) => x == y && at(&below, j + 1),
                    (Some(_), None) | (None, Some(_)) => false,
                };
                if let Some(cell) = row.get_mut(j) {
                    *cell = common;
                }
            }
            below = row;
        }
        at(&below, 0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        Pattern::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    /// The definition, as slow and as plain as can be.
    fn naive(pattern: &str, text: &str) -> bool {
        match (pattern.chars().next(), text.chars().next()) {
            (None, None) => true,
            (Some('*'), _) => naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some(p), Some(t)) => p == t && naive(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    #[test]
    fn a_star_crosses_dots_and_colons_and_may_stand_for_nothing() {
        assert!(pattern("io.*").matches("io.fs.read_file"));
        assert!(pattern("io.fs*").matches("io.fs"));
        assert!(pattern("*").matches("user:a:b"));
        assert!(!pattern("io.fs.*").matches("io.fsx.read"));
        assert!(!pattern("agent:a").matches("agent:A"));
        assert!(!pattern("agent:a").matches("xagent:a"));
    }

    #[test]
    fn what_other_pattern_languages_mean_something_by_is_refused_where_it_stands() {
        let at = |text: &str| Pattern::parse(text).map_err(|e| (e.at, e.len)).unwrap_err();
        assert_eq!(at("io.**"), (3, 2));
        for (text, place) in [("a?", 1), ("a.[b]", 2), ("{a,b}", 0), ("a\\*", 1), ("!a", 0), ("a b", 1), ("é", 0)] {
            assert_eq!(at(text), (place, 1), "{text}");
        }
        assert_eq!(at("a*b*c*d*e*"), (9, 1));
        assert_eq!(at(""), (0, 1));
        for more in [1, 2] {
            assert_eq!(at(&"a".repeat(256 + more)), (256, more));
        }
        assert!(Pattern::parse(&"a".repeat(256)).is_ok());
        assert!(Pattern::parse("a*b*c*d*").is_ok());
    }

    #[test]
    fn a_pattern_without_a_star_must_be_an_id() {
        assert!(Pattern::principal("alice").is_err());
        assert!(Pattern::principal("user:alice").is_ok());
        assert!(Pattern::principal("*").is_ok());
        assert!(Pattern::capability("Io.fs").is_err());
        assert!(Pattern::capability("io.fs.read_file").is_ok());
        assert!(Pattern::capability("io*").is_ok());
    }

    #[test]
    fn a_pattern_is_read_back_as_it_was_written() {
        let json = serde_json::to_string(&pattern("a.*")).unwrap();
        assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), pattern("a.*"));
        assert!(serde_json::from_str::<Pattern>("\"a**\"").is_err());
        assert_eq!(format!("{} {:?}", pattern("a"), pattern("a")), "a \"a\"");
    }

    const PATTERN: &str = "[a*]{1,3}[ab.:*]{0,6}";
    const TEXT: &str = "[ab.:]{0,8}";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn matching_agrees_with_the_definition(p in PATTERN, text in TEXT) {
            if let Ok(pattern) = Pattern::parse(&p) {
                prop_assert_eq!(pattern.matches(&text), naive(&p, &text));
            }
        }

        #[test]
        fn patterns_that_match_one_text_overlap(a in PATTERN, b in PATTERN, text in TEXT) {
            if let (Ok(a), Ok(b)) = (Pattern::parse(&a), Pattern::parse(&b)) {
                prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
                if a.matches(&text) && b.matches(&text) {
                    prop_assert!(a.overlaps(&b));
                }
            }
        }

        #[test]
        fn patterns_that_overlap_match_one_text(a in "[a*]{0,2}[ab*]{1,2}", b in "[b*]{0,2}[ab*]{1,2}") {
            if let (Ok(a), Ok(b)) = (Pattern::parse(&a), Pattern::parse(&b)) {
                // A shortest common text is no longer than both patterns together.
                let mut texts = vec![String::new()];
                for _ in 0..8 {
                    let longer: Vec<_> = texts.iter().flat_map(|t| [format!("{t}a"), format!("{t}b")]).collect();
                    texts.extend(longer);
                    texts.sort();
                    texts.dedup();
                }
                let witness = texts.iter().any(|t| a.matches(t) && b.matches(t));
                prop_assert_eq!(a.overlaps(&b), witness);
            }
        }
    }
}
