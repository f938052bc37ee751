//! What the filesystem gate lets out, in which order, and what it writes down.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

mod common;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use common::*;
use redress::saga::event::Outcome;
use redress::sandbox::{Call, CallKind, Cancel, Reach, Report};
use redress::types::{Access, EffectStatus, Failure, Grant, TargetState, code, sha256};
use serde_json::{Value, json};

/// Everything below a directory: names, link texts, contents.
fn tree(root: &Path) -> Vec<(PathBuf, TargetState)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.clone(), redress::sandbox::observe(&path)));
        if path.is_dir() && !path.is_symlink() {
            all.extend(tree(&path));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn execute(component: &str, capability: &str, input: Value, grant: Grant) -> (Report, std::sync::Arc<Recorder>) {
    let watcher = Recorder::new();
    let report = run(execution(&guest(component), capability, input, grant), &watcher);
    (report, watcher)
}

fn escape(world: &World, input: Value) -> Report {
    execute("escape", "test.escape", input, world.grant(Access::ReadWrite)).0
}

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

#[test]
fn a_write_before_save_does_not_happen_and_is_clean() {
    let world = World::new();
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    for capability in ["test.write_before_save", "test.never_saves"] {
        let (report, watcher) = execute("undo", capability, input.clone(), world.grant(Access::ReadWrite));
        assert_eq!((failed(&report), report.outcome), (code::NO_UNDO, Outcome::Clean), "{report:?}");
        assert!(report.result.unwrap_err().message.contains("`/workspace/a.txt`"));
        assert_eq!(world.read("a.txt"), None);
        assert_eq!(watcher.asked(), [], "nobody is asked about an effect that is refused");
        assert_eq!(report.evidence.effects[0].status, EffectStatus::Refused);
    }
}

#[test]
fn a_capability_without_effect_cannot_write() {
    let world = World::new();
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let (report, _) = execute("undo", "test.pure_writer", input, world.grant(Access::ReadWrite));
    assert_eq!((failed(&report), report.outcome), (code::EFFECT_FORBIDDEN, Outcome::Clean));
    assert_eq!(world.read("a.txt"), None);
}

#[test]
fn an_irreversible_capability_needs_no_record_but_an_intent() {
    let world = World::new();
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let (report, watcher) = execute("plain", "test.irreversible", input, world.grant(Access::ReadWrite));
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    assert!(matches!(&watcher.intents()[..], [Asked::Intent { undo: None, .. }]));
}

#[test]
fn nothing_outside_of_the_grant_can_be_read_or_changed() {
    let world = World::new();
    for dir in ["ws-evil", "out"] {
        std::fs::create_dir(world.outside(dir)).unwrap();
        std::fs::write(world.outside(dir).join("secret"), "secret").unwrap();
    }
    std::fs::create_dir(world.path("sub")).unwrap();
    world.write("sub/f", "inside");
    let out = world.outside("out").canonicalize().unwrap();
    std::os::unix::fs::symlink(&out, world.path("abs")).unwrap();
    std::os::unix::fs::symlink("../out", world.path("rel")).unwrap();
    std::os::unix::fs::symlink("../out/secret", world.path("file")).unwrap();
    let absolute = out.join("secret");
    let paths = [
        "/workspace/../out/secret",
        "/workspace/sub/../../out/secret",
        "/workspace-evil/secret",
        "/workspace/../ws-evil/secret",
        "/workspace/abs/secret",
        "/workspace/rel/secret",
        "/workspace/rel/./secret",
        "/workspace/file",
        "/workspace/file/",
        absolute.to_str().unwrap(),
        "../out/secret",
        "/etc/passwd",
    ];
    let raw = [
        "../out/secret",
        "/etc/passwd",
        "abs/secret",
        "rel/secret",
        "file",
        "sub/../../out/secret",
        "sub//..//../out/secret",
    ];
    let before = tree(world.dir.path());
    let ways = ["read", "write", "append", "truncate", "create_new", "mkdir", "list", "set_times"];
    let cases = ways.iter().flat_map(|how| paths.map(|path| (*how, path)));
    let cases = cases.chain(["raw_open", "raw_create"].into_iter().flat_map(|how| raw.map(|path| (how, path))));
    for (how, path) in cases {
        let report = escape(&world, json!({"how": how, "path": path, "content": "evil"}));
        match &report.result {
            Ok(Some(output)) => assert!(!output.contains(r#""error":null"#), "{how} {path}: {output}"),
            Ok(None) => panic!("{how} {path}: no output"),
            Err(failure) => assert_eq!(failure.code, code::NOT_GRANTED, "{how} {path}: {failure}"),
        }
        assert!(!report.evidence.let_out, "{how} {path}");
        assert_eq!(tree(world.dir.path()), before, "{how} {path}");
    }
}

#[test]
fn a_read_that_leads_out_fails_with_the_reason_of_the_host() {
    let world = World::new();
    std::fs::write(world.outside("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", world.path("l")).unwrap();
    let input = json!({"path": "/workspace/l"});
    let call = execution(&standard("fs"), "io.fs.read_file", input, world.grant(Access::ReadOnly));
    let report = run(call, &Recorder::new());
    assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean));
    let failure = report.result.unwrap_err();
    assert_eq!(failure.message, "`l` leads out of the granted directory");
    assert!(failure.details.unwrap().contains("the component ended with"));
}

#[test]
fn more_calls_than_the_pool_has_room_for_wait_their_turn() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let world = World::new();
    let calls: Vec<_> = (0..200)
        .map(|i| {
            let input = json!({"content": "x", "path": format!("/workspace/{i}")});
            let call = execution(&standard("fs"), "io.fs.write_file", input, world.grant(Access::ReadWrite));
            runtime.spawn(sandbox().call(call, Recorder::new(), Cancel::new()))
        })
        .collect();
    for call in calls {
        let report = runtime.block_on(call).unwrap();
        assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    }
    assert_eq!(tree(&world.path("")).len(), 200);
}

#[test]
fn moving_or_removing_does_not_reach_outside_either() {
    let world = World::new();
    std::fs::create_dir(world.outside("out")).unwrap();
    std::fs::write(world.outside("out/secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../out", world.path("rel")).unwrap();
    world.write("mine", "mine");
    let before = tree(world.dir.path());
    for input in [
        json!({"how": "rename", "path": "/workspace/mine", "to": "/workspace/../out/stolen"}),
        json!({"how": "rename", "path": "/workspace/mine", "to": "/workspace/rel/stolen"}),
        json!({"how": "rename", "path": "/workspace/rel/secret", "to": "/workspace/got"}),
        json!({"how": "unlink", "path": "/workspace/rel/secret"}),
        json!({"how": "rmdir", "path": "/workspace/../out"}),
        json!({"how": "hard_link", "path": "/workspace/mine", "to": "/workspace/second"}),
        json!({"how": "hard_link_write", "path": "/workspace/mine", "to": "/workspace/second"}),
        json!({"how": "symlink", "path": "/etc", "to": "/workspace/l"}),
        json!({"how": "symlink", "path": "../out", "to": "/workspace/l"}),
        json!({"how": "symlink", "path": "x/../../out", "to": "/workspace/l"}),
        json!({"how": "raw_symlink", "path": "l", "to": "/etc/passwd"}),
        json!({"how": "rename", "path": "/workspace/rel", "to": "/workspace/sub"}),
    ] {
        let report = escape(&world, input.clone());
        if input["path"] == "/workspace/rel" {
            // In the same directory a link leads where it led before; only moving it elsewhere could change that.
            assert_eq!(report.outcome, Outcome::Succeeded);
            std::fs::rename(world.path("sub"), world.path("rel")).unwrap();
            continue;
        }
        assert_eq!(failed(&report), code::NOT_GRANTED, "{input}: {report:?}");
        assert_eq!(report.outcome, Outcome::Clean);
        assert_eq!(tree(world.dir.path()), before, "{input}");
    }
}

#[test]
fn a_link_that_stays_inside_can_be_made_but_not_be_moved_to_where_it_leads_out() {
    let world = World::new();
    std::fs::create_dir_all(world.path("a/b")).unwrap();
    world.write("f", "inside");
    let made = escape(&world, json!({"how": "symlink", "path": "../../f", "to": "/workspace/a/b/l"}));
    assert_eq!(made.outcome, Outcome::Succeeded, "{made:?}");
    for (path, to) in [("/workspace/a/b/l", "/workspace/l"), ("/workspace/a/b", "/workspace/b")] {
        let report = escape(&world, json!({"how": "rename", "path": path, "to": to}));
        assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean), "{path}");
    }
}

#[test]
fn a_file_with_a_second_name_and_a_pipe_are_not_opened() {
    let world = World::new();
    std::fs::write(world.outside("victim"), "secret").unwrap();
    std::fs::hard_link(world.outside("victim"), world.path("hard")).unwrap();
    make_pipe(&world.path("pipe"));
    for (how, name) in [("write", "hard"), ("append", "hard"), ("set_times", "hard"), ("write", "pipe")] {
        let report = escape(&world, json!({"how": how, "path": format!("/workspace/{name}"), "content": "evil"}));
        assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean), "{how} {name}");
    }
    let report = escape(&world, json!({"how": "read", "path": "/workspace/pipe"}));
    assert!(!report.result.unwrap().unwrap().contains(r#""error":null"#));
    assert_eq!(std::fs::read_to_string(world.outside("victim")).unwrap(), "secret");
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// Fails if `work` is not done after a minute: a thread that waits at a pipe cannot be ended.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    is_done.recv_timeout(std::time::Duration::from_secs(60)).unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn a_named_pipe_is_neither_opened_nor_waited_for() {
    let world = World::new();
    make_pipe(&world.path("p"));
    let grant = world.grant(Access::ReadWrite);
    let standard = |capability: &'static str, input: Value| {
        let call = execution(&standard("fs"), capability, input, grant.clone());
        in_time(capability, move || run(call, &Recorder::new()))
    };
    let output = |report: Report| serde_json::from_str::<Value>(&report.result.unwrap().unwrap()).unwrap();
    let pipe = json!({"path": "/workspace/p"});
    let found = output(standard("io.fs.exists", pipe.clone()));
    assert_eq!((&found["exists"], &found["type"]), (&json!(true), &json!("other")));
    let found = output(standard("io.fs.list_dir", json!({"path": "/workspace"})));
    assert_eq!(found["entries"], json!([{"name": "p", "type": "other", "size": 0}]));
    for capability in ["io.fs.read_file", "io.fs.hash_file", "io.fs.list_dir"] {
        let report = standard(capability, pipe.clone());
        assert!(report.result.is_err() && report.outcome == Outcome::Clean, "{capability}: {report:?}");
    }
    let report = standard("io.fs.write_file", json!({"path": "/workspace/p", "content": "x"}));
    assert!(report.result.is_err() && !report.evidence.let_out, "{report:?}");

    let escape = |how: &'static str, path: &str, to: &str| {
        let input = json!({"how": how, "path": path, "to": to, "content": "x"});
        let call = execution(&guest("escape"), "test.escape", input, grant.clone());
        in_time(how, move || run(call, &Recorder::new()))
    };
    for how in ["write", "append", "truncate"] {
        let report = escape(how, "/workspace/p", "");
        assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean), "{how}");
        let message = report.result.unwrap_err().message;
        assert_eq!(message, "`/workspace/p` is neither a regular file nor a directory", "{how}");
    }
    // The pipe as a directory on the way, and as one to be listed.
    for (how, path) in
        [("read", "p"), ("read", "p/a"), ("stat", "p/a"), ("write", "p/a"), ("mkdir", "p/a"), ("list", "p")]
    {
        let report = escape(how, &format!("/workspace/{path}"), "");
        assert!(!report.evidence.let_out, "{how} {path}: {report:?}");
        if let Ok(output) = &report.result {
            assert!(!output.as_ref().unwrap().contains(r#""error":null"#), "{how} {path}: {output:?}");
        }
    }
    assert!(output(escape("stat", "/workspace/p", ""))["error"].is_null());

    // Moving and removing it opens nothing; what is recorded of it says that it is no file.
    let report = escape("rename", "/workspace/p", "/workspace/q");
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    let TargetState::Unknown { error } = &report.evidence.targets[0].before else { panic!("{report:?}") };
    assert!(error.starts_with("neither file, directory nor link"), "{error}");
    let recorded = report.evidence.targets[1].after.clone();
    let q = world.path("q");
    assert_eq!(
        in_time("observe", {
            let recorded = recorded.clone();
            move || redress::sandbox::observe_like(q, &recorded)
        }),
        recorded
    );
    let q = [world.path("q")];
    in_time("sync", move || redress::sandbox::sync_paths(&q)).unwrap();
    let report = escape("unlink", "/workspace/q", "");
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    assert!(!world.path("q").exists());
}

#[test]
fn a_pipe_that_comes_between_the_check_and_the_opening_is_not_waited_for() {
    for there in [true, false] {
        let world = World::new();
        let path = world.path("a.txt");
        if there {
            world.write("a.txt", "old");
        }
        let watcher = Recorder::looking(move |question| {
            if matches!(question, Asked::Intent { .. }) {
                std::fs::remove_file(&path).ok();
                make_pipe(&path);
            }
            Ok(())
        });
        let input = json!({"how": "write", "path": "/workspace/a.txt", "content": "x"});
        let call = execution(&guest("escape"), "test.escape", input, world.grant(Access::ReadWrite));
        let report = in_time("write", move || run(call, &watcher));
        assert_eq!((failed(&report), report.evidence.let_out), (code::NOT_GRANTED, false), "{report:?}");
        let message = report.result.unwrap_err().message;
        assert_eq!(message, "`/workspace/a.txt` is neither a regular file nor a directory");
    }
}

#[test]
fn the_names_of_the_host_cannot_be_made() {
    let world = World::new();
    for (how, name) in [("write", "redress.yaml"), ("create_new", "redress.yaml"), ("mkdir", ".redress")] {
        let report = escape(&world, json!({"how": how, "path": format!("/workspace/{name}"), "content": "x"}));
        assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean), "{how}");
    }
    world.write("a", "x");
    let report = escape(&world, json!({"how": "rename", "path": "/workspace/a", "to": "/workspace/redress.yaml"}));
    assert_eq!(failed(&report), code::NOT_GRANTED);
    assert_eq!(tree(&world.path("")).len(), 1);
}

#[test]
fn what_belongs_to_the_host_moves_with_no_directory() {
    for own in ["d/redress.yaml", "d/deep/er/redress.yaml", "d/deep/.redress/journal.db"] {
        let world = World::new();
        std::fs::create_dir_all(world.path(own).parent().unwrap()).unwrap();
        world.write(own, "theirs");
        let before = tree(&world.path(""));
        let report = escape(&world, json!({"how": "rename", "path": "/workspace/d", "to": "/workspace/e"}));
        assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean), "{own}");
        let message = report.result.unwrap_err().message;
        assert!(message.contains("the host's own names"), "{message}");
        assert_eq!(tree(&world.path("")), before);
    }
}

#[test]
fn a_read_only_directory_stays_so_inside_a_wider_grant() {
    let world = World::new();
    std::fs::create_dir(world.path("ro")).unwrap();
    world.write("ro/f", "kept");
    let mut both = world.grant(Access::ReadWrite);
    both.filesystem.extend(grant(&world.path("ro"), "/ro", Access::ReadOnly).filesystem);
    for input in [
        json!({"how": "write", "path": "/ro/f", "content": "evil"}),
        json!({"how": "write", "path": "/workspace/ro/f", "content": "evil"}),
        json!({"how": "rename", "path": "/workspace/ro", "to": "/workspace/rw"}),
        json!({"how": "rename", "path": "/ro/f", "to": "/workspace/f"}),
        json!({"how": "unlink", "path": "/workspace/ro/f"}),
    ] {
        let (report, _) = execute("escape", "test.escape", input.clone(), both.clone());
        assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean), "{input}");
        assert_eq!(world.read("ro/f").as_deref(), Some("kept"));
    }
    let (report, _) = execute("escape", "test.peek", json!({"how": "read", "path": "/ro/f"}), both);
    assert!(report.result.unwrap().unwrap().contains("kept"));
    assert_eq!((report.evidence.reads[0].place.as_str(), report.evidence.reads[0].bytes), ("/ro", 4));
}

#[test]
fn a_write_through_a_link_is_recorded_under_the_name_of_the_file() {
    let world = World::new();
    std::fs::create_dir(world.path("releases")).unwrap();
    world.write("releases/v1", "old");
    std::os::unix::fs::symlink("releases/v1", world.path("current")).unwrap();
    let report = escape(&world, json!({"how": "write", "path": "/workspace/current", "content": "new"}));
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    let [record] = &report.evidence.targets[..] else { panic!("{report:?}") };
    assert_eq!(record.target.to_string(), "/workspace/releases/v1");
    assert_eq!((&record.before, &record.after), (&file("old"), &file("new")));
}

#[test]
fn an_effect_waits_until_its_intent_is_durable() {
    let world = World::new();
    let (asked, is_asked) = mpsc::channel();
    let watcher = Recorder::holding(move |question| {
        if matches!(question, Asked::Intent { .. }) {
            asked.send(()).unwrap();
        }
        Ok(())
    });
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let call = execution(&guest("plain"), "test.write", input, world.grant(Access::ReadWrite));
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(call, &watcher));
        is_asked.recv().unwrap();
        assert_eq!(world.read("a.txt"), None, "the intent is not durable yet");
        watcher.answer(Ok(()));
        running.join().unwrap()
    });
    assert_eq!((report.outcome, world.read("a.txt").as_deref()), (Outcome::Succeeded, Some("x")));
    assert_eq!(watcher.intents().len(), 1);
}

#[test]
fn an_effect_whose_intent_is_refused_does_not_happen() {
    let world = World::new();
    let watcher = Recorder::looking(|question| match question {
        Asked::Intent { .. } => Err(Failure::new("fenced", "the step is being undone")),
        _ => Ok(()),
    });
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let report = run(execution(&guest("plain"), "test.write", input, world.grant(Access::ReadWrite)), &watcher);
    assert_eq!((failed(&report), report.outcome), ("fenced", Outcome::Clean));
    assert_eq!(world.read("a.txt"), None);
    assert!(watcher.asked().contains(&Asked::Release("/workspace/a.txt".into())));
}

#[test]
fn a_target_that_another_step_claims_is_a_conflict_and_nothing_happens() {
    let world = World::new();
    let watcher = Recorder::looking(|question| match question {
        Asked::Claim(..) => Err(Failure::new(code::CONFLICT, "step `b` needs `depends_on: [a]`")),
        _ => Ok(()),
    });
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let report = run(execution(&guest("plain"), "test.write", input, world.grant(Access::ReadWrite)), &watcher);
    assert_eq!((failed(&report), report.outcome), (code::CONFLICT, Outcome::Clean));
    assert_eq!(watcher.intents(), []);
}

#[test]
fn one_attempt_has_one_intent_and_each_further_target_is_reported_before_its_change() {
    let world = World::new();
    let root = world.path("");
    let watcher = Recorder::looking(move |question| {
        if let Asked::Before(guest, before) = question {
            let host = root.join(guest.strip_prefix("/workspace/").unwrap());
            assert_eq!(redress::sandbox::observe(host), *before);
        }
        Ok(())
    });
    let input = json!({"path": "/workspace/a/b/c"});
    let report = run(execution(&standard("fs"), "io.fs.make_dir", input, world.grant(Access::ReadWrite)), &watcher);
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    assert_eq!(watcher.intents().len(), 1);
    let further: Vec<_> = watcher.asked().into_iter().filter(|asked| matches!(asked, Asked::Before(..))).collect();
    assert_eq!(
        further,
        ["/workspace/a/b", "/workspace/a/b/c"].map(|name| Asked::Before(name.into(), TargetState::Absent))
    );
    assert_eq!(report.evidence.targets.len(), 3);
}

#[test]
fn what_changes_nothing_is_no_effect() {
    let world = World::new();
    std::fs::create_dir(world.path("d")).unwrap();
    for (how, name) in
        [("mkdir", "d"), ("unlink", "none"), ("rmdir", "none"), ("truncate", "none"), ("create_new", "d")]
    {
        let (report, watcher) = execute(
            "escape",
            "test.escape",
            json!({"how": how, "path": format!("/workspace/{name}")}),
            world.grant(Access::ReadWrite),
        );
        assert_eq!(report.outcome, Outcome::Succeeded, "{how}: {report:?}");
        assert!(!report.evidence.let_out);
        assert_eq!(watcher.asked(), [], "{how}");
    }
}

#[test]
fn a_call_that_the_system_refused_is_no_effect_and_its_claim_is_released() {
    let world = World::new();
    std::fs::create_dir(world.path("d")).unwrap();
    world.write("d/f", "x");
    let input = json!({"how": "rmdir", "path": "/workspace/d"});
    let (report, watcher) = execute("escape", "test.escape", input, world.grant(Access::ReadWrite));
    assert!(!report.evidence.let_out, "{report:?}");
    assert_eq!(report.evidence.targets, []);
    assert_eq!(report.evidence.effects[0].status, EffectStatus::Refused);
    assert_eq!(watcher.intents().len(), 1, "it could have succeeded");
    assert_eq!(watcher.asked().last(), Some(&Asked::Release("/workspace/d".into())));
}

#[test]
fn a_move_has_two_targets_with_their_identity() {
    let world = World::new();
    std::fs::create_dir(world.path("d")).unwrap();
    let input = json!({"how": "rename", "path": "/workspace/d", "to": "/workspace/e"});
    let (report, watcher) = execute("escape", "test.escape", input, world.grant(Access::ReadWrite));
    let [from, to] = &report.evidence.targets[..] else { panic!("{report:?}") };
    assert!(matches!(&from.before, TargetState::Directory { inode: Some(_), .. }));
    assert_eq!((&from.after, &to.before, &to.after), (&TargetState::Absent, &TargetState::Absent, &from.before));
    assert!(watcher.asked().contains(&Asked::Before("/workspace/e".into(), TargetState::Absent)));
}

#[test]
fn a_record_in_force_is_given_back_and_not_replaced() {
    let world = World::new();
    world.write("a.txt", "now");
    let record = json!([["/workspace/a.txt", b"first"]]).to_string().into_bytes();
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let call = Call {
        kind: CallKind::Execute { undo_in_force: Some(vec![record]) },
        attempt: 2,
        ..execution(&guest("plain"), "test.write", input, world.grant(Access::ReadWrite))
    };
    let watcher = Recorder::new();
    let report = run(call, &watcher);
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    assert!(matches!(&watcher.intents()[..], [Asked::Intent { undo: None, .. }]));
    assert_eq!(report.evidence.targets[0].before, file("now"));
}

#[test]
fn saving_after_and_appending_before_the_first_effect_are_errors() {
    let world = World::new();
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let (report, watcher) = execute("undo", "test.undo_rules", input, world.grant(Access::ReadWrite));
    let output: Value = serde_json::from_str(&report.result.unwrap().unwrap()).unwrap();
    assert!(output["append_before_effect"].is_string() && output["save_after_effect"].is_string(), "{output}");
    assert!(output["first_save"].is_null() && output["append_after_effect"].is_null(), "{output}");
    assert_eq!(watcher.asked().last(), Some(&Asked::Appended(b"learned".to_vec())));
}

#[test]
fn an_undo_record_over_the_limit_is_refused_before_any_effect() {
    let world = World::new();
    let mut grant = world.grant(Access::ReadWrite);
    grant.limits.undo = 1000;
    let input = json!({"path": "/workspace/a.txt", "content": "x", "bytes": 1001});
    let (report, _) = execute("undo", "test.big_undo", input, grant);
    assert_eq!((failed(&report), report.outcome), (code::UNDO_TOO_LARGE, Outcome::Clean));
    assert_eq!(world.read("a.txt"), None);
}

#[test]
fn an_undo_changes_only_what_the_step_changed() {
    let world = World::new();
    let input = json!({"path": "/workspace/a.txt", "content": "x", "other": "/workspace/b.txt"});
    let call = execution(&guest("undo"), "test.straying_undo", input, world.grant(Access::ReadWrite));
    let watcher = Recorder::new();
    let done = run(call.clone(), &watcher);
    let [Asked::Intent { undo: Some(undo), .. }] = &watcher.intents()[..] else { panic!("{done:?}") };
    let mut undoing = compensation(&call, None, vec![undo.clone()]);
    if let CallKind::Compensate { may_change, .. } = &mut undoing.kind {
        *may_change = Reach::Only(done.evidence.targets.iter().map(|record| record.target.clone()).collect());
    }
    let watcher = Recorder::new();
    let report = run(undoing, &watcher);
    assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Unclear), "{report:?}");
    assert_eq!((world.read("a.txt"), world.read("b.txt")), (None, None));
    assert_eq!(watcher.asked(), [], "an undo has no intent and claims nothing");
}

#[test]
fn a_call_that_is_interrupted_before_its_effect_has_none() {
    let world = World::new();
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    // The intent is never answered: the call ends all the same.
    let watcher = Recorder::holding(move |question| {
        if matches!(question, Asked::Intent { .. }) {
            canceller.cancel();
        }
        Ok(())
    });
    let input = json!({"path": "/workspace/a.txt", "content": "x"});
    let call = execution(&guest("plain"), "test.write", input, world.grant(Access::ReadWrite));
    let report = run_with(call, &watcher, cancel);
    assert_eq!((failed(&report), report.outcome), (code::INTERRUPTED, Outcome::Clean), "{report:?}");
    assert_eq!(world.read("a.txt"), None);
}

#[test]
fn a_call_that_is_interrupted_between_two_effects_has_the_first_only() {
    let world = World::new();
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    let watcher = Recorder::looking(move |question| {
        if matches!(question, Asked::Before(..)) {
            canceller.cancel();
        }
        Ok(())
    });
    let input = json!({"path": "/workspace/a/b"});
    let call = execution(&standard("fs"), "io.fs.make_dir", input, world.grant(Access::ReadWrite));
    let report = run_with(call, &watcher, cancel);
    assert_eq!((failed(&report), report.outcome), (code::INTERRUPTED, Outcome::Unclear), "{report:?}");
    assert!(world.path("a").exists() && !world.path("a/b").exists());
    assert_eq!(report.evidence.targets.len(), 1, "what was not let out is no target");
    assert_eq!(watcher.asked().last(), Some(&Asked::Release("/workspace/a/b".into())));
}

#[test]
fn a_call_that_is_interrupted_after_its_effect_is_unclear_and_joined() {
    let world = World::new();
    for then in ["sleep", "loop"] {
        let input = json!({"path": "/workspace/a.txt", "content": "x", "then": then, "ms": 3_600_000});
        let mut call = execution(&guest("hostile"), "test.write_then", input, world.grant(Access::ReadWrite));
        call.timeout = Some(redress::types::Duration(300));
        let report = run(call, &Recorder::new());
        assert_eq!((failed(&report), report.outcome), (code::TIMEOUT, Outcome::Unclear), "{then}: {report:?}");
        assert_eq!(report.evidence.targets[0].after, file("x"), "{then}");
    }
}

#[test]
fn a_granted_directory_that_is_missing_is_named() {
    let world = World::new();
    let gone = grant(&world.outside("gone"), "/workspace", Access::ReadWrite);
    let (report, _) = execute("plain", "test.echo", json!({}), gone);
    assert_eq!((failed(&report), report.outcome), (code::NOT_GRANTED, Outcome::Clean));
    let failure = report.result.unwrap_err();
    assert!(failure.message.contains("gone") && failure.message.ends_with("does not exist"), "{failure}");
}
