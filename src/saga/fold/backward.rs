//! Turning back: rollback, undos, what operators do, the end.

use super::{Check, ensure};
use crate::saga::event::{
    Cause, Closed, Entry, Mode, Operator, ResidueKind, RollbackStarted, RunClosed, UndoIntent, UndoOutcome, UndoResult,
    Verb,
};
use crate::saga::planted::{self, Bug};
use crate::saga::shown::{RunState, residue_of};
use crate::saga::state::{Phase, State, Status, Step, StepIndex};
use crate::types::{Failure, code};

impl State {
    pub(super) fn rollback_started(&mut self, event: &RollbackStarted, entry: &Entry) -> Check {
        let verb = self.turn_back.as_ref().map(|operator| &operator.verb);
        match &event.cause {
            Cause::Undo { .. } => ensure(self.phase == Phase::Closed && verb == Some(&Verb::Undo), || {
                "nobody asked to undo the run".into()
            })?,
            cause => {
                self.forward()?;
                let due = match cause {
                    // Not the first one, perhaps: a rejection may stand before it that the owner did not know of.
                    Cause::StepFailed { step, .. } | Cause::StepUnclear { step, .. } => {
                        self.failed.is_some()
                            && matches!(self.find(step)?.1.status, Status::Failed(_) | Status::Unclear(_))
                    }
                    Cause::Cancelled { .. } => verb == Some(&Verb::Cancel),
                    Cause::Client { .. } => verb == Some(&Verb::Rollback),
                    Cause::Deadline => self.submitted.deadline.is_some_and(|deadline| entry.at >= deadline),
                    Cause::Idle => self.is_open(),
                    Cause::Undo { .. } => false,
                };
                ensure(due, || "its cause is not given".into())?;
            }
        }
        self.phase = Phase::Undoing;
        self.cause = Some(event.cause.clone());
        self.rollback_at = Some(entry.at);
        self.turn_back = None;
        self.closed = None;
        self.closed_at = None;
        Ok(())
    }

    pub(super) fn undo_intent(&mut self, event: &UndoIntent) -> Check {
        self.undoing()?;
        let (index, step) = self.find(&event.step)?;
        self.may_undo(index, step)?;
        let expected = step.undo.attempts + 1;
        ensure(event.attempt == expected, || format!("the next attempt to undo is number {expected}"))?;
        self.undo_begun = true;
        let step = self.step_mut(index)?;
        step.undo.attempts = event.attempt;
        step.undo.counted += 1;
        step.undo.open = Some(event.attempt);
        step.undo.retry_at = None;
        Ok(())
    }

    /// I5 and W5: nothing runs, one undo at a time, in reverse order of the first INTENTs that were not clean.
    pub(super) fn may_undo(&self, index: StepIndex, step: &Step) -> Check {
        let settled = self.open.is_empty() || planted::is(Bug::Fence);
        ensure(settled, || "an attempt is running".into())?;
        ensure(step.order.is_some_and(|order| self.to_undo.get(&order) == Some(&index)), || {
            "the step has nothing to undo".into()
        })?;
        ensure(step.can_be_undone(), || "the step cannot be undone".into())?;
        let busy = self.to_undo.values().any(|i| self.steps.get(*i).is_some_and(|s| s.undo.open.is_some()));
        ensure(!busy, || "another undo is running".into())?;
        ensure(!matches!(step.status, Status::UndoFailed(_)), || "its undo failed for good".into())?;
        ensure(self.undo_due(index), || "a later step must be undone first".into())
    }

    pub(super) fn undo_result(&mut self, event: &UndoResult) -> Check {
        self.undoing()?;
        let (index, step) = self.find(&event.step)?;
        match (event.attempt, step.undo.open) {
            (0, None) => {
                self.may_undo(index, step)?;
                let legal = match event.outcome {
                    UndoOutcome::ChangedSince => step.undo.attempts == 0,
                    UndoOutcome::Failed => true,
                    UndoOutcome::Undone | UndoOutcome::NotRestored => false,
                };
                ensure(legal, || "an undo is refused only before its first attempt".into())?;
            }
            (attempt, Some(open)) => ensure(attempt == open, || format!("the undo that runs is number {open}"))?,
            (_, None) => return Err("no undo is running".into()),
        }
        let undone = event.outcome == UndoOutcome::Undone;
        ensure(undone == event.error.is_none(), || "an undo that worked has no error, and a failed one has".into())?;
        ensure(event.retry_at.is_none() || event.outcome == UndoOutcome::Failed, || {
            "this result is not tried again".into()
        })?;
        let order = step.order;
        self.undo_begun = true;
        let step = self.step_mut(index)?;
        step.undo.open = None;
        step.undo.interrupted = false;
        step.undo.retry_at = event.retry_at;
        if let Some(error) = &event.error {
            if error.code == code::NOT_SETTLED {
                step.undo.counted = step.undo.counted.saturating_sub(1);
            }
            if event.retry_at.is_none() {
                step.status = Status::UndoFailed(error.clone());
            }
        } else {
            step.status = Status::Undone { checked: event.checked };
            if let Some(order) = order {
                self.to_undo.remove(&order);
            }
        }
        Ok(())
    }

    pub(super) fn operator(&mut self, event: &Operator, entry: &Entry) -> Check {
        match &event.verb {
            Verb::Cancel | Verb::Rollback => {
                self.forward()?;
                ensure(self.turn_back.is_none() && self.kill.is_none(), || "the run was asked to end already".into())?;
                let client = event.verb == Verb::Rollback;
                ensure(!client || self.submitted.mode == Mode::Open, || "only an open run is rolled back so".into())?;
                self.turn_back = Some(event.clone());
            }
            Verb::Kill => {
                ensure(self.phase != Phase::Closed, || "the run has ended".into())?;
                ensure(self.kill.is_none(), || "the run is being killed already".into())?;
                self.kill = Some(event.clone());
            }
            Verb::Undo => {
                let completed = self.closed.as_ref().is_some_and(|closed| closed.state == Closed::Completed);
                ensure(completed, || "only a completed run can be undone".into())?;
                ensure(self.turn_back.is_none(), || "the run is being undone already".into())?;
                let until = self.closed_at.map(|at| at.plus(self.submitted.undo_window));
                ensure(until.is_some_and(|until| entry.at <= until), || "its undo window is over".into())?;
                self.turn_back = Some(event.clone());
            }
            Verb::RepairRetry { .. } | Verb::ResolveUndone | Verb::ResolveLeft => self.repair(event)?,
        }
        Ok(())
    }

    /// Only while nothing of the run can move: a repair changes which step is undone next, and so would make an event of the
    /// owner illegal that is on its way.
    pub(super) fn repair(&mut self, event: &Operator) -> Check {
        self.undoing()?;
        let name = event.step.as_ref().ok_or("a repair names a step")?;
        let (index, step) = self.find(name)?;
        ensure(matches!(step.status, Status::UndoFailed(_)), || format!("the undo of `{name}` has not failed"))?;
        ensure(self.shown() == RunState::Stuck, || "the run is still rolling back: repair it when it is STUCK".into())?;
        let order = step.order;
        let by_hand = residue_of(step, ResidueKind::UndoneByHand, Some(&event.reason));
        let left = residue_of(step, ResidueKind::Left, Some(&event.reason));
        let before = if step.unclear.is_some() || step.output.is_none() {
            Status::Unclear(
                step.unclear.clone().unwrap_or_else(|| Failure::new(code::HOST_DIED, "its outcome is unclear")),
            )
        } else {
            Status::Succeeded
        };
        let step = self.step_mut(index)?;
        match &event.verb {
            Verb::RepairRetry { component } => {
                step.undo.counted = 0;
                step.undo.retry_at = None;
                step.undo.component = component.or(step.undo.component);
                step.status = before;
            }
            verb => {
                step.status = Status::Residue(if *verb == Verb::ResolveUndone { by_hand } else { left });
                if let Some(order) = order {
                    self.to_undo.remove(&order);
                }
            }
        }
        Ok(())
    }

    pub(super) fn run_closed(&mut self, event: &RunClosed, entry: &Entry) -> Check {
        ensure(self.open.is_empty(), || "an attempt is running".into())?;
        let expected = self.end().ok_or("the run has not come to its end")?;
        ensure(expected == *event, || {
            format!("it should end as {:?} with {} left", expected.state, expected.residue.len())
        })?;
        self.phase = Phase::Closed;
        self.closed = Some(event.clone());
        self.closed_at = Some(entry.at);
        self.turn_back = None;
        Ok(())
    }
}
