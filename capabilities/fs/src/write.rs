//! `io.fs.write_file`, `io.fs.append_file`, `io.fs.copy`: changes of one file's content.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use redress_guest::serde_json::{Value, json};
use redress_guest::{Content, Failure, sha256_hex};
use serde::Deserialize;

use crate::Save;
use crate::path::{check, look};
use crate::read::{FromTo, digest, regular};
use crate::record::{Before, Record, entries};
use crate::restore::{begin, overwrite};

/// The input of `write_file` and `append_file`.
#[derive(Deserialize)]
pub struct ContentAt {
    path: String,
    #[serde(flatten)]
    content: Content,
    if_sha256: Option<String>,
}

/// Makes the file or replaces its content.
pub fn write_file(input: ContentAt, save: Save) -> Result<Value, Failure> {
    let path = check(&input.path)?;
    let content = input.content.into_bytes()?;
    let record = begin(content_before(path)?, save)?;
    require_sha256(path, input.if_sha256.as_deref())?;
    overwrite(path, &content).map_err(parent_help)?;
    written(path, &record, sha256_hex(&content), content.len() as u64)
}

/// Adds to the end of the file, or makes it.
pub fn append_file(input: ContentAt, save: Save) -> Result<Value, Failure> {
    let path = check(&input.path)?;
    let content = input.content.into_bytes()?;
    let mut record = Record::new();
    match existing(path)? {
        Some(length) => record.push(path, &Before::Length(length)),
        None => record.push(path, &Before::AbsentFile),
    }
    let record = begin(record, save)?;
    require_sha256(path, input.if_sha256.as_deref())?;
    let append = || OpenOptions::new().append(true).create(true).open(path)?.write_all(&content);
    append().map_err(|error| parent_help(Failure::io("append to", path, &error)))?;
    let (sha256, size) = digest(path)?;
    written(path, &record, sha256, size)
}

/// Copies the content of one file to another.
pub fn copy(input: &FromTo, save: Save) -> Result<Value, Failure> {
    let (from, to) = input.checked()?;
    regular(from)?;
    begin(content_before(to)?, save)?;
    let open = |error| Failure::io("read", from, &error);
    let mut source = File::open(from).map_err(open)?;
    let write = |source: &mut File| {
        let mut target = OpenOptions::new().write(true).create(true).truncate(false).open(to)?;
        let copied = io::copy(source, &mut target)?;
        target.set_len(copied)
    };
    write(&mut source).map_err(|error| parent_help(Failure::io("write", to, &error)))?;
    Ok(json!({ "from": from, "to": to }))
}

fn content_before(path: &str) -> Result<Record, Failure> {
    let mut record = Record::new();
    match existing(path)? {
        Some(_) => record.push_file(path)?,
        None => record.push(path, &Before::AbsentFile),
    }
    Ok(record)
}

/// The length of the file that will be changed; none if nothing is there.
fn existing(path: &str) -> Result<Option<u64>, Failure> {
    match look(path)? {
        None => Ok(None),
        // A dangling link would make a file elsewhere, which undo could not find by this path.
        Some(_) => Ok(Some(regular(path)?.len())),
    }
}

fn require_sha256(path: &str, wanted: Option<&str>) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    if look(path)?.is_none() {
        return Err(Failure::conflict(format!("`{path}` does not exist, but `if_sha256` is given")));
    }
    let (found, _) = digest(path)?;
    if found == wanted {
        return Ok(());
    }
    Err(Failure::conflict(format!("`{path}` has changed: its SHA-256 is {found}, not {wanted}")))
}

fn written(path: &str, record: &[u8], sha256: String, size: u64) -> Result<Value, Failure> {
    let created = matches!(entries(record)?.first(), Some((_, Before::AbsentFile)));
    Ok(json!({ "path": path, "sha256": sha256, "size": size, "created": created }))
}

fn parent_help(failure: Failure) -> Failure {
    match failure.code.as_str() {
        "not-found" => failure.with_details("the directory must exist: make it first with `io.fs.make_dir`"),
        _ => failure,
    }
}
