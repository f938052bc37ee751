//! One attempt of a step: from the decided input to a RESULT.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::ready;

use super::EngineError;
use super::decide::{parties, step_at};
use super::live::{Core, Live, Work};
use crate::document::escape;
use crate::journal::{Durability, Payload, TargetNote};
use crate::saga::event::{Event, Intent, Outcome, StepResult, UndoAppended};
use crate::saga::{KeyUse, Step, StepIndex, Touch, conflict, key, retry_at};
use crate::sandbox::{Call, CallKind, Component, Durable, Report, Watcher};
use crate::types::{
    CapabilityId, CapabilityInfo, Digest, Duration, Failure, Grant, PayloadRef, Target, TargetState, Timestamp,
    canonical_bytes, code,
};

/// What the gates of the sandbox ask while an attempt runs.
struct Attempt {
    live: Arc<Live>,
    index: StepIndex,
    number: u32,
    key: String,
    component: Digest,
}

impl Watcher for Attempt {
    fn claim(&self, target: &Target, kind: &str) -> Result<(), Failure> {
        let core = &mut *self.live.lock();
        core.claims
            .claim(target.claim_key(), Touch::of(kind), self.index, |other| core.state.is_ancestor(other, self.index))
            .map_err(|other| conflict(&core.state, self.index, other, &target.to_string()))
    }

    fn release(&self, target: &Target) {
        self.live.lock().claims.release(target.claim_key(), self.index);
    }

    fn intent(&self, undo: Option<&[u8]>, target: &Target, before: &TargetState) -> Durable {
        self.append_durably(undo, |name, undo| {
            Event::Intent(Box::new(Intent {
                step: name,
                attempt: self.number,
                key: self.key.clone(),
                component: self.component,
                undo,
                target: target.clone(),
                before: before.clone(),
            }))
        })
    }

    fn before(&self, target: &Target, before: &TargetState) {
        let name = self.live.lock().state.step(self.index).map(|step| step.spec.name.clone());
        let Some(step) = name else { return };
        let note = TargetNote { step, attempt: self.number, target: target.clone(), before: before.clone() };
        if let Err(error) = self.live.engine.journal.note_target(&self.live.run, &note) {
            self.live.fail(error.into());
        }
    }

    fn appended(&self, undo: &[u8]) -> Durable {
        self.append_durably(Some(undo), |step, undo| {
            let undo = undo.unwrap_or(PayloadRef { digest: crate::types::sha256(b""), len: 0 });
            Event::UndoAppended(UndoAppended { step, attempt: self.number, undo })
        })
    }
}

impl Attempt {
    /// Enqueues an event before it returns; the answer comes when the event is durable.
    fn append_durably(
        &self,
        undo: Option<&[u8]>,
        event: impl FnOnce(crate::types::StepName, Option<PayloadRef>) -> Event,
    ) -> Durable {
        let live = self.live.clone();
        let told = move |error: EngineError| {
            let failure = Failure::new(code::INTERRUPTED, error.to_string());
            live.fail(error);
            failure
        };
        let enqueue = || -> Result<_, EngineError> {
            let mut core = self.live.lock();
            let payload = undo.map(|bytes| Payload::new(bytes.to_vec())).transpose()?;
            let name = step_at(&core, self.index)?.spec.name.clone();
            let event = event(name, payload.as_ref().map(Payload::reference));
            self.live.append(&mut core, event, payload.into_iter().collect(), Durability::Sync)
        };
        match enqueue() {
            Ok(pending) => {
                let live = self.live.clone();
                async move { live.settle(pending).await.map_err(told) }.boxed()
            }
            Err(error) => ready(Err(told(error))).boxed(),
        }
    }
}

/// Everything that a call of a component needs, apart from what kind of call it is.
pub(super) struct Prepared {
    pub component: Arc<Component>,
    pub capability: CapabilityInfo,
    pub grant: Grant,
    pub context: BTreeMap<String, String>,
}

impl Live {
    pub(super) fn prepare(
        &self,
        core: &Core,
        step: &Step,
        digest: &Digest,
        capability: &CapabilityId,
        grant: &Grant,
    ) -> Result<Prepared, EngineError> {
        let component = self.engine.registry.pinned(digest, &*self.engine.journal)?;
        let info = component.capabilities().iter().find(|info| info.id == *capability).cloned();
        let capability = info.ok_or_else(|| EngineError::UnknownCapability(capability.clone()))?;
        let (principal, _) = parties(&core.state.submitted.principal, step);
        let mut context = BTreeMap::from([
            ("run".to_owned(), self.run.to_string()),
            ("step".to_owned(), step.spec.name.to_string()),
            ("principal".to_owned(), principal.to_string()),
        ]);
        if let Some(deadline) = core.state.submitted.deadline {
            context.insert("deadline".to_owned(), super::view::rfc3339(deadline));
        }
        for (name, value) in &grant.config {
            context.insert(format!("config.{name}"), value.clone());
        }
        Ok(Prepared { component, capability, grant: grant.clone(), context })
    }

    /// Begins one attempt of a step, which ends with its RESULT.
    pub(super) fn attempt(self: &Arc<Self>, index: StepIndex, number: u32) -> Result<(), EngineError> {
        let (call, watcher) = self.prepare_attempt(index, number)?;
        tracing::debug!(run = %self.run, step = %watcher.name(), attempt = number, "attempt starts");
        let (running, cancel) = self.begin(index, Work::Attempt);
        self.engine.sandbox.start(call, watcher, cancel, move |report| {
            running.end(|live| live.finish(index, number, report));
        });
        Ok(())
    }

    fn prepare_attempt(self: &Arc<Self>, index: StepIndex, number: u32) -> Result<(Call, Arc<Attempt>), EngineError> {
        let mut core = self.lock();
        let step = step_at(&core, index)?;
        let decision = step.decision.as_ref();
        let (Some(decision), Some(capability), Some(digest)) = (decision, &step.spec.capability, &step.spec.component)
        else {
            return Err(EngineError::Refused { why: format!("step `{}` has nothing to execute", step.spec.name) });
        };
        let prepared = self.prepare(&core, &step, digest, capability, &decision.grant)?;
        let input = self.input(&mut core, index)?;
        let undo_in_force = match &step.order {
            Some(_) => Some(self.undo_records(&step)?),
            None => None,
        };
        let key = key(&core.state, &step, KeyUse::Execute);
        drop(core);
        let call = Call {
            component: prepared.component,
            capability: prepared.capability,
            kind: CallKind::Execute { undo_in_force },
            input: input.to_string(),
            key: key.clone(),
            attempt: number,
            timeout: step.spec.timeout,
            grant: prepared.grant,
            context: prepared.context,
            clock_ahead: std::time::Duration::ZERO,
        };
        let live = self.clone();
        let attempt = Attempt { live, index, number, key, component: *digest };
        Ok((call, Arc::new(attempt)))
    }

    /// The undo records in force, in order.
    pub(super) fn undo_records(&self, step: &Step) -> Result<Vec<Vec<u8>>, EngineError> {
        let references = step.record.iter().chain(&step.appended);
        references.map(|reference| self.payload(reference, "undo record").map(|bytes| bytes.to_vec())).collect()
    }

    /// Turns what the sandbox reports into a RESULT.
    fn finish(&self, index: StepIndex, number: u32, report: Report) -> Result<(), EngineError> {
        let mut core = self.lock();
        let step = step_at(&core, index)?;
        let mut payloads = Vec::new();
        let mut keep = |bytes: Vec<u8>| -> Result<PayloadRef, EngineError> {
            let payload = Payload::new(bytes)?;
            let reference = payload.reference();
            payloads.push(payload);
            Ok(reference)
        };
        let log = report.log.filter(|log| !log.is_empty()).map(&mut keep).transpose()?;
        let (mut outcome, mut evidence) = (report.outcome, report.evidence);
        if step.open.is_none() && evidence.let_out {
            // The host failed while it ran the component. Without an INTENT the gate let nothing out.
            (outcome, evidence.let_out) = (Outcome::Clean, false);
        }
        let (mut output, mut error, mut compensation) = (None, None, None);
        match report.result {
            Ok(text) => {
                let text = text.unwrap_or_else(|| "null".into());
                core.outputs.insert(index, Arc::new(super::live::parse(text.as_bytes())));
                match self.resolve_compensation(&mut core, index, &step)? {
                    Ok(inputs) => {
                        compensation = inputs.map(&mut keep).transpose()?;
                        output = Some(keep(text.into_bytes())?);
                    }
                    Err(failure) => {
                        core.outputs.remove(&index);
                        outcome = if evidence.let_out { Outcome::Unclear } else { Outcome::Clean };
                        error = Some(failure);
                    }
                }
            }
            Err(failure) => error = Some(failure),
        }
        let jitter = fastrand::u64(..);
        let now = self.now();
        let retry_at = error.as_ref().and_then(|error| retry_at(&core.state, &step, outcome, error, now, jitter));
        tell(&self.run.to_string(), &step, number, outcome, error.as_ref(), retry_at, now);
        let event = Event::Result(Box::new(StepResult {
            step: step.spec.name.clone(),
            attempt: number,
            outcome,
            output,
            error,
            evidence,
            log,
            retry_at,
            compensation,
        }));
        self.append_lazily(&mut core, event, payloads)
    }

    /// The input of the declared compensation, resolved now that the output is known. If it has none, the step cannot be
    /// undone as its author meant, and so has not succeeded.
    fn resolve_compensation(
        &self,
        core: &mut Core,
        index: StepIndex,
        step: &Step,
    ) -> Result<Result<Option<Vec<u8>>, Failure>, EngineError> {
        let Some(spec) = &step.spec.compensation else { return Ok(Ok(None)) };
        let value = match self.resolve(core, index, true)? {
            Ok(value) => value,
            Err(failure) => return Ok(Err(failure)),
        };
        let component = self.engine.registry.pinned(&spec.component, &*self.engine.journal)?;
        if let Err(failure) = component.validate_input(&spec.capability, &value) {
            let message = format!("the input of its compensation does not fit: {}", failure.message);
            return Ok(Err(Failure::new(code::INVALID_INPUT, message)));
        }
        Ok(canonical_bytes(&value).map(Some).map_err(|error| Failure::new(code::INVALID_INPUT, error.to_string())))
    }
}

impl Attempt {
    fn name(&self) -> String {
        self.live.lock().state.step(self.index).map_or_else(String::new, |step| step.spec.name.to_string())
    }
}

/// One line an attempt.
fn tell(
    run: &str,
    step: &Step,
    attempt: u32,
    outcome: Outcome,
    error: Option<&Failure>,
    retry_at: Option<Timestamp>,
    now: Timestamp,
) {
    let (name, of) = (step.spec.name.as_str(), step.spec.retry.max_attempts);
    let code = escape(error.map_or("ok", |error| error.code.as_str()));
    match retry_at.map(|due| due.since(now)) {
        Some(Duration(delay)) => {
            tracing::info!(run, step = name, "attempt {attempt} of {of}: {code} ({outcome:?}), next in {delay} ms");
        }
        None => tracing::info!(run, step = name, "attempt {attempt} of {of}: {code} ({outcome:?})"),
    }
}
