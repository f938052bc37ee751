//! Names of targets. A name that a component gives is not trusted: the directory it lies in is opened beneath the granted
//! one, the system is asked what that directory is called, and the effect is carried out on that very handle with a name
//! of one segment. So check and effect see the same place, and a record never holds the name of a link.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::attempt::{Refusal, Stopped};
use super::fs::GateFsView;
use super::limits::leaves_room;
use super::observe::{file_type, stat_at};
use crate::types::below;
use crate::types::{Failure, Target, code};

const LINK_HOPS: usize = 16;

/// One place on disk: an open directory, a name of one segment in it, and what both together are called.
pub(super) struct At {
    pub(super) dir: Dir,
    pub(super) name: String,
    /// The resolved absolute path on the host.
    pub(super) host: String,
    /// The path as the component sees it.
    pub(super) guest: String,
    /// What stands there; none if nothing does.
    pub(super) stat: Option<Stat>,
    /// Whether the name was given with a slash at its end.
    pub(super) slash: bool,
}

impl At {
    pub(super) fn target(&self) -> Target {
        Target::File { host: self.host.clone(), guest: self.guest.clone() }
    }

    pub(super) fn file_type(&self) -> Option<FileType> {
        self.stat.as_ref().map(file_type)
    }

    /// The resolved path of the directory that it lies in.
    pub(super) fn parent(&self) -> &str {
        self.host.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

/// What the system calls an open file or directory; none if it has no name any more, or none that is UTF-8.
pub(super) fn name_of(file: &File) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let name = link.into_os_string().into_string().ok()?;
    (name.starts_with('/') && !name.ends_with(" (deleted)")).then_some(name)
}

impl From<Refusal> for FsError {
    fn from(refusal: Refusal) -> FsError {
        match refusal {
            Refusal::NotPermitted => ErrorCode::NotPermitted.into(),
            Refusal::Stopped => FsError::trap(Stopped),
        }
    }
}

impl GateFsView<'_> {
    /// The directory behind a handle.
    pub(super) fn dir(&mut self, fd: &Resource<Descriptor>) -> FsResult<Dir> {
        match self.fs.table.get(fd)? {
            Descriptor::Dir(dir) => Ok(dir.clone()),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    /// The place that an effect names. Links in the last segment are followed if `follow` says so.
    pub(super) async fn locate(&mut self, fd: &Resource<Descriptor>, path: &str, follow: bool) -> FsResult<At> {
        let base = self.dir(fd)?;
        if path.starts_with('/') || path.split('/').any(|segment| segment == "..") {
            return Err(self.leads_out(&base, path));
        }
        let slash = path.ends_with('/');
        let mut path = path.to_owned();
        for _ in 0..LINK_HOPS {
            let trimmed = path.trim_end_matches('/');
            let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
            if matches!(name, "" | "." | "..") {
                return Err(ErrorCode::IsDirectory.into());
            }
            let dir = self.directory(&base, parent, &path)?;
            let at = self.place(dir, name, slash)?;
            if !(follow && at.file_type() == Some(FileType::Symlink)) {
                return Ok(at);
            }
            let text = rustix::fs::readlinkat(&at.dir.dir, name, Vec::new()).map_err(std::io::Error::from)?;
            let text = text.into_string().map_err(|_| ErrorCode::IllegalByteSequence)?;
            let root = name_of(&base.dir).ok_or(ErrorCode::NoEntry)?;
            let inside = below(at.parent(), &root).map(str::to_owned);
            let (false, Some(inside)) = (text.starts_with('/'), inside) else {
                return Err(self.leads_out(&base, &path));
            };
            path = if inside.is_empty() { text } else { format!("{inside}/{text}") };
        }
        Err(ErrorCode::Loop.into())
    }

    /// What an already open file is called now; none if its name is gone.
    pub(super) fn place_of(&mut self, file: &File) -> FsResult<Option<At>> {
        let Some(host) = name_of(file) else { return Ok(None) };
        let Some((parent, name)) = host.rsplit_once('/') else { return Ok(None) };
        let dir = Dir::new(
            super::open::directory(parent)?,
            wasmtime_wasi::FsPerms::ReadOnly,
            wasmtime_wasi::OpenMode::READ,
            true,
        );
        self.place(dir, name, false).map(Some)
    }

    fn place(&self, dir: Dir, name: &str, slash: bool) -> FsResult<At> {
        let parent = name_of(&dir.dir).ok_or(ErrorCode::NoEntry)?;
        let host = format!("{}/{name}", parent.trim_end_matches('/'));
        let guest = self.gate.attempt.roots.guest_name(&host).unwrap_or_else(|| host.clone());
        let stat = stat_at(&dir.dir, name)?;
        Ok(At { dir, name: name.to_owned(), host, guest, stat, slash })
    }

    fn directory(&mut self, base: &Dir, parent: &str, path: &str) -> FsResult<Dir> {
        if parent.is_empty() {
            return Ok(base.clone());
        }
        match self.directory_beneath(base, PathFlags::SYMLINK_FOLLOW, parent) {
            Ok(dir) => Ok(dir),
            Err(error) if matches!(error.downcast_ref(), Some(ErrorCode::NotPermitted)) => {
                Err(self.leads_out(base, path))
            }
            Err(error) => Err(error),
        }
    }

    /// The directory `path` beneath `base`.
    pub(super) fn directory_beneath(&mut self, base: &Dir, flags: PathFlags, path: &str) -> FsResult<Dir> {
        let opened = self.open_beneath(base, flags, path, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
        let Some(opened) = opened else { return Err(ErrorCode::NotDirectory.into()) };
        match self.fs.table.delete(opened)? {
            Descriptor::Dir(dir) => Ok(dir),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn leads_out(&self, base: &Dir, path: &str) -> FsError {
        let from = name_of(&base.dir).and_then(|host| self.gate.attempt.roots.guest_name(&host));
        let message = format!("`{path}` leads out of `{}`", from.as_deref().unwrap_or("the granted directory"));
        self.gate.attempt.note_refusal(Failure::new(code::NOT_GRANTED, message)).into()
    }

    /// Puts a directory into the guest's table for one call of the library.
    pub(super) fn lend(&mut self, dir: &Dir) -> FsResult<Lent> {
        Ok(Lent(self.fs.table.push(Descriptor::Dir(dir.clone()))?))
    }

    pub(super) fn take_back(&mut self, lent: Lent) -> FsResult<()> {
        self.fs.table.delete(lent.0)?;
        Ok(())
    }

    pub(super) fn handed_out(&mut self, fd: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        let file = match self.fs.table.get(fd)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(dir) => Arc::clone(&dir.dir),
        };
        self.gate.attempt.handed_out(&file);
        if !leaves_room(&*file) {
            self.fs.table.delete(Resource::<Descriptor>::new_own(fd.rep()))?;
            let message = "the host keeps its last descriptors for itself: too many files are open at the moment";
            self.gate.attempt.note_hint(Failure::new(code::LIMIT, message));
            return Err(ErrorCode::Quota.into());
        }
        Ok(file)
    }
}

/// A directory in the guest's table that the guest does not know of.
pub(super) struct Lent(Resource<Descriptor>);

impl Lent {
    pub(super) fn handle(&self) -> Resource<Descriptor> {
        Resource::new_borrow(self.0.rep())
    }
}
