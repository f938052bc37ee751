//! Runs that go on without anybody waiting for them.

use redress::engine::{Clock as _, Driven, EngineError, Submit, Submitted};
use redress::saga::RunState;
use redress::serve::{AddedCall, Begun, Keeper};
use redress::types::Duration;

use crate::meanwhile::Meanwhile;
use crate::world::{ALLOW, World, user};

const GATED: &str = r#"
name: gated
steps:
  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: "go on?" } }
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
"#;

#[tokio::test]
async fn an_open_run_that_the_host_could_not_drive_still_takes_steps() {
    let world = World::new(ALLOW);
    let journal = Meanwhile::new(world.journal.clone(), |_, _| {});
    let engine = world.engine_behind(journal.clone());
    let keeper = Keeper::new(engine, 1);
    let begun =
        keeper.begin(None, |engine| async move { engine.open("session", &Submit::by(user("agent:demo"))).await });
    let Begun::New(kept, mut driving) = begun.await.unwrap() else { panic!("it exists") };
    assert_eq!(driving.rests().await.unwrap(), Driven::Idle);
    let fails = |_| async { Err(EngineError::Bug { why: "the disk is away".to_owned() }) };
    assert!(keeper.drive_after(kept.clone(), fails).await.is_err());
    assert!(keeper.is_open(&kept).await.unwrap());
    let add = |name: &str| AddedCall {
        name: Some(name.to_owned()),
        capability: "io.fs.write_file".to_owned(),
        inputs: [("path".to_owned(), "/work/a".into()), ("content".to_owned(), "x".into())].into_iter().collect(),
        agent: None,
    };
    let (_, driven) = keeper.call(kept.clone(), add("a")).await.unwrap();
    assert_eq!(driven, Driven::Idle);
    // What is refused changes nothing for the run.
    assert!(matches!(keeper.call(kept.clone(), add("a")).await, Err(EngineError::Refused { .. })));
    keeper.drive_after(kept.clone(), |run| async move { run.seal().await }).await.unwrap();
    assert!(!keeper.is_open(&kept).await.unwrap());
    assert_eq!(keeper.drive(kept.clone()).await.unwrap(), Driven::Rest(RunState::Completed), "it has ended");
    assert_eq!(world.read("a").as_deref(), Some("x"));
    keeper.stop().await;
}

#[tokio::test]
async fn a_run_that_the_host_could_not_drive_is_tried_again_later_and_not_only_by_the_next_process() {
    let world = World::new(ALLOW);
    let journal = Meanwhile::new(world.journal.clone(), |_, _| {});
    let engine = world.engine_behind(journal.clone());
    let Submitted::New(run) = engine.submit(&world.workflow(GATED), &Submit::by(user("agent:demo"))).await.unwrap()
    else {
        panic!("it exists")
    };
    let keeper = Keeper::new(engine, 1);
    let place = keeper.place();
    assert!(place.is_some() && keeper.place().is_none());
    let kept = keeper.keep(run, place);
    assert_eq!(keeper.drive(kept.clone()).await.unwrap(), Driven::Rest(RunState::Paused));
    assert!(keeper.place().is_some(), "what waits for a person takes no room");
    journal.fails(true);
    world.vote(kept.id(), "gate", "user:alice", true).unwrap();
    assert!(keeper.drive(kept.clone()).await.is_err());
    assert!(keeper.find(kept.id()).is_some());
    journal.fails(false);
    let mut rests = keeper.rests();
    world.clock.move_to(world.clock.now().plus(Duration::from_secs(60)));
    rests.changed().await.unwrap();
    assert_eq!(world.view(kept.id()).state, RunState::Completed);
    assert_eq!(world.read("a").as_deref(), Some("a"));
    assert_eq!((keeper.count(), keeper.place().is_some()), (0, true));
    keeper.stop().await;
}
