//! Well-behaved helpers: they count, wait, log and tell.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Effect, Failure, context, undo};
use test_guests::{Input, append_line, capability, nothing, prepare, pure, retryable, reversible, save, write};

fn capabilities() -> Vec<Capability> {
    vec![
        Capability { idempotent: false, ..reversible("test.count", count) },
        reversible("test.count_idem", count),
        reversible("test.slow", slow),
        reversible("test.until", until),
        Capability { idempotent: false, ..reversible("test.presume", presume) },
        capability("test.irreversible", Effect::Irreversible, only_write, nothing),
        reversible("test.write", save_and_write),
        pure("test.echo", |call| Ok(Input::of(&call.input).0)),
        pure("test.call", |call| {
            Ok(json!({ "input": call.input, "key": call.key, "attempt": call.attempt, "timeout_ms": call.timeout_ms }))
        }),
        pure("test.log", log),
        pure("test.counter", counter),
        pure("test.context", |call| Ok(json!({ "value": context::get(Input::of(&call.input).text("name")) }))),
        Capability {
            output: json!({ "type": "object", "required": ["number"], "properties": { "number": { "type": "integer" } } }),
            ..pure("test.bad_output", |_| Ok(json!({ "number": "not a number" })))
        },
        Capability {
            output: json!({}),
            ..pure("test.any_output", |call| Ok(Input::of(&call.input).0["value"].clone()))
        },
    ]
}

/// `{path, fail_times?}`: adds the line `execute N`, N being the attempt, and fails for the first `fail_times` attempts.
/// It never starts anew from an earlier record, so that the file counts the executions; its undo removes all of them.
fn count(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    save(&[input.text("path")])?;
    append_line(input.text("path"), &format!("execute {}", call.attempt))?;
    if u64::from(call.attempt) <= input.number("fail_times") {
        return Err(retryable("unavailable", format!("attempt {} fails", call.attempt)));
    }
    Ok(json!({ "path": input.text("path"), "attempt": call.attempt }))
}

/// `{path, ms}`: adds the line `begin`, waits, adds the line `end`.
fn slow(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    append_line(input.text("path"), "begin")?;
    sleep(Duration::from_millis(input.number("ms")));
    append_line(input.text("path"), "end")?;
    Ok(json!({ "path": input.text("path") }))
}

/// `{path, until}`: adds the line `begin`, waits until the file `until` is there, adds the line `end`.
fn until(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    append_line(input.text("path"), "begin")?;
    while !fs::exists(input.text("until")).unwrap_or(false) {
        sleep(Duration::from_millis(5));
    }
    append_line(input.text("path"), "end")?;
    Ok(json!({ "path": input.text("path") }))
}

/// `{first, second, presumed, was, after, until}`: waits until the file `after` is there; saves how the first two files are, and that
/// the file `presumed` was `was`; writes `new` into the first two, and waits until the file `until` is there.
fn presume(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let wait = |name| {
        while !fs::exists(input.text(name)).unwrap_or(false) {
            sleep(Duration::from_millis(5));
        }
    };
    wait("after");
    let mut files = vec![json!([input.text("presumed"), input.text("was").as_bytes()])];
    files.extend(["first", "second"].map(|name| json!([input.text(name), fs::read(input.text(name)).ok()])));
    undo::save(json!(files).to_string().as_bytes()).map_err(|reason| Failure::new("undo-refused", reason))?;
    for name in ["first", "second"] {
        write(input.text(name), "new")?;
    }
    wait("until");
    Ok(json!({}))
}

/// `{path, content}`
fn save_and_write(call: &Call) -> Result<Value, Failure> {
    prepare(&[Input::of(&call.input).text("path")])?;
    only_write(call)
}

/// `{path, content}`
fn only_write(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "path": input.text("path") }))
}

/// `{lines, stderr?, unfinished?}`: prints each line, and at the end a text without a newline.
fn log(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    for line in input.0["lines"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if input.flag("stderr") { eprintln!("{line}") } else { println!("{line}") }
    }
    print!("{}", input.text("unfinished"));
    Ok(json!({}))
}

/// Says how often this memory was called.
fn counter(_: &Call) -> Result<Value, Failure> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    Ok(json!({ "calls": CALLS.fetch_add(1, Ordering::Relaxed) + 1 }))
}

redress_guest::component!(capabilities);
