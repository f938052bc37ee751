//! `redress approve`: a vote for a step that waits for approval.

use clap::Args;

use super::Exit;
use super::context::Context;
use super::error::CliError;
use super::vote::{Ballot, vote};

/// See [`super::Command::Approve`].
#[derive(Args, Debug)]
#[command(
    after_help = "Example: redress approve 01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f publish --reason 'looks right' --as user:alice"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    ballot: Ballot,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    vote(&arguments.ballot, true, context).await
}
