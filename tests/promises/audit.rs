use redress::document::Source;
use redress::journal::Journal;
use redress::policy::{self, Policy};
use redress::saga::RunState;
use redress::saga::event::{Event, Verb};
use redress::types::Action;

use crate::world::{ALLOW, World, is, step};

#[tokio::test]
async fn every_decision_can_be_decided_again_from_the_journal() {
    let text = ALLOW.replace(
        "rules:\n",
        "rules:\n  - principal: \"agent:*\"\n    capabilities: [\"data.hash\"]\n    when: { inputs.content: { in: [secret] } }\n    action: DENY\n",
    );
    let world = World::new(&text);
    let view = world
        .run(
            r#"
name: decided
steps:
  - { name: a, capability: data.hash, inputs: { content: open } }
  - { name: b, capability: io.fs.write_file, inputs: { path: /work/f, content: "{{ a.sha256 }}" } }
  - { name: c, capability: data.hash, inputs: { content: secret } }
"#,
        )
        .await;
    is(&view, RunState::RolledBack);
    let state = redress::engine::state_of(&*world.journal, &view.run).unwrap();
    let mut decided = Vec::new();
    for entry in world.journal.entries(&view.run, 0, usize::MAX).unwrap() {
        let Event::Decision(decision) = entry.event else { continue };
        let step = state.step(state.index(decision.step.as_str()).unwrap()).unwrap();
        let kept = world.journal.policy(&decision.policy).unwrap().unwrap();
        let (policy, _) = Policy::load(Source::new(kept.name, kept.text), "/").unwrap();
        let input = world.journal.payload(&decision.input.unwrap().digest).unwrap().unwrap();
        let input = serde_json::from_slice(&input).unwrap();
        let again = policy::decide(
            &policy,
            &policy::Request {
                principal: state.submitted.principal.clone(),
                acting_for: None,
                capability: step.spec.capability.clone().unwrap(),
                declared_risk: step.spec.risk,
                step_risk: step.spec.step_risk,
                inputs: Some(&input),
                unknown: &[],
            },
        );
        assert_eq!((again.action, again.risk, again.escalated), (decision.action, decision.risk, decision.escalated));
        decided.push(again.action);
    }
    assert_eq!(decided, [Action::Allow, Action::Allow, Action::Deny]);
}

#[tokio::test]
async fn a_component_receives_the_decided_input_byte_for_byte() {
    let world = World::new(ALLOW);
    let view = world
        .run("name: bytes\nsteps:\n  - { name: a, capability: test.call, inputs: { z: 1.0, a: \"\\u00e9 {{{{ x }}\" } }\n")
        .await;
    let state = redress::engine::state_of(&*world.journal, &view.run).unwrap();
    let decided = state.steps[0].decision.as_ref().unwrap().input.unwrap();
    let bytes = world.journal.payload(&decided.digest).unwrap().unwrap();
    let received = step(&view, "a").output.clone().unwrap();
    assert_eq!(received["input"].as_str().unwrap().as_bytes(), &bytes[..]);
    assert_eq!(&bytes[..], "{\"a\":\"é {{ x }}\",\"z\":1}".as_bytes());
}

#[tokio::test]
async fn a_compensation_declared_in_the_workflow_is_not_lost_on_restart() {
    let world = World::new(ALLOW);
    world.write("f", "before");
    let view = world
        .run(
            r#"
name: declared
steps:
  - name: a
    capability: test.irreversible
    inputs: { path: /work/f, content: after }
    compensation: { capability: io.fs.write_file, inputs: { path: "{{ a.path }}", content: before } }
"#,
        )
        .await;
    is(&view, RunState::Completed);
    let world = world.restart(ALLOW);
    world.operate(&view.run, Verb::Undo, None).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!((world.read("f").as_deref(), step(&view, "a").checked), (Some("before"), true));
}

#[tokio::test]
async fn a_run_rolls_back_with_the_component_that_executed_after_it_was_removed() {
    let world = World::new(ALLOW);
    world.write("f", "before");
    let view = world
        .run("name: pinned\nsteps:\n  - { name: a, capability: test.write, inputs: { path: /work/f, content: after } }\n")
        .await;
    let world = world.restart_without_components(ALLOW);
    assert!(world.engine.registry().provider("test.write").is_none());
    world.operate(&view.run, Verb::Undo, None).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert_eq!(world.read("f").as_deref(), Some("before"));
}

#[tokio::test]
async fn a_refused_effect_never_counts_as_success_whatever_the_component_says() {
    let world = World::new(ALLOW);
    let view =
        world.run("name: no\nsteps:\n  - { name: a, capability: test.fail, inputs: { code: not-successful } }\n").await;
    is(&view, RunState::RolledBack);
    let view = world
        .run("name: no\nsteps:\n  - { name: a, capability: test.pure_writer, inputs: { path: /work/f, content: x } }\n")
        .await;
    is(&view, RunState::RolledBack);
}

#[tokio::test]
async fn a_grant_that_contains_the_journal_is_refused() {
    let world = World::new(ALLOW);
    let wide = ALLOW.replace("host: ./work", "host: .");
    assert!(world.reload(&wide).await.unwrap_err().to_string().contains("journal"));
}

#[tokio::test]
async fn a_grant_that_contains_a_secret_is_refused_even_if_it_is_read_only() {
    let world = World::new(ALLOW);
    let with = |file: &str| {
        ALLOW.replace("read-write", "read-only")
            + &format!("    secrets: [{{ name: TOKEN, file: {file}, hosts: [api.example.com] }}]\n")
    };
    let error = world.reload(&with("./work/token")).await.unwrap_err().to_string();
    assert!(error.contains("work/token, which holds a secret"), "{error}");
    world.reload(&with("./token")).await.unwrap();
}

#[tokio::test]
async fn a_grant_that_contains_a_link_to_a_secret_is_refused_for_the_link() {
    let world = World::new(ALLOW);
    std::fs::create_dir(world.dir.path().join("elsewhere")).unwrap();
    std::fs::write(world.dir.path().join("elsewhere/token"), "long enough").unwrap();
    std::os::unix::fs::symlink("../elsewhere", world.path("linked")).unwrap();
    let with = |file: &str| {
        ALLOW.to_owned() + &format!("    secrets: [{{ name: TOKEN, file: {file}, hosts: [api.example.com] }}]\n")
    };
    let error = world.reload(&with("./work/linked/token")).await.unwrap_err().to_string();
    assert!(error.contains("work/linked, which holds a secret"), "{error}");
    world.reload(&with("./elsewhere/token")).await.unwrap();
}
