//! `redress run`: a workflow becomes a run, and the run is driven to rest.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::Exit;
use super::context::{Context, Host, Opening, Tools};
use super::drive;
use super::error::CliError;
use super::inputs::{InputOptions, read_text};
use crate::engine::{Submit, Submitted, refuse_known_problems};
use crate::types::Principal;
use crate::workflow::Workflow;

/// See [`super::Command::Run`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress run examples/onboarding.yaml --input customer=Acme")]
pub(super) struct Arguments {
    /// The workflow
    workflow: PathBuf,
    #[command(flatten)]
    inputs: InputOptions,
    /// Submitting twice under one key is one run
    #[arg(long, value_name = "KEY", value_parser = parse_run_key)]
    run_key: Option<String>,
}

/// An empty key is most often a variable that was not set, and would make one run of all that have none.
fn parse_run_key(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("a key cannot be empty"),
        _ if text.len() > 256 => Err("a key has at most 256 bytes"),
        _ if text.chars().any(char::is_control) => Err("a key has no control characters"),
        _ => Ok(text.to_owned()),
    }
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let settings = context.settings()?;
    if !settings.trust_owner {
        settings.check_complete()?;
    }
    let given = arguments.inputs.read()?;
    let tools = context.tools(Opening::Create)?;
    let checked = load(context, &tools, &arguments.workflow, &given).and_then(|workflow| {
        refuse_known_problems(&workflow, &tools.registry)?;
        Ok(workflow)
    });
    let workflow = loaded(context, &format!("run {}", arguments.workflow.display()), checked).await?;
    let principal = principal(context, &workflow)?;
    let host = context.host(tools)?;
    submit(context, &host, &workflow, principal, arguments.run_key.clone()).await
}

/// What was loaded; a submission that does not load is a refused request, and recorded.
pub(super) async fn loaded<T>(context: &Context, request: &str, checked: Result<T, CliError>) -> Result<T, CliError> {
    if let Err(error) = &checked {
        context.record_refusal(request, error).await?;
    }
    checked
}

/// Reads a workflow and everything that is known to be wrong with it.
pub(super) fn load(
    context: &Context,
    tools: &Tools,
    file: &Path,
    given: &Map<String, Value>,
) -> Result<Workflow, CliError> {
    let (workflow, warnings) = Workflow::load(&read_text(file)?, &tools.registry, given)?;
    if !warnings.is_empty() {
        context.output.note(warnings.to_string().trim_end());
    }
    Ok(workflow)
}

/// On whose behalf: who was named on the command line, the workflow's owner if the settings trust it, or who the settings
/// name.
pub(super) fn principal(context: &Context, workflow: &Workflow) -> Result<Principal, CliError> {
    let settings = context.settings()?;
    match &workflow.owner {
        Some(owner) if settings.trust_owner && !settings.principal_is_explicit => Principal::parse(owner)
            .map_err(|error| CliError::usage("bad-principal", format!("`metadata.owner`: {error}"))),
        _ => context.principal().cloned(),
    }
}

/// Submits a workflow, unless its key was used before, and drives it to rest.
pub(super) async fn submit(
    context: &Context,
    host: &Host,
    workflow: &Workflow,
    principal: Principal,
    run_key: Option<String>,
) -> Result<Exit, CliError> {
    drive::tell_of_orphans(context, host)?;
    let submit = Submit { run_key, ..context.settings()?.submit(principal) };
    match host.engine.submit(workflow, &submit).await? {
        Submitted::New(run) => {
            context.output.note(&format!("run {}", run.id()));
            drive::finish_new(context, host, run).await
        }
        Submitted::Existing(run) => {
            context.output.note(&format!("run {run} was submitted under this key before"));
            drive::finish(context, host, &run).await
        }
    }
}
