//! The invariants, from the durable events and the ledger alone.

use std::collections::{BTreeMap, BTreeSet};

use redress::policy;
use redress::saga::event::{Decision, Entry, Event, Outcome, UndoOutcome, Verb};
use redress::saga::{RunState, State, Status, Step};
use redress::types::{Action, EffectKind, StepName, Timestamp, code};
use serde_json::json;

use crate::process::{Moved, Scene};
use crate::world::{By, FILES};

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Moved {
    if holds { Ok(()) } else { Err(what()) }
}

/// What the events say of one attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Clean,
    NotClean,
    /// It runs, as far as the events tell.
    Open,
}

/// How the attempt whose INTENT stands at `place` ended.
fn fate(entries: &[Entry], place: usize, step: &StepName, attempt: u32) -> Fate {
    for entry in &entries[place + 1..] {
        match &entry.event {
            Event::Result(result) if result.step == *step && result.attempt == attempt => {
                let clean = result.outcome == Outcome::Clean || !result.evidence.let_out;
                return if clean { Fate::Clean } else { Fate::NotClean };
            }
            // The process died after the INTENT: nobody knows.
            Event::Owner(_) => return Fate::NotClean,
            _ => {}
        }
    }
    Fate::Open
}

/// I9: a `compensate` is given the record of the first INTENT that was not clean, then all that was appended in attempts that
/// were not clean, in order.
pub fn right_records(scene: &Scene, step: &StepName, given: &[Vec<u8>]) -> Moved {
    let entries = &scene.journal.durable;
    let mut expected = Vec::new();
    let mut unclean = BTreeSet::new();
    for (place, entry) in entries.iter().enumerate() {
        match &entry.event {
            Event::Intent(intent)
                if intent.step == *step && fate(entries, place, step, intent.attempt) == Fate::NotClean =>
            {
                if unclean.is_empty() {
                    expected.extend(intent.undo.map(|undo| scene.journal.payload(&undo)));
                }
                unclean.insert(intent.attempt);
            }
            Event::UndoAppended(appended) if appended.step == *step && unclean.contains(&appended.attempt) => {
                expected.push(scene.journal.payload(&appended.undo));
            }
            _ => {}
        }
    }
    let text =
        |records: &[Vec<u8>]| records.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect::<Vec<_>>();
    ensure(expected == given, || format!("I9: `{step}` is undone from {:?}, not {:?}", text(given), text(&expected)))
}

/// Everything that must hold of a run that is at rest.
pub fn at_rest(scene: &Scene, state: &State) -> Moved {
    let entries = &scene.journal.durable;
    permitted(scene, entries)?;
    no_effect_without_intent(scene, entries)?;
    undone_in_reverse(entries, state)?;
    decided_again(scene, entries, state)?;
    world_is_right(scene, state, entries)
}

/// I2: every INTENT stands on an ALLOW, or on enough valid votes for the request of the decision in force.
fn permitted(scene: &Scene, entries: &[Entry]) -> Moved {
    let requester = "agent:a";
    let mut decisions: BTreeMap<&StepName, &Decision> = BTreeMap::new();
    let mut votes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Decision(decision) => drop(decisions.insert(&decision.step, decision)),
            Event::Vote(vote) if vote.approve => {
                let request = decisions.get(&vote.step).and_then(|decision| decision.approval.as_ref());
                let valid = request.is_some_and(|request| {
                    request.id == vote.request && entry.at < request.expires && vote.by.as_str() != requester
                });
                ensure(valid, || format!("I2: a vote on `{}` stands that cannot count", vote.step))?;
                votes.entry(&vote.request).or_default().insert(vote.by.as_str());
            }
            Event::Intent(intent) => {
                let decision =
                    decisions.get(&intent.step).ok_or_else(|| format!("I2: `{}` was not decided", intent.step))?;
                let enough = match (decision.action, &decision.approval) {
                    (Action::Allow, _) => true,
                    (Action::RequireApproval, Some(request)) => {
                        votes.get(request.id.as_str()).map_or(0, BTreeSet::len) >= request.quorum as usize
                    }
                    _ => false,
                };
                ensure(enough, || format!("I2: `{}` ran without permission", intent.step))?;
            }
            _ => {}
        }
    }
    // I11: what ran was given the input that was decided; I8: one key, one input.
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for change in &scene.world.ledger {
        if let By::Execute { step, key, input, .. } = &change.by {
            ensure(*input == format!("{{\"step\":{step}}}"), || format!("I11: step {step} was given {input}"))?;
            let known = *keys.entry(key).or_insert(input);
            ensure(known == input, || format!("I8: the key {key} reached two inputs"))?;
        }
    }
    Ok(())
}

/// I1: no effect without a durable INTENT before it; I7: none after a durable success; no undo without UNDO_INTENT, and none
/// after its durable result.
fn no_effect_without_intent(scene: &Scene, entries: &[Entry]) -> Moved {
    for change in &scene.world.ledger {
        let before = &entries[..change.durable];
        match &change.by {
            By::Execute { step, attempt, .. } => {
                let name = format!("s{step}");
                let intended = before.iter().any(|entry| {
                    matches!(&entry.event, Event::Intent(i) if i.step.as_str() == name && i.attempt == *attempt)
                });
                ensure(intended, || {
                    format!("I1: attempt {attempt} of {name} changed file {} without INTENT", change.file)
                })?;
                let done = before.iter().any(|entry| {
                    matches!(&entry.event, Event::Result(r) if r.step.as_str() == name && r.outcome == Outcome::Succeeded)
                });
                ensure(!done, || format!("I7: {name} was executed again after it had succeeded"))?;
                let undone =
                    before.iter().any(|entry| matches!(&entry.event, Event::UndoIntent(u) if u.step.as_str() == name));
                ensure(!undone, || format!("W5: {name} went on after its UNDO_INTENT"))?;
            }
            By::Undo { step, attempt } => {
                let name = format!("s{step}");
                let begun = before.iter().any(|entry| {
                    matches!(&entry.event, Event::UndoIntent(u) if u.step.as_str() == name && u.attempt == *attempt)
                });
                ensure(begun, || format!("W4: {name} was undone without UNDO_INTENT"))?;
                let over = before.iter().any(|entry| {
                    matches!(&entry.event, Event::UndoResult(u) if u.step.as_str() == name && u.outcome == UndoOutcome::Undone)
                });
                ensure(!over, || format!("I5: the undo of {name} went on after its UNDO_RESULT"))?;
            }
            By::Stranger => {}
        }
    }
    Ok(())
}

/// I5: undos run in reverse order of the first INTENTs that were not clean, one at a time, while nothing else runs.
fn undone_in_reverse(entries: &[Entry], state: &State) -> Moved {
    let mut order: BTreeMap<&StepName, usize> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Event::Intent(intent) = &entry.event
            && fate(entries, place, &intent.step, intent.attempt) == Fate::NotClean
        {
            order.entry(&intent.step).or_insert(place);
        }
    }
    let mut settled: BTreeSet<&StepName> = BTreeSet::new();
    let mut failed: BTreeSet<&StepName> = BTreeSet::new();
    let mut running: Option<&StepName> = None;
    // Attempts to undo that count: five of them that failed, or died with the host, fail the undo for good.
    let mut counted: BTreeMap<&StepName, u32> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        match &entry.event {
            Event::UndoIntent(undo) => {
                ensure(running.is_none(), || format!("I5: two undos at once at event {}", entry.seq))?;
                ensure(!settled.contains(&undo.step), || format!("I5: `{}` was undone again", undo.step))?;
                let own = order.get(&undo.step).ok_or_else(|| format!("I5: `{}` had nothing to undo", undo.step))?;
                let index = state.index(undo.step.as_str()).unwrap_or_default();
                for (later, _) in order.iter().filter(|(_, place)| *place > own) {
                    let other = state.index(later.as_str()).unwrap_or_default();
                    // It is stuck itself, or must wait for one that is.
                    let waits = |failed: &&StepName| {
                        let stuck = state.index(failed.as_str()).unwrap_or_default();
                        stuck == other || state.is_ancestor(other, stuck)
                    };
                    let stuck = failed.iter().any(waits);
                    let irreversible = state.steps[other].spec.effect == EffectKind::Irreversible;
                    ensure(settled.contains(*later) || stuck || irreversible, || {
                        format!("I5: `{}` is undone before `{later}`, which came after it", undo.step)
                    })?;
                }
                for stuck in &failed {
                    let stuck_index = state.index(stuck.as_str()).unwrap_or_default();
                    ensure(!state.is_ancestor(index, stuck_index), || {
                        format!("I5: `{}` is undone before `{stuck}`, which builds on it and is stuck", undo.step)
                    })?;
                }
                let open = entries[..place].iter().enumerate().any(|(at, entry)| {
                    matches!(&entry.event, Event::Intent(i) if fate(&entries[..place], at, &i.step, i.attempt) == Fate::Open)
                });
                ensure(!open, || format!("W5: `{}` is undone while an attempt runs", undo.step))?;
                running = Some(&undo.step);
                *counted.entry(&undo.step).or_default() += 1;
            }
            Event::UndoResult(undo) => {
                running = None;
                if undo.error.as_ref().is_some_and(|error| error.code == code::NOT_SETTLED) {
                    *counted.entry(&undo.step).or_default() -= 1;
                }
                match undo.outcome {
                    UndoOutcome::Undone => drop(settled.insert(&undo.step)),
                    _ if undo.retry_at.is_none() => drop(failed.insert(&undo.step)),
                    _ => {}
                }
            }
            Event::Owner(_) => {
                let died = running.take().filter(|step| counted.get(step).is_some_and(|count| *count >= 5));
                failed.extend(died);
            }
            Event::Operator(operator) => {
                if let Some(step) = &operator.step {
                    failed.remove(step);
                    counted.remove(step);
                    if matches!(operator.verb, Verb::ResolveUndone | Verb::ResolveLeft) {
                        settled.insert(step);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// I13: every decision can be decided again from what is kept, with the same answer.
fn decided_again(scene: &Scene, entries: &[Entry], state: &State) -> Moved {
    for entry in entries {
        let Event::Decision(decision) = &entry.event else { continue };
        let policy = scene.policies.iter().find(|policy| policy.digest() == decision.policy);
        let policy = policy.ok_or_else(|| "I13: a decision names a policy that is not kept".to_owned())?;
        let index = state.index(decision.step.as_str()).unwrap_or_default();
        let spec = &state.steps[index].spec;
        let inputs = json!({ "step": index });
        let request = policy::Request {
            principal: state.submitted.principal.clone(),
            acting_for: None,
            capability: spec
                .capability
                .clone()
                .unwrap_or_else(|| redress::types::CapabilityId::parse(policy::HUMAN_APPROVE).unwrap()),
            declared_risk: spec.risk,
            step_risk: None,
            inputs: Some(&inputs),
            unknown: &[],
        };
        let again = policy::reference::decide(policy, &request);
        let same = (again.action, again.risk, again.escalated) == (decision.action, decision.risk, decision.escalated);
        ensure(same, || format!("I13: `{}` is decided otherwise", decision.step))?;
    }
    Ok(())
}

/// Whether an undo was kept from changing what its step is not known to have touched.
pub fn was_held(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| {
        matches!(&entry.event, Event::UndoResult(r) if r.error.as_ref().is_some_and(|e| e.code == code::NOT_GRANTED))
    })
}

/// I4 and *never over later work*.
fn world_is_right(scene: &Scene, state: &State, entries: &[Entry]) -> Moved {
    let world = &scene.world;
    let shown = state.shown();
    let strangers = world.ledger.iter().any(|change| change.by == By::Stranger);
    let closed: Timestamp = entries.last().map_or(Timestamp(0), |entry| entry.at);
    for file in 0..FILES {
        if let Some(theirs) = world.theirs[file]
            && shown != RunState::Killed
            && !scene.strayed
        {
            let repaired = entries.iter().any(|entry| matches!(&entry.event, Event::Operator(o) if o.step.is_some()));
            ensure(world.files[file] == theirs || repaired, || {
                format!(
                    "later work: file {file} is {:?}; somebody else left {theirs:?}, at {closed:?}",
                    world.files[file]
                )
            })?;
        }
        ensure(shown != RunState::Completed || !world.lost[file], || {
            format!("COMPLETED, and what was written to file {file} was lost with the machine")
        })?;
        let checked = state.steps.iter().all(|step| !matches!(step.status, Status::Undone { checked: false }));
        if shown == RunState::RolledBack && checked && !strangers {
            ensure(world.files[file] == world.initial[file], || {
                format!("I4: ROLLED_BACK, and file {file} is {:?}, was {:?}", world.files[file], world.initial[file])
            })?;
        }
    }
    // Undoing in reverse order always restores: with components that undo well and nobody in between, nothing gets stuck.
    // (Of two steps without an order on one file, one that has not come to that file yet may try to restore it, and is held to
    // what it touched; and what an irreversible step left is in the way of those before it.)
    let irreversible = |step: &Step| step.spec.effect == EffectKind::Irreversible && step.order.is_some();
    let undisturbed =
        !strangers && !scene.undo_failed && !scene.torn && !state.steps.iter().any(|step| irreversible(step));
    if shown == RunState::Stuck && undisturbed {
        ensure(was_held(entries), || "reverse order: nobody interfered, no undo failed, and the run is STUCK".into())?;
    }
    let all_clean = state.steps.iter().all(|step| step.order.is_none());
    if all_clean && !strangers {
        ensure(world.files == world.initial, || "clean: nothing happened, and the world is another".into())?;
    }
    Ok(())
}
