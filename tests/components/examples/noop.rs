//! Does nothing, or only computes, for measuring what the host and others add to it.

use std::hint::black_box;

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Failure, undo};
use test_guests::{Input, nothing, pure, reversible};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::NewTimestamp;

fn capabilities() -> Vec<Capability> {
    vec![
        Capability { permissions: &[], ..pure("test.noop", |_| Ok(json!({}))) },
        Capability { permissions: &[], ..pure("test.compute", compute) },
        Capability { compensate: nothing, ..reversible("test.touch", touch) },
    ]
}

/// `{rounds}`: computes so long; by default for ever.
fn compute(call: &Call) -> Result<Value, Failure> {
    let rounds = Input::of(&call.input).0["rounds"].as_u64().unwrap_or(u64::MAX);
    let sum = (0..rounds).fold(0_u64, |sum, round| black_box(sum.wrapping_mul(31).wrapping_add(round)));
    Ok(json!({ "sum": sum.to_string() }))
}

/// An effect that changes nothing: the times of the granted directory are set to what they are.
fn touch(_: &Call) -> Result<Value, Failure> {
    undo::save(b"nothing").map_err(|reason| Failure::new("undo-refused", reason))?;
    let directories = get_directories();
    let Some((directory, _)) = directories.first() else {
        return Err(Failure::new("no-directory", "no directory is granted"));
    };
    let kept = directory.set_times(NewTimestamp::NoChange, NewTimestamp::NoChange);
    kept.map_err(|error| Failure::new("io", error.to_string()))?;
    Ok(json!({}))
}

redress_guest::component!(capabilities);
