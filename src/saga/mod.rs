//! The saga core: what a run is, as a pure fold over its events.
//!
//! `state = fold(events)` and `next(state) -> commands`. There is no clock, no randomness, no I/O and no sandbox here: time,
//! ids and outcomes enter as events or arguments. Whoever drives a run does what the commands say and appends the events
//! that tell of it; whoever reads a journal folds it and learns the same. That makes every crash point testable without a
//! crash.
//!
//! | module | what is inside |
//! |---|---|
//! | [`event`] | the fourteen kinds of events |
//! | [`state`] | what the events amount to |
//! | [`fold`] | which event may follow which, and what it changes |
//! | [`next`] | what is to be done now, or when next; when things are tried again; idempotency keys |
//! | [`claims`] | which step has touched which target, so that undoing in reverse restores |
//! | [`author`] | who may append to a run |
//! | [`shown`] | what people see: states of runs and steps, residue |

pub mod author;
pub mod claims;
pub mod event;
pub mod fold;
pub mod next;
pub mod planted;
pub mod shown;
pub mod state;

#[cfg(test)]
mod tests;

pub use author::{Author, NotAdmitted};
pub use claims::{Claims, Touch, conflict};
pub use fold::{Illegal, fold};
pub use next::{Command, InFlight, KeyUse, due, key, next, retry_at, undo_retry_at};
pub use shown::{RunState, StepState};
pub use state::{Phase, State, Status, Step, StepIndex};
