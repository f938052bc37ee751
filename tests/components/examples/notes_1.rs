//! `acme.notes.write`, the first version: it can be undone.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Failure};
use test_guests::{Input, prepare, reversible, write};

fn capabilities() -> Vec<Capability> {
    vec![reversible("acme.notes.write", write_one)]
}

/// `{path, content}`
fn write_one(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "path": input.text("path") }))
}

redress_guest::component!(capabilities);
