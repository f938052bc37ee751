//! Whether a step costs the same in a long run as in a short one, and in a full journal as in an empty one.

use redress::journal::{Append, Durability, Journal, Kept, NewRun, OwnerIdentity, Payload, Submission, Summary};
use redress::saga::RunState;
use redress::saga::event::{Closed, Event, Evidence, Mode, Outcome, RunClosed, RunSubmitted, StepResult};
use redress::types::{Duration, Principal, RunId, StepName, Timestamp};
use tokio::runtime::Runtime;

use crate::process;
use crate::report::{Report, Samples, Target};
use crate::world::{World, noop, runtime, series, touch, write};

/// A row's words, and the rest of each step's line.
type Kind = (&'static str, fn(usize) -> String);

const KINDS: [Kind; 3] = [
    ("reads only", noop),
    ("an effect that changes nothing, always on the same directory", touch),
    ("writes a file of its own", write),
];

pub fn measure(report: &mut Report) {
    let runtime = runtime();
    for kind in KINDS {
        of_a_run(report, &runtime, kind);
    }
    of_the_journal(report, &runtime);
}

/// The cost of the last tenth of the steps of a run.
fn last_steps(world: &World, runtime: &Runtime, yaml: &str, samples: &mut Samples) {
    let results = runtime.block_on(world.complete(&world.workflow(yaml))).0;
    samples.add_between(&results[results.len() * 9 / 10 - 1..]);
}

fn of_a_run(report: &mut Report, runtime: &Runtime, (what, step): Kind) {
    let world = World::new();
    let short = series(10, step);
    let mut of_short = Samples::default();
    for _ in 0..20 {
        last_steps(&world, runtime, &short, &mut Samples::default());
    }
    let mut rows = Vec::new();
    for n in [100, 1_000, 10_000] {
        let mut of_long = Samples::default();
        let yaml = series(n, step);
        for _ in 0..(2_000 / n).clamp(1, 5) {
            for _ in 0..100 {
                last_steps(&world, runtime, &short, &mut of_short);
            }
            last_steps(&world, runtime, &yaml, &mut of_long);
            for _ in 0..100 {
                last_steps(&world, runtime, &short, &mut of_short);
            }
        }
        rows.push((n, of_long));
    }
    report.row(&format!("{what}: the last of 10 steps"), &of_short, None, Target::Beside);
    for (n, of_long) in rows {
        let what = format!("the last tenth of {n} steps");
        report.row(&what, &of_long, Some(("10 steps", &of_short)), Target::Flat(1.5));
    }
}

/// A million events of closed runs, each with a payload, as many as the steps of real runs have.
fn fill(journal: &dyn Journal, runtime: &Runtime) {
    const RUNS: u64 = 10_000;
    const STEPS: usize = 97;
    let step = StepName::parse("step").unwrap();
    for n in 0..RUNS {
        let run = RunId::parse(&format!("01920000-0000-7000-8000-{n:012x}")).unwrap();
        let payloads: Vec<Payload> =
            (0..2).map(|i| Payload::new(format!("{{\"of\":{n},\"the\":{i}}}")).unwrap()).collect();
        let new = NewRun {
            submitted: RunSubmitted {
                run: run.clone(),
                name: "filler".to_owned(),
                version: None,
                principal: Principal::parse("agent:demo").unwrap(),
                mode: Mode::Sealed,
                steps: Vec::new(),
                workflow: payloads[0].reference(),
                inputs: payloads[1].reference(),
                templates: None,
                engine: env!("CARGO_PKG_VERSION").to_owned(),
                binary: None,
                max_parallel: 8,
                deadline: None,
                idle_timeout: Duration::from_secs(600),
                settle_timeout: Duration::from_secs(10),
                undo_window: Duration::from_secs(60),
                run_key: None,
                agent: None,
            },
            at: Timestamp(1_700_000_000_000),
            owner: OwnerIdentity { id: "nobody".to_owned(), boot: "unknown".to_owned() },
            payloads,
            kept: Kept::default(),
            summary: Summary { seq: 2, state: RunState::Completed, due: None },
        };
        let outputs: Vec<Payload> = (0..STEPS)
            .map(|i| Payload::new(format!("{{\"path\":\"/workspace/{n}/{i}\",\"bytes\":1024}}")).unwrap())
            .collect();
        let result = |output: &Payload| {
            let result = StepResult {
                step: step.clone(),
                attempt: 1,
                outcome: Outcome::Succeeded,
                output: Some(output.reference()),
                error: None,
                evidence: Evidence::default(),
                log: None,
                retry_at: None,
                compensation: None,
            };
            (Timestamp(1_700_000_000_001), Event::Result(Box::new(result)))
        };
        let mut events: Vec<_> = outputs.iter().map(result).collect();
        let closed = RunClosed { state: Closed::Completed, residue: Vec::new() };
        events.push((Timestamp(1_700_000_000_002), Event::RunClosed(closed)));
        let created = journal.create_run(new);
        drop(journal.append(&run, Append::by_owner(1, Durability::Lazy, events).with_payloads(outputs)));
        if n % 64 == 63 {
            assert!(matches!(runtime.block_on(created).unwrap(), Submission::Created { .. }));
        }
    }
    runtime.block_on(journal.flush()).unwrap();
}

fn of_the_journal(report: &mut Report, runtime: &Runtime) {
    const STEPS: usize = 200;
    let (empty, full) = (World::new(), World::new());
    fill(&*full.journal, runtime);
    let [mut in_empty, mut in_full] = [(); 2].map(|()| Samples::default());
    for round in 0..=10 {
        if round == 1 {
            [in_empty, in_full] = [(); 2].map(|()| Samples::default());
        }
        for (world, samples) in [(&empty, &mut in_empty), (&full, &mut in_full)] {
            let workflow = world.workflow(&series(STEPS, touch));
            samples.add_between(&runtime.block_on(world.complete(&workflow)).0);
        }
    }
    report.row("a step with an effect, the journal empty at first", &in_empty, None, Target::Beside);
    report.row("the same, 1 000 000 events in it", &in_full, Some(("empty", &in_empty)), Target::Flat(1.5));
    let [few, many] = process::whole_runs([empty.end(), full.end()]);
    report.row("`redress run` of three steps, the journal nearly empty", &few, None, Target::Beside);
    report.row("the same, 1 000 000 events in it", &many, Some(("empty", &few)), Target::Flat(1.5));
}
