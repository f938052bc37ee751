//! What is printed of payloads: every value of one that leaves the record passes [`printable`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::select::is_of_one_run;
use crate::cli::error::CliError;
use crate::journal::Journal;
use crate::saga::event::Event;
use crate::types::{Digest, PayloadRef, RunId, StepName};

/// A payload of an event.
#[derive(Debug, Serialize)]
pub(super) struct Printed {
    role: &'static str,
    digest: Digest,
    len: u64,
    #[serde(flatten)]
    content: Content,
}

/// What is known of its content.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    /// It was JSON, or text, which is a string.
    Value(Value),
    /// It was neither.
    Base64(Value),
    /// It is no more there.
    Erased(bool),
    /// What is stored is not what was recorded.
    Unreadable(String),
}

/// What may be printed of a value of a run, or of one of its steps. Nothing of a payload is printed but what this gives.
pub(super) fn printable(_run: &RunId, _step: Option<&StepName>, value: Value) -> Value {
    value
}

/// The payloads of an event, each under the name that it has in the event.
pub(super) fn of_event(journal: &dyn Journal, run: &RunId, event: &Event) -> Result<Vec<Printed>, CliError> {
    let print = |(role, payload): (&'static str, PayloadRef)| {
        let content = match journal.payload(&payload.digest) {
            Ok(None) => Content::Erased(true),
            Ok(Some(bytes)) => content(run, event.step(), role, &bytes),
            Err(error) if is_of_one_run(&error) => Content::Unreadable(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        Ok(Printed { role, digest: payload.digest, len: payload.len, content })
    };
    roles(event).into_iter().map(print).collect()
}

fn content(run: &RunId, step: Option<&StepName>, role: &str, bytes: &[u8]) -> Content {
    let is_text = matches!(role, "workflow" | "log");
    let json = if is_text { None } else { serde_json::from_slice(bytes).ok() };
    let text = || std::str::from_utf8(bytes).ok().map(Value::from);
    match json.or_else(text) {
        Some(value) => Content::Value(printable(run, step, value)),
        None => Content::Base64(printable(run, step, Value::from(STANDARD.encode(bytes)))),
    }
}

/// The payloads that an event refers to, by their names in it.
fn roles(event: &Event) -> Vec<(&'static str, PayloadRef)> {
    let some = |role, payload: Option<PayloadRef>| payload.map(|payload| (role, payload));
    let all = match event {
        Event::RunSubmitted(e) => {
            vec![some("workflow", Some(e.workflow)), some("inputs", Some(e.inputs)), some("templates", e.templates)]
        }
        Event::StepSubmitted(e) => vec![some("inputs", Some(e.inputs)), some("compensation", e.compensation)],
        Event::Decision(e) => {
            vec![some("input", e.input), some("compensation", e.compensation.as_ref().and_then(|c| c.input))]
        }
        Event::Intent(e) => vec![some("undo", e.undo)],
        Event::UndoAppended(e) => vec![some("undo", Some(e.undo))],
        Event::Result(e) => vec![some("output", e.output), some("log", e.log), some("compensation", e.compensation)],
        Event::UndoResult(e) => vec![some("log", e.log)],
        Event::Sealed(_)
        | Event::Owner(_)
        | Event::Vote(_)
        | Event::RollbackStarted(_)
        | Event::UndoIntent(_)
        | Event::Operator(_)
        | Event::RunClosed(_) => Vec::new(),
    };
    all.into_iter().flatten().collect()
}
