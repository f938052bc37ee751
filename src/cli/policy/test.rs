//! `redress policy test`: the tests of a policy file, one by one, and more from a file of their own.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit, exit, told, untested};
use crate::cli::error::CliError;
use crate::cli::inputs::read_text;
use crate::policy::{TestResult, load_tests, run_tests};
use crate::types::Digest;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Exits with 6 if a test fails.\n\n\
    Example: redress policy test policies/default.yaml --tests more-tests.yaml")]
pub(in crate::cli) struct Arguments {
    /// The policy file
    file: PathBuf,
    /// A file with the single key `tests`, besides those of the policy itself
    #[arg(long, value_name = "FILE")]
    tests: Option<PathBuf>,
}

#[derive(Serialize)]
struct Tested {
    schema: u32,
    policy: Digest,
    passed: bool,
    tests: Vec<Placed>,
}

/// A result with the file in which its test stands.
#[derive(Serialize)]
struct Placed {
    file: String,
    passed: bool,
    #[serde(flatten)]
    result: TestResult,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (policy, _) = untested(&arguments.file)?;
    let placed = |file: &str, results: Vec<TestResult>| {
        let file = file.to_owned();
        results.into_iter().map(move |result| Placed { file: file.clone(), passed: result.problem.is_none(), result })
    };
    let mut tests: Vec<Placed> = placed(policy.name(), run_tests(&policy, policy.tests())).collect();
    if let Some(file) = &arguments.tests {
        let more = read_text(file)?;
        tests.extend(placed(more.name(), run_tests(&policy, &load_tests(&more)?)));
    }
    let failed = tests.iter().filter(|test| !test.passed).count();
    let tested = Tested { schema: 1, policy: policy.digest(), passed: failed == 0, tests };
    context.output.result(&tested, || {
        let lines = tested.tests.iter().map(|test| told(&test.file, &test.result) + "\n");
        let all = tested.tests.len();
        lines.collect::<String>() + &format!("{} of {all} tests passed", all - failed)
    })?;
    Ok(exit(tested.passed))
}
