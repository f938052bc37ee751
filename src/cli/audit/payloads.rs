//! What is printed of payloads.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::select::is_of_one_run;
use crate::cli::error::CliError;
use crate::engine::{Mask, Part, PartKind, StepView, parts_of_event, view};
use crate::journal::Journal;
use crate::policy::{MASKED, Side};
use crate::saga::event::Event;
use crate::types::{Digest, RunId};

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
    /// Its steps.
    steps: HashMap<String, StepView>,
    /// Those in which something is.
    holding: HashSet<String>,
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
        for part in parts_of_event(event) {
            let Part { kind, payload, .. } = &part;
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
        let (Some(mask), Ok(seen)) = (&mut self.mask, view(self.journal, run)) else {
            return Sensitive { unknown: true, ..Sensitive::default() };
        };
        let mut found = Sensitive::default();
        for step in &seen.steps {
            if mask.concerns(step) {
                found.holding.insert(step.name.clone());
            }
        }
        found.steps = seen.steps.into_iter().map(|step| (step.name.clone(), step)).collect();
        found
    }

    fn content(&mut self, part: &Part, bytes: &[u8]) -> Content {
        let is_text = matches!(part.kind, PartKind::Workflow | PartKind::Log);
        let json: Option<Value> = if is_text { None } else { serde_json::from_slice(bytes).ok() };
        let text = || std::str::from_utf8(bytes).ok().map(Value::from);
        let (Some(mask), Some((_, sensitive))) = (&mut self.mask, &self.run) else {
            return match json.or_else(text) {
                Some(value) => Content::Value(value),
                None => Content::Base64(Value::from(STANDARD.encode(bytes))),
            };
        };
        let side = match part.kind {
            PartKind::Input => Some(Side::Inputs),
            PartKind::Output => Some(Side::Outputs),
            _ => None,
        };
        let step = part.step.as_ref().and_then(|step| sensitive.steps.get(step.as_str()));
        if let (Some(side), Some(step), Some(mut value)) = (side, step, json.clone()) {
            mask.value_of(step, side, &mut value);
            return Content::Value(value);
        }
        let holds = match &part.step {
            Some(step) => sensitive.holding.contains(step.as_str()),
            None => !sensitive.holding.is_empty(),
        };
        match (holds || sensitive.unknown, json.or_else(text)) {
            (true, _) => Content::Value(Value::from(MASKED)),
            (false, Some(value)) => Content::Value(value),
            (false, None) => Content::Base64(Value::from(STANDARD.encode(bytes))),
        }
    }
}
