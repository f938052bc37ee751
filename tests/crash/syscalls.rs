//! The real binary is killed before and after each system call that changes a file, or makes a change last, counted over all of its
//! threads: 1, 2, 3 ... until none is left. In each recovery it is killed once more, at random. Then it comes to rest, and
//! everything is compared with a run that nobody killed: the end of the run and of each of its steps, the files byte by
//! byte with their permissions, the journal's chains, and what lies beside the journal.
//!
//! `cargo test` tries a sample of the points: each time others, drawn from a seed that is printed. `REDRESS_CRASH=all` tries all of them (`before`
//! and `after` those of one side), `REDRESS_CRASH_SEED=n` draws as a former time did, and `REDRESS_CRASH='before 117, after 43'` tries one case: the first crash,
//! and the second one, counted from the first recovery on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::place::{BINARY, POLICY, Place, Tree, end_of};
use crate::tracer::{Point, Side, Traced, trace};

/// How many points of a workflow are tried on each side where not all are.
const SAMPLE: u64 = 8;

/// A workflow whose steps work below `AT`, and what may become of it.
pub struct Workflow {
    pub name: &'static str,
    steps: &'static str,
    /// How a run ends that nobody kills.
    pub end: &'static str,
    /// Whether a run that was killed may also have rolled back, since not every step is idempotent.
    pub or_rolled_back: bool,
}

impl Workflow {
    /// The file, for a folder as [`Place::furnish`] makes it.
    pub fn text(&self, name: &str, folder: &str) -> String {
        format!("name: {name}\nsteps:\n{}", self.steps.replace("AT/", &format!("/{folder}/")))
    }
}

/// In this one a person is asked before `test.write` goes on.
pub fn policy() -> String {
    let asked = "  - { principal: \"*\", capabilities: [\"test.write\"], action: REQUIRE_APPROVAL }\n";
    POLICY.replace("rules:\n", &format!("rules:\n{asked}"))
}

pub const WORKFLOWS: [Workflow; 6] = [SUCCESS, RETRY, PARALLEL, ROLLBACK, APPROVAL, ONCE];

const SUCCESS: Workflow = Workflow {
    name: "success",
    steps: r#"
  - { name: dirs, capability: io.fs.make_dir, inputs: { path: AT/new/a/b } }
  - { name: first, capability: io.fs.write_file, inputs: { path: AT/bin, content: "one" } }
  - { name: second, capability: io.fs.write_file, inputs: { path: AT/bin, content_base64: "AAEC/w==" } }
  - { name: hash, capability: io.fs.hash_file, inputs: { path: AT/bin } }
  - { name: more, capability: io.fs.append_file, inputs: { path: AT/private, content: "{{ hash.sha256 }}" } }
  - { name: gone, capability: io.fs.delete, inputs: { path: AT/old, recursive: true } }
  - { name: moved, capability: io.fs.move, inputs: { from: AT/log, to: "AT/new/a/{{ hash.size }}" } }
"#,
    end: "COMPLETED",
    or_rolled_back: false,
};

const RETRY: Workflow = Workflow {
    name: "retry",
    steps: r#"
  - { name: a, capability: test.flaky.write, retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: AT/a, content: a, fail_times: 2 } }
  - { name: b, capability: test.fail_after_write_idem, retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: AT/log, content: b, retryable: true, fail_times: 1 } }
  - { name: c, capability: test.fail_after_write_idem, retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: AT/new, content: c, retryable: true, fail_times: 2 } }
"#,
    end: "COMPLETED",
    or_rolled_back: false,
};

const PARALLEL: Workflow = Workflow {
    name: "parallel",
    steps: r#"
  - { name: a, capability: io.fs.append_file, depends_on: [], inputs: { path: AT/log, content: "a\n" } }
  - { name: b, capability: io.fs.write_file, inputs: { path: AT/bin, content: b } }
  - { name: c, capability: test.fail_after_write_idem, retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: AT/c, content: c, retryable: true, fail_times: 1 } }
  - { name: d, capability: io.fs.make_dir, inputs: { path: AT/d/e } }
  - { name: e, capability: io.fs.delete, inputs: { path: AT/old/deeper, recursive: true } }
  - { name: f, capability: io.fs.move, inputs: { from: AT/private, to: AT/public } }
  - { name: g, capability: io.fs.copy, depends_on: [a, b, c, d, e, f], inputs: { from: AT/log, to: AT/d/e/log } }
"#,
    end: "COMPLETED",
    or_rolled_back: false,
};

const ROLLBACK: Workflow = Workflow {
    name: "rollback",
    steps: r#"
  - { name: dirs, capability: io.fs.make_dir, inputs: { path: AT/new/a/b } }
  - { name: over, capability: io.fs.write_file, inputs: { path: AT/bin, content: "one" } }
  - { name: again, capability: io.fs.write_file, inputs: { path: AT/bin, content_base64: "AAEC/w==" } }
  - { name: more, capability: io.fs.append_file, inputs: { path: AT/private, content: "and you" } }
  - { name: within, capability: io.fs.write_file, inputs: { path: AT/new/a/b/c, content: "c" } }
  - { name: gone, capability: io.fs.delete, inputs: { path: AT/old, recursive: true } }
  - { name: moved, capability: io.fs.move, inputs: { from: AT/log, to: AT/new/a/log } }
  - { name: all, capability: io.fs.move, inputs: { from: AT/new/a, to: AT/a } }
  - { name: last, capability: test.fail, inputs: {} }
"#,
    end: "ROLLED_BACK",
    or_rolled_back: false,
};

const APPROVAL: Workflow = Workflow {
    name: "approval",
    steps: r#"
  - { name: dirs, capability: io.fs.make_dir, inputs: { path: AT/new } }
  - name: asked
    capability: test.write
    inputs: { path: AT/new/page, content: "page" }
    compensation: { capability: io.fs.delete, inputs: { path: "{{ asked.path }}" } }
  - { name: more, capability: io.fs.append_file, inputs: { path: AT/log, content: "more" } }
  - { name: last, capability: test.fail, inputs: {} }
"#,
    end: "ROLLED_BACK",
    or_rolled_back: false,
};

const ONCE: Workflow = Workflow {
    name: "once",
    steps: r#"
  - { name: a, capability: io.fs.write_file, inputs: { path: AT/a, content: a } }
  - { name: n, capability: test.count, inputs: { path: AT/log } }
  - { name: z, capability: io.fs.write_file, inputs: { path: AT/bin, content: z } }
"#,
    end: "COMPLETED",
    or_rolled_back: true,
};

/// Of two undos the first removes a file, and the second, which is declared, moves one into another folder.
const UNDOS: &str = "name: undos
steps:
  - { name: over, capability: io.fs.write_file, inputs: { path: /work/bin, content: over } }
  - name: away
    capability: io.fs.write_file
    inputs: { path: /work/away, content: away }
    compensation: { capability: io.fs.move, inputs: { from: /work/away, to: /work/old/moved } }
  - { name: made, capability: io.fs.write_file, inputs: { path: /work/made, content: made } }
  - { name: last, capability: test.fail, inputs: {} }
";

#[test]
fn what_an_undo_put_back_is_on_disk_before_anything_is_journaled_after_it() {
    let place = Place::new(UNDOS);
    let Traced { code, log, text, .. } = trace(BINARY, &["run", "workflow.yaml"], &place.path(""), None);
    assert_eq!(code, Some(3), "{text}");
    let work = place.path("work").canonicalize().unwrap();
    let (work, old, bin) =
        [work.clone(), work.join("old"), work.join("bin")].map(|path| path.display().to_string()).into();
    let is_journal = |of: &[String]| of.iter().any(|path| path.ends_with("journal.db-wal"));
    // What comes after the first file is removed is done by undos.
    let begin = log.iter().position(|(name, of)| name.starts_with("unlink") && of.contains(&work)).unwrap();
    let mut synced = 0;
    for (at, (name, of)) in log.iter().enumerate().skip(begin) {
        let changes =
            ["unlink", "rename", "write", "pwrite", "ftruncate"].iter().any(|change| name.starts_with(change));
        for path in of.iter().filter(|path| changes && [&work, &old, &bin].contains(path)) {
            let rest = log[at..].iter();
            let mut until_journal = rest.take_while(|(name, of)| !(name.contains("write") && is_journal(of)));
            let sync =
                until_journal.any(|(name, of)| name.starts_with("f") && name.ends_with("sync") && of.contains(path));
            assert!(sync, "call {at}, {name} of {path}, was not synced before the journal went on: {:#?}", &log[at..]);
            synced += 1;
        }
    }
    assert!(synced >= 4, "{synced}: {:#?}", &log[begin..]);
}

#[test]
fn a_run_that_succeeds_comes_to_the_same_end_after_a_crash_at_any_system_call() {
    sweep(&SUCCESS);
}

#[test]
fn a_run_with_retries_comes_to_the_same_end_after_a_crash_at_any_system_call() {
    sweep(&RETRY);
}

#[test]
fn a_run_with_parallel_steps_comes_to_the_same_end_after_a_crash_at_any_system_call() {
    sweep(&PARALLEL);
}

#[test]
fn a_run_that_rolls_back_comes_to_the_same_end_after_a_crash_at_any_system_call() {
    sweep(&ROLLBACK);
}

#[test]
fn an_approved_step_with_a_declared_compensation_comes_to_the_same_end_after_a_crash_at_any_system_call() {
    sweep(&APPROVAL);
}

#[test]
fn a_step_that_is_not_idempotent_runs_once_or_is_undone_after_a_crash_at_any_system_call() {
    sweep(&ONCE);
}

/// What a run and its recoveries led to.
struct Played {
    end: Value,
    before: Tree,
    tree: Tree,
    /// Where it was killed.
    killed_at: Vec<(Point, String)>,
    /// The calls of all commands before the first crash, and of all after it.
    calls: (u64, u64),
    log: String,
}

/// Runs the workflow, and brings it to rest, whatever it takes, with crashes on the way: the second is counted from the first on.
/// A run that nobody knows of after a crash has changed nothing, and is begun once more.
fn play(workflow: &Workflow, crashes: &[Point]) -> Result<Played, String> {
    let place = Place::with_policy(&workflow.text(workflow.name, "work"), &policy());
    let before = place.tree();
    let mut crashes = crashes.iter().copied();
    let (mut next, mut killed_at, mut calls, mut log) = (crashes.next(), Vec::new(), [0; 3], String::new());
    let mut command: Vec<String> = vec!["run".into(), "workflow.yaml".into()];
    for commands in 1.. {
        if commands > 10 {
            return Err(format!("it never comes to rest\n{log}"));
        }
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let traced = trace(BINARY, &arguments, &place.path(""), next);
        let Traced { calls: made, killed_at: at, code, text, .. } = traced;
        log += &format!("$ redress {} [{code:?}, {made} calls, killed at {at:?}]\n{text}", command.join(" "));
        calls[killed_at.len()] += made;
        if let (Some(point), Some(at)) = (next, at) {
            killed_at.push((point, at));
            next = crashes.next();
            command = vec!["recover".into()];
            continue;
        }
        if let Some(point) = &mut next {
            point.call = point.call.saturating_sub(made);
            next = next.filter(|point| point.call > 0);
        }
        let unknown = place.ids().is_empty();
        match code {
            // There is no journal yet.
            Some(2) if unknown => {}
            Some(0 | 3 | 4) => {}
            _ => return Err(format!("it ended with {code:?}\n{log}")),
        }
        match place.runs().as_slice() {
            [] => {
                let changed = different(&before, &place.tree());
                if !changed.is_empty() {
                    return Err(format!(
                        "nobody knows of a run, and these paths are not as before: {changed:?}\n{log}"
                    ));
                }
                command = vec!["run".into(), "workflow.yaml".into()];
            }
            ["PAUSED"] => {
                let run = place.ids()[0].to_string();
                let approve = ["approve", &run, "asked", "--as", "user:alice", "--reason", "looks right"];
                command = approve.map(str::to_owned).to_vec();
            }
            ["COMPLETED" | "ROLLED_BACK"] => break,
            other => return Err(format!("it does not rest: {other:?}\n{log}")),
        }
    }
    let remains = place.remains();
    if !remains.is_empty() {
        return Err(format!("this remains: {remains:?}\n{log}"));
    }
    let findings = place.findings();
    if !findings.is_empty() {
        return Err(format!("the journal is not whole: {findings:?}\n{log}"));
    }
    let end = end_of(&place.journal().unwrap(), &place.ids()[0]);
    Ok(Played { end, before, tree: place.tree(), killed_at, calls: (calls[0], calls[1] + calls[2]), log })
}

/// What may become of a workflow: its end and world if nobody kills it, and the world before.
pub struct Expected {
    pub before: Tree,
    pub end: Value,
    pub tree: Tree,
    or_rolled_back: bool,
}

impl Expected {
    pub fn of(workflow: &Workflow) -> (Expected, u64) {
        let played = play(workflow, &[]).unwrap_or_else(|problem| panic!("{}: {problem}", workflow.name));
        let Played { end, before, tree, calls, log, .. } = played;
        assert_eq!(end["state"], workflow.end, "{}: {log}", workflow.name);
        if workflow.end == "ROLLED_BACK" {
            assert_eq!(different(&before, &tree), Vec::<String>::new());
        }
        (Expected { before, end, tree, or_rolled_back: workflow.or_rolled_back }, calls.0)
    }

    /// What is wrong with an end and a world, if anything is.
    pub fn compare(&self, end: Option<&Value>, tree: &Tree) -> Option<String> {
        let rolled_back = self.or_rolled_back && end.is_some_and(|end| end["state"] == "ROLLED_BACK");
        let (wanted, state) = match end {
            None => (&self.before, "nobody knows of a run"),
            Some(_) if rolled_back => (&self.before, "it rolled back"),
            Some(end) if *end == self.end => (&self.tree, "the end is right"),
            Some(end) => return Some(format!("it ended otherwise:\n{end:#}\ninstead of\n{:#}", self.end)),
        };
        let different = different(wanted, tree);
        (!different.is_empty()).then(|| format!("{state}, and these paths are not as they should be: {different:?}"))
    }
}

fn different(wanted: &Tree, found: &Tree) -> Vec<String> {
    let mut paths: Vec<&String> = wanted.keys().chain(found.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().filter(|path| wanted.get(*path) != found.get(*path)).cloned().collect()
}

/// What is drawn this time: by the day, or as the environment says.
pub fn seed() -> u64 {
    let given = std::env::var("REDRESS_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400)
}

fn sweep(workflow: &Workflow) {
    let name = workflow.name;
    let (expected, calls) = Expected::of(workflow);
    let asked = std::env::var("REDRESS_CRASH").unwrap_or_default();
    let one: Vec<Point> = asked.split(',').filter_map(Point::parse).collect();
    if !one.is_empty() {
        let played = play(workflow, &one).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let wrong = expected.compare(Some(&played.end), &played.tree);
        println!("{name}: killed at {:?}\n{}", played.killed_at, played.log);
        assert_eq!(wrong, None);
        return;
    }
    let seed = seed();
    let (every, sides): (u64, &[Side]) = match asked.as_str() {
        "all" => (1, &[Side::Before, Side::After]),
        "before" => (1, &[Side::Before]),
        "after" => (1, &[Side::After]),
        _ => ((calls / SAMPLE).max(1), &[Side::Before, Side::After]),
    };
    let found = std::thread::scope(|scope| {
        let expected = &expected;
        let sweep = |side: &Side| {
            let side = *side;
            scope.spawn(move || one_side(workflow, expected, calls, (side, every, seed)))
        };
        let sides: Vec<_> = sides.iter().map(sweep).collect();
        sides.into_iter().map(|side| side.join().unwrap()).fold(Found::default(), Found::and)
    });
    let verdict = if found.wrong.is_empty() { "all fine".to_owned() } else { format!("{} WRONG", found.wrong.len()) };
    let points = if every == 1 { "all".to_owned() } else { format!("every {every}th of them, by seed {seed}") };
    let Found { first, second, at, wrong } = found;
    say(&format!("{name}: {calls} calls, {first} crash points ({points}), {second} second crashes, {verdict}; {at:?}"));
    if let Some((case, problem)) = wrong.first() {
        let cases: Vec<&String> = wrong.iter().map(|(case, _)| case).collect();
        let test = std::thread::current().name().unwrap_or(name).to_owned();
        panic!(
            "{name}: {problem}\nseed {seed}, wrong are {cases:?}; to see the first again:\n  \
             REDRESS_CRASH='{case}' cargo test --test crash {test} -- --nocapture"
        );
    }
}

/// What a sweep found.
#[derive(Default)]
struct Found {
    first: u64,
    second: u64,
    /// How often the process was killed at which call.
    at: BTreeMap<String, u64>,
    /// Cases, and what is wrong with them.
    wrong: Vec<(String, String)>,
}

impl Found {
    fn and(mut self, other: Found) -> Found {
        for (name, times) in other.at {
            *self.at.entry(name).or_default() += times;
        }
        self.wrong.extend(other.wrong);
        Found { first: self.first + other.first, second: self.second + other.second, ..self }
    }
}

fn one_side(workflow: &Workflow, expected: &Expected, calls: u64, (side, every, seed): (Side, u64, u64)) -> Found {
    let mut random = fastrand::Rng::with_seed(named(workflow.name, seed) ^ u64::from(side == Side::After));
    let (mut found, mut longest) = (Found::default(), calls);
    let mut call = random.u64(1..=every);
    loop {
        let again = if random.bool() { Side::Before } else { Side::After };
        let points = [Point { side, call }, Point { side: again, call: random.u64(1..=longest + longest / 4 + 8) }];
        let case = format!("{}, {}", points[0], points[1]);
        let wrong = match play(workflow, &points) {
            Ok(played) if played.killed_at.is_empty() => return found,
            Ok(played) => {
                for (_, name) in &played.killed_at {
                    *found.at.entry(name.clone()).or_default() += 1;
                }
                found.first += 1;
                if played.killed_at.len() == 1 {
                    longest = played.calls.1;
                } else {
                    found.second += 1;
                }
                let problem = expected.compare(Some(&played.end), &played.tree);
                problem.map(|problem| format!("{problem}\n{}", played.log))
            }
            Err(problem) => Some(problem),
        };
        if let Some(problem) = wrong {
            say(&format!("{}: WRONG if killed {case}: {problem}", workflow.name));
            found.wrong.push((case, problem));
            if found.wrong.len() == 100 {
                return found;
            }
        }
        if every == 1 && call.is_multiple_of(50) {
            say(&format!("{}: {side:?} call {call} of {calls}, {} wrong", workflow.name, found.wrong.len()));
        }
        call += every;
    }
}

/// A seed of its own for each name.
pub fn named(name: &str, seed: u64) -> u64 {
    name.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

/// Past the capture of the test runner: whoever waits for hours sees how far it is.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
