use redress::engine::EngineError;
use redress::journal::Journal as _;
use redress::saga::RunState;
use redress::saga::event::Verb;
use redress::types::Timestamp;

use crate::world::{ALLOW, World, code, is, states, step};

/// As [`ALLOW`], but a HIGH risk asks a person.
fn asking() -> String {
    ALLOW.replace("    accept_risk: HIGH\n", "")
}

const RISKY: &str = r#"
name: risky
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
  - { name: b, capability: test.count, risk_level: HIGH, inputs: { path: /work/n } }
  - { name: c, capability: io.fs.write_file, inputs: { path: /work/c, content: "{{ b.path }}" } }
"#;

fn refusal(result: Result<redress::saga::State, EngineError>) -> String {
    match result {
        Err(EngineError::Refused { why }) => why,
        other => panic!("{:?}", other.map(|state| state.shown())),
    }
}

#[tokio::test]
async fn an_approved_step_runs_exactly_once_with_the_approved_input() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    is(&view, RunState::Paused);
    assert_eq!(world.read("n"), None);
    assert_eq!(step(&view, "b").input, Some(serde_json::json!({ "path": "/work/n" })));
    let world = world.restart(&asking());
    assert!(world.engine.orphans().unwrap().runs.is_empty());
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    assert_eq!(
        world.engine.orphans().unwrap().runs,
        std::slice::from_ref(&view.run),
        "a vote alone makes it a run that waits for recovery"
    );
    let view = world.resume(&view.run).await;
    is(&view, RunState::Completed);
    assert_eq!(world.read("n").as_deref(), Some("execute 1\n"));
    assert_eq!(world.read("c").as_deref(), Some("/work/n"));
}

#[tokio::test]
async fn an_approved_step_that_then_fails_rolls_the_run_back() {
    let world = World::new(&asking());
    let yaml = RISKY.replace("path: /work/n }", "path: /work/n, fail_times: 1 }");
    let view = world.run(&yaml).await;
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_rejection_rolls_back() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    world.vote(&view.run, "b", "user:alice", false).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!(states(&view), [("a", "UNDONE"), ("b", "FAILED"), ("c", "FAILED")]);
    assert_eq!(code(&view, "b"), "rejected");
}

#[tokio::test]
async fn an_expired_request_rolls_back_and_a_late_vote_is_refused() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    world.clock.move_to(Timestamp(1_700_000_000_000 + 86_400_000 + 1_000));
    assert!(refusal(world.vote(&view.run, "b", "user:alice", true)).contains("expired"));
    let world = world.restart(&asking());
    world.clock.move_to(Timestamp(1_700_000_000_000 + 86_400_000 + 1_000));
    assert_eq!(world.engine.orphans().unwrap().runs, std::slice::from_ref(&view.run));
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!(code(&view, "b"), "expired");
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_paused_run_is_due_when_its_request_expires_and_its_row_says_so() {
    let world = World::new(&asking());
    let run = world.run(RISKY).await.run;
    let row = || world.journal.run(&run).unwrap().unwrap();
    let expires = redress::engine::state_of(&*world.journal, &run).unwrap().step(1).unwrap().request().unwrap().expires;
    assert_eq!((row().state, row().due), (RunState::Paused, Some(expires)));
    assert_eq!(world.audited(), []);
    world.vote(&run, "b", "user:alice", true).unwrap();
    assert_eq!((row().state, row().due), (RunState::Running, None), "a vote makes it move at once");

    // One that does not suffice leaves it paused, and due as it was.
    let quorum = asking().replace("    action: ALLOW\n", "    action: REQUIRE_APPROVAL\n    approval: { quorum: 2 }\n");
    let world = World::new(&quorum);
    let run = world.run(RISKY).await.run;
    let row = || world.journal.run(&run).unwrap().unwrap();
    let (state, due) = (row().state, row().due);
    assert!(state == RunState::Paused && due.is_some());
    world.vote(&run, "a", "user:alice", true).unwrap();
    assert_eq!((row().state, row().due), (state, due));
    assert_eq!(world.audited(), []);
    world.operate(&run, Verb::Cancel, None).unwrap();
    assert_eq!((row().state, row().due), (RunState::Running, None));
}

#[tokio::test]
async fn the_requester_cannot_approve_and_nobody_approves_twice() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    assert!(refusal(world.vote(&view.run, "b", "agent:demo", true)).contains("cannot vote"));
    assert!(refusal(world.vote(&view.run, "b", "agent:other", true)).contains("approvers"));
    assert!(refusal(world.vote(&view.run, "a", "user:alice", true)).contains("nobody is asked"));
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    assert!(refusal(world.vote(&view.run, "b", "user:bob", true)).contains("has been decided"));
}

#[tokio::test]
async fn a_policy_that_now_denies_fails_an_approved_step() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    let denying = asking()
        .replace("rules:\n", "rules:\n  - { principal: \"*\", capabilities: [\"test.count\"], action: DENY }\n");
    let world = world.restart(&denying);
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!((code(&view, "b").as_str(), world.read("n")), ("denied", None));
}

#[tokio::test]
async fn a_policy_that_now_asks_others_makes_a_new_request() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    let old = step(&view, "b").approval.as_ref().unwrap().id.clone();
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    let others = asking().replace(
        "rules:\n",
        "rules:\n  - principal: \"*\"\n    capabilities: [\"test.count\"]\n    action: REQUIRE_APPROVAL\n    approval: { approvers: [\"user:boss\"] }\n",
    );
    let world = world.restart(&others);
    let view = world.resume(&view.run).await;
    is(&view, RunState::Paused);
    assert_ne!(step(&view, "b").approval.as_ref().unwrap().id, old);
    assert_eq!(world.read("n"), None);
    assert!(refusal(world.vote(&view.run, "b", "user:alice", true)).contains("approvers"));
    world.vote(&view.run, "b", "user:boss", true).unwrap();
    is(&world.resume(&view.run).await, RunState::Completed);
    assert_eq!(world.read("n").as_deref(), Some("execute 1\n"));
}

#[tokio::test]
async fn a_quorum_needs_so_many_different_voters() {
    let policy = asking().replace(
        "rules:\n",
        "rules:\n  - principal: \"*\"\n    capabilities: [\"test.count\"]\n    action: REQUIRE_APPROVAL\n    approval: { quorum: 2, expires: 1h }\n",
    );
    let world = World::new(&policy);
    let view = world.run(RISKY).await;
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    is(&world.resume(&view.run).await, RunState::Paused);
    assert!(refusal(world.vote(&view.run, "b", "user:alice", true)).contains("voted already"));
    world.vote(&view.run, "b", "user:bob", true).unwrap();
    is(&world.resume(&view.run).await, RunState::Completed);
}

#[tokio::test]
async fn after_cancel_a_vote_is_refused() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    world.operate(&view.run, Verb::Cancel, None).unwrap();
    assert!(refusal(world.vote(&view.run, "b", "user:alice", true)).contains("asked to end"));
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert!(world.tree().is_empty());
}

#[tokio::test]
async fn a_step_that_only_waits_is_never_allowed_unasked() {
    let world = World::new(ALLOW);
    let yaml = r#"
name: gate
steps:
  - { name: gate, step_type: HUMAN_APPROVAL, inputs: { message: "go?" } }
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
"#;
    let view = world.run(yaml).await;
    is(&view, RunState::Paused);
    world.vote(&view.run, "gate", "user:alice", true).unwrap();
    let view = world.resume(&view.run).await;
    is(&view, RunState::Completed);
    assert!(!world.kinds(&view.run)[..world.kinds(&view.run).len() - 4].contains(&"INTENT"));
}

#[tokio::test]
async fn passing_the_deadline_rolls_back_also_while_it_waits() {
    let world = World::new(&asking());
    let view = world.run(&format!("deadline: 1m\n{}", RISKY.trim_start())).await;
    is(&view, RunState::Paused);
    world.clock.move_to(Timestamp(1_700_000_000_000 + 120_000));
    for approve in [true, false] {
        assert!(refusal(world.vote(&view.run, "b", "user:alice", approve)).contains("deadline of the run passed"));
    }
    assert!(!world.kinds(&view.run).contains(&"VOTE"));
    let view = world.resume(&view.run).await;
    is(&view, RunState::RolledBack);
    assert_eq!(view.reason.unwrap().code, "deadline");
}

#[tokio::test]
async fn a_vote_on_a_request_that_was_replaced_is_shown_as_void_with_the_reason() {
    let rule = |action: &str| {
        let rule = format!("rules:\n  - {{ principal: \"*\", capabilities: [\"test.count\"], action: {action} }}\n");
        asking().replace("rules:\n", &rule)
    };
    for (policy, reason) in [
        (rule("DENY"), "the answer is DENY"),
        (rule("REQUIRE_APPROVAL, approval: { quorum: 2 }"), "with another risk, grant, approvers or quorum"),
    ] {
        let world = World::new(&asking());
        let view = world.run(RISKY).await;
        let request = step(&view, "b").approval.as_ref().unwrap().id.clone();
        world.vote(&view.run, "b", "user:alice", true).unwrap();
        assert!(step(&world.view(&view.run), "b").void_votes.is_empty());
        let world = world.restart(&policy);
        let view = world.resume(&view.run).await;
        let void = &step(&view, "b").void_votes;
        assert_eq!((void.len(), void[0].vote.by.as_str(), &void[0].request), (1, "user:alice", &request));
        assert_eq!(
            void[0].void,
            format!("the policy was changed, and the step was decided again before it ran: {reason}")
        );
        assert!(step(&view, "b").approval.as_ref().is_none_or(|approval| approval.votes.is_empty()));
    }
}

#[tokio::test]
async fn the_approvers_of_a_step_and_of_its_compensation_must_both_be_met() {
    let policy = asking().replace(
        "rules:\n",
        "rules:\n  - principal: \"*\"\n    capabilities: [\"io.fs.delete\"]\n    action: REQUIRE_APPROVAL\n    approval: { approvers: [\"user:boss\"] }\n  - principal: \"*\"\n    capabilities: [\"test.count\"]\n    action: REQUIRE_APPROVAL\n",
    );
    let world = World::new(&policy);
    let view = world
        .run(
            r#"
name: both
steps:
  - name: b
    capability: test.count
    inputs: { path: /work/n }
    compensation: { capability: io.fs.delete, inputs: { path: "{{ b.path }}" } }
"#,
        )
        .await;
    is(&view, RunState::Paused);
    assert!(refusal(world.vote(&view.run, "b", "user:nobody", true)).contains("approvers"));
    world.vote(&view.run, "b", "user:boss", true).unwrap();
    is(&world.resume(&view.run).await, RunState::Completed);
}

#[tokio::test]
async fn an_approval_stands_when_the_component_was_removed_meanwhile() {
    let world = World::new(&asking());
    let view = world.run(RISKY).await;
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    let world = world.restart_without_components(&asking());
    is(&world.resume(&view.run).await, RunState::Completed);
    assert_eq!(world.read("n").as_deref(), Some("execute 1\n"));
}

#[tokio::test]
async fn a_policy_that_is_put_in_force_decides_what_comes_after_and_its_text_is_kept_before() {
    let world = World::new(ALLOW);
    let run = world
        .submit(
            "name: w\nsteps:\n  - { name: go, step_type: HUMAN_APPROVAL }\n  \
             - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: x } }\n",
        )
        .await;
    is(&world.drive(&run).await, RunState::Paused);
    let before = world.engine.policy().digest();
    assert!(world.reload(&ALLOW.replace("./work", ".")).await.is_err());
    assert_eq!(world.engine.policy().digest(), before, "what is refused changes nothing");
    let deny = "rules: []\n";
    world.reload(deny).await.unwrap();
    let now = world.engine.policy().digest();
    assert_eq!(world.journal.policy(&now).unwrap().unwrap().text, deny);
    world.vote(run.id(), "go", "user:alice", true).unwrap();
    let view = world.drive(&run).await;
    is(&view, RunState::RolledBack);
    let decided = step(&view, "a").decision.as_ref().unwrap();
    assert_eq!((decided.action, decided.policy), (redress::types::Action::Deny, now));
    assert_eq!(world.read("a"), None);
}
