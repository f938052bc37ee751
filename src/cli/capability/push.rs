//! `redress capability push`: publishes a component in a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Context, Exit, Opening, add, project};
use crate::cli::error::CliError;
use crate::document::escape;
use crate::engine::EngineError;
use crate::install::{Artifact, Source};
use crate::sandbox::{Component, Provenance, sections};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Who you are is read from the configuration of Docker, as `docker login` writes it.\n\n\
    Example: redress capability push acme-notes oci://registry.example.com/acme/notes:1.0.0")]
pub(in crate::cli) struct Arguments {
    /// A project, which is built first, or a component file
    path: PathBuf,
    /// Where to: `oci://REGISTRY/NAME:TAG`
    target: String,
    /// Its signature, made by minisign; `FILE.minisig` beside the file, unless this says otherwise
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let target = arguments.target.starts_with("oci://").then(|| Source::parse(&arguments.target)).transpose()?;
    let reference = match target {
        Some(Source::Oci(reference)) if reference.digest().is_none() => reference,
        _ => {
            let message = format!("`{}` is no place for a component", escape(&arguments.target));
            return Err(
                CliError::usage("bad-target", message).help("write `oci://registry.example.com/acme/notes:1.0.0`")
            );
        }
    };
    let project = project::open(&arguments.path)?;
    // Nobody publishes what a host would refuse.
    let (sandbox, _) = context.standard(Opening::Existing)?;
    let file = project.file.display().to_string();
    let component = sandbox
        .load(&project.bytes, Provenance::External)
        .map_err(|error| CliError::from(EngineError::Component { file, error }))?;
    let signature = signature(arguments.signature.as_deref(), &project.file)?;
    let config = Artifact::config(&component.digest(), component.imports());
    let annotations = annotations(&component, &project.bytes);
    let registry = context.component_registry(reference.resolve_registry())?;
    let pushed = registry.push(&reference, &project.bytes, config, annotations, signature.as_deref()).await?;
    let target = Source::Oci(reference.clone()).to_string();
    let by_digest = Source::Oci(reference.clone_with_digest(pushed.manifest.clone())).to_string();
    let result = json!({
        "schema": 1, "target": target, "digest": component.digest(), "manifest": pushed.manifest,
        "signature": pushed.signature,
    });
    context.output.result(&result, || {
        let signed = match &pushed.signature {
            Some(place) => format!("signature  {}", escape(place)),
            None => "signature  none: sign it with `minisign -S -m FILE`, and push again".to_owned(),
        };
        let digest = component.digest();
        format!("pushed     {target}\ncomponent  {digest}\n{signed}\nexactly    redress capability add {by_digest}")
    })?;
    Ok(Exit::Done)
}

fn signature(named: Option<&Path>, file: &Path) -> Result<Option<String>, CliError> {
    let beside = add::beside(file);
    match named {
        Some(path) => add::read_signature(path).map(Some),
        None if beside.is_file() => add::read_signature(&beside).map(Some),
        None => Ok(None),
    }
}

/// What the component says of its origin, for those who only look at the manifest.
fn annotations(component: &Component, bytes: &[u8]) -> BTreeMap<String, String> {
    let known = [
        ("version", "org.opencontainers.image.version"),
        ("description", "org.opencontainers.image.description"),
        ("authors", "org.opencontainers.image.authors"),
        ("licenses", "org.opencontainers.image.licenses"),
        ("source", "org.opencontainers.image.source"),
        ("homepage", "org.opencontainers.image.url"),
        ("revision", "org.opencontainers.image.revision"),
    ];
    let mut annotations = BTreeMap::new();
    for section in sections(bytes).listed.into_iter().filter(|section| section.depth == 0) {
        if let Some((_, name)) = known.iter().find(|(name, _)| *name == section.name) {
            annotations.insert((*name).to_owned(), section.says.join("\n"));
        }
    }
    let ids: Vec<&str> = component.capabilities().iter().map(|info| info.id.as_str()).collect();
    annotations.insert("redress.capabilities".to_owned(), ids.join(","));
    annotations
}
