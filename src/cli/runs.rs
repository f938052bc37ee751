//! `redress runs`: the runs of a journal, newest first, page by page.
//!
//! A page is read from the table of runs; only of runs that turned back the events are read, for the reason.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::output::quoted;
use super::{Exit, lookup};
use crate::engine::{Reason, reason, rfc3339, state_of};
use crate::journal::{Journal, RunFilter, RunRow};
use crate::saga::RunState;
use crate::saga::event::Residue;
use crate::types::{Principal, RunId};

/// See [`super::Command::Runs`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress runs --state PAUSED --limit 20")]
pub(super) struct Arguments {
    /// Only runs in this state, such as PAUSED or STUCK
    #[arg(long, value_parser = parse_state)]
    state: Option<RunState>,
    /// How many runs make a page
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The last run of the page before
    #[arg(long, value_name = "RUN")]
    after: Option<String>,
}

fn parse_state(word: &str) -> Result<RunState, String> {
    RunState::parse(word).ok_or_else(|| {
        let known: Vec<&str> = RunState::ALL.iter().map(|state| state.as_str()).collect();
        format!("the states are {}", known.join(", "))
    })
}

/// One run: the object of `show` without its steps.
#[derive(Debug, Serialize)]
struct Listed {
    schema: u32,
    run: RunId,
    workflow: String,
    principal: Principal,
    state: RunState,
    reason: Option<Reason>,
    submitted: String,
    closed: Option<String>,
    residue: Vec<Residue>,
    /// Only there if it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    owner_dead: bool,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let after = arguments.after.as_deref().map(|given| lookup::run(&journal, given)).transpose()?;
    let filter = RunFilter { state: arguments.state, ..RunFilter::default() };
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut page = journal.runs(&filter, after.as_ref(), limit.saturating_add(1))?;
    let more = page.rows.len() > limit;
    page.rows.truncate(limit);
    let owners = journal.owners_dir();
    let mut dead = HashMap::new();
    let listed = page.rows.iter().map(|row| list(&journal, &owners, row, &mut dead)).collect::<Result<Vec<_>, _>>()?;
    context.output.list(&listed, "there are no such runs", || text(&listed))?;
    for damaged in &page.damaged {
        context.output.note(&lookup::damage_note(&damaged.run, &damaged.what));
    }
    if let (true, Some(last)) = (more, page.rows.last()) {
        let state = arguments.state.map_or(String::new(), |state| format!(" --state {state}"));
        context.output.note(&format!("more: redress runs{state} --limit {limit} --after {}", last.run));
    }
    Ok(Exit::Done)
}

fn list(
    journal: &dyn Journal,
    owners: &Path,
    row: &RunRow,
    dead: &mut HashMap<String, bool>,
) -> Result<Listed, CliError> {
    let (reason, residue) = match row.state {
        RunState::Running | RunState::Paused | RunState::Completed => (None, Vec::new()),
        _ => match state_of(journal, &row.run) {
            Ok(state) => {
                let residue = state.closed.as_ref().map(|closed| closed.residue.clone());
                (reason(&state), residue.unwrap_or_default())
            }
            // One run that cannot be read does not hide the others.
            Err(error) => (Some(Reason { code: "unreadable", step: None, message: error.to_string() }), Vec::new()),
        },
    };
    let owner_dead = match dead.get(&row.owner) {
        _ if row.state.is_rest() => false,
        Some(known) => *known,
        None => {
            let is_dead = lookup::is_orphan(owners, row)?;
            dead.insert(row.owner.clone(), is_dead);
            is_dead
        }
    };
    Ok(Listed {
        schema: 1,
        run: row.run.clone(),
        workflow: row.workflow.clone(),
        principal: row.principal.clone(),
        state: row.state,
        reason,
        submitted: rfc3339(row.submitted),
        closed: row.closed.map(rfc3339),
        residue,
        owner_dead,
    })
}

fn text(listed: &[Listed]) -> String {
    let mut text = String::new();
    let who = listed.iter().map(|run| run.principal.as_str().len()).max().unwrap_or(0).max("PRINCIPAL".len());
    if !listed.is_empty() {
        let _ = writeln!(text, "{:36}  {:24}  {:24}  {:who$}  WORKFLOW", "RUN", "STATE", "SUBMITTED", "PRINCIPAL");
    }
    for run in listed {
        let (principal, workflow) = (run.principal.as_str(), quoted(&run.workflow));
        let _ = writeln!(text, "{}  {:24}  {:24}  {principal:who$}  {workflow}", run.run, run.state, run.submitted);
        if let Some(reason) = &run.reason {
            let at = reason.step.as_ref().map_or(String::new(), |step| format!(" at `{step}`"));
            let _ = writeln!(text, "    {}{at}: {}", reason.code, quoted(&reason.message));
        }
        if run.owner_dead {
            let _ = writeln!(text, "    {}", lookup::orphan_note(&run.run));
        }
    }
    text
}
