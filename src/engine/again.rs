//! Deciding again what was decided, from what the journal keeps of it.

use serde_json::Value;

use super::decide::{human, parties_of};
use crate::policy::{self, Policy, Request};
use crate::saga::event::{Decision, RunSubmitted, StepSpec};

/// What a policy answers to what was asked for then. `input` is what was decided, and `known` what was known of the input of the
/// declared compensation.
pub(super) fn decide_again(
    policy: &Policy,
    submitted: &RunSubmitted,
    spec: &StepSpec,
    decision: &Decision,
    input: &Value,
    known: Option<&Value>,
) -> policy::Decision {
    let (principal, acting_for) = parties_of(&submitted.principal, spec);
    let request = Request {
        principal,
        acting_for,
        capability: spec.capability.clone().unwrap_or_else(human),
        declared_risk: spec.risk,
        step_risk: spec.step_risk,
        inputs: Some(input),
        unknown: &[],
    };
    let answer = policy::decide(policy, &request);
    match (&decision.compensation, known) {
        (Some(compensation), Some(known)) => {
            // What was not known of its input then is missing in it, which a condition answers in the same way.
            let capability = compensation.capability.clone();
            let request = Request { capability, inputs: Some(known), step_risk: None, ..request };
            let other = policy::decide_by_rule_only(policy, &request);
            answer.with_compensation(other, &compensation.capability)
        }
        _ => answer,
    }
}
