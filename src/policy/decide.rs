use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::{Action, CapabilityId, Digest, Principal, Risk};

use super::condition::{self, Input, Truth};
use super::rule::{ApprovalTerms, Rule, RuleRef};
use super::{HUMAN_APPROVE, Policy};

/// What is to be decided.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who acts.
    pub principal: Principal,
    /// For whom, where a step names an agent: the run's principal.
    pub acting_for: Option<Principal>,
    /// What is to be done.
    pub capability: CapabilityId,
    /// The risk that the capability declares, raised by the host where it is too low.
    pub declared_risk: Risk,
    /// The risk that the step says; it can only raise.
    pub step_risk: Option<Risk>,
    /// The input, as far as it is known; none if nothing of it is.
    pub inputs: Option<&'a Value>,
    /// The fields whose value is not known yet, such as `inputs.url`.
    pub unknown: &'a [String],
}

impl Request<'_> {
    /// Everybody who must be allowed.
    pub(super) fn principals(&self) -> impl Iterator<Item = &Principal> {
        std::iter::once(&self.principal).chain(&self.acting_for)
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input { value: self.inputs, unknown: self.unknown }
    }
}

/// The policy's answer. It is journaled and can be decided again from the policy text of its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What holds.
    pub action: Action,
    /// What the rule or the default said, before risk was looked at.
    pub base: Action,
    /// The rule; none if the default decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// The highest of the declared risk, the file's floors and the step's risk.
    pub risk: Risk,
    /// Whether risk made the answer stricter.
    pub escalated: bool,
    /// Why it is DENY, where that is not simply what the rule or the default says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The terms of approval; only and always with REQUIRE_APPROVAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalTerms>,
    /// The digest of the file that decided.
    pub policy: Digest,
}

impl Decision {
    /// The answer for a step that declares a compensation: it is decided with the step, and the stricter of the two holds.
    /// Where both ask, the terms of both must be met.
    pub fn with_compensation(self, compensation: Decision, capability: &CapabilityId) -> Decision {
        let reason = match compensation.action {
            Action::Deny => format!("its compensation `{capability}` is denied"),
            Action::RequireApproval | Action::Allow => format!("its compensation `{capability}` needs approval"),
        };
        let action = self.action.max(compensation.action);
        let reason = if compensation.action > self.action { Some(reason) } else { self.reason };
        let approval = match (self.approval, compensation.approval) {
            _ if action != Action::RequireApproval => None,
            (Some(terms), Some(more)) => Some(terms.and(more)),
            (terms, more) => terms.or(more),
        };
        Decision { action, reason, approval, ..self }
    }

    /// The stricter of two answers; where both ask, the terms of both must be met.
    pub(super) fn stricter(self, other: Decision) -> Decision {
        if other.action > self.action {
            return other;
        }
        match (self.approval, other.approval) {
            (Some(terms), Some(more)) => Decision { approval: Some(terms.and(more)), ..self },
            (approval, _) => Decision { approval, ..self },
        }
    }
}

/// What one principal may do.
#[derive(Clone, Debug)]
pub(super) struct Verdict<'p> {
    pub rule: Option<&'p Rule>,
    pub base: Action,
    pub reason: Option<String>,
}

impl<'p> Verdict<'p> {
    pub fn of_rule(rule: &'p Rule) -> Verdict<'p> {
        Verdict { rule: Some(rule), base: rule.action, reason: None }
    }

    pub fn of_default(policy: &Policy, capability: &CapabilityId) -> Verdict<'p> {
        Verdict { rule: None, base: policy.default_for(capability), reason: None }
    }

    pub fn of_error(rule: &'p Rule, reason: String) -> Verdict<'p> {
        Verdict { rule: Some(rule), base: Action::Deny, reason: Some(reason) }
    }
}

/// Whether risk may make an answer stricter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escalation {
    ByRisk,
    None,
}

/// Decides one step, [`HUMAN_APPROVE`] included. A condition on a value that is not known is DENY.
pub fn decide(policy: &Policy, request: &Request<'_>) -> Decision {
    for_all(policy, request, Escalation::ByRisk)
}

/// Decides a compensation that a workflow names. It is decided with its step, before that starts, and by its rule's action
/// alone: risk does not make the answer stricter. A condition on a value that is not known is DENY.
pub fn decide_by_rule_only(policy: &Policy, request: &Request<'_>) -> Decision {
    for_all(policy, request, Escalation::None)
}

fn for_all(policy: &Policy, request: &Request<'_>, escalation: Escalation) -> Decision {
    let decided = |principal| conclude_with(policy, request, judge(policy, request, principal), escalation);
    let own = decided(&request.principal);
    match &request.acting_for {
        Some(other) => own.stricter(decided(other)),
        None => own,
    }
}

/// The first rule that matches, found by the index.
fn judge<'p>(policy: &'p Policy, request: &Request<'_>, principal: &Principal) -> Verdict<'p> {
    let candidates = policy.index.candidates(principal.as_str(), request.capability.as_str());
    for rule in candidates.filter_map(|index| policy.rules.get(index)) {
        match condition::all(&rule.when, request.input()) {
            Truth::Holds => return Verdict::of_rule(rule),
            Truth::Fails(_) => {}
            Truth::Unknown(field) => return Verdict::of_error(rule, format!("`{field}` is not known yet")),
            Truth::Error(reason) => return Verdict::of_error(rule, reason),
        }
    }
    Verdict::of_default(policy, &request.capability)
}

/// From what the rules say to the answer: risk, escalation, terms of approval.
pub(super) fn conclude(policy: &Policy, request: &Request<'_>, verdict: Verdict<'_>) -> Decision {
    conclude_with(policy, request, verdict, Escalation::ByRisk)
}

/// What a rule or the default says of a capability; the step that only waits never runs through unasked.
pub(super) fn base(capability: &CapabilityId, said: Action) -> Action {
    if capability.as_str() == HUMAN_APPROVE { said.max(Action::RequireApproval) } else { said }
}

/// The least strict answer at a risk.
pub(super) fn floor(risk: Risk, rule: Option<&Rule>) -> Action {
    match risk {
        Risk::Critical => Action::RequireApproval,
        Risk::High if !rule.is_some_and(|rule| rule.accepts_high) => Action::RequireApproval,
        Risk::High | Risk::Medium | Risk::Low => Action::Allow,
    }
}

fn conclude_with(policy: &Policy, request: &Request<'_>, verdict: Verdict<'_>, escalation: Escalation) -> Decision {
    let risk = policy.risk(&request.capability, request.declared_risk, request.step_risk);
    let base = base(&request.capability, verdict.base);
    let action = match escalation {
        Escalation::ByRisk => base.max(floor(risk, verdict.rule)),
        Escalation::None => base,
    };
    let terms = || verdict.rule.map(|rule| rule.approval.clone()).unwrap_or_default();
    Decision {
        action,
        base,
        rule: verdict.rule.map(|rule| rule.reference.clone()),
        risk,
        escalated: action > base,
        reason: verdict.reason,
        approval: (action == Action::RequireApproval).then(terms),
        policy: policy.digest,
    }
}
