//! The bytes of what is installed, kept by digest.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::lock::write_whole;
use super::{InstallError, Locked};
use crate::types::{Digest, sha256};

/// An argument as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b':' | b'.' | b'_' | b'-' | b'@' | b'+');
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Held by whoever installs or removes something.
#[derive(Debug)]
pub struct Alone(#[allow(dead_code, reason = "the lock goes with the file")] fs::File);

fn private_folder(folder: &Path) -> Result<(), InstallError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(InstallError::io(folder))
}

/// The bytes of what is installed, by digest.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// In this folder, which is made when something is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Store {
        Store { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until nobody else installs or removes anything here, and keeps others out until it is dropped.
    pub fn alone(&self) -> Result<Alone, InstallError> {
        let folder = self.folder.parent().unwrap_or(&self.folder);
        private_folder(folder)?;
        let path = folder.join("install.lock");
        let open = || {
            let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        };
        open().map(Alone).map_err(InstallError::io(&path))
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        let text = digest.to_string();
        self.folder.join(format!("{}.wasm", text.strip_prefix("sha256:").unwrap_or(&text)))
    }

    /// Keeps bytes; returns when they last.
    pub fn keep(&self, bytes: &[u8]) -> Result<Digest, InstallError> {
        let digest = sha256(bytes);
        let file = self.file(&digest);
        if fs::read(&file).is_ok_and(|found| found == bytes) {
            return Ok(digest);
        }
        private_folder(&self.folder)?;
        write_whole(&file, bytes)?;
        Ok(digest)
    }

    /// The bytes of an installed component, which are those that were installed.
    pub fn get(&self, locked: &Locked) -> Result<Bytes, InstallError> {
        let file = self.file(&locked.digest);
        let (name, source, shown) = (&locked.name, &locked.source, file.display());
        let again = format!("install it again: redress capability add {}", quoted(source));
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = format!("the bytes of `{name}` are not there: `{shown}`");
                return Err(InstallError::usage("not-installed", message, again));
            }
            Err(error) => return Err(InstallError::io(&file)(error)),
        };
        let found = sha256(&bytes);
        if found != locked.digest {
            let message =
                format!("`{shown}` was changed: `{name}` is locked to {}, and the file has {found}", locked.digest);
            return Err(InstallError::usage("changed-component", message, again));
        }
        Ok(Bytes::from(bytes))
    }

    /// Forgets bytes that nothing is installed by any more; runs keep theirs in the journal.
    pub fn forget(&self, digest: &Digest) -> Result<(), InstallError> {
        let file = self.file(digest);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(InstallError::io(&file)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
