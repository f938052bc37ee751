//! `redress capability inspect`: one component, as a reviewer wants to see it before it is let in: what it is, what it asks
//! for, and what the policy in force would open for it.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, Opening, asked};
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::cli::text::{granted, json_lines};
use crate::document::suggest;
use crate::engine::{EngineError, Registry};
use crate::policy::{Policy, effective_grant};
use crate::sandbox::{Component, Provenance, Sandbox};
use crate::types::{
    CapabilityId, CapabilityInfo, Catalog as _, Digest, Duration, EffectKind, Grant, LimitUnit, Limits, Permission,
    Principal, Risk,
};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress capability inspect io.fs.write_file --as agent:demo")]
pub(in crate::cli) struct Arguments {
    /// A component file, or the id of an installed capability
    #[arg(value_name = "FILE|ID")]
    what: String,
}

#[derive(Serialize)]
struct Inspected {
    schema: u32,
    component: Digest,
    source: String,
    installed: bool,
    bytes: usize,
    /// For whom the grants are; none if there is no policy or nobody acts.
    granted_to: Option<Principal>,
    policy: Option<Digest>,
    /// What bounds a call if no grant lowers it.
    limits: Limits,
    capabilities: Vec<Provided>,
}

#[derive(Serialize)]
struct Provided {
    capability: CapabilityId,
    title: String,
    summary: String,
    effect: EffectKind,
    risk: Risk,
    idempotent: bool,
    asks: Vec<Permission>,
    /// What the policy in force opens; none if there is no policy or nobody acts.
    granted: Option<Grant>,
    input: Value,
    output: Value,
}

/// A component, before it is put together with a policy.
struct Found {
    component: std::sync::Arc<Component>,
    source: String,
    installed: bool,
    bytes: usize,
    /// Only this one of its capabilities.
    only: Option<CapabilityId>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (sandbox, registry) = context.registry(Opening::Existing)?;
    let found = find(&arguments.what, &sandbox, &registry)?;
    let settings = context.settings()?;
    let policy = settings.policy.is_some().then(|| context.policy()).transpose()?;
    let inspected = inspect(&found, policy.as_ref(), settings.principal.as_ref());
    context.output.result(&inspected, || text(&inspected))?;
    Ok(Exit::Done)
}

fn find(what: &str, sandbox: &Sandbox, registry: &Registry) -> Result<Found, CliError> {
    let path = Path::new(what);
    let is_file = path.is_file() || what.contains('/') || path.extension().is_some_and(|ending| ending == "wasm");
    if is_file {
        return from_file(path, sandbox, registry);
    }
    let id = CapabilityId::parse(what).map_err(|error| {
        CliError::usage("unknown-capability", error.to_string()).help("write a file or the id of a capability")
    })?;
    let Some(installed) = registry.provider(what) else {
        let ids = registry.ids();
        let error = CliError::from(EngineError::UnknownCapability(id));
        return Err(match suggest(what, ids.iter().map(|id| id.as_str())) {
            Some(id) => error.help(format!("did you mean `{id}`?")),
            None => error.help("`redress capability list` lists what is installed"),
        });
    };
    Ok(Found {
        component: installed.component.clone(),
        source: installed.source.clone(),
        installed: true,
        bytes: installed.bytes.len(),
        only: Some(id),
    })
}

fn from_file(path: &Path, sandbox: &Sandbox, registry: &Registry) -> Result<Found, CliError> {
    let source = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| CliError::unreadable(&source, &error))?;
    let digest = crate::types::sha256(&bytes);
    let installed = registry.installed().iter().find(|installed| installed.component.digest() == digest);
    let component = match installed {
        Some(installed) => installed.component.clone(),
        None => sandbox
            .load(&bytes, Provenance::External)
            .map_err(|error| CliError::from(EngineError::Component { file: source.clone(), error }))?,
    };
    Ok(Found { component, source, installed: installed.is_some(), bytes: bytes.len(), only: None })
}

fn inspect(found: &Found, policy: Option<&Policy>, principal: Option<&Principal>) -> Inspected {
    let granting = policy.zip(principal);
    let provided = |info: &CapabilityInfo| Provided {
        capability: info.id.clone(),
        title: info.title.clone(),
        summary: info.summary.clone(),
        effect: info.effect,
        risk: info.risk,
        idempotent: info.idempotent,
        asks: info.permissions.clone(),
        granted: granting.map(|(policy, who)| effective_grant(policy, &[who], &info.id, &info.permissions)),
        input: info.input.clone(),
        output: info.output.clone(),
    };
    let wanted = |info: &&CapabilityInfo| found.only.as_ref().is_none_or(|only| *only == info.id);
    Inspected {
        schema: 1,
        component: found.component.digest(),
        source: found.source.clone(),
        installed: found.installed,
        bytes: found.bytes,
        granted_to: granting.map(|(_, who)| who.clone()),
        policy: granting.map(|(policy, _)| policy.digest()),
        limits: Limits::default(),
        capabilities: found.component.capabilities().iter().filter(wanted).map(provided).collect(),
    }
}

fn text(inspected: &Inspected) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    field("component", &inspected.component.to_string());
    field("source", &crate::document::escape(&inspected.source));
    field("installed", if inspected.installed { "yes" } else { "no" });
    field("size", &format!("{} bytes", inspected.bytes));
    match (&inspected.granted_to, &inspected.policy) {
        (Some(who), Some(policy)) => field("grants", &format!("to {who}, by {policy}")),
        _ => field("grants", "not known: no policy or no principal is set"),
    }
    for one in &inspected.capabilities {
        provided(&mut text, one);
    }
    let _ = writeln!(text, "\nlimits of a call, unless a grant lowers them");
    let _ = write!(text, "{}", limits(&inspected.limits, None));
    text
}

fn provided(text: &mut String, one: &Provided) {
    let _ = writeln!(text, "\n{}", one.capability);
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    field("title", &quoted(&one.title));
    field("summary", &quoted(&one.summary));
    field("effect", one.effect.as_str());
    field("risk", one.risk.as_str());
    field("idempotent", if one.idempotent { "yes" } else { "no" });
    field("asks", &asked(&one.asks));
    if let Some(grant) = &one.granted {
        for line in granted(grant) {
            field("granted", &line);
        }
        let lowered = limits(&grant.limits, Some(&Limits::default()));
        for line in lowered.lines() {
            field("limited", line.trim_start());
        }
    }
    let _ = write!(text, "  input\n{}", json_lines(&one.input, "    "));
    let _ = write!(text, "  output\n{}", json_lines(&one.output, "    "));
}

/// A line for each limit; only those that differ from `than`, if it is given.
fn limits(limits: &Limits, than: Option<&Limits>) -> String {
    let usual = than.map(Limits::entries).unwrap_or_default();
    let mut text = String::new();
    for (name, value, unit) in limits.entries() {
        if usual.iter().any(|(other, usual, _)| *other == name && *usual == value) {
            continue;
        }
        let value = match unit {
            LimitUnit::Bytes => bytes(value),
            LimitUnit::Time => Duration(value).to_string(),
            LimitUnit::Count => value.to_string(),
        };
        let _ = writeln!(text, "  {name:<16} {value}");
    }
    text
}

fn bytes(value: u64) -> String {
    match value {
        0 => "0 bytes".to_owned(),
        _ if value.is_multiple_of(1 << 20) => format!("{} MiB", value >> 20),
        _ if value.is_multiple_of(1 << 10) => format!("{} KiB", value >> 10),
        _ => format!("{value} bytes"),
    }
}
