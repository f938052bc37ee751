//! From nothing to a component that is tested, installed and used.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use super::Place;
use super::server::{Reply, Server};

/// Builds are shared by all tests, so that they take seconds.
fn target() -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests-new").display().to_string()
}

#[test]
fn a_new_project_in_rust_builds_keeps_every_promise_and_is_used_by_a_workflow() {
    let place = Place::with_policy(super::POLICY);
    let new = place.redress(&["capability", "new", "acme-notes", "--id", "acme.notes.add"]).exits(0);
    assert!(new.stdout.contains("redress capability test ."), "{new:#?}");
    let tested = place
        .command(&["capability", "test", "acme-notes", "--json"])
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let tested = super::binary::Answer::from(tested).exits(0);
    let report = tested.json();
    assert_eq!((&report["passed"], &report["cases"]), (&true.into(), &3.into()), "{tested:#?}");
    let file = report["file"].as_str().unwrap();
    place.redress(&["capability", "add", file]).exits(0);
    place.write(
        "workflow.yaml",
        "name: notes\nsteps:\n  - name: note\n    capability: acme.notes.add\n    inputs: { path: /workspace/n.txt, line: milk }\n",
    );
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0).run().to_string();
    assert_eq!(place.read("workspace/n.txt"), "milk\n");
    place.redress(&["undo", &run, "--reason", "the end of the test"]).exits(3);
    assert!(!place.path("workspace/n.txt").exists());
}

/// A REST service that chooses ids, as the example expects it.
fn service() -> Server {
    let customers: Mutex<BTreeMap<String, Value>> = Mutex::default();
    Server::start(move |request| {
        let mut customers = customers.lock().unwrap();
        let json = |status, value: &Value| {
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            Reply::Answer(status, headers, value.to_string().into_bytes())
        };
        let nothing = |status| Reply::Answer(status, Vec::new(), Vec::new());
        match (request.method.as_str(), request.path.strip_prefix("/customers").unwrap()) {
            ("POST", "") => {
                let id = format!("c{}", customers.len() + 1);
                let mut customer: Value = serde_json::from_slice(&request.body).unwrap();
                customer["id"] = id.clone().into();
                customers.insert(id, customer.clone());
                json(201, &customer)
            }
            ("DELETE", id) => nothing(if customers.remove(&id[1..]).is_some() { 204 } else { 404 }),
            ("GET", list) if list.is_empty() || list.starts_with('?') => {
                json(200, &customers.values().cloned().collect::<Vec<_>>().into())
            }
            ("GET", id) => customers.get(&id[1..]).map_or_else(|| nothing(404), |customer| json(200, customer)),
            _ => nothing(405),
        }
    })
}

#[test]
fn the_example_in_rust_keeps_every_promise_and_its_workflow_is_undone_at_a_real_service() {
    let place = Place::empty();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/capabilities/crm-rust");
    let tested = place
        .command(&["capability", "test", folder.to_str().unwrap(), "--json"])
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let report = super::binary::Answer::from(tested).exits(0).json();
    assert_eq!((&report["passed"], &report["cases"]), (&true.into(), &4.into()));

    let server = service();
    let policy = std::fs::read_to_string(folder.join("policy.yaml")).unwrap();
    let place = Place::with_policy(&policy.replace(":8080", &format!(":{}", server.port())));
    place.copy(&folder.join("workflow.yaml"), "workflow.yaml");
    place.redress(&["capability", "add", report["file"].as_str().unwrap()]).exits(0);
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0);
    assert_eq!(run.json()["steps"][0]["output"]["id"], "c1");
    assert!(place.path("workspace/customers/c1").is_dir());
    let undone = place.redress(&["undo", &run.run().to_string(), "--reason", "the end of the test", "--json"]).exits(3);
    assert_eq!(undone.json()["state"], "ROLLED_BACK");
    assert!(!place.path("workspace/customers").exists());
    assert_eq!(server.received().last().map(|request| request.method.clone()), Some("DELETE".to_owned()));
}

#[test]
fn a_broken_promise_ends_with_6_and_is_named_with_the_smallest_case() {
    let place = Place::new();
    place.copy(&super::guests::component("wrong"), "wrong.wasm");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/wrong");
    let arguments = ["capability", "test", "wrong.wasm", "--cases", cases, "--case", "forgets_undo"];
    let told = place.redress(&arguments).exits(6);
    for expected in [
        "broken: wrong.forgets_undo: its undo makes the world as it was (undo-restores)",
        "case  forgets_undo",
        "then  undo, knowing the output",
        "/workspace/a: is \"new\", was to be \"old\\n\"",
    ] {
        assert!(told.stdout.contains(expected), "{expected}\n{}", told.stdout);
    }
    let json = place.redress(&[&arguments[..], &["--json"]].concat()).exits(6).json();
    assert_eq!((&json["passed"], &json["broken"][0]["promise"]), (&false.into(), &"undo-restores".into()));
    let unknown = place.redress(&["capability", "test", "wrong.wasm", "--cases", cases, "--case", "forgets"]).exits(2);
    assert!(unknown.stderr.contains("there is no case `forgets`"), "{unknown:#?}");
}

#[test]
fn a_name_that_cannot_be_meant_writes_nothing() {
    let place = Place::new();
    for (arguments, expected) in [
        (vec!["new", "Acme"], "is not a name for a project"),
        (vec!["new", "../x"], "is not a name for a project"),
        (vec!["new", "io"], "belongs to the standard library"),
        (vec!["new", "notes", "--id", "Notes"], "is not a capability id"),
        (vec!["new", "workspace"], "is there already"),
        (vec!["test", "workspace"], "is not a project"),
    ] {
        let answer = place.redress(&[&["capability"], &arguments[..]].concat()).exits(2);
        assert!(answer.stderr.contains(expected), "{arguments:?}: {answer:#?}");
    }
    assert!(!place.path("notes").exists() && !place.path("io").exists());
}

#[test]
fn the_sdk_passes_its_own_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/rust");
    let output = Command::new(env!("CARGO"))
        .current_dir(folder)
        .args(["test", "--features", "http", "--lib", "--locked", "--target-dir", &target()])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
