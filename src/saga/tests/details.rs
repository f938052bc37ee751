//! What no other test would notice: who may say what, what an event says of itself, what counts as activity, and what a
//! machine that went down can have lost.

use super::*;

#[test]
fn anyone_may_vote_and_give_orders_and_nothing_else_and_nobody_appends_what_the_journal_writes_itself() {
    let (owner, anyone) = (Author::Owner { epoch: 1, expected_seq: None }, Author::Anyone { expected_seq: 1 });
    let vote = Event::Vote(Vote {
        step: name("a"),
        request: "r".into(),
        by: user("user:me"),
        approve: true,
        reason: "r".into(),
    });
    let events = [
        (vote, true, true),
        (operator(Verb::Cancel, None), true, true),
        (intent("a", 1), true, false),
        (result("a", 1, Outcome::Succeeded, true, None), true, false),
        (undo_intent("a", 1), true, false),
        (Event::Owner(Owner::new(1, "p", "b")), false, false),
        (submitted(Mode::Open, Vec::new()), false, false),
    ];
    for (event, by_owner, by_anyone) in &events {
        assert_eq!((owner.may_append(event), anyone.may_append(event)), (*by_owner, *by_anyone), "{}", event.kind());
    }
}

#[test]
fn an_event_says_its_kind_its_step_and_its_payloads() {
    let run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    let decision = run.decision("a", Action::Allow);
    let appended = Event::UndoAppended(UndoAppended { step: name("a"), attempt: 1, undo: payload("more") });
    for (event, kind, step, payloads) in [
        (submitted(Mode::Open, Vec::new()), "RUN_SUBMITTED", None, vec![payload("w"), payload("i")]),
        (decision, "DECISION", Some("a"), vec![payload("a")]),
        (intent("a", 1), "INTENT", Some("a"), vec![payload("undo 1")]),
        (appended, "UNDO_APPENDED", Some("a"), vec![payload("more")]),
        (result("a", 1, Outcome::Succeeded, true, None), "RESULT", Some("a"), vec![payload("out")]),
        (undo_intent("a", 1), "UNDO_INTENT", Some("a"), Vec::new()),
        (undo_result("a", 1, UndoOutcome::Undone), "UNDO_RESULT", Some("a"), Vec::new()),
        (operator(Verb::Cancel, None), "OPERATOR", None, Vec::new()),
        (operator(Verb::Undo, Some("a")), "OPERATOR", Some("a"), Vec::new()),
        (Event::Owner(Owner::new(1, "p", "b")), "OWNER", None, Vec::new()),
    ] {
        let said = (event.kind(), event.step().map(StepName::as_str), event.payloads());
        assert_eq!(said, (kind, step, payloads));
    }
}

#[test]
fn each_kind_of_effect_touches_its_target_as_it_says_and_a_conflict_says_what_to_write() {
    for kind in ["fs.mkdir", "fs.rename", "fs.rmdir", "fs.unlink", "fs.symlink", "fs.link"] {
        assert_eq!(Touch::of(kind), Touch::Placed, "{kind}");
    }
    for kind in ["fs.create", "fs.write", "fs.truncate", "fs.set-times", "http.post"] {
        assert_eq!(Touch::of(kind), Touch::Changed, "{kind}");
    }
    let run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    let failure = conflict(&run.state, 1, 0, "/w/x");
    assert_eq!(failure.code, code::CONFLICT);
    assert_eq!(failure.details.as_deref(), Some("add `depends_on: [a]` to `b`, or the other way round"));
}

#[test]
fn a_step_that_changes_more_of_its_own_path_holds_it_as_the_stronger() {
    let mut claims = Claims::default();
    claims.claim("/w/dir", Touch::Placed, 0, |_| false).unwrap();
    claims.claim("/w/dir", Touch::Changed, 1, |step| step == 0).unwrap();
    claims.claim("/w/dir", Touch::Placed, 1, |step| step == 0).unwrap();
    assert_eq!(claims.claim("/w/dir/x", Touch::Changed, 2, |step| step == 0), Err(1));
}

#[test]
fn votes_orders_and_owners_are_no_activity_and_steps_are() {
    let mut run = Run::new(Mode::Open, Vec::new());
    run.now = 500;
    run.push(Event::StepSubmitted(Box::new(StepSubmitted {
        step: spec("a", &[]),
        inputs: payload("in"),
        compensation: None,
    })));
    assert_eq!(run.state.active_at, Timestamp(500));
    run.now = 600;
    run.owner();
    assert_eq!(run.state.active_at, Timestamp(500));
    run.now = 700;
    run.decide("a", Action::RequireApproval);
    run.now = 800;
    run.vote("a", "user:me", true).unwrap();
    assert_eq!(run.state.active_at, Timestamp(700));
}

/// Whether all targets of an attempt are known whose owner died, and another one of this boot took over.
fn targets_known_after(before: &str, after: &str) -> bool {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.push(Event::Owner(Owner::new(2, "p2", before)));
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(Event::Owner(Owner::new(3, "p3", after)));
    run.step("a").targets_known
}

#[test]
fn what_a_dead_owner_noted_is_whole_only_if_the_machine_stayed_up() {
    assert!(targets_known_after("boot-1", "boot-1"));
    assert!(!targets_known_after("boot-1", "boot-2"));
    assert!(!targets_known_after(UNKNOWN_BOOT, UNKNOWN_BOOT), "what is not known may have changed");
}

#[test]
fn only_what_a_run_still_counts_on_can_be_lost() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.done("a");
    let lost = |now: TargetState, epoch| {
        let lost = vec![LostTarget { step: name("a"), target: target("a"), now }];
        Event::Owner(Owner { lost, ..Owner::new(epoch, "p", "other boot") })
    };
    let strange = TargetState::File { len: 9, sha256: None, mtime_ns: None, inode: None };
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    // It turns back already: a target that is as it was before can have been lost, and any other state is a change since.
    assert!(run.try_push(lost(strange.clone(), 2)).is_err());
    let mut again = Run { entries: run.entries.clone(), state: run.state.clone(), ..run };
    again.push(lost(TargetState::Absent, 2));
    // Once its undo has begun, what it touched is the undo's.
    let epoch = again.state.epoch() + 1;
    again.push(undo_intent("a", 1));
    assert!(again.try_push(lost(TargetState::Absent, epoch)).is_err());
}

#[test]
fn a_run_that_was_cancelled_and_has_ended_is_at_rest() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.done("a");
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    run.undo("a", UndoOutcome::Undone);
    assert_eq!(run.close(), RunState::RolledBack);
    assert_eq!(run.next(), []);
}

#[test]
fn no_more_steps_start_at_once_than_the_run_lets() {
    let mut event = submitted(Mode::Sealed, vec![spec("a", &[]), spec("b", &[]), spec("c", &[])]);
    let Event::RunSubmitted(run) = &mut event else { panic!("it submits a run") };
    run.max_parallel = 2;
    let run = Run::begin(event);
    assert_eq!(run.next(), [Command::Decide { step: 0 }, Command::Decide { step: 1 }]);
    let running = next(&run.state, Timestamp(run.now), &attempts(2));
    assert_eq!(running, [Command::Decide { step: 0 }]);
}

#[test]
fn a_rollback_says_which_step_failed_and_why() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.done("a");
    run.decide("b", Action::Allow);
    run.result("b", Outcome::Clean, false);
    let failure = Failure { retryable: true, ..Failure::new("unavailable", "not now") };
    let cause = Cause::StepFailed { step: name("b"), error: failure };
    assert_eq!(run.next(), [Command::StartRollback(cause)]);
}

#[test]
fn attempts_are_counted_to_the_last_and_one_that_the_host_interrupted_is_not() {
    let run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    let step = run.step("a");
    let most = step.spec.retry.max_attempts;
    let passes = Failure { retryable: true, ..Failure::new("unavailable", "m") };
    let allowed = |error: &Failure, counted| next::retry_allowed(step, Outcome::Clean, error, counted);
    assert!(allowed(&passes, most - 1));
    assert!(!allowed(&passes, most));
    let interrupted = Failure::new(code::INTERRUPTED, "m");
    assert!(allowed(&interrupted, most) && allowed(&interrupted, most + 1));
}

#[test]
fn a_failed_undo_is_tried_again_when_it_is_due_until_its_attempts_are_used_up() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.done("a");
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    run.push(undo_intent("a", 1));
    let broken = Failure::new("broken", "it broke");
    let due = undo_retry_at(run.step("a"), &broken, Timestamp(run.now), 5).unwrap();
    assert_eq!(due, Timestamp(run.now + 5));
    let Event::UndoResult(mut result) = undo_result("a", 1, UndoOutcome::Failed) else { panic!("it is a result") };
    result.retry_at = Some(due);
    run.push(Event::UndoResult(result));
    assert_eq!(run.next(), [Command::WaitUntil(due)]);
    run.now = due.0;
    assert_eq!(run.next(), [Command::Undo { step: 0, attempt: 2 }]);
    let mut step = run.step("a").clone();
    let again = |step: &Step, code: &str| undo_retry_at(step, &Failure::new(code, "m"), Timestamp(0), 0).is_some();
    step.undo.counted = Retry::UNDO.max_attempts - 1;
    assert!(again(&step, "broken"));
    step.undo.counted = Retry::UNDO.max_attempts;
    assert!(!again(&step, "broken"));
    // One that must wait is not counted.
    assert!(again(&step, code::NOT_SETTLED));
}
