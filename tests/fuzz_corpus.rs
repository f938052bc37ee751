//! What the fuzzers found and what they begin with, as plain tests: every file of `fuzz/corpus/` goes through its target.
//!
//! The targets' own pages, in `fuzz/src/`, say what each holds; `.ci/long` lets the fuzzers look for more.
// A promise that does not hold is a panic, there as here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Gives a target every file of these folders, and some that are drawn.
fn run(target: &str, folders: &[&str]) {
    let (_, run) = fuzz::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let own = format!("fuzz/corpus/{target}");
    let all: Vec<PathBuf> = std::iter::once(own.as_str()).chain(folders.iter().copied()).flat_map(files).collect();
    assert!(all.len() >= 6, "the corpus of `{target}` is gone");
    for file in all {
        // Shown if the test fails.
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
    }
    let draws = if target == "components" { 10 } else { 60 };
    for seed in 0..draws {
        // Shown if the test fails.
        println!("drawn from {seed}");
        run(&[b"~", fuzz::drawn(seed).as_slice()].concat());
    }
}

#[test]
fn policies_and_requests_of_the_corpus_keep_every_promise() {
    run("policy", &["tests/ui/policy", "policies"]);
}

#[test]
fn workflows_of_the_corpus_load_or_say_why_not() {
    run("workflow", &["tests/ui/workflow", "examples"]);
}

#[test]
fn grants_and_globs_of_the_corpus_open_what_a_slow_reader_opens() {
    run("urls", &[]);
}

#[test]
fn no_spelling_of_an_address_in_the_corpus_hides_where_it_leads() {
    run("addresses", &[]);
}

#[test]
fn events_of_the_corpus_are_read_or_refused() {
    run("journal", &[]);
}

#[test]
#[cfg(feature = "host")]
fn components_of_the_corpus_are_loaded_or_refused() {
    run("components", &[]);
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let programs = files("fuzz/fuzz_targets");
    let names = |paths: &[PathBuf]| -> BTreeSet<String> {
        paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let corpora: Vec<PathBuf> =
        fs::read_dir(root().join("fuzz/corpus")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names(&programs), names(&corpora));
    let here: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(here.is_subset(&names(&programs)));
    if cfg!(feature = "host") {
        assert_eq!(here, names(&programs));
    }
}
