//! What `approve` and `reject` share: the request is shown and asked about on a terminal, the vote is durable before anything
//! is said, and then the run is driven to rest.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::context::{Context, Host};
use super::drive;
use super::error::CliError;
use super::{Exit, approvals, lookup};
use crate::engine::{self, InForce, VoteRequest};
use crate::types::{RunId, StepName};

/// What is voted on.
#[derive(Args, Debug)]
pub(super) struct Ballot {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// The step
    #[arg(value_parser = parse_step)]
    step: StepName,
    /// The request that was seen; refused if another one is in force
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Why
    #[arg(long, value_parser = super::parse_reason)]
    reason: String,
}

pub(super) fn parse_step(text: &str) -> Result<StepName, String> {
    StepName::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn vote(ballot: &Ballot, approve: bool, context: &Context) -> Result<Exit, CliError> {
    let by = context.principal()?.clone();
    let host = context.existing_host()?;
    let run = lookup::run(&**host.engine.journal(), &ballot.run)?;
    let seen = ask(ballot, &run, approve, context, &host)?;
    let vote = VoteRequest {
        step: ballot.step.clone(),
        request: ballot.request.clone().or(seen),
        by,
        approve,
        reason: ballot.reason.clone(),
    };
    let (id, now) = (run.clone(), context.now());
    drive::blocking(&host, move |engine| engine::vote(&**engine.journal(), &id, &vote, now)).await.map_err(
        |error| match error.exit() {
            Exit::Refused => error.help("`redress approvals` shows what waits and who may vote on it"),
            _ => error,
        },
    )?;
    drive::finish(context, &host, &run).await
}

/// On a terminal, shows the request and asks; the request that was shown is the one that is voted on.
fn ask(
    ballot: &Ballot,
    run: &RunId,
    approve: bool,
    context: &Context,
    host: &Host,
) -> Result<Option<String>, CliError> {
    if context.output.is_json() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let journal = &**host.engine.journal();
    let state = engine::state_of(journal, run)?;
    let asked = state.index(ballot.step.as_str()).and_then(|index| state.step(index));
    let Some((step, request)) = asked.and_then(|step| Some((step, step.request()?))) else { return Ok(None) };
    let policy = host.engine.policy();
    let mut mask = context.mask(journal, InForce::Policy(&policy));
    let shown = engine::waiting(journal, &state, step, context.now(), mask.as_mut())?;
    context.output.note(approvals::text(shown.as_slice()).trim_end());
    let word = if approve { "approve" } else { "reject" };
    let mut stderr = std::io::stderr().lock();
    let mut answer = String::new();
    let asked = write!(stderr, "{word} this? [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| CliError::engine("io", format!("the question cannot be asked: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(Some(request.id.clone())),
        _ => Err(CliError::refused("not-voted", "nothing was voted")),
    }
}
