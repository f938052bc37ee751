//! What the tests of the sandbox share: a watcher that records, and calls on a temporary directory.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod guests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::ready;
use redress::sandbox::{
    Call, CallKind, Cancel, Component, Durable, Provenance, Reach, Report, Sandbox, SandboxConfig, Watcher,
};
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

impl Watcher for Recorder {
    fn claim(&self, target: &Target, kind: &str) -> Result<(), Failure> {
        self.ask(Asked::Claim(target.to_string(), kind.to_owned()))
    }

    fn release(&self, target: &Target) {
        let _ = self.ask(Asked::Release(target.to_string()));
    }

    fn intent(&self, undo: Option<&[u8]>, target: &Target, before: &TargetState) -> Durable {
        let (sender, receiver) = oneshot::channel();
        if self.hold {
            *self.held.lock().unwrap() = Some(sender);
        }
        let asked =
            Asked::Intent { undo: undo.map(<[u8]>::to_vec), target: target.to_string(), before: before.clone() };
        let answer = self.ask(asked);
        if self.hold { async { receiver.await.unwrap() }.boxed() } else { ready(answer).boxed() }
    }

    fn before(&self, target: &Target, before: &TargetState) {
        let _ = self.ask(Asked::Before(target.to_string(), before.clone()));
    }

    fn appended(&self, undo: &[u8]) -> Durable {
        ready(self.ask(Asked::Appended(undo.to_vec()))).boxed()
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
        clock_ahead: std::time::Duration::ZERO,
    }
}

/// The undoing of `executed`.
pub fn compensation(executed: &Call, output: Option<String>, undo: Vec<Vec<u8>>) -> Call {
    Call {
        kind: CallKind::Compensate {
            execute_key: executed.key.clone(),
            output,
            undo,
            may_change: Reach::AllBut(Vec::new()),
        },
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
}
