//! `redress policy explain`: each rule in order, and what would change the answer.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit};
use crate::cli::context::Opening;
use crate::cli::error::CliError;
use crate::cli::text::granted;
use crate::document::suggest;
use crate::policy::{Explanation, HUMAN_APPROVE, Request, effective_grant, explain};
use crate::types::{CapabilityId, Catalog as _, Grant, Risk, parse_strict};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress policy explain --as agent:demo --do io.fs.write_file \
    --inputs '{\"path\": \"/workspace/a.txt\"}'")]
pub(in crate::cli) struct Arguments {
    /// What is to be done, such as `io.fs.write_file`
    #[arg(long = "do", value_name = "CAPABILITY", value_parser = parse_capability)]
    capability: CapabilityId,
    /// Its input as JSON; without it nothing of the input is there
    #[arg(long, value_name = "JSON", value_parser = parse_inputs)]
    inputs: Option<Value>,
    /// The risk that the step says, LOW, MEDIUM, HIGH or CRITICAL; it can only raise
    #[arg(long, value_parser = parse_risk)]
    risk: Option<Risk>,
}

fn parse_capability(text: &str) -> Result<CapabilityId, String> {
    CapabilityId::parse(text).map_err(|error| error.to_string())
}

fn parse_inputs(text: &str) -> Result<Value, String> {
    match parse_strict(text.as_bytes()) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err("an input is a JSON object, such as `{\"path\": \"/workspace/a.txt\"}`".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_risk(word: &str) -> Result<Risk, String> {
    Risk::parse(word).ok_or_else(|| "a risk is LOW, MEDIUM, HIGH or CRITICAL".to_owned())
}

#[derive(Serialize)]
struct Explained {
    schema: u32,
    /// Whether a component provides the capability; without one the answer is DENY, and the declared risk stands as LOW.
    installed: bool,
    #[serde(flatten)]
    explanation: Explanation,
    /// What the sandbox would open; none if no component provides the capability.
    grant: Option<Grant>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let policy = context.policy()?;
    let capability = arguments.capability.as_str();
    let (_, registry) = context.registry_by(Opening::Existing, Some(&policy))?;
    let info = registry.capability(capability);
    let installed = info.is_some() || capability == HUMAN_APPROVE;
    let empty = Value::Object(serde_json::Map::new());
    let mut explanation = explain(
        &policy,
        &Request {
            principal: context.principal()?.clone(),
            acting_for: None,
            capability: arguments.capability.clone(),
            declared_risk: info.map_or(Risk::Low, |info| info.risk),
            step_risk: arguments.risk,
            inputs: Some(arguments.inputs.as_ref().unwrap_or(&empty)),
            unknown: &[],
        },
    );
    if !installed {
        let ids = registry.ids();
        let similar = suggest(capability, ids.iter().map(|id| id.as_str()));
        explanation = explanation.of_unknown(&arguments.capability, similar);
        context.output.note(&format!("no installed component provides `{capability}`"));
    }
    let principal = context.principal()?;
    let grant = info.map(|info| effective_grant(&policy, &[principal], &info.id, &info.permissions));
    let explained = Explained { schema: 1, installed, explanation, grant };
    context.output.result(&explained, || {
        let opened = explained.grant.as_ref().map(granted).unwrap_or_default();
        let opened: String = opened.iter().map(|line| format!("granted: {line}\n")).collect();
        format!("{}{opened}", explained.explanation)
    })?;
    Ok(Exit::Done)
}
