//! `state = fold(events)`: which event may follow which, and what it changes.
//!
//! Every event is checked before it changes anything; one that is not legal is an error that names it. Requests of
//! operators and voters (`OPERATOR`, `VOTE`) may stand between any two events of the owner and never make the owner's next
//! event illegal, except that an expiry and a vote exclude each other: the owner appends an expiry only to the head it saw.
//!
//! Steps, owners and time are here; what a run does going forward (permission before INTENT, INTENT before effect, one final
//! result) is in `forward`, and how it turns back (reverse order, one undo at a time, nothing called ROLLED_BACK that is
//! not) in `backward`.

mod backward;
mod forward;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use thiserror::Error;

use super::event::{Entry, Event, LostTarget, Mode, Owner, StepSubmitted, UNKNOWN_BOOT};
use super::planted::{self, Bug};
use super::state::{MAX_DEATHS, Phase, State, Status, Step, StepIndex};
use crate::types::{Failure, Retry, StepName, code};
use forward::count_in;

/// An event that may not stand where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("event {seq} ({kind}) cannot follow here: {why}")]
pub struct Illegal {
    /// The event's number in its run.
    pub seq: u64,
    /// Its kind.
    pub kind: &'static str,
    /// The rule that it breaks.
    pub why: String,
}

/// The state that `entries` amount to; the first must be `RUN_SUBMITTED`.
pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<State, Illegal> {
    let mut entries = entries.into_iter();
    let first = entries.next().ok_or(Illegal { seq: 0, kind: "none", why: "a run has at least one event".into() })?;
    let mut state = State::begin(first)?;
    entries.try_for_each(|entry| state.apply(entry)).map(|()| state)
}

type Check = Result<(), String>;

fn ensure(condition: bool, why: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(why()) }
}

impl State {
    /// The state after the first event.
    pub fn begin(entry: &Entry) -> Result<State, Illegal> {
        let illegal = |why: String| Illegal { seq: entry.seq, kind: entry.event.kind(), why };
        let Event::RunSubmitted(submitted) = &entry.event else {
            return Err(illegal("a run begins with RUN_SUBMITTED".into()));
        };
        ensure(entry.seq == 1, || "the first event has number 1".into()).map_err(illegal)?;
        let mut submitted = (**submitted).clone();
        let specs = std::mem::take(&mut submitted.steps);
        let mut state = State {
            sealed: submitted.mode == Mode::Sealed,
            submitted,
            submitted_at: entry.at,
            seq: 1,
            at: entry.at,
            phase: Phase::Forward,
            steps: Vec::with_capacity(specs.len()),
            owner: None,
            cause: None,
            rollback_at: None,
            turn_back: None,
            kill: None,
            closed: None,
            closed_at: None,
            active_at: entry.at,
            names: HashMap::with_capacity(specs.len()),
            ready: BTreeSet::new(),
            open: BTreeSet::new(),
            unfinished: 0,
            to_undo: BTreeMap::new(),
            failed: None,
            intents: 0,
            undo_begun: false,
        };
        for (index, spec) in specs.iter().enumerate() {
            let unique = state.names.insert(spec.name.clone(), index).is_none();
            ensure(unique, || format!("two steps have the name `{}`", spec.name)).map_err(illegal)?;
        }
        for spec in specs {
            state.push_step(Step::new(spec)).map_err(illegal)?;
        }
        (0..state.steps.len()).try_for_each(|index| state.link_step(index)).map_err(illegal)?;
        state.check_acyclic().map_err(illegal)?;
        Ok(state)
    }

    /// Checks one more event and takes it in. On an error nothing has changed.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let (at, event) = (entry.at, &entry.event);
        let illegal = |why: String| Illegal { seq: entry.seq, kind: event.kind(), why };
        ensure(entry.seq == self.seq + 1, || format!("its number should be {}", self.seq + 1)).map_err(illegal)?;
        ensure(at >= self.at, || "its time is before the previous event".into()).map_err(illegal)?;
        self.absorb(entry)
    }

    /// Takes in an event that another process appended between events of the owner which the owner has applied already: as
    /// [`State::apply`], but its number and time are those of the journal, not of this state.
    pub fn absorb(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let (at, event) = (entry.at, &entry.event);
        let illegal = |why: String| Illegal { seq: entry.seq, kind: event.kind(), why };
        match event {
            Event::RunSubmitted(_) => Err("a run is submitted once".into()),
            Event::StepSubmitted(e) => self.step_submitted(e),
            Event::Sealed(_) => self.seal(),
            Event::Owner(e) => self.owner(e),
            Event::Decision(e) => self.decision(e),
            Event::Vote(e) => self.vote_at(e, entry),
            Event::Intent(e) => self.intent(e),
            Event::UndoAppended(e) => self.undo_appended(e),
            Event::Result(e) => self.result(e),
            Event::RollbackStarted(e) => self.rollback_started(e, entry),
            Event::UndoIntent(e) => self.undo_intent(e),
            Event::UndoResult(e) => self.undo_result(e),
            Event::Operator(e) => self.operator(e, entry),
            Event::RunClosed(e) => self.run_closed(e, entry),
        }
        .map_err(illegal)?;
        self.seq += 1;
        self.at = self.at.max(at);
        if !matches!(event, Event::Owner(_) | Event::Vote(_) | Event::Operator(_)) {
            self.active_at = self.at;
        }
        Ok(())
    }

    /// As [`State::absorb`], for votes and verbs. What it asked for may be out of place by now, since the owner went on
    /// before it learned of it; then it only counts.
    pub fn absorb_late(&mut self, entry: &Entry) {
        if self.absorb(entry).is_err() {
            self.seq += 1;
            self.at = self.at.max(entry.at);
        }
    }

    fn find(&self, name: &StepName) -> Result<(StepIndex, &Step), String> {
        self.names
            .get(name)
            .and_then(|index| self.steps.get(*index).map(|step| (*index, &**step)))
            .ok_or_else(|| format!("the run has no step `{name}`"))
    }

    fn step_mut(&mut self, index: StepIndex) -> Result<&mut Step, String> {
        let step = self.steps.get_mut(index).ok_or_else(|| format!("the run has no step number {index}"))?;
        Ok(Arc::make_mut(step))
    }

    fn forward(&self) -> Check {
        ensure(self.phase == Phase::Forward, || "the run does not go forward any more".into())
    }

    fn undoing(&self) -> Check {
        ensure(self.phase == Phase::Undoing, || "the run is not rolling back".into())
    }

    /// Adds a step without linking it to the steps that it depends on, which may stand after it.
    fn push_step(&mut self, mut step: Step) -> Check {
        for name in &step.spec.depends_on {
            let parent =
                *self.names.get(name).ok_or_else(|| format!("`{}` depends on unknown `{name}`", step.spec.name))?;
            ensure(!step.depends_on.contains(&parent), || format!("`{}` names `{name}` twice", step.spec.name))?;
            step.depends_on.push(parent);
        }
        self.steps.push(Arc::new(step));
        Ok(())
    }

    fn link_step(&mut self, index: StepIndex) -> Check {
        let mut missing = 0;
        let mut doomed = false;
        for parent in self.step_mut(index)?.depends_on.clone() {
            ensure(parent != index, || "a step depends on itself".into())?;
            let parent = self.step_mut(parent)?;
            parent.dependents.push(index);
            missing += usize::from(parent.status != Status::Succeeded);
            doomed |= matches!(parent.status, Status::Failed(_));
        }
        let step = self.step_mut(index)?;
        step.missing = missing;
        if doomed {
            step.status = Status::Failed(skipped());
        } else {
            self.unfinished += 1;
            if missing == 0 {
                self.ready.insert(index);
            }
        }
        Ok(())
    }

    fn check_acyclic(&self) -> Check {
        let mut missing: Vec<usize> = self.steps.iter().map(|step| step.depends_on.len()).collect();
        let mut rest: Vec<StepIndex> = self.ready.iter().copied().collect();
        let mut reached = 0;
        while let Some(step) = rest.pop().and_then(|index| self.steps.get(index)) {
            reached += 1;
            for child in &step.dependents {
                if let Some(count) = missing.get_mut(*child) {
                    *count -= 1;
                    if *count == 0 {
                        rest.push(*child);
                    }
                }
            }
        }
        ensure(reached == self.steps.len(), || "its steps depend on each other in a circle".into())
    }

    fn step_submitted(&mut self, event: &StepSubmitted) -> Check {
        ensure(self.is_open(), || "the run takes no more steps".into())?;
        let name = &event.step.name;
        ensure(!self.names.contains_key(name), || format!("two steps have the name `{name}`"))?;
        let mut step = Step::new(event.step.clone());
        step.inputs = Some(event.inputs);
        step.declared = event.compensation;
        // One that was skipped is final, too, but something that it would have waited for may still run.
        let comes_before = |step: &Step| step.is_final() && step.missing == 0;
        step.after = (0..).zip(&self.steps).filter(|(_, step)| comes_before(step)).map(|(index, _)| index).collect();
        let index = self.steps.len();
        self.push_step(step)?;
        self.names.insert(name.clone(), index);
        self.link_step(index)
    }

    fn seal(&mut self) -> Check {
        ensure(self.is_open(), || "the run is sealed already".into())?;
        self.sealed = true;
        Ok(())
    }

    fn owner(&mut self, event: &Owner) -> Check {
        ensure(event.epoch == self.epoch() + 1, || format!("the next epoch is {}", self.epoch() + 1))?;
        // What was noted of further targets is not synced: it is whole unless the machine went down.
        let same_boot =
            self.owner.as_ref().is_some_and(|before| before.boot == event.boot && event.boot != UNKNOWN_BOOT);
        self.owner = Some(event.clone());
        for lost in &event.lost {
            self.may_be_lost(lost)?;
        }
        for index in std::mem::take(&mut self.open) {
            self.die(index, event)?;
            if !same_boot || event.adopted {
                let step = self.step_mut(index)?;
                step.targets_known = false;
                // It may have changed what earlier attempts did.
                step.touched.values_mut().for_each(|touched| touched.after = None);
            }
        }
        for index in self.to_undo.values() {
            if let Some(step) = self.steps.get_mut(*index).filter(|step| step.undo.open.is_some()) {
                let step = Arc::make_mut(step);
                step.undo.open = None;
                step.undo.interrupted = true;
                let why = if event.adopted {
                    "it was being undone when the backup was made that was adopted: whether that ended is not known"
                } else if step.undo.counted >= Retry::UNDO.max_attempts {
                    "the host died in its last attempt to undo the step"
                } else {
                    continue;
                };
                step.status = Status::UndoFailed(Failure::new(code::HOST_DIED, why));
            }
        }
        for lost in &event.lost {
            self.lose(lost)?;
        }
        Ok(())
    }

    fn may_be_lost(&self, lost: &LostTarget) -> Check {
        ensure(!self.is_on_disk(), || "the run had ended, and its files were on disk".into())?;
        let (_, step) = self.find(&lost.step)?;
        let touched = step.touched.get(&lost.target);
        let left = touched.ok_or_else(|| format!("`{}` did not touch `{}`", lost.step, lost.target))?;
        ensure(left.after.as_ref().is_some_and(|after| *after != lost.now), || {
            format!("`{}` is as `{}` left it", lost.target, lost.step)
        })?;
        let succeeded = self.phase == Phase::Forward && step.status == Status::Succeeded;
        let compared = step.undo.attempts == 0 && self.was_before(&lost.target, &lost.now);
        ensure(succeeded || compared, || format!("`{}` cannot have lost it", lost.step))
    }

    /// The machine went down before what a step did was on disk, or somebody else was there since. If the run was going on from
    /// the step, it turns back. Where the target is as it was before the step, or before an earlier one, nothing stands in the way of
    /// undoing them: that brings it back to what it is. Any other state will be found to be a change since.
    fn lose(&mut self, lost: &LostTarget) -> Check {
        if planted::is(Bug::LostWrites) {
            return Ok(());
        }
        let (index, step) = self.find(&lost.step)?;
        let turns_back = self.phase == Phase::Forward && step.status == Status::Succeeded;
        let was_before = self.was_before(&lost.target, &lost.now);
        if was_before {
            let touching = self.to_undo.values().copied().collect::<Vec<_>>();
            for other in touching {
                if let Some(touched) = self.step_mut(other)?.touched.get_mut(&lost.target) {
                    touched.lost = true;
                }
            }
        }
        let step = self.step_mut(index)?;
        if !turns_back {
            return Ok(());
        }
        let why =
            format!("the machine went down, and `{}` is not as the step left it: it is now {}", lost.target, lost.now);
        let failure = Failure::new(code::HOST_DIED, why);
        step.unclear = Some(failure.clone());
        step.status = Status::Unclear(failure);
        self.failed.get_or_insert(index);
        Ok(())
    }

    /// The host died after the INTENT of an attempt: whether anything happened is not known.
    fn die(&mut self, index: StepIndex, owner: &Owner) -> Check {
        let phase = self.phase;
        let step = self.step_mut(index)?;
        let Some(open) = step.open.take() else { return Ok(()) };
        step.died.push(open.number);
        let failure = Failure::new(code::HOST_DIED, "the host died while the step ran, after its intent was durable");
        step.last_error = Some(failure.clone());
        step.unclear = Some(failure.clone());
        let mut targets = vec![(open.first.0.clone(), open.first.1.clone(), None)];
        let own = owner.noted.iter().filter(|note| note.step == step.spec.name && note.attempt == open.number);
        targets.extend(own.map(|note| (note.target.clone(), note.before.clone(), None)));
        count_in(step, open.order, &open, targets);
        // What was open in a backup may have gone on elsewhere: it is not executed again.
        let left = step.died.len() < MAX_DEATHS && !owner.adopted;
        let again = phase == Phase::Forward && step.spec.idempotent && left;
        if again {
            step.status = Status::Waiting;
            self.ready.insert(index);
        } else {
            self.fail(index, Status::Unclear(failure))?;
        }
        self.schedule_undo(index);
        Ok(())
    }
}

fn skipped() -> Failure {
    Failure::new(code::SKIPPED, "a step that it depends on failed")
}
