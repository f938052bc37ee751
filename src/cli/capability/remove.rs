//! `redress capability remove`: runs no longer use a component. Those that did keep its bytes in the journal, and roll back
//! with them.

use clap::Args;
use serde_json::json;

use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::document::{escape, suggest};
use crate::install::Lock;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Example: redress capability remove notes")]
pub(in crate::cli) struct Arguments {
    /// Its name, the id of one of its capabilities, or its digest
    #[arg(value_name = "NAME|ID|DIGEST")]
    what: String,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let place = context.install_place()?;
    let _alone = place.store.alone()?;
    let mut lock = Lock::read(&place.lock)?;
    let Some(found) = lock.find(&arguments.what).cloned() else { return Err(unknown(&arguments.what, &lock)) };
    lock.components.retain(|locked| locked.name != found.name);
    lock.write(&place.lock)?;
    if lock.components.iter().all(|locked| locked.digest != found.digest) {
        place.store.forget(&found.digest)?;
    }
    let result = json!({ "schema": 1, "name": found.name, "digest": found.digest, "source": found.source });
    context.output.result(&result, || {
        let name = escape(&found.name);
        format!("removed `{name}` {}; runs that used it keep its bytes in the journal", found.digest.short())
    })?;
    Ok(Exit::Done)
}

/// Nothing that is installed is called this.
pub(super) fn unknown(what: &str, lock: &Lock) -> CliError {
    let names = lock.components.iter().map(|locked| locked.name.as_str());
    let error = CliError::usage("not-installed", format!("no component `{}` is installed", escape(what)));
    match suggest(what, names.clone()) {
        Some(name) => error.help(format!("did you mean `{name}`?")),
        None if lock.components.is_empty() => error.help("`redress capability add` installs one"),
        None => error.help(format!("installed are {}", escape(&names.collect::<Vec<_>>().join(", ")))),
    }
}
