//! `cancel`, `undo`, `kill`, `repair`.

use redress::journal::Journal as _;
use redress::saga::event::Event;
use redress::types::{Digest, RunId, sha256};

use crate::common::{Answer, POLICY, Place};
use crate::guests;

const APPEND: [&str; 6] = ["call", "io.fs.append_file", "--input", "path=/workspace/log", "--input", "content=more\n"];

fn completed(place: &Place) -> RunId {
    place.write("workspace/log", "first\n");
    place.redress(&[&APPEND[..], &["--json"]].concat()).exits(0).run()
}

fn paused(place: &Place) -> RunId {
    place.write(
        "w.yaml",
        "name: w\nsteps:\n  - name: write\n    capability: io.fs.write_file\n    inputs: { path: /workspace/a, content: x }\n  - name: ask\n    step_type: HUMAN_APPROVAL\n",
    );
    place.redress(&["run", "w.yaml", "--json"]).exits(4).run()
}

fn operate(place: &Place, verb: &str, run: &RunId) -> Answer {
    place.redress(&[verb, run.as_str(), "--reason", "because", "--as", "user:op", "--json"])
}

fn repair(place: &Place, run: &RunId, how: &[&str]) -> Answer {
    let arguments = ["repair", run.as_str(), "call"];
    place.redress(&[&arguments[..], how, &["--reason", "because", "--as", "user:op", "--json"]].concat())
}

#[test]
fn a_cancelled_run_is_undone() {
    let place = Place::new();
    let run = paused(&place);
    let view = operate(&place, "cancel", &run).exits(3).json();
    assert_eq!((&view["reason"]["code"], &view["steps"][0]["state"]), (&"cancelled".into(), &"UNDONE".into()));
    assert!(place.world().is_empty());
    operate(&place, "cancel", &run).exits(6);
}

#[test]
fn a_killed_run_is_not_undone_and_names_what_remains() {
    let place = Place::new();
    let run = paused(&place);
    let view = operate(&place, "kill", &run).exits(7).json();
    assert_eq!((&view["state"], &view["reason"]["code"]), (&"KILLED".into(), &"killed".into()));
    assert_eq!(view["residue"][0]["step"], "write");
    assert_eq!(place.read("workspace/a"), "x");
    operate(&place, "kill", &run).exits(6);
}

#[test]
fn a_completed_run_is_undone_once() {
    let place = Place::new();
    let run = completed(&place);
    let view = operate(&place, "undo", &run).exits(3).json();
    assert_eq!((&view["state"], &view["steps"][0]["checked"]), (&"ROLLED_BACK".into(), &true.into()));
    assert_eq!(place.read("workspace/log"), "first\n");
    operate(&place, "undo", &run).exits(6);
    let text = place.redress(&["recover", run.as_str()]).exits(3);
    assert!(text.stdout.contains("undone (checked)"), "{text:?}");
}

#[test]
fn an_undo_over_later_work_is_stuck_and_never_called_rolled_back() {
    let place = Place::new();
    let run = completed(&place);
    place.write("workspace/log", "somebody else's\n");
    let stuck = operate(&place, "undo", &run).exits(5).json();
    assert_eq!((&stuck["state"], &stuck["steps"][0]["error"]["code"]), (&"STUCK".into(), &"changed_since".into()));
    let told = place.redress(&["recover", run.as_str()]).exits(5).stderr;
    let retry = format!("`redress repair {run} call retry --reason REASON`");
    assert!([retry.as_str(), "`resolve --undone`", "`resolve --left`"].iter().all(|way| told.contains(way)), "{told}");
    let shown = place.redress(&["show", run.as_str(), "--effects"]).exits(0).stdout;
    assert_eq!(shown.matches("was changed after the step").count(), 1, "{shown}");
    let again = repair(&place, &run, &["retry"]).exits(5).json();
    assert_eq!(again["state"], "STUCK", "nothing has changed: {again}");
    let text = ["repair", run.as_str(), "call", "retry", "--reason", "r", "--as", "user:op"];
    let told = place.redress(&text).exits(5).stderr;
    assert_eq!(told.matches("was changed after the step").count(), 1, "{told}");
    assert_eq!(place.read("workspace/log"), "somebody else's\n");

    place.write("workspace/log", "first\nmore\n");
    let mended = repair(&place, &run, &["retry"]).exits(3).json();
    assert_eq!(mended["state"], "ROLLED_BACK");
    assert_eq!(place.read("workspace/log"), "first\n");
}

#[test]
fn an_undo_in_a_granted_folder_that_is_missing_says_so_and_works_once_it_is_back() {
    let place = Place::new();
    let run = completed(&place);
    std::fs::rename(place.path("workspace"), place.path("elsewhere")).unwrap();
    let stuck = operate(&place, "undo", &run).exits(5).json();
    let error = &stuck["steps"][0]["error"];
    let folder = place.path("").canonicalize().unwrap().join("workspace");
    let told = format!("the granted folder `{}` is missing", folder.display());
    assert!(error["code"] == "changed_since" && error["message"].as_str().unwrap().starts_with(&told), "{error}");
    std::fs::rename(place.path("elsewhere"), place.path("workspace")).unwrap();
    repair(&place, &run, &["retry"]).exits(3);
    assert_eq!(place.read("workspace/log"), "first\n");
}

#[test]
fn without_the_policy_file_an_operators_verb_says_what_to_do() {
    let place = Place::new();
    let run = completed(&place);
    std::fs::rename(place.path("policy.yaml"), place.path("other.yaml")).unwrap();
    for verb in [&["undo", run.as_str(), "--reason", "r", "--as", "user:op"][..], &["recover"]] {
        let refused = place.redress(verb).exits(2).stderr;
        assert!(
            refused.contains("`policy.yaml` cannot be read") && refused.contains("\nhelp: put it back, or name"),
            "{refused}"
        );
        assert!(refused.contains("`--policy FILE`"), "{refused}");
    }
    place.redress(&["--policy", "other.yaml", "undo", run.as_str(), "--reason", "r", "--as", "user:op"]).exits(3);
}

#[test]
fn a_run_that_shall_change_may_be_named_by_its_beginning_or_as_the_latest() {
    let place = Place::new();
    let run = paused(&place);
    let beginning = &run.as_str()[..23];
    let reason = ["--reason", "because", "--as", "user:op", "--json"];
    let named = |verb: &[&str]| place.redress(&[verb, &reason[..]].concat());
    for (verb, exit, name) in [("cancel", 2, "0198"), ("undo", 6, beginning), ("cancel", 3, "latest")] {
        named(&[verb, name]).exits(exit);
    }
    assert_eq!(place.redress(&["recover", beginning, "--json"]).exits(3).run(), run);
    assert_eq!(named(&["approve", "0198", "ask"]).exits(2).json()["error"]["code"], "bad-run");
    named(&["approve", beginning, "ask"]).exits(6);
    named(&["repair", "latest", "ask", "retry"]).exits(6);
}

#[test]
fn what_an_operator_resolves_by_hand_is_residue() {
    for (how, what) in [("--left", "left"), ("--undone", "undone_by_hand")] {
        let place = Place::new();
        let run = completed(&place);
        place.write("workspace/log", "somebody else's\n");
        operate(&place, "undo", &run).exits(5);
        let view = repair(&place, &run, &["resolve", how]).exits(7).json();
        assert_eq!(view["state"], "ROLLED_BACK_WITH_RESIDUE");
        assert_eq!((&view["residue"][0]["what"], &view["residue"][0]["reason"]), (&what.into(), &"because".into()));
        assert_eq!(place.read("workspace/log"), "somebody else's\n");
    }
}

#[test]
fn a_mended_component_undoes_what_the_faulty_one_could_not() {
    let place = Place::with_policy(&POLICY.replace("\"io.fs.*\"", "\"io.fs.*\", \"test.*\""));
    place.with_component(&guests::component("undo"));
    place.write("workspace/log", "first\n");
    let call = ["call", "test.bad_undo", "--input", "path=/workspace/log", "--input", "content=second", "--json"];
    let run = place.redress(&call).exits(0).run();
    let stuck = operate(&place, "undo", &run).exits(5).json();
    let step = &stuck["steps"][0];
    assert_eq!((&step["state"], &step["error"]["code"]), (&"UNDO_FAILED".into(), &"not_restored".into()));
    assert_eq!(place.read("workspace/log"), "wrong");

    let mended = sha256(&std::fs::read(guests::component("mended")).unwrap()).to_string();
    let retry = |digest: &str| repair(&place, &run, &["retry", "--component", digest]);
    let events = place.entries(&run).len();
    assert_eq!(retry(&mended).exits(2).json()["error"]["code"], "missing-component");
    let other = place.redress(&["capability", "inspect", "io.fs.exists", "--json"]).exits(0).json();
    let other = retry(other["component"].as_str().unwrap()).exits(6).json();
    assert!(other["error"]["message"].as_str().unwrap().ends_with("does not provide `test.bad_undo`"), "{other}");
    assert_eq!(place.entries(&run).len(), events, "a component that cannot undo it is not journaled");

    place.with_component(&guests::component("mended"));
    let view = retry(&mended).exits(3).json();
    assert_eq!((&view["state"], &view["steps"][0]["checked"]), (&"ROLLED_BACK".into(), &true.into()));
    assert_eq!(place.read("workspace/log"), "first\n");
    let digest = Digest::parse(&mended).unwrap();
    assert!(place.journal().component(&digest).unwrap().is_some(), "the run refers to it");
    let undone_by: Vec<Digest> = place
        .entries(&run)
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::UndoIntent(undo) => Some(undo.component),
            _ => None,
        })
        .collect();
    assert_eq!(undone_by.last(), Some(&digest));
    assert_ne!(undone_by.first(), Some(&digest));
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn a_repair_of_what_has_not_failed_is_refused() {
    let place = Place::new();
    let run = completed(&place);
    repair(&place, &run, &["retry"]).exits(6);
    repair(&place, &run, &["retry", "--component", "not-a-digest"]).exits(2);
    let other = RunId::parse("01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f").unwrap();
    let none = operate(&place, "cancel", &other).exits(2);
    assert_eq!(none.json()["error"]["code"], "no-such-run");
}
