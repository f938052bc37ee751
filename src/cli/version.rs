//! `redress version`: what exactly this binary is.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::Exit;
use super::context::Context;
use super::error::CliError;
use crate::engine::{binary_digest, embedded};
use crate::types::Digest;

/// The versions that this binary was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// See [`super::Command::Version`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress version --json")]
pub(super) struct Arguments {}

#[derive(Serialize)]
struct Version {
    schema: u32,
    version: &'static str,
    wasmtime: &'static str,
    /// Of the program's own file.
    binary: Option<Digest>,
    components: Vec<Embedded>,
}

#[derive(Serialize)]
struct Embedded {
    name: &'static str,
    digest: Digest,
}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let version = Version {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        wasmtime: locked(LOCK, "wasmtime").unwrap_or("unknown"),
        binary: binary_digest(),
        components: embedded().map(|(name, digest)| Embedded { name, digest }).collect(),
    };
    context.output.result(&version, || {
        let mut text = format!("redress {}\nwasmtime {}\n", version.version, version.wasmtime);
        if let Some(binary) = version.binary {
            let _ = writeln!(text, "binary {binary}");
        }
        for Embedded { name, digest } in &version.components {
            let _ = writeln!(text, "component {name} {digest}");
        }
        text
    })?;
    Ok(Exit::Done)
}

/// The version of a package in a lock file.
fn locked<'l>(lock: &'l str, package: &str) -> Option<&'l str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_sandbox_engine_is_known() {
        assert!(locked(LOCK, "wasmtime").is_some_and(|version| version.starts_with("48.")));
        assert_eq!(locked(LOCK, "no-such-package"), None);
    }
}
