//! The directory of a case, and what is in it at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::KitError;

/// Where a component sees the directory.
pub(super) const GUEST: &str = "/workspace";

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A file.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link.
    Link(PathBuf),
}

/// Everything in the directory, by the path that a component sees.
pub(super) type Files = BTreeMap<String, Entry>;

/// The world at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) files: Files,
    /// The items of each collection, by id.
    pub(super) collections: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Snapshot {
    /// In words, how this differs from what it is to be; nothing if it does not.
    pub(super) fn differs_from(&self, expected: &Snapshot) -> Vec<String> {
        let mut words = file_differences(&self.files, &expected.files);
        for (url, items) in &self.collections {
            let nothing = BTreeMap::new();
            let wanted = expected.collections.get(url).unwrap_or(&nothing);
            let ids: BTreeSet<&String> = items.keys().chain(wanted.keys()).collect();
            words.extend(ids.into_iter().filter_map(|id| match (items.get(id), wanted.get(id)) {
                (Some(found), Some(wanted)) if found == wanted => None,
                (Some(found), Some(wanted)) => Some(format!("{url}/{id}: is {found}, was to be {wanted}")),
                (Some(found), None) => Some(format!("{url}/{id}: is there, and was not to be: {found}")),
                (None, Some(_)) => Some(format!("{url}/{id}: is missing")),
                (None, None) => None,
            }));
        }
        words
    }
}

pub(super) fn file_differences(found: &Files, expected: &Files) -> Vec<String> {
    let paths: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differs = |path: &&String| found.get(*path) != expected.get(*path);
    let shown = |entry: Option<&Entry>| match entry {
        None => "nothing".to_owned(),
        Some(Entry::Directory) => "a directory".to_owned(),
        Some(Entry::Link(to)) => format!("a link to {}", to.display()),
        Some(Entry::File(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().count() <= 80 => format!("{text:?}"),
            Ok(_) | Err(_) => format!("a file of {} bytes", bytes.len()),
        },
    };
    let words =
        |path: &String| format!("{path}: is {}, was to be {}", shown(found.get(path)), shown(expected.get(path)));
    paths.into_iter().filter(differs).map(words).collect()
}

/// A temporary directory with the files of a case.
pub(super) struct Folder {
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(files: &Files) -> Result<Folder, KitError> {
        let temp = std::env::temp_dir();
        let dir = tempfile::tempdir().map_err(KitError::io(&temp))?;
        let root = dir.path().canonicalize().map_err(KitError::io(dir.path()))?.join("workspace");
        fs::create_dir(&root).map_err(KitError::io(&root))?;
        let folder = Folder { dir, root };
        for (path, entry) in files {
            let host = folder.host(path);
            let above = host.parent().unwrap_or(&folder.root);
            fs::create_dir_all(above).map_err(KitError::io(above))?;
            match entry {
                Entry::File(bytes) => fs::write(&host, bytes),
                Entry::Directory => fs::create_dir_all(&host),
                Entry::Link(to) => std::os::unix::fs::symlink(to, &host),
            }
            .map_err(KitError::io(&host))?;
        }
        Ok(folder)
    }

    fn host(&self, guest: &str) -> PathBuf {
        self.root.join(guest.trim_start_matches(GUEST).trim_start_matches('/'))
    }

    /// The directory on the host.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A file beside the directory, which no component sees.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is in it now.
    pub(super) fn files(&self) -> Result<Files, KitError> {
        let mut files = Files::new();
        let mut waiting = vec![(self.root.clone(), GUEST.to_owned())];
        while let Some((host, guest)) = waiting.pop() {
            for entry in fs::read_dir(&host).map_err(KitError::io(&host))? {
                let entry = entry.map_err(KitError::io(&host))?;
                let (path, name) = (entry.path(), entry.file_name());
                let guest = format!("{guest}/{}", name.to_string_lossy());
                let kind = entry.file_type().map_err(KitError::io(&path))?;
                let found = if kind.is_dir() {
                    waiting.push((path, guest.clone()));
                    Entry::Directory
                } else if kind.is_symlink() {
                    Entry::Link(fs::read_link(&path).map_err(KitError::io(&path))?)
                } else {
                    match fs::read(&path) {
                        Ok(bytes) => Entry::File(bytes),
                        Err(error) if error.kind() == ErrorKind::NotFound => continue,
                        Err(error) => return Err(KitError::io(&path)(error)),
                    }
                };
                files.insert(guest, found);
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Entry {
        Entry::File(text.as_bytes().to_vec())
    }

    #[test]
    fn a_directory_is_read_back_as_it_was_written_and_every_difference_is_named() {
        let files: Files = [
            ("/workspace/a".to_owned(), file("x")),
            ("/workspace/d".to_owned(), Entry::Directory),
            ("/workspace/d/b".to_owned(), Entry::File(vec![0, 255])),
        ]
        .into();
        let folder = Folder::new(&files).unwrap();
        assert_eq!(folder.files().unwrap(), files);
        fs::write(folder.root().join("a"), "y").unwrap();
        fs::remove_file(folder.root().join("d/b")).unwrap();
        fs::write(folder.root().join("new"), "").unwrap();
        assert_eq!(
            file_differences(&folder.files().unwrap(), &files),
            [
                "/workspace/a: is \"y\", was to be \"x\"",
                "/workspace/d/b: is nothing, was to be a file of 2 bytes",
                "/workspace/new: is \"\", was to be nothing",
            ]
        );
    }
}
