//! What another policy would have answered: every recorded decision, decided again.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::again::decide_again;
use super::decide::{human, parties_of};
use crate::journal::{Journal, JournalError};
use crate::policy::Policy;
use crate::saga::event::{Decision, Entry, Event, RunSubmitted, StepSpec};
use crate::types::{Action, CapabilityId, PayloadRef, Principal, RunId, StepName};

/// A decision that another policy answers otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepName,
    /// Who acted.
    pub principal: Principal,
    /// For whom, where a step named an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting_for: Option<Principal>,
    /// What was to be done.
    pub capability: CapabilityId,
    /// Whether the answer is less strict now.
    pub looser: bool,
    /// How it was answered.
    pub was: Answered,
    /// How it would be.
    pub is: Answered,
}

/// An answer, and the rule that decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// The answer.
    pub action: Action,
    /// The rule, from 1; none if it was the default.
    pub rule: Option<u64>,
    /// Its line in the file.
    pub line: Option<u64>,
}

/// Decides recorded decisions again.
pub struct Simulation<'a> {
    policy: &'a Policy,
    principal: Option<&'a Principal>,
    /// How many decisions were decided again.
    pub decisions: u64,
    /// How many could not be: their input was erased, or is not in the journal.
    pub not_decidable: u64,
    /// Those whose answer differs.
    pub flips: Vec<Flip>,
}

impl<'a> Simulation<'a> {
    /// Under `policy`; only what was asked for by or for `principal`, if one is given.
    pub fn new(policy: &'a Policy, principal: Option<&'a Principal>) -> Simulation<'a> {
        Simulation { policy, principal, decisions: 0, not_decidable: 0, flips: Vec::new() }
    }

    /// Takes in one run, all its events in order.
    pub fn run(&mut self, entries: &[Entry], journal: &dyn Journal) -> Result<(), JournalError> {
        let Some(Event::RunSubmitted(submitted)) = entries.first().map(|entry| &entry.event) else { return Ok(()) };
        let mut steps: HashMap<&StepName, &StepSpec> = submitted.steps.iter().map(|spec| (&spec.name, spec)).collect();
        for entry in entries {
            match &entry.event {
                Event::StepSubmitted(one) => drop(steps.insert(&one.step.name, &one.step)),
                Event::Decision(decision) => {
                    if let Some(spec) = steps.get(&decision.step) {
                        self.decision(submitted, spec, decision, journal)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn decision(
        &mut self,
        submitted: &RunSubmitted,
        spec: &StepSpec,
        decision: &Decision,
        journal: &dyn Journal,
    ) -> Result<(), JournalError> {
        let (principal, acting_for) = parties_of(&submitted.principal, spec);
        if self.principal.is_some_and(|only| *only != principal && Some(only) != acting_for.as_ref()) {
            return Ok(());
        }
        let input = read(decision.input.as_ref(), journal)?;
        let known = match &decision.compensation {
            Some(compensation) => read(compensation.input.as_ref(), journal)?,
            None => None,
        };
        let (Some(input), true) = (input, known.is_some() || decision.compensation.is_none()) else {
            self.not_decidable += 1;
            return Ok(());
        };
        let answer = decide_again(self.policy, submitted, spec, decision, &input, known.as_ref());
        self.decisions += 1;
        let was = Answered {
            action: decision.action,
            rule: decision.rule.as_ref().map(|rule| rule.index.into()),
            line: decision.rule.as_ref().map(|rule| rule.line.into()),
        };
        let is = Answered {
            action: answer.action,
            rule: answer.rule.as_ref().map(|rule| rule.index as u64),
            line: answer.rule.as_ref().map(|rule| rule.line as u64),
        };
        if was.action != is.action {
            self.flips.push(Flip {
                run: submitted.run.clone(),
                step: decision.step.clone(),
                principal,
                acting_for,
                capability: spec.capability.clone().unwrap_or_else(human),
                looser: is.action < was.action,
                was,
                is,
            });
        }
        Ok(())
    }
}

/// An input that was decided; none if it is gone.
fn read(input: Option<&PayloadRef>, journal: &dyn Journal) -> Result<Option<Value>, JournalError> {
    let Some(reference) = input else { return Ok(None) };
    let bytes = journal.payload(&reference.digest)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
