//! What the events of a run name and do not hold, by names that a person can type.

use crate::saga::event::{Entry, Event};
use crate::types::{PayloadRef, StepName};

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// The workflow's text.
    Workflow,
    /// The inputs of a workflow.
    Inputs,
    /// The inputs of steps with their templates.
    Templates,
    /// The input of a step.
    Input,
    /// The output of a step.
    Output,
    /// What the undo of a step needs.
    Undo,
    /// What a component printed.
    Log,
    /// The input of a declared compensation.
    Compensation,
}

impl PayloadKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            PayloadKind::Workflow => "workflow",
            PayloadKind::Inputs => "inputs",
            PayloadKind::Templates => "templates",
            PayloadKind::Input => "input",
            PayloadKind::Output => "output",
            PayloadKind::Undo => "undo",
            PayloadKind::Log => "log",
            PayloadKind::Compensation => "compensation",
        }
    }
}

/// One payload of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPayload {
    /// The step that it is of, if it is of one.
    pub step: Option<StepName>,
    /// What it is.
    pub kind: PayloadKind,
    /// The payload.
    pub payload: PayloadRef,
    /// Whether an undo needs it.
    pub serves_undo: bool,
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
    use PayloadKind::{Compensation, Input, Inputs, Log, Output, Templates, Undo, Workflow};
    let mut parts: Vec<NamedPayload> = Vec::new();
    let (step, needs) = (event.step().cloned(), event.undo_needs());
    let mut add = |kind, payload: Option<PayloadRef>| {
        parts.extend(payload.map(|payload| NamedPayload {
            step: step.clone(),
            kind,
            payload,
            serves_undo: needs.contains(&payload),
        }));
    };
    match event {
        Event::RunSubmitted(event) => {
            add(Workflow, Some(event.workflow));
            add(Inputs, Some(event.inputs));
            add(Templates, event.templates);
        }
        Event::StepSubmitted(event) => {
            add(Input, Some(event.inputs));
            add(Compensation, event.compensation);
        }
        Event::Decision(event) => {
            add(Input, event.input);
            add(Compensation, event.compensation.as_ref().and_then(|compensation| compensation.input));
        }
        Event::Intent(event) => add(Undo, event.undo),
        Event::UndoAppended(event) => add(Undo, Some(event.undo)),
        Event::Result(event) => {
            add(Output, event.output);
            add(Log, event.log);
            add(Compensation, event.compensation);
        }
        Event::UndoResult(event) => add(Log, event.log),
        Event::Sealed(_)
        | Event::Owner(_)
        | Event::Vote(_)
        | Event::RollbackStarted(_)
        | Event::UndoIntent(_)
        | Event::Operator(_)
        | Event::RunClosed(_) => {}
    }
    parts
}
