//! `redress policy`: looking at a policy file before, and at an answer after.

mod check;
mod diff;
mod explain;
mod simulate;
mod test;

use std::path::Path;

use clap::Subcommand;

use super::Exit;
use super::context::{Context, policy_source};
use super::error::CliError;
use super::output::quoted;
use crate::document::Diagnostics;
use crate::policy::{Policy, TestResult};

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Read a policy file, say everything that is wrong or odd with it, and run its tests
    Check(check::Arguments),
    /// Say what a change of the policy opens and closes, for every principal, capability and risk
    Diff(diff::Arguments),
    /// Say rule by rule why a request is answered as it is
    Explain(explain::Arguments),
    /// Say what another policy would have answered to all that was asked for
    Simulate(simulate::Arguments),
    /// Run the tests of a policy file, and more from a file of their own
    Test(test::Arguments),
}

pub(super) fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Check(arguments) => check::execute(arguments, context),
        Verb::Diff(arguments) => diff::execute(arguments, context),
        Verb::Explain(arguments) => explain::execute(arguments, context),
        Verb::Simulate(arguments) => simulate::execute(arguments, context),
        Verb::Test(arguments) => test::execute(arguments, context),
    }
}

/// A policy whose tests have not run, with its warnings.
fn untested(file: &Path) -> Result<(Policy, Diagnostics), CliError> {
    let (source, folder) = policy_source(file)?;
    Ok(Policy::load_untested(source, &folder)?)
}

/// One line for a test.
fn told(file: &str, test: &TestResult) -> String {
    let place = format!("{}:{}", crate::document::escape(file), test.line);
    let asked = format!("{} {} -> {}", test.principal, test.capability, test.expect);
    match &test.problem {
        None => format!("pass {place}  {asked}"),
        Some(problem) => format!("FAIL {place}  {asked}: {}", quoted(problem)),
    }
}

/// What a verb with tests ends with.
fn exit(passed: bool) -> Exit {
    if passed { Exit::Done } else { Exit::Refused }
}
