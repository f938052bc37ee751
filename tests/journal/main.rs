//! What the journal promises, tried on real files with real processes.

// Tests may fail loudly: an unexpected value is the failure that they are there to show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod append;
mod backup;
mod damage;
mod due;
mod opening;
mod outbox;
mod processes;
mod reading;
mod support;
mod tampering;
mod upkeep;
