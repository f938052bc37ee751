//! `redress capability inspect`: one component, as a reviewer wants to see it before it is let in: what it is, what it says of
//! its origin, what its imports could lead to, what it asks for, and what the policy in force would open for it.
//!
//! Imports are told apart: every toolchain brings along a floor of clocks, randomness and an empty environment, which says
//! nothing; the others are what a reviewer looks for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, Opening, asked, unknown};
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::cli::text::{granted, json_lines};
use crate::engine::{EngineError, Registry};
use crate::policy::{Policy, effective_grant};
use crate::sandbox::{Component, ImportKind, Provenance, Sandbox, Sections, sections};
use crate::types::{
    CapabilityId, CapabilityInfo, Digest, Duration, EffectKind, Grant, LimitUnit, Limits, Permission, Principal, Risk,
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
    /// `standard` if it is part of this binary.
    provenance: &'static str,
    installed: bool,
    bytes: usize,
    imports: Imports,
    /// What it says of its origin; nobody has checked it.
    sections: Sections,
    /// For whom the grants are; none if there is no policy or nobody acts.
    granted_to: Option<Principal>,
    policy: Option<Digest>,
    /// What bounds a call if no grant lowers it.
    limits: Limits,
    capabilities: Vec<Provided>,
}

#[derive(Serialize)]
struct Imports {
    /// What can lead out, if it is granted.
    privileges: Vec<Import>,
    /// What every toolchain brings along.
    floor: Vec<String>,
}

#[derive(Serialize)]
struct Import {
    name: String,
    kind: ImportKind,
}

#[derive(Serialize)]
struct Provided {
    capability: CapabilityId,
    title: String,
    summary: String,
    effect: EffectKind,
    /// What counts: the declared risk, or a higher one.
    risk: Risk,
    /// What its component says.
    declared_risk: Option<Risk>,
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
    provenance: Provenance,
    bytes: Bytes,
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
        return Err(unknown(what, registry));
    };
    Ok(Found {
        component: installed.component.clone(),
        source: installed.source.clone(),
        installed: true,
        provenance: installed.provenance,
        bytes: installed.bytes.clone(),
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
    let provenance = installed.map_or(Provenance::External, |installed| installed.provenance);
    let installed = installed.is_some();
    Ok(Found { component, source, installed, provenance, bytes: Bytes::from(bytes), only: None })
}

fn inspect(found: &Found, policy: Option<&Policy>, principal: Option<&Principal>) -> Inspected {
    let granting = policy.zip(principal);
    let declared = declared_risks(&found.component);
    let provided = |info: &CapabilityInfo| Provided {
        capability: info.id.clone(),
        title: info.title.clone(),
        summary: info.summary.clone(),
        effect: info.effect,
        risk: info.risk,
        declared_risk: declared.get(info.id.as_str()).copied(),
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
        provenance: match found.provenance {
            Provenance::Standard => "standard",
            Provenance::External => "external",
        },
        installed: found.installed,
        bytes: found.bytes.len(),
        imports: imports(&found.component),
        sections: sections(&found.bytes),
        granted_to: granting.map(|(_, who)| who.clone()),
        policy: granting.map(|(policy, _)| policy.digest()),
        limits: Limits::default(),
        capabilities: found.component.capabilities().iter().filter(wanted).map(provided).collect(),
    }
}

/// What the component says of the risk of each capability, before the host raised any.
fn declared_risks(component: &Component) -> HashMap<String, Risk> {
    let description: Value = serde_json::from_str(component.description()).unwrap_or_default();
    let all = description.get("capabilities").and_then(Value::as_array).into_iter().flatten();
    let risk = |one: &Value| Some((one.get("id")?.as_str()?.to_owned(), Risk::parse(one.get("risk")?.as_str()?)?));
    all.filter_map(risk).collect()
}

/// The imports by what they can lead to. Every Rust component imports the file system; it counts if files are asked for.
fn imports(component: &Component) -> Imports {
    let files = |permission: &Permission| matches!(permission, Permission::FsRead | Permission::FsWrite);
    let asks_for_files = component.capabilities().iter().any(|info| info.permissions.iter().any(files));
    let mut imports = Imports { privileges: Vec::new(), floor: Vec::new() };
    for name in component.imports() {
        match ImportKind::of(name) {
            ImportKind::Floor => imports.floor.push(name.clone()),
            ImportKind::Filesystem if !asks_for_files => imports.floor.push(name.clone()),
            kind => imports.privileges.push(Import { name: name.clone(), kind }),
        }
    }
    imports
}

fn leads_to(kind: ImportKind) -> &'static str {
    match kind {
        ImportKind::Floor => "nothing",
        ImportKind::Contract => "the host keeps its undo and tells it of its run",
        ImportKind::Filesystem => "the directories that are granted",
        ImportKind::Http => "the URLs that are granted",
        ImportKind::Sockets => "nothing: raw sockets and look-ups are granted to nobody",
    }
}

fn text(inspected: &Inspected) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", format!("{name:<11} {value}").trim_end());
    };
    field("component", &inspected.component.to_string());
    field("source", &crate::document::escape(&inspected.source));
    field("provenance", if inspected.provenance == "standard" { "part of this binary" } else { "somebody else's" });
    field("installed", if inspected.installed { "yes" } else { "no" });
    field("size", &format!("{} bytes", inspected.bytes));
    match (&inspected.granted_to, &inspected.policy) {
        (Some(who), Some(policy)) => field("grants", &format!("to {who}, by {policy}")),
        _ => field("grants", "not known: no policy or no principal is set"),
    }
    let _ = writeln!(text, "\nimports that can lead out");
    for Import { name, kind } in &inspected.imports.privileges {
        let _ = writeln!(text, "  {}: {}", crate::document::escape(name), leads_to(*kind));
    }
    if inspected.imports.privileges.is_empty() {
        let _ = writeln!(text, "  none");
    }
    let _ = writeln!(text, "\nimports that every toolchain brings along");
    let _ = writeln!(text, "  {}", crate::document::escape(&or_none(&inspected.imports.floor)));
    said_of_origin(&mut text, &inspected.sections);
    for one in &inspected.capabilities {
        provided(&mut text, one);
    }
    let _ = writeln!(text, "\nlimits of a call, unless a grant lowers them");
    let _ = write!(text, "{}", limits(&inspected.limits, None));
    text
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn said_of_origin(text: &mut String, sections: &Sections) {
    let _ = writeln!(text, "\ncustom sections: what it says of its origin, which nobody has checked");
    for section in &sections.listed {
        let place = match section.depth {
            0 => String::new(),
            depth => format!(", {depth} deep"),
        };
        let _ = writeln!(text, "  {} ({} bytes{place})", quoted(&section.name), section.bytes);
        for said in &section.says {
            let _ = writeln!(text, "    {}", quoted(said));
        }
    }
    let more = sections.total - sections.listed.len();
    if sections.total == 0 || more > 0 {
        let rest = if sections.total == 0 { "none".to_owned() } else { format!("and {more} more") };
        let _ = writeln!(text, "  {rest}");
    }
}

fn provided(text: &mut String, one: &Provided) {
    let _ = writeln!(text, "\n{}", one.capability);
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    field("title", &quoted(&one.title));
    field("summary", &quoted(&one.summary));
    field("effect", one.effect.as_str());
    match one.declared_risk.filter(|declared| *declared != one.risk) {
        Some(declared) => field("risk", &format!("{}, raised by the host from {declared}", one.risk)),
        None => field("risk", one.risk.as_str()),
    }
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
