//! The layout of the house: which room may know which, and what no room may do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may use.
const ARROWS: [(&str, &[&str]); 12] = [
    ("types", &[]),
    ("document", &["types"]),
    ("workflow", &["document", "types"]),
    ("policy", &["document", "types"]),
    ("saga", &["types"]),
    ("journal", &["saga", "types"]),
    ("sandbox", &["saga", "types"]),
    ("conformance", &["document", "saga", "sandbox", "types"]),
    ("install", &["document", "policy", "sandbox", "types"]),
    ("engine", &["document", "journal", "policy", "saga", "sandbox", "types", "workflow"]),
    ("serve", &["document", "engine", "journal", "policy", "saga", "types", "workflow"]),
    (
        "cli",
        &[
            "conformance",
            "document",
            "engine",
            "install",
            "journal",
            "policy",
            "saga",
            "sandbox",
            "serve",
            "types",
            "workflow",
        ],
    ),
];

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms that a text names after `crate::`.
fn rooms_used(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    })
}

#[test]
fn arrows_between_rooms_point_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for entry in fs::read_dir(source_folder()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let room = path.file_name().unwrap().to_string_lossy().into_owned();
        let allowed = arrows.get(room.as_str()).unwrap_or_else(|| panic!("the room `{room}` is not in the plan"));
        for (file, text) in sources(&path) {
            for used in rooms_used(&text).filter(|used| arrows.contains_key(used)) {
                assert!(used == room || allowed.contains(&used), "{}: `{room}` must not use `{used}`", file.display());
            }
        }
    }
}

#[test]
fn unsafe_code_stands_in_one_file_only() {
    let allowing: Vec<PathBuf> = sources(&source_folder())
        .into_iter()
        .filter(|(_, text)| text.contains("allow(unsafe_code"))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(allowing, [source_folder().join("sandbox/cache.rs")]);
}

#[test]
fn no_file_grows_beyond_what_one_can_read() {
    for (file, text) in sources(&source_folder()) {
        let lines = text.lines().count();
        assert!(lines <= 800, "{} has {lines} lines: split it", file.display());
    }
}
