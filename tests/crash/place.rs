//! A folder in which the real binary runs, is killed, and is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use redress::engine::{Auditor, RunView, state_of, view};
use redress::journal::{Held, Journal, Options, RunFilter, SqliteJournal};
use redress::types::RunId;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guests;

pub const POLICY: &str = r#"
default: DENY
rules:
  - { principal: "agent:demo", capabilities: ["*"], action: ALLOW, accept_risk: HIGH }
grants:
  - capabilities: ["*"]
    filesystem: [{ host: ./work, guest: /work, access: read-write }]
"#;

pub const BINARY: &str = env!("CARGO_BIN_EXE_redress");

/// What a folder looks like: for each path below it its permissions, and the content of a file or the text of a link.
pub type Tree = BTreeMap<String, (u32, Option<Vec<u8>>)>;

/// A settings file, a policy, a workspace with something in it, and one compiled-code cache for all.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new(workflow: &str) -> Place {
        Place::with_policy(workflow, POLICY)
    }

    pub fn with_policy(workflow: &str, policy: &str) -> Place {
        let place = Place::without_compiled_code(workflow, policy);
        copy(compiled(), &place.path(".redress/cache"));
        fs::set_permissions(place.path(".redress"), fs::Permissions::from_mode(0o700)).unwrap();
        place
    }

    fn without_compiled_code(workflow: &str, policy: &str) -> Place {
        let place = Place { dir: TempDir::new().unwrap() };
        place.write(
            "redress.yaml",
            "policy: policy.yaml\njournal: .redress/journal.db\nprincipal: agent:demo\ncomponents: [parts]\n",
        );
        place.write("policy.yaml", policy);
        place.write("workflow.yaml", workflow);
        place.furnish("work");
        fs::create_dir(place.path("parts")).unwrap();
        for name in ["plain", "flaky"] {
            share(&guests::component(name), &place.path(&format!("parts/{name}.wasm")));
        }
        place
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts something into a folder that the workflows read, change, move and remove.
    pub fn furnish(&self, folder: &str) {
        self.write(&format!("{folder}/old/deep"), "kept");
        self.write(&format!("{folder}/old/deeper/still/file"), "x".repeat(5000));
        self.write(&format!("{folder}/log"), "line\n");
        self.write(&format!("{folder}/bin"), [0u8, 159, 146, 150, 255, 13, 10]);
        self.write(&format!("{folder}/private"), "for me alone");
        fs::set_permissions(self.path(&format!("{folder}/private")), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("log", self.path(&format!("{folder}/link"))).unwrap();
    }

    pub fn redress(&self, arguments: &[&str], crash: Option<(&str, u64)>) -> Output {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.dir.path());
        if let Some((when, commit)) = crash {
            command.env(format!("REDRESS_CRASH_AT_COMMIT_{when}"), commit.to_string());
        }
        command.output().unwrap()
    }

    pub fn tree(&self) -> Tree {
        self.tree_of("work")
    }

    pub fn tree_of(&self, folder: &str) -> Tree {
        let mut tree = Tree::new();
        collect(&self.path(folder), "", &mut tree);
        tree
    }

    /// What lies beside the database: files that only a living process needs, or that a run that goes on does.
    pub fn remains(&self) -> Vec<String> {
        let mut remains: Vec<String> = self.tree_of(".redress").into_keys().collect();
        let stay = [
            "/cache",
            "/cache/program",
            "/checkpoint.key",
            "/journal.db",
            "/journal.db-handed",
            "/journal.db-mark",
            "/owners",
            "/targets",
        ];
        remains.retain(|path| {
            let inside = path.starts_with("/cache/") && path.ends_with(".code");
            !(inside || stay.contains(&path.as_str()) || path == "/journal.db-wal" || path == "/journal.db-shm")
        });
        remains
    }

    pub fn journal(&self) -> Option<SqliteJournal> {
        SqliteJournal::open_read_only(&self.path(".redress/journal.db"), Options::default()).ok()
    }

    /// All runs, by their ids.
    pub fn ids(&self) -> Vec<RunId> {
        let Some(journal) = self.journal() else { return Vec::new() };
        journal.runs(&RunFilter::default(), None, 10).unwrap().rows.into_iter().map(|row| row.run).collect()
    }

    /// The states of all runs, from their events.
    pub fn runs(&self) -> Vec<&'static str> {
        let state = |run: &RunId| state_of(&self.journal().unwrap(), run).unwrap().shown().as_str();
        self.ids().iter().map(state).collect()
    }

    /// What `audit verify` would find.
    pub fn findings(&self) -> Vec<String> {
        let Some(journal) = self.journal() else { return Vec::new() };
        let verified = journal.verify_with(Held::default(), &mut Auditor::new(&journal)).unwrap();
        verified.findings.into_iter().map(|finding| format!("{finding:?}")).collect()
    }
}

/// How a run ended, without what differs from one run to the next: ids, times, and how often something was tried.
pub fn end_of(journal: &dyn Journal, run: &RunId) -> Value {
    let RunView { state, reason, steps, residue, .. } = view(journal, run).unwrap();
    let steps: Vec<Value> = steps
        .into_iter()
        .map(|step| {
            let mut output = step.output.unwrap_or_default();
            if let Some(fields) = output.as_object_mut() {
                fields.remove("attempt");
            }
            let code = step.error.map(|error| error.code);
            json!({ "step": step.name, "state": step.state, "checked": step.checked, "output": output, "code": code })
        })
        .collect();
    let reason = reason.map(|reason| (reason.code, reason.step));
    json!({ "state": state, "reason": reason, "steps": steps, "residue": residue })
}

/// The cache after a run that has loaded every component.
fn compiled() -> &'static Path {
    static COMPILED: OnceLock<TempDir> = OnceLock::new();
    let folder = COMPILED.get_or_init(|| {
        let workflow = "name: warm\nsteps: [{ name: a, capability: test.echo, inputs: {} }]\n";
        let place = Place::without_compiled_code(workflow, POLICY);
        let output = place.redress(&["run", "workflow.yaml"], None);
        assert!(output.status.success(), "{}", text(&output));
        let folder = TempDir::new().unwrap();
        copy(&place.path(".redress/cache"), folder.path());
        folder
    });
    folder.path()
}

fn collect(dir: &Path, at: &str, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{at}/{}", entry.file_name().to_string_lossy());
        let mode = entry.metadata().unwrap().permissions().mode();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            tree.insert(name.clone(), (mode, None));
            collect(&entry.path(), &name, tree);
        } else if kind.is_symlink() {
            let to = fs::read_link(entry.path()).unwrap();
            tree.insert(name, (mode, Some(to.into_os_string().into_encoded_bytes())));
        } else {
            tree.insert(name, (mode, Some(fs::read(entry.path()).unwrap())));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            share(&entry.path(), &target);
        }
    }
}

/// The same file under another name, or a copy where that cannot be. Nothing writes into these files.
fn share(file: &Path, to: &Path) {
    fs::hard_link(file, to).or_else(|_| fs::copy(file, to).map(drop)).unwrap();
}

pub fn killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
