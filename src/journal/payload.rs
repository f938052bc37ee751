//! Payloads: large or private bytes that an event names and does not hold.
//!
//! An event holds the digest of a random salt and the bytes. Salt and bytes lie apart and can be erased together; what
//! remains in the event then proves nothing about the bytes, and the chain stays whole.

use bytes::Bytes;

use super::JournalError;
use crate::types::{PayloadRef, Salt};

/// Bytes on their way into the journal, with the reference that the event holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    reference: PayloadRef,
    salt: Salt,
    bytes: Bytes,
}

impl Payload {
    /// Draws a salt from the system. It is made before the event that names it, and given to the journal with that event.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Payload, JournalError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)
            .map_err(|error| JournalError::Fatal(format!("the system gives no random bytes: {error}")))?;
        Ok(Payload::with_salt(Salt(salt), bytes))
    }

    /// With a salt that is given: for what must come out the same twice, such as golden files.
    pub fn with_salt(salt: Salt, bytes: impl Into<Bytes>) -> Payload {
        let bytes = bytes.into();
        Payload { reference: PayloadRef::new(&salt, &bytes), salt, bytes }
    }

    /// What the event holds.
    pub fn reference(&self) -> PayloadRef {
        self.reference
    }

    /// The salt.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// The bytes; a clone of them is cheap.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_have_another_digest_each_time() {
        let (one, two) = (Payload::new("secret").unwrap(), Payload::new("secret").unwrap());
        assert_ne!(one.reference().digest, two.reference().digest);
        assert_eq!(one.reference().len, 6);
        assert_eq!(one, Payload::with_salt(*one.salt(), one.bytes().clone()));
    }
}
