//! Every file and directory of a component is opened here, so that no open waits for somebody else.
//!
//! A named pipe that is opened the usual way blocks until somebody opens its other end. The type of a name is looked at
//! before, yet another process can put a pipe there in between. So every open says that it does not wait, and what was opened
//! is looked at once more: only regular files and directories are handed on.

use std::fs::File;
use std::io;
use std::path::Path;

use cap_primitives::fs::{FollowSymlinks, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File as OpenFile};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::fs::GateFsView;
use super::observe::file_type;

/// What an open led to.
#[derive(Debug)]
enum Opened {
    File(File),
    Directory(File),
    /// A pipe, a socket, a device: closed again.
    Neither,
}

impl GateFsView<'_> {
    /// Opens `path` beneath `dir` and puts it into the guest's table; none if it is neither a regular file nor a directory.
    /// What may be opened how is decided as the library decides it.
    pub(super) fn open_beneath(
        &mut self,
        dir: &Dir,
        flags: PathFlags,
        path: &str,
        open: OpenFlags,
        how: DescriptorFlags,
    ) -> FsResult<Option<Resource<Descriptor>>> {
        let synced = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if how.intersects(synced) {
            return Err(ErrorCode::Unsupported.into());
        }
        let makes = open.intersects(OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE);
        if makes && open.contains(OpenFlags::DIRECTORY) {
            return Err(ErrorCode::Invalid.into());
        }
        let mode = mode(open, how);
        if dir.perms == FsPerms::ReadOnly && mode.contains(OpenMode::WRITE) {
            return Err(ErrorCode::NotPermitted.into());
        }
        let opened = match opened(&dir.dir, flags, path, open, mode)? {
            Opened::Directory(opened) => Descriptor::Dir(Dir::new(opened, dir.perms, mode, true)),
            Opened::File(opened) => Descriptor::File(OpenFile::new(opened, dir.perms, mode, true)),
            Opened::Neither => return Ok(None),
        };
        Ok(Some(self.fs.table.push(opened)?))
    }
}

/// What is asked for by the flags of an open. What is not written is read: the system wants one of both.
fn mode(open: OpenFlags, how: DescriptorFlags) -> OpenMode {
    let mut mode = OpenMode::empty();
    mode.set(OpenMode::READ, how.contains(DescriptorFlags::READ) || !how.contains(DescriptorFlags::WRITE));
    let writes = open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) || how.contains(DescriptorFlags::WRITE);
    mode.set(OpenMode::WRITE, writes);
    mode
}

fn opened(dir: &File, flags: PathFlags, path: &str, open: OpenFlags, mode: OpenMode) -> io::Result<Opened> {
    let mut own = OFlags::NONBLOCK;
    own.set(OFlags::DIRECTORY, open.contains(OpenFlags::DIRECTORY));
    let create = open.contains(OpenFlags::CREATE);
    let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
    let mut options = OpenOptions::new();
    options
        .read(mode.contains(OpenMode::READ))
        .write(mode.contains(OpenMode::WRITE))
        .create(create)
        .create_new(create && open.contains(OpenFlags::EXCLUSIVE))
        .truncate(open.contains(OpenFlags::TRUNCATE))
        ._cap_fs_ext_follow(if follow { FollowSymlinks::Yes } else { FollowSymlinks::No })
        .custom_flags(own.bits().cast_signed());
    let file = match cap_primitives::fs::open(dir, Path::new(path), &options) {
        // A pipe that nobody reads, a socket, or a device that is not there.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => return Ok(Opened::Neither),
        file => file?,
    };
    Ok(match file_type(&rustix::fs::fstat(&file)?) {
        FileType::RegularFile => Opened::File(file),
        FileType::Directory => Opened::Directory(file),
        _ => Opened::Neither,
    })
}

/// Opens the regular file at `path` beneath `dir` to be read; none if something else is there. A link on the way may lead on beneath
/// `dir`; one at its end, if the flags follow it.
pub(super) fn file_beneath(dir: &File, flags: PathFlags, path: &str) -> io::Result<Option<File>> {
    match opened(dir, flags, path, OpenFlags::empty(), OpenMode::READ)? {
        Opened::File(file) => Ok(Some(file)),
        Opened::Directory(_) | Opened::Neither => Ok(None),
    }
}

/// Opens the directory that is called `host` on the host; an error if something else is called so.
pub(super) fn directory(host: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let host = if host.is_empty() { "/" } else { host };
    Ok(File::from(rustix::fs::openat(CWD, host, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_open_waits_at_a_pipe_that_came_after_the_look() {
        let folder = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let dir = File::open(folder.path()).unwrap();
        let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
        for open in
            [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE, OpenFlags::CREATE | OpenFlags::TRUNCATE]
        {
            for how in [DescriptorFlags::empty(), read, write, read | write] {
                for flags in [PathFlags::empty(), PathFlags::SYMLINK_FOLLOW] {
                    let found = opened(&dir, flags, "pipe", open, mode(open, how)).unwrap();
                    assert!(matches!(found, Opened::Neither), "{open:?} {how:?}: {found:?}");
                }
            }
        }
        let found = opened(&dir, PathFlags::empty(), "pipe", OpenFlags::DIRECTORY, OpenMode::READ);
        assert_eq!(Errno::from_io_error(&found.unwrap_err()), Some(Errno::NOTDIR));
        assert!(directory(folder.path().join("pipe").to_str().unwrap()).is_err());
    }
}
