//! Each limit is hit by a component, and the failure names it.

use std::sync::Arc;

use redress::saga::event::Outcome;
use redress::sandbox::{Cancel, Component, Provenance, Sandbox, SandboxConfig};
use redress::types::{Access, Grant, Limits, code};
use serde_json::{Value, json};

use super::{ends, fails, limited, network, passed};
use crate::common::*;

/// Which test holds which limit.
const HELD_BY: &[(&str, fn())] = &[
    ("memory", memory_is_bounded_however_it_is_taken),
    ("memory", many_memories_count_as_one),
    ("table_elements", tables_are_bounded_from_the_start_and_when_they_grow),
    ("instances", instances_and_memories_are_counted),
    ("memories", instances_and_memories_are_counted),
    ("fuel", a_loop_ends_when_its_fuel_or_its_time_is_used_up),
    ("wall_time", a_loop_ends_when_its_fuel_or_its_time_is_used_up),
    ("wall_time", a_sleep_and_a_flood_of_host_calls_end_when_their_time_is_up),
    ("hostcall_bytes", what_one_call_copies_across_the_boundary_is_bounded),
    ("handles", handles_and_resources_are_bounded_by_name),
    ("resources", handles_and_resources_are_bounded_by_name),
    ("random_bytes", one_request_for_randomness_is_bounded),
    ("stdout", a_flood_of_output_is_cut_off_and_said_so),
    ("stderr", a_flood_of_output_is_cut_off_and_said_so),
    ("input", an_input_over_the_limit_never_reaches_the_component),
    ("output", an_output_over_the_limit_is_refused),
    ("undo", undo_records_are_bounded_in_bytes_and_in_number),
    ("header_bytes", network::headers_are_bounded_in_both_directions),
    ("request_bytes", network::the_bodies_of_requests_are_bounded),
    ("response_bytes", network::an_endless_answer_is_bounded),
    ("requests", network::the_number_of_requests_is_bounded),
    ("targets", what_one_attempt_changes_is_bounded),
    ("effects_listed", effects_beyond_the_list_are_counted),
];

#[test]
fn every_limit_is_hit_by_a_hostile_component() {
    for (name, _) in Limits::NAMES {
        assert!(HELD_BY.iter().any(|(held, _)| held == name), "no test hits the limit `{name}`");
    }
    for (held, _) in HELD_BY {
        assert!(Limits::NAMES.iter().any(|(name, _)| name == held), "there is no limit `{held}`");
    }
}

#[test]
fn memory_is_bounded_however_it_is_taken() {
    let out_of_memory = (code::OUT_OF_MEMORY.to_owned(), "the limit `memory` (16777216 bytes) was passed".to_owned());
    let small = || limited(|limits| limits.memory = 16 << 20);
    let take = |how: &str| ends("test.memory", json!({"how": how, "bytes": 1_u64 << 30}), small());
    // These notice that they get no more and say so; what they are given is bounded all the same.
    for how in ["vec", "page", "huge"] {
        assert_eq!(take(how).0, "no-memory", "{how}");
    }
    assert_eq!(take("trap"), out_of_memory);
    assert_eq!(ends("test.big_output", json!({"bytes": 1_u64 << 30}), small()), out_of_memory);
    assert_eq!(fails("bare", "test.bare_memory", json!({}), small()), out_of_memory);
}

#[test]
fn many_memories_count_as_one() {
    // Four memories of one page each, and room for three.
    let grant = limited(|limits| limits.memory = 3 << 16);
    let failure = fails("greedy", "test.greedy", json!({}), grant);
    assert_eq!(failure, (code::OUT_OF_MEMORY.into(), "the limit `memory` (196608 bytes) was passed".into()));
}

#[test]
fn tables_are_bounded_from_the_start_and_when_they_grow() {
    let grant = || limited(|limits| limits.table_elements = 1_500);
    let passed = passed("table_elements", 1_500);
    assert_eq!(fails("bare", "test.bare_table", json!({}), grant()), passed);
    // Twenty tables of a hundred elements.
    assert_eq!(fails("greedy", "test.greedy", json!({}), grant()), passed);
}

#[test]
fn instances_and_memories_are_counted() {
    let grant = limited(|limits| limits.instances = 31);
    assert_eq!(fails("greedy", "test.greedy", json!({}), grant), passed("instances", 31));
    let grant = limited(|limits| limits.memories = 3);
    assert_eq!(fails("greedy", "test.greedy", json!({}), grant), passed("memories", 3));
}

#[test]
fn a_loop_ends_when_its_fuel_or_its_time_is_used_up() {
    for (component, capability) in [("hostile", "test.loop"), ("bare", "test.bare_loop"), ("greedy", "test.greedy")] {
        let grant = limited(|limits| limits.fuel = 50_000_000);
        let fuel = (code::OUT_OF_FUEL.into(), "the limit `fuel` (50000000) was passed".into());
        assert_eq!(fails(component, capability, json!({}), grant), fuel);
        let grant = limited(|limits| (limits.fuel, limits.wall_time) = (u64::MAX, 100));
        let time = (code::TIMEOUT.into(), "the call took longer than 100ms".into());
        assert_eq!(fails(component, capability, json!({}), grant), time);
    }
}

#[test]
fn every_engine_gets_its_ticks() {
    // The loop calls nothing and its fuel has no end. The timer of a call is on the thread of its guest, so it is looked at only
    // when an epoch takes the guest out of the loop: without ticks of its own engine, none of these calls would ever end.
    let engine = || {
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        let bytes = std::fs::read(guests::component("bare")).unwrap();
        let component = sandbox.load(&bytes, Provenance::External).unwrap();
        (sandbox, component)
    };
    let ends = |(sandbox, component): &(Sandbox, Arc<Component>)| {
        let grant = limited(|limits| (limits.fuel, limits.wall_time) = (u64::MAX, 100));
        let call = execution(component, "test.bare_loop", json!({}), grant);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let report = runtime.block_on(sandbox.call(call, Recorder::new(), Cancel::new()));
        assert_eq!((failed(&report), report.outcome), (code::TIMEOUT, Outcome::Clean), "{report:?}");
    };
    let (first, second) = (engine(), engine());
    std::thread::scope(|scope| {
        scope.spawn(|| ends(&first));
        scope.spawn(|| ends(&second));
    });
    // Neither is the clock of the one that of the other.
    drop(first);
    ends(&second);
    ends(&engine());
}

#[test]
fn a_sleep_and_a_flood_of_host_calls_end_when_their_time_is_up() {
    let grant = limited(|limits| (limits.fuel, limits.wall_time) = (u64::MAX, 100));
    assert_eq!(ends("test.sleep", json!({"ms": 3_600_000}), grant.clone()).0, code::TIMEOUT);
    assert_eq!(ends("test.host_call_flood", json!({}), grant).0, code::TIMEOUT);
}

#[test]
fn what_one_call_copies_across_the_boundary_is_bounded() {
    let grant = || limited(|limits| limits.hostcall_bytes = 100_000);
    let passed = passed("hostcall_bytes", 100_000);
    for how in ["text", "bytes"] {
        assert_eq!(ends("test.across", json!({"how": how, "count": 100_001}), grant()), passed, "{how}");
    }
    assert_eq!(ends("test.big_output", json!({"bytes": 1 << 20}), grant()), passed);
    // Zeroes cost the component nothing, so one call writes only so many.
    let zeroes = ends("test.across", json!({"how": "zeroes", "count": 1_u64 << 31}), Grant::default());
    assert_eq!(zeroes.0, code::TRAP);
}

#[test]
fn handles_and_resources_are_bounded_by_name() {
    let world = World::new();
    world.write("f", "x");
    let input = json!({"path": "/workspace/f", "count": 100});
    for (name, change) in
        [("resources", (|limits| limits.resources = 50) as fn(&mut Limits)), ("handles", |limits| limits.handles = 50)]
    {
        let mut grant = world.grant(Access::ReadOnly);
        change(&mut grant.limits);
        assert_eq!(ends("test.many_handles", input.clone(), grant), passed(name, 50));
    }
    // One handle that is lent many times in one call.
    let grant = limited(|limits| limits.handles = 50);
    assert_eq!(ends("test.across", json!({"how": "handles", "count": 100}), grant), passed("handles", 50));
}

#[test]
fn one_request_for_randomness_is_bounded() {
    for how in ["secure", "insecure"] {
        let grant = limited(|limits| limits.random_bytes = 1000);
        let input = json!({"how": how, "bytes": 1001});
        assert_eq!(ends("test.random_big", input, grant), passed("random_bytes", 1000), "{how}");
    }
}

#[test]
fn a_flood_of_output_is_cut_off_and_said_so() {
    for (stream, name) in [("stdout", "standard output"), ("stderr", "standard error")] {
        for how in ["bytes", "lines", "empty"] {
            let grant = limited(|limits| (limits.stdout, limits.stderr) = (1000, 1000));
            let input = json!({"how": how, "count": 200, "stream": stream});
            let report = run(execution(&guest("hostile"), "test.stdout_flood", input, grant), &Recorder::new());
            assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
            let log = report.log.map(|log| String::from_utf8(log).unwrap());
            match how {
                "empty" => assert_eq!(log, None),
                _ => {
                    let log = log.unwrap();
                    assert!(log.len() < 1200 && log.contains(&format!("{name} was cut off here")), "{log}");
                }
            }
        }
    }
}

#[test]
fn an_input_over_the_limit_never_reaches_the_component() {
    let grant = limited(|limits| limits.input = 1000);
    let report = run(execution(&guest("plain"), "test.echo", json!({"x": "y".repeat(1000)}), grant), &Recorder::new());
    assert_eq!((report.evidence.fuel, report.outcome), (0, Outcome::Clean));
    let failure = report.result.unwrap_err();
    assert_eq!((failure.code, failure.message), passed("input", 1000));
}

#[test]
fn an_output_over_the_limit_is_refused() {
    let grant = limited(|limits| limits.output = 1000);
    assert_eq!(ends("test.big_output", json!({"bytes": 2000}), grant), passed("output", 1000));
}

#[test]
fn undo_records_are_bounded_in_bytes_and_in_number() {
    let mut grant = limited(|limits| limits.undo = 100_000);
    let saved = ends("test.across", json!({"how": "bytes", "count": 100_001}), grant.clone());
    let message = "the undo record has 100001 bytes; the limit `undo` is 100000";
    assert_eq!(saved, (code::UNDO_TOO_LARGE.into(), message.into()));

    // Each appended record is an event of the journal, so that empty ones count as well.
    let world = World::new();
    grant.filesystem = world.grant(Access::ReadWrite).filesystem;
    let watcher = Recorder::new();
    let input = json!({"path": "/workspace/f", "count": 1_000});
    let report = run(execution(&guest("hostile"), "test.many_records", input, grant), &watcher);
    assert_eq!((failed(&report), report.outcome), (code::UNDO_TOO_LARGE, Outcome::Unclear));
    let appended = watcher.asked().into_iter().filter(|asked| matches!(asked, Asked::Appended(_))).count();
    assert!((1..=97).contains(&appended), "{appended}");
}

#[test]
fn what_one_attempt_changes_is_bounded() {
    let (report, world) = makes_files(20, |limits| limits.targets = 10);
    assert_eq!(report.outcome, Outcome::Unclear);
    assert_eq!((report.evidence.targets.len(), std::fs::read_dir(world.path("")).unwrap().count()), (10, 10));
    let failure = report.result.unwrap_err();
    assert_eq!((failure.code, failure.message), passed("targets", 10));
}

#[test]
fn effects_beyond_the_list_are_counted() {
    let (report, _world) = makes_files(20, |limits| limits.effects_listed = 10);
    let evidence = report.evidence;
    assert_eq!((report.outcome, evidence.effects.len(), evidence.targets.len()), (Outcome::Succeeded, 10, 20));
    assert!(evidence.effects_total >= 20 && evidence.effects_digest.is_some(), "{evidence:?}");
}

fn makes_files(count: u32, change: fn(&mut Limits)) -> (redress::sandbox::Report, World) {
    let world = World::new();
    let mut grant = world.grant(Access::ReadWrite);
    change(&mut grant.limits);
    let input: Value = json!({"path": "/workspace", "count": count});
    (run(execution(&guest("hostile"), "test.many_targets", input, grant), &Recorder::new()), world)
}

#[test]
fn recursion_ends_in_the_limit_of_the_stack() {
    let used_up = (code::STACK_OVERFLOW.into(), "the component's stack was used up: it recurses too deeply".into());
    assert_eq!(ends("test.recursion", json!({}), Grant::default()), used_up);
    assert_eq!(fails("bare", "test.bare_recursion", json!({}), Grant::default()), used_up);
}
