//! The key that signs statements: Ed25519, in a PKCS#8 file as `openssl genpkey -algorithm ed25519` makes it.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{decoded, encoded};
use crate::journal::JournalError;
use crate::journal::error::on_file;
use crate::journal::place;

/// Its name beside the journal.
pub(in crate::journal) const FILE: &str = "checkpoint.key";

/// What stands before the 32 bytes of a private key in PKCS#8.
const PRIVATE: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// What stands before the 32 bytes of a public key where it says what it is.
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The public half. Shown and stored as `ed25519:` and 44 characters of Base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads what [`PublicKey`] is shown as.
    pub fn parse(text: &str) -> Option<PublicKey> {
        decoded(text.strip_prefix("ed25519:")?).map(PublicKey)
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature.0).is_ok()
    }

    /// Reads what [`PublicKey::to_pem`] gives.
    pub fn from_pem(text: &str) -> Option<PublicKey> {
        from_pem("PUBLIC KEY", text)?.strip_prefix(&PUBLIC)?.try_into().ok().map(PublicKey)
    }

    /// As a PEM file that other programs take.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[&PUBLIC[..], &self.0].concat())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", encoded(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("a key is `ed25519:` and 44 characters of Base64"))
    }
}

/// A signature. Stored as 88 characters of Base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoded(&self.0))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encoded(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Signature, D::Error> {
        let text = String::deserialize(deserializer)?;
        decoded(&text).map(Signature).ok_or_else(|| serde::de::Error::custom("a signature is 88 characters of Base64"))
    }
}

/// The private half.
pub(in crate::journal) struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Draws one from the system.
    fn draw() -> Result<([u8; 32], SigningKey), JournalError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| JournalError::Fatal(format!("the system gives no random bytes: {error}")))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|error| JournalError::Fatal(format!("no key can be made: {error}")))?;
        Ok((seed, SigningKey(pair)))
    }

    /// The key in the file at `path`; made, for this user only, if there is none. Of processes that make it at once one wins.
    pub fn open_or_make(path: &Path) -> Result<SigningKey, JournalError> {
        if let Some(key) = SigningKey::open(path)? {
            return Ok(key);
        }
        let (seed, key) = SigningKey::draw()?;
        if write(&seed, path)? {
            return Ok(key);
        }
        let gone = || on_file("read the key", path)(ErrorKind::NotFound.into());
        SigningKey::open(path)?.ok_or_else(gone)
    }

    /// Makes a key that waits beside the one at `path` until its place in the journal is durable.
    pub fn make_next(path: &Path) -> Result<SigningKey, JournalError> {
        let (seed, key) = SigningKey::draw()?;
        let next = next(path);
        remove(&next)?;
        match write(&seed, &next)? {
            true => Ok(key),
            false => Err(on_file("write the key", &next)(ErrorKind::AlreadyExists.into())),
        }
    }

    /// The key at `path`. If the journal names the one that waits beside it, that is put into its place first: whoever rotated it
    /// died before that.
    pub fn of_journal(path: &Path, named: Option<PublicKey>) -> Result<SigningKey, JournalError> {
        let waits = || Ok(SigningKey::open(&next(path))?.is_some_and(|key| Some(key.public()) == named));
        if SigningKey::open(path)?.map(|key| key.public()) != named && waits()? {
            SigningKey::put_next(path)?;
        }
        SigningKey::open_or_make(path)
    }

    /// Puts the key that waits into the place of the one at `path`, which is gone then. Another process may have done so already.
    pub fn put_next(path: &Path) -> Result<(), JournalError> {
        match fs::rename(next(path), path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
        .and_then(|()| fs::File::open(place::folder(path))?.sync_all())
        .map_err(on_file("put a new key in the place of", path))
    }

    /// The key in the file at `path`, if there is one. Refused if others can read it.
    pub fn open(path: &Path) -> Result<Option<SigningKey>, JournalError> {
        let read = fs::metadata(path).and_then(|meta| Ok((meta.mode(), fs::read_to_string(path)?)));
        let (mode, text) = match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(on_file("read the key", path))?,
        };
        let refused = |what: &str| on_file("read the key", path)(std::io::Error::other(what.to_owned()));
        if mode & 0o077 != 0 {
            return Err(refused("others can read it: `chmod 600` it, then `redress audit rotate-key`"));
        }
        let der = from_pem("PRIVATE KEY", &text).ok_or_else(|| refused("it is no PEM file with a private key"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        pair.map(|pair| Some(SigningKey(pair))).map_err(|_| refused("it is no Ed25519 key"))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        Signature(bytes)
    }
}

/// The file of the key that will sign next.
fn next(path: &Path) -> PathBuf {
    path.with_extension("key.next")
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(on_file("remove the key", path)(error)),
        _ => Ok(()),
    }
}

/// Writes a key under its name, durably and in one step; false if one is there. The file has no name before it is whole, so that
/// nothing is left of it if the process dies.
fn write(seed: &[u8; 32], path: &Path) -> Result<bool, JournalError> {
    let text = pem("PRIVATE KEY", &[&PRIVATE[..], seed].concat());
    let folder = place::folder(path);
    let written = (|| {
        let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = fs::File::from(rustix::fs::open(&folder, nameless, Mode::RUSR | Mode::WUSR)?);
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, itself, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            named => named?,
        }
        fs::File::open(&folder)?.sync_all().map(|()| true)
    })();
    written.map_err(on_file("write the key", path))
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", encoded(der))
}

fn from_pem(what: &str, text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let inner = text.trim().strip_prefix(&format!("-----BEGIN {what}-----"))?;
    let inner = inner.strip_suffix(&format!("-----END {what}-----"))?;
    let joined: String = inner.split_whitespace().collect();
    base64::prelude::BASE64_STANDARD.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_this_user_only_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let made = SigningKey::open_or_make(&path).unwrap().public();
        assert_eq!(SigningKey::open_or_make(&path).unwrap().public(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_waits_takes_its_place_once_the_journal_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let made = SigningKey::open_or_make(&path).unwrap().public();
        let next = SigningKey::make_next(&path).unwrap().public();
        assert_eq!(SigningKey::of_journal(&path, Some(made)).unwrap().public(), made);
        assert_eq!(SigningKey::of_journal(&path, Some(next)).unwrap().public(), next);
        assert_eq!(SigningKey::of_journal(&path, Some(next)).unwrap().public(), next);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        SigningKey::open_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SigningKey::open(&path).err().unwrap().to_string();
        assert!(error.contains("others can read it"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(SigningKey::open_or_make(&path).err().unwrap().to_string().contains("no PEM file"));
    }

    #[test]
    fn a_signature_is_the_keys_and_over_these_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::open_or_make(&dir.path().join(FILE)).unwrap();
        let signature = key.sign(b"said");
        assert!(key.public().verifies(b"said", &signature));
        assert!(!key.public().verifies(b"sold", &signature));
        assert_eq!(PublicKey::parse(&key.public().to_string()), Some(key.public()));
        assert_eq!(PublicKey::from_pem(&key.public().to_pem()), Some(key.public()));
    }
}
