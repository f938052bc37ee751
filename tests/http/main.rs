//! What requests are let out, in which order, and what the record says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

#[path = "../common/mod.rs"]
mod common;
mod gate;
mod server;
