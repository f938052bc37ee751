//! What people are told. A message says who asks for what, under which rule, and how to answer; of the input it shows the
//! names of the fields and the shape of their values, never a value, and nothing that a component chose, its failure codes
//! included: it goes to another machine, and the journal has the rest.

use serde_json::{Map, Value, json};

use crate::engine::decide::parties;
use crate::engine::{new_id, rfc3339};
use crate::journal::{Message, MessageKind};
use crate::saga::event::Event;
use crate::saga::{State, Status, Step, StepIndex};
use crate::types::{Principal, RunId, StepName, Timestamp, code};

/// How many fields of an input are named, and how many characters of a name.
const FIELDS: usize = 50;
const NAME: usize = 100;

/// The command that answers a request for approval; what a person has to put in stands in capitals.
pub fn vote_command(approve: bool, run: &RunId, step: &StepName, request: &str, voter: &str) -> String {
    let verb = if approve { "approve" } else { "reject" };
    format!("redress {verb} {run} {step} --request {request} --as {voter} --reason REASON")
}

/// Who may answer a request, as it is typed: the first approver who is none of the requesters, with `NAME` where the pattern has
/// a star.
pub fn voter(approvers: &[String], requesters: &[Principal]) -> String {
    let own = |approver: &&String| requesters.iter().any(|requester| requester.as_str() == approver.as_str());
    let Some(first) = approvers.iter().find(|approver| !own(approver)).or(approvers.first()) else {
        return "user:NAME".to_owned();
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"*:._-@+/".contains(&b);
    match first.starts_with('*') {
        // Agents vote only where a pattern names agents.
        true => "user:NAME".to_owned(),
        false if first.bytes().all(plain) => first.replace('*', "NAME"),
        false => "PRINCIPAL".to_owned(),
    }
}

/// What people are to be told once `event` has been applied; `input` reads the input that was decided for a step.
pub(in crate::engine) fn caused_by(
    state: &State,
    event: &Event,
    at: Timestamp,
    console: Option<&str>,
    input: impl FnOnce(StepIndex) -> Option<Value>,
) -> Option<Message> {
    match event {
        Event::Decision(decision) => {
            let index = state.index(decision.step.as_str())?;
            let (_, step) = state.awaiting_approval().find(|(waiting, _)| *waiting == index)?;
            approval_required(state, step, at, console, input(index))
        }
        Event::UndoResult(result) => run_stuck(state, state.step(state.index(result.step.as_str())?)?, at, console),
        _ => None,
    }
}

fn approval_required(
    state: &State,
    step: &Step,
    at: Timestamp,
    console: Option<&str>,
    input: Option<Value>,
) -> Option<Message> {
    let (decision, request) = (step.decision.as_ref()?, step.request()?);
    let (requester, acting_for) = parties(&state.submitted.principal, step);
    let rule = decision.rule.as_ref().map(|rule| json!({ "index": rule.index, "line": rule.line, "name": rule.name }));
    let (run, name) = (state.run(), &step.spec.name);
    let voter = voter(&request.approvers, &state.requesters(step));
    let data = json!({
        "component": step.spec.component,
        "input": input.as_ref().map(shape_of_input),
        "risk": decision.risk.as_str(),
        "escalated": decision.escalated,
        "rule": rule,
        "policy": decision.policy,
        "requester": requester,
        "request": request.id,
        "approvers": request.approvers,
        "also": request.also,
        "quorum": request.quorum,
        "expires": rfc3339(request.expires),
        "approve": vote_command(true, run, name, &request.id, &voter),
        "reject": vote_command(false, run, name, &request.id, &voter),
    });
    let data = and(data, "acting_for", acting_for.map(|other| other.as_str().to_owned()));
    let data = and(data, "console", console.map(|console| format!("{console}/console#/approvals/{run}/{name}")));
    Some(message(MessageKind::ApprovalRequired, state, step, at, data))
}

/// The undo of a step waits for an operator, if it does.
pub(in crate::engine) fn run_stuck(
    state: &State,
    step: &Step,
    at: Timestamp,
    console: Option<&str>,
) -> Option<Message> {
    let Status::UndoFailed(failure) = &step.status else { return None };
    let (run, name) = (state.run(), &step.spec.name);
    let repair = |how: &str| format!("redress repair {run} {name} {how} --reason REASON");
    let data = json!({
        "component": step.spec.component,
        "failure": code::documented(&failure.code),
        "attempts": step.undo.attempts,
        "show": format!("redress show {run} --effects"),
        "retry": repair("retry"),
        "resolve_undone": repair("resolve --undone"),
        "resolve_left": repair("resolve --left"),
    });
    let data = and(data, "console", console.map(|console| format!("{console}/console#/runs/{run}")));
    Some(message(MessageKind::RunStuck, state, step, at, data))
}

/// The same data, and a field that is there only if there is something to say.
fn and(mut data: Value, field: &str, said: Option<impl Into<Value>>) -> Value {
    if let (Some(fields), Some(said)) = (data.as_object_mut(), said) {
        fields.insert(field.to_owned(), said.into());
    }
    data
}

/// What every message says, and `data`.
fn message(kind: MessageKind, state: &State, step: &Step, at: Timestamp, data: Value) -> Message {
    let mut all = json!({
        "event": kind.as_str(),
        "run": state.run(),
        "workflow": state.submitted.name,
        "step": step.spec.name,
        "capability": step.spec.capability,
    });
    if let (Value::Object(all), Value::Object(data)) = (&mut all, data) {
        all.extend(data);
    }
    let body = body(kind.as_str(), at, all);
    Message { id: message_id(), kind, step: step.spec.name.clone(), at, body: body.into() }
}

/// A new id of a message.
pub(super) fn message_id() -> String {
    format!("msg_{}", new_id())
}

/// The bytes of a message, in the form of Standard Webhooks.
pub(super) fn body(kind: &str, at: Timestamp, data: Value) -> Vec<u8> {
    json!({ "type": kind, "timestamp": rfc3339(at), "data": data }).to_string().into_bytes()
}

/// The names of the fields, each with the shape of its value.
fn shape_of_input(input: &Value) -> Value {
    let Value::Object(fields) = input else { return Value::String(shape(input)) };
    let name = |name: &String| name.chars().take(NAME).collect::<String>();
    let mut shown: Map<String, Value> =
        fields.iter().take(FIELDS).map(|(field, value)| (name(field), Value::String(shape(value)))).collect();
    if fields.len() > FIELDS {
        shown.insert("...".to_owned(), Value::String(format!("{} more fields", fields.len() - FIELDS)));
    }
    Value::Object(shown)
}

/// What kind of value it is and how large, and nothing of what it is.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(text) => format!("text of {} characters", text.chars().count()),
        Value::Array(items) => format!("list of {}", items.len()),
        Value::Object(fields) => format!("mapping of {}", fields.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_an_input_shows_no_value() {
        let input = json!({
            "path": "/secret", "count": 4711, "flag": true, "none": null, "list": ["a", "b"], "map": { "inner": "value" },
        });
        let expected = json!({
            "path": "text of 7 characters", "count": "number", "flag": "boolean", "none": "null", "list": "list of 2",
            "map": "mapping of 1",
        });
        assert_eq!(shape_of_input(&input), expected);
        assert_eq!(shape_of_input(&json!("secret")), json!("text of 6 characters"));
    }

    #[test]
    fn an_input_of_many_or_long_names_makes_a_small_message() {
        let fields: Map<String, Value> = (0..60).map(|n| (format!("{n:02}{}", "x".repeat(500)), json!(n))).collect();
        let shape = shape_of_input(&Value::Object(fields));
        let shape = shape.as_object().unwrap();
        assert_eq!(shape.len(), FIELDS + 1);
        assert!(shape.keys().all(|name| name.len() <= NAME));
        assert_eq!(shape["..."], "10 more fields");
    }
}
