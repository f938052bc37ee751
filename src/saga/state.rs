//! The state of a run: what its events amount to. Changed only by [`fold`](super::fold).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::event::{
    ApprovalRequest, Cause, Decision, Mode, Operator, Owner, Residue, RunClosed, RunSubmitted, StepSpec, Vote,
};
use crate::types::{Action, Digest, Failure, PayloadRef, Principal, RunId, StepName, Target, TargetState, Timestamp};

/// The index of a step in its run.
pub type StepIndex = usize;

/// How many deaths of the host an attempt of one step survives before the run rolls back.
pub const MAX_DEATHS: usize = 5;

/// The three phases in which a run is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Steps run.
    Forward,
    /// Steps are undone.
    Undoing,
    /// Nothing moves any more.
    Closed,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for its dependencies, a decision, an approval or its next attempt, or it runs without an INTENT so far.
    Waiting,
    /// An attempt has an INTENT and no RESULT.
    Running,
    /// It has its output.
    Succeeded,
    /// It failed for good, and nothing happened.
    Failed(Failure),
    /// It failed for good, and something may have happened.
    Unclear(Failure),
    /// It was undone; true if the host compared every file target.
    Undone {
        /// Whether the host compared every file target with its state before.
        checked: bool,
    },
    /// Its undo failed for good and waits for an operator.
    UndoFailed(Failure),
    /// It has been settled and something remains.
    Residue(Residue),
}

/// A target over all attempts of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Before the first attempt that was not clean.
    pub before: TargetState,
    /// After the last attempt that was not clean; none if such an attempt has no RESULT.
    pub after: Option<TargetState>,
    /// Whether what was done to it may have been lost with the machine.
    pub lost: bool,
}

/// One attempt that has an INTENT and no RESULT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// The place of its INTENT among the INTENTs of the run.
    pub order: u64,
    /// The undo record that it saved.
    pub undo: Option<PayloadRef>,
    /// What was appended to it.
    pub appended: Vec<PayloadRef>,
    /// What its first effect touches, and the state before.
    pub first: (Target, TargetState),
}

/// What is known of the undo of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// How many UNDO_INTENTs there are.
    pub attempts: u32,
    /// How many attempts count towards the limit; a repair sets it back.
    pub counted: u32,
    /// The attempt that has no UNDO_RESULT yet.
    pub open: Option<u32>,
    /// Whether an attempt ended with its host, and none has had an UNDO_RESULT since.
    pub interrupted: bool,
    /// When the next attempt is due.
    pub retry_at: Option<Timestamp>,
    /// The component that an operator put in place of the one that executed.
    pub component: Option<Digest>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is.
    pub spec: StepSpec,
    /// Payload: its literal inputs, in an open run.
    pub inputs: Option<PayloadRef>,
    /// Payload: the inputs of its declared compensation with their templates, in an open run.
    pub declared: Option<PayloadRef>,
    /// The steps that it depends on.
    pub depends_on: Vec<StepIndex>,
    /// In an open run: the steps that had finished when it was submitted, without those that were skipped.
    pub after: Vec<StepIndex>,
    /// Where it stands.
    pub status: Status,
    /// The decision in force.
    pub decision: Option<Decision>,
    /// The votes on the request in force.
    pub votes: Vec<Vote>,
    /// The number of its last attempt.
    pub attempts: u32,
    /// The attempts that count towards `max_attempts`: those that did not end by the host's death.
    pub counted: u32,
    /// The numbers of the attempts that ended by the host's death after their INTENT: they have no RESULT.
    pub died: Vec<u32>,
    /// The attempt that has an INTENT and no RESULT.
    pub open: Option<OpenAttempt>,
    /// When the next attempt is due.
    pub retry_at: Option<Timestamp>,
    /// The failure of the last attempt.
    pub last_error: Option<Failure>,
    /// The last attempt that was not clean and not a success.
    pub unclear: Option<Failure>,
    /// The place of its first INTENT whose attempt was not clean: exactly the steps that have one are undone.
    pub order: Option<u64>,
    /// The undo record in force: that of the first INTENT whose attempt was not clean.
    pub record: Option<PayloadRef>,
    /// What was appended to it, in order.
    pub appended: Vec<PayloadRef>,
    /// All targets of the attempts that were not clean.
    pub touched: BTreeMap<Target, Touched>,
    /// Whether those are all: false if an attempt died with the machine, and the notes of its further targets perhaps with it.
    pub targets_known: bool,
    /// Payload: the output.
    pub output: Option<PayloadRef>,
    /// Payload: the resolved input of the declared compensation.
    pub compensation: Option<PayloadRef>,
    /// What is known of its undo.
    pub undo: Undo,
    pub(in crate::saga) missing: usize,
    pub(in crate::saga) dependents: Vec<StepIndex>,
}

impl Step {
    pub(in crate::saga) fn new(spec: StepSpec) -> Step {
        Step {
            spec,
            inputs: None,
            declared: None,
            depends_on: Vec::new(),
            after: Vec::new(),
            status: Status::Waiting,
            decision: None,
            votes: Vec::new(),
            attempts: 0,
            counted: 0,
            died: Vec::new(),
            open: None,
            retry_at: None,
            last_error: None,
            unclear: None,
            order: None,
            record: None,
            appended: Vec::new(),
            touched: BTreeMap::new(),
            targets_known: true,
            output: None,
            compensation: None,
            undo: Undo::default(),
            missing: 0,
            dependents: Vec::new(),
        }
    }

    /// The request that waits for votes or has been granted, if a person is asked.
    pub fn request(&self) -> Option<&ApprovalRequest> {
        self.decision.as_ref().and_then(|decision| decision.approval.as_ref())
    }

    /// How many have approved the request in force.
    pub fn approvals(&self) -> u32 {
        u32::try_from(self.votes.iter().filter(|vote| vote.approve).count()).unwrap_or(u32::MAX)
    }

    /// Whether the step waits for votes.
    pub fn awaits_approval(&self) -> bool {
        self.status == Status::Waiting
            && self.attempts == 0
            && self.request().is_some_and(|request| self.approvals() < request.quorum)
    }

    /// Whether it may be executed: allowed, or approved by enough.
    pub fn is_permitted(&self) -> bool {
        self.decision.as_ref().is_some_and(|decision| match (decision.action, &decision.approval) {
            (Action::Allow, _) => true,
            (Action::RequireApproval, Some(request)) => self.approvals() >= request.quorum,
            (Action::RequireApproval, None) | (Action::Deny, _) => false,
        })
    }

    /// Whether it will not run again.
    pub fn is_final(&self) -> bool {
        !matches!(self.status, Status::Waiting | Status::Running)
    }

    /// Whether an undo exists for what it did: its own, or a declared one that could be resolved.
    pub fn can_be_undone(&self) -> bool {
        self.spec.effect != crate::types::EffectKind::Irreversible || self.compensation.is_some()
    }

    /// Whether its undo can compare targets before it begins: every attempt that was not clean has a RESULT.
    pub fn after_states_known(&self) -> bool {
        self.touched.values().all(|touched| touched.after.is_some())
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// How it was submitted; its `steps` are moved into [`State::steps`].
    pub submitted: RunSubmitted,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// The number of the last event.
    pub seq: u64,
    /// The time of the last event.
    pub at: Timestamp,
    /// The phase.
    pub phase: Phase,
    /// The steps, in the order in which they were submitted.
    ///
    /// Shared, so that whoever looks at a step while the run goes on, or asks what an event would lead to, copies no others.
    pub steps: Vec<Arc<Step>>,
    /// Whether no more steps will come.
    pub sealed: bool,
    /// The owner.
    pub owner: Option<Owner>,
    /// Why it turned back.
    pub cause: Option<Cause>,
    /// When it turned back.
    pub rollback_at: Option<Timestamp>,
    /// What an operator or client asked for, and the owner has not done yet: cancel, roll back or undo.
    pub turn_back: Option<Operator>,
    /// What an operator asked for: kill.
    pub kill: Option<Operator>,
    /// How it ended.
    pub closed: Option<RunClosed>,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// When an open run last moved.
    pub active_at: Timestamp,
    pub(in crate::saga) names: HashMap<StepName, StepIndex>,
    /// Steps that are not final and whose dependencies have succeeded.
    pub(in crate::saga) ready: BTreeSet<StepIndex>,
    /// Steps with an attempt that has an INTENT and no RESULT.
    pub(in crate::saga) open: BTreeSet<StepIndex>,
    /// Steps that are not final.
    pub(in crate::saga) unfinished: usize,
    /// Steps that took effect, or may have, and are neither undone nor settled, by the place of their first INTENT that was not clean.
    pub(in crate::saga) to_undo: BTreeMap<u64, StepIndex>,
    /// The first step that failed for good in a way that turns the run back.
    pub(in crate::saga) failed: Option<StepIndex>,
    pub(in crate::saga) intents: u64,
    pub(in crate::saga) undo_begun: bool,
}

impl State {
    /// The run's id.
    pub fn run(&self) -> &RunId {
        &self.submitted.run
    }

    /// The index of the step of this name.
    pub fn index(&self, name: &str) -> Option<StepIndex> {
        self.names.get(name).copied()
    }

    /// The step at this index.
    pub fn step(&self, index: StepIndex) -> Option<&Step> {
        self.steps.get(index).map(|step| &**step)
    }

    /// The owner's epoch; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.owner.as_ref().map_or(0, |owner| owner.epoch)
    }

    /// Steps that are not final and whose dependencies have succeeded, in order.
    pub fn ready(&self) -> impl Iterator<Item = (StepIndex, &Step)> {
        self.ready.iter().filter_map(|index| self.steps.get(*index).map(|step| (*index, &**step)))
    }

    /// Whether the run takes more steps.
    pub fn is_open(&self) -> bool {
        self.submitted.mode == Mode::Open && !self.sealed && self.phase == Phase::Forward
    }

    /// Steps that wait for votes.
    pub fn awaiting_approval(&self) -> impl Iterator<Item = (StepIndex, &Step)> {
        let forward = self.phase == Phase::Forward;
        self.ready().filter(move |(_, step)| forward && step.awaits_approval())
    }

    /// All ancestors of a step: the steps that it depends on, directly or not, and in an open run those that had finished
    /// when it was submitted.
    pub fn ancestors(&self, index: StepIndex) -> BTreeSet<StepIndex> {
        let mut found = BTreeSet::new();
        let mut rest = vec![index];
        while let Some(step) = rest.pop().and_then(|i| self.steps.get(i)) {
            for parent in step.depends_on.iter().chain(&step.after) {
                if found.insert(*parent) {
                    rest.push(*parent);
                }
            }
        }
        found
    }

    /// What steps touched, and have not undone, that are neither before nor after this one for sure. Of two such steps on one path
    /// the second is refused as a conflict, so this one has not touched it, as far as anybody knows.
    pub fn targets_of_others(&self, index: StepIndex) -> Vec<Target> {
        let unordered =
            |other: &StepIndex| *other != index && !self.is_ancestor(*other, index) && !self.is_ancestor(index, *other);
        let own = self.steps.get(index).map(|step| &step.touched);
        let others = { 0..self.steps.len() }.filter(unordered).filter_map(|other| self.steps.get(other));
        let others = others.filter(|step| !matches!(step.status, Status::Undone { .. }));
        let targets = others.flat_map(|step| step.touched.keys());
        targets.filter(|target| own.is_none_or(|own| !own.contains_key(target))).cloned().collect()
    }

    /// Whether everything that the steps did is on disk for sure: it was when the run was closed, also where the run is undone since.
    pub fn is_on_disk(&self) -> bool {
        self.phase == Phase::Closed || matches!(self.cause, Some(Cause::Undo { .. }))
    }

    /// How each target should be found if everything that the run did to it is on disk: as the last step left it that touched it
    /// and is not undone. Without those of which that is not known, or whose undo was begun; none if all is on disk for sure.
    pub fn left(&self) -> Vec<(StepIndex, &Target, &TargetState)> {
        if self.is_on_disk() {
            return Vec::new();
        }
        let mut last: BTreeMap<&Target, StepIndex> = BTreeMap::new();
        for index in self.to_undo.values() {
            let touched = self.steps.get(*index).into_iter().flat_map(|step| step.touched.keys());
            last.extend(touched.map(|target| (target, *index)));
        }
        let left = |(target, index): (_, StepIndex)| {
            let step = self.steps.get(index).filter(|step| step.open.is_none() && step.undo.attempts == 0)?;
            Some((index, target, step.touched.get(target)?.after.as_ref()?))
        };
        last.into_iter().filter_map(left).collect()
    }

    /// Whether whoever takes the run over after the machine went down tells of a target that is found as `now`, and not as this
    /// step [left](State::left) it: always if the step had succeeded and the run goes forward, since nothing may go on from it;
    /// else if what is there was there before, so that the write was lost. Anything else is found where undoing compares.
    pub fn tells_of_loss(&self, index: StepIndex, target: &Target, now: &TargetState) -> bool {
        let succeeded = self.steps.get(index).is_some_and(|step| step.status == Status::Succeeded);
        (self.phase == Phase::Forward && succeeded) || self.was_before(target, now)
    }

    /// Whether a target that is found as `now` is as this step left it, as far as that is known: or as it was before, if that write
    /// may have been lost with the machine.
    pub fn is_as_left(&self, step: &Step, target: &Target, now: &TargetState) -> bool {
        step.touched.get(target).is_none_or(|touched| {
            let as_left = touched.after.as_ref().is_none_or(|after| after == now);
            as_left || (touched.lost && self.was_before(target, now))
        })
    }

    /// Whether a target that is found as `now` is as it was before this step: or as before an earlier one that is undone after it, if
    /// what both did may have been lost with the machine.
    pub fn is_restored(&self, step: &Step, target: &Target, now: &TargetState) -> bool {
        let touched = step.touched.get(target);
        touched.is_some_and(|touched| touched.before == *now || (touched.lost && self.was_before(target, now)))
    }

    /// Whether a target was found in this state by a step that touched it and is not undone.
    pub(in crate::saga) fn was_before(&self, target: &Target, now: &TargetState) -> bool {
        let steps = self.to_undo.values().filter_map(|index| self.steps.get(*index));
        { steps }.any(|step| step.touched.get(target).is_some_and(|touched| touched.before == *now))
    }

    /// Whether a step comes before another for sure.
    pub fn is_ancestor(&self, ancestor: StepIndex, of: StepIndex) -> bool {
        let mut seen = BTreeSet::new();
        let mut rest = vec![of];
        while let Some(step) = rest.pop().and_then(|index| self.steps.get(index)) {
            for parent in step.depends_on.iter().chain(&step.after) {
                if *parent == ancestor {
                    return true;
                }
                if seen.insert(*parent) {
                    rest.push(*parent);
                }
            }
        }
        false
    }

    /// Whether an attempt of a step has an INTENT and no RESULT.
    pub fn has_open_attempt(&self, step: &StepName, attempt: u32) -> bool {
        let step = self.index(step.as_str()).and_then(|index| self.steps.get(index));
        step.and_then(|step| step.open.as_ref()).is_some_and(|open| open.number == attempt)
    }

    /// The principals whose request a step is: the agent that acts, if one does, and the run's principal.
    pub fn requesters(&self, step: &Step) -> Vec<Principal> {
        step.spec.agent.iter().chain([&self.submitted.principal]).cloned().collect()
    }
}
