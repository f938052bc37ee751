//! States of targets that were noted without a sync, in one file of JSON lines a run.
//!
//! Each note is one `write` that begins with a line break, so that a note that was torn by a crash stands alone; what is not a
//! whole note is left out when they are read. What does not begin with a line break was not made here, and is never removed.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::error::on_file;
use crate::saga::event::TargetNote;
use crate::types::RunId;

fn file(dir: &Path, run: &RunId) -> PathBuf {
    dir.join(format!("{run}.jsonl"))
}

/// Adds a note; makes the file if it is the run's first.
pub(super) fn note(dir: &Path, run: &RunId, note: &TargetNote) -> Result<(), JournalError> {
    let path = file(dir, run);
    let line = serde_json::to_string(note).map_err(|error| on_file("note a target in", &path)(error.into()))?;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("\n{line}").as_bytes()))
        .map_err(on_file("note a target in", &path))
}

/// All whole notes, oldest first.
pub(super) fn noted(dir: &Path, run: &RunId) -> Result<Vec<TargetNote>, JournalError> {
    let path = file(dir, run);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(on_file("read", &path))?,
    };
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Removes the notes of runs that have ended: their process may have died before it did.
pub(super) fn forget_ended(dir: &Path, ended: impl Fn(&RunId) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|run| RunId::parse(run).ok());
        if let Some(run) = run.filter(&ended) {
            forget(dir, &run);
        }
    }
}

/// Removes a run's notes. Whether that succeeds does not matter to anybody: they are read only while the run goes on.
pub(super) fn forget(dir: &Path, run: &RunId) {
    let path = file(dir, run);
    if is_made_here(&path) {
        drop(fs::remove_file(path));
    }
}

/// Whether a file begins as one of notes does; one that was made and never written to is empty.
fn is_made_here(path: &Path) -> bool {
    let mut first = Vec::new();
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
        && fs::File::open(path).is_ok_and(|file| file.take(1).read_to_end(&mut first).is_ok())
        && (first.is_empty() || first == b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{StepName, Target, TargetState};

    #[test]
    fn a_torn_note_is_left_out_and_hurts_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::parse("01920000-0000-7000-8000-00000000000a").unwrap();
        assert_eq!(noted(dir.path(), &run), Ok(vec![]));
        let one = |attempt| TargetNote {
            step: StepName::parse("a").unwrap(),
            attempt,
            target: Target::File { host: "/w/a\nb".into(), guest: "/a\nb".into() },
            before: TargetState::Absent,
        };
        note(dir.path(), &run, &one(1)).unwrap();
        let whole = fs::read(file(dir.path(), &run)).unwrap();
        for cut in 1..whole.len() {
            fs::write(file(dir.path(), &run), [&whole[..], &whole[..cut]].concat()).unwrap();
            note(dir.path(), &run, &one(2)).unwrap();
            assert_eq!(noted(dir.path(), &run).unwrap(), [one(1), one(2)], "cut at {cut}");
        }
        forget(dir.path(), &run);
        forget(dir.path(), &run);
        assert_eq!(noted(dir.path(), &run), Ok(vec![]));
    }

    #[test]
    fn what_was_not_made_here_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let run = |last: u32| RunId::parse(&format!("01920000-0000-7000-8000-{last:012}")).unwrap();
        for (last, content) in [(1, ""), (2, "\n"), (3, "\n{"), (4, "{}\n")] {
            fs::write(file(dir.path(), &run(last)), content).unwrap();
        }
        std::os::unix::fs::symlink(file(dir.path(), &run(4)), file(dir.path(), &run(5))).unwrap();
        fs::create_dir(file(dir.path(), &run(6))).unwrap();
        fs::write(dir.path().join("list.jsonl"), "\n").unwrap();
        fs::write(dir.path().join(format!("{}.txt", run(7))), "\n").unwrap();
        forget_ended(dir.path(), |_| true);
        let mut left: Vec<String> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let own = [4, 5, 6].map(|last| format!("{}.jsonl", run(last)));
        assert_eq!(left, [&own[..], &[format!("{}.txt", run(7)), "list.jsonl".to_owned()]].concat());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let run = RunId::parse("01920000-0000-7000-8000-00000000000a").unwrap();
        let note_of = TargetNote {
            step: StepName::parse("a").unwrap(),
            attempt: 1,
            target: Target::File { host: "/w".into(), guest: "/".into() },
            before: TargetState::Absent,
        };
        let error = note(Path::new("/nonexistent"), &run, &note_of).unwrap_err().to_string();
        assert!(error.contains("`/nonexistent/01920000"), "{error}");
    }
}
