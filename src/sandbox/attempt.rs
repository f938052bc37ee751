//! The gate's decisions for one attempt. Every effect of every kind comes through [`Attempt::admit`].
//!
//! It decides in this order, and stops at the first no:
//!
//! 1. was the call interrupted, or is its time over?
//! 2. of a path: is it in a directory granted read-write, and none of the names that are the host's own? (Of a request the
//!    grant, the name's addresses and the connection come first: `http`.)
//! 3. may this capability change anything (`effect`), and is its undo record saved? In an undo: did `execute` change it? And
//!    is there room in the limit `targets`?
//! 4. does another step of the run claim the target?
//! 5. the target's state is taken, if this is its first effect
//! 6. is the intent durable? The first effect enqueues it, once, and waits
//! 7. was the call interrupted while it waited?
//!
//! A no of 2 to 4 and of 6 is remembered: the guest sees only *not permitted*, so the attempt's failure carries the reason,
//! and an attempt that was refused an effect never counts as a success.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::call::Reach;
use super::cancel::Cancel;
use super::evidence::{Ledger, effect};
use super::explain::limit;
use super::grant::Roots;
use super::names::At;
use super::observe::observe_at;
use crate::types::{Access, Effect, EffectKind, EffectStatus, Exchange, Failure, Target, TargetState, code};

/// When something is durable, or why it never will be.
pub type Durable = BoxFuture<'static, Result<(), Failure>>;

/// What the engine is asked while one attempt runs. All of it is called from the thread that runs the guest.
pub trait Watcher: Send + Sync {
    /// Called when an effect of this `kind` on `target` is about to be admitted, before its intent; once for each pair of
    /// kind and target. An error, such as a conflict with another step of the run, refuses the effect. Not called in an
    /// undo.
    fn claim(&self, target: &Target, kind: &str) -> Result<(), Failure>;

    /// Nothing on `target` was changed after all: the system refused the effect, or it was never let out. Called for
    /// targets that were claimed, at the latest before the report.
    fn release(&self, target: &Target);

    /// Called at most once, before the first effect; must enqueue the INTENT before it returns, and answer when it is
    /// durable. The effect waits for the answer; an error refuses it and all that follow. `undo` is the record that was
    /// saved in this attempt, none if an earlier attempt's is in force. Not called in an undo, whose UNDO_INTENT is
    /// durable before it begins.
    fn intent(&self, undo: Option<&[u8]>, target: &Target, before: &TargetState) -> Durable;

    /// The state of a further target, just before its first change. Not called in an undo.
    fn before(&self, target: &Target, before: &TargetState);

    /// An effect of this `kind` is let out at this moment, whatever comes of it. Called for each, also in an undo. Does nothing
    /// unless somebody wants to know.
    fn admitted(&self, _kind: &str) {}

    /// Called for each record that is appended after the first effect; `undo.append` returns when it is answered.
    fn appended(&self, undo: &[u8]) -> Durable;
}

/// What kind of call the attempt is.
pub(super) enum Mode {
    /// `describe`: nothing is let out.
    Describe,
    /// `execute`, perhaps with the records of an earlier attempt.
    Execute { in_force: Vec<Vec<u8>> },
    /// `compensate`, which may be held to the paths and origins that `execute` changed.
    Compensate { may_change: Reach },
}

/// Why an effect is not let out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The guest is told that it is not permitted.
    NotPermitted,
    /// The guest is stopped.
    Stopped,
}

/// The guest was stopped at the gate.
#[derive(Debug, thiserror::Error)]
#[error("the call was stopped")]
pub(super) struct Stopped;

/// How the system answered an effect.
pub(super) enum Answer {
    Done {
        bytes: u64,
    },
    /// It may have changed something.
    Failed,
    /// An atomic call failed: it changed nothing.
    Refused,
    /// A request was answered, as a whole or not.
    Exchanged {
        bytes: u64,
        exchange: Exchange,
        whole: bool,
    },
}

/// An effect that was let out and waits for its answer.
pub(super) struct Admitted {
    /// Its number in `in_flight`.
    number: u64,
    kind: &'static str,
    targets: Vec<Target>,
    fresh: Vec<Target>,
    was_clean: bool,
}

/// What an appended record counts at least: each is an event of the journal, also an empty one.
const LEAST_RECORD: u64 = 1 << 10;

/// What the host knows of why a guest may fail, the strongest first.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    /// Why an effect was refused. An attempt with one has failed.
    pub(super) refusal: Option<Failure>,
    /// Why a read was refused: explains an error of the guest, without being one by itself.
    pub(super) hint: Option<Failure>,
    /// Why the latest request could not be sent, where the guest was not told.
    pub(super) cause: Option<String>,
}

enum Intent {
    NotYet,
    /// It was enqueued; whoever of several effects waits for it may be dropped.
    Pending(Shared<Durable>),
    Durable,
    Refused(Failure),
}

pub(super) struct Attempt {
    pub(super) roots: Roots,
    pub(super) cancel: Cancel,
    watcher: Arc<dyn Watcher>,
    deadline: Instant,
    capability: String,
    effect: EffectKind,
    mode: Mode,
    undo_limit: u64,
    target_limit: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    ledger: Ledger,
    saved: Option<Vec<u8>>,
    undo_bytes: u64,
    intent: Intent,
    /// By which kinds of effect each target is claimed.
    claimed: BTreeMap<Target, BTreeSet<&'static str>>,
    /// What was let out and not answered yet: effects, and requests that are none.
    in_flight: BTreeMap<u64, Effect>,
    last_number: u64,
    reasons: Reasons,
    handles: Vec<Weak<File>>,
    /// Held by each request that is on its way.
    requests: Arc<()>,
}

/// What is fixed when an attempt begins.
pub(super) struct Setup {
    pub(super) roots: Roots,
    pub(super) cancel: Cancel,
    pub(super) watcher: Arc<dyn Watcher>,
    pub(super) deadline: Instant,
    pub(super) capability: String,
    pub(super) effect: EffectKind,
    pub(super) mode: Mode,
    pub(super) undo_limit: u64,
    pub(super) target_limit: u64,
    pub(super) effects_listed: u64,
}

impl Attempt {
    pub(super) fn new(setup: Setup) -> Attempt {
        let undo_bytes = match &setup.mode {
            Mode::Execute { in_force } => in_force.iter().map(|record| record.len() as u64).sum(),
            Mode::Describe | Mode::Compensate { .. } => 0,
        };
        let inner = Inner {
            ledger: Ledger::new(setup.effects_listed),
            saved: None,
            undo_bytes,
            intent: match setup.mode {
                Mode::Compensate { .. } => Intent::Durable,
                Mode::Describe | Mode::Execute { .. } => Intent::NotYet,
            },
            claimed: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            last_number: 0,
            reasons: Reasons::default(),
            handles: Vec::new(),
            requests: Arc::new(()),
        };
        Attempt {
            roots: setup.roots,
            cancel: setup.cancel,
            watcher: setup.watcher,
            deadline: setup.deadline,
            capability: setup.capability,
            effect: setup.effect,
            mode: setup.mode,
            undo_limit: setup.undo_limit,
            target_limit: setup.target_limit,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the guest must not go on.
    pub(super) fn stopped(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.deadline
    }

    /// Lets one effect on files out, or says why not. Of a rename the first place is where it comes from.
    pub(super) async fn admit(&self, kind: &'static str, places: &[&At], moved: bool) -> Result<Admitted, Refusal> {
        let places: Vec<(Target, Option<&At>)> = places.iter().map(|at| (at.target(), Some(*at))).collect();
        self.admit_at(kind, &places, moved, None).await
    }

    /// Lets one request out that is an effect, to whom `exchange` says.
    pub(super) async fn admit_request(
        &self,
        kind: &'static str,
        target: &Target,
        exchange: &Exchange,
    ) -> Result<Admitted, Refusal> {
        self.admit_at(kind, &[(target.clone(), None)], false, Some(exchange)).await
    }

    async fn admit_at(
        &self,
        kind: &'static str,
        places: &[(Target, Option<&At>)],
        moved: bool,
        exchange: Option<&Exchange>,
    ) -> Result<Admitted, Refusal> {
        let targets: Vec<Target> = places.iter().map(|(target, _)| target.clone()).collect();
        if self.stopped() {
            return Err(Refusal::Stopped);
        }
        for target in &targets {
            self.permitted(target).map_err(|failure| self.refuse(kind, &targets, failure))?;
        }
        self.room_for(&targets).map_err(|failure| self.refuse(kind, &targets, failure))?;
        let claims = self.claim(kind, &targets)?;
        let mut fresh: Vec<(Target, TargetState)> = Vec::new();
        for (target, at) in places {
            let known = self.inner().ledger.touched(target) || fresh.iter().any(|(t, _)| t == target);
            if !known {
                let before = at.map(|at| observe_at(&at.dir.dir, at.name.as_ref(), moved));
                fresh.push((target.clone(), before.unwrap_or(TargetState::Unobserved)));
            }
        }
        if let Err(failure) = self.barrier(&targets, &fresh).await {
            self.unclaim(&claims);
            return Err(self.refuse(kind, &targets, failure));
        }
        if self.stopped() {
            self.unclaim(&claims);
            return Err(Refusal::Stopped);
        }
        let mut inner = self.inner();
        let was_clean = !inner.ledger.let_out();
        let number = inner.begin(kind, &targets, exchange);
        let names = fresh.iter().map(|(target, _)| target.clone()).collect();
        for (target, before) in fresh {
            inner.ledger.target(&target, before, moved);
        }
        drop(inner);
        self.watcher.admitted(kind);
        Ok(Admitted { number, kind, targets, fresh: names, was_clean })
    }

    /// Lets a change through a handle out that was opened by an admitted effect. The intent is durable by then.
    pub(super) fn admit_through(&self, kind: &'static str, at: &At) -> Result<Admitted, Refusal> {
        if self.stopped() {
            return Err(Refusal::Stopped);
        }
        let target = at.target();
        let targets = vec![target.clone()];
        self.permitted(&target).map_err(|failure| self.refuse(kind, &targets, failure))?;
        let known = self.inner().ledger.touched(&target);
        let mut fresh = Vec::new();
        if !known {
            // The file was renamed while it was open: its new name is one more target.
            self.room_for(&targets).map_err(|failure| self.refuse(kind, &targets, failure))?;
            self.claim(kind, &targets)?;
            let before = observe_at(&at.dir.dir, at.name.as_ref(), false);
            if matches!(self.mode, Mode::Execute { .. }) {
                self.watcher.before(&target, &before);
            }
            self.inner().ledger.target(&target, before, false);
            fresh.push(target);
        }
        let number = self.inner().begin(kind, &targets, None);
        self.watcher.admitted(kind);
        Ok(Admitted { number, kind, targets, fresh, was_clean: false })
    }

    /// The system answered.
    pub(super) fn answer(&self, admitted: Admitted, answer: Answer) {
        let Admitted { number, kind, targets, fresh, was_clean } = admitted;
        let (status, bytes, exchange) = match answer {
            Answer::Done { bytes } => (EffectStatus::Done, bytes, None),
            Answer::Failed => (EffectStatus::Failed, 0, None),
            Answer::Refused => (EffectStatus::Refused, 0, None),
            Answer::Exchanged { bytes, exchange, whole: true } => (EffectStatus::Done, bytes, Some(exchange)),
            Answer::Exchanged { bytes, exchange, whole: false } => (EffectStatus::LetOut, bytes, Some(exchange)),
        };
        {
            let mut inner = self.inner();
            inner.in_flight.remove(&number);
            if let (Some(first), to) = ends(&targets) {
                inner.ledger.effect(Effect { exchange, ..effect(kind, first, to, status, bytes) });
            }
            if status == EffectStatus::Refused {
                inner.ledger.take_back(&fresh, was_clean);
            }
        }
        if status == EffectStatus::Refused {
            let claims: Vec<Target> = targets.into_iter().filter(|target| fresh.contains(target)).collect();
            self.unclaim(&claims);
        }
    }

    /// Something was opened under another name than the one that was looked up: somebody else moved it meanwhile.
    pub(super) fn also_touched(&self, target: &Target) {
        let before = TargetState::Unknown { error: "it took the place of another file while it was opened".into() };
        let mut inner = self.inner();
        if !inner.ledger.touched(target) {
            inner.ledger.target(target, before, false);
        }
    }

    /// Whether a request can be an effect of this call, before anything is sent for it. Decided again when it is admitted.
    pub(super) fn permit_request(&self, kind: &'static str, target: &Target) -> Result<(), Refusal> {
        self.permitted(target).map_err(|failure| self.refuse(kind, std::slice::from_ref(target), failure))
    }

    /// A request that is no effect goes out; [`Attempt::answered_read`] takes the number.
    pub(super) fn begin_read(&self, kind: &'static str, target: &Target, exchange: &Exchange) -> u64 {
        self.inner().begin(kind, std::slice::from_ref(target), Some(exchange))
    }

    /// A request that is no effect was answered, as a whole or not.
    pub(super) fn answered_read(&self, number: u64, bytes: u64, exchange: Exchange, whole: bool) {
        let mut inner = self.inner();
        if let Some(read) = inner.in_flight.remove(&number) {
            let status = if whole { EffectStatus::Done } else { EffectStatus::LetOut };
            inner.ledger.egress(Effect { status, bytes, exchange: Some(exchange), ..read });
        }
    }

    /// A request that is no effect found nobody to send to.
    pub(super) fn read_not_sent(&self, kind: &'static str, target: &Target, exchange: Exchange) {
        let refused = effect(kind, target, None, EffectStatus::Refused, 0);
        self.inner().ledger.egress(Effect { exchange: Some(exchange), ..refused });
    }

    /// A request that is no effect was refused: it stands in the evidence all the same.
    pub(super) fn refused_read(&self, kind: &'static str, target: &Target) {
        self.inner().ledger.egress(effect(kind, target, None, EffectStatus::Refused, 0));
    }

    /// An effect was refused before it was admitted.
    pub(super) fn refuse_request(&self, kind: &'static str, target: &Target, failure: Failure) {
        self.refuse(kind, std::slice::from_ref(target), failure);
    }

    /// A request that is an effect found nobody to send to: nothing of it went out.
    pub(super) fn not_sent(&self, kind: &'static str, target: &Target, exchange: Exchange) {
        let refused = effect(kind, target, None, EffectStatus::Refused, 0);
        self.inner().ledger.effect(Effect { exchange: Some(exchange), ..refused });
    }

    fn permitted(&self, target: &Target) -> Result<(), Failure> {
        if let Target::File { host, guest } = target {
            self.path_permitted(host, guest)?;
        }
        match (&self.mode, self.effect) {
            (Mode::Describe, _) => {
                Err(Failure::new(code::EFFECT_FORBIDDEN, format!("`describe` cannot change `{target}`")))
            }
            (_, EffectKind::None) => {
                let message = format!("`{}` declares `effect: none` and tried to change `{target}`", self.capability);
                Err(Failure::new(code::EFFECT_FORBIDDEN, message))
            }
            (Mode::Execute { in_force }, EffectKind::Reversible) => {
                if in_force.is_empty() && self.inner().saved.is_none() {
                    let message = format!(
                        "`{}` tried to change `{target}` before it saved an undo record; nothing was changed",
                        self.capability
                    );
                    return Err(Failure::new(code::NO_UNDO, message));
                }
                Ok(())
            }
            (Mode::Execute { .. }, EffectKind::Irreversible) => Ok(()),
            (Mode::Compensate { may_change }, _) if !may_change.holds(target) => {
                let message = match target {
                    Target::File { guest, .. } => {
                        format!("the undo tried to change `{guest}`, which the step did not touch")
                    }
                    Target::Http { .. } => {
                        format!("the undo tried to send `{target}`; the step sent nothing that changes to that origin")
                    }
                };
                Err(Failure::new(code::NOT_GRANTED, message))
            }
            (Mode::Compensate { .. }, _) => Ok(()),
        }
    }

    /// All targets of an attempt are recorded; so there are only so many.
    fn room_for(&self, targets: &[Target]) -> Result<(), Failure> {
        let inner = self.inner();
        let further = targets.iter().filter(|target| !inner.ledger.touched(target)).count();
        let fits = further == 0 || (inner.ledger.targets() + further) as u64 <= self.target_limit;
        if fits { Ok(()) } else { Err(limit("targets", self.target_limit)) }
    }

    fn path_permitted(&self, host: &str, guest: &str) -> Result<(), Failure> {
        let Some(root) = self.roots.of(host) else {
            return Err(Failure::new(code::NOT_GRANTED, format!("`{guest}` is not in a granted directory")));
        };
        if root.access != Access::ReadWrite {
            let message = format!("`{guest}` cannot be changed: `{}` is granted read-only", root.guest);
            return Err(Failure::new(code::NOT_GRANTED, message));
        }
        if root.is_reserved(host) {
            let message =
                format!("`{guest}` cannot be changed: `redress.yaml` and `.redress` are the host's own names");
            return Err(Failure::new(code::NOT_GRANTED, message));
        }
        Ok(())
    }

    /// Claims what this kind has not claimed yet; returns the targets that are claimed for the first time.
    fn claim(&self, kind: &'static str, targets: &[Target]) -> Result<Vec<Target>, Refusal> {
        let mut first = Vec::new();
        if !matches!(self.mode, Mode::Execute { .. }) {
            return Ok(first);
        }
        for target in targets {
            let kinds = self.inner().claimed.get(target).map(|kinds| kinds.contains(kind));
            if kinds == Some(true) {
                continue;
            }
            if let Err(failure) = self.watcher.claim(target, kind) {
                self.unclaim(&first);
                return Err(self.refuse(kind, targets, failure));
            }
            self.inner().claimed.entry(target.clone()).or_default().insert(kind);
            if kinds.is_none() {
                first.push(target.clone());
            }
        }
        Ok(first)
    }

    fn unclaim(&self, targets: &[Target]) {
        for target in targets {
            let claimed = self.inner().claimed.remove(target);
            if claimed.is_some() {
                self.watcher.release(target);
            }
        }
    }

    /// Returns when the intent is durable. In an undo it was before the call began.
    async fn barrier(&self, targets: &[Target], fresh: &[(Target, TargetState)]) -> Result<(), Failure> {
        if !matches!(self.mode, Mode::Execute { .. }) {
            return Ok(());
        }
        let mut further = fresh;
        let pending = {
            let mut inner = self.inner();
            match &inner.intent {
                Intent::Refused(failure) => return Err(failure.clone()),
                Intent::Durable => None,
                Intent::Pending(answer) => Some(answer.clone()),
                Intent::NotYet => {
                    let Some(((target, before), rest)) = fresh.split_first() else { return Err(journal_gone()) };
                    debug_assert_eq!(targets.first(), Some(target));
                    further = rest;
                    let answer = self.watcher.intent(inner.saved.as_deref(), target, before).shared();
                    inner.intent = Intent::Pending(answer.clone());
                    Some(answer)
                }
            }
        };
        if let Some(pending) = pending {
            let answer = pending.await;
            self.inner().intent = match &answer {
                Ok(()) => Intent::Durable,
                Err(failure) => Intent::Refused(failure.clone()),
            };
            answer?;
        }
        for (target, before) in further {
            self.watcher.before(target, before);
        }
        Ok(())
    }

    /// Remembers why an effect was refused, and that it was.
    fn refuse(&self, kind: &'static str, targets: &[Target], failure: Failure) -> Refusal {
        if let (Some(first), to) = ends(targets) {
            self.inner().ledger.effect(effect(kind, first, to, EffectStatus::Refused, 0));
        }
        self.note_refusal(failure)
    }

    /// Remembers why an effect was refused whose target could not even be named.
    pub(super) fn note_refusal(&self, failure: Failure) -> Refusal {
        self.inner().reasons.refusal.get_or_insert(failure);
        Refusal::NotPermitted
    }

    /// Remembers what explains an error of the guest, without being one by itself: a read that was refused.
    pub(super) fn note_hint(&self, failure: Failure) {
        self.inner().reasons.hint.get_or_insert(failure);
    }

    /// Remembers why the latest request could not be sent; none when the next one begins.
    pub(super) fn note_cause(&self, cause: Option<String>) {
        self.inner().reasons.cause = cause;
    }

    pub(super) fn opened_to_read(&self, place: &str) {
        self.inner().ledger.opened_to_read(place);
    }

    pub(super) fn read(&self, place: &str, bytes: u64) {
        self.inner().ledger.read(place, bytes);
    }

    /// `undo.save`.
    pub(super) fn save(&self, record: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
        let in_force = match &self.mode {
            Mode::Describe => return Err("`describe` has nothing to undo".into()),
            Mode::Compensate { .. } => return Ok(vec![record]),
            Mode::Execute { in_force } => in_force,
        };
        let mut inner = self.inner();
        if !matches!(inner.intent, Intent::NotYet) {
            return Err("`undo.save` comes after the first effect: save first, append afterwards".into());
        }
        if !in_force.is_empty() {
            return Ok(in_force.clone());
        }
        let len = record.len() as u64;
        if len > self.undo_limit {
            let message = format!("the undo record has {len} bytes; the limit `undo` is {}", self.undo_limit);
            inner.reasons.refusal.get_or_insert(Failure::new(code::UNDO_TOO_LARGE, message.clone()));
            return Err(message);
        }
        inner.undo_bytes = len;
        inner.saved = Some(record.clone());
        Ok(vec![record])
    }

    /// `undo.append`.
    pub(super) async fn append(&self, record: Vec<u8>) -> Result<(), String> {
        match self.mode {
            Mode::Describe => return Err("`describe` has nothing to undo".into()),
            Mode::Compensate { .. } => return Ok(()),
            Mode::Execute { .. } => {}
        }
        let durable = {
            let mut inner = self.inner();
            if !matches!(inner.intent, Intent::Durable) {
                return Err("`undo.append` comes before the first effect: save first, append afterwards".into());
            }
            let total = inner.undo_bytes.saturating_add((record.len() as u64).max(LEAST_RECORD));
            if total > self.undo_limit {
                let message = format!("the undo records have {total} bytes; the limit `undo` is {}", self.undo_limit);
                inner.reasons.hint.get_or_insert(Failure::new(code::UNDO_TOO_LARGE, message.clone()));
                return Err(message);
            }
            inner.undo_bytes = total;
            self.watcher.appended(&record)
        };
        durable.await.map_err(|failure| failure.to_string())
    }

    /// Keeps an eye on a file that was handed to the guest, for [`Attempt::outstanding`].
    pub(super) fn handed_out(&self, file: &Arc<File>) {
        let mut inner = self.inner();
        if inner.handles.len() == inner.handles.capacity() {
            inner.handles.retain(|handle| handle.strong_count() > 0);
        }
        inner.handles.push(Arc::downgrade(file));
    }

    /// What a request holds for as long as anything of it runs.
    pub(super) fn running(&self) -> Arc<()> {
        Arc::clone(&self.inner().requests)
    }

    /// How many handed-out files are still open, and requests on their way. None once the store is gone, or something still
    /// runs.
    pub(super) fn outstanding(&self) -> usize {
        let inner = self.inner();
        let files = inner.handles.iter().filter(|handle| handle.strong_count() > 0).count();
        files + Arc::strong_count(&inner.requests) - 1
    }

    /// When the call must be over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ends the attempt: its evidence is taken out, what explains a failure is handed over, and claims on what was not
    /// touched are released.
    pub(super) fn finish(&self) -> (Ledger, Reasons) {
        let mut inner = self.inner();
        for (_, effect) in std::mem::take(&mut inner.in_flight) {
            if inner.ledger.touched(&effect.target) {
                inner.ledger.effect(effect);
            } else {
                inner.ledger.egress(effect);
            }
        }
        let ledger = std::mem::replace(&mut inner.ledger, Ledger::new(0));
        let untouched: Vec<Target> = inner.claimed.keys().filter(|target| !ledger.touched(target)).cloned().collect();
        let reasons = std::mem::take(&mut inner.reasons);
        drop(inner);
        self.unclaim(&untouched);
        (ledger, reasons)
    }
}

impl Inner {
    /// Notes that something is let out and not answered yet.
    fn begin(&mut self, kind: &'static str, targets: &[Target], exchange: Option<&Exchange>) -> u64 {
        self.last_number += 1;
        if let (Some(first), to) = ends(targets) {
            let begun = effect(kind, first, to, EffectStatus::LetOut, 0);
            self.in_flight.insert(self.last_number, Effect { exchange: exchange.cloned(), ..begun });
        }
        self.last_number
    }
}

fn ends(targets: &[Target]) -> (Option<&Target>, Option<&Target>) {
    (targets.first(), targets.get(1))
}

fn journal_gone() -> Failure {
    Failure::new(code::INTERRUPTED, "the intent could not be made durable: the engine is gone")
}
