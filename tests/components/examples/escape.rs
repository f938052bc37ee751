//! Tries to get out of its grant. The input chooses how; the output says what came of it.

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::time::SystemTime;

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Failure, undo};
use test_guests::{Input, pure, reversible};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

fn capabilities() -> Vec<Capability> {
    vec![reversible("test.escape", escape), pure("test.peek", peek)]
}

/// `{how, path, to?, content?}`: saves an empty record, then tries; returns `{ok, error}`.
fn escape(call: &Call) -> Result<Value, Failure> {
    undo::save(b"[]").map_err(|reason| Failure::new("undo-refused", reason))?;
    peek(call)
}

/// The same without a record: reading needs none.
fn peek(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    Ok(match attempt(&input) {
        Ok(value) => json!({ "ok": value, "error": null }),
        Err(error) => json!({ "ok": null, "error": error }),
    })
}

fn attempt(input: &Input) -> Result<Value, String> {
    let (path, to, content) = (input.text("path"), input.text("to"), input.text("content").as_bytes());
    let text = |bytes: Vec<u8>| json!(String::from_utf8_lossy(&bytes));
    let done = |result: io::Result<()>| result.map(|()| json!("done")).map_err(|error| error.to_string());
    match input.text("how") {
        "read" => fs::read(path).map(text).map_err(|error| error.to_string()),
        "read_some" => read_some(path).map(text).map_err(|error| error.to_string()),
        "stat" => fs::metadata(path).map(|found| json!(found.len())).map_err(|error| error.to_string()),
        "list" => list(path).map_err(|error| error.to_string()),
        "read_link" => fs::read_link(path).map(|to| json!(to)).map_err(|error| error.to_string()),
        "write" => done(fs::write(path, content)),
        "append" => done(OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(content))),
        "truncate" => done(OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0))),
        "create_new" => done(File::create_new(path).map(drop)),
        "mkdir" => done(fs::create_dir(path)),
        "rmdir" => done(fs::remove_dir(path)),
        "unlink" => done(fs::remove_file(path)),
        "rename" => done(fs::rename(path, to)),
        "hard_link" => done(fs::hard_link(path, to)),
        "hard_link_write" => done(fs::hard_link(path, to).and_then(|()| fs::write(to, content))),
        "symlink" => done(make_symlink(path, to)),
        "symlink_write" => done(make_symlink(path, to).and_then(|()| fs::write(to, content))),
        "set_times" => done(File::open(path).and_then(|file| file.set_times(epoch()))),
        "raw_open" => raw(path, false),
        "raw_create" => raw(path, true),
        "raw_symlink" => raw_symlink(path, to),
        other => Err(format!("there is no way called `{other}`")),
    }
}

fn read_some(path: &str) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 16];
    let read = File::open(path)?.read(&mut buffer)?;
    buffer.truncate(read);
    Ok(buffer)
}

fn list(path: &str) -> io::Result<Value> {
    let names: io::Result<Vec<String>> =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    Ok(json!(names?))
}

fn epoch() -> FileTimes {
    FileTimes::new().set_modified(SystemTime::UNIX_EPOCH).set_accessed(SystemTime::UNIX_EPOCH)
}

/// A link at `link` that says `to`.
fn make_symlink(to: &str, link: &str) -> io::Result<()> {
    unsafe extern "C" {
        fn symlink(to: *const c_char, link: *const c_char) -> c_int;
    }
    let (to, link) = (CString::new(to)?, CString::new(link)?);
    // SAFETY: both are NUL-terminated and live through the call.
    match unsafe { symlink(to.as_ptr(), link.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Opens beneath the first granted directory with the path exactly as it is, past the C library's resolution.
fn raw(path: &str, create: bool) -> Result<Value, String> {
    let directories = get_directories();
    let (directory, _) = directories.first().ok_or("no directory is granted")?;
    let (open, flags) = match create {
        true => (OpenFlags::CREATE, DescriptorFlags::WRITE),
        false => (OpenFlags::empty(), DescriptorFlags::READ),
    };
    let opened = directory.open_at(PathFlags::SYMLINK_FOLLOW, path, open, flags).map_err(|code| format!("{code:?}"))?;
    match create {
        true => opened.write(b"raw", 0).map(|written| json!(written)).map_err(|code| format!("{code:?}")),
        false => opened
            .read(64, 0)
            .map(|(bytes, _)| json!(String::from_utf8_lossy(&bytes)))
            .map_err(|code| format!("{code:?}")),
    }
}

fn raw_symlink(to: &str, link: &str) -> Result<Value, String> {
    let directories = get_directories();
    let (directory, _) = directories.first().ok_or("no directory is granted")?;
    directory.symlink_at(to, link).map(|()| json!("done")).map_err(|code| format!("{code:?}"))
}

redress_guest::component!(capabilities);
