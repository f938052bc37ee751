//! What requests are let out, in which order, and what the record says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

#[path = "../common/binary.rs"]
mod binary;
#[path = "../common/mod.rs"]
mod common;
#[path = "../promises/world.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod world;

mod canary;
mod capabilities;
mod crash;
mod gate;
mod server;
mod shop;
mod tls;

use common::guests;
