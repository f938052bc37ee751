//! Owners: which process drives a run, and whether it lives.
//!
//! Each process that drives runs holds an exclusive lock of the operating system on a file of its own, for as long as it
//! lives. The system gives the lock up when the process ends, however it ends, and keeps it while the process is only
//! stopped. So whoever gets the lock of an owner's file knows that this owner is dead, without lease times and without clocks.
//!
//! A file gets its name only once it is locked, so a file that nobody locks belongs to nobody alive, and may be removed by
//! whoever gets its lock; an owner whose file is gone is dead. Ids are never used twice. Those who ask take a shared lock, so
//! that none of them takes another one for the owner: several may know that an owner is dead, and which of them gets a run is
//! decided by the run's epoch.

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
    _locked: Option<File>,
}

impl Drop for Guard {
    /// Removes the file, and then gives up the lock: a file that is gone says the same as one that nobody locks.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
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
        let unnamed = dir.join(format!(".{}", identity.id));
        let failed = on_file("lock the owner file", &unnamed);
        let path = dir.join(&identity.id);
        let file = lock_and_name(&unnamed, &path).map_err(failed)?;
        Ok(OwnerLock { identity, _file: Guard { path, _locked: Some(file) } })
    }

    /// Who this process is.
    pub fn identity(&self) -> &OwnerIdentity {
        &self.identity
    }
}

fn lock_and_name(unnamed: &Path, path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unnamed)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    writeln!(file, "{}", std::process::id())?;
    fs::rename(unnamed, path)?;
    Ok(file)
}

/// Whether this can be the name of an owner file: one that does not lead elsewhere.
pub(super) fn is_name(owner: &str) -> bool {
    !owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The guard of an owner that is dead; none if it lives.
pub fn try_lock_dead(dir: &Path, owner: &str) -> Result<Option<Guard>, JournalError> {
    let path = dir.join(owner);
    if !is_name(owner) {
        return Err(on_file("open the owner file", &path)(ErrorKind::InvalidInput.into()));
    }
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Guard { path, _locked: None })),
        other => other.map_err(on_file("open the owner file", &path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(Guard { path, _locked: Some(file) })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(on_file("lock the owner file", &path)(error.into())),
    }
}

/// Removes the files of owners that are dead. Files that are just being made, which begin with a dot, are left.
fn remove_stale(dir: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(dir).map_err(on_file("list", dir))? {
        let entry = entry.map_err(on_file("list", dir))?;
        match entry.file_name().to_str() {
            Some(name) if !name.starts_with('.') => drop(try_lock_dead(dir, name)?),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        fs::write(dir.path().join("dead"), "1\n").unwrap();
        let guards = [0; 3].map(|_| try_lock_dead(dir.path(), "dead").unwrap());
        assert!(guards.iter().all(Option::is_some));
        drop(guards);
        assert!(!dir.path().join("dead").exists());
        assert!(try_lock_dead(dir.path(), "dead").unwrap().is_some());
    }

    #[test]
    fn files_of_the_dead_are_removed_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let live = OwnerLock::acquire(dir.path()).unwrap();
        fs::write(dir.path().join("dead"), "1\n").unwrap();
        let next = OwnerLock::acquire(dir.path()).unwrap();
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [live.identity().id.clone(), next.identity().id.clone()]);
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
