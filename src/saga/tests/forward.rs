//! What an attempt leaves behind: what is counted, when it is tried again, and which result may stand where.

use super::*;

/// A result that failed with this code, and is tried again if it says when.
fn failed(step: &str, attempt: u32, outcome: Outcome, code: &str, retry_at: Option<u64>) -> Event {
    let Event::Result(mut failed) = result(step, attempt, outcome, outcome == Outcome::Unclear, retry_at) else {
        unreachable!()
    };
    failed.error.as_mut().unwrap().code = code.into();
    Event::Result(failed)
}

#[test]
fn a_step_is_decided_only_once_what_it_depends_on_has_succeeded() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    let early = run.decision("b", Action::Allow);
    assert!(run.try_push(early).unwrap_err().why.contains("not due"));
    run.done("a");
    run.decide("b", Action::Allow);
}

#[test]
fn an_attempt_counts_unless_the_host_interrupted_it() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    for (attempt, code, counted) in [(1, "unavailable", 1), (2, code::INTERRUPTED, 1), (3, "unavailable", 2)] {
        run.push(failed("a", attempt, Outcome::Clean, code, Some(1)));
        assert_eq!((run.step("a").attempts, run.step("a").counted), (attempt, counted), "{code}");
    }
}

#[test]
fn what_is_settled_without_an_attempt_counts_none() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::RequireApproval);
    run.push(failed("a", 0, Outcome::Clean, code::EXPIRED, None));
    assert_eq!((run.step("a").attempts, run.step("a").counted), (0, 0));
}

#[test]
fn without_an_attempt_nothing_is_let_out_and_nothing_is_unclear() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::RequireApproval);
    for (outcome, let_out) in [(Outcome::Clean, true), (Outcome::Unclear, false), (Outcome::Unclear, true)] {
        let refused = run.try_push(result("a", 0, outcome, let_out, None)).unwrap_err();
        assert!(refused.why.contains("nothing ran"), "{outcome:?} {let_out}: {refused}");
    }
}

#[test]
fn a_result_that_asks_for_more_attempts_than_there_are_is_refused() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    let never = failed("a", 1, Outcome::Clean, code::DENIED, Some(1));
    assert!(run.try_push(never).unwrap_err().why.contains("not tried again"));
    for attempt in 1..3 {
        run.push(result("a", attempt, Outcome::Clean, false, Some(1)));
    }
    let fourth = run.try_push(result("a", 3, Outcome::Clean, false, Some(1)));
    assert!(fourth.unwrap_err().why.contains("not tried again"));
    run.push(result("a", 3, Outcome::Clean, false, None));
    assert!(run.step("a").is_final());
}

#[test]
fn the_longest_wait_can_be_drawn_and_none_longer() {
    let run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    let step = run.step("a");
    let passes = Failure { retryable: true, ..Failure::new("unavailable", "m") };
    let longest = step.spec.retry.delay_cap(1).0;
    for (jitter, wait) in [(0, 0), (1, 1), (longest - 1, longest - 1), (longest, longest), (longest + 1, 0)] {
        let due = retry_at(&run.state, step, Outcome::Clean, &passes, Timestamp(7), jitter);
        assert_eq!(due, Some(Timestamp(7 + wait)), "{jitter}");
    }
}

#[test]
fn an_attempt_that_ends_while_the_run_turns_back_is_not_tried_again() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    // Its owner may have written the result before it learned of the cancel.
    run.push(result("a", 1, Outcome::Unclear, true, Some(5)));
    let step = run.step("a");
    assert!(matches!(step.status, Status::Unclear(_)) && step.retry_at.is_none(), "{step:?}");
    assert_eq!(run.next(), [Command::Undo { step: 0, attempt: 1 }]);
}

#[test]
fn no_result_follows_the_first_undo_or_the_end() {
    let begun = || {
        let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
        run.done("a");
        run.decide("b", Action::Allow);
        run
    };
    let mut undoing = begun();
    undoing.push(operator(Verb::Cancel, None));
    undoing.rollback();
    undoing.push(undo_intent("a", 1));
    let mut killed = begun();
    killed.push(operator(Verb::Kill, None));
    assert_eq!(killed.close(), RunState::Killed);
    for mut run in [undoing, killed] {
        let late = run.try_push(result("b", 1, Outcome::Clean, false, None));
        assert!(late.unwrap_err().why.contains("undoing has begun"), "{:?}", run.state.shown());
    }
}
