//! Random runs, open and sealed, with and without a deadline; random outcomes, crashes, votes, operators and clients; driven
//! only by what `next` says.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Draws what happens next.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Drives a random run to rest with whatever can happen on the way; returns it with the order in which effects took place.
fn simulate(seed: u64) -> Run {
    let mut dice = Dice(seed | 1);
    let count = 1 + dice.roll(7) as usize;
    let names: Vec<String> = (0..count).map(|i| format!("s{i}")).collect();
    let specs: VecDeque<StepSpec> = (0..count)
        .map(|i| {
            let parents: Vec<&str> = (0..i).filter(|_| dice.roll(3) == 0).map(|p| names[p].as_str()).collect();
            let mut step = spec(&names[i], &parents);
            step.idempotent = dice.roll(3) > 0;
            if dice.roll(8) == 0 {
                step.effect = EffectKind::Irreversible;
            }
            step
        })
        .collect();
    let deadline = (dice.roll(4) == 0).then(|| Timestamp(dice.roll(4_000)));
    let (mode, begun, mut coming) = match dice.roll(3) {
        0 => (Mode::Open, VecDeque::new(), specs),
        _ => (Mode::Sealed, specs, VecDeque::new()),
    };
    let mut run = Run::begin(submitted_until(mode, begun.into(), deadline));
    let mut running: BTreeSet<StepIndex> = BTreeSet::new();
    for _ in 0..2_000 {
        if run.state.phase == Phase::Closed && run.state.turn_back.is_none() {
            if run.state.shown() != RunState::Completed || dice.roll(3) > 0 {
                break;
            }
            run.foreign(operator(Verb::Undo, None), 0);
        }
        run.now += dice.roll(40);
        run.paused_alike();
        match dice.roll(60) {
            0 => {
                running.clear();
                run.crash();
            }
            1 => run.foreign(operator(Verb::Cancel, None), dice.roll(4)),
            2 if dice.roll(4) == 0 => run.foreign(operator(Verb::Kill, None), dice.roll(4)),
            _ => {}
        }
        if mode == Mode::Open && dice.roll(5) == 0 {
            ask_as_client(&mut run, &mut dice, &mut coming);
        }
        let failed = |step: &&Arc<Step>| matches!(step.status, Status::UndoFailed(_));
        let stuck = run.state.steps.iter().find(failed).map(|step| step.spec.name.to_string());
        if let Some(step) = stuck.filter(|_| dice.roll(5) == 0) {
            let verb = match dice.roll(5) {
                0 => Verb::ResolveLeft,
                1 => Verb::ResolveUndone,
                2 => Verb::RepairRetry { component: Some(digest()) },
                _ => Verb::RepairRetry { component: None },
            };
            run.foreign(operator(verb, Some(&step)), dice.roll(4));
        }
        let asked = |s: &Arc<Step>| s.request().map(|request| (s.spec.name.to_string(), request.id.clone()));
        let requests: Vec<(String, String)> = run.state.steps.iter().filter_map(asked).collect();
        for (step, request) in requests {
            if dice.roll(6) == 0 {
                let approve = dice.roll(5) > 0;
                let vote = Vote { step: name(&step), request, by: user("user:v"), approve, reason: "r".into() };
                run.foreign(Event::Vote(vote), dice.roll(4));
            }
        }
        let undoing = |step: &&StepIndex| run.state.step(**step).unwrap().undo.open.is_some();
        let undos: BTreeSet<StepIndex> = running.iter().filter(undoing).copied().collect();
        let in_flight = InFlight { attempts: running.difference(&undos).copied().collect(), undos };
        let commands = next(&run.state, Timestamp(run.now), &in_flight);
        // Something that runs gets on by itself, at its own pace.
        if let Some(step) = running.iter().copied().nth(dice.roll(8) as usize) {
            advance(&mut run, &mut dice, step, &mut running);
            continue;
        }
        for command in commands.into_iter().take(1 + dice.roll(3) as usize) {
            obey(&mut run, &mut dice, command, &mut running);
        }
    }
    run
}

impl Run {
    /// The process dies, and another one takes the run over.
    fn crash(&mut self) {
        self.entries.truncate(self.entries.len() - self.lazy);
        self.lazy = 0;
        self.state = fold(&self.entries).unwrap();
        self.reordered = false;
        self.owner();
    }

    /// Whoever reads the journal learns the same of a pause as its owner knows, in whatever order the events stand there.
    fn paused_alike(&self) {
        if self.state.shown() == RunState::Paused {
            let read = fold(&self.entries).unwrap();
            assert_eq!((read.shown(), due(&read)), (RunState::Paused, due(&self.state)));
            assert!(due(&read).is_some());
        }
    }

    /// Another process appends, and the owner learns of it when up to `back` of its own events are on their way already:
    /// the journal has them after it.
    fn foreign(&mut self, event: Event, back: u64) {
        let back = self.lazy.min(back as usize);
        let place = self.entries.len() - back;
        let mut seen = fold(&self.entries[..place]).unwrap();
        let entry = Entry { seq: seen.seq + 1, at: seen.at.max(Timestamp(self.now)), event };
        if seen.apply(&entry).is_err() {
            return;
        }
        self.reordered |= back > 0;
        self.entries.insert(place, entry.clone());
        let mut before = Timestamp(0);
        for (place, entry) in self.entries.iter_mut().enumerate() {
            entry.seq = place as u64 + 1;
            entry.at = entry.at.max(before);
            before = entry.at;
        }
        self.lazy = back;
        self.state.absorb_late(&entry);
    }
}

/// The client of an open run submits a step, commits, or rolls back. What comes too late is refused.
fn ask_as_client(run: &mut Run, dice: &mut Dice, coming: &mut VecDeque<StepSpec>) {
    let roll = dice.roll(20);
    if roll == 0 {
        return run.foreign(operator(Verb::Rollback, None), dice.roll(4));
    }
    match (roll, coming.pop_front()) {
        (_, Some(step)) => {
            let inputs = payload("inputs");
            let submitted = StepSubmitted { step: step.clone(), inputs, compensation: None };
            match run.try_push(Event::StepSubmitted(Box::new(submitted))) {
                Ok(()) => {}
                Err(refused) => {
                    assert!(!run.state.is_open(), "{refused}");
                    // The turn back can be lost with its process, and the run takes steps again.
                    coming.push_front(step);
                }
            }
        }
        (1..8, None) => drop(run.try_push(Event::Sealed(Sealed {}))),
        (_, None) => {}
    }
}

fn obey(run: &mut Run, dice: &mut Dice, command: Command, running: &mut BTreeSet<StepIndex>) {
    let label = |run: &Run, step: StepIndex| run.state.step(step).unwrap().spec.name.to_string();
    match command {
        Command::Decide { step } => {
            let step = label(run, step);
            let action = match dice.roll(20) {
                0 => Action::Deny,
                1..=4 => Action::RequireApproval,
                _ => Action::Allow,
            };
            run.decide(&step, action);
        }
        Command::Execute { step, .. } | Command::Interrupt { step } => {
            if !running.insert(step) {
                advance(run, dice, step, running);
            }
        }
        Command::Settle { .. } => unreachable!("no step only waits"),
        Command::Expire { step } => {
            let step = label(run, step);
            let failure = Failure::new(code::EXPIRED, "nobody answered");
            let Event::Result(mut expired) = result(&step, 0, Outcome::Clean, false, None) else { unreachable!() };
            expired.error = Some(failure);
            run.push(Event::Result(expired));
        }
        Command::StartRollback(cause) => run.push(Event::RollbackStarted(RollbackStarted { cause })),
        Command::Undo { step, attempt } => {
            let step = label(run, step);
            match dice.roll(12) {
                0 if attempt == 1 => run.push(undo_result(&step, 0, UndoOutcome::ChangedSince)),
                _ => {
                    run.push(undo_intent(&step, attempt));
                    running.insert(run.state.index(&step).unwrap());
                }
            }
        }
        Command::Close(closed) => run.push(Event::RunClosed(closed)),
        Command::WaitUntil(moment) => run.now = run.now.max(moment.0),
    }
}

/// Lets what is in flight for a step come one event further.
fn advance(run: &mut Run, dice: &mut Dice, index: StepIndex, running: &mut BTreeSet<StepIndex>) {
    let step = run.state.step(index).unwrap().clone();
    let label = step.spec.name.to_string();
    if let Some(attempt) = step.undo.open {
        let outcome = match dice.roll(10) {
            0 => UndoOutcome::NotRestored,
            1..=3 => UndoOutcome::Failed,
            _ => UndoOutcome::Undone,
        };
        let Event::UndoResult(mut undone) = undo_result(&label, attempt, outcome) else { unreachable!() };
        if outcome == UndoOutcome::Failed {
            let error = undone.error.as_ref().unwrap();
            undone.retry_at = undo_retry_at(&step, error, Timestamp(run.now), dice.0);
        }
        run.push(Event::UndoResult(undone));
        running.remove(&index);
        return;
    }
    if step.open.is_none() && dice.roll(3) > 0 {
        run.intent(&label);
        return;
    }
    let attempt = step.open.as_ref().map_or(step.attempts + 1, |o| o.number);
    let let_out = step.open.is_some() && dice.roll(5) > 0;
    let outcome = match (dice.roll(4), let_out) {
        (0, true) => Outcome::Unclear,
        (0, false) => Outcome::Clean,
        _ => Outcome::Succeeded,
    };
    let Event::Result(mut ended) = result(&label, attempt, outcome, let_out, None) else { unreachable!() };
    if let Some(error) = &ended.error {
        ended.retry_at = retry_at(&run.state, &step, outcome, error, Timestamp(run.now), dice.0);
    }
    run.push(Event::Result(ended));
    running.remove(&index);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_comes_to_rest_and_its_events_say_how(seed in any::<u64>()) {
        let run = simulate(seed);
        let shown = run.state.shown();
        prop_assert!(shown.is_rest(), "seed {seed} ended {shown:?}");
        let read = fold(&run.entries).unwrap();
        prop_assert_eq!(read.shown(), shown);
        if !run.reordered {
            prop_assert_eq!(&read, &run.state);
        }
        if let Some(Cause::Deadline) = &run.state.cause {
            let turned = run.entries.iter().find(|entry| matches!(entry.event, Event::RollbackStarted(_)));
            prop_assert!(turned.map(|entry| entry.at) >= run.state.submitted.deadline);
        }
        if run.state.submitted.mode == Mode::Sealed {
            let by_client = matches!(run.state.cause, Some(Cause::Idle | Cause::Client { .. }));
            prop_assert!(!by_client);
        }
        let by_hand = |entry: &Entry| match &entry.event {
            Event::Operator(operator) => matches!(operator.verb, Verb::ResolveUndone | Verb::ResolveLeft),
            _ => false,
        };
        if run.entries.iter().any(by_hand) {
            prop_assert!(matches!(shown, RunState::Stuck | RunState::RolledBackWithResidue | RunState::Killed));
        }
        if shown == RunState::RolledBack {
            prop_assert_eq!(run.state.steps_to_undo().count(), 0);
        }
        let mut allowed = BTreeSet::new();
        let mut open_undo: Option<StepName> = None;
        let (mut undone, mut succeeded) = (BTreeSet::new(), BTreeSet::new());
        for entry in &run.entries {
            match &entry.event {
                Event::Decision(e) if e.action != Action::Deny => drop(allowed.insert(e.step.clone())),
                Event::Intent(e) => {
                    prop_assert!(allowed.contains(&e.step));
                    prop_assert!(!succeeded.contains(&e.step), "a step that succeeded ran again");
                }
                Event::Result(e) if e.outcome == Outcome::Succeeded => drop(succeeded.insert(e.step.clone())),
                Event::UndoIntent(e) => {
                    prop_assert!(open_undo.is_none());
                    prop_assert!(!undone.contains(&e.step), "an undo ran again after its result");
                    open_undo = Some(e.step.clone());
                }
                Event::UndoResult(e) => {
                    open_undo = None;
                    if e.outcome == UndoOutcome::Undone {
                        undone.insert(e.step.clone());
                    }
                }
                Event::Owner(_) => open_undo = None,
                _ => {}
            }
        }
    }

    #[test]
    fn a_run_is_due_exactly_when_there_is_something_to_do(seed in any::<u64>(), sampled in any::<[u16; 8]>()) {
        let entries = simulate(seed).entries;
        for len in 1..=entries.len() {
            let state = fold(&entries[..len]).unwrap();
            let due = due(&state);
            let near = due.map_or(vec![], |due| vec![due.0.saturating_sub(1), due.0, due.0 + 1]);
            let far = [0, state.at.0, u64::from(u32::MAX)];
            for now in near.into_iter().chain(far).chain(sampled.map(u64::from)) {
                let commands = next(&state, Timestamp(now), &InFlight::default());
                let acts = commands.iter().any(|command| !matches!(command, Command::WaitUntil(_)));
                prop_assert_eq!(acts, due.is_some_and(|due| due.0 <= now), "{:?} at {}: {:?}", due, now, commands);
            }
        }
    }

    #[test]
    fn an_event_is_read_back_as_it_was_written(seed in any::<u64>()) {
        for entry in &simulate(seed).entries {
            let text = serde_json::to_string(entry).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Entry>(&text).unwrap(), entry);
        }
    }

    #[test]
    fn a_gap_in_the_events_is_never_accepted(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut entries = simulate(seed).entries;
        entries.remove(at.index(entries.len().max(2) - 1));
        prop_assert!(fold(&entries).is_err());
    }
}

#[test]
fn the_simulator_meets_whatever_can_end_a_run() {
    let mut seen = BTreeSet::new();
    for seed in 0..2_000_u64 {
        let run = simulate(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let open = run.state.submitted.mode == Mode::Open;
        seen.insert(format!("{} {}", if open { "open" } else { "sealed" }, run.state.shown()));
        seen.extend(run.state.cause.as_ref().map(|cause| match cause {
            Cause::StepFailed { .. } => "failed".to_owned(),
            Cause::StepUnclear { .. } => "unclear".to_owned(),
            Cause::Cancelled { .. } => "cancelled".to_owned(),
            Cause::Deadline => "deadline".to_owned(),
            Cause::Idle => "idle".to_owned(),
            Cause::Client { .. } => "client".to_owned(),
            Cause::Undo { .. } => "undo".to_owned(),
        }));
        let verbs = run.entries.iter().filter_map(|entry| match &entry.event {
            Event::Operator(operator) => Some(&operator.verb),
            _ => None,
        });
        seen.extend(verbs.map(|verb| match verb {
            Verb::RepairRetry { .. } => "retry".to_owned(),
            Verb::ResolveLeft | Verb::ResolveUndone => "resolve".to_owned(),
            _ => "verb".to_owned(),
        }));
    }
    let ends = ["COMPLETED", "ROLLED_BACK", "ROLLED_BACK_WITH_RESIDUE", "KILLED"];
    let ends = ["open", "sealed"].iter().flat_map(|mode| ends.iter().map(move |end| format!("{mode} {end}")));
    let causes = ["failed", "unclear", "cancelled", "deadline", "idle", "client", "undo", "retry", "resolve"];
    for expected in ends.chain(causes.map(str::to_owned)) {
        assert!(seen.contains(&expected), "no run met `{expected}`: {seen:?}");
    }
}
