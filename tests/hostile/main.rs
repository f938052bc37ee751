//! A component can neither crash, hang nor starve the host, whatever its bytes are; each limit has its name.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod limits;
mod loading;
mod network;
#[path = "../http/server.rs"]
#[expect(dead_code, reason = "nothing here needs TLS")]
mod server;

use common::{Recorder, execution, guest, run};
use redress::saga::event::Outcome;
use redress::types::{Grant, Limits};
use serde_json::Value;

/// A grant of nothing, with other limits.
fn limited(change: impl FnOnce(&mut Limits)) -> Grant {
    let mut grant = Grant::default();
    change(&mut grant.limits);
    grant
}

/// The code and the message with which a call fails that changes nothing.
fn fails(component: &str, capability: &str, input: Value, grant: Grant) -> (String, String) {
    let report = run(execution(&guest(component), capability, input, grant), &Recorder::new());
    assert_eq!(report.outcome, Outcome::Clean, "{report:?}");
    let failure = report.result.unwrap_err();
    (failure.code, failure.message)
}

/// The same, of the component `hostile`.
fn ends(capability: &str, input: Value, grant: Grant) -> (String, String) {
    fails("hostile", capability, input, grant)
}

/// What a failure says that names the limit which was passed.
fn passed(limit: &str, value: u64) -> (String, String) {
    (redress::types::code::LIMIT.to_owned(), format!("the limit `{limit}` ({value}) was passed"))
}
