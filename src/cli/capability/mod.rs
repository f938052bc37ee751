//! `redress capability`: what can be called, and what it could do.

mod inspect;
mod list;
mod review;

use clap::Subcommand;

use super::Exit;
use super::context::{Context, Opening};
use super::error::CliError;
use crate::document::{escape, suggest};
use crate::engine::Registry;
use crate::types::{Catalog as _, Permission};

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// List every capability that is installed
    List(list::Arguments),
    /// Show what a component provides, asks for and is granted
    Inspect(inspect::Arguments),
    /// Compare what capabilities ask for, are granted and used, and suggest the smallest grant
    Review(review::Arguments),
}

pub(super) fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::List(arguments) => list::execute(arguments, context),
        Verb::Inspect(arguments) => inspect::execute(arguments, context),
        Verb::Review(arguments) => review::execute(arguments, context),
    }
}

/// Nothing that is installed is called this.
fn unknown(what: &str, registry: &Registry) -> CliError {
    let ids = registry.ids();
    let error =
        CliError::usage("unknown-capability", format!("no component provides the capability `{}`", escape(what)));
    match suggest(what, ids.iter().map(|id| id.as_str())) {
        Some(id) => error.help(format!("did you mean `{id}`?")),
        None => error.help("`redress capability list` lists what is installed"),
    }
}

fn asked(permissions: &[Permission]) -> String {
    let asked: Vec<String> = permissions.iter().map(|permission| escape(&permission.to_string())).collect();
    if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") }
}
