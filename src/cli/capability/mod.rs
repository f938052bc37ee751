//! `redress capability`: what can be called, and what it could do.

mod inspect;
mod list;

use clap::Subcommand;

use super::Exit;
use super::context::{Context, Opening};
use super::error::CliError;
use crate::types::Permission;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// List every capability that is installed
    List(list::Arguments),
    /// Show what a component provides, asks for and is granted
    Inspect(inspect::Arguments),
}

pub(super) fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::List(arguments) => list::execute(arguments, context),
        Verb::Inspect(arguments) => inspect::execute(arguments, context),
    }
}

fn asked(permissions: &[Permission]) -> String {
    let asked: Vec<String> =
        permissions.iter().map(|permission| crate::document::escape(&permission.to_string())).collect();
    if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") }
}
