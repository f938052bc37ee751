//! Builds a workspace of guest components with the cargo that runs us; used by the build script and by the tests.
//!
//! The outer build may run under clippy, coverage, a wrapper or another target folder: nothing of that may reach the inner
//! one, and the two must not share a target folder, or they would wait for each other's lock. Paths of the machine are
//! mapped away, so that the same sources give the same bytes everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";

/// Guests with 2 MiB to begin with do not grow their memory for small work; growing is what serialises many calls.
const INITIAL_MEMORY: &str = "link-arg=--initial-memory=2097152";

/// Builds everything in the workspace at `folder`, release profile, into `target`; returns the folder of the `.wasm` files.
/// An error is a text for a person.
pub fn build(folder: &Path, target: &Path, extra: &[&str]) -> Result<PathBuf, String> {
    let root = folder.ancestors().find(|above| above.join("wit").is_dir()).unwrap_or(folder);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder).args(["build", "--release", "--locked", "--target", TARGET]).args(extra);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(&name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", target).env("CARGO_ENCODED_RUSTFLAGS", flags(root).join("\u{1f}"));
    let output = cargo.output().map_err(|error| format!("cannot run cargo for the components: {error}"))?;
    if output.status.success() {
        return Ok(target.join(TARGET).join("release"));
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if log.contains("can't find crate for `core`") || log.contains("can't find crate for `std`") {
        return Err(format!("the components need the Rust target {TARGET}; type: rustup target add {TARGET}"));
    }
    Err(format!("the components in {} do not build:\n{log}", folder.display()))
}

fn is_of_the_outer_build(name: &str) -> bool {
    const CLEARED: [&str; 5] = ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"];
    // How this machine fetches crates, links build scripts and shares its processors is true for both builds.
    const KEPT: [&str; 9] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TARGET_",
        "CARGO_TERM_",
    ];
    let of_cargo = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept));
    of_cargo || CLEARED.contains(&name) || name.starts_with("__CARGO") || name.starts_with("LLVM_")
}

fn flags(root: &Path) -> Vec<String> {
    let home = |name: &str, folder: &str| {
        env::var_os(name).map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(folder)))
    };
    let cargo = home("CARGO_HOME", ".cargo");
    let mut places = vec![(Some(root.to_owned()), "/redress"), (home("RUSTUP_HOME", ".rustup"), "/rustup")];
    // The name of a registry's folder differs with the registry that the machine is set up for.
    let registries = cargo.as_ref().and_then(|cargo| fs::read_dir(cargo.join("registry").join("src")).ok());
    places.push((cargo, "/cargo"));
    places.extend(registries.into_iter().flatten().flatten().map(|entry| (Some(entry.path()), "/crates")));

    let mut flags = vec!["-C".to_owned(), INITIAL_MEMORY.to_owned()];
    for (place, name) in places {
        if let Some(place) = place.as_deref().and_then(Path::to_str) {
            flags.push(format!("--remap-path-prefix={place}={name}"));
        }
    }
    flags
}
