//! What waits for a person, with everything that is needed to decide on it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::EngineError;
use super::mask::{Called, Mask};
use super::outbox::{vote_command, voter};
use super::plan::undo_of;
use super::view::rfc3339;
use crate::journal::Journal;
use crate::policy::Side;
use crate::saga::{State, Step};
use crate::types::{CapabilityId, Digest, Grant, Principal, RunId, StepName, Timestamp};

/// One request that waits.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waiting {
    /// The number of this schema.
    pub schema: u32,
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: String,
    /// The step.
    pub step: StepName,
    /// None for a step that only waits.
    pub capability: Option<CapabilityId>,
    /// The component that provides it.
    pub component: Option<Digest>,
    /// Who asks: the agent that acts, if one does, then the principal of the run. None of them may vote.
    pub requesters: Vec<Principal>,
    /// None if it was erased.
    pub input: Option<Value>,
    /// Whether values of it are masked.
    pub masked: bool,
    /// The risk that counted.
    pub risk: &'static str,
    /// Whether the risk is why a person is asked.
    pub escalated: bool,
    /// The rule, from 1; none if the default answered.
    pub rule: Option<u32>,
    /// The rule's line.
    pub line: Option<u32>,
    /// The rule's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
    /// Why, where the rule alone does not say it.
    pub reason: Option<String>,
    /// The policy.
    pub policy: Digest,
    /// What the sandbox opens.
    pub grant: Grant,
    /// What undoes it.
    pub undo: String,
    /// The id of the request.
    pub request: String,
    /// Who may vote.
    pub approvers: Vec<String>,
    /// A voter must match one of these as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Vec<String>>,
    /// How many have approved.
    pub approvals: u32,
    /// How many must.
    pub quorum: u32,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// The same, for whoever sorts.
    #[serde(skip)]
    pub until: Timestamp,
    /// When the run rolls back, whoever votes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Whether either has passed, so that a vote is refused.
    pub expired: bool,
    /// The command with which one approves.
    pub approve: String,
    /// The command with which one rejects.
    pub reject: String,
}

/// The request that a step waits for, if it has one.
pub fn waiting(
    journal: &dyn Journal,
    state: &State,
    step: &Step,
    now: Timestamp,
    mask: Option<&mut Mask<'_>>,
) -> Result<Option<Waiting>, EngineError> {
    let Some(decision) = &step.decision else { return Ok(None) };
    let Some(request) = &decision.approval else { return Ok(None) };
    let bytes = match &decision.input {
        Some(input) => journal.payload(&input.digest)?,
        None => None,
    };
    let mut input: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let masked = match (mask, &mut input) {
        (Some(mask), Some(input)) => mask.value(&Called::by(step), Side::Inputs, input),
        _ => false,
    };
    let (run, name) = (state.run(), &step.spec.name);
    let voter = voter(&request.approvers, &state.requesters(step));
    Ok(Some(Waiting {
        schema: 1,
        run: run.clone(),
        workflow: state.submitted.name.clone(),
        step: name.clone(),
        capability: step.spec.capability.clone(),
        component: step.spec.component,
        requesters: state.requesters(step),
        input,
        masked,
        risk: decision.risk.as_str(),
        escalated: decision.escalated,
        rule: decision.rule.as_ref().map(|rule| rule.index),
        line: decision.rule.as_ref().map(|rule| rule.line),
        rule_name: decision.rule.as_ref().and_then(|rule| rule.name.clone()),
        reason: decision.reason.clone(),
        policy: decision.policy,
        grant: decision.grant.clone(),
        undo: undo_of(step.spec.compensation.as_ref().map(|named| &named.capability), step.spec.effect),
        request: request.id.clone(),
        approvers: request.approvers.clone(),
        also: request.also.clone(),
        approvals: step.approvals(),
        quorum: request.quorum,
        expires: rfc3339(request.expires),
        until: request.expires,
        deadline: state.submitted.deadline.map(rfc3339),
        expired: now >= state.submitted.deadline.map_or(request.expires, |deadline| deadline.min(request.expires)),
        approve: vote_command(true, run, name, &request.id, &voter),
        reject: vote_command(false, run, name, &request.id, &voter),
    }))
}
