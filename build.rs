//! Builds the standard library's components for the sandbox, so that the binary can carry them.
//!
//! Only with the feature `host`; the pure rooms need no components.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

#[path = "build/guest_build.rs"]
mod guest_build;

const COMPONENTS: [&str; 3] = ["fs", "data", "http"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/guest_build.rs");
    if env::var_os("CARGO_FEATURE_HOST").is_none() {
        return;
    }
    if let Err(reason) = build_components() {
        println!("cargo::error={}", reason.replace('\n', "\ncargo::error="));
        process::exit(1);
    }
}

fn build_components() -> Result<(), String> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"));
    let (root, out) = (folder("CARGO_MANIFEST_DIR")?, folder("OUT_DIR")?);
    let sources = root.join("capabilities");
    for path in ["wit", "capabilities/Cargo.toml", "capabilities/Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    for part in ["common", "fs", "data", "http"] {
        println!("cargo::rerun-if-changed={}", sources.join(part).join("src").display());
        println!("cargo::rerun-if-changed={}", sources.join(part).join("Cargo.toml").display());
    }
    let built = guest_build::build(&sources, &guests_target(&out), &[])?;
    for name in COMPONENTS {
        let file = format!("{name}.wasm");
        fs::copy(built.join(&file), out.join(&file)).map_err(|error| format!("cannot copy {file}: {error}"))?;
    }
    Ok(())
}

/// `OUT_DIR` is `<target>/<profile>/build/<package>/out`; the guests get a folder of their own in the same target folder.
fn guests_target(out: &Path) -> PathBuf {
    let target = out.ancestors().nth(4).filter(|target| target.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out).join("guests")
}
