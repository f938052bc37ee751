//! `io.fs.read_file`, `list_dir`, `exists`, `hash_file`: nothing is changed.

use std::fs::{self, File, FileType, Metadata};
use std::io::Read;
use std::path::Path;

use redress_guest::serde_json::{Value, json};
use redress_guest::{Content, Digest, Failure, Sha256, hex, sha256_hex};
use serde::Deserialize;

use crate::path::{check, look};

/// The most that `read_file` returns; larger content would not fit the host's limit for an output once it is base64.
const MAX_READ: u64 = 3 << 20;

/// An input that is a path.
#[derive(Deserialize)]
pub struct At {
    path: String,
}

impl At {
    /// The path, checked.
    pub fn checked(&self) -> Result<&str, Failure> {
        check(&self.path)
    }
}

/// An input of two paths.
#[derive(Deserialize)]
pub struct FromTo {
    from: String,
    to: String,
}

impl FromTo {
    /// Both paths, checked and different.
    pub fn checked(&self) -> Result<(&str, &str), Failure> {
        let (from, to) = (check(&self.from)?, check(&self.to)?);
        if from == to {
            return Err(Failure::invalid_input(format!("`from` and `to` are both `{from}`")));
        }
        Ok((from, to))
    }
}

/// Returns the content of a file.
pub fn read_file(input: &At) -> Result<Value, Failure> {
    let path = input.checked()?;
    let size = regular(path)?.len();
    if size > MAX_READ {
        let message = format!("`{path}` has {size} bytes; a step can read at most 3 MiB");
        return Err(Failure::new("too-large", message));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    let read = File::open(path).and_then(|file| file.take(MAX_READ).read_to_end(&mut bytes));
    read.map_err(|error| Failure::io("read", path, &error))?;
    let (sha256, size) = (sha256_hex(&bytes), bytes.len());
    let (name, content) = Content::field(bytes);
    Ok(json!({ "path": path, name: content, "sha256": sha256, "size": size }))
}

/// Returns the entries of a directory, sorted by name.
pub fn list_dir(input: &At) -> Result<Value, Failure> {
    let path = input.checked()?;
    let failure = |error| Failure::io("list", path, &error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failure)? {
        let entry = entry.map_err(failure)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| Failure::new("io-error", format!("a name in `{path}` is not UTF-8")))?;
        let kind = entry.file_type().map_err(failure)?;
        let size = if kind.is_file() { entry.metadata().map_err(failure)?.len() } else { 0 };
        entries.push((name.to_owned(), kind_name(kind), size));
    }
    entries.sort();
    let entries: Vec<Value> =
        entries.into_iter().map(|(name, kind, size)| json!({ "name": name, "type": kind, "size": size })).collect();
    Ok(json!({ "path": path, "entries": entries }))
}

/// Says whether something is there, and what; links are not followed.
pub fn exists(input: &At) -> Result<Value, Failure> {
    let path = input.checked()?;
    let kind = look(path)?.map(|found| kind_name(found.file_type()));
    // Of what lies in no granted directory nobody knows whether it is there.
    if kind.is_none() && !Path::new(path).ancestors().any(|above| above.symlink_metadata().is_ok()) {
        return Err(Failure::new("unauthorized", format!("`{path}` is in no directory that is granted")));
    }
    Ok(json!({ "path": path, "exists": kind.is_some(), "type": kind }))
}

/// Digests a file of any size.
pub fn hash_file(input: &At) -> Result<Value, Failure> {
    let path = input.checked()?;
    regular(path)?;
    let (sha256, size) = digest(path)?;
    Ok(json!({ "path": path, "sha256": sha256, "size": size }))
}

/// The SHA-256 and size of a file, read piece by piece.
pub fn digest(path: &str) -> Result<(String, u64), Failure> {
    let failure = |error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(failure)?;
    let (mut digest, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut buffer).map_err(failure)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
        size += read as u64;
    }
    Ok((hex(digest), size))
}

/// What is at the path, if that is a regular file; links are followed.
pub fn regular(path: &str) -> Result<Metadata, Failure> {
    let found = fs::metadata(path).map_err(|error| Failure::io("look at", path, &error))?;
    if found.is_file() {
        return Ok(found);
    }
    Err(Failure::invalid_input(format!("`{path}` is not a regular file but: {}", kind_name(found.file_type()))))
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "file",
        _ if kind.is_dir() => "directory",
        _ if kind.is_symlink() => "link",
        _ => "other",
    }
}
