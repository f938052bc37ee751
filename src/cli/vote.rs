//! What `approve` and `reject` share: the request is shown and asked about on a terminal, the vote is durable before anything
//! is said, and then the run is driven to rest.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::context::{Context, Host};
use super::drive;
use super::error::CliError;
use super::output::{decided, json_text, quoted};
use super::{Exit, lookup};
use crate::engine::{self, StepView, VoteRequest};
use crate::saga::{State, Step};
use crate::types::{EffectKind, RunId, StepName};

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
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
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
    let view = engine::view(journal, run)?;
    let shown_step = view.steps.iter().find(|step| step.name == ballot.step.as_str());
    context.output.note(&shown_step.map_or_else(String::new, |view| shown(&state, step, view)));
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

/// A request with everything that a person needs to decide on it.
fn shown(state: &State, step: &Step, view: &StepView) -> String {
    let spec = &step.spec;
    let capability = view.capability.as_deref().unwrap_or("a step that only waits");
    let owner = state.submitted.principal.as_str();
    let requester = match &spec.agent {
        Some(agent) => format!("{} for {}", quoted(agent.as_str()), quoted(owner)),
        None => quoted(owner),
    };
    let undo = match (&spec.compensation, spec.effect) {
        (Some(named), _) => format!("by {}", named.capability),
        (None, EffectKind::Reversible) => "by its own compensate".to_owned(),
        (None, EffectKind::Irreversible) => "none: it stays".to_owned(),
        (None, EffectKind::None) => "nothing to undo".to_owned(),
    };
    let mut lines = vec![
        format!("step       {} ({capability}) of {}", view.name, quoted(&state.submitted.name)),
        format!("asked by   {requester}"),
        format!("undo       {undo}"),
    ];
    lines.extend(view.decision.as_ref().map(|decision| format!("decision   {}", decided(decision))));
    lines.extend(view.input.as_ref().map(|input| format!("input      {}", json_text(input, usize::MAX))));
    if let Some(request) = &view.approval {
        lines.push(format!("request    {}, until {}", request.id, request.expires));
        lines.push(format!("votes      {} of {}", step.approvals(), request.quorum));
    }
    lines.join("\n")
}
