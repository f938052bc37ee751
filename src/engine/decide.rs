//! Asking the policy about a step, with its input resolved and checked first.
//!
//! In this order: templates are resolved, the RFC 8785 bytes of the result become *the* input, it is checked against the
//! capability's schema, the policy decides it, and the decision is appended. What fails before the policy is asked fails
//! the step cleanly and is never tried again.

use std::sync::Arc;

use serde_json::Value;

use super::live::{Core, Live};
use super::policies::InForce;
use super::question::{CompensationQuestion, Question, Said, differing};
use super::{EngineError, new_id};
use crate::journal::{Durability, Payload};
use crate::policy::{self, Request};
use crate::saga::event::{
    ApprovalRequest, CompensationDecision, Decision, Event, Evidence, Outcome, RuleRef, ShadowDecision, StepResult,
    StepSpec,
};
use crate::saga::{Step, StepIndex};
use crate::types::{
    Action, CapabilityId, Digest, Failure, Grant, Permission, Principal, StepName, Timestamp, canonical_bytes, code,
};
use crate::workflow::Templated;

/// What the policy said, before it is an event.
struct Answer {
    decision: policy::Decision,
    grant: Grant,
    compensation: Option<CompensationDecision>,
    /// What the compensation's decision names.
    payloads: Vec<Payload>,
    /// What the shadow policy says, if it differs.
    shadow: Option<ShadowDecision>,
}

impl Live {
    /// Decides a step for the first time.
    pub(super) fn decide(&self, core: &mut Core, index: StepIndex) -> Result<(), EngineError> {
        let step = step_at(core, index)?;
        let input = match self.resolve_input(core, index, &step) {
            Ok(Ok(input)) => input,
            Ok(Err(failure)) => return self.fail_before(core, &step.spec.name, failure),
            Err(error) => return Err(error),
        };
        let text = match canonical_bytes(&input) {
            Ok(bytes) => bytes,
            Err(error) => {
                let failure = Failure::new(code::INVALID_INPUT, error.to_string());
                return self.fail_before(core, &step.spec.name, failure);
            }
        };
        let answer = self.ask(core, &step, &input)?;
        let over = text.len() as u64 > answer.grant.limits.input;
        if over || text.len() as u64 > crate::types::Limits::default().input {
            let failure =
                Failure::new(code::INVALID_INPUT, format!("the input has {} bytes, over the limit", text.len()));
            return self.fail_before(core, &step.spec.name, failure);
        }
        core.inputs.insert(index, String::from_utf8_lossy(&text).into());
        let payload = Payload::new(text)?;
        let (event, mut payloads) = self.decision_event(&step.spec.name, answer, payload.reference());
        payloads.push(payload);
        self.append_lazily(core, event, payloads)
    }

    /// Asks again about a step that was approved, before its first attempt. True if the approval stands; otherwise the new
    /// decision has been appended.
    pub(super) fn confirm(&self, core: &mut Core, index: StepIndex) -> Result<bool, EngineError> {
        let step = step_at(core, index)?;
        let (Some(earlier), Some(request)) = (&step.decision, step.request()) else { return Ok(true) };
        let input = super::live::parse(self.input(core, index)?.as_bytes());
        let answer = self.ask(core, &step, &input)?;
        let terms = answer.decision.approval.as_ref();
        let same_terms = terms.is_some_and(|terms| {
            names(&terms.approvers) == request.approvers
                && terms.also.iter().map(|also| names(also)).collect::<Vec<_>>() == request.also
                && terms.quorum == request.quorum
        });
        let stands = answer.decision.action == earlier.action
            && answer.decision.risk == earlier.risk
            && answer.grant == earlier.grant
            && answer.compensation.as_ref().map(|c| (c.action, &c.grant))
                == earlier.compensation.as_ref().map(|c| (c.action, &c.grant))
            && same_terms;
        if !stands {
            let reference =
                earlier.input.ok_or_else(|| EngineError::Erased { run: self.run.clone(), what: "input" })?;
            let (event, payloads) = self.decision_event(&step.spec.name, answer, reference);
            self.append_lazily(core, event, payloads)?;
        }
        Ok(stands)
    }

    fn resolve_input(
        &self,
        core: &mut Core,
        index: StepIndex,
        step: &Step,
    ) -> Result<Result<Value, Failure>, EngineError> {
        let resolved = self.resolve(core, index, false)?;
        let value = match resolved {
            Ok(value) => value,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some((capability, digest)) = step.spec.capability.as_ref().zip(step.spec.component.as_ref()) else {
            return Ok(Ok(value));
        };
        let component = self.engine.registry.pinned(digest, &*self.engine.journal)?;
        Ok(component.validate_input(capability, &value).map(|()| value))
    }

    /// The inputs of a step, or of its declared compensation, with templates resolved.
    pub(super) fn resolve(
        &self,
        core: &mut Core,
        index: StepIndex,
        compensation: bool,
    ) -> Result<Result<Value, Failure>, EngineError> {
        let step = step_at(core, index)?;
        if let Some(reference) = step.inputs.filter(|_| !compensation) {
            return Ok(Ok(super::live::parse(&self.payload(&reference, "input")?)));
        }
        let Some(inputs) = core.stored.of(&step.spec.name, compensation).cloned() else {
            return Ok(Err(Failure::new(code::INVALID_INPUT, "the step has no inputs in the journal")));
        };
        self.resolve_templates(core, &inputs)
    }

    /// The value of templated inputs, given what the steps of the run have returned.
    pub(super) fn resolve_templates(
        &self,
        core: &mut Core,
        inputs: &Templated,
    ) -> Result<Result<Value, Failure>, EngineError> {
        self.read_outputs(core, inputs)?;
        let limit = usize::try_from(crate::types::Limits::default().input).unwrap_or(usize::MAX);
        let value =
            inputs.resolve(&|reference| reference.find(&core.stored.inputs, |name| core.known_output(name)), limit);
        Ok(value.map_err(|error| Failure::new(code::INVALID_INPUT, error.to_string())))
    }

    /// Has the outputs at hand that templated inputs refer to.
    fn read_outputs(&self, core: &mut Core, inputs: &Templated) -> Result<(), EngineError> {
        for reference in inputs.references().iter().filter(|reference| !reference.is_input()) {
            if let Some(other) = core.state.index(reference.root()) {
                self.output(core, other)?;
            }
        }
        Ok(())
    }

    fn ask(&self, core: &mut Core, step: &Step, input: &Value) -> Result<Answer, EngineError> {
        let (principal, acting_for) = parties(&core.state.submitted.principal, step);
        let runs = step.spec.capability.as_ref().zip(step.spec.component.as_ref());
        let request = Request {
            principal,
            acting_for,
            capability: runs.map_or_else(human, |(capability, _)| capability.clone()),
            declared_risk: step.spec.risk,
            step_risk: step.spec.step_risk,
            inputs: Some(input),
            unknown: &[],
        };
        let asked = match runs {
            Some((capability, component)) => self.asked_for(capability, component)?,
            None => Vec::new(),
        };
        let known;
        let mut compensation = None;
        if let Some(spec) = step.spec.compensation.as_ref().filter(|_| runs.is_some()) {
            known = self.known_of_compensation(core, &step.spec.name)?;
            let (inputs, unknown) = &known;
            let asked = self.asked_for(&spec.capability, &spec.component)?;
            let capability = spec.capability.clone();
            let request = Request { capability, inputs: Some(inputs), unknown, step_risk: None, ..request.clone() };
            compensation = Some(CompensationQuestion { request, asked });
        }
        let question = Question { request, asked, compensation };
        let InForce { policy, shadow } = self.engine.policies.in_force();
        let said = question.put_to(&policy);
        #[cfg(test)]
        let said = planted::spoilt(said, &question.request.principal);
        let shadow = shadow.and_then(|shadow| differing(&said, question.put_to(&shadow)));
        let Said { decision, grant, compensation } = said;
        let mut payloads = Vec::new();
        let compensation = match (compensation, &question.compensation) {
            (Some((decision, grant)), Some(CompensationQuestion { request, .. })) => {
                let bytes = canonical_bytes(request.inputs.unwrap_or(&Value::Null))
                    .map_err(|error| EngineError::Refused { why: error.to_string() })?;
                let known = Payload::new(bytes)?;
                let input = Some(known.reference());
                payloads.push(known);
                let (capability, action) = (request.capability.clone(), decision.action);
                let rule = decision.rule.as_ref().map(rule_ref);
                Some(CompensationDecision { capability, action, rule, input, grant })
            }
            _ => None,
        };
        Ok(Answer { decision, grant, compensation, payloads, shadow })
    }

    /// What is known of the input of a declared compensation before the step runs, and which fields are not.
    fn known_of_compensation(&self, core: &mut Core, step: &StepName) -> Result<(Value, Vec<String>), EngineError> {
        let Some(inputs) = core.stored.of(step, true).cloned() else { return Ok((Value::Null, Vec::new())) };
        self.read_outputs(core, &inputs)?;
        Ok(inputs.resolve_known(&|reference| reference.find(&core.stored.inputs, |name| core.known_output(name))))
    }

    /// What the pinned component asks for.
    fn asked_for(&self, capability: &CapabilityId, component: &Digest) -> Result<Vec<Permission>, EngineError> {
        let component = self.engine.registry.pinned(component, &*self.engine.journal)?;
        let info = component.capabilities().iter().find(|info| info.id == *capability);
        Ok(info.map(|info| info.permissions.clone()).unwrap_or_default())
    }

    fn decision_event(
        &self,
        step: &StepName,
        answer: Answer,
        input: crate::types::PayloadRef,
    ) -> (Event, Vec<Payload>) {
        let decision = answer.decision;
        let event = Event::Decision(Box::new(Decision {
            step: step.clone(),
            action: decision.action,
            base: decision.base,
            rule: decision.rule.as_ref().map(rule_ref),
            risk: decision.risk,
            escalated: decision.escalated,
            reason: decision.reason,
            policy: decision.policy,
            input: Some(input),
            grant: answer.grant,
            approval: decision
                .approval
                .filter(|_| decision.action == Action::RequireApproval)
                .map(|terms| approval_request(&terms, self.now())),
            compensation: answer.compensation,
            shadow: answer.shadow,
        }));
        (event, answer.payloads)
    }

    /// Fails a step before anything of it ran.
    pub(super) fn fail_before(&self, core: &mut Core, step: &StepName, failure: Failure) -> Result<(), EngineError> {
        self.append(core, failed_before(step, failure), Vec::new(), Durability::Lazy).map(drop)
    }
}

/// The id as which a step that only waits is decided.
pub(crate) fn human() -> CapabilityId {
    CapabilityId::parse(policy::HUMAN_APPROVE).unwrap_or_else(|_| unreachable!("it is a capability id"))
}

/// The result of a step that failed before anything of it ran.
pub(super) fn failed_before(step: &StepName, failure: Failure) -> Event {
    Event::Result(Box::new(StepResult {
        step: step.clone(),
        attempt: 0,
        outcome: Outcome::Clean,
        output: None,
        error: Some(failure),
        evidence: Evidence::default(),
        log: None,
        retry_at: None,
        compensation: None,
    }))
}

/// A step as it is now, so that the state can be changed while it is looked at.
pub(super) fn step_at(core: &Core, index: StepIndex) -> Result<Arc<Step>, EngineError> {
    let missing = || EngineError::Refused { why: format!("the run has no step number {index}") };
    core.state.steps.get(index).cloned().ok_or_else(missing)
}

/// Who acts in a step, and for whom if that is somebody else.
pub(super) fn parties(principal: &Principal, step: &Step) -> (Principal, Option<Principal>) {
    parties_of(principal, &step.spec)
}

/// The same, of a step as it was submitted.
pub(super) fn parties_of(principal: &Principal, spec: &StepSpec) -> (Principal, Option<Principal>) {
    match &spec.agent {
        Some(agent) if agent != principal => (agent.clone(), Some(principal.clone())),
        _ => (principal.clone(), None),
    }
}

pub(super) fn rule_ref(rule: &policy::RuleRef) -> RuleRef {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    RuleRef { index: small(rule.index), line: small(rule.line), name: rule.name.clone() }
}

fn approval_request(terms: &policy::ApprovalTerms, now: Timestamp) -> ApprovalRequest {
    ApprovalRequest {
        id: new_id(),
        approvers: names(&terms.approvers),
        also: terms.also.iter().map(|also| names(also)).collect(),
        quorum: terms.quorum,
        expires: now.plus(terms.expires),
    }
}

fn names(patterns: &[policy::Pattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

/// A defect that a test plants, to see that the record gives it away. No program is built with it.
#[cfg(test)]
pub(super) mod planted {
    use super::{Action, Principal, Said};

    /// Whom the host lets do whatever the policy denies.
    pub const FRIEND: &str = "agent:friend";

    /// Answers a friend wrongly.
    pub fn spoilt(mut said: Said, principal: &Principal) -> Said {
        if principal.as_str() == FRIEND && said.decision.action == Action::Deny {
            (said.decision.action, said.decision.reason) = (Action::Allow, None);
        }
        said
    }
}
