//! Deciding by 10, 1 000 and 10 000 rules, beside a loop that tries each rule's patterns in turn.

use std::fmt::Write as _;
use std::time::Instant;

use redress::document::Source;
use redress::engine::simulate::Simulation;
use redress::journal::{Journal as _, RunFilter};
use redress::policy::{Policy, Request, decide, reference};
use redress::types::{Action, CapabilityId, Principal, Risk};
use serde_json::json;

use crate::report::{Report, Samples, Target};
use crate::world::{World, noop, runtime, series};

const ROUNDS: usize = 200;

/// `n` rules of which each is for an agent and a group of capabilities of its own, and every second one has a condition:
/// 10 000 of them just fit into the megabyte that a policy file may have.
fn rules(n: usize) -> String {
    let mut text = "rules:\n".to_owned();
    for i in 0..n {
        let when = if i % 2 == 0 { format!(", when: {{inputs.path: {{glob: \"/w/{i}/**\"}}}}") } else { String::new() };
        let _ = writeln!(text, "- {{principal: \"agent:b{i}\", capabilities: [\"io.g{i}.*\"], action: ALLOW{when}}}");
    }
    text
}

fn load(n: usize) -> Policy {
    Policy::load(Source::new("policy.yaml", rules(n)), "/srv").unwrap_or_else(|error| panic!("{error}")).0
}

pub fn measure(report: &mut Report) {
    for (n, most) in [(10, 0.3), (1_000, 0.6), (10_000, 3.0)] {
        let policy = load(n);
        let rule = n * 8 / 10;
        let inputs = json!({ "path": format!("/w/{rule}/a.txt"), "content": "x" });
        let request = Request {
            principal: Principal::parse(&format!("agent:b{rule}")).unwrap(),
            acting_for: None,
            capability: CapabilityId::parse(&format!("io.g{rule}.write")).unwrap(),
            declared_risk: Risk::Medium,
            step_risk: None,
            inputs: Some(&inputs),
            unknown: &[],
        };
        assert_eq!(decide(&policy, &request).action, Action::Allow);
        let (mut indexed, mut looped) = (Samples::default(), Samples::default());
        let (few, many) = ((20_000 / n).max(1), 1_000);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            for _ in 0..few {
                std::hint::black_box(reference::decide(&policy, std::hint::black_box(&request)));
            }
            looped.add_shared(begun.elapsed(), few);
            let begun = Instant::now();
            for _ in 0..many {
                std::hint::black_box(decide(&policy, std::hint::black_box(&request)));
            }
            indexed.add_shared(begun.elapsed(), many);
        }
        report.row(&format!("rule by rule, {n} rules"), &looped, None, Target::Beside);
        report.row(&format!("a decision, {n} rules"), &indexed, Some(("rule by rule", &looped)), Target::Within(most));
    }
    let (mut small, mut large) = (Samples::default(), Samples::default());
    for _ in 0..10 {
        for (n, samples) in [(1_000, &mut small), (10_000, &mut large)] {
            let source = Source::new("policy.yaml", rules(n));
            let begun = Instant::now();
            drop(std::hint::black_box(Policy::load(source, "/srv").unwrap_or_else(|error| panic!("{error}"))));
            samples.add(begun.elapsed());
        }
    }
    report.row("load of 1 000 rules", &small, None, Target::Beside);
    report.row("load of 10 000 rules", &large, Some(("1 000 rules", &small)), Target::Within(150_000.0));
}

/// One run of 1 000 steps, a thousand times: each decision's input is read from the journal, and the events as well.
pub fn measure_simulated(report: &mut Report) {
    const STEPS: usize = 1_000;
    const RUNS: usize = 1_000;
    let (runtime, world) = (runtime(), World::new());
    let workflow = world.workflow(&series(STEPS, noop));
    runtime.block_on(world.complete(&workflow));
    runtime.block_on(world.journal.flush()).unwrap();
    let journal = &*world.journal;
    let run = journal.runs(&RunFilter::default(), None, 1).unwrap().rows.pop().unwrap().run;
    let policy = load(1_000);
    let begun = Instant::now();
    let mut simulation = Simulation::new(&policy, None);
    assert_eq!(simulation.runs(&vec![run; RUNS], journal), 0);
    let took = begun.elapsed();
    assert_eq!(simulation.decisions, (STEPS * RUNS) as u64);
    report.figure("all of them", took.as_secs_f64(), " s", Some(10.0));
}
