//! What `undo` should have been: a later version of a component, in which an undo was mended.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Failure};
use test_guests::{Input, prepare, reversible, write};

fn capabilities() -> Vec<Capability> {
    vec![reversible("test.bad_undo", save_and_write)]
}

/// `{path, content}`
fn save_and_write(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "path": input.text("path") }))
}

redress_guest::component!(capabilities);
