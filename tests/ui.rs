//! Pairs of files: `tests/ui/ROOM/x.yaml` and, in `x.err`, all that the room has to say about it. A file without an
//! `.err` loads and there is nothing to say. New cases need no new code; `REDRESS_BLESS=1` writes the `.err` files.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use redress::document::{Diagnostics, Source};
use redress::policy::{Policy, lint};
use redress::types::Permission;
use redress::workflow::Workflow;
use serde_json::Map;
use support::catalog;

/// Reads a document and gives what is to be said about it, be it errors or warnings.
type Room = fn(Source) -> Diagnostics;

const ROOMS: &[(&str, Room)] = &[("policy", policy), ("lint", warned), ("workflow", workflow)];

fn policy(source: Source) -> Diagnostics {
    match Policy::load(source, "/base") {
        Ok((_, said)) | Err(said) => said,
    }
}

/// A policy that loads, with all that it is warned of; what works on files asks for them.
fn warned(source: Source) -> Diagnostics {
    let mut catalog = catalog();
    for info in catalog.0.values_mut().filter(|info| info.id.as_str().starts_with("io.fs.")) {
        info.permissions = vec![Permission::FsWrite];
    }
    let (policy, mut said) = Policy::load(source, "/base").unwrap_or_else(|errors| panic!("{errors}"));
    for warning in lint(&policy, &catalog).iter() {
        said.push(warning.clone());
    }
    said
}

fn workflow(source: Source) -> Diagnostics {
    match Workflow::load(&source, &catalog(), &Map::new()) {
        Ok((_, said)) | Err(said) => said,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn every_document_is_answered_as_its_err_file_says() {
    let bless = std::env::var_os("REDRESS_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, room) in ROOMS {
        let folder = folder().join(name);
        for file in names_in(&folder).iter().filter(|file| file.ends_with(".yaml")) {
            let bytes = std::fs::read(folder.join(file)).unwrap();
            let said = match Source::from_bytes(file.as_str(), &bytes) {
                Ok(source) => room(source),
                Err(refused) => refused,
            };
            let said = if said.is_empty() { String::new() } else { said.to_string() };
            let err = folder.join(file).with_extension("err");
            if bless {
                if said.is_empty() {
                    let _ = std::fs::remove_file(&err);
                } else {
                    std::fs::write(&err, &said).unwrap();
                }
            }
            let expected = std::fs::read_to_string(&err).unwrap_or_default();
            if said != expected {
                wrong.push(format!("{name}/{file}\n--- expected\n{expected}--- said\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_err_file_has_its_document_and_every_folder_its_room() {
    let rooms: Vec<&str> = ROOMS.iter().map(|(name, _)| *name).collect();
    for name in names_in(&folder()) {
        assert!(rooms.contains(&name.as_str()), "tests/ui/{name} has no room in tests/ui.rs");
        let files = names_in(&folder().join(&name));
        for file in files.iter().filter_map(|file| file.strip_suffix(".err")) {
            assert!(files.contains(&format!("{file}.yaml")), "{name}/{file}.err has no document");
        }
    }
}

/// The code of every warning that stands in the sources of a room.
fn warnings_of(folder: &Path) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes.extend(warnings_of(&path));
            continue;
        }
        let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
        let quoted = text.split("Diagnostic::warning(\"").skip(1);
        codes.extend(quoted.map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    codes
}

#[test]
fn every_warning_about_a_policy_has_its_pair_of_files() {
    let mut shown = BTreeSet::new();
    for file in names_in(&folder().join("lint")).iter().filter(|file| file.ends_with(".yaml")) {
        let text = std::fs::read_to_string(folder().join("lint").join(file)).unwrap();
        shown.extend(warned(Source::new(file.as_str(), text)).iter().map(|one| one.code.to_owned()));
    }
    assert_eq!(shown, warnings_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy")));
}
