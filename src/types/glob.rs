//! What the patterns of policies and permissions share: which characters stand in them, what is wrong with one and where, and the
//! match of a wildcard, which takes time in proportion to pattern times text at most.

use thiserror::Error;

/// Why a text is not a pattern, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct PatternError {
    /// The first offending character, counted from 0.
    pub at: usize,
    /// How many characters offend.
    pub len: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl PatternError {
    /// An error at the characters from `at` on, counted from 0.
    pub fn new(at: usize, len: usize, message: impl Into<String>, help: impl Into<String>) -> PatternError {
        PatternError { at, len, message: message.into(), help: help.into() }
    }
}

/// Refuses what other pattern languages mean something by, white space, and what is not ASCII.
pub fn check_characters(text: &str, ascii: &str) -> Result<(), PatternError> {
    for (at, c) in text.chars().enumerate() {
        let help = match c {
            '?' => "write the character out, or `*`",
            '[' | ']' | '{' | '}' => "write one pattern for each name",
            '\\' => "nothing needs to be escaped: remove it",
            '!' => "write a rule with `action: DENY` before this one",
            _ if c.is_whitespace() => "remove the white space",
            _ if !c.is_ascii_graphic() => ascii,
            _ => continue,
        };
        return Err(PatternError::new(at, 1, format!("the character `{c}` is not allowed in a pattern"), help));
    }
    Ok(())
}

/// Whether `text` is made by `pattern`, in which each star stands for any run of items, or for none.
pub fn wild<P, T>(pattern: &[P], text: &[T], is_star: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if the rest does not fit: after the last star, which then takes one item more.
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(item), _) if is_star(item) => {
                p += 1;
                last_star = Some((p, t));
            }
            (Some(item), Some(found)) if fits(item, found) => {
                p += 1;
                t += 1;
            }
            (None, None) => return true,
            _ => match last_star {
                Some((after, taken)) if taken < text.len() => {
                    last_star = Some((after, taken + 1));
                    (p, t) = (after, taken + 1);
                }
                _ => return false,
            },
        }
    }
}
