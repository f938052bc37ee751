//! The state of a file before a change, and how it comes back.

use std::fs;
use std::io::{self, ErrorKind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// How a file is: absent, or with this content. An undo record that restores it byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Where it is.
    pub path: String,
    /// Its content in base64; none if there is nothing at the path.
    content: Option<String>,
}

impl FileState {
    /// How the file at `path` is now.
    pub fn of(path: &str) -> Result<FileState, Failure> {
        let content = match fs::read(path) {
            Ok(bytes) => Some(STANDARD.encode(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::io("read", path, &error)),
        };
        Ok(FileState { path: path.to_owned(), content })
    }

    /// Whether there was a file.
    pub fn exists(&self) -> bool {
        self.content.is_some()
    }

    /// What was in it.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, Failure> {
        let unknown = |error| Failure::new("unknown-undo", format!("the content of `{}`: {error}", self.path));
        self.content.as_ref().map(|text| STANDARD.decode(text).map_err(unknown)).transpose()
    }

    /// What was in it, as text.
    pub fn text(&self) -> Result<Option<String>, Failure> {
        let no_text = |_| Failure::invalid_input(format!("`{}` is not UTF-8 text", self.path));
        self.bytes()?.map(|bytes| String::from_utf8(bytes).map_err(no_text)).transpose()
    }

    /// Makes the file so again; changes nothing if it is so already.
    pub fn restore(&self) -> Result<(), Failure> {
        if FileState::of(&self.path)? == *self {
            return Ok(());
        }
        match self.bytes()? {
            Some(bytes) => write(&self.path, &bytes),
            None => remove(&self.path),
        }
    }
}

/// Writes a file in place, so that its mode and owner stay, or makes it.
pub fn write(path: &str, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| Failure::io("write", path, &error))
}

/// Removes a file; one that is not there is removed already.
pub fn remove(path: &str) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::io("remove", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads a file of text.
pub fn read_text(path: &str) -> Result<String, Failure> {
    let read: io::Result<String> = fs::read_to_string(path);
    read.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failure::invalid_input(format!("`{path}` is not UTF-8 text")),
        _ => Failure::io("read", path, &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_byte_by_byte_whatever_became_of_it() {
        let folder = std::env::temp_dir().join(format!("redress-capability-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a").display().to_string();
        let absent = FileState::of(&path).unwrap();
        assert!(!absent.exists());
        write(&path, &[0, 255, 7]).unwrap();
        let there = FileState::of(&path).unwrap();
        write(&path, b"other").unwrap();
        there.restore().unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0, 255, 7]);
        absent.restore().unwrap();
        absent.restore().unwrap();
        assert_eq!(FileState::of(&path).unwrap(), absent);
        there.restore().unwrap();
        assert_eq!(
            (there.bytes().unwrap(), there.text().map_err(|failure| failure.code)),
            (Some(vec![0, 255, 7]), Err("invalid-input".to_owned()))
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
