//! What another policy would have answered: every recorded decision, decided again ([`Simulation`]), or what a shadow policy was
//! recorded to answer otherwise ([`Shadowed`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Serialize;
use serde_json::Value;

use super::EngineError;
use super::decide::{human, parties_of};
use super::question::{Question, Recorded};
use crate::journal::{Journal, JournalError};
use crate::policy::Policy;
use crate::saga::event::{Decision, Event, RuleRef, RunSubmitted, StepSpec};
use crate::types::{Action, CapabilityId, Digest, Grant, PayloadRef, Principal, RunId, StepName};

/// A decision that another policy answers otherwise, or under which it would open something else.
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
    /// What the sandbox would open instead, if that is known and differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Box<GrantFlip>>,
    /// What it would open instead for the declared compensation, if that is known and differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation_grant: Option<Box<GrantFlip>>,
}

/// What is opened, and what would be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrantFlip {
    /// What is opened.
    pub was: Grant,
    /// What would be.
    pub is: Grant,
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
    /// The policy that was asked, where that is not the same for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
}

impl Answered {
    fn recorded(action: Action, rule: Option<&RuleRef>, policy: Option<Digest>) -> Answered {
        let (index, line) = (rule.map(|rule| rule.index.into()), rule.map(|rule| rule.line.into()));
        Answered { action, rule: index, line, policy }
    }
}

/// What shadow policies were recorded to answer otherwise.
pub struct Shadowed<'a> {
    principal: Option<&'a Principal>,
    /// How many decisions there are, also those that no shadow policy was asked about.
    pub decisions: u64,
    /// Those that a shadow policy answers otherwise.
    pub flips: Vec<Flip>,
}

impl<'a> Shadowed<'a> {
    /// Only what was asked for by or for `principal`, if one is given.
    pub fn new(principal: Option<&'a Principal>) -> Shadowed<'a> {
        Shadowed { principal, decisions: 0, flips: Vec::new() }
    }

    /// Takes in one run. An error if it cannot be read; then nothing of it is counted.
    pub fn run(&mut self, run: &RunId, journal: &dyn Journal) -> Result<(), EngineError> {
        let (mut decisions, mut flips) = (0, Vec::new());
        each_decision(journal, run, |submitted, spec, decision| {
            let (principal, acting_for) = parties_of(&submitted.principal, spec);
            if self.principal.is_some_and(|only| *only != principal && Some(only) != acting_for.as_ref()) {
                return;
            }
            decisions += 1;
            flips.extend(shadowed(submitted, spec, decision, (principal, acting_for)));
        })?;
        self.decisions += decisions;
        self.flips.extend(flips);
        Ok(())
    }
}

/// What the shadow policy answered otherwise, if it did.
fn shadowed(
    submitted: &RunSubmitted,
    spec: &StepSpec,
    decision: &Decision,
    (principal, acting_for): (Principal, Option<Principal>),
) -> Option<Flip> {
    let shadow = decision.shadow.as_ref()?;
    let flip = |was: Option<&Grant>, is: &Option<Grant>| {
        is.as_ref().map(|is| Box::new(GrantFlip { was: was.cloned().unwrap_or_default(), is: is.clone() }))
    };
    let grant = flip(Some(&decision.grant), &shadow.grant);
    let of_compensation = decision.compensation.as_ref().map(|compensation| &compensation.grant);
    let compensation_grant = flip(of_compensation, &shadow.compensation_grant);
    let opens = |grant: &Option<Box<GrantFlip>>| grant.as_ref().is_some_and(|g| g.is.opens_more_than(&g.was));
    let opens_more = shadow.action != Action::Deny && (opens(&grant) || opens(&compensation_grant));
    Some(Flip {
        run: submitted.run.clone(),
        step: decision.step.clone(),
        principal,
        acting_for,
        capability: spec.capability.clone().unwrap_or_else(human),
        looser: shadow.action < decision.action || opens_more,
        was: Answered::recorded(decision.action, decision.rule.as_ref(), Some(decision.policy)),
        is: Answered::recorded(shadow.action, shadow.rule.as_ref(), Some(shadow.policy)),
        grant,
        compensation_grant,
    })
}

/// Hands over the decisions of a run, each with its step.
fn each_decision(
    journal: &dyn Journal,
    run: &RunId,
    mut each: impl FnMut(&RunSubmitted, &StepSpec, &Decision),
) -> Result<(), EngineError> {
    let mut steps: HashMap<StepName, StepSpec> = HashMap::new();
    let mut submitted = None;
    journal.each_of(run, &["RUN_SUBMITTED", "STEP_SUBMITTED", "DECISION"], &mut |entry| match entry.event {
        Event::RunSubmitted(mut event) => {
            steps.extend(event.steps.drain(..).map(|spec| (spec.name.clone(), spec)));
            submitted = Some(event);
        }
        Event::StepSubmitted(one) => drop(steps.insert(one.step.name.clone(), one.step)),
        Event::Decision(decision) => {
            if let Some((submitted, spec)) = submitted.as_ref().zip(steps.get(&decision.step)) {
                each(submitted, spec, &decision);
            }
        }
        _ => {}
    })?;
    submitted.map(drop).ok_or_else(|| EngineError::NoSuchRun(run.clone()))
}

/// Decides recorded decisions again.
pub struct Simulation<'a> {
    policy: &'a Policy,
    principal: Option<&'a Principal>,
    /// How many decisions were decided again.
    pub decisions: u64,
    /// How many could not be: their input was erased, or is not in the journal.
    pub not_redecidable: u64,
    /// Those whose answer differs.
    pub flips: Vec<Flip>,
}

impl<'a> Simulation<'a> {
    /// Under `policy`; only what was asked for by or for `principal`, if one is given.
    pub fn new(policy: &'a Policy, principal: Option<&'a Principal>) -> Simulation<'a> {
        Simulation { policy, principal, decisions: 0, not_redecidable: 0, flips: Vec::new() }
    }

    /// Takes in runs, in this order, and reads as many at once as there are processors. How many cannot be read.
    pub fn runs(&mut self, runs: &[RunId], journal: &dyn Journal) -> u64 {
        let next = AtomicUsize::new(0);
        let (policy, principal) = (self.policy, self.principal);
        let work = || {
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(run) = runs.get(place) else { return done };
                let mut one = Simulation::new(policy, principal);
                done.push((place, one.run(run, journal).map(|()| one)));
            }
        };
        let workers = thread::available_parallelism().map_or(1, usize::from).min(runs.len());
        let mut done = thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| thread::Builder::new().spawn_scoped(scope, work)).collect();
            let mut done = work();
            for other in others {
                // What a thread that could not be started would have done, the others did.
                let Ok(other) = other else { continue };
                done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            done
        });
        done.sort_unstable_by_key(|(place, _)| *place);
        let mut unreadable = 0;
        for (_, one) in done {
            match one {
                Ok(one) => self.add(one),
                Err(_) => unreadable += 1,
            }
        }
        unreadable
    }

    fn add(&mut self, one: Simulation<'a>) {
        self.decisions += one.decisions;
        self.not_redecidable += one.not_redecidable;
        self.flips.extend(one.flips);
    }

    /// Takes in one run.
    fn run(&mut self, run: &RunId, journal: &dyn Journal) -> Result<(), EngineError> {
        let mut result = Ok(());
        each_decision(journal, run, |submitted, spec, decision| {
            if result.is_ok() {
                result = self.decision(submitted, spec, decision, journal);
            }
        })?;
        Ok(result?)
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
            self.not_redecidable += 1;
            return Ok(());
        };
        // What would be opened is not looked at: the components that asked are not loaded.
        let recorded = Recorded { input: &input, compensation: known.as_ref(), asked: Default::default() };
        let answer = Question::of_recorded(submitted, spec, recorded).put_to(self.policy).decision;
        self.decisions += 1;
        let was = Answered::recorded(decision.action, decision.rule.as_ref(), None);
        let is = Answered {
            action: answer.action,
            rule: answer.rule.as_ref().map(|rule| rule.index as u64),
            line: answer.rule.as_ref().map(|rule| rule.line as u64),
            policy: None,
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
                grant: None,
                compensation_grant: None,
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
