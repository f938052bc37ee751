//! `redress logs`: what components printed, by attempt.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::text::foreign_lines;
use super::{Exit, lookup};
use crate::document::suggest;
use crate::engine::{entries_of, state_of};
use crate::journal::Journal;
use crate::saga::event::{Event, Outcome, UndoOutcome};
use crate::types::{PayloadRef, StepName};

/// See [`super::Command::Logs`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress logs latest page")]
pub(super) struct Arguments {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// Only this step
    step: Option<String>,
}

/// What one attempt printed.
#[derive(Debug, Serialize)]
struct Log {
    schema: u32,
    step: StepName,
    attempt: u32,
    #[serde(flatten)]
    end: End,
    /// None if it was erased.
    log: Option<String>,
}

/// Of which call it is, and how that ended.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "call", content = "outcome", rename_all = "lowercase")]
enum End {
    Execute(Outcome),
    Compensate(UndoOutcome),
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let run = lookup::run(&journal, &arguments.run)?;
    if let Some(step) = &arguments.step {
        let state = state_of(&journal, &run)?;
        if state.index(step).is_none() {
            let names = state.steps.iter().map(|step| step.spec.name.as_str());
            let error = CliError::usage("no-such-step", format!("run {run} has no step `{step}`"));
            return Err(match suggest(step, names) {
                Some(name) => error.help(format!("did you mean `{name}`?")),
                None => error.help(format!("`redress show {run}` lists its steps")),
            });
        }
    }
    let mut logs = Vec::new();
    for entry in entries_of(&journal, &run)? {
        let (step, attempt, end, log) = match entry.event {
            Event::Result(result) => (result.step, result.attempt, End::Execute(result.outcome), result.log),
            Event::UndoResult(result) => (result.step, result.attempt, End::Compensate(result.outcome), result.log),
            _ => continue,
        };
        let wanted = arguments.step.as_ref().is_none_or(|wanted| wanted == step.as_str());
        if let (true, Some(log)) = (wanted, log) {
            logs.push(Log { schema: 1, step, attempt, end, log: read(&journal, &log)? });
        }
    }
    context.output.list(&logs, "nothing was printed", || text(&logs))?;
    Ok(Exit::Done)
}

fn read(journal: &dyn Journal, log: &PayloadRef) -> Result<Option<String>, CliError> {
    Ok(journal.payload(&log.digest)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn text(logs: &[Log]) -> String {
    let mut text = String::new();
    for Log { step, attempt, end, log, .. } in logs {
        let call = match end {
            End::Execute(outcome) => format!("attempt {attempt} ({})", outcome_word(*outcome)),
            End::Compensate(outcome) => format!("undo {attempt} ({})", undo_word(*outcome)),
        };
        let _ = writeln!(text, "{step}, {call}");
        match log {
            Some(log) => text.push_str(&foreign_lines(log, "  | ")),
            None => text.push_str("  erased\n"),
        }
    }
    text
}

/// The word for how an attempt ended.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Clean => "clean: nothing happened",
        Outcome::Unclear => "unclear",
    }
}

/// The word for how an attempt to undo ended.
pub(super) fn undo_word(outcome: UndoOutcome) -> &'static str {
    match outcome {
        UndoOutcome::Undone => "undone",
        UndoOutcome::Failed => "failed",
        UndoOutcome::ChangedSince => "changed since: nothing was touched",
        UndoOutcome::NotRestored => "not restored",
    }
}
