use serde_json::{Map, Number, Value};

use super::Span;
use crate::types::is_written_as_unsafe;

/// One value of a document, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: NodeKind,
}

/// The three kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Anything that is neither a list nor a mapping; [`Node::scalar`] reads it.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// How it was written.
        style: Style,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file; each key stands once.
    Mapping(Vec<(Key, Node)>),
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bare; only these can be anything but a string.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// After `|` or `>`.
    Block,
}

/// A key of a mapping, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// A scalar, read by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// At most 2^53 away from zero.
    Integer(i64),
    /// Finite.
    Float(f64),
    /// Everything else.
    String(&'a str),
}

impl Node {
    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.kind {
            NodeKind::Scalar { text, style: Style::Plain } => Some(resolve(text)),
            NodeKind::Scalar { text, .. } => Some(Scalar::String(text)),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self.scalar() {
            Some(Scalar::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.scalar() {
            Some(Scalar::Bool(value)) => Some(value),
            _ => None,
        }
    }

    /// The value, if it is an integer.
    pub fn as_integer(&self) -> Option<i64> {
        match self.scalar() {
            Some(Scalar::Integer(value)) => Some(value),
            _ => None,
        }
    }

    /// The value, if it is a number with or without a fraction.
    pub fn as_number(&self) -> Option<f64> {
        match self.scalar() {
            Some(Scalar::Integer(value)) => Some(value as f64),
            Some(Scalar::Float(value)) => Some(value),
            _ => None,
        }
    }

    /// Whether nothing stands there, or `null`.
    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The items, if it is a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::Sequence(items) => Some(items),
            NodeKind::Scalar { .. } | NodeKind::Mapping(_) => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn as_mapping(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            NodeKind::Mapping(entries) => Some(entries),
            NodeKind::Scalar { .. } | NodeKind::Sequence(_) => None,
        }
    }

    /// What stands there, for messages: `a list`, `a number`, ...
    pub fn what(&self) -> &'static str {
        match (&self.kind, self.scalar()) {
            (NodeKind::Sequence(_), _) => "a list",
            (NodeKind::Mapping(_), _) => "a mapping",
            (_, Some(Scalar::Bool(_))) => "a boolean",
            (_, Some(Scalar::Integer(_) | Scalar::Float(_))) => "a number",
            (_, Some(Scalar::String(_))) => "a string",
            (_, Some(Scalar::Null) | None) => "nothing",
        }
    }

    /// The same value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            NodeKind::Sequence(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            NodeKind::Mapping(entries) => Value::Object(
                entries.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect::<Map<_, _>>(),
            ),
            NodeKind::Scalar { .. } => match self.scalar() {
                None | Some(Scalar::Null) => Value::Null,
                Some(Scalar::Bool(value)) => Value::Bool(value),
                Some(Scalar::Integer(value)) => Value::Number(value.into()),
                // INVARIANT: `parse` refused numbers that are not finite.
                Some(Scalar::Float(value)) => Number::from_f64(value).map_or(Value::Null, Value::Number),
                Some(Scalar::String(text)) => Value::String(text.to_owned()),
            },
        }
    }

    /// The place of the characters from `start` on of a scalar's text; the whole value, where the text is not written in
    /// one piece.
    pub fn inner_span(&self, start: usize, len: usize) -> Span {
        let NodeKind::Scalar { text, style } = &self.kind else { return self.span };
        let quote = match style {
            Style::Plain => 0,
            Style::Quoted => 1,
            Style::Block => return self.span,
        };
        if text.chars().count() + 2 * quote != self.span.len {
            return self.span;
        }
        Span { line: self.span.line, column: self.span.column + quote + start, len: len.max(1) }
    }
}

/// A plain scalar by the core schema.
pub(super) fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ if is_integer(text) => integer(text).map_or(Scalar::Float(f64::INFINITY), Scalar::Integer),
        _ if is_float(text) => {
            let value = text.parse().ok().filter(|value| !is_written_as_unsafe(*value));
            Scalar::Float(value.unwrap_or(f64::INFINITY))
        }
        _ if is_not_finite(text) => Scalar::Float(f64::INFINITY),
        _ => Scalar::String(text),
    }
}

/// Whether the core schema reads it as an integer, however large.
pub(super) fn is_integer(text: &str) -> bool {
    let all = |digits: &str, good: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| good(&b));
    match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => all(digits, u8::is_ascii_hexdigit),
        (_, Some(digits)) => all(digits, |b| (b'0'..=b'7').contains(b)),
        _ => all(text.strip_prefix(['+', '-']).unwrap_or(text), u8::is_ascii_digit),
    }
}

/// Its value, if it is at most 2^53 away from zero.
fn integer(text: &str) -> Option<i64> {
    let value = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => i64::from_str_radix(digits, 16),
        (_, Some(digits)) => i64::from_str_radix(digits, 8),
        _ => text.parse(),
    };
    value.ok().filter(|value| value.unsigned_abs() <= crate::types::MAX_SAFE_INTEGER)
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    good && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

fn is_not_finite(text: &str) -> bool {
    matches!(text.strip_prefix(['+', '-']).unwrap_or(text), ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_read_by_the_core_schema() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve(text), Scalar::Null, "{text}");
        }
        for (text, value) in [("0", 0), ("-7", -7), ("+7", 7), ("0x1F", 31), ("0o17", 15), ("010", 10)] {
            assert_eq!(resolve(text), Scalar::Integer(value), "{text}");
        }
        for (text, value) in [("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), ("+1.0E-1", 0.1)] {
            assert_eq!(resolve(text), Scalar::Float(value), "{text}");
        }
        for text in [
            "yes", "on", "no", "TrUe", "nUll", "1_000", "0b1", "1:30", ".", "-", "e3", "1e", "1.2.3", "0x", ".nAn",
            "-0x1",
        ] {
            assert_eq!(resolve(text), Scalar::String(text), "{text}");
        }
        assert_eq!(resolve("True"), Scalar::Bool(true));
        assert_eq!(resolve("FALSE"), Scalar::Bool(false));
    }
}
