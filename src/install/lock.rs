//! `redress.lock`: what is installed, by digest, with what it said of itself.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InstallError, Source};
use crate::types::Digest;

/// What is installed: `redress.lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub schema: u32,
    /// Sorted by name.
    pub components: Vec<Locked>,
}

/// One installed component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// What people call it; each stands once.
    pub name: String,
    /// What it says of its version; nobody has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Where it came from, as it was asked for: `file:///...` or `oci://...`.
    pub source: String,
    /// The same without tag and digest.
    pub origin: String,
    /// Of an artifact, the digest of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Who signed it, of those whom the policy trusted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<SignedBy>,
    /// The signature itself, which is verified each time the component is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// What it said of itself: ids, texts, permissions and schemas.
    pub description: Value,
}

/// A signature that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBy {
    /// The name that the policy gives the signer.
    pub name: String,
    /// The key.
    pub key: String,
}

impl Default for Lock {
    fn default() -> Lock {
        Lock { schema: 1, components: Vec::new() }
    }
}

impl Lock {
    /// Reads it; an empty one if there is no file.
    pub fn read(path: &Path) -> Result<Lock, InstallError> {
        let is_other = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let read = if is_other { Err(std::io::Error::other("it is not a file")) } else { fs::read(path) };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lock::default()),
            Err(error) => return Err(InstallError::io(path)(error)),
        };
        let shown = path.display();
        let help = "it is written by `redress capability add` and `remove`: take it back from version control, or move it away and \
                    install anew";
        let lock: Lock = serde_json::from_slice(&bytes)
            .map_err(|error| InstallError::usage("bad-lock", format!("`{shown}` does not load: {error}"), help))?;
        if lock.schema != 1 {
            let message = format!("`{shown}` has the schema {}; this version reads 1", lock.schema);
            return Err(InstallError::usage(
                "bad-lock",
                message,
                "use the version of Redress that wrote it, or a later one",
            ));
        }
        let mut names: Vec<&str> = lock.components.iter().map(|locked| locked.name.as_str()).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(InstallError::usage("bad-lock", format!("`{shown}` names `{name}` twice"), help));
        }
        for locked in &lock.components {
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            let sound =
                locked.name.bytes().all(good) && Source::origin_of(&locked.source).as_ref() == Some(&locked.origin);
            if !sound {
                let message = format!("`{shown}`: `{}` does not come from where it says", locked.name);
                return Err(InstallError::usage("bad-lock", message, help));
            }
        }
        Ok(lock)
    }

    /// Writes it: as a whole, or not at all.
    pub fn write(&self, path: &Path) -> Result<(), InstallError> {
        let mut lock = self.clone();
        lock.components.sort_by(|a, b| a.name.cmp(&b.name));
        let mut text = serde_json::to_vec_pretty(&lock).map_err(|error| InstallError::io(path)(error.into()))?;
        text.push(b'\n');
        write_whole(path, &text)
    }

    /// The component of this name, or that provides this id, or of this digest.
    pub fn find(&self, what: &str) -> Option<&Locked> {
        let named = |locked: &&Locked| {
            locked.name == what || locked.digest.to_string() == what || locked.ids().any(|id| id == what)
        };
        self.components.iter().find(named)
    }
}

impl Locked {
    /// The ids of its capabilities.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let all = self.description.get("capabilities").and_then(Value::as_array).into_iter().flatten();
        all.filter_map(|one| one.get("id").and_then(Value::as_str))
    }
}

/// Writes a file so that it appears at once, and lasts.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), InstallError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        let mut draft = tempfile::NamedTempFile::new_in(folder)?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        draft.persist(path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    };
    written().map_err(InstallError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;
    use serde_json::json;

    fn locked(name: &str, id: &str) -> Locked {
        Locked {
            name: name.into(),
            version: None,
            digest: sha256(name.as_bytes()),
            source: format!("file:///{name}.wasm"),
            origin: format!("file:///{name}.wasm"),
            manifest: None,
            signer: None,
            signature: None,
            description: json!({ "schema": 1, "capabilities": [{ "id": id }] }),
        }
    }

    #[test]
    fn it_is_read_back_as_it_was_written_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redress.lock");
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        let lock = Lock { schema: 1, components: vec![locked("b", "acme.b"), locked("a", "acme.a")] };
        lock.write(&path).unwrap();
        let read = Lock::read(&path).unwrap();
        assert_eq!(read.components.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read.find("acme.b").map(|one| one.name.as_str()), Some("b"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_that_cannot_be_understood_is_an_error_and_never_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redress.lock");
        let twice = Lock { schema: 1, components: vec![locked("a", "acme.a"), locked("a", "acme.b")] };
        let twice = serde_json::to_string(&twice).unwrap();
        for text in ["", "{", r#"{"schema":2,"components":[]}"#, r#"{"schema":1,"components":[],"x":1}"#, &twice] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Lock::read(&path), Err(InstallError::Usage { code: "bad-lock", .. })), "{text}");
        }
    }
}
