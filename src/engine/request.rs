//! What anybody may append to a run: votes and operators' verbs.
//!
//! They are checked against the run as it stands, and appended only if it still stands so; otherwise it is read again. The
//! run's owner, if it lives, acts on them; if it does not, whoever takes the run over does. What is refused becomes no event of
//! the run: the system chain records who asked for what, and why not.

use super::change::must_stand;
use super::history::{entries_of, state_of};
use super::mask::Mask;
use super::named::{NamedPayload, payloads_of};
use super::view::rfc3339;
use super::{Engine, EngineError};
use crate::document::is_blank;
use crate::journal::{Append, Journal, JournalError, Kept, Pending, Summary, SystemEvent};
use crate::saga::event::{Entry, Event, Operator, Verb, Vote};
use crate::saga::{Phase, State, Step};
use crate::types::{CapabilityId, Digest, Principal, RunId, StepName, Timestamp};

/// How many characters a reason may have: it is kept for ever, and shown whole to whoever looks.
pub const MAX_REASON: usize = 4 << 10;

/// Whether a person's reason may be recorded; why not, if it may not.
pub fn check_reason(reason: &str) -> Result<(), String> {
    match reason.chars().count() {
        _ if is_blank(reason) => Err("a reason cannot be empty".to_owned()),
        0..=MAX_REASON => Ok(()),
        more => {
            Err(format!("a reason has at most {MAX_REASON} characters, and this one has {more}: name a file instead"))
        }
    }
}

/// A vote: the request may be left out if the one in force is meant.
#[derive(Clone, Debug)]
pub struct VoteRequest {
    /// The step.
    pub step: StepName,
    /// The request that was seen.
    pub request: Option<String>,
    /// What stood in the file that the call changes when somebody looked, as [`Change::seen`](super::Change::seen) names it; refused
    /// if something else does.
    pub seen: Option<Digest>,
    /// Who votes.
    pub by: Principal,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
}

/// Votes. Returns when the vote is durable. What is masked by `mask` cannot be named as seen.
pub fn vote(
    journal: &dyn Journal,
    run: &RunId,
    request: &VoteRequest,
    mut mask: Option<&mut Mask<'_>>,
    now: Timestamp,
) -> Result<State, EngineError> {
    let verb = if request.approve { "approve" } else { "reject" };
    let appended = append(journal, run, now, |state| {
        let passed = state.submitted.deadline.filter(|deadline| now >= *deadline && state.phase == Phase::Forward);
        if let Some(deadline) = passed {
            let why = format!("the deadline of the run passed at {}, so it will roll back", rfc3339(deadline));
            return Err(EngineError::Refused { why });
        }
        let step = state.index(request.step.as_str()).and_then(|index| state.step(index));
        let current = step.and_then(|step| step.request()).map(|request| request.id.clone());
        let vote = Vote {
            step: request.step.clone(),
            request: request.request.clone().or(current).unwrap_or_default(),
            by: request.by.clone(),
            approve: request.approve,
            reason: request.reason.clone(),
        };
        let event = Event::Vote(vote);
        if let Some((step, seen)) = step.zip(request.seen) {
            // A vote that would not count is told why, and nothing of the file.
            state
                .clone()
                .apply(&next(state, now, event.clone()))
                .map_err(|illegal| EngineError::Refused { why: illegal.why })?;
            must_stand(&request.by, journal, state, step, seen, mask.as_deref_mut())?;
        }
        Ok(event)
    });
    appended.or_else(|error| {
        record_refusal(journal, &request.by, &format!("{verb} {run} {}", request.step), &error, now).wait()?;
        Err(error)
    })
}

/// Asks for something as an operator. Returns when the request is durable.
pub fn operate(
    journal: &dyn Journal,
    run: &RunId,
    verb: Verb,
    step: Option<StepName>,
    by: &Principal,
    reason: &str,
    now: Timestamp,
) -> Result<State, EngineError> {
    let appended = needed(journal, run, &verb).and_then(|needs| {
        let digests = needs.iter().map(|part| part.payload.digest).collect();
        let asked = |_: &State| {
            let (by, reason) = (by.clone(), reason.to_owned());
            Ok(Event::Operator(Operator { verb: verb.clone(), by, reason, step: step.clone() }))
        };
        append_needing(journal, run, now, digests, asked).map_err(|error| match error {
            EngineError::Journal(JournalError::Erased { digest }) => {
                let gone = needs.iter().find(|part| part.payload.digest == digest).map(NamedPayload::path);
                let why =
                    format!("it cannot be undone: `{}` was erased, which its undo needs", gone.unwrap_or_default());
                EngineError::Refused { why }
            }
            error => error,
        })
    });
    appended.or_else(|error| {
        record_refusal(journal, by, &asked(run, &verb, step.as_ref()), &error, now).wait()?;
        Err(error)
    })
}

/// An operator's verb as it is typed.
fn asked(run: &RunId, verb: &Verb, step: Option<&StepName>) -> String {
    let step = step.map_or_else(String::new, |step| format!(" {step}"));
    match verb {
        Verb::Cancel => format!("cancel {run}"),
        Verb::Kill => format!("kill {run}"),
        Verb::Undo => format!("undo {run}"),
        Verb::Rollback => format!("roll back {run}"),
        Verb::RepairRetry { component: None } => format!("repair {run}{step} retry"),
        Verb::RepairRetry { component: Some(component) } => format!("repair {run}{step} retry --component {component}"),
        Verb::ResolveUndone => format!("repair {run}{step} resolve --undone"),
        Verb::ResolveLeft => format!("repair {run}{step} resolve --left"),
    }
}

/// Records a refused request in the system chain: who asked for what, and why not. What is no refusal is not recorded.
pub(super) fn record_refusal(
    journal: &dyn Journal,
    by: &Principal,
    request: &str,
    error: &EngineError,
    now: Timestamp,
) -> Pending<()> {
    if !error.is_refusal() {
        return Pending::ready(Ok(()));
    }
    let message = match error {
        EngineError::Refused { why } => why.clone(),
        error => error.to_string(),
    };
    journal.record(SystemEvent::refused(Some(by.clone()), request, error.code(), &message), now)
}

impl Engine {
    /// The same as [`operate`], for the time that it is now. A component that shall undo a step is looked at first, and kept
    /// as those are that runs refer to.
    pub fn operate(
        &self,
        run: &RunId,
        verb: Verb,
        step: Option<StepName>,
        by: &Principal,
        reason: &str,
    ) -> Result<State, EngineError> {
        let (journal, now) = (&**self.journal(), self.inner.clock.now());
        if let (Verb::RepairRetry { component: Some(digest) }, Some(step)) = (&verb, &step) {
            let state = state_of(journal, run)?;
            if let Some(step) = state.index(step.as_str()).and_then(|index| state.step(index))
                && let Err(error) = self.keep_mended(step, digest, now)
            {
                record_refusal(journal, by, &asked(run, &verb, Some(&step.spec.name)), &error, now).wait()?;
                return Err(error);
            }
        }
        operate(journal, run, verb, step, by, reason, now)
    }

    fn keep_mended(&self, step: &Step, digest: &Digest, now: Timestamp) -> Result<(), EngineError> {
        let component = self.registry().pinned(digest, &**self.journal())?;
        let declared = step.spec.compensation.as_ref().filter(|_| step.compensation.is_some());
        let undone_by = declared.map(|spec| &spec.capability).or(step.spec.capability.as_ref());
        let provides = |id: &&CapabilityId| component.capabilities().iter().any(|info| info.id == **id);
        if let Some(missing) = undone_by.filter(|id| !provides(id)) {
            return Err(EngineError::Refused { why: format!("the component {digest} does not provide `{missing}`") });
        }
        let kept = Kept { components: self.registry().kept_as(digest).into_iter().collect(), ..Kept::default() };
        Ok(self.journal().keep(kept, now).wait()?)
    }
}

/// What must be there for a verb to be done: what an undo needs, if that is asked for.
fn needed(journal: &dyn Journal, run: &RunId, verb: &Verb) -> Result<Vec<NamedPayload>, EngineError> {
    if *verb != Verb::Undo {
        return Ok(Vec::new());
    }
    let mut parts = payloads_of(&entries_of(journal, run)?);
    parts.retain(|part| part.kind.serves_undo());
    Ok(parts)
}

/// The next entry of a run, if that is `event`.
fn next(state: &State, now: Timestamp, event: Event) -> Entry {
    Entry { seq: state.seq + 1, at: now.max(state.at), event }
}

fn append(
    journal: &dyn Journal,
    run: &RunId,
    now: Timestamp,
    event: impl FnMut(&State) -> Result<Event, EngineError>,
) -> Result<State, EngineError> {
    append_needing(journal, run, now, Vec::new(), event)
}

/// The same, if no payload of these is erased when it is appended.
fn append_needing(
    journal: &dyn Journal,
    run: &RunId,
    now: Timestamp,
    needs: Vec<Digest>,
    mut event: impl FnMut(&State) -> Result<Event, EngineError>,
) -> Result<State, EngineError> {
    loop {
        let mut state = state_of(journal, run)?;
        let event = event(&state)?;
        let expected = state.seq;
        let entry = next(&state, now, event.clone());
        state.apply(&entry).map_err(|illegal| EngineError::Refused { why: illegal.why })?;
        let summary = Summary::of(&state);
        let append = Append::by_anyone(expected, entry.at, event).with_summary(summary);
        match journal.append(run, Append { needs: needs.clone(), ..append }).wait() {
            Ok(_) => return Ok(state),
            Err(JournalError::HeadMoved { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
