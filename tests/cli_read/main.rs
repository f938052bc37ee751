//! The verbs that read, through the real binary: what they print, for people and for programs, what they end with, and that
//! nothing that a stranger wrote reaches a terminal raw.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(feature = "host")]

mod audit;
mod damage;
mod documents;
mod project;
mod runs;
