//! Compiled code, kept between starts.
//!
//! Compiled code is not sandboxed: whoever can put a file here could run anything. So an entry is believed only if all of this
//! holds, in this order; otherwise it is ignored and made anew.
//!
//! 1. The folder belongs to this user, and nobody else can reach into it (mode 0700). It is opened once for each look, and
//!    entries are opened below that handle.
//! 2. The entry is a regular file and not a link, belongs to this user, and nobody else can write it.
//! 3. It begins with its seal: the SHA-256 over the digest of the component, a hash of everything in the engine that code
//!    depends on, and the code. Both also make its name. So an entry that was cut off, changed, or put under the name of
//!    another component or another engine does not have the right seal.
//!
//! Code that comes from anywhere else is never loaded. Entries of other engines are left alone while somebody uses them: two
//! versions of the host may share a folder. What nobody has read for [`UNUSED`] is removed when an entry is added.

use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::types::Digest;

/// Changes whenever the form of an entry does.
const MAGIC: &[u8; 16] = b"redress code 2\n\n";
/// The end of an entry's name.
const ENDING: &str = ".code";
/// What the name of an entry has in it that is being written.
const DRAFT: &str = ".code.tmp-";
/// How long an entry of another engine is kept after it was last read or written.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

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
        let code = match self.folder().and_then(|folder| self.read(&folder, &name, component)) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("compiled code `{name}` in `{}` is made anew: {error}", self.dir.display());
                return None;
            }
        };
        deserialize(engine, &code)
            .inspect_err(|error| tracing::warn!("compiled code `{name}` is made anew: {error:#}"))
            .ok()
    }

    /// Keeps the code; a failure costs time at the next start and nothing else.
    pub(super) fn store(&self, component: &Digest, code: &Component) {
        let kept = code.serialize().map_err(io::Error::other).and_then(|code| self.write(component, &code));
        if let Err(error) = kept {
            tracing::warn!("compiled code cannot be kept in `{}`: {error}", self.dir.display());
        }
    }

    /// The folder, if only this user can reach into it.
    fn folder(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(openat(CWD, &self.dir, flags, Mode::empty())?);
        let meta = folder.metadata()?;
        if meta.uid() == own_user() && meta.mode() & 0o077 == 0 {
            return Ok(folder);
        }
        Err(refused("the folder must belong to this user and have the mode 0700"))
    }

    /// The code in an entry that is to be believed.
    fn read(&self, folder: &File, name: &str, component: &Digest) -> io::Result<Vec<u8>> {
        // NONBLOCK: what lies there may be a pipe that nobody writes to.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(folder, name, flags, Mode::empty())?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(refused("it is not a regular file"));
        }
        if meta.uid() != own_user() || meta.mode() & 0o022 != 0 {
            return Err(refused("it must belong to this user, and nobody else may write it"));
        }
        let mut magic = [0; MAGIC.len()];
        let mut seal = [0; 32];
        let mut code = Vec::new();
        let header = file.read_exact(&mut magic).and_then(|()| file.read_exact(&mut seal));
        if header.is_ok() && magic == *MAGIC {
            file.read_to_end(&mut code)?;
            if self.seal(component, &code) == seal {
                return Ok(code);
            }
        }
        Err(refused("it is damaged, or belongs to something else"))
    }

    fn write(&self, component: &Digest, code: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let folder = self.folder()?;
        let name = self.entry(component);
        let draft = format!("{}{DRAFT}{}-{:?}", component.hex(), std::process::id(), std::thread::current().id());
        // A process that died may have had the same number.
        let _ = unlinkat(&folder, &draft, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&folder, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let whole = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&self.seal(component, code)))
            .and_then(|()| file.write_all(code))
            .and_then(|()| Ok(renameat(&folder, &draft, &folder, &name)?));
        if whole.is_err() {
            let _ = unlinkat(&folder, &draft, AtFlags::empty());
            return whole;
        }
        self.clean_up(&folder);
        Ok(())
    }

    /// Removes what other engines left and nobody has used for long. What cannot be looked at or removed stays.
    fn clean_up(&self, folder: &File) {
        let now = SystemTime::now();
        let ours = format!("-{}{ENDING}", self.compatibility.hex());
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_other = (name.ends_with(ENDING) && !name.ends_with(&ours)) || name.contains(DRAFT);
            let used = |meta: std::fs::Metadata| meta.modified().into_iter().chain(meta.accessed()).max();
            let last = entry.metadata().ok().and_then(used);
            let unused = last.and_then(|last| now.duration_since(last).ok()).is_some_and(|age| age > UNUSED);
            if is_other && unused {
                let _ = unlinkat(folder, name, AtFlags::empty());
            }
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that `serialize` made. These stood in a folder that nobody but this user can reach
    // into (`Cache::folder`), in a file of this user that nobody else can write, under a seal over this very component, this
    // very engine configuration and these very bytes (`Cache::read`); no bytes from any other source come here.
    unsafe { Component::deserialize(engine, code) }
}
