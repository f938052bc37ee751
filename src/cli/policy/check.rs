//! `redress policy check`: does a file load, would a run take its grants, do its tests pass, and does it mean what it says?

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, exit, told, untested};
use crate::cli::error::CliError;
use crate::policy::{TestResult, lint, run_tests};
use crate::types::Digest;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Exits with 2 if the file does not load, or a grant of it contains what guards it: the \
    file itself, and the journal, settings and components that are in force here. Exits with 6 if a test of it fails.\n\
    Warns of rules that can never decide, patterns that match nothing that is installed or catch siblings, grants \
    that nothing\nuses and rules whose capabilities are granted nothing.\n\n\
    Example: redress policy check policies/default.yaml")]
pub(in crate::cli) struct Arguments {
    /// The policy file
    file: PathBuf,
    /// Exit with 6 if there is anything to warn of
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Serialize)]
struct Checked {
    schema: u32,
    file: String,
    digest: Digest,
    passed: bool,
    warnings: Vec<Value>,
    tests: Vec<TestResult>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (policy, warnings) = untested(&arguments.file)?;
    context.check_grants(&policy, Some(&arguments.file))?;
    let (_, registry) = context.registry_as_far_as_it_goes(&policy)?;
    let lint = lint(&policy, &registry);
    let tests = run_tests(&policy, policy.tests());
    let passed = tests.iter().all(|test| test.problem.is_none());
    let told_of: Vec<Value> = warnings.to_json().into_iter().chain(lint.to_json()).collect();
    let quiet = told_of.is_empty();
    let file = policy.name().to_owned();
    let checked = Checked { schema: 1, file, digest: policy.digest(), passed, warnings: told_of, tests };
    context.output.result(&checked, || {
        let mut text = String::new();
        for warnings in [&warnings, &lint].into_iter().filter(|warnings| !warnings.is_empty()) {
            let _ = writeln!(text, "{warnings}");
        }
        for test in checked.tests.iter().filter(|test| test.problem.is_some()) {
            let _ = writeln!(text, "{}", told(&checked.file, test));
        }
        let failed = checked.tests.iter().filter(|test| test.problem.is_some()).count();
        let (all, file) = (checked.tests.len(), crate::document::escape(&checked.file));
        let verdict = if passed { "good" } else { "refused" };
        let _ = writeln!(text, "{file} is {verdict}: {} of {all} tests passed", all - failed);
        let _ = writeln!(text, "{}", checked.digest);
        text
    })?;
    Ok(exit(passed && (quiet || !arguments.deny_warnings)))
}
