//! What people see of a run: derived from the state, never stored.

use std::fmt;

use serde::Serialize;

use super::event::{Closed, Mode, Residue, ResidueKind, RunClosed};
use super::state::{Phase, State, Status, Step, StepIndex};
use crate::types::{EffectKind, Failure, code};

/// The state of a run as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunState {
    /// It goes forward and something can move.
    Running,
    /// It goes forward and only approvals can move it.
    Paused,
    /// Everything succeeded.
    Completed,
    /// It turns back and something can move.
    RollingBack,
    /// An undo failed for good and waits for an operator; nothing else can move.
    Stuck,
    /// Everything that took effect was undone.
    RolledBack,
    /// Undone, except for what is named.
    RolledBackWithResidue,
    /// Ended by an operator without undo.
    Killed,
}

impl RunState {
    /// All of them.
    pub const ALL: [RunState; 8] = [
        RunState::Running,
        RunState::Paused,
        RunState::Completed,
        RunState::RollingBack,
        RunState::Stuck,
        RunState::RolledBack,
        RunState::RolledBackWithResidue,
        RunState::Killed,
    ];

    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "RUNNING",
            RunState::Paused => "PAUSED",
            RunState::Completed => "COMPLETED",
            RunState::RollingBack => "ROLLING_BACK",
            RunState::Stuck => "STUCK",
            RunState::RolledBack => "ROLLED_BACK",
            RunState::RolledBackWithResidue => "ROLLED_BACK_WITH_RESIDUE",
            RunState::Killed => "KILLED",
        }
    }

    /// Reads the word, in upper or lower case.
    pub fn parse(word: &str) -> Option<RunState> {
        RunState::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(word))
    }

    /// Whether nothing moves without a person.
    pub fn is_rest(self) -> bool {
        !matches!(self, RunState::Running | RunState::RollingBack)
    }

    /// Whether a run in it has come to its end. Only an operator who undoes a completed one moves it from there.
    pub fn is_end(self) -> bool {
        match self {
            RunState::Running | RunState::Paused | RunState::RollingBack | RunState::Stuck => false,
            RunState::Completed | RunState::RolledBack | RunState::RolledBackWithResidue | RunState::Killed => true,
        }
    }
}

/// The state of a step as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepState {
    /// It waits for dependencies, a decision, an approval or its next attempt.
    Waiting,
    /// An attempt runs.
    Running,
    /// It has its output.
    Succeeded,
    /// It failed, and nothing happened.
    Failed,
    /// It may or may not have happened.
    Unclear,
    /// It is being undone.
    Undoing,
    /// It was undone.
    Undone,
    /// Its undo failed for good.
    UndoFailed,
    /// Something of it remains.
    Residue,
}

impl StepState {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            StepState::Waiting => "WAITING",
            StepState::Running => "RUNNING",
            StepState::Succeeded => "SUCCEEDED",
            StepState::Failed => "FAILED",
            StepState::Unclear => "UNCLEAR",
            StepState::Undoing => "UNDOING",
            StepState::Undone => "UNDONE",
            StepState::UndoFailed => "UNDO_FAILED",
            StepState::Residue => "RESIDUE",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl State {
    /// The state as people see it.
    pub fn shown(&self) -> RunState {
        match self.phase {
            Phase::Closed if self.turn_back.is_some() => RunState::RollingBack,
            Phase::Closed => match self.closed.as_ref().map(|closed| closed.state) {
                Some(Closed::Completed) | None => RunState::Completed,
                Some(Closed::RolledBack) => RunState::RolledBack,
                Some(Closed::RolledBackWithResidue) => RunState::RolledBackWithResidue,
                Some(Closed::Killed) => RunState::Killed,
            },
            Phase::Forward => {
                let moved =
                    self.kill.is_some() || self.turn_back.is_some() || self.failed.is_some() || !self.open.is_empty();
                let mut waiting = self.ready().peekable();
                if !moved && waiting.peek().is_some() && waiting.all(|(_, step)| step.awaits_approval()) {
                    RunState::Paused
                } else {
                    RunState::Running
                }
            }
            Phase::Undoing => {
                let stuck = self.to_undo.values().any(|index| self.has_failed_undo(*index));
                if self.kill.is_none() && self.open.is_empty() && stuck && self.next_to_undo().is_none() {
                    RunState::Stuck
                } else {
                    RunState::RollingBack
                }
            }
        }
    }

    fn has_failed_undo(&self, index: StepIndex) -> bool {
        self.steps.get(index).is_some_and(|step| matches!(step.status, Status::UndoFailed(_)))
    }

    /// The state of a step as people see it, with its failure.
    pub fn shown_step(&self, index: StepIndex) -> (StepState, Option<Failure>) {
        let Some(step) = self.steps.get(index) else { return (StepState::Waiting, None) };
        let turned = self.phase != Phase::Forward && self.shown() != RunState::Completed;
        match &step.status {
            Status::Waiting | Status::Succeeded | Status::Unclear(_) if step.undo.open.is_some() => {
                (StepState::Undoing, step.last_error.clone())
            }
            Status::Succeeded | Status::Unclear(_) if turned && step.order.is_some() && !step.can_be_undone() => {
                (StepState::Residue, step.last_error.clone())
            }
            Status::Waiting if turned => match &step.unclear {
                Some(error) => (StepState::Unclear, Some(error.clone())),
                None => {
                    let why = match self.kill {
                        Some(_) => "the run was killed before the step had finished",
                        None => "the run turned back before the step had finished",
                    };
                    (StepState::Failed, Some(Failure::new(code::CANCELLED, why)))
                }
            },
            Status::Waiting => (StepState::Waiting, step.last_error.clone()),
            Status::Running => (StepState::Running, step.last_error.clone()),
            Status::Succeeded => (StepState::Succeeded, None),
            Status::Failed(error) => (StepState::Failed, Some(error.clone())),
            Status::Unclear(error) => (StepState::Unclear, Some(error.clone())),
            Status::Undone { .. } => (StepState::Undone, step.last_error.clone()),
            Status::UndoFailed(error) => (StepState::UndoFailed, Some(error.clone())),
            Status::Residue(_) => (StepState::Residue, step.last_error.clone()),
        }
    }

    /// How the run ends, if it has come to its end.
    pub fn end(&self) -> Option<RunClosed> {
        if self.phase == Phase::Closed || !self.open.is_empty() {
            return None;
        }
        if self.kill.is_some() {
            let mut residue = self.settled();
            residue.extend(self.steps_to_undo().map(|step| residue_of(step, ResidueKind::NotUndone, None)));
            return Some(RunClosed { state: Closed::Killed, residue });
        }
        match self.phase {
            Phase::Forward => {
                let done = self.sealed && self.unfinished == 0 && self.failed.is_none() && self.turn_back.is_none();
                done.then(|| RunClosed { state: Closed::Completed, residue: Vec::new() })
            }
            Phase::Undoing => {
                if self.steps_to_undo().any(Step::can_be_undone) {
                    return None;
                }
                let mut residue = self.settled();
                residue.extend(self.steps_to_undo().map(|step| {
                    let happened = step.output.is_some();
                    residue_of(step, if happened { ResidueKind::Happened } else { ResidueKind::PossiblyHappened }, None)
                }));
                let state = if residue.is_empty() { Closed::RolledBack } else { Closed::RolledBackWithResidue };
                Some(RunClosed { state, residue })
            }
            Phase::Closed => None,
        }
    }

    /// Steps that took effect, or may have, and are neither undone nor settled.
    pub fn steps_to_undo(&self) -> impl Iterator<Item = &Step> {
        self.to_undo.values().filter_map(|index| self.step(*index))
    }

    fn settled(&self) -> Vec<Residue> {
        let residue = |step: &Step| match &step.status {
            Status::Residue(residue) => Some(residue.clone()),
            _ => None,
        };
        self.steps.iter().filter_map(|step| residue(step)).collect()
    }

    /// Whether the run is open and nothing in it can move until its client comes back.
    pub fn is_idle(&self) -> bool {
        self.submitted.mode == Mode::Open && self.is_open() && self.ready.is_empty()
    }
}

pub(in crate::saga) fn residue_of(step: &Step, what: ResidueKind, reason: Option<&str>) -> Residue {
    let what = match (what, step.spec.effect, step.output.is_some()) {
        (ResidueKind::NotUndone, EffectKind::Irreversible, true) => ResidueKind::Happened,
        (ResidueKind::NotUndone, EffectKind::Irreversible, false) => ResidueKind::PossiblyHappened,
        (what, ..) => what,
    };
    Residue {
        step: step.spec.name.clone(),
        what,
        targets: step.touched.keys().map(ToString::to_string).collect(),
        reason: reason.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_the_same_word_wherever_it_is_read() {
        for state in RunState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.to_string(), state.as_str());
            assert_eq!(RunState::parse(&state.as_str().to_lowercase()), Some(state));
        }
        assert_eq!(RunState::parse("DONE"), None);
        use StepState::*;
        for state in [Waiting, Running, Succeeded, Failed, Unclear, Undoing, Undone, UndoFailed, Residue] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.to_string(), state.as_str());
        }
    }
}
