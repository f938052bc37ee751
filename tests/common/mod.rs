<<<<<<< HEAD
//! What the tests of the sandbox share: a watcher that records, and calls on a temporary directory.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod guests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use redress::sandbox::{Call, CallKind, Cancel, Component, Provenance, Report, Sandbox, SandboxConfig, Watcher};
use redress::types::{Access, DirGrant, Failure, Grant, Target, TargetState};
use serde_json::Value;
use tokio::sync::oneshot;

/// What a watcher was asked, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Claim(String, String),
    Release(String),
    Intent { undo: Option<Vec<u8>>, target: String, before: TargetState },
    Before(String, TargetState),
    Appended(Vec<u8>),
}

type Look = Box<dyn Fn(&Asked) -> Result<(), Failure> + Send + Sync>;

/// A watcher that records what it is asked and answers what the test says.
pub struct Recorder {
    pub asked: Mutex<Vec<Asked>>,
    /// Called for each question; an error is the answer to a claim, an intent or an appended record.
    look: Look,
    /// The intent is answered when the test says so.
    held: Mutex<Option<oneshot::Sender<Result<(), Failure>>>>,
    hold: bool,
}

impl Recorder {
    pub fn new() -> Arc<Recorder> {
        Recorder::looking(|_| Ok(()))
    }

    pub fn looking(look: impl Fn(&Asked) -> Result<(), Failure> + Send + Sync + 'static) -> Arc<Recorder> {
        Arc::new(Recorder { asked: Mutex::default(), look: Box::new(look), held: Mutex::default(), hold: false })
    }

    /// A watcher whose answer to the intent is held back until [`Recorder::answer`]; `look` sees the intent.
    pub fn holding(look: impl Fn(&Asked) -> Result<(), Failure> + Send + Sync + 'static) -> Arc<Recorder> {
        Arc::new(Recorder { asked: Mutex::default(), look: Box::new(look), held: Mutex::default(), hold: true })
    }

    pub fn answer(&self, answer: Result<(), Failure>) {
        let held = self.held.lock().unwrap().take().expect("no intent was asked for");
        let _ = held.send(answer);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn intents(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| matches!(asked, Asked::Intent { .. })).collect()
    }

    fn ask(&self, asked: Asked) -> Result<(), Failure> {
        let answer = (self.look)(&asked);
        self.asked.lock().unwrap().push(asked);
        answer
    }
}

fn answered(answer: Result<(), Failure>) -> oneshot::Receiver<Result<(), Failure>> {
    let (sender, receiver) = oneshot::channel();
    let _ = sender.send(answer);
    receiver
}

impl Watcher for Recorder {
    fn claim(&self, target: &Target, kind: &str) -> Result<(), Failure> {
        self.ask(Asked::Claim(target.to_string(), kind.to_owned()))
    }

    fn release(&self, target: &Target) {
        let _ = self.ask(Asked::Release(target.to_string()));
    }

    fn intent(
        &self,
        undo: Option<&[u8]>,
        target: &Target,
        before: &TargetState,
    ) -> oneshot::Receiver<Result<(), Failure>> {
        let (sender, receiver) = oneshot::channel();
        if self.hold {
            *self.held.lock().unwrap() = Some(sender);
        }
        let asked =
            Asked::Intent { undo: undo.map(<[u8]>::to_vec), target: target.to_string(), before: before.clone() };
        let answer = self.ask(asked);
        if self.hold { receiver } else { answered(answer) }
    }

    fn before(&self, target: &Target, before: &TargetState) {
        let _ = self.ask(Asked::Before(target.to_string(), before.clone()));
    }

    fn appended(&self, undo: &[u8]) -> oneshot::Receiver<Result<(), Failure>> {
        answered(self.ask(Asked::Appended(undo.to_vec())))
    }
}

/// One sandbox for all tests of a file.
pub fn sandbox() -> &'static Sandbox {
    static SANDBOX: std::sync::OnceLock<Sandbox> = std::sync::OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(SandboxConfig::default()).unwrap())
}

/// The standard library's component of this name; loaded once in a process.
pub fn standard(name: &str) -> Arc<Component> {
    loaded(name, Provenance::Standard, || match name {
        "fs" => include_bytes!(concat!(env!("OUT_DIR"), "/fs.wasm")).to_vec(),
        "data" => include_bytes!(concat!(env!("OUT_DIR"), "/data.wasm")).to_vec(),
        other => panic!("no component {other}"),
    })
}

/// A component of `tests/components`; loaded once in a process.
pub fn guest(name: &str) -> Arc<Component> {
    loaded(name, Provenance::External, || std::fs::read(guests::component(name)).unwrap())
}

fn loaded(name: &str, provenance: Provenance, bytes: impl FnOnce() -> Vec<u8>) -> Arc<Component> {
    static LOADED: Mutex<Option<HashMap<String, Arc<Component>>>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let load = || sandbox().load(&bytes(), provenance).unwrap_or_else(|error| panic!("{name}: {error}"));
    Arc::clone(loaded.get_or_insert_default().entry(name.to_owned()).or_insert_with(load))
}

/// A temporary directory with a granted one, `/workspace`, inside.
pub struct World {
    pub dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ws")).unwrap();
        World { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("ws").join(name)
    }

    pub fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    pub fn grant(&self, access: Access) -> Grant {
        grant(&self.path(""), "/workspace", access)
    }
}

pub fn grant(host: &Path, guest: &str, access: Access) -> Grant {
    let host = host.to_str().unwrap().to_owned();
    Grant { filesystem: vec![DirGrant { host, guest: guest.to_owned(), access }], ..Grant::default() }
}

/// An execution of `capability`, ready to be changed by a test.
pub fn execution(component: &Arc<Component>, capability: &str, input: Value, grant: Grant) -> Call {
    let info = component.capabilities().iter().find(|info| info.id.as_str() == capability);
    let capability = info.unwrap_or_else(|| panic!("no capability {capability}")).clone();
    Call {
        component: Arc::clone(component),
        capability,
        kind: CallKind::Execute { undo_in_force: None },
        input: input.to_string(),
        key: "key-1".into(),
        attempt: 1,
        timeout: None,
        grant,
        context: BTreeMap::new(),
    }
}

/// The undoing of `executed`.
pub fn compensation(executed: &Call, output: Option<String>, undo: Vec<Vec<u8>>) -> Call {
    Call {
        kind: CallKind::Compensate { execute_key: executed.key.clone(), output, undo, may_change: None },
        key: "undo-1".into(),
        ..executed.clone()
    }
}

/// The code of the failure that a report ended with.
pub fn failed(report: &Report) -> &str {
    &report.result.as_ref().expect_err("it was to fail").code
}

pub fn run(call: Call, watcher: &Arc<Recorder>) -> Report {
    run_with(call, watcher, Cancel::new())
}

pub fn run_with(call: Call, watcher: &Arc<Recorder>, cancel: Cancel) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(sandbox().call(call, Arc::clone(watcher) as Arc<dyn Watcher>, cancel))
=======
//! The real binary in a folder of its own.
// Not every test binary needs everything.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use redress::document::Source;
use redress::engine::{self, Clock, Engine, NoObserver, Parts, Registry};
use redress::journal::{Journal, Options, SqliteJournal};
use redress::policy::Policy;
use redress::saga::event::{Entry, Event};
use redress::sandbox::{Sandbox, SandboxConfig};
use redress::types::RunId;
use serde_json::Value;
use tempfile::TempDir;

/// One agent that may do anything with files that is not of HIGH risk, and settings that name it.
pub const POLICY: &str = r#"
rules:
  - principal: "agent:demo"
    capabilities: ["io.fs.*", "data.*", "text.*"]
    action: ALLOW
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;
pub const SETTINGS: &str = "policy: policy.yaml\nprincipal: agent:demo\n";

/// A folder in which the binary runs.
pub struct Place(TempDir);

/// What the binary answered.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Answer {
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// The same, if it ended with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Answer {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The id of the run that was printed as JSON.
    pub fn run(&self) -> RunId {
        RunId::parse(self.json()["run"].as_str().unwrap()).unwrap()
    }
}

impl Place {
    /// An empty folder.
    pub fn empty() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// A folder with settings, [`POLICY`] and an empty workspace.
    pub fn new() -> Place {
        Place::with_policy(POLICY)
    }

    /// A folder with settings, a policy and an empty workspace.
    pub fn with_policy(policy: &str) -> Place {
        let place = Place::empty();
        place.write("redress.yaml", SETTINGS);
        place.write("policy.yaml", policy);
        fs::create_dir(place.path("workspace")).unwrap();
        place.with_compiled_code()
    }

    /// A copy of what this repository gives a newcomer: settings, policies, examples and their workspace.
    pub fn of_examples() -> Place {
        let place = Place::empty();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        place.copy(&root.join("redress.yaml"), "redress.yaml");
        place.copy(&root.join("workspace/README.md"), "workspace/README.md");
        for folder in ["policies", "examples", "workspace/rollback"] {
            for file in files_below(&root.join(folder)) {
                place.copy(&file, file.strip_prefix(root).unwrap());
            }
        }
        place.with_compiled_code()
    }

    /// With the standard library compiled already: that takes seconds, and once is enough for all tests.
    fn with_compiled_code(self) -> Place {
        static COMPILED: OnceLock<TempDir> = OnceLock::new();
        let compiled = COMPILED.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let sandbox = Sandbox::new(SandboxConfig { cache_dir: Some(folder.path().join("cache")) }).unwrap();
            drop(Registry::standard(sandbox).unwrap());
            folder
        });
        for folder in [".redress", ".redress/cache"] {
            fs::DirBuilder::new().mode(0o700).create(self.path(folder)).unwrap();
        }
        for file in files_below(&compiled.path().join("cache")) {
            fs::copy(&file, self.path(".redress/cache").join(file.file_name().unwrap())).unwrap();
        }
        self
    }

    /// An engine of this process on the journal of this folder, which stands for another process.
    pub fn engine(&self, clock: impl Clock + 'static) -> Engine {
        let journal = SqliteJournal::create_or_open(&self.path(".redress/journal.db"), Options::default()).unwrap();
        let sandbox = Sandbox::new(SandboxConfig { cache_dir: Some(self.path(".redress/cache")) }).unwrap();
        let source = Source::new("policy.yaml", self.read("policy.yaml"));
        let policy = Policy::load(source, self.path("").to_str().unwrap()).unwrap().0;
        let parts = Parts {
            owners: journal.owners_dir(),
            journal: Arc::new(journal),
            registry: Registry::standard(sandbox.clone()).unwrap(),
            sandbox,
            policy: Arc::new(policy),
            clock: Arc::new(clock),
            observer: Arc::new(NoObserver),
            protected: Vec::new(),
        };
        Engine::new(parts).unwrap()
    }

    fn copy(&self, from: &Path, to: impl AsRef<Path>) {
        self.write(to, fs::read(from).unwrap());
    }

    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(below)
    }

    pub fn write(&self, file: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, file: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// The binary in this folder, with nothing of this process's environment that it would heed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redress"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for name in ["POLICY", "JOURNAL", "AS", "COMPONENTS", "LOG"] {
            command.env_remove(format!("REDRESS_{name}"));
        }
        command
    }

    /// Runs the binary to its end.
    pub fn redress(&self, arguments: &[&str]) -> Answer {
        self.command(arguments).output().unwrap().into()
    }

    /// The journal where the settings put it.
    pub fn journal(&self) -> SqliteJournal {
        SqliteJournal::open_read_only(&self.path(".redress/journal.db"), Options::default()).unwrap()
    }

    /// The events of a run, as the journal has them.
    pub fn entries(&self, run: &RunId) -> Vec<Entry> {
        engine::entries_of(&self.journal() as &dyn Journal, run).unwrap()
    }

    /// How many events of a kind a run has.
    pub fn count(&self, run: &RunId, is: impl Fn(&Event) -> bool) -> usize {
        self.entries(run).iter().filter(|entry| is(&entry.event)).count()
    }

    /// Every file and folder of the workspace, with the content of the files.
    pub fn world(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let root = self.path("workspace");
        let mut world = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let content = if path.is_dir() { None } else { Some(fs::read(&path).unwrap()) };
                if content.is_none() {
                    folders.push(path.clone());
                }
                world.push((path.strip_prefix(&root).unwrap().to_owned(), content));
            }
        }
        world.sort();
        world
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
>>>>>>> cli
}
