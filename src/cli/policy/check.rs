//! `redress policy check`: does a file load, would a run take its grants, and do its tests pass?

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, exit, told, untested};
use crate::cli::error::CliError;
use crate::policy::{TestResult, run_tests};
use crate::types::Digest;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Exits with 2 if the file does not load, or a grant of it contains what guards it: the \
    file itself, and the journal, settings and components that are in force here. Exits with 6 if a test of it fails.\n\n\
    Example: redress policy check policies/default.yaml")]
pub(in crate::cli) struct Arguments {
    /// The policy file
    file: PathBuf,
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
    let tests = run_tests(&policy, policy.tests());
    let passed = tests.iter().all(|test| test.problem.is_none());
    let file = policy.name().to_owned();
    let checked = Checked { schema: 1, file, digest: policy.digest(), passed, warnings: warnings.to_json(), tests };
    context.output.result(&checked, || {
        let mut text = if warnings.is_empty() { String::new() } else { format!("{warnings}\n") };
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
    Ok(exit(passed))
}
