//! `io.fs.make_dir`, `io.fs.move`, `io.fs.delete`: changes of what exists where.

use std::fs;
use std::io::ErrorKind;

use redress_guest::Failure;
use redress_guest::serde_json::{self, Value, json};
use serde::Deserialize;

use crate::Save;
use crate::path::{below_grant, check, look, parent};
use crate::read::{At, FromTo};
use crate::record::{Before, Record, entries};
use crate::restore::{begin, restore_one};

/// Makes a directory and its missing parents.
pub fn make_dir(input: &At, save: Save) -> Result<Value, Failure> {
    let path = input.checked()?;
    // Deepest first, as undo must remove them.
    let mut record = Record::new();
    let mut next = Some(path);
    while let Some(missing) = next.filter(|path| *path != "/") {
        match look(missing)? {
            Some(_) if is_dir(missing) => break,
            Some(_) => return Err(Failure::conflict(format!("`{missing}` exists and is not a directory"))),
            None => record.push(missing, &Before::AbsentDirectory),
        }
        next = parent(missing);
    }
    let record = begin(record, save)?;
    let mut created = Vec::new();
    for (missing, _) in entries(&record)?.into_iter().rev() {
        match fs::create_dir(missing) {
            Ok(()) => created.push(missing),
            // Somebody else made it meanwhile: it is there, and it is not ours to remove.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_dir(missing) => {}
            Err(error) => return Err(Failure::io("make", missing, &error)),
        }
    }
    Ok(json!({ "path": path, "created": created }))
}

/// Removes the directories that were made: by the output if there is one, else those that were missing.
pub fn undo_make_dir(undo: &[Vec<u8>], output: Option<&str>) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Output {
        created: Vec<String>,
    }
    let Some(bytes) = undo.first() else { return Ok(()) };
    let output: Option<Output> = output.and_then(|output| serde_json::from_str(output).ok());
    for (path, before) in entries(bytes)? {
        if output.as_ref().is_none_or(|output| output.created.iter().any(|made| made == path)) {
            restore_one(path, &before)?;
        }
    }
    Ok(())
}

/// Renames a file or directory.
pub fn rename(input: &FromTo, save: Save) -> Result<Value, Failure> {
    let (from, to) = input.checked()?;
    let mut record = Record::new();
    if look(from)?.is_some() {
        below_grant(from)?;
        record.push(from, &Before::Moved(to));
    }
    if look(to)?.is_some_and(|found| found.is_file()) {
        record.push_file(to)?;
    }
    begin(record, save)?;
    let source = look(from)?.ok_or_else(|| Failure::new("not-found", format!("`{from}` does not exist")))?;
    if !source.is_file() && !source.is_dir() {
        return Err(Failure::invalid_input(format!("`{from}` is neither a file nor a directory")));
    }
    match look(to)? {
        None => {}
        Some(found) if found.is_file() && source.is_file() => {}
        Some(_) => {
            return Err(Failure::conflict(format!("`{to}` exists: only a file can be replaced, and only by a file")));
        }
    }
    fs::rename(from, to).map_err(|error| {
        let failure = Failure::io("move", from, &error);
        match error.kind() {
            ErrorKind::CrossesDevices => failure.with_details("`from` and `to` must lie in the same granted directory"),
            _ => failure,
        }
    })?;
    Ok(json!({ "from": from, "to": to }))
}

/// The input of `delete`.
#[derive(Deserialize)]
pub struct Delete {
    path: String,
    #[serde(default)]
    recursive: bool,
}

/// Removes a file or a directory.
pub fn delete(input: &Delete, save: Save) -> Result<Value, Failure> {
    let path = check(&input.path)?;
    let mut record = Record::new();
    if look(path)?.is_some() {
        below_grant(path)?;
        push_tree(&mut record, path, input.recursive)?;
    }
    let record = begin(record, save)?;
    let tree = entries(&record)?;
    if tree.is_empty() {
        return Err(Failure::new("not-found", format!("`{path}` does not exist")));
    }
    for (path, before) in tree.iter().rev() {
        let removed = match before {
            Before::Directory => fs::remove_dir(path),
            _ => fs::remove_file(path),
        };
        removed.map_err(|error| Failure::io("delete", path, &error))?;
    }
    Ok(json!({ "path": path }))
}

/// Parents first, as undo must make them.
fn push_tree(record: &mut Record, path: &str, recursive: bool) -> Result<(), Failure> {
    let Some(found) = look(path)? else { return Ok(()) };
    if found.is_file() {
        return record.push_file(path);
    }
    if !found.is_dir() {
        return Err(Failure::invalid_input(format!(
            "`{path}` is neither a file nor a directory: its undo could not make it again"
        )));
    }
    record.push(path, &Before::Directory);
    let failure = |error| Failure::io("list", path, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failure)? {
        let name = entry.map_err(failure)?.file_name();
        names.push(
            name.into_string().map_err(|_| Failure::new("io-error", format!("a name in `{path}` is not UTF-8")))?,
        );
    }
    if !names.is_empty() && !recursive {
        return Err(Failure::invalid_input(format!(
            "`{path}` is not empty: say `recursive: true` to delete all of it"
        )));
    }
    names.sort();
    names.iter().try_for_each(|name| push_tree(record, &format!("{path}/{name}"), recursive))
}

fn is_dir(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}
