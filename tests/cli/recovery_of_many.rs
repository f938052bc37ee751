//! `redress recover` of more than one run: several at a time, and each for itself.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use redress::document::Source;
use redress::engine::{Engine, Submit, Submitted, SystemClock};
use redress::journal::{Journal as _, RunFilter};
use redress::saga::event::Event;
use redress::types::{Principal, RunId};
use redress::workflow::Workflow;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};

use crate::common::Place;
use crate::recovery::with_test_capabilities;

/// A run of another process that has not begun to move.
async fn submitted(engine: &Engine, yaml: &str) -> RunId {
    let workflow = Workflow::load(&Source::new("w.yaml", yaml), engine.registry(), &Map::new()).unwrap().0;
    match engine.submit(&workflow, &Submit::by(Principal::parse("agent:demo").unwrap())).await.unwrap() {
        Submitted::New(run) => run.id().clone(),
        Submitted::Existing(run) => panic!("{run} exists"),
    }
}

/// Runs of a dead process, oldest first: each writes a file of its own.
fn orphans(place: &Place, n: usize) -> Vec<RunId> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = place.engine(SystemClock);
        let mut runs = Vec::new();
        for i in 0..n {
            let step =
                format!("{{ name: a, capability: io.fs.write_file, inputs: {{ path: /workspace/{i}, content: x }} }}");
            runs.push(submitted(&engine, &format!("name: w{i}\nsteps:\n  - {step}\n")).await);
        }
        runs
    })
}

/// A run whose process died in a step that wrote to `workspace/NAME` and waits for `workspace/UNTIL`; then it is to write a file.
fn waits(place: &Place, name: &str, until: &str) -> RunId {
    place.write(
        "w.yaml",
        format!(
            "name: {name}
steps:
  - {{ name: a, capability: test.until, inputs: {{ path: /workspace/{name}, until: /workspace/{until} }} }}
  - {{ name: b, capability: io.fs.write_file, inputs: {{ path: /workspace/{name}-done, content: x }} }}
"
        ),
    );
    let mut owner = place.command(&["run", "w.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while std::fs::read(place.path(format!("workspace/{name}"))).ok().as_deref() != Some(b"begin\n") {
        assert!(owner.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    std::fs::remove_file(place.path(format!("workspace/{name}"))).unwrap();
    place.journal().runs(&RunFilter::default(), None, 1).unwrap().rows[0].run.clone()
}

fn ids_and_states(rows: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(&row["run"]), text(&row["state"]))).collect()
}

#[test]
fn runs_that_wait_for_each_other_are_recovered_at_the_same_time() {
    let place = with_test_capabilities();
    let runs = [waits(&place, "one", "two"), waits(&place, "two", "one")];
    let recovered = place.redress(&["recover"]).exits(0);
    let lines = [format!("{} COMPLETED \"one\"\n", runs[0]), format!("{} COMPLETED \"two\"\n", runs[1])];
    assert_eq!(recovered.stdout, lines.concat());
    for run in &runs {
        for line in [format!("run {run}: a: attempt 2 of 3 succeeded\n"), format!("run {run}: b: succeeded\n")] {
            assert_eq!(recovered.stderr.matches(&line).count(), 1, "{recovered:?}");
        }
        assert_eq!(place.count(run, |event| matches!(event, Event::Owner(_))), 2);
    }
}

#[test]
fn of_many_runs_the_one_that_fails_keeps_no_other_and_all_are_told_in_order() {
    let place = Place::new();
    let mut runs = orphans(&place, 70);
    let bad = runs.remove(35);
    let conn = Connection::open(place.path(".redress/journal.db")).unwrap();
    assert!(conn.execute("UPDATE payloads SET bytes = NULL, erased = 1 WHERE run = ?", [bad.as_str()]).unwrap() > 0);
    drop(conn);
    let recovered = place.redress(&["recover", "--json"]).exits(1);
    let expected: Vec<_> = runs.iter().map(|run| (run.to_string(), "COMPLETED".to_owned())).collect();
    assert_eq!(ids_and_states(&recovered.json()), expected);
    assert!(recovered.json()[0].get("steps").is_none() && recovered.json()[0]["host"]["version"].is_string());
    assert!(
        recovered.stderr.starts_with(&format!("run {bad}: error: run {bad}: the inputs was erased\n")),
        "{recovered:?}"
    );
    assert_eq!(place.world().len(), 69);

    let again = place.redress(&["recover"]).exits(1);
    assert_eq!(again.stdout, "no run waits for recovery\n");
    assert!(again.stderr.contains(bad.as_str()));
}

#[test]
fn an_interrupt_stops_every_run_that_is_being_recovered_and_begins_no_other() {
    let place = with_test_capabilities();
    let runs = [waits(&place, "one", "go"), waits(&place, "two", "go")];
    let coming = orphans(&place, 40);
    let mut child = place.command(&["recover", "--json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !(place.path("workspace/one").exists() && place.path("workspace/two").exists()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (mut stderr, mut told) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    while !told.contains("stopping: what runs is given its time to end") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "it did not say that it stops: {told}");
    }
    place.write("workspace/go", "");
    stderr.read_to_string(&mut told).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.ends_with("interrupted: nothing new was started; go on with `redress recover`\n"), "{told}");
    let rows = ids_and_states(&serde_json::from_slice(&output.stdout).unwrap());
    assert_eq!(rows[0], (runs[0].to_string(), "RUNNING".to_owned()));
    assert_eq!(rows[1], (runs[1].to_string(), "RUNNING".to_owned()));
    for name in ["one", "two"] {
        assert_eq!(place.read(format!("workspace/{name}")), "begin\nend\n", "what ran was given its time");
        assert!(!place.path(format!("workspace/{name}-done")).exists(), "nothing new was started");
    }

    place.redress(&["recover"]).exits(0);
    for run in runs.iter().chain(&coming) {
        let view = place.redress(&["show", run.as_str(), "--json"]).exits(0).json();
        assert_eq!(view["state"], "COMPLETED", "{view}");
    }
}
