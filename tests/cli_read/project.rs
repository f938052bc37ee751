//! A folder in which the binary runs, and runs that are made in its journal directly.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use redress::journal::{
    Append, Durability, Journal, Kept, NewRun, Options, OwnerIdentity, Payload, Pending, SqliteJournal, Submission,
    Summary,
};
use redress::saga::RunState;
use redress::saga::event::{Decision, Event, Evidence, Mode, Outcome, RunSubmitted, StepResult, StepSpec};
use redress::types::{
    Action, CapabilityId, Duration, EffectKind, Grant, Principal, Retry, Risk, RunId, StepName, Timestamp, sha256,
};
use serde_json::Value;
use tempfile::TempDir;

pub const POLICY: &str = r#"default: DENY
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
pub const EVIL: &str = "a\" COMPLETED\u{1b}[31m\u{202e}\u{200b}\u{9b}2J";

/// A folder with settings, a policy and a workspace.
pub struct Project(pub TempDir);

/// What a process said.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// Whether all of it is safe to print.
    pub fn is_printable(&self) -> bool {
        let safe = |c: char| c == '\n' || (' '..='~').contains(&c);
        self.stdout.chars().chain(self.stderr.chars()).all(safe)
    }
}

/// Compiled components, so that not every test compiles them anew.
pub fn compiled() -> &'static Path {
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
    pub fn bare() -> Project {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("workspace")).unwrap();
        let project = Project(folder);
        project.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\n");
        project.write("policy.yaml", POLICY);
        project
    }

    /// With a place for one.
    pub fn new() -> Project {
        let project = Project::bare();
        let cache = project.path(".redress/cache");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache).unwrap();
        for entry in fs::read_dir(compiled().join(".redress/cache")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), cache.join(entry.file_name())).unwrap();
        }
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        command_in(self.0.path(), arguments)
    }

    pub fn redress(&self, arguments: &[&str]) -> Said {
        run_in(self.0.path(), arguments)
    }

    /// Runs a verb that must end with this code.
    pub fn ends(&self, code: i32, arguments: &[&str]) -> Said {
        let said = self.redress(arguments);
        assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.stdout, said.stderr);
        said
    }

    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.ends(code, &with_json).json()
    }

    pub fn journal_file(&self) -> PathBuf {
        self.path(".redress/journal.db")
    }

    pub fn journal(&self) -> SqliteJournal {
        SqliteJournal::create_or_open(&self.journal_file(), Options::default()).unwrap()
    }

    /// Runs a workflow; its id.
    pub fn run(&self, code: i32, workflow: &str) -> String {
        self.write("workflow.yaml", workflow);
        self.json(code, &["run", "workflow.yaml"])["run"].as_str().unwrap().to_owned()
    }

    /// The database behind the journal's back, all of it in one file.
    pub fn database(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.journal_file()).unwrap();
        conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
        conn
    }

    pub fn tamper(&self, sql: &str) {
        assert_eq!(self.database().execute(sql, []).unwrap(), 1, "{sql}");
    }
}

pub fn run_in(folder: &Path, arguments: &[&str]) -> Said {
    command_in(folder, arguments).output().unwrap().into()
}

fn command_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redress"));
    command.args(arguments).current_dir(folder).env_clear().env("NO_COLOR", "1");
    command
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let Output { status, stdout, stderr } = output;
        let (stdout, stderr) = (text(stdout), text(stderr));
        let code = status.code().unwrap_or_else(|| panic!("{status}: {stdout}\n{stderr}"));
        Said { code, stdout, stderr }
    }
}

pub const COMPLETED: &str = r#"
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

pub const ROLLED_BACK: &str = r#"
name: doomed
steps:
  - name: first
    capability: io.fs.write_file
    inputs: { path: /workspace/b.txt, content: hello }
  - name: second
    capability: io.fs.read_file
    inputs: { path: /workspace/missing.txt }
"#;

pub const PAUSED: &str = r#"
name: asks
steps:
  - name: look
    capability: io.fs.exists
    inputs: { path: /workspace/c.txt }
  - name: more
    capability: io.fs.append_file
    inputs: { path: /workspace/c.txt, content: "a\u202eb" }
"#;

pub fn run_id(number: u32) -> RunId {
    RunId::parse(&format!("01980000-{:04x}-7000-8000-{number:012x}", number >> 8)).unwrap()
}

pub fn step(name: &str) -> StepSpec {
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
pub fn begin(journal: &SqliteJournal, run: &RunId, name: &str, owner: &str, state: &str) -> Pending<Submission> {
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
        binary: None,
        max_parallel: 8,
        deadline: None,
        idle_timeout: Duration::from_secs(600),
        settle_timeout: Duration::from_secs(10),
        undo_window: Duration::from_secs(600),
        run_key: None,
        agent: None,
    };
    journal.create_run(NewRun {
        submitted,
        at: Timestamp(1_760_000_000_000),
        owner: OwnerIdentity { id: owner.to_owned(), boot: "boot".to_owned() },
        payloads: vec![workflow, inputs],
        kept: Kept::default(),
        summary: Summary { seq: 2, state: RunState::parse(state).unwrap(), due: None },
    })
}

/// A step that was allowed, printed something and returned something.
pub fn finish_step(journal: &SqliteJournal, run: &RunId, printed: &str, output: &Value) {
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
        shadow: None,
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
