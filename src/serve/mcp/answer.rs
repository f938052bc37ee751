//! What an agent is answered.

use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::{Value, json};

use crate::document::{Diagnostics, escape_json};
use crate::engine::{EngineError, RunView, StepView};
use crate::saga::event::Residue;
use crate::saga::{RunState, StepState};
use crate::types::Failure;

/// The name of the step of a single call.
const ONLY: &str = "call";

/// How a call or a transaction stands.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    run: String,
    state: RunState,
    /// The step of this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_state: Option<StepState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// Why it was not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<String>,
    /// What waits for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<Waiting>,
    /// Why the run turned back.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What could not be undone, or was left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    residue: Vec<Residue>,
    /// All steps, where no single one is meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepLine>,
    /// Whether the host ends and left the run to be resumed.
    #[serde(skip_serializing_if = "is_false")]
    pub interrupted: bool,
    /// The parts that were written by components, or come from outside.
    untrusted: [&'static str; 3],
}

#[derive(Debug, Serialize)]
struct Waiting {
    step: String,
    request: String,
    approvers: Vec<String>,
    expires: String,
}

#[derive(Debug, Serialize)]
struct StepLine {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    capability: Option<String>,
    state: StepState,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Answer {
    /// Of a run, or of one step of it; of a single call that is the only one.
    pub fn of(view: RunView, step: Option<&str>) -> Answer {
        let single = matches!(view.steps.as_slice(), [only] if only.name == ONLY);
        let step = step.or(single.then_some(ONLY));
        let waiting = view.steps.iter().filter(|step| step.state == StepState::Waiting);
        let waiting = waiting.filter_map(waits).collect();
        let lines = |view: &RunView| {
            let line = |step: &StepView| StepLine {
                name: step.name.clone(),
                capability: step.capability.clone(),
                state: step.state,
            };
            view.steps.iter().map(line).collect()
        };
        let steps = if step.is_some() { Vec::new() } else { lines(&view) };
        let one = view.steps.into_iter().find(|one| Some(one.name.as_str()) == step);
        let denied = one.as_ref().and_then(why_denied);
        let (name, state, output, error) = match one {
            Some(one) => (Some(one.name), Some(one.state), one.output, one.error),
            None => (None, None, None, None),
        };
        Answer {
            run: view.run.to_string(),
            state: view.state,
            step: name,
            step_state: state,
            output,
            error,
            denied,
            waiting,
            reason: view.reason.map(|reason| reason.message),
            residue: view.residue,
            steps,
            interrupted: false,
            untrusted: ["output", "error", "residue"],
        }
    }

    /// Whether what was asked for did not take effect, and will not.
    fn is_error(&self) -> bool {
        let step = self
            .step_state
            .is_some_and(|state| !matches!(state, StepState::Succeeded | StepState::Waiting | StepState::Running));
        let run = matches!(self.state, RunState::Stuck | RunState::RolledBackWithResidue | RunState::Killed);
        step || run || self.interrupted
    }

    pub fn into_result(self) -> CallToolResult {
        let is_error = self.is_error();
        let value = serde_json::to_value(&self).unwrap_or_default();
        result(value, is_error)
    }
}

fn waits(step: &StepView) -> Option<Waiting> {
    let approval = step.approval.as_ref()?;
    Some(Waiting {
        step: step.name.clone(),
        request: approval.id.clone(),
        approvers: approval.approvers.clone(),
        expires: approval.expires.clone(),
    })
}

fn why_denied(step: &StepView) -> Option<String> {
    let decision = step.decision.as_ref().filter(|decision| decision.action == crate::types::Action::Deny)?;
    Some(match (&decision.reason, decision.rule) {
        (Some(reason), _) => reason.clone(),
        (None, Some(rule)) => format!("rule {rule} of the policy denies it"),
        (None, None) => "no rule of the policy allows it".to_owned(),
    })
}

/// The schema of answers. What a capability returns is in the description of its tool: where it is masked it does not fit.
pub(super) fn schema() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "properties": {
            "run": text, "state": text, "step": text, "step_state": text, "output": {}, "denied": text, "reason": text,
            "error": { "type": "object" }, "waiting": { "type": "array" }, "residue": { "type": "array" },
            "steps": { "type": "array" }, "interrupted": { "type": "boolean" }, "untrusted": { "type": "array" },
        },
        "anyOf": [{ "required": ["run", "state", "untrusted"] }, { "required": ["error"] }],
    })
}

/// Why nothing came of a request.
pub(super) struct Trouble {
    pub message: String,
    pub is_unknown_tool: bool,
    code: &'static str,
}

impl Trouble {
    pub fn of_request(message: impl Into<String>) -> Trouble {
        Trouble { message: message.into(), is_unknown_tool: false, code: "bad-request" }
    }

    pub fn busy() -> Trouble {
        let message = "too much goes on at once: try again in some seconds".to_owned();
        Trouble { message, is_unknown_tool: false, code: "busy" }
    }

    pub fn unknown_tool(tool: &str) -> Trouble {
        let message = format!("there is no tool `{}`", super::tools::plain(tool));
        Trouble { message, is_unknown_tool: true, code: "unknown-tool" }
    }

    pub fn into_result(self) -> CallToolResult {
        result(json!({ "error": { "code": self.code, "message": self.message } }), true)
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Trouble {
        Trouble { message: error.to_string(), is_unknown_tool: false, code: error.code() }
    }
}

impl From<Diagnostics> for Trouble {
    fn from(wrong: Diagnostics) -> Trouble {
        let message = wrong.iter().next().map_or_else(|| "it does not load".to_owned(), |first| first.message.clone());
        Trouble { message, is_unknown_tool: false, code: "invalid-input" }
    }
}

/// Structured, and as text for clients that read only that.
fn result(value: Value, is_error: bool) -> CallToolResult {
    let text = vec![ContentBlock::text(escape_json(&value.to_string()))];
    let mut result = if is_error { CallToolResult::error(text) } else { CallToolResult::success(text) };
    result.structured_content = Some(value);
    result
}
