//! `redress approvals`: who waits for a person, for what exactly, and how to answer.
//!
//! The input is shown whole, however long it is: an approval is for exactly that input.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::context::Context;
use super::error::CliError;
use super::output::quoted;
use super::text::{granted, json_lines};
use super::{Exit, lookup};
use crate::document::escape;
use crate::engine::{Called, Mask, rfc3339, state_of, undo_of, vote_command, voter};
use crate::journal::{Journal, RunFilter};
use crate::policy::Side;
use crate::saga::{RunState, State, Step};
use crate::types::{CapabilityId, Digest, Grant, Principal, RunId, StepName, Timestamp};

/// How many runs are read at a time.
const PAGE: usize = 500;

/// See [`super::Command::Approvals`].
#[derive(Args, Debug)]
#[command(after_help = "Example: redress approvals")]
pub(super) struct Arguments {}

/// One request that waits.
#[derive(Debug, Serialize)]
pub(super) struct Waiting {
    schema: u32,
    run: RunId,
    workflow: String,
    step: StepName,
    /// None for a step that only waits.
    capability: Option<CapabilityId>,
    component: Option<Digest>,
    /// Who asks: the agent that acts, if one does, then the principal of the run. None of them may vote.
    requesters: Vec<Principal>,
    /// None if it was erased.
    input: Option<Value>,
    /// Whether values of it are masked.
    masked: bool,
    risk: &'static str,
    escalated: bool,
    rule: Option<u32>,
    line: Option<u32>,
    reason: Option<String>,
    policy: Digest,
    grant: Grant,
    undo: String,
    request: String,
    approvers: Vec<String>,
    /// A voter must match one of these as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<Vec<String>>,
    approvals: u32,
    quorum: u32,
    expires: String,
    /// When the run rolls back, whoever votes.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    /// Whether either has passed, so that a vote is refused.
    expired: bool,
    approve: String,
    reject: String,
}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let now = context.now();
    let policy = context.policy_to_mask_by();
    let mut mask = context.mask(&journal, policy.in_force());
    let mut waiting = Vec::new();
    // A row in no state there is is met with both, and told once.
    let mut damage = BTreeSet::new();
    for state in [RunState::Paused, RunState::Running] {
        let filter = RunFilter { state: Some(state), ..RunFilter::default() };
        let mut before: Option<RunId> = None;
        loop {
            let page = journal.runs(&filter, before.as_ref(), PAGE)?;
            damage.extend(page.damaged.iter().map(|row| lookup::damage_note(&row.run, &row.what)));
            for row in &page.rows {
                match state_of(&journal, &row.run) {
                    Ok(state) => waiting.extend(of_run(&journal, &state, now, &mut mask)?),
                    // One run that cannot be read does not hide the requests of the others.
                    Err(error) => {
                        damage.insert(lookup::damage_note(row.run.as_str(), &error.to_string()));
                    }
                }
            }
            before = page.rows.last().map(|row| row.run.clone());
            if page.rows.len() < PAGE {
                break;
            }
        }
    }
    for note in &damage {
        context.output.note(note);
    }
    waiting.sort_by(|a, b| (&a.expires, &a.run).cmp(&(&b.expires, &b.run)));
    context.output.list(&waiting, "nothing waits for approval", || text(&waiting))?;
    Ok(Exit::Done)
}

fn of_run(
    journal: &dyn Journal,
    state: &State,
    now: Timestamp,
    mask: &mut Option<Mask<'_>>,
) -> Result<Vec<Waiting>, CliError> {
    state.awaiting_approval().filter_map(|(_, step)| waiting(journal, state, step, now, mask).transpose()).collect()
}

/// The request that a step waits for, if it has one.
pub(super) fn waiting(
    journal: &dyn Journal,
    state: &State,
    step: &Step,
    now: Timestamp,
    mask: &mut Option<Mask<'_>>,
) -> Result<Option<Waiting>, CliError> {
    let Some(decision) = &step.decision else { return Ok(None) };
    let Some(request) = &decision.approval else { return Ok(None) };
    let bytes = match &decision.input {
        Some(input) => journal.payload(&input.digest)?,
        None => None,
    };
    let mut input: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let masked = match (mask, &mut input) {
        (Some(mask), Some(input)) => mask.value(&Called::by(step), Side::Inputs, input),
        _ => false,
    };
    let (run, name) = (state.run(), &step.spec.name);
    let voter = voter(&request.approvers, &state.requesters(step));
    Ok(Some(Waiting {
        schema: 1,
        run: run.clone(),
        workflow: state.submitted.name.clone(),
        step: name.clone(),
        capability: step.spec.capability.clone(),
        component: step.spec.component,
        requesters: state.requesters(step),
        input,
        masked,
        risk: decision.risk.as_str(),
        escalated: decision.escalated,
        rule: decision.rule.as_ref().map(|rule| rule.index),
        line: decision.rule.as_ref().map(|rule| rule.line),
        reason: decision.reason.clone(),
        policy: decision.policy,
        grant: decision.grant.clone(),
        undo: undo_of(step.spec.compensation.as_ref().map(|named| &named.capability), step.spec.effect),
        request: request.id.clone(),
        approvers: request.approvers.clone(),
        also: request.also.clone(),
        approvals: step.approvals(),
        quorum: request.quorum,
        expires: rfc3339(request.expires),
        deadline: state.submitted.deadline.map(rfc3339),
        expired: now >= state.submitted.deadline.map_or(request.expires, |deadline| deadline.min(request.expires)),
        approve: vote_command(true, run, name, &request.id, &voter),
        reject: vote_command(false, run, name, &request.id, &voter),
    }))
}

/// Requests with everything that a person needs to decide on them.
pub(super) fn text(waiting: &[Waiting]) -> String {
    let mut text = String::new();
    for one in waiting {
        if !text.is_empty() {
            text.push('\n');
        }
        let mut field = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<11} {value}");
        };
        let what = match (&one.capability, &one.component) {
            (Some(capability), Some(component)) => format!("{capability} of {component}"),
            (Some(capability), None) => capability.to_string(),
            (None, _) => "nothing: the run only waits for an answer".to_owned(),
        };
        let requesters: Vec<&str> = one.requesters.iter().map(Principal::as_str).collect();
        let rule = match (one.rule, one.line) {
            (Some(rule), Some(line)) => format!("rule {rule} (line {line}) of {}", one.policy),
            _ => format!("the default of {}", one.policy),
        };
        let also: String = one.also.iter().map(|also| format!(" and also {}", also.join(", "))).collect();
        let escalated = if one.escalated { ", which is why a person is asked" } else { "" };
        field("run", &format!("{} {}", one.run, quoted(&one.workflow)));
        field("step", one.step.as_str());
        field("asked by", &requesters.join(" for "));
        field("capability", &what);
        field("risk", &format!("{}{escalated}", one.risk));
        field("rule", &rule);
        if let Some(reason) = &one.reason {
            field("because", &quoted(reason));
        }
        if one.capability.is_some() {
            for line in granted(&one.grant) {
                field("grants", &line);
            }
        }
        field("undo", &one.undo);
        field("votes", &format!("{} of {}", one.approvals, one.quorum));
        field("approvers", &escape(&format!("{}{also}", one.approvers.join(", "))));
        field("expires", &one.expires);
        if let Some(deadline) = &one.deadline {
            field("deadline", deadline);
        }
        if one.expired {
            field("", "too late: a vote is refused");
        }
        match &one.input {
            Some(input) => {
                let masked =
                    if one.masked { ", with sensitive values masked: `--show-sensitive` shows them" } else { "" };
                text.push_str(&format!("  input{masked}\n{}", json_lines(input, "    ")));
            }
            None => field("input", "erased"),
        }
        let _ = writeln!(text, "  approve:    {}\n  reject:     {}", escape(&one.approve), escape(&one.reject));
    }
    text
}
