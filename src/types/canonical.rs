//! Canonical JSON (RFC 8785): the one spelling of a value that is hashed, decided, stored and delivered.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// The largest integer that every JSON reader keeps exactly: 2^53.
pub const MAX_SAFE_INTEGER: u64 = 1 << 53;
const SAFE: f64 = 9_007_199_254_740_992.0;

/// A JSON text or value that has no canonical form here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CanonicalError {
    /// Not JSON, or a key that stands twice.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// An integer that a reader with 64-bit floating point numbers would change.
    #[error("the number `{0}` is beyond 2^53 and would not survive: write it as a string")]
    UnsafeInteger(String),
}

/// The RFC 8785 bytes of `value`.
pub fn canonical_bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    check_numbers(value)?;
    // Of a plain value the usual form is the canonical one already.
    let bytes = if is_plain(value) { serde_json::to_vec(value) } else { serde_json_canonicalizer::to_vec(value) };
    bytes.map_err(|error| CanonicalError::Syntax(error.to_string()))
}

/// Whether a value has no fractions, which the two forms write differently, and only keys that stand in an order in which both
/// agree: they are ASCII and sorted.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => {
            let keys = fields.keys().zip(fields.keys().skip(1));
            fields.iter().all(|(key, value)| key.is_ascii() && is_plain(value)) && keys.into_iter().all(|(a, b)| a < b)
        }
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Reads JSON, refusing keys that stand twice and integers beyond 2^53.
pub fn parse_strict(text: &[u8]) -> Result<Value, CanonicalError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| CanonicalError::Syntax(error.to_string()))?;
    check_numbers(&value)?;
    // What is larger than 64 bits can hold was read as a fraction.
    match integers(text).find(|integer| !integer.parse().is_ok_and(|n: i64| is_safe(n.unsigned_abs()))) {
        Some(integer) => Err(CanonicalError::UnsafeInteger(integer.to_owned())),
        None => Ok(value),
    }
}

/// The numbers of a JSON text that are written as integers.
fn integers(text: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            match rest.first()? {
                b'"' => {
                    let mut escaped = false;
                    let end = rest.iter().skip(1).position(|byte| {
                        let is_end = *byte == b'"' && !escaped;
                        escaped = *byte == b'\\' && !escaped;
                        is_end
                    });
                    rest = rest.get(end? + 2..)?;
                }
                b'-' | b'0'..=b'9' => {
                    let of_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let len = rest.iter().position(|byte| !of_number(byte)).unwrap_or(rest.len());
                    let (number, after) = rest.split_at(len);
                    rest = after;
                    if !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
                        return std::str::from_utf8(number).ok();
                    }
                }
                _ => rest = rest.get(1..)?,
            }
        }
    })
}

/// Whether [`parse_strict`] reads a text, told without making a value of it. Only of a text whose keys are sorted and have no escapes, as
/// those of [`canonical_bytes`] mostly are, can it tell: true is always right.
pub fn reads_strictly(text: &[u8]) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Sorted.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
}

fn is_safe(positive: u64) -> bool {
    positive <= MAX_SAFE_INTEGER
}

/// Whether the canonical form of a number is an integer beyond 2^53: from 10^21 on it has an exponent.
pub fn is_written_as_unsafe(number: f64) -> bool {
    SAFE < number.abs() && number.abs() < 1e21
}

fn check_numbers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let unsafe_integer = match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => !is_safe(n),
                (None, Some(n)) => !is_safe(n.unsigned_abs()),
                (None, None) => number.as_f64().is_some_and(is_written_as_unsafe),
            };
            if unsafe_integer { Err(CanonicalError::UnsafeInteger(number.to_string())) } else { Ok(()) }
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(fields) => fields.values().try_for_each(check_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key `{key}` stands twice")));
            }
            let value = map.next_value_seed(Strict)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

/// Passes over a value whose keys are sorted.
#[derive(Clone, Copy)]
struct Sorted;

impl Sorted {
    fn safe<E: de::Error>(positive: u64) -> Result<(), E> {
        if is_safe(positive) { Ok(()) } else { Err(E::custom("an integer beyond 2^53")) }
    }
}

impl<'de> DeserializeSeed<'de> for Sorted {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Sorted {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value with sorted keys")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<(), E> {
        Sorted::safe(v.unsigned_abs())
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<(), E> {
        Sorted::safe(v)
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<(), E> {
        // A large one may be an integer that does not fit.
        if v.abs() <= SAFE { Ok(()) } else { Err(E::custom("a number that may not survive")) }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Sorted)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut last: Option<&'de str> = None;
        // A key with escapes cannot be borrowed, and is an error.
        while let Some(key) = map.next_key::<&'de str>()? {
            if last.is_some_and(|last| last >= key) {
                return Err(de::Error::custom("keys that are not sorted"));
            }
            last = Some(key);
            map.next_value_seed(Sorted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        assert!(parse_strict(br#"{"a":1,"a":2}"#).is_err());
        assert!(parse_strict(br#"{"a":[{"b":1,"b":2}]}"#).is_err());
    }

    #[test]
    fn integers_beyond_two_to_the_53_are_refused() {
        assert!(parse_strict(b"9007199254740992").is_ok());
        // However they are written, and also where 64 bits do not hold them.
        for number in
            ["1e17", "18446744073709551616", "-123456789012345678901234567890", "[0.5, 1000000000000000000000]"]
        {
            assert!(matches!(parse_strict(number.as_bytes()), Err(CanonicalError::UnsafeInteger(_))), "{number}");
        }
        for number in ["1e21", "-1.5e300", r#""18446744073709551616""#, r#"{"\"18446744073709551616\\":1}"#] {
            assert!(parse_strict(number.as_bytes()).is_ok(), "{number}");
        }
        assert!(canonical_bytes(&Value::from(1e17)).is_err());
        assert_eq!(parse_strict(b"9007199254740993"), Err(CanonicalError::UnsafeInteger("9007199254740993".into())));
        assert!(parse_strict(b"-9007199254740993").is_err());
    }

    #[test]
    fn canonical_bytes_sort_keys_and_are_stable() {
        let value = parse_strict(br#" {"b": 1.0, "a": "\u00e9"} "#);
        let bytes = value.and_then(|v| canonical_bytes(&v));
        assert_eq!(bytes, Ok("{\"a\":\"é\",\"b\":1}".as_bytes().to_vec()));
    }

    /// Values with keys and texts that the two forms might treat differently.
    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,4}",
            "[\\x00-\\x1f\\x7f\"/\\\\]{0,4}",
            any::<String>(),
            Just("\u{10000}\u{e000}".to_owned())
        ];
        let integer = -(1_i64 << 53)..=(1 << 53);
        let float = prop_oneof![-1e6..1e6_f64, -1e16..1e16_f64, 1e21..1e300_f64];
        let number = prop_oneof![integer.prop_map(Value::from), float.prop_map(Value::from)];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            number,
            text.clone().prop_map(Value::String)
        ];
        leaf.prop_recursive(3, 24, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Texts that are nearly strict.
    fn any_text() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "1",
            "-9007199254740993",
            "9007199254740992",
            "1e400",
            "0.5",
            "\"x\"",
            "nul",
            "[]",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 16, 4, |inner| {
            let key = prop::sample::select(vec!["a", "b", "ab", "\\u0061", "é", ""]);
            let field = (key, inner.clone()).prop_map(|(key, value)| format!("\"{key}\":{value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_told_to_read_strictly_does(text in any_text()) {
            prop_assert!(!reads_strictly(text.as_bytes()) || parse_strict(text.as_bytes()).is_ok());
        }

        #[test]
        fn the_short_way_of_plain_values_gives_the_canonical_form(value in any_value()) {
            let Ok(bytes) = canonical_bytes(&value) else { return Ok(()) };
            prop_assert_eq!(&bytes, &serde_json_canonicalizer::to_vec(&value).unwrap());
            prop_assert_eq!(canonical_bytes(&parse_strict(&bytes).unwrap()).unwrap(), bytes);
        }
    }
}
