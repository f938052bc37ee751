use redress::engine::EngineError;
use redress::journal::Journal;
use redress::saga::RunState;

use crate::world::{ALLOW, World, is};

#[tokio::test]
async fn a_run_is_never_taken_from_an_owner_that_lives() {
    let world = World::new(ALLOW);
    let run = world.submit("name: one\nsteps:\n  - { name: a, capability: data.hash, inputs: { content: x } }\n").await;
    let other = world.another_engine(ALLOW);
    assert!(matches!(other.take(run.id()).await, Err(EngineError::Owned { .. })));
    assert!(other.orphans().unwrap().runs.is_empty());
    is(&world.drive(&run).await, RunState::Completed);
}

#[tokio::test]
async fn an_owner_that_lost_its_run_cannot_append_to_it() {
    let world = World::new(ALLOW);
    let run = world.submit("name: one\nsteps:\n  - { name: a, capability: data.hash, inputs: { content: x } }\n").await;
    let other = redress::journal::OwnerLock::acquire(&world.journal.owners_dir()).unwrap();
    let row = world.journal.run(run.id()).unwrap().unwrap();
    let now = redress::types::Timestamp(1);
    world.journal.take_over(run.id(), row.epoch, other.identity(), Vec::new(), Vec::new(), now).wait().unwrap();
    let error = run.drive(&redress::engine::Stop::default()).await.unwrap_err();
    assert!(matches!(error, EngineError::Journal(redress::journal::JournalError::StaleEpoch { .. })), "{error}");
}

#[tokio::test]
async fn a_run_that_never_started_is_finished_by_whoever_recovers_it() {
    let world = World::new(ALLOW);
    let run = world
        .submit(
            "name: one\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: x } }\n",
        )
        .await;
    let id = run.id().clone();
    drop(run);
    let world = world.restart(ALLOW);
    assert_eq!(world.engine.orphans().unwrap().runs, std::slice::from_ref(&id));
    is(&world.resume(&id).await, RunState::Completed);
    assert_eq!(world.read("a").as_deref(), Some("x"));
    assert!(world.engine.orphans().unwrap().runs.is_empty());
}

#[tokio::test]
async fn outputs_of_finished_steps_survive_a_restart() {
    let world = World::new(&ALLOW.replace("    accept_risk: HIGH\n", ""));
    let view = world
        .run(
            r#"
name: outputs
inputs: { who: Ada }
steps:
  - { name: hash, capability: data.hash, inputs: { content: "{{ inputs.who }}" } }
  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: go } }
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: "{{ hash.sha256 }} {{ inputs.who }}" } }
"#,
        )
        .await;
    is(&view, RunState::Paused);
    let world = world.restart(ALLOW);
    world.vote(&view.run, "gate", "user:a", true).unwrap();
    is(&world.resume(&view.run).await, RunState::Completed);
    assert!(world.read("a").unwrap().ends_with(" Ada"));
}
