use redress::saga::RunState;

use crate::world::{ALLOW, World, is};

#[tokio::test]
async fn a_workflow_of_read_only_steps_makes_at_most_three_commits() {
    let world = World::new(ALLOW);
    let steps: String = (0..40)
        .map(|i| format!("  - {{ name: s{i}, capability: data.hash, inputs: {{ content: \"{i}\" }} }}\n"))
        .collect();
    let before = world.journal.commits();
    is(&world.run(&format!("name: reads\nsteps:\n{steps}")).await, RunState::Completed);
    let commits = world.journal.commits() - before;
    assert!(commits <= 3, "{commits}");
}

#[tokio::test]
async fn a_workflow_of_n_effectful_steps_makes_at_most_n_plus_three_commits() {
    let world = World::new(ALLOW);
    let steps: String = (0..20)
        .map(|i| {
            format!("  - {{ name: s{i}, capability: io.fs.write_file, inputs: {{ path: /work/{i}, content: x }} }}\n")
        })
        .collect();
    let before = world.journal.commits();
    is(&world.run(&format!("name: writes\nsteps:\n{steps}")).await, RunState::Completed);
    let commits = world.journal.commits() - before;
    assert!(commits <= 23, "{commits}");
}

#[tokio::test]
async fn a_workflow_with_two_hundred_parallel_steps_runs() {
    let world = World::new(ALLOW);
    let steps: String = (0..200)
        .map(|i| format!("  - {{ name: s{i}, capability: io.fs.write_file, depends_on: [], inputs: {{ path: /work/{i}, content: \"{i}\" }} }}\n"))
        .collect();
    is(&world.run(&format!("name: wide\nsteps:\n{steps}")).await, RunState::Completed);
    assert_eq!(world.tree().len(), 200);
}

#[tokio::test]
async fn a_workflow_with_ten_thousand_steps_runs() {
    let world = World::new(ALLOW);
    let steps: String = (0..10_000)
        .map(|i| format!("  - {{ name: s{i}, capability: data.hash, inputs: {{ content: \"{i}\" }} }}\n"))
        .collect();
    let run = world.submit(&format!("name: long\nsteps:\n{steps}")).await;
    assert_eq!(
        run.drive(&redress::engine::Stop::default()).await.unwrap(),
        redress::engine::Driven::Rest(RunState::Completed)
    );
}
