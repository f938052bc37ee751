//! What is not shown of inputs and outputs, unless somebody asks for it.
//!
//! Three say what is sensitive: the schemas of the component that was called, the policy under which it was decided, and the one in
//! force. If one of them cannot be read, all of the value is.

use std::collections::HashMap;

use serde_json::Value;

use super::decide::human;
use super::view::{RunView, StepView};
use crate::document::Source;
use crate::journal::Journal;
use crate::policy::{MASKED, Policy, Side, marks_any, mask_marked};
use crate::saga::Step;
use crate::types::{CapabilityId, Digest};

/// See the page of this module.
pub struct Mask<'a> {
    journal: &'a dyn Journal,
    in_force: InForce<'a>,
    /// What kept components say of themselves; none of one that cannot be read.
    described: HashMap<Digest, Option<Value>>,
    /// Kept policies; none for one that cannot be read.
    policies: HashMap<Digest, Option<Policy>>,
}

/// The policy in force.
#[derive(Clone, Copy)]
pub enum InForce<'a> {
    /// There is none.
    None,
    /// This one.
    Policy(&'a Policy),
    /// There is one that cannot be read.
    Unreadable,
}

/// Whose value it is.
#[derive(Clone, Debug)]
pub struct Called {
    /// The capability; `human.approve` of a step that only waits.
    pub capability: CapabilityId,
    /// The component that provides it, if one does.
    pub component: Option<Digest>,
    /// The policy under which it was decided, if it was.
    pub policy: Option<Digest>,
}

impl Called {
    /// What a step calls.
    pub fn by(step: &Step) -> Called {
        Called {
            capability: step.spec.capability.clone().unwrap_or_else(human),
            component: step.spec.component,
            policy: step.decision.as_ref().map(|decision| decision.policy),
        }
    }

    /// What undoes a step, if it declares that.
    pub fn to_undo(step: &Step) -> Option<Called> {
        let declared = step.spec.compensation.as_ref()?;
        let component = Some(declared.component);
        Some(Called { capability: declared.capability.clone(), component, ..Called::by(step) })
    }

    fn shown(step: &StepView) -> Option<Called> {
        let capability = match &step.capability {
            Some(capability) => CapabilityId::parse(capability).ok()?,
            None => human(),
        };
        let policy = step.decision.as_ref().map(|decision| decision.policy);
        Some(Called { capability, component: step.component, policy })
    }
}

/// Something cannot be read, so that nobody knows what it marks.
struct Unreadable;

impl<'a> Mask<'a> {
    /// Asks `journal` for components and policies.
    pub fn new(journal: &'a dyn Journal, in_force: InForce<'a>) -> Mask<'a> {
        Mask { journal, in_force, described: HashMap::new(), policies: HashMap::new() }
    }

    /// Masks a value; true if there was anything to mask.
    pub fn value(&mut self, called: &Called, side: Side, value: &mut Value) -> bool {
        match self.known(called, side, value) {
            Ok(any) => any,
            Err(Unreadable) => {
                *value = Value::String(MASKED.to_owned());
                true
            }
        }
    }

    fn known(&mut self, called: &Called, side: Side, value: &mut Value) -> Result<bool, Unreadable> {
        let mut any = false;
        if let Some(schema) = self.schema(called, side)? {
            any |= mask_marked(schema, value);
        }
        if let Some(policy) = self.policy(called)? {
            any |= policy.mask(&called.capability, side, value);
        }
        match self.in_force {
            InForce::None => Ok(any),
            InForce::Policy(policy) => Ok(policy.mask(&called.capability, side, value) | any),
            InForce::Unreadable => Err(Unreadable),
        }
    }

    /// Whether anything that is given or returned is marked, be it there or not.
    pub fn concerns(&mut self, called: &Called) -> bool {
        let marked = |mask: &mut Self| {
            for side in [Side::Inputs, Side::Outputs] {
                if mask.schema(called, side)?.is_some_and(marks_any) {
                    return Ok(true);
                }
            }
            if mask.policy(called)?.is_some_and(|policy| policy.names_sensitive(&called.capability)) {
                return Ok(true);
            }
            match mask.in_force {
                InForce::None => Ok(false),
                InForce::Policy(policy) => Ok(policy.names_sensitive(&called.capability)),
                InForce::Unreadable => Err(Unreadable),
            }
        };
        marked(self).unwrap_or(true)
    }

    /// Masks the values of a run's steps; true if there was anything to mask.
    pub fn run(&mut self, view: &mut RunView) -> bool {
        let mut any = false;
        for step in &mut view.steps {
            let Some(called) = Called::shown(step) else { continue };
            for (side, value) in [(Side::Inputs, &mut step.input), (Side::Outputs, &mut step.output)] {
                any |= value.as_mut().is_some_and(|value| self.value(&called, side, value));
            }
        }
        any
    }

    /// The schema of what a kept component takes or returns.
    fn schema(&mut self, called: &Called, side: Side) -> Result<Option<&Value>, Unreadable> {
        let Some(component) = called.component else { return Ok(None) };
        let described = self.described.entry(component).or_insert_with(|| {
            let kept = self.journal.component(&component).ok().flatten()?;
            serde_json::from_str(&kept.describe).ok()
        });
        let all =
            described.as_ref().and_then(|described| described.get("capabilities")?.as_array()).ok_or(Unreadable)?;
        let named = |one: &&Value| one.get("id").and_then(Value::as_str) == Some(called.capability.as_str());
        let one = all.iter().find(named).ok_or(Unreadable)?;
        Ok(one.get(match side {
            Side::Inputs => "input",
            Side::Outputs => "output",
        }))
    }

    /// The policy under which it was decided.
    fn policy(&mut self, called: &Called) -> Result<Option<&Policy>, Unreadable> {
        let Some(digest) = called.policy else { return Ok(None) };
        let policy = self.policies.entry(digest).or_insert_with(|| {
            let kept = self.journal.policy(&digest).ok().flatten()?;
            let source = Source::new(kept.name.as_str(), kept.text.as_str());
            Policy::load_untested(source, "/").ok().map(|(policy, _)| policy)
        });
        policy.as_ref().map(Some).ok_or(Unreadable)
    }
}
