//! What it takes to verify a journal: all of it, with every run told again and every decision decided again.

use crate::process::{peak_of, time};
use crate::report::{Report, Samples, Target};
use crate::world::{World, binary, noop, runtime, series, touch};

/// How many steps a run has.
const STEPS: usize = 1_000;

pub fn measure(report: &mut Report) {
    let runtime = runtime();
    let mut rows = Vec::new();
    for events in [100_000, 1_000_000] {
        let world = World::new();
        let (reads, effects) = (world.workflow(&series(STEPS, noop)), world.workflow(&series(STEPS, touch)));
        // The number of the last event counts all chains.
        let written = || world.journal.verify().unwrap().events;
        let each = {
            runtime.block_on(world.complete(&reads));
            runtime.block_on(world.complete(&effects));
            written()
        };
        for _ in 1..=events / each {
            runtime.block_on(world.complete(&reads));
            runtime.block_on(world.complete(&effects));
        }
        assert!(written() >= events);
        let folder = world.end();
        let verify = || binary(folder.path(), &["audit", "verify"]);
        let mut whole = Samples::default();
        (0..3).for_each(|_| time(verify(), &mut whole));
        rows.push((events, whole, peak_of(verify())));
    }
    let [(_, _, few), (_, of_million, many)] = &rows[..] else { return };
    report.row("`audit verify` of 1 000 000 events, the whole process", of_million, None, Target::Within(20e6));
    report.figure("its memory at 100 000 events", *few, "MB", None);
    report.figure("its memory at 1 000 000 events", *many, "MB", Some(few * 1.5));
}
