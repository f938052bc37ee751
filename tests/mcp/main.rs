//! What an agent is promised that speaks the Model Context Protocol, with the real binary, line by line.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../common/binary.rs"]
mod common;

mod client;
mod stdio;
