//! `redress policy simulate`: what another policy would have answered to all that was asked for, decided now, or as the shadow
//! policy was recorded to answer.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit};
use crate::cli::context::load_policy;
use crate::cli::error::CliError;
use crate::cli::lookup::moment;
use crate::cli::text::granted;
use crate::document::escape;
use crate::engine::simulate::{Answered, Flip, GrantFlip, Shadowed, Simulation};
use crate::engine::{each_page, rfc3339};
use crate::types::{Digest, Grant, Limits};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(after_help = "Changes nothing. `--as PRINCIPAL` looks only at what was asked for by or for somebody.\n\
    `--shadow` shows what the policy of `policy_shadow:` in the settings answered otherwise when the decisions were made.\n\n\
    Example: redress policy simulate policy.new.yaml --since 30d")]
pub(in crate::cli) struct Arguments {
    /// The policy file
    #[arg(required_unless_present = "shadow", conflicts_with = "shadow")]
    file: Option<PathBuf>,
    /// What shadow policies were recorded to answer otherwise, in place of a file
    #[arg(long)]
    shadow: bool,
    /// Only runs that were submitted since then: a moment such as 2026-11-01T00:00:00Z, or a length of time such as 30d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Serialize)]
struct Simulated {
    schema: u32,
    /// The policy of the file; of shadow policies each answer says which it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Digest>,
    since: Option<String>,
    decisions: u64,
    /// Inputs that were erased: nobody can decide them again.
    not_redecidable: u64,
    /// Runs that cannot be read.
    unreadable: u64,
    /// The looser ones first.
    flips: Vec<Flip>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let since = arguments.since.as_deref().map(|text| moment(text, context.now())).transpose()?;
    let (principal, since_text) = (context.globals.principal.as_ref(), since.map(rfc3339));
    let mut simulated = match &arguments.file {
        Some(file) => {
            let (policy, _) = load_policy(file)?;
            let journal = context.journal_to_read()?;
            let mut simulation = Simulation::new(&policy, principal);
            let mut unreadable = 0;
            unreadable += each_page(&journal, since, |runs| {
                unreadable += simulation.runs(runs, &journal);
                Ok::<_, CliError>(ControlFlow::Continue(()))
            })?;
            let Simulation { decisions, not_redecidable, flips, .. } = simulation;
            let policy = Some(policy.digest());
            Simulated { schema: 1, policy, since: since_text, decisions, not_redecidable, unreadable, flips }
        }
        None => {
            let journal = context.journal_to_read()?;
            let mut shadowed = Shadowed::new(principal);
            let mut unreadable = 0;
            unreadable += each_page(&journal, since, |runs| {
                unreadable += runs.iter().filter(|run| shadowed.run(run, &journal).is_err()).count() as u64;
                Ok::<_, CliError>(ControlFlow::Continue(()))
            })?;
            let Shadowed { decisions, flips, .. } = shadowed;
            Simulated { schema: 1, policy: None, since: since_text, decisions, not_redecidable: 0, unreadable, flips }
        }
    };
    simulated.flips.sort_by_key(|flip| !flip.looser);
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
        for (of, grant) in [("", &flip.grant), (" for its compensation", &flip.compensation_grant)] {
            let Some(GrantFlip { was, is }) = grant.as_deref() else { continue };
            let _ = writeln!(text, "  was granted{of}: {}", opened(was));
            let _ = writeln!(text, "  is granted{of}:  {}", opened(is));
        }
    }
    let looser = simulated.flips.iter().filter(|flip| flip.looser).count();
    let stricter = simulated.flips.len() - looser;
    let of = if simulated.policy.is_some() { "decisions" } else { "decisions, with a shadow policy or without" };
    let _ = writeln!(text, "{} {of}: {looser} would be looser, {stricter} stricter", simulated.decisions);
    if simulated.not_redecidable > 0 {
        let _ = writeln!(text, "{} more cannot be decided again: their input is gone", simulated.not_redecidable);
    }
    if simulated.unreadable > 0 {
        let _ = writeln!(text, "{} runs cannot be read: `redress audit verify` says why", simulated.unreadable);
    }
    text
}

fn answered(answer: &Answered) -> String {
    let policy = answer.policy.map_or(String::new(), |policy| format!(" of {}", policy.short()));
    match (answer.rule, answer.line) {
        (Some(rule), Some(line)) => format!("{} by rule {rule} (line {line}){policy}", answer.action),
        _ => format!("{} by the default{policy}", answer.action),
    }
}

/// What a grant opens, and the limits that it lowers.
fn opened(grant: &Grant) -> String {
    let usual = Limits::default();
    let lowered = grant.limits.entries().into_iter().zip(usual.entries()).filter(|(one, usual)| one.1 != usual.1);
    let limits = lowered.map(|((name, value, _), _)| format!("{name} at most {value}"));
    granted(grant).into_iter().chain(limits).collect::<Vec<_>>().join("; ")
}
