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
        self.named_payloads().into_iter().map(|(_, payload)| payload).collect()
    }

    /// The same, with what each is.
    pub fn named_payloads(&self) -> Vec<(PayloadKind, PayloadRef)> {
        use PayloadKind::{Compensation, Input, Inputs, Log, Output, Templates, Undo, Workflow};
        let named: [(PayloadKind, Option<PayloadRef>); 3] = match self {
            Event::RunSubmitted(e) => {
                [(Workflow, Some(e.workflow)), (Inputs, Some(e.inputs)), (Templates, e.templates)]
            }
            Event::StepSubmitted(e) => [(Input, Some(e.inputs)), (Compensation, e.compensation), (Log, None)],
            Event::Decision(e) => {
                let known = e.compensation.as_ref().and_then(|compensation| compensation.input);
                [(Input, e.input), (Compensation, known), (Log, None)]
            }
            Event::Intent(e) => [(Undo, e.undo), (Log, None), (Log, None)],
            Event::UndoAppended(e) => [(Undo, Some(e.undo)), (Log, None), (Log, None)],
            Event::Result(e) => [(Output, e.output), (Log, e.log), (Compensation, e.compensation)],
            Event::UndoResult(e) => [(Log, e.log), (Log, None), (Log, None)],
            Event::Sealed(_)
            | Event::Owner(_)
            | Event::Vote(_)
            | Event::RollbackStarted(_)
            | Event::UndoIntent(_)
            | Event::Operator(_)
            | Event::RunClosed(_) => return Vec::new(),
        };
        named.into_iter().filter_map(|(kind, payload)| Some((kind, payload?))).collect()
    }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// The workflow's text.
    Workflow,
    /// The inputs of a workflow.
    Inputs,
    /// The inputs of steps with their templates.
    Templates,
    /// The input of a step.
    Input,
    /// The output of a step.
    Output,
    /// What the undo of a step needs.
    Undo,
    /// What a component printed.
    Log,
    /// The input of a declared compensation.
    Compensation,
}

impl PayloadKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            PayloadKind::Workflow => "workflow",
            PayloadKind::Inputs => "inputs",
            PayloadKind::Templates => "templates",
            PayloadKind::Input => "input",
            PayloadKind::Output => "output",
            PayloadKind::Undo => "undo",
            PayloadKind::Log => "log",
            PayloadKind::Compensation => "compensation",
        }
    }

    /// Whether an undo of the run needs it: all but what components printed.
    pub fn serves_undo(self) -> bool {
        self != PayloadKind::Log
    }
}
