//! A run as the report tells of it. Texts are plain here: [`page`](super::page) makes them HTML.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::events::operator_word;
use crate::cli::logs::undo_word;
use crate::cli::text::{effect, granted, reads, remains};
use crate::engine::{ApprovalView, Done, HostView, Reason, RunView, StepView, TargetView, UndoView, rfc3339};
use crate::saga::event::{Decision, Entry, Event, Vote};
use crate::saga::{RunState, StepState};
use crate::types::{Action, Digest, Failure, RunId, StepName};

/// How many requests and reads of a step are listed.
const MOST: usize = 50;
/// How many lines of a value are shown.
const LINES: usize = 200;

/// A run.
#[derive(Serialize)]
pub(super) struct Shown {
    id: RunId,
    workflow: String,
    /// How it stands.
    pub state: RunState,
    tone: &'static str,
    principal: String,
    submitted: String,
    closed: Option<String>,
    host: HostView,
    reason: Option<Reason>,
    /// What remains.
    pub residue: Vec<String>,
    /// What operators did.
    pub operators: Vec<Operated>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Every decision, also those that others took the place of.
    #[serde(skip)]
    pub decisions: Vec<(Digest, Action)>,
}

/// What an operator did.
#[derive(Serialize)]
pub(super) struct Operated {
    at: String,
    /// What.
    pub verb: &'static str,
    step: Option<StepName>,
    by: String,
    reason: String,
}

/// A step.
#[derive(Serialize)]
pub(super) struct Step {
    name: String,
    state: &'static str,
    tone: &'static str,
    undone: Option<Tag>,
    capability: Option<String>,
    component: Option<Digest>,
    agent: Option<String>,
    decision: Option<Decided>,
    approval: Option<Approval>,
    /// All votes on it.
    pub votes: Vec<Voted>,
    granted: Vec<String>,
    outcome: String,
    /// Why it failed, or what is unclear.
    pub error: Option<Failure>,
    requests: Vec<String>,
    undos: Vec<Undone>,
    touched: Vec<TargetView>,
    input: Vec<String>,
    output: Vec<String>,
    /// How it stands.
    #[serde(skip)]
    pub is: StepState,
    /// Whether the host compared every file target after the undo.
    #[serde(skip)]
    pub checked: bool,
    /// How many effects its attempts let out, or tried to.
    #[serde(skip)]
    pub effects: u64,
    /// The same of its undos.
    #[serde(skip)]
    pub undo_effects: u64,
}

/// A word that stands out.
#[derive(Serialize)]
struct Tag {
    tone: &'static str,
    text: &'static str,
}

#[derive(Serialize)]
struct Decided {
    action: Action,
    tone: &'static str,
    rule: String,
    risk: String,
    escalated: bool,
    reason: Option<String>,
    policy: Digest,
}

#[derive(Serialize)]
struct Approval {
    id: String,
    yes: usize,
    quorum: u32,
    approvers: String,
    expires: String,
}

/// A vote.
#[derive(Serialize)]
pub(super) struct Voted {
    at: String,
    by: String,
    /// Yes or no.
    pub said: &'static str,
    tone: &'static str,
    reason: String,
    void: Option<String>,
}

#[derive(Serialize)]
struct Undone {
    what: String,
    error: Option<Failure>,
}

impl Shown {
    /// A run, with the inputs and outputs of its steps if that is asked for.
    pub(super) fn of(view: &RunView, entries: &[Entry], with_payloads: bool) -> Shown {
        let operators = entries.iter().filter_map(operated).collect();
        let mut of_steps: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in entries {
            if let Some(step) = entry.event.step() {
                of_steps.entry(step.as_str()).or_default().push(entry);
            }
        }
        let decisions = entries.iter().filter_map(|entry| match &entry.event {
            Event::Decision(decision) => Some((decision.policy, decision.action)),
            _ => None,
        });
        let tone = match view.state {
            RunState::Completed => "good",
            RunState::RolledBack | RunState::RollingBack => "warn",
            RunState::Running | RunState::Paused => "calm",
            RunState::Stuck | RunState::RolledBackWithResidue | RunState::Killed => "bad",
        };
        Shown {
            id: view.run.clone(),
            workflow: view.workflow.clone(),
            state: view.state,
            tone,
            principal: view.principal.clone(),
            submitted: view.submitted.clone(),
            closed: view.closed.clone(),
            host: view.host.clone(),
            reason: view.reason.clone(),
            residue: view.residue.iter().map(remains).collect(),
            operators,
            steps: view
                .steps
                .iter()
                .map(|step| Step::of(step, view, of_steps.get(step.name.as_str()), with_payloads))
                .collect(),
            decisions: decisions.collect(),
        }
    }
}

impl Step {
    /// `events` are those of the step.
    fn of(step: &StepView, run: &RunView, events: Option<&Vec<&Entry>>, with_payloads: bool) -> Step {
        let mine = events.map(Vec::as_slice).unwrap_or_default();
        let decision = mine.iter().rev().find_map(|entry| match &entry.event {
            Event::Decision(decision) => Some(&**decision),
            _ => None,
        });
        let has_output =
            mine.iter().any(|entry| matches!(&entry.event, Event::Result(result) if result.output.is_some()));
        let value = |value: &Option<Value>, recorded: bool| match (with_payloads && recorded, value) {
            (false, _) => Vec::new(),
            (true, None) => vec!["erased".to_owned()],
            (true, Some(value)) => lines(value.clone()),
        };
        let granted_something = decision.is_some_and(|decision| decision.action != Action::Deny);
        let undo_effects = step.undos.iter().map(|undo| count(&undo.done)).sum();
        Step {
            name: step.name.clone(),
            state: step.state.as_str(),
            tone: tone(step.state),
            undone: undone(step, run.state),
            capability: step.capability.clone(),
            component: step.component,
            agent: step.agent.as_ref().map(ToString::to_string),
            decision: decision.map(decided),
            approval: step.approval.as_ref().map(approval),
            votes: mine.iter().filter_map(|entry| voted(entry, step)).collect(),
            granted: match &step.decision {
                Some(decision) if granted_something && step.capability.is_some() => granted(&decision.grant),
                _ => Vec::new(),
            },
            outcome: outcome(step),
            error: step.error.clone(),
            requests: requests(&step.done),
            undos: step.undos.iter().map(undo).collect(),
            touched: step.targets.clone(),
            input: value(&step.input, decision.is_some_and(|decision| decision.input.is_some())),
            output: value(&step.output, has_output),
            is: step.state,
            checked: step.checked,
            effects: count(&step.done),
            undo_effects,
        }
    }
}

fn tone(state: StepState) -> &'static str {
    match state {
        StepState::Succeeded => "good",
        StepState::Undone | StepState::Undoing | StepState::Unclear => "warn",
        StepState::Waiting | StepState::Running => "calm",
        StepState::Failed | StepState::UndoFailed | StepState::Residue => "bad",
    }
}

/// Who says that a step was undone.
fn undone(step: &StepView, run: RunState) -> Option<Tag> {
    let turned_back = matches!(run, RunState::RolledBack | RunState::RolledBackWithResidue);
    match step.state {
        StepState::Undone if step.checked => Some(Tag { tone: "good", text: "checked by the host" }),
        StepState::Undone => Some(Tag { tone: "warn", text: "the component says so" }),
        StepState::Succeeded if turned_back => Some(Tag { tone: "", text: "nothing to undo" }),
        _ => None,
    }
}

fn decided(decision: &Decision) -> Decided {
    let rule = match &decision.rule {
        Some(rule) => {
            let name = rule.name.as_ref().map_or(String::new(), |name| format!(" “{name}”"));
            format!("rule {}{name} in line {}", rule.index, rule.line)
        }
        None => "the default".to_owned(),
    };
    let tone = match decision.action {
        Action::Allow => "good",
        Action::RequireApproval => "calm",
        Action::Deny => "bad",
    };
    Decided {
        action: decision.action,
        tone,
        rule,
        risk: decision.risk.to_string(),
        escalated: decision.escalated,
        reason: decision.reason.clone(),
        policy: decision.policy,
    }
}

fn approval(request: &ApprovalView) -> Approval {
    Approval {
        id: request.id.clone(),
        yes: request.votes.iter().filter(|vote| vote.approve).count(),
        quorum: request.quorum,
        approvers: request.approvers.join(", "),
        expires: request.expires.clone(),
    }
}

fn voted(entry: &Entry, step: &StepView) -> Option<Voted> {
    let Event::Vote(Vote { request, by, approve, reason, .. }) = &entry.event else { return None };
    let void = step.void_votes.iter().find(|void| void.request == *request);
    let (said, tone) = if *approve { ("approved", "good") } else { ("rejected", "bad") };
    Some(Voted {
        at: rfc3339(entry.at),
        by: by.to_string(),
        said,
        tone,
        reason: reason.clone(),
        void: void.map(|void| void.void.clone()),
    })
}

fn operated(entry: &Entry) -> Option<Operated> {
    let Event::Operator(operator) = &entry.event else { return None };
    Some(Operated {
        at: rfc3339(entry.at),
        verb: operator_word(&operator.verb),
        step: operator.step.clone(),
        by: operator.by.to_string(),
        reason: operator.reason.clone(),
    })
}

/// Everything that was let out, or tried.
fn count(done: &Done) -> u64 {
    done.effects.len() as u64 + done.unlisted
}

fn outcome(step: &StepView) -> String {
    let attempts = match step.attempts {
        0 => "not called".to_owned(),
        1 => "called once".to_owned(),
        more => format!("called {more} times"),
    };
    match count(&step.done) {
        0 => format!("{attempts}, no effects"),
        effects => format!("{attempts}, effects: {effects}"),
    }
}

/// What went over the network, and what was read.
fn requests(done: &Done) -> Vec<String> {
    let sent = done.effects.iter().chain(&done.egress).filter(|one| one.exchange.is_some());
    let mut all: Vec<String> =
        sent.map(effect).chain(done.reads.iter().map(|read| format!("read {}", reads(read)))).collect();
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    if more > 0 {
        all.push(format!("and more of them: {more}"));
    }
    all
}

fn undo(undo: &UndoView) -> Undone {
    let checked = if undo.checked { ", every file compared by the host" } else { "" };
    let effects = match count(&undo.done) {
        0 => String::new(),
        effects => format!(", effects: {effects}"),
    };
    let which = match undo.attempt {
        0 => "refused before it began".to_owned(),
        attempt => format!("attempt {attempt}"),
    };
    Undone { what: format!("{which}: {}{checked}{effects}", undo_word(undo.outcome)), error: undo.error.clone() }
}

fn lines(value: Value) -> Vec<String> {
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    let mut lines: Vec<String> = pretty.lines().map(str::to_owned).collect();
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if more > 0 {
        lines.push(format!("... and more lines: {more}"));
    }
    lines
}
