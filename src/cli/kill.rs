//! `redress kill`: a run ends without undo; what it did stays, and is named.

use clap::Args;

use super::Exit;
use super::context::Context;
use super::error::CliError;
use super::operate::{Order, operate};
use crate::saga::event::Verb;

/// See [`super::Command::Kill`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress kill 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f --reason 'the target is gone'")]
pub(super) struct Arguments {
    #[command(flatten)]
    order: Order,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    operate(&arguments.order.run, &arguments.order.reason, Verb::Kill, None, context).await
}
