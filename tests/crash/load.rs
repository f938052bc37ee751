//! Many processes run on one journal, are killed at random system calls, and are recovered by others that are killed, too.
//!
//! In each round every process runs a workflow in a folder of its own; another one recovers meanwhile. Then two recover at once and may
//! die, votes are given by processes that may die, and one recovers in peace. Every run that is known is then at rest, with the end that
//! its workflow has alone, and its folder is as that end says; a run that nobody knows of has changed nothing. The points are drawn from
//! a seed; which process comes first at the journal is up to the system.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use redress::journal::{Journal as _, RunFilter};
use redress::types::RunId;

use crate::place::{BINARY, Place, Tree, end_of};
use crate::syscalls::{Expected, WORKFLOWS, named, policy, say, seed};
use crate::tracer::{Point, Side, Traced, trace};

#[test]
fn processes_that_are_killed_at_once_leave_one_whole_journal_and_every_run_at_rest() {
    let all = std::env::var("REDRESS_CRASH").is_ok_and(|asked| asked == "all");
    let (rounds, processes) = if all { (200, 8) } else { (4, 4) };
    let seed = seed();
    let mut load = Load::new(processes, seed);
    for round in 1..=rounds {
        if let Err(problem) = load.round(round) {
            let log = load.log.into_inner().unwrap();
            panic!(
                "round {round}, seed {seed}: {problem}\n{log}\nto draw the same again:\n  REDRESS_CRASH_SEED={seed} {}\
                 cargo test --test crash load:: -- --nocapture",
                if all { "REDRESS_CRASH=all " } else { "" }
            );
        }
        if round % 20 == 0 {
            say(&format!("load: round {round} of {rounds}, {:?}", load.counted));
        }
    }
    let findings = load.place.findings();
    assert!(findings.is_empty(), "{findings:?}");
    say(&format!("load: {rounds} rounds of {processes} processes, seed {seed}, all fine; {:?}", load.counted));
}

struct Load {
    place: Place,
    processes: usize,
    random: fastrand::Rng,
    /// For each workflow what it comes to alone, and how many calls it makes.
    expected: Vec<(Expected, u64)>,
    /// How often something came about.
    counted: BTreeMap<String, u64>,
    log: Mutex<String>,
}

/// A process of a round: its workflow, and the name of its run and its folder.
struct Process {
    workflow: usize,
    name: String,
    before: Tree,
    crash: Option<Point>,
}

impl Load {
    fn new(processes: usize, seed: u64) -> Load {
        Load {
            place: Place::with_policy("", &policy()),
            processes,
            random: fastrand::Rng::with_seed(named("load", seed)),
            expected: WORKFLOWS.iter().map(Expected::of).collect(),
            counted: BTreeMap::new(),
            log: Mutex::default(),
        }
    }

    fn round(&mut self, round: usize) -> Result<(), String> {
        self.log.lock().unwrap().clear();
        let begun: Vec<Process> = (0..self.processes).map(|process| self.begin(round, process)).collect();
        let meanwhile = self.point(100);
        let ended: Vec<Traced> = std::thread::scope(|scope| {
            let place = &*self;
            let recovers = scope.spawn(move || place.trace(&["recover"], meanwhile));
            let run = |process: &Process| place.trace(&["run", &format!("{}.yaml", process.name)], process.crash);
            let runs: Vec<_> = begun.iter().map(|process| scope.spawn(move || run(process))).collect();
            runs.into_iter().chain([recovers]).map(|thread| thread.join().unwrap()).collect()
        });
        self.count(&ended, "run")?;
        self.two(&["recover"], &["recover"])?;
        self.in_peace(&["recover"])?;
        self.vote(&begun)?;
        self.compare(&begun)?;
        let remains = self.place.remains();
        if !remains.is_empty() {
            return Err(format!("this remains: {remains:?}"));
        }
        let findings = if round.is_multiple_of(10) { self.place.findings() } else { Vec::new() };
        if findings.is_empty() { Ok(()) } else { Err(format!("the journal is not whole: {findings:?}")) }
    }

    fn begin(&mut self, round: usize, process: usize) -> Process {
        let workflow = (round + process) % WORKFLOWS.len();
        let Some(found) = WORKFLOWS.get(workflow) else { unreachable!("a remainder") };
        let name = format!("{}-{round}-{process}", found.name);
        let folder = format!("work/{name}");
        self.place.furnish(&folder);
        self.place.write(format!("{name}.yaml").as_str(), found.text(&name, &folder));
        let crash = self.point(self.expected[workflow].1 * 5 / 4);
        Process { workflow, before: self.place.tree_of(&folder), name, crash }
    }

    fn point(&mut self, calls: u64) -> Option<Point> {
        let side = if self.random.bool() { Side::Before } else { Side::After };
        Some(Point { side, call: self.random.u64(1..=calls) })
    }

    fn trace(&self, arguments: &[&str], crash: Option<Point>) -> Traced {
        let traced = trace(BINARY, arguments, &self.place.path(""), crash);
        let Traced { calls, killed_at, code, text, .. } = &traced;
        let command = arguments.join(" ");
        let mut log = self.log.lock().unwrap();
        let _ = writeln!(log, "$ redress {command} [{code:?}, {calls} calls, killed at {killed_at:?}]\n{text}");
        traced
    }

    /// Whoever was not killed did its work.
    fn count(&mut self, ended: &[Traced], what: &str) -> Result<(), String> {
        for Traced { killed_at, code, text, .. } in ended {
            let how = if killed_at.is_some() { "killed" } else { "ended" };
            *self.counted.entry(format!("{what} {how}")).or_default() += 1;
            let no_journal = *code == Some(2) && text.contains("there is no journal");
            if killed_at.is_none() && !no_journal && !matches!(code, Some(0 | 3 | 4)) {
                return Err(format!("{what} ended with {code:?}: {text}"));
            }
        }
        Ok(())
    }

    /// Two processes at once, each of which may die.
    fn two(&mut self, one: &[&str], other: &[&str]) -> Result<(), String> {
        let crashes = [self.point(300), self.point(300)];
        let ended: Vec<Traced> = std::thread::scope(|scope| {
            let place = &*self;
            let first = scope.spawn(move || place.trace(one, crashes[0]));
            let second = place.trace(other, crashes[1]);
            vec![first.join().unwrap(), second]
        });
        self.count(&ended, one[0])
    }

    fn in_peace(&mut self, arguments: &[&str]) -> Result<(), String> {
        let ended = self.trace(arguments, None);
        self.count(&[ended], arguments[0])
    }

    /// Answers what waits, at first by processes that may die.
    fn vote(&mut self, begun: &[Process]) -> Result<(), String> {
        for (voted, patient) in [(false, false), (true, true)] {
            for (name, (run, state)) in self.known() {
                if state != "PAUSED" || !begun.iter().any(|process| process.name == name) {
                    continue;
                }
                let run = run.to_string();
                let vote = ["approve", &run, "asked", "--as", "user:alice", "--reason", "looks right"];
                if patient { self.in_peace(&vote)? } else { self.two(&vote, &["recover"])? }
            }
            if !voted {
                self.in_peace(&["recover"])?;
            }
        }
        Ok(())
    }

    /// The newest runs and their states, by the names of their workflows.
    fn known(&self) -> BTreeMap<String, (RunId, &'static str)> {
        let Some(journal) = self.place.journal() else { return BTreeMap::new() };
        let rows = journal.runs(&RunFilter::default(), None, 2 * self.processes).unwrap().rows;
        let state = |run: &RunId| redress::engine::state_of(&journal, run).unwrap().shown().as_str();
        rows.into_iter().map(|row| (row.workflow, (row.run.clone(), state(&row.run)))).collect()
    }

    fn compare(&mut self, begun: &[Process]) -> Result<(), String> {
        let known = self.known();
        let journal = self.place.journal();
        for process in begun {
            let end = known.get(&process.name).map(|(run, _)| end_of(journal.as_ref().unwrap(), run));
            let state = known.get(&process.name).map_or("unknown", |(_, state)| state);
            *self.counted.entry(state.to_owned()).or_default() += 1;
            let tree = self.place.tree_of(&format!("work/{}", process.name));
            let folder = format!("/{}", process.name);
            let (expected, _) = &self.expected[process.workflow];
            if expected.before != process.before {
                return Err("the world before is another one than alone".to_owned());
            }
            let end = end.map(|end| serde_json::from_str(&end.to_string().replace(&folder, "")).unwrap());
            if let Some(problem) = expected.compare(end.as_ref(), &tree) {
                return Err(format!("{}: {problem}", process.name));
            }
        }
        Ok(())
    }
}
