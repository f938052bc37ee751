use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Call, Compensation, Failure};

/// How much harm an operation can do.
#[derive(Clone, Copy, Debug)]
pub enum Risk {
    /// Reads or computes.
    Low,
    /// Changes something that can be undone.
    Medium,
    /// Needs a person.
    High,
}

/// What an operation may change outside.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Something that `compensate` undoes.
    Reversible,
    /// Something that nothing undoes.
    Irreversible,
}

/// One capability: what is said of it, and what it does.
pub struct Capability {
    /// Dotted lower-case segments.
    pub id: &'static str,
    /// A few words.
    pub title: &'static str,
    /// A sentence.
    pub summary: &'static str,
    /// How much harm it can do.
    pub risk: Risk,
    /// What it may change.
    pub effect: Effect,
    /// Whether a second execution with the same key has no further effect.
    pub idempotent: bool,
    /// What it asks for, such as `fs:read`.
    pub permissions: &'static [&'static str],
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// Does it once.
    pub execute: fn(&Call) -> Result<Value, Failure>,
    /// Undoes it; safe to repeat. Does nothing where there is nothing to undo.
    pub compensate: fn(&Compensation) -> Result<(), Failure>,
}

impl Capability {
    fn describe(&self) -> Value {
        json!({
            "id": self.id,
            "title": self.title,
            "summary": self.summary,
            "risk": match self.risk { Risk::Low => "LOW", Risk::Medium => "MEDIUM", Risk::High => "HIGH" },
            "effect": match self.effect {
                Effect::None => "none",
                Effect::Reversible => "reversible",
                Effect::Irreversible => "irreversible",
            },
            "idempotent": self.idempotent,
            "permissions": self.permissions,
            "input": self.input,
            "output": self.output,
        })
    }
}

/// The description of a component: the same bytes each time, keys in order.
pub fn describe(capabilities: &[Capability]) -> String {
    let capabilities: Vec<Value> = capabilities.iter().map(Capability::describe).collect();
    json!({ "schema": 1, "capabilities": capabilities }).to_string()
}

/// Calls the capability that is asked for.
pub fn execute(capabilities: &[Capability], call: &Call) -> Result<String, Failure> {
    let capability = find(capabilities, &call.capability)?;
    Ok((capability.execute)(call)?.to_string())
}

/// Undoes the capability that is asked for.
pub fn compensate(capabilities: &[Capability], call: &Compensation) -> Result<(), Failure> {
    (find(capabilities, &call.capability)?.compensate)(call)
}

/// Reads the input; the host has checked it against the schema, so that an error here says the schema is too wide.
pub fn input<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new("invalid-input", error.to_string()))
}

fn find<'a>(capabilities: &'a [Capability], id: &str) -> Result<&'a Capability, Failure> {
    let found = capabilities.iter().find(|capability| capability.id == id);
    found.ok_or_else(|| Failure::new("invalid-input", format!("this component has no capability `{id}`")))
}

/// Makes a component of a function that returns its capabilities.
#[macro_export]
macro_rules! component {
    ($capabilities:path) => {
        struct Component;

        impl $crate::bindings::exports::redress::capability::provider::Guest for Component {
            fn describe() -> String {
                $crate::describe(&$capabilities())
            }

            fn execute(call: $crate::Call) -> Result<String, $crate::Failure> {
                $crate::execute(&$capabilities(), &call)
            }

            fn compensate(call: $crate::Compensation) -> Result<(), $crate::Failure> {
                $crate::compensate(&$capabilities(), &call)
            }
        }

        $crate::bindings::export!(Component with_types_in $crate::bindings);
    };
}
