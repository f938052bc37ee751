//! A process that owns a run: what the engine does with the commands of the core, one small move at a time, so that anything
//! can happen between any two of them.

mod undoing;

use std::collections::{BTreeMap, BTreeSet};

use redress::document::Source;
use redress::policy::{self, Policy};
use redress::saga::event::{
    ApprovalRequest, Decision, Entry, Event, Evidence, Intent, Outcome, RollbackStarted, RuleRef, StepResult,
    TargetNote, TargetRecord, UndoAppended,
};
use redress::saga::{
    Author, Claims, Command, InFlight, KeyUse, NotAdmitted, State, Status, Step, StepIndex, Touch, conflict, key, next,
    retry_at,
};
use redress::types::{
    Action, CapabilityId, EffectKind, Failure, Grant, PayloadRef, Principal, Risk, Target, TargetState, Timestamp, code,
};
use serde_json::json;

use crate::config::{Config, Dice, Fault};
use crate::journal::{Answer, Journal};
use crate::world::{Act, By, Content, Script, World, file_of, restored, snapshot, state, target};

/// What a move can end with besides success: a broken promise, in words.
pub type Moved = Result<(), String>;

/// Everything around the processes.
pub struct Scene {
    pub config: Config,
    pub dice: Dice,
    pub now: u64,
    pub journal: Journal,
    pub world: World,
    pub scripts: Vec<Script>,
    pub policies: Vec<Policy>,
    pub policy: usize,
    /// Whether faults have stopped.
    pub quiet: bool,
    /// Whether an undo failed because the dice said so, or died with its process.
    pub undo_failed: bool,
    /// Whether an undo changed a file that its step is not known to have touched.
    pub strayed: bool,
    /// Whether the machine went down and left a file as it was between two effects.
    pub torn: bool,
    pub story: Option<String>,
    requests: u64,
}

pub const POLICIES: [&str; 3] = [
    "rules: [{ principal: '*', capabilities: ['*'], action: ALLOW }]",
    "rules: [{ principal: '*', capabilities: ['sim.s0', 'sim.s2', human.approve], action: REQUIRE_APPROVAL, approval: { approvers: ['user:*'], quorum: 2, expires: 3s } }, { principal: '*', capabilities: ['*'], action: ALLOW }]",
    "rules: [{ principal: '*', capabilities: ['sim.s1'], action: DENY }, { principal: '*', capabilities: ['*'], action: REQUIRE_APPROVAL, approval: { quorum: 1, expires: 5s } }]",
];

impl Scene {
    pub fn new(config: &Config, world: World, scripts: Vec<Script>, dice: Dice) -> Scene {
        let load = |text: &str| Policy::load(Source::new("p.yaml", text), "/world").unwrap().0;
        Scene {
            config: config.clone(),
            dice,
            now: 1_000,
            journal: Journal::default(),
            world,
            scripts,
            policies: POLICIES.into_iter().map(load).collect(),
            policy: 0,
            quiet: false,
            undo_failed: false,
            strayed: false,
            torn: false,
            story: None,
            requests: 0,
        }
    }

    /// Whether this fault happens now.
    pub fn strikes(&mut self, fault: Fault, once_in: u64) -> bool {
        !self.quiet && self.config.has(fault) && self.dice.once_in(once_in)
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push_str(&what());
            story.push('\n');
        }
    }
}

/// An attempt under way.
pub struct Attempt {
    number: u32,
    key: String,
    input: PayloadRef,
    /// What is still to be done to files.
    todo: Vec<(usize, Act2)>,
    undo: Option<PayloadRef>,
    intent: Gate,
    appends: usize,
    targets: Vec<TargetRecord>,
    claimed: BTreeSet<Target>,
    cancelled: bool,
}

/// One change that is planned: by the script, or back to a record.
#[derive(Clone, Copy)]
enum Act2 {
    Do(Act),
    Back(Content),
}

/// Where an event is that something waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    NotYet,
    Waits(u64),
    Durable,
}

/// An undo under way.
pub struct Undoing {
    attempt: u32,
    intent: Gate,
    todo: Vec<(usize, Content)>,
    planned: bool,
    /// It changed a file that the step is not known to have touched.
    strayed: bool,
    /// The files that it changed.
    changed: BTreeSet<usize>,
    before: BTreeMap<Target, TargetState>,
    others: Vec<Target>,
    again: bool,
    cancelled: bool,
}

pub enum Task {
    Attempt(Attempt),
    Undo(Undoing),
}

pub struct Process {
    pub epoch: u64,
    pub state: State,
    pub tasks: BTreeMap<StepIndex, Task>,
    claims: Claims,
    /// An append that is legal only as long as nobody else appends.
    careful: Option<u64>,
    /// Events of others that it has not taken in.
    pub untold: Vec<Entry>,
    /// The journal has refused it: it must leave the run.
    pub refused: bool,
}

impl Process {
    pub fn new(state: State, epoch: u64) -> Process {
        let claims = Claims::of(&state);
        Process { epoch, state, tasks: BTreeMap::new(), claims, careful: None, untold: Vec::new(), refused: false }
    }

    fn append(&mut self, scene: &mut Scene, event: Event) -> Result<u64, String> {
        let at = Timestamp(scene.now).max(self.state.at);
        let entry = Entry { seq: self.state.seq + 1, at, event };
        self.state.apply(&entry).map_err(|illegal| format!("the owner's own event is not legal: {illegal}"))?;
        scene.tell(|| format!("  enqueues {:?}", entry.event));
        Ok(scene.journal.enqueue(Author::Owner { epoch: self.epoch, expected_seq: None }, at, entry.event))
    }

    /// Enqueues an event that counts only if nobody else appends before it.
    fn append_carefully(&mut self, scene: &mut Scene, event: Event) {
        let at = Timestamp(scene.now).max(self.state.at);
        let author = Author::Owner { epoch: self.epoch, expected_seq: Some(self.state.seq) };
        self.careful = Some(scene.journal.enqueue(author, at, event));
    }

    /// Learns how an append ended.
    pub fn answered(&mut self, answer: &Answer) -> Moved {
        let Answer { ticket, author, entry: answer } = answer;
        if !matches!(author, Author::Owner { epoch, .. } if *epoch == self.epoch) {
            return Ok(());
        }
        if self.careful == Some(*ticket) {
            self.careful = None;
            if let Ok(entry) = answer {
                self.state.absorb(entry).map_err(|illegal| format!("a careful event is not legal: {illegal}"))?;
            }
        }
        if matches!(answer, Err(NotAdmitted::StaleEpoch { .. })) {
            self.refused = true;
        }
        for task in self.tasks.values_mut() {
            let gate = match task {
                Task::Attempt(attempt) => &mut attempt.intent,
                Task::Undo(undo) => &mut undo.intent,
            };
            if *gate == Gate::Waits(*ticket) {
                *gate = if answer.is_ok() { Gate::Durable } else { Gate::NotYet };
            }
        }
        Ok(())
    }

    /// Takes in what others have appended.
    pub fn listen(&mut self) {
        for entry in std::mem::take(&mut self.untold) {
            self.state.absorb_late(&entry);
        }
    }

    pub fn in_flight(&self) -> InFlight {
        let of = |undos: bool| {
            self.tasks
                .iter()
                .filter(|(_, task)| matches!(task, Task::Undo(_)) == undos)
                .map(|(step, _)| *step)
                .collect()
        };
        InFlight { attempts: of(false), undos: of(true) }
    }

    /// What the core says is to be done now; nothing while the answer to a careful append is awaited.
    pub fn commands(&self, now: u64) -> Vec<Command> {
        if self.careful.is_some() || self.refused {
            return Vec::new();
        }
        next(&self.state, Timestamp(now), &self.in_flight())
    }

    pub fn obey(&mut self, scene: &mut Scene, command: Command) -> Moved {
        if self.careful.is_some() {
            // The answer to a careful append is awaited before anything else is done.
            return Ok(());
        }
        scene.tell(|| format!("{} does {command:?}", self.epoch));
        match command {
            Command::Decide { step } => {
                let input = scene.journal.keep(format!("{{\"step\":{step}}}").as_bytes());
                let event = self.decide(scene, step, input);
                self.append(scene, event)?;
            }
            Command::Execute { step, attempt } => {
                if !self.confirmed(scene, step)? {
                    return Ok(());
                }
                let task = self.begin(scene, step, attempt)?;
                self.tasks.insert(step, Task::Attempt(task));
            }
            Command::Settle { step } => {
                if !self.confirmed(scene, step)? {
                    return Ok(());
                }
                let output = scene.journal.keep(b"approved");
                let event = self.result(step, 0, Outcome::Succeeded, Evidence::default(), Ok(output), scene);
                self.append(scene, event)?;
            }
            Command::Expire { step } => {
                let failure = Failure::new(code::EXPIRED, "nobody answered");
                let event = self.result(step, 0, Outcome::Clean, Evidence::default(), Err(failure), scene);
                self.append_carefully(scene, event);
            }
            Command::StartRollback(cause) => {
                self.append(scene, Event::RollbackStarted(RollbackStarted { cause }))?;
            }
            Command::Interrupt { step } => match self.tasks.get_mut(&step) {
                Some(Task::Attempt(attempt)) => attempt.cancelled = true,
                Some(Task::Undo(undo)) => undo.cancelled = true,
                None => return Err(format!("step {step} is interrupted and does not run")),
            },
            Command::Undo { step, attempt } => {
                let at = &self.state.steps[step];
                let before =
                    at.touched.iter().map(|(target, touched)| (target.clone(), touched.before.clone())).collect();
                let task = Undoing {
                    attempt,
                    intent: Gate::NotYet,
                    todo: Vec::new(),
                    planned: false,
                    strayed: false,
                    changed: BTreeSet::new(),
                    before,
                    others: self.state.targets_of_others(step),
                    again: at.undo.attempts > 0 || !at.after_states_known(),
                    cancelled: false,
                };
                self.tasks.insert(step, Task::Undo(task));
            }
            Command::Close(closed) => {
                // W4: before the end is told, all of it is on disk.
                let touched = self.state.steps.iter().flat_map(|step| step.touched.keys());
                touched.for_each(|target| scene.world.sync(file_of(target)));
                self.append_carefully(scene, Event::RunClosed(closed));
            }
            Command::WaitUntil(_) => {}
        }
        Ok(())
    }

    /// Asks the policy once more about a step that was approved; false if there is a new decision.
    fn confirmed(&mut self, scene: &mut Scene, index: StepIndex) -> Result<bool, String> {
        let step = &self.state.steps[index];
        let (Some(earlier), Some(request), 0) = (&step.decision, step.request(), step.attempts) else {
            return Ok(true);
        };
        let (input, earlier, request) =
            (earlier.input.unwrap_or_else(|| scene.journal.keep(b"")), earlier.clone(), request.clone());
        let event = self.decide(scene, index, input);
        let Event::Decision(now) = &event else { return Ok(true) };
        let same_terms = now
            .approval
            .as_ref()
            .is_some_and(|terms| terms.approvers == request.approvers && terms.quorum == request.quorum);
        if now.action == earlier.action && now.risk == earlier.risk && same_terms {
            return Ok(true);
        }
        self.append(scene, event)?;
        Ok(false)
    }

    fn decide(&self, scene: &mut Scene, index: StepIndex, input: PayloadRef) -> Event {
        let step = &self.state.steps[index];
        let human = CapabilityId::parse(policy::HUMAN_APPROVE).unwrap();
        let inputs = json!({ "step": index });
        let request = policy::Request {
            principal: self.state.submitted.principal.clone(),
            acting_for: None,
            capability: step.spec.capability.clone().unwrap_or(human),
            declared_risk: step.spec.risk,
            step_risk: None,
            inputs: Some(&inputs),
            unknown: &[],
        };
        let decided = policy::decide(&scene.policies[scene.policy], &request);
        let asks = decided.action == Action::RequireApproval;
        scene.requests += 1;
        let approval = decided.approval.as_ref().filter(|_| asks).map(|terms| ApprovalRequest {
            id: format!("request-{}", scene.requests),
            approvers: terms.approvers.iter().map(ToString::to_string).collect(),
            also: Vec::new(),
            quorum: terms.quorum,
            expires: Timestamp(scene.now).plus(terms.expires),
        });
        Event::Decision(Box::new(Decision {
            step: step.spec.name.clone(),
            action: decided.action,
            base: decided.base,
            rule: decided.rule.map(|rule| RuleRef {
                index: rule.index as u32,
                line: rule.line as u32,
                name: rule.name,
            }),
            risk: decided.risk,
            escalated: decided.escalated,
            reason: decided.reason,
            policy: decided.policy,
            input: Some(input),
            grant: Grant::default(),
            approval,
            compensation: None,
            shadow: None,
        }))
    }

    fn begin(&mut self, scene: &mut Scene, index: StepIndex, number: u32) -> Result<Attempt, String> {
        let step = &self.state.steps[index];
        let script = &scene.scripts[index];
        let saved = snapshot(script, &scene.world);
        let mut todo: Vec<(usize, Act2)> = Vec::new();
        if let (true, Some(record)) = (script.idempotent, step.record) {
            // What `save` returns is the record in force: start from it.
            let record = restored(&scene.journal.payload(&record));
            todo.extend(record.into_iter().map(|(file, content)| (file, Act2::Back(content))));
        }
        if script.effect != EffectKind::None {
            todo.extend(script.acts.iter().map(|(file, act)| (*file, Act2::Do(*act))));
        }
        let input =
            step.decision.as_ref().and_then(|decision| decision.input).ok_or("an attempt without a decided input")?;
        let appends = script.appends;
        let key = key(&self.state, step, KeyUse::Execute);
        let undo = (script.effect == EffectKind::Reversible).then(|| scene.journal.keep(&saved));
        Ok(Attempt {
            number,
            key,
            input,
            todo,
            undo,
            intent: Gate::NotYet,
            appends,
            targets: Vec::new(),
            claimed: BTreeSet::new(),
            cancelled: false,
        })
    }

    /// Lets one task come a small move further.
    pub fn advance(&mut self, scene: &mut Scene, index: StepIndex) -> Moved {
        match self.tasks.remove(&index) {
            Some(Task::Attempt(attempt)) => self.advance_attempt(scene, index, attempt),
            Some(Task::Undo(undo)) => self.advance_undo(scene, index, undo),
            None => Ok(()),
        }
    }

    fn advance_attempt(&mut self, scene: &mut Scene, index: StepIndex, mut attempt: Attempt) -> Moved {
        if matches!(attempt.intent, Gate::Waits(_)) {
            self.tasks.insert(index, Task::Attempt(attempt));
            return Ok(());
        }
        let refused = self.refused && attempt.intent == Gate::NotYet;
        if attempt.cancelled || refused {
            return self.end_attempt(scene, index, attempt, Err(Failure::new(code::INTERRUPTED, "interrupted")));
        }
        if scene.strikes(Fault::GuestFails, 12) {
            let failure = match scene.dice.roll(4) {
                0 => Failure::new(code::TRAP, "trapped"),
                1 => Failure::new(code::TIMEOUT, "too long"),
                2 => Failure::new("failed", "for good"),
                _ => Failure { retryable: true, ..Failure::new("unavailable", "for now") },
            };
            return self.end_attempt(scene, index, attempt, Err(failure));
        }
        let Some((file, act)) = attempt.todo.first().copied() else {
            if attempt.appends > 0 && attempt.intent == Gate::Durable {
                attempt.appends -= 1;
                let text = format!("learned {} of {} in {}", attempt.appends, index, attempt.number);
                let undo = scene.journal.keep(text.as_bytes());
                let step = self.state.steps[index].spec.name.clone();
                self.append(scene, Event::UndoAppended(UndoAppended { step, attempt: attempt.number, undo }))?;
                self.tasks.insert(index, Task::Attempt(attempt));
                return Ok(());
            }
            let fails = attempt.number <= scene.scripts[index].fails;
            let end = match fails {
                true => Err(Failure { retryable: true, ..Failure::new("unavailable", "it always does at first") }),
                false => Ok(()),
            };
            return self.end_attempt(scene, index, attempt, end);
        };
        let target = target(file);
        if !attempt.claimed.contains(&target) {
            let (claims, state) = (&mut self.claims, &self.state);
            let ancestor = |other| state.is_ancestor(other, index);
            if let Err(other) = claims.claim(target.claim_key(), Touch::Changed, index, ancestor) {
                let failure = conflict(&self.state, index, other, target.claim_key());
                return self.end_attempt(scene, index, attempt, Err(failure));
            }
            attempt.claimed.insert(target.clone());
        }
        let before = state(scene.world.files[file]);
        if attempt.intent == Gate::NotYet {
            let event = Event::Intent(Box::new(Intent {
                step: self.state.steps[index].spec.name.clone(),
                attempt: attempt.number,
                key: attempt.key.clone(),
                component: redress::types::sha256(b"component"),
                undo: attempt.undo,
                target,
                before,
            }));
            // From here on the step builds on what is there, whoever left it.
            (scene.world.ours[file], scene.world.theirs[file]) = (scene.world.files[file], None);
            attempt.intent = Gate::Waits(self.append(scene, event)?);
            self.tasks.insert(index, Task::Attempt(attempt));
            return Ok(());
        }
        if attempt.targets.iter().all(|record| record.target != target) {
            if !attempt.targets.is_empty() {
                let step = self.state.steps[index].spec.name.clone();
                let note = TargetNote { step, attempt: attempt.number, target: target.clone(), before: before.clone() };
                scene.journal.noted.push(note);
            }
            attempt.targets.push(TargetRecord { target, before: before.clone(), after: before });
        }
        attempt.todo.remove(0);
        let to = match act {
            Act2::Do(act) => act.on(scene.world.files[file]),
            Act2::Back(content) => content,
        };
        let input = String::from_utf8_lossy(&scene.journal.payload(&attempt.input)).into_owned();
        let by = By::Execute { step: index, attempt: attempt.number, key: attempt.key.clone(), input };
        scene.tell(|| format!("  file {file} becomes {to:?} by {by:?}"));
        let durable = scene.journal.durable.len();
        scene.world.change(by, file, to, durable);
        self.tasks.insert(index, Task::Attempt(attempt));
        Ok(())
    }

    fn end_attempt(
        &mut self,
        scene: &mut Scene,
        index: StepIndex,
        attempt: Attempt,
        end: Result<(), Failure>,
    ) -> Moved {
        let let_out = !attempt.targets.is_empty();
        for target in attempt.claimed.iter().filter(|target| attempt.targets.iter().all(|r| r.target != **target)) {
            self.claims.release(target.claim_key(), index);
        }
        let mut targets = attempt.targets;
        for record in &mut targets {
            record.after = state(scene.world.files[file_of(&record.target)]);
        }
        let outcome = match (&end, let_out) {
            (Ok(()), _) => Outcome::Succeeded,
            (Err(_), false) => Outcome::Clean,
            (Err(_), true) => Outcome::Unclear,
        };
        let evidence = Evidence { let_out, targets, ..Evidence::default() };
        let end = end.map(|()| scene.journal.keep(format!("output of {index}").as_bytes()));
        let event = self.result(index, attempt.number, outcome, evidence, end, scene);
        self.append(scene, event).map(drop)
    }

    fn result(
        &self,
        index: StepIndex,
        attempt: u32,
        outcome: Outcome,
        evidence: Evidence,
        end: Result<PayloadRef, Failure>,
        scene: &mut Scene,
    ) -> Event {
        let step = &self.state.steps[index];
        let error = end.as_ref().err().cloned();
        let again = error
            .as_ref()
            .filter(|_| attempt > 0)
            .and_then(|error| retry_at(&self.state, step, outcome, error, Timestamp(scene.now), scene.dice.draw()));
        Event::Result(Box::new(StepResult {
            step: step.spec.name.clone(),
            attempt,
            outcome,
            output: end.ok(),
            error,
            evidence,
            log: None,
            retry_at: again,
            compensation: None,
        }))
    }
}

pub fn principal(text: &str) -> Principal {
    Principal::parse(text).unwrap()
}

pub const RISK: Risk = Risk::Medium;

/// Whether a step stands where its effects are all in its RESULTs, and nothing of it is being undone.
pub fn is_settled(step: &Step) -> bool {
    step.open.is_none() && step.order.is_none() || (step.status == Status::Succeeded && step.undo.attempts == 0)
}

impl Process {
    /// What a client of an open run asks for; what is not legal by now is refused.
    pub fn submit(&mut self, scene: &mut Scene, event: Event) -> Moved {
        if self.careful.is_some() {
            return Ok(());
        }
        let entry = Entry { seq: self.state.seq + 1, at: Timestamp(scene.now).max(self.state.at), event };
        match self.state.clone().apply(&entry) {
            Ok(()) => self.append(scene, entry.event).map(drop),
            Err(_) => Ok(()),
        }
    }

    /// Whether it is undoing a step.
    pub fn undoes(&self) -> bool {
        self.tasks.values().any(|task| matches!(task, Task::Undo(_)))
    }

    /// Drops what has its INTENT: only what has none can still ask for one.
    pub fn stop_what_was_let_out(&mut self) {
        self.tasks.retain(|_, task| match task {
            Task::Attempt(attempt) => attempt.intent == Gate::NotYet,
            Task::Undo(undo) => undo.intent == Gate::NotYet,
        });
    }
}
