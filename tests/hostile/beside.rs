//! What others do does not stop a call that behaves.

use std::sync::Arc;
use std::sync::mpsc;

use redress::sandbox::{Call, Cancel, Report, Watcher};
use redress::saga::event::Outcome;
use redress::types::{Access, Grant, Limits, code};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::common::*;

/// All calls that run at the same time, but one.
const OTHERS: usize = 63;

fn endlessly(grant: Grant) -> Grant {
    let limits = Limits { fuel: u64::MAX, wall_time: 3_600_000, ..grant.limits };
    Grant { limits, ..grant }
}

fn start(runtime: &Runtime, call: Call, watcher: &Arc<Recorder>, cancel: &Cancel) -> JoinHandle<Report> {
    runtime.spawn(sandbox().call(call, Arc::clone(watcher) as Arc<dyn Watcher>, cancel.clone()))
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[test]
fn a_workflow_beside_as_many_hostile_calls_as_run_at_a_time_is_done_before_any_of_them_ends() {
    let runtime = runtime();
    let cancel = Cancel::new();
    let hostile = World::new();
    let (begun, running) = mpsc::channel();
    let others: Vec<JoinHandle<Report>> = (0..OTHERS)
        .map(|number| {
            let begun = begun.clone();
            let watcher = Recorder::looking(move |asked| {
                if matches!(asked, Asked::Intent { .. }) {
                    begun.send(()).unwrap();
                }
                Ok(())
            });
            let then = ["loop", "sleep"][number % 2];
            let path = format!("/workspace/{number}");
            let input = json!({"path": path, "content": "x", "then": then, "ms": 3_600_000});
            let grant = endlessly(hostile.grant(Access::ReadWrite));
            start(&runtime, execution(&guest("hostile"), "test.write_then", input, grant), &watcher, &cancel)
        })
        .collect();
    for _ in 0..OTHERS {
        running.recv().unwrap();
    }

    let world = World::new();
    let steps: [(&str, Value); 4] = [
        ("io.fs.make_dir", json!({"path": "/workspace/a/b"})),
        ("io.fs.write_file", json!({"path": "/workspace/a/b/c", "content": "hello"})),
        ("io.fs.copy", json!({"from": "/workspace/a/b/c", "to": "/workspace/d"})),
        ("io.fs.read_file", json!({"path": "/workspace/d"})),
    ];
    for (capability, input) in steps {
        let call = execution(&standard("fs"), capability, input, world.grant(Access::ReadWrite));
        let report = runtime.block_on(start(&runtime, call, &Recorder::new(), &Cancel::new())).unwrap();
        assert_eq!(report.outcome, Outcome::Succeeded, "{capability}: {report:?}");
    }
    assert_eq!(world.read("d").as_deref(), Some("hello"));
    assert!(others.iter().all(|call| !call.is_finished()), "none of the others had to end for it");

    cancel.cancel();
    for call in others {
        let report = runtime.block_on(call).unwrap();
        assert_eq!((failed(&report), report.outcome), (code::INTERRUPTED, Outcome::Unclear));
    }
}

#[test]
fn components_that_take_all_that_one_can_have_leave_room_for_another() {
    let runtime = runtime();
    let cancel = Cancel::new();
    let others: Vec<JoinHandle<Report>> = (0..OTHERS)
        .map(|_| {
            let call = execution(&guest("greedy"), "test.greedy", json!({}), endlessly(Grant::default()));
            start(&runtime, call, &Recorder::new(), &cancel)
        })
        .collect();
    let call = execution(&guest("plain"), "test.echo", json!({"b": 1, "a": 2}), Grant::default());
    let report = runtime.block_on(start(&runtime, call, &Recorder::new(), &Cancel::new())).unwrap();
    assert_eq!(report.result.unwrap().as_deref(), Some(r#"{"a":2,"b":1}"#));
    cancel.cancel();
    for call in others {
        let report = runtime.block_on(call).unwrap();
        assert_eq!((failed(&report), report.outcome), (code::INTERRUPTED, Outcome::Clean), "{report:?}");
    }
}
