//! What was decided, approved and done on the way forward.

use serde::{Deserialize, Serialize};

use crate::types::{
    Action, CapabilityId, Digest, Effect, Failure, Grant, PayloadRef, Principal, Risk, StepName, Target, TargetState,
    Timestamp,
};

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

/// See [`super::Event::Decision`].
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
    /// What the shadow policy says instead; only where it answers otherwise or would open something else. Nothing follows
    /// from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowDecision>,
}

/// What a policy says that decides beside the one in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowDecision {
    /// The shadow policy.
    pub policy: Digest,
    /// Its final answer, which may be the same.
    pub action: Action,
    /// Its rule; none if its default answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// What the sandbox would open, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// What it would open for the step's declared compensation, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation_grant: Option<Grant>,
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

/// See [`super::Event::Vote`].
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

/// See [`super::Event::Intent`].
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

/// See [`super::Event::UndoAppended`].
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

/// See [`super::Event::Result`].
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
