//! What is known of the targets of steps: whose they are, as what they count, and what a machine that went down may have lost.

use super::*;

fn file(len: u64) -> TargetState {
    TargetState::File { len, sha256: None, mtime_ns: None, inode: None }
}

/// A result that found one target as `before` and left it as `after`.
fn wrote(step: &str, on: &Target, before: TargetState, after: TargetState) -> Event {
    let Event::Result(mut wrote) = result(step, 1, Outcome::Succeeded, true, None) else { unreachable!() };
    wrote.evidence.targets = vec![TargetRecord { target: on.clone(), before, after }];
    Event::Result(wrote)
}

/// A run in which `a` made a file, `b` after it changed the file, and `c` is not decided.
fn written_twice() -> (Run, Target) {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"]), spec("c", &["b"])]);
    let on = target("both");
    for (step, before, after) in [("a", TargetState::Absent, file(1)), ("b", file(1), file(2))] {
        run.decide(step, Action::Allow);
        run.intent(step);
        run.push(wrote(step, &on, before, after));
    }
    (run, on)
}

fn lost(step: &str, on: &Target, now: TargetState) -> Event {
    let lost = vec![LostTarget { step: name(step), target: on.clone(), now }];
    Event::Owner(Owner { lost, ..Owner::new(2, "p2", "other boot") })
}

#[test]
fn a_step_is_restored_if_its_target_is_as_before_it_and_as_before_an_earlier_one_only_where_that_was_lost() {
    let (mut run, on) = written_twice();
    let restored = |run: &Run, now: &TargetState| run.state.is_restored(run.step("b"), &on, now);
    for (now, expected) in [(TargetState::Absent, false), (file(1), true), (file(2), false), (file(9), false)] {
        assert_eq!(restored(&run, &now), expected, "{now}");
    }
    run.push(lost("b", &on, TargetState::Absent));
    for (now, expected) in [(TargetState::Absent, true), (file(1), true), (file(2), false), (file(9), false)] {
        assert_eq!(restored(&run, &now), expected, "after the loss: {now}");
    }
}

#[test]
fn a_loss_makes_only_a_success_unclear_that_the_run_was_going_on_from() {
    let (mut run, on) = written_twice();
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    run.push(lost("b", &on, file(1)));
    assert_eq!(run.step("b").status, Status::Succeeded, "the run was turning back already");

    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(result("a", 1, Outcome::Unclear, true, Some(5)));
    run.push(lost("a", &target("a"), TargetState::Absent));
    assert_eq!(run.step("a").status, Status::Waiting, "it is tried again anyway");
    assert_eq!(run.next(), [Command::WaitUntil(Timestamp(5))]);
}

#[test]
fn a_success_that_was_lost_is_unclear_again_when_its_undo_is_repaired() {
    let (mut run, on) = written_twice();
    run.push(lost("b", &on, file(1)));
    run.rollback();
    run.undo("b", UndoOutcome::NotRestored);
    assert_eq!(run.state.shown(), RunState::Stuck);
    run.push(operator(Verb::RepairRetry { component: None }, Some("b")));
    assert!(matches!(run.step("b").status, Status::Unclear(_)), "{:?}", run.step("b").status);
    run.undo("b", UndoOutcome::Undone);
    run.undo("a", UndoOutcome::NotRestored);
    run.push(operator(Verb::RepairRetry { component: None }, Some("a")));
    assert_eq!(run.step("a").status, Status::Succeeded);
}

#[test]
fn the_targets_of_others_are_those_of_steps_neither_before_nor_after() {
    let steps = vec![spec("root", &[]), spec("mid", &["root"]), spec("leaf", &["mid"]), spec("apart", &[])];
    let mut run = Run::new(Mode::Sealed, steps);
    for step in ["root", "mid", "leaf", "apart"] {
        run.done(step);
    }
    let others = |run: &Run, step: &str| run.state.targets_of_others(run.state.index(step).unwrap());
    for step in ["root", "mid", "leaf"] {
        assert_eq!(others(&run, step), [target("apart")], "{step}");
    }
    assert_eq!(others(&run, "apart"), ["root", "mid", "leaf"].map(target));
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    run.undo("apart", UndoOutcome::Undone);
    assert_eq!(others(&run, "mid"), [], "what is undone is nobody's");
}

#[test]
fn an_attempt_is_open_from_its_intent_to_its_result_and_no_other_one_is() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    let open = |run: &Run| {
        let asked = [("a", 1), ("a", 2), ("b", 1), ("unknown", 1)];
        asked.map(|(step, attempt)| run.state.has_open_attempt(&name(step), attempt))
    };
    run.decide("a", Action::Allow);
    assert_eq!(open(&run), [false; 4]);
    run.intent("a");
    assert_eq!(open(&run), [true, false, false, false]);
    run.result("a", Outcome::Succeeded, true);
    assert_eq!(open(&run), [false; 4]);
}

#[test]
fn an_undo_compares_first_only_if_each_attempt_that_was_not_clean_has_a_result() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.owner();
    assert!(!run.step("a").after_states_known(), "the first attempt died");
    run.intent("a");
    run.result("a", Outcome::Succeeded, true);
    assert!(run.step("a").after_states_known(), "the second one touched the same");
}
