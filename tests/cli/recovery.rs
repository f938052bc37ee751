//! Runs whose process is gone, and runs that another process drives. An engine in this process stands for the other one: as
//! long as it lives, its runs are its own, and dropped it is as good as dead.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Stdio};

use redress::document::Source;
use redress::engine::{Clock as _, Driven, Engine, Run, SimClock, Stop, Submit, Submitted, SystemClock};
use redress::journal::{Journal as _, Left, Options, OwnerIdentity, RunFilter, SqliteJournal};
use redress::saga::RunState;
use redress::saga::event::Event;
use redress::types::{Duration, Principal, RunId, Timestamp};
use redress::workflow::Workflow;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Map;

use crate::common::{POLICY, Place};
use crate::guests;

const WRITE: &str = "name: w
steps:
  - name: a
    capability: io.fs.write_file
    inputs: { path: /workspace/a, content: x }
";

/// A run of another process that has not begun to move.
async fn submitted(engine: &Engine, key: Option<&str>) -> Run {
    let source = Source::new("w.yaml", WRITE);
    let workflow = Workflow::load(&source, engine.registry(), &Map::new()).unwrap().0;
    let mut submit = Submit::by(Principal::parse("agent:demo").unwrap());
    submit.run_key = key.map(str::to_owned);
    match engine.submit(&workflow, &submit).await.unwrap() {
        Submitted::New(run) => run,
        Submitted::Existing(run) => panic!("{run} exists"),
    }
}

fn orphan(place: &Place, key: Option<&str>) -> RunId {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = place.engine(SystemClock);
        submitted(&engine, key).await.id().clone()
    })
}

#[test]
fn recover_finishes_every_run_whose_owner_died() {
    let place = Place::new();
    let runs = [orphan(&place, None), orphan(&place, None)];
    let other = place.redress(&["call", "io.fs.exists", "--input", "path=/workspace"]).exits(0);
    assert!(other.stderr.contains("2 other runs wait for recovery"), "{other:?}");
    assert!(place.world().is_empty(), "a run drives only itself");

    let rows = place.redress(&["recover", "--json"]).exits(0).json();
    let found: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["run"].as_str().unwrap()).collect();
    assert_eq!(found, [runs[0].as_str(), runs[1].as_str()]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["state"] == "COMPLETED"), "{rows}");
    assert_eq!(place.read("workspace/a"), "x");
    let none = place.redress(&["recover"]).exits(0);
    assert_eq!(none.stdout, "no run waits for recovery\n");
}

#[test]
fn a_run_of_an_adopted_backup_is_recovered_only_by_name() {
    let place = Place::new();
    let run = orphan(&place, None);
    place.redress(&["journal", "backup", "backup.db"]).exits(0);
    std::fs::remove_dir_all(place.path(".redress")).unwrap();
    let adopt = ["--journal", "backup.db", "journal", "adopt", "--as", "user:me", "--reason", "the disk is lost"];
    assert!(place.redress(&adopt).exits(0).stdout.contains(run.as_str()));
    let recover = |more: &[&str]| place.redress(&[&["--journal", "backup.db", "recover"], more].concat()).exits(0);
    let none = recover(&[]);
    assert_eq!(none.stdout, "no run waits for recovery\n");
    let way_out = format!("`redress show {run}`, then `redress recover {run}`");
    assert!(none.stderr.contains(&way_out) && none.stderr.contains("backup that was adopted"), "{none:?}");
    assert!(place.world().is_empty(), "nothing was executed");
    let other = ["--journal", "backup.db", "call", "io.fs.exists", "--input", "path=/workspace"];
    assert!(place.redress(&other).exits(0).stderr.contains(&way_out));
    recover(&[run.as_str()]);
    assert_eq!(place.read("workspace/a"), "x");
    assert!(!recover(&[]).stderr.contains(run.as_str()));
}

#[test]
fn recover_of_one_run_ends_with_its_state() {
    let place = Place::new();
    let run = orphan(&place, None);
    let view = place.redress(&["recover", run.as_str(), "--json"]).exits(0);
    assert_eq!(view.run(), run);
    place.redress(&["recover", run.as_str()]).exits(0);
    let events = place.entries(&run).len();
    place.redress(&["recover", run.as_str()]).exits(0);
    assert_eq!(place.entries(&run).len(), events, "a closed run is left alone");
}

#[test]
fn a_run_of_a_dead_owner_is_driven_by_whoever_submits_its_key_again() {
    let place = Place::new();
    let run = orphan(&place, Some("monday"));
    place.write("w.yaml", WRITE);
    let answer = place.redress(&["run", "w.yaml", "--run-key", "monday", "--json"]).exits(0);
    assert_eq!(answer.run(), run);
    assert_eq!(place.read("workspace/a"), "x");
}

/// The binary, once it says that it waits for the owner.
fn waiting(place: &Place, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut command = place.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("driven by another process") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended without waiting");
    }
    (child, stderr)
}

#[test]
fn a_verb_waits_for_the_process_that_drives_the_run_and_reports_its_state() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = place.engine(SystemClock);
        let run = submitted(&engine, Some("monday")).await;
        let id = run.id().to_string();
        let (recover, _open) = waiting(&place, &["recover", &id, "--json"]);
        let (cancel, _also_open) = waiting(&place, &["cancel", &id, "--reason", "r", "--as", "user:op", "--json"]);
        assert!(place.world().is_empty(), "nobody but the owner drives it");
        assert_eq!(run.finish().await.unwrap(), Driven::Rest(RunState::RolledBack));
        for child in [recover, cancel] {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(3));
            let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&view["state"], &view["run"]), (&"ROLLED_BACK".into(), &id.as_str().into()));
        }
    });
}

#[test]
fn a_verb_that_waits_goes_on_itself_when_the_owner_dies() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = place.engine(SystemClock);
        let run = submitted(&engine, None).await;
        let id = run.id().to_string();
        let (child, _open) = waiting(&place, &["recover", &id, "--json"]);
        drop((run, engine));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(place.read("workspace/a"), "x");
    });
}

#[test]
fn an_interrupted_verb_ends_with_130_and_says_how_to_go_on() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = place.engine(SystemClock);
        let run = submitted(&engine, None).await;
        let (mut child, mut stderr) = waiting(&place, &["recover", run.id().as_str()]);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(rest.contains(&format!("`redress recover {}`", run.id())), "{rest}");
        assert_eq!(run.finish().await.unwrap(), Driven::Rest(RunState::Completed), "the owner was not disturbed");
    });
}

/// A run with a step that ends only when `workspace/go` is there, interrupted while that step runs. The process ends when it
/// has said that it stops and `then` was done, and says how to go on.
fn interrupted(place: &Place, by: Signal, then: impl FnOnce()) -> RunId {
    let (run, told) = stopped(place, by, |_| then());
    let way = format!("interrupted: nothing new was started; go on with `redress recover {run}`\n");
    assert!(told.ends_with(&way), "{told}");
    run
}

/// The same, whatever it says at its end.
fn stopped(place: &Place, by: Signal, then: impl FnOnce(&Child)) -> (RunId, String) {
    place.write(
        "w.yaml",
        "name: w
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, content: a } }
  - { name: b, capability: test.until, inputs: { path: /workspace/b, until: /workspace/go } }
  - { name: c, capability: io.fs.write_file, inputs: { path: /workspace/c, content: c } }
",
    );
    // Whoever started this test may ignore hangups, as `nohup` does, and a child would do the same.
    let binary = env!("CARGO_BIN_EXE_redress").as_ref();
    let mut command = place.through("env", &["--default-signal=HUP".as_ref(), binary], &["run", "w.yaml"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The file is there before its first line is.
    while std::fs::read(place.path("workspace/b")).ok().as_deref() != Some(b"begin\n") {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    kill_process(Pid::from_child(&child), by).unwrap();
    let mut told = String::new();
    while !told.contains("stopping: what runs is given its time to end") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "it did not say that it stops: {told}");
    }
    then(&child);
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));

    let run = place.journal().runs(&RunFilter::default(), None, 1).unwrap().rows[0].run.clone();
    assert!(!place.path("workspace/c").exists(), "nothing new was started");
    (run, told)
}

#[test]
fn a_second_signal_ends_the_process_at_once_and_says_how_to_go_on() {
    let place = with_test_capabilities();
    let end = |child: &Child| kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    let (run, told) = stopped(&place, Signal::INT, end);
    assert!(told.ends_with(&format!("; go on with `redress recover {run}`\n")), "{told}");
    place.write("workspace/go", "");
    let view = place.redress(&["recover", run.as_str(), "--json"]).exits(0).json();
    assert_eq!(view["state"], "COMPLETED");
}

#[test]
fn a_hangup_stops_a_run_like_any_signal_unless_it_is_ignored() {
    let place = with_test_capabilities();
    let run = interrupted(&place, Signal::HUP, || place.write("workspace/go", ""));
    assert_eq!(place.redress(&["recover", run.as_str(), "--json"]).exits(0).json()["state"], "COMPLETED");

    let place = with_test_capabilities();
    place.write(
        "w.yaml",
        "name: w\nsteps: [{ name: b, capability: test.until, inputs: { path: /workspace/b, until: /workspace/go } }]\n",
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" run w.yaml", env!("CARGO_BIN_EXE_redress")]);
    let mut child = shell.current_dir(place.path("")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while std::fs::read(place.path("workspace/b")).ok().as_deref() != Some(b"begin\n") {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    place.write("workspace/go", "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

pub fn with_test_capabilities() -> Place {
    let place = Place::with_policy(&POLICY.replace("\"io.fs.*\"", "\"io.fs.*\", \"test.*\""));
    place.with_component(&guests::component("plain"));
    place
}

#[test]
fn of_two_recoveries_of_one_orphan_at_once_one_owns_it_and_the_other_waits() {
    let place = with_test_capabilities();
    place.write(
        "w.yaml",
        "name: w
steps:
  - { name: a, capability: test.until, inputs: { path: /workspace/a, until: /workspace/go } }
",
    );
    let mut owner = place.command(&["run", "w.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !place.path("workspace/a").exists() {
        assert!(owner.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    let run = place.journal().runs(&RunFilter::default(), None, 1).unwrap().rows[0].run.clone();

    // The step ends only once one of the two has said that it waits, so both are there at the same time.
    let (waits, waiting) = std::sync::mpsc::channel();
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let recover = |waits: std::sync::mpsc::Sender<()>| {
            let mut command = place.command(&["recover", run.as_str(), "--json"]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            scope.spawn(move || {
                let mut waited = 0;
                for line in BufReader::new(child.stderr.take().unwrap()).lines() {
                    if line.unwrap().contains("driven by another process") {
                        waited += 1;
                        waits.send(()).unwrap();
                    }
                }
                (waited, child.wait_with_output().unwrap())
            })
        };
        let both = [recover(waits.clone()), recover(waits)];
        waiting.recv().expect("one of them waits");
        place.write("workspace/go", "");
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outputs.iter().map(|(waited, _)| waited).sum::<i32>(), 1, "{outputs:?}");
    for (_, output) in &outputs {
        assert_eq!(output.status.code(), Some(0), "{outputs:?}");
        let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&view["state"], &view["run"]), (&"COMPLETED".into(), &run.as_str().into()));
    }
    // The dead one and one other owned it, and each of them attempted the step once.
    assert_eq!(place.journal().run(&run).unwrap().unwrap().epoch, 2);
    assert_eq!(place.count(&run, |event| matches!(event, Event::Owner(_))), 2);
    assert_eq!(place.count(&run, |event| matches!(event, Event::Intent(_))), 2);
    assert_eq!(place.read("workspace/a"), "begin\nend\n");
}

/// What the end of the machine does to a run of which only the process was killed: what was noted without a sync is gone, and
/// whoever takes it over comes from another boot.
fn as_if_the_machine_had_gone_down(place: &Place, run: &RunId) {
    std::fs::remove_file(place.path(format!(".redress/targets/{run}.jsonl"))).unwrap();
    let journal = SqliteJournal::open_existing(&place.path(".redress/journal.db"), Options::default()).unwrap();
    let row = journal.run(run).unwrap().unwrap();
    let other = OwnerIdentity { id: "0-other".into(), boot: "another boot".into() };
    journal.take_over(run, row.epoch, &other, Left::default(), Vec::new(), Timestamp(1)).wait().unwrap();
}

#[test]
fn an_undo_after_the_machine_went_down_restores_what_nobody_noted_and_spares_what_an_unordered_step_changed() {
    let place = with_test_capabilities();
    for name in ["first", "second", "shared"] {
        place.write(format!("workspace/{name}"), "old");
    }
    place.write(
        "w.yaml",
        "name: w
steps:
  - { name: begin, capability: io.fs.exists, inputs: { path: /workspace } }
  - { name: other, capability: io.fs.write_file, depends_on: [begin], inputs: { path: /workspace/shared, content: theirs } }
  - { name: then, capability: io.fs.write_file, depends_on: [other], inputs: { path: /workspace/go, content: go } }
  - name: dies
    capability: test.presume
    depends_on: [begin]
    inputs: { first: /workspace/first, second: /workspace/second, presumed: /workspace/shared, was: old, after: /workspace/go, until: /workspace/never }
",
    );
    let mut owner = place.command(&["run", "w.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while std::fs::read(place.path("workspace/second")).unwrap() != b"new" {
        assert!(owner.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    let run = place.journal().runs(&RunFilter::default(), None, 1).unwrap().rows[0].run.clone();
    as_if_the_machine_had_gone_down(&place, &run);

    let recover = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // The undo is tried five times, and a clock that leaps does not wait in between.
            let engine = place.engine(SimClock::leaping(SystemClock.now()));
            let driven = engine.take(&run).await.unwrap().drive(&Stop::default()).await.unwrap();
            assert!(matches!(driven, Driven::Rest(_)), "{driven:?}");
        });
        place.redress(&["show", run.as_str(), "--json"]).exits(0).json()
    };
    let view = recover();
    let step = |view: &serde_json::Value, name: &str| {
        let steps = view["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["name"] == name).unwrap();
        (step["state"].as_str().unwrap().to_owned(), step["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(view["state"], "STUCK", "{view}");
    assert_eq!(step(&view, "dies"), ("UNDO_FAILED".into(), "not-granted".into()), "{view}");
    // It is undone last, and the host found that nobody had changed it since.
    assert_eq!(step(&view, "other"), ("UNDONE".into(), String::new()), "{view}");
    // The note of the second file was lost: only the component knew of it.
    for name in ["first", "second", "shared"] {
        assert_eq!(place.read(format!("workspace/{name}")), "old", "{name}");
    }
    // Now that the other step is undone, nothing stands in the way any more.
    let repair = ["repair", run.as_str(), "dies", "retry", "--reason", "r", "--as", "user:op", "--json"];
    let view = place.redress(&repair).exits(3).json();
    assert_eq!(step(&view, "dies").0, "UNDONE", "{view}");
    assert!(!place.path("workspace/go").exists());
}

#[test]
fn an_interrupted_run_starts_nothing_new_and_is_finished_by_recover() {
    let place = with_test_capabilities();
    let run = interrupted(&place, Signal::INT, || place.write("workspace/go", ""));
    assert_eq!(place.read("workspace/b"), "begin\nend\n", "what ran was given its time");
    let view = place.redress(&["show", run.as_str(), "--json"]).exits(0).json();
    assert_eq!(view["state"], "RUNNING");

    let view = place.redress(&["recover", run.as_str(), "--json"]).exits(0).json();
    assert_eq!(view["state"], "COMPLETED");
    assert_eq!(place.read("workspace/c"), "c");
    assert_eq!(place.read("workspace/b"), "begin\nend\n");
    assert_eq!(place.count(&run, |event| matches!(event, Event::Intent(_))), 3, "each step was executed once");
}

#[test]
fn what_runs_longer_than_the_settle_timeout_of_the_settings_is_interrupted() {
    let place = with_test_capabilities();
    let settings = place.read("redress.yaml");
    place.write("redress.yaml", format!("{settings}settle_timeout: 0s\nidle_timeout: 1h\n"));
    let run = interrupted(&place, Signal::INT, || ());
    assert_eq!(place.read("workspace/b"), "begin\n");
    let submitted = place.entries(&run).swap_remove(0).event;
    let Event::RunSubmitted(submitted) = submitted else { panic!("{submitted:?}") };
    assert_eq!((submitted.settle_timeout, submitted.idle_timeout), (Duration(0), Duration::from_secs(3_600)));

    place.write("workspace/go", "");
    let view = place.redress(&["recover", run.as_str(), "--json"]).exits(0).json();
    assert_eq!(view["state"], "COMPLETED");
    assert_eq!(place.read("workspace/b"), "begin\nend\n", "the attempt was made again from where it began");
}

#[test]
fn a_damaged_run_keeps_no_other_from_being_listed_used_and_recovered() {
    let whole = Place::new();
    let (good, bad) = (orphan(&whole, None), orphan(&whole, None));
    let done = whole.redress(&["call", "io.fs.exists", "--input", "path=/workspace", "--json"]).exits(0).run();
    let conn = Connection::open(whole.path(".redress/journal.db")).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(conn);
    let journal = std::fs::read(whole.path(".redress/journal.db")).unwrap();
    let rows = [
        "principal = 'nobody'",
        "principal = CAST(x'ff' AS TEXT)",
        "owner = '../journal.db'",
        "owner = ''",
        "head = x'00'",
        "submitted = 'yesterday'",
        "run = 'no run'",
        "epoch = 'first'",
        "state = 'GONE'",
        "state = x'00'",
    ];
    let rows = rows.map(|damage| format!("UPDATE runs SET {damage} WHERE run = '{bad}'"));
    let events = [format!("UPDATE events SET hash = zeroblob(32) WHERE chain = '{bad}'")];
    for (index, damage) in rows.iter().chain(&events).enumerate() {
        let place = Place::new();
        place.write(".redress/journal.db", &journal);
        let conn = Connection::open(place.path(".redress/journal.db")).unwrap();
        assert!(conn.execute(damage, []).unwrap() > 0, "{damage}");
        drop(conn);
        let row_is_damaged = index < rows.len();
        let name = if damage.contains("no run") { "no run" } else { bad.as_str() };

        let listed = place.redress(&["runs", "--json"]).exits(0);
        let ids: Vec<String> =
            listed.json().as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect();
        let all = [done.to_string(), bad.to_string(), good.to_string()];
        let readable: Vec<&String> = all.iter().filter(|id| !row_is_damaged || **id != bad.to_string()).collect();
        assert_eq!(ids.iter().collect::<Vec<_>>(), readable, "{damage}");
        let note = format!("run \"{name}\" is damaged: ");
        assert_eq!(listed.stderr.contains(&note), row_is_damaged, "{damage}: {listed:?}");
        place.redress(&["show", done.as_str()]).exits(0);
        let waits = place.redress(&["approvals"]).exits(0);
        assert_eq!(waits.stderr.matches(&note).count(), 1, "{damage}: {waits:?}");
        let paused = place.redress(&["runs", "--state", "PAUSED"]).exits(0);
        assert_eq!(paused.stderr.contains(&note), damage.contains("state = "), "{damage}: {paused:?}");

        let other = place.redress(&["call", "io.fs.exists", "--input", "path=/workspace"]).exits(0);
        assert!(other.stderr.contains("recovery: `redress recover`"), "{damage}: {other:?}");
        let recovered = place.redress(&["recover", "--json"]).exits(1);
        assert_eq!(recovered.json()[0]["run"], good.as_str(), "{damage}");
        assert_eq!(recovered.stderr.matches(&note).count(), 1, "{damage}: {recovered:?}");
        assert_eq!(place.read("workspace/a"), "x");
        let found = place.redress(&["audit", "verify", "--json"]).exits(5).json();
        let chains: Vec<&str> =
            found["findings"].as_array().unwrap().iter().map(|found| found["chain"].as_str().unwrap()).collect();
        assert!(chains.contains(&bad.as_str()), "{damage}: {found}");
    }
}

#[test]
fn the_latest_run_is_not_guessed_where_its_row_is_damaged() {
    let place = Place::new();
    orphan(&place, None);
    let bad = orphan(&place, None);
    let conn = Connection::open(place.path(".redress/journal.db")).unwrap();
    conn.execute(&format!("UPDATE runs SET state = 'GONE' WHERE run = '{bad}'"), []).unwrap();
    drop(conn);
    let cancel = ["cancel", "latest", "--reason", "r", "--as", "user:op", "--json"];
    let error = place.redress(&cancel).exits(1).json()["error"].clone();
    assert_eq!(error["code"], "unreadable-run");
    assert!(error["message"].as_str().unwrap().contains(bad.as_str()), "{error}");
    let named = place.redress(&["show", bad.as_str(), "--json"]);
    assert_eq!(named.code, Some(1), "{named:?}");
    assert_eq!(named.json()["error"]["code"], "unreadable-run");
}
