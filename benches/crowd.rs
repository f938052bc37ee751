//! What a call gets of the processors while others compute without end.

use std::thread::available_parallelism;
use std::time::Instant;

use redress::sandbox::{Call, Cancel, Provenance};
use redress::types::{Grant, Limits};
use tokio::runtime::Builder;

use crate::guests;
use crate::report::{Report, Samples, Target};
use crate::sandbox::{call, nobody};
use crate::world::sandbox;

const CALLS: usize = 20;

/// Computes for so many rounds, some ten milliseconds, or without end.
const ROUNDS: u64 = 10_000_000;

/// How much slower than its fair share a call may be: the system hands out processors in slices.
const SLACK: f64 = 1.25;

pub fn measure(report: &mut Report) {
    let sandbox = sandbox();
    let bytes = std::fs::read(guests::component("noop")).unwrap();
    let component = sandbox.load(&bytes, Provenance::External).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let computes = |input: String| {
        let limits = Limits { fuel: u64::MAX, wall_time: 3_600_000, ..Limits::default() };
        Call { input, grant: Grant { limits, ..Grant::default() }, ..call(&component, "test.compute") }
    };
    let measured = |n: usize| {
        let mut samples = Samples::default();
        for _ in 0..n {
            let call = computes(format!(r#"{{"rounds":{ROUNDS}}}"#));
            let begun = Instant::now();
            let done = runtime.block_on(sandbox.call(call, nobody(), Cancel::new()));
            samples.add(begun.elapsed());
            assert!(done.result.is_ok(), "{done:?}");
        }
        samples
    };
    measured(CALLS);
    let alone = measured(CALLS);
    report.row("a call that computes, alone", &alone, None, Target::Beside);
    let processors = available_parallelism().map_or(1, |n| n.get());
    for others in [1, 4, 16, 63] {
        let cancel = Cancel::new();
        let one = || runtime.spawn(sandbox.call(computes("{}".to_owned()), nobody(), cancel.clone()));
        let endless: Vec<_> = (0..others).map(|_| one()).collect();
        runtime.block_on(tokio::task::yield_now());
        let beside = measured(CALLS);
        cancel.cancel();
        for call in endless {
            assert!(runtime.block_on(call).unwrap().result.is_err());
        }
        let fair = ((others + 1) as f64 / processors as f64).max(1.0);
        let what = format!("beside {others} that compute without end, whose fair share is 1/{fair} of a processor");
        report.row(&what, &beside, Some(("alone", &alone)), Target::Flat(fair * SLACK));
    }
}
