//! What the command line promises, with the real binary, real files and a real journal.
// Tests may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../common/binary.rs"]
mod common;
#[path = "../common/guests.rs"]
mod guests;

mod approval;
mod audit;
mod doctor;
mod documents;
mod examples;
mod operator;
mod policy;
mod recovery;
mod recovery_of_many;
mod refusals;
mod reload;
mod review;
mod run;
mod setup;
mod shadow;
