//! What is not shown of inputs and outputs, unless somebody asks for it.

use std::collections::HashMap;

use serde_json::Value;

use super::decide::human;
use super::view::{RunView, StepView};
use crate::document::Source;
use crate::journal::Journal;
use crate::policy::{Policy, Side, marks_any, mask_marked};
use crate::types::{CapabilityId, Digest};

/// Masks what the schemas of components mark, what the policy names under which it was decided, and what the one in force names.
pub struct Mask<'a> {
    journal: &'a dyn Journal,
    in_force: Option<&'a Policy>,
    described: HashMap<Digest, Option<Value>>,
    policies: HashMap<Digest, Option<Policy>>,
}

/// What a step is decided as; one that only waits as `human.approve`.
fn id_of(step: &StepView) -> Option<CapabilityId> {
    match &step.capability {
        Some(capability) => CapabilityId::parse(capability).ok(),
        None => Some(human()),
    }
}

/// Whose value it is.
#[derive(Clone, Copy, Debug)]
pub struct Called<'a> {
    /// The capability.
    pub capability: &'a CapabilityId,
    /// The component that provides it, if one does.
    pub component: Option<&'a Digest>,
    /// The policy under which it was decided.
    pub policy: Option<&'a Digest>,
}

impl<'a> Mask<'a> {
    /// Asks `journal` for components and policies.
    pub fn new(journal: &'a dyn Journal, in_force: Option<&'a Policy>) -> Mask<'a> {
        Mask { journal, in_force, described: HashMap::new(), policies: HashMap::new() }
    }

    /// Masks a value; true if there was anything to mask.
    pub fn value(&mut self, called: Called<'_>, side: Side, value: &mut Value) -> bool {
        let mut any = false;
        if let Some(schema) = called.component.and_then(|component| self.schema(component, called.capability, side)) {
            any |= mask_marked(schema, value);
        }
        if let Some(policy) = called.policy.and_then(|digest| self.kept(digest)) {
            any |= policy.mask(called.capability, side, value);
        }
        self.in_force.is_some_and(|policy| policy.mask(called.capability, side, value)) | any
    }

    /// Masks the values of a run's steps; true if there was anything to mask.
    pub fn run(&mut self, view: &mut RunView) -> bool {
        view.steps.iter_mut().fold(false, |any, step| self.step(step) | any)
    }

    /// Masks the values of a step; true if there was anything to mask.
    pub fn step(&mut self, step: &mut StepView) -> bool {
        let (mut input, mut output) = (step.input.take(), step.output.take());
        let mut any = false;
        for (side, value) in [(Side::Inputs, &mut input), (Side::Outputs, &mut output)] {
            any |= value.as_mut().is_some_and(|value| self.value_of(step, side, value));
        }
        (step.input, step.output) = (input, output);
        any
    }

    /// Masks a value of a step; true if there was anything to mask.
    pub fn value_of(&mut self, step: &StepView, side: Side, value: &mut Value) -> bool {
        let Some(capability) = id_of(step) else { return false };
        let policy = step.decision.as_ref().map(|decision| &decision.policy);
        self.value(Called { capability: &capability, component: step.component.as_ref(), policy }, side, value)
    }

    /// Whether anything that a step is given or returns is marked, be it there or not.
    pub fn concerns(&mut self, step: &StepView) -> bool {
        let Some(capability) = id_of(step) else { return false };
        for side in [Side::Inputs, Side::Outputs] {
            let schema = step.component.as_ref().and_then(|component| self.schema(component, &capability, side));
            if schema.is_some_and(marks_any) {
                return true;
            }
        }
        let policy = step.decision.as_ref().map(|decision| decision.policy);
        let named =
            policy.and_then(|digest| self.kept(&digest)).is_some_and(|policy| policy.names_sensitive(&capability));
        named || self.in_force.is_some_and(|policy| policy.names_sensitive(&capability))
    }

    /// The schema of what a kept component takes or returns. A component that was changed says nothing here.
    fn schema(&mut self, component: &Digest, capability: &CapabilityId, side: Side) -> Option<&Value> {
        let described = self.described.entry(*component).or_insert_with(|| {
            let kept = self.journal.component(component).ok().flatten()?;
            serde_json::from_str(&kept.describe).ok()
        });
        let all = described.as_ref()?.get("capabilities")?.as_array()?;
        let one = all.iter().find(|one| one.get("id").and_then(Value::as_str) == Some(capability.as_str()))?;
        one.get(match side {
            Side::Inputs => "input",
            Side::Outputs => "output",
        })
    }

    fn kept(&mut self, digest: &Digest) -> Option<&Policy> {
        let policy = self.policies.entry(*digest).or_insert_with(|| {
            let kept = self.journal.policy(digest).ok().flatten()?;
            Policy::load_untested(Source::new(kept.name.as_str(), kept.text.as_str()), "/")
                .ok()
                .map(|(policy, _)| policy)
        });
        policy.as_ref()
    }
}
