//! Going forward: decisions, votes, attempts and their results.

use super::{Check, ensure, skipped};
use crate::saga::event::{ApprovalRequest, Decision, Entry, Intent, Mode, Outcome, StepResult, UndoAppended, Vote};
use crate::saga::next::retry_allowed;
use crate::saga::planted::{self, Bug};
use crate::saga::state::{OpenAttempt, Phase, State, Status, Step, StepIndex, Touched};
use crate::types::{Action, Failure, Principal, Target, TargetState, Timestamp, code};

impl State {
    pub(super) fn decision(&mut self, event: &Decision) -> Check {
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

    pub(super) fn vote_at(&mut self, event: &Vote, entry: &Entry) -> Check {
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
    pub(super) fn may_vote(&self, event: &Vote) -> Result<Timestamp, String> {
        self.forward()?;
        ensure(self.turn_back.is_none() && self.kill.is_none(), || "the run was asked to end".into())?;
        let (_, step) = self.find(&event.step)?;
        let request = step.request().ok_or("nobody is asked about this step")?;
        ensure(step.awaits_approval(), || "the request has been decided".into())?;
        ensure(request.id == event.request, || {
            format!("the request that waits is `{}`, not `{}`: look at it again", request.id, event.request)
        })?;
        self.may_answer(step, request, &event.by)?;
        ensure(!step.votes.iter().any(|vote| vote.by == event.by), || format!("`{}` has voted already", event.by))?;
        Ok(request.expires)
    }

    /// Whether somebody may answer a request of a step; why not, if they may not.
    pub fn may_answer(&self, step: &Step, request: &ApprovalRequest, by: &Principal) -> Result<(), String> {
        ensure(!self.requesters(step).contains(by), || format!("`{by}` asks for it and cannot vote on it"))?;
        // An agent only matches a pattern that names agents.
        let admits = |pattern: &String| {
            matches_star(pattern, by.as_str()) && (by.kind() != "agent" || pattern.starts_with("agent:"))
        };
        let matches = |patterns: &Vec<String>| patterns.iter().any(admits);
        let allowed = std::iter::once(&request.approvers).chain(&request.also).all(matches);
        ensure(allowed, || format!("`{by}` is not among the approvers: {}", request.approvers.join(", ")))
    }

    pub(super) fn intent(&mut self, event: &Intent) -> Check {
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
    pub(super) fn may_attempt(&self, index: StepIndex, step: &Step, attempt: u32) -> Check {
        ensure(self.ready.contains(&index), || "the step is not due".into())?;
        ensure(step.is_permitted(), || "the step is not permitted".into())?;
        let expected = step.open.as_ref().map_or(step.attempts + 1, |open| open.number);
        ensure(attempt == expected, || format!("the next attempt is number {expected}"))
    }

    pub(super) fn undo_appended(&mut self, event: &UndoAppended) -> Check {
        let (index, _) = self.find(&event.step)?;
        let open = self.step_mut(index)?.open.as_mut().ok_or("no attempt of the step has let out an effect")?;
        ensure(open.number == event.attempt, || format!("the attempt that runs is number {}", open.number))?;
        open.appended.push(event.undo);
        Ok(())
    }

    pub(super) fn result(&mut self, event: &StepResult) -> Check {
        ensure(self.phase != Phase::Closed && !self.undo_begun, || "undoing has begun".into())?;
        let (index, step) = self.find(&event.step)?;
        self.check_result(index, step, event)?;
        let phase = self.phase;
        self.open.remove(&index);
        let results = self.seq;
        let step = self.step_mut(index)?;
        let open = step.open.take();
        step.attempts = step.attempts.max(event.attempt);
        let interrupted = event.error.as_ref().is_some_and(|error| error.code == code::INTERRUPTED);
        if event.attempt > 0 && !interrupted {
            step.counted += 1;
        }
        let unclean = match event.outcome {
            Outcome::Succeeded => event.evidence.let_out,
            Outcome::Clean => false,
            Outcome::Unclear => true,
        };
        if let (true, Some(open)) = (unclean, &open) {
            let order = if planted::is(Bug::IntentOrder) { results } else { open.order };
            let mut targets: Vec<(Target, TargetState, Option<TargetState>)> = event
                .evidence
                .targets
                .iter()
                .map(|record| (record.target.clone(), record.before.clone(), Some(record.after.clone())))
                .collect();
            if targets.is_empty() {
                targets.push((open.first.0.clone(), open.first.1.clone(), None));
            }
            count_in(step, order, open, targets);
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

    pub(super) fn check_result(&self, index: StepIndex, step: &Step, event: &StepResult) -> Check {
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

    pub(super) fn succeed(&mut self, index: StepIndex) -> Check {
        let step = self.step_mut(index)?;
        if planted::is(Bug::ApprovalConsumption) && step.request().is_some() && step.attempts == 1 {
            step.status = Status::Waiting;
            return Ok(());
        }
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

    pub(super) fn fail(&mut self, index: StepIndex, status: Status) -> Check {
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

    pub(super) fn schedule_undo(&mut self, index: StepIndex) {
        if let Some(order) = self.steps.get(index).and_then(|step| step.order) {
            self.to_undo.insert(order, index);
        }
    }
}

/// Takes an attempt that was not clean into account: its place among the INTENTs, its undo record, its targets.
pub(super) fn count_in(
    step: &mut Step,
    order: u64,
    open: &OpenAttempt,
    targets: Vec<(Target, TargetState, Option<TargetState>)>,
) {
    if step.order.is_none() {
        step.order = Some(order);
        step.record = open.undo;
    } else if planted::is(Bug::RecordInForce) {
        step.record = open.undo.or(step.record);
    }
    step.appended.extend(open.appended.iter().copied());
    let known = step.targets_known;
    for (target, before, after) in targets {
        let first = || match known || target.host_path().is_none() {
            true => before,
            false => TargetState::Unknown { error: "an attempt that died with the machine may have changed it".into() },
        };
        match step.touched.get_mut(&target) {
            Some(touched) => (touched.after, touched.lost) = (after, false),
            None => {
                let before = first();
                step.touched.insert(target, Touched { before, after, lost: false });
            }
        }
    }
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
