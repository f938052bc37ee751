//! `redress audit prune`: takes old runs out of the journal, and what is not kept any longer.

use clap::Args;
use serde::Serialize;

use super::redact::LOG_LEFT;
use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::cli::lookup::moment;
use crate::engine::rfc3339;
use crate::journal::{By, Maintenance, Pruned};
use crate::types::RunId;

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "A checkpoint over all that is there comes first, and the heads of the runs stay in the system chain: `audit verify` says \
    that they\nwere pruned. A run that can still be undone is kept. What `retention:` in the settings says is over is erased from the runs \
    that stay.\nWith a run its key is forgotten: submitted again under that key, it runs again.\n\n\
    Example: redress audit prune --before 365d --reason 'kept for a year'"
)]
pub(in crate::cli) struct Arguments {
    /// Runs that were closed before then: a moment such as 2026-11-01T00:00:00Z, or a length of time such as 365d
    #[arg(long, value_name = "TIME")]
    before: String,
    /// Why; it is journaled
    #[arg(long, value_parser = crate::cli::parse_reason)]
    reason: String,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    before: String,
    pruned: Vec<RunId>,
    /// Runs that were closed before and are kept, since they can still be undone.
    undoable: u64,
    /// Runs that were closed before, cannot be read, and are kept.
    unreadable: u64,
    /// Payloads that were erased from the runs that stay.
    expired: u64,
    /// How many bytes the file is smaller.
    bytes_freed: u64,
    /// Whether the log was emptied of what was taken out, too.
    log_emptied: bool,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (path, at) = (context.existing_journal()?, context.now());
    let before = moment(&arguments.before, at)?;
    let by = By { principal: context.principal()?.clone(), reason: arguments.reason.clone(), at };
    let (options, retention) = (context.journal_options()?, context.settings()?.retention);
    let size = || path.metadata().map_or(0, |file| file.len());
    let mut maintenance = Maintenance::open(path, &options)?;
    let was = size();
    let Pruned { runs, undoable, unreadable } = maintenance.prune(before, &by)?;
    let expired = maintenance.expire(retention, at)?;
    // What was taken out is overwritten in any case, also if no space can be given back.
    maintenance.empty_log()?;
    match maintenance.give_space_back() {
        Ok(true) => {}
        Ok(false) => context
            .output
            .note("the file gives no space back yet, since another process drives runs: prune again when none does"),
        Err(error) => {
            context.output.note(&format!("the file gives no space back: {error}; what is pruned is, and stays so"));
        }
    }
    let log_emptied = maintenance.empty_log()?;
    if !log_emptied {
        context.output.note(LOG_LEFT);
    }
    let report = Report {
        schema: 1,
        before: rfc3339(before),
        pruned: runs,
        undoable,
        unreadable,
        expired,
        bytes_freed: was.saturating_sub(size()),
        log_emptied,
    };
    context.output.result(&report, || {
        let Report { before, pruned, undoable, unreadable, expired, bytes_freed, .. } = &report;
        let mut text = format!("{} runs that were closed before {before} are pruned\n", pruned.len());
        for (count, what) in
            [(undoable, "can still be undone and are kept"), (unreadable, "cannot be read and are kept")]
        {
            if *count > 0 {
                text.push_str(&format!("{count} of them {what}\n"));
            }
        }
        if *expired > 0 {
            text.push_str(&format!("{expired} payloads of other runs have expired and are erased\n"));
        }
        text.push_str(&format!("the file is {bytes_freed} bytes smaller\n"));
        text
    })?;
    Ok(Exit::Done)
}
