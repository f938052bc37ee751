//! A look at a file that a call could reach, without any call: for whoever decides whether it may be made.

use std::io::{self, Read as _};
use std::path::Path;

pub use cap_primitives::fs::FollowSymlinks;
use cap_primitives::fs::stat;
use rustix::io::Errno;

use super::open::{directory, file_beneath};
use crate::types::Grant;

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// No directory of the grant holds it.
    NotGranted,
    /// Nothing.
    Absent,
    /// A directory, a pipe, or whatever else is no file.
    NoFile,
    /// A link, where links are not followed.
    Link,
    /// A file with more bytes than were wanted.
    Longer,
    /// A file: its bytes.
    File(Vec<u8>),
}

/// What stands at `path`, as a component sees it under `grant`; no more than `most` bytes of it are read. It is confined as a call
/// would be: a link that leads out of the granted directory is an error, if links are followed at all.
pub fn look(grant: &Grant, path: &str, follow: FollowSymlinks, most: u64) -> io::Result<Looked> {
    let Some((dir, rest)) = grant.holding(path) else { return Ok(Looked::NotGranted) };
    if rest.is_empty() {
        return Ok(Looked::NoFile);
    }
    let opened = directory(&dir.host).and_then(|dir| {
        if follow == FollowSymlinks::No && stat(&dir, Path::new(rest), follow)?.is_symlink() {
            return Ok(Err(Looked::Link));
        }
        Ok(file_beneath(&dir, rest)?.ok_or(Looked::NoFile))
    });
    let file = match opened {
        Ok(Ok(file)) => file,
        Ok(Err(other)) => return Ok(other),
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => Ok(Looked::Absent),
                _ => Err(error),
            };
        }
    };
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > most { Looked::Longer } else { Looked::File(bytes) })
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
        let filesystem = vec![dir("/work", "a"), dir("/work/inner", "inner"), dir("/gone", "gone")];
        let grant = Grant { filesystem, ..Grant::default() };
        let look = |path: &str| super::look(&grant, path, FollowSymlinks::Yes, 5);
        let stays = |path: &str| super::look(&grant, path, FollowSymlinks::No, 5);
        assert_eq!(look("/work/file").unwrap(), Looked::File(b"12345".to_vec()));
        assert_eq!(look("/work/link").unwrap(), Looked::File(b"12345".to_vec()));
        assert_eq!(look("/work/inner/file").unwrap(), Looked::File(b"inner".to_vec()));
        assert_eq!(super::look(&grant, "/work/file", FollowSymlinks::Yes, 4).unwrap(), Looked::Longer);
        for link in ["/work/link", "/work/out"] {
            assert_eq!(stays(link).unwrap(), Looked::Link, "{link}");
        }
        assert_eq!(stays("/work/file").unwrap(), Looked::File(b"12345".to_vec()));
        assert_eq!((stays("/work/none").unwrap(), stays("/work/b").unwrap()), (Looked::Absent, Looked::NoFile));
        assert!(stays("/work/../secret").is_err());
        for absent in ["/work/none", "/work/none/x", "/work/file/x", "/gone/x"] {
            assert_eq!(look(absent).unwrap(), Looked::Absent, "{absent}");
        }
        for none in ["/work", "/work/", "/work/b"] {
            assert!(matches!(look(none).unwrap(), Looked::NoFile), "{none}");
        }
        for outside in ["/secret", "/workfile", "secret", ""] {
            assert_eq!(look(outside).unwrap(), Looked::NotGranted, "{outside}");
        }
        for escape in ["/work/out", "/work/../secret"] {
            assert!(look(escape).is_err(), "{escape}");
        }
    }
}
