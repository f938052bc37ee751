//! The fourteen kinds of events. Together they say everything that a run was asked to do, was allowed to do and did.
//!
//! Events are small: inputs, outputs, undo records, logs and texts are payloads, stored apart; an event holds their salted
//! digest and length. An event of a kind or with a field that this version does not know makes its run unreadable, and only
//! that run.

use serde::{Deserialize, Serialize};

use crate::types::{
    Action, CapabilityId, Digest, Duration, Effect, EffectKind, Failure, Grant, PayloadRef, Principal, Retry, Risk,
    RunId, StepName, Target, TargetState, Timestamp,
};

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
}

/// Whether a run's steps are all known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All steps were submitted with the run.
    Sealed,
    /// Steps are submitted one at a time, until the client commits or rolls back.
    Open,
}

/// See [`Event::RunSubmitted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSubmitted {
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub name: String,
    /// The workflow's version, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// On whose behalf.
    pub principal: Principal,
    /// Whether more steps will come.
    pub mode: Mode,
    /// The steps, in the order of the file.
    pub steps: Vec<StepSpec>,
    /// Payload: the workflow's text.
    pub workflow: PayloadRef,
    /// Payload: the workflow's inputs, canonical JSON.
    pub inputs: PayloadRef,
    /// Payload: the inputs of the steps with their templates, canonical JSON by step name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<PayloadRef>,
    /// The version of the engine.
    pub engine: String,
    /// The SHA-256 of the host's program file, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<Digest>,
    /// How many steps run at the same time at most.
    pub max_parallel: u32,
    /// When the run rolls back if it has not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How long an open run may be idle.
    pub idle_timeout: Duration,
    /// How long running attempts may go on once the run rolls back.
    pub settle_timeout: Duration,
    /// How long after its end a completed run can be undone.
    pub undo_window: Duration,
    /// The caller's key: submitting twice under one key is one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_key: Option<String>,
}

/// What a step is, apart from its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Unique in the run.
    pub name: StepName,
    /// The capability; none for a step that only waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<CapabilityId>,
    /// The component that provides it, pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Digest>,
    /// What the capability may change.
    pub effect: EffectKind,
    /// Whether it can be executed again after an unclear outcome.
    pub idempotent: bool,
    /// The declared risk.
    pub risk: Risk,
    /// The risk that the workflow raises it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_risk: Option<Risk>,
    /// The agent that acts in this step for the run's principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Principal>,
    /// Steps that must have succeeded before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepName>,
    /// How it is retried.
    pub retry: Retry,
    /// How long one attempt may take, if less than the grant's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Another capability that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationSpec>,
}

/// Another capability that undoes a step that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompensationSpec {
    /// The capability.
    pub capability: CapabilityId,
    /// The component that provides it, pinned.
    pub component: Digest,
}

/// See [`Event::StepSubmitted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSubmitted {
    /// The step.
    pub step: StepSpec,
    /// Payload: its inputs, canonical JSON; literal, without templates.
    pub inputs: PayloadRef,
    /// Payload: the inputs of its declared compensation, with their templates, if it declares one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<PayloadRef>,
}

/// See [`Event::Sealed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {}

/// The boot id where the system does not tell one: it may be any.
pub const UNKNOWN_BOOT: &str = "unknown";

/// See [`Event::Owner`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// One more than that of the owner before; 1 for the first.
    pub epoch: u64,
    /// The id of the process: the name of its owner file.
    pub owner: String,
    /// Which boot of the machine, where the system tells.
    pub boot: String,
    /// What was noted of the further targets of the attempts that are over now: they have no RESULT to say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<TargetNote>,
}

/// The state of a further target, noted before the first effect of an attempt on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetNote {
    /// The step.
    pub step: StepName,
    /// The attempt.
    pub attempt: u32,
    /// What will be touched.
    pub target: Target,
    /// Its state.
    pub before: TargetState,
}

/// Which rule of the policy answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRef {
    /// 1 for the first rule of the file.
    pub index: u32,
    /// Its line in the file.
    pub line: u32,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// See [`Event::Decision`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The step.
    pub step: StepName,
    /// The final answer.
    pub action: Action,
    /// The rule's or the default's answer, before escalation.
    pub base: Action,
    /// The rule; none if the default answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// The risk that counted.
    pub risk: Risk,
    /// Whether the risk made the answer stricter.
    pub escalated: bool,
    /// Why, where the rule alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policy.
    pub policy: Digest,
    /// Payload: the input that was decided, canonical JSON; none if it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<PayloadRef>,
    /// What the sandbox opens.
    pub grant: Grant,
    /// The request, if a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequest>,
    /// The decision on the step's declared compensation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationDecision>,
}

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// The request's id; a vote names it.
    pub id: String,
    /// Patterns of principals that may vote.
    pub approvers: Vec<String>,
    /// Lists of patterns of each of which a voter must match one besides: where an agent, the principal that it acts for or
    /// a declared compensation have approvers of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Vec<String>>,
    /// How many of them must approve.
    pub quorum: u32,
    /// When it expires.
    pub expires: Timestamp,
}

/// The decision on a declared compensation: by its rule's action alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompensationDecision {
    /// The capability.
    pub capability: CapabilityId,
    /// The rule's or the default's answer.
    pub action: Action,
    /// The rule; none if the default answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// Payload: what was known of its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<PayloadRef>,
    /// What the sandbox opens for it.
    pub grant: Grant,
}

/// See [`Event::Vote`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// The step.
    pub step: StepName,
    /// The request that was seen.
    pub request: String,
    /// Who votes.
    pub by: Principal,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
}

/// See [`Event::Intent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The step.
    pub step: StepName,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The idempotency key.
    pub key: String,
    /// The component that runs.
    pub component: Digest,
    /// Payload: the undo record that was saved in this attempt, if the attempt is the first to save one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<PayloadRef>,
    /// What the first effect touches.
    pub target: Target,
    /// Its state before.
    pub before: TargetState,
}

/// See [`Event::UndoAppended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoAppended {
    /// The step.
    pub step: StepName,
    /// The attempt.
    pub attempt: u32,
    /// Payload: what was appended.
    pub undo: PayloadRef,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It returned an output that its schema accepts, and every effect let out was answered.
    Succeeded,
    /// It did not succeed, and no effect was let out: nothing happened.
    Clean,
    /// Anything else: it may or may not have happened.
    Unclear,
}

/// One target of an attempt, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRecord {
    /// What was touched.
    pub target: Target,
    /// Its state when the first effect on it was admitted.
    pub before: TargetState,
    /// Its state when the attempt had been joined.
    pub after: TargetState,
}

/// Reads of an attempt below one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRecord {
    /// The directory, as the component sees it.
    pub place: String,
    /// How many files or listings were opened; 0 if names in it were only looked at.
    pub count: u64,
    /// How many bytes were read.
    pub bytes: u64,
}

/// What an attempt really did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// Whether any effect was let out.
    pub let_out: bool,
    /// Every target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetRecord>,
    /// The first effects, one by one, up to the limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// How many effects there were.
    pub effects_total: u64,
    /// The digest over all effects, if not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effects_digest: Option<Digest>,
    /// The first requests that were no effects, one by one, up to the limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Effect>,
    /// How many such requests there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub egress_total: u64,
    /// Reads, by directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<ReadRecord>,
    /// Fuel used.
    pub fuel: u64,
    /// Milliseconds from the start of the call to its end.
    pub wall_ms: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// See [`Event::Result`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// The step.
    pub step: StepName,
    /// The attempt; 0 for a step that was settled without one (expiry, a step that only waits).
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Payload: the output, canonical JSON; some exactly if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PayloadRef>,
    /// Why it did not succeed.
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
    /// Payload: the resolved input of the declared compensation, if the step succeeded and declares one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<PayloadRef>,
}

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

/// See [`Event::RollbackStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackStarted {
    /// Why.
    pub cause: Cause,
}

/// See [`Event::UndoIntent`].
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

/// See [`Event::UndoResult`].
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

/// See [`Event::Operator`].
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

/// See [`Event::RunClosed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunClosed {
    /// How.
    pub state: Closed,
    /// What remains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residue: Vec<Residue>,
}
