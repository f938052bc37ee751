//! What the events of a run name and do not hold, by names that a person can type.

use crate::saga::event::{Entry, Event, PayloadKind};
use crate::types::{PayloadRef, StepName};

/// One payload of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPayload {
    /// The step that it is of, if it is of one.
    pub step: Option<StepName>,
    /// What it is.
    pub kind: PayloadKind,
    /// The payload.
    pub payload: PayloadRef,
}

impl NamedPayload {
    /// Its name, such as `inputs` or `page.output`.
    pub fn path(&self) -> String {
        let name = self.kind.as_str();
        self.step.as_ref().map_or_else(|| name.to_owned(), |step| format!("{step}.{name}"))
    }

    /// Whether a path names it: its own, its step, or `*`. What a run has by a name is meant by it, and not a step of that name.
    pub fn is_named_by(&self, path: &str) -> bool {
        let of_run = matches!(path, "workflow" | "inputs" | "templates");
        let of_step = self.step.as_ref().is_some_and(|step| step.as_str() == path && !of_run);
        path == "*" || path == self.path() || of_step
    }
}

/// The payloads of a run, in the order of its events.
pub fn payloads_of(entries: &[Entry]) -> Vec<NamedPayload> {
    entries.iter().flat_map(|entry| payloads_of_event(&entry.event)).collect()
}

/// The payloads of one event.
pub fn payloads_of_event(event: &Event) -> Vec<NamedPayload> {
    let step = event.step();
    let named = |(kind, payload)| NamedPayload { step: step.cloned(), kind, payload };
    event.named_payloads().into_iter().map(named).collect()
}
