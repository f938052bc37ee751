//! `redress audit rotate-key`: another key signs checkpoints from now on.

use clap::Args;
use serde::Serialize;

use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::journal::{By, Maintenance, PublicKey};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "The old key vouches for the new one in the journal, and is deleted.\n\n\
    Example: redress audit rotate-key --reason 'Bob has left'")]
pub(in crate::cli) struct Arguments {
    /// Why; it is journaled
    #[arg(long, value_parser = crate::cli::parse_reason)]
    reason: String,
}

#[derive(Serialize)]
struct Rotated {
    schema: u32,
    previous: PublicKey,
    key: PublicKey,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let path = context.existing_journal()?;
    let by = By { principal: context.principal()?.clone(), reason: arguments.reason.clone(), at: context.now() };
    let options = context.journal_options()?;
    let (previous, key) = Maintenance::open(path, &options)?.rotate_key(&by)?;
    let rotated = Rotated { schema: 1, previous, key };
    context.output.result(&rotated, || format!("{key} signs from now on; {previous} vouches for it\n"))?;
    Ok(Exit::Done)
}
