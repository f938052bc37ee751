//! `redress audit`: what the record proves, and what leaves it.

mod export;
mod key;
mod otlp;
mod payloads;
mod prune;
mod redact;
mod report;
mod rotate_key;
mod select;
mod sink;
mod verify;

use clap::Subcommand;

use super::Exit;
use super::context::Context;
use super::error::CliError;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Print the key that signs checkpoints
    Key(key::Arguments),
    /// Remove old runs, and what is not kept any longer
    Prune(prune::Arguments),
    /// Erase what a closed run was given, returned, printed or would need for its undo
    Redact(redact::Arguments),
    /// Make another key sign checkpoints
    RotateKey(rotate_key::Arguments),
    /// Check every chain, every payload and what was recorded of them
    Verify(verify::Arguments),
    /// Write the events of runs as JSON, one a line, or send them as traces
    Export(export::Arguments),
    /// Write a page that tells a reviewer of runs: who asked, who allowed it, what was done and undone
    Report(report::Arguments),
}

pub(super) async fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Key(arguments) => key::execute(arguments, context),
        Verb::Prune(arguments) => prune::execute(arguments, context),
        Verb::Redact(arguments) => redact::execute(arguments, context),
        Verb::RotateKey(arguments) => rotate_key::execute(arguments, context),
        Verb::Verify(arguments) => verify::execute(arguments, context),
        Verb::Export(arguments) => export::execute(arguments, context).await,
        Verb::Report(arguments) => report::execute(arguments, context),
    }
}
