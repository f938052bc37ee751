//! The real binary in a folder of its own.
// Not every test binary needs everything.
#![allow(dead_code)]

use std::ffi::OsStr;
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
            let sandbox = Sandbox::new(SandboxConfig {
                cache_dir: Some(folder.path().join("cache")),
                ..SandboxConfig::default()
            })
            .unwrap();
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

    /// The components of a test folder that the settings name, in place of those that were there.
    pub fn with_component(&self, file: &Path) {
        drop(fs::remove_dir_all(self.path("components")));
        self.copy(file, Path::new("components").join(file.file_name().unwrap()));
        self.write("redress.yaml", format!("{SETTINGS}components: [components]\n"));
    }

    /// An engine of this process on the journal of this folder, which stands for another process.
    pub fn engine(&self, clock: impl Clock + 'static) -> Engine {
        let journal = SqliteJournal::create_or_open(&self.path(".redress/journal.db"), Options::default()).unwrap();
        let sandbox =
            Sandbox::new(SandboxConfig { cache_dir: Some(self.path(".redress/cache")), ..SandboxConfig::default() })
                .unwrap();
        let source = Source::new("policy.yaml", self.read("policy.yaml"));
        let policy = Policy::load(source, self.path("").to_str().unwrap()).unwrap().0;
        let parts = Parts {
            owners: journal.owners_dir(),
            journal: Arc::new(journal),
            registry: Registry::standard(sandbox.clone()).unwrap(),
            sandbox,
            policy: Arc::new(policy),
            shadow: None,
            clock: Arc::new(clock),
            observer: Arc::new(NoObserver),
            protected: Default::default(),
            webhook: None,
        };
        Engine::new(parts).unwrap()
    }

    pub fn copy(&self, from: &Path, to: impl AsRef<Path>) {
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
        self.through(env!("CARGO_BIN_EXE_redress"), &[], arguments)
    }

    /// Another program in this folder, in the same way.
    pub fn through(&self, program: &str, before: &[&OsStr], arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(before).args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
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
}
