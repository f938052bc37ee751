//! How plain types stand in the JSON Schemas of what the service says. The pure rooms know no schemas; so it is said here.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::journal::{Head, PublicKey, Scope, SystemEvent};
use crate::saga::event::{Event, ReadRecord, Residue, UndoOutcome};
use crate::saga::{RunState, StepState};
use crate::types::{Action, CapabilityId, Digest, Effect, Failure, Grant, Principal, Risk, RunId, StepName};

/// Texts in a form of their own, and words of which there are some.
macro_rules! text {
    ($($type:ident),*) => { $(described!($type, json_schema!({ "type": "string" }));)* };
}

/// What the documents of the journal and of the policy describe.
macro_rules! object {
    ($($type:ident),*) => { $(described!($type, json_schema!({ "type": "object" }));)* };
}

macro_rules! described {
    ($type:ident, $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text!(CapabilityId, Digest, Principal, PublicKey, RunId, StepName, StepState, UndoOutcome);
object!(Effect, Event, Failure, Grant, Head, ReadRecord, Residue, SystemEvent);
described!(RunState, json_schema!({ "type": "string", "enum": RunState::ALL.map(RunState::as_str) }));
described!(Scope, json_schema!({ "type": "string", "enum": Scope::ALL.map(Scope::as_str) }));
described!(Action, json_schema!({ "type": "string", "enum": ["ALLOW", "REQUIRE_APPROVAL", "DENY"] }));
described!(Risk, json_schema!({ "type": "string", "enum": ["LOW", "MEDIUM", "HIGH", "CRITICAL"] }));
