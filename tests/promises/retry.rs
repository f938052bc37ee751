use redress::saga::RunState;

use crate::world::{ALLOW, World, code, is, step};

fn single(capability: &str, inputs: &str, retry: &str) -> String {
    format!(
        "name: one\nsteps:\n  - {{ name: a, capability: {capability}, retry: {{ {retry} }}, inputs: {{ {inputs} }} }}\n"
    )
}

#[tokio::test]
async fn fails_twice_and_succeeds_on_the_third_makes_exactly_three_calls() {
    let world = World::new(ALLOW);
    let view = world.run(&single("test.count_idem", "path: /work/n, fail_times: 2", "max_attempts: 3")).await;
    is(&view, RunState::Completed);
    assert_eq!(world.read("n").as_deref(), Some("execute 1\nexecute 2\nexecute 3\n"));
    assert_eq!(step(&view, "a").attempts, 3);
}

#[tokio::test]
async fn one_that_always_fails_makes_exactly_max_attempts_calls_and_then_rolls_back() {
    let world = World::new(ALLOW);
    let view = world.run(&single("test.count_idem", "path: /work/n, fail_times: 99", "max_attempts: 4")).await;
    is(&view, RunState::RolledBack);
    let results = world.kinds(&view.run).iter().filter(|kind| **kind == "RESULT").count();
    assert_eq!((results, step(&view, "a").attempts), (4, 4));
    assert!(step(&view, "a").checked);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn an_unclear_outcome_of_what_is_not_idempotent_is_never_executed_again() {
    let world = World::new(ALLOW);
    let view = world.run(&single("test.count", "path: /work/n, fail_times: 1", "max_attempts: 5")).await;
    is(&view, RunState::RolledBack);
    assert_eq!(step(&view, "a").attempts, 1);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_clean_failure_is_tried_again_even_if_it_is_not_idempotent() {
    let world = World::new(ALLOW);
    let view =
        world.run(&single("test.flaky.write", "path: /work/n, content: x, fail_times: 2", "max_attempts: 3")).await;
    is(&view, RunState::Completed);
    assert_eq!(world.read("n").as_deref(), Some("x"));
}

#[tokio::test]
async fn refused_and_invalid_calls_are_never_retried() {
    let world = World::new(ALLOW);
    for (capability, inputs, expected) in [
        ("test.never_saves", "path: /work/n, content: x", "no-undo-saved"),
        ("test.fail", "code: invalid-input, retryable: true", "invalid-input"),
        ("io.fs.write_file", "path: /outside/n, content: x", "not-found"),
        ("io.fs.write_file", "path: /work/n, contents: x", "invalid-input"),
        ("test.bad_output", "x: 1", "invalid-output"),
    ] {
        let view = world.run(&single(capability, inputs, "max_attempts: 5")).await;
        is(&view, RunState::RolledBack);
        assert_eq!(code(&view, "a"), expected, "{capability}");
        assert!(step(&view, "a").attempts <= 1, "{capability}");
    }
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_component_is_told_its_attempt_and_one_key() {
    let world = World::new(ALLOW);
    let view = world.run(&single("test.call", "x: 1", "max_attempts: 2")).await;
    let output = step(&view, "a").output.clone().unwrap();
    let key = output["key"].as_str().unwrap();
    assert!(key.len() <= 64 && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    assert_eq!((output["attempt"].as_u64(), output["input"].as_str()), (Some(1), Some(r#"{"x":1}"#)));
}

#[tokio::test]
async fn a_guest_that_never_ends_or_eats_memory_ends_in_a_named_limit_and_is_undone() {
    let limits = "    limits: { memory: 16MiB, wall_time: 700ms, fuel: 400000000 }\n";
    let world = World::new(&format!("{ALLOW}{limits}"));
    for (then, expected) in [
        ("loop", &["out-of-fuel", "timeout"][..]),
        ("sleep", &["timeout"]),
        ("exit", &["exited"]),
        ("panic", &["trap"]),
        ("recurse", &["stack-overflow"]),
    ] {
        let inputs = format!("path: /work/n, content: x, then: {then}, ms: 60000");
        let view = world.run(&single("test.write_then", &inputs, "max_attempts: 1")).await;
        is(&view, RunState::RolledBack);
        assert!(step(&view, "a").checked, "{then}");
        let reason = view.reason.unwrap();
        assert_eq!(reason.code, "step_unclear");
        assert!(expected.iter().any(|code| reason.message.contains(code)), "{then}: {}", reason.message);
    }
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_component_that_asks_to_wait_for_ever_is_held_to_the_longest_interval() {
    let world = World::new(ALLOW);
    let inputs = "path: /work/n, content: x, fail_times: 1, retry_after_ms: 9007199254740992";
    let view = world.run(&single("test.flaky.write", inputs, "max_attempts: 2")).await;
    is(&view, RunState::Completed);
    assert_eq!(step(&view, "a").attempts, 2);
}
