//! What was asked for, refused, and belongs to no run: the system chain says who asked for what, and why not.

use rusqlite::Connection;
use serde_json::Value;

use crate::common::Place;

const ASK: &str = "name: ask
inputs: { text: default }
steps:
  - name: ask
    step_type: HUMAN_APPROVAL
    inputs: { message: \"{{ inputs.text }}\" }
";

/// The refused requests of the system chain: who, what, the code, the message.
fn refused(place: &Place) -> Vec<[String; 4]> {
    let lines = place.redress(&["events", "system", "--json"]).exits(0).stdout;
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = lines.map(|line| {
        assert_eq!((&line["schema"], &line["chain"]), (&1.into(), &"system".into()));
        line["event"].clone()
    });
    let of = |event: Value| ["by", "request", "code", "message"].map(|key| event[key].as_str().unwrap().to_owned());
    events.filter(|event| event["kind"] == "REFUSED").map(of).collect()
}

#[test]
fn refused_submissions_votes_and_verbs_are_on_the_system_chain() {
    let place = Place::new();
    place.write("w.yaml", ASK);
    let run = place.redress(&["run", "w.yaml", "--run-key", "k", "--json"]).exits(4).run().to_string();
    assert!(refused(&place).is_empty());
    let secret = "hunter2-hunter2";
    let because = ["--reason", secret];
    let refuse = |code: i32, arguments: &[&str]| place.redress(arguments).exits(code);
    refuse(2, &["run", "w.yaml", "--run-key", "k", "--input", &format!("text={secret}")]);
    refuse(6, &[&["approve", &run, "ask"][..], &because].concat());
    refuse(6, &[&["undo", &run, "--as", "user:op"][..], &because].concat());
    refuse(6, &[&["repair", &run, "ask", "retry", "--as", "user:op"][..], &because].concat());
    place.write(
        "wrong.yaml",
        format!("name: wrong\nsteps:\n  - {{ name: a, capability: x.y, inputs: {{ k: {secret} }} }}\n"),
    );
    refuse(2, &["run", "wrong.yaml"]);
    refuse(2, &["call", "io.fs.exists", "--input", &format!("path:=[\"{secret}\"]")]);

    let told = refused(&place);
    let told: Vec<[&str; 4]> = told.iter().map(|told| [0, 1, 2, 3].map(|index| told[index].as_str())).collect();
    let key = format!("the run key `k` names run {run}, which was given other inputs");
    let approve = format!("approve {run} ask");
    let (undo, repair) = (format!("undo {run}"), format!("repair {run} ask retry"));
    assert_eq!(
        told,
        [
            ["agent:demo", "run ask", "run-key-taken", &key],
            ["agent:demo", &approve, "refused", "`agent:demo` asks for it and cannot vote on it"],
            ["user:op", &undo, "refused", "only a completed run can be undone"],
            ["user:op", &repair, "refused", "the run is not rolling back"],
            [
                "agent:demo",
                "run wrong.yaml",
                "unknown-capability",
                "it does not load: mistakes: 1, the first in line 3"
            ],
            ["agent:demo", "call io.fs.exists", "invalid-input", "it does not load: mistakes: 1, the first in line 2"],
        ]
    );
    let text = place.redress(&["events", "system"]).exits(0).stdout;
    assert!(text.contains("REFUSED") && text.contains(&format!("\"{undo}\" by user:op, refused: \"")), "{text}");
    let bytes = ["journal.db", "journal.db-wal"]
        .map(|file| std::fs::read(place.path(".redress").join(file)).unwrap_or_default());
    let holds = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!bytes.iter().any(holds), "neither inputs nor reasons of what was refused are kept");
}

#[test]
fn a_changed_record_of_a_refused_request_is_found() {
    let place = Place::new();
    place.write("w.yaml", ASK);
    let run = place.redress(&["run", "w.yaml", "--json"]).exits(4).run().to_string();
    place.redress(&["undo", &run, "--as", "user:op", "--reason", "r"]).exits(6);
    place.redress(&["audit", "verify"]).exits(0);
    let conn = Connection::open(place.path(".redress/journal.db")).unwrap();
    let change = "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'user:op', 'user:me') AS BLOB)
        WHERE chain = 'system' AND CAST(body AS TEXT) LIKE '%REFUSED%'";
    assert_eq!(conn.execute(change, []).unwrap(), 1);
    drop(conn);
    let report = place.redress(&["audit", "verify", "--json"]).exits(5).json();
    assert_eq!(report["findings"][0]["chain"], "system");
    place.redress(&["events", "system"]).exits(1);
}

#[test]
fn a_refused_request_makes_no_journal() {
    let place = Place::new();
    place.redress(&["call", "io.fs.exist"]).exits(2);
    place.redress(&["undo", "latest", "--as", "user:op", "--reason", "r"]).exits(2);
    assert!(!place.path(".redress/journal.db").exists());
}

#[test]
fn beside_a_journal_that_is_no_file_nothing_is_made() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("odd/folder.db")).unwrap();
    std::os::unix::fs::symlink("/dev/null", place.path("odd/null.db")).unwrap();
    place.write("w.yaml", "version: 1\n");
    let exists = ["call", "io.fs.exists", "--input", "path=/workspace"];
    for journal in ["odd/folder.db", "odd/null.db"] {
        for verb in [&exists[..], &["run", "w.yaml"], &["recover"], &["runs"], &["plan", "w.yaml"]] {
            let refused = place.redress(&[&["--journal", journal], verb].concat()).exits(1);
            assert!(refused.stderr.contains("is not a journal: it is no regular file"), "{verb:?}: {refused:?}");
        }
    }
    assert_eq!(std::fs::read_dir(place.path("odd")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(place.path("odd/folder.db")).unwrap().count(), 0);
}

#[test]
fn what_others_keep_beside_the_journal_is_left_alone_and_in_nobodys_way() {
    let place = Place::new();
    let exists = ["call", "io.fs.exists", "--input", "path=/workspace"];
    place.redress(&exists).exits(0);
    let theirs = ["owners/team.txt", "owners/team", "owners/.team", "targets/list.jsonl", "cache/bar.code"];
    for name in theirs {
        place.write(format!(".redress/{name}"), "theirs");
    }
    place.redress(&exists).exits(0);
    place.redress(&["recover"]).exits(0);
    for name in theirs {
        assert_eq!(place.read(format!(".redress/{name}")), "theirs", "{name}");
    }
}

#[test]
fn a_journal_that_a_grant_contains_is_refused_before_it_is_made() {
    let place = Place::new();
    let before = place.world();
    let call = ["--journal", "workspace/x.db", "call", "io.fs.exists", "--input", "path=/workspace"];
    let refused = place.redress(&call).exits(2);
    assert!(refused.stderr.contains("which guards what components may do"), "{refused:?}");
    assert_eq!(place.world(), before);
}
