//! `redress audit redact`: takes what a run was given or returned out of the journal.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::cli::lookup;
use crate::document::escape;
use crate::engine::{EngineError, NamedPayload, entries_of, payloads_of};
use crate::journal::{By, Journal as _, Maintenance};
use crate::saga::{RunState, fold};
use crate::types::{Digest, RunId};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "PATH is `inputs`, `workflow`, `templates`, a step's `STEP.input`, `.output`, `.undo`, `.log` or `.compensation`, all of a \
    step (`STEP`),\nor `*`. The bytes are gone from the journal for good; their digests stay, and `audit verify` says that they were \
    redacted.\nWhat stands in the events themselves stays: names, paths, errors. Backups and other copies are not reached.\n\n\
    Example: redress audit redact 01920000 page.input --reason 'the customer asked for it'"
)]
pub(in crate::cli) struct Arguments {
    /// The run: its id, the beginning of it, or `latest`; it must be closed
    run: String,
    /// What is erased
    path: String,
    /// Why; it is journaled
    #[arg(long, value_parser = crate::cli::parse_reason)]
    reason: String,
    /// Also if the run could still be undone, and cannot any more after that
    #[arg(long)]
    forgo_undo: bool,
}

#[derive(Serialize)]
struct Redacted {
    schema: u32,
    run: RunId,
    paths: Vec<String>,
    /// How many payloads were erased now; others were before.
    erased: u64,
    /// Whether the log was emptied of them, too.
    log_emptied: bool,
}

/// What is said where it was not.
pub(super) const LOG_LEFT: &str =
    "others read the journal, so that its log still holds what was erased: do this again when they have ended";

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (by, path) = (context.principal()?.clone(), context.existing_journal()?);
    let now = context.now();
    let (run, parts) = {
        let journal = context.journal_to_read()?;
        let run = lookup::run(&journal, &arguments.run)?;
        let entries = entries_of(&journal, &run)?;
        let state = fold(&entries).map_err(|illegal| EngineError::Illegal { run: run.clone(), illegal })?;
        let Some(closed) = journal.run(&run)?.and_then(|row| row.closed) else {
            let message = format!("run {run} is {}: what it needs cannot be taken from it", state.shown());
            return Err(CliError::refused("run-not-closed", message).help("wait for its end, or `redress cancel` it"));
        };
        let all = payloads_of(&entries);
        let mut needed = all.iter().filter(|part| part.kind.serves_undo());
        let gave_up = needed.any(|part| matches!(journal.payload(&part.payload.digest), Ok(None)));
        let in_time = closed.plus(state.submitted.undo_window) > now;
        let undoable = state.shown() == RunState::Completed && in_time && !gave_up;
        let parts: Vec<NamedPayload> = all.iter().filter(|part| part.is_named_by(&arguments.path)).cloned().collect();
        if parts.is_empty() {
            let mut names: Vec<String> = all.iter().map(NamedPayload::path).collect();
            names.dedup();
            let message = format!("run {run} has no `{}`", escape(&arguments.path));
            return Err(CliError::usage("no-such-payload", message).help(format!("it has {}", names.join(", "))));
        }
        if undoable && !arguments.forgo_undo && parts.iter().any(|part| part.kind.serves_undo()) {
            let message = format!("run {run} can still be undone, which needs that");
            return Err(CliError::refused("undo-needs-it", message)
                .help("`--forgo-undo` erases it all the same; the run can then not be undone any more"));
        }
        (run, parts)
    };
    let digests: Vec<Digest> = parts.iter().map(|part| part.payload.digest).collect();
    let by = By { principal: by, reason: arguments.reason.clone(), at: now };
    let options = context.journal_options()?;
    let mut maintenance = Maintenance::open(path, &options)?;
    let erased = maintenance.redact(&run, &digests, &by)?;
    let log_emptied = maintenance.empty_log()?;
    if !log_emptied {
        context.output.note(LOG_LEFT);
    }
    let mut paths: Vec<String> = parts.iter().map(NamedPayload::path).collect();
    paths.dedup();
    let redacted = Redacted { schema: 1, run, paths, erased, log_emptied };
    context.output.result(&redacted, || {
        let mut text = format!("{} payloads of {} are erased\n", redacted.erased, redacted.run);
        for path in &redacted.paths {
            let _ = writeln!(text, "  {}", escape(path));
        }
        text
    })?;
    Ok(Exit::Done)
}
