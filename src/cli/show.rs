//! `redress show`: one run, step by step.

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::{Exit, lookup, text};
use crate::engine::{RunView, view};
use crate::journal::Journal as _;

/// See [`super::Command::Show`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress show latest --effects")]
pub(super) struct Arguments {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// List every effect of every attempt, one by one
    #[arg(long)]
    effects: bool,
}

/// The object that `run` and `call` print; a run whose owner is dead says so besides.
#[derive(Serialize)]
struct Shown<'v> {
    #[serde(flatten)]
    view: &'v RunView,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    owner_dead: bool,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let run = lookup::run(&journal, &arguments.run)?;
    let owner_dead = match journal.run(&run)? {
        Some(row) => lookup::is_orphan(&journal.owners_dir(), &row)?,
        None => false,
    };
    let mut view = view(&journal, &run)?;
    let policy = context.policy_to_mask_by();
    context.mask_run(&journal, policy.in_force(), &mut view);
    context.output.result(&Shown { view: &view, owner_dead }, || {
        let note = if owner_dead { format!("\n{}\n", lookup::orphan_note(&run)) } else { String::new() };
        text::run(&view, arguments.effects) + &note
    })?;
    Ok(Exit::Done)
}
