//! Where a journal lies: folders and files that only their owner can read, on a disk whose locks hold.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::error::on_file;

/// Filesystems by the number that `statfs` gives, on which another machine may hold the same file without our locks knowing.
const NETWORK: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
];

/// The folder of the journal at `path`.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Refuses a path where something lies that is no regular file: a folder, a device, a pipe; and a file that has a further name. What lies
/// beside a journal, its log and its owners, belongs to one name: under another it would be a second world.
pub(super) fn refuse_irregular(path: &Path) -> Result<(), JournalError> {
    let refused = |what: &str| Err(JournalError::NotAJournal { path: path.to_owned(), what: what.to_owned() });
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => refused("it is no regular file"),
        Ok(_) if path.is_symlink() => refused("it is a link: name the file that it leads to"),
        Ok(meta) if meta.nlink() > 1 => refused("the file has another name, too: give it one alone, or make a copy"),
        // What cannot be looked at is told by whoever opens it.
        _ => Ok(()),
    }
}

/// Makes a folder and those above it that are missing, for this user only. One that is there already stays as it is.
pub(super) fn make_folder(path: &Path) -> Result<(), JournalError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(on_file("make the folder", path))
}

/// Makes an empty file for this user only, with its name on disk, or leaves the one that is there.
pub(super) fn make_file(path: &Path) -> Result<(), JournalError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            let folder = folder(path);
            file.sync_all()
                .and_then(|()| fs::File::open(&folder)?.sync_all())
                .map_err(on_file("make the journal", path))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(on_file("make the journal", path)(error)),
    }
}

/// Takes the rights of others on a file away.
pub(super) fn close_to_others(path: &Path) -> Result<(), JournalError> {
    let mode = fs::metadata(path).map_err(on_file("look at", path))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700)).map_err(on_file("close to others the file", path))
}

/// Refuses a folder on a network filesystem.
pub(super) fn refuse_network(folder: &Path) -> Result<(), JournalError> {
    let found = rustix::fs::statfs(folder).map_err(|error| on_file("look at", folder)(error.into()))?;
    match network_kind(u64::try_from(found.f_type).unwrap_or(0)) {
        Some(kind) => Err(JournalError::Network { path: folder.to_owned(), kind }),
        None => Ok(()),
    }
}

fn network_kind(magic: u64) -> Option<&'static str> {
    NETWORK.iter().find(|(number, _)| *number == magic & 0xffff_ffff).map(|(_, kind)| *kind)
}

/// How many bytes are free for this user where `folder` is.
pub fn free_space(folder: &Path) -> Result<u64, JournalError> {
    let found = rustix::fs::statvfs(folder).map_err(|error| on_file("look at", folder)(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Refuses if less than `reserve` bytes are free.
pub(super) fn check_space(folder: &Path, reserve: u64) -> Result<(), JournalError> {
    let free = free_space(folder)?;
    if free >= reserve { Ok(()) } else { Err(JournalError::LowSpace { path: folder.to_owned(), free, reserve }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_known_by_their_number() {
        assert_eq!(network_kind(0x6969), Some("NFS"));
        assert_eq!(network_kind(0xffff_ffff_ff53_4d42), Some("CIFS"));
        assert_eq!(network_kind(0xef53), None);
        assert_eq!(refuse_network(Path::new("/")), Ok(()));
    }

    #[test]
    fn a_reserve_that_is_not_there_is_refused_with_both_numbers() {
        assert_eq!(check_space(Path::new("/"), 0), Ok(()));
        let error = check_space(Path::new("/"), u64::MAX).unwrap_err().to_string();
        assert!(error.contains(&u64::MAX.to_string()), "{error}");
    }

    #[test]
    fn a_bare_file_name_lies_in_the_working_directory() {
        assert_eq!(folder(Path::new("journal.db")), Path::new("."));
        assert_eq!(folder(Path::new("a/journal.db")), Path::new("a"));
    }
}
