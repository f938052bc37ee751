//! Capabilities for Redress: typed operations that can be undone, as WebAssembly components.
//!
//! A capability is a type with [`Capability`]: what it is called, what it may change, the types of its input, its output and
//! its undo record, and two functions. [`export!`] makes a component of one or more of them; the description with its JSON
//! Schemas comes from the types.
//!
//! ```
//! use redress_capability::{Call, Capability, Compensation, Effect, Failure, Risk, files::FileState};
//! use redress_capability::schemars::{self, JsonSchema};
//! use redress_capability::serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "redress_capability::serde", deny_unknown_fields)]
//! struct Input {
//!     /// The file of notes.
//!     path: String,
//!     /// What is added.
//!     line: String,
//! }
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! #[serde(crate = "redress_capability::serde")]
//! struct Output {
//!     lines: usize,
//! }
//!
//! struct AddNote;
//!
//! impl Capability for AddNote {
//!     const ID: &'static str = "acme.notes.add";
//!     const TITLE: &'static str = "Add a note";
//!     const SUMMARY: &'static str = "Adds a line to a file of notes. Undo restores the file.";
//!     const RISK: Risk = Risk::Medium;
//!     const EFFECT: Effect = Effect::Reversible;
//!     const PERMISSIONS: &'static [&'static str] = &["fs:read", "fs:write"];
//!     type Input = Input;
//!     type Output = Output;
//!     type Undo = FileState;
//!
//!     fn execute(call: &Call<Self>) -> Result<Output, Failure> {
//!         // Save before the first change. What comes back is the record in force, perhaps an earlier attempt's: start there.
//!         let before = call.save(&FileState::of(&call.input.path)?)?;
//!         before.saved.restore()?;
//!         let mut text = before.saved.text()?.unwrap_or_default();
//!         text.push_str(&call.input.line);
//!         text.push('\n');
//!         redress_capability::files::write(&call.input.path, text.as_bytes())?;
//!         Ok(Output { lines: text.lines().count() })
//!     }
//!
//!     fn compensate(undo: &Compensation<Self>) -> Result<(), Failure> {
//!         undo.in_force.as_ref().map_or(Ok(()), |before| before.saved.restore())
//!     }
//! }
//!
//! redress_capability::export!(AddNote);
//! # fn main() {}
//! ```
//!
//! - [`Call`], [`Compensation`], [`InForce`]: what the two functions are given
//! - [`Failure`]: failures with codes that the host understands, and how errors of the system become them
//! - [`files`]: the state of a file, and how it comes back
//! - [`remote`]: a thing at a target that chooses its id: save what finds it, make it, append the id, look it up when unclear
//! - `http`: requests, with the feature `http`
//!
//! What a component prints to stderr goes into the log of its run. Configuration that the operator grants comes by
//! [`config`].

mod call;
mod capability;
mod failure;
pub mod files;
#[cfg(feature = "http")]
pub mod http;
pub mod remote;

/// The contract, as generated.
#[doc(hidden)]
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "capability",
        pub_export_macro: true,
        default_bindings_module: "redress_capability::bindings",
    });
}

pub use bindings::exports::redress::capability::provider::Failure;
pub use call::{Call, Compensation, InForce};
pub use capability::{Capability, Effect, Risk};
#[doc(hidden)]
pub use capability::{Entry, compensate, describe, execute};
pub use {schemars, serde, serde_json};

/// A configuration value that the operator grants; the capability asks for it with the permission `config:NAME`.
pub fn config(name: &str) -> Option<String> {
    bindings::redress::capability::context::get(&format!("config.{name}"))
}

/// What the component may know of its run: `run`, `step`, `principal`, `deadline` or `traceparent`.
pub fn context(name: &str) -> Option<String> {
    bindings::redress::capability::context::get(name)
}
