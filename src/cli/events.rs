//! `redress events`: the events of a run, or of the system chain, as the journal has them, one a line.

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::logs::{outcome_word, undo_word};
use super::output::quoted;
use super::text::remains;
use super::{Exit, lookup};
use crate::document::escape;
use crate::engine::{entries_of, rfc3339};
use crate::journal::{Checkpoint, HeadAt, Journal as _, SqliteJournal, SystemEntry, SystemEvent};
use crate::saga::event::{
    Cause, Closed, Decision, Entry, Event, Intent, LostTarget, Mode, Operator, Owner, RunClosed, RunSubmitted,
    StepResult, UndoResult, Verb, Vote,
};
use crate::types::{CapabilityId, Failure, Principal, RunId, Timestamp};

/// See [`super::Command::Events`].
#[derive(Args, Debug)]
#[command(
    after_help = "With --json each line is an object: its `event` is what the journal holds, with times inside it \
    in milliseconds since 1970 and payloads by their digests. The chain `system` holds what belongs to no run: policies and \
    components that were kept, refused requests, and where the chain of each run began and ended.\n\n\
    Example: redress events latest --json\nExample: redress events system"
)]
pub(super) struct Arguments {
    /// The run: its id, the beginning of it, or `latest`; or `system`
    run: String,
}

/// What names the chain of what belongs to no run.
const SYSTEM: &str = "system";
/// How many events of it are read at a time.
const PAGE: usize = 2_000;

#[derive(Serialize)]
struct Line<'e> {
    schema: u32,
    run: &'e RunId,
    seq: u64,
    at: String,
    event: &'e Event,
}

#[derive(Serialize)]
struct SystemLine<'e> {
    schema: u32,
    chain: &'static str,
    seq: u64,
    at: String,
    event: &'e SystemEvent,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    if arguments.run == SYSTEM {
        return system(&journal, context);
    }
    let run = lookup::run(&journal, &arguments.run)?;
    for Entry { seq, at, event } in &entries_of(&journal, &run)? {
        let at = rfc3339(*at);
        if context.output.is_json() {
            context.output.json_line(&Line { schema: 1, run: &run, seq: *seq, at, event })?;
        } else {
            context.output.line(&format!("{seq:>4}  {at:24}  {:16}  {}", event.kind(), told(event)))?;
        }
    }
    Ok(Exit::Done)
}

fn system(journal: &SqliteJournal, context: &Context) -> Result<Exit, CliError> {
    let mut after = 0;
    loop {
        let page = journal.system_entries(after, PAGE)?;
        for SystemEntry { seq, at, event } in &page {
            let at = rfc3339(*at);
            if context.output.is_json() {
                context.output.json_line(&SystemLine { schema: 1, chain: SYSTEM, seq: *seq, at, event })?;
            } else {
                context.output.line(&format!("{seq:>4}  {at:24}  {:16}  {}", event.kind(), told_of_system(event)))?;
            }
        }
        match page.last() {
            Some(last) => after = last.seq,
            None => return Ok(Exit::Done),
        }
    }
}

fn told_of_system(event: &SystemEvent) -> String {
    match event {
        SystemEvent::PolicyLoaded { digest, name } => format!("{} {digest}", quoted(name)),
        SystemEvent::ComponentAdded { digest, ids, .. } => {
            let ids: Vec<&str> = ids.iter().map(CapabilityId::as_str).collect();
            format!("{digest} with {}", ids.join(", "))
        }
        SystemEvent::RunHead { run, seq, hash, at } => {
            let at = match at {
                HeadAt::Start => "began",
                HeadAt::Close => "closed",
            };
            format!("{run} {at} with event {seq}, {hash}")
        }
        SystemEvent::KeyAdded { key, previous, by, reason, .. } => {
            let vouched = if previous.is_some() { ", vouched for by the one before" } else { "" };
            let by = by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
            let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", quoted(reason)));
            format!("{key} signs from here on{vouched}{by}{why}")
        }
        SystemEvent::Checkpoint(Checkpoint { statement, .. }) => {
            format!("{} over {} events; {} runs went on", statement.number, statement.events, statement.runs.len())
        }
        SystemEvent::Erased { run, why, payloads, by, reason } => {
            let why = why.as_str();
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", quoted(reason)));
            format!("{} payloads of {run}, {why}{by}{reason}", payloads.len())
        }
        SystemEvent::Pruned { runs, before, by, reason } => {
            format!("{} runs closed before {}, by {by}: {}", runs.len(), rfc3339(*before), quoted(reason))
        }
        SystemEvent::TokenAdded { id, principal, acting_for, scopes, expires, by, reason, .. } => {
            let whose = acting_for.as_ref().map_or_else(String::new, |other| format!(" for {other}"));
            let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let until = expires.map_or_else(|| "for ever".to_owned(), |expires| format!("until {}", rfc3339(expires)));
            let may = scopes.join(", ");
            format!("{} acts as {principal}{whose} to {may}, {until}, by {by}: {}", escape(id), quoted(reason))
        }
        SystemEvent::TokenRevoked { id, by, reason } => format!("{}, by {by}: {}", escape(id), quoted(reason)),
        SystemEvent::Adopted { by, reason, runs } => {
            format!("a backup with {runs} runs that were going on, by {by}: {}", quoted(reason))
        }
        SystemEvent::Refused { by, request, code, message } => {
            let by = by.as_ref().map_or("somebody", Principal::as_str);
            format!("{} by {}, {}: {}", quoted(request), by, escape(code), quoted(message))
        }
    }
}

fn owned(owner: &Owner) -> String {
    let mut text = format!("epoch {}, process {}", owner.epoch, owner.owner);
    if owner.adopted {
        text.push_str(", from a backup that was adopted");
    }
    for LostTarget { step, target, now } in &owner.lost {
        text.push_str(&format!(
            "; {} is not as {step} left it: {}",
            quoted(&target.to_string()),
            escape(&now.to_string())
        ));
    }
    text
}

/// An event on one line; what others wrote is quoted.
fn told(event: &Event) -> String {
    match event {
        Event::RunSubmitted(submitted) => run_submitted(submitted),
        Event::StepSubmitted(submitted) => format!("{}{}", submitted.step.name, of(&submitted.step.capability)),
        Event::Sealed(_) => "no more steps will come".to_owned(),
        Event::Owner(owner) => owned(owner),
        Event::Decision(decision) => decided(decision),
        Event::Vote(vote) => voted(vote),
        Event::Intent(intent) => intended(intent),
        Event::UndoAppended(appended) => {
            format!("{} attempt {}: {} bytes to its undo record", appended.step, appended.attempt, appended.undo.len)
        }
        Event::Result(result) => ended(result),
        Event::RollbackStarted(started) => cause(&started.cause),
        Event::UndoIntent(intent) => format!("{} undo {}, component {}", intent.step, intent.attempt, intent.component),
        Event::UndoResult(result) => undone(result),
        Event::Operator(operator) => operated(operator),
        Event::RunClosed(closed) => run_closed(closed),
    }
}

fn of(capability: &Option<crate::types::CapabilityId>) -> String {
    capability.as_ref().map_or_else(|| ": waits for a person".to_owned(), |capability| format!(": {capability}"))
}

fn run_submitted(submitted: &RunSubmitted) -> String {
    let mode = match submitted.mode {
        Mode::Sealed => "sealed",
        Mode::Open => "open",
    };
    let RunSubmitted { principal, steps, engine, .. } = submitted;
    let engine = escape(engine);
    format!("{} for {principal}, {} steps, {mode}, engine {engine}", quoted(&submitted.name), steps.len())
}

fn decided(decision: &Decision) -> String {
    let by = match &decision.rule {
        Some(rule) => format!("by rule {} (line {})", rule.index, rule.line),
        None => "by default".to_owned(),
    };
    let escalated = if decision.escalated { ", escalated by the risk" } else { "" };
    let reason = decision.reason.as_ref().map_or(String::new(), |reason| format!(", because {}", quoted(reason)));
    let request = decision.approval.as_ref().map_or(String::new(), |request| {
        format!(", request {} until {}", escape(&request.id), rfc3339(request.expires))
    });
    let Decision { step, action, risk, .. } = decision;
    format!("{step} {action} {by}, risk {risk}{escalated}{reason}{request}")
}

fn voted(vote: &Vote) -> String {
    let said = if vote.approve { "approved" } else { "rejected" };
    format!("{} {said} by {}: {}", vote.step, vote.by, quoted(&vote.reason))
}

fn intended(intent: &Intent) -> String {
    let undo = intent.undo.as_ref().map_or(String::new(), |undo| format!(", undo record of {} bytes", undo.len));
    let target = quoted(&intent.target.to_string());
    format!("{} attempt {}: first touches {target}{undo}", intent.step, intent.attempt)
}

fn ended(result: &StepResult) -> String {
    let StepResult { step, attempt, evidence, .. } = result;
    let effects = match evidence.effects_total {
        0 => String::new(),
        total => format!(", {total} effects on {} targets", evidence.targets.len()),
    };
    let tail = format!("{effects}{}{}", failed(&result.error), again(result.retry_at));
    format!("{step} attempt {attempt} {}, {} ms{tail}", outcome_word(result.outcome), evidence.wall_ms)
}

fn undone(result: &UndoResult) -> String {
    let checked = if result.checked { " (checked)" } else { "" };
    let tail = format!("{}{}", failed(&result.error), again(result.retry_at));
    format!("{} undo {} {}{checked}{tail}", result.step, result.attempt, undo_word(result.outcome))
}

fn failed(error: &Option<Failure>) -> String {
    let told = |error: &Failure| format!(", {}: {}", escape(&error.code), quoted(&error.message));
    error.as_ref().map_or(String::new(), told)
}

fn again(at: Option<Timestamp>) -> String {
    at.map_or(String::new(), |at| format!(", again at {}", rfc3339(at)))
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::StepFailed { step, error } => format!("{step} failed{}", failed(&Some(error.clone()))),
        Cause::StepUnclear { step, error } => format!("{step} is unclear{}", failed(&Some(error.clone()))),
        Cause::Cancelled { by, reason } => format!("cancelled by {by}: {}", quoted(reason)),
        Cause::Deadline => "the deadline passed".to_owned(),
        Cause::Idle => "its client was idle for too long".to_owned(),
        Cause::Client { reason } => format!("rolled back by its client: {}", quoted(reason)),
        Cause::Undo { by, reason } => format!("undone by {by}: {}", quoted(reason)),
    }
}

/// The word for what an operator did.
pub(super) fn operator_word(verb: &Verb) -> &'static str {
    match verb {
        Verb::Cancel => "cancel",
        Verb::Kill => "kill",
        Verb::Undo => "undo",
        Verb::Rollback => "rollback",
        Verb::RepairRetry { .. } => "repair: retry",
        Verb::ResolveUndone => "repair: undone by hand",
        Verb::ResolveLeft => "repair: left as it is",
    }
}

fn operated(operator: &Operator) -> String {
    let with = match &operator.verb {
        Verb::RepairRetry { component: Some(component) } => format!(" with {component}"),
        _ => String::new(),
    };
    let verb = format!("{}{with}", operator_word(&operator.verb));
    let step = operator.step.as_ref().map_or(String::new(), |step| format!("{step} "));
    format!("{step}{verb} by {}: {}", operator.by, quoted(&operator.reason))
}

fn run_closed(closed: &RunClosed) -> String {
    let state = match closed.state {
        Closed::Completed => "COMPLETED",
        Closed::RolledBack => "ROLLED_BACK",
        Closed::RolledBackWithResidue => "ROLLED_BACK_WITH_RESIDUE",
        Closed::Killed => "KILLED",
    };
    let residue: String = closed.residue.iter().map(|residue| format!(", {}", remains(residue))).collect();
    format!("{state}{residue}")
}
