//! Owners: which process drives a run, and whether it lives.
//!
//! Each process that drives runs holds an exclusive lock of the operating system on a file of its own, for as long as it
//! lives. The system gives the lock up when the process ends, however it ends, and keeps it while the process is only
//! stopped. So whoever gets the lock of an owner's file knows that this owner is dead, without lease times and without clocks.
//!
//! A file gets its name only once it is locked, so a file that nobody locks belongs to nobody alive, and may be removed by
//! whoever gets its lock; an owner whose file is gone is dead. A file that has no name yet begins with a dot and is removed in the
//! same way; if its maker lives after all, it finds its file gone or locked, and makes another one. Ids are never used twice.
//! Only what was made here is ever removed: a regular file with a UUID of version 7 for its name and nothing in it but the number
//! of a process. Whatever else lies in the folder is somebody's, and is left alone.
//!
//! Those who ask take a shared lock, so that none of them takes another one for the owner: several may know that an owner is
//! dead, and which of them gets a run is decided by the run's epoch.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::JournalError;
use super::error::on_file;
use crate::saga::event::UNKNOWN_BOOT;

/// Who a process is, as `OWNER` events say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerIdentity {
    /// A UUID of version 7; the name of its owner file.
    pub id: String,
    /// The boot id of the machine, or `unknown` where the system does not tell.
    pub boot: String,
}

/// This process's claim to be alive. Once it is dropped, or when the process ends, its runs may be taken over.
#[derive(Debug)]
pub struct OwnerLock {
    identity: OwnerIdentity,
    _file: Guard,
}

/// The proof that an owner is dead.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    /// None if the file was gone.
    locked: Option<File>,
}

impl Drop for Guard {
    /// Removes the file, and then gives up the lock: a file that is gone says the same as one that nobody locks.
    fn drop(&mut self) {
        if self.locked.is_some() && is_made_here(&self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl OwnerLock {
    /// Makes and locks an owner file in `dir`, and removes those of the dead.
    pub fn acquire(dir: &Path) -> Result<OwnerLock, JournalError> {
        remove_stale(dir)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let identity = OwnerIdentity {
            id: uuid::Uuid::now_v7().to_string(),
            boot: boot.map_or_else(|_| UNKNOWN_BOOT.to_owned(), |boot| boot.trim().to_owned()),
        };
        let path = dir.join(&identity.id);
        let file = lock_and_name(dir, &path).map_err(on_file("lock the owner file", &path))?;
        Ok(OwnerLock { identity, _file: Guard { path, locked: Some(file) } })
    }

    /// Who this process is.
    pub fn identity(&self) -> &OwnerIdentity {
        &self.identity
    }
}

fn lock_and_name(dir: &Path, path: &Path) -> std::io::Result<File> {
    loop {
        let unnamed = dir.join(format!(".{}", uuid::Uuid::now_v7()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        let named =
            flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(std::io::Error::from).and_then(|()| {
                writeln!(file, "{}", std::process::id())?;
                fs::rename(&unnamed, path)
            });
        match named {
            Ok(()) => return Ok(file),
            // Somebody took it for a dead process's before it was locked.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether this can be the name of an owner file: one that does not lead elsewhere.
pub(super) fn is_name(owner: &str) -> bool {
    !owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether any process holds an owner file in `dir`.
pub(super) fn any_lives(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_made_here(path))
        .any(|path| matches!(guard(path), Ok(None)))
}

/// The guard of an owner that is dead; none if it lives.
pub fn try_lock_dead(dir: &Path, owner: &str) -> Result<Option<Guard>, JournalError> {
    let path = dir.join(owner);
    if !is_name(owner) {
        return Err(on_file("open the owner file", &path)(ErrorKind::InvalidInput.into()));
    }
    guard(path)
}

/// The guard of a file that nobody alive holds.
fn guard(path: PathBuf) -> Result<Option<Guard>, JournalError> {
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Guard { path, locked: None })),
        other => other.map_err(on_file("open the owner file", &path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(Guard { path, locked: Some(file) })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(on_file("lock the owner file", &path)(error.into())),
    }
}

/// The longest content of an owner file: the number of a process, and a line break.
const MAX_CONTENT: u64 = 20;

/// Whether a file has a name and a content that only this module gives; one that has not got its name yet may be empty.
fn is_made_here(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let is_id = |id: &str| uuid::Uuid::try_parse(id).is_ok_and(|it| it.get_version_num() == 7 && it.to_string() == id);
    // What is no regular file is not even opened: it may be a pipe that nobody writes to.
    let may_be = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_CONTENT);
    if !may_be || !name.is_some_and(|name| is_id(name.strip_prefix('.').unwrap_or(name))) {
        return false;
    }
    let content = fs::read(path).unwrap_or_else(|_| b"unreadable".to_vec());
    content.strip_suffix(b"\n").unwrap_or(&content).iter().all(u8::is_ascii_digit)
}

/// Removes the files of processes that are dead, also those that never got their names. What cannot be opened stays.
fn remove_stale(dir: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(dir).map_err(on_file("list", dir))? {
        let path = entry.map_err(on_file("list", dir))?.path();
        if is_made_here(&path) {
            drop(guard(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: &str = "01920000-0000-7000-8000-00000000000a";

    #[test]
    fn a_live_owner_is_never_dead_and_a_dead_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let owner = OwnerLock::acquire(dir.path()).unwrap();
        let id = owner.identity().id.clone();
        assert!(try_lock_dead(dir.path(), &id).unwrap().is_none());
        let other = OwnerLock::acquire(dir.path()).unwrap();
        assert!(try_lock_dead(dir.path(), &id).unwrap().is_none());
        assert_ne!(other.identity().id, id);
        assert_eq!(other.identity().boot, owner.identity().boot);
        drop(owner);
        assert!(try_lock_dead(dir.path(), &id).unwrap().is_some());
        assert!(try_lock_dead(dir.path(), &other.identity().id).unwrap().is_none());
    }

    #[test]
    fn whoever_asks_about_a_dead_owner_is_never_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DEAD), "1\n").unwrap();
        let guards = [0; 3].map(|_| try_lock_dead(dir.path(), DEAD).unwrap());
        assert!(guards.iter().all(Option::is_some));
        drop(guards);
        assert!(!dir.path().join(DEAD).exists());
        assert!(try_lock_dead(dir.path(), DEAD).unwrap().is_some());
    }

    #[test]
    fn files_of_the_dead_are_removed_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let live = OwnerLock::acquire(dir.path()).unwrap();
        fs::write(dir.path().join(DEAD), "1\n").unwrap();
        fs::write(dir.path().join(format!(".{DEAD}")), "").unwrap();
        let next = OwnerLock::acquire(dir.path()).unwrap();
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [live.identity().id.clone(), next.identity().id.clone()]);
    }

    #[test]
    fn what_was_not_made_here_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, simple) = (DEAD.to_uppercase(), DEAD.replace('-', ""));
        let version_4 = "01920000-0000-4000-8000-00000000000a";
        for name in ["team", "team.txt", ".hidden", "1", &upper, &simple, version_4, &format!("{DEAD}.bak")] {
            fs::write(dir.path().join(name), "1\n").unwrap();
        }
        let id = |last: u32| format!("01920000-0000-7000-8000-{last:012}");
        fs::write(dir.path().join(id(1)), "a list of the team\n").unwrap();
        fs::write(dir.path().join(id(2)), "1\n2\n").unwrap();
        fs::create_dir(dir.path().join(id(3))).unwrap();
        std::os::unix::fs::symlink(dir.path().join("1"), dir.path().join(id(4))).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join(id(5))).unwrap();
        let before = fs::read_dir(dir.path()).unwrap().count();
        drop(OwnerLock::acquire(dir.path()).unwrap());
        // Nor is it removed if a journal names it as an owner.
        for owner in ["team".to_owned(), id(1), id(2), id(3), id(4), id(5)] {
            assert!(try_lock_dead(dir.path(), &owner).unwrap().is_some(), "{owner}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
        assert_eq!(before, 13);
    }

    #[test]
    fn many_who_begin_and_clean_up_at_once_all_get_their_locks() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let owner = OwnerLock::acquire(dir.path()).unwrap();
                        assert!(try_lock_dead(dir.path(), &owner.identity().id).unwrap().is_none());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "").unwrap();
        fs::create_dir(dir.path().join("owners")).unwrap();
        assert!(try_lock_dead(&dir.path().join("owners"), "../outside").is_err());
        assert!(outside.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = OwnerLock::acquire(Path::new("/nonexistent/owners")).unwrap_err().to_string();
        assert!(error.contains("`/nonexistent/owners`"), "{error}");
    }
}
