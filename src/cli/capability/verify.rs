//! `redress capability verify`: is what is installed what was installed? And `outdated`: is it still what its source has?

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, Opening, add, remove};
use crate::cli::context::admit_locked;
use crate::cli::error::CliError;
use crate::document::escape;
use crate::install::{Lock, Locked, Source};
use crate::sandbox::Provenance;
use crate::types::Digest;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "Looks at nothing outside this machine. Exits with 6 if something is not as it was installed.\n\n\
    Example: redress capability verify"
)]
pub(in crate::cli) struct Arguments {
    /// Only this one: its name, the id of one of its capabilities, or its digest
    #[arg(value_name = "NAME|ID|DIGEST")]
    what: Option<String>,
}

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "Asks the registries. Exits with 6 if a file or tag has changed, with 1 if one of them cannot be asked.\n\nExample: redress capability outdated"
)]
pub(in crate::cli) struct Outdated {}

#[derive(Serialize)]
struct Verified {
    schema: u32,
    name: String,
    digest: Digest,
    source: String,
    /// Why it is not as it was installed.
    problem: Option<String>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let place = context.install_place()?;
    let lock = Lock::read(&place.lock)?;
    let chosen = match &arguments.what {
        Some(what) => vec![lock.find(what).ok_or_else(|| remove::unknown(what, &lock))?.clone()],
        None => lock.components.clone(),
    };
    let policy = context.settings()?.policy.is_some().then(|| context.policy()).transpose()?;
    let (sandbox, _) = context.standard(Opening::Existing)?;
    let look = |locked: &Locked| -> Result<(), CliError> {
        let bytes = place.store.get(locked)?;
        let component = sandbox.load(&bytes, Provenance::External).map_err(|error| {
            CliError::from(crate::engine::EngineError::Component { file: locked.source.clone(), error })
        })?;
        let description: Value = serde_json::from_str(component.description()).unwrap_or_default();
        if description != locked.description {
            let message = "the lock says something else of it than it says of itself";
            return Err(CliError::refused("changed-lock", message));
        }
        match &policy {
            Some(policy) => admit_locked(policy, locked, &component, &bytes),
            None => Ok(()),
        }
    };
    let told = |locked: Locked| Verified {
        schema: 1,
        problem: look(&locked).err().map(|error| error.message()),
        name: locked.name,
        digest: locked.digest,
        source: locked.source,
    };
    finish(chosen.into_iter().map(told).collect(), "as installed", context)
}

pub(super) async fn outdated(_: &Outdated, context: &Context) -> Result<Exit, CliError> {
    let lock = Lock::read(&context.install_place()?.lock)?;
    let (mut told, mut unreachable) = (Vec::new(), false);
    for locked in lock.components {
        let pinned =
            matches!(Source::parse(&locked.source), Ok(Source::Oci(reference)) if reference.digest().is_some());
        let known = locked.manifest.clone().unwrap_or_else(|| locked.digest.to_string());
        let problem = if pinned {
            None
        } else {
            match add::current(&locked, context).await {
                Ok(current) if current == known => None,
                Ok(current) => Some(format!(
                    "it has {current} now, and {known} is installed; to see the difference: redress capability add {}",
                    locked.source
                )),
                Err(error) => {
                    unreachable = true;
                    Some(error.message())
                }
            }
        };
        told.push(Verified { schema: 1, name: locked.name, digest: locked.digest, source: locked.source, problem });
    }
    let exit = finish(told, "up to date", context)?;
    Ok(if unreachable { Exit::Engine } else { exit })
}

fn finish(told: Vec<Verified>, good: &str, context: &Context) -> Result<Exit, CliError> {
    let sound = told.iter().all(|one| one.problem.is_none());
    context.output.list(&told, "no component is installed; `redress capability add` installs one", || {
        let mut text = String::new();
        for one in &told {
            let problem = one.problem.as_ref().map_or_else(|| good.to_owned(), |problem| escape(problem));
            let _ = writeln!(text, "{} {} {}: {problem}", escape(&one.name), one.digest.short(), escape(&one.source));
        }
        text
    })?;
    Ok(if sound { Exit::Done } else { Exit::Refused })
}
