//! Redress runs side effects so that each is permitted, confined, recorded and reversible.
//!
//! *Every call passes the policy, runs in the sandbox, is journaled, and can be undone*: each of these words is a room.
//!
//! | room | what is inside | touches the world |
//! |---|---|---|
//! | [`types`] | ids, digests, times, risk, grants, failures | no |
//! | [`document`] | strict YAML with places, and the errors that point at them | no |
//! | [`workflow`] | a YAML document becomes a checked plan | no |
//! | [`policy`] | a YAML document becomes decisions and grants | no |
//! | [`saga`] | events, `state = fold(events)`, the next commands | no |
//! | `journal` | the hash-chained record of every run, and who owns it | yes |
//! | `sandbox` | one call of a component, confined, and the proof of what it did | yes |
//! | `conformance` | does a component keep the promises of the contract? Tries it, also where it dies half-way | yes |
//! | `install` | components of others: where they come from, whose they are, and which of them runs may use | yes |
//! | `engine` | composes the others: submits, drives, undoes and recovers runs | yes |
//! | `serve` | the service: capabilities as tools of agents | yes |
//! | `cli` | one file a verb: what a person types and reads | yes |
//!
//! The rooms that do not touch the world build without the feature `host`, so that their tests run in seconds.

#[cfg(feature = "host")]
pub mod cli;
#[cfg(feature = "host")]
pub mod conformance;
pub mod document;
#[cfg(feature = "host")]
pub mod engine;
#[cfg(feature = "host")]
pub mod install;
#[cfg(feature = "host")]
pub mod journal;
pub mod policy;
pub mod saga;
#[cfg(feature = "host")]
pub mod sandbox;
#[cfg(feature = "host")]
pub mod serve;
pub mod types;
pub mod workflow;
