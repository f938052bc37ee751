//! `capability review` says what the examples used, and what it suggests is enough for them.

use redress::types::sha256;
use serde_json::{Value, json};

use crate::common::Place;

/// Runs every example to its end; each must end with the code that its first comment says.
fn run_all(place: &Place) {
    place.redress(&["run", "examples/onboarding.yaml"]).exits(0);
    let again = place.redress(&["run", "examples/onboarding.yaml", "--input", "seats:=9", "--json"]).exits(0);
    place.redress(&["undo", again.run().as_str(), "--reason", "a test", "--as", "user:me"]).exits(3);
    place.redress(&["run", "examples/rollback.yaml"]).exits(3);
    place.redress(&["run", "examples/denied.yaml"]).exits(3);
    let paused = place.redress(&["run", "examples/approval.yaml", "--json"]).exits(4).run().to_string();
    place.redress(&["approve", &paused, "publish", "--reason", "looks right", "--as", "user:me"]).exits(4);
    place.redress(&["approve", &paused, "announce", "--reason", "go", "--as", "user:me"]).exits(0);
}

fn one<'v>(review: &'v Value, id: &str) -> &'v Value {
    review["capabilities"].as_array().unwrap().iter().find(|one| one["capability"] == id).unwrap()
}

/// The cells of a row of the table.
fn row(text: &str, id: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap();
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_review_after_all_examples_says_what_was_used_and_its_suggestion_is_enough_for_them() {
    let place = Place::of_examples();
    run_all(&place);
    let text = place.redress(&["capability", "review", "*"]).exits(0).stdout;
    for (id, cells) in [
        ("io.fs.append_file", ["3", "3", "2", "fs:read, fs:write", r#""/workspace" read-write"#]),
        ("io.fs.delete", ["1", "1", "1", "fs:read, fs:write", r#""/workspace" read-write"#]),
        ("io.fs.make_dir", ["3", "3", "1", "fs:read, fs:write", r#""/workspace" read-write"#]),
        ("io.fs.read_file", ["1", "1", "0", "fs:read", r#""/workspace" read-only"#]),
        ("io.fs.exists", ["0", "0", "0", "fs:read", r#""/workspace" read-only"#]),
        ("data.json.merge", ["2", "2", "0", "nothing", "nothing"]),
        ("text.regex.match", ["0", "0", "0", "nothing", "nothing"]),
    ] {
        assert_eq!(row(&text, id)[1..6], cells, "{id}\n{text}");
    }
    assert_eq!(
        row(&text, "io.fs.delete")[6],
        r#"reads "/workspace/rollback", changes "/workspace/rollback""#,
        "{text}"
    );
    assert_eq!(row(&text, "io.fs.read_file")[6], r#"reads "/workspace/rollback""#, "{text}");
    assert_eq!(row(&text, "io.fs.exists")[6], "never", "{text}");
    assert!(text.contains("1 time denied: \"the policy denies it by "), "{text}");

    let review = place.redress(&["capability", "review", "*", "--json"]).exits(0).json();
    assert_eq!((&review["schema"], &review["runs"], &review["unreadable"]), (&json!(1), &json!(5), &json!(0)));
    let write = one(&review, "io.fs.write_file");
    assert_eq!(write["used"]["principals"], json!(["agent:demo"]));
    assert_eq!(write["asked"][1], json!({"permission": "fs:write", "used": true}));
    let exists = one(&review, "io.fs.exists");
    assert_eq!((&exists["asked"][0]["used"], &exists["granted"][0]["used"]), (&json!(false), &json!(false)));

    // The suggestion takes the place of the grants in a folder as a newcomer has it.
    let fresh = Place::of_examples();
    let policy = fresh.read("policies/default.yaml");
    let (before, rest) = policy.split_once("\ngrants:\n").unwrap();
    let (_, after) = rest.split_once("\ntests:\n").unwrap();
    let here = |place: &Place| place.path("").canonicalize().unwrap().to_str().unwrap().to_owned();
    let suggested = review["yaml"].as_str().unwrap().replace(&here(&place), &here(&fresh));
    assert!(suggested.contains(r#"guest: "/workspace/rollback", access: read-only"#), "{suggested}");
    assert!(!suggested.contains("agent:intern") && !suggested.contains("io.fs.exists"), "{suggested}");
    fresh.write("policies/default.yaml", format!("{before}\n{suggested}\ntests:\n{after}"));
    run_all(&fresh);
    assert_eq!(fresh.world(), place.world());
    // What it suggests now is the same: it was the smallest.
    let again = fresh.redress(&["capability", "review", "*", "--json"]).exits(0).json();
    assert_eq!(again["yaml"].as_str().unwrap().replace(&here(&fresh), &here(&place)), review["yaml"].as_str().unwrap());
}

#[test]
fn a_review_is_of_the_capabilities_the_time_and_the_principal_that_were_named() {
    let place = Place::new();
    place.redress(&["call", "data.hash", "--input", "content=x"]).exits(0);
    let review = |arguments: &[&str]| {
        place.redress(&[&["capability", "review"], arguments, &["--json"]].concat()).exits(0).json()
    };
    let executed = |arguments: &[&str]| one(&review(arguments), "data.hash")["used"]["executed"].clone();
    assert_eq!(executed(&["data.hash"]), 1);
    assert_eq!(executed(&["data.*", "--since", "1h"]), 1);
    assert_eq!(executed(&["data.*", "--since", "2000-01-01T00:00:00Z", "--as", "agent:demo"]), 1);
    assert_eq!(executed(&["data.*", "--since", "2100-01-01T00:00:00Z"]), 0);
    assert_eq!(executed(&["data.*", "--as", "agent:other"]), 0);
    assert_eq!(review(&["data.hash"])["capabilities"].as_array().unwrap().len(), 1);
    let error = |arguments: &[&str]| {
        place.redress(&[&["capability", "review"], arguments, &["--json"]].concat()).exits(2).json()["error"].clone()
    };
    let unknown = error(&["data.hsah"]);
    assert_eq!(
        (&unknown["code"], &unknown["help"]),
        (&json!("unknown-capability"), &json!("did you mean `data.hash`?"))
    );
    assert_eq!(error(&["data.*", "--since", "yesterday"])["code"], "bad-time");
    assert_eq!(error(&["data.**"])["code"], "usage");
}

#[test]
fn a_review_without_a_journal_is_no_all_clear() {
    let place = Place::new();
    let answer = place.redress(&["capability", "review", "*"]).exits(2);
    assert!(answer.stderr.contains("there is no journal"), "{answer:?}");
}

#[test]
fn a_run_records_the_digest_of_the_program_that_submitted_it() {
    let place = Place::new();
    let program = sha256(&std::fs::read(env!("CARGO_BIN_EXE_redress")).unwrap()).to_string();
    let version = place.redress(&["version", "--json"]).exits(0).json();
    assert_eq!(version["binary"], program.as_str());
    let names: Vec<&Value> = version["components"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert!(names.contains(&&json!("fs")) && names.contains(&&json!("data")), "{version}");
    let ran = place.redress(&["call", "data.hash", "--input", "content=x", "--json"]).exits(0).json();
    assert_eq!(ran["host"], json!({"version": version["version"], "binary": program}));
    let shown = place.redress(&["show", "latest"]).exits(0).stdout;
    assert!(shown.contains(&format!("\n  host        redress {}, {program}\n", version["version"].as_str().unwrap())));
}
