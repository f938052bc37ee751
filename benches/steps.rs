//! Steps in series, beside bare SQLite commits; many runs at once; a workflow that only reads.

use std::sync::Arc;
use std::time::Instant;

use redress::journal::Journal;

use crate::report::{Report, Samples, Target};
use crate::world::{Bare, World, complete_at_once, noop, runtime, series, touch, write};

const ROUNDS: usize = 10;

pub fn measure_series(report: &mut Report) {
    const STEPS: usize = 200;
    let runtime = runtime();
    let bare = Bare::new();
    let world = World::new();
    let (empty, files) = (world.workflow(&series(STEPS, touch)), world.workflow(&series(STEPS, write)));
    let [mut commits, mut touched, mut written] = [(); 3].map(|()| Samples::default());
    let mut made = 0;
    for round in 0..=ROUNDS {
        if round == 1 {
            [commits, touched, written] = [(); 3].map(|()| Samples::default());
        }
        bare.commit(STEPS, &mut commits);
        let before = world.journal.commits();
        touched.add_between(&runtime.block_on(world.complete(&empty)).0);
        made = world.journal.commits() - before;
        bare.commit(STEPS, &mut commits);
        written.add_between(&runtime.block_on(world.complete(&files)).0);
    }
    let baseline = Some(("bare", &commits));
    report.row("bare SQLite, one row a commit, FULL", &commits, None, Target::Beside);
    report.row("a step with an effect that changes nothing", &touched, baseline, Target::OfBaseline(0.6));
    report.row("a step that writes a file", &written, baseline, Target::Beside);
    report.figure(&format!("commits of a run of {STEPS} such steps"), made as f64, "", Some(STEPS as f64 + 3.0));
}

pub fn measure_parallel(report: &mut Report) {
    const RUNS: usize = 64;
    const STEPS: usize = 100;
    let runtime = runtime();
    let bare = Bare::new();
    let world = Arc::new(World::new());
    let workflow = Arc::new(world.workflow(&series(STEPS, touch)));
    let (mut commits, mut shared) = (Samples::default(), Samples::default());
    let mut made = 0;
    for round in 0..=ROUNDS {
        if round == 1 {
            (commits, shared) = (Samples::default(), Samples::default());
        }
        bare.commit(500, &mut commits);
        let before = world.journal.commits();
        let begun = Instant::now();
        runtime.block_on(complete_at_once(&world, &workflow, RUNS));
        shared.add_shared(begun.elapsed(), RUNS * STEPS);
        made = world.journal.commits() - before;
    }
    report.row("bare SQLite, one row a commit, FULL", &commits, None, Target::Beside);
    report.row("a step of 64 runs at once", &shared, Some(("bare", &commits)), Target::PerSecond(15_000.0));
    report.figure("commits a step", made as f64 / (RUNS * STEPS) as f64, "", Some(0.1));
}

pub fn measure_reads(report: &mut Report) {
    const STEPS: usize = 1_000;
    let runtime = runtime();
    let bare = Bare::new();
    let world = World::new();
    let chain = world.workflow(&series(STEPS, noop));
    let wide = world.workflow(&series(STEPS, |i| format!("{}, depends_on: []", noop(i))));
    let [mut commits, mut in_series, mut at_once] = [(); 3].map(|()| Samples::default());
    let mut made = 0;
    for round in 0..=ROUNDS {
        if round == 1 {
            [commits, in_series, at_once] = [(); 3].map(|()| Samples::default());
        }
        bare.commit(500, &mut commits);
        let before = world.journal.commits();
        in_series.add_shared(runtime.block_on(world.complete(&chain)).1, STEPS);
        made = world.journal.commits() - before;
        at_once.add_shared(runtime.block_on(world.complete(&wide)).1, STEPS);
    }
    runtime.block_on(world.journal.flush()).unwrap();
    let baseline = Some(("bare", &commits));
    report.row("bare SQLite, one row a commit, FULL", &commits, None, Target::Beside);
    report.row("a step in series, submission and end shared", &in_series, baseline, Target::PerSecond(20_000.0));
    report.row("a step of 8 at once, submission and end shared", &at_once, baseline, Target::PerSecond(20_000.0));
    report.figure("commits of the run", made as f64, "", Some(3.0));
}
