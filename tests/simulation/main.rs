//! The core under deterministic simulation: a seeded scheduler, a clock that the seed moves, a world with a ledger, a journal
//! that loses what was not committed, processes that die, and everything that people and strangers may do meanwhile. The
//! invariants are checked from the durable events and the ledger alone, without asking the core.
//!
//! `REDRESS_SIM_MOVES=1000000 cargo test --no-default-features --test simulation` simulates that many moves of fresh seeds. A
//! failing seed is made smaller and printed with the line that runs it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test may panic

mod checks;
mod config;
mod journal;
mod process;
mod sim;
mod world;

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Config, Dice, Fault};
use redress::saga::RunState;
use sim::simulate;

/// How many moves of fresh seeds are simulated unless a variable says it.
const MOVES: u64 = 150_000;

/// Configurations that failed once, and what was wrong.
const PAST: &str = include_str!("past_failures.txt");

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The same ones whenever nothing is said, so that a change fails for what it changed; fresh ones where a number of moves is
/// asked for, as `.ci/long` does.
fn first_seed() -> u64 {
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
    match (variable("REDRESS_SIM_SEED"), variable("REDRESS_SIM_MOVES")) {
        (Some(seed), _) => seed.parse().expect("REDRESS_SIM_SEED is a number"),
        (None, Some(_)) => fresh(),
        (None, None) => 1,
    }
}

/// The smallest configuration found that fails like this one does.
fn shrunk(mut config: Config, mut problem: String) -> (Config, String) {
    let kind = |problem: &str| problem.split(':').next().unwrap_or_default().to_owned();
    'smaller: loop {
        for smaller in config.smaller() {
            if let Err(found) = simulate(&smaller)
                && kind(&found) == kind(&problem)
            {
                (config, problem) = (smaller, found);
                continue 'smaller;
            }
        }
        return (config, problem);
    }
}

fn fail(config: Config, problem: String) -> ! {
    let (config, problem) = shrunk(config, problem);
    panic!(
        "{problem}\nagain: REDRESS_SIM='{config}' cargo test --no-default-features --test simulation one_line_runs_again"
    );
}

#[test]
fn every_invariant_holds_whatever_happens_and_every_run_comes_to_rest() {
    let moves: u64 = variable("REDRESS_SIM_MOVES").map_or(MOVES, |text| text.parse().expect("a number of moves"));
    let (mut seed, mut done, mut runs) = (first_seed(), 0, 0);
    let mut seen: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    println!("first seed {seed}");
    while done < moves {
        let config = Config::of(seed);
        match simulate(&config) {
            Ok(end) => {
                done += end.moves;
                *seen.entry(end.state.as_str()).or_default() += 1;
            }
            Err(problem) => fail(config, problem),
        }
        seed = seed.wrapping_add(1);
        runs += 1;
    }
    println!("{runs} runs, {done} moves: {seen:?}");
    if moves >= MOVES {
        for state in RunState::ALL.into_iter().filter(|state| state.is_rest()) {
            assert!(seen.contains_key(state.as_str()), "no run ended {}: {seen:?}", state.as_str());
        }
    }
}

#[test]
fn every_past_failure_stays_mended() {
    for line in PAST.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let config: Config = line.parse().unwrap();
        if let Err(problem) = simulate(&config) {
            panic!("{line}\n{problem}");
        }
    }
}

#[test]
fn one_line_runs_again() {
    let Some(line) = variable("REDRESS_SIM") else { return };
    let config: Config = line.parse().unwrap();
    match sim::told(&config, variable("REDRESS_SIM_REPEATABLE").is_some()) {
        (story, Err(problem)) => panic!("{story}\n{problem}"),
        (story, Ok(end)) => println!("{story}\nended {}", end.state.as_str()),
    }
}

/// I6: with crashes, and with crashes in the recovery, the same end and the same world as without.
#[test]
fn a_crash_changes_neither_the_end_nor_the_world() {
    let everything: BTreeSet<Fault> = Fault::ALL.iter().copied().collect();
    let mut deaths = everything.clone();
    deaths.remove(&Fault::Crash);
    deaths.remove(&Fault::CommitError);
    let mut dice = Dice::new(first_seed());
    for _ in 0..400 {
        let quiet = Config { without: everything.clone(), ..Config::of(dice.draw()) };
        let deadly = Config { without: deaths.clone(), moves: 120, ..quiet.clone() };
        let undisturbed = sim::simulate_repeatable(&quiet).unwrap_or_else(|problem| panic!("{quiet}\n{problem}"));
        let crashed = sim::simulate_repeatable(&deadly).unwrap_or_else(|problem| panic!("{deadly}\n{problem}"));
        let again = format!("REDRESS_SIM_REPEATABLE=1 REDRESS_SIM='{deadly}'");
        assert_eq!(undisturbed.state, crashed.state, "I6: {again}");
        assert_eq!(undisturbed.files, crashed.files, "I6: {again}");
    }
}

/// The machine takes with it what was not on disk: then the run ends as if it had not gone down, or turns back and leaves nothing.
#[test]
fn a_machine_that_goes_down_leaves_all_of_a_run_or_nothing() {
    let everything: BTreeSet<Fault> = Fault::ALL.iter().copied().collect();
    let mut deaths = everything.clone();
    deaths.remove(&Fault::Crash);
    deaths.remove(&Fault::MachineDies);
    deaths.remove(&Fault::LostWrites);
    let mut dice = Dice::new(first_seed());
    let (mut turned_back, mut stuck) = (0, 0);
    for _ in 0..2_000 {
        let quiet = Config { without: everything.clone(), ..Config::of(dice.draw()) };
        let deadly = Config { without: deaths.clone(), moves: 120, ..quiet.clone() };
        let undisturbed = sim::simulate_repeatable(&quiet).unwrap_or_else(|problem| panic!("{quiet}\n{problem}"));
        let crashed = sim::simulate_repeatable(&deadly).unwrap_or_else(|problem| panic!("{deadly}\n{problem}"));
        let again = format!("REDRESS_SIM_REPEATABLE=1 REDRESS_SIM='{deadly}'");
        match crashed.state {
            // A file as it was between two effects may be anybody's work; and an undo does not bring back to its step's beginning
            // what that step had not come to yet.
            RunState::Stuck if crashed.torn || crashed.held => stuck += 1,
            RunState::RolledBack if undisturbed.state != RunState::RolledBack => {
                assert_eq!(crashed.files, crashed.initial, "{again}");
                turned_back += 1;
            }
            state => assert_eq!((state, crashed.files), (undisturbed.state, undisturbed.files), "{again}"),
        }
    }
    assert!(turned_back > 100 && stuck < 200, "{turned_back} turned back, {stuck} stuck");
}

/// Each rule of the core is left out once: if nothing failed then, the simulation would prove nothing.
#[cfg(feature = "planted-bugs")]
mod planted {
    use redress::saga::planted::{Bug, plant};

    use super::*;

    fn is_found(bug: Bug) {
        let mut dice = Dice::new(first_seed());
        plant(Some(bug));
        let found = (0..100_000).find_map(|_| simulate(&Config::of(dice.draw())).err());
        plant(None);
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} was not found")));
    }

    #[test]
    fn a_wrong_intent_order_is_found() {
        is_found(Bug::IntentOrder);
    }

    #[test]
    fn a_missing_fence_is_found() {
        is_found(Bug::Fence);
    }

    #[test]
    fn a_replaced_undo_record_is_found() {
        is_found(Bug::RecordInForce);
    }

    #[test]
    fn an_owner_that_was_replaced_and_appends_is_found() {
        is_found(Bug::OwnerEpoch);
    }

    #[test]
    fn an_approval_that_is_not_used_up_is_found() {
        is_found(Bug::ApprovalConsumption);
    }

    #[test]
    fn a_wrong_undo_order_is_found() {
        is_found(Bug::UndoOrder);
    }

    #[test]
    fn a_missing_conflict_check_is_found() {
        is_found(Bug::ConflictCheck);
    }

    #[test]
    fn lost_writes_that_are_not_taken_into_account_are_found() {
        is_found(Bug::LostWrites);
    }
}
