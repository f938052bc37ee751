//! `io.fs.*`: files and directories.
//!
//! Every change goes the same way: look at the targets, hand over a [`record`] of how they are, take back the record in
//! force, and if that is an earlier attempt's, first restore from it. So a retry starts from the same world as the first
//! attempt, and each change is idempotent. `compensate` restores from the record and is the same for all of them, save
//! that a known output narrows what `make_dir` removes.
//!
//! Files are rewritten in place, never replaced, so that their mode bits and owner stay.

mod path;
mod read;
mod record;
mod restore;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use redress_guest::serde_json::Value;
use redress_guest::{Call, Capability, Compensation, Effect, Failure, Risk, input, object, undo};

/// Hands a record over and returns those in force.
type Save<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<Vec<u8>>, String>;

fn save(state: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    undo::save(state)
}

fn nothing_to_undo(_: &Compensation) -> Result<(), Failure> {
    Ok(())
}

fn compensate(call: &Compensation) -> Result<(), Failure> {
    call.undo.first().map_or(Ok(()), |record| restore::restore(record))
}

fn compensate_make_dir(call: &Compensation) -> Result<(), Failure> {
    tree::undo_make_dir(&call.undo, call.output.as_deref())
}

fn reads(
    id: &'static str,
    title: &'static str,
    summary: &'static str,
    output: Value,
    execute: fn(&Call) -> Result<Value, Failure>,
) -> Capability {
    Capability {
        id,
        title,
        summary,
        risk: Risk::Low,
        effect: Effect::None,
        idempotent: true,
        permissions: &["fs:read"],
        input: object(&[("path", schema::path())]),
        output,
        execute,
        compensate: nothing_to_undo,
    }
}

fn changes(
    id: &'static str,
    title: &'static str,
    summary: &'static str,
    input: Value,
    output: Value,
    execute: fn(&Call) -> Result<Value, Failure>,
) -> Capability {
    Capability {
        id,
        title,
        summary,
        risk: Risk::Medium,
        effect: Effect::Reversible,
        idempotent: true,
        permissions: &["fs:read", "fs:write"],
        input,
        output,
        execute,
        compensate,
    }
}

fn capabilities() -> Vec<Capability> {
    vec![
        reads(
            "io.fs.read_file",
            "Read a file",
            "Returns the content of a file of at most 3 MiB.",
            schema::read_file(),
            |call| read::read_file(&input(&call.input)?),
        ),
        reads(
            "io.fs.list_dir",
            "List a directory",
            "Returns the entries of a directory, sorted by name.",
            schema::list_dir(),
            |call| read::list_dir(&input(&call.input)?),
        ),
        reads(
            "io.fs.exists",
            "Look whether a path exists",
            "Says whether something is there, and what.",
            schema::exists(),
            |call| read::exists(&input(&call.input)?),
        ),
        reads(
            "io.fs.hash_file",
            "Digest a file",
            "Returns the SHA-256 and size of a file of any size.",
            schema::digest(),
            |call| read::hash_file(&input(&call.input)?),
        ),
        changes(
            "io.fs.write_file",
            "Write a file",
            "Makes a file or replaces the content of one. Undo restores the content, or removes the file.",
            schema::content_input(),
            schema::written(),
            |call| write::write_file(input(&call.input)?, &save),
        ),
        changes(
            "io.fs.append_file",
            "Append to a file",
            "Adds to the end of a file, or makes it. Undo cuts the file to its old length, or removes it.",
            schema::content_input(),
            schema::written(),
            |call| write::append_file(input(&call.input)?, &save),
        ),
        Capability {
            compensate: compensate_make_dir,
            ..changes(
                "io.fs.make_dir",
                "Make a directory",
                "Makes a directory and its missing parents; one that exists is left as it is. Undo removes those it made.",
                object(&[("path", schema::path())]),
                schema::made(),
                |call| tree::make_dir(&input(&call.input)?, &save),
            )
        },
        changes(
            "io.fs.copy",
            "Copy a file",
            "Copies the content of a file to another, which is made or overwritten. Undo restores that other file.",
            schema::from_to(),
            schema::from_to(),
            |call| write::copy(&input(&call.input)?, &save),
        ),
        changes(
            "io.fs.move",
            "Move a file or directory",
            "Renames within one granted directory; a file may replace a file. Undo moves it back and restores what it replaced.",
            schema::from_to(),
            schema::from_to(),
            |call| tree::rename(&input(&call.input)?, &save),
        ),
        Capability {
            risk: Risk::High,
            ..changes(
                "io.fs.delete",
                "Delete a file or directory",
                "Removes a file, an empty directory, or with `recursive` a tree of up to 15 MiB. Undo makes it again.",
                schema::delete(),
                object(&[("path", schema::path())]),
                |call| tree::delete(&input(&call.input)?, &save),
            )
        },
    ]
}

redress_guest::component!(capabilities);
