//! A workspace, a policy, a journal and an engine, in a temporary folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use redress::document::Source;
use redress::engine::{
    Auditor, Clock, Driven, Engine, EngineError, NoObserver, Parts, Protected, Registry, Run, RunView, SimClock,
    StepView, Stop, Submit, Submitted, SystemClock, VoteRequest, Webhook, operate, view, vote,
};
use redress::journal::{Finding, Held, Journal, Options, SqliteJournal};
use redress::policy::Policy;
use redress::saga::event::Verb;
use redress::saga::{RunState, State};
use redress::sandbox::{Sandbox, SandboxConfig};
use redress::types::{Principal, RunId, SecretSource, StepName, Timestamp};
use redress::workflow::Workflow;
use serde_json::Map;
use tempfile::TempDir;

use crate::guests;

/// Everything is allowed to the agent, in one directory.
pub const ALLOW: &str = r#"
default: DENY
rules:
  - principal: "agent:demo"
    capabilities: ["*"]
    action: ALLOW
    accept_risk: HIGH
grants:
  - capabilities: ["*"]
    filesystem: [{ host: ./work, guest: /work, access: read-write }]
"#;

pub struct World {
    /// Before the folder goes, the record is looked at, whatever the test was about.
    #[allow(dead_code, reason = "it works when it is dropped")]
    audit: AuditAtEnd,
    pub dir: TempDir,
    pub clock: SimClock,
    pub journal: Arc<SqliteJournal>,
    pub engine: Engine,
    webhook: bool,
    sandbox: Sandbox,
}

/// Whatever a test is about: what it left in the journal can have happened so.
struct AuditAtEnd(Arc<SqliteJournal>);

impl Drop for AuditAtEnd {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(audited(&self.0), []);
        }
    }
}

/// What `audit verify` would find.
fn audited(journal: &SqliteJournal) -> Vec<Finding> {
    journal.verify_with(Held::default(), &mut Auditor::new(journal)).unwrap().findings
}

/// One sandbox for all tests of the process: it holds compiled code, and no state of a run.
fn sandbox() -> Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX
        .get_or_init(|| {
            let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("promises-cache");
            Sandbox::new(SandboxConfig { cache_dir: Some(cache), ..SandboxConfig::default() }).unwrap()
        })
        .clone()
}

fn components() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = TempDir::new().unwrap().keep();
            for name in ["plain", "flaky", "undo", "hostile"] {
                fs::copy(guests::component(name), folder.join(format!("{name}.wasm"))).unwrap();
            }
            folder
        })
        .clone()
}

pub fn user(text: &str) -> Principal {
    Principal::parse(text).unwrap()
}

pub fn name(text: &str) -> StepName {
    StepName::parse(text).unwrap()
}

impl World {
    /// What `audit verify` would find.
    pub fn audited(&self) -> Vec<Finding> {
        audited(&self.journal)
    }

    pub fn new(policy: &str) -> World {
        World::within(sandbox(), policy)
    }

    /// With a sandbox of one's own.
    pub fn within(sandbox: Sandbox, policy: &str) -> World {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        World::at(dir, sandbox, policy, Some(components()), false)
    }

    /// A world in which a webhook is configured.
    pub fn telling(policy: &str) -> World {
        World { webhook: true, ..World::new(policy) }.restart(policy)
    }

    fn at(dir: TempDir, sandbox: Sandbox, policy: &str, components: Option<PathBuf>, webhook: bool) -> World {
        // Receivers refuse signatures that are not of these minutes.
        let now = if webhook { SystemClock.now() } else { Timestamp(1_700_000_000_000) };
        let clock = SimClock::leaping(now);
        let journal = Arc::new(
            SqliteJournal::create_or_open(&dir.path().join("journal/journal.db"), Options::default()).unwrap(),
        );
        let engine = engine(&dir, &sandbox, &journal, &clock, policy, components, webhook).unwrap();
        World { dir, clock, audit: AuditAtEnd(Arc::clone(&journal)), journal, engine, webhook, sandbox }
    }

    /// The process ends and another one begins.
    pub fn restart(self, policy: &str) -> World {
        let World { dir, sandbox, webhook, .. } = self;
        World::at(dir, sandbox, policy, Some(components()), webhook)
    }

    /// The same, but somebody removed all components besides the standard library.
    pub fn restart_without_components(self, policy: &str) -> World {
        let World { dir, sandbox, webhook, .. } = self;
        World::at(dir, sandbox, policy, None, webhook)
    }

    /// Another engine, as another process would have it, on a journal that stands in front of this one.
    pub fn engine_behind(&self, journal: Arc<dyn Journal>) -> Engine {
        let components = Some(components());
        engine_on(journal, &self.dir, &self.sandbox, &self.journal, &self.clock, ALLOW, components, self.webhook)
            .unwrap()
    }

    /// Another process with the same journal.
    pub fn another_engine(&self, policy: &str) -> Engine {
        engine(&self.dir, &self.sandbox, &self.journal, &self.clock, policy, Some(components()), self.webhook).unwrap()
    }

    /// Puts another policy in force, as a process that runs on would.
    pub async fn reload(&self, policy: &str) -> Result<(), EngineError> {
        let protected = Protected::guards(vec![self.journal.path().to_owned()]);
        self.engine.set_policy(Arc::new(load_policy(&self.dir, policy)), &protected).await
    }

    pub fn workflow(&self, yaml: &str) -> Workflow {
        let source = Source::new("workflow.yaml", yaml);
        Workflow::load(&source, self.engine.registry(), &Map::new()).unwrap_or_else(|e| panic!("{e}")).0
    }

    pub async fn submit(&self, yaml: &str) -> Run {
        let submit = Submit::by(user("agent:demo"));
        match self.engine.submit(&self.workflow(yaml), &submit).await.unwrap() {
            Submitted::New(run) => run,
            Submitted::Existing(run) => panic!("{run} exists"),
        }
    }

    /// Submits a workflow and drives it to rest.
    pub async fn run(&self, yaml: &str) -> RunView {
        let run = self.submit(yaml).await;
        self.drive(&run).await
    }

    pub async fn drive(&self, run: &Run) -> RunView {
        let driven = run.drive(&Stop::default()).await.unwrap();
        let view = self.view(run.id());
        assert!(matches!(driven, Driven::Rest(state) if state == view.state), "{driven:?} {}", view.state);
        view
    }

    pub async fn take(&self, run: &RunId) -> Run {
        self.engine.take(run).await.unwrap()
    }

    /// Takes the run over and drives it to rest.
    pub async fn resume(&self, run: &RunId) -> RunView {
        let run = self.take(run).await;
        self.drive(&run).await
    }

    pub fn view(&self, run: &RunId) -> RunView {
        view(&*self.journal, run).unwrap()
    }

    pub fn vote(&self, run: &RunId, step: &str, by: &str, approve: bool) -> Result<State, EngineError> {
        let request = VoteRequest {
            step: name(step),
            request: None,
            seen: None,
            by: user(by),
            approve,
            reason: "a reason".to_owned(),
        };
        vote(&*self.journal, run, &request, None, self.clock.now())
    }

    pub fn operate(&self, run: &RunId, verb: Verb, step: Option<&str>) -> Result<State, EngineError> {
        operate(&*self.journal, run, verb, step.map(name), &user("user:op"), "a reason", self.clock.now())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> Option<String> {
        fs::read(self.path(name)).ok().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Every file and directory of the workspace with its bytes.
    pub fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut tree = BTreeMap::new();
        collect(&self.dir.path().join("work"), "", &mut tree);
        tree
    }

    pub fn kinds(&self, run: &RunId) -> Vec<&'static str> {
        self.journal.entries(run, 0, usize::MAX).unwrap().iter().map(|entry| entry.event.kind()).collect()
    }
}

fn collect(dir: &Path, at: &str, tree: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{at}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            tree.insert(name.clone(), None);
            collect(&entry.path(), &name, tree);
        } else {
            tree.insert(name, Some(fs::read(entry.path()).unwrap()));
        }
    }
}

fn load_policy(dir: &TempDir, text: &str) -> Policy {
    let base = dir.path().canonicalize().unwrap();
    let loaded = Policy::load(Source::new("policy.yaml", text), base.to_str().unwrap());
    loaded.unwrap_or_else(|e| panic!("{e}")).0
}

fn engine(
    dir: &TempDir,
    sandbox: &Sandbox,
    journal: &Arc<SqliteJournal>,
    clock: &SimClock,
    policy: &str,
    components: Option<PathBuf>,
    webhook: bool,
) -> Result<Engine, EngineError> {
    engine_on(journal.clone(), dir, sandbox, journal, clock, policy, components, webhook)
}

/// The same on a journal that stands in front of the one on disk.
#[allow(clippy::too_many_arguments, reason = "each is what a world is made of")]
fn engine_on(
    journal_in_front: Arc<dyn Journal>,
    dir: &TempDir,
    sandbox: &Sandbox,
    journal: &Arc<SqliteJournal>,
    clock: &SimClock,
    policy: &str,
    components: Option<PathBuf>,
    webhook: bool,
) -> Result<Engine, EngineError> {
    let mut registry = Registry::standard(sandbox.clone())?;
    if let Some(folder) = components {
        registry.add_folder(&folder)?;
    }
    Engine::new(Parts {
        journal: journal_in_front,
        owners: journal.owners_dir(),
        sandbox: sandbox.clone(),
        registry,
        policy: Arc::new(load_policy(dir, policy)),
        shadow: None,
        clock: Arc::new(clock.clone()),
        observer: Arc::new(NoObserver),
        protected: Protected::guards(vec![journal.path().to_owned()]),
        // The engine only needs to know that there is one: it sends nothing.
        webhook: webhook.then(|| Webhook::new("https://hooks.test/", SecretSource::Env("NONE".into())).unwrap()),
    })
}

pub fn step<'v>(view: &'v RunView, name: &str) -> &'v StepView {
    view.steps.iter().find(|step| step.name == name).unwrap()
}

pub fn states(view: &RunView) -> Vec<(&str, &str)> {
    view.steps.iter().map(|step| (step.name.as_str(), step.state.as_str())).collect()
}

pub fn code(view: &RunView, name: &str) -> String {
    step(view, name).error.as_ref().map_or_else(String::new, |error| error.code.clone())
}

pub fn is(view: &RunView, state: RunState) {
    assert_eq!(view.state, state, "{:#?}", view.reason);
}
