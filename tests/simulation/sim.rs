//! The scheduler: draws what happens next, until the faults stop; then lets everything come to rest.

use std::fmt::Write as _;

use redress::saga::event::{
    Entry, Event, LostTarget, Mode, Operator, Owner, RunSubmitted, Sealed, StepSpec, StepSubmitted, TargetNote, Verb,
    Vote,
};
use redress::saga::{Author, Phase, RunState, State, Status, Step, StepIndex, fold};
use redress::types::{
    CapabilityId, Duration, EffectKind, Retry, Risk, RunId, StepName, Target, TargetState, Timestamp,
};

use crate::checks;
use crate::config::{Config, Dice, Fault};
use crate::process::{Moved, Process, RISK, Scene, is_settled, principal};
use crate::world::{Content, FILES, Script, World, file_of, state, target};

/// How a simulated run ended.
#[derive(Clone, Debug)]
pub struct End {
    pub state: RunState,
    pub files: [Content; FILES],
    pub initial: [Content; FILES],
    /// Whether a file was left as it was between two effects.
    pub torn: bool,
    /// Whether an undo was kept from changing what its step had not touched.
    pub held: bool,
    pub moves: u64,
}

/// The most moves that a run may need once faults have stopped.
const PATIENCE: u64 = 20_000;

/// How many deaths a run sees that must end as if there were none: a step survives five.
const FEW_DEATHS: u32 = 3;

struct Sim {
    scene: Scene,
    owner: Option<Process>,
    zombies: Vec<Process>,
    /// The steps that the client of an open run submits, one after another.
    specs: Vec<StepSpec>,
    moves: u64,
    deaths: u32,
    most_deaths: u32,
}

/// Simulates one run with whatever can happen.
pub fn simulate(config: &Config) -> Result<End, String> {
    Sim::new(config, false).run()
}

/// Simulates one run of idempotent steps that keep out of each other's way, with few deaths.
pub fn simulate_repeatable(config: &Config) -> Result<End, String> {
    Sim::new(config, true).run()
}

/// Simulates one run and tells everything that happened.
pub fn told(config: &Config, repeatable: bool) -> (String, Result<End, String>) {
    let mut sim = Sim::new(config, repeatable);
    sim.scene.story = Some(String::new());
    let mut story = String::new();
    let end = sim.run();
    story.push_str(sim.scene.story.as_deref().unwrap_or_default());
    for entry in &sim.scene.journal.durable {
        let _ = writeln!(story, "{:3} {:?}", entry.seq, entry.event);
    }
    (story, end)
}

impl Sim {
    fn new(config: &Config, repeatable: bool) -> Sim {
        // What the run is made of does not depend on what happens to it.
        let mut dice = Dice::new(config.seed);
        let world = World::new(&mut dice);
        let mut scripts: Vec<Script> = (0..config.steps).map(|number| Script::draw(&mut dice, number)).collect();
        let chain = repeatable || dice.once_in(3);
        let parents: Vec<Vec<usize>> = (0..config.steps)
            .map(|step| match chain {
                true => step.checked_sub(1).into_iter().collect(),
                false => (0..step).filter(|_| dice.once_in(3)).collect(),
            })
            .collect();
        for script in &mut scripts {
            if repeatable {
                script.idempotent = true;
                script.human = false;
                if script.effect == EffectKind::Irreversible {
                    script.effect = EffectKind::Reversible;
                }
            }
        }
        let name = |step: usize| StepName::parse(&format!("s{step}")).unwrap();
        let specs: Vec<StepSpec> = scripts
            .iter()
            .enumerate()
            .map(|(step, script)| StepSpec {
                name: name(step),
                capability: (!script.human).then(|| CapabilityId::parse(&format!("sim.s{step}")).unwrap()),
                component: (!script.human).then(|| redress::types::sha256(b"component")),
                effect: if script.human { EffectKind::None } else { script.effect },
                idempotent: script.idempotent,
                risk: if script.effect == EffectKind::Irreversible { Risk::High } else { RISK },
                step_risk: None,
                agent: None,
                depends_on: parents[step].iter().map(|parent| name(*parent)).collect(),
                retry: Retry { max_attempts: 3, ..Retry::default() },
                timeout: None,
                compensation: None,
            })
            .collect();
        let mode = if !repeatable && dice.once_in(4) { Mode::Open } else { Mode::Sealed };
        let deadline = (config.has(Fault::Deadline) && dice.once_in(6)).then(|| Timestamp(1_000 + dice.roll(4_000)));
        let steps = if mode == Mode::Open { Vec::new() } else { specs.clone() };
        let mut scene = Scene::new(config, world, scripts, Dice::new(config.seed ^ 0xd1ce));
        let kept = scene.journal.keep(b"{}");
        let submitted = RunSubmitted {
            run: RunId::parse("01920000-0000-7000-8000-000000000001").unwrap(),
            name: "simulated".into(),
            version: None,
            principal: principal("agent:a"),
            mode,
            steps,
            workflow: kept,
            inputs: kept,
            templates: None,
            engine: "0".into(),
            binary: None,
            max_parallel: 1 + dice.roll(4) as u32,
            deadline,
            idle_timeout: Duration::from_secs(600),
            settle_timeout: Duration(200),
            undo_window: Duration::from_secs(1_000_000),
            run_key: None,
            agent: None,
        };
        scene.journal.push(Timestamp(1_000), Event::RunSubmitted(Box::new(submitted))).unwrap();
        let most_deaths = if repeatable { FEW_DEATHS } else { u32::MAX };
        Sim { scene, owner: None, zombies: Vec::new(), specs, moves: 0, deaths: 0, most_deaths }
    }

    fn run(&mut self) -> Result<End, String> {
        for _ in 0..self.scene.config.moves {
            self.moves += 1;
            self.any_move()?;
        }
        self.scene.quiet = true;
        self.come_to_rest()?;
        let state = fold(&self.scene.journal.durable).map_err(|illegal| illegal.to_string())?;
        let shown = state.shown();
        if !shown.is_rest() {
            return Err(format!("I3: the run stays {}", shown.as_str()));
        }
        checks::at_rest(&self.scene, &state)?;
        let (World { files, initial, .. }, torn) = (&self.scene.world, self.scene.torn);
        let held = checks::was_held(&self.scene.journal.durable);
        Ok(End { state: shown, files: *files, initial: *initial, torn, held, moves: self.moves })
    }

    fn any_move(&mut self) -> Moved {
        self.scene.now += self.scene.dice.roll(60);
        if self.scene.strikes(Fault::ClockJump, 60) {
            let (now, by) = (self.scene.now, self.scene.dice.roll(4_000));
            self.scene.now = if self.scene.dice.once_in(2) { now + by } else { now.saturating_sub(by) };
        }
        if self.scene.strikes(Fault::PolicyChange, 25) {
            self.scene.policy = self.scene.dice.index(self.scene.policies.len());
        }
        if self.deaths < self.most_deaths {
            if self.scene.strikes(Fault::Crash, 30) {
                return self.die(false);
            }
            if self.scene.strikes(Fault::MachineDies, 60) {
                return self.machine_dies();
            }
            if self.scene.strikes(Fault::LostOwner, 50) && self.owner.is_some() {
                return self.lose();
            }
        }
        match self.scene.dice.roll(24) {
            0..=6 => self.advance_one(),
            7..=12 => self.obey_one(),
            13..=17 => self.commit(),
            18 => self.stranger(),
            19 | 20 => self.vote(),
            21 => self.operator(),
            22 => self.client(),
            _ => self.zombie(),
        }
    }

    fn come_to_rest(&mut self) -> Moved {
        let mut wait = 0;
        for _ in 0..PATIENCE {
            self.moves += 1;
            self.zombies.clear();
            self.commit()?;
            if self.owner.is_none() {
                self.take_over()?;
            }
            self.client()?;
            // Nobody takes over a run that is closed.
            let Some(owner) = &mut self.owner else { return Ok(()) };
            owner.listen();
            let tasks: Vec<usize> = owner.tasks.keys().copied().collect();
            for task in &tasks {
                owner.advance(&mut self.scene, *task)?;
            }
            let commands = owner.commands(self.scene.now);
            let mut until = None;
            let mut acted = !tasks.is_empty();
            for command in commands {
                if let redress::saga::Command::WaitUntil(at) = command {
                    until = Some(at.0);
                    continue;
                }
                acted = true;
                owner.obey(&mut self.scene, command)?;
            }
            if acted || !self.scene.journal.waiting.is_empty() {
                wait = 0;
                continue;
            }
            match until {
                // A paused run waits for a person: that is rest. Half of them are woken again, by a vote or by expiry.
                Some(_) if owner.state.shown() == RunState::Paused && self.scene.config.seed.is_multiple_of(2) => {
                    return Ok(());
                }
                Some(at) if at > self.scene.now => {
                    self.vote()?;
                    self.scene.now = at;
                    wait += 1;
                    if wait > 50 {
                        return Err(format!("the run waits again and again, until {at}"));
                    }
                }
                _ => return Ok(()),
            }
        }
        Err("liveness: the run does not come to rest".into())
    }

    fn advance_one(&mut self) -> Moved {
        let Some(owner) = &mut self.owner else { return self.take_over() };
        let tasks: Vec<usize> = owner.tasks.keys().copied().collect();
        if tasks.is_empty() {
            return Ok(());
        }
        let task = tasks[self.scene.dice.index(tasks.len())];
        owner.advance(&mut self.scene, task)
    }

    fn obey_one(&mut self) -> Moved {
        let Some(owner) = &mut self.owner else { return self.take_over() };
        if self.scene.dice.once_in(2) {
            owner.listen();
        }
        let mut commands = owner.commands(self.scene.now);
        if commands.is_empty() {
            return Ok(());
        }
        let command = commands.swap_remove(self.scene.dice.index(commands.len()));
        owner.obey(&mut self.scene, command)
    }

    fn commit(&mut self) -> Moved {
        if self.deaths < self.most_deaths && self.scene.strikes(Fault::CommitError, 25) {
            return self.die(self.scene.dice.clone().once_in(2));
        }
        let answers = self.scene.journal.commit()?;
        for answer in &answers {
            for process in self.owner.iter_mut().chain(&mut self.zombies) {
                process.answered(answer)?;
            }
        }
        if self.owner.as_ref().is_some_and(|owner| owner.refused) {
            return Err("I12: the journal refused the owner".into());
        }
        Ok(())
    }

    /// The process dies; perhaps its last commit got through all the same.
    fn die(&mut self, committed: bool) -> Moved {
        if self.owner.is_none() {
            return Ok(());
        }
        if committed {
            self.scene.journal.commit()?;
        }
        self.scene.journal.waiting.clear();
        self.scene.undo_failed |= self.owner.as_ref().is_some_and(Process::undoes);
        self.scene.tell(|| "the process dies".into());
        self.owner = None;
        self.deaths += 1;
        Ok(())
    }

    /// The machine goes down: all processes die, and what was not synced is lost or not, for each file apart.
    fn machine_dies(&mut self) -> Moved {
        self.scene.journal.noted.clear();
        self.scene.journal.boots += 1;
        self.zombies.clear();
        self.die(false)?;
        if !self.scene.strikes(Fault::LostWrites, 1) {
            return Ok(());
        }
        for file in self.scene.world.lose(&mut self.scene.dice) {
            let now = state(self.scene.world.files[file]);
            self.scene.tell(|| format!("  file {file} is {now} again"));
            // What lies between two effects of one step is a state that nobody has seen.
            let known = |step: &Step| {
                let touched = step.touched.get(&target(file));
                touched
                    .is_none_or(|touched| touched.before == now || touched.after.as_ref().is_none_or(|it| *it == now))
            };
            self.scene.torn |=
                !self.scene.journal.folded.as_ref().is_some_and(|run| run.steps.iter().all(|step| known(step)));
        }
        Ok(())
    }

    /// The process is taken for dead and goes on: what of it has an INTENT is stopped, what has none tries to get one.
    fn lose(&mut self) -> Moved {
        if let Some(zombie) = self.owner.take() {
            self.scene.tell(|| "the process loses the run".into());
            self.scene.undo_failed |= zombie.undoes();
            // What it had enqueued comes before the new owner.
            let answers = self.scene.journal.commit()?;
            let mut zombie = zombie;
            for answer in &answers {
                zombie.answered(answer)?;
            }
            zombie.stop_what_was_let_out();
            self.zombies.push(zombie);
            self.deaths += 1;
        }
        self.take_over()
    }

    fn zombie(&mut self) -> Moved {
        for zombie in &mut self.zombies {
            let tasks: Vec<usize> = zombie.tasks.keys().copied().collect();
            for task in tasks {
                zombie.advance(&mut self.scene, task)?;
            }
        }
        self.zombies.retain(|zombie| !zombie.refused);
        Ok(())
    }

    fn take_over(&mut self) -> Moved {
        let state = fold(&self.scene.journal.durable).map_err(|illegal| illegal.to_string())?;
        if state.phase == Phase::Closed && state.turn_back.is_none() {
            return Ok(());
        }
        let epoch = state.epoch() + 1;
        let open = |note: &&TargetNote| state.has_open_attempt(&note.step, note.attempt);
        let noted: Vec<TargetNote> = self.scene.journal.noted.iter().filter(open).cloned().collect();
        let boot = format!("b{}", self.scene.journal.boots);
        let lost = self.lost(&state, &boot);
        let owner = Owner { noted, lost, ..Owner::new(epoch, format!("p{epoch}"), boot) };
        self.scene.journal.push(Timestamp(self.scene.now), Event::Owner(owner))?;
        let state = fold(&self.scene.journal.durable).map_err(|illegal| illegal.to_string())?;
        self.scene.tell(|| format!("process {epoch} takes the run"));
        self.owner = Some(Process::new(state, epoch));
        Ok(())
    }

    /// What is to be told of files that are not as their steps left them.
    fn lost(&self, run: &State, boot: &str) -> Vec<LostTarget> {
        if run.owner.as_ref().is_some_and(|owner| owner.boot == boot) {
            return Vec::new();
        }
        let lost = |(index, target, after): (StepIndex, &Target, &TargetState)| {
            let now = state(self.scene.world.files[file_of(target)]);
            let told = now != *after && run.tells_of_loss(index, target, &now);
            let step = run.steps[index].spec.name.clone();
            told.then(|| LostTarget { step, target: target.clone(), now })
        };
        run.left().into_iter().filter_map(lost).collect()
    }

    /// Another process appends, if it is legal.
    fn foreign(&mut self, event: Event) -> Moved {
        let journal = &mut self.scene.journal;
        let Some(folded) = &journal.folded else { return Ok(()) };
        let at = Timestamp(self.scene.now).max(folded.at);
        let entry = Entry { seq: folded.seq + 1, at, event };
        let author = Author::Anyone { expected_seq: folded.seq };
        let legal = author.may_append(&entry.event) && author.admit(journal.epoch, folded.seq).is_ok();
        if !legal || folded.clone().apply(&entry).is_err() {
            return Ok(());
        }
        let entry = journal.push(at, entry.event)?;
        self.scene.tell(|| format!("somebody appends {:?}", entry.event));
        if let Some(owner) = &mut self.owner {
            owner.untold.push(entry);
        }
        Ok(())
    }

    fn vote(&mut self) -> Moved {
        let Some(folded) = &self.scene.journal.folded else { return Ok(()) };
        let waiting: Vec<(StepName, String)> =
            folded.steps.iter().filter_map(|step| Some((step.spec.name.clone(), step.request()?.id.clone()))).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let (step, request) = waiting[self.scene.dice.index(waiting.len())].clone();
        let odd = self.scene.strikes(Fault::Rejection, 6);
        let voters = ["user:v1", "user:v2", "user:v3"];
        let strangers = ["agent:a", "agent:other", "user:v1"];
        let by = if odd { strangers[self.scene.dice.index(3)] } else { voters[self.scene.dice.index(3)] };
        let approve = !odd || self.scene.dice.once_in(2);
        self.foreign(Event::Vote(Vote { step, request, by: principal(by), approve, reason: "r".into() }))
    }

    fn operator(&mut self) -> Moved {
        let verb = |verb: Verb, step: Option<StepName>| {
            Event::Operator(Operator { verb, by: principal("user:op"), reason: "r".into(), step })
        };
        if self.scene.strikes(Fault::Cancel, 6) {
            let which = if self.scene.dice.once_in(2) { Verb::Cancel } else { Verb::Rollback };
            return self.foreign(verb(which, None));
        }
        if self.scene.strikes(Fault::Kill, 30) {
            return self.foreign(verb(Verb::Kill, None));
        }
        if self.scene.strikes(Fault::Undo, 3) {
            let closed = self.scene.journal.folded.as_ref().is_some_and(|state| state.phase == Phase::Closed);
            if closed {
                self.owner = None;
            }
            return self.foreign(verb(Verb::Undo, None));
        }
        if self.scene.strikes(Fault::Repair, 2) {
            let Some(folded) = &self.scene.journal.folded else { return Ok(()) };
            let failed = folded.steps.iter().find(|step| matches!(step.status, Status::UndoFailed(_)));
            let Some(step) = failed.map(|step| step.spec.name.clone()) else { return Ok(()) };
            let which = match self.scene.dice.roll(4) {
                0 => Verb::ResolveUndone,
                1 => Verb::ResolveLeft,
                _ => Verb::RepairRetry { component: None },
            };
            return self.foreign(verb(which, Some(step)));
        }
        Ok(())
    }

    /// The client of an open run submits its next step, or commits.
    fn client(&mut self) -> Moved {
        let Some(owner) = &mut self.owner else { return Ok(()) };
        if !owner.state.is_open() || owner.refused {
            return Ok(());
        }
        // What was submitted and lost with a process is submitted again.
        let event = match self.specs.get(owner.state.steps.len()) {
            None => Event::Sealed(Sealed {}),
            Some(step) => {
                let inputs = self.scene.journal.keep(b"{}");
                Event::StepSubmitted(Box::new(StepSubmitted { step: step.clone(), inputs, compensation: None }))
            }
        };
        owner.submit(&mut self.scene, event)
    }

    /// Somebody else changes a file, while no component is at work on files.
    fn stranger(&mut self) -> Moved {
        let at_work = self.owner.as_ref().is_some_and(|owner| !owner.tasks.is_empty());
        if at_work || !self.zombies.is_empty() || !self.scene.strikes(Fault::Stranger, 4) {
            return Ok(());
        }
        let Some(state) = &self.scene.journal.folded else { return Ok(()) };
        // A step whose outcome is unclear has no state to compare with: then nobody may come between.
        if !state.steps.iter().all(|step| is_settled(step)) || !self.scene.journal.waiting.is_empty() {
            return Ok(());
        }
        let file = self.scene.dice.index(FILES);
        let to = self.scene.dice.once_in(3).then_some(()).map_or(Some(9_000 + self.scene.dice.roll(99)), |()| None);
        if self.scene.world.files[file] == to {
            return Ok(());
        }
        let durable = self.scene.journal.durable.len();
        self.scene.tell(|| format!("a stranger makes file {file} {to:?}"));
        self.scene.world.change(crate::world::By::Stranger, file, to, durable);
        Ok(())
    }
}
