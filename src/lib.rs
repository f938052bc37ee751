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
//! | `journal` | the append-only, hash-chained record of every run; who owns a run | yes |

#[cfg(feature = "host")]
pub mod journal;
pub mod saga;
pub mod types;
