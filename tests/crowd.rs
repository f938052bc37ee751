//! Many hostile calls, side by side and one after another: they stop nobody, and nothing of them is left in the host.
//!
//! What they may take is said in docs/SECURITY.md; the numbers here are those.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

mod common;
#[path = "http/server.rs"]
#[expect(dead_code, reason = "nothing here needs TLS")]
mod server;
#[path = "promises/world.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod world;

use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use common::*;
use redress::saga::RunState;
use redress::saga::event::Outcome;
use redress::sandbox::{Call, Cancel, LoadError, Provenance, Report, Sandbox, SandboxConfig, Watcher};
use redress::types::{Access, Grant, HttpMethod, Limits, UrlGrant, code};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};
use server::{Reply, Server};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// All calls that run at the same time, but one.
const OTHERS: usize = 63;

/// What a call may take of the host's memory at most, with the default limits.
const A_CALL: u64 = 256 << 20;

/// What may stay with the process after a thousand calls: pages that are kept for the next ones.
const KEPT: u64 = 64 << 20;

/// How many places of the pool keep pages while nothing runs, at most: each up to 2 MiB.
const PLACES: usize = 110;

/// The tests of this file take nearly all places there are and measure the process: one of them runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// A call that behaves, in `world`, and succeeds.
fn behaves(runtime: &Runtime, world: &World) {
    let steps: [(&str, Value); 4] = [
        ("io.fs.make_dir", json!({"path": "/workspace/a/b"})),
        ("io.fs.write_file", json!({"path": "/workspace/a/b/c", "content": "hello"})),
        ("io.fs.copy", json!({"from": "/workspace/a/b/c", "to": "/workspace/d"})),
        ("io.fs.read_file", json!({"path": "/workspace/d"})),
    ];
    for (capability, input) in steps {
        let call = execution(&standard("fs"), capability, input, world.grant(Access::ReadWrite));
        let report = runtime.block_on(start(runtime, call, &Recorder::new(), &Cancel::new())).unwrap();
        assert_eq!(report.outcome, Outcome::Succeeded, "{capability}: {report:?}");
    }
    assert_eq!(world.read("d").as_deref(), Some("hello"));
}

#[test]
fn a_workflow_beside_as_many_hostile_calls_as_run_at_a_time_is_done_before_any_of_them_ends() {
    let _alone = alone();
    let (runtime, cancel, hostile) = (runtime(), Cancel::new(), World::new());
    standard("fs");
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
            // Those that take the processors begin last, so that all have begun soon.
            let then = if number + 4 < OTHERS { "sleep" } else { "loop" };
            let input = json!({"path": format!("/workspace/{number}"), "content": "x", "then": then, "ms": 3_600_000});
            let grant = endlessly(hostile.grant(Access::ReadWrite));
            start(&runtime, execution(&guest("hostile"), "test.write_then", input, grant), &watcher, &cancel)
        })
        .collect();
    for _ in 0..OTHERS {
        running.recv().unwrap();
    }
    behaves(&runtime, &World::new());
    assert!(others.iter().all(|call| !call.is_finished()), "none of the others had to end for it");
    cancel.cancel();
    for call in others {
        let report = runtime.block_on(call).unwrap();
        assert_eq!(failed(&report), code::INTERRUPTED, "{report:?}");
    }
}

#[test]
fn a_run_of_the_engine_is_done_beside_calls_that_loop_before_any_of_them_ends() {
    const LOOPING: usize = 15;
    let _alone = alone();
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("promises-cache");
    let sandbox = Sandbox::new(SandboxConfig { cache_dir: Some(cache), ..SandboxConfig::default() }).unwrap();
    let (world, hostile) = (world::World::within(sandbox.clone(), world::ALLOW), World::new());
    let bytes = std::fs::read(guests::component("hostile")).unwrap();
    let guest = sandbox.load(&bytes, Provenance::External).unwrap();
    let (runtime, cancel) = (runtime(), Cancel::new());
    let (begun, running) = mpsc::channel();
    let others: Vec<JoinHandle<Report>> = (0..LOOPING)
        .map(|number| {
            let begun = begun.clone();
            let watcher = Recorder::looking(move |asked| {
                if matches!(asked, Asked::Intent { .. }) {
                    begun.send(()).unwrap();
                }
                Ok(())
            });
            let input = json!({"path": format!("/workspace/{number}"), "content": "x", "then": "loop"});
            let call = execution(&guest, "test.write_then", input, endlessly(hostile.grant(Access::ReadWrite)));
            runtime.spawn(sandbox.call(call, watcher as Arc<dyn Watcher>, cancel.clone()))
        })
        .collect();
    for _ in 0..LOOPING {
        running.recv().unwrap();
    }
    let workflow = |last: &str| {
        format!(
            r#"
name: beside
steps:
  - {{ name: a, capability: io.fs.write_file, inputs: {{ path: /work/a, content: hello }} }}
  - {{ name: b, capability: io.fs.copy, depends_on: [a], inputs: {{ from: /work/a, to: /work/b }} }}
  - {{ name: c, capability: io.fs.read_file, depends_on: [b], inputs: {{ path: /work/{last} }} }}
"#
        )
    };
    let back = runtime.block_on(world.run(&workflow("missing")));
    world::is(&back, RunState::RolledBack);
    assert!(world.tree().is_empty());
    let done = runtime.block_on(world.run(&workflow("b")));
    world::is(&done, RunState::Completed);
    assert_eq!(world.read("b").as_deref(), Some("hello"));
    assert!(others.iter().all(|call| !call.is_finished()), "none of the others had to end for it");
    cancel.cancel();
    for call in others {
        assert_eq!(failed(&runtime.block_on(call).unwrap()), code::INTERRUPTED);
    }
}

#[test]
fn components_that_take_all_that_one_can_have_leave_room_for_another() {
    let _alone = alone();
    let (runtime, cancel) = (runtime(), Cancel::new());
    let (greedy, plain) = (guest("greedy"), guest("plain"));
    let others: Vec<JoinHandle<Report>> = (0..OTHERS)
        .map(|_| {
            let call = execution(&greedy, "test.greedy", json!({}), endlessly(Grant::default()));
            start(&runtime, call, &Recorder::new(), &cancel)
        })
        .collect();
    let call = execution(&plain, "test.echo", json!({"b": 1, "a": 2}), Grant::default());
    let report = runtime.block_on(start(&runtime, call, &Recorder::new(), &Cancel::new())).unwrap();
    assert_eq!(report.result.unwrap().as_deref(), Some(r#"{"a":2,"b":1}"#));
    cancel.cancel();
    for call in others {
        let report = runtime.block_on(call).unwrap();
        assert_eq!((failed(&report), report.outcome), (code::INTERRUPTED, Outcome::Clean), "{report:?}");
    }
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Which component, which capability, with what, and what each call is lowered to so that it ends soon.
type Attack = (&'static str, &'static str, Value, fn(&mut Limits));

/// The servers of the attacks, by the variable that tells the process of its own where each is.
const HEADERS: &str = "REDRESS_CROWD_HEADERS";
const BODY: &str = "REDRESS_CROWD_BODY";

/// Where a server of the attacks is.
fn url(variable: &str) -> String {
    std::env::var(variable).unwrap()
}

/// A server that answers with `start` and then with `more` for as long as somebody listens.
fn endless(start: &'static str, more: &'static str) -> Server {
    Server::start(move |_| {
        Reply::Talk(Box::new(move |stream| {
            let mut alive = stream.write_all(start.as_bytes()).is_ok();
            let block = more.repeat(4096 / more.len() + 1);
            while alive {
                alive = stream.write_all(block.as_bytes()).and_then(|()| stream.flush()).is_ok();
            }
        }))
    })
}

fn attacks() -> Vec<Attack> {
    let soon: fn(&mut Limits) = |limits| limits.fuel = 20_000_000;
    let at_once: fn(&mut Limits) = |limits| limits.wall_time = 20;
    let as_is: fn(&mut Limits) = |_| {};
    let small: fn(&mut Limits) = |limits| limits.memory = 8 << 20;
    let short: fn(&mut Limits) = |limits| limits.response_bytes = 4 << 20;
    let one = |request: Value| json!({ "requests": [request] });
    let bomb: serde_json::Map<String, Value> = (0..200).map(|i| (format!("x-{i}"), json!("y".repeat(1_000)))).collect();
    vec![
        ("hostile", "test.loop", json!({}), soon),
        ("hostile", "test.loop", json!({}), at_once),
        ("hostile", "test.sleep", json!({"ms": 3_600_000}), at_once),
        ("hostile", "test.host_call_flood", json!({}), at_once),
        ("hostile", "test.memory", json!({"how": "huge", "bytes": 1_u64 << 30}), as_is),
        ("hostile", "test.memory", json!({"how": "page", "bytes": 1_u64 << 30}), small),
        ("hostile", "test.memory", json!({"how": "trap", "bytes": 1_u64 << 30}), small),
        ("hostile", "test.recursion", json!({}), as_is),
        ("hostile", "test.stdout_flood", json!({"how": "bytes", "count": 50}), as_is),
        ("hostile", "test.stdout_flood", json!({"how": "empty", "count": 5_000}), as_is),
        ("hostile", "test.exit", json!({"code": 3}), as_is),
        ("hostile", "test.panic", json!({}), as_is),
        ("hostile", "test.big_output", json!({"bytes": 5 << 20}), as_is),
        ("hostile", "test.random_big", json!({"bytes": 2 << 20}), as_is),
        ("hostile", "test.across", json!({"how": "bytes", "count": 12 << 20}), as_is),
        ("hostile", "test.across", json!({"how": "text", "count": 12 << 20}), as_is),
        ("hostile", "test.across", json!({"how": "handles", "count": 100_000}), as_is),
        ("hostile", "test.long_failure", json!({}), as_is),
        ("hostile", "test.many_handles", json!({"path": "/workspace/f", "count": 2_000}), as_is),
        ("hostile", "test.many_targets", json!({"path": "/workspace/many", "count": 200}), as_is),
        ("hostile", "test.many_records", json!({"path": "/workspace/r", "count": 200}), as_is),
        ("hostile", "test.write_then", json!({"path": "/workspace/w", "content": "x", "then": "panic"}), as_is),
        ("hostile", "test.write_then", json!({"path": "/workspace/w", "content": "x", "then": "loop"}), at_once),
        ("bare", "test.bare_loop", json!({}), soon),
        ("bare", "test.bare_memory", json!({}), as_is),
        ("bare", "test.bare_table", json!({}), as_is),
        ("bare", "test.bare_recursion", json!({}), as_is),
        ("bare", "test.bare_bad_text", json!({}), as_is),
        ("bare", "test.bare_out_of_bounds", json!({}), as_is),
        ("greedy", "test.greedy", json!({}), soon),
        ("escape", "test.escape", json!({"how": "symlink", "path": "/workspace/l", "to": "/etc"}), as_is),
        ("undo", "test.trapping_undo", json!({"path": "/workspace/u", "content": "x"}), as_is),
        ("undo", "test.big_undo", json!({"path": "/workspace/b", "content": "x", "bytes": 17 << 20}), as_is),
        ("http", "test.http.read", one(json!({"method": "GET", "url": url(HEADERS)})), as_is),
        ("http", "test.http.read", one(json!({"method": "GET", "url": url(BODY)})), short),
        ("http", "test.http.change", one(json!({"method": "POST", "url": url(BODY)})), at_once),
        ("http", "test.http.change", one(json!({"method": "POST", "url": url(BODY), "headers": bomb})), as_is),
    ]
}

fn to_all_of(server: &str) -> UrlGrant {
    let methods = HttpMethod::ALL.to_vec();
    UrlGrant { url: format!("{}**", url(server)), methods, query: false, local: false, reads_are_effects: false }
}

/// Runs the test of this name in a process of its own, where the allocator gives back what is free: what stays there is
/// what is held. True in that process. `servers` are those of this process, by the variable that tells the other of it.
fn in_a_process_of_its_own(name: &str, servers: fn() -> Vec<(&'static str, Server)>) -> bool {
    const MARK: &str = "REDRESS_CROWD";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let servers = servers();
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", name, "--nocapture"]).env(MARK, "1").env("MALLOC_ARENA_MAX", "1");
    process.envs(servers.iter().map(|(variable, server)| (variable, server.url("/"))));
    process.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
    assert!(process.status().unwrap().success());
    false
}

#[test]
fn a_thousand_hostile_calls_leave_no_descriptor_and_no_memory_behind() {
    let _alone = alone();
    let servers = || {
        let body = endless("HTTP/1.1 200 OK\r\n\r\n", "abcd");
        vec![(HEADERS, endless("HTTP/1.1 200 OK\r\n", "a: b\r\n")), (BODY, body)]
    };
    if !in_a_process_of_its_own("a_thousand_hostile_calls_leave_no_descriptor_and_no_memory_behind", servers) {
        return;
    }
    const AT_A_TIME: usize = 4;
    let world = World::new();
    world.write("f", "x");
    std::fs::create_dir(world.path("many")).unwrap();
    let attacks = attacks();
    behaves(&runtime(), &World::new());
    for (component, ..) in &attacks {
        guest(component);
    }

    let (open, kept) = (descriptors(), status("VmRSS:"));
    // The highest mark is counted from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let runtime = runtime();
    let mut ended = std::collections::BTreeMap::<String, usize>::new();
    let call = |number: usize| {
        let (component, capability, input, change) = &attacks[number % attacks.len()];
        let mut grant = world.grant(Access::ReadWrite);
        grant.network = [HEADERS, BODY].map(to_all_of).into();
        change(&mut grant.limits);
        execution(&guest(component), capability, input.clone(), grant)
    };
    let mut run = |calls: Vec<Call>| {
        let begin = |call: Call| {
            // Who is told first that a short time is up, the component or its host, is chance: a component that goes on
            // without the whole answer is what `unanswered` tells.
            let hurried = call.grant.limits.wall_time < Limits::default().wall_time;
            (call.input.clone(), hurried, start(&runtime, call, &Recorder::new(), &Cancel::new()))
        };
        let started: Vec<(String, bool, JoinHandle<Report>)> = calls.into_iter().map(begin).collect();
        for (input, hurried, call) in started {
            let report = runtime.block_on(call).unwrap();
            let how = report.result.map_or_else(|failure| failure.code, |_| "succeeded".to_owned());
            // A server that was not there would be no attack.
            let reached = [code::LIMIT, code::TIMEOUT].contains(&how.as_str()) || (hurried && how == code::UNANSWERED);
            assert!(!input.contains("requests") || reached, "{how}: {input}");
            *ended.entry(how).or_default() += 1;
        }
    };
    for first in (0..1_000).step_by(AT_A_TIME) {
        run((first..first + AT_A_TIME).map(call).collect());
    }
    let after = status("VmRSS:");
    // The outputs that cost the host most, all at once.
    let values = guest("bare");
    for _ in 0..3 {
        let call = || execution(&values, "test.bare_many_values", json!({}), Grant::default());
        run((0..AT_A_TIME).map(|_| call()).collect());
    }
    drop(runtime);
    let most = status("VmHWM:");
    println!("{ended:?}: before {} MiB, after {} MiB, at most {} MiB", kept >> 20, after >> 20, most >> 20);
    assert_eq!(descriptors(), open);
    assert!(after <= kept + KEPT, "{after} after {kept}");
    assert!(most <= kept + AT_A_TIME as u64 * A_CALL, "{most} after {kept}");
    behaves(&self::runtime(), &World::new());
}

/// What is refused when it is loaded: components that lie, are cut off or were compiled elsewhere.
fn refused() -> Vec<Vec<u8>> {
    // Not the one that loops: it takes its fuel each time.
    let liars = [
        "liar_not_json",
        "liar_stolen_id",
        "liar_reserved_id",
        "liar_bad_id",
        "liar_low_irreversible",
        "liar_pure_permission",
        "liar_bad_permission",
        "liar_bad_schema",
        "liar_traps",
        "liar_unknown_schema",
        "liar_twice",
        "liar_grows",
        "liar_exits",
        "liar_huge",
        "liar_doubling",
        "many_instances",
        "many_memories",
        "many_tables",
    ];
    let read = |name: &str| std::fs::read(guests::component(name)).unwrap();
    let mut all: Vec<Vec<u8>> = liars.into_iter().map(read).collect();
    let (whole, small) = (read("hostile"), read("harmless"));
    all.extend([1, 2, 3].map(|quarters| whole[..whole.len() / 4 * quarters].to_vec()));
    all.extend([1, 2, 3].map(|quarters| small[..small.len() / 4 * quarters].to_vec()));
    let compiled = wasmtime::Engine::default().precompile_component(&small).unwrap();
    all.extend([compiled, b"\0asm\x0d\0\x01\0garbage".to_vec(), Vec::new()]);
    all
}

#[test]
fn a_thousand_components_that_are_refused_leave_no_descriptor_and_no_memory_behind() {
    let _alone = alone();
    let name = "a_thousand_components_that_are_refused_leave_no_descriptor_and_no_memory_behind";
    if !in_a_process_of_its_own(name, Vec::new) {
        return;
    }
    let (refused, folder) = (refused(), tempfile::tempdir().unwrap());
    let cache_dir = Some(folder.path().join("cache"));
    let sandbox = Sandbox::new(SandboxConfig { cache_dir, ..SandboxConfig::default() }).unwrap();
    let load = |number: usize| sandbox.load(&refused[number % refused.len()], Provenance::External).map(|_| ());
    // Once before it counts, so that what can be compiled is in the cache. And those that take much memory so often that the pool
    // has in each of its places what it keeps there.
    let precompiled = (0..refused.len()).filter(|number| load(*number) == Err(LoadError::Precompiled)).count();
    assert_eq!(precompiled, 1);
    for name in ["liar_grows", "liar_huge"] {
        let bytes = std::fs::read(guests::component(name)).unwrap();
        assert!((0..PLACES).all(|_| sandbox.load(&bytes, Provenance::External).is_err()));
    }
    let (open, kept) = (descriptors(), status("VmRSS:"));
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    for number in 0..1_000 {
        assert!(load(number).is_err(), "{number}");
    }
    let (after, most) = (status("VmRSS:"), status("VmHWM:"));
    println!("before {} MiB, after {} MiB, at most {} MiB", kept >> 20, after >> 20, most >> 20);
    assert_eq!(descriptors(), open);
    assert!(after <= kept + KEPT, "{after} after {kept}");
    assert!(most <= kept + A_CALL, "{most} after {kept}");
    sandbox.load(&std::fs::read(guests::component("harmless")).unwrap(), Provenance::External).unwrap();
}

#[test]
fn components_that_hold_all_files_they_can_get_leave_descriptors_to_the_host() {
    let _alone = alone();
    if !in_a_process_of_its_own("components_that_hold_all_files_they_can_get_leave_descriptors_to_the_host", Vec::new) {
        return;
    }
    let few = Rlimit { current: Some(600), maximum: Some(600) };
    setrlimit(Resource::Nofile, few).unwrap();
    let (runtime, cancel, world) = (runtime(), Cancel::new(), World::new());
    world.write("f", "x");
    let (guest, _) = (guest("hostile"), standard("fs"));
    let holding = |hold: bool| {
        let input = json!({"path": "/workspace/f", "count": 990, "hold": hold});
        execution(&guest, "test.many_handles", input, endlessly(world.grant(Access::ReadOnly)))
    };
    let others: Vec<_> = (0..3).map(|_| start(&runtime, holding(true), &Recorder::new(), &cancel)).collect();
    // One that says what it was told is told so once the others hold what there is.
    let report = loop {
        let report = runtime.block_on(start(&runtime, holding(false), &Recorder::new(), &Cancel::new())).unwrap();
        if report.result.is_err() {
            break report;
        }
    };
    assert_eq!((failed(&report), report.outcome), ("unavailable", Outcome::Clean), "{report:?}");
    // The host still opens what it needs, and has all of it back when they are gone.
    let opened: Result<Vec<_>, _> = (0..100).map(|_| std::fs::File::open(world.path("f"))).collect();
    let unfinished = others.iter().all(|call| !call.is_finished());
    cancel.cancel();
    for call in others {
        assert_eq!(failed(&runtime.block_on(call).unwrap()), code::INTERRUPTED);
    }
    assert!(opened.is_ok() && unfinished, "{opened:?}");
    behaves(&runtime, &World::new());
}
