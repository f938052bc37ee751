//! The JSON Schema of a workflow file, made of the keys that the loader reads by.

use serde_json::{Value, json};

use super::load::{KEYS, MAX_STEPS};
use super::read::{COMPENSATION_KEYS, RETRY_KEYS, STEP_KEYS};
use crate::document::schema::{count, described, document, items, mapping, text, time, word};
use crate::types::Risk;

/// The JSON Schema of a workflow file.
pub fn schema() -> Value {
    let title = "Redress workflow";
    let description = "Steps that are decided by the policy, run in the sandbox, recorded, and undone together.";
    document(title, description, mapping(KEYS, &["name", "steps"], of_workflow))
}

fn of_workflow(key: &str) -> Value {
    match key {
        "name" => described("What the run is called.", json!({ "type": "string", "minLength": 1, "maxLength": 128 })),
        "version" => {
            described("A label, recorded as it is written.", json!({ "type": ["string", "number", "boolean"] }))
        }
        "description" => text("What it is for."),
        "inputs" => described("Inputs with their defaults; `--input` goes over them.", inputs()),
        "deadline" => time("How long a run may take; passing it rolls back."),
        "metadata" => described(
            "Labels; `owner` is the principal only if the settings say `trust_owner: true`.",
            json!({ "type": "object", "properties": { "owner": { "type": "string" } } }),
        ),
        "steps" => {
            let mut steps = items("Without any `depends_on` in the file, they run in order.", &step());
            if let Some(steps) = steps.as_object_mut() {
                steps.insert("minItems".to_owned(), json!(1));
                steps.insert("maxItems".to_owned(), json!(MAX_STEPS));
            }
            steps
        }
        "initial_state" => older("inputs", inputs()),
        "enable_auto_rollback" => no_effect(json!({ "const": true })),
        "policy" | "global_compensation_steps" | "max_execution_time_seconds" | "workflow_id" => no_effect(json!({})),
        _ => json!({}),
    }
}

fn step() -> Value {
    let mut step = mapping(STEP_KEYS, &["name"], of_step);
    let approval = json!({ "properties": { "step_type": { "const": "HUMAN_APPROVAL" } }, "required": ["step_type"] });
    let runs = json!({ "anyOf": [{ "required": ["capability"] }, { "required": ["capability_name"] }] });
    if let Some(step) = step.as_object_mut() {
        step.insert("anyOf".to_owned(), json!([approval, runs]));
    }
    step
}

fn of_step(key: &str) -> Value {
    match key {
        "name" => text("Each stands once; others refer to its output by it."),
        "description" => text("What it is for."),
        "step_type" => word("HUMAN_APPROVAL for a step that only waits for a person.", &["ACTION", "HUMAN_APPROVAL"]),
        "capability" => {
            text("What it does, such as `io.fs.write_file`; `redress capability list` shows what there is.")
        }
        "agent" => text("Acts as this agent for the run's principal; both are decided."),
        "depends_on" => items("Steps that must have succeeded before.", &json!({ "type": "string" })),
        "inputs" => described("Its input; `{{ step.field }}` and `{{ inputs.name }}` stand for values.", inputs()),
        "risk_level" => word(
            "May raise the risk of the capability.",
            &[Risk::Low, Risk::Medium, Risk::High, Risk::Critical].map(Risk::as_str),
        ),
        "retry" => described("How often it is tried.", mapping(RETRY_KEYS, &[], of_retry)),
        "timeout" => time("How long an attempt may take."),
        "compensation" => {
            let mut compensation = mapping(COMPENSATION_KEYS, &[], of_compensation);
            if let Some(compensation) = compensation.as_object_mut() {
                let one = json!([{ "required": ["capability"] }, { "required": ["capability_name"] }]);
                compensation.insert("anyOf".to_owned(), one);
            }
            // A step that only waits has none, and what stands here then is not read.
            described("What undoes it, in place of the component's own undo.", compensation)
        }
        "capability_name" => older("capability", json!({ "type": "string" })),
        "agent_name" => older("agent", json!({ "type": "string" })),
        "max_retries" => older("retry.max_attempts", json!({ "type": "integer", "minimum": 1 })),
        "timeout_seconds" => older("timeout", json!({ "type": "integer", "minimum": 1 })),
        "approval_config" => no_effect(json!({})),
        _ => json!({}),
    }
}

fn of_retry(key: &str) -> Value {
    match key {
        "max_attempts" => count("All attempts, the first one too.", 1),
        "initial_interval" => time("The wait before the second attempt."),
        "multiplier" => {
            described("How much longer each wait is.", json!({ "type": "number", "minimum": 1, "maximum": 1000 }))
        }
        "max_interval" => time("The longest wait."),
        "max_retries" => older("max_attempts", json!({ "type": "integer", "minimum": 1 })),
        _ => json!({}),
    }
}

fn of_compensation(key: &str) -> Value {
    match key {
        "capability" => text("What undoes the step."),
        "inputs" => described("Its input; the step's own output can be referred to.", inputs()),
        "description" => text("What it is for."),
        "capability_name" => older("capability", json!({ "type": "string" })),
        "step_name" => no_effect(json!({})),
        _ => json!({}),
    }
}

fn inputs() -> Value {
    json!({ "type": "object" })
}

/// The spelling of the system that this one replaces.
fn older(key: &str, schema: Value) -> Value {
    let mut schema = described(&format!("An older spelling of `{key}`."), schema);
    deprecate(&mut schema);
    schema
}

/// A key of the system that this one replaces, which means nothing here.
fn no_effect(schema: Value) -> Value {
    let mut schema = described("Has no effect; it is read so that older files load.", schema);
    deprecate(&mut schema);
    schema
}

fn deprecate(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("deprecated".to_owned(), json!(true));
    }
}
