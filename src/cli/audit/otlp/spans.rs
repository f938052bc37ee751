//! A run as spans, from its events.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use crate::cli::events::operator_word;
use crate::document::escape;
use crate::engine::{EngineError, entries_of, reason};
use crate::journal::Journal;
use crate::saga::event::{Entry, Event, Evidence, Outcome, StepResult, UndoIntent, UndoResult, Vote};
use crate::saga::{RunState, State, Status as StepStatus, Step, StepState, fold};
use crate::types::{CapabilityId, Digest, RunId, StepName, Timestamp, code, sha256};

/// The spans of a run: the run itself, its steps, and their calls.
pub(super) fn of_run(journal: &dyn Journal, run: &RunId) -> Result<Vec<Span>, EngineError> {
    let entries = entries_of(journal, run)?;
    let state = fold(&entries).map_err(|illegal| EngineError::Illegal { run: run.clone(), illegal })?;
    let mut trace = Trace { state: &state, calls: Vec::new(), steps: BTreeMap::new(), open: BTreeMap::new() };
    for entry in &entries {
        trace.take(entry);
    }
    let end = entries.last().map_or(state.at, |last| last.at);
    trace.end_open(end, None);
    let operated = entries.iter().filter_map(operated).collect();
    Ok(trace.finish(end, operated))
}

/// What is known of a step while its events are read.
struct Seen {
    from: Timestamp,
    to: Timestamp,
    effects: u64,
    events: Vec<SpanEvent>,
}

/// A call that has begun and not ended.
struct Open {
    attempt: u32,
    from: Timestamp,
    component: Digest,
}

/// Which call of a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Execute,
    Undo,
}

struct Trace<'s> {
    state: &'s State,
    calls: Vec<Span>,
    steps: BTreeMap<StepName, Seen>,
    open: BTreeMap<(StepName, Call), Open>,
}

impl Trace<'_> {
    fn take(&mut self, entry: &Entry) {
        let Entry { at, event, .. } = entry;
        if let Some(step) = event.step() {
            let seen = || Seen { from: *at, to: *at, effects: 0, events: Vec::new() };
            let seen = self.steps.entry(step.clone()).or_insert_with(seen);
            seen.to = *at;
            seen.events.extend(told(*at, event));
        }
        match event {
            // Whatever ran in the process before is over.
            Event::Owner(_) => self.end_open(*at, Some(code::HOST_DIED)),
            Event::Intent(intent) => {
                let open = Open { attempt: intent.attempt, from: *at, component: intent.component };
                self.open.insert((intent.step.clone(), Call::Execute), open);
            }
            Event::UndoIntent(UndoIntent { step, attempt, component, .. }) => {
                let open = Open { attempt: *attempt, from: *at, component: *component };
                self.open.insert((step.clone(), Call::Undo), open);
            }
            Event::Result(result) => self.executed(*at, result),
            Event::UndoResult(result) => self.undone(*at, result),
            _ => {}
        }
    }

    fn executed(&mut self, at: Timestamp, result: &StepResult) {
        let StepResult { step, attempt, outcome, error, evidence, .. } = result;
        let open = self.open.remove(&(step.clone(), Call::Execute));
        if let Some(seen) = self.steps.get_mut(step) {
            seen.effects = seen.effects.saturating_add(evidence.effects_total);
        }
        // A step that was settled without an attempt was not called.
        if *attempt == 0 {
            return;
        }
        let word = match outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Clean => "clean",
            Outcome::Unclear => "unclear",
        };
        let error = error.as_ref().map(|error| error.code.as_str());
        let component = open.as_ref().map(|open| open.component).or_else(|| self.step(step)?.spec.component);
        let mut span = self.call(step, Call::Execute, *attempt, component, word, error);
        ended(&mut span, at, open, evidence);
        self.calls.push(span);
    }

    fn undone(&mut self, at: Timestamp, result: &UndoResult) {
        let UndoResult { step, attempt, outcome, checked, error, evidence, .. } = result;
        let open = self.open.remove(&(step.clone(), Call::Undo));
        // One that was refused before it began is told of in the step.
        if *attempt == 0 {
            return;
        }
        let error = error.as_ref().map(|error| error.code.as_str());
        let component = open.as_ref().map(|open| open.component);
        let mut span = self.call(step, Call::Undo, *attempt, component, outcome.as_str(), error);
        span.attributes.push(flag("redress.checked", *checked));
        ended(&mut span, at, open, evidence);
        self.calls.push(span);
    }

    /// Ends what has begun and has no result.
    fn end_open(&mut self, at: Timestamp, error: Option<&str>) {
        for ((step, call), open) in std::mem::take(&mut self.open) {
            let word = if error.is_some() { "unclear" } else { "unknown" };
            let mut span = self.call(&step, call, open.attempt, Some(open.component), word, error);
            span.start_time_unix_nano = nanos(open.from);
            span.end_time_unix_nano = nanos(at);
            self.calls.push(span);
        }
    }

    fn step(&self, name: &StepName) -> Option<&Step> {
        self.state.step(self.state.index(name.as_str())?)
    }

    fn call(
        &self,
        step: &StepName,
        call: Call,
        attempt: u32,
        component: Option<Digest>,
        outcome: &str,
        error: Option<&str>,
    ) -> Span {
        let verb = match call {
            Call::Execute => "execute",
            Call::Undo => "undo",
        };
        let spec = self.step(step).map(|step| &step.spec);
        let capability = spec.and_then(|spec| spec.capability.as_ref());
        let mut span = self.span(verb, Some(step), attempt, self.id("step", Some(step), 0));
        span.name = format!("{verb} {}", capability.map_or("", CapabilityId::as_str));
        span.attributes.extend([
            text("redress.step", step.as_str()),
            number("redress.attempt", u64::from(attempt)),
            text("redress.outcome", outcome),
        ]);
        span.attributes.extend(capability.map(|id| text("redress.capability", id.as_str())));
        span.attributes.extend(component.map(|digest| text("redress.component", &digest.to_string())));
        span.attributes.extend(error.map(|code| text("redress.error.code", code)));
        let good = matches!(outcome, "succeeded" | "undone");
        span.status = Some(status(if good { StatusCode::Ok } else { StatusCode::Error }, error));
        span
    }

    fn finish(mut self, end: Timestamp, operated: Vec<SpanEvent>) -> Vec<Span> {
        let mut spans = vec![self.run(end, operated)];
        for (name, seen) in std::mem::take(&mut self.steps) {
            spans.extend(self.step_span(&name, seen));
        }
        spans.extend(self.calls);
        spans
    }

    fn run(&self, end: Timestamp, operated: Vec<SpanEvent>) -> Span {
        let (shown, submitted) = (self.state.shown(), &self.state.submitted);
        let reason = reason(self.state);
        let mut span = self.span("run", None, 0, Vec::new());
        span.name = escape(&submitted.name);
        span.attributes.extend([
            text("redress.workflow", &submitted.name),
            text("redress.state", shown.as_str()),
            text("redress.engine", &submitted.engine),
        ]);
        let residue = self.state.closed.as_ref().map(|closed| closed.residue.len() as u64);
        span.attributes.extend(residue.map(|count| number("redress.residue", count)));
        span.attributes.extend(reason.as_ref().map(|reason| text("redress.reason", reason.code)));
        span.start_time_unix_nano = nanos(self.state.submitted_at);
        span.end_time_unix_nano = nanos(end);
        span.events = operated;
        let code = match shown {
            RunState::Completed => StatusCode::Ok,
            RunState::Running | RunState::Paused => StatusCode::Unset,
            RunState::RollingBack
            | RunState::Stuck
            | RunState::RolledBack
            | RunState::RolledBackWithResidue
            | RunState::Killed => StatusCode::Error,
        };
        span.status = Some(status(code, reason.map(|reason| reason.code)));
        span
    }

    fn step_span(&self, name: &StepName, seen: Seen) -> Option<Span> {
        let index = self.state.index(name.as_str())?;
        let step = self.state.step(index)?;
        let (shown, error) = self.state.shown_step(index);
        let mut span = self.span("step", Some(name), 0, self.id("run", None, 0));
        span.name = name.to_string();
        let list = &mut span.attributes;
        list.extend([
            text("redress.step", name.as_str()),
            text("redress.state", shown.as_str()),
            number("redress.attempts", u64::from(step.attempts)),
            number("redress.effects", seen.effects),
        ]);
        list.extend(step.spec.capability.as_ref().map(|id| text("redress.capability", id.as_str())));
        list.extend(step.spec.component.map(|digest| text("redress.component", &digest.to_string())));
        list.extend(step.spec.agent.as_ref().map(|agent| text("redress.agent", agent.as_str())));
        if let Some(decision) = &step.decision {
            list.extend([
                text("redress.decision.action", &decision.action.to_string()),
                text("redress.decision.risk", &decision.risk.to_string()),
                flag("redress.decision.escalated", decision.escalated),
                text("redress.decision.policy", &decision.policy.to_string()),
            ]);
            if let Some(rule) = &decision.rule {
                list.push(number("redress.decision.rule", u64::from(rule.index)));
                list.extend(rule.name.as_ref().map(|name| text("redress.decision.rule_name", name)));
            }
        }
        if let StepStatus::Undone { checked } = step.status {
            list.extend([flag("redress.undone", true), flag("redress.checked", checked)]);
        }
        let error = error.map(|error| error.code);
        list.extend(error.as_ref().map(|code| text("redress.error.code", code)));
        (span.start_time_unix_nano, span.end_time_unix_nano) = (nanos(seen.from), nanos(seen.to));
        span.events = seen.events;
        let code = match shown {
            StepState::Succeeded | StepState::Undone => StatusCode::Ok,
            StepState::Waiting | StepState::Running | StepState::Undoing => StatusCode::Unset,
            StepState::Failed | StepState::Unclear | StepState::UndoFailed | StepState::Residue => StatusCode::Error,
        };
        span.status = Some(status(code, error.as_deref()));
        Some(span)
    }

    fn span(&self, kind: &str, step: Option<&StepName>, attempt: u32, parent: Vec<u8>) -> Span {
        let submitted = &self.state.submitted;
        Span {
            trace_id: trace_id(&submitted.run),
            span_id: self.id(kind, step, attempt),
            parent_span_id: parent,
            kind: SpanKind::Internal.into(),
            attributes: vec![
                text("redress.run", submitted.run.as_str()),
                text("redress.principal", submitted.principal.as_str()),
            ],
            ..Span::default()
        }
    }

    fn id(&self, kind: &str, step: Option<&StepName>, attempt: u32) -> Vec<u8> {
        let step = step.map_or("", StepName::as_str);
        let Digest(digest) = sha256(format!("span/{}/{kind}/{step}/{attempt}", self.state.run()).as_bytes());
        digest.into_iter().take(8).collect()
    }
}

/// A run's id without its hyphens is the id of its trace.
fn trace_id(run: &RunId) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = run.as_str().as_bytes().iter().filter_map(digit).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

fn ended(span: &mut Span, at: Timestamp, open: Option<Open>, evidence: &Evidence) {
    let called = Timestamp(at.0.saturating_sub(evidence.wall_ms));
    let from = open.map_or(called, |open| open.from.min(called));
    (span.start_time_unix_nano, span.end_time_unix_nano) = (nanos(from), nanos(at));
    span.attributes.push(number("redress.effects", evidence.effects_total));
}

/// What stands in a step as a moment: votes, refusals and what operators did.
fn told(at: Timestamp, event: &Event) -> Option<SpanEvent> {
    match event {
        Event::Vote(Vote { by, approve, .. }) => {
            let name = if *approve { "approved" } else { "rejected" };
            Some(moment(at, name, vec![text("redress.by", by.as_str())]))
        }
        Event::UndoResult(result) if result.attempt == 0 => {
            Some(moment(at, "undo refused", vec![text("redress.outcome", result.outcome.as_str())]))
        }
        _ => None,
    }
}

fn operated(entry: &Entry) -> Option<SpanEvent> {
    let Event::Operator(operator) = &entry.event else { return None };
    let verb = operator_word(&operator.verb);
    let step = operator.step.as_ref().map(|step| text("redress.step", step.as_str()));
    let by = text("redress.by", operator.by.as_str());
    Some(moment(entry.at, verb, std::iter::once(by).chain(step).collect()))
}

fn moment(at: Timestamp, name: &str, attributes: Vec<KeyValue>) -> SpanEvent {
    SpanEvent { time_unix_nano: nanos(at), name: name.to_owned(), attributes, dropped_attributes_count: 0 }
}

fn status(code: StatusCode, message: Option<&str>) -> Status {
    let message = if code == StatusCode::Error { escape(message.unwrap_or_default()) } else { String::new() };
    Status { message, code: code.into() }
}

fn nanos(at: Timestamp) -> u64 {
    at.0.saturating_mul(1_000_000)
}

/// An attribute that is text; what strangers wrote in it is safe to print.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(escape(value)))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
