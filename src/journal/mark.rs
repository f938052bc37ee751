//! How far a journal was written, kept in a small file beside it.
//!
//! What was committed last stands in the log at first, which is a file of its own. If that is lost, or an older copy takes the
//! journal's place, the database is whole and ends earlier, and nothing in it says so. So after each commit the number of its
//! last event is written here too, without a sync. It may lag behind the journal, and never runs ahead of it: it comes after the
//! commit, which is on disk.
//!
//! The number stands there twice. If the two differ, or anything else is there, nothing is known, and a journal without a mark
//! is as good as one with it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::error::on_file;

/// How many digits a number has.
const DIGITS: usize = 20;

/// What follows the name of a journal in that of its mark.
const SUFFIX: &str = "-mark";

/// Another journal in the folder of the one at `path`, if there is one.
pub(super) fn neighbour(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let own = mark_of(path);
    for entry in fs::read_dir(super::place::folder(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let journal = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let journal = journal.filter(|_| own.file_name() != Some(&name));
        // A mark can outlive its journal.
        if let Some(journal) = journal.map(|journal| entry.path().with_file_name(journal)).filter(|path| path.exists())
        {
            return Ok(Some(journal));
        }
    }
    Ok(None)
}

/// The mark beside the journal at `path`.
fn mark_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// How many events are known to have been written to the journal at `path`; 0 if nothing is known.
///
/// Asked before the database is: then others who write meanwhile cannot make it look as if events were missing.
pub(super) fn known(path: &Path) -> u64 {
    fs::read(mark_of(path)).ok().and_then(|bytes| parse(&bytes)).unwrap_or(0)
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(bytes).ok()?.lines().next()?;
    let (one, other) = line.split_once(' ')?;
    let digits = one.len() == DIGITS && one.bytes().all(|byte| byte.is_ascii_digit());
    (digits && one == other).then(|| one.parse().ok()).flatten()
}

/// The mark of a journal that is open for writing.
#[derive(Debug)]
pub(super) struct Mark(File);

impl Mark {
    /// Opens the mark of the journal at `path`, and makes it if it is missing.
    pub fn open(path: &Path) -> Result<Mark, JournalError> {
        let mark = mark_of(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&mark).map(Mark).map_err(on_file("open", &mark))
    }

    /// Writes down that event `last` is durable. If that fails less is known, and nothing is lost.
    pub fn note(&self, last: u64) {
        drop(self.put(last));
    }

    /// The same where it must not fail: `last` may be less than what was known.
    pub fn put(&self, last: u64) -> std::io::Result<()> {
        self.0.write_all_at(format!("{last:0DIGITS$} {last:0DIGITS$}\n").as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_was_noted_last_and_any_other_content_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        assert_eq!(known(&path), 0);
        let mark = Mark::open(&path).unwrap();
        assert_eq!(known(&path), 0);
        for last in [1, u64::MAX, 70] {
            mark.note(last);
            assert_eq!(known(&path), last);
        }
        drop(mark);
        Mark::open(&path).unwrap();
        assert_eq!(known(&path), 70);
        let whole = fs::read(mark_of(&path)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&changed).is_none_or(|last| last == 70), "bit {bit}");
        }
        for cut in 0..whole.len() - 1 {
            assert_eq!(parse(&whole[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_mark_that_cannot_be_made_is_named() {
        let error = Mark::open(Path::new("/nonexistent/journal.db")).unwrap_err().to_string();
        assert!(error.contains("`/nonexistent/journal.db-mark`"), "{error}");
    }
}
