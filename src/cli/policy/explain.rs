//! `redress policy explain`: each rule in order, and what would change the answer.

use clap::Args;
use serde_json::Value;

use super::{Context, Exit};
use crate::cli::context::Opening;
use crate::cli::error::CliError;
use crate::cli::text::granted;
use crate::engine::{Supposed, explained};
use crate::types::{CapabilityId, Principal, Risk, parse_strict};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress policy explain --as agent:demo --do io.fs.write_file \
    --inputs '{\"path\": \"/workspace/a.txt\"}'")]
pub(in crate::cli) struct Arguments {
    /// What is to be done, such as `io.fs.write_file`
    #[arg(long = "do", value_name = "CAPABILITY", value_parser = parse_capability)]
    capability: CapabilityId,
    /// For whom, if an agent acts for somebody: the stricter answer holds
    #[arg(long = "for", value_name = "PRINCIPAL", value_parser = super::super::parse_principal)]
    acting_for: Option<Principal>,
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

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let policy = context.policy()?;
    let (_, registry) = context.registry_by(Opening::Existing, Some(&policy))?;
    let supposed = Supposed {
        principal: context.principal()?.clone(),
        acting_for: arguments.acting_for.clone(),
        capability: arguments.capability.clone(),
        risk: arguments.risk,
        inputs: arguments.inputs.clone(),
    };
    let explained = explained(&policy, &registry, &supposed);
    if !explained.installed {
        context.output.note(&format!("no installed component provides `{}`", arguments.capability));
    }
    context.output.result(&explained, || {
        let opened = explained.grant.as_ref().map(granted).unwrap_or_default();
        let opened: String = opened.iter().map(|line| format!("granted: {line}\n")).collect();
        format!("{}{opened}", explained.explanation)
    })?;
    Ok(Exit::Done)
}
