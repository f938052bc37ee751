//! `redress call`: a run of one step.

use clap::Args;
use serde_json::{Map, Value};

use super::context::{Context, Opening, Tools};
use super::error::CliError;
use super::inputs::InputOptions;
use super::{Exit, run};
use crate::workflow::Workflow;

/// See [`super::Command::Call`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress call io.fs.write_file --input path=/workspace/note.txt --input content=hello")]
pub(super) struct Arguments {
    /// The capability
    capability: String,
    #[command(flatten)]
    inputs: InputOptions,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    context.settings()?.check_complete()?;
    let given = arguments.inputs.read()?;
    let tools = context.tools(Opening::Create)?;
    let checked = load(&arguments.capability, &given, &tools);
    let workflow = run::loaded(context, &format!("call {}", arguments.capability), checked).await?;
    let host = context.host(tools)?;
    run::submit(context, &host, &workflow, context.principal()?.clone(), None).await
}

fn load(capability: &str, given: &Map<String, Value>, tools: &Tools) -> Result<Workflow, CliError> {
    let (workflow, _) = Workflow::one_step(capability, given, &tools.registry)?;
    run::refuse_known_problems(&workflow, &tools.registry)?;
    Ok(workflow)
}
