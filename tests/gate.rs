//! What the filesystem gate lets out, in which order, and what it writes down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

mod common;

use common::*;
use redress::saga::event::Outcome;
use redress::types::{Access, TargetState, sha256};
use serde_json::json;

fn file(content: &str) -> TargetState {
    TargetState::File {
        len: content.len() as u64,
        sha256: Some(sha256(content.as_bytes())),
        mtime_ns: None,
        inode: None,
    }
}

#[test]
fn a_write_goes_through_the_gate_and_its_undo_restores_the_file() {
    let world = World::new();
    world.write("a.txt", "old");
    let watcher = Recorder::new();
    let fs = standard("fs");
    let input = json!({"content": "new", "path": "/workspace/a.txt"});
    let call = execution(&fs, "io.fs.write_file", input, world.grant(Access::ReadWrite));
    let report = run(call.clone(), &watcher);
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    assert_eq!(world.read("a.txt").as_deref(), Some("new"));
    let [Asked::Intent { undo: Some(undo), target, before }] = &watcher.intents()[..] else {
        panic!("{:?}", watcher.asked())
    };
    assert_eq!((target.as_str(), before), ("/workspace/a.txt", &file("old")));
    let [record] = &report.evidence.targets[..] else { panic!("{report:?}") };
    assert_eq!((&record.before, &record.after), (&file("old"), &file("new")));
    assert_eq!(record.target.host_path(), world.path("a.txt").to_str());

    let undone = run(compensation(&call, report.result.unwrap(), vec![undo.clone()]), &Recorder::new());
    assert_eq!(undone.outcome, Outcome::Succeeded, "{undone:?}");
    assert_eq!(world.read("a.txt").as_deref(), Some("old"));
}
