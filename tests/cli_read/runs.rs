//! Runs, their steps, events, logs, and what waits for a person.

use std::collections::BTreeSet;

use redress::journal::OwnerLock;
use redress::types::RunId;
use serde_json::{Value, json};

use crate::project::{COMPLETED, EVIL, PAUSED, Project, ROLLED_BACK, begin, finish_step, run_id};

#[test]
fn a_run_is_shown_step_by_step_with_what_was_decided_granted_and_touched() {
    let project = Project::new();
    let run = project.run(0, COMPLETED);
    let shown = project.ends(0, &["show", &run, "--effects"]).stdout;
    let host = project.path("workspace").canonicalize().unwrap();
    for expected in [
        &format!("run {run} COMPLETED\n"),
        "  workflow    \"tidy\"\n",
        "step 1 of 2: first SUCCEEDED\n",
        "  capability  io.fs.write_file of sha256:",
        "  asked by    agent:demo\n",
        "  input       {\"content\":\"hello\",\"path\":\"/workspace/a.txt\"}\n",
        "  asks for    fs:read, fs:write\n",
        "  decision    ALLOW by rule 2 (line 6), risk MEDIUM\n",
        &format!("  granted     \"/workspace\" is \"{}\", read-write\n", host.display()),
        "  touched     \"/workspace/a.txt\": before absent, after file of 5 bytes, 2cf24dba5fb0\n",
        "fs.write \"/workspace/a.txt\": done, 5 bytes\n",
        "step 2 of 2: second SUCCEEDED\n",
        "  asked by    agent:helper for agent:demo\n",
    ] {
        assert!(shown.contains(expected), "{expected}\n---\n{shown}");
    }
    assert!(!project.ends(0, &["show", &run]).stdout.contains("fs.write \""));
}

#[test]
fn the_effects_of_undoing_and_what_was_read_and_looked_at_are_shown_too() {
    let project = Project::new();
    let run = project.run(3, ROLLED_BACK);
    let shown = project.ends(0, &["show", &run, "--effects"]).stdout;
    for expected in [
        "  effects     fs.create \"/workspace/b.txt\": done\n",
        "  undo        attempt 1: undone (checked)\n    effects   fs.unlink \"/workspace/b.txt\": done\n",
        "  reads       \"/workspace\": looked at\n",
    ] {
        assert!(shown.contains(expected), "{expected}\n---\n{shown}");
    }
    let steps = &project.json(0, &["show", &run])["steps"];
    let undo = &steps[0]["undos"][0];
    assert_eq!((&undo["attempt"], &undo["outcome"], &undo["checked"]), (&json!(1), &json!("undone"), &json!(true)));
    assert_eq!((&undo["effects"][0]["kind"], &undo["effects"][0]["status"]), (&json!("fs.unlink"), &json!("done")));
    assert_eq!(steps[1]["reads"], json!([{"place": "/workspace", "count": 0, "bytes": 0}]));
    assert_eq!((&steps[1]["egress"], &steps[1]["unlisted"]), (&json!([]), &json!(0)));
}

#[test]
fn show_prints_the_object_that_run_prints() {
    let project = Project::new();
    project.write("workflow.yaml", COMPLETED);
    let ran = project.json(0, &["run", "workflow.yaml"]);
    let shown = project.json(0, &["show", "latest"]);
    assert_eq!(ran, shown);
    assert_eq!((&shown["schema"], &shown["state"]), (&json!(1), &json!("COMPLETED")));
}

#[test]
fn a_run_that_was_undone_says_who_checked_it() {
    let project = Project::new();
    let run = project.run(3, ROLLED_BACK);
    let shown = project.ends(0, &["show", &run]).stdout;
    assert!(shown.contains("step 1 of 2: first UNDONE, undone (checked)\n"), "{shown}");
    assert!(shown.contains("  reason      step_failed at `second`: \""), "{shown}");
    assert!(shown.contains("step 2 of 2: second FAILED\n"), "{shown}");
    let events = project.ends(0, &["events", &run]).stdout;
    assert!(events.contains("UNDO_RESULT       first undo 1 undone (checked)\n"), "{events}");
    assert!(events.contains("RUN_CLOSED        ROLLED_BACK\n"), "{events}");
    let listed = project.ends(0, &["runs"]).stdout;
    assert!(listed.contains("step_failed at `second`"), "{listed}");
}

#[test]
fn events_are_one_json_object_a_line_in_the_order_of_the_journal() {
    let project = Project::new();
    let run = project.run(0, COMPLETED);
    let said = project.ends(0, &["events", &run, "--json"]);
    let lines: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["event"]["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("RUN_SUBMITTED", "RUN_CLOSED"));
    for (index, line) in lines.iter().enumerate() {
        assert_eq!((&line["schema"], &line["run"]), (&json!(1), &json!(run)));
        assert_eq!(line["seq"], json!(index + 1));
        assert!(line["at"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn a_run_is_named_by_the_beginning_of_its_id_or_by_latest() {
    let project = Project::new();
    let journal = project.journal();
    for number in [1, 2, 300] {
        begin(&journal, &run_id(number), "w", "dead", "COMPLETED").wait().unwrap();
    }
    drop(journal);
    let shown = |given: &str| project.json(0, &["show", given])["run"].clone();
    assert_eq!(shown("latest"), json!(run_id(300)));
    assert_eq!(shown(run_id(1).as_str()), json!(run_id(1)));
    assert_eq!(shown("01980000-0001"), json!(run_id(300)));
    let code = |given: &str| project.json(2, &["show", given])["error"]["code"].clone();
    assert_eq!(code("01980000"), json!("ambiguous-run"));
    assert_eq!(code("0198"), json!("bad-run"));
    assert_eq!(code("not a run!"), json!("bad-run"));
    assert_eq!(code("01990000"), json!("no-such-run"));
    assert_eq!(code(run_id(9).as_str()), json!("no-such-run"));
}

#[test]
fn an_unknown_run_is_a_mistake_in_usage_that_says_where_to_look() {
    let project = Project::new();
    drop(project.journal());
    for verb in ["show", "logs", "events"] {
        let said = project.ends(2, &[verb, run_id(1).as_str()]);
        assert!(said.stdout.is_empty());
        assert!(said.stderr.contains("there is no run"), "{}", said.stderr);
        assert!(said.stderr.contains("`redress runs` lists the runs"), "{}", said.stderr);
        assert_eq!(project.json(2, &[verb, "latest"])["error"]["code"], "no-such-run");
    }
}

#[test]
fn reading_never_makes_a_journal() {
    let project = Project::bare();
    for verb in [&["runs"][..], &["show", "latest"], &["approvals"], &["audit", "verify"]] {
        let said = project.ends(2, verb);
        assert!(said.stderr.contains("journal.db"), "{}", said.stderr);
    }
    assert!(!project.path(".redress").exists());
}

#[test]
fn runs_are_listed_newest_first_and_by_state() {
    let project = Project::new();
    let (one, two) = (project.run(0, COMPLETED), project.run(3, ROLLED_BACK));
    let three = project.run(4, PAUSED);
    let listed = project.json(0, &["runs"]);
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(ids, [three.as_str(), &two, &one]);
    let doomed = &project.json(0, &["runs", "--state", "rolled_back"])[0];
    let mut whole = project.json(0, &["show", &two]);
    whole.as_object_mut().unwrap().retain(|key, _| key != "steps" && key != "host");
    assert_eq!(*doomed, whole);
    assert_eq!(project.json(0, &["runs", "--state", "STUCK"]), json!([]));
    assert!(project.ends(0, &["runs", "--state", "STUCK"]).stderr.contains("there are no such runs"));
    assert!(project.ends(2, &["runs", "--state", "FINE"]).stderr.contains("ROLLED_BACK_WITH_RESIDUE"));
}

#[test]
fn ten_thousand_runs_are_listed_at_once_and_page_by_page() {
    const RUNS: u32 = 10_000;
    let project = Project::new();
    let journal = project.journal();
    let begun: Vec<_> = (0..RUNS).map(|number| begin(&journal, &run_id(number), "many", "dead", "RUNNING")).collect();
    for one in begun {
        one.wait().unwrap();
    }
    drop(journal);
    let all = project.json(0, &["runs", "--limit", "10000"]);
    assert_eq!(all.as_array().unwrap().len(), RUNS as usize);
    let mut seen = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let mut arguments = vec!["runs", "--limit", "3000", "--json"];
        arguments.extend(after.iter().flat_map(|run| ["--after", run.as_str()]));
        let said = project.ends(0, &arguments);
        let page = said.json();
        let ids = page.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned());
        for id in ids {
            assert!(seen.insert(id.clone()), "{id} was listed twice");
            after = Some(id);
        }
        let more = format!("more: redress runs --limit 3000 --after {}", after.as_deref().unwrap());
        if seen.len() == RUNS as usize {
            assert!(!said.stderr.contains("more:"));
            break;
        }
        assert!(said.stderr.contains(&more), "{}", said.stderr);
    }
}

#[test]
fn a_run_whose_owner_is_dead_says_how_to_recover_it() {
    let project = Project::new();
    let journal = project.journal();
    let alive = OwnerLock::acquire(&journal.owners_dir()).unwrap();
    let (orphan, driven) = (run_id(1), run_id(2));
    begin(&journal, &orphan, "w", "dead", "RUNNING").wait().unwrap();
    begin(&journal, &driven, "w", &alive.identity().id, "RUNNING").wait().unwrap();
    let note = |run: &RunId| format!("owner is dead: redress recover {run}");
    let listed = project.ends(0, &["runs"]).stdout;
    assert!(listed.contains(&note(&orphan)) && !listed.contains(&note(&driven)), "{listed}");
    assert!(project.ends(0, &["show", orphan.as_str()]).stdout.contains(&note(&orphan)));
    assert!(!project.ends(0, &["show", driven.as_str()]).stdout.contains("owner is dead"));
    assert_eq!(project.json(0, &["show", orphan.as_str()])["owner_dead"], json!(true));
    assert_eq!(project.json(0, &["show", driven.as_str()]).get("owner_dead"), None);
}

#[test]
fn what_strangers_wrote_never_reaches_a_terminal_raw() {
    let project = Project::new();
    let journal = project.journal();
    let run = run_id(1);
    begin(&journal, &run, EVIL, "dead", "RUNNING").wait().unwrap();
    finish_step(&journal, &run, &format!("{EVIL}\nrun {run} COMPLETED\n"), &json!({ "text": EVIL }));
    drop(journal);
    let escaped = r#""a\" COMPLETED\u001b[31m\u{202e}\u{200b}\u{9b}2J""#;
    for verb in [&["runs"][..], &["show", "latest", "--effects"], &["events", "latest"], &["logs", "latest"]] {
        let said = project.ends(0, verb);
        assert!(said.is_printable(), "{verb:?}\n{}", said.stdout);
        assert!(verb[0] == "logs" || said.stdout.contains(escaped), "{verb:?}\n{}", said.stdout);
    }
    let logs = project.ends(0, &["logs", "latest"]).stdout;
    assert!(logs.starts_with("look, attempt 1 (succeeded)\n  | a\" COMPLETED\\u{1b}[31m\\u{202e}"), "{logs}");
    assert!(logs.contains(&format!("\n  | run {run} COMPLETED\n")), "{logs}");
    assert_eq!(project.json(0, &["show", "latest"])["workflow"], json!(EVIL));
}

#[test]
fn logs_are_shown_by_attempt_and_by_step() {
    let project = Project::new();
    let journal = project.journal();
    begin(&journal, &run_id(1), "w", "dead", "RUNNING").wait().unwrap();
    begin(&journal, &run_id(2), "w", "dead", "RUNNING").wait().unwrap();
    finish_step(&journal, &run_id(1), "line\n", &json!(null));
    drop(journal);
    let logs = project.json(0, &["logs", run_id(1).as_str(), "look"]);
    let expected = json!([{"schema": 1, "step": "look", "attempt": 1, "call": "execute", "outcome": "succeeded", "log": "line\n"}]);
    assert_eq!(logs, expected);
    assert!(project.ends(0, &["logs", run_id(2).as_str()]).stderr.contains("nothing was printed"));
    let said = project.ends(2, &["logs", run_id(1).as_str(), "lok"]);
    assert!(said.stderr.contains("did you mean `look`?"), "{}", said.stderr);
}

#[test]
fn approvals_show_the_exact_input_and_how_to_answer() {
    let project = Project::new();
    drop(project.journal());
    assert!(project.ends(0, &["approvals"]).stderr.contains("nothing waits for approval"));
    assert_eq!(project.json(0, &["approvals"]), json!([]));
    let run = project.run(4, PAUSED);
    let said = project.ends(0, &["approvals"]);
    assert!(said.is_printable());
    let request = project.json(0, &["approvals"]);
    let id = request[0]["request"].as_str().unwrap();
    for expected in [
        &format!("  run         {run} \"asks\"\n"),
        "  step        more\n",
        "  asked by    agent:demo\n",
        "  capability  io.fs.append_file of sha256:",
        "  risk        MEDIUM\n",
        "  rule        rule 1 (line 3) of sha256:",
        "  undo        by its own compensate\n",
        "  votes       0 of 1\n",
        "  approvers   user:*\n",
        "      \"content\": \"a\\u{202e}b\",\n",
        &format!("  approve:    redress approve {run} more --request {id} --as user:NAME --reason REASON\n"),
        &format!("  reject:     redress reject {run} more --request {id} --as user:NAME --reason REASON\n"),
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    assert_eq!(request.as_array().unwrap().len(), 1);
    assert_eq!(request[0]["input"], json!({"path": "/workspace/c.txt", "content": "a\u{202e}b"}));
    assert_eq!(request[0]["expired"], json!(false));
    project.ends(3, &["reject", &run, "more", "--request", id, "--as", "user:ann", "--reason", "no"]);
    assert_eq!(project.json(0, &["approvals"]), json!([]));
}
