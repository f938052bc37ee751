//! What takes something out of a journal, or puts another key in its place, killed at each system call that changes a file: afterwards the
//! journal is whole, extends every checkpoint that was handed over, and whoever does it again ends it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::place::{BINARY, Place, text};
use crate::syscalls::{say, seed};
use crate::tracer::{Point, Side, trace};

const SETTINGS: &str =
    "policy: policy.yaml\nprincipal: agent:demo\ncomponents: [parts]\ncheckpoints: { file: elsewhere.jsonl }\n";
const WORKFLOW: &str = "name: private\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: the-name } }\n";
const FAILS: &str =
    "name: fails\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /work/none/a, content: x } }\n";
/// What a former process left.
const FILES: [&str; 5] = [
    ".redress/journal.db",
    ".redress/journal.db-mark",
    ".redress/journal.db-handed",
    ".redress/checkpoint.key",
    "elsewhere.jsonl",
];
/// How many points of each side are tried if not all are.
const SAMPLE: u64 = 6;

fn furnished() -> Place {
    let place = Place::new(WORKFLOW);
    place.write("redress.yaml", SETTINGS);
    place.write("fails.yaml", FAILS);
    place
}

/// The files after one run that rolled back and one that completed.
fn left() -> Vec<(&'static str, Vec<u8>)> {
    let place = furnished();
    assert_eq!(place.redress(&["run", "fails.yaml"], None).status.code(), Some(3));
    assert_eq!(place.redress(&["run", "workflow.yaml"], None).status.code(), Some(0));
    FILES.map(|file| (file, fs::read(place.path(file)).unwrap())).into()
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    let output = place.redress(arguments, None);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verified(place: &Place) -> Value {
    json(place, &["audit", "verify", "--checkpoint", "elsewhere.jsonl", "--json"])
}

/// Kills `verb` at each point, and looks at what is left with `look` once it was done again.
fn sweep(verb: &[&str], look: impl Fn(&Place)) {
    let left = left();
    let begin = || {
        let place = furnished();
        for (file, content) in &left {
            place.write(file, content);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(place.path(file), mode).unwrap();
        }
        place
    };
    let place = begin();
    let whole = trace(BINARY, verb, &place.path(""), None);
    assert_eq!(whole.code, Some(0), "{}", whole.text);
    look(&place);
    let (calls, seed) = (whole.calls, seed());
    let every =
        if std::env::var("REDRESS_CRASH").is_ok_and(|asked| asked == "all") { 1 } else { (calls / SAMPLE).max(1) };
    let mut points = 0;
    for side in [Side::Before, Side::After] {
        for call in (1..=calls).filter(|call| (call + seed) % every == 0) {
            let (place, point) = (begin(), Point { side, call });
            let killed = trace(BINARY, verb, &place.path(""), Some(point));
            let told = || format!("{verb:?} killed {point} of {calls}: {}", killed.text);
            assert!(killed.killed_at.is_some(), "{}", told());
            println!("{}", told());
            verified(&place);
            let again = place.redress(verb, None);
            assert_eq!(again.status.code(), Some(0), "{}\n{}", told(), text(&again));
            look(&place);
            // Somebody goes on from there.
            json(&place, &["call", "data.hash", "--input", "content=x", "--json"]);
            let report = verified(&place);
            let handed = fs::read_to_string(place.path("elsewhere.jsonl")).unwrap();
            let handed: BTreeSet<&str> = handed.lines().collect();
            assert_eq!(report["checkpoints"], handed.len(), "each was handed over: {}", told());
            let keys = report["keys"].as_array().unwrap();
            assert!(keys.iter().skip(1).all(|key| key["vouched"] == true), "{}: {keys:?}", told());
            assert_eq!(place.remains(), Vec::<String>::new(), "{}", told());
            points += 1;
        }
    }
    say(&format!("{verb:?}: {calls} calls, {points} crash points, all fine"));
}

#[test]
fn a_redaction_that_is_killed_anywhere_is_ended_by_whoever_does_it_again() {
    sweep(&["audit", "redact", "latest", "*", "--reason", "x", "--forgo-undo"], |place| {
        for file in fs::read_dir(place.path(".redress")).unwrap().map(|file| file.unwrap().path()) {
            let bytes = if file.is_file() { fs::read(&file).unwrap() } else { continue };
            assert!(!bytes.windows(8).any(|bytes| bytes == b"the-name"), "{}", file.display());
        }
    });
}

#[test]
fn a_pruning_that_is_killed_anywhere_is_ended_by_whoever_does_it_again() {
    sweep(&["audit", "prune", "--before", "2100-01-01T00:00:00Z", "--reason", "x"], |place| {
        assert_eq!(place.runs(), ["COMPLETED"]);
    });
}

#[test]
fn a_rotation_that_is_killed_anywhere_loses_no_key() {
    sweep(&["audit", "rotate-key", "--reason", "x"], |_| {});
}
