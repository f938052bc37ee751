//! The fourteen kinds of events. Together they say everything that a run was asked to do, was allowed to do and did.
//!
//! Events are small: inputs, outputs, undo records, logs and texts are payloads, stored apart; an event holds their salted
//! digest and length. An event of a kind or with a field that this version does not know makes its run unreadable, and only
//! that run.

mod backward;
mod forward;
mod submission;

use serde::{Deserialize, Serialize};

pub use backward::{
    Cause, Closed, Operator, Residue, ResidueKind, RollbackStarted, RunClosed, UndoIntent, UndoOutcome, UndoResult,
    Verb,
};
pub use forward::{
    ApprovalRequest, CompensationDecision, Decision, Evidence, Intent, Outcome, ReadRecord, RuleRef, ShadowDecision,
    StepResult, TargetRecord, UndoAppended, Vote,
};
pub use submission::{
    CompensationSpec, LostTarget, Mode, Owner, RunSubmitted, Sealed, StepSpec, StepSubmitted, TargetNote, UNKNOWN_BOOT,
};

use crate::types::{PayloadRef, StepName, Timestamp};

/// One event of a run, at its place in the run's chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// 1 for the first event of the run.
    pub seq: u64,
    /// When; never before the previous event.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Event {
    /// A run began to exist.
    RunSubmitted(Box<RunSubmitted>),
    /// An open run was given one more step.
    StepSubmitted(Box<StepSubmitted>),
    /// An open run will be given no more steps: its client commits.
    Sealed(Sealed),
    /// A process took the run; whatever ran in the one before it is over.
    Owner(Owner),
    /// The policy answered for one step.
    Decision(Box<Decision>),
    /// Somebody approved or rejected.
    Vote(Vote),
    /// The first effect of an attempt is about to be let out.
    Intent(Box<Intent>),
    /// A component learned something that its undo needs.
    UndoAppended(UndoAppended),
    /// An attempt ended, or a step without a capability was settled.
    Result(Box<StepResult>),
    /// The run turned back.
    RollbackStarted(RollbackStarted),
    /// `compensate` is about to be called.
    UndoIntent(UndoIntent),
    /// An attempt to undo a step ended, or was refused before it began.
    UndoResult(Box<UndoResult>),
    /// An operator stepped in.
    Operator(Operator),
    /// The run came to its end.
    RunClosed(RunClosed),
}

impl Event {
    /// The kind as it stands in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::RunSubmitted(_) => "RUN_SUBMITTED",
            Event::StepSubmitted(_) => "STEP_SUBMITTED",
            Event::Sealed(_) => "SEALED",
            Event::Owner(_) => "OWNER",
            Event::Decision(_) => "DECISION",
            Event::Vote(_) => "VOTE",
            Event::Intent(_) => "INTENT",
            Event::UndoAppended(_) => "UNDO_APPENDED",
            Event::Result(_) => "RESULT",
            Event::RollbackStarted(_) => "ROLLBACK_STARTED",
            Event::UndoIntent(_) => "UNDO_INTENT",
            Event::UndoResult(_) => "UNDO_RESULT",
            Event::Operator(_) => "OPERATOR",
            Event::RunClosed(_) => "RUN_CLOSED",
        }
    }

    /// The step that it is about, if it is about one.
    pub fn step(&self) -> Option<&StepName> {
        match self {
            Event::StepSubmitted(e) => Some(&e.step.name),
            Event::Decision(e) => Some(&e.step),
            Event::Vote(e) => Some(&e.step),
            Event::Intent(e) => Some(&e.step),
            Event::UndoAppended(e) => Some(&e.step),
            Event::Result(e) => Some(&e.step),
            Event::UndoIntent(e) => Some(&e.step),
            Event::UndoResult(e) => Some(&e.step),
            Event::Operator(e) => e.step.as_ref(),
            Event::RunSubmitted(_)
            | Event::Sealed(_)
            | Event::Owner(_)
            | Event::RollbackStarted(_)
            | Event::RunClosed(_) => None,
        }
    }

    /// The payloads that it refers to.
    pub fn payloads(&self) -> Vec<PayloadRef> {
        match self {
            Event::RunSubmitted(e) => [Some(e.workflow), Some(e.inputs), e.templates].into_iter().flatten().collect(),
            Event::StepSubmitted(e) => std::iter::once(e.inputs).chain(e.compensation).collect(),
            Event::Decision(e) => e.input.into_iter().chain(e.compensation.as_ref().and_then(|c| c.input)).collect(),
            Event::Intent(e) => e.undo.into_iter().collect(),
            Event::UndoAppended(e) => vec![e.undo],
            Event::Result(e) => [e.output, e.log, e.compensation].into_iter().flatten().collect(),
            Event::UndoResult(e) => e.log.into_iter().collect(),
            Event::Sealed(_)
            | Event::Owner(_)
            | Event::Vote(_)
            | Event::RollbackStarted(_)
            | Event::UndoIntent(_)
            | Event::Operator(_)
            | Event::RunClosed(_) => Vec::new(),
        }
    }

    /// Those of them that an undo of the run needs: all but what components printed.
    pub fn undo_needs(&self) -> Vec<PayloadRef> {
        let mut needs = self.payloads();
        let printed = match self {
            Event::Result(result) => result.log,
            Event::UndoResult(result) => result.log,
            _ => None,
        };
        needs.retain(|payload| Some(*payload) != printed);
        needs
    }
}
