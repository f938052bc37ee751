//! What a vote needs to count, and what waits for one.

use super::*;

#[test]
fn an_approval_is_bound_to_its_request_its_time_and_its_voters() {
    let mut agent = spec("a", &[]);
    agent.agent = Some(user("agent:writer"));
    let mut run = Run::new(Mode::Sealed, vec![agent]);
    run.decide("a", Action::RequireApproval);
    assert_eq!(run.state.shown(), RunState::Paused);
    for requester in ["agent:a", "agent:writer"] {
        assert!(run.vote("a", requester, true).unwrap_err().why.contains("cannot vote"), "{requester}");
    }
    assert!(run.vote("a", "agent:other", true).unwrap_err().why.contains("approvers"));
    let old = run.step("a").request().unwrap().id.clone();
    run.decide("a", Action::RequireApproval);
    let stale = Vote { step: name("a"), request: old, by: user("user:b"), approve: true, reason: "r".into() };
    assert!(run.try_push(Event::Vote(stale)).unwrap_err().why.contains("look at it again"));
    run.vote("a", "user:b", true).unwrap();
    assert!(run.vote("a", "user:c", true).unwrap_err().why.contains("has been decided"));
    assert_eq!(run.next(), [Command::Execute { step: 0, attempt: 1 }]);
}

#[test]
fn an_agent_approves_only_where_a_rule_names_agents() {
    for (approvers, may) in
        [(vec!["*"], false), (vec!["user:*"], false), (vec!["agent:x"], true), (vec!["user:*", "agent:*"], true)]
    {
        let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
        let Event::Decision(mut decision) = run.decision("a", Action::RequireApproval) else { unreachable!() };
        decision.approval.as_mut().unwrap().approvers = approvers.iter().map(ToString::to_string).collect();
        run.push(Event::Decision(decision));
        assert_eq!(run.vote("a", "agent:x", true).is_ok(), may, "{approvers:?}");
    }
}

#[test]
fn a_voter_matches_every_list_of_approvers() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    let Event::Decision(mut decision) = run.decision("a", Action::RequireApproval) else { unreachable!() };
    decision.approval.as_mut().unwrap().also = vec![vec!["user:b*".into()], vec!["*:*c".into()]];
    run.push(Event::Decision(decision));
    for voter in ["user:b", "user:c", "user:abc"] {
        assert!(run.vote("a", voter, true).is_err(), "{voter}");
    }
    run.vote("a", "user:bc", true).unwrap();
}

#[test]
fn a_vote_after_expiry_is_refused_even_if_no_process_ran_meanwhile() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::RequireApproval);
    run.now += 1_000;
    assert!(run.vote("a", "user:b", true).unwrap_err().why.contains("expired"));
    assert_eq!(run.next(), [Command::Expire { step: 0 }]);
}

#[test]
fn a_rejection_fails_the_step_and_a_vote_after_cancel_is_refused() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.decide("a", Action::RequireApproval);
    run.decide("b", Action::RequireApproval);
    run.push(operator(Verb::Cancel, None));
    assert!(run.vote("b", "user:b", true).is_err());
    assert!(matches!(run.next().as_slice(), [Command::StartRollback(Cause::Cancelled { .. })]));
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::RequireApproval);
    run.vote("a", "user:b", false).unwrap();
    run.rollback();
    assert_eq!(run.close(), RunState::RolledBack);
}

#[test]
fn a_step_that_only_waits_never_runs_through_unasked() {
    let mut gate = spec("gate", &[]);
    gate.capability = None;
    gate.effect = EffectKind::None;
    let mut run = Run::new(Mode::Sealed, vec![gate]);
    let allow = run.decision("gate", Action::Allow);
    assert!(run.try_push(allow).is_err());
    run.decide("gate", Action::RequireApproval);
    assert!(run.try_push(result("gate", 0, Outcome::Succeeded, false, None)).is_err());
    run.vote("gate", "user:b", true).unwrap();
    assert_eq!(run.next(), [Command::Settle { step: 0 }]);
    run.push(result("gate", 0, Outcome::Succeeded, false, None));
    assert_eq!(run.close(), RunState::Completed);
}
