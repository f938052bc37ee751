//! Runs as a person names them, and whether anybody still drives them.

use std::path::Path;

use super::error::CliError;
use super::output::quoted;
use crate::document::escape;
use crate::journal::{Journal, RunFilter, RunRow, try_lock_dead};
use crate::types::{Duration, RunId, Timestamp};

/// The least of an id that names a run.
const LEAST: usize = 8;
/// How many runs are read at a time.
const PAGE: usize = 1_000;

const LIST: &str = "`redress runs` lists the runs of this journal";

/// A moment, or the one that long ago.
pub(super) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    if let Ok(length) = Duration::parse(text) {
        return Ok(Timestamp(now.0.saturating_sub(length.0)));
    }
    let parsed = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    parsed.map(Timestamp).ok_or_else(|| {
        CliError::usage("bad-time", format!("`{}` is not a moment", escape(text)))
            .help("write `2026-11-01T00:00:00Z`, or a length of time such as `30d`")
    })
}

/// The run that is meant by its id, by the beginning of its id, or by `latest`.
pub(super) fn run(journal: &dyn Journal, given: &str) -> Result<RunId, CliError> {
    if given == "latest" {
        let mut page = journal.runs(&RunFilter::default(), None, 1)?;
        if let Some(damaged) = page.damaged.first() {
            let message = format!("the latest run cannot be told: {}", damage_note(&damaged.run, &damaged.what));
            return Err(CliError::engine("unreadable-run", message).help(format!("name the run by its id; {LIST}")));
        }
        let newest = page.rows.pop();
        return newest.map(|row| row.run).ok_or_else(|| CliError::usage("no-such-run", "the journal has no runs"));
    }
    if let Ok(run) = RunId::parse(given) {
        return match journal.run(&run)? {
            Some(row) => Ok(row.run),
            None => Err(none(given)),
        };
    }
    if given.len() < LEAST || !given.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()) {
        let message = format!("`{given}` does not name a run");
        let help =
            format!("write its id, at least {LEAST} characters from the beginning of its id, or `latest`; {LIST}");
        return Err(CliError::usage("bad-run", message).help(help));
    }
    let mut matching = beginning_with(journal, &given.to_ascii_lowercase())?.into_iter();
    match (matching.next(), matching.next()) {
        (Some(run), None) => Ok(run),
        (Some(one), Some(other)) => {
            let message = format!("`{given}` is the beginning of more than one run");
            Err(CliError::usage("ambiguous-run", message)
                .help(format!("write more of it: `{one}` or `{other}`, among others")))
        }
        (None, _) => Err(none(given)),
    }
}

fn none(given: &str) -> CliError {
    CliError::usage("no-such-run", format!("there is no run `{given}`")).help(LIST)
}

/// The newest two runs whose ids begin so.
fn beginning_with(journal: &dyn Journal, beginning: &str) -> Result<Vec<RunId>, CliError> {
    let mut found = Vec::new();
    let mut before: Option<RunId> = None;
    loop {
        let page = journal.runs(&RunFilter::default(), before.as_ref(), PAGE)?;
        found.extend(page.rows.iter().map(|row| row.run.clone()).filter(|run| run.as_str().starts_with(beginning)));
        before = page.rows.last().map(|row| row.run.clone());
        if found.len() > 1 || page.rows.len() < PAGE {
            found.truncate(2);
            return Ok(found);
        }
    }
}

/// Whether a run should move, and the process that owns it is dead.
pub(super) fn is_orphan(owners: &Path, row: &RunRow) -> Result<bool, CliError> {
    Ok(!row.state.is_rest() && try_lock_dead(owners, &row.owner)?.is_some())
}

/// What is said of a run that is damaged.
pub(super) fn damage_note(run: &str, what: &str) -> String {
    format!("run {} is damaged: {}: `redress audit verify` says more", quoted(run), escape(what))
}

/// What is said beside such a run.
pub(super) fn orphan_note(run: &RunId) -> String {
    format!("owner is dead: redress recover {run}")
}
