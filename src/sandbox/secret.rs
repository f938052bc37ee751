//! Secrets: the host puts their values into headers, and takes them out of answers.
//!
//! A component writes `${secret:NAME}`. The value is read when a request is about to be sent, after the record of the
//! request was made from what the component wrote, and lives as long as the call. It is never shown: not in errors, not in
//! logs, not by `Debug`.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;

use crate::types::{Failure, SecretGrant, SecretSource, code};

const OPEN: &str = "${secret:";

/// The fewest characters of a value: a shorter one would stand in answers by accident.
const SHORTEST: usize = 8;

/// The largest file that is read for a secret.
const LONGEST: u64 = 64 << 10;

/// A value, with what stands for it.
pub(super) struct Secret {
    placeholder: String,
    value: String,
}

impl Secret {
    /// Reads a value from where the policy says. The failure does not show it.
    pub(super) fn read(grant: &SecretGrant) -> Result<Secret, Failure> {
        let (place, read) = read_secret(&grant.source);
        let unusable = |why: String| {
            let message = format!("the secret `{}` cannot be used: {place} {why}", grant.name);
            Err(Failure::new(code::NO_SECRET, message))
        };
        let value = match read {
            Ok(value) => value,
            Err(why) => return unusable(why),
        };
        if value.len() < SHORTEST {
            return unusable(format!("has fewer than {SHORTEST} characters"));
        }
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return unusable("has a character that a header cannot carry".into());
        }
        Ok(Secret { placeholder: format!("{OPEN}{}}}", grant.name), value })
    }
}

/// Where a secret was looked for, and its value or what is wrong with that place. Neither shows the value.
pub fn read_secret(source: &SecretSource) -> (String, Result<String, String>) {
    match source {
        SecretSource::Env(name) => {
            (format!("the variable `{name}`"), std::env::var(name).map_err(|_| "is not set, or not text".to_owned()))
        }
        SecretSource::File(path) => (format!("the file `{path}`"), read_file(path)),
    }
}

impl Secret {
    /// How long the value is.
    pub(super) fn len(&self) -> usize {
        self.value.len()
    }
}

fn read_file(path: &str) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err("is not a small regular file".into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// The names of the secrets that a header value asks for.
pub(super) fn names(value: &HeaderValue) -> Vec<String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(OPEN).skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

/// The value as it is sent; marked so that nothing prints it. None if it is no header value any more.
pub(super) fn filled(value: &HeaderValue, secrets: &[Arc<Secret>]) -> Option<HeaderValue> {
    let mut bytes = value.as_bytes().to_vec();
    for secret in secrets {
        if let Cow::Owned(replaced) = replace(&bytes, secret.placeholder.as_bytes(), secret.value.as_bytes()) {
            bytes = replaced;
        }
    }
    let mut filled = HeaderValue::from_bytes(&bytes).ok()?;
    filled.set_sensitive(true);
    Some(filled)
}

/// The bytes with each value that stands in them as it is replaced by its placeholder; none if there was none.
pub(super) fn masked(bytes: &[u8], secrets: &[Arc<Secret>]) -> Option<Vec<u8>> {
    let mut masked: Option<Vec<u8>> = None;
    for secret in secrets {
        let current = masked.as_deref().unwrap_or(bytes);
        if let Cow::Owned(replaced) = replace(current, secret.value.as_bytes(), secret.placeholder.as_bytes()) {
            masked = Some(replaced);
        }
    }
    masked
}

/// An upper bound of how many bytes [`masked`] makes of these.
pub(super) fn masked_len(bytes: &[u8], secrets: &[Arc<Secret>]) -> u64 {
    let longer = |secret: &Arc<Secret>| {
        let value = secret.value.as_bytes();
        let mut rest = bytes;
        let mut count = 0_usize;
        while let Some(at) = rest.windows(value.len()).position(|window| window == value) {
            count += 1;
            rest = rest.get(at + value.len()..).unwrap_or_default();
        }
        count * secret.placeholder.len().saturating_sub(value.len())
    };
    (bytes.len() + secrets.iter().map(longer).sum::<usize>()) as u64
}

fn replace<'b>(bytes: &'b [u8], from: &[u8], to: &[u8]) -> Cow<'b, [u8]> {
    let mut made: Option<Vec<u8>> = None;
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        let made = made.get_or_insert_with(Vec::new);
        made.extend_from_slice(rest.get(..at).unwrap_or_default());
        made.extend_from_slice(to);
        rest = rest.get(at + from.len()..).unwrap_or_default();
    }
    match made {
        Some(mut made) => {
            made.extend_from_slice(rest);
            Cow::Owned(made)
        }
        None => Cow::Borrowed(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> Arc<Secret> {
        Arc::new(Secret { placeholder: format!("{OPEN}{name}}}"), value: value.into() })
    }

    #[test]
    fn a_placeholder_is_filled_and_an_echo_is_masked() {
        let secrets = [secret("A", "value-of-a"), secret("B", "value-of-b")];
        let value = HeaderValue::from_static("Bearer ${secret:A}.${secret:B}");
        assert_eq!(names(&value), ["A", "B"]);
        let filled = filled(&value, &secrets).unwrap();
        assert_eq!(filled.as_bytes(), b"Bearer value-of-a.value-of-b");
        assert!(filled.is_sensitive() && !format!("{filled:?}").contains("value-of"));
        assert_eq!(masked(b"you sent value-of-b, value-of-b", &secrets).unwrap(), b"you sent ${secret:B}, ${secret:B}");
        assert_eq!(masked(b"nothing", &secrets), None);
        assert_eq!(names(&HeaderValue::from_static("${secret:A ${other:B}")), ["A ${other:B"]);
    }

    #[test]
    fn a_secret_that_cannot_be_used_says_where_it_was_looked_for_and_not_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token").to_string_lossy().into_owned();
        let grant = SecretGrant { name: "T".into(), source: SecretSource::File(path.clone()), hosts: Vec::new() };
        assert_eq!(Secret::read(&grant).err().unwrap().code, code::NO_SECRET);
        for (content, good) in
            [("short\n", false), ("long enough\n", true), ("long enough\r\n", true), ("two\nlines\nhere", false)]
        {
            std::fs::write(&path, content).unwrap();
            match Secret::read(&grant) {
                Ok(secret) => assert!(good && secret.value == "long enough"),
                Err(failure) => assert!(!good && !failure.message.contains(content.trim()), "{failure}"),
            }
        }
    }
}
