use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// An id that is not of the form that its kind requires.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a {kind}: {rule}")]
pub struct IdError {
    /// What it should have been, such as `capability id`.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads an id; an error says which rule it breaks.
            pub fn parse(text: &str) -> Result<$name, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok($name(text.into()))
                } else {
                    Err(IdError { kind: $kind, text: text.to_owned(), rule: $rule })
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A run's id: a UUID of version 7, lower case.
    RunId, "run id", "a run id is a lower-case UUID", |text| {
        text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            })
    }
}

id! {
    /// The name of a step, unique in its run.
    StepName, "step name", "a step name is 1 to 64 letters, digits, `_` or `-`, beginning with a letter or `_`", |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    }
}

id! {
    /// The id of a capability: dotted lower-case segments, such as `io.fs.write_file`.
    CapabilityId, "capability id",
    "a capability id is two or more segments of lower-case letters, digits, `_` or `-` joined by dots, at most 128 characters", |text| {
        text.len() <= 128
            && text.contains('.')
            && text.split('.').all(|segment| {
                segment.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
                    && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
            })
    }
}

id! {
    /// Who acts: a kind and a name, such as `user:alice` or `agent:data_processor`.
    Principal, "principal",
    "a principal is a kind and a name joined by a colon, such as `user:alice`: printable ASCII without spaces, at most 256 characters", |text| {
        text.len() <= 256
            && text.bytes().all(|b| b.is_ascii_graphic())
            && text.split_once(':').is_some_and(|(kind, name)| {
                !kind.is_empty() && !name.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            })
            && !text.contains(['*', '?', '[', ']', '{', '}', '!', '\\'])
    }
}

impl Principal {
    /// The part before the colon: `user`, `agent`, ...
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or("", |(kind, _)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_ids_are_dotted_lower_case_segments() {
        for good in ["io.fs.write_file", "api.payment.refund-2", "a.b"] {
            assert!(CapabilityId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "io", "io.", ".io", "io..fs", "Io.fs", "io.fs ", "io.*", "io.9x", "ïo.fs"] {
            assert!(CapabilityId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn principals_have_a_kind_and_a_name() {
        for good in ["user:alice", "agent:data_processor", "agent:a:b", "user:a@b.example"] {
            assert!(Principal::parse(good).is_ok(), "{good}");
        }
        for bad in ["alice", "user:", ":alice", "user:al ice", "User:alice", "user:*", "user:\u{e9}"] {
            assert!(Principal::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn run_ids_are_lower_case_uuids() {
        assert!(RunId::parse("01920000-0000-7000-8000-00000000000a").is_ok());
        assert!(RunId::parse("01920000-0000-7000-8000-00000000000A").is_err());
        assert!(RunId::parse("system").is_err());
    }
}
