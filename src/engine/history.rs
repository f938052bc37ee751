//! Reading runs: their state from their events, one run or many.

use std::ops::ControlFlow;

use super::{EngineError, rfc3339};
use crate::journal::{Journal, JournalError, RunFilter, RunRow, Summary};
use crate::saga::State;
use crate::saga::event::Entry;
use crate::types::{RunId, Timestamp};

const PAGE: usize = 2_000;
/// How many runs are read at a time.
const RUNS: usize = 1_000;

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

/// What came of looking through many runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookedThrough {
    /// How many could not be read.
    pub unreadable: u64,
    /// Whether there are older ones that were not looked at.
    pub more: bool,
}

/// Hands over the events of each run that was submitted since then, newest first, of `most` at most.
pub fn each_run(
    journal: &dyn Journal,
    since: Option<Timestamp>,
    most: usize,
    mut take: impl FnMut(&[Entry]),
) -> Result<LookedThrough, EngineError> {
    let (mut left, mut unreadable, mut more) = (most, 0, false);
    let damaged = each_page(journal, since, |runs| {
        for run in runs {
            if left == 0 {
                more = true;
                return Ok::<_, EngineError>(ControlFlow::Break(()));
            }
            left -= 1;
            match entries_of(journal, run) {
                Ok(entries) => take(&entries),
                Err(_) => unreadable += 1,
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(LookedThrough { unreadable: unreadable + damaged, more })
}

/// Hands over the runs that were submitted since then, newest first, many at a time, until `take` has enough; how many rows could not be
/// read.
pub fn each_page<E: From<JournalError>>(
    journal: &dyn Journal,
    since: Option<Timestamp>,
    mut take: impl FnMut(&[RunId]) -> Result<ControlFlow<()>, E>,
) -> Result<u64, E> {
    let mut damaged = 0;
    let mut before = None;
    loop {
        let page = journal.runs(&RunFilter::default(), before.as_ref(), RUNS)?;
        damaged += page.damaged.len() as u64;
        let young = page.rows.iter().take_while(|row| since.is_none_or(|since| row.submitted >= since));
        let runs: Vec<RunId> = young.map(|row| row.run.clone()).collect();
        let enough = take(&runs)?.is_break();
        match page.rows.last() {
            Some(last) if !enough && runs.len() == page.rows.len() => before = Some(last.run.clone()),
            _ => return Ok(damaged),
        }
    }
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
