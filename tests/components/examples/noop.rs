//! Does nothing, for measuring what the host adds to it.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Failure, undo};
use test_guests::{nothing, pure, reversible};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::NewTimestamp;

fn capabilities() -> Vec<Capability> {
    vec![
        Capability { permissions: &[], ..pure("test.noop", |_| Ok(json!({}))) },
        Capability { compensate: nothing, ..reversible("test.touch", touch) },
    ]
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
