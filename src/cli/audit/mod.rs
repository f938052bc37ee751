//! `redress audit`: what the record proves, and what leaves it.

mod export;
mod otlp;
mod payloads;
mod report;
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
    /// Check every chain, every payload and what was recorded of them
    Verify(verify::Arguments),
    /// Write the events of runs as JSON, one a line, or send them as traces
    Export(export::Arguments),
    /// Write a page that tells a reviewer of runs: who asked, who allowed it, what was done and undone
    Report(report::Arguments),
}

pub(super) async fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Verify(arguments) => verify::execute(arguments, context),
        Verb::Export(arguments) => export::execute(arguments, context).await,
        Verb::Report(arguments) => report::execute(arguments, context),
    }
}
