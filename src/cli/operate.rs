//! What the operator's verbs share: the verb is durable first, then the run is driven to rest by whoever owns it.

use clap::Args;

use super::context::Context;
use super::drive;
use super::error::CliError;
use super::{Exit, lookup};
use crate::saga::event::Verb;
use crate::types::StepName;

/// A run, and why.
#[derive(Args, Debug)]
pub(super) struct Order {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// Why; it is journaled
    #[arg(long, value_parser = super::parse_reason)]
    pub reason: String,
}

/// Asks for something as an operator, and drives the run to rest.
pub(super) async fn operate(
    run: &str,
    reason: &str,
    verb: Verb,
    step: Option<StepName>,
    context: &Context,
) -> Result<Exit, CliError> {
    let by = context.principal()?.clone();
    let host = context.existing_host()?;
    let run = lookup::run(&**host.engine.journal(), run)?;
    let (id, reason) = (run.clone(), reason.to_owned());
    drive::blocking(&host, move |engine| engine.operate(&id, verb, step, &by, &reason)).await?;
    drive::finish(context, &host, &run).await
}
