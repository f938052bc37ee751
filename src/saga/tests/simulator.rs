//! Random runs, outcomes, crashes, votes and operators, driven only by what `next` says.

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
    let specs = (0..count)
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
    let mut run = Run::new(Mode::Sealed, specs);
    let mut running: BTreeSet<StepIndex> = BTreeSet::new();
    for _ in 0..2_000 {
        if run.state.phase == Phase::Closed {
            break;
        }
        run.now += dice.roll(40);
        match dice.roll(60) {
            0 => {
                running.clear();
                run.owner();
            }
            1 => drop(run.try_push(operator(Verb::Cancel, None))),
            2 if dice.roll(4) == 0 => drop(run.try_push(operator(Verb::Kill, None))),
            _ => {}
        }
        let waiting: Vec<String> = run.state.awaiting_approval().map(|(_, s)| s.spec.name.to_string()).collect();
        for step in waiting {
            if dice.roll(3) == 0 {
                drop(run.vote(&step, "user:v", dice.roll(5) > 0));
            }
        }
        let commands = next(&run.state, Timestamp(run.now), &running);
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
        prop_assert_eq!(&fold(&run.entries).unwrap(), &run.state);
        if shown == RunState::RolledBack {
            prop_assert_eq!(run.state.steps_to_undo().count(), 0);
        }
        let mut allowed = BTreeSet::new();
        let mut open_undo: Option<StepName> = None;
        let mut undone = BTreeSet::new();
        for entry in &run.entries {
            match &entry.event {
                Event::Decision(e) if e.action != Action::Deny => drop(allowed.insert(e.step.clone())),
                Event::Intent(e) => prop_assert!(allowed.contains(&e.step)),
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
    fn an_event_is_read_back_as_it_was_written(seed in any::<u64>()) {
        for entry in &simulate(seed).entries {
            let text = serde_json::to_string(entry).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Entry>(&text).unwrap(), entry);
        }
    }

    #[test]
    fn a_run_with_events_removed_or_swapped_is_never_accepted_as_it_stands(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut entries = simulate(seed).entries;
        entries.remove(at.index(entries.len().max(2) - 1));
        prop_assert!(fold(&entries).is_err());
    }
}
