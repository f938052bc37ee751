//! `next(state) -> commands`: what the owner of a run has to do now.
//!
//! The order of evaluation: an operator's kill; then, going forward, an end, a turn back (operator, failed step, deadline,
//! idleness), expiries and the steps that are due; rolling back, the running attempts, the next undo, the end. The clock
//! enters as an argument, and so does what is in flight in this process, which the events do not tell.

use std::collections::BTreeSet;

use super::event::{Cause, Mode, Outcome, RunClosed, Verb};
use super::planted::{self, Bug};
use super::state::{Phase, State, Status, Step, StepIndex};
use crate::types::{Failure, Retry, Timestamp, code, sha256};

/// What the owner of a run has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask the policy about a step.
    Decide {
        /// The step.
        step: StepIndex,
    },
    /// Execute a permitted step. If a person approved it, ask the policy once more before its first attempt.
    Execute {
        /// The step.
        step: StepIndex,
        /// The number of the attempt.
        attempt: u32,
    },
    /// Give an approved step that only waits its result.
    Settle {
        /// The step.
        step: StepIndex,
    },
    /// Fail a step whose approval has expired. Append only to the head that this state knows.
    Expire {
        /// The step.
        step: StepIndex,
    },
    /// Begin to roll back.
    StartRollback(Cause),
    /// Interrupt the attempt that runs.
    Interrupt {
        /// The step.
        step: StepIndex,
    },
    /// Undo a step.
    Undo {
        /// The step.
        step: StepIndex,
        /// The number of the attempt to undo it.
        attempt: u32,
    },
    /// End the run. Append only to the head that this state knows.
    Close(RunClosed),
    /// Nothing more to do before this moment.
    WaitUntil(Timestamp),
}

/// What is in flight in this process, which the events do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Steps of which an attempt runs.
    pub attempts: BTreeSet<StepIndex>,
    /// Steps that are being undone, from the comparison before to the one after.
    pub undos: BTreeSet<StepIndex>,
}

impl InFlight {
    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.undos.is_empty()
    }
}

/// What the commands for `state` are at `now`, while `running` is in flight.
pub fn next(state: &State, now: Timestamp, running: &InFlight) -> Vec<Command> {
    if state.phase == Phase::Closed {
        return match &state.turn_back {
            Some(operator) if operator.verb == Verb::Undo => {
                vec![Command::StartRollback(Cause::Undo { by: operator.by.clone(), reason: operator.reason.clone() })]
            }
            _ => Vec::new(),
        };
    }
    if state.kill.is_some() {
        return if running.is_empty() { close(state) } else { interrupt(running.attempts.union(&running.undos)) };
    }
    match state.phase {
        Phase::Forward => forward(state, now, &running.attempts),
        Phase::Undoing | Phase::Closed => undoing(state, now, running),
    }
}

/// The earliest moment at which there is something to do without a person, while nothing is in flight; none if there is no such
/// moment. From it on [`next`] asks for more than to wait.
pub fn due(state: &State) -> Option<Timestamp> {
    let mut moment = Timestamp(0);
    loop {
        let mut until: Option<Timestamp> = None;
        for command in next(state, moment, &InFlight::default()) {
            let Command::WaitUntil(wait) = command else { return Some(moment) };
            until = Some(until.map_or(wait, |until| until.min(wait)));
        }
        moment = until.filter(|until| *until > moment)?;
    }
}

fn close(state: &State) -> Vec<Command> {
    state.end().map(Command::Close).into_iter().collect()
}

fn interrupt<'a>(running: impl Iterator<Item = &'a StepIndex>) -> Vec<Command> {
    running.map(|step| Command::Interrupt { step: *step }).collect()
}

fn forward(state: &State, now: Timestamp, running: &BTreeSet<StepIndex>) -> Vec<Command> {
    if let Some(cause) = turn_back(state, now, running) {
        return vec![Command::StartRollback(cause)];
    }
    if running.is_empty() {
        let end = close(state);
        if !end.is_empty() {
            return end;
        }
    }
    let mut commands = Vec::new();
    let mut wake: Option<Timestamp> = state.submitted.deadline;
    let mut at = |moment: Timestamp| wake = Some(wake.map_or(moment, |w| w.min(moment)));
    let limit = usize::try_from(state.submitted.max_parallel.max(1)).unwrap_or(usize::MAX);
    let mut busy = running.len();
    for (index, step) in state.ready() {
        if running.contains(&index) {
            continue;
        }
        if let Some(request) = step.request().filter(|_| step.awaits_approval()) {
            if now >= request.expires {
                commands.push(Command::Expire { step: index });
            } else {
                at(request.expires);
            }
            continue;
        }
        if let Some(due) = step.retry_at.filter(|due| *due > now) {
            at(due);
            continue;
        }
        if busy >= limit {
            continue;
        }
        busy += 1;
        commands.push(match (&step.decision, &step.spec.capability) {
            (None, _) => Command::Decide { step: index },
            (Some(_), Some(_)) => Command::Execute { step: index, attempt: step.attempts + 1 },
            (Some(_), None) => Command::Settle { step: index },
        });
    }
    if state.is_idle() && running.is_empty() {
        at(state.active_at.plus(state.submitted.idle_timeout));
    }
    commands.extend(wake.map(Command::WaitUntil));
    commands
}

fn turn_back(state: &State, now: Timestamp, running: &BTreeSet<StepIndex>) -> Option<Cause> {
    if let Some(operator) = &state.turn_back {
        let (by, reason) = (operator.by.clone(), operator.reason.clone());
        return Some(if operator.verb == Verb::Rollback {
            Cause::Client { reason }
        } else {
            Cause::Cancelled { by, reason }
        });
    }
    if let Some(step) = state.failed.and_then(|index| state.step(index)) {
        let name = step.spec.name.clone();
        return Some(match &step.status {
            Status::Unclear(error) => Cause::StepUnclear { step: name, error: error.clone() },
            Status::Failed(error) => Cause::StepFailed { step: name, error: error.clone() },
            _ => Cause::StepFailed { step: name, error: Failure::new(code::CANCELLED, "it failed") },
        });
    }
    if state.submitted.deadline.is_some_and(|deadline| now >= deadline) && state.end().is_none() {
        return Some(Cause::Deadline);
    }
    let idle = state.is_idle() && running.is_empty() && state.submitted.mode == Mode::Open;
    (idle && now >= state.active_at.plus(state.submitted.idle_timeout)).then_some(Cause::Idle)
}

fn undoing(state: &State, now: Timestamp, running: &InFlight) -> Vec<Command> {
    // An undo has all the time that its limits give it; only attempts have to settle.
    if !running.undos.is_empty() {
        return Vec::new();
    }
    if !running.attempts.is_empty() && !planted::is(Bug::Fence) {
        let until = state.rollback_at.unwrap_or(state.at).plus(state.submitted.settle_timeout);
        return if now >= until { interrupt(running.attempts.iter()) } else { vec![Command::WaitUntil(until)] };
    }
    match state.next_to_undo() {
        Some((_, step)) if step.undo.retry_at.is_some_and(|due| due > now) => {
            step.undo.retry_at.map(Command::WaitUntil).into_iter().collect()
        }
        Some((index, step)) => vec![Command::Undo { step: index, attempt: step.undo.attempts + 1 }],
        None => close(state),
    }
}

impl State {
    /// The step that is undone next: the last that took effect, passing over those that cannot be undone, those whose undo
    /// failed for good, and the ancestors of the latter.
    pub fn next_to_undo(&self) -> Option<(StepIndex, &Step)> {
        let mut blocked = BTreeSet::new();
        let mut places = self.to_undo.values();
        let mut last = || if planted::is(Bug::UndoOrder) { places.next() } else { places.next_back() };
        while let Some(index) = last() {
            let step = self.steps.get(*index)?;
            if matches!(step.status, Status::UndoFailed(_)) {
                blocked.extend(self.ancestors(*index));
            } else if step.can_be_undone() && !blocked.contains(index) {
                return Some((*index, step));
            }
        }
        None
    }

    pub(in crate::saga) fn undo_due(&self, index: StepIndex) -> bool {
        self.next_to_undo().is_some_and(|(due, _)| due == index)
    }
}

/// Whether a failure is worth another attempt at all, whatever it left behind.
///
/// A component's own failures say it themselves, except for invalid input and what the host refused; of the host's own, a
/// trap, a timeout, an interruption and a request without its whole answer may pass.
fn may_pass(error: &Failure) -> bool {
    match error.code.as_str() {
        code::TRAP | code::TIMEOUT | code::HOST_DIED | code::INTERRUPTED | code::UNANSWERED => true,
        code::INVALID_INPUT
        | code::INVALID_OUTPUT
        | code::DENIED
        | code::UNKNOWN_CAPABILITY
        | code::NOT_GRANTED
        | code::NO_UNDO
        | code::EFFECT_FORBIDDEN => false,
        _ => error.retryable,
    }
}

/// Whether the step is tried again after an attempt that ended so, `counted` attempts having been made. One that the host
/// interrupted, because its process was told to stop, counts no more than one that died with it.
pub(in crate::saga) fn retry_allowed(step: &Step, outcome: Outcome, error: &Failure, counted: u32) -> bool {
    let proven_harmless = outcome == Outcome::Clean && !matches!(error.code.as_str(), code::TRAP | code::TIMEOUT);
    let left = counted < step.spec.retry.max_attempts || error.code == code::INTERRUPTED;
    left && may_pass(error) && (proven_harmless || step.spec.idempotent)
}

/// When the step is tried again after an attempt that ended so; none if it is not. `jitter` is drawn evenly from all
/// numbers: the wait lies between nothing and the bound of the retry rule, and is not shorter than the component asks for,
/// up to the rule's longest wait.
pub fn retry_at(
    state: &State,
    step: &Step,
    outcome: Outcome,
    error: &Failure,
    now: Timestamp,
    jitter: u64,
) -> Option<Timestamp> {
    let counted = step.counted + 1;
    let forward = state.phase == Phase::Forward;
    (forward && retry_allowed(step, outcome, error, counted))
        .then(|| again_at(&step.spec.retry, counted, error, now, jitter))
}

/// When an undo that failed is tried again; none if its attempts are used up.
pub fn undo_retry_at(step: &Step, error: &Failure, now: Timestamp, jitter: u64) -> Option<Timestamp> {
    let waits = error.code == code::NOT_SETTLED;
    let counted = if waits { step.undo.counted.saturating_sub(1) } else { step.undo.counted };
    let again = waits || counted < Retry::UNDO.max_attempts;
    again.then(|| again_at(&Retry::UNDO, counted.max(1), error, now, jitter))
}

fn again_at(retry: &Retry, failed: u32, error: &Failure, now: Timestamp, jitter: u64) -> Timestamp {
    let cap = retry.delay_cap(failed).0;
    let drawn = jitter % (cap + 1);
    let asked = error.retry_after_ms.unwrap_or(0).min(retry.max_interval.0);
    now.plus(crate::types::Duration(drawn.max(asked)))
}

/// The two keys of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// For every attempt of `execute`.
    Execute,
    /// For every attempt of `compensate`.
    Undo,
}

/// The idempotency key of a step: derived from run, step and salted input digest, at most 64 characters of `[a-z0-9-]`.
pub fn key(state: &State, step: &Step, key_use: KeyUse) -> String {
    let input = step.decision.as_ref().and_then(|decision| decision.input);
    let text =
        format!("{}\n{}\n{}", state.run(), step.spec.name, input.map_or_else(String::new, |i| i.digest.to_string()));
    let prefix = match key_use {
        KeyUse::Execute => "do",
        KeyUse::Undo => "undo",
    };
    let hex: String = sha256(text.as_bytes()).hex().chars().take(40).collect();
    format!("{prefix}-{hex}")
}
