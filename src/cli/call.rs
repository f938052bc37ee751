//! `redress call`: a run of one step.

use clap::Args;
use serde_json::{Map, Value};

use super::context::{Context, Opening, Tools};
use super::error::CliError;
use super::inputs::InputOptions;
use super::{Exit, run};
use crate::document::{Diagnostic, Diagnostics};
use crate::engine::known_problems;
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
    let checked = load(arguments, &given, &tools);
    let workflow = run::loaded(context, &format!("call {}", arguments.capability), checked).await?;
    let host = context.host(tools)?;
    run::submit(context, &host, &workflow, context.principal()?.clone(), None).await
}

/// The one step. What is wrong with it is said at the arguments that were typed.
fn load(arguments: &Arguments, given: &Map<String, Value>, tools: &Tools) -> Result<Workflow, CliError> {
    let typed = arguments.inputs.typed(&format!("redress call {}", arguments.capability));
    let mut diagnostics = Diagnostics::new(typed.source.clone());
    match Workflow::one_step(&arguments.capability, given, &tools.registry) {
        Ok((workflow, _)) => {
            for (step, failure) in known_problems(&workflow, &tools.registry) {
                let component = tools.registry.provider(&arguments.capability).map(|installed| &installed.component);
                let misfit = component.zip(step.capability()).and_then(|(component, capability)| {
                    component.input_misfit(capability, &Value::Object(given.clone()))
                });
                let place = misfit.map_or(typed.verb, |pointer| typed.place(&pointer));
                diagnostics.push(Diagnostic::error("invalid-input", place, failure.message));
            }
            if diagnostics.has_errors() { Err(diagnostics.into()) } else { Ok(workflow) }
        }
        Err(refused) => {
            refused.iter().for_each(|found| diagnostics.push(Diagnostic { span: typed.verb, ..found.clone() }));
            Err(diagnostics.into())
        }
    }
}
