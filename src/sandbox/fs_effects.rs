//! The calls of `wasi:filesystem` that can change something.
//!
//! Each one is the same four steps. The place is named (`names`). What the system would refuse without changing anything is
//! answered at once: it is no effect, and needs no intent. The attempt admits the effect or refuses it. The library carries
//! it out on the very directory that was named, and the answer is noted.
//!
//! Beyond what the library checks, these are refused: opening a file that has another name as well (a hard link may lead out
//! of the grant), opening what is neither file nor directory, making hard links at all, making or moving a symbolic link so
//! that it leads out, moving or removing a directory that holds a granted one, and moving one that holds settings or state of the host.

use std::sync::Arc;

use rustix::fs::FileType;
use wasmtime::component::Resource;
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{Descriptor, File as OpenFile};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, Filesize, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsResult};

use super::attempt::{Admitted, Answer};
use super::fs::GateFsView;
use super::grant::is_own_name;
use super::names::{At, name_of};
use super::stream::GateOutput;
use crate::types::{Failure, Target, code};

/// How many entries of a directory that is moved are looked through for what must stay.
const LOOKED_THROUGH: usize = 100_000;

impl GateFsView<'_> {
    fn refused<T>(&self, message: String) -> FsResult<T> {
        Err(self.gate.attempt.note_refusal(Failure::new(code::NOT_GRANTED, message)).into())
    }

    fn neither_file_nor_directory<T>(&self, at: &At) -> FsResult<T> {
        self.refused(format!("`{}` is neither a regular file nor a directory", at.guest))
    }

    /// Notes how an atomic call was answered: a failure of one changed nothing.
    fn answered<T>(&self, admitted: Admitted, result: FsResult<T>) -> FsResult<T> {
        let answer = if result.is_ok() { Answer::Done { bytes: 0 } } else { Answer::Refused };
        self.gate.attempt.answer(admitted, answer);
        result
    }

    /// Notes how a call was answered that may have changed something although it failed.
    fn answered_bytes<T>(&self, admitted: Admitted, result: FsResult<T>, bytes: u64) -> FsResult<T> {
        let answer = if result.is_ok() { Answer::Done { bytes } } else { Answer::Failed };
        self.gate.attempt.answer(admitted, answer);
        result
    }

    pub(super) async fn open_to_change(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        open: OpenFlags,
        how: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let at = self.locate(&fd, &path, flags.contains(PathFlags::SYMLINK_FOLLOW)).await?;
        let kind = match at.file_type() {
            None if !open.contains(OpenFlags::CREATE) => return Err(ErrorCode::NoEntry.into()),
            None if at.slash => return Err(ErrorCode::IsDirectory.into()),
            None => "fs.create",
            Some(_) if open.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) => return Err(ErrorCode::Exist.into()),
            Some(FileType::Directory) => return Err(ErrorCode::IsDirectory.into()),
            Some(FileType::Symlink) => return Err(ErrorCode::Loop.into()),
            Some(FileType::RegularFile) if at.slash || open.contains(OpenFlags::DIRECTORY) => {
                return Err(ErrorCode::NotDirectory.into());
            }
            Some(FileType::RegularFile) => {
                if at.stat.as_ref().is_some_and(|stat| stat.st_nlink > 1) {
                    return self.refused(format!(
                        "`{}` has more than one name (hard links): a change could reach a file outside of the grant",
                        at.guest
                    ));
                }
                if open.contains(OpenFlags::TRUNCATE) { "fs.truncate" } else { "fs.open" }
            }
            Some(_) => return self.neither_file_nor_directory(&at),
        };
        let admitted = self.gate.attempt.admit(kind, &[&at], false).await?;
        let result = match self.open_beneath(&at.dir, PathFlags::empty(), &at.name, open, how) {
            Ok(None) => self.neither_file_nor_directory(&at),
            Ok(Some(opened)) => Ok(opened),
            Err(error) => Err(error),
        };
        let opened = self.answered(admitted, result)?;
        let file = self.handed_out(&opened)?;
        let place = self.place_read(&file);
        self.gate.places.insert(opened.rep(), place);
        if let Some(host) = name_of(&file).filter(|host| *host != at.host) {
            let guest = self.gate.attempt.roots.guest_name(&host).unwrap_or_else(|| host.clone());
            self.gate.attempt.also_touched(&Target::File { host, guest });
        }
        Ok(opened)
    }

    fn open_for_writing(&mut self, fd: &Resource<Descriptor>) -> FsResult<OpenFile> {
        match self.fs.table.get(fd)? {
            Descriptor::File(file) if file.open_mode.contains(OpenMode::WRITE) => Ok(file.clone()),
            Descriptor::File(_) | Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    pub(super) async fn write_at(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let file = self.open_for_writing(&fd)?;
        let admitted = self.admit_through("fs.write", &file)?;
        let result = self.fs.write(fd, bytes, offset).await;
        let written = result.as_ref().copied().unwrap_or_default();
        match admitted {
            Some(admitted) => self.answered_bytes(admitted, result, written),
            None => result,
        }
    }

    /// A change through an open handle; nothing is noted for a file that has no name any more.
    fn admit_through(&mut self, kind: &'static str, file: &OpenFile) -> FsResult<Option<Admitted>> {
        match self.place_of(&file.file)? {
            Some(at) => Ok(Some(self.gate.attempt.admit_through(kind, &at)?)),
            None if self.gate.attempt.stopped() => Err(super::attempt::Refusal::Stopped.into()),
            None => Ok(None),
        }
    }

    pub(super) fn output(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Option<Filesize>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.open_for_writing(&fd)?;
        let Some(at) = self.place_of(&file.file)? else { return Err(ErrorCode::NoEntry.into()) };
        let stream = GateOutput::new(Arc::clone(&file.file), offset, Arc::clone(&self.gate.attempt), at);
        let stream: DynOutputStream = Box::new(stream);
        Ok(self.fs.table.push(stream)?)
    }

    pub(super) async fn resize(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let file = self.open_for_writing(&fd)?;
        let admitted = self.admit_through("fs.truncate", &file)?;
        let result = self.fs.set_size(fd, size).await;
        match admitted {
            Some(admitted) => self.answered_bytes(admitted, result, 0),
            None => result,
        }
    }

    pub(super) async fn touch(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let file = self.handed_out(&fd)?;
        let Some(at) = self.place_of(&file)? else { return Err(ErrorCode::NoEntry.into()) };
        self.refuse_hard_linked(&at)?;
        let admitted = self.gate.attempt.admit("fs.set-times", &[&at], false).await?;
        let result = self.fs.set_times(fd, accessed, modified).await;
        self.answered(admitted, result)
    }

    pub(super) async fn touch_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let at = self.existing(&fd, &path, flags.contains(PathFlags::SYMLINK_FOLLOW)).await?;
        self.refuse_hard_linked(&at)?;
        let admitted = self.gate.attempt.admit("fs.set-times", &[&at], false).await?;
        let lent = self.lend(&at.dir)?;
        let result = self.fs.set_times_at(lent.handle(), PathFlags::empty(), at.name.clone(), accessed, modified).await;
        self.take_back(lent)?;
        self.answered(admitted, result)
    }

    fn refuse_hard_linked(&self, at: &At) -> FsResult<()> {
        match &at.stat {
            Some(stat) if at.file_type() == Some(FileType::RegularFile) && stat.st_nlink > 1 => {
                self.refused(format!("`{}` has more than one name (hard links)", at.guest))
            }
            _ => Ok(()),
        }
    }

    async fn existing(&mut self, fd: &Resource<Descriptor>, path: &str, follow: bool) -> FsResult<At> {
        let at = self.locate(fd, path, follow).await?;
        match at.file_type() {
            None => Err(ErrorCode::NoEntry.into()),
            Some(FileType::Directory) => Ok(at),
            Some(_) if at.slash => Err(ErrorCode::NotDirectory.into()),
            Some(_) => Ok(at),
        }
    }

    pub(super) async fn make_directory(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        if path.split('/').all(|segment| matches!(segment, "" | ".")) && !path.starts_with('/') {
            return Err(ErrorCode::Exist.into());
        }
        let at = self.locate(&fd, &path, false).await?;
        if at.stat.is_some() {
            return Err(ErrorCode::Exist.into());
        }
        let admitted = self.gate.attempt.admit("fs.mkdir", &[&at], false).await?;
        let lent = self.lend(&at.dir)?;
        let result = self.fs.create_directory_at(lent.handle(), at.name.clone()).await;
        self.take_back(lent)?;
        self.answered(admitted, result)
    }

    pub(super) async fn remove_directory(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let at = self.existing(&fd, &path, false).await?;
        if at.file_type() != Some(FileType::Directory) {
            return Err(ErrorCode::NotDirectory.into());
        }
        self.refuse_grant(&at)?;
        let admitted = self.gate.attempt.admit("fs.rmdir", &[&at], false).await?;
        let lent = self.lend(&at.dir)?;
        let result = self.fs.remove_directory_at(lent.handle(), at.name.clone()).await;
        self.take_back(lent)?;
        self.answered(admitted, result)
    }

    pub(super) async fn unlink(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let at = self.existing(&fd, &path, false).await?;
        if at.file_type() == Some(FileType::Directory) {
            return Err(ErrorCode::IsDirectory.into());
        }
        let admitted = self.gate.attempt.admit("fs.unlink", &[&at], false).await?;
        let lent = self.lend(&at.dir)?;
        let result = self.fs.unlink_file_at(lent.handle(), at.name.clone()).await;
        self.take_back(lent)?;
        self.answered(admitted, result)
    }

    pub(super) async fn rename(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let from = self.existing(&fd, &old_path, false).await?;
        let to = self.locate(&new_fd, &new_path, false).await?;
        if to.slash && from.file_type() != Some(FileType::Directory) {
            return Err(ErrorCode::NotDirectory.into());
        }
        self.refuse_grant(&from)?;
        self.refuse_grant(&to)?;
        if from.host == to.host {
            return Ok(());
        }
        if from.dir.perms != to.dir.perms {
            return self.refused(format!(
                "`{}` cannot be moved to `{}`: the two directories are granted with different access",
                from.guest, to.guest
            ));
        }
        self.refuse_moving(&from, &to)?;
        let admitted = self.gate.attempt.admit("fs.rename", &[&from, &to], true).await?;
        let (lent_from, lent_to) = (self.lend(&from.dir)?, self.lend(&to.dir)?);
        let result = self.fs.rename_at(lent_from.handle(), from.name.clone(), lent_to.handle(), to.name.clone()).await;
        self.take_back(lent_from)?;
        self.take_back(lent_to)?;
        self.answered(admitted, result)
    }

    pub(super) async fn symlink(&mut self, fd: Resource<Descriptor>, text: String, path: String) -> FsResult<()> {
        let at = self.locate(&fd, &path, false).await?;
        if at.stat.is_some() {
            return Err(ErrorCode::Exist.into());
        }
        if self.leads_out_from(at.parent(), &text) {
            return self.refused(format!("the link `{}` to `{text}` would lead out of the grant", at.guest));
        }
        let admitted = self.gate.attempt.admit("fs.symlink", &[&at], false).await?;
        let lent = self.lend(&at.dir)?;
        let result = self.fs.symlink_at(lent.handle(), text, at.name.clone()).await;
        self.take_back(lent)?;
        self.answered(admitted, result)
    }

    pub(super) async fn hard_link(&mut self, fd: Resource<Descriptor>, old_path: String) -> FsResult<()> {
        let at = self.existing(&fd, &old_path, false).await?;
        self.refused(format!("a hard link to `{}` cannot be made: its changes could not be told apart", at.guest))
    }

    fn refuse_grant(&self, at: &At) -> FsResult<()> {
        if at.file_type() == Some(FileType::Directory) && self.gate.attempt.roots.holds_a_grant(&at.host) {
            return self.refused(format!("`{}` is a granted directory, or holds one", at.guest));
        }
        Ok(())
    }

    /// Whether a link with this text leads out of the grant when it stands in the directory `parent`. A `..` counts only
    /// at the beginning of the text: after a name it would depend on where that name leads.
    fn leads_out_from(&self, parent: &str, text: &str) -> bool {
        let Some(depth) = self.gate.attempt.roots.depth(parent) else { return true };
        let mut segments = text.split('/').filter(|segment| !matches!(*segment, "" | ".")).peekable();
        let mut up = 0;
        while segments.next_if_eq(&"..").is_some() {
            up += 1;
        }
        text.starts_with('/') || up > depth || segments.any(|segment| segment == "..")
    }

    /// A link that is moved, alone or inside a directory, must not come to lead out, and what is the host's own moves with nothing.
    fn refuse_moving(&self, from: &At, to: &At) -> FsResult<()> {
        let stays = match from.file_type() {
            Some(FileType::Symlink) => {
                let text =
                    rustix::fs::readlinkat(&from.dir.dir, &from.name, Vec::new()).map_err(std::io::Error::from)?;
                let leads_out =
                    from.parent() != to.parent() && self.leads_out_from(to.parent(), &text.to_string_lossy());
                leads_out.then_some(Stays::Link)
            }
            Some(FileType::Directory) => {
                let depth = |at: &At| self.gate.attempt.roots.depth(at.parent());
                self.what_stays(from, to, depth(to) < depth(from))?
            }
            _ => None,
        };
        let Some(stays) = stays else { return Ok(()) };
        let why = match stays {
            Stays::Link => "a symbolic link would lead out of the grant".to_owned(),
            Stays::Own => "`redress.yaml` and `.redress`, which are in it, are the host's own names".to_owned(),
            Stays::TooMuch => {
                format!("it holds more than {LOOKED_THROUGH} entries, which are too many to look through")
            }
        };
        self.refused(format!("`{}` cannot be moved to `{}`: {why}", from.guest, to.guest))
    }

    /// What in a directory keeps it where it is. Links can lead out only where it comes to lie higher.
    fn what_stays(&self, from: &At, to: &At, rises: bool) -> FsResult<Option<Stays>> {
        let mut waiting = vec![(std::path::PathBuf::from(&from.host), to.host.clone())];
        let mut seen = 0;
        while let Some((dir, becomes)) = waiting.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let entry = entry?;
                seen += 1;
                if seen > LOOKED_THROUGH {
                    return Ok(Some(Stays::TooMuch));
                }
                if is_own_name(&entry.file_name()) {
                    return Ok(Some(Stays::Own));
                }
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    waiting.push((entry.path(), format!("{becomes}/{}", entry.file_name().to_string_lossy())));
                } else if kind.is_symlink() && rises {
                    let text = std::fs::read_link(entry.path())?;
                    let text = text.to_string_lossy();
                    if self.leads_out_from(&becomes, &text) && !text.starts_with('/') {
                        return Ok(Some(Stays::Link));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// What keeps a directory from being moved.
enum Stays {
    /// A link in it would lead out.
    Link,
    /// It holds settings or state of the host.
    Own,
    /// It holds too much to be looked through.
    TooMuch,
}
