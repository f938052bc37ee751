//! From nothing to a component that is tested, installed and used.

use std::process::Command;

use super::Place;

/// Builds are shared by all tests, so that they take seconds.
fn target() -> String {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests-new").display().to_string()
}

#[test]
fn a_new_project_in_rust_builds_keeps_every_promise_and_is_used_by_a_workflow() {
    let place = Place::with_policy(super::POLICY);
    let new = place.redress(&["capability", "new", "acme-notes", "--id", "acme.notes.add"]).exits(0);
    assert!(new.stdout.contains("redress capability test acme-notes"), "{new:#?}");
    let tested = place
        .command(&["capability", "test", "acme-notes", "--json"])
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let tested = super::binary::Answer::from(tested).exits(0);
    let report = tested.json();
    assert_eq!((&report["passed"], &report["cases"]), (&true.into(), &3.into()), "{tested:#?}");
    let file = report["file"].as_str().unwrap();
    place.redress(&["capability", "add", file]).exits(0);
    place.write(
        "workflow.yaml",
        "name: notes\nsteps:\n  - name: note\n    capability: acme.notes.add\n    inputs: { path: /workspace/n.txt, line: milk }\n",
    );
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0).run().to_string();
    assert_eq!(place.read("workspace/n.txt"), "milk\n");
    place.redress(&["undo", &run, "--reason", "the end of the test"]).exits(3);
    assert!(!place.path("workspace/n.txt").exists());
}

#[test]
fn a_broken_promise_ends_with_6_and_is_named_with_the_smallest_case() {
    let place = Place::new();
    place.copy(&super::guests::component("wrong"), "wrong.wasm");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/wrong");
    let arguments = ["capability", "test", "wrong.wasm", "--cases", cases, "--case", "forgets_undo"];
    let told = place.redress(&arguments).exits(6);
    for expected in [
        "broken: wrong.forgets_undo: its undo makes the world as it was (undo-restores)",
        "case  forgets_undo",
        "then  undo, knowing the output",
        "/workspace/a: is \"new\", was to be \"old\\n\"",
    ] {
        assert!(told.stdout.contains(expected), "{expected}\n{}", told.stdout);
    }
    let json = place.redress(&[&arguments[..], &["--json"]].concat()).exits(6).json();
    assert_eq!((&json["passed"], &json["broken"][0]["promise"]), (&false.into(), &"undo-restores".into()));
    let unknown = place.redress(&["capability", "test", "wrong.wasm", "--cases", cases, "--case", "forgets"]).exits(2);
    assert!(unknown.stderr.contains("there is no case `forgets`"), "{unknown:#?}");
}

#[test]
fn a_name_that_cannot_be_meant_writes_nothing() {
    let place = Place::new();
    for (arguments, expected) in [
        (vec!["new", "Acme"], "is not a name for a project"),
        (vec!["new", "../x"], "is not a name for a project"),
        (vec!["new", "io"], "belongs to the standard library"),
        (vec!["new", "notes", "--id", "Notes"], "is not a capability id"),
        (vec!["new", "workspace"], "is there already"),
        (vec!["test", "workspace"], "is not a project"),
    ] {
        let answer = place.redress(&[&["capability"], &arguments[..]].concat()).exits(2);
        assert!(answer.stderr.contains(expected), "{arguments:?}: {answer:#?}");
    }
    assert!(!place.path("notes").exists() && !place.path("io").exists());
}

#[test]
fn the_sdk_passes_its_own_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/rust");
    let output = Command::new(env!("CARGO"))
        .current_dir(folder)
        .args(["test", "--features", "http", "--lib", "--locked", "--target-dir", &target()])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
