//! The undo record: how the targets were before the change.
//!
//! A version byte, then entries, each a tag byte, a path and what the tag requires. Numbers are 64 bits, little-endian; a
//! path or content is its length and its bytes. Records outlive the version that wrote them, so tags are never reused.
//! A record can be some 15 MiB, and a component has 64 MiB of memory: it is built once and read without copying.

use std::fs::File;
use std::io::Read;

use redress_guest::Failure;

/// The most that a record may hold, with room below the host's own limit of 16 MiB.
pub const MAX_BYTES: u64 = 15 << 20;

const VERSION: u8 = 1;
const ABSENT_FILE: u8 = 1;
const ABSENT_DIRECTORY: u8 = 2;
const FILE: u8 = 3;
const LENGTH: u8 = 4;
const DIRECTORY: u8 = 5;
const MOVED: u8 = 6;
const TOO_LARGE: u8 = 7;

/// A tag and two lengths.
const HEAD: usize = 17;

/// How one path was, and so how it must be again.
#[derive(Debug, PartialEq)]
pub enum Before<'a> {
    /// Nothing was there, and the change makes a file.
    AbsentFile,
    /// Nothing was there, and the change makes a directory.
    AbsentDirectory,
    /// A file with this content.
    File(&'a [u8]),
    /// A file of this length; the change only appends.
    Length(u64),
    /// A directory.
    Directory,
    /// What was at the path is moved to this other one.
    Moved(&'a str),
    /// Saving all of this many bytes would pass [`MAX_BYTES`]: nothing may be changed.
    TooLarge(u64),
}

/// A record while it is built.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
    /// What the record would hold in all; once over [`MAX_BYTES`] it holds only a mark that says so.
    wanted: u64,
}

impl Record {
    /// A record without entries.
    pub fn new() -> Record {
        Record { bytes: vec![VERSION], wanted: 0 }
    }

    /// The encoded record.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds an entry.
    pub fn push(&mut self, path: &str, before: &Before) {
        let (tag, content, number) = match before {
            Before::AbsentFile => (ABSENT_FILE, None, None),
            Before::AbsentDirectory => (ABSENT_DIRECTORY, None, None),
            Before::Directory => (DIRECTORY, None, None),
            Before::File(content) => (FILE, Some(*content), None),
            Before::Moved(to) => (MOVED, Some(to.as_bytes()), None),
            Before::Length(length) => (LENGTH, None, Some(*length)),
            Before::TooLarge(bytes) => (TOO_LARGE, None, Some(*bytes)),
        };
        if self.has_room(path, content.map_or(0, |content| content.len() as u64)) {
            self.head(tag, path);
            if let Some(content) = content {
                self.block(content);
            }
            if let Some(number) = number {
                self.number(number);
            }
        }
    }

    /// Adds a file with its content.
    pub fn push_file(&mut self, path: &str) -> Result<(), Failure> {
        let failure = |error| Failure::io("read", path, &error);
        let mut file = File::open(path).map_err(failure)?;
        let length = file.metadata().map_err(failure)?.len();
        if !self.has_room(path, length) {
            return Ok(());
        }
        self.bytes.reserve_exact(length as usize + path.len() + HEAD);
        self.head(FILE, path);
        let at = self.bytes.len();
        self.number(0);
        let read = file.by_ref().take(length).read_to_end(&mut self.bytes).map_err(failure)?;
        if let Some(place) = self.bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&(read as u64).to_le_bytes());
        }
        Ok(())
    }

    /// Counts an entry; if the whole is now too much, the record becomes the mark.
    fn has_room(&mut self, path: &str, content: u64) -> bool {
        self.wanted += (path.len() + HEAD) as u64 + content;
        if self.wanted <= MAX_BYTES {
            return true;
        }
        self.bytes = vec![VERSION];
        self.head(TOO_LARGE, path);
        self.number(self.wanted);
        false
    }

    fn head(&mut self, tag: u8, path: &str) {
        self.bytes.push(tag);
        self.block(path.as_bytes());
    }

    fn block(&mut self, block: &[u8]) {
        self.number(block.len() as u64);
        self.bytes.extend_from_slice(block);
    }

    fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// The entries of an encoded record, in the order in which they were added.
pub fn entries(record: &[u8]) -> Result<Vec<(&str, Before<'_>)>, Failure> {
    decode(record).ok_or_else(|| Failure::new("unknown-undo", "the undo record is not one that this component wrote"))
}

fn decode(bytes: &[u8]) -> Option<Vec<(&str, Before<'_>)>> {
    let (&version, mut rest) = bytes.split_first()?;
    if version != VERSION {
        return None;
    }
    let mut entries = Vec::new();
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        let path = text(&mut rest)?;
        let before = match tag {
            ABSENT_FILE => Before::AbsentFile,
            ABSENT_DIRECTORY => Before::AbsentDirectory,
            FILE => Before::File(block(&mut rest)?),
            LENGTH => Before::Length(number(&mut rest)?),
            DIRECTORY => Before::Directory,
            MOVED => Before::Moved(text(&mut rest)?),
            TOO_LARGE => Before::TooLarge(number(&mut rest)?),
            _ => return None,
        };
        entries.push((path, before));
    }
    Some(entries)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

fn block<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (block, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(block)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(block(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let mut record = Record::new();
        let all = [
            ("/a", Before::AbsentFile),
            ("/b", Before::AbsentDirectory),
            ("/c", Before::File(b"\0\xff")),
            ("/d", Before::Length(7)),
            ("/e", Before::Directory),
            ("/f", Before::Moved("/g")),
            ("/h", Before::TooLarge(8)),
        ];
        for (path, before) in &all {
            record.push(path, before);
        }
        assert_eq!(entries(&record.into_bytes()).unwrap(), all);
    }

    #[test]
    fn a_damaged_record_is_refused_at_every_length() {
        let mut record = Record::new();
        record.push("/a", &Before::File(b"abc"));
        let bytes = record.into_bytes();
        for length in (0..bytes.len()).filter(|length| *length != 1) {
            assert_eq!(entries(&bytes[..length]).unwrap_err().code, "unknown-undo", "{length}");
        }
        assert!(entries(&[2]).is_err(), "another version");
    }

    #[test]
    fn content_past_the_limit_leaves_only_a_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big").to_str().unwrap().to_owned();
        File::create(&path).unwrap().set_len(MAX_BYTES).unwrap();
        let mut record = Record::new();
        record.push("/before", &Before::Directory);
        record.push_file(&path).unwrap();
        record.push("/after", &Before::Directory);
        let bytes = record.into_bytes();
        assert!(matches!(entries(&bytes).unwrap()[..], [("/after", Before::TooLarge(n))] if n > MAX_BYTES));
    }
}
