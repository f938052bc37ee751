//! What a run promises, tried on the whole engine: real components in the real sandbox, a real journal, real files. Time is
//! a value that moves by itself while nothing is in flight.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/guests.rs"]
mod guests;
#[path = "../common/receiver.rs"]
mod receiver;
#[path = "../http/server.rs"]
#[allow(dead_code, reason = "another test needs the rest")]
mod server;
mod world;

mod approval;
mod audit;
mod conflict;
mod keeper;
mod meanwhile;
mod open_run;
mod recovery;
mod retry;
mod rollback;
mod scale;
mod tampering;
mod webhook;
