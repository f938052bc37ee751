use redress::engine::{Driven, Run, Stop, Submit, Submitted};
use redress::saga::RunState;
use redress::saga::event::Verb;
use redress::types::Timestamp;
use redress::workflow::{Earlier, Step};
use serde_json::{Map, Value, json};

use crate::world::{ALLOW, World, code, is, states, user};

async fn open(world: &World) -> Run {
    match world.engine.open("session", &Submit::by(user("agent:demo"))).await.unwrap() {
        Submitted::New(run) => run,
        Submitted::Existing(run) => panic!("{run} was there before"),
    }
}

async fn submit(world: &World, run: &Run, request: Value) {
    let state = run.state();
    let steps: Vec<_> =
        state.steps.iter().map(|s| (s.spec.name.clone(), s.spec.capability.clone(), s.output.is_some())).collect();
    let inputs = Map::new();
    let earlier = Earlier { inputs: &inputs, steps: &steps };
    let (step, _) = Step::from_request(&request, earlier, world.engine.registry()).unwrap_or_else(|e| panic!("{e}"));
    run.submit_step(&step).await.unwrap();
}

#[tokio::test]
async fn an_agent_submits_one_step_at_a_time_and_commits() {
    let world = World::new(ALLOW);
    let run = open(&world).await;
    let stop = Stop::default();
    submit(
        &world,
        &run,
        json!({ "name": "a", "capability": "io.fs.write_file", "inputs": { "path": "/work/a", "content": "1" } }),
    )
    .await;
    assert_eq!(run.drive(&stop).await.unwrap(), Driven::Idle);
    submit(
        &world,
        &run,
        json!({ "name": "b", "capability": "io.fs.append_file", "inputs": { "path": "{{ a.path }}", "content": "2" } }),
    )
    .await;
    assert_eq!(run.drive(&stop).await.unwrap(), Driven::Idle);
    run.seal().await.unwrap();
    is(&world.drive(&run).await, RunState::Completed);
    assert_eq!(world.read("a").as_deref(), Some("12"));
}

#[tokio::test]
async fn a_clean_failure_leaves_an_open_run_open_and_a_client_can_roll_it_back() {
    let world = World::new(ALLOW);
    let run = open(&world).await;
    submit(
        &world,
        &run,
        json!({ "name": "a", "capability": "io.fs.write_file", "inputs": { "path": "/work/a", "content": "1" } }),
    )
    .await;
    submit(&world, &run, json!({ "name": "b", "capability": "test.fail", "inputs": {} })).await;
    assert_eq!(run.drive(&Stop::default()).await.unwrap(), Driven::Idle);
    let view = world.view(run.id());
    assert_eq!(states(&view), [("a", "SUCCEEDED"), ("b", "FAILED")]);
    assert_eq!(code(&view, "b"), "failed");
    world.operate(run.id(), Verb::Rollback, None).unwrap();
    is(&world.drive(&run).await, RunState::RolledBack);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn an_open_run_whose_client_is_gone_rolls_back() {
    let world = World::new(ALLOW);
    let run = open(&world).await;
    submit(
        &world,
        &run,
        json!({ "name": "a", "capability": "io.fs.write_file", "inputs": { "path": "/work/a", "content": "1" } }),
    )
    .await;
    assert_eq!(run.drive(&Stop::default()).await.unwrap(), Driven::Idle);
    let id = run.id().clone();
    drop(run);
    let world = world.restart(ALLOW);
    world.clock.move_to(Timestamp(1_700_000_000_000 + 700_000));
    let view = world.resume(&id).await;
    is(&view, RunState::RolledBack);
    assert_eq!(view.reason.unwrap().code, "idle");
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_compensation_declared_in_an_open_run_survives_a_restart() {
    let world = World::new(ALLOW);
    let run = open(&world).await;
    let request = json!({
        "name": "a", "capability": "test.irreversible", "inputs": { "path": "/work/a", "content": "1" },
        "compensation": { "capability": "io.fs.delete", "inputs": { "path": "{{ a.path }}" } },
    });
    submit(&world, &run, request).await;
    assert_eq!(run.drive(&Stop::default()).await.unwrap(), Driven::Idle);
    let id = run.id().clone();
    drop(run);
    let world = world.restart(ALLOW);
    world.operate(&id, Verb::Rollback, None).unwrap();
    is(&world.resume(&id).await, RunState::RolledBack);
    assert!(world.tree().is_empty());
}
