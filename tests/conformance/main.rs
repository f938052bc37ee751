//! The conformance kit: which promise each wrong component breaks, and that the right ones keep all of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

#[path = "../common/guests.rs"]
mod guests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use redress::conformance::{Broken, Options, Promise, Report, test};
use redress::document::Source;
use redress::sandbox::Provenance;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cases(folder: PathBuf) -> Vec<Source> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    let read = |file: PathBuf| Source::from_bytes(file.to_str().unwrap(), &std::fs::read(&file).unwrap()).unwrap();
    files.into_iter().map(read).collect()
}

fn tried(bytes: &[u8], cases: &[Source], options: Options) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(bytes, cases, &options, &mut |_| {})).unwrap()
}

fn of_guest(name: &str, folder: &str) -> Report {
    let bytes = std::fs::read(guests::component(name)).unwrap();
    tried(&bytes, &cases(root().join("tests/conformance").join(folder)), Options::default())
}

fn of<'r>(report: &'r Report, capability: &str) -> Vec<&'r Broken> {
    let of = |broken: &&Broken| broken.capability.as_ref().is_some_and(|id| id.as_str() == capability);
    report.broken.iter().filter(of).collect()
}

fn shown(report: &Report) -> String {
    report.broken.iter().map(|broken| format!("{}\n", serde_json::to_value(broken).unwrap())).collect()
}

#[test]
fn each_wrong_capability_is_caught_with_the_promise_that_it_breaks() {
    let report = of_guest("wrong", "wrong");
    for (capability, promise) in [
        ("wrong.forgets_undo", Promise::UndoRestores),
        ("wrong.undo_not_repeatable", Promise::UndoIsRepeatable),
        ("wrong.second_state", Promise::UndoRestoresTheFirstState),
        ("wrong.effect_before_save", Promise::SavesBeforeEffects),
        ("wrong.ignores_key", Promise::OnceForOneKey),
        ("wrong.lies_about_effect", Promise::EffectIsAsDeclared),
        ("wrong.leaves_a_file", Promise::UndoRestores),
        ("wrong.depends_on_time", Promise::DependsOnInputAlone),
        ("wrong.schema", Promise::OutputFitsSchema),
        ("wrong.swallows_an_error", Promise::TellsErrors),
        ("wrong.partial_failure", Promise::UndoAfterFailure),
        ("wrong.undo_of_nothing", Promise::UndoOfNothing),
        ("wrong.undo_half_way", Promise::UndoAfterItsOwnDeath),
        ("wrong.undo_by_the_clock", Promise::UndoRestores),
        ("wrong.asks_too_little", Promise::AsksForWhatItUses),
        ("wrong.traps", Promise::EndsWithAnAnswer),
    ] {
        let broken = of(&report, capability);
        assert!(broken.iter().any(|broken| broken.promise == promise), "{capability}: {promise:?}\n{}", shown(&report));
    }
    assert!(!of(&report, "wrong.leaves_a_file").iter().any(|broken| broken.promise == Promise::SavesBeforeEffects));
}

#[test]
fn a_description_that_depends_on_time_or_chance_is_caught_although_the_host_fixes_both() {
    let bytes = std::fs::read(guests::component("liar_changes")).unwrap();
    let report = tried(&bytes, &[], Options::default());
    assert!(report.broken.iter().any(|broken| broken.promise == Promise::DescriptionIsFixed), "{}", shown(&report));
}

#[test]
fn what_does_not_load_breaks_a_promise_too() {
    for (bytes, promise) in [
        (b"not a component".to_vec(), Promise::Loads),
        (std::fs::read(guests::component("liar_bad_schema")).unwrap(), Promise::DescriptionIsSound),
    ] {
        let report = tried(&bytes, &[], Options::default());
        assert_eq!(report.broken.iter().map(|broken| broken.promise).collect::<Vec<_>>(), [promise]);
    }
}

#[test]
fn a_thing_at_a_target_that_chooses_ids_keeps_every_promise_if_it_is_made_as_the_guide_says() {
    let report = of_guest("wrong_remote", "remote");
    assert!(of(&report, "right.remote.create").is_empty(), "{}", shown(&report));
    for (capability, promise) in [
        ("wrong.remote.ignores_key", Promise::OnceForOneKey),
        ("wrong.remote.forgets_late_requests", Promise::UndoReckonsWithLateRequests),
        ("wrong.remote.ignores_status", Promise::TellsErrors),
        ("wrong.remote.makes_two", Promise::UndoReckonsWithLateRequests),
        ("wrong.remote.undo_ignores_status", Promise::TellsErrors),
    ] {
        let broken = of(&report, capability);
        assert!(broken.iter().any(|broken| broken.promise == promise), "{capability}: {promise:?}\n{}", shown(&report));
    }
}

#[test]
fn the_smallest_made_up_input_is_shown() {
    let report = of_guest("wrong", "wrong");
    let traps = of(&report, "wrong.traps");
    let trap = traps.iter().find(|broken| broken.promise == Promise::EndsWithAnAnswer).unwrap();
    assert_eq!((trap.case.as_ref(), trap.input.as_ref().map(Value::to_string)), (None, Some("{}".to_owned())));
}

#[test]
fn a_capability_without_a_case_is_not_proven() {
    let bytes = std::fs::read(guests::component("wrong")).unwrap();
    let report = tried(&bytes, &[], Options::default());
    let unproven: BTreeSet<Promise> = report.broken.iter().map(|broken| broken.promise).collect();
    assert_eq!(unproven, [Promise::HasCases].into());
}

#[test]
fn the_standard_library_keeps_every_promise() {
    for (name, bytes) in [
        ("fs", include_bytes!(concat!(env!("OUT_DIR"), "/fs.wasm")).as_slice()),
        ("data", include_bytes!(concat!(env!("OUT_DIR"), "/data.wasm"))),
        ("http", include_bytes!(concat!(env!("OUT_DIR"), "/http.wasm"))),
    ] {
        let cases = cases(root().join("capabilities").join(name).join("tests"));
        let report = tried(bytes, &cases, Options { provenance: Provenance::Standard, ..Options::default() });
        assert!(report.is_clean(), "{name}:\n{}", shown(&report));
        assert!(report.checks > report.cases, "{name}");
    }
}

#[test]
fn the_sdk_carries_the_contract_as_it_is() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    assert_eq!(read("sdk/rust/wit/capability.wit"), read("wit/capability.wit"));
}
