//! `redress completions`: what makes a shell complete this command line.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::{Cli, Exit};

/// See [`super::Command::Completions`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress completions bash > ~/.local/share/bash-completion/completions/redress")]
pub(super) struct Arguments {
    /// For which shell
    shell: Shell,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "redress", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let json = json!({ "schema": 1, "shell": arguments.shell.to_string(), "script": script });
    context.output.result(&json, || script)?;
    Ok(Exit::Done)
}
