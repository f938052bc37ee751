//! A component can neither crash, hang nor starve the host, whatever its bytes are; each limit has its name.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

mod common;

use std::sync::Arc;

use common::*;
use redress::saga::event::Outcome;
use redress::sandbox::{Cancel, LoadError, Provenance, Sandbox, SandboxConfig, Watcher};
use redress::types::{Access, Duration, Grant, Limits, Risk, code};
use serde_json::{Value, json};

fn limited(change: impl FnOnce(&mut Limits)) -> Grant {
    let mut grant = Grant::default();
    change(&mut grant.limits);
    grant
}

fn ends(capability: &str, input: Value, grant: Grant) -> (String, String) {
    let report = run(execution(&guest("hostile"), capability, input, grant), &Recorder::new());
    assert_eq!(report.outcome, Outcome::Clean, "{report:?}");
    let failure = report.result.unwrap_err();
    (failure.code, failure.message)
}

fn load(bytes: &[u8]) -> Result<(), LoadError> {
    sandbox().load(bytes, Provenance::External).map(|_| ())
}

fn load_guest(name: &str) -> Result<(), LoadError> {
    load(&std::fs::read(guests::component(name)).unwrap())
}

#[test]
fn a_loop_ends_when_its_fuel_or_its_time_is_used_up() {
    let grant = limited(|limits| limits.fuel = 50_000_000);
    assert_eq!(ends("test.loop", json!({}), grant).0, code::OUT_OF_FUEL);
    let grant = limited(|limits| (limits.fuel, limits.wall_time) = (u64::MAX, 200));
    assert_eq!(ends("test.loop", json!({}), grant), (code::TIMEOUT.into(), "the call took longer than 200ms".into()));
}

#[test]
fn a_sleep_and_a_flood_of_host_calls_end_when_their_time_is_up() {
    let grant = limited(|limits| (limits.fuel, limits.wall_time) = (u64::MAX, 200));
    assert_eq!(ends("test.sleep", json!({"ms": 3_600_000}), grant.clone()).0, code::TIMEOUT);
    assert_eq!(ends("test.host_call_flood", json!({}), grant).0, code::TIMEOUT);
}

#[test]
fn a_memory_bomb_ends_in_the_limit_of_memory() {
    let grant = limited(|limits| limits.memory = 16 << 20);
    let report = run(
        execution(&guest("hostile"), "test.memory", json!({"how": "vec", "bytes": 1_u64 << 30}), grant.clone()),
        &Recorder::new(),
    );
    // This guest notices that it gets no more and says so; what it is given is bounded all the same.
    assert_eq!((failed(&report), report.outcome), ("no-memory", Outcome::Clean));
    let input = json!({"bytes": 1_u64 << 30});
    let (code, message) = ends("test.big_output", input, grant);
    assert_eq!(
        (code.as_str(), message.as_str()),
        (code::OUT_OF_MEMORY, "the limit `memory` (16777216 bytes) was passed")
    );
}

#[test]
fn many_memories_tables_or_instances_are_bounded_together() {
    for name in ["many_memories", "many_tables", "many_instances"] {
        match load_guest(name) {
            Err(LoadError::DescribeFailed(failure)) => {
                assert!(matches!(failure.code.as_str(), code::OUT_OF_MEMORY | code::LIMIT), "{name}: {failure}");
            }
            Err(LoadError::Invalid(message)) => assert!(message.contains("maximum"), "{name}: {message}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    load_guest("harmless").unwrap();
}

#[test]
fn recursion_ends_in_the_limit_of_the_stack() {
    assert_eq!(ends("test.recursion", json!({}), Grant::default()).0, code::STACK_OVERFLOW);
}

#[test]
fn a_flood_on_standard_output_is_cut_off_and_said_so() {
    for how in ["bytes", "lines", "empty"] {
        let grant = limited(|limits| limits.stdout = 1000);
        let input = json!({"how": how, "count": 200});
        let report = run(execution(&guest("hostile"), "test.stdout_flood", input, grant), &Recorder::new());
        assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
        let log = report.log.map(|log| String::from_utf8(log).unwrap());
        match how {
            "empty" => assert_eq!(log, None),
            _ => {
                let log = log.unwrap();
                assert!(log.len() < 1200 && log.contains("standard output was cut off here"), "{log}");
            }
        }
    }
}

#[test]
fn an_exit_and_a_panic_are_failures_of_the_call_only() {
    assert_eq!(ends("test.exit", json!({"code": 3}), Grant::default()).0, code::EXITED);
    assert_eq!(ends("test.panic", json!({}), Grant::default()).0, code::TRAP);
}

#[test]
fn an_output_that_is_too_large_or_does_not_fit_its_schema_is_refused() {
    let grant = limited(|limits| limits.output = 1000);
    assert_eq!(
        ends("test.big_output", json!({"bytes": 2000}), grant),
        (code::LIMIT.into(), "the limit `output` (1000) was passed".into())
    );
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
fn randomness_handles_and_copies_are_bounded_by_name() {
    let grant = limited(|limits| limits.random_bytes = 1000);
    assert_eq!(ends("test.random_big", json!({"bytes": 2000}), grant).1, "the limit `random_bytes` (1000) was passed");
    let grant = limited(|limits| limits.hostcall_bytes = 100_000);
    assert_eq!(
        ends("test.big_output", json!({"bytes": 1 << 20}), grant).1,
        "the limit `hostcall_bytes` (100000) was passed"
    );
    let world = World::new();
    world.write("f", "x");
    let input = json!({"path": "/workspace/f", "count": 100});
    for (name, change) in
        [("resources", (|limits| limits.resources = 50) as fn(&mut Limits)), ("handles", |limits| limits.handles = 50)]
    {
        let mut grant = world.grant(Access::ReadOnly);
        change(&mut grant.limits);
        assert_eq!(ends("test.many_handles", input.clone(), grant).1, format!("the limit `{name}` (50) was passed"));
    }
}

#[test]
fn a_well_behaved_call_beside_hostile_ones_finishes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let cancel = Cancel::new();
    let start = |component: &str, capability: &str, input: Value, cancel: &Cancel| {
        let grant = limited(|limits| (limits.fuel, limits.wall_time) = (u64::MAX, 3_600_000));
        let call = execution(&guest(component), capability, input, grant);
        runtime.spawn(sandbox().call(call, Recorder::new() as Arc<dyn Watcher>, cancel.clone()))
    };
    let hostile = [
        start("hostile", "test.loop", json!({}), &cancel),
        start("hostile", "test.sleep", json!({"ms": 3_600_000}), &cancel),
        start("hostile", "test.stdout_flood", json!({"how": "bytes", "count": u32::MAX}), &cancel),
    ];
    let echo = start("plain", "test.echo", json!({"b": 1, "a": 2}), &Cancel::new());
    let report = runtime.block_on(echo).unwrap();
    assert_eq!(report.result.unwrap().as_deref(), Some(r#"{"a":2,"b":1}"#));
    cancel.cancel();
    for call in hostile {
        let report = runtime.block_on(call).unwrap();
        assert_eq!((failed(&report), report.outcome), (code::INTERRUPTED, Outcome::Clean));
    }
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
fn a_component_does_not_give_failures_in_the_name_of_the_host() {
    let input = json!({"code": "denied", "message": "by nobody"});
    let report = run(execution(&guest("flaky"), "test.fail", input, Grant::default()), &Recorder::new());
    assert_eq!(failed(&report), "component-denied");
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

#[test]
fn bytes_that_are_no_component_are_refused_each_with_its_reason() {
    assert_eq!(load(b""), Err(LoadError::NotWasm));
    assert_eq!(load(b"#!/bin/sh\n"), Err(LoadError::NotWasm));
    assert_eq!(load(&wat::parse_str("(module)").unwrap()), Err(LoadError::CoreModule));
    assert_eq!(load(&wat::parse_str("(component)").unwrap()), Err(LoadError::WrongWorld));
    assert!(matches!(load(b"\0asm\x0d\0\x01\0garbage"), Err(LoadError::Invalid(_))));
    let engine = wasmtime::Engine::default();
    let compiled = engine.precompile_component(&wat::parse_str("(component)").unwrap()).unwrap();
    assert_eq!(load(&compiled), Err(LoadError::Precompiled));
    let compiled = engine.precompile_module(&wat::parse_str("(module)").unwrap()).unwrap();
    assert_eq!(load(&compiled), Err(LoadError::Precompiled));
}

#[test]
fn imports_that_the_host_does_not_have_are_named() {
    let provider = r#"(instance $p) (export "redress:capability/provider@0.1.0" (instance $p))"#;
    let with =
        |import: &str| wat::parse_str(format!(r#"(component (import "{import}" (instance)) {provider})"#)).unwrap();
    for import in ["wasi:http/incoming-handler@0.2.12", "wasi:http/outgoing-handler@0.3.0"] {
        assert_eq!(load(&with(import)), Err(LoadError::MissingImport(import.into())));
    }
    assert_eq!(load(&with("acme:exec/run@1.0.0")), Err(LoadError::MissingImport("acme:exec/run@1.0.0".into())));
    let empty = wat::parse_str(format!("(component {provider})")).unwrap();
    assert!(matches!(load(&empty), Err(LoadError::WrongContract(_))));
}

#[test]
fn a_component_that_lies_in_its_description_is_refused() {
    for (name, expected) in [
        ("liar_changes", "its description is refused: "),
        ("liar_not_json", "its description is refused: not valid JSON"),
        ("liar_stolen_id", "`io.fs.write_file` is in the namespace `io.`"),
        ("liar_reserved_id", "belongs to the standard library"),
        ("liar_bad_id", "`Test.Bad Id` is not a capability id"),
        ("liar_low_irreversible", "HIGH is the least"),
        ("liar_pure_permission", "asks for `fs:write`, which can change something"),
        ("liar_bad_permission", "`sys:exec` is not a permission"),
        ("liar_bad_schema", "the `input` schema of `test.bad_schema`"),
        ("liar_traps", "its `describe` failed: trap"),
        ("liar_loops", "its `describe` failed: out-of-fuel"),
        ("liar_unknown_schema", "its `schema` is 2"),
        ("liar_twice", "`test.twice` stands twice"),
    ] {
        let error = load_guest(name).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert_eq!(guest("liar_low_risk").capabilities()[0].risk, Risk::Medium);
}

#[test]
fn damaged_code_in_the_cache_is_made_anew_and_a_folder_that_others_can_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let config = SandboxConfig { cache_dir: Some(cache.clone()), ..SandboxConfig::default() };
    let bytes = std::fs::read(guests::component("harmless")).unwrap();
    let load = || Sandbox::new(config.clone()).unwrap().load(&bytes, Provenance::External).unwrap().digest();
    let digest = load();
    let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read(&entry).unwrap();
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);

    for damage in [0, 20, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[damage] ^= 1;
        std::fs::write(&entry, &damaged).unwrap();
        assert_eq!(load(), digest);
        assert_ne!(std::fs::read(&entry).unwrap(), damaged, "it was made anew");
    }
    std::fs::write(&entry, &sound[..100]).unwrap();
    assert_eq!(load(), digest);

    std::fs::write(&entry, b"not touched").unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(load(), digest);
    assert_eq!(std::fs::read(&entry).unwrap(), b"not touched");
}
