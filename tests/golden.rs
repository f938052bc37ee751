//! Journals of every format that was released, as they were written then. They must load for ever, and say the same.
//!
//! `tests/golden/NAME.db` is a journal and `NAME.json` what `redress show` and `redress audit verify` say of it. A new format gets
//! new ones: `REDRESS_BLESS=1 cargo test --test golden` writes those that are missing, with the examples that this file names, and
//! changes none that is there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Each journal, and the verbs that it was made by, in a copy of the examples.
const GOLDEN: [(&str, &[&str]); 5] = [
    ("completed_1", &["run examples/onboarding.yaml"]),
    ("rolled_back_1", &["run examples/onboarding.yaml", "run examples/rollback.yaml"]),
    ("paused_1", &["run examples/approval.yaml"]),
    (
        "approved_1",
        &[
            "run examples/approval.yaml",
            "approve latest publish --reason good --as user:a",
            "reject latest announce --reason no --as user:a",
        ],
    ),
    (
        "denied_1",
        &[
            "run examples/denied.yaml",
            "call io.fs.delete --input path=/workspace/README.md",
            "cancel latest --reason late",
        ],
    ),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn redress(inside: &Path, arguments: &[&str]) -> (i32, String) {
    let said = Command::new(env!("CARGO_BIN_EXE_redress")).args(arguments).current_dir(inside).output().unwrap();
    (said.status.code().unwrap(), String::from_utf8(said.stdout).unwrap())
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Everything that is said of a journal.
fn told(journal: &Path) -> Value {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("journal.db");
    fs::copy(journal, &copy).unwrap();
    let log = journal.with_extension("db-wal");
    if log.exists() {
        fs::copy(log, place.path().join("journal.db-wal")).unwrap();
    }
    let ask = |arguments: &[&str]| {
        let all = [&["--journal", "journal.db", "--json"], arguments].concat();
        let (code, text) = redress(place.path(), &all);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    };
    let runs = read(&ask(&["runs"]));
    let ids: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    let shown: Vec<Value> = ids.iter().map(|run| read(&ask(&["show", run]))).collect();
    let events: Vec<usize> = ids.iter().map(|run| ask(&["events", run]).lines().count()).collect();
    let mut verified = read(&ask(&["audit", "verify"]));
    verified["journal"] = json!("journal.db");
    json!({ "runs": runs, "shown": shown, "events": events, "verified": verified })
}

/// Makes a journal by the real binary, in a place whose name is no machine's.
fn make(name: &str, verbs: &[&str]) {
    let place = Path::new("/tmp/redress-golden");
    let _ = fs::remove_dir_all(place);
    for part in ["examples", "policies", "workspace"] {
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join(part), &place.join(part));
    }
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("redress.yaml"), place.join("redress.yaml")).unwrap();
    for verb in verbs {
        redress(place, &verb.split(' ').collect::<Vec<_>>());
    }
    let journal = folder().join(name).with_extension("db");
    let made = place.join(".redress/journal.db");
    // What still stands in the log comes into the file.
    let connection = rusqlite::Connection::open(&made).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    fs::copy(made, &journal).unwrap();
    let text = serde_json::to_string_pretty(&told(&journal)).unwrap();
    fs::write(journal.with_extension("json"), text + "\n").unwrap();
    fs::remove_dir_all(place).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The first place where `told` does not say what was said; a newer version may say more.
fn missing(said: &Value, told: &Value) -> Option<String> {
    match (said, told) {
        (Value::Object(said), Value::Object(told)) => said.iter().find_map(|(key, value)| match told.get(key) {
            Some(other) => missing(value, other).map(|place| format!(".{key}{place}")),
            None => Some(format!(".{key}")),
        }),
        (Value::Array(said), Value::Array(told)) if said.len() == told.len() => {
            let at = |(index, (one, other))| missing(one, other).map(|place| format!("[{index}]{place}"));
            said.iter().zip(told).enumerate().find_map(at)
        }
        _ => (said != told).then(|| format!(": {told} in place of {said}")),
    }
}

#[test]
fn journals_of_every_released_format_load_and_say_what_they_said() {
    if std::env::var_os("REDRESS_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for (name, verbs) in GOLDEN {
            if !folder().join(name).with_extension("db").exists() {
                make(name, verbs);
            }
        }
    }
    let mut journals: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    journals.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    journals.sort();
    assert!(journals.len() >= GOLDEN.len());
    for journal in journals {
        let expected = read(&fs::read_to_string(journal.with_extension("json")).unwrap());
        let (told, name) = (told(&journal), journal.display());
        if let Some(place) = missing(&expected, &told) {
            panic!("{name}: {place} is not as it was said");
        }
    }
}

/// Whoever writes brings a journal up to date: nothing of what it said is lost by that.
#[test]
fn a_golden_journal_that_is_written_to_still_says_what_it_said() {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("journal.db");
    fs::copy(folder().join("paused_1.db"), &copy).unwrap();
    let run = read(&redress(place.path(), &["--journal", "journal.db", "--json", "runs"]).1)[0]["run"].clone();
    fs::write(place.path().join("p.yaml"), "rules: []\n").unwrap();
    let arguments = [
        "--journal",
        "journal.db",
        "--policy",
        "p.yaml",
        "--as",
        "user:a",
        "kill",
        run.as_str().unwrap(),
        "--reason",
        "r",
    ];
    assert_eq!(redress(place.path(), &arguments).0, 7);
    let after = told(&copy);
    assert_eq!(after["shown"][0]["state"], "KILLED");
    let before = read(&fs::read_to_string(folder().join("paused_1.json")).unwrap());
    // The machine has been started again since, and what the step wrote is not on this one: who takes the run says so, and leaves
    // the rest as it was told.
    let step = |told: &Value| {
        let mut step = told["shown"][0]["steps"][0].clone();
        for of_now in ["state", "error", "targets"] {
            step.as_object_mut().unwrap().remove(of_now).unwrap();
        }
        // What a later version tells besides.
        step.as_object_mut().unwrap().remove("depends_on");
        step["decision"].as_object_mut().unwrap().remove("rule_name");
        step
    };
    assert_eq!(step(&after), step(&before));
    assert_eq!(after["verified"]["whole"], true);
}
