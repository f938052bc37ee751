//! `redress capability`: what can be called, and what it could do.

mod add;
mod inspect;
mod list;
mod new;
mod project;
mod push;
mod remove;
mod review;
mod test;
mod verify;

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
    /// Write a project for a capability of your own
    New(new::Arguments),
    /// Try whether a component keeps the promises of the contract, also where it dies half-way
    Test(test::Arguments),
    /// Install a component, or the next version of one
    Add(add::Arguments),
    /// Take a component out of use
    Remove(remove::Arguments),
    /// List components whose file or tag has changed since they were installed
    Outdated(verify::Outdated),
    /// Check that what is installed is what was installed
    Verify(verify::Arguments),
    /// Publish a component in a registry
    Push(push::Arguments),
}

pub(super) use add::{beside as signature_beside, read_signature};

pub(super) async fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::List(arguments) => list::execute(arguments, context),
        Verb::Inspect(arguments) => inspect::execute(arguments, context),
        Verb::Review(arguments) => review::execute(arguments, context),
        Verb::New(arguments) => new::execute(arguments, context),
        Verb::Test(arguments) => test::execute(arguments, context).await,
        Verb::Add(arguments) => add::execute(arguments, context).await,
        Verb::Remove(arguments) => remove::execute(arguments, context),
        Verb::Outdated(arguments) => verify::outdated(arguments, context).await,
        Verb::Verify(arguments) => verify::execute(arguments, context),
        Verb::Push(arguments) => push::execute(arguments, context).await,
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
