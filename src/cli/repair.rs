//! `redress repair`: a run whose undo failed goes on, by another attempt or by what a person did.

use clap::{Args, Subcommand};

use super::Exit;
use super::context::Context;
use super::error::CliError;
use super::operate::operate;
use super::parse_digest;
use super::vote::parse_step;
use crate::saga::event::Verb;
use crate::types::{Digest, StepName};

/// See [`super::Command::Repair`].
#[derive(Args, Debug)]
#[command(
    after_help = "Example: redress repair 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f page retry --reason 'the disk is back'\n\
        Example: redress repair 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f page resolve --undone --reason 'restored from the backup'"
)]
pub(super) struct Arguments {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// The step whose undo failed
    #[arg(value_parser = parse_step)]
    step: StepName,
    #[command(subcommand)]
    how: How,
}

#[derive(Subcommand, Debug)]
enum How {
    /// Undo it again
    #[command(
        after_help = "Example: redress repair 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f page retry --reason 'the disk is back'"
    )]
    Retry {
        /// Use another component from now on, by its digest
        #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
        component: Option<Digest>,
        /// Why; it is journaled
        #[arg(long, value_parser = super::parse_reason)]
        reason: String,
    },
    /// Say what a person did; the run will be closed with residue
    #[command(
        after_help = "Example: redress repair 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f page resolve --left --reason 'it may stay'"
    )]
    Resolve {
        #[command(flatten)]
        settled: Settled,
        /// Why; it is journaled
        #[arg(long, value_parser = super::parse_reason)]
        reason: String,
    },
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Settled {
    /// It was undone by hand
    #[arg(long)]
    undone: bool,
    /// It stays as it is
    #[arg(long)]
    left: bool,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (verb, reason) = match &arguments.how {
        How::Retry { component, reason } => (Verb::RepairRetry { component: *component }, reason),
        How::Resolve { settled, reason } if settled.undone => (Verb::ResolveUndone, reason),
        How::Resolve { reason, .. } => (Verb::ResolveLeft, reason),
    };
    operate(&arguments.run, reason, verb, Some(arguments.step.clone()), context).await
}
