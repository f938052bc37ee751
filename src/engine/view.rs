//! A run as it is shown: the one object that `run`, `call` and `show` print.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::EngineError;
use super::live::parse;
use crate::journal::Journal;
use crate::saga::event::{Cause, Decision, Event, Evidence, ReadRecord, Residue, UndoOutcome, Vote};
use crate::saga::{RunState, State, Status, Step, StepIndex, StepState};
use crate::types::{Action, Digest, Effect, Failure, Grant, Principal, Risk, RunId, StepName, Timestamp};

/// A run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub struct RunView {
    /// The number of this schema.
    pub schema: u32,
    /// Its id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// On whose behalf.
    pub principal: String,
    /// Who submitted it, if an agent did that for the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Principal>,
    /// The host that it was submitted by.
    pub host: HostView,
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

/// A host.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Host")]
pub struct HostView {
    /// Its version.
    pub version: String,
    /// The digest of its program file, if the run says so.
    pub binary: Option<Digest>,
}

/// Why a run turned back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reason {
    /// The cause.
    pub code: &'static str,
    /// The step, if one was the cause.
    pub step: Option<String>,
    /// One sentence.
    pub message: String,
}

/// A step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RunStep")]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// The capability; none for a step that only waits.
    pub capability: Option<String>,
    /// The component.
    pub component: Option<Digest>,
    /// The steps that must have succeeded before.
    pub depends_on: Vec<StepName>,
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
    /// Votes on earlier requests of the step, which count no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub void_votes: Vec<VoidVoteView>,
    /// What it was given, once that is decided.
    pub input: Option<Value>,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed, or what is unclear.
    pub error: Option<Failure>,
    /// The targets that it touched, with their states.
    pub targets: Vec<TargetView>,
    /// What its attempts did.
    #[serde(flatten)]
    pub done: Done,
    /// The attempts to undo it.
    pub undos: Vec<UndoView>,
}

/// What one attempt did, or several.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Done {
    /// Every effect, in order.
    pub effects: Vec<Effect>,
    /// Requests that were no effects, in order.
    pub egress: Vec<Effect>,
    /// Reads, by directory.
    pub reads: Vec<ReadRecord>,
    /// How many effects and requests more there were than are listed.
    pub unlisted: u64,
}

/// An attempt to undo a step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Undo")]
pub struct UndoView {
    /// Which one, from 1; 0 if it was refused before one began.
    pub attempt: u32,
    /// How it ended.
    pub outcome: UndoOutcome,
    /// Whether the host compared every file target.
    pub checked: bool,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What it did.
    #[serde(flatten)]
    pub done: Done,
}

impl Done {
    fn add(&mut self, evidence: &Evidence) {
        self.effects.extend(evidence.effects.iter().cloned());
        self.egress.extend(evidence.egress.iter().cloned());
        let listed = (evidence.effects.len() + evidence.egress.len()) as u64;
        self.unlisted += (evidence.effects_total + evidence.egress_total).saturating_sub(listed);
        for read in &evidence.reads {
            match self.reads.iter_mut().find(|known| known.place == read.place) {
                Some(known) => {
                    known.count += read.count;
                    known.bytes = known.bytes.saturating_add(read.bytes);
                }
                None => self.reads.push(read.clone()),
            }
        }
    }
}

/// A decision.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "StepDecision")]
pub struct DecisionView {
    /// The final answer.
    pub action: Action,
    /// The rule, from 1; none if the default answered.
    pub rule: Option<u32>,
    /// The rule's line.
    pub line: Option<u32>,
    /// The rule's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Approval")]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Vote")]
pub struct VoteView {
    /// Who.
    pub by: String,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
}

/// A vote that counts no more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "VoidVote")]
pub struct VoidVoteView {
    /// The request that it was given for.
    pub request: String,
    /// The vote.
    #[serde(flatten)]
    pub vote: VoteView,
    /// Why it counts no more.
    pub void: String,
}

/// A target.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Target")]
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
    let mut done: HashMap<StepIndex, (Done, Vec<UndoView>)> = HashMap::new();
    let mut void: HashMap<StepIndex, Vec<VoidVoteView>> = HashMap::new();
    super::history::each_entry(journal, run, |entry| {
        if let (Some(state), Event::Decision(decision)) = (&state, &entry.event)
            && let Some(index) = state.index(decision.step.as_str())
            && let Some(step) = state.step(index).filter(|step| !step.votes.is_empty())
        {
            void.entry(index).or_default().extend(voided(step, decision));
        }
        match &mut state {
            None => state = Some(State::begin(&entry)?),
            Some(state) => state.apply(&entry)?,
        }
        let step = entry.event.step().and_then(|step| state.as_ref()?.index(step.as_str()));
        let Some(index) = step else { return Ok(()) };
        match &entry.event {
            Event::Result(result) => done.entry(index).or_default().0.add(&result.evidence),
            Event::UndoResult(result) => {
                let mut did = Done::default();
                did.add(&result.evidence);
                done.entry(index).or_default().1.push(UndoView {
                    attempt: result.attempt,
                    outcome: result.outcome,
                    checked: result.checked,
                    error: result.error.clone(),
                    done: did,
                });
            }
            _ => {}
        }
        Ok(())
    })?;
    let state = state.ok_or_else(|| EngineError::NoSuchRun(run.clone()))?;
    let mut steps = Vec::with_capacity(state.steps.len());
    let mut asks = Asks::default();
    for (index, step) in state.steps.iter().enumerate() {
        let asks = asks.of(journal, step);
        let (done, undos) = done.remove(&index).unwrap_or_default();
        let void_votes = void.remove(&index).unwrap_or_default();
        steps.push(StepView { asks, void_votes, done, undos, ..step_view(journal, &state, index, step)? });
    }
    Ok(RunView { steps, ..outline(&state) })
}

fn vote_view(vote: &Vote) -> VoteView {
    VoteView { by: vote.by.to_string(), approve: vote.approve, reason: vote.reason.clone() }
}

/// The votes of a step that count no more, since `new` takes the place of the decision that they were given for.
fn voided(step: &Step, new: &Decision) -> impl Iterator<Item = VoidVoteView> {
    let earlier = step.decision.as_ref();
    let same_policy = earlier.is_some_and(|earlier| earlier.policy == new.policy);
    let by = if same_policy { "the step" } else { "the policy was changed, and the step" };
    let now = match earlier {
        Some(earlier) if earlier.action == new.action => "with another risk, grant, approvers or quorum".to_owned(),
        _ => format!("the answer is {}", new.action),
    };
    let void = format!("{by} was decided again before it ran: {now}");
    step.votes.iter().map(move |vote| VoidVoteView {
        request: vote.request.clone(),
        vote: vote_view(vote),
        void: void.clone(),
    })
}

/// The view of a run without its steps: no more is needed for it than the state.
pub fn outline(state: &State) -> RunView {
    RunView {
        schema: 1,
        run: state.run().clone(),
        workflow: state.submitted.name.clone(),
        principal: state.submitted.principal.to_string(),
        agent: state.submitted.agent.clone(),
        host: HostView { version: state.submitted.engine.clone(), binary: state.submitted.binary },
        state: state.shown(),
        reason: reason(state),
        submitted: rfc3339(state.submitted_at),
        closed: state.closed_at.map(rfc3339),
        steps: Vec::new(),
        residue: state.closed.as_ref().map(|closed| closed.residue.clone()).unwrap_or_default(),
    }
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
        depends_on: step.spec.depends_on.clone(),
        agent: step.spec.agent.clone(),
        asks: None,
        state: shown,
        checked: matches!(step.status, Status::Undone { checked: true }),
        attempts: step.attempts,
        decision: decision.map(|decision| DecisionView {
            action: decision.action,
            rule: decision.rule.as_ref().map(|rule| rule.index),
            line: decision.rule.as_ref().map(|rule| rule.line),
            rule_name: decision.rule.as_ref().and_then(|rule| rule.name.clone()),
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
            votes: step.votes.iter().map(vote_view).collect(),
        }),
        void_votes: Vec::new(),
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
        done: Done::default(),
        undos: Vec::new(),
    })
}
