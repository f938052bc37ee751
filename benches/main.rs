//! What Redress costs. `cargo bench` measures everything, `cargo bench -- NAME ...` the groups of these names.
//!
//! Nothing here asserts a time: a row says what was measured and what it was to be. Contestants of one ratio take turns, since
//! the machine is never equally busy twice. `docs/PERFORMANCE.md` says how.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on has failed"
)]

mod audit;
mod contestant;
mod crowd;
mod growth;
#[path = "../tests/common/guests.rs"]
mod guests;
mod policy;
mod process;
mod recovery;
mod report;
mod sandbox;
mod steps;
mod world;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if contestant::asked() {
        return contestant::run();
    }
    if sandbox::asked_for_one_core() {
        return sandbox::on_one_core();
    }
    let mut report = report::Report::new();
    report.group("sandbox", "one call of a component that does nothing", sandbox::measure);
    report.group("crowd", "a call beside others that compute without end", crowd::measure);
    report.group("gate", "a read-only call with everything around it", sandbox::measure_gated);
    report.group("series", "steps of one run, one after the other", steps::measure_series);
    report.group("parallel", "64 runs at once", steps::measure_parallel);
    report.group("reads", "a read-only workflow of 1 000 steps", steps::measure_reads);
    report.group("policy", "deciding and loading", policy::measure);
    report.group("simulate", "a million recorded decisions, decided again by 1 000 rules", policy::measure_simulated);
    report.group("process", "`redress run` of three steps, the whole process", process::measure);
    report.group("recovery", "10 000 interrupted runs", recovery::measure);
    report.group("paused", "100 000 paused runs", recovery::measure_paused);
    report.group("audit", "verifying 1 000 000 events", audit::measure);
    report.group("growth", "as a run and the journal grow", growth::measure);
}
