//! Runs whose process died, and how another one takes them over.
//!
//! In this order: (1) the table of runs says which runs may be such: those that are not at rest, and those that are paused and
//! not known to be due later, each of an owner whose lock can be had; (2) the events of each say whether it is one; (3) the lock
//! of its owner is taken, and kept while the rest is done, so that nobody but voters and operators appends; (4) its events are
//! read; (5) what its owner left is looked at; (6) the run gets its new owner, in the epoch after the one that was read with the
//! lock: of several takers one has it. Whatever was appended between (4) and (6) is read before anything goes on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::history::state_of;
use super::live::{self, Live};
use super::stored::StoredInputs;
use super::{Engine, EngineError, Run, outbox, reboot};
use crate::journal::{
    Append, Durability, Guard, Journal, JournalError, Left, Message, RunFilter, RunRow, Summary, try_lock_dead,
};
use crate::saga::event::{Entry, Event, Owner};
use crate::saga::{Phase, RunState, State, StepIndex, due};
use crate::types::{PayloadRef, RunId, Timestamp};

/// How many runs are read at a time, and of how many owners it is remembered whether they live.
const PAGE: usize = 500;

/// See [`Engine::candidates`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// The runs, oldest first.
    pub runs: Vec<RunId>,
    /// Runs whose rows are damaged: each as it is named, and what is wrong.
    pub unreadable: Vec<(String, String)>,
}

/// See [`orphans`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// The runs, oldest first.
    pub runs: Vec<RunId>,
    /// Those of them that come from a backup and that nobody has taken over since it was adopted: they are not among `runs`,
    /// since they may have gone on elsewhere, and somebody has to look at each.
    pub adopted: Vec<RunId>,
    /// Runs of which it cannot be said, because their rows or events are damaged: each as it is named, and what is wrong.
    pub unreadable: Vec<(String, String)>,
}

/// The answer to [`Engine::recover`].
pub enum Recovery {
    /// It was one of the [`Orphans::runs`], and is owned by this process now.
    Taken(Run),
    /// It is one of the [`Orphans::adopted`].
    Adopted,
    /// It is one of the [`Orphans::unreadable`], for this reason.
    Unreadable(String),
    /// Nothing in it can move, or not yet.
    Rests,
}

/// What the events of a run whose owner is dead say of it.
enum Judged {
    Orphan,
    Adopted,
    Rests,
}

fn judge(row: &RunRow, state: &State, now: Timestamp) -> Judged {
    if is_closed(state) || (row.state == RunState::Paused && due(state).is_none_or(|due| due > now)) {
        Judged::Rests
    } else if state.owner.as_ref().is_some_and(|owner| owner.adopted) {
        Judged::Adopted
    } else {
        Judged::Orphan
    }
}

fn is_closed(state: &State) -> bool {
    state.phase == Phase::Closed && state.turn_back.is_none()
}

/// Runs in which something can move and whose owner is dead: what `recover` takes over. Besides those that are not at rest,
/// paused ones whose approval has expired or whose deadline has passed by `now`. A damaged run does not hide the others.
pub fn orphans(journal: &dyn Journal, owners: &Path, now: Timestamp) -> Result<Orphans, EngineError> {
    let mut found = Orphans::default();
    let mut damaged = Vec::new();
    found.unreadable = each_candidate(journal, owners, now, |row| match state_of(journal, &row.run) {
        Ok(state) => match judge(&row, &state, now) {
            Judged::Orphan => found.runs.push(row.run),
            Judged::Adopted => found.adopted.push(row.run),
            Judged::Rests => {}
        },
        Err(error) => damaged.push((row.run.to_string(), error.to_string())),
    })?;
    found.unreadable.extend(damaged);
    found.runs.sort();
    found.adopted.sort();
    found.unreadable.sort();
    Ok(found)
}

/// Gives `each` the rows of runs that may be orphans. The answer is the rows that are damaged.
fn each_candidate(
    journal: &dyn Journal,
    owners: &Path,
    now: Timestamp,
    mut each: impl FnMut(RunRow),
) -> Result<Vec<(String, String)>, EngineError> {
    let mut owned = Owned { owners, dead: HashMap::new() };
    let mut damaged = Vec::new();
    for state in [RunState::Running, RunState::RollingBack, RunState::Paused] {
        let due = (state == RunState::Paused).then_some(now);
        let filter = RunFilter { state: Some(state), due, ..RunFilter::default() };
        let mut before = None;
        loop {
            let page = journal.runs(&filter, before.as_ref(), PAGE)?;
            damaged.extend(page.damaged.into_iter().map(|row| (row.run, row.what)));
            before = page.rows.last().map(|last| last.run.clone());
            for row in page.rows {
                if owned.by_the_dead(&row)? {
                    each(row);
                }
            }
            if before.is_none() {
                break;
            }
        }
    }
    // A row in no state there is was met with each of them.
    damaged.sort();
    damaged.dedup();
    Ok(damaged)
}

/// Whether owners are dead. Who is stays so; who lives is asked once.
struct Owned<'a> {
    owners: &'a Path,
    dead: HashMap<String, bool>,
}

impl Owned<'_> {
    fn by_the_dead(&mut self, row: &RunRow) -> Result<bool, EngineError> {
        if let Some(dead) = self.dead.get(&row.owner) {
            return Ok(*dead);
        }
        let dead = try_lock_dead(self.owners, &row.owner)?.is_some();
        if self.dead.len() >= PAGE {
            self.dead.clear();
        }
        self.dead.insert(row.owner.clone(), dead);
        Ok(dead)
    }
}

/// How often a run is read anew because others take it over meanwhile; where row and events never agree, somebody changed them.
const MOST_READS: usize = 100;

impl Engine {
    /// See [`orphans`].
    pub fn orphans(&self) -> Result<Orphans, EngineError> {
        orphans(&*self.inner.journal, &self.inner.owners, self.inner.clock.now())
    }

    /// Runs that may be [`orphans`], as far as the table of runs can say it: [`Engine::recover`] reads the events of each.
    pub fn candidates(&self) -> Result<Candidates, EngineError> {
        let mut runs = Vec::new();
        let (journal, now) = (&*self.inner.journal, self.inner.clock.now());
        let unreadable = each_candidate(journal, &self.inner.owners, now, |row| runs.push(row.run))?;
        runs.sort();
        Ok(Candidates { runs, unreadable })
    }

    /// Takes a run over if it is one of the [`orphans`]. One that has ended since is refused.
    pub async fn recover(&self, run: &RunId) -> Result<Recovery, EngineError> {
        let read = match self.read(run).await {
            Err(error @ (EngineError::Illegal { .. } | EngineError::Journal(_))) => {
                return Ok(Recovery::Unreadable(error.to_string()));
            }
            other => other?,
        };
        read.refuse_closed()?;
        match judge(&read.row, &read.state, self.inner.clock.now()) {
            Judged::Orphan => self.take_as_read(read).await.map(Recovery::Taken),
            Judged::Adopted => Ok(Recovery::Adopted),
            Judged::Rests => Ok(Recovery::Rests),
        }
    }

    /// Takes a run over from a process that is dead, or from one that has left it. One that has ended is refused.
    pub async fn take(&self, run: &RunId) -> Result<Run, EngineError> {
        let read = self.read(run).await?;
        read.refuse_closed()?;
        self.take_as_read(read).await
    }

    /// Row and events of one owner. Where another process took the run over between the two, and died, both are read again: or
    /// a run that only waits to be recovered would look like one whose events are wrong.
    async fn read(&self, run: &RunId) -> Result<Read, EngineError> {
        let mut read = self.read_once(run).await?;
        for _ in 0..MOST_READS {
            if read.state.epoch() == read.row.epoch {
                break;
            }
            read = self.read_once(run).await?;
        }
        Ok(read)
    }

    async fn read_once(&self, run: &RunId) -> Result<Read, EngineError> {
        let journal = &*self.inner.journal;
        let row = journal.run(run)?.ok_or_else(|| EngineError::NoSuchRun(run.clone()))?;
        let (gone, guard) = if row.owner == self.inner.owner.identity().id {
            // What this process left on its way is read as well.
            journal.flush().await?;
            (true, None)
        } else {
            let guard = try_lock_dead(&self.inner.owners, &row.owner)?;
            (guard.is_some(), guard)
        };
        Ok(Read { state: state_of(journal, run)?, row, gone, guard })
    }

    async fn take_as_read(&self, read: Read) -> Result<Run, EngineError> {
        let Read { row, mut state, gone, guard } = read;
        let owned = |owner| EngineError::Owned { run: row.run.clone(), owner };
        if !gone {
            return Err(owned(row.owner.clone()));
        }
        self.keep_policies().await?;
        let (journal, owner, now) = (&self.inner.journal, self.inner.owner.identity(), self.inner.clock.now());
        let mut noted = journal.noted_targets(&row.run)?;
        noted.retain(|note| state.has_open_attempt(&note.step, note.attempt));
        let left = Left { noted, lost: reboot::lost_targets(&state, &owner.boot) };
        let Left { noted, lost } = left.clone();
        let event = Owner { noted, lost, ..Owner::new(row.epoch + 1, owner.id.as_str(), owner.boot.as_str()) };
        let expected = Entry { seq: state.seq + 1, at: now.max(state.at), event: Event::Owner(event) };
        let undoing = undoing(&state);
        state.apply(&expected).map_err(|illegal| EngineError::Illegal { run: row.run.clone(), illegal })?;
        let messages = self.stuck_by_taking(&state, &undoing);
        let taken = match journal.take_over(&row.run, row.epoch, owner, left, messages, now).await {
            // Somebody else was faster, and lives.
            Err(JournalError::StaleEpoch { .. }) => {
                return Err(owned(journal.run(&row.run)?.map_or(row.owner.clone(), |row| row.owner)));
            }
            other => other?,
        };
        drop(guard);
        if taken.entry != expected {
            // Somebody voted or asked for something meanwhile.
            state = state_of(&**journal, &row.run)?;
        }
        if state.shown() != row.state {
            // Taking it may have brought it to rest, and then no event of this owner says so in the table of runs.
            let says = Append::by_owner(taken.epoch, Durability::Lazy, Vec::new()).with_summary(Summary::of(&state));
            drop(journal.append(&row.run, says));
        }
        let stored = self.stored(&state)?;
        Ok(Run { live: Arc::new(Live::new(self.inner.clone(), state, stored)) })
    }

    /// What people are to be told because the owner before died in the last attempt to undo a step: its `OWNER` event, which
    /// `taken` has, is what ended that attempt.
    fn stuck_by_taking(&self, taken: &State, undoing: &[StepIndex]) -> Vec<Message> {
        let Some(webhook) = &self.inner.webhook else { return Vec::new() };
        let steps = undoing.iter().filter_map(|index| taken.step(*index));
        steps.filter_map(|step| outbox::run_stuck(taken, step, taken.at, webhook.console())).collect()
    }

    fn stored(&self, state: &State) -> Result<StoredInputs, EngineError> {
        let erased = |what| EngineError::Erased { run: state.run().clone(), what };
        let read = |reference: &PayloadRef, what| -> Result<serde_json::Value, EngineError> {
            let bytes = self.inner.journal.payload(&reference.digest)?.ok_or_else(|| erased(what))?;
            Ok(live::parse(&bytes))
        };
        let inputs = read(&state.submitted.inputs, "inputs")?;
        let templates = match &state.submitted.templates {
            Some(reference) => read(reference, "templates")?,
            None => serde_json::json!({}),
        };
        let mut stored = StoredInputs::read(inputs, templates).map_err(|_| erased("templates"))?;
        for step in &state.steps {
            if let Some(reference) = &step.declared {
                let inputs = serde_json::from_value(read(reference, "inputs of a compensation")?);
                stored.declare(step.spec.name.clone(), inputs.map_err(|_| erased("inputs of a compensation"))?);
            }
        }
        Ok(stored)
    }
}

/// A run as it was found.
struct Read {
    row: RunRow,
    state: State,
    /// Whether its owner is dead, or this process, which has left it; that was known before the events were read.
    gone: bool,
    guard: Option<Guard>,
}

impl Read {
    fn refuse_closed(&self) -> Result<(), EngineError> {
        let refused = || EngineError::WrongState { run: self.row.run.clone(), state: self.state.shown() };
        if is_closed(&self.state) { Err(refused()) } else { Ok(()) }
    }
}

/// The steps that were being undone.
fn undoing(state: &State) -> Vec<StepIndex> {
    (0..).zip(&state.steps).filter(|(_, step)| step.undo.open.is_some()).map(|(index, _)| index).collect()
}
