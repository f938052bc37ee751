use redress::saga::RunState;

use crate::world::{ALLOW, World, code, is, step};

#[tokio::test]
async fn two_unordered_steps_on_one_file_conflict_and_the_missing_dependency_is_named() {
    let world = World::new(ALLOW);
    let view = world
        .run(
            r#"
name: both
steps:
  - { name: a, capability: io.fs.write_file, depends_on: [], inputs: { path: /work/f, content: a } }
  - { name: b, capability: io.fs.write_file, inputs: { path: /work/f, content: b } }
"#,
        )
        .await;
    is(&view, RunState::RolledBack);
    let (loser, other) = if code(&view, "a") == "conflict" { ("a", "b") } else { ("b", "a") };
    let error = step(&view, loser).error.clone().unwrap();
    assert_eq!(error.code, "conflict");
    let missing = format!(
        "step `{other}` of this run touched `/work/f` and is not ordered before `{loser}`: `depends_on: [{other}]` is missing"
    );
    assert_eq!(error.message, missing);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn ordered_steps_on_one_file_do_not_conflict() {
    let world = World::new(ALLOW);
    let view = world
        .run(
            r#"
name: both
steps:
  - { name: a, capability: io.fs.write_file, depends_on: [], inputs: { path: /work/f, content: a } }
  - { name: between, capability: data.hash, depends_on: [a], inputs: { content: x } }
  - { name: b, capability: io.fs.append_file, depends_on: [between], inputs: { path: /work/f, content: b } }
"#,
        )
        .await;
    is(&view, RunState::Completed);
    assert_eq!(world.read("f").as_deref(), Some("ab"));
}

#[tokio::test]
async fn a_write_below_a_directory_that_an_unordered_step_made_is_a_conflict() {
    let world = World::new(ALLOW);
    let view = world
        .run(
            r#"
name: below
steps:
  - { name: dir, capability: io.fs.make_dir, depends_on: [], inputs: { path: /work/d } }
  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: "is the directory there?" } }
  - { name: file, capability: io.fs.write_file, depends_on: [gate], inputs: { path: /work/d/f, content: x } }
"#,
        )
        .await;
    is(&view, RunState::Paused);
    assert!(world.path("d").is_dir());
    world.vote(&view.run, "gate", "user:a", true).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!(code(&view, "file"), "conflict");
    assert!(world.tree().is_empty());
}
