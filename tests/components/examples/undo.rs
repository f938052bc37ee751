//! Undos that are missing, wrong, late or stubborn.

use std::fs;

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Compensation, Effect, Failure, undo};
use test_guests::{Input, append_line, capability, nothing, prepare, pure, restore, retryable, reversible, write};

fn capabilities() -> Vec<Capability> {
    let undone_by = |id, compensate| capability(id, Effect::Reversible, save_and_write, compensate);
    vec![
        reversible("test.write_before_save", write_before_save),
        capability("test.never_saves", Effect::Reversible, only_write, nothing),
        pure("test.pure_writer", only_write),
        undone_by("test.bad_undo", bad_undo),
        undone_by("test.lazy_undo", nothing),
        undone_by("test.failing_undo", failing_undo),
        undone_by("test.unknown_undo", unknown_undo),
        undone_by("test.not_settled", not_settled),
        undone_by("test.trapping_undo", trapping_undo),
        undone_by("test.straying_undo", straying_undo),
        capability("test.append_undo", Effect::Reversible, append_undo, record_what_came),
        reversible("test.undo_rules", undo_rules),
        reversible("test.big_undo", big_undo),
    ]
}

/// `{path, content}`
fn save_and_write(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    only_write(call)
}

/// `{path, content}`: writes first and saves then.
fn write_before_save(call: &Call) -> Result<Value, Failure> {
    let output = only_write(call)?;
    prepare(&[Input::of(&call.input).text("path")])?;
    Ok(output)
}

/// `{path, content}`
fn only_write(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "path": input.text("path") }))
}

/// Leaves the wrong bytes and says that all is well.
fn bad_undo(call: &Compensation) -> Result<(), Failure> {
    write(Input::of(&call.input).text("path"), "wrong")
}

/// `{undo_fails?, flag?}`: fails for so many attempts, and as long as the file `flag` exists; then restores.
fn failing_undo(call: &Compensation) -> Result<(), Failure> {
    if is_due(call) { restore(call) } else { Err(Failure::new("failed", "the undo fails")) }
}

/// `{undo_fails?, flag?}`: the same, but it asks to wait.
fn not_settled(call: &Compensation) -> Result<(), Failure> {
    let wait = Failure { retry_after_ms: Some(5), ..retryable("not-settled", "the target has not settled") };
    if is_due(call) { restore(call) } else { Err(wait) }
}

fn is_due(call: &Compensation) -> bool {
    let input = Input::of(&call.input);
    let flag = input.text("flag");
    u64::from(call.attempt) > input.number("undo_fails") && (flag.is_empty() || !fs::exists(flag).unwrap_or(false))
}

/// Cannot read its own record.
fn unknown_undo(_: &Compensation) -> Result<(), Failure> {
    Err(Failure::new("unknown-undo", "the undo record is not one that this component wrote"))
}

fn trapping_undo(_: &Compensation) -> Result<(), Failure> {
    panic!("the undo panics")
}

/// `{other}`: restores, and then writes a file that `execute` never touched.
fn straying_undo(call: &Compensation) -> Result<(), Failure> {
    restore(call)?;
    write(Input::of(&call.input).text("other"), "stray")
}

/// `{path, content, append: [..], fail?}`: saves `saved`, writes, appends each text to the undo, and then fails if `fail`.
fn append_undo(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let refused = |reason| Failure::new("undo-refused", reason);
    undo::save(b"saved").map_err(refused)?;
    append_line(input.text("path"), input.text("content"))?;
    for text in input.0["append"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        undo::append(text.as_bytes()).map_err(refused)?;
    }
    match input.flag("fail") {
        true => Err(Failure::new("failed", "it appended and then failed")),
        false => Ok(json!({ "path": input.text("path") })),
    }
}

/// Leaves in the file what it was called with: the output or `none`, then each record, a line each.
fn record_what_came(call: &Compensation) -> Result<(), Failure> {
    let mut lines = vec![call.output.clone().unwrap_or_else(|| "none".to_owned())];
    lines.extend(call.undo.iter().map(|record| String::from_utf8_lossy(record).into_owned()));
    write(Input::of(&call.input).text("path"), lines.join("\n"))
}

/// `{path, content}`: breaks each rule of the interface once and returns what the host said.
fn undo_rules(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let append_early = undo::append(b"early");
    let first_save = undo::save(b"replaced before the effect");
    prepare(&[input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    let save_late = undo::save(b"late");
    let append_late = undo::append(b"learned");
    Ok(json!({
        "append_before_effect": append_early.err(),
        "first_save": first_save.err(),
        "save_after_effect": save_late.err(),
        "append_after_effect": append_late.err(),
    }))
}

/// `{path, content, bytes}`: saves so many bytes, then writes; a save that was refused is its failure.
fn big_undo(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    undo::save(&vec![b' '; input.number("bytes") as usize]).map_err(|reason| Failure::new("undo-refused", reason))?;
    only_write(call)
}

redress_guest::component!(capabilities);
