//! What the service promises over HTTP, with the real binary on loopback.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../common/binary.rs"]
mod common;

mod agents;
mod approvals;
mod console;
mod delegation;
mod door;
mod runs;
mod server;
