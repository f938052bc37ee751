//! Fails on demand, before or after its effect.

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Effect, Failure};
use test_guests::{Input, append_line, capability, nothing, prepare, pure, retryable, reversible, write};

fn capabilities() -> Vec<Capability> {
    vec![
        reversible("test.flaky.write", flaky_write),
        pure("test.fail", fail),
        capability("test.fail_reversible", Effect::Reversible, fail, nothing),
        Capability { idempotent: false, ..reversible("test.fail_after_write", fail_after_write) },
        reversible("test.fail_after_write_idem", fail_after_write),
        reversible("test.partial", partial),
    ]
}

/// `{path, content, fail_times, retry_after_ms?}`: fails cleanly until `fail_times` attempts are over, then writes.
fn flaky_write(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    if u64::from(call.attempt) <= input.number("fail_times") {
        let wait = input.0["retry_after_ms"].as_u64();
        let failure = retryable("unavailable", format!("attempt {} fails", call.attempt));
        return Err(Failure { retry_after_ms: wait, ..failure });
    }
    prepare(&[input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    Ok(json!({ "path": input.text("path"), "attempt": call.attempt }))
}

/// `{code?, message?, retryable?}`: always fails cleanly.
fn fail(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let code = if input.text("code").is_empty() { "failed" } else { input.text("code") };
    let message = if input.text("message").is_empty() { "it always fails" } else { input.text("message") };
    Err(Failure { retryable: input.flag("retryable"), ..Failure::new(code, message) })
}

/// `{path, content, retryable, fail_times?}`: writes, and then fails, always or for the first `fail_times` attempts.
fn fail_after_write(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    if input.0["fail_times"].as_u64().is_some_and(|times| u64::from(call.attempt) > times) {
        return Ok(json!({ "path": input.text("path"), "attempt": call.attempt }));
    }
    Err(Failure { retryable: input.flag("retryable"), ..Failure::new("failed", "it wrote and then failed") })
}

/// `{paths, content, fail}`: appends to several files in order, then fails if `fail`.
fn partial(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let paths: Vec<&str> = input.0["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    prepare(&paths)?;
    paths.iter().try_for_each(|path| append_line(path, input.text("content")))?;
    match input.flag("fail") {
        true => Err(Failure::new("failed", "it wrote some and then failed")),
        false => Ok(json!({ "paths": paths })),
    }
}

redress_guest::component!(capabilities);
