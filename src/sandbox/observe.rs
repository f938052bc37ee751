//! States of targets on disk: what stands in INTENT and RESULT, and what an undo is compared with.
//!
//! A regular file of up to 64 MiB is its length and digest; a larger one its length, modification time and inode. A
//! directory is its existence; one that was moved also its device and inode. A link is its text. Anything else, and
//! anything that cannot be read, is `unknown` with the reason: it never equals another state by accident, since the
//! reason is part of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::types::{Digest, TargetState};

const DIGEST_UP_TO: u64 = 64 << 20;

/// The state of `host_path` now. Never follows a link in the last segment and never blocks on a pipe.
pub fn observe(host_path: impl AsRef<Path>) -> TargetState {
    observe_at(CWD, host_path.as_ref(), false)
}

/// The state of `host_path` now, in the same detail as `recorded`, so that the two can be compared with `==`.
pub fn observe_like(host_path: impl AsRef<Path>, recorded: &TargetState) -> TargetState {
    let moved = matches!(recorded, TargetState::Directory { inode: Some(_), .. });
    observe_at(CWD, host_path.as_ref(), moved)
}

/// The state of `name` in `dir`; a directory with its identity if it is to be `moved`.
pub(super) fn observe_at(dir: impl AsFd, name: &Path, moved: bool) -> TargetState {
    look(dir.as_fd(), name, moved).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => TargetState::Absent,
        _ => TargetState::Unknown { error: error.to_string() },
    })
}

/// What stands under `name` in `dir`, links not followed; none if nothing does.
pub(super) fn stat_at(dir: impl AsFd, name: &str) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn look(dir: std::os::fd::BorrowedFd<'_>, name: &Path, moved: bool) -> io::Result<TargetState> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match file_type(&stat) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            file_state(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
        }
        FileType::Directory => Ok(TargetState::Directory {
            device: moved.then(|| stat.st_dev.to_string()),
            inode: moved.then(|| stat.st_ino.to_string()),
        }),
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(dir, name, Vec::new())?;
            Ok(TargetState::Link { to: text.to_string_lossy().into_owned() })
        }
        other => Ok(neither(other)),
    }
}

fn neither(kind: FileType) -> TargetState {
    TargetState::Unknown { error: format!("neither file, directory nor link: {kind:?}") }
}

fn file_state(mut file: File) -> io::Result<TargetState> {
    let stat = rustix::fs::fstat(&file)?;
    // Something else may have come to stand there after the look at it.
    if file_type(&stat) != FileType::RegularFile {
        return Ok(neither(file_type(&stat)));
    }
    let len = u64::try_from(stat.st_size).unwrap_or_default();
    if len > DIGEST_UP_TO {
        let mtime = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        return Ok(TargetState::File {
            len,
            sha256: None,
            mtime_ns: Some(mtime.to_string()),
            inode: Some(stat.st_ino.to_string()),
        });
    }
    let mut hasher = Sha256::new();
    let mut buffer = [0; 64 << 10];
    let mut total = 0;
    loop {
        let n = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if n == 0 {
            break;
        }
        total += n as u64;
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
    let sha256 = Some(Digest(hasher.finalize().into()));
    Ok(TargetState::File { len: total, sha256, mtime_ns: None, inode: None })
}

/// Makes what a run left at these host paths durable: each file and directory that exists, and the directory it is in.
/// What is absent is durable once its directory is.
pub fn sync_paths<P: AsRef<Path>>(paths: &[P]) -> io::Result<()> {
    let mut dirs = std::collections::BTreeSet::new();
    for path in paths.iter().map(AsRef::as_ref) {
        if let Some(file) = open_for_sync(path)? {
            rustix::fs::fsync(file)?;
        }
        // The nearest directory above that still exists holds the entry that was removed.
        dirs.extend(path.ancestors().skip(1).find(|dir| dir.is_dir()).map(Path::to_owned));
    }
    for dir in dirs {
        if let Some(dir) = open_for_sync(&dir)? {
            rustix::fs::fsync(dir)?;
        }
    }
    Ok(())
}

fn open_for_sync(path: &Path) -> io::Result<Option<OwnedFd>> {
    match stat_type(path)? {
        Some(FileType::RegularFile | FileType::Directory) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(fd) => Ok(Some(fd)),
                Err(Errno::NOENT) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        _ => Ok(None),
    }
}

fn stat_type(path: &Path) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(file_type(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;

    #[test]
    fn a_file_is_its_length_and_digest_and_a_large_one_its_time_and_inode() {
        let dir = tempfile::tempdir().unwrap();
        let small = dir.path().join("small");
        std::fs::write(&small, "abc").unwrap();
        assert_eq!(
            observe(&small),
            TargetState::File { len: 3, sha256: Some(sha256(b"abc")), mtime_ns: None, inode: None }
        );
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(DIGEST_UP_TO + 1).unwrap();
        let TargetState::File { sha256: None, mtime_ns: Some(_), inode: Some(_), .. } = observe(&large) else {
            panic!("{:?}", observe(&large))
        };
    }

    #[test]
    fn links_are_not_followed_and_what_is_missing_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("l")).unwrap();
        assert_eq!(observe(dir.path().join("l")), TargetState::Link { to: "/etc/passwd".into() });
        assert_eq!(observe(dir.path().join("none/below")), TargetState::Absent);
    }

    #[test]
    fn a_directory_that_moved_is_compared_by_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("d");
        std::fs::create_dir(&at).unwrap();
        let recorded = observe_at(CWD, &at, true);
        assert_eq!(observe_like(&at, &recorded), recorded);
        assert_eq!(observe(&at), TargetState::Directory { device: None, inode: None });
        std::fs::rename(&at, dir.path().join("e")).unwrap();
        std::fs::create_dir(&at).unwrap();
        assert_ne!(observe_like(&at, &recorded), recorded);
    }

    #[test]
    fn syncing_tolerates_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        sync_paths(&[dir.path().join("a"), dir.path().join("gone/deeper")]).unwrap();
    }
}
