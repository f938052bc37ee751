use std::fs;

use redress::saga::event::{ResidueKind, Verb};
use redress::saga::{RunState, StepState};

use crate::world::{ALLOW, World, code, is, states, step};

const EVERYTHING: &str = r#"
name: everything
steps:
  - { name: dirs, capability: io.fs.make_dir, inputs: { path: /work/new/a/b } }
  - { name: first, capability: io.fs.write_file, inputs: { path: /work/bin, content: "one" } }
  - { name: second, capability: io.fs.write_file, inputs: { path: /work/bin, content_base64: "AAEC/w==" } }
  - { name: added, capability: io.fs.append_file, inputs: { path: /work/log, content: "more\n" } }
  - { name: moved, capability: io.fs.move, inputs: { from: /work/here, to: /work/new/a/there } }
  - { name: copied, capability: io.fs.copy, inputs: { from: /work/log, to: /work/new/copy } }
  - { name: gone, capability: io.fs.delete, inputs: { path: /work/old, recursive: true } }
  - { name: made, capability: io.fs.write_file, inputs: { path: /work/new/a/b/x, content: "x" } }
"#;

fn prepared() -> World {
    let world = World::new(ALLOW);
    fs::write(world.path("bin"), [0u8, 159, 146, 150, 255, 0, 13, 10]).unwrap();
    world.write("log", "line\n");
    world.write("here", "moving");
    world.write("old/deep/file", "kept");
    world.write("old/empty/x", "");
    world
}

#[tokio::test]
async fn a_failure_in_the_last_step_leaves_the_tree_byte_for_byte_as_before() {
    let world = prepared();
    let before = world.tree();
    let failing = format!("{EVERYTHING}  - {{ name: last, capability: test.fail, inputs: {{}} }}\n");
    let view = world.run(&failing).await;
    is(&view, RunState::RolledBack);
    assert_eq!(world.tree(), before);
    for step in view.steps.iter().filter(|step| step.name != "last") {
        assert_eq!((step.state.as_str(), step.checked), ("UNDONE", true), "{step:#?}");
    }
    assert_eq!(step(&view, "last").state, StepState::Failed);
    assert!(world.journal.verify().unwrap().findings.is_empty());
}

#[tokio::test]
async fn undo_brings_a_completed_run_back_byte_for_byte() {
    let world = prepared();
    let before = world.tree();
    let view = world.run(EVERYTHING).await;
    is(&view, RunState::Completed);
    assert_ne!(world.tree(), before);
    world.operate(&view.run, Verb::Undo, None).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!(world.tree(), before);
    assert!(view.steps.iter().all(|step| step.checked));
}

#[tokio::test]
async fn a_denial_in_the_middle_undoes_what_was_before_and_never_calls_the_capability() {
    let policy =
        ALLOW.replace("rules:\n", "rules:\n  - { principal: \"*\", capabilities: [\"test.count\"], action: DENY }\n");
    let world = World::new(&policy);
    let view = world
        .run(
            r#"
name: denied
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
  - { name: b, capability: test.count, retry: { max_attempts: 5 }, inputs: { path: /work/count } }
  - { name: c, capability: io.fs.write_file, inputs: { path: /work/c, content: c } }
"#,
        )
        .await;
    is(&view, RunState::RolledBack);
    assert_eq!(states(&view), [("a", "UNDONE"), ("b", "FAILED"), ("c", "FAILED")]);
    assert_eq!((code(&view, "b").as_str(), step(&view, "b").attempts), ("denied", 0));
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_component_whose_undo_restores_the_wrong_bytes_is_stuck_and_says_not_restored() {
    let world = World::new(ALLOW);
    world.write("f", "before");
    let view = world.run(&failing_after("test.bad_undo")).await;
    is(&view, RunState::Stuck);
    assert_eq!((step(&view, "a").state.as_str(), code(&view, "a").as_str()), ("UNDO_FAILED", "not_restored"));
    world.write("f", "before");
    world.operate(&view.run, Verb::ResolveUndone, Some("a")).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBackWithResidue);
    assert_eq!(view.residue[0].what, ResidueKind::UndoneByHand);
}

fn failing_after(capability: &str) -> String {
    format!(
        r#"
name: failing
steps:
  - {{ name: a, capability: {capability}, inputs: {{ path: /work/f, content: after, other: /work/stray, flag: /work/flag }} }}
  - {{ name: b, capability: test.fail, inputs: {{}} }}
"#
    )
}

#[tokio::test]
async fn an_undo_that_does_nothing_is_found_by_the_host() {
    let world = World::new(ALLOW);
    let view = world.run(&failing_after("test.lazy_undo")).await;
    is(&view, RunState::Stuck);
    assert_eq!(code(&view, "a"), "not_restored");
}

#[tokio::test]
async fn an_undo_may_change_only_what_execute_changed() {
    let world = World::new(ALLOW);
    let view = world.run(&failing_after("test.straying_undo")).await;
    is(&view, RunState::Stuck);
    assert_eq!(code(&view, "a"), "not-granted");
    assert_eq!(world.read("stray"), None);
}

#[tokio::test]
async fn a_failed_undo_is_tried_five_times_and_then_waits_for_an_operator() {
    let world = World::new(ALLOW);
    world.write("flag", "");
    let view = world.run(&failing_after("test.failing_undo")).await;
    is(&view, RunState::Stuck);
    let undos = world.kinds(&view.run).iter().filter(|kind| **kind == "UNDO_INTENT").count();
    assert_eq!(undos, 5);
    let again = Verb::RepairRetry { component: None };
    fs::remove_file(world.path("flag")).unwrap();
    assert!(world.operate(&view.run, again.clone(), Some("b")).is_err());
    world.operate(&view.run, again, Some("a")).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn an_undo_that_must_wait_uses_up_no_attempts() {
    let world = World::new(ALLOW);
    let yaml = failing_after("test.not_settled").replace("flag: /work/flag", "undo_fails: 9");
    let view = world.run(&yaml).await;
    is(&view, RunState::RolledBack);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_stuck_step_spares_its_ancestors_and_nobody_else() {
    let world = World::new(ALLOW);
    world.write("flag", "");
    let view = world
        .run(
            r#"
name: stuck
steps:
  - { name: root, capability: io.fs.write_file, inputs: { path: /work/root, content: r } }
  - { name: free, capability: io.fs.write_file, inputs: { path: /work/free, content: f } }
  - { name: child, capability: test.failing_undo, depends_on: [root], inputs: { path: /work/c, content: c, flag: /work/flag } }
  - { name: last, capability: test.fail, depends_on: [child, free], inputs: {} }
"#,
        )
        .await;
    is(&view, RunState::Stuck);
    assert_eq!(
        states(&view),
        [("root", "SUCCEEDED"), ("free", "UNDONE"), ("child", "UNDO_FAILED"), ("last", "FAILED")]
    );
    assert_eq!((world.read("root").as_deref(), world.read("free")), (Some("r"), None));
    world.operate(&view.run, Verb::ResolveLeft, Some("child")).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBackWithResidue);
    assert_eq!(view.residue[0].what, ResidueKind::Left);
    assert_eq!(world.read("root"), None);
}

#[tokio::test]
async fn a_file_that_somebody_changed_after_the_step_is_never_overwritten() {
    let world = World::new(ALLOW);
    world.write("f", "before");
    let view = world.run(&single("io.fs.write_file", "path: /work/f, content: after")).await;
    is(&view, RunState::Completed);
    world.write("f", "somebody's work");
    world.operate(&view.run, Verb::Undo, None).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::Stuck);
    assert_eq!(code(&view, "a"), "changed_since");
    assert_eq!(world.read("f").as_deref(), Some("somebody's work"));
    assert!(!world.kinds(&view.run).contains(&"UNDO_INTENT"));
    world.write("f", "after");
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("a")).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert_eq!(world.read("f").as_deref(), Some("before"));
}

fn single(capability: &str, inputs: &str) -> String {
    format!("name: one\nsteps:\n  - {{ name: a, capability: {capability}, inputs: {{ {inputs} }} }}\n")
}

#[tokio::test]
async fn a_directory_that_somebody_put_something_into_is_not_removed() {
    let world = World::new(ALLOW);
    let view = world.run(&single("io.fs.make_dir", "path: /work/d/e")).await;
    world.write("d/e/theirs", "x");
    world.operate(&view.run, Verb::Undo, None).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::Stuck);
    assert_eq!(code(&view, "a"), "changed_since");
    assert_eq!(world.read("d/e/theirs").as_deref(), Some("x"));
}

#[tokio::test]
async fn what_cannot_be_undone_is_named_as_residue() {
    let world = World::new(ALLOW);
    let view = world.run(&failing_after("test.irreversible")).await;
    is(&view, RunState::RolledBackWithResidue);
    assert_eq!((step(&view, "a").state.as_str(), view.residue[0].what), ("RESIDUE", ResidueKind::Happened));
    assert_eq!(world.read("f").as_deref(), Some("after"));
}

#[tokio::test]
async fn a_declared_compensation_runs_in_place_of_the_components_own() {
    let world = World::new(ALLOW);
    let view = world
        .run(
            r#"
name: declared
steps:
  - name: a
    capability: test.irreversible
    inputs: { path: /work/f, content: x }
    compensation: { capability: io.fs.delete, inputs: { path: "{{ a.path }}" } }
  - { name: b, capability: test.fail, inputs: {} }
"#,
        )
        .await;
    is(&view, RunState::RolledBack);
    assert!(step(&view, "a").checked);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_compensation_that_the_policy_denies_keeps_its_step_from_running() {
    let policy =
        ALLOW.replace("rules:\n", "rules:\n  - { principal: \"*\", capabilities: [\"io.fs.delete\"], action: DENY }\n");
    let world = World::new(&policy);
    let view = world
        .run(
            r#"
name: declared
steps:
  - name: a
    capability: io.fs.write_file
    inputs: { path: /work/f, content: x }
    compensation: { capability: io.fs.delete, inputs: { path: "{{ a.path }}" } }
"#,
        )
        .await;
    is(&view, RunState::RolledBack);
    assert_eq!(code(&view, "a"), "denied");
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn what_was_learned_after_the_effect_reaches_compensate_in_order() {
    let world = World::new(ALLOW);
    let view = world
        .run(
            r#"
name: append
steps:
  - { name: a, capability: test.append_undo, inputs: { path: /work/f, content: x, append: [one, two], fail: true } }
"#,
        )
        .await;
    is(&view, RunState::Stuck);
    assert_eq!(world.read("f").as_deref(), Some("none\nsaved\none\ntwo"));
}

#[tokio::test]
async fn a_write_before_the_undo_is_saved_does_not_happen_and_is_clean() {
    let world = World::new(ALLOW);
    for capability in ["test.write_before_save", "test.never_saves"] {
        let view = world.run(&single(capability, "path: /work/f, content: x")).await;
        is(&view, RunState::RolledBack);
        assert_eq!((code(&view, "a").as_str(), step(&view, "a").state.as_str()), ("no-undo-saved", "FAILED"));
        assert!(!world.kinds(&view.run).contains(&"INTENT"));
    }
    let view = world.run(&single("test.pure_writer", "path: /work/f, content: x")).await;
    assert_eq!(code(&view, "a"), "not-granted");
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_killed_run_names_what_it_leaves_and_undoes_nothing() {
    let world = World::new(ALLOW);
    let gate = "  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: go } }\n";
    let yaml = format!("{}{gate}", single("io.fs.write_file", "path: /work/f, content: x"));
    let view = world.run(&yaml).await;
    is(&view, RunState::Paused);
    world.operate(&view.run, Verb::Kill, None).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::Killed);
    assert_eq!(view.residue[0].what, ResidueKind::NotUndone);
    assert_eq!(world.read("f").as_deref(), Some("x"));
    assert!(world.operate(&view.run, Verb::Undo, None).is_err());
}

/// Runs the steps and then one that fails.
async fn undone(world: &World, steps: &str) {
    let before = world.tree();
    let view = world
        .run(&format!("name: chain\nsteps:\n{steps}  - {{ name: z, capability: test.fail, inputs: {{}} }}\n"))
        .await;
    is(&view, RunState::RolledBack);
    assert!(world.tree() == before, "the tree is not as before");
}

#[tokio::test]
async fn a_directory_that_was_moved_with_what_is_in_it_moves_back() {
    let world = World::new(ALLOW);
    world.write("d/x", "hi");
    undone(&world, "  - { name: a, capability: io.fs.move, inputs: { from: /work/d, to: /work/e } }\n").await;
}

#[tokio::test]
async fn a_directory_that_was_moved_and_then_deleted_comes_back() {
    let world = World::new(ALLOW);
    world.write("d/x", "hi");
    let steps = "  - { name: a, capability: io.fs.move, inputs: { from: /work/d, to: /work/e } }\n  - { name: b, capability: io.fs.delete, inputs: { path: /work/e, recursive: true } }\n";
    undone(&world, steps).await;
}

#[tokio::test]
async fn a_large_file_that_two_steps_changed_comes_back() {
    let world = World::new(ALLOW);
    fs::File::create(world.path("big")).unwrap().set_len((64 << 20) + 7).unwrap();
    let append = |name: &str| {
        format!("  - {{ name: {name}, capability: io.fs.append_file, inputs: {{ path: /work/big, content: x }} }}\n")
    };
    undone(&world, &format!("{}{}", append("a"), append("b"))).await;
}

#[tokio::test]
async fn an_undo_is_not_interrupted_for_beginning_long_after_the_rollback() {
    let world = World::new(ALLOW);
    world.write("flag", "");
    let view = world.run(&failing_after("test.failing_undo")).await;
    is(&view, RunState::Stuck);
    fs::remove_file(world.path("flag")).unwrap();
    use redress::engine::Clock;
    world.clock.move_to(world.clock.now().plus(redress::types::Duration::from_secs(3_600)));
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("a")).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
}
