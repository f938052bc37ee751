use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bindings::exports::redress::capability::provider;
use crate::{Call, Compensation, Failure};

/// How much harm an operation can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Reads or computes.
    Low,
    /// Changes something that can be undone.
    Medium,
    /// Needs a person.
    High,
    /// Always needs a person.
    Critical,
}

/// What an operation may change outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the host refuses every change.
    None,
    /// Something that `compensate` undoes: the host refuses a change before an undo record is saved.
    Reversible,
    /// Something that nothing undoes; its risk is at least HIGH.
    Irreversible,
}

/// One operation: what is said of it, and what it does.
pub trait Capability: Sized {
    /// Dotted lower-case segments, such as `acme.notes.add`, the first of them the name of whoever provides it.
    const ID: &'static str;
    /// A few words.
    const TITLE: &'static str;
    /// A sentence for a person, and for the agent that chooses.
    const SUMMARY: &'static str;
    /// How much harm it can do.
    const RISK: Risk;
    /// What it may change.
    const EFFECT: Effect;
    /// Whether a second execution with the same key has no further effect.
    const IDEMPOTENT: bool = true;
    /// What it asks for: `fs:read`, `fs:write`, `http:GET,POST https://host/**`, `secret:NAME`, `config:NAME`.
    const PERMISSIONS: &'static [&'static str] = &[];

    /// The input. With `#[serde(deny_unknown_fields)]` the schema refuses fields that are not known.
    type Input: DeserializeOwned + JsonSchema;
    /// The output.
    type Output: Serialize + DeserializeOwned + JsonSchema;
    /// What is saved before the first change, and appended after one; `()` if nothing is.
    type Undo: Serialize + DeserializeOwned;

    /// Does it once.
    fn execute(call: &Call<Self>) -> Result<Self::Output, Failure>;

    /// Undoes what `execute` did, or may have done; safe to repeat. With [`Effect::None`] it is never called: return `Ok(())`.
    fn compensate(undo: &Compensation<Self>) -> Result<(), Failure>;
}

/// One row of the table that a component dispatches by; [`export!`](crate::export!) makes it.
pub struct Entry {
    id: &'static str,
    describe: fn() -> Value,
    execute: fn(provider::Call) -> Result<String, Failure>,
    compensate: fn(provider::Compensation) -> Result<(), Failure>,
}

impl Entry {
    /// The row of a capability.
    pub fn of<C: Capability>() -> Entry {
        Entry { id: C::ID, describe: describe_one::<C>, execute: execute_one::<C>, compensate: compensate_one::<C> }
    }
}

fn describe_one<C: Capability>() -> Value {
    let schemas = SchemaSettings::draft2020_12();
    json!({
        "id": C::ID,
        "title": C::TITLE,
        "summary": C::SUMMARY,
        "risk": match C::RISK {
            Risk::Low => "LOW",
            Risk::Medium => "MEDIUM",
            Risk::High => "HIGH",
            Risk::Critical => "CRITICAL",
        },
        "effect": match C::EFFECT {
            Effect::None => "none",
            Effect::Reversible => "reversible",
            Effect::Irreversible => "irreversible",
        },
        "idempotent": C::IDEMPOTENT,
        "permissions": C::PERMISSIONS,
        "input": schema::<C::Input>(schemas.clone().into_generator()),
        "output": schema::<C::Output>(schemas.for_serialize().into_generator()),
    })
}

fn schema<T: JsonSchema>(generator: SchemaGenerator) -> Value {
    generator.into_root_schema_for::<T>().to_value()
}

fn execute_one<C: Capability>(call: provider::Call) -> Result<String, Failure> {
    let output = C::execute(&Call::read(call)?)?;
    serde_json::to_string(&output)
        .map_err(|error| Failure::new("invalid-output", format!("the output cannot be written: {error}")))
}

fn compensate_one<C: Capability>(call: provider::Compensation) -> Result<(), Failure> {
    C::compensate(&Compensation::read(call)?)
}

/// The description of a component: the same bytes each time, keys in order.
pub fn describe(entries: &[Entry]) -> String {
    let capabilities: Vec<Value> = entries.iter().map(|entry| (entry.describe)()).collect();
    json!({ "schema": 1, "capabilities": capabilities }).to_string()
}

/// Calls the capability that is asked for.
pub fn execute(entries: &[Entry], call: provider::Call) -> Result<String, Failure> {
    (find(entries, &call.capability)?.execute)(call)
}

/// Undoes the capability that is asked for.
pub fn compensate(entries: &[Entry], call: provider::Compensation) -> Result<(), Failure> {
    (find(entries, &call.capability)?.compensate)(call)
}

fn find<'a>(entries: &'a [Entry], id: &str) -> Result<&'a Entry, Failure> {
    let found = entries.iter().find(|entry| entry.id == id);
    found.ok_or_else(|| Failure::invalid_input(format!("this component has no capability `{id}`")))
}

/// Makes a component of one or more types with [`Capability`].
#[macro_export]
macro_rules! export {
    ($($capability:ty),+ $(,)?) => {
        const _: () = {
            struct Component;

            fn entries() -> ::std::vec::Vec<$crate::Entry> {
                ::std::vec![$($crate::Entry::of::<$capability>()),+]
            }

            impl $crate::bindings::exports::redress::capability::provider::Guest for Component {
                fn describe() -> ::std::string::String {
                    $crate::describe(&entries())
                }

                fn execute(
                    call: $crate::bindings::exports::redress::capability::provider::Call,
                ) -> ::std::result::Result<::std::string::String, $crate::Failure> {
                    $crate::execute(&entries(), call)
                }

                fn compensate(
                    call: $crate::bindings::exports::redress::capability::provider::Compensation,
                ) -> ::std::result::Result<(), $crate::Failure> {
                    $crate::compensate(&entries(), call)
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
