//! The core by hand, one rule at a time, and under a small simulator.

mod approval;
mod details;
mod forward;
mod shown;
mod simulator;
mod targets;
mod turning;
mod undo;

use std::collections::BTreeSet;

use super::event::*;
use super::*;
use crate::types::{
    Action, CapabilityId, Digest, Duration, Effect, EffectKind, EffectStatus, Failure, Grant, PayloadRef, Principal,
    Retry, Risk, RunId, Salt, StepName, Target, TargetState, Timestamp, code, sha256,
};

fn name(text: &str) -> StepName {
    StepName::parse(text).unwrap()
}

fn user(text: &str) -> Principal {
    Principal::parse(text).unwrap()
}

fn payload(text: &str) -> PayloadRef {
    PayloadRef::new(&Salt([0; 16]), text.as_bytes())
}

fn digest() -> Digest {
    sha256(b"component")
}

fn spec(step: &str, depends_on: &[&str]) -> StepSpec {
    StepSpec {
        name: name(step),
        capability: Some(CapabilityId::parse("test.write").unwrap()),
        component: Some(digest()),
        effect: EffectKind::Reversible,
        idempotent: true,
        risk: Risk::Medium,
        step_risk: None,
        agent: None,
        depends_on: depends_on.iter().map(|d| name(d)).collect(),
        retry: Retry { max_attempts: 3, ..Retry::default() },
        timeout: None,
        compensation: None,
    }
}

fn submitted(mode: Mode, steps: Vec<StepSpec>) -> Event {
    submitted_until(mode, steps, None)
}

fn submitted_until(mode: Mode, steps: Vec<StepSpec>, deadline: Option<Timestamp>) -> Event {
    Event::RunSubmitted(Box::new(RunSubmitted {
        run: RunId::parse("01920000-0000-7000-8000-000000000001").unwrap(),
        name: "test".into(),
        version: None,
        agent: None,
        principal: user("agent:a"),
        mode,
        steps,
        workflow: payload("w"),
        inputs: payload("i"),
        templates: None,
        engine: "0".into(),
        binary: None,
        max_parallel: 8,
        deadline,
        idle_timeout: Duration::from_secs(600),
        settle_timeout: Duration::from_secs(10),
        undo_window: Duration::from_secs(1_000),
        run_key: None,
    }))
}

fn attempts(step: StepIndex) -> InFlight {
    InFlight { attempts: BTreeSet::from([step]), undos: BTreeSet::new() }
}

/// A run that a test leads by hand.
struct Run {
    entries: Vec<Entry>,
    state: State,
    now: u64,
    /// How many of the last entries are not durable yet: a crash loses them, and others may append before them.
    lazy: usize,
    /// Whether the journal has another order than the owner's memory.
    reordered: bool,
}

impl Run {
    fn new(mode: Mode, steps: Vec<StepSpec>) -> Run {
        Run::begin(submitted(mode, steps))
    }

    fn begin(submitted: Event) -> Run {
        let first = Entry { seq: 1, at: Timestamp(1), event: submitted };
        let state = State::begin(&first).unwrap();
        let mut run = Run { entries: vec![first], state, now: 1, lazy: 0, reordered: false };
        run.owner();
        run
    }

    fn try_push(&mut self, event: Event) -> Result<(), Illegal> {
        let entry = Entry { seq: self.state.seq + 1, at: Timestamp(self.now), event };
        let before = self.state.clone();
        match self.state.apply(&entry) {
            Ok(()) => {
                self.lazy = if is_durable(&entry.event) { 0 } else { self.lazy + 1 };
                self.entries.push(entry);
                Ok(())
            }
            Err(error) => {
                assert_eq!(before.seq, self.state.seq);
                self.state = before;
                Err(error)
            }
        }
    }

    fn push(&mut self, event: Event) {
        self.try_push(event).unwrap();
    }

    fn owner(&mut self) {
        let epoch = self.state.epoch() + 1;
        self.push(Event::Owner(Owner::new(epoch, format!("p{epoch}"), "b")));
    }

    fn next(&self) -> Vec<Command> {
        next(&self.state, Timestamp(self.now), &InFlight::default())
    }

    fn decide(&mut self, step: &str, action: Action) {
        let decision = self.decision(step, action);
        self.push(decision);
    }

    fn decision(&self, step: &str, action: Action) -> Event {
        Event::Decision(Box::new(Decision {
            step: name(step),
            action,
            base: action,
            rule: None,
            risk: Risk::Medium,
            escalated: false,
            reason: None,
            policy: digest(),
            input: Some(payload(step)),
            grant: Grant::default(),
            approval: (action == Action::RequireApproval).then(|| ApprovalRequest {
                id: format!("{step}-{}", self.state.seq),
                approvers: vec!["user:*".into()],
                also: Vec::new(),
                quorum: 1,
                expires: Timestamp(self.now + 1_000),
            }),
            compensation: None,
            shadow: None,
        }))
    }

    fn vote(&mut self, step: &str, by: &str, approve: bool) -> Result<(), Illegal> {
        let index = self.state.index(step).unwrap();
        let request = self.state.step(index).unwrap().request().map_or(String::new(), |r| r.id.clone());
        self.try_push(Event::Vote(Vote { step: name(step), request, by: user(by), approve, reason: "r".into() }))
    }

    fn intent(&mut self, step: &str) {
        let attempt = self.step(step).attempts + 1;
        let event = intent(step, attempt);
        self.push(event);
    }

    fn step(&self, step: &str) -> &Step {
        self.state.step(self.state.index(step).unwrap()).unwrap()
    }

    fn result(&mut self, step: &str, outcome: Outcome, let_out: bool) {
        let attempt = self.step(step).open.as_ref().map_or(self.step(step).attempts + 1, |o| o.number);
        self.push(result(step, attempt, outcome, let_out, None));
    }

    /// A step that takes effect and succeeds.
    fn done(&mut self, step: &str) {
        self.decide(step, Action::Allow);
        self.intent(step);
        self.result(step, Outcome::Succeeded, true);
    }

    fn rollback(&mut self) {
        let command = self.next().into_iter().find_map(|c| match c {
            Command::StartRollback(cause) => Some(cause),
            _ => None,
        });
        self.push(Event::RollbackStarted(RollbackStarted { cause: command.expect("the run turns back") }));
    }

    fn undo(&mut self, step: &str, outcome: UndoOutcome) {
        let attempt = self.step(step).undo.attempts + 1;
        self.push(undo_intent(step, attempt));
        self.push(undo_result(step, attempt, outcome));
    }

    fn close(&mut self) -> RunState {
        match self.next().as_slice() {
            [Command::Close(closed)] => self.push(Event::RunClosed(closed.clone())),
            other => panic!("{other:?}"),
        }
        self.state.shown()
    }
}

/// Whether the owner waits for the commit of such an event before it goes on.
fn is_durable(event: &Event) -> bool {
    match event {
        Event::Result(e) => e.attempt == 0,
        Event::Decision(_) | Event::UndoResult(_) | Event::RollbackStarted(_) => false,
        _ => true,
    }
}

fn target(step: &str) -> Target {
    Target::File { host: format!("/h/{step}"), guest: format!("/g/{step}") }
}

fn intent(step: &str, attempt: u32) -> Event {
    Event::Intent(Box::new(Intent {
        step: name(step),
        attempt,
        key: "k".into(),
        component: digest(),
        undo: Some(payload(&format!("undo {attempt}"))),
        target: target(step),
        before: TargetState::Absent,
    }))
}

fn evidence(step: &str, let_out: bool) -> Evidence {
    let effect = Effect {
        kind: "fs.create".into(),
        target: target(step),
        to: None,
        status: EffectStatus::Done,
        bytes: 1,
        exchange: None,
    };
    let record = TargetRecord {
        target: target(step),
        before: TargetState::Absent,
        after: TargetState::File { len: 1, sha256: None, mtime_ns: None, inode: None },
    };
    match let_out {
        true => {
            Evidence { let_out, targets: vec![record], effects: vec![effect], effects_total: 1, ..Evidence::default() }
        }
        false => Evidence::default(),
    }
}

fn result(step: &str, attempt: u32, outcome: Outcome, let_out: bool, retry_at: Option<u64>) -> Event {
    let failure = Failure { retryable: true, ..Failure::new("unavailable", "not now") };
    Event::Result(Box::new(StepResult {
        step: name(step),
        attempt,
        outcome,
        output: (outcome == Outcome::Succeeded).then(|| payload("out")),
        error: (outcome != Outcome::Succeeded).then_some(failure),
        evidence: evidence(step, let_out),
        log: None,
        retry_at: retry_at.map(Timestamp),
        compensation: None,
    }))
}

fn undo_intent(step: &str, attempt: u32) -> Event {
    Event::UndoIntent(UndoIntent { step: name(step), attempt, key: "u".into(), component: digest() })
}

fn undo_result(step: &str, attempt: u32, outcome: UndoOutcome) -> Event {
    Event::UndoResult(Box::new(UndoResult {
        step: name(step),
        attempt,
        outcome,
        checked: outcome == UndoOutcome::Undone,
        error: (outcome != UndoOutcome::Undone).then(|| Failure::new("broken", "it broke")),
        evidence: Evidence::default(),
        log: None,
        retry_at: None,
    }))
}

fn operator(verb: Verb, step: Option<&str>) -> Event {
    Event::Operator(Operator { verb, by: user("user:op"), reason: "because".into(), step: step.map(name) })
}

#[test]
fn a_run_whose_steps_all_succeed_is_completed() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    assert_eq!(run.next(), [Command::Decide { step: 0 }]);
    run.done("a");
    assert_eq!(run.next(), [Command::Decide { step: 1 }]);
    run.done("b");
    assert_eq!(run.close(), RunState::Completed);
    assert!(run.next().is_empty());
}

#[test]
fn no_effect_without_an_intent_and_no_intent_without_permission() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    assert!(run.try_push(intent("a", 1)).unwrap_err().why.contains("not permitted"));
    run.decide("a", Action::RequireApproval);
    assert!(run.try_push(intent("a", 1)).is_err());
    run.vote("a", "user:b", true).unwrap();
    assert!(
        run.try_push(result("a", 1, Outcome::Succeeded, true, None)).unwrap_err().why.contains("without an INTENT")
    );
    assert!(run.try_push(intent("a", 2)).is_err());
    run.intent("a");
    assert!(run.try_push(intent("a", 2)).is_err());
}

#[test]
fn a_step_that_succeeded_is_never_executed_again() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.done("a");
    assert!(run.try_push(intent("a", 2)).is_err());
    assert!(run.try_push(result("a", 2, Outcome::Succeeded, false, None)).is_err());
    run.owner();
    assert!(run.try_push(intent("a", 2)).is_err());
    assert_eq!(run.next(), [Command::Decide { step: 1 }]);
}

#[test]
fn a_denial_fails_the_step_cleanly_and_turns_a_workflow_back() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &["a"])]);
    run.done("a");
    run.decide("b", Action::Deny);
    run.rollback();
    assert_eq!(run.next(), [Command::Undo { step: 0, attempt: 1 }]);
    run.undo("a", UndoOutcome::Undone);
    assert_eq!(run.close(), RunState::RolledBack);
    assert_eq!(run.state.shown_step(1).0, StepState::Failed);
}

#[test]
fn a_clean_failure_leaves_an_open_run_open() {
    let mut run = Run::new(Mode::Open, vec![]);
    let submit = |s: &str| {
        Event::StepSubmitted(Box::new(StepSubmitted { step: spec(s, &[]), inputs: payload("i"), compensation: None }))
    };
    run.push(submit("a"));
    run.decide("a", Action::Deny);
    run.push(submit("b"));
    run.done("b");
    assert_eq!(run.state.shown(), RunState::Running);
    assert_eq!(run.state.ancestors(1), BTreeSet::from([0]));
    run.push(Event::Sealed(Sealed {}));
    assert!(run.try_push(submit("c")).is_err());
    assert_eq!(run.close(), RunState::Completed);
}

#[test]
fn a_step_that_was_skipped_orders_nothing_before_those_that_come_later() {
    let mut run = Run::new(Mode::Open, vec![]);
    let submit = |s: &str, after: &[&str]| {
        Event::StepSubmitted(Box::new(StepSubmitted { step: spec(s, after), inputs: payload("i"), compensation: None }))
    };
    run.push(submit("runs", &[]));
    run.decide("runs", Action::Allow);
    run.intent("runs");
    run.push(submit("denied", &[]));
    run.decide("denied", Action::Deny);
    // It is final at once, and the first one that it depends on still runs.
    run.push(submit("skipped", &["runs", "denied"]));
    run.push(submit("skipped-too", &["skipped"]));
    run.push(submit("later", &[]));
    assert!(run.step("skipped").is_final() && run.step("skipped-too").is_final());
    assert_eq!(run.state.ancestors(4), BTreeSet::from([1]), "only the one that was denied had finished");
    assert!(!run.state.is_ancestor(0, 4));
}

#[test]
fn an_open_run_that_is_idle_for_too_long_rolls_back() {
    let mut run = Run::new(Mode::Open, vec![]);
    assert_eq!(run.next(), [Command::WaitUntil(Timestamp(600_001))]);
    run.now = 600_001;
    assert_eq!(run.next(), [Command::StartRollback(Cause::Idle)]);
}

#[test]
fn after_five_deaths_of_the_host_the_step_rolls_back() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    for death in 1..=5 {
        assert_eq!(run.next(), [Command::Execute { step: 0, attempt: death }]);
        run.intent("a");
        run.owner();
    }
    assert_eq!(run.step("a").counted, 0);
    run.rollback();
    assert_eq!(run.next(), [Command::Undo { step: 0, attempt: 1 }]);
}

#[test]
fn the_record_in_force_is_that_of_the_first_attempt_that_was_not_clean() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::Allow);
    run.intent("a");
    run.push(result("a", 1, Outcome::Clean, false, Some(5)));
    assert_eq!(run.step("a").record, None);
    run.intent("a");
    run.push(Event::UndoAppended(UndoAppended { step: name("a"), attempt: 2, undo: payload("id") }));
    run.push(result("a", 2, Outcome::Unclear, true, Some(5)));
    run.intent("a");
    run.result("a", Outcome::Succeeded, true);
    assert_eq!(run.step("a").record, Some(payload("undo 2")));
    assert_eq!(run.step("a").appended, [payload("id")]);
    assert_eq!(run.step("a").order, Some(2));
}

#[test]
fn only_failures_that_may_pass_are_tried_again() {
    let step = |idempotent| {
        let mut run = Run::new(Mode::Sealed, vec![StepSpec { idempotent, ..spec("a", &[]) }]);
        run.decide("a", Action::Allow);
        run
    };
    let retryable = |c: &str| Failure { retryable: true, ..Failure::new(c, "m") };
    let cases = [
        (false, Outcome::Clean, retryable("unavailable"), true),
        (false, Outcome::Clean, Failure::new("unavailable", "m"), false),
        (false, Outcome::Unclear, retryable("unavailable"), false),
        (true, Outcome::Unclear, retryable("unavailable"), true),
        (true, Outcome::Unclear, Failure::new("unavailable", "m"), false),
        (false, Outcome::Clean, Failure::new(code::TIMEOUT, "m"), false),
        (true, Outcome::Unclear, Failure::new(code::TRAP, "m"), true),
        (true, Outcome::Unclear, Failure::new(code::UNANSWERED, "m"), true),
        (false, Outcome::Unclear, Failure::new(code::UNANSWERED, "m"), false),
        (true, Outcome::Clean, retryable(code::INVALID_INPUT), false),
        (true, Outcome::Clean, retryable(code::NO_UNDO), false),
        (true, Outcome::Clean, Failure::new(code::OUT_OF_FUEL, "m"), false),
    ];
    for (idempotent, outcome, error, expected) in cases {
        let run = step(idempotent);
        let due = retry_at(&run.state, run.step("a"), outcome, &error, Timestamp(7), 0);
        assert_eq!(due.is_some(), expected, "{idempotent} {outcome:?} {error}");
    }
    let run = step(true);
    let asks = Failure { retry_after_ms: Some(90_000), ..retryable("rate-limited") };
    assert_eq!(retry_at(&run.state, run.step("a"), Outcome::Clean, &asks, Timestamp(0), 0), Some(Timestamp(30_000)));
}

#[test]
fn passing_the_deadline_rolls_back() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.state.submitted.deadline = Some(Timestamp(50));
    assert!(run.next().contains(&Command::WaitUntil(Timestamp(50))));
    run.now = 50;
    assert_eq!(run.next(), [Command::StartRollback(Cause::Deadline)]);
}

#[test]
fn a_paused_run_is_due_when_its_first_request_expires_or_its_deadline_passes_and_at_once_after_a_vote() {
    for (deadline, first) in [(None, 1_001), (Some(Timestamp(5_000)), 1_001), (Some(Timestamp(500)), 500)] {
        let mut run = Run::begin(submitted_until(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])], deadline));
        assert_eq!(due(&run.state), Some(Timestamp(0)));
        run.decide("a", Action::RequireApproval);
        run.now = 9;
        run.decide("b", Action::RequireApproval);
        assert_eq!((run.state.shown(), due(&run.state)), (RunState::Paused, Some(Timestamp(first))));
        run.vote("b", "user:b", true).unwrap();
        assert_eq!((run.state.shown(), due(&run.state)), (RunState::Running, Some(Timestamp(0))));
    }
}

#[test]
fn a_run_that_only_a_person_can_move_is_never_due() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.done("a");
    assert_eq!(run.close(), RunState::Completed);
    assert_eq!(due(&run.state), None);
    run.push(operator(Verb::Undo, None));
    assert_eq!(due(&run.state), Some(Timestamp(0)));
    run.rollback();
    run.push(undo_result("a", 0, UndoOutcome::ChangedSince));
    assert_eq!((run.state.shown(), due(&run.state)), (RunState::Stuck, None));
    run.push(operator(Verb::RepairRetry { component: None }, Some("a")));
    assert_eq!(due(&run.state), Some(Timestamp(0)));
}

#[test]
fn steps_in_a_circle_and_names_that_stand_twice_are_refused() {
    for steps in [
        vec![spec("a", &["b"]), spec("b", &["a"])],
        vec![spec("a", &["a"])],
        vec![spec("a", &[]), spec("a", &[])],
        vec![spec("a", &["x"])],
    ] {
        assert!(State::begin(&Entry { seq: 1, at: Timestamp(1), event: submitted(Mode::Sealed, steps) }).is_err());
    }
}

#[test]
fn keys_are_short_and_differ_by_step_and_use() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[]), spec("b", &[])]);
    run.decide("a", Action::Allow);
    run.decide("b", Action::Allow);
    let keys: BTreeSet<String> = ["a", "b"]
        .iter()
        .flat_map(|s| [KeyUse::Execute, KeyUse::Undo].map(|u| key(&run.state, run.step(s), u)))
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(
        keys.iter()
            .all(|k| k.len() <= 64 && k.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
    );
}

#[test]
fn an_idempotency_key_never_reaches_two_different_inputs() {
    let mut run = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    run.decide("a", Action::RequireApproval);
    let first = key(&run.state, run.step("a"), KeyUse::Execute);
    let Event::Decision(mut other) = run.decision("a", Action::RequireApproval) else { unreachable!() };
    other.input = Some(payload("another input"));
    assert!(run.try_push(Event::Decision(other.clone())).unwrap_err().why.contains("must stay the same"));
    run.decide("a", Action::RequireApproval);
    assert_eq!(key(&run.state, run.step("a"), KeyUse::Execute), first);
    let mut apart = Run::new(Mode::Sealed, vec![spec("a", &[])]);
    apart.push(Event::Decision(other));
    assert_ne!(key(&apart.state, apart.step("a"), KeyUse::Execute), first);
}
