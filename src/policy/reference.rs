//! The specification of [`decide`](super::decide): a plain loop over the rules, without an index. Tests hold that both
//! give the same answer to the same question.

use crate::types::{Action, Principal, Risk};

use super::condition::{Truth, all};
use super::rule::Rule;
use super::{Decision, HUMAN_APPROVE, Pattern, Policy, Request};

/// Decides one step, as slow and as plain as can be.
pub fn decide(policy: &Policy, request: &Request<'_>) -> Decision {
    let mut answers = request.principals().map(|principal| decide_one(policy, request, principal));
    let own = answers.next();
    let other = answers.next();
    match (own, other) {
        (Some(own), Some(other)) => own.stricter(other),
        (Some(own), None) => own,
        // INVARIANT: a request has a principal.
        (None, _) => decide_one(policy, request, &request.principal),
    }
}

fn decide_one(policy: &Policy, request: &Request<'_>, principal: &Principal) -> Decision {
    let mut found: Option<&Rule> = None;
    let mut error = None;
    for rule in &policy.rules {
        let named = Pattern::any(&rule.principals, principal.as_str())
            && Pattern::any(&rule.capabilities, request.capability.as_str());
        if !named {
            continue;
        }
        match all(&rule.when, request.input()) {
            Truth::Fails(_) => continue,
            Truth::Holds => {}
            Truth::Unknown(field) => error = Some(format!("`{field}` is not known yet")),
            Truth::Error(reason) => error = Some(reason),
        }
        found = Some(rule);
        break;
    }

    let mut risk = request.declared_risk;
    for floor in &policy.floors {
        if Pattern::any(&floor.capabilities, request.capability.as_str()) {
            risk = risk.max(floor.level);
        }
    }
    risk = risk.max(request.step_risk.unwrap_or(Risk::Low));

    let human = request.capability.as_str() == HUMAN_APPROVE;
    let base = match (found, &error) {
        (Some(_), Some(_)) => Action::Deny,
        (Some(rule), None) if human => rule.action.max(Action::RequireApproval),
        (Some(rule), None) => rule.action,
        (None, _) if human => Action::RequireApproval,
        (None, _) => policy.default,
    };
    let waived = risk == Risk::High && found.is_some_and(|rule| rule.accepts_high);
    let floor = if risk >= Risk::High && !waived { Action::RequireApproval } else { Action::Allow };
    let action = base.max(floor);
    let approval = match (action, found) {
        (Action::RequireApproval, Some(rule)) => Some(rule.approval.clone()),
        (Action::RequireApproval, None) => Some(super::ApprovalTerms::default()),
        (Action::Allow | Action::Deny, _) => None,
    };
    Decision {
        action,
        base,
        rule: found.map(|rule| rule.reference.clone()),
        risk,
        escalated: base < floor,
        reason: error,
        approval,
        policy: policy.digest,
    }
}
