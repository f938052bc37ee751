//! A run as it is shown: the one object that `run`, `call` and `show` print.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::EngineError;
use super::live::parse;
use crate::journal::Journal;
use crate::saga::event::{Cause, Event, Residue};
use crate::saga::{RunState, State, Status, Step, StepIndex, StepState};
use crate::types::{Action, Digest, Effect, Failure, Grant, Principal, Risk, RunId, Timestamp};

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    /// The number of this schema.
    pub schema: u32,
    /// Its id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// On whose behalf.
    pub principal: String,
    /// Its state.
    pub state: RunState,
    /// Why it turned back.
    pub reason: Option<Reason>,
    /// When it was submitted, RFC 3339.
    pub submitted: String,
    /// When it was closed, RFC 3339.
    pub closed: Option<String>,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// What remains.
    pub residue: Vec<Residue>,
}

/// Why a run turned back.
#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    /// The cause.
    pub code: &'static str,
    /// The step, if one was the cause.
    pub step: Option<String>,
    /// One sentence.
    pub message: String,
}

/// A step.
#[derive(Clone, Debug, Serialize)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// The capability; none for a step that only waits.
    pub capability: Option<String>,
    /// The component.
    pub component: Option<Digest>,
    /// The agent that acts in it for the run's principal, if one does.
    pub agent: Option<Principal>,
    /// What the capability asks for, as its component says; none if that is not kept.
    pub asks: Option<Vec<String>>,
    /// Its state.
    pub state: StepState,
    /// Whether the host compared every file target after the undo.
    pub checked: bool,
    /// How many attempts there were.
    pub attempts: u32,
    /// The decision, if it was decided.
    pub decision: Option<DecisionView>,
    /// The request, if a person is or was asked.
    pub approval: Option<ApprovalView>,
    /// What it was given, once that is decided.
    pub input: Option<Value>,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed, or what is unclear.
    pub error: Option<Failure>,
    /// The targets that it touched, with their states.
    pub targets: Vec<TargetView>,
    /// What it did.
    pub effects: Vec<Effect>,
}

/// A decision.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionView {
    /// The final answer.
    pub action: Action,
    /// The rule, from 1; none if the default answered.
    pub rule: Option<u32>,
    /// The rule's line.
    pub line: Option<u32>,
    /// The risk that counted.
    pub risk: Risk,
    /// Whether the risk made it stricter.
    pub escalated: bool,
    /// Why, where the rule alone does not say it.
    pub reason: Option<String>,
    /// The policy.
    pub policy: Digest,
    /// What the sandbox opens.
    pub grant: Grant,
}

/// A request for approval and its votes.
#[derive(Clone, Debug, Serialize)]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// Who may vote.
    pub approvers: Vec<String>,
    /// How many must approve.
    pub quorum: u32,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// Who voted.
    pub votes: Vec<VoteView>,
}

/// A vote.
#[derive(Clone, Debug, Serialize)]
pub struct VoteView {
    /// Who.
    pub by: String,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// The path as the component sees it.
    pub target: String,
    /// The path on the host.
    pub host: Option<String>,
    /// Before the step.
    pub before: String,
    /// After it, if that is known.
    pub after: Option<String>,
}

/// A moment in RFC 3339.
pub fn rfc3339(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{} ms after 1970", at.0), |at| at.to_string())
}

/// The view of a run. Inputs and outputs are read from the journal; what was erased is left out.
pub fn view(journal: &dyn Journal, run: &RunId) -> Result<RunView, EngineError> {
    let mut state: Option<State> = None;
    let mut effects: Vec<(StepIndex, Effect)> = Vec::new();
    super::history::each_entry(journal, run, |entry| {
        match &mut state {
            None => state = Some(State::begin(entry)?),
            Some(state) => state.apply(entry)?,
        }
        if let (Event::Result(result), Some(state)) = (&entry.event, &state)
            && let Some(index) = state.index(result.step.as_str())
        {
            effects.extend(result.evidence.effects.iter().map(|effect| (index, effect.clone())));
        }
        Ok(())
    })?;
    let state = state.ok_or_else(|| EngineError::NoSuchRun(run.clone()))?;
    let mut steps = Vec::with_capacity(state.steps.len());
    let mut asks = Asks::default();
    for (index, step) in state.steps.iter().enumerate() {
        let asks = asks.of(journal, step);
        steps.push(StepView { asks, ..step_view(journal, &state, index, step)? });
    }
    for (index, effect) in effects {
        if let Some(step) = steps.get_mut(index) {
            step.effects.push(effect);
        }
    }
    Ok(RunView {
        schema: 1,
        run: run.clone(),
        workflow: state.submitted.name.clone(),
        principal: state.submitted.principal.to_string(),
        state: state.shown(),
        reason: reason(&state),
        submitted: rfc3339(state.submitted_at),
        closed: state.closed_at.map(rfc3339),
        steps,
        residue: state.closed.as_ref().map(|closed| closed.residue.clone()).unwrap_or_default(),
    })
}

/// Why a run turned back, if it did.
pub fn reason(state: &State) -> Option<Reason> {
    if let Some(kill) = &state.kill {
        return Some(Reason { code: "killed", step: None, message: format!("{} killed it: {}", kill.by, kill.reason) });
    }
    let cause = state.cause.as_ref()?;
    let (code, step) = match cause {
        Cause::StepFailed { step, .. } => ("step_failed", Some(step)),
        Cause::StepUnclear { step, .. } => ("step_unclear", Some(step)),
        Cause::Cancelled { .. } => ("cancelled", None),
        Cause::Deadline => ("deadline", None),
        Cause::Idle => ("idle", None),
        Cause::Client { .. } => ("client", None),
        Cause::Undo { .. } => ("undo", None),
    };
    Some(Reason { code, step: step.map(ToString::to_string), message: cause.to_string() })
}

/// What the kept components say of themselves, read once each.
#[derive(Default)]
struct Asks(HashMap<Digest, Option<Value>>);

impl Asks {
    /// What a step's capability asks for. A component that was changed says nothing here; verifying the journal names it.
    fn of(&mut self, journal: &dyn Journal, step: &Step) -> Option<Vec<String>> {
        let (capability, component) = (step.spec.capability.as_ref()?, step.spec.component?);
        let described = self.0.entry(component).or_insert_with(|| {
            let kept = journal.component(&component).ok().flatten()?;
            serde_json::from_str(&kept.describe).ok()
        });
        let all = described.as_ref()?.get("capabilities")?.as_array()?;
        let one = all.iter().find(|one| one.get("id").and_then(Value::as_str) == Some(capability.as_str()))?;
        let asks = one.get("permissions").and_then(Value::as_array).into_iter().flatten();
        Some(asks.filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

fn step_view(journal: &dyn Journal, state: &State, index: StepIndex, step: &Step) -> Result<StepView, EngineError> {
    let read = |reference: Option<crate::types::PayloadRef>| -> Result<Option<Value>, EngineError> {
        match reference {
            Some(reference) => Ok(journal.payload(&reference.digest)?.map(|bytes| parse(&bytes))),
            None => Ok(None),
        }
    };
    let (shown, error) = state.shown_step(index);
    let decision = step.decision.as_ref();
    Ok(StepView {
        name: step.spec.name.to_string(),
        capability: step.spec.capability.as_ref().map(ToString::to_string),
        component: step.spec.component,
        agent: step.spec.agent.clone(),
        asks: None,
        state: shown,
        checked: matches!(step.status, Status::Undone { checked: true }),
        attempts: step.attempts,
        decision: decision.map(|decision| DecisionView {
            action: decision.action,
            rule: decision.rule.as_ref().map(|rule| rule.index),
            line: decision.rule.as_ref().map(|rule| rule.line),
            risk: decision.risk,
            escalated: decision.escalated,
            reason: decision.reason.clone(),
            policy: decision.policy,
            grant: decision.grant.clone(),
        }),
        approval: step.request().map(|request| ApprovalView {
            id: request.id.clone(),
            approvers: request.approvers.iter().chain(request.also.iter().flatten()).cloned().collect(),
            quorum: request.quorum,
            expires: rfc3339(request.expires),
            votes: step
                .votes
                .iter()
                .map(|vote| VoteView { by: vote.by.to_string(), approve: vote.approve, reason: vote.reason.clone() })
                .collect(),
        }),
        input: read(decision.and_then(|decision| decision.input))?,
        output: read(step.output)?,
        error,
        targets: step
            .touched
            .iter()
            .map(|(target, touched)| TargetView {
                target: target.to_string(),
                host: target.host_path().map(str::to_owned),
                before: touched.before.to_string(),
                after: touched.after.as_ref().map(ToString::to_string),
            })
            .collect(),
        effects: Vec::new(),
    })
}
