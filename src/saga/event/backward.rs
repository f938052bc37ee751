//! Why a run turned back, what was undone, what operators did, and how it ended.

use serde::{Deserialize, Serialize};

use super::forward::Evidence;
use crate::types::{Digest, Failure, PayloadRef, Principal, StepName, Timestamp};

/// Why a run turned back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code", deny_unknown_fields)]
pub enum Cause {
    /// A step failed for good, was denied, rejected or expired.
    StepFailed {
        /// The step.
        step: StepName,
        /// Its failure.
        error: Failure,
    },
    /// A step is unclear and cannot be executed again.
    StepUnclear {
        /// The step.
        step: StepName,
        /// What is known of it.
        error: Failure,
    },
    /// An operator cancelled the run.
    Cancelled {
        /// Who.
        by: Principal,
        /// Why.
        reason: String,
    },
    /// The deadline passed.
    Deadline,
    /// An open run was idle for too long.
    Idle,
    /// The client of an open run rolled it back.
    Client {
        /// Why, if it said so.
        reason: String,
    },
    /// An operator undid a completed run.
    Undo {
        /// Who.
        by: Principal,
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::StepFailed { error, .. } | Cause::StepUnclear { error, .. } => write!(f, "{error}"),
            Cause::Cancelled { by, reason } => write!(f, "{by} cancelled it: {reason}"),
            Cause::Deadline => f.write_str("its deadline passed"),
            Cause::Idle => f.write_str("its client was idle for too long"),
            Cause::Client { reason } => write!(f, "its client rolled it back: {reason}"),
            Cause::Undo { by, reason } => write!(f, "{by} undid it: {reason}"),
        }
    }
}

/// See [`super::Event::RollbackStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackStarted {
    /// Why.
    pub cause: Cause,
}

/// See [`super::Event::UndoIntent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoIntent {
    /// The step that is undone.
    pub step: StepName,
    /// The attempt to undo it, from 1, counted over crashes.
    pub attempt: u32,
    /// The idempotency key of the undo.
    pub key: String,
    /// The component that undoes it.
    pub component: Digest,
}

/// How an attempt to undo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoOutcome {
    /// Undone; all file targets were compared with their state before, or there were none to compare.
    Undone,
    /// Failed; tried again if `retry_at` says so.
    Failed,
    /// Somebody changed a target since; nothing was touched.
    ChangedSince,
    /// The undo ran, and a target is not as it was before.
    NotRestored,
}

impl UndoOutcome {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            UndoOutcome::Undone => "undone",
            UndoOutcome::Failed => "failed",
            UndoOutcome::ChangedSince => "changed_since",
            UndoOutcome::NotRestored => "not_restored",
        }
    }
}

/// See [`super::Event::UndoResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoResult {
    /// The step.
    pub step: StepName,
    /// The attempt; 0 if it was refused before one began.
    pub attempt: u32,
    /// How it ended.
    pub outcome: UndoOutcome,
    /// Whether the host compared every file target with its state before, and there was at least one.
    pub checked: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What it did.
    #[serde(default)]
    pub evidence: Evidence,
    /// Payload: what it printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PayloadRef>,
    /// When the next attempt is due, if there will be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb", deny_unknown_fields)]
pub enum Verb {
    /// Roll the run back.
    Cancel,
    /// End the run without undoing anything.
    Kill,
    /// Roll a completed run back.
    Undo,
    /// The client of an open run rolls it back.
    Rollback,
    /// Try a failed undo again, perhaps with a mended component.
    RepairRetry {
        /// The component to use from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<Digest>,
    },
    /// The operator undid the step by hand.
    ResolveUndone,
    /// The operator leaves the step as it is.
    ResolveLeft,
}

/// See [`super::Event::Operator`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// What.
    pub verb: Verb,
    /// Who.
    pub by: Principal,
    /// Why.
    pub reason: String,
    /// The step, of a repair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Closed {
    /// Everything succeeded.
    Completed,
    /// Everything that took effect was undone.
    RolledBack,
    /// Undone, except for what is named.
    RolledBackWithResidue,
    /// Ended by an operator without undo.
    Killed,
}

/// Something that remains after a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residue {
    /// The step.
    pub step: StepName,
    /// What is known of it.
    pub what: ResidueKind,
    /// The targets concerned, as the component sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// What an operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is known of something that remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidueKind {
    /// An irreversible step succeeded.
    Happened,
    /// An irreversible step is unclear.
    PossiblyHappened,
    /// An operator says that it was undone by hand.
    UndoneByHand,
    /// An operator left it.
    Left,
    /// The run was killed before it could be undone.
    NotUndone,
}

/// See [`super::Event::RunClosed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunClosed {
    /// How.
    pub state: Closed,
    /// What remains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residue: Vec<Residue>,
}
