//! `redress capability list`: everything that can be called.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit, Opening, asked};
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::types::{CapabilityId, Digest, EffectKind, Permission, Risk};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress capability list")]
pub(in crate::cli) struct Arguments {}

#[derive(Serialize)]
struct Listed {
    schema: u32,
    capability: CapabilityId,
    title: String,
    effect: EffectKind,
    risk: Risk,
    idempotent: bool,
    permissions: Vec<Permission>,
    component: Digest,
    source: String,
}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (_, registry) = context.registry(Opening::Existing)?;
    let mut listed = Vec::new();
    for installed in registry.installed() {
        listed.extend(installed.component.capabilities().iter().map(|info| Listed {
            schema: 1,
            capability: info.id.clone(),
            title: info.title.clone(),
            effect: info.effect,
            risk: info.risk,
            idempotent: info.idempotent,
            permissions: info.permissions.clone(),
            component: info.component,
            source: installed.source.clone(),
        }));
    }
    listed.sort_by(|a, b| a.capability.cmp(&b.capability));
    context.output.result(&listed, || text(&listed))?;
    Ok(Exit::Done)
}

fn text(listed: &[Listed]) -> String {
    let width = listed.iter().map(|one| one.capability.as_str().len()).max().unwrap_or(0).max("CAPABILITY".len());
    let asks = listed.iter().map(|one| asked(&one.permissions).len()).max().unwrap_or(0).max("ASKS".len());
    let mut text = format!("{:width$}  EFFECT        RISK      {:asks$}  TITLE\n", "CAPABILITY", "ASKS");
    for one in listed {
        let (capability, effect, risk) = (one.capability.as_str(), one.effect.as_str(), one.risk.as_str());
        let asked = asked(&one.permissions);
        let _ = writeln!(text, "{capability:width$}  {effect:12}  {risk:8}  {asked:asks$}  {}", quoted(&one.title));
    }
    text
}
