//! What people see of a run and its steps on the way, and when a run is idle, paused, stuck or at its end.

use super::*;

/// A run of which one step waits for a person and another is due or has been done.
fn asking(first: &str) -> Run {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.decide("b", Action::RequireApproval);
    match first {
        "done" => run.done("a"),
        "denied" => run.decide("a", Action::Deny),
        "running" => {
            run.decide("a", Action::Allow);
            run.intent("a");
        }
        _ => {}
    }
    run
}

#[test]
fn a_run_is_paused_only_while_nothing_but_an_approval_can_move_it() {
    let after = |verb: Verb| {
        let mut run = asking("done");
        run.push(operator(verb, None));
        run
    };
    for (run, expected) in [
        (asking("done"), RunState::Paused),
        (asking("due"), RunState::Running),
        (asking("running"), RunState::Running),
        (asking("denied"), RunState::Running),
        (after(Verb::Cancel), RunState::Running),
        (after(Verb::Kill), RunState::Running),
    ] {
        assert_eq!(run.state.shown(), expected, "{:?}", run.entries.last());
    }
}

#[test]
fn a_completed_run_is_shown_as_rolling_back_from_the_word_of_the_operator_on() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.done("a");
    assert_eq!(run.close(), RunState::Completed);
    run.push(operator(Verb::Undo, None));
    assert_eq!(run.state.shown(), RunState::RollingBack);
}

#[test]
fn only_a_failed_undo_makes_a_run_stuck() {
    let send = StepSpec { effect: EffectKind::Irreversible, ..spec("send", &[]) };
    let mut run = Run::new(Mode::Sealed, vec![send, spec("b", &[])]);
    run.done("send");
    run.decide("b", Action::Deny);
    run.rollback();
    assert_eq!(run.state.shown(), RunState::RollingBack, "what cannot be undone is residue");
    assert_eq!(run.close(), RunState::RolledBackWithResidue);
}

#[test]
fn a_step_that_waits_is_shown_by_what_became_of_its_run() {
    let shown = |run: &Run| {
        let (state, error) = run.state.shown_step(1);
        (state, error.map(|error| (error.code, error.message)))
    };
    let cancelled = |message: &str| Some((code::CANCELLED.to_owned(), message.to_owned()));
    let mut run = asking("done");
    assert_eq!(shown(&run), (StepState::Waiting, None));
    run.push(operator(Verb::Cancel, None));
    assert_eq!(shown(&run), (StepState::Waiting, None));
    run.rollback();
    let why = cancelled("the run turned back before the step had finished");
    assert_eq!(shown(&run), (StepState::Failed, why));
    let mut run = asking("done");
    run.push(operator(Verb::Kill, None));
    run.close();
    let why = cancelled("the run was killed before the step had finished");
    assert_eq!(shown(&run), (StepState::Failed, why));
}

#[test]
fn a_step_is_shown_as_undoing_while_its_undo_runs() {
    let mut run = asking("done");
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    assert_eq!(run.state.shown_step(0).0, StepState::Succeeded);
    run.push(undo_intent("a", 1));
    assert_eq!(run.state.shown_step(0).0, StepState::Undoing);
    run.push(undo_result("a", 1, UndoOutcome::Undone));
    assert_eq!(run.state.shown_step(0).0, StepState::Undone);
}

#[test]
fn a_run_ends_once_and_not_while_an_attempt_runs() {
    let mut run = asking("running");
    run.push(operator(Verb::Kill, None));
    assert_eq!(run.state.end(), None, "the attempt has to be joined first");
    run.result("a", Outcome::Succeeded, true);
    assert_eq!(run.close(), RunState::Killed);
    assert_eq!(run.state.end(), None, "it has ended");
    let closed = run.state.closed.clone().unwrap();
    assert!(run.try_push(Event::RunClosed(closed)).is_err());
}

#[test]
fn an_open_run_is_idle_only_while_none_of_its_steps_can_move() {
    let mut run = Run::new(Mode::Open, Vec::new());
    assert!(run.state.is_idle());
    let inputs = payload("in");
    run.push(Event::StepSubmitted(Box::new(StepSubmitted { step: spec("a", &[]), inputs, compensation: None })));
    run.decide("a", Action::RequireApproval);
    assert!(!run.state.is_idle(), "to wait for a person is not to be idle");
    run.vote("a", "user:b", true).unwrap();
    run.intent("a");
    assert!(!run.state.is_idle());
    run.result("a", Outcome::Succeeded, true);
    assert!(run.state.is_idle());
    run.push(Event::Sealed(Sealed {}));
    assert!(!run.state.is_idle());
}

#[test]
fn exactly_the_steps_of_a_run_going_forward_that_lack_votes_wait_for_them() {
    let waiting = |run: &Run| run.state.awaiting_approval().map(|(index, _)| index).collect::<Vec<_>>();
    let mut run = asking("due");
    assert_eq!(waiting(&run), [1]);
    run.decide("a", Action::RequireApproval);
    assert_eq!(waiting(&run), [0, 1]);
    run.vote("b", "user:b", true).unwrap();
    assert_eq!(waiting(&run), [0]);
    run.push(operator(Verb::Cancel, None));
    run.rollback();
    assert!(waiting(&run).is_empty());
}
