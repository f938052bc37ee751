//! The tracer of `tests/tracer`, built once in a process, and what it tells of a program that it ran.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// On which side of a call the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// The `call`-th call that changes files, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub side: Side,
    pub call: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Before { "before" } else { "after" };
        write!(f, "{side} {}", self.call)
    }
}

impl Point {
    /// What a point is shown as.
    pub fn parse(text: &str) -> Option<Point> {
        let (side, call) = text.trim().split_once(' ')?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return None,
        };
        Some(Point { side, call: call.parse().ok()? })
    }
}

/// How a traced program ended.
#[derive(Debug)]
pub struct Traced {
    /// How many calls that change files it began.
    pub calls: u64,
    /// The name of the call at which it was killed.
    pub killed_at: Option<String>,
    /// Its exit code; 137 if a signal ended it.
    pub code: Option<i32>,
    /// Its calls that change files, in order: the name of each, and the files and folders that it was given open.
    pub log: Vec<(String, Vec<String>)>,
    /// What it wrote to stdout and stderr.
    pub text: String,
}

/// Runs a program in `dir` to its end, or until it is killed at `crash`.
pub fn trace(program: &str, arguments: &[&str], dir: &Path, crash: Option<Point>) -> Traced {
    let report = tempfile::NamedTempFile::new().unwrap();
    let point = crash.map_or_else(|| "never".to_owned(), |point| point.to_string());
    let output = Command::new(tracer())
        .arg(report.path())
        .args([&point, program])
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = output;
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let report = fs::read_to_string(report.path()).unwrap();
    let mut lines = report.lines();
    let first = lines.next().and_then(|line| line.split_once(' '));
    let (calls, at) = first.unwrap_or_else(|| panic!("the tracer failed: {text}"));
    let killed_at = (at != "-").then(|| at.to_owned());
    let call = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        (words.next().unwrap_or_default(), words.collect())
    };
    Traced { calls: calls.parse().unwrap(), killed_at, code: status.code(), log: lines.map(call).collect(), text }
}

/// It is a package of its own: its features would make every dependency of this one be built once more.
fn tracer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracer");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tracer");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target).current_dir(sources);
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            cargo.env_remove(name);
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("debug/tracer")
    })
}

#[test]
fn a_traced_program_dies_right_before_or_right_after_the_call_that_was_chosen() {
    let (nothing, empty, one, both) = (None, Some(""), Some("one\n"), Some("one\ntwo\n"));
    let calls = [("openat", nothing, empty), ("write", empty, one), ("openat", one, one), ("write", one, both)];
    let at = |side, call| {
        let dir = tempfile::tempdir().unwrap();
        let script = ["-c", "echo one > file; echo two >> file"];
        let shell = trace("/bin/sh", &script, dir.path(), Some(Point { side, call }));
        (shell, fs::read_to_string(dir.path().join("file")).ok())
    };
    for (call, (name, before, after)) in (1..).zip(calls) {
        for (side, world) in [(Side::Before, before), (Side::After, after)] {
            let (shell, file) = at(side, call);
            assert_eq!((shell.killed_at.as_deref(), shell.calls, shell.code), (Some(name), call, Some(137)));
            assert_eq!(file.as_deref(), world, "{side:?} {name}");
        }
    }
    let (shell, file) = at(Side::Before, 5);
    let log: Vec<(&str, bool)> = shell.log.iter().map(|(name, of)| (name.as_str(), of[0].ends_with("/file"))).collect();
    assert_eq!(log, [("openat", false), ("write", true), ("openat", false), ("write", true)]);
    assert_eq!((shell.killed_at, shell.calls, shell.code), (None, 4, Some(0)));
    assert_eq!(file.as_deref(), both);
}
