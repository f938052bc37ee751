//! `redress capability test`: does a component keep the promises of the contract?

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Context, Exit, project};
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::conformance::{Broken, KitError, Options, Report};
use crate::document::{Source, escape};
use crate::types::{CapabilityId, Digest};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "Runs each case of `tests/*.yaml` in the sandbox, on a temporary directory and a server on loopback; \
    then undoes, repeats,\nends the component at each of its effects, withholds what it asks for, and makes inputs up. \
    Exits with 6 if a promise is broken.\n\nExample: redress capability test acme-notes"
)]
pub(in crate::cli) struct Arguments {
    /// A project, which is built first, or a component file
    path: PathBuf,
    /// The folder of the cases; `tests` in the project or beside the file, unless this says otherwise
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Only the case of this name; may be given again
    #[arg(long = "case", value_name = "NAME")]
    only: Vec<String>,
    /// How many inputs are made up for each capability
    #[arg(long, value_name = "N", default_value_t = 64)]
    made_up: u32,
    /// What they are made from: the same number makes the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Serialize)]
struct Tested<'a> {
    schema: u32,
    file: String,
    component: Option<Digest>,
    capabilities: &'a [CapabilityId],
    cases: u32,
    checks: u32,
    passed: bool,
    broken: &'a [Broken],
    notes: &'a [String],
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let project = project::open(&arguments.path)?;
    let cases = read_cases(arguments.cases.as_deref().unwrap_or(&project.cases), arguments.cases.is_some())?;
    check_names(&arguments.only, &cases)?;
    let options = Options {
        only: arguments.only.clone(),
        made_up: arguments.made_up,
        seed: arguments.seed,
        ..Options::default()
    };
    let bar = live(context);
    let report = {
        let mut told = |what: &str| {
            bar.set_message(escape(what));
            bar.tick();
        };
        let tried = crate::conformance::test(&project.bytes, &cases, &options, &mut told);
        // Ended here, it leaves none of its folders behind.
        tokio::select! {
            report = tried => report.map_err(failed)?,
            _ = tokio::signal::ctrl_c() => {
                context.output.note("interrupted: nothing is left of it; begin again");
                return Ok(Exit::Interrupted);
            }
        }
    };
    bar.finish_and_clear();
    let file = project.file.display().to_string();
    let tested = Tested {
        schema: 1,
        file: file.clone(),
        component: report.component,
        capabilities: &report.capabilities,
        cases: report.cases,
        checks: report.checks,
        passed: report.is_clean(),
        broken: &report.broken,
        notes: &report.notes,
    };
    context.output.result(&tested, || text(&file, &report))?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::Refused })
}

fn live(context: &Context) -> ProgressBar {
    if context.output.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn failed(error: KitError) -> CliError {
    match error {
        KitError::Case(diagnostics) => diagnostics.into(),
        KitError::Sandbox(error) => error.into(),
        error => CliError::engine("kit", error.to_string()),
    }
}

/// The cases of a folder, in the order of their names. That there is no folder is no error, unless somebody named it.
fn read_cases(folder: &Path, named: bool) -> Result<Vec<Source>, CliError> {
    let shown = folder.display().to_string();
    if !folder.is_dir() && !named {
        return Ok(Vec::new());
    }
    let unreadable = |error| CliError::unreadable(&shown, &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            files.push(path);
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let shown = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|error| CliError::unreadable(&shown, &error))?;
        Ok(Source::from_bytes(shown, &bytes)?)
    };
    files.into_iter().map(read).collect()
}

fn check_names(only: &[String], cases: &[Source]) -> Result<(), CliError> {
    let names: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(Path::new(case.name()).file_stem()?.to_string_lossy().into_owned()))
        .collect();
    match only.iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let error = CliError::usage("unknown-case", format!("there is no case `{}`", escape(name)));
            Err(error.help(format!("there are {}", names.join(", "))))
        }
    }
}

fn text(file: &str, report: &Report) -> String {
    let mut text = String::new();
    for broken in &report.broken {
        shown(&mut text, broken);
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {}", escape(note));
    }
    let file = escape(file);
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let tried = format!(
        "{} of {}, {} checks",
        count(report.cases as usize, "case"),
        count(report.capabilities.len(), "capability").replace("capabilitys", "capabilities"),
        report.checks
    );
    let _ = match report.broken.len() {
        0 => writeln!(text, "{file} keeps every promise that was tried: {tried}"),
        n => writeln!(text, "{file} breaks {}: {tried}", count(n, "promise")),
    };
    text
}

fn shown(text: &mut String, broken: &Broken) {
    let whose = broken.capability.as_ref().map_or_else(|| "the component".to_owned(), ToString::to_string);
    let promise = serde_json::to_value(broken.promise).ok();
    let name = promise.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
    let _ = writeln!(text, "broken: {whose}: {} ({name})", broken.says);
    match &broken.case {
        Some(case) => drop(writeln!(text, "  case  {}", escape(case))),
        None if broken.input.is_some() => drop(writeln!(text, "  case  an input that was made up")),
        None => {}
    }
    if let Some(input) = &broken.input {
        let _ = writeln!(text, "  input {}", quoted(&input.to_string()));
    }
    for (index, did) in broken.did.iter().enumerate() {
        let _ = writeln!(text, "  {} {}", if index == 0 { "did  " } else { "then " }, escape(did));
    }
    for found in &broken.found {
        let _ = writeln!(text, "  found {}", escape(found));
    }
    if broken.more > 0 {
        let _ = writeln!(text, "  and {} more like it", broken.more);
    }
    text.push('\n');
}
