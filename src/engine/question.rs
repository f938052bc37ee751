//! What is asked of a policy about a step, and what it says: the same when a step is decided, when a shadow policy decides beside it, and
//! when it is decided again from what the journal keeps.

use serde_json::Value;

use super::decide::{human, parties_of, rule_ref};
use crate::policy::{self, Policy, Request};
use crate::saga::event::{RunSubmitted, ShadowDecision, StepSpec};
use crate::types::{Action, Grant, Permission, Principal};

/// What is asked about a step, the same of every policy.
pub(super) struct Question<'q> {
    pub request: Request<'q>,
    /// What the component asks for.
    pub asked: Vec<Permission>,
    pub compensation: Option<CompensationQuestion<'q>>,
}

pub(super) struct CompensationQuestion<'q> {
    pub request: Request<'q>,
    pub asked: Vec<Permission>,
}

/// What one policy says to it.
pub(super) struct Said {
    pub decision: policy::Decision,
    pub grant: Grant,
    /// What it says of the compensation by itself, and what is opened for that.
    pub compensation: Option<(policy::Decision, Grant)>,
}

/// What was known of a step when it was decided.
pub(super) struct Recorded<'q> {
    /// Its input.
    pub input: &'q Value,
    /// What was known of the input of its declared compensation, if it has one.
    pub compensation: Option<&'q Value>,
    /// What its component asks for, and that of its compensation.
    pub asked: (Vec<Permission>, Vec<Permission>),
}

impl<'q> Question<'q> {
    /// What was asked about a step of a run. What was not known of an input then is missing in it, which a condition answers in the
    /// same way.
    pub fn of_recorded(submitted: &RunSubmitted, spec: &StepSpec, recorded: Recorded<'q>) -> Question<'q> {
        let (principal, acting_for) = parties_of(&submitted.principal, spec);
        let request = Request {
            principal,
            acting_for,
            capability: spec.capability.clone().unwrap_or_else(human),
            declared_risk: spec.risk,
            step_risk: spec.step_risk,
            inputs: Some(recorded.input),
            unknown: &[],
        };
        let (asked, of_compensation) = recorded.asked;
        let declared = spec.compensation.as_ref().zip(recorded.compensation);
        let compensation = declared.map(|(declared, known)| {
            let capability = declared.capability.clone();
            let request = Request { capability, inputs: Some(known), step_risk: None, ..request.clone() };
            CompensationQuestion { request, asked: of_compensation }
        });
        Question { request, asked, compensation }
    }
}

impl Question<'_> {
    /// The decision, with that on the compensation in it, and what the sandbox opens: what is asked for, as far as it is granted.
    pub fn put_to(&self, policy: &Policy) -> Said {
        let Request { principal, acting_for, capability, .. } = &self.request;
        let principals: Vec<&Principal> = std::iter::once(principal).chain(acting_for).collect();
        let mut decision = policy::decide(policy, &self.request);
        let grant = match capability.as_str() {
            policy::HUMAN_APPROVE => Grant::default(),
            _ => policy::effective_grant(policy, &principals, capability, &self.asked),
        };
        let compensation = self.compensation.as_ref().map(|CompensationQuestion { request, asked }| {
            let answer = policy::decide_by_rule_only(policy, request);
            let grant = policy::effective_grant(policy, &principals, &request.capability, asked);
            decision = decision.clone().with_compensation(answer.clone(), &request.capability);
            (answer, grant)
        });
        Said { decision, grant, compensation }
    }
}

/// What the shadow policy says, if its answer is another one, or if it would open something else. What it denies opens nothing.
pub(super) fn differing(said: &Said, shadow: Said) -> Option<ShadowDecision> {
    let denied = shadow.decision.action == Action::Deny;
    let other =
        |of_shadow: Grant, of_said: Option<&Grant>| Some(of_shadow).filter(|grant| !denied && Some(grant) != of_said);
    let grant = other(shadow.grant, Some(&said.grant));
    let of_compensation = said.compensation.as_ref().map(|(_, grant)| grant);
    let compensation_grant = shadow.compensation.and_then(|(_, grant)| other(grant, of_compensation));
    let differs = shadow.decision.action != said.decision.action || grant.is_some() || compensation_grant.is_some();
    differs.then(|| ShadowDecision {
        policy: shadow.decision.policy,
        action: shadow.decision.action,
        rule: shadow.decision.rule.as_ref().map(rule_ref),
        grant,
        compensation_grant,
    })
}
