//! The filesystem gate: our own implementation of the `wasi:filesystem` host traits over the library's.
//!
//! What only looks goes to the library at once, save that nothing but regular files and directories is opened and that reads
//! are counted. What can change something is in `fs_effects`; each of those functions asks the attempt first. Opening is in
//! `open`, since the library would wait at a pipe. The library still confines every path beneath the granted directory and
//! enforces read-only grants: the gate stands before that, not in its place.

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::names::name_of;
use super::state::Gate;
use super::stream::GateInput;
use crate::types::{Failure, code};

/// The longest path that is looked at, as the system has it: what follows a path step by step does so in bounded time.
const LONGEST_PATH: usize = 4096;

/// Refuses a path that the system would refuse for its length.
fn bounded(path: &str) -> FsResult<()> {
    if path.len() < LONGEST_PATH { Ok(()) } else { Err(ErrorCode::NameTooLong.into()) }
}

/// One access to the gate, for as long as one host call takes.
pub(super) struct GateFsView<'a> {
    pub(super) gate: &'a mut Gate,
    pub(super) fs: WasiFilesystemCtxView<'a>,
}

impl preopens::Host for GateFsView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        preopens::Host::get_directories(&mut self.fs)
    }
}

impl types::Host for GateFsView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.fs, error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.fs, error)
    }
}

impl GateFsView<'_> {
    fn reads_from(&mut self, fd: &Resource<Descriptor>) -> Arc<str> {
        let place = self.gate.places.get(&fd.rep()).cloned();
        place.unwrap_or_else(|| Arc::from("?"))
    }

    /// A look that the library refused, since the path leads out, explains what the guest makes of it.
    fn looked<T>(&self, path: &str, result: FsResult<T>) -> FsResult<T> {
        if let Err(error) = &result
            && matches!(error.downcast_ref(), Some(ErrorCode::NotPermitted))
        {
            self.hint(path, "leads out of the granted directory");
        }
        result
    }

    /// Notes where a name was looked at: the directory that it names, or the nearest one on its way that is there, by its own
    /// name.
    fn note_look(&mut self, fd: u32, flags: PathFlags, path: &str) {
        let Ok(base) = self.dir(&Resource::new_borrow(fd)) else { return };
        let (mut path, mut flags) = (path.trim_end_matches('/'), flags);
        while !path.is_empty() {
            if let Ok(dir) = self.directory_beneath(&base, flags, path) {
                return self.looked_in(&dir.dir);
            }
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            flags = PathFlags::SYMLINK_FOLLOW;
        }
        self.looked_in(&base.dir);
    }

    fn looked_in(&self, dir: &std::fs::File) {
        let guest = name_of(dir).and_then(|host| self.gate.attempt.roots.guest_name(&host));
        self.gate.attempt.read(guest.as_deref().unwrap_or("?"), 0);
    }

    fn hint(&self, path: &str, why: &str) {
        self.gate.attempt.note_hint(Failure::new(code::NOT_GRANTED, format!("`{path}` {why}")));
    }

    fn neither(&self, path: &str) -> FsError {
        self.hint(path, "is neither a regular file nor a directory");
        ErrorCode::NotPermitted.into()
    }

    async fn open_to_read(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        open: OpenFlags,
        how: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let base = Resource::new_borrow(fd.rep());
        let found = self.fs.stat_at(base, flags, path.clone()).await;
        if found.is_err() {
            self.note_look(fd.rep(), flags, &path);
        }
        match self.looked(&path, found)?.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory => {}
            DescriptorType::SymbolicLink => return Err(ErrorCode::Loop.into()),
            _ => return Err(self.neither(&path)),
        }
        let dir = self.dir(&fd)?;
        let Some(opened) = self.open_beneath(&dir, flags, &path, open, how)? else { return Err(self.neither(&path)) };
        let is_dir = matches!(self.fs.table.get(&opened)?, Descriptor::Dir(_));
        let file = self.handed_out(&opened)?;
        if !is_dir {
            let place = self.place_read(&file);
            self.gate.attempt.opened_to_read(&place);
            self.gate.places.insert(opened.rep(), place);
        }
        Ok(opened)
    }

    /// The directory that an open file lies in, as the guest sees it.
    pub(super) fn place_read(&self, file: &std::fs::File) -> Arc<str> {
        let host = name_of(file);
        let parent = host.as_deref().and_then(|host| host.rsplit_once('/')).map(|(parent, _)| parent);
        let guest = parent.and_then(|parent| self.gate.attempt.roots.guest_name(parent));
        Arc::from(guest.as_deref().unwrap_or("?"))
    }
}

impl HostDescriptor for GateFsView<'_> {
    // What looks.

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
        len: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.fs.advise(fd, offset, len, advice).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.fs.sync_data(fd).await
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.fs.sync(fd).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.fs.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.fs.get_type(fd).await
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.fs.stat(fd).await
    }

    async fn stat_at(&mut self, fd: Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        bounded(&path)?;
        self.note_look(fd.rep(), flags, &path);
        let found = self.fs.stat_at(fd, flags, path.clone()).await;
        self.looked(&path, found)
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        bounded(&path)?;
        self.note_look(fd.rep(), PathFlags::empty(), &path);
        let found = self.fs.readlink_at(fd, path.clone()).await;
        self.looked(&path, found)
    }

    async fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        self.fs.is_same_object(a, b).await
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.fs.metadata_hash(fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        bounded(&path)?;
        self.note_look(fd.rep(), flags, &path);
        self.fs.metadata_hash_at(fd, flags, path).await
    }

    async fn read(&mut self, fd: Resource<Descriptor>, len: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let place = self.reads_from(&fd);
        let (bytes, end) = self.fs.read(fd, len, offset).await?;
        self.gate.attempt.read(&place, bytes.len() as u64);
        Ok((bytes, end))
    }

    fn read_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let place = self.reads_from(&fd);
        let file = match self.fs.table.get(&fd)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(_) => return Err(ErrorCode::IsDirectory.into()),
        };
        let stream: DynInputStream = Box::new(GateInput::new(file, offset, Arc::clone(&self.gate.attempt), place));
        Ok(self.fs.table.push(stream)?)
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let dir = self.dir(&fd)?;
        let guest = name_of(&dir.dir).and_then(|host| self.gate.attempt.roots.guest_name(&host));
        let listing = self.fs.read_directory(fd).await?;
        self.gate.attempt.opened_to_read(guest.as_deref().unwrap_or("?"));
        Ok(listing)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.gate.places.remove(&fd.rep());
        HostDescriptor::drop(&mut self.fs, fd)
    }

    // What can change something.

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        open: OpenFlags,
        how: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        bounded(&path)?;
        // `MUTATE_DIRECTORY` is set by guests on every open for writing and changes nothing by itself.
        let changes = open.intersects(OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE)
            || how.contains(DescriptorFlags::WRITE);
        if changes {
            self.open_to_change(fd, flags, path, open, how).await
        } else {
            self.open_to_read(fd, flags, path, open, how).await
        }
    }

    async fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.write_at(fd, bytes, offset).await
    }

    fn write_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.output(fd, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.output(fd, None)
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.resize(fd, size).await
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.touch(fd, accessed, modified).await
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        bounded(&path)?;
        self.touch_at(fd, flags, path, accessed, modified).await
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        bounded(&path)?;
        self.make_directory(fd, path).await
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        bounded(&path)?;
        self.remove_directory(fd, path).await
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        bounded(&path)?;
        self.unlink(fd, path).await
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        bounded(&old_path).and_then(|()| bounded(&new_path))?;
        self.rename(fd, old_path, new_fd, new_path).await
    }

    async fn symlink_at(&mut self, fd: Resource<Descriptor>, text: String, path: String) -> FsResult<()> {
        bounded(&path)?;
        self.symlink(fd, text, path).await
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        _old_flags: PathFlags,
        old_path: String,
        _new_fd: Resource<Descriptor>,
        _new_path: String,
    ) -> FsResult<()> {
        bounded(&old_path)?;
        self.hard_link(fd, old_path).await
    }
}

impl HostDirectoryEntryStream for GateFsView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.fs.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        HostDirectoryEntryStream::drop(&mut self.fs, stream)
    }
}
