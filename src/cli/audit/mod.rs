//! `redress audit`: what the record proves, and what leaves it.

mod verify;

use clap::Subcommand;

use super::Exit;
use super::context::Context;
use super::error::CliError;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Check every chain, every payload and what was recorded of them
    Verify(verify::Arguments),
}

pub(super) fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Verify(arguments) => verify::execute(arguments, context),
    }
}
