//! Why a run turns back, in events and in words.

use super::*;

fn turned(cause: Cause) -> Event {
    Event::RollbackStarted(RollbackStarted { cause })
}

fn broken() -> Failure {
    Failure::new("broken", "it broke")
}

#[test]
fn a_run_turns_back_only_for_a_cause_that_is_given() {
    let undo = || Cause::Undo { by: user("user:op"), reason: "r".into() };
    let step_failed = |step: &str| Cause::StepFailed { step: name(step), error: broken() };
    let mut completed = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    completed.done("a");
    assert!(completed.try_push(turned(undo())).is_err(), "it still goes forward");
    completed.close();
    assert!(completed.try_push(turned(undo())).is_err(), "nobody asked");
    completed.push(operator(Verb::Undo, None));
    completed.push(turned(undo()));

    let mut open = Run::new(Mode::Open, Vec::new());
    let inputs = payload("in");
    open.push(Event::StepSubmitted(Box::new(StepSubmitted { step: spec("a", &[]), inputs, compensation: None })));
    open.decide("a", Action::Deny);
    assert!(open.try_push(turned(step_failed("a"))).is_err(), "a denial leaves an open run open");

    let mut sealed = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    sealed.done("a");
    assert!(sealed.try_push(turned(step_failed("a"))).is_err());
    sealed.decide("b", Action::Deny);
    assert!(sealed.try_push(turned(step_failed("a"))).is_err(), "another step failed");
    sealed.push(turned(step_failed("b")));
}

#[test]
fn a_cause_says_who_and_why() {
    let (by, reason) = (user("user:op"), "wrong file".to_owned());
    for (cause, said) in [
        (Cause::StepFailed { step: name("a"), error: broken() }, broken().to_string()),
        (Cause::StepUnclear { step: name("a"), error: broken() }, broken().to_string()),
        (Cause::Cancelled { by: by.clone(), reason: reason.clone() }, "user:op cancelled it: wrong file".into()),
        (Cause::Deadline, "its deadline passed".into()),
        (Cause::Idle, "its client was idle for too long".into()),
        (Cause::Client { reason: reason.clone() }, "its client rolled it back: wrong file".into()),
        (Cause::Undo { by, reason }, "user:op undid it: wrong file".into()),
    ] {
        assert_eq!(cause.to_string(), said);
    }
}

#[test]
fn evidence_names_the_requests_that_were_no_effects_only_if_there_were_any() {
    for (egress_total, written) in [(0, None), (3, Some(3))] {
        let evidence = Evidence { egress_total, ..Evidence::default() };
        let json = serde_json::to_value(&evidence).unwrap();
        assert_eq!(json.get("egress_total").and_then(serde_json::Value::as_u64), written);
        assert_eq!(serde_json::from_value::<Evidence>(json).unwrap(), evidence);
    }
}
