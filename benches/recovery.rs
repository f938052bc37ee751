//! Ten thousand runs whose process died after an INTENT, and a hundred thousand that wait for a person.

use std::sync::Arc;
use std::time::Instant;

use redress::engine::{Driven, Stop, state_of};
use redress::journal::{Append, Durability, Journal, RunFilter};
use redress::saga::event::Event;
use redress::saga::{KeyUse, RunState, key};
use redress::types::RunId;
use tokio::task::JoinSet;

use crate::process::{peak_of, whole_runs};
use crate::report::{Report, Samples, Target};
use crate::world::{ALLOW, ASK, Bare, World, binary, folder, memory, noop, runtime, sandbox, series, touch};

/// How many are submitted at the same time.
const AT_ONCE: usize = 64;

/// Does something for each of `n`, [`AT_ONCE`] at a time.
async fn for_each<F: Future<Output = ()> + Send + 'static>(n: usize, mut work: impl FnMut() -> F) {
    let mut going = JoinSet::new();
    for _ in 0..n {
        if going.len() >= AT_ONCE {
            going.join_next().await.unwrap().unwrap();
        }
        going.spawn(work());
    }
    while let Some(done) = going.join_next().await {
        done.unwrap();
    }
}

fn all(world: &World, state: RunState) -> Vec<RunId> {
    let filter = RunFilter { state: Some(state), ..RunFilter::default() };
    let mut found: Vec<RunId> = Vec::new();
    loop {
        let page = world.journal.runs(&filter, found.last(), 1_000).unwrap();
        if page.rows.is_empty() {
            return found;
        }
        found.extend(page.rows.into_iter().map(|row| row.run));
    }
}

/// Runs of two steps whose first has its INTENT and no RESULT: what a process leaves that dies in the middle.
async fn interrupted(world: &Arc<World>, n: usize) {
    let workflow = Arc::new(world.workflow(&series(2, |i| if i == 0 { touch(i) } else { noop(i) })));
    let whole = world.submit(&workflow).await;
    crate::world::finish(&whole).await;
    let told = world.journal.entries(whole.id(), 0, usize::MAX).unwrap();
    let find = |is: fn(&Event) -> bool| told.iter().find(|entry| is(&entry.event)).unwrap().clone();
    let decision = find(|event| matches!(event, Event::Decision(_)));
    let intent = find(|event| matches!(event, Event::Intent(_)));
    let (submitter, submitted) = (world.clone(), workflow.clone());
    for_each(n, move || {
        let (world, workflow) = (submitter.clone(), submitted.clone());
        async move { drop(world.submit(&workflow).await) }
    })
    .await;
    let runs = all(world, RunState::Running);
    assert_eq!(runs.len(), n);
    let lazily = |event: &Event| Append::by_owner(1, Durability::Lazy, vec![(decision.at, event.clone())]);
    for run in &runs {
        drop(world.journal.append(run, lazily(&decision.event)));
    }
    world.journal.flush().await.unwrap();
    for run in &runs {
        let state = state_of(&*world.journal, run).unwrap();
        let Event::Intent(mut begun) = intent.event.clone() else { panic!("it is an INTENT") };
        begun.key = key(&state, &state.steps[0], KeyUse::Execute);
        drop(world.journal.append(run, lazily(&Event::Intent(begun))));
    }
    world.journal.flush().await.unwrap();
}

pub fn measure(report: &mut Report) {
    const RUNS: usize = 10_000;
    let runtime = runtime();
    let world = Arc::new(World::new());
    runtime.block_on(interrupted(&world, RUNS));
    let dir = Arc::into_inner(world).unwrap().end();
    let (mut commits, mut whole) = (Samples::default(), Samples::default());
    let bare = Bare::new();
    bare.commit(RUNS / 2, &mut commits);
    let begun = Instant::now();
    let recovered = binary(dir.path(), &["recover", "--json"]).output().unwrap();
    whole.add(begun.elapsed());
    bare.commit(RUNS / 2, &mut commits);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    let world = World::with(dir, &sandbox(), ALLOW);
    assert_eq!(all(&world, RunState::Completed).len(), RUNS + 1);
    report.row("bare SQLite, one row a commit, FULL", &commits, None, Target::Beside);
    report.row("`redress recover`, the whole process", &whole, Some(("bare", &commits)), Target::Within(1e7));
}

pub fn measure_paused(report: &mut Report) {
    const RUNS: usize = 100_000;
    let runtime = runtime();
    let world = Arc::new(World::with(folder(), &sandbox(), ASK));
    let workflow = Arc::new(world.workflow(&series(1, |_| "capability: data.hash, inputs: { content: x }".to_owned())));
    let pause = |n: usize| {
        let (world, workflow) = (world.clone(), workflow.clone());
        for_each(n, move || {
            let (world, workflow) = (world.clone(), workflow.clone());
            async move {
                let run = world.submit(&workflow).await;
                assert_eq!(run.drive(&Stop::default()).await.unwrap(), Driven::Rest(RunState::Paused));
            }
        })
    };
    runtime.block_on(pause(1_000));
    let me = std::process::id();
    let before = memory(me, "VmRSS:").unwrap();
    let begun = Instant::now();
    runtime.block_on(pause(RUNS - 1_000));
    let mut each = Samples::default();
    each.add_shared(begun.elapsed(), RUNS - 1_000);
    let after = memory(me, "VmRSS:").unwrap();
    report.row("a run from submission to its pause, 64 at once", &each, None, Target::Beside);
    report.figure("what 99 000 more of them add to the process that paused them", after - before, "MB", Some(100.0));
    let world = Arc::into_inner(world).unwrap();
    assert_eq!(all(&world, RunState::Paused).len(), RUNS);
    let dir = world.end();
    // The first process in a folder compiles the standard library, whatever waits there.
    peak_of(binary(dir.path(), &["recover", "--json"]));
    let (mut listed, mut looked) = (Samples::default(), Samples::default());
    for (arguments, samples, what) in [
        (["runs", "--json"], &mut listed, "`redress runs`"),
        (["recover", "--json"], &mut looked, "`redress recover`, which looks for what is due"),
    ] {
        let begun = Instant::now();
        let most = peak_of(binary(dir.path(), &arguments));
        samples.add(begun.elapsed());
        report.row(&format!("{what}, with {RUNS} paused runs"), samples, None, Target::Beside);
        report.figure("its greatest resident memory", most, "MB", Some(100.0));
    }
    let [run] = whole_runs([dir]);
    report.row(&format!("`redress run` of three steps, with {RUNS} paused runs"), &run, None, Target::Beside);
}
