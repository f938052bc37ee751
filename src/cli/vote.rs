//! What `approve` and `reject` share: the request is shown and asked about on a terminal, the vote is durable before anything
//! is said, and then the run is driven to rest.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::approvals::Shown;
use super::context::{Context, Host};
use super::drive;
use super::error::CliError;
use super::{Exit, approvals, lookup};
use crate::engine::{self, EngineError, InForce, Mask, VoteRequest};
use crate::types::{Digest, Principal, RunId, StepName};

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
    /// What stood in the file that the call changes, as `approvals --changes --json` tells it; refused if something else does
    #[arg(long, value_name = "DIGEST", value_parser = super::parse_digest)]
    seen: Option<Digest>,
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
    let (request, seen) = ask(ballot, &run, approve, &by, context, &host)?;
    let vote = VoteRequest {
        step: ballot.step.clone(),
        request: ballot.request.clone().or(request),
        seen: ballot.seen.or(seen),
        by,
        approve,
        reason: ballot.reason.clone(),
    };
    let (id, now, shows_sensitive) = (run.clone(), context.now(), context.shows_sensitive());
    let voted = drive::blocking(&host, move |engine| {
        let (journal, policy) = (&**engine.journal(), engine.policy());
        let mut mask = (!shows_sensitive).then(|| Mask::new(journal, InForce::Policy(&policy)));
        engine::vote(journal, &id, &vote, mask.as_mut(), now)
    });
    voted.await.map_err(|error| match error.exit() {
        Exit::Refused => error.help("`redress approvals --changes` shows what waits and who may vote on it"),
        _ => error,
    })?;
    drive::finish(context, &host, &run).await
}

/// On a terminal, shows the request with what its call would change, and asks; what was shown is what is voted on.
fn ask(
    ballot: &Ballot,
    run: &RunId,
    approve: bool,
    by: &Principal,
    context: &Context,
    host: &Host,
) -> Result<(Option<String>, Option<Digest>), CliError> {
    if context.output.is_json() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok((None, None));
    }
    let journal = &**host.engine.journal();
    let state = engine::state_of(journal, run)?;
    let asked = state.index(ballot.step.as_str()).and_then(|index| state.step(index));
    let Some((step, request)) = asked.and_then(|step| Some((step, step.request()?))) else { return Ok((None, None)) };
    let policy = host.engine.policy();
    let mut mask = context.mask(journal, InForce::Policy(&policy));
    let waiting = engine::waiting(journal, &state, step, context.now(), mask.as_mut())?;
    let change = match engine::change_for(by, journal, &state, step, mask.as_mut()) {
        // Who may not answer is told so by the vote.
        Err(EngineError::Refused { .. }) => None,
        change => change?,
    };
    // A no is a no, whatever stands there by then.
    let seen = change.as_ref().and_then(|change| change.seen).filter(|_| approve);
    let shown = waiting.map(|waiting| Shown::new(waiting, change));
    context.output.note(approvals::text(shown.as_slice()).trim_end());
    let word = if approve { "approve" } else { "reject" };
    let mut stderr = std::io::stderr().lock();
    let mut answer = String::new();
    let asked = write!(stderr, "{word} this? [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| CliError::engine("io", format!("the question cannot be asked: {error}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok((Some(request.id.clone()), seen)),
        _ => Err(CliError::refused("not-voted", "nothing was voted")),
    }
}
