//! A run that this process owns: its state, what is in flight, and the one way in which it appends.
//!
//! Events are applied to the state in memory and enqueued in the journal under one lock, so that both have them in the same
//! order. Votes and verbs of other processes are taken in when the journal tells of them; they commute with everything that
//! the owner appends, except for an expiry and the end of a run, which are appended only if nobody came first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;

use super::stored::StoredInputs;
use super::told::Told;
use super::{EngineError, Inner, outbox};
use crate::journal::{Append, Appended, Author, Durability, JournalError, Payload, Pending, Summary};
use crate::saga::event::{Entry, Event};
use crate::saga::{Claims, InFlight, State, StepIndex};
use crate::sandbox::Cancel;
use crate::types::{PayloadRef, RunId, Timestamp};

/// What can be in flight for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Attempt,
    Undo,
}

pub(super) struct Live {
    pub engine: Arc<Inner>,
    pub run: RunId,
    pub epoch: u64,
    pub wake: Notify,
    /// Held while an append is on its way that is legal only as long as nobody else appends. What a client asks for waits for
    /// it: it would be checked against a state that the append is about to change.
    careful: tokio::sync::Mutex<()>,
    core: Mutex<Core>,
}

pub(super) struct Core {
    pub state: State,
    pub claims: Claims,
    /// What is in flight in this process, and how it is interrupted.
    pub running: BTreeMap<StepIndex, (Work, Cancel)>,
    /// Outputs, as far as they were made or read here.
    pub outputs: HashMap<StepIndex, Arc<Value>>,
    /// Inputs, as far as they were made or read here.
    pub inputs: HashMap<StepIndex, Arc<str>>,
    /// What the steps are given, with templates.
    pub stored: StoredInputs,
    /// The events of which those of other processes were taken in.
    told: Told,
    /// The journal's version when it was looked at last.
    version: Option<u64>,
    /// Why this process cannot drive the run any more.
    pub failed: Option<EngineError>,
}

impl Core {
    /// The output of a step, if it was made or read here.
    pub fn known_output(&self, step: &str) -> Option<&Value> {
        self.state.index(step).and_then(|index| self.outputs.get(&index)).map(|value| &**value)
    }
}

/// Something in flight. However it ends, the runner is told; if it only disappears, that is a bug of the host, the run is left,
/// and nobody waits for it.
pub(super) struct Running {
    live: Arc<Live>,
    step: StepIndex,
    result: Result<(), EngineError>,
}

impl Running {
    /// Ends it with what `last` comes to.
    pub fn end(mut self, last: impl FnOnce(&Live) -> Result<(), EngineError>) {
        self.result = last(&self.live);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut core = self.live.lock();
        core.running.remove(&self.step);
        if let Err(error) = std::mem::replace(&mut self.result, Ok(())) {
            core.failed.get_or_insert(error);
        }
        drop(core);
        self.live.wake.notify_one();
    }
}

impl Live {
    pub fn new(engine: Arc<Inner>, state: State, stored: StoredInputs) -> Live {
        let claims = Claims::of(&state);
        Live {
            engine,
            run: state.run().clone(),
            epoch: state.epoch(),
            wake: Notify::new(),
            careful: tokio::sync::Mutex::new(()),
            core: Mutex::new(Core {
                told: Told::up_to(state.seq),
                version: None,
                state,
                claims,
                running: BTreeMap::new(),
                outputs: HashMap::new(),
                inputs: HashMap::new(),
                stored,
                failed: None,
            }),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    /// Applies an event and enqueues it.
    pub fn append(
        &self,
        core: &mut Core,
        event: Event,
        payloads: Vec<Payload>,
        durability: Durability,
    ) -> Result<Pending<Appended>, EngineError> {
        let at = self.now().max(core.state.at);
        let entry = Entry { seq: core.state.seq + 1, at, event };
        core.state.apply(&entry).map_err(|illegal| EngineError::Illegal { run: self.run.clone(), illegal })?;
        self.engine.observer.seen(&core.state, &entry);
        let input = |step| core.inputs.get(&step).map(|input| parse(input.as_bytes()));
        let told = self.engine.webhook.as_ref();
        let message =
            told.and_then(|webhook| outbox::caused_by(&core.state, &entry.event, at, webhook.console(), input));
        let append = Append::by_owner(self.epoch, durability, vec![(at, entry.event)])
            .with_payloads(payloads)
            .with_messages(message.into_iter().collect())
            .with_summary(Summary::of(&core.state));
        let mut pending = self.engine.journal.append(&self.run, append);
        // What could not even be enqueued is in this state and will never be in the journal: the run must be left at once.
        match pending.refused() {
            Some(error) => Err(error.into()),
            None => Ok(pending),
        }
    }

    /// Appends without waiting for the commit; a refusal shows with the next durable append.
    pub fn append_lazily(&self, core: &mut Core, event: Event, payloads: Vec<Payload>) -> Result<(), EngineError> {
        self.append(core, event, payloads, Durability::Lazy).map(drop)
    }

    /// Waits until an append is durable, and takes in what others appended before it.
    pub async fn settle(&self, pending: Pending<Appended>) -> Result<(), EngineError> {
        let appended = pending.await?;
        self.take_in_told(&mut self.lock(), &appended);
        Ok(())
    }

    /// Appends an event only if no other process has appended anything that this one does not know. False if one has; then
    /// nothing was appended, and the other's event has been taken in.
    pub async fn append_if_unmoved(&self, event: Event) -> Result<bool, EngineError> {
        let _careful = self.careful.lock().await;
        let (pending, entry) = {
            let core = self.lock();
            let at = self.now().max(core.state.at);
            let entry = Entry { seq: core.state.seq + 1, at, event };
            let mut after = core.state.clone();
            after.apply(&entry).map_err(|illegal| EngineError::Illegal { run: self.run.clone(), illegal })?;
            let append = Append {
                author: Author::Owner { epoch: self.epoch, expected_seq: Some(core.state.seq) },
                events: vec![(at, entry.event.clone())],
                payloads: Vec::new(),
                messages: Vec::new(),
                summary: Some(Summary::of(&after)),
                needs: Vec::new(),
                durability: Durability::Sync,
            };
            (self.engine.journal.append(&self.run, append), entry)
        };
        match pending.await {
            Ok(appended) => {
                let mut core = self.lock();
                core.state.absorb(&entry).map_err(|illegal| EngineError::Illegal { run: self.run.clone(), illegal })?;
                self.engine.observer.seen(&core.state, &entry);
                self.take_in_told(&mut core, &appended);
                Ok(true)
            }
            Err(JournalError::HeadMoved { .. }) => {
                self.look_for_others()?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what other processes appended since the last time. Cheap while nobody has committed anything.
    pub fn look_for_others(&self) -> Result<(), EngineError> {
        let version = self.engine.journal.version()?;
        let after = {
            let mut core = self.lock();
            if core.version.replace(version) == Some(version) {
                return Ok(());
            }
            core.told.without_gap()
        };
        let entries = self.engine.journal.entries(&self.run, after, usize::MAX)?;
        let mut core = self.lock();
        self.take_in(&mut core, &entries);
        if let Some(last) = entries.last() {
            core.told.tell(after, last.seq);
        }
        Ok(())
    }

    /// Takes in what the answer to an append tells of.
    fn take_in_told(&self, core: &mut Core, appended: &Appended) {
        self.take_in(core, &appended.foreign);
        if let Some((after, last)) = appended.span() {
            core.told.tell(after, last);
        }
    }

    fn take_in(&self, core: &mut Core, entries: &[Entry]) {
        for entry in entries {
            let others = matches!(entry.event, Event::Vote(_) | Event::Operator(_));
            if others && !core.told.knows(entry.seq) {
                core.state.absorb_late(entry);
                self.engine.observer.seen(&core.state, entry);
                self.wake.notify_one();
            }
        }
    }

    /// Something of a step is in flight from now on.
    pub fn begin(self: &Arc<Self>, step: StepIndex, work: Work) -> (Running, Cancel) {
        let cancel = Cancel::new();
        self.lock().running.insert(step, (work, cancel.clone()));
        let lost = EngineError::Bug { why: format!("what was in flight of step number {step} did not come to an end") };
        (Running { live: self.clone(), step, result: Err(lost) }, cancel)
    }

    /// Remembers why this process cannot go on, and wakes the runner.
    pub fn fail(&self, error: EngineError) {
        self.lock().failed.get_or_insert(error);
        self.wake.notify_one();
    }

    /// The bytes of a payload that must be there.
    pub fn payload(&self, reference: &PayloadRef, what: &'static str) -> Result<Bytes, EngineError> {
        let bytes = self.engine.journal.payload(&reference.digest)?;
        bytes.ok_or_else(|| EngineError::Erased { run: self.run.clone(), what })
    }

    /// A step's output, as JSON.
    pub fn output(&self, core: &mut Core, index: StepIndex) -> Result<Option<Arc<Value>>, EngineError> {
        if let Some(value) = core.outputs.get(&index) {
            return Ok(Some(value.clone()));
        }
        let Some(reference) = core.state.step(index).and_then(|step| step.output) else { return Ok(None) };
        let value: Arc<Value> = Arc::new(parse(&self.payload(&reference, "output")?));
        core.outputs.insert(index, value.clone());
        Ok(Some(value))
    }

    /// The input that was decided for a step, byte for byte.
    pub fn input(&self, core: &mut Core, index: StepIndex) -> Result<Arc<str>, EngineError> {
        if let Some(input) = core.inputs.get(&index) {
            return Ok(input.clone());
        }
        let decision = core.state.step(index).and_then(|step| step.decision.as_ref());
        let reference = decision
            .and_then(|decision| decision.input)
            .ok_or_else(|| EngineError::Refused { why: "the step has no input that was decided".into() })?;
        let input: Arc<str> = String::from_utf8_lossy(&self.payload(&reference, "input")?).into();
        core.inputs.insert(index, input.clone());
        Ok(input)
    }

    pub fn in_flight(core: &Core) -> InFlight {
        let of = |kind| core.running.iter().filter(|(_, (work, _))| *work == kind).map(|(step, _)| *step).collect();
        InFlight { attempts: of(Work::Attempt), undos: of(Work::Undo) }
    }
}

impl Drop for Live {
    /// Nothing that this process has on its way for the run is left: nobody holds it any more.
    fn drop(&mut self) {
        self.engine.journal.leave(&self.run, self.epoch);
    }
}

/// Payloads are JSON that was canonical when it was stored.
pub(super) fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

impl Live {
    /// Appends an event that a client asked for, durably: if it is not legal now, that is the client's mistake.
    pub async fn append_checked(&self, event: Event, payloads: Vec<Payload>) -> Result<(), EngineError> {
        let careful = self.careful.lock().await;
        let pending =
            self.append(&mut self.lock(), event, payloads, Durability::Sync).map_err(|error| match error {
                EngineError::Illegal { illegal, .. } => EngineError::Refused { why: illegal.why },
                other => other,
            })?;
        drop(careful);
        self.settle(pending).await
    }
}
