//! A component that stands in a file, or in a project that builds one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde::Deserialize;

use crate::cli::error::CliError;

/// What was found.
pub(super) struct Project {
    /// The component.
    pub(super) bytes: Bytes,
    /// Its file.
    pub(super) file: PathBuf,
    /// Where its cases are, unless somebody says otherwise.
    pub(super) cases: PathBuf,
}

/// Reads a component, after building it if `path` is a project.
pub(super) fn open(path: &Path) -> Result<Project, CliError> {
    let (file, cases) = if path.is_dir() {
        (build(path)?, path.join("tests"))
    } else {
        (path.to_owned(), path.parent().unwrap_or(Path::new(".")).join("tests"))
    };
    let shown = file.display().to_string();
    let bytes = std::fs::read(&file).map_err(|error| CliError::unreadable(&shown, &error))?;
    Ok(Project { bytes: Bytes::from(bytes), file, cases })
}

fn build(folder: &Path) -> Result<PathBuf, CliError> {
    let has = |name: &str| folder.join(name).is_file();
    if has("Cargo.toml") {
        return with_cargo(folder);
    }
    let (program, arguments): (&str, &[&str]) = if has("package.json") {
        ("npm", &["run", "--silent", "build"])
    } else if has("build.py") {
        ("python3", &["build.py"])
    } else {
        let shown = folder.display().to_string();
        let message = format!("`{shown}` is not a project: it has neither `Cargo.toml`, `package.json` nor `build.py`");
        return Err(CliError::usage("no-project", message)
            .in_file(shown)
            .help("give a project, or the file of a component; `redress capability new NAME` writes a project"));
    };
    // What it says is for the person who waits; stdout is for the result.
    let mut command = Command::new(program);
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| no_program(program, &error))?;
    eprint_bytes(&output.stdout);
    if !output.status.success() {
        return Err(not_built(folder, &format!("{program} {}", arguments.join(" "))));
    }
    the_only_component(folder)
}

fn eprint_bytes(bytes: &[u8]) {
    use std::io::Write as _;
    drop(std::io::stderr().lock().write_all(bytes));
}

fn no_program(program: &str, error: &std::io::Error) -> CliError {
    CliError::usage("no-build-tool", format!("`{program}` cannot be run: {error}"))
        .help("install what the README of the project names, or give the file of a component")
}

fn not_built(folder: &Path, command: &str) -> CliError {
    let shown = folder.display().to_string();
    CliError::usage("not-built", format!("`{command}` in `{shown}` failed; what it said stands above")).in_file(shown)
}

fn the_only_component(folder: &Path) -> Result<PathBuf, CliError> {
    let shown = folder.display().to_string();
    let entries = std::fs::read_dir(folder).map_err(|error| CliError::unreadable(&shown, &error))?;
    let is_component = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wasm");
    let entries: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let entries = entries.map_err(|error| CliError::unreadable(&shown, &error))?;
    let mut files: Vec<PathBuf> = entries.into_iter().filter(is_component).collect();
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        (None, _) => Err(CliError::usage("not-built", format!("the build left no `*.wasm` in `{shown}`"))),
        (Some(_), false) => {
            Err(CliError::usage("ambiguous", format!("there are several `*.wasm` in `{shown}`: give one of them")))
        }
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// The component that cargo says it made: the last library of the kind `cdylib`.
fn with_cargo(folder: &Path) -> Result<PathBuf, CliError> {
    let arguments = ["build", "--release", "--target", "wasm32-wasip2", "--message-format", "json-render-diagnostics"];
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| no_program("cargo", &error))?;
    if !output.status.success() {
        return Err(not_built(folder, "cargo build --release --target wasm32-wasip2")
            .help("if it says that it cannot find `core` or `std`: rustup target add wasm32-wasip2"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let libraries = messages.filter(|message| {
        let library = |target: &Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        message.reason == "compiler-artifact" && message.target.as_ref().is_some_and(library)
    });
    let is_component = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wasm");
    libraries.flat_map(|message| message.filenames).rfind(is_component).ok_or_else(|| {
        let shown = folder.display().to_string();
        CliError::usage("not-built", format!("cargo made no component in `{shown}`"))
            .help("write `crate-type = [\"cdylib\"]` under `[lib]` in its Cargo.toml")
    })
}
