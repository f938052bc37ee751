//! The promises of the component, on real files and with a host that keeps the record in force.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use redress_guest::Failure;
use redress_guest::serde_json::{self, Value, json};

use crate::{read, restore, tree, write};

/// A folder, and what the host keeps of one step.
struct Step {
    folder: tempfile::TempDir,
    record: RefCell<Vec<Vec<u8>>>,
}

impl Step {
    fn new() -> Step {
        Step { folder: tempfile::tempdir().unwrap(), record: RefCell::default() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(Path::new(&self.path(name)).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    /// One attempt of `verb`; values beginning with `@` are names in the folder.
    fn execute(&self, verb: &str, input: Value) -> Result<Value, Failure> {
        let save = |bytes: &[u8]| {
            let mut record = self.record.borrow_mut();
            if record.is_empty() {
                record.push(bytes.to_vec());
            }
            Ok(record.clone())
        };
        let input = input.to_string().replace('@', &format!("{}/", self.folder.path().display()));
        let input: Value = serde_json::from_str(&input).unwrap();
        match verb {
            "write" => write::write_file(parse(input), &save),
            "append" => write::append_file(parse(input), &save),
            "copy" => write::copy(&parse(input), &save),
            "move" => tree::rename(&parse(input), &save),
            "make_dir" => tree::make_dir(&parse(input), &save),
            "delete" => tree::delete(&parse(input), &save),
            "read" => read::read_file(&parse(input)),
            "list" => read::list_dir(&parse(input)),
            "exists" => read::exists(&parse(input)),
            _ => read::hash_file(&parse(input)),
        }
    }

    fn compensate(&self) -> Result<(), Failure> {
        self.record.borrow().first().map_or(Ok(()), |record| restore::restore(record))
    }

    /// Every path below the folder, with the content of files.
    fn tree(&self) -> Vec<(String, Option<Vec<u8>>)> {
        fn walk(folder: &Path, found: &mut Vec<(String, Option<Vec<u8>>)>) {
            let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            for path in paths {
                found.push((path.display().to_string(), fs::read(&path).ok()));
                if path.is_dir() {
                    walk(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found
    }
}

fn parse<T: serde::de::DeserializeOwned>(input: Value) -> T {
    serde_json::from_value(input).unwrap()
}

/// Every change, on a folder with `old` (binary), `dir/inner` and `empty/`.
fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("write", json!({ "path": "@new", "content": "a" })),
        ("write", json!({ "path": "@old", "content": "shorter" })),
        ("write", json!({ "path": "@old", "content_base64": "AP8AAP8AAP8AAP8AAP8AAP8A" })),
        ("append", json!({ "path": "@new", "content": "a" })),
        ("append", json!({ "path": "@old", "content": "more" })),
        ("copy", json!({ "from": "@dir/inner", "to": "@new" })),
        ("copy", json!({ "from": "@dir/inner", "to": "@old" })),
        ("move", json!({ "from": "@dir/inner", "to": "@new" })),
        ("move", json!({ "from": "@dir/inner", "to": "@old" })),
        ("move", json!({ "from": "@dir", "to": "@new" })),
        ("make_dir", json!({ "path": "@a/b/c" })),
        ("make_dir", json!({ "path": "@dir/b" })),
        ("make_dir", json!({ "path": "@dir" })),
        ("delete", json!({ "path": "@old" })),
        ("delete", json!({ "path": "@empty" })),
        ("delete", json!({ "path": "@dir", "recursive": true })),
    ]
}

fn world() -> Step {
    let step = Step::new();
    step.put("old", b"\0\xff old content");
    step.put("dir/inner", b"inner");
    step.put("dir/deep/er", b"");
    fs::create_dir(step.path("empty")).unwrap();
    step
}

#[test]
fn every_change_is_undone_exactly_and_twice_is_as_once() {
    for (verb, input) in changes() {
        let step = world();
        let before = step.tree();
        step.execute(verb, input.clone()).unwrap();
        assert_eq!(step.tree() == before, input == json!({ "path": "@dir" }), "{verb} {input}");
        step.compensate().unwrap();
        assert_eq!(step.tree(), before, "{verb} {input}");
        step.compensate().unwrap();
        assert_eq!(step.tree(), before, "{verb} {input} twice");
    }
}

#[test]
fn a_second_attempt_ends_as_the_first() {
    for (verb, input) in changes() {
        let step = world();
        let before = step.tree();
        let first = step.execute(verb, input.clone()).unwrap();
        let after = step.tree();
        assert_eq!(step.execute(verb, input.clone()).unwrap(), first, "{verb} {input}");
        assert_eq!(step.tree(), after, "{verb} {input}");
        step.compensate().unwrap();
        assert_eq!(step.tree(), before, "{verb} {input}");
    }
}

#[test]
fn undo_of_what_never_happened_changes_nothing() {
    for (verb, input) in changes() {
        let done = world();
        done.execute(verb, input.clone()).unwrap();
        let never = world();
        let record = done.record.borrow()[0].clone();
        let moved = replace(&record, done.folder.path(), never.folder.path());
        never.record.borrow_mut().push(moved);
        let before = never.tree();
        never.compensate().unwrap();
        assert_eq!(never.tree(), before, "{verb} {input}");
    }
}

/// Temporary folders have names of one length, so that a record can be moved between them.
fn replace(record: &[u8], from: &Path, to: &Path) -> Vec<u8> {
    let (from, to) = (from.to_str().unwrap().as_bytes(), to.to_str().unwrap().as_bytes());
    let mut record = record.to_vec();
    for at in 0..record.len().saturating_sub(from.len()) {
        if record[at..].starts_with(from) {
            record[at..at + to.len()].copy_from_slice(to);
        }
    }
    record
}

#[test]
fn a_file_written_in_part_or_deleted_in_part_is_restored() {
    let step = world();
    let before = step.tree();
    step.execute("write", json!({ "path": "@old", "content": "0123456789012345678901234567890123456789" })).unwrap();
    step.put("old", b"0123");
    step.compensate().unwrap();
    assert_eq!(step.tree(), before);

    let step = world();
    let before = step.tree();
    step.execute("delete", json!({ "path": "@dir", "recursive": true })).unwrap();
    step.put("dir/inner", b"in");
    step.compensate().unwrap();
    assert_eq!(step.tree(), before);
}

#[test]
fn a_rewritten_file_keeps_its_mode_and_its_inode() {
    let step = world();
    let path = step.path("old");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap();
    step.execute("write", json!({ "path": "@old", "content": "x" })).unwrap();
    step.compensate().unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mode(), after.ino()), (before.mode(), before.ino()));
}

#[test]
fn a_move_of_what_is_not_there_leaves_the_other_place_alone() {
    let step = world();
    let before = step.tree();
    assert_eq!(step.execute("move", json!({ "from": "@none", "to": "@old" })).unwrap_err().code, "not-found");
    step.compensate().unwrap();
    assert_eq!(step.tree(), before);
}

#[test]
fn what_others_put_into_a_made_directory_is_never_removed() {
    let step = world();
    step.execute("make_dir", json!({ "path": "@a/b" })).unwrap();
    step.put("a/b/theirs", b"x");
    assert_eq!(step.compensate().unwrap_err().code, "conflict");
    assert!(fs::exists(step.path("a/b/theirs")).unwrap());
}

#[test]
fn a_directory_that_somebody_else_made_meanwhile_is_left() {
    let step = world();
    let output = step.execute("make_dir", json!({ "path": "@a/b" })).unwrap();
    let output = json!({ "path": output["path"], "created": [step.path("a/b")] }).to_string();
    tree::undo_make_dir(&step.record.borrow(), Some(&output)).unwrap();
    assert!(fs::exists(step.path("a")).unwrap() && !fs::exists(step.path("a/b")).unwrap());
    tree::undo_make_dir(&step.record.borrow(), None).unwrap();
    assert!(!fs::exists(step.path("a")).unwrap());
}

#[test]
fn outputs_say_what_happened() {
    let step = world();
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let written = step.execute("write", json!({ "path": "@new", "content": "hello" })).unwrap();
    assert_eq!(written, json!({ "path": step.path("new"), "sha256": hello, "size": 5, "created": true }));
    let hashed = step.execute("hash", json!({ "path": "@new" })).unwrap();
    assert_eq!(hashed, json!({ "path": step.path("new"), "sha256": hello, "size": 5 }));
    let text = step.execute("read", json!({ "path": "@new" })).unwrap();
    assert_eq!(text, json!({ "path": step.path("new"), "content": "hello", "sha256": hello, "size": 5 }));
    let binary = step.execute("read", json!({ "path": "@old" })).unwrap();
    assert_eq!(binary["content_base64"], "AP8gb2xkIGNvbnRlbnQ=");
    let listed = step.execute("list", json!({ "path": "@dir" })).unwrap();
    let entries =
        json!([{ "name": "deep", "type": "directory", "size": 0 }, { "name": "inner", "type": "file", "size": 5 }]);
    assert_eq!(listed["entries"], entries);
    assert_eq!(step.execute("exists", json!({ "path": "@dir" })).unwrap()["type"], "directory");
    assert_eq!(step.execute("exists", json!({ "path": "@none/x" })).unwrap()["exists"], false);
}

#[test]
fn if_sha256_binds_a_change_to_the_content_that_was_seen() {
    let step = world();
    let before = step.tree();
    let other = "0".repeat(64);
    for verb in ["write", "append"] {
        let refused = step.execute(verb, json!({ "path": "@old", "content": "x", "if_sha256": other })).unwrap_err();
        assert_eq!(refused.code, "conflict");
        let refused = step.execute(verb, json!({ "path": "@new", "content": "x", "if_sha256": other })).unwrap_err();
        assert_eq!(refused.code, "conflict");
    }
    assert_eq!(step.tree(), before);
    let found = step.execute("hash", json!({ "path": "@old" })).unwrap()["sha256"].clone();
    step.record.borrow_mut().clear();
    let input = json!({ "path": "@old", "content": "x", "if_sha256": found });
    step.execute("write", input.clone()).unwrap();
    step.execute("write", input).expect("a second attempt sees the file as the first one saw it");
}

#[test]
fn what_cannot_be_done_is_refused_with_a_code_before_anything_changes() {
    let cases = [
        ("write", json!({ "path": "@none/x", "content": "" }), "not-found"),
        ("write", json!({ "path": "@dir", "content": "" }), "invalid-input"),
        ("write", json!({ "path": "relative", "content": "" }), "invalid-input"),
        ("write", json!({ "path": "@dangling", "content": "" }), "not-found"),
        ("append", json!({ "path": "@none/x", "content": "" }), "not-found"),
        ("append", json!({ "path": "@dir", "content": "" }), "invalid-input"),
        ("copy", json!({ "from": "@none", "to": "@new" }), "not-found"),
        ("copy", json!({ "from": "@dir", "to": "@new" }), "invalid-input"),
        ("copy", json!({ "from": "@old", "to": "@old" }), "invalid-input"),
        ("copy", json!({ "from": "@old", "to": "@none/x" }), "not-found"),
        ("move", json!({ "from": "@none", "to": "@new" }), "not-found"),
        ("move", json!({ "from": "@dir", "to": "@old" }), "conflict"),
        ("move", json!({ "from": "@old", "to": "@empty" }), "conflict"),
        ("move", json!({ "from": "@dangling", "to": "@new" }), "invalid-input"),
        ("make_dir", json!({ "path": "@old" }), "conflict"),
        ("make_dir", json!({ "path": "@old/sub" }), "conflict"),
        ("make_dir", json!({ "path": "@dangling" }), "conflict"),
        ("delete", json!({ "path": "@none" }), "not-found"),
        ("delete", json!({ "path": "@dir" }), "invalid-input"),
        ("delete", json!({ "path": "@dangling" }), "invalid-input"),
        ("read", json!({ "path": "@dir" }), "invalid-input"),
        ("list", json!({ "path": "@old" }), "invalid-input"),
        ("hash", json!({ "path": "@none" }), "not-found"),
    ];
    for (verb, input, code) in cases {
        let step = world();
        std::os::unix::fs::symlink("nowhere", step.path("dangling")).unwrap();
        let before = step.tree();
        assert_eq!(step.execute(verb, input.clone()).unwrap_err().code, code, "{verb} {input}");
        assert_eq!(step.tree(), before, "{verb} {input}");
    }
}

#[test]
fn a_change_whose_undo_would_be_too_large_does_not_happen() {
    for (verb, input) in [
        ("write", json!({ "path": "@big", "content": "x" })),
        ("copy", json!({ "from": "@old", "to": "@big" })),
        ("move", json!({ "from": "@old", "to": "@big" })),
        ("delete", json!({ "path": "@", "recursive": true })),
    ] {
        let step = world();
        fs::File::create(step.path("big")).unwrap().set_len(16 << 20).unwrap();
        let input = match verb {
            "delete" => json!({ "path": step.folder.path(), "recursive": true }),
            _ => input,
        };
        assert_eq!(step.execute(verb, input).unwrap_err().code, "undo_too_large", "{verb}");
        assert_eq!(fs::metadata(step.path("big")).unwrap().len(), 16 << 20, "{verb}");
    }
    let step = world();
    fs::File::create(step.path("big")).unwrap().set_len(16 << 20).unwrap();
    step.execute("append", json!({ "path": "@big", "content": "x" })).expect("appending needs no old content");
    step.compensate().unwrap();
    assert_eq!(fs::metadata(step.path("big")).unwrap().len(), 16 << 20);
}

#[test]
fn the_description_is_the_same_each_time_and_names_ten_capabilities() {
    let describe = || redress_guest::describe(&crate::capabilities());
    assert_eq!(describe(), describe());
    let description: Value = serde_json::from_str(&describe()).unwrap();
    assert_eq!(description["schema"], 1);
    assert_eq!(description["capabilities"].as_array().unwrap().len(), 10);
}
