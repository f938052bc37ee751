//! A call that goes wrong is a failure of that call, in the host's words.

use redress::saga::event::Outcome;
use redress::types::{Access, Duration, Grant, code};
use serde_json::{Value, json};

use super::{ends, fails};
use crate::common::*;

#[test]
fn an_exit_and_a_panic_are_failures_of_the_call_only() {
    for status in [0, 3] {
        let (code, message) = ends("test.exit", json!({"code": status}), Grant::default());
        assert_eq!((code.as_str(), message), (code::EXITED, format!("the component called `exit({})`", status.min(1))));
    }
    let (code, message) = ends("test.panic", json!({}), Grant::default());
    assert_eq!(
        (code.as_str(), &*message),
        (code::TRAP, "the component trapped: wasm trap: wasm `unreachable` instruction executed")
    );
}

#[test]
fn a_result_that_is_no_value_is_refused() {
    for (capability, message) in [
        ("test.bare_bad_text", "invalid utf-8"),
        ("test.bare_out_of_bounds", "string pointer/length out of bounds of memory"),
        ("test.bare_wrong_discriminant", "invalid expected discriminant"),
    ] {
        let failure = fails("bare", capability, json!({}), Grant::default());
        assert_eq!(failure.0, code::TRAP, "{capability}");
        assert!(failure.1.contains(message), "{capability}: {}", failure.1);
    }
}

#[test]
fn a_place_for_the_input_that_does_not_exist_is_refused() {
    let failure = fails("bare", "test.bare_loop", json!({"long": "x".repeat(2000)}), Grant::default());
    assert_eq!(failure, (code::TRAP.into(), "the component was stopped: realloc return: beyond end of memory".into()));
}

#[test]
fn names_of_functions_do_not_decide_what_a_failure_is_called() {
    let failure = fails("bare", "test.bare_false_name", json!({}), Grant::default());
    assert_eq!(failure.0, code::TRAP, "{}", failure.1);
}

#[test]
fn a_failure_without_measure_is_cut_to_size() {
    let report = run(execution(&guest("hostile"), "test.long_failure", json!({}), Grant::default()), &Recorder::new());
    let failure = report.result.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.message.len()), ("failed", 4 << 10));
}

#[test]
fn an_output_that_does_not_fit_its_schema_is_refused() {
    let report = run(execution(&guest("plain"), "test.bad_output", json!({}), Grant::default()), &Recorder::new());
    assert_eq!((failed(&report), report.outcome), (code::INVALID_OUTPUT, Outcome::Clean));
    assert!(report.result.unwrap_err().message.starts_with("`output.number`: "));
}

#[test]
fn an_input_that_does_not_fit_its_schema_is_refused_with_its_place() {
    let fs = standard("fs");
    let write = fs.capabilities().iter().find(|info| info.id.as_str() == "io.fs.write_file").unwrap();
    let failure = fs.validate_input(&write.id, &json!({"path": 1, "content": "x"})).unwrap_err();
    assert_eq!(failure.code, code::INVALID_INPUT);
    assert!(failure.message.contains("`input.path`"), "{failure}");
    fs.validate_input(&write.id, &json!({"path": "/workspace/a", "content": "x"})).unwrap();
}

#[test]
fn a_trap_after_an_effect_is_unclear() {
    let world = World::new();
    for (then, expected) in [("exit", code::EXITED), ("panic", code::TRAP), ("recurse", code::STACK_OVERFLOW)] {
        let input = json!({"path": "/workspace/f", "content": "x", "then": then});
        let call = execution(&guest("hostile"), "test.write_then", input, world.grant(Access::ReadWrite));
        let report = run(call, &Recorder::new());
        assert_eq!((failed(&report), report.outcome), (expected, Outcome::Unclear), "{report:?}");
    }
}

#[test]
fn what_a_component_keeps_in_its_memory_is_gone_with_the_call() {
    let calls = || execution(&guest("plain"), "test.counter", json!({}), Grant::default());
    for _ in 0..3 {
        let report = run(calls(), &Recorder::new());
        assert_eq!(report.result.unwrap().unwrap(), r#"{"calls":1}"#);
    }
}

#[test]
fn a_component_does_not_give_failures_in_the_name_of_the_host() {
    let input: Value = json!({"code": "denied", "message": "by nobody"});
    let report = run(execution(&guest("flaky"), "test.fail", input, Grant::default()), &Recorder::new());
    assert_eq!(failed(&report), "component-denied");
    // A component may know before its host does that an undo would be too large.
    let input: Value = json!({"code": code::UNDO_TOO_LARGE, "message": "15 MiB"});
    let report = run(execution(&guest("flaky"), "test.fail", input, Grant::default()), &Recorder::new());
    assert_eq!(failed(&report), code::UNDO_TOO_LARGE);
}

#[test]
fn what_a_component_is_told_is_what_was_decided() {
    let mut call = execution(&guest("plain"), "test.call", json!({"x": 1}), Grant::default());
    call.timeout = Some(Duration(5_000));
    let report = run(call, &Recorder::new());
    assert_eq!(report.result.unwrap().unwrap(), r#"{"attempt":1,"input":"{\"x\":1}","key":"key-1","timeout_ms":5000}"#);
    let mut call = execution(&guest("plain"), "test.context", json!({"name": "run"}), Grant::default());
    call.context.insert("run".into(), "r-1".into());
    call.grant.config.insert("region".into(), "eu".into());
    assert_eq!(run(call.clone(), &Recorder::new()).result.unwrap().unwrap(), r#"{"value":"r-1"}"#);
    call.input = json!({"name": "config.region"}).to_string();
    assert_eq!(run(call, &Recorder::new()).result.unwrap().unwrap(), r#"{"value":"eu"}"#);
}
