//! A look at a file that a call could reach, without any call: for whoever decides whether it may be made.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cap_primitives::fs::{FollowSymlinks, MetadataExt as _, read_link_contents, stat};
use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::filesystem::types::PathFlags;

use super::open::{directory, file_beneath};
use crate::types::Grant;

/// What was found at a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked {
    /// Where the path's last name leads, if it is a link.
    pub link: Option<Vec<u8>>,
    /// What stands there, or where the link leads.
    pub stands: Stands,
    /// What tells the directory that holds it, and the file, from others with the same content: a path may pass links.
    pub place: Vec<(u64, u64)>,
}

/// What stands somewhere.
#[derive(Debug, PartialEq, Eq)]
pub enum Stands {
    /// No directory of the grant holds it.
    NotGranted,
    /// It cannot be read under the grant: a link leads out of the granted directory, or the system refuses.
    Unreachable,
    /// Nothing.
    Absent,
    /// A directory, a pipe, or whatever else is no file.
    NoFile,
    /// A file with more bytes than were wanted: its size and when it was changed.
    Longer(String),
    /// A file: its bytes.
    File(Vec<u8>),
}

/// What stands at `path`, as a component sees it under `grant`; no more than `most` bytes of it are read. It is confined as a call
/// would be.
pub fn look(grant: &Grant, path: &str, most: u64) -> Looked {
    let nothing = |stands| Looked { link: None, stands, place: Vec::new() };
    let Some((dir, rest)) = grant.holding(path) else { return nothing(Stands::NotGranted) };
    if rest.is_empty() {
        return nothing(Stands::NoFile);
    }
    let dir = match directory(&dir.host) {
        Ok(dir) => dir,
        Err(error) => return nothing(without(&error)),
    };
    match link_at(&dir, rest) {
        Err(error) => Looked { link: None, stands: without(&error), place: holder(&dir, rest).into_iter().collect() },
        Ok(link) => {
            // What was no link a moment ago is not followed if it is one now.
            let flags = if link.is_some() { PathFlags::SYMLINK_FOLLOW } else { PathFlags::empty() };
            let mut place: Vec<(u64, u64)> = holder(&dir, rest).into_iter().collect();
            let stands = match file_beneath(&dir, flags, rest) {
                Ok(Some(file)) => {
                    place.extend(file.metadata().map(|found| (found.dev(), found.ino())));
                    read(file, most).unwrap_or(Stands::Unreachable)
                }
                Ok(None) => Stands::NoFile,
                Err(error) => without(&error),
            };
            Looked { link, stands, place }
        }
    }
}

/// The directory that holds what a path names, if there is one.
fn holder(dir: &File, path: &str) -> Option<(u64, u64)> {
    let parent = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
    let found = stat(dir, parent.unwrap_or(Path::new(".")), FollowSymlinks::Yes).ok()?;
    Some((found.dev(), found.ino()))
}

fn link_at(dir: &File, path: &str) -> io::Result<Option<Vec<u8>>> {
    let path = Path::new(path);
    if !stat(dir, path, FollowSymlinks::No)?.is_symlink() {
        return Ok(None);
    }
    Ok(Some(read_link_contents(dir, path)?.into_os_string().into_encoded_bytes()))
}

fn without(error: &io::Error) -> Stands {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Stands::Absent,
        _ => Stands::Unreachable,
    }
}

fn read(file: File, most: u64) -> io::Result<Stands> {
    let found = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= most {
        return Ok(Stands::File(bytes));
    }
    let changed = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    Ok(Stands::Longer(format!("{:?}", (found.size(), changed))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Access, DirGrant};

    #[test]
    fn a_look_is_confined_as_a_call_is() {
        let folder = tempfile::tempdir().unwrap();
        let host = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let dir =
            |guest: &str, name: &str| DirGrant { host: host(name), guest: guest.to_owned(), access: Access::ReadOnly };
        for dir in ["a/b", "inner"] {
            std::fs::create_dir_all(host(dir)).unwrap();
        }
        for (name, text) in [("a/file", "12345"), ("secret", "no"), ("inner/file", "inner")] {
            std::fs::write(host(name), text).unwrap();
        }
        std::os::unix::fs::symlink("../secret", host("a/out")).unwrap();
        std::os::unix::fs::symlink("file", host("a/link")).unwrap();
        std::os::unix::fs::symlink("none", host("a/nowhere")).unwrap();
        std::os::unix::fs::symlink("/", host("a/absolute")).unwrap();
        let filesystem = vec![dir("/work", "a"), dir("/work/inner", "inner"), dir("/gone", "gone")];
        let grant = Grant { filesystem, ..Grant::default() };
        let look = |path: &str| {
            let Looked { link, stands, .. } = super::look(&grant, path, 5);
            (link, stands)
        };
        let stands = |stands| (None, stands);
        let leads = |link: &str, stands| (Some(link.into()), stands);
        let file = |text: &str| Stands::File(text.into());
        assert_eq!(look("/work/file"), stands(file("12345")));
        assert_eq!(look("/work/inner/file"), stands(file("inner")));
        let longer = || super::look(&grant, "/work/file", 4);
        assert!(matches!(longer().stands, Stands::Longer(_)) && longer() == longer());
        for absent in ["/work/none", "/work/none/x", "/work/file/x", "/gone/x"] {
            assert_eq!(look(absent), stands(Stands::Absent), "{absent}");
        }
        for none in ["/work", "/work/", "/work/b"] {
            assert_eq!(look(none), stands(Stands::NoFile), "{none}");
        }
        for outside in ["/secret", "/workfile", "secret", ""] {
            assert_eq!(look(outside), stands(Stands::NotGranted), "{outside}");
        }
        assert_eq!(look("/work/../secret"), stands(Stands::Unreachable));
        assert_eq!(look("/work/link"), leads("file", file("12345")));
        assert_eq!(look("/work/out"), leads("../secret", Stands::Unreachable));
        assert_eq!(look("/work/absolute"), leads("/", Stands::Unreachable));
        assert_eq!(look("/work/nowhere"), leads("none", Stands::Absent));
        std::fs::write(host("a/file"), "123456").unwrap();
        let before = look("/work/file");
        std::fs::write(host("a/file"), "1234567").unwrap();
        assert_ne!(look("/work/file"), before, "what is too long to be read is told from another");
        // The same path, and nothing there both times: but in another directory.
        let place = || super::look(&grant, "/work/way/none", 5).place;
        std::os::unix::fs::symlink("b", host("a/way")).unwrap();
        let first = place();
        assert_eq!((first.len(), place()), (1, first.clone()));
        std::fs::remove_file(host("a/way")).unwrap();
        std::os::unix::fs::symlink(".", host("a/way")).unwrap();
        assert_ne!(place(), first);
    }
}
