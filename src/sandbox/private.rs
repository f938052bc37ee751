//! A folder that only this user can reach into, and files in it that nobody else can have written.
//!
//! The folder is opened once for each look, and it is that handle that is judged and used: it must belong to this user and have
//! mode 0700. A file in it counts if it is a regular file and not a link, belongs to this user, and nobody else can write it.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};

/// What the name of a file has in it that is being written.
pub(super) const DRAFT: &str = ".tmp-";

/// A folder of this user alone.
#[derive(Clone, Debug)]
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// The folder at this path; it need not be there yet.
    pub fn new(path: PathBuf) -> PrivateFolder {
        PrivateFolder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The content of a file; an error says why it is not to be believed.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        // NONBLOCK: what lies there may be a pipe that nobody writes to.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(self.open()?, name, flags, Mode::empty())?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(refused("it is not a regular file"));
        }
        if meta.uid() != own_user() || meta.mode() & 0o022 != 0 {
            return Err(refused("it must belong to this user, and nobody else may write it"));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Puts a file in place, all of it or nothing. The folder is made if it is not there.
    pub fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let folder = self.open()?;
        let draft = format!("{name}{DRAFT}{}-{:?}", std::process::id(), std::thread::current().id());
        // A process that died may have had the same number.
        let _ = unlinkat(&folder, &draft, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&folder, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let written = parts.iter().try_for_each(|part| file.write_all(part));
        let placed = written.and_then(|()| Ok(renameat(&folder, &draft, &folder, name)?));
        if placed.is_err() {
            let _ = unlinkat(&folder, &draft, AtFlags::empty());
        }
        placed
    }

    /// Removes a file, if it can be.
    pub(super) fn remove(&self, name: &str) {
        if let Ok(folder) = self.open() {
            let _ = unlinkat(&folder, name, AtFlags::empty());
        }
    }

    /// The folder itself, if only this user can reach into it.
    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(openat(CWD, &self.0, flags, Mode::empty())?);
        let meta = folder.metadata()?;
        if meta.uid() == own_user() && meta.mode() & 0o077 == 0 {
            return Ok(folder);
        }
        Err(refused("the folder must belong to this user and have the mode 0700"))
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
