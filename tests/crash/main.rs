//! I6: wherever the process dies, a restart reaches the same end and the same world as without the crash.
//!
//! Here the real binary is killed with SIGKILL before and after each commit of the journal in turn, and once more during each
//! recovery. `syscalls.rs` does the same at each system call that changes a file, `load.rs` to many processes at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/guests.rs"]
mod guests;
mod load;
mod place;
mod syscalls;
mod tracer;
mod upkeep;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use redress::engine::view;
use redress::journal::Journal;
use serde_json::{Value, json};

use place::{POLICY, Place, killed, text};
use syscalls::{named, say, seed};

/// Crashes at every commit in turn, and once more at a drawn commit of each recovery. `others` says which other ends are right
/// besides the one without a crash; the world is then as before the run.
fn crash_everywhere(workflow: &str, others: &[&str]) {
    let reference = Place::new(workflow);
    let before = reference.tree();
    let output = reference.redress(&["run", "workflow.yaml"], None);
    let (end, after) = (reference.runs(), reference.tree());
    assert_eq!(end.len(), 1, "{}", text(&output));
    let events = reference.journal().unwrap().run(&reference.ids()[0]).unwrap().unwrap().seq;
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(named(workflow, seed));
    let (mut crashes, mut second_crashes) = (0, 0);
    for when in ["BEFORE", "AFTER"] {
        // How many commits a recovery makes at most, as far as is known: a crash that did not come shows that there are fewer,
        // and a later first crash leaves no more to do than an earlier one.
        let mut reach = events;
        for commit in 1.. {
            let place = Place::new(workflow);
            let output = place.redress(&["run", "workflow.yaml"], Some((when, commit)));
            if !killed(&output) {
                assert_eq!((place.runs(), place.tree()), (end.clone(), after.clone()), "{}", text(&output));
                break;
            }
            crashes += 1;
            let second = (if random.bool() { "BEFORE" } else { "AFTER" }, random.u64(1..=reach));
            let here = format!("killed {when} commit {commit}, then {} commit {}, seed {seed}", second.0, second.1);
            let mut output = place.redress(&["recover"], Some(second));
            if killed(&output) {
                second_crashes += 1;
            } else {
                reach = (second.1 - 1).max(1);
            }
            let mut recoveries = 1;
            while killed(&output) {
                recoveries += 1;
                assert!(recoveries < 10, "{here}: recovery never ends");
                output = place.redress(&["recover"], None);
            }
            let (runs, tree) = (place.runs(), place.tree());
            match runs.as_slice() {
                [] => assert_eq!(tree, before, "{here}: a run that nobody knows of left something behind"),
                [state] if *state == end[0] => assert_eq!(tree, after, "{here}\n{}", text(&output)),
                [state] if others.contains(state) => assert_eq!(tree, before, "{here}: {state}"),
                _ => panic!("{here}: {runs:?} instead of {end:?}\n{}", text(&output)),
            }
            let found = place.journal().map_or_else(Vec::new, |journal| journal.verify().unwrap().findings);
            assert!(found.is_empty(), "{here}: {found:?}");
        }
    }
    let name = workflow.trim().lines().next().unwrap_or_default();
    say(&format!("commits: {name}: {crashes} crashes, {second_crashes} of their recoveries crashed, too; seed {seed}"));
    assert!(crashes >= 4, "only {crashes} crashes");
    assert!(second_crashes > 0, "no recovery crashed; seed {seed}");
}

const SUCCESS: &str = r#"
name: success
steps:
  - { name: dirs, capability: io.fs.make_dir, inputs: { path: /work/new/a } }
  - { name: first, capability: io.fs.write_file, inputs: { path: /work/bin, content: "one" } }
  - { name: second, capability: io.fs.write_file, inputs: { path: /work/bin, content_base64: "AAEC/w==" } }
  - { name: hash, capability: io.fs.hash_file, inputs: { path: /work/bin } }
  - { name: gone, capability: io.fs.delete, inputs: { path: /work/old, recursive: true } }
  - { name: moved, capability: io.fs.move, inputs: { from: /work/log, to: "/work/new/a/{{ hash.size }}" } }
"#;

#[test]
fn a_workflow_that_succeeds_comes_to_the_same_end_after_any_crash() {
    crash_everywhere(SUCCESS, &[]);
}

#[test]
fn a_workflow_that_fails_and_rolls_back_comes_to_the_same_end_after_any_crash() {
    crash_everywhere(&format!("{SUCCESS}  - {{ name: last, capability: test.fail, inputs: {{}} }}\n"), &[]);
}

#[test]
fn retries_and_parallel_steps_come_to_the_same_end_after_any_crash() {
    crash_everywhere(
        r#"
name: parallel
steps:
  - { name: a, capability: io.fs.append_file, depends_on: [], inputs: { path: /work/log, content: "a\n" } }
  - { name: b, capability: test.flaky.write, retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: /work/b, content: b, fail_times: 2 } }
  - { name: c, capability: test.fail_after_write_idem, retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: /work/c, content: c, retryable: true, fail_times: 1 } }
  - { name: d, capability: io.fs.copy, depends_on: [a, b, c], inputs: { from: /work/log, to: /work/d } }
"#,
        &[],
    );
}

#[test]
fn retries_parallel_steps_and_a_rollback_come_to_the_same_end_after_any_crash() {
    crash_everywhere(
        r#"
name: turned-back
steps:
  - { name: a, capability: io.fs.append_file, depends_on: [], inputs: { path: /work/log, content: "a\n" } }
  - { name: b, capability: test.flaky.write, depends_on: [], retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: /work/bin, content: b, fail_times: 2 } }
  - { name: c, capability: test.fail_after_write_idem, depends_on: [], retry: { max_attempts: 4, initial_interval: 1ms }, inputs: { path: /work/c, content: c, retryable: true, fail_times: 1 } }
  - { name: d, capability: io.fs.move, depends_on: [a, b, c], inputs: { from: /work/log, to: /work/d } }
  - { name: last, capability: test.fail, inputs: {} }
"#,
        &[],
    );
}

#[test]
fn a_declared_compensation_that_finds_its_work_done_by_one_that_was_interrupted_is_done() {
    crash_everywhere(
        r#"
name: declared
steps:
  - name: a
    capability: io.fs.write_file
    inputs: { path: /work/a, content: a }
    compensation: { capability: io.fs.delete, inputs: { path: "{{ a.path }}" } }
  - name: b
    capability: io.fs.move
    inputs: { from: /work/log, to: /work/b }
    compensation: { capability: io.fs.move, inputs: { from: "{{ b.to }}", to: "{{ b.from }}" } }
  - { name: last, capability: test.fail, inputs: {} }
"#,
        &[],
    );
}

#[test]
fn a_step_that_is_not_idempotent_rolls_back_where_its_outcome_is_unclear() {
    crash_everywhere(
        r#"
name: counting
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
  - { name: n, capability: test.count, inputs: { path: /work/log } }
  - { name: z, capability: io.fs.write_file, inputs: { path: /work/z, content: z } }
"#,
        &["ROLLED_BACK"],
    );
}

#[test]
fn a_crash_between_vote_and_intent_executes_once() {
    let workflow = r#"
name: asked
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
  - { name: n, capability: test.count, inputs: { path: /work/n } }
"#;
    let policy = POLICY.replace(
        "rules:\n",
        "rules:\n  - { principal: \"*\", capabilities: [\"test.count\"], action: REQUIRE_APPROVAL }\n",
    );
    for when in ["BEFORE", "AFTER"] {
        for commit in 1.. {
            let place = Place::with_policy(workflow, &policy);
            let before = place.tree();
            let output = place.redress(&["run", "workflow.yaml"], None);
            assert_eq!(output.status.code(), Some(4), "{}", text(&output));
            let run = place.ids()[0].to_string();
            let approve = ["approve", &run, "n", "--as", "user:alice", "--reason", "looks right"];
            let first = place.redress(&approve, Some((when, commit)));
            if killed(&first) {
                place.redress(&["recover"], None);
                if place.runs() == ["PAUSED"] {
                    place.redress(&approve, None);
                    place.redress(&["recover", &run], None);
                }
            }
            let count = fs::read_to_string(place.path("work/n")).ok();
            match (place.runs()[0], count.as_deref()) {
                ("COMPLETED", Some("execute 1\n")) => {}
                ("ROLLED_BACK", None) => assert_eq!(place.tree(), before),
                other => panic!("killed {when} commit {commit}: {other:?}\n{}", text(&first)),
            }
            if !killed(&first) {
                assert!(commit > 2, "{}", text(&first));
                break;
            }
        }
    }
}

/// The outputs of the only run, by step, as far as the journal has them.
fn outputs(place: &Place) -> BTreeMap<String, Value> {
    let Some(run) = place.ids().pop() else { return BTreeMap::new() };
    let steps = view(&place.journal().unwrap(), &run).unwrap().steps;
    steps.into_iter().filter_map(|step| Some((step.name.to_string(), step.output?))).collect()
}

#[test]
fn an_output_that_was_journaled_before_anybody_saw_it_is_what_is_seen_after_a_crash() {
    let workflow = r#"
name: seen
steps:
  - { name: count, capability: test.count, inputs: { path: /work/n } }
  - { name: read, capability: io.fs.read_file, inputs: { path: /work/log } }
  - { name: copy, capability: io.fs.write_file, inputs: { path: /work/copy, content: "{{ read.content }}" } }
"#;
    let (mut unused, mut unseen) = (0, 0);
    for when in ["BEFORE", "AFTER"] {
        for commit in 1.. {
            let place = Place::new(workflow);
            let output = place.redress(&["run", "workflow.yaml", "--json"], Some((when, commit)));
            if !killed(&output) {
                break;
            }
            let here = format!("killed {when} commit {commit}");
            assert!(output.stdout.is_empty(), "{here}: somebody saw it");
            let journaled = outputs(&place);
            // Whoever reads again reads something else.
            place.write("work/log", "somebody's\n");
            let output = place.redress(&["recover"], None);
            match place.runs().as_slice() {
                // Nobody knows of it, or the step that is not idempotent was interrupted.
                [] | ["ROLLED_BACK"] => assert!(!place.path("work/n").exists(), "{here}"),
                ["COMPLETED"] => {
                    let seen = outputs(&place);
                    let again = |step: &String| (step.clone(), seen[step].clone());
                    assert_eq!(journaled, journaled.keys().map(again).collect(), "{here}");
                    assert_eq!(fs::read_to_string(place.path("work/n")).unwrap(), "execute 1\n", "{here}");
                    let copied = fs::read_to_string(place.path("work/copy")).unwrap();
                    assert_eq!(seen["read"]["content"], json!(copied), "{here}");
                    if journaled.contains_key("read") {
                        assert_eq!(copied, "line\n", "{here}");
                        let used = journaled.contains_key("copy");
                        if used { unseen += 1 } else { unused += 1 }
                    }
                }
                other => panic!("{here}: {other:?}\n{}", text(&output)),
            }
        }
    }
    assert!(unused > 0 && unseen > 0, "{unused} crashes before the output was used, {unseen} before it was seen");
}

#[test]
fn a_stopped_owner_keeps_its_run() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new(
        "name: slow\nsteps:\n  - { name: a, capability: test.slow, timeout: 25s, inputs: { path: /work/s, ms: 20000 } }\n",
    );
    let mut owner = Command::new(env!("CARGO_BIN_EXE_redress"))
        .args(["run", "workflow.yaml", "--json"])
        .current_dir(place.path(""))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // It owns the run and is in the middle of the step's effects.
    while !place.path("work/s").exists() {
        assert!(owner.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    let pid = Pid::from_child(&owner);
    kill_process(pid, Signal::STOP).unwrap();
    let run = place.ids()[0].clone();
    place.redress(&["recover"], None);
    assert_eq!(place.journal().unwrap().run(&run).unwrap().unwrap().epoch, 1);
    assert_eq!(place.runs(), ["RUNNING"]);
    kill_process(pid, Signal::KILL).unwrap();
    owner.wait().unwrap();
    let kill = ["kill", &run.to_string(), "--reason", "the test is over", "--as", "user:op"];
    place.redress(&kill, None);
    assert_eq!(place.runs(), ["KILLED"]);
}
