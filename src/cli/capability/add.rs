//! `redress capability add`: installs a component, or the next version of one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, Opening, asked};
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::cli::text::granted;
use crate::document::escape;
use crate::engine::{EngineError, Registry as Components};
use crate::install::{
    Difference, InstallError, Lock, Locked, MAX_COMPONENT, Registry, SignedBy, Source, admit, differences,
};
use crate::policy::effective_grant;
use crate::sandbox::{Component, Provenance, Sandbox, sections};
use crate::types::{CapabilityId, Digest, EffectKind, Grant, Permission, Principal, Risk, sha256};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "An upgrade that asks for more, or changes what agents read, and a file or tag that was changed, are shown \
    and\nnot installed: exit 6, until `--accept`.\n\n\
    Examples: redress capability add notes.wasm\n          \
    redress capability add oci://registry.example.com/acme/notes:1.0.0"
)]
pub(in crate::cli) struct Arguments {
    /// A component file, or an artifact: `oci://REGISTRY/NAME:TAG`, or `@sha256:...`
    source: String,
    /// What to call it; the last part of its name, unless this says otherwise
    #[arg(long)]
    name: Option<String>,
    /// Its signature, made by minisign; `FILE.minisig`, or what lies beside it in the registry, unless this says otherwise
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Install it although it differs from what is installed
    #[arg(long)]
    accept: bool,
}

/// What was read, once.
pub(super) struct Read {
    pub(super) bytes: Bytes,
    pub(super) manifest: Option<String>,
    pub(super) signature: Option<String>,
}

#[derive(Serialize)]
struct Added {
    schema: u32,
    name: String,
    version: Option<String>,
    digest: Digest,
    source: String,
    manifest: Option<String>,
    signer: Option<SignedBy>,
    /// `added`, `replaced`, `unchanged`, or `refused`.
    change: &'static str,
    /// What it replaces.
    replaces: Option<Digest>,
    differences: Vec<Difference>,
    granted_to: Option<Principal>,
    capabilities: Vec<Provided>,
}

#[derive(Serialize)]
struct Provided {
    capability: CapabilityId,
    effect: EffectKind,
    risk: Risk,
    asks: Vec<Permission>,
    granted: Option<Grant>,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let source = Source::parse(&arguments.source)?;
    let place = context.install_place()?;
    let _alone = place.store.alone()?;
    let mut lock = Lock::read(&place.lock)?;
    let read = read(&source, arguments.signature.as_deref(), context).await?;
    let settings = context.settings()?;
    let policy = settings.policy.is_some().then(|| context.policy()).transpose()?;
    let (sandbox, registry) = context.registry_without(Opening::Create, policy.as_ref(), &source.origin())?;
    let component = load(&sandbox, &read.bytes, &source)?;
    let signed = (&*read.bytes, read.signature.as_deref());
    let shown = source.to_string();
    let signer = policy.as_ref().map(|policy| admit(policy, &shown, &source.origin(), &component, signed));
    let signer = signer.transpose()?.flatten();
    check_ids(&component, &registry, &lock, &source)?;

    let known = lock.components.iter().find(|locked| locked.origin == source.origin()).cloned();
    let kept = known.as_ref().map(|known| known.name.clone());
    let name = arguments.name.clone().or(kept).unwrap_or_else(|| source.name());
    check_name(&name, &lock, &source)?;
    let description: Value = serde_json::from_str(component.description()).unwrap_or_default();
    let changes = known.as_ref().map(|known| differences(&known.description, &description)).unwrap_or_default();
    let digest = component.digest();
    let (change, exit) = match &known {
        None => ("added", Exit::Done),
        Some(known) if known.digest == digest && known.name == name => ("unchanged", Exit::Done),
        Some(_) if arguments.accept => ("replaced", Exit::Done),
        Some(known) if known.digest == digest => ("replaced", Exit::Done),
        Some(known) if known.source == source.to_string() => ("refused", Exit::Refused),
        Some(_) if changes.iter().any(|change| change.must_be_accepted) => ("refused", Exit::Refused),
        Some(_) => ("replaced", Exit::Done),
    };
    let version = version(&read.bytes);
    if exit == Exit::Done {
        place.store.keep(&read.bytes)?;
        lock.components.retain(|locked| locked.origin != source.origin());
        lock.components.push(Locked {
            name: name.clone(),
            version: version.clone(),
            digest,
            source: source.to_string(),
            origin: source.origin(),
            manifest: read.manifest.clone(),
            signer: signer.clone(),
            signature: read.signature.clone(),
            description,
        });
        lock.write(&place.lock)?;
        if let Some(old) = known.as_ref().filter(|old| lock.components.iter().all(|one| one.digest != old.digest)) {
            place.store.forget(&old.digest)?;
        }
    }
    let granting = policy.as_ref().zip(settings.principal.as_ref());
    let provided = component.capabilities().iter().map(|info| Provided {
        capability: info.id.clone(),
        effect: info.effect,
        risk: info.risk,
        asks: info.permissions.clone(),
        granted: granting.map(|(policy, who)| effective_grant(policy, &[who], &info.id, &info.permissions)),
    });
    let added = Added {
        schema: 1,
        name,
        version,
        digest,
        source: source.to_string(),
        manifest: read.manifest,
        signer,
        change,
        replaces: known.filter(|known| known.digest != digest).map(|known| known.digest),
        differences: changes,
        granted_to: granting.map(|(_, who)| who.clone()),
        capabilities: provided.collect(),
    };
    context.output.result(&added, || text(&added))?;
    Ok(exit)
}

/// Reads a component and its signature.
pub(super) async fn read(source: &Source, signature: Option<&Path>, context: &Context) -> Result<Read, CliError> {
    let named = signature.map(read_signature).transpose()?;
    match source {
        Source::File(path) => {
            let shown = path.display().to_string();
            let found = path.metadata().map_err(|error| CliError::unreadable(&shown, &error))?;
            if !found.is_file() {
                return Err(CliError::usage("not-a-file", format!("`{shown}` is not a file")).in_file(shown));
            }
            let length = found.len();
            if length > MAX_COMPONENT as u64 {
                let message = format!("`{shown}` has {length} bytes; at most {MAX_COMPONENT} are installed");
                return Err(CliError::usage("too-large", message).in_file(shown));
            }
            let bytes = std::fs::read(path).map_err(|error| CliError::unreadable(&shown, &error))?;
            let beside = beside(path);
            let signature = match named {
                Some(signature) => Some(signature),
                None if beside.exists() => Some(read_signature(&beside)?),
                None => None,
            };
            Ok(Read { bytes: Bytes::from(bytes), manifest: None, signature })
        }
        Source::Oci(reference) => {
            let registry = context.component_registry(reference.resolve_registry())?;
            let artifact = Registry::pull(&registry, reference).await?;
            let signature = named.or(artifact.signature);
            Ok(Read { bytes: artifact.bytes, manifest: Some(artifact.manifest), signature })
        }
    }
}

/// Where the signature of a file lies.
pub(in crate::cli) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

pub(in crate::cli) fn read_signature(path: &Path) -> Result<String, CliError> {
    let shown = path.display().to_string();
    if path.metadata().is_ok_and(|found| !found.is_file() || found.len() > 16 << 10) {
        let message = format!("`{shown}` is not the file of a signature");
        return Err(CliError::usage("not-a-signature", message)
            .in_file(shown)
            .help("minisign writes one beside what it signs"));
    }
    std::fs::read_to_string(path).map_err(|error| CliError::unreadable(&shown, &error))
}

fn load(sandbox: &Sandbox, bytes: &[u8], source: &Source) -> Result<std::sync::Arc<Component>, CliError> {
    let file = source.to_string();
    sandbox.load(bytes, Provenance::External).map_err(|error| EngineError::Component { file, error }.into())
}

/// Nobody takes over what another component provides.
fn check_ids(component: &Component, registry: &Components, lock: &Lock, source: &Source) -> Result<(), CliError> {
    for info in component.capabilities() {
        let installed = registry.provider(info.id.as_str()).map(|other| other.source.clone());
        let locked = lock
            .components
            .iter()
            .find(|locked| locked.origin != source.origin() && locked.ids().any(|id| id == info.id.as_str()));
        if let Some(other) = installed.or_else(|| locked.map(|locked| locked.source.clone())) {
            let message = format!("`{}` is provided by {} already", info.id, escape(&other));
            return Err(CliError::refused("foreign-id", message)
                .help("a component cannot take over an id of another: remove that one first, if this is meant"));
        }
    }
    Ok(())
}

fn check_name(name: &str, lock: &Lock, source: &Source) -> Result<(), CliError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        let message = format!("`{}` is not a name for a component", escape(name));
        return Err(
            CliError::usage("bad-name", message).help("give it one with `--name`: letters, digits, `-`, `_`, `.`")
        );
    }
    match lock.components.iter().find(|locked| locked.name == name && locked.origin != source.origin()) {
        None => Ok(()),
        Some(other) => {
            let message = format!("`{name}` is installed from {}", escape(&other.source));
            Err(CliError::refused("name-taken", message)
                .help("give this one another name with `--name`, or remove that one"))
        }
    }
}

/// What the component says of its version.
fn version(bytes: &[u8]) -> Option<String> {
    let said = sections(bytes);
    let section = said.listed.into_iter().find(|section| section.depth == 0 && section.name == "version")?;
    section.says.into_iter().next()
}

/// A short form of a value that a stranger wrote.
pub(super) fn brief(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => quoted(text),
        Some(value) => {
            let text = value.to_string();
            let cut: String = text.chars().take(300).collect();
            escape(&if cut.len() < text.len() { format!("{cut}...") } else { cut })
        }
    }
}

pub(super) fn told(text: &mut String, differences: &[Difference]) {
    for one in differences {
        let mark = if one.must_be_accepted { "!" } else { " " };
        let id = escape(&one.capability);
        let _ = match (one.what, &one.from, &one.to) {
            ("capability", None, Some(_)) => writeln!(text, "{mark} {id} is new"),
            ("capability", _, _) => writeln!(text, "{mark} {id} is gone"),
            (what, from, to) => {
                writeln!(text, "{mark} {id}: {what}\n    was {}\n    is  {}", brief(from.as_ref()), brief(to.as_ref()))
            }
        };
    }
}

fn text(added: &Added) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    field("component", &added.digest.to_string());
    field("source", &escape(&added.source));
    if let Some(manifest) = &added.manifest {
        field("manifest", &escape(manifest));
    }
    if let Some(version) = &added.version {
        field("version", &format!("{}, it says", quoted(version)));
    }
    field("signed by", added.signer.as_ref().map_or("nobody that the policy trusts for it", |signer| &signer.name));
    for one in &added.capabilities {
        let _ =
            writeln!(text, "\n{}\n  effect      {}, risk {}", one.capability, one.effect.as_str(), one.risk.as_str());
        let _ = writeln!(text, "  asks        {}", asked(&one.asks));
        match (&one.granted, &added.granted_to) {
            (Some(grant), Some(who)) => {
                for line in granted(grant) {
                    let _ = writeln!(text, "  granted     {line}, to {who}");
                }
            }
            _ => drop(writeln!(text, "  granted     not known: no policy or no principal is set")),
        }
    }
    if !added.differences.is_empty() {
        let _ = writeln!(text, "\ndifferent from what is installed (! must be accepted)");
        told(&mut text, &added.differences);
    }
    let name = escape(&added.name);
    let replaced = added.replaces.as_ref().map_or_else(String::new, |old| format!(", in place of {}", old.short()));
    let _ = match added.change {
        "refused" => writeln!(
            text,
            "\n`{name}` was NOT installed: it is not what was installed from {}. Look at the difference; then: --accept",
            if added.differences.is_empty() { "there; only its bytes differ" } else { "there before" }
        ),
        "unchanged" => writeln!(text, "\n`{name}` is installed already"),
        _ => writeln!(text, "\n`{name}` is installed{replaced}; runs use it from now on"),
    };
    text
}

/// The digest of what a source has now, without installing it.
pub(super) async fn current(locked: &Locked, context: &Context) -> Result<String, CliError> {
    match Source::parse(&locked.source)? {
        Source::File(path) => {
            let shown = path.display().to_string();
            let bytes = std::fs::read(&path).map_err(|error| CliError::unreadable(&shown, &error))?;
            Ok(sha256(&bytes).to_string())
        }
        Source::Oci(reference) => {
            let registry = context.component_registry(reference.resolve_registry())?;
            Ok(registry.resolve(&reference).await?)
        }
    }
}

impl From<InstallError> for CliError {
    fn from(error: InstallError) -> CliError {
        match error {
            // What registries and locks say stands on one line, and is no line of ours.
            InstallError::Usage { code: code @ "registry", message, help } => {
                CliError::engine(code, escape(&message)).help(escape(&help))
            }
            InstallError::Usage { code, message, help } => CliError::usage(code, escape(&message)).help(escape(&help)),
            InstallError::Refused { code, message, help } => {
                CliError::refused(code, escape(&message)).help(escape(&help))
            }
            InstallError::Io { path, error } => {
                CliError::engine("io", format!("`{}`: {error}", escape(&path))).in_file(path)
            }
        }
    }
}
