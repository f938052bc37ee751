//! The examples do what their first comments say, in a copy of what a newcomer gets.

use redress::saga::event::Event;
use serde_json::Value;

use crate::common::Place;

/// The state of each step, by name.
fn states(view: &Value) -> Vec<(&str, &str)> {
    let steps = view["steps"].as_array().unwrap();
    steps.iter().map(|step| (step["name"].as_str().unwrap(), step["state"].as_str().unwrap())).collect()
}

#[test]
fn onboarding_completes_with_its_outputs_flowing_on_and_can_be_run_again_and_undone() {
    let place = Place::of_examples();
    let before = place.world();
    let answer = place.redress(&["run", "examples/onboarding.yaml"]).exits(0);
    assert!(answer.stdout.starts_with("COMPLETED "), "{answer:?}");
    for step in ["account", "folder", "page", "contract", "index", "digest", "manifest"] {
        assert!(answer.stdout.contains(&format!("\n  {step} ")), "{answer:?}");
    }
    assert_eq!(place.read("workspace/Acme/files/contract.txt"), "Contract of Acme: 5 seats, 10GB\n");
    assert!(place.read("workspace/Acme/welcome.html").contains("<p>Your plan is trial with 5 seats.</p>"));
    assert_eq!(place.read("workspace/Acme/index.html"), place.read("workspace/Acme/welcome.html"));
    let once = place.world();

    let again = place.redress(&["run", "examples/onboarding.yaml", "--input", "seats:=9", "--json"]).exits(0);
    assert_eq!(place.read("workspace/Acme/files/contract.txt"), "Contract of Acme: 9 seats, 10GB\n");
    let id = again.run().to_string();
    let undone = place.redress(&["undo", &id, "--reason", "a test", "--as", "user:me", "--json"]).exits(3);
    assert_eq!(undone.json()["state"], "ROLLED_BACK");
    assert_eq!(place.world(), once);
    assert_ne!(once, before);
}

#[test]
fn the_rollback_example_leaves_every_byte_as_it_was() {
    let place = Place::of_examples();
    let before = place.world();
    let answer = place.redress(&["run", "examples/rollback.yaml"]).exits(3);
    assert_eq!(place.world(), before);
    assert!(answer.stdout.starts_with("ROLLED_BACK "), "{answer:?}");
    assert_eq!(answer.stdout.matches("undone (checked)").count(), 6, "{answer:?}");

    let view = place.redress(&["run", "examples/rollback.yaml", "--json"]).exits(3).json();
    let undone: Vec<_> = states(&view).into_iter().filter(|(_, state)| *state == "UNDONE").collect();
    assert_eq!(undone.len(), 6, "a second time it is the same: {view}");
    assert_eq!((&view["reason"]["code"], &view["reason"]["step"]), (&"step_failed".into(), &"fails".into()));
    assert_eq!(place.world(), before);
}

#[test]
fn the_denied_example_never_calls_what_is_denied_and_undoes_the_step_before() {
    let place = Place::of_examples();
    let before = place.world();
    let plan = place.redress(&["plan", "examples/denied.yaml", "--json"]).exits(6).json();
    assert_eq!(plan["steps"][1]["decision"], "DENY");
    assert!(!place.path(".redress/journal.db").exists(), "a plan makes no journal");

    let answer = place.redress(&["run", "examples/denied.yaml", "--json"]).exits(3);
    let view = answer.json();
    assert_eq!(states(&view), [("note", "UNDONE"), ("intrusion", "FAILED")]);
    assert_eq!(view["steps"][1]["error"]["code"], "denied");
    assert_eq!(view["steps"][1]["attempts"], 0);
    let of_intrusion = |event: &Event| event.step().is_some_and(|step| step.as_str() == "intrusion");
    assert_eq!(place.count(&answer.run(), |e| of_intrusion(e) && matches!(e, Event::Intent(_))), 0);
    assert_eq!(place.count(&answer.run(), |e| of_intrusion(e) && matches!(e, Event::Decision(_))), 1);
    assert_eq!(place.world(), before);
}

#[test]
fn the_approval_example_pauses_executes_once_when_approved_and_completes() {
    let place = Place::of_examples();
    let paused = place.redress(&["run", "examples/approval.yaml", "--json"]).exits(4);
    let (run, id) = (paused.run(), paused.run().to_string());
    assert_eq!(states(&paused.json()), [("draft", "SUCCEEDED"), ("publish", "WAITING"), ("announce", "WAITING")]);
    assert!(!place.path("workspace/prices.txt").exists());

    place.redress(&["approve", &id, "publish", "--reason", "looks right", "--as", "user:me"]).exits(4);
    assert_eq!(place.read("workspace/prices.txt"), "Spring prices\n");
    let done = place.redress(&["approve", &id, "announce", "--reason", "go", "--as", "user:me", "--json"]).exits(0);
    assert_eq!(done.json()["state"], "COMPLETED");
    assert_eq!(done.json()["steps"][2]["output"]["approved_by"][0], "user:me");
    let of_publish = |event: &Event| event.step().is_some_and(|step| step.as_str() == "publish");
    assert_eq!(place.count(&run, |e| of_publish(e) && matches!(e, Event::Intent(_))), 1);
}

#[test]
fn the_approval_example_is_undone_when_rejected() {
    let place = Place::of_examples();
    let before = place.world();
    let id = place.redress(&["run", "examples/approval.yaml", "--json"]).exits(4).run().to_string();
    let answer =
        place.redress(&["reject", &id, "publish", "--reason", "not yet", "--as", "user:me", "--json"]).exits(3);
    assert_eq!(states(&answer.json())[0], ("draft", "UNDONE"));
    assert_eq!(answer.json()["steps"][1]["error"]["code"], "rejected");
    assert_eq!(place.world(), before);
}

#[test]
fn under_the_strict_policy_an_example_asks_before_its_first_change() {
    let place = Place::of_examples();
    let before = place.world();
    let strict = ["run", "examples/rollback.yaml", "--policy", "policies/strict.yaml", "--json"];
    let paused = place.redress(&strict).exits(4);
    assert_eq!(states(&paused.json())[0], ("overwrite", "WAITING"));
    assert_eq!(place.world(), before);
    let id = paused.run().to_string();
    let no_requester = ["approve", &id, "overwrite", "--policy", "policies/strict.yaml", "--reason", "r"];
    place.redress(&no_requester).exits(6);
    place.redress(&[&no_requester[..], &["--as", "user:me"]].concat()).exits(4);
}
