//! From a record back to the world that it describes.
//!
//! Safe to repeat, and right whether the change happened, happened in part, or never: each entry is compared with what is
//! there now. A file is rewritten in place; only what is absent is made again; a directory is removed only if it was
//! absent before and is empty now.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};

use redress_guest::Failure;

use crate::Save;
use crate::path::look;
use crate::record::{Before, Record, entries};

/// Hands the record over and returns the one in force. If that is an earlier attempt's, the world is first made as that
/// one found it.
pub fn begin(record: Record, save: Save) -> Result<Vec<u8>, Failure> {
    let record = record.into_bytes();
    let refused = |reason| Failure::new("undo-refused", reason);
    let in_force = save(&record).map_err(refused)?.into_iter().next();
    let in_force = in_force.ok_or_else(|| refused("the host returned no undo record".to_owned()))?;
    if in_force != record {
        restore(&in_force)?;
    } else if let [(path, Before::TooLarge(bytes))] = entries(&record)?[..] {
        let message = format!("undoing this needs at least {bytes} bytes, counted up to `{path}`; the most is 15 MiB");
        return Err(Failure::new("undo_too_large", message));
    }
    Ok(in_force)
}

/// Makes every path as its entry in the record says, in order.
pub fn restore(record: &[u8]) -> Result<(), Failure> {
    entries(record)?.into_iter().try_for_each(|(path, before)| restore_one(path, &before))
}

/// Makes one path as it was.
pub fn restore_one(path: &str, before: &Before) -> Result<(), Failure> {
    match before {
        Before::AbsentFile => remove_file(path),
        Before::AbsentDirectory => remove_directory(path),
        Before::File(content) if holds(path, content) => Ok(()),
        Before::File(content) => overwrite(path, content),
        Before::Length(length) => cut(path, *length),
        Before::Directory => make_directory(path),
        Before::Moved(to) => move_back(path, to),
        Before::TooLarge(_) => Ok(()),
    }
}

/// Writes a whole file in place, making it if it is absent.
pub fn overwrite(path: &str, content: &[u8]) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)
    };
    write().map_err(|error| Failure::io("write", path, &error))
}

/// Whether the file already has this content; then nothing needs to be opened for writing, which may not be possible.
fn holds(path: &str, content: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let (mut rest, mut buffer) = (content, vec![0; 64 << 10]);
    while let Ok(read) = file.read(&mut buffer) {
        let Some(after) = buffer.get(..read).and_then(|bytes| rest.strip_prefix(bytes)) else { return false };
        if read == 0 {
            return rest.is_empty();
        }
        rest = after;
    }
    false
}

fn remove_file(path: &str) -> Result<(), Failure> {
    match look(path)? {
        None => Ok(()),
        Some(found) if found.is_file() => fs::remove_file(path).map_err(|error| Failure::io("remove", path, &error)),
        Some(_) => Err(Failure::conflict(format!("`{path}` was made a file and is now something else"))),
    }
}

fn remove_directory(path: &str) -> Result<(), Failure> {
    match look(path)? {
        None => Ok(()),
        Some(found) if found.is_dir() => fs::remove_dir(path).map_err(|error| Failure::io("remove", path, &error)),
        Some(_) => Err(Failure::conflict(format!("`{path}` was made a directory and is now something else"))),
    }
}

fn cut(path: &str, length: u64) -> Result<(), Failure> {
    let failure = |error| Failure::io("cut", path, &error);
    let now = fs::metadata(path).map_err(failure)?.len();
    if now < length {
        return Err(Failure::conflict(format!(
            "`{path}` has {now} bytes, fewer than the {length} before it was appended to"
        )));
    }
    if now == length {
        return Ok(());
    }
    let file: File = OpenOptions::new().write(true).open(path).map_err(failure)?;
    file.set_len(length).map_err(failure)
}

fn make_directory(path: &str) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Failure::io("make", path, &error)),
        _ => Ok(()),
    }
}

fn move_back(from: &str, to: &str) -> Result<(), Failure> {
    match (look(from)?, look(to)?) {
        (Some(_), _) => Ok(()),
        (None, Some(_)) => fs::rename(to, from).map_err(|error| Failure::io("move back to", from, &error)),
        (None, None) => Err(Failure::conflict(format!("`{from}` was moved to `{to}` and is now in neither place"))),
    }
}
