//! What is printed of payloads.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::select::is_of_one_run;
use crate::cli::error::CliError;
use crate::engine::{Called, Mask, NamedPayload, payloads_of_event, state_of};
use crate::journal::Journal;
use crate::policy::{MASKED, Side};
use crate::saga::event::{Event, PayloadKind};
use crate::types::{Digest, RunId, StepName};

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

/// What is printed of the payloads of one run after another: what is sensitive is masked, unless the command line asks for it.
///
/// What a step was given and returned is masked field by field. Whatever may hold the same and has no fields that are known
/// (the workflow, its inputs and templates, undo records, logs) is masked whole if anything is sensitive in the run or the step.
pub(super) struct Printer<'a> {
    journal: &'a dyn Journal,
    mask: Option<Mask<'a>>,
    run: Option<(RunId, Sensitive)>,
}

/// What is sensitive in a run.
#[derive(Default)]
struct Sensitive {
    /// What its steps call.
    calls: HashMap<StepName, Called>,
    /// The steps of which anything is, or of what undoes them.
    steps: HashSet<StepName>,
    /// It cannot be read to its end, so that this is not known.
    unknown: bool,
}

impl<'a> Printer<'a> {
    /// Masks by `mask`, if there is one.
    pub(super) fn new(journal: &'a dyn Journal, mask: Option<Mask<'a>>) -> Printer<'a> {
        Printer { journal, mask, run: None }
    }

    /// The payloads of an event of a run.
    pub(super) fn of_event(&mut self, run: &RunId, event: &Event) -> Result<Vec<Printed>, CliError> {
        if self.mask.is_some() && self.run.as_ref().is_none_or(|(known, _)| known != run) {
            self.run = Some((run.clone(), self.look(run)));
        }
        let mut printed = Vec::new();
        for part in payloads_of_event(event) {
            let NamedPayload { kind, payload, .. } = &part;
            let content = match self.journal.payload(&payload.digest) {
                Ok(None) => Content::Erased(true),
                Ok(Some(bytes)) => self.content(&part, &bytes),
                Err(error) if is_of_one_run(&error) => Content::Unreadable(error.to_string()),
                Err(error) => return Err(error.into()),
            };
            printed.push(Printed { role: kind.as_str(), digest: payload.digest, len: payload.len, content });
        }
        Ok(printed)
    }

    fn look(&mut self, run: &RunId) -> Sensitive {
        let (Some(mask), Ok(state)) = (&mut self.mask, state_of(self.journal, run)) else {
            return Sensitive { unknown: true, ..Sensitive::default() };
        };
        let mut found = Sensitive::default();
        for step in &state.steps {
            let (name, called) = (step.spec.name.clone(), Called::by(step));
            if mask.concerns(&called) || Called::to_undo(step).is_some_and(|undoes| mask.concerns(&undoes)) {
                found.steps.insert(name.clone());
            }
            found.calls.insert(name, called);
        }
        found
    }

    fn content(&mut self, part: &NamedPayload, bytes: &[u8]) -> Content {
        let is_text = matches!(part.kind, PayloadKind::Workflow | PayloadKind::Log);
        let json: Option<Value> = if is_text { None } else { serde_json::from_slice(bytes).ok() };
        if let (Some(mask), Some((_, sensitive))) = (&mut self.mask, &self.run) {
            let side = match part.kind {
                PayloadKind::Input => Some(Side::Inputs),
                PayloadKind::Output => Some(Side::Outputs),
                _ => None,
            };
            let called = part.step.as_ref().and_then(|step| sensitive.calls.get(step));
            if let (Some(side), Some(called), Some(value)) = (side, called, &json) {
                let mut value = value.clone();
                mask.value(called, side, &mut value);
                return Content::Value(value);
            }
            let holds = match &part.step {
                Some(step) => sensitive.steps.contains(step),
                None => !sensitive.steps.is_empty(),
            };
            if holds || sensitive.unknown {
                return Content::Value(Value::from(MASKED));
            }
        }
        match json.or_else(|| std::str::from_utf8(bytes).ok().map(Value::from)) {
            Some(value) => Content::Value(value),
            None => Content::Base64(Value::from(STANDARD.encode(bytes))),
        }
    }
}
