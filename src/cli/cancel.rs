//! `redress cancel`: a run turns back and is undone.

use clap::Args;

use super::Exit;
use super::context::Context;
use super::error::CliError;
use super::operate::{Order, operate};
use crate::saga::event::Verb;

/// See [`super::Command::Cancel`].
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 3, for ROLLED_BACK, once everything is undone; with 7 if something remains, with 5 if it is STUCK.\n\n\
    Example: redress cancel 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f --reason 'no longer wanted'"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    order: Order,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    operate(&arguments.order.run, &arguments.order.reason, Verb::Cancel, None, context).await
}
