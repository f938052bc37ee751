//! `state = fold(events)`: which event may follow which, and what it changes.
//!
//! Every event is checked before it changes anything; one that is not legal is an error that names it. Requests of
//! operators and voters (`OPERATOR`, `VOTE`) may stand between any two events of the owner and never make the owner's next
//! event illegal, except that an expiry and a vote exclude each other: the owner appends an expiry only to the head it saw.
//!
//! Where a rule of the semantics is enforced: I2 in [`State::intent`], I1 and I7 in [`State::result`], I5 and W5 in
//! [`State::undo_intent`], approval in [`State::vote`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thiserror::Error;

use super::event::{
    Cause, Closed, Decision, Entry, Event, Intent, Mode, Operator, Outcome, Owner, ResidueKind, RollbackStarted,
    RunClosed, StepResult, StepSubmitted, UndoAppended, UndoIntent, UndoOutcome, UndoResult, Verb, Vote,
};
use super::next::retry_allowed;
use super::shown::residue_of;
use super::state::{MAX_DEATHS, OpenAttempt, Phase, State, Status, Step, StepIndex, Touched};
use crate::types::{Action, Failure, StepName, Target, TargetState, code};

/// An event that may not stand where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("event {seq} ({kind}) cannot follow here: {why}")]
pub struct Illegal {
    /// The event's number in its run.
    pub seq: u64,
    /// Its kind.
    pub kind: &'static str,
    /// The rule that it breaks.
    pub why: String,
}

/// The state that `entries` amount to; the first must be `RUN_SUBMITTED`.
pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<State, Illegal> {
    let mut entries = entries.into_iter();
    let first = entries.next().ok_or(Illegal { seq: 0, kind: "none", why: "a run has at least one event".into() })?;
    let mut state = State::begin(first)?;
    entries.try_for_each(|entry| state.apply(entry)).map(|()| state)
}

type Check = Result<(), String>;

fn ensure(condition: bool, why: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(why()) }
}

impl State {
    /// The state after the first event.
    pub fn begin(entry: &Entry) -> Result<State, Illegal> {
        let illegal = |why: String| Illegal { seq: entry.seq, kind: entry.event.kind(), why };
        let Event::RunSubmitted(submitted) = &entry.event else {
            return Err(illegal("a run begins with RUN_SUBMITTED".into()));
        };
        ensure(entry.seq == 1, || "the first event has number 1".into()).map_err(illegal)?;
        let mut submitted = (**submitted).clone();
        let specs = std::mem::take(&mut submitted.steps);
        let mut state = State {
            sealed: submitted.mode == Mode::Sealed,
            submitted,
            submitted_at: entry.at,
            seq: 1,
            at: entry.at,
            phase: Phase::Forward,
            steps: Vec::with_capacity(specs.len()),
            owner: None,
            cause: None,
            rollback_at: None,
            turn_back: None,
            kill: None,
            closed: None,
            closed_at: None,
            active_at: entry.at,
            names: HashMap::with_capacity(specs.len()),
            ready: BTreeSet::new(),
            open: BTreeSet::new(),
            unfinished: 0,
            to_undo: BTreeMap::new(),
            failed: None,
            intents: 0,
            undo_begun: false,
        };
        for (index, spec) in specs.iter().enumerate() {
            let unique = state.names.insert(spec.name.clone(), index).is_none();
            ensure(unique, || format!("two steps have the name `{}`", spec.name)).map_err(illegal)?;
        }
        for spec in specs {
            state.push_step(Step::new(spec, None)).map_err(illegal)?;
        }
        (0..state.steps.len()).try_for_each(|index| state.link_step(index)).map_err(illegal)?;
        state.check_acyclic().map_err(illegal)?;
        Ok(state)
    }

    /// Checks one more event and takes it in. On an error nothing has changed.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let (at, event) = (entry.at, &entry.event);
        let illegal = |why: String| Illegal { seq: entry.seq, kind: event.kind(), why };
        ensure(entry.seq == self.seq + 1, || format!("its number should be {}", self.seq + 1)).map_err(illegal)?;
        ensure(at >= self.at, || "its time is before the previous event".into()).map_err(illegal)?;
        self.absorb(entry)
    }

    /// Takes in an event that another process appended between events of the owner which the owner has applied already: as
    /// [`State::apply`], but its number and time are those of the journal, not of this state.
    pub fn absorb(&mut self, entry: &Entry) -> Result<(), Illegal> {
        let (at, event) = (entry.at, &entry.event);
        let illegal = |why: String| Illegal { seq: entry.seq, kind: event.kind(), why };
        match event {
            Event::RunSubmitted(_) => Err("a run is submitted once".into()),
            Event::StepSubmitted(e) => self.step_submitted(e),
            Event::Sealed(_) => self.seal(),
            Event::Owner(e) => self.owner(e),
            Event::Decision(e) => self.decision(e),
            Event::Vote(e) => self.vote_at(e, entry),
            Event::Intent(e) => self.intent(e),
            Event::UndoAppended(e) => self.undo_appended(e),
            Event::Result(e) => self.result(e),
            Event::RollbackStarted(e) => self.rollback_started(e, entry),
            Event::UndoIntent(e) => self.undo_intent(e),
            Event::UndoResult(e) => self.undo_result(e),
            Event::Operator(e) => self.operator(e, entry),
            Event::RunClosed(e) => self.run_closed(e, entry),
        }
        .map_err(illegal)?;
        self.seq += 1;
        self.at = self.at.max(at);
        if !matches!(event, Event::Owner(_) | Event::Vote(_) | Event::Operator(_)) {
            self.active_at = self.at;
        }
        Ok(())
    }

    fn find(&self, name: &StepName) -> Result<(StepIndex, &Step), String> {
        self.names
            .get(name)
            .and_then(|index| self.steps.get(*index).map(|step| (*index, step)))
            .ok_or_else(|| format!("the run has no step `{name}`"))
    }

    fn step_mut(&mut self, index: StepIndex) -> Result<&mut Step, String> {
        self.steps.get_mut(index).ok_or_else(|| format!("the run has no step number {index}"))
    }

    fn forward(&self) -> Check {
        ensure(self.phase == Phase::Forward, || "the run does not go forward any more".into())
    }

    fn undoing(&self) -> Check {
        ensure(self.phase == Phase::Undoing, || "the run is not rolling back".into())
    }

    /// Adds a step without linking it to the steps that it depends on, which may stand after it.
    fn push_step(&mut self, mut step: Step) -> Check {
        for name in &step.spec.depends_on {
            let parent =
                *self.names.get(name).ok_or_else(|| format!("`{}` depends on unknown `{name}`", step.spec.name))?;
            ensure(!step.depends_on.contains(&parent), || format!("`{}` names `{name}` twice", step.spec.name))?;
            step.depends_on.push(parent);
        }
        self.steps.push(step);
        Ok(())
    }

    fn link_step(&mut self, index: StepIndex) -> Check {
        let mut missing = 0;
        let mut doomed = false;
        for parent in self.step_mut(index)?.depends_on.clone() {
            ensure(parent != index, || "a step depends on itself".into())?;
            let parent = self.step_mut(parent)?;
            parent.dependents.push(index);
            missing += usize::from(parent.status != Status::Succeeded);
            doomed |= matches!(parent.status, Status::Failed(_));
        }
        let step = self.step_mut(index)?;
        step.missing = missing;
        if doomed {
            step.status = Status::Failed(skipped());
        } else {
            self.unfinished += 1;
            if missing == 0 {
                self.ready.insert(index);
            }
        }
        Ok(())
    }

    fn check_acyclic(&self) -> Check {
        let mut missing: Vec<usize> = self.steps.iter().map(|step| step.depends_on.len()).collect();
        let mut rest: Vec<StepIndex> = self.ready.iter().copied().collect();
        let mut reached = 0;
        while let Some(step) = rest.pop().and_then(|index| self.steps.get(index)) {
            reached += 1;
            for child in &step.dependents {
                if let Some(count) = missing.get_mut(*child) {
                    *count -= 1;
                    if *count == 0 {
                        rest.push(*child);
                    }
                }
            }
        }
        ensure(reached == self.steps.len(), || "its steps depend on each other in a circle".into())
    }

    fn step_submitted(&mut self, event: &StepSubmitted) -> Check {
        ensure(self.is_open(), || "the run takes no more steps".into())?;
        ensure(self.turn_back.is_none() && self.kill.is_none(), || "the run was asked to end".into())?;
        let name = &event.step.name;
        ensure(!self.names.contains_key(name), || format!("two steps have the name `{name}`"))?;
        let mut step = Step::new(event.step.clone(), Some(event.inputs));
        step.after = (0..self.steps.len()).filter(|i| self.steps.get(*i).is_some_and(Step::is_final)).collect();
        let index = self.steps.len();
        self.push_step(step)?;
        self.names.insert(name.clone(), index);
        self.link_step(index)
    }

    fn seal(&mut self) -> Check {
        ensure(self.is_open(), || "the run is sealed already".into())?;
        self.sealed = true;
        Ok(())
    }

    fn owner(&mut self, event: &Owner) -> Check {
        ensure(event.epoch == self.epoch() + 1, || format!("the next epoch is {}", self.epoch() + 1))?;
        ensure(
            self.phase != Phase::Closed || self.closed.as_ref().is_some_and(|c| c.state == Closed::Completed),
            || "the run has ended".into(),
        )?;
        self.owner = Some(event.clone());
        for index in std::mem::take(&mut self.open) {
            self.die(index)?;
        }
        for index in self.to_undo.values() {
            if let Some(step) = self.steps.get_mut(*index) {
                step.undo.open = None;
            }
        }
        Ok(())
    }

    /// The host died after the INTENT of an attempt: whether anything happened is not known.
    fn die(&mut self, index: StepIndex) -> Check {
        let phase = self.phase;
        let step = self.step_mut(index)?;
        let Some(open) = step.open.take() else { return Ok(()) };
        step.deaths += 1;
        let failure = Failure::new(code::HOST_DIED, "the host died while the step ran, after its intent was durable");
        step.last_error = Some(failure.clone());
        step.unclear = Some(failure.clone());
        let targets = vec![(open.first.0.clone(), open.first.1.clone(), None)];
        count_in(step, &open, targets);
        let again = phase == Phase::Forward && step.spec.idempotent && step.deaths < MAX_DEATHS;
        if again {
            step.status = Status::Waiting;
            self.ready.insert(index);
        } else {
            self.fail(index, Status::Unclear(failure))?;
        }
        self.schedule_undo(index);
        Ok(())
    }

    fn decision(&mut self, event: &Decision) -> Check {
        self.forward()?;
        let (index, step) = self.find(&event.step)?;
        ensure(step.status == Status::Waiting && self.ready.contains(&index), || "the step is not due".into())?;
        ensure(step.attempts == 0, || "a step is decided before its first attempt only".into())?;
        if let Some(earlier) = &step.decision {
            ensure(earlier.approval.is_some(), || "a decision is final unless a person was asked".into())?;
            ensure(earlier.input == event.input, || "the input was decided already and must stay the same".into())?;
        }
        match event.action {
            Action::RequireApproval => {
                let request = event.approval.as_ref().ok_or("REQUIRE_APPROVAL needs a request")?;
                ensure(request.quorum >= 1, || "a request needs at least one vote".into())?;
                let known = step.request().is_some_and(|r| r.id == request.id);
                ensure(!known, || "a new request needs a new id".into())?;
            }
            Action::Allow => {
                ensure(event.approval.is_none(), || "ALLOW asks nobody".into())?;
                let human = step.spec.capability.is_none();
                ensure(!human, || "a step that only waits is never allowed unasked".into())?;
            }
            Action::Deny => ensure(event.approval.is_none(), || "DENY asks nobody".into())?,
        }
        let step = self.step_mut(index)?;
        step.decision = Some(event.clone());
        step.votes.clear();
        if event.action == Action::Deny {
            let reason = event.reason.clone().unwrap_or_else(|| "the policy denies it".into());
            self.fail(index, Status::Failed(Failure::new(code::DENIED, reason)))?;
        }
        Ok(())
    }

    fn vote_at(&mut self, event: &Vote, entry: &Entry) -> Check {
        let request = self.may_vote(event)?;
        ensure(entry.at < request, || "the request has expired".into())?;
        let (index, _) = self.find(&event.step)?;
        let step = self.step_mut(index)?;
        step.votes.push(event.clone());
        if !event.approve {
            let why = format!("{} rejected it: {}", event.by, event.reason);
            self.fail(index, Status::Failed(Failure::new(code::REJECTED, why)))?;
        }
        Ok(())
    }

    /// Whether this vote can count, apart from its time; the answer is when the request expires.
    fn may_vote(&self, event: &Vote) -> Result<crate::types::Timestamp, String> {
        self.forward()?;
        ensure(self.turn_back.is_none() && self.kill.is_none(), || "the run was asked to end".into())?;
        let (_, step) = self.find(&event.step)?;
        let request = step.request().ok_or("nobody is asked about this step")?;
        ensure(request.id == event.request, || {
            format!("the request `{}` was replaced by `{}`: look at it again", event.request, request.id)
        })?;
        ensure(step.awaits_approval(), || "the request has been decided".into())?;
        ensure(!self.requesters(step).contains(&event.by), || {
            format!("`{}` asks for it and cannot vote on it", event.by)
        })?;
        ensure(!step.votes.iter().any(|vote| vote.by == event.by), || format!("`{}` has voted already", event.by))?;
        // An agent only matches a pattern that names agents.
        let admits = |pattern: &String| {
            matches_star(pattern, event.by.as_str()) && (event.by.kind() != "agent" || pattern.starts_with("agent:"))
        };
        let matches = |patterns: &Vec<String>| patterns.iter().any(admits);
        let allowed = matches(&request.approvers) && request.also.as_ref().is_none_or(matches);
        ensure(allowed, || format!("`{}` is not among the approvers: {}", event.by, request.approvers.join(", ")))?;
        Ok(request.expires)
    }

    fn intent(&mut self, event: &Intent) -> Check {
        ensure(self.phase != Phase::Closed && !self.undo_begun, || "undoing has begun".into())?;
        let (index, step) = self.find(&event.step)?;
        self.may_attempt(index, step, event.attempt)?;
        ensure(step.open.is_none(), || "the attempt has an INTENT already".into())?;
        ensure(step.spec.effect != crate::types::EffectKind::None, || "the capability has no effect".into())?;
        self.intents += 1;
        let order = self.intents;
        let step = self.step_mut(index)?;
        step.attempts = event.attempt;
        step.status = Status::Running;
        step.open = Some(OpenAttempt {
            number: event.attempt,
            order,
            undo: event.undo,
            appended: Vec::new(),
            first: (event.target.clone(), event.before.clone()),
        });
        self.open.insert(index);
        Ok(())
    }

    /// The rules that every attempt obeys, with or without an effect (I2, I7).
    fn may_attempt(&self, index: StepIndex, step: &Step, attempt: u32) -> Check {
        ensure(self.ready.contains(&index), || "the step is not due".into())?;
        ensure(step.is_permitted(), || "the step is not permitted".into())?;
        let expected = step.open.as_ref().map_or(step.attempts + 1, |open| open.number);
        ensure(attempt == expected, || format!("the next attempt is number {expected}"))
    }

    fn undo_appended(&mut self, event: &UndoAppended) -> Check {
        let (index, _) = self.find(&event.step)?;
        let open = self.step_mut(index)?.open.as_mut().ok_or("no attempt of the step has let out an effect")?;
        ensure(open.number == event.attempt, || format!("the attempt that runs is number {}", open.number))?;
        open.appended.push(event.undo);
        Ok(())
    }

    fn result(&mut self, event: &StepResult) -> Check {
        ensure(self.phase != Phase::Closed && !self.undo_begun, || "undoing has begun".into())?;
        let (index, step) = self.find(&event.step)?;
        self.check_result(index, step, event)?;
        let phase = self.phase;
        self.open.remove(&index);
        let step = self.step_mut(index)?;
        let open = step.open.take();
        step.attempts = step.attempts.max(event.attempt);
        if event.attempt > 0 {
            step.counted += 1;
        }
        let unclean = match event.outcome {
            Outcome::Succeeded => event.evidence.let_out,
            Outcome::Clean => false,
            Outcome::Unclear => true,
        };
        if let (true, Some(open)) = (unclean, &open) {
            let mut targets: Vec<(Target, TargetState, Option<TargetState>)> = event
                .evidence
                .targets
                .iter()
                .map(|record| (record.target.clone(), record.before.clone(), Some(record.after.clone())))
                .collect();
            if targets.is_empty() {
                targets.push((open.first.0.clone(), open.first.1.clone(), None));
            }
            count_in(step, open, targets);
        }
        step.last_error = event.error.clone();
        step.retry_at = event.retry_at;
        if event.outcome == Outcome::Unclear {
            step.unclear = event.error.clone();
        }
        match (event.outcome, event.retry_at, &event.error) {
            (Outcome::Succeeded, ..) => {
                step.unclear = None;
                step.output = event.output;
                step.compensation = event.compensation;
                self.succeed(index)?;
            }
            (_, Some(_), _) if phase == Phase::Forward => step.status = Status::Waiting,
            (_, _, error) => {
                let error = error.clone().unwrap_or_else(|| Failure::new(code::TRAP, "no reason was given"));
                let status = if step.unclear.is_some() { Status::Unclear(error) } else { Status::Failed(error) };
                self.fail(index, status)?;
            }
        }
        self.schedule_undo(index);
        Ok(())
    }

    fn check_result(&self, index: StepIndex, step: &Step, event: &StepResult) -> Check {
        let succeeded = event.outcome == Outcome::Succeeded;
        ensure(!step.is_final(), || "the step has its final result".into())?;
        ensure(succeeded == event.error.is_none(), || "a success has no error, and a failure has one".into())?;
        ensure(succeeded == event.output.is_some(), || "exactly a success has an output".into())?;
        if event.attempt == 0 {
            ensure(step.open.is_none(), || "an attempt is running".into())?;
            ensure(event.outcome != Outcome::Unclear && !event.evidence.let_out, || "nothing ran".into())?;
            let settled = step.spec.capability.is_none() && step.is_permitted();
            ensure(!succeeded || settled, || "only a step that waits for a person succeeds without an attempt".into())?;
            ensure(self.ready.contains(&index), || "the step is not due".into())?;
            return ensure(event.retry_at.is_none(), || "there is nothing to try again".into());
        }
        ensure(step.spec.capability.is_some(), || "a step that waits for a person has no attempts".into())?;
        self.may_attempt(index, step, event.attempt)?;
        let evidence = &event.evidence;
        ensure(!evidence.let_out || step.open.is_some(), || "an effect was let out without an INTENT".into())?;
        match event.outcome {
            Outcome::Clean => ensure(!evidence.let_out, || "an effect was let out, so it is not clean".into())?,
            Outcome::Unclear => ensure(evidence.let_out, || "no effect was let out, so it is clean".into())?,
            Outcome::Succeeded => {}
        }
        if let (Some(_), Some(error)) = (event.retry_at, &event.error) {
            let allowed = retry_allowed(step, event.outcome, error, step.counted + 1);
            ensure(allowed && !succeeded, || "this result is not tried again".into())?;
        }
        Ok(())
    }

    fn succeed(&mut self, index: StepIndex) -> Check {
        self.ready.remove(&index);
        self.unfinished -= 1;
        let step = self.step_mut(index)?;
        step.status = Status::Succeeded;
        for child in step.dependents.clone() {
            let child_step = self.step_mut(child)?;
            child_step.missing -= 1;
            if child_step.missing == 0 && !child_step.is_final() {
                self.ready.insert(child);
            }
        }
        Ok(())
    }

    fn fail(&mut self, index: StepIndex, status: Status) -> Check {
        self.ready.remove(&index);
        self.unfinished -= 1;
        let turns_back = matches!(status, Status::Unclear(_)) || self.submitted.mode == Mode::Sealed;
        let step = self.step_mut(index)?;
        step.status = status;
        step.retry_at = None;
        let mut rest = step.dependents.clone();
        if turns_back && self.failed.is_none() {
            self.failed = Some(index);
        }
        while let Some(child) = rest.pop() {
            let step = self.step_mut(child)?;
            if !step.is_final() {
                step.status = Status::Failed(skipped());
                rest.extend(step.dependents.clone());
                self.unfinished -= 1;
            }
        }
        Ok(())
    }

    fn schedule_undo(&mut self, index: StepIndex) {
        if let Some(order) = self.steps.get(index).and_then(|step| step.order) {
            self.to_undo.insert(order, index);
        }
    }

    fn rollback_started(&mut self, event: &RollbackStarted, entry: &Entry) -> Check {
        let verb = self.turn_back.as_ref().map(|operator| &operator.verb);
        match &event.cause {
            Cause::Undo { .. } => ensure(self.phase == Phase::Closed && verb == Some(&Verb::Undo), || {
                "nobody asked to undo the run".into()
            })?,
            cause => {
                self.forward()?;
                let due = match cause {
                    Cause::StepFailed { step, .. } | Cause::StepUnclear { step, .. } => {
                        self.failed == Some(self.find(step)?.0)
                    }
                    Cause::Cancelled { .. } => verb == Some(&Verb::Cancel),
                    Cause::Client { .. } => verb == Some(&Verb::Rollback),
                    Cause::Deadline => self.submitted.deadline.is_some_and(|deadline| entry.at >= deadline),
                    Cause::Idle => self.is_open(),
                    Cause::Undo { .. } => false,
                };
                ensure(due, || "its cause is not given".into())?;
            }
        }
        self.phase = Phase::Undoing;
        self.cause = Some(event.cause.clone());
        self.rollback_at = Some(entry.at);
        self.turn_back = None;
        self.closed = None;
        self.closed_at = None;
        Ok(())
    }

    fn undo_intent(&mut self, event: &UndoIntent) -> Check {
        self.undoing()?;
        let (index, step) = self.find(&event.step)?;
        self.may_undo(index, step)?;
        let expected = step.undo.attempts + 1;
        ensure(event.attempt == expected, || format!("the next attempt to undo is number {expected}"))?;
        self.undo_begun = true;
        let step = self.step_mut(index)?;
        step.undo.attempts = event.attempt;
        step.undo.counted += 1;
        step.undo.open = Some(event.attempt);
        step.undo.retry_at = None;
        Ok(())
    }

    /// I5 and W5: nothing runs, one undo at a time, in reverse order of the first INTENTs that were not clean.
    fn may_undo(&self, index: StepIndex, step: &Step) -> Check {
        ensure(self.open.is_empty(), || "an attempt is running".into())?;
        ensure(step.order.is_some_and(|order| self.to_undo.get(&order) == Some(&index)), || {
            "the step has nothing to undo".into()
        })?;
        ensure(step.can_be_undone(), || "the step cannot be undone".into())?;
        let busy = self.to_undo.values().any(|i| self.steps.get(*i).is_some_and(|s| s.undo.open.is_some()));
        ensure(!busy, || "another undo is running".into())?;
        ensure(!matches!(step.status, Status::UndoFailed(_)), || "its undo failed for good".into())?;
        ensure(self.undo_due(index), || "a later step must be undone first".into())
    }

    fn undo_result(&mut self, event: &UndoResult) -> Check {
        self.undoing()?;
        let (index, step) = self.find(&event.step)?;
        match (event.attempt, step.undo.open) {
            (0, None) => {
                self.may_undo(index, step)?;
                let legal = match event.outcome {
                    UndoOutcome::ChangedSince => step.undo.attempts == 0,
                    UndoOutcome::Failed => true,
                    UndoOutcome::Undone | UndoOutcome::NotRestored => false,
                };
                ensure(legal, || "an undo is refused only before its first attempt".into())?;
            }
            (attempt, Some(open)) => ensure(attempt == open, || format!("the undo that runs is number {open}"))?,
            (_, None) => return Err("no undo is running".into()),
        }
        let undone = event.outcome == UndoOutcome::Undone;
        ensure(undone == event.error.is_none(), || "an undo that worked has no error, and a failed one has".into())?;
        ensure(event.retry_at.is_none() || event.outcome == UndoOutcome::Failed, || {
            "this result is not tried again".into()
        })?;
        let order = step.order;
        self.undo_begun = true;
        let step = self.step_mut(index)?;
        step.undo.open = None;
        step.undo.retry_at = event.retry_at;
        if let Some(error) = &event.error {
            if error.code == code::NOT_SETTLED {
                step.undo.counted = step.undo.counted.saturating_sub(1);
            }
            if event.retry_at.is_none() {
                step.status = Status::UndoFailed(error.clone());
            }
        } else {
            step.status = Status::Undone { checked: event.checked };
            if let Some(order) = order {
                self.to_undo.remove(&order);
            }
        }
        Ok(())
    }

    fn operator(&mut self, event: &Operator, entry: &Entry) -> Check {
        match &event.verb {
            Verb::Cancel | Verb::Rollback => {
                self.forward()?;
                ensure(self.turn_back.is_none() && self.kill.is_none(), || "the run was asked to end already".into())?;
                let client = event.verb == Verb::Rollback;
                ensure(!client || self.submitted.mode == Mode::Open, || "only an open run is rolled back so".into())?;
                self.turn_back = Some(event.clone());
            }
            Verb::Kill => {
                ensure(self.phase != Phase::Closed, || "the run has ended".into())?;
                ensure(self.kill.is_none(), || "the run is being killed already".into())?;
                self.kill = Some(event.clone());
            }
            Verb::Undo => {
                let completed = self.closed.as_ref().is_some_and(|closed| closed.state == Closed::Completed);
                ensure(completed, || "only a completed run can be undone".into())?;
                ensure(self.turn_back.is_none(), || "the run is being undone already".into())?;
                let until = self.closed_at.map(|at| at.plus(self.submitted.undo_window));
                ensure(until.is_some_and(|until| entry.at <= until), || "its undo window is over".into())?;
                self.turn_back = Some(event.clone());
            }
            Verb::RepairRetry { .. } | Verb::ResolveUndone | Verb::ResolveLeft => self.repair(event)?,
        }
        Ok(())
    }

    fn repair(&mut self, event: &Operator) -> Check {
        self.undoing()?;
        let name = event.step.as_ref().ok_or("a repair names a step")?;
        let (index, step) = self.find(name)?;
        ensure(matches!(step.status, Status::UndoFailed(_)), || format!("the undo of `{name}` has not failed"))?;
        let order = step.order;
        let by_hand = residue_of(step, ResidueKind::UndoneByHand, Some(&event.reason));
        let left = residue_of(step, ResidueKind::Left, Some(&event.reason));
        let before = if step.unclear.is_some() || step.output.is_none() {
            Status::Unclear(
                step.unclear.clone().unwrap_or_else(|| Failure::new(code::HOST_DIED, "its outcome is unclear")),
            )
        } else {
            Status::Succeeded
        };
        let step = self.step_mut(index)?;
        match &event.verb {
            Verb::RepairRetry { component } => {
                step.undo.counted = 0;
                step.undo.retry_at = None;
                step.undo.component = component.or(step.undo.component);
                step.status = before;
            }
            verb => {
                step.status = Status::Residue(if *verb == Verb::ResolveUndone { by_hand } else { left });
                if let Some(order) = order {
                    self.to_undo.remove(&order);
                }
            }
        }
        Ok(())
    }

    fn run_closed(&mut self, event: &RunClosed, entry: &Entry) -> Check {
        ensure(self.open.is_empty(), || "an attempt is running".into())?;
        let expected = self.end().ok_or("the run has not come to its end")?;
        ensure(expected == *event, || {
            format!("it should end as {:?} with {} left", expected.state, expected.residue.len())
        })?;
        self.phase = Phase::Closed;
        self.closed = Some(event.clone());
        self.closed_at = Some(entry.at);
        self.turn_back = None;
        Ok(())
    }
}

/// Takes an attempt that was not clean into account: its place, its undo record, its targets.
fn count_in(step: &mut Step, open: &OpenAttempt, targets: Vec<(Target, TargetState, Option<TargetState>)>) {
    if step.order.is_none() {
        step.order = Some(open.order);
        step.record = open.undo;
    }
    step.appended.extend(open.appended.iter().copied());
    for (target, before, after) in targets {
        step.touched
            .entry(target)
            .and_modify(|touched| touched.after = after.clone())
            .or_insert(Touched { before, after });
    }
}

fn skipped() -> Failure {
    Failure::new(code::SKIPPED, "a step that it depends on failed")
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters.
fn matches_star(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}
