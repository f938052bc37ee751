//! `redress audit export`: every line is as the schema has it, and holds what the journal holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use redress::journal::{GENESIS, link};
use redress::types::{Digest, canonical_bytes};
use serde_json::{Value, json};

use crate::binary::{Answer, Place};
use crate::{Examples, examples};

fn export(place: &Place, more: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> = ["audit", "export"].into_iter().chain(more.iter().copied()).collect();
    lines(&place.redress(&arguments).exits(0))
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn chains(lines: &[Value]) -> BTreeSet<&str> {
    lines.iter().filter_map(|line| line["chain"].as_str()).collect()
}

fn schema() -> jsonschema::Validator {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/audit-export.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

#[track_caller]
fn assert_valid(schema: &jsonschema::Validator, lines: &[Value]) {
    for line in lines {
        if let Err(error) = schema.validate(line) {
            panic!("{error}\n{line:#}");
        }
    }
}

#[test]
fn every_line_of_an_export_is_as_the_published_schema_has_it() {
    let Examples { place, .. } = examples();
    let schema = schema();
    let (bare, full) = (export(place, &[]), export(place, &["--with-payloads"]));
    assert_valid(&schema, &bare);
    assert_valid(&schema, &full);
    assert_eq!((&bare[0]["type"], &bare[0]["payloads"]), (&json!("header"), &json!(false)));
    assert_eq!(bare.iter().filter(|line| line["type"] == "header").count(), 1);
    let kinds: BTreeSet<&str> = bare.iter().filter_map(|line| line["kind"].as_str()).collect();
    for kind in [
        "RUN_SUBMITTED",
        "DECISION",
        "VOTE",
        "INTENT",
        "RESULT",
        "UNDO_RESULT",
        "OPERATOR",
        "RUN_CLOSED",
        "RUN_HEAD",
        "REFUSED",
    ] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    for mut line in [bare[1].clone(), bare.last().unwrap().clone()] {
        line["event"].as_object_mut().unwrap().clear();
        assert!(!schema.is_valid(&line), "{line}");
    }
}

#[test]
fn each_hash_of_an_export_follows_from_its_lines_alone() {
    let Examples { place, .. } = examples();
    let lines = export(place, &[]);
    let mut heads: BTreeMap<&str, (u64, Digest)> = BTreeMap::new();
    for line in &lines[1..] {
        let chain = line["chain"].as_str().unwrap();
        let (seq, before) = heads.get(chain).copied().unwrap_or((0, GENESIS));
        let at: jiff::Timestamp = line["at"].as_str().unwrap().parse().unwrap();
        let body = json!({"at": at.as_millisecond(), "chain": chain, "event": line["event"], "seq": seq + 1, "v": lines[0]["format"]});
        let hash = link(&before, &canonical_bytes(&body).unwrap());
        assert_eq!(line["hash"], json!(hash), "{line}");
        heads.insert(chain, (seq + 1, hash));
    }
    let (seq, hash) = heads["system"];
    assert_eq!(lines[0]["system"], json!({"seq": seq, "hash": hash}));
    let verified = place.redress(&["audit", "verify", "--json"]).exits(0).json();
    assert_eq!(verified["head"], lines[0]["system"]);
}

#[test]
fn an_export_says_nothing_of_payloads_unless_it_is_told_to() {
    let Examples { place, .. } = examples();
    let bare = place.redress(&["audit", "export"]).exits(0).stdout;
    for secret in ["written by agent:intern", "no longer binary", "Spring prices"] {
        assert!(!bare.contains(secret), "{secret}");
    }
    let full = export(place, &["--with-payloads"]);
    let texts: String = full.iter().map(Value::to_string).collect();
    assert!(texts.contains("written by agent:intern") && texts.contains("no longer binary"));
    let output =
        |line: &&Value| line["payloads"].as_array().is_some_and(|all| all.iter().any(|one| one["role"] == "output"));
    assert!(full.iter().find(output).unwrap()["payloads"][0]["value"].is_object());
}

#[test]
fn a_payload_that_was_erased_says_so() {
    let place = Place::of_examples();
    place.redress(&["run", "examples/denied.yaml"]).exits(3);
    let conn = rusqlite::Connection::open(place.path(".redress/journal.db")).unwrap();
    conn.execute("UPDATE payloads SET bytes = NULL, erased = 1", []).unwrap();
    drop(conn);
    let full = export(&place, &["--with-payloads"]);
    assert_valid(&schema(), &full);
    let all: Vec<&Value> = full.iter().filter_map(|line| line["payloads"].as_array()).flatten().collect();
    assert!(all.len() > 3 && all.iter().all(|one| one["erased"] == json!(true)), "{all:?}");
}

#[test]
fn a_selection_exports_the_runs_that_it_means_whole() {
    let Examples { place, completed, rolled_back, denied, approved, .. } = examples();
    let only = |more: &[&str]| {
        let lines = export(place, more);
        let runs: BTreeSet<String> =
            chains(&lines).into_iter().filter(|chain| *chain != "system").map(str::to_owned).collect();
        runs
    };
    let one = |run: &str| BTreeSet::from([run.to_owned()]);
    assert_eq!(only(&["--run", rolled_back]), one(rolled_back));
    assert_eq!(only(&["--principal", "agent:intern"]), one(denied));
    assert_eq!(only(&["--as", "agent:intern"]), one(denied));
    assert_eq!(only(&["--capability", "io.fs.delete"]), one(rolled_back));
    assert_eq!(only(&["--capability", "human.*", "--run", approved]), one(approved));
    assert_eq!(only(&["--since", "1h"]).len(), 6);
    assert!(only(&["--until", "1h"]).is_empty() && only(&["--since", "2999-01-01T00:00:00Z"]).is_empty());
    let lines = export(place, &["--run", completed]);
    let heads: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "RUN_HEAD").collect();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|line| line["event"]["run"] == json!(completed)));
    assert!(!lines.iter().any(|line| line["kind"] == "REFUSED"));
    place.redress(&["audit", "export", "--since", "1h", "--until", "2h"]).exits(2);
    place.redress(&["audit", "export", "--principal", "user:a", "--as", "user:b"]).exits(2);
}

#[test]
fn an_export_into_a_file_is_whole_or_not_there_and_overwrites_nothing() {
    let Examples { place, completed, .. } = examples();
    let file = "export-of-one.jsonl";
    let said = place.redress(&["audit", "export", "--run", completed, "--output", file, "--json"]).exits(0).json();
    let text = place.read(file);
    assert_eq!(said["events"], json!(text.lines().count() - 1));
    let again = place.redress(&["audit", "export", "--output", file]).exits(2);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    assert_eq!(place.read(file), text);
    place.redress(&["audit", "export", "--output", ".redress/journal.db"]).exits(2);
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn a_run_that_cannot_be_read_is_told_of_beside_the_others() {
    let (place, bad, good) = super::with_a_damaged_run();
    let answer = place.redress(&["audit", "export"]).exits(1);
    assert!(answer.stderr.contains("audit verify"), "{}", answer.stderr);
    let lines = lines(&answer);
    assert_valid(&schema(), &lines);
    let of = |run: &str| lines.iter().filter(|line| line["chain"] == json!(run)).collect::<Vec<_>>();
    let bad = of(&bad);
    assert_eq!((bad.len(), &bad[3]["type"]), (4, &json!("unreadable")));
    assert!(bad[3]["message"].as_str().unwrap().contains("event 4 of chain"));
    assert_eq!(of(&good).last().unwrap()["kind"], json!("RUN_CLOSED"));
}
