//! Each capability breaks one promise of the contract, which the conformance kit has to name.

use std::fs;
use std::time::SystemTime;

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Compensation, Content, Effect, Failure, undo};
use test_guests::{Input, append_line, capability, nothing, prepare, pure, restore, reversible, save, write};

fn capabilities() -> Vec<Capability> {
    let lines = json!({ "type": "object", "properties": { "lines": { "type": "integer" } }, "required": ["lines"] });
    let path = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
    vec![
        capability("wrong.forgets_undo", Effect::Reversible, write_one, nothing),
        capability("wrong.undo_not_repeatable", Effect::Reversible, append, cut_last_line),
        capability("wrong.second_state", Effect::Reversible, remember_in_output, restore_from_output),
        reversible("wrong.effect_before_save", effect_before_save),
        reversible("wrong.ignores_key", append_again),
        pure("wrong.lies_about_effect", write_one),
        reversible("wrong.leaves_a_file", leave_a_file),
        reversible("wrong.depends_on_time", write_the_time),
        Capability { output: lines, ..pure("wrong.schema", count_in_words) },
        pure("wrong.swallows_an_error", read_or_nothing),
        capability("wrong.partial_failure", Effect::Reversible, fail_half_way, restore_if_known),
        capability("wrong.undo_of_nothing", Effect::Reversible, write_one, remove),
        capability("wrong.undo_half_way", Effect::Reversible, write_both, restore_unless_the_first_is_so),
        capability("wrong.undo_by_the_clock", Effect::Reversible, write_one, restore_within_a_day),
        Capability { permissions: &["fs:read"], ..reversible("wrong.asks_too_little", write_one) },
        Capability { input: path, ..pure("wrong.traps", trap_on_an_odd_name) },
    ]
}

/// `{path, content}`
fn write_one(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    if !call.capability.ends_with("effect") {
        prepare(&[input.text("path")])?;
    }
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "path": input.text("path") }))
}

/// `{path, line}`
fn append(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    append_line(input.text("path"), input.text("line"))?;
    Ok(json!({}))
}

/// Takes the last line away, whether it was added or not.
fn cut_last_line(call: &Compensation) -> Result<(), Failure> {
    let input = Input::of(&call.input);
    let text = fs::read_to_string(input.text("path")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let kept: String = lines.iter().take(lines.len().saturating_sub(1)).map(|line| format!("{line}\n")).collect();
    write(input.text("path"), kept)
}

/// `{path, content}`: what was there is remembered anew by each attempt.
fn remember_in_output(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let before = fs::read(input.text("path")).unwrap_or_default();
    undo::save(&before).map_err(|why| Failure::new("undo-refused", why))?;
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "before": Content::encode(&before) }))
}

fn restore_from_output(call: &Compensation) -> Result<(), Failure> {
    let input = Input::of(&call.input);
    let before = match &call.output {
        Some(output) => Content::decode("before", Input::of(output).text("before"))?,
        None => call.undo.first().cloned().unwrap_or_default(),
    };
    write(input.text("path"), before)
}

/// `{path, content}`
fn effect_before_save(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    write(input.text("path"), input.text("content"))?;
    prepare(&[input.text("path")])?;
    Ok(json!({}))
}

/// `{path, line}`: adds the line once more each time.
fn append_again(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    save(&[input.text("path")])?;
    append_line(input.text("path"), input.text("line"))?;
    Ok(json!({}))
}

/// `{path, content}`
fn leave_a_file(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    write(&format!("{}.draft", input.text("path")), input.text("content"))?;
    write(input.text("path"), input.text("content"))?;
    Ok(json!({}))
}

/// `{path}`
fn write_the_time(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    write(input.text("path"), (since.as_secs() / 86_400).to_string())?;
    Ok(json!({}))
}

/// `{path}`
fn count_in_words(call: &Call) -> Result<Value, Failure> {
    let text = fs::read_to_string(Input::of(&call.input).text("path")).unwrap_or_default();
    Ok(json!({ "lines": text.lines().count().to_string() }))
}

/// `{path}`
fn read_or_nothing(call: &Call) -> Result<Value, Failure> {
    let text = fs::read_to_string(Input::of(&call.input).text("path")).unwrap_or_default();
    Ok(json!({ "text": text }))
}

/// `{path, second, content}`
fn fail_half_way(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path"), input.text("second")])?;
    write(input.text("path"), input.text("content"))?;
    write(input.text("second"), input.text("content")).map_err(|_| Failure::conflict("nothing was done"))?;
    Ok(json!({}))
}

/// A failure is taken for nothing having happened.
fn restore_if_known(call: &Compensation) -> Result<(), Failure> {
    if call.output.is_some() { restore(call) } else { Ok(()) }
}

/// `{path, second, content}`
fn write_both(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("second"), input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    write(input.text("second"), input.text("content"))?;
    Ok(json!({}))
}

/// The first file as before is taken for both being so.
fn restore_unless_the_first_is_so(call: &Compensation) -> Result<(), Failure> {
    let input = Input::of(&call.input);
    let changed = |name: &str| fs::read_to_string(input.text(name)).ok().as_deref() == Some(input.text("content"));
    if !changed("path") && call.output.is_some() {
        return Ok(());
    }
    restore(call)
}

fn restore_within_a_day(call: &Compensation) -> Result<(), Failure> {
    let written = Input::of(&call.input);
    let age = fs::metadata(written.text("path")).and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age.as_secs() > 86_400) { Ok(()) } else { restore(call) }
}

/// Removes the file without asking whether it is the one that was made.
fn remove(call: &Compensation) -> Result<(), Failure> {
    let input = Input::of(&call.input);
    fs::remove_file(input.text("path")).map_err(|error| Failure::io("remove", input.text("path"), &error))
}

/// `{path}`
fn trap_on_an_odd_name(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    assert!(!input.text("path").is_empty(), "an empty name");
    Ok(json!({ "text": fs::read_to_string(input.text("path")).map_err(|e| Failure::io("read", "", &e))? }))
}

redress_guest::component!(capabilities);
