//! Compiled code, kept between starts.
//!
//! An entry is named by the digest of the component's bytes and a hash of everything in the engine that code depends on.
//! It begins with the SHA-256 of the code, which is checked before the code is believed: an entry that was cut off or
//! changed is ignored and made anew. The folder is private to the user and is not used if it is not: whoever can write there
//! could run any code, since compiled code is not sandboxed. Code that comes from anywhere else is never loaded.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::types::{Digest, sha256};

const MAGIC: &[u8; 16] = b"redress code 1\n\n";

pub(super) struct Cache {
    dir: PathBuf,
    compatibility: Digest,
}

/// Feeds what is hashed into SHA-256.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl Cache {
    pub(super) fn new(dir: PathBuf, engine: &Engine) -> Cache {
        let mut hasher = Sha(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Cache { dir, compatibility: Digest(hasher.0.finalize().into()) }
    }

    fn entry(&self, component: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.code", component.hex(), self.compatibility.short()))
    }

    /// The code of the component, if a sound entry is there.
    pub(super) fn load(&self, engine: &Engine, component: &Digest) -> Option<Component> {
        private(&self.dir).ok()?;
        let path = self.entry(component);
        let code = match read(&path) {
            Ok(code) => code?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("compiled code in `{}` cannot be read and is made anew: {error}", path.display());
                return None;
            }
        };
        deserialize(engine, &code)
            .inspect_err(|error| tracing::warn!("compiled code in `{}` is made anew: {error:#}", path.display()))
            .ok()
    }

    /// Keeps the code; a failure costs time at the next start and nothing else.
    pub(super) fn store(&self, component: &Digest, code: &Component) {
        let path = self.entry(component);
        let kept = code.serialize().map_err(io::Error::other).and_then(|code| self.write(&path, &code));
        if let Err(error) = kept {
            tracing::warn!("compiled code cannot be kept in `{}`: {error}", path.display());
        }
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        private(&self.dir)?;
        let unique = format!("tmp-{}-{:?}", std::process::id(), std::thread::current().id());
        let draft = path.with_extension(unique);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(MAGIC)?;
        file.write_all(&sha256(code).0)?;
        file.write_all(code)?;
        drop(file);
        fs::rename(&draft, path)
    }
}

/// Whether only this user can write in `dir`.
fn private(dir: &Path) -> io::Result<()> {
    let meta = fs::metadata(dir)?;
    let own = meta.uid() == rustix::process::geteuid().as_raw();
    if own && meta.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("`{}` is not used for compiled code: it must belong to this user with mode 0700", dir.display());
    tracing::warn!("{why}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// The code in an entry; none if its header does not fit it.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = fs::File::open(path)?;
    let mut magic = [0; 16];
    let mut digest = [0; 32];
    let mut code = Vec::new();
    let header = file.read_exact(&mut magic).and_then(|()| file.read_exact(&mut digest));
    if header.is_ok() && magic == *MAGIC {
        file.read_to_end(&mut code)?;
        if sha256(&code) == Digest(digest) {
            return Ok(Some(code));
        }
    }
    tracing::warn!("compiled code in `{}` is damaged and is made anew", path.display());
    Ok(None)
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that `serialize` made. These stood in a folder that belongs to this user and
    // that nobody else can write to (`private`), under the hash of this very engine configuration, and they have the digest
    // that was written with them (`read`); no bytes from any other source come here.
    unsafe { Component::deserialize(engine, code) }
}
