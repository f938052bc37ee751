//! What `approve` and `reject` share: the request is shown and asked about on a terminal, the vote is durable before anything
//! is said, and then the run is driven to rest.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::Exit;
use super::context::{Context, Host};
use super::drive;
use super::error::CliError;
use super::output::{json_text, quoted};
use crate::engine::{self, StepView, VoteRequest};
use crate::types::{RunId, StepName};

/// What is voted on.
#[derive(Args, Debug)]
pub(super) struct Ballot {
    /// The run
    #[arg(value_parser = parse_run)]
    run: RunId,
    /// The step
    #[arg(value_parser = parse_step)]
    step: StepName,
    /// The request that was seen; refused if another one is in force
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Why
    #[arg(long)]
    reason: String,
}

pub(super) fn parse_run(text: &str) -> Result<RunId, String> {
    RunId::parse(text).map_err(|error| error.to_string())
}

pub(super) fn parse_step(text: &str) -> Result<StepName, String> {
    StepName::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn vote(ballot: &Ballot, approve: bool, context: &Context) -> Result<Exit, CliError> {
    let by = context.principal()?.clone();
    let host = context.existing_host()?;
    let seen = ask(ballot, approve, context, &host)?;
    let vote = VoteRequest {
        step: ballot.step.clone(),
        request: ballot.request.clone().or(seen),
        by,
        approve,
        reason: ballot.reason.clone(),
    };
    let (run, now) = (ballot.run.clone(), context.now());
    drive::blocking(&host, move |engine| engine::vote(&**engine.journal(), &run, &vote, now)).await?;
    drive::finish(context, &host, &ballot.run).await
}

/// On a terminal, shows the request and asks; the request that was shown is the one that is voted on.
fn ask(ballot: &Ballot, approve: bool, context: &Context, host: &Host) -> Result<Option<String>, CliError> {
    if context.output.is_json() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let view = engine::view(&**host.engine.journal(), &ballot.run)?;
    let step = view.steps.iter().find(|step| step.name == ballot.step.as_str());
    let Some((step, request)) = step.and_then(|step| Some((step, step.approval.as_ref()?))) else { return Ok(None) };
    context.output.note(&shown(step, &view.principal));
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
fn shown(step: &StepView, requester: &str) -> String {
    let mut lines = Vec::new();
    let capability = step.capability.as_deref().unwrap_or("a step that only waits");
    lines.push(format!("request    {}", step.approval.as_ref().map_or("", |request| &request.id)));
    lines.push(format!("step       {} ({capability})", step.name));
    lines.push(format!("asked by   {}", quoted(requester)));
    if let Some(decision) = &step.decision {
        let rule = match (decision.rule, decision.line) {
            (Some(rule), Some(line)) => format!("rule {rule}, line {line}"),
            _ => "the default".to_owned(),
        };
        let escalated = if decision.escalated { ", escalated by risk" } else { "" };
        lines.push(format!("risk       {}{escalated}", decision.risk));
        lines.push(format!("rule       {rule}"));
    }
    if let Some(input) = &step.input {
        lines.push(format!("input      {}", json_text(input, usize::MAX)));
    }
    if let Some(request) = &step.approval {
        lines.push(format!("expires    {}", request.expires));
    }
    lines.join("\n")
}
