//! The verbs that read, through the real binary: what they print, for people and for programs, what they end with, and that
//! nothing that a stranger wrote reaches a terminal raw.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(feature = "host")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use redress::journal::{
    Append, Durability, Journal, Kept, NewRun, Options, OwnerIdentity, OwnerLock, Payload, Pending, SqliteJournal,
    Submission, Summary,
};
use redress::saga::event::{Decision, Event, Evidence, Mode, Outcome, RunSubmitted, StepResult, StepSpec};
use redress::types::{
    Action, CapabilityId, Duration, EffectKind, Grant, Principal, Retry, Risk, RunId, StepName, Timestamp, sha256,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = r#"default: DENY
rules:
  - principal: "agent:demo"
    capabilities: ["io.fs.append_file"]
    action: REQUIRE_APPROVAL
  - principal: ["agent:demo", "agent:helper"]
    capabilities: ["io.fs.*", "data.*"]
    action: ALLOW
grants:
  - capabilities: ["io.fs.*"]
    filesystem:
      - { host: ./workspace, guest: /workspace, access: read-write }
    limits: { wall_time: 10s }
tests:
  - { as: "agent:demo", do: io.fs.read_file, expect: ALLOW, rule: 2 }
"#;

/// What strangers write to pass for the host, or to steer a terminal.
const EVIL: &str = "a\" COMPLETED\u{1b}[31m\u{202e}\u{200b}\u{9b}2J";

/// A folder with settings, a policy and a workspace.
struct Project(TempDir);

/// What a process said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// Whether all of it is safe to print.
    fn is_printable(&self) -> bool {
        let safe = |c: char| c == '\n' || (' '..='~').contains(&c);
        self.stdout.chars().chain(self.stderr.chars()).all(safe)
    }
}

/// Compiled components, so that not every test compiles them anew.
fn compiled() -> &'static Path {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    let folder = CACHE.get_or_init(|| {
        let project = Project::bare();
        fs::create_dir(project.path(".redress")).unwrap();
        project.ends(0, &["capability", "list"]);
        project.0
    });
    folder.path()
}

impl Project {
    /// Without a journal.
    fn bare() -> Project {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("workspace")).unwrap();
        let project = Project(folder);
        project.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\n");
        project.write("policy.yaml", POLICY);
        project
    }

    /// With a place for one.
    fn new() -> Project {
        let project = Project::bare();
        let cache = project.path(".redress/cache");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache).unwrap();
        for entry in fs::read_dir(compiled().join(".redress/cache")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), cache.join(entry.file_name())).unwrap();
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn redress(&self, arguments: &[&str]) -> Said {
        run_in(self.0.path(), arguments)
    }

    /// Runs a verb that must end with this code.
    fn ends(&self, code: i32, arguments: &[&str]) -> Said {
        let said = self.redress(arguments);
        assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.stdout, said.stderr);
        said
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.ends(code, &with_json).json()
    }

    fn journal_file(&self) -> PathBuf {
        self.path(".redress/journal.db")
    }

    fn journal(&self) -> SqliteJournal {
        SqliteJournal::create_or_open(&self.journal_file(), Options::default()).unwrap()
    }

    /// Runs a workflow; its id.
    fn run(&self, code: i32, workflow: &str) -> String {
        self.write("workflow.yaml", workflow);
        self.json(code, &["run", "workflow.yaml"])["run"].as_str().unwrap().to_owned()
    }

    /// The database behind the journal's back, all of it in one file.
    fn database(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.journal_file()).unwrap();
        conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
        conn
    }

    fn tamper(&self, sql: &str) {
        assert_eq!(self.database().execute(sql, []).unwrap(), 1, "{sql}");
    }
}

fn run_in(folder: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_redress"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

const COMPLETED: &str = r#"
name: tidy
steps:
  - name: first
    capability: io.fs.write_file
    inputs: { path: /workspace/a.txt, content: hello }
  - name: second
    capability: io.fs.read_file
    agent: helper
    inputs: { path: "{{ first.path }}" }
"#;

const ROLLED_BACK: &str = r#"
name: doomed
steps:
  - name: first
    capability: io.fs.write_file
    inputs: { path: /workspace/b.txt, content: hello }
  - name: second
    capability: io.fs.read_file
    inputs: { path: /workspace/missing.txt }
"#;

const PAUSED: &str = r#"
name: asks
steps:
  - name: look
    capability: io.fs.exists
    inputs: { path: /workspace/c.txt }
  - name: more
    capability: io.fs.append_file
    inputs: { path: /workspace/c.txt, content: "a\u202eb" }
"#;

fn run_id(number: u32) -> RunId {
    RunId::parse(&format!("01980000-{:04x}-7000-8000-{number:012x}", number >> 8)).unwrap()
}

fn step(name: &str) -> StepSpec {
    StepSpec {
        name: StepName::parse(name).unwrap(),
        capability: Some(CapabilityId::parse("acme.notes.look").unwrap()),
        component: Some(sha256(b"component")),
        effect: EffectKind::None,
        idempotent: true,
        risk: Risk::Low,
        step_risk: None,
        agent: None,
        depends_on: Vec::new(),
        retry: Retry::default(),
        timeout: None,
        compensation: None,
    }
}

/// A run that is made in the journal directly.
fn begin(journal: &SqliteJournal, run: &RunId, name: &str, owner: &str, state: &str) -> Pending<Submission> {
    let [workflow, inputs] = ["", "{}"].map(|text| Payload::new(text).unwrap());
    let submitted = RunSubmitted {
        run: run.clone(),
        name: name.to_owned(),
        version: None,
        principal: Principal::parse("agent:demo").unwrap(),
        mode: Mode::Sealed,
        steps: vec![step("look")],
        workflow: workflow.reference(),
        inputs: inputs.reference(),
        templates: None,
        engine: "0".into(),
        max_parallel: 8,
        deadline: None,
        idle_timeout: Duration::from_secs(600),
        settle_timeout: Duration::from_secs(10),
        undo_window: Duration::from_secs(600),
        run_key: None,
    };
    journal.create_run(NewRun {
        submitted,
        at: Timestamp(1_760_000_000_000),
        owner: OwnerIdentity { id: owner.to_owned(), boot: "boot".to_owned() },
        payloads: vec![workflow, inputs],
        kept: Kept::default(),
        summary: Summary { state: state.to_owned() },
    })
}

/// A step that was allowed, printed something and returned something.
fn finish_step(journal: &SqliteJournal, run: &RunId, printed: &str, output: &Value) {
    let [input, log] = ["{}", printed].map(|text| Payload::new(text.to_owned()).unwrap());
    let output = Payload::new(output.to_string()).unwrap();
    let name = StepName::parse("look").unwrap();
    let decision = Decision {
        step: name.clone(),
        action: Action::Allow,
        base: Action::Allow,
        rule: None,
        risk: Risk::Low,
        escalated: false,
        reason: None,
        policy: sha256(b"policy"),
        input: Some(input.reference()),
        grant: Grant::default(),
        approval: None,
        compensation: None,
    };
    let result = StepResult {
        step: name,
        attempt: 1,
        outcome: Outcome::Succeeded,
        output: Some(output.reference()),
        error: None,
        evidence: Evidence::default(),
        log: Some(log.reference()),
        retry_at: None,
        compensation: None,
    };
    let at = Timestamp(1_760_000_000_001);
    let events = vec![(at, Event::Decision(Box::new(decision))), (at, Event::Result(Box::new(result)))];
    let append = Append::by_owner(1, Durability::Sync, events).with_payloads(vec![input, log, output]);
    journal.append(run, append).wait().unwrap();
}

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
    whole.as_object_mut().unwrap().remove("steps");
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

#[test]
fn a_policy_is_checked_without_being_in_force() {
    let project = Project::new();
    let said = project.ends(0, &["policy", "check", "policy.yaml"]);
    assert!(said.stdout.starts_with("policy.yaml is good: 1 of 1 tests passed\nsha256:"), "{}", said.stdout);
    let checked = project.json(0, &["policy", "check", "policy.yaml"]);
    assert_eq!((&checked["passed"], &checked["warnings"]), (&json!(true), &json!([])));

    project.write("failing.yaml", &POLICY.replace("expect: ALLOW", "expect: DENY"));
    let said = project.ends(6, &["policy", "check", "failing.yaml"]);
    assert!(said.stdout.contains("FAIL failing.yaml:15  agent:demo io.fs.read_file -> DENY: "), "{}", said.stdout);
    assert_eq!(project.json(6, &["policy", "check", "failing.yaml"])["passed"], json!(false));

    project.write("broken.yaml", "defualt: DENY\n");
    let said = project.ends(2, &["policy", "check", "broken.yaml"]);
    assert!(said.stderr.contains("broken.yaml:1:1") && said.stderr.contains("`default`"), "{}", said.stderr);
    assert_eq!(project.json(2, &["policy", "check", "broken.yaml"])["error"]["line"], json!(1));
    project.ends(2, &["policy", "check", "missing.yaml"]);
}

#[test]
fn more_tests_of_a_policy_come_from_a_file_of_their_own() {
    let project = Project::new();
    project.write("good.yaml", "tests:\n  - { as: \"agent:other\", do: io.fs.read_file, expect: DENY }\n");
    project.write("bad.yaml", "tests:\n  - { as: \"agent:other\", do: io.fs.read_file, expect: ALLOW }\n");
    let said = project.ends(0, &["policy", "test", "policy.yaml", "--tests", "good.yaml"]);
    assert!(said.stdout.contains("pass good.yaml:2  agent:other io.fs.read_file -> DENY\n"), "{}", said.stdout);
    assert!(said.stdout.ends_with("2 of 2 tests passed\n"), "{}", said.stdout);
    let said = project.ends(6, &["policy", "test", "policy.yaml", "--tests", "bad.yaml"]);
    assert!(said.stdout.contains("FAIL bad.yaml:2 ") && said.stdout.contains("1 of 2 tests"), "{}", said.stdout);
    let tested = project.json(6, &["policy", "test", "policy.yaml", "--tests", "bad.yaml"]);
    assert_eq!((&tested["tests"][1]["file"], &tested["tests"][1]["passed"]), (&json!("bad.yaml"), &json!(false)));
}

#[test]
fn an_answer_is_explained_rule_by_rule() {
    let project = Project::new();
    let said = project.ends(0, &["policy", "explain", "--as", "agent:demo", "--do", "io.fs.delete"]);
    for expected in [
        "rule 1 (line 3) REQUIRE_APPROVAL: is for another capability\n",
        "rule 2 (line 6) ALLOW: matches\n",
        "escalated: HIGH needs a person\n",
        "answer: REQUIRE_APPROVAL\n",
        "what would change it: an approval, or `accept_risk: HIGH` on rule 2\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    let explained = project.json(0, &["policy", "explain", "--as", "user:x", "--do", "io.fs.read_file"]);
    assert_eq!((&explained["decision"]["action"], &explained["installed"]), (&json!("DENY"), &json!(true)));
    let risk = ["policy", "explain", "--do", "io.fs.write_file", "--risk", "CRITICAL"];
    assert_eq!(project.json(0, &risk)["decision"]["action"], json!("REQUIRE_APPROVAL"));
    let unknown = project.ends(0, &["policy", "explain", "--do", "io.fs.write_fil"]);
    assert!(unknown.stderr.contains("did you mean `io.fs.write_file`?"), "{}", unknown.stderr);
    project.ends(2, &["policy", "explain", "--do", "io.fs.delete", "--inputs", "[1]"]);
    project.ends(2, &["policy", "explain", "--do", "io.fs.delete", "--risk", "high"]);
}

#[test]
fn conditions_are_explained_with_the_inputs_that_are_given() {
    let project = Project::new();
    let rule = "default: DENY\nrules:\n  - principal: \"agent:*\"\n    capabilities: [\"io.fs.read_file\"]\n    \
        when: { inputs.path: { glob: \"/workspace/**\" } }\n    action: ALLOW\n";
    project.write("policy.yaml", rule);
    let action = |inputs: &str| {
        let arguments = ["policy", "explain", "--do", "io.fs.read_file", "--inputs", inputs];
        project.json(0, &arguments)["decision"]["action"].clone()
    };
    assert_eq!(action(r#"{"path": "/workspace/a"}"#), json!("ALLOW"));
    assert_eq!(action(r#"{"path": "/etc/passwd"}"#), json!("DENY"));
    assert_eq!(action("{}"), json!("DENY"));
}

#[test]
fn capabilities_are_listed_and_inspected_with_what_they_ask_for_and_get() {
    let project = Project::new();
    let listed = project.json(0, &["capability", "list"]);
    let write = listed.as_array().unwrap().iter().find(|one| one["capability"] == "io.fs.write_file").unwrap();
    assert_eq!((&write["effect"], &write["risk"]), (&json!("reversible"), &json!("MEDIUM")));
    assert!(project.ends(0, &["capability", "list"]).stdout.contains("io.fs.delete"));

    let said = project.ends(0, &["capability", "inspect", "io.fs.write_file"]);
    for expected in [
        "source      standard library: fs\n",
        "grants      to agent:demo, by sha256:",
        "  effect      reversible\n",
        "  asks        fs:read, fs:write\n",
        "  limited     wall_time        10s\n",
        "  wall_time        30s\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    let inspected = project.json(0, &["capability", "inspect", "io.fs.write_file"]);
    let granted = &inspected["capabilities"][0]["granted"]["filesystem"][0];
    assert_eq!((&granted["guest"], &granted["access"]), (&json!("/workspace"), &json!("read-write")));
    assert_eq!(inspected["component"], write["component"]);

    let said = project.ends(2, &["capability", "inspect", "io.fs.write_fil"]);
    assert!(said.stderr.contains("did you mean `io.fs.write_file`?"), "{}", said.stderr);
    project.write("not.wasm", "hello");
    let said = project.ends(2, &["capability", "inspect", "not.wasm"]);
    assert!(said.stderr.contains("it is not a WebAssembly component"), "{}", said.stderr);
    assert_eq!(project.json(2, &["capability", "inspect", "./missing.wasm"])["error"]["code"], "unreadable");
}

#[test]
fn a_component_is_inspected_without_settings() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["capability", "inspect", "data.hash"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("grants      not known: no policy or no principal is set\n"), "{}", said.stdout);
}

#[test]
fn a_journal_as_it_was_written_is_whole() {
    let project = Project::new();
    project.run(3, ROLLED_BACK);
    let said = project.ends(0, &["audit", "verify"]);
    assert!(said.stdout.contains("is as it was written\nverified: 2 chains, "), "{}", said.stdout);
    let report = project.json(0, &["audit", "verify"]);
    assert_eq!((&report["whole"], &report["findings"]), (&json!(true), &json!([])));
    assert!(report["head"]["hash"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn what_was_changed_is_found_with_its_place() {
    let changes = [
        (
            "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'agent:demo', 'agent:mode') AS BLOB) WHERE chain = 'RUN' AND seq = 1",
            json!(1),
        ),
        ("UPDATE events SET hash = zeroblob(32) WHERE chain = 'RUN' AND seq = 3", json!(3)),
        ("DELETE FROM events WHERE chain = 'RUN' AND seq = 4", json!(4)),
        (
            "UPDATE payloads SET bytes = CAST('{}' AS BLOB) WHERE digest = (SELECT max(digest) FROM payloads WHERE bytes != CAST('{}' AS BLOB))",
            Value::Null,
        ),
        ("UPDATE runs SET workflow = 'other' WHERE run = 'RUN'", Value::Null),
    ];
    let whole = Project::new();
    let run = whole.run(3, ROLLED_BACK);
    drop(whole.database());
    let bytes = fs::read(whole.journal_file()).unwrap();
    for (sql, seq) in changes {
        fs::write(whole.journal_file(), &bytes).unwrap();
        whole.tamper(&sql.replace("RUN", &run));
        let report = whole.json(5, &["audit", "verify"]);
        assert_eq!((&report["schema"], &report["whole"]), (&json!(1), &json!(false)), "{sql}");
        let found = &report["findings"][0];
        assert_eq!(found["chain"], json!(run), "{sql}\n{report}");
        if sql.contains("seq") {
            assert_eq!(found["seq"], seq, "{sql}\n{report}");
        }
        let said = whole.ends(5, &["audit", "verify"]);
        assert!(said.stdout.contains(&format!("of chain \"{run}\": ")), "{}", said.stdout);
        assert!(said.stdout.contains("was changed"), "{}", said.stdout);
    }
}

#[test]
fn a_run_that_was_dropped_whole_is_missed() {
    let project = Project::new();
    let run = project.run(0, COMPLETED);
    project.run(3, ROLLED_BACK);
    let conn = project.database();
    conn.execute("DELETE FROM events WHERE chain = ?", [&run]).unwrap();
    conn.execute("DELETE FROM runs WHERE run = ?", [&run]).unwrap();
    drop(conn);
    let report = project.json(5, &["audit", "verify"]);
    assert_eq!(report["findings"][0]["chain"], json!(run));
}

#[test]
fn one_run_that_cannot_be_read_does_not_hide_the_others() {
    let project = Project::new();
    let (good, bad) = (project.run(4, PAUSED), project.run(3, ROLLED_BACK));
    project.tamper(&format!("UPDATE events SET hash = zeroblob(32) WHERE chain = '{bad}' AND seq = 2"));
    let listed = project.ends(0, &["runs"]).stdout;
    assert!(listed.contains(&good) && listed.contains(&bad) && listed.contains("    unreadable: \""), "{listed}");
    let said = project.ends(1, &["show", &bad]);
    assert!(said.stderr.contains("event 2 of chain") && said.stderr.contains("audit verify"), "{}", said.stderr);
    assert!(project.ends(0, &["approvals"]).stdout.contains(&good));
}

#[test]
fn a_database_that_is_damaged_is_found_and_not_an_error() {
    let project = Project::new();
    project.run(0, COMPLETED);
    let conn = project.database();
    let sql = "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 3 WHERE name = 'runs_by_state';";
    conn.execute_batch(sql).unwrap();
    drop(conn);
    let report = project.json(5, &["audit", "verify"]);
    assert_eq!(report["findings"][0]["chain"], json!("database"), "{report}");
}

#[test]
fn completions_are_there_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = run_in(folder.path(), &["completions", shell]);
        assert_eq!(said.code, 0);
        assert!(said.stdout.contains("redress") && said.stdout.contains("approvals"), "{shell}");
        let json = run_in(folder.path(), &["completions", shell, "--json"]).json();
        assert_eq!((&json["schema"], &json["shell"]), (&json!(1), &json!(shell)));
    }
    assert_eq!(run_in(folder.path(), &["completions", "tcsh"]).code, 2);
}

#[test]
fn the_version_names_everything_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["version"]);
    assert_eq!(said.code, 0);
    let version = env!("CARGO_PKG_VERSION");
    assert!(said.stdout.starts_with(&format!("redress {version}\nwasmtime 48.")), "{}", said.stdout);
    assert!(said.stdout.contains("\ncomponent fs sha256:"), "{}", said.stdout);
    let json = run_in(folder.path(), &["version", "--json"]).json();
    assert_eq!((&json["schema"], &json["version"]), (&json!(1), &json!(version)));
    assert_eq!(json["components"].as_array().unwrap().len(), 2);
}
