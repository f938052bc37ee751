//! What is undone, in which order, and what is left: after failures, deaths, an operator's word, a backup and a reboot.

use super::*;

#[test]
fn undos_run_in_reverse_order_of_intent() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[]), spec("c", &[])]);
    for step in ["b", "a"] {
        run.decide(step, Action::Allow);
        run.intent(step);
    }
    run.result("b", Outcome::Succeeded, true);
    run.result("a", Outcome::Succeeded, true);
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    assert!(run.try_push(undo_intent("b", 1)).unwrap_err().why.contains("later step"));
    run.undo("a", UndoOutcome::Undone);
    assert!(run.try_push(undo_intent("a", 2)).is_err());
    run.undo("b", UndoOutcome::Undone);
    assert_eq!(run.close(), RunState::RolledBack);
}

#[test]
fn no_intent_follows_the_first_undo() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.done("a");
    run.decide("b", Action::Allow);
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    run.push(undo_intent("a", 1));
    assert!(run.try_push(intent("b", 1)).unwrap_err().why.contains("undoing has begun"));
}

#[test]
fn a_running_attempt_is_joined_before_anything_is_undone() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.done("a");
    run.decide("b", Action::Allow);
    run.intent("b");
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    assert!(run.try_push(undo_intent("a", 1)).unwrap_err().why.contains("running"));
    let running = attempts(1);
    assert_eq!(next(&run.state, Timestamp(run.now), &running), [Command::WaitUntil(Timestamp(run.now + 10_000))]);
    assert_eq!(next(&run.state, Timestamp(run.now + 10_000), &running), [Command::Interrupt { step: 1 }]);
    let undo = InFlight { attempts: BTreeSet::new(), undos: BTreeSet::from([0]) };
    assert_eq!(next(&run.state, Timestamp(run.now + 10_000), &undo), [], "an undo is never interrupted for being late");
    run.result("b", Outcome::Unclear, true);
    assert_eq!(run.next(), [Command::Undo { step: 1, attempt: 1 }]);
}

#[test]
fn a_failed_undo_makes_the_run_stuck_and_spares_only_its_ancestors() {
    let steps = vec![spec("root", &[]), spec("free", &[]), spec("child", &["root"])];
    let mut run = Run::new(Mode::Sealed, steps);
    for step in ["root", "free", "child"] {
        run.done(step);
    }
    run.push(operator(Verb::Cancel, None));
    assert!(run.try_push(Event::RunClosed(RunClosed { state: Closed::Completed, residue: vec![] })).is_err());
    run.rollback();
    run.undo("child", UndoOutcome::NotRestored);
    assert_eq!(run.next(), [Command::Undo { step: 1, attempt: 1 }]);
    run.undo("free", UndoOutcome::Undone);
    assert_eq!(run.state.shown(), RunState::Stuck);
    assert!(run.next().is_empty());
    assert!(run.try_push(undo_intent("root", 1)).is_err());
    assert!(run.try_push(Event::RunClosed(RunClosed { state: Closed::RolledBack, residue: vec![] })).is_err());
    assert!(run.try_push(operator(Verb::ResolveLeft, Some("root"))).is_err());
    run.push(operator(Verb::RepairRetry { component: None }, Some("child")));
    run.undo("child", UndoOutcome::Failed);
    run.push(operator(Verb::ResolveUndone, Some("child")));
    run.undo("root", UndoOutcome::Undone);
    assert_eq!(run.close(), RunState::RolledBackWithResidue);
    assert_eq!(run.state.closed.as_ref().unwrap().residue[0].what, ResidueKind::UndoneByHand);
}

#[test]
fn an_irreversible_step_is_residue() {
    let mut irreversible = spec("send", &[]);
    irreversible.effect = EffectKind::Irreversible;
    irreversible.idempotent = false;
    let mut run = Run::new(Mode::Sealed, vec![irreversible.clone(), spec("b", &[])]);
    run.done("send");
    run.decide("b", Action::Deny);
    run.rollback();
    assert_eq!(run.close(), RunState::RolledBackWithResidue);
    assert_eq!(run.state.closed.as_ref().unwrap().residue[0].what, ResidueKind::Happened);
    assert_eq!(run.state.shown_step(0).0, StepState::Residue);
    let mut run = Run::new(Mode::Sealed, vec![irreversible.clone()]);
    run.done("send");
    assert_eq!(run.close(), RunState::Completed);
    assert_eq!(run.state.shown_step(0).0, StepState::Succeeded);
    let mut run = Run::new(Mode::Sealed, vec![irreversible]);
    run.decide("send", Action::Allow);
    run.intent("send");
    run.owner();
    run.rollback();
    assert_eq!(run.close(), RunState::RolledBackWithResidue);
    assert_eq!(run.state.closed.as_ref().unwrap().residue[0].what, ResidueKind::PossiblyHappened);
}

#[test]
fn attempts_to_undo_are_counted_over_deaths_of_the_host() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.done("a");
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    for attempt in 1..=5 {
        assert_eq!(run.next(), [Command::Undo { step: 0, attempt }]);
        run.push(undo_intent("a", attempt));
        run.owner();
    }
    assert_eq!(run.state.shown(), RunState::Stuck);
    run.push(operator(Verb::RepairRetry { component: None }, Some("a")));
    run.undo("a", UndoOutcome::Undone);
    assert_eq!(run.close(), RunState::RolledBack);
}

#[test]
fn a_completed_run_can_be_undone_within_its_window_only() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.done("a");
    run.close();
    let mut late =
        Run { entries: run.entries.clone(), state: run.state.clone(), now: 2_000_000, lazy: 0, reordered: false };
    assert!(late.try_push(operator(Verb::Undo, None)).unwrap_err().why.contains("window"));
    run.owner();
    run.push(operator(Verb::Undo, None));
    run.rollback();
    run.undo("a", UndoOutcome::Undone);
    assert_eq!(run.close(), RunState::RolledBack);
    assert!(run.try_push(operator(Verb::Undo, None)).is_err());
}

#[test]
fn a_killed_run_names_what_it_leaves() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.done("a");
    run.push(operator(Verb::Kill, None));
    assert_eq!(next(&run.state, Timestamp(run.now), &attempts(1)), [Command::Interrupt { step: 1 }]);
    assert_eq!(run.close(), RunState::Killed);
    assert_eq!(run.state.closed.as_ref().unwrap().residue[0].what, ResidueKind::NotUndone);
}

#[test]
fn what_was_open_in_an_adopted_backup_is_unclear_and_never_executed_again() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(Event::Owner(Owner { adopted: true, ..Owner::new(2, "p2", "b") }));
    let step = &run.state.steps[0];
    assert!(matches!(step.status, Status::Unclear(_)) && !step.targets_known, "{step:?}");
    assert!(matches!(run.next()[..], [Command::StartRollback(Cause::StepUnclear { .. })]), "{:?}", run.next());
}

#[test]
fn an_undo_that_was_open_in_an_adopted_backup_waits_for_an_operator() {
    let mut run = undoing_one();
    run.push(undo_intent("a", 1));
    run.push(Event::Owner(Owner { adopted: true, ..Owner::new(2, "p2", "b") }));
    assert_eq!(run.state.shown(), RunState::Stuck);
}

/// A run whose one step has succeeded and that is rolling back.
fn undoing_one() -> Run {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(result("a", 1, Outcome::Succeeded, true, None));
    run.push(operator(Verb::Cancel, None));
    let Some(Command::StartRollback(cause)) = run.next().pop() else { panic!("{:?}", run.next()) };
    run.push(Event::RollbackStarted(RollbackStarted { cause }));
    run
}

#[test]
fn a_target_that_was_lost_with_the_machine_makes_its_step_unclear_and_turns_the_run_back() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(result("a", 1, Outcome::Succeeded, true, None));
    let (target, touched) = run.state.steps[0].touched.iter().next().map(|(t, s)| (t.clone(), s.clone())).unwrap();
    let owner = |now: TargetState| {
        let lost = vec![LostTarget { step: name("a"), target: target.clone(), now }];
        Event::Owner(Owner { lost, ..Owner::new(2, "p2", "other boot") })
    };
    let as_left = touched.after.clone().unwrap();
    assert!(run.try_push(owner(as_left)).is_err(), "what is as it was left is not lost");
    run.push(owner(touched.before.clone()));
    assert!(matches!(run.state.steps[0].status, Status::Unclear(_)));
    // As before the step: nothing stands in the way of its undo.
    let state = &run.state;
    let as_left = |now: &TargetState| state.is_as_left(&state.steps[0], &target, now);
    assert!(as_left(&touched.before) && as_left(&touched.after.clone().unwrap()));
    assert!(!as_left(&TargetState::Link { to: "somebody's".into() }));
    assert!(state.is_restored(&state.steps[0], &target, &touched.before));
    assert!(matches!(run.next()[..], [Command::StartRollback(Cause::StepUnclear { .. })]), "{:?}", run.next());
    // A second step may have been due, and does not run.
    assert!(run.try_push(run.decision("b", Action::Allow)).is_ok());
}
