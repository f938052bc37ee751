use redress::engine::EngineError;
use redress::journal::{Journal, Left};
use redress::saga::RunState;
use redress::saga::event::Verb;

use crate::meanwhile::Meanwhile;
use crate::world::{ALLOW, World, code, is, step};

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
    world.journal.take_over(run.id(), row.epoch, other.identity(), Left::default(), Vec::new(), now).wait().unwrap();
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

#[tokio::test]
async fn an_undo_after_a_restart_restores_an_overwritten_file_instead_of_deleting_it() {
    let world = World::new(&ALLOW.replace("    accept_risk: HIGH\n", ""));
    world.write("written", "old");
    world.write("grown", "old");
    world.write("twice", "oldest");
    let before = world.tree();
    let view = world
        .run(
            r#"
name: overwriting
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/written, content: new } }
  - { name: b, capability: io.fs.append_file, inputs: { path: /work/grown, content: er } }
  - { name: c, capability: test.write, inputs: { path: /work/twice, content: newer } }
  - { name: d, capability: io.fs.write_file, inputs: { path: /work/twice, content: newest } }
  - { name: e, capability: io.fs.write_file, inputs: { path: /work/made, content: new } }
  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: go } }
  - { name: last, capability: test.fail, inputs: {} }
"#,
        )
        .await;
    is(&view, RunState::Paused);
    let read = |world: &World, name: &str| world.read(name).unwrap();
    assert_eq!(
        (read(&world, "written"), read(&world, "grown"), read(&world, "twice"), read(&world, "made")),
        ("new".into(), "older".into(), "newest".into(), "new".into())
    );
    // What the process knew of the files is gone with it: the bytes can only come from the journal.
    let world = world.restart(ALLOW);
    world.vote(&view.run, "gate", "user:a", true).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!((step(&view, name).state.as_str(), step(&view, name).checked), ("UNDONE", true), "{name}");
    }
    assert!(world.tree() == before, "{:?}", world.tree());
}

const TWO: &str = r#"
name: two
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: new } }
  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: go } }
  - { name: b, capability: io.fs.write_file, inputs: { path: /work/b, content: x } }
"#;

/// A run that waits after its first step, whose owner was of another boot of the machine.
async fn before_the_machine_went_down() -> (World, redress::types::RunId) {
    let world = World::new(&ALLOW.replace("    accept_risk: HIGH\n", ""));
    world.write("a", "old");
    let view = world.run(TWO).await;
    is(&view, RunState::Paused);
    let row = world.journal.run(&view.run).unwrap().unwrap();
    let other = redress::journal::OwnerIdentity { id: "0-other".into(), boot: "another boot".into() };
    let at = redress::types::Timestamp(1);
    world.journal.take_over(&view.run, row.epoch, &other, Left::default(), Vec::new(), at).wait().unwrap();
    world.vote(&view.run, "gate", "user:a", true).unwrap();
    (world.restart(ALLOW), view.run)
}

#[tokio::test]
async fn after_the_machine_went_down_a_run_goes_on_from_files_that_are_as_it_left_them() {
    let (world, run) = before_the_machine_went_down().await;
    is(&world.resume(&run).await, RunState::Completed);
    assert_eq!((world.read("a").as_deref(), world.read("b").as_deref()), (Some("new"), Some("x")));
}

#[tokio::test]
async fn a_write_that_was_lost_with_the_machine_rolls_its_run_back() {
    let (world, run) = before_the_machine_went_down().await;
    world.write("a", "old");
    let view = world.resume(&run).await;
    is(&view, RunState::RolledBack);
    assert_eq!((world.read("a").as_deref(), world.read("b")), (Some("old"), None));
}

#[tokio::test]
async fn a_file_that_somebody_changed_while_the_machine_was_down_is_left_alone() {
    let (world, run) = before_the_machine_went_down().await;
    world.write("a", "theirs");
    is(&world.resume(&run).await, RunState::Stuck);
    assert_eq!((world.read("a").as_deref(), world.read("b")), (Some("theirs"), None));
}

/// The first step is undone last, and the undo of the last one fails as long as `flag` is there.
const TURNS_BACK: &str = r#"
name: turns-back
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: new } }
  - { name: again, capability: io.fs.append_file, inputs: { path: /work/a, content: er } }
  - { name: made, capability: io.fs.write_file, inputs: { path: /work/made, content: made } }
  - { name: b, capability: test.failing_undo, inputs: { path: /work/b, content: x, flag: /work/flag } }
  - { name: last, capability: test.fail, inputs: {} }
"#;

/// A run that is rolling back when the machine goes down: nothing of it is undone yet but its last step, whose undo waits for an
/// operator. Then `lose` does to the files what the end of the machine does.
async fn rolling_back_when_the_machine_went_down(lose: impl FnOnce(&World)) -> (World, redress::engine::RunView) {
    let world = World::new(ALLOW);
    world.write("a", "a");
    world.write("flag", "");
    let view = world.run(TURNS_BACK).await;
    is(&view, RunState::Stuck);
    let states = ["a", "again", "made"].map(|name| step(&view, name).state.as_str().to_owned());
    assert_eq!(states, ["SUCCEEDED"; 3], "they wait for the undo of what builds on them");
    let row = world.journal.run(&view.run).unwrap().unwrap();
    let other = redress::journal::OwnerIdentity { id: "0-other".into(), boot: "another boot".into() };
    let at = redress::types::Timestamp(1);
    world.journal.take_over(&view.run, row.epoch, &other, Left::default(), Vec::new(), at).wait().unwrap();
    lose(&world);
    std::fs::remove_file(world.path("flag")).unwrap();
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("b")).unwrap();
    let world = world.restart(ALLOW);
    let view = world.resume(&view.run).await;
    (world, view)
}

#[tokio::test]
async fn writes_that_were_lost_while_a_run_rolled_back_are_no_change_by_somebody_else() {
    // All of them: then nothing is left that cutting off what was appended could work on. Or the last one, or none of one file.
    for (a, made) in [("a", None), ("new", None), ("newer", None), ("a", Some("made"))] {
        let (world, view) = rolling_back_when_the_machine_went_down(|world| {
            world.write("a", a);
            if made.is_none() {
                std::fs::remove_file(world.path("made")).unwrap();
            }
        })
        .await;
        is(&view, RunState::RolledBack);
        for name in ["a", "again", "made", "b"] {
            assert_eq!((step(&view, name).state.as_str(), step(&view, name).checked), ("UNDONE", true), "{a}: {name}");
        }
        assert_eq!((world.read("a").as_deref(), world.read("made"), world.read("b")), (Some("a"), None, None));
    }
}

#[tokio::test]
async fn what_somebody_wrote_while_the_machine_was_down_is_left_alone_by_a_run_that_rolls_back() {
    let (world, view) = rolling_back_when_the_machine_went_down(|world| world.write("made", "theirs")).await;
    is(&view, RunState::Stuck);
    assert_eq!((step(&view, "made").state.as_str(), code(&view, "made").as_str()), ("UNDO_FAILED", "changed_since"));
    assert_eq!((world.read("made").as_deref(), world.read("b")), (Some("theirs"), None));
}

#[tokio::test]
async fn a_run_that_was_not_restarted_takes_what_is_as_before_for_a_change_by_somebody_else() {
    let world = World::new(ALLOW);
    world.write("a", "a");
    world.write("flag", "");
    let view = world.run(TURNS_BACK).await;
    // Nothing was lost in between: somebody put it back, and may have a reason.
    world.write("a", "a");
    std::fs::remove_file(world.path("flag")).unwrap();
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("b")).unwrap();
    let world = world.restart(ALLOW);
    let view = world.resume(&view.run).await;
    is(&view, RunState::Stuck);
    assert_eq!(code(&view, "again"), "changed_since");
}

#[tokio::test]
async fn a_run_that_another_process_took_and_left_while_it_was_read_is_read_again() {
    let world = World::new(&ALLOW.replace("    accept_risk: HIGH\n", ""));
    let view = world.run(TWO).await;
    is(&view, RunState::Paused);
    world.vote(&view.run, "gate", "user:a", true).unwrap();
    let world = world.restart(ALLOW);
    let journal = Meanwhile::new(world.journal.clone(), |journal, row| {
        let dead = redress::journal::OwnerIdentity { id: "0-dead".into(), boot: "this boot".into() };
        let at = redress::types::Timestamp(1);
        journal.take_over(&row.run, row.epoch, &dead, Left::default(), Vec::new(), at).wait().unwrap();
    });
    let engine = world.engine_behind(journal);
    let taken = engine.take(&view.run).await.unwrap();
    assert_eq!(taken.id(), &view.run);
    assert_eq!(world.journal.run(&view.run).unwrap().unwrap().epoch, 3);
}
