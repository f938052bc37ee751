//! A journal, a sandbox, a policy and an engine in a temporary folder on the disk of the target folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redress::document::Source;
use redress::engine::{
    Driven, Engine, Observer, Parts, Protected, Registry, Run, Stop, Submit, Submitted, SystemClock,
};
use redress::journal::{Options, SqliteJournal};
use redress::policy::Policy;
use redress::saga::event::{Entry, Event};
use redress::saga::{RunState, State};
use redress::sandbox::{Sandbox, SandboxConfig};
use redress::types::{Principal, RunId};
use redress::workflow::Workflow;
use rusqlite::Connection;
use serde_json::Map;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::guests;
use crate::report::Samples;

/// One agent may do everything, in one directory.
pub const ALLOW: &str = r#"
rules:
  - principal: "agent:demo"
    capabilities: ["*"]
    action: ALLOW
grants:
  - capabilities: ["*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

/// The same, but a person is asked about `data.hash`.
pub const ASK: &str = r#"
rules:
  - principal: "agent:demo"
    capabilities: ["data.hash"]
    action: REQUIRE_APPROVAL
  - principal: "agent:demo"
    capabilities: ["*"]
    action: ALLOW
grants:
  - capabilities: ["*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

/// When the steps of each run had their RESULT.
#[derive(Default)]
pub struct Results(Mutex<HashMap<RunId, Vec<Instant>>>);

impl Results {
    /// Those of each run.
    pub fn take(&self) -> Vec<Vec<Instant>> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_values().collect()
    }
}

impl Observer for Results {
    fn seen(&self, state: &State, entry: &Entry) {
        if matches!(entry.event, Event::Result(_)) {
            let now = Instant::now();
            let results = &mut *self.0.lock().unwrap();
            match results.get_mut(state.run()) {
                Some(moments) => moments.push(now),
                None => drop(results.insert(state.run().clone(), vec![now])),
            }
        }
    }
}

pub struct World {
    pub dir: TempDir,
    pub journal: Arc<SqliteJournal>,
    pub engine: Engine,
    pub results: Arc<Results>,
}

/// A folder on a real disk.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The sandbox with its compiled code kept, as the command line has it.
pub fn sandbox() -> Sandbox {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-cache");
    Sandbox::new(SandboxConfig { cache_dir: Some(cache), ..SandboxConfig::default() }).unwrap()
}

/// The same number of threads as the command line has.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

impl World {
    pub fn new() -> World {
        World::with(folder(), &sandbox(), ALLOW)
    }

    /// Settings, policy and workspace are also there for the binary.
    pub fn with(dir: TempDir, sandbox: &Sandbox, policy: &str) -> World {
        let components = dir.path().join("components");
        fs::create_dir_all(&components).unwrap();
        fs::create_dir_all(dir.path().join("workspace")).unwrap();
        fs::copy(guests::component("noop"), components.join("noop.wasm")).unwrap();
        fs::write(
            dir.path().join("redress.yaml"),
            "policy: policy.yaml\nprincipal: agent:demo\ncomponents: [components]\n",
        )
        .unwrap();
        fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        let journal =
            SqliteJournal::create_or_open(&dir.path().join(".redress/journal.db"), Options::default()).unwrap();
        let journal = Arc::new(journal);
        let mut registry = Registry::standard(sandbox.clone()).unwrap();
        registry.add_folder(&components).unwrap();
        let base = dir.path().canonicalize().unwrap();
        let loaded = Policy::load(Source::new("policy.yaml", policy), base.to_str().unwrap());
        let policy = loaded.unwrap_or_else(|error| panic!("{error}")).0;
        let results = Arc::new(Results::default());
        let parts = Parts {
            journal: journal.clone(),
            owners: journal.owners_dir(),
            sandbox: sandbox.clone(),
            registry,
            policy: Arc::new(policy),
            shadow: None,
            clock: Arc::new(SystemClock),
            observer: results.clone(),
            protected: Protected::guards(vec![journal.path().to_owned()]),
            webhook: None,
        };
        World { engine: Engine::new(parts).unwrap(), dir, journal, results }
    }

    /// The process ends; what it left stays.
    pub fn end(self) -> TempDir {
        self.dir
    }

    pub fn workflow(&self, yaml: &str) -> Workflow {
        let source = Source::new("workflow.yaml", yaml);
        Workflow::load(&source, self.engine.registry(), &Map::new()).unwrap_or_else(|error| panic!("{error}")).0
    }

    pub async fn submit(&self, workflow: &Workflow) -> Run {
        let submit = Submit::by(Principal::parse("agent:demo").unwrap());
        match self.engine.submit(workflow, &submit).await.unwrap() {
            Submitted::New(run) => run,
            Submitted::Existing(run) => panic!("{run} exists"),
        }
    }

    /// Submits and drives a run to its end. Returns the times of its results, and how long all of it took.
    pub async fn complete(&self, workflow: &Workflow) -> (Vec<Instant>, Duration) {
        drop(self.results.take());
        let begun = Instant::now();
        let run = self.submit(workflow).await;
        finish(&run).await;
        let whole = begun.elapsed();
        (self.results.take().pop().unwrap_or_default(), whole)
    }
}

/// Submits and drives so many runs at once.
pub async fn complete_at_once(world: &Arc<World>, workflow: &Arc<Workflow>, runs: usize) {
    let mut going = tokio::task::JoinSet::new();
    for _ in 0..runs {
        let (world, workflow) = (world.clone(), workflow.clone());
        going.spawn(async move { finish(&world.submit(&workflow).await).await });
    }
    while let Some(run) = going.join_next().await {
        run.unwrap();
    }
}

/// Drives a run to its end.
pub async fn finish(run: &Run) {
    let driven = run.drive(&Stop::default()).await.unwrap();
    assert_eq!(driven, Driven::Rest(RunState::Completed), "{}", run.id());
}

/// A workflow of `n` steps in series; `step` is the rest of each step's line.
pub fn series(n: usize, step: impl Fn(usize) -> String) -> String {
    let lines: String = (0..n).map(|i| format!("  - {{ name: s{i}, {} }}\n", step(i))).collect();
    format!("name: series\nsteps:\n{lines}")
}

/// A step without effect.
pub fn noop(_: usize) -> String {
    "capability: test.noop, inputs: {}".to_owned()
}

/// A step with an effect that changes nothing.
pub fn touch(_: usize) -> String {
    "capability: test.touch, inputs: {}".to_owned()
}

/// A step that writes a file.
pub fn write(i: usize) -> String {
    format!("capability: io.fs.write_file, inputs: {{ path: /workspace/{i}, content: x }}")
}

/// A bare SQLite database with the settings of the journal: one row a commit.
pub struct Bare {
    conn: Connection,
    _dir: TempDir,
}

impl Bare {
    pub fn new() -> Bare {
        let dir = folder();
        let conn = Connection::open(dir.path().join("bare.db")).unwrap();
        conn.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB NOT NULL);",
        )
        .unwrap();
        Bare { conn, _dir: dir }
    }

    /// Commits `n` rows of 200 bytes, each on its own.
    pub fn commit(&self, n: usize, samples: &mut Samples) {
        let mut insert = self.conn.prepare_cached("INSERT INTO rows (body) VALUES (?)").unwrap();
        for _ in 0..n {
            let begun = Instant::now();
            insert.execute([[7u8; 200].as_slice()]).unwrap();
            samples.add(begun.elapsed());
        }
    }
}

/// The binary in a folder, with nothing of this process's environment that it would heed.
pub fn binary(folder: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_redress"));
    command.args(arguments).current_dir(folder).stdin(std::process::Stdio::null());
    for name in ["POLICY", "JOURNAL", "AS", "COMPONENTS", "LOG"] {
        command.env_remove(format!("REDRESS_{name}"));
    }
    command
}

/// The greatest memory that a process had, in megabytes, looked at while it runs: it ends before it could be asked.
pub fn peak(pid: u32) -> Option<f64> {
    memory(pid, "VmHWM:")
}

/// The memory that a process has, in megabytes.
pub fn memory(pid: u32, line: &str) -> Option<f64> {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    let kib: f64 = status.lines().find(|found| found.starts_with(line))?.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
