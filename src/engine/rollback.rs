//! Undoing one step: compare, compensate, compare again.
//!
//! 1. If no undo of the step was begun, each target is compared with the state that RESULT recorded. If somebody changed one
//!    since, nothing is touched.
//! 2. UNDO_INTENT is durable before anything is called.
//! 3. The declared compensation runs, if the step succeeded and has one; else the component's own `compensate`, in the
//!    component that executed and under the grant of the decision.
//! 4. Each target is compared with its state before the step. Where an attempt died with the machine, a further target may
//!    be known to nobody but the component: its undo is then not held to the known ones, and one that changed others, or
//!    that was tried before, counts as done and not as checked.
//!
//! A declared compensation that was interrupted is called again. If that call fails, but let nothing out, and everything that the
//! step touched is known, a file and as before, then the one before had done its work, and the step is undone. So it is if what the step
//! did was lost with the machine: there may be nothing left that its undo could work on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::ready;

use super::EngineError;
use super::decide::step_at;
use super::live::{Core, Live, Work};
use crate::document::escape;
use crate::journal::{Durability, Payload};
use crate::saga::event::{Event, TargetRecord, UndoIntent, UndoOutcome, UndoResult};
use crate::saga::{KeyUse, State, Status, Step, StepIndex, key, undo_retry_at};
use crate::sandbox::{Call, CallKind, Cancel, Durable, Reach, Report, Watcher, observe_like};
use crate::types::{Digest, Failure, Target, TargetState, code};

/// In an undo the gates have nothing to ask: UNDO_INTENT is durable, and only what `execute` changed may be changed.
struct Undoing;

impl Watcher for Undoing {
    fn claim(&self, _: &Target, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn release(&self, _: &Target) {}

    fn intent(&self, _: Option<&[u8]>, _: &Target, _: &TargetState) -> Durable {
        ready(Ok(())).boxed()
    }

    fn before(&self, _: &Target, _: &TargetState) {}

    fn appended(&self, _: &[u8]) -> Durable {
        ready(Ok(())).boxed()
    }
}

impl Live {
    /// Undoes a step, up to its UNDO_RESULT.
    pub(super) fn undo(self: &Arc<Self>, index: StepIndex, attempt: u32) {
        let (running, cancel) = self.begin(index, Work::Undo);
        let live = self.clone();
        tokio::spawn(async move {
            let result = live.undone(index, attempt, cancel).await;
            running.end(|_| result);
        });
    }

    async fn undone(&self, index: StepIndex, attempt: u32, cancel: Cancel) -> Result<(), EngineError> {
        // What the undo reads must be there to be read: outputs, records, inputs of declared compensations.
        self.engine.journal.flush().await?;
        let step = step_at(&self.lock(), index)?;
        let before: BTreeMap<Target, TargetState> =
            step.touched.iter().map(|(target, touched)| (target.clone(), touched.before.clone())).collect();
        let comparable = step.undo.attempts == 0 && step.after_states_known();
        let (state, remade) = {
            let core = self.lock();
            (core.state.clone(), self.remade(&core, &step))
        };
        if let Some(failure) = comparable.then(|| changed_since(&state, &step, &remade)).flatten() {
            return self.refuse_undo(&step, UndoOutcome::ChangedSince, failure);
        }
        let (call, digest) = match self.prepare_undo(index, &step, attempt, &before) {
            Ok(prepared) => prepared,
            Err(
                error @ (EngineError::MissingComponent { .. }
                | EngineError::Component { .. }
                | EngineError::UnknownCapability(_)
                | EngineError::Erased { .. }),
            ) => {
                return self.refuse_undo(
                    &step,
                    UndoOutcome::Failed,
                    Failure::new(code::CANNOT_UNDO, error.to_string()),
                );
            }
            Err(error) => return Err(error),
        };
        let pending = {
            let mut core = self.lock();
            let event = Event::UndoIntent(UndoIntent {
                step: step.spec.name.clone(),
                attempt,
                key: call.key.clone(),
                component: digest,
            });
            self.append(&mut core, event, Vec::new(), Durability::Sync)?
        };
        self.settle(pending).await?;
        let report = self.engine.sandbox.call(call, Arc::new(Undoing), cancel).await;
        // What an undo put back must be on disk before the journal can say so, also where it changed more than is known of the step.
        let changed = report.evidence.targets.iter().map(|record| &record.target);
        let paths: BTreeSet<&str> = before.keys().chain(changed).filter_map(Target::host_path).collect();
        self.sync(paths.into_iter().map(str::to_owned).collect()).await?;
        self.finish_undo(index, attempt, report, &before)
    }

    /// Targets of a step that later steps of the run changed too and whose undo has put back.
    fn remade(&self, core: &Core, step: &Step) -> BTreeSet<Target> {
        let later = |other: &&Arc<Step>| other.order > step.order && matches!(other.status, Status::Undone { .. });
        let later: Vec<&Arc<Step>> = core.state.steps.iter().filter(later).collect();
        let own = step.touched.keys();
        own.filter(|target| later.iter().any(|other| other.touched.contains_key(*target))).cloned().collect()
    }

    fn refuse_undo(&self, step: &Step, outcome: UndoOutcome, failure: Failure) -> Result<(), EngineError> {
        tracing::info!(run = %self.run, step = %step.spec.name, "undo refused: {}", escape(&failure.to_string()));
        let event = Event::UndoResult(Box::new(UndoResult {
            step: step.spec.name.clone(),
            attempt: 0,
            outcome,
            checked: false,
            error: Some(failure),
            evidence: Default::default(),
            log: None,
            retry_at: None,
        }));
        self.append_lazily(&mut self.lock(), event, Vec::new())
    }

    fn prepare_undo(
        &self,
        index: StepIndex,
        step: &Step,
        attempt: u32,
        before: &BTreeMap<Target, TargetState>,
    ) -> Result<(Call, Digest), EngineError> {
        let mut core = self.lock();
        let nothing = || EngineError::Refused { why: format!("step `{}` has nothing to undo", step.spec.name) };
        let decision = step.decision.as_ref().ok_or_else(nothing)?;
        let key_of = |key_use| key(&core.state, step, key_use);
        let (execute_key, undo_key) = (key_of(KeyUse::Execute), key_of(KeyUse::Undo));
        let declared = step.spec.compensation.as_ref().zip(step.compensation).zip(decision.compensation.as_ref());
        let (prepared, kind, input, digest) = if let Some(((spec, input), decided)) = declared {
            let digest = step.undo.component.unwrap_or(spec.component);
            let prepared = self.prepare(&core, step, &digest, &spec.capability, &decided.grant)?;
            let input = String::from_utf8_lossy(&self.payload(&input, "input of the compensation")?).into_owned();
            (prepared, CallKind::ExecuteAsUndo, input, digest)
        } else {
            let (Some(capability), Some(digest)) = (&step.spec.capability, &step.spec.component) else {
                return Err(nothing());
            };
            let digest = step.undo.component.unwrap_or(*digest);
            let prepared = self.prepare(&core, step, &digest, capability, &decision.grant)?;
            let output = match step.output {
                Some(output) => Some(String::from_utf8_lossy(&self.payload(&output, "output")?).into_owned()),
                None => None,
            };
            let may_change = match step.targets_known {
                true => Reach::Only(before.keys().cloned().collect()),
                false => Reach::AllBut(core.state.targets_of_others(index)),
            };
            let undo = self.undo_records(step)?;
            let input = self.input(&mut core, index)?.to_string();
            (prepared, CallKind::Compensate { execute_key, output, undo, may_change }, input, digest)
        };
        let call = Call {
            component: prepared.component,
            capability: prepared.capability,
            kind,
            input,
            key: undo_key,
            attempt,
            timeout: step.spec.timeout,
            grant: prepared.grant,
            context: prepared.context,
            clock_ahead: std::time::Duration::ZERO,
        };
        Ok((call, digest))
    }

    fn finish_undo(
        &self,
        index: StepIndex,
        attempt: u32,
        report: Report,
        before: &BTreeMap<Target, TargetState>,
    ) -> Result<(), EngineError> {
        let mut core = self.lock();
        let step = step_at(&core, index)?;
        let log = report.log.filter(|log| !log.is_empty()).map(Payload::new).transpose()?;
        let remade = !self.remade(&core, &step).is_empty();
        let (outcome, checked, error) = match report.result {
            Err(error) if !report.evidence.let_out && found_done(&core.state, &step, before, remade) => {
                let told = escape(&error.to_string());
                tracing::warn!(run = %self.run, step = %step.spec.name, "undo, attempt {attempt} found it done: {told}");
                (UndoOutcome::Undone, true, None)
            }
            Err(error) => (UndoOutcome::Failed, false, Some(error)),
            Ok(_) => match verify(&core.state, &step, before, remade) {
                Ok(checked) => {
                    let known = |record: &TargetRecord| {
                        record.target.host_path().is_none() || before.contains_key(&record.target)
                    };
                    let held = step.targets_known || (attempt == 1 && report.evidence.targets.iter().all(known));
                    (UndoOutcome::Undone, checked && held, None)
                }
                Err(failure) => (UndoOutcome::NotRestored, false, Some(failure)),
            },
        };
        let now = self.now();
        let retry_at = match (&error, outcome) {
            (Some(error), UndoOutcome::Failed) => undo_retry_at(&step, error, now, fastrand::u64(..)),
            _ => None,
        };
        let told = error.as_ref().map_or_else(|| "undone".to_owned(), |error| escape(&error.to_string()));
        tracing::info!(run = %self.run, step = %step.spec.name, "undo, attempt {attempt}: {told}");
        let event = Event::UndoResult(Box::new(UndoResult {
            step: step.spec.name.clone(),
            attempt,
            outcome,
            checked,
            error,
            evidence: report.evidence,
            log: log.as_ref().map(Payload::reference),
            retry_at,
        }));
        self.append_lazily(&mut core, event, log.into_iter().collect())
    }
}

/// Whether two states differ at most in what an undo cannot restore: the identity of a directory, and the time and inode
/// of a file too large to be digested.
fn is_alike(now: &TargetState, then: &TargetState) -> bool {
    match (now, then) {
        (TargetState::Directory { .. }, TargetState::Directory { .. }) => true,
        (TargetState::File { len: a, sha256: None, .. }, TargetState::File { len: b, sha256: None, .. }) => a == b,
        _ => now == then,
    }
}

/// Whether somebody changed a target after the step, apart from this run's own undos; the failure names it.
fn changed_since(state: &State, step: &Step, remade: &BTreeSet<Target>) -> Option<Failure> {
    step.touched.iter().find_map(|(target, touched)| {
        let (path, after) = (target.host_path()?, touched.after.as_ref()?);
        let now = observe_like(path, after);
        // A directory that was moved here has an identity, and may hold what it held before.
        let made = touched.before == TargetState::Absent && matches!(after, TargetState::Directory { inode: None, .. });
        if now == TargetState::Absent
            && let Some(folder) = missing_folder(step, path)
        {
            let what = format!("the granted folder `{folder}` is missing, with `{target}` in it");
            let way = "nothing was touched; put it back, and repair the step";
            return Some(Failure::new(code::CHANGED_SINCE, format!("{what}: {way}")));
        }
        let same = state.is_as_left(step, target, &now) || (remade.contains(target) && is_alike(&now, after));
        let what = if !same {
            format!("it was left as: {after}; it is now: {now}")
        } else if made {
            format!("`{}` was put into it", stranger_in(step, path)?)
        } else {
            return None;
        };
        Some(Failure::new(
            code::CHANGED_SINCE,
            format!("`{target}` was changed after the step: {what}; nothing was touched"),
        ))
    })
}

/// The directory that was granted to a step with this path in it, if it is not there any more.
fn missing_folder<'s>(step: &'s Step, path: &str) -> Option<&'s str> {
    let decision = step.decision.as_ref()?;
    let grants = std::iter::once(&decision.grant).chain(decision.compensation.as_ref().map(|declared| &declared.grant));
    let mut folders = grants.flat_map(|grant| &grant.filesystem).map(|dir| dir.host.as_str());
    folders.find(|folder| Path::new(path).starts_with(folder) && !Path::new(folder).exists())
}

/// Something in a directory that the step made and that is not the step's own.
fn stranger_in(step: &Step, directory: &str) -> Option<String> {
    let own =
        |path: &Path| step.touched.keys().any(|target| target.host_path().is_some_and(|own| Path::new(own) == path));
    let entries = std::fs::read_dir(directory).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| !own(path)).map(|path| path.display().to_string())
}

/// Whether an undo may have found nothing to do, and everything that its step touched is known, a file, and as before: a declared
/// compensation that was interrupted, or the undo of what was lost with the machine.
fn found_done(state: &State, step: &Step, before: &BTreeMap<Target, TargetState>, remade: bool) -> bool {
    let declared = step.compensation.is_some() && step.undo.interrupted;
    let lost = step.touched.values().any(|touched| touched.lost);
    let files = before.keys().all(|target| target.host_path().is_some());
    (declared || lost) && files && step.targets_known && verify(state, step, before, remade) == Ok(true)
}

/// Whether all files are as before; true if at least one could be compared, and all that there are were. Of what requests
/// changed, only the component can say.
fn verify(state: &State, step: &Step, before: &BTreeMap<Target, TargetState>, remade: bool) -> Result<bool, Failure> {
    let (mut files, mut compared) = (0, 0);
    for (target, before) in before {
        let Some(path) = target.host_path() else { continue };
        files += 1;
        let now = observe_like(path, before);
        match comparison(before, &now, remade) {
            Comparison::Same => compared += 1,
            Comparison::Unknown => {}
            Comparison::Different if state.is_restored(step, target, &now) => compared += 1,
            Comparison::Different => {
                return Err(Failure::new(
                    code::NOT_RESTORED,
                    format!("the undo ran, and `{target}` is not as before: it was: {before}; it is now: {now}"),
                ));
            }
        }
    }
    Ok(compared > 0 && compared == files)
}

enum Comparison {
    Same,
    Different,
    /// Too large to be digested, or not readable: equal as far as can be seen.
    Unknown,
}

fn comparison(before: &TargetState, now: &TargetState, remade: bool) -> Comparison {
    match (before, now) {
        (TargetState::Directory { .. }, TargetState::Directory { .. }) if remade => Comparison::Same,
        (TargetState::Unknown { .. }, _) | (_, TargetState::Unknown { .. }) => Comparison::Unknown,
        // A large file that was restored has another time; only its length can be compared.
        (TargetState::File { len: a, sha256: None, .. }, TargetState::File { len: b, sha256: None, .. }) if a == b => {
            if before == now {
                Comparison::Same
            } else {
                Comparison::Unknown
            }
        }
        _ if before == now => Comparison::Same,
        _ => Comparison::Different,
    }
}
