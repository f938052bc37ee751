//! How a process undoes a step: it compares, calls the undo, and compares again.

use redress::saga::event::{Event, Evidence, UndoIntent, UndoOutcome, UndoResult};
use redress::saga::{KeyUse, Step, StepIndex, key, undo_retry_at};
use redress::types::{Failure, PayloadRef, Target, TargetState, Timestamp, code};

use super::{Gate, Moved, Process, Scene, Task, Undoing};
use crate::config::Fault;
use crate::world::{By, file_of, restored, state, target};

impl Process {
    pub(super) fn advance_undo(&mut self, scene: &mut Scene, index: StepIndex, mut undo: Undoing) -> Moved {
        let step = self.state.steps[index].clone();
        match undo.intent {
            Gate::Waits(_) => {}
            Gate::NotYet if self.refused => return Ok(()),
            Gate::NotYet => {
                let changed = if undo.again { None } else { self.changed_since(scene, &step) };
                if let Some(why) = changed {
                    let failure = Failure::new(code::CHANGED_SINCE, why);
                    let event = undo_result(&step, 0, UndoOutcome::ChangedSince, Some(failure), None, false);
                    return self.append(scene, event).map(drop);
                }
                let event = Event::UndoIntent(UndoIntent {
                    step: step.spec.name.clone(),
                    attempt: undo.attempt,
                    key: key(&self.state, &step, KeyUse::Undo),
                    component: redress::types::sha256(b"component"),
                });
                undo.intent = Gate::Waits(self.append(scene, event)?);
            }
            Gate::Durable => return self.compensate(scene, index, &step, undo),
        }
        self.tasks.insert(index, Task::Undo(undo));
        Ok(())
    }

    /// What somebody else did to a target since, apart from this run's own undos.
    fn changed_since(&self, scene: &Scene, step: &Step) -> Option<String> {
        step.touched.iter().find_map(|(target, touched)| {
            let now = state(scene.world.files[file_of(target)]);
            let after = touched.after.as_ref()?;
            (!self.state.is_as_left(step, target, &now)).then(|| format!("{target} was left as {after}, and is {now}"))
        })
    }

    fn compensate(&mut self, scene: &mut Scene, index: StepIndex, step: &Step, mut undo: Undoing) -> Moved {
        if !undo.planned {
            let records: Vec<PayloadRef> = step.record.iter().chain(&step.appended).copied().collect();
            let records: Vec<Vec<u8>> = records.iter().map(|record| scene.journal.payload(record)).collect();
            crate::checks::right_records(scene, &step.spec.name, &records)?;
            undo.todo = records.first().map(|record| restored(record)).unwrap_or_default();
            undo.planned = true;
        }
        let failed = undo.cancelled || scene.strikes(Fault::UndoFails, 6);
        scene.undo_failed |= failed;
        if failed || undo.todo.is_empty() {
            // What an undo put back is on disk before that is told.
            let files: Vec<usize> = undo.before.keys().map(file_of).chain(undo.changed.iter().copied()).collect();
            files.into_iter().for_each(|file| scene.world.sync(file));
            let failure = failed.then(|| match (undo.cancelled, scene.dice.once_in(4)) {
                (true, _) => Failure::new(code::INTERRUPTED, "interrupted"),
                (false, true) => Failure::new(code::NOT_SETTLED, "not yet"),
                (false, false) => Failure::new("failed", "the undo failed"),
            });
            let event = match failure {
                Some(failure) => {
                    let again = undo_retry_at(step, &failure, Timestamp(scene.now), scene.dice.draw());
                    undo_result(step, undo.attempt, UndoOutcome::Failed, Some(failure), again, false)
                }
                None => self.verified(scene, step, &undo),
            };
            return self.append(scene, event).map(drop);
        }
        let (file, mut to) = undo.todo.remove(0);
        if scene.strikes(Fault::UndoFails, 40) {
            scene.undo_failed = true;
            to = Some(666);
        }
        let confined = match step.targets_known {
            true => !undo.before.contains_key(&target(file)),
            false => undo.others.contains(&target(file)),
        };
        if confined && scene.world.files[file] != to {
            // The gate: an undo changes nothing that its step did not change.
            let failure = Failure::new(code::NOT_GRANTED, format!("file {file} was not touched by the step"));
            let again = undo_retry_at(step, &failure, Timestamp(scene.now), scene.dice.draw());
            let event = undo_result(step, undo.attempt, UndoOutcome::Failed, Some(failure), again, false);
            return self.append(scene, event).map(drop);
        }
        if scene.world.files[file] != to {
            // Only where an attempt died with the machine: then nobody but the component knows what it touched.
            undo.strayed |= !undo.before.contains_key(&target(file));
            scene.strayed |= undo.strayed;
            let durable = scene.journal.durable.len();
            scene.tell(|| format!("  file {file} becomes {to:?} by the undo of {index}"));
            scene.world.change(By::Undo { step: index, attempt: undo.attempt }, file, to, durable);
            undo.changed.insert(file);
        }
        self.tasks.insert(index, Task::Undo(undo));
        Ok(())
    }

    fn verified(&self, scene: &Scene, step: &Step, undo: &Undoing) -> Event {
        let held = step.targets_known || (undo.attempt == 1 && !undo.strayed);
        let compared = undo.before.iter().filter(|(_, before)| !matches!(before, TargetState::Unknown { .. }));
        let is_wrong =
            |target: &Target| !self.state.is_restored(step, target, &state(scene.world.files[file_of(target)]));
        let wrong = { compared }.find(|(target, _)| is_wrong(target));
        let held = held && undo.before.values().all(|before| !matches!(before, TargetState::Unknown { .. }));
        match wrong {
            Some((target, before)) => {
                let failure = Failure::new(code::NOT_RESTORED, format!("{target} was {before}"));
                undo_result(step, undo.attempt, UndoOutcome::NotRestored, Some(failure), None, false)
            }
            None => undo_result(step, undo.attempt, UndoOutcome::Undone, None, None, held),
        }
    }
}

fn undo_result(
    step: &Step,
    attempt: u32,
    outcome: UndoOutcome,
    error: Option<Failure>,
    again: Option<Timestamp>,
    checked: bool,
) -> Event {
    Event::UndoResult(Box::new(UndoResult {
        step: step.spec.name.clone(),
        attempt,
        outcome,
        checked,
        error,
        evidence: Evidence::default(),
        log: None,
        retry_at: again,
    }))
}
