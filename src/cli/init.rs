//! `redress init`: settings, a strict policy and an example, in the working directory. Nothing is ever overwritten, but for the
//! schemas that editors read, which are the binary's own.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::schema::File;
use super::{Exit, settings};

/// Where editors find the schemas, which the first line of each file names.
const SCHEMAS: &str = ".redress/schemas";

/// The files, and what they begin with.
const FILES: [(&str, &str); 4] = [
    (settings::FILE, include_str!("init/redress.yaml")),
    ("policy.yaml", include_str!("init/policy.yaml")),
    ("example.yaml", include_str!("init/example.yaml")),
    ("workspace/README.md", include_str!("init/workspace.md")),
];

/// See [`super::Command::Init`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress init && redress plan example.yaml && redress run example.yaml")]
pub(super) struct Arguments {}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let taken: Vec<&str> =
        FILES.iter().map(|(name, _)| *name).filter(|name| Path::new(name).symlink_metadata().is_ok()).collect();
    if let Some(first) = taken.first() {
        let names: Vec<String> = taken.iter().map(|name| format!("`{name}`")).collect();
        return Err(CliError::usage(
            "exists",
            format!("{} would be overwritten: nothing was written", names.join(", ")),
        )
        .in_file(*first)
        .help("begin in an empty folder, or move them away"));
    }
    write_schemas().map_err(|error| CliError::engine("io", format!("`{SCHEMAS}` cannot be written: {error}")))?;
    for (name, text) in FILES {
        write_new(Path::new(name), text)
            .map_err(|error| CliError::engine("io", format!("`{name}` cannot be written: {error}")).in_file(name))?;
    }
    let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    context.output.result(&json!({ "schema": 1, "written": names }), || {
        format!("wrote {}\nnext: redress plan example.yaml, then redress run example.yaml", names.join(", "))
    })?;
    Ok(Exit::Done)
}

/// In the folder of the journal, which is for this user only.
fn write_schemas() -> std::io::Result<()> {
    let folder = Path::new(SCHEMAS);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    File::ALL.into_iter().try_for_each(|file| fs::write(folder.join(file.name()), file.text()))
}

/// Writes a file that is not there yet, and the folders above it.
pub(super) fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
