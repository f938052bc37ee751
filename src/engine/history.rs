//! Reading runs: their state from their events.

use super::{EngineError, rfc3339};
use crate::journal::{Journal, RunRow, Summary};
use crate::saga::State;
use crate::saga::event::Entry;
use crate::types::RunId;

const PAGE: usize = 2_000;

/// The state of a run, from its events.
pub fn state_of(journal: &dyn Journal, run: &RunId) -> Result<State, EngineError> {
    let mut state: Option<State> = None;
    each_entry(journal, run, |entry| {
        match &mut state {
            None => state = Some(State::begin(&entry)?),
            Some(state) => state.apply(&entry)?,
        }
        Ok(())
    })?;
    state.ok_or_else(|| EngineError::NoSuchRun(run.clone()))
}

/// What a run's row says that its events do not. That it does not know when the run is due is nothing false.
pub(super) fn misstated(row: &RunRow, state: &State) -> Option<String> {
    let Summary { state: shown, due, .. } = Summary::of(state);
    if shown != row.state {
        return Some(format!("its row says `{}`, its events say `{shown}`", row.state));
    }
    let said = row.due.filter(|_| row.due != due)?;
    let events = due.map_or_else(|| "not by itself".to_owned(), rfc3339);
    Some(format!("its row says that it can move at {}, its events say {events}", rfc3339(said)))
}

/// All events of a run.
pub fn entries_of(journal: &dyn Journal, run: &RunId) -> Result<Vec<Entry>, EngineError> {
    let mut entries = Vec::new();
    each_entry(journal, run, |entry| {
        entries.push(entry);
        Ok(())
    })?;
    if entries.is_empty() { Err(EngineError::NoSuchRun(run.clone())) } else { Ok(entries) }
}

pub(super) fn each_entry(
    journal: &dyn Journal,
    run: &RunId,
    mut each: impl FnMut(Entry) -> Result<(), crate::saga::Illegal>,
) -> Result<(), EngineError> {
    let mut after = 0;
    loop {
        let page = journal.entries(run, after, PAGE)?;
        let is_last = page.len() < PAGE;
        for entry in page {
            after = entry.seq;
            each(entry).map_err(|illegal| EngineError::Illegal { run: run.clone(), illegal })?;
        }
        if is_last {
            return Ok(());
        }
    }
}
