//! What a person does with the record: checks it against what is kept elsewhere, and takes out what must go.

use std::process::Command;

use super::common::{Answer, Place};

const SETTINGS: &str = "policy: policy.yaml\nprincipal: agent:demo\n";
const WRITES: &str = "name: writes\ninputs: { word: one }\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, \
                      content: \"{{ inputs.word }}\" } }\n";

/// A place whose checkpoints are handed over to a file that lies elsewhere.
fn place() -> Place {
    handing_over("file: elsewhere.jsonl")
}

fn handing_over(to: &str) -> Place {
    let place = Place::new();
    place.write("redress.yaml", format!("{SETTINGS}checkpoints: {{ {to} }}\n"));
    place.write("w.yaml", WRITES);
    place
}

fn sees(answer: &Answer, expected: &[&str]) {
    for expected in expected {
        assert!(answer.stdout.contains(expected), "{expected}: {answer:#?}");
    }
}

#[test]
fn checkpoints_are_handed_over_in_order_and_the_journal_extends_them() {
    let place = place();
    for word in ["word=one", "word=two", "word=three"] {
        place.redress(&["run", "w.yaml", "--input", word]).exits(0);
    }
    let kept = place.read("elsewhere.jsonl");
    assert_eq!(kept.lines().count(), 3, "one at each end of a run");
    assert!(!place.path(".redress/journal.db-wal").exists(), "nothing is left in a log");
    let alone = place.redress(&["audit", "verify"]).exits(0);
    sees(&alone, &["3 in the journal; 0 events since the last one", "none was compared that is kept elsewhere"]);
    let compared = place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl"]).exits(0);
    sees(&compared, &["it extends 3 of 3 checkpoints that are kept elsewhere", "3 decisions decided again"]);
    // An older journal in its place is whole, and is not the one that was stated.
    let older = place.path("older.db");
    place.redress(&["journal", "backup", older.to_str().unwrap()]).exits(0);
    place.redress(&["run", "w.yaml", "--input", "word=four"]).exits(0);
    place.redress(&["audit", "verify", "--journal", "older.db"]).exits(0);
    let behind =
        place.redress(&["audit", "verify", "--journal", "older.db", "--checkpoint", "elsewhere.jsonl"]).exits(5);
    sees(&behind, &["checkpoint 4, which is kept elsewhere, states that it was there, and the chain ends before it"]);
    // A file that holds none, or something else, is no proof of anything.
    place.write("empty.jsonl", "");
    place.write("changed.jsonl", kept.replacen("\\\"number\\\":1", "\\\"number\\\":7", 1));
    for (file, why) in
        [("empty.jsonl", "there is no checkpoint"), ("changed.jsonl", "line 1 of `changed.jsonl`: its signature")]
    {
        let refused = place.redress(&["audit", "verify", "--checkpoint", file]).exits(2);
        assert!(refused.stderr.contains(why), "{refused:#?}");
    }
}

#[test]
fn a_statement_is_checked_with_openssl_alone() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    let pem = place.redress(&["audit", "key"]).exits(0).stdout;
    place.write("key.pem", pem);
    // As docs/AUDIT.md says it, but for the tool that takes JSON apart.
    let line: serde_json::Value = serde_json::from_str(place.read("elsewhere.jsonl").lines().last().unwrap()).unwrap();
    let signature =
        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, line["signature"].as_str().unwrap()).unwrap();
    place.write("signature", signature);
    let checked = |statement: &str| {
        place.write("statement", statement);
        let arguments = "pkeyutl -verify -pubin -inkey key.pem -rawin -in statement -sigfile signature";
        Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(place.path(""))
            .output()
            .unwrap()
            .status
            .success()
    };
    let statement = line["statement"].as_str().unwrap();
    assert!(checked(statement));
    assert!(!checked(&statement.replace("\"number\":1", "\"number\":2")));
}

#[test]
fn a_program_that_does_not_take_a_checkpoint_gets_it_the_next_time() {
    let place = handing_over("command: [sh, -c, 'test -e up && cat >> taken.jsonl']");
    let told = place.redress(&["run", "w.yaml"]).exits(0);
    assert!(
        told.stderr.contains("checkpoints cannot be handed over, and are tried again later: `sh` ended with"),
        "{told:#?}"
    );
    place.write("up", "");
    place.redress(&["run", "w.yaml", "--input", "word=two"]).exits(0);
    assert_eq!(place.read("taken.jsonl").lines().count(), 2);
    place.redress(&["audit", "verify", "--checkpoint", "taken.jsonl"]).exits(0);
}

#[test]
fn a_key_that_is_rotated_is_vouched_for_and_one_that_was_lost_is_told_of() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    let rotated =
        place.redress(&["audit", "rotate-key", "--reason", "Bob has left", "--as", "user:op", "--json"]).exits(0);
    place.redress(&["run", "w.yaml", "--input", "word=two"]).exits(0);
    let verify = || place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl", "--json"]).exits(0).json();
    let keys = verify()["keys"].clone();
    assert_eq!((&keys[0]["vouched"], &keys[1]["vouched"]), (&false.into(), &true.into()));
    assert_eq!((&keys[0]["key"], &keys[1]["key"]), (&rotated.json()["previous"], &rotated.json()["key"]));
    std::fs::remove_file(place.path(".redress/checkpoint.key")).unwrap();
    place.redress(&["run", "w.yaml", "--input", "word=three"]).exits(0);
    assert_eq!(verify()["keys"][2]["vouched"], false);
    sees(&place.redress(&["audit", "verify"]).exits(0), &["note: the key before does not vouch for ed25519:"]);
    let events = place.redress(&["events", "system"]).exits(0);
    sees(&events, &["KEY_ADDED", "vouched for by the one before, by user:op: \"Bob has left\""]);
}

/// Values are masked where they were declared, whether a step got to them or not.
#[test]
fn what_a_step_never_got_to_and_what_would_undo_it_is_masked_too() {
    let policy = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"*\"], action: ALLOW, accept_risk: HIGH }\nsensitive:\n  \
                  - { capabilities: [\"io.fs.write_file\"], fields: [\"inputs.content\"] }\ngrants:\n  \
                  - { capabilities: [\"io.fs.*\"], filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }] }\n";
    let place = Place::with_policy(policy);
    let exports = |workflow: &str, exit: i32| {
        place.write("w.yaml", workflow);
        place.redress(&["run", "w.yaml", "--input", "token=the-token"]).exits(exit);
        let exported = place.redress(&["audit", "export", "--run", "latest", "--with-payloads"]).exits(0);
        assert!(!exported.stdout.contains("the-token") && exported.stdout.contains("(sensitive)"), "{exported:#?}");
    };
    let never = "name: never\ninputs: { token: x }\nsteps:\n  - { name: a, capability: io.fs.read_file, inputs: { path: /workspace/none } }\n  \
                 - { name: b, capability: io.fs.write_file, inputs: { path: /workspace/b, content: \"{{ inputs.token }}\" } }\n";
    exports(never, 3);
    let undone = "name: undone\ninputs: { token: x }\nsteps:\n  - name: a\n    capability: io.fs.make_dir\n    inputs: { path: /workspace/d }\n    \
                  compensation: { capability: io.fs.write_file, inputs: { path: /workspace/c, content: \"{{ inputs.token }}\" } }\n";
    exports(undone, 0);
}

/// Nobody knows what a description marked that cannot be read any more.
#[test]
fn what_a_component_marks_is_masked_whole_where_that_cannot_be_read() {
    let place = place();
    place.redress(&["run", "w.yaml", "--input", "word=the-pin"]).exits(0);
    sees(&place.redress(&["show", "latest", "--json"]).exits(0), &["the-pin"]);
    let policy = place.read("policy.yaml");
    place.write("policy.yaml", "rulez: []\n");
    let shown = place.redress(&["show", "latest", "--json"]).exits(0);
    assert!(!shown.stdout.contains("the-pin"), "what is sensitive is not known: {shown:#?}");
    place.write("policy.yaml", policy);
    let journal = rusqlite::Connection::open(place.path(".redress/journal.db")).unwrap();
    journal.execute("UPDATE components SET describe = 'x'", []).unwrap();
    let shown = place.redress(&["show", "latest", "--json"]).exits(0);
    assert!(!shown.stdout.contains("the-pin") && shown.stdout.contains("(sensitive)"), "{shown:#?}");
}

#[test]
fn no_component_may_read_the_key_or_change_the_program_that_gets_checkpoints() {
    let grant = |host: &str, access: &str| {
        format!(
            "rules: []\ngrants:\n  - {{ capabilities: [\"io.fs.*\"], filesystem: [{{ host: {host}, guest: /w, access: {access} }}] }}\n"
        )
    };
    let place = handing_over("command: [./tools/keep, x]");
    place.write("tools/keep", "#!/bin/sh\ncat >> kept.jsonl\n");
    place.write("redress.yaml", place.read("redress.yaml") + "journal: state/journal.db\n");
    for (policy, why) in [
        (grant("./tools", "read-write"), "tools/keep, which guards what components may do"),
        (grant("./state", "read-only"), "state/checkpoint.key, which holds a secret"),
    ] {
        place.write("policy.yaml", policy);
        let refused = place.redress(&["run", "w.yaml"]).exits(2);
        assert!(refused.stderr.contains(why), "{why}: {refused:#?}");
    }
    // It is the one beside the settings, wherever they are used.
    std::fs::set_permissions(place.path("tools/keep"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    place
        .write("policy.yaml", "rules:\n  - { principal: \"agent:demo\", capabilities: [\"data.*\"], action: ALLOW }\n");
    std::fs::create_dir(place.path("below")).unwrap();
    let mut command = place.command(&["call", "data.hash", "--input", "content=x"]);
    assert!(command.current_dir(place.path("below")).output().unwrap().status.success());
    assert_eq!(place.read("below/kept.jsonl").lines().count(), 1);
}

#[test]
fn a_selection_says_nothing_of_what_was_erased_from_other_runs() {
    let place = place();
    for word in ["word=one", "word=two"] {
        place.redress(&["run", "w.yaml", "--input", word]).exits(0);
    }
    let runs = place.redress(&["runs", "--json"]).exits(0).json();
    let (newest, oldest) = (runs[0]["run"].as_str().unwrap(), runs[1]["run"].as_str().unwrap());
    place.redress(&["audit", "redact", oldest, "*", "--reason", "the-reason", "--forgo-undo"]).exits(0);
    let told = |run: &str, file: &str| {
        let exported = place.redress(&["audit", "export", "--run", run]).exits(0).stdout;
        place.redress(&["audit", "report", "--run", run, "--output", file]).exits(0);
        (exported.contains("the-reason"), place.read(file).contains("the-reason"))
    };
    assert_eq!((told(newest, "new.html"), told(oldest, "old.html")), ((false, false), (true, true)));
}

#[test]
fn a_key_that_is_not_the_one_that_signed_last_can_be_rotated_at_once() {
    let own = |place: &Place| {
        let arguments = ["genpkey", "-algorithm", "ed25519", "-out", ".redress/checkpoint.key"];
        let made = Command::new("openssl").args(arguments).current_dir(place.path("")).output().unwrap();
        assert!(made.status.success(), "{made:#?}");
    };
    let lost = |place: &Place| std::fs::remove_file(place.path(".redress/checkpoint.key")).unwrap();
    for change in [&own as &dyn Fn(&Place), &lost] {
        let place = place();
        place.redress(&["run", "w.yaml"]).exits(0);
        let first = place.redress(&["audit", "key"]).exits(0).stdout;
        change(&place);
        place.redress(&["audit", "rotate-key", "--reason", "x"]).exits(0);
        let report = place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl", "--json"]).exits(0).json();
        let vouched: Vec<bool> = report["keys"].as_array().unwrap().iter().map(|key| key["vouched"] == true).collect();
        assert_eq!(vouched, [false, false, true]);
        // Who knows the first key is not content with that.
        place.write("first.pem", first);
        let found = place.redress(&["audit", "verify", "--key", "first.pem"]).exits(5);
        sees(&found, &["nobody vouches for the key that it adds"]);
    }
}

#[test]
fn whoever_knows_the_key_needs_no_checkpoint_to_find_a_journal_that_another_one_signed() {
    let (place, other) = (place(), place());
    for place in [&place, &other] {
        place.redress(&["run", "w.yaml"]).exits(0);
    }
    place.write("key.pem", place.redress(&["audit", "key"]).exits(0).stdout);
    let good = place.redress(&["audit", "verify", "--key", "key.pem"]).exits(0);
    sees(&good, &["from the key on that was given, each checkpoint is signed by it"]);
    place.redress(&["audit", "verify", "--key", &place.read("key.pem")]).exits(0);
    // A journal is one, by whatever name it is reached.
    std::os::unix::fs::symlink(".redress/journal.db", place.path("linked.db")).unwrap();
    place.redress(&["audit", "verify", "--journal", "linked.db", "--key", "key.pem"]).exits(0);
    assert!(!place.path("checkpoint.key").exists());
    place.redress(&["audit", "rotate-key", "--reason", "x"]).exits(0);
    place.redress(&["audit", "verify", "--key", "key.pem"]).exits(0);
    place.write(".redress/journal.db", std::fs::read(other.path(".redress/journal.db")).unwrap());
    place.write(".redress/journal.db-mark", std::fs::read(other.path(".redress/journal.db-mark")).unwrap());
    let alone = place.redress(&["audit", "verify"]).exits(0);
    assert!(alone.stderr.contains("the key beside the journal is"), "{alone:#?}");
    sees(
        &place.redress(&["audit", "verify", "--key", "key.pem"]).exits(5),
        &["the key that was given never signed here"],
    );
    let nonsense = place.redress(&["audit", "verify", "--key", "w.yaml"]).exits(2);
    assert!(nonsense.stderr.contains("there is no Ed25519 key in `w.yaml`"), "{nonsense:#?}");
}

#[test]
fn an_adopted_backup_hands_over_what_follows_on_it() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    let backup = place.path("backup.db");
    place.redress(&["journal", "backup", backup.to_str().unwrap()]).exits(0);
    place.redress(&["run", "w.yaml", "--input", "word=lost"]).exits(0);
    let before = place.read("elsewhere.jsonl").lines().count();
    std::fs::copy(&backup, place.path(".redress/journal.db")).unwrap();
    place.redress(&["journal", "adopt", "--reason", "the disk is lost", "--as", "user:op"]).exits(0);
    place.redress(&["run", "w.yaml", "--input", "word=new"]).exits(0);
    let lines = place.read("elsewhere.jsonl");
    assert_eq!(lines.lines().count(), before + 1, "{lines}");
    // The file tells of two journals from there on: a new one begins.
    place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl"]).exits(5);
    place.write("since.jsonl", lines.lines().last().unwrap());
    place.redress(&["audit", "verify", "--checkpoint", "since.jsonl"]).exits(0);
}

#[test]
fn a_log_that_others_read_is_said_to_hold_what_was_erased() {
    let place = place();
    place.redress(&["run", "w.yaml", "--input", "word=the-name-of-the-customer"]).exits(0);
    let reader = rusqlite::Connection::open(place.path(".redress/journal.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let redact = ["audit", "redact", "latest", "*", "--reason", "x", "--forgo-undo", "--json"];
    let told = place.redress(&redact).exits(0);
    assert_eq!(told.json()["log_emptied"], false);
    assert!(told.stderr.contains("its log still holds what was erased"), "{told:#?}");
    drop(reader);
    assert_eq!(place.redress(&redact).exits(0).json()["log_emptied"], true);
}

#[test]
fn space_is_not_given_back_under_a_process_that_drives_runs() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    let owner = redress::journal::OwnerLock::acquire(&place.path(".redress/owners")).unwrap();
    let pruned = place.redress(&["audit", "prune", "--before", "1d", "--reason", "x"]).exits(0);
    assert!(pruned.stderr.contains("another process drives runs"), "{pruned:#?}");
    drop(owner);
    let pruned = place.redress(&["audit", "prune", "--before", "1d", "--reason", "x"]).exits(0);
    assert!(!pruned.stderr.contains("another process"), "{pruned:#?}");
}

#[test]
fn what_is_redacted_is_gone_from_every_file_and_verify_says_so() {
    let place = place();
    let secret = "word=the-name-of-the-customer";
    let run = place.redress(&["run", "w.yaml", "--input", secret, "--json"]).exits(0).run().to_string();
    let redact = |path: &str, more: &[&str]| {
        let arguments = ["audit", "redact", &run, path, "--reason", "asked for", "--as", "user:op"];
        place.redress(&[&arguments, more].concat())
    };
    let needed = redact("*", &[]).exits(6);
    assert!(needed.stderr.contains("can still be undone, which needs that"), "{needed:#?}");
    let unknown = redact("b.input", &[]).exits(2);
    assert!(unknown.stderr.contains("it has workflow, inputs, templates, a.input, a.undo, a.output"), "{unknown:#?}");
    sees(&redact("*", &["--forgo-undo"]).exits(0), &["payloads of", "a.input", "inputs"]);
    for file in [".redress/journal.db", ".redress/journal.db-wal"] {
        let bytes = std::fs::read(place.path(file)).unwrap_or_default();
        assert!(!bytes.windows(12).any(|bytes| bytes == b"the-customer"), "{file}");
    }
    let verified = place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl"]).exits(0);
    sees(&verified, &["payloads redacted or expired", "not re-decidable: 1 decisions, whose inputs were erased"]);
    // What is left can be read, and the run cannot be undone.
    place.redress(&["show", &run]).exits(0);
    let undone = place.redress(&["undo", &run, "--reason", "too late", "--as", "user:op"]);
    let undone = undone.exits(6);
    assert!(undone.stderr.contains("it cannot be undone: `workflow` was erased, which its undo needs"), "{undone:#?}");
    assert_eq!(place.read("workspace/a"), "the-name-of-the-customer");
}

#[test]
fn an_undo_that_lost_what_it_needs_is_refused_before_it_touches_anything() {
    let place = place();
    let two = format!(
        "{WRITES}  - {{ name: b, capability: io.fs.write_file, inputs: {{ path: /workspace/b, content: two }} }}\n"
    );
    place.write("w.yaml", two);
    place.redress(&["run", "w.yaml"]).exits(0);
    place.redress(&["audit", "redact", "latest", "a.undo", "--reason", "x", "--forgo-undo"]).exits(0);
    let refused = place.redress(&["undo", "latest", "--reason", "x"]).exits(6);
    assert!(refused.stderr.contains("`a.undo` was erased"), "{refused:#?}");
    assert_eq!(place.read("workspace/b"), "two");
    let pruned = place.redress(&["audit", "prune", "--before", "0s", "--reason", "x", "--json"]).exits(0).json();
    assert_eq!(pruned["pruned"].as_array().unwrap().len(), 1, "{pruned}");
}

#[test]
fn a_torn_line_spoils_no_other_checkpoint() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    let kept = place.read("elsewhere.jsonl");
    place.write("elsewhere.jsonl", format!("{kept}{}", &kept[..kept.len() / 2]));
    place.redress(&["run", "w.yaml", "--input", "word=two"]).exits(0);
    let verified = place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl"]).exits(0);
    assert!(verified.stderr.contains("line 2 of `elsewhere.jsonl`: it is not a checkpoint"), "{verified:#?}");
    sees(&verified, &["it extends 2 of 2 checkpoints that are kept elsewhere"]);
}

#[test]
fn checkpoints_are_not_appended_to_what_redress_itself_reads() {
    for file in ["policy.yaml", "redress.yaml", ".redress/journal.db", ".redress/checkpoint.key", "workspace"] {
        let refused = handing_over(&format!("file: {file}")).redress(&["runs"]).exits(2);
        assert!(refused.stderr.contains("checkpoints cannot be appended to"), "{file}: {refused:#?}");
    }
}

#[test]
fn checkpoints_are_not_appended_to_what_lies_beside_the_journal_wherever_that_is() {
    for file in ["state/checkpoint.key", "state/j.db-mark", "state/owners/x", "state/j.db", "linked/j.db-handed"] {
        let place = handing_over(&format!("file: {file}"));
        place.write("state/kept", "");
        std::os::unix::fs::symlink("state", place.path("linked")).unwrap();
        let refused = place.redress(&["runs", "--journal", "state/j.db"]).exits(2);
        assert!(refused.stderr.contains("checkpoints cannot be appended to"), "{file}: {refused:#?}");
    }
    let beside = handing_over("file: state/kept.jsonl");
    beside.write("state/kept.jsonl", "");
    beside.redress(&["run", "w.yaml", "--journal", "state/j.db"]).exits(0);
    assert_eq!(beside.read("state/kept.jsonl").lines().count(), 1);
}

#[test]
fn a_key_that_another_journal_signs_with_is_not_rotated() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    place.redress(&["run", "w.yaml", "--journal", ".redress/other.db"]).exits(0);
    let refused = place.redress(&["audit", "rotate-key", "--reason", "x"]).exits(6);
    assert!(refused.stderr.contains("other.db` signs with the same key"), "{refused:#?}");
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn what_a_run_still_needs_is_not_redacted() {
    let place = Place::with_policy(
        "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], action: REQUIRE_APPROVAL }\ngrants:\n  \
         - { capabilities: [\"io.fs.*\"], filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }] }\n",
    );
    place.write("w.yaml", WRITES);
    place.redress(&["run", "w.yaml"]).exits(4);
    let refused = place.redress(&["audit", "redact", "latest", "*", "--reason", "x", "--forgo-undo"]).exits(6);
    assert!(refused.stderr.contains("is PAUSED: what it needs cannot be taken from it"), "{refused:#?}");
}

#[test]
fn old_runs_are_pruned_their_heads_stay_and_what_can_be_undone_is_kept() {
    let place = place();
    place.redress(&["run", "w.yaml"]).exits(0);
    let failing = WRITES.replace("path: /workspace/a", "path: /workspace/none/a");
    place.write("fails.yaml", failing);
    let failed = place.redress(&["run", "fails.yaml", "--json"]).exits(3).run().to_string();
    let prune = |before: &str| {
        place.redress(&["audit", "prune", "--before", before, "--reason", "a year", "--json"]).exits(0).json()
    };
    assert_eq!(prune("1d")["pruned"], serde_json::json!([]));
    let pruned = prune("2100-01-01T00:00:00Z");
    assert_eq!((&pruned["pruned"], &pruned["undoable"]), (&serde_json::json!([failed]), &1.into()));
    let gone = place.redress(&["show", &failed]).exits(2);
    assert!(gone.stderr.contains("there is no run"), "{gone:#?}");
    let verified = place.redress(&["audit", "verify", "--checkpoint", "elsewhere.jsonl"]).exits(0);
    sees(&verified, &["1 runs pruned"]);
    sees(
        &place.redress(&["events", "system"]).exits(0),
        &["PRUNED", "1 runs closed before 2100-01-01T00:00:00Z, by agent:demo: \"a year\""],
    );
}

#[test]
fn what_is_sensitive_is_masked_wherever_it_is_shown_and_delivered_and_recorded_as_it_is() {
    let policy = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], action: REQUIRE_APPROVAL }\nsensitive:\n  \
                  - { capabilities: [\"io.fs.*\"], fields: [\"inputs.content\", \"outputs.sha256\"] }\ngrants:\n  \
                  - { capabilities: [\"io.fs.*\"], filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }] }\n";
    let place = Place::with_policy(policy);
    place.write(
        "waits-policy.yaml",
        "rules: []\nsensitive:\n  - { capabilities: [\"human.approve\"], fields: [\"inputs.message\"] }\n",
    );
    place.write(
        "waits.yaml",
        "name: waits\nsteps:\n  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: the-pin } }\n",
    );
    let waits = place.redress(&["plan", "waits.yaml", "--policy", "waits-policy.yaml", "--json"]);
    assert!(!waits.exits(0).stdout.contains("the-pin"));
    place.write("w.yaml", WRITES);
    let planned = place.redress(&["plan", "w.yaml", "--input", "word=the-pin"]).exits(0);
    assert!(!planned.stdout.contains("the-pin"), "{planned:#?}");
    let run = place.redress(&["run", "w.yaml", "--input", "word=the-pin", "--json"]).exits(4).run().to_string();
    let hides = |answer: Answer| {
        assert!(!answer.stdout.contains("the-pin") && !answer.stderr.contains("the-pin"), "{answer:#?}");
        assert!(answer.stdout.contains("(sensitive)"), "{answer:#?}");
    };
    hides(place.redress(&["approvals"]).exits(0));
    hides(place.redress(&["approvals", "--json"]).exits(0));
    sees(&place.redress(&["approvals"]).exits(0), &["with sensitive values masked: `--show-sensitive` shows them"]);
    sees(&place.redress(&["approvals", "--show-sensitive"]).exits(0), &["the-pin"]);
    hides(place.redress(&["approve", &run, "a", "--reason", "good", "--as", "user:op", "--json"]).exits(0));
    assert_eq!(place.read("workspace/a"), "the-pin");
    hides(place.redress(&["show", &run, "--json"]).exits(0));
    sees(&place.redress(&["show", &run, "--json", "--show-sensitive"]).exits(0), &["the-pin"]);
    hides(place.redress(&["audit", "export", "--with-payloads"]).exits(0));
    sees(&place.redress(&["audit", "export", "--with-payloads", "--show-sensitive"]).exits(0), &["the-pin"]);
    place.redress(&["audit", "report", "--with-payloads", "--output", "report.html"]).exits(0);
    assert!(place.read("report.html").contains("(sensitive)") && !place.read("report.html").contains("the-pin"));
    place.redress(&["audit", "redact", &run, "a.input", "--reason", "x", "--forgo-undo", "--as", "user:op"]).exits(0);
    let exported = place.redress(&["audit", "export", "--with-payloads"]).exits(0);
    assert!(!exported.stdout.contains("the-pin"), "what is masked stays masked once a part of it is gone");
    // A policy that is put in force later masks what was recorded before, and one that is gone still counts for what it decided.
    place.write("policy.yaml", "rules: []\n");
    hides(place.redress(&["show", &run, "--json"]).exits(0));
    place.redress(&["audit", "verify"]).exits(0);
}
