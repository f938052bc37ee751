//! The saga core: what a run is, as a pure fold over its events.
//!
//! `state = fold(events)` and `next(state) -> commands`. There is no clock, no randomness, no I/O and no sandbox here: time,
//! ids and outcomes enter as events or arguments.

pub mod event;
