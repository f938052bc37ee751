//! What every component of the standard library shares.
//!
//! A component is a table of [`Capability`] values handed to [`component!`]: the table is both the description and the
//! dispatch, so that what a component says and what it does cannot drift apart.
//!
//! - [`bindings`]: generated from `wit/`
//! - [`Capability`], [`component!`]: description and dispatch
//! - [`Failure`]: failures with codes, and how errors of the system become them
//! - [`object`]: strict JSON Schemas
//! - [`Content`], [`sha256_hex`]: text or base64, and digests

mod capability;
mod content;
mod failure;
mod schema;

/// The contract, as generated.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "capability",
        pub_export_macro: true,
        default_bindings_module: "redress_guest::bindings",
    });
}

pub use bindings::exports::redress::capability::provider::{Call, Compensation, Failure};
pub use bindings::redress::capability::{context, undo};
pub use capability::{Capability, Effect, Risk, compensate, describe, execute, input};
pub use content::{Content, Sha256, hex, sha256_hex};
pub use schema::{DIALECT, object};
pub use serde_json;
pub use sha2::Digest;
