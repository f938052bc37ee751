//! Redress as one of the contestants of `benches/peers`: the policy, the journal with its chains and the sandbox all on.
//!
//! `cargo bench -- --contestant STEPS RUNS` drives so many runs at once, each of so many steps in series, and prints one line of
//! JSON: steps a second and the costs of a step in microseconds.

use std::sync::Arc;
use std::time::Instant;

use crate::report::Samples;
use crate::world::{World, complete_at_once, runtime, series, touch};

const NAME: &str = "--contestant";

pub fn asked() -> bool {
    std::env::args().any(|argument| argument == NAME)
}

pub fn run() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [steps, runs] = numbers[..] else { panic!("{NAME} STEPS RUNS") };
    let runtime = runtime();
    let world = Arc::new(World::new());
    let workflow = Arc::new(world.workflow(&series(steps, touch)));
    let warm = Arc::new(world.workflow(&series(20, touch)));
    runtime.block_on(complete_at_once(&world, &warm, 2));
    drop(world.results.take());
    let begun = Instant::now();
    runtime.block_on(complete_at_once(&world, &workflow, runs));
    let whole = begun.elapsed().as_secs_f64();
    let mut samples = Samples::default();
    for moments in world.results.take() {
        samples.add_between(&moments);
    }
    let line = serde_json::json!({
        "steps": steps * runs,
        "seconds": whole,
        "p50_us": samples.median(),
        "p99_us": samples.quantile(0.99),
    });
    println!("{line}");
}
