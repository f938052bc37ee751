//! Compiled code, kept between starts.
//!
//! Compiled code is not sandboxed: whoever can put a file here could run anything. So an entry is believed only if all of this
//! holds, in this order; otherwise it is ignored and made anew.
//!
//! 1. It lies in a folder of this user alone and is a file that nobody else can have written (`private`).
//! 2. It begins with its seal: the SHA-256 over the digest of the component, a hash of everything in the engine that code
//!    depends on, and the code. Both also make its name. So an entry that was cut off, changed, or put under the name of
//!    another component or another engine does not have the right seal.
//!
//! Code that comes from anywhere else is never loaded. Entries of other engines are left alone while somebody uses them: two
//! versions of the host may share a folder. What nobody has read or written for [`UNUSED`], of this engine or another, is removed
//! when an entry is added.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::private::{DRAFT, PrivateFolder};
use crate::types::Digest;

/// Changes whenever the form of an entry does.
const MAGIC: &[u8; 16] = b"redress code 2\n\n";
/// The end of an entry's name.
const ENDING: &str = ".code";
/// How long an entry is kept after it was last read or written.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

pub(super) struct Cache {
    folder: PrivateFolder,
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
        Cache { folder: PrivateFolder::new(dir), compatibility: Digest(hasher.0.finalize().into()) }
    }

    fn entry(&self, component: &Digest) -> String {
        format!("{}-{}{ENDING}", component.hex(), self.compatibility.hex())
    }

    /// What an entry begins with: no other component, engine or code has the same.
    fn seal(&self, component: &Digest, code: &[u8]) -> [u8; 32] {
        let parts = [MAGIC.as_slice(), &component.0, &self.compatibility.0, code];
        parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize().into()
    }

    /// The code of the component, if a sound entry is there.
    pub(super) fn load(&self, engine: &Engine, component: &Digest) -> Option<Component> {
        let name = self.entry(component);
        let anew = |why: &dyn std::fmt::Display| {
            tracing::warn!("compiled code `{name}` in `{}` is made anew: {why}", self.folder.path().display());
        };
        let entry = match self.folder.read(&name) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                anew(&error);
                return None;
            }
        };
        let sealed = entry.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<32>());
        let Some((_, code)) = sealed.filter(|(seal, code)| self.seal(component, code) == **seal) else {
            anew(&"it is damaged, or belongs to something else");
            return None;
        };
        deserialize(engine, code).inspect_err(|error| anew(error)).ok()
    }

    /// Keeps the code; a failure costs time at the next start and nothing else.
    pub(super) fn store(&self, component: &Digest, code: &Component) {
        let name = self.entry(component);
        let kept = code
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.folder.write(&name, &[MAGIC.as_slice(), &self.seal(component, &code), &code]));
        match kept {
            Ok(()) => self.clean_up(),
            Err(error) => {
                tracing::warn!("compiled code cannot be kept in `{}`: {error}", self.folder.path().display());
            }
        }
    }

    /// Removes entries that nobody has used for long. What cannot be looked at or removed stays, and so does what is no entry.
    fn clean_up(&self) {
        let now = SystemTime::now();
        for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let used = |meta: std::fs::Metadata| meta.modified().into_iter().chain(meta.accessed()).max();
            let last = entry.metadata().ok().filter(std::fs::Metadata::is_file).and_then(used);
            let unused = last.and_then(|last| now.duration_since(last).ok()).is_some_and(|age| age > UNUSED);
            if is_entry(name) && unused {
                self.folder.remove(name);
            }
        }
    }
}

/// Whether a file has the name of an entry, of this engine or another, or of the draft of one.
fn is_entry(name: &str) -> bool {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let (stem, rest) = name.split_once(ENDING).unwrap_or((name, "no entry"));
    (rest.is_empty() || rest.starts_with(DRAFT)) && stem.split_once('-').is_some_and(|(a, b)| hex(a) && hex(b))
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that `serialize` made. These stood in a folder that nobody but this user can reach
    // into, in a file of this user that nobody else can write (`PrivateFolder::read`), under a seal over this very component,
    // this very engine configuration and these very bytes (`Cache::load`); no bytes from any other source come here.
    unsafe { Component::deserialize(engine, code) }
}
