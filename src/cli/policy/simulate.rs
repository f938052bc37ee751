//! `redress policy simulate`: what another policy would have answered to all that was asked for.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit};
use crate::cli::context::load_policy;
use crate::cli::error::CliError;
use crate::cli::lookup::{each_run, moment};
use crate::document::escape;
use crate::engine::rfc3339;
use crate::engine::simulate::{Answered, Flip, Simulation};
use crate::types::Digest;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Changes nothing. `--as PRINCIPAL` looks only at what was asked for by or for somebody.\n\n\
    Example: redress policy simulate policy.new.yaml --since 30d")]
pub(in crate::cli) struct Arguments {
    /// The policy file
    file: PathBuf,
    /// Only runs that were submitted since then: a moment such as 2026-11-01T00:00:00Z, or a length of time such as 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Serialize)]
struct Simulated {
    schema: u32,
    policy: Digest,
    since: Option<String>,
    decisions: u64,
    /// Inputs that were erased: nobody can decide them again.
    not_decidable: u64,
    /// Runs that cannot be read.
    unreadable: u64,
    /// The looser ones first.
    flips: Vec<Flip>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let since = arguments.since.as_deref().map(|text| moment(text, context.now())).transpose()?;
    let (policy, _) = load_policy(&arguments.file)?;
    let journal = context.journal_to_read()?;
    let mut simulation = Simulation::new(&policy, context.globals.principal.as_ref());
    let unreadable = each_run(&journal, since, |entries| Ok(simulation.run(entries, &journal)?))?;
    let mut flips = simulation.flips;
    flips.sort_by_key(|flip| !flip.looser);
    let simulated = Simulated {
        schema: 1,
        policy: policy.digest(),
        since: since.map(rfc3339),
        decisions: simulation.decisions,
        not_decidable: simulation.not_decidable,
        unreadable,
        flips,
    };
    context.output.result(&simulated, || text(&simulated))?;
    Ok(Exit::Done)
}

fn text(simulated: &Simulated) -> String {
    let mut text = String::new();
    for flip in &simulated.flips {
        let way = if flip.looser { "LOOSER" } else { "stricter" };
        let who = match &flip.acting_for {
            Some(other) => format!("{} for {other}", flip.principal),
            None => flip.principal.to_string(),
        };
        let (run, step) = (&flip.run, escape(flip.step.as_str()));
        let _ = writeln!(text, "{way}: {who} {} in {run} {step}", flip.capability);
        let _ = writeln!(text, "  was {}\n  is  {}", answered(&flip.was), answered(&flip.is));
    }
    let looser = simulated.flips.iter().filter(|flip| flip.looser).count();
    let stricter = simulated.flips.len() - looser;
    let _ = writeln!(text, "{} decisions: {looser} would be looser, {stricter} stricter", simulated.decisions);
    if simulated.not_decidable > 0 {
        let _ = writeln!(text, "{} more cannot be decided again: their input is gone", simulated.not_decidable);
    }
    if simulated.unreadable > 0 {
        let _ = writeln!(text, "{} runs cannot be read: `redress audit verify` says why", simulated.unreadable);
    }
    text
}

fn answered(answer: &Answered) -> String {
    match (answer.rule, answer.line) {
        (Some(rule), Some(line)) => format!("{} by rule {rule} (line {line})", answer.action),
        _ => format!("{} by the default", answer.action),
    }
}
