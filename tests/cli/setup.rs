//! Settings, `init`, and what is refused before anything is opened.

use crate::common::{POLICY, Place, SETTINGS};

const REASON: [&str; 2] = ["--reason", "r"];
const RUN: &str = "01980c5e-7a30-7cc1-9d0f-1b2a3c4d5e6f";

#[test]
fn init_writes_what_a_run_needs_and_never_overwrites() {
    let place = Place::empty();
    let written = place.redress(&["init", "--json"]).exits(0).json();
    assert_eq!(written["written"].as_array().unwrap().len(), 4);
    let paused = place.redress(&["run", "example.yaml", "--json"]).exits(4);
    assert_eq!(paused.json()["state"], "PAUSED", "its policy is strict");
    let id = paused.run().to_string();
    place.redress(&["approve", &id, "greeting", "--as", "user:me", "--reason", "fine"]).exits(0);
    assert!(place.read("workspace/greeting.txt").starts_with("Hello, world! The note has the digest "));

    place.write("policy.yaml", "rules: []\n");
    let again = place.redress(&["init"]).exits(2);
    assert!(again.stderr.contains("`policy.yaml`") && again.stderr.contains("would be overwritten"), "{again:?}");
    assert_eq!(place.read("policy.yaml"), "rules: []\n");
}

#[test]
fn without_settings_a_run_is_refused_and_names_init() {
    let place = Place::empty();
    place.write("w.yaml", "name: w\nsteps: []\n");
    for arguments in [vec!["run", "w.yaml"], vec!["call", "io.fs.exists"], vec!["plan", "w.yaml"]] {
        let answer = place.redress(&arguments).exits(2);
        assert!(answer.stderr.contains("`redress init`"), "{answer:?}");
    }
    let answer = place.redress(&["run", "w.yaml"]);
    for missing in ["a policy", "a principal", "a place for the journal"] {
        assert!(answer.stderr.contains(missing), "{answer:?}");
    }
}

#[test]
fn no_run_goes_on_without_a_policy_in_force() {
    let place = Place::new();
    let write = ["call", "io.fs.write_file", "--input", "path=/workspace/a", "--input", "content=x"];
    place.write("redress.yaml", "principal: agent:demo\n");
    let answer = place.redress(&write).exits(2);
    assert!(answer.stderr.contains("a policy"), "{answer:?}");
    place.write("redress.yaml", "principal: agent:demo\npolicy: none.yaml\n");
    let answer = place.redress(&write).exits(2);
    assert!(answer.stderr.contains("none.yaml"), "{answer:?}");
    assert!(place.world().is_empty());
    assert!(!place.path(".redress/journal.db").exists());

    place.write("redress.yaml", SETTINGS);
    place.write("policy.yaml", "rules: []\n");
    place.redress(&write).exits(3);
    assert!(place.world().is_empty());
}

#[test]
fn only_run_and_call_make_a_journal() {
    let place = Place::new();
    let verbs = [
        vec!["recover"],
        vec!["recover", RUN],
        [vec!["cancel", RUN], REASON.to_vec()].concat(),
        [vec!["undo", RUN], REASON.to_vec()].concat(),
        [vec!["kill", RUN], REASON.to_vec()].concat(),
        [vec!["repair", RUN, "a", "retry"], REASON.to_vec()].concat(),
        [vec!["approve", RUN, "a"], REASON.to_vec()].concat(),
        [vec!["reject", RUN, "a"], REASON.to_vec()].concat(),
    ];
    let tried = place.path(".redress/journal.db").display().to_string();
    for arguments in verbs {
        let answer = place.redress(&arguments).exits(2);
        assert!(answer.stderr.contains(&tried), "{arguments:?}: {answer:?}");
        let answer = place.redress(&[arguments.clone(), vec!["--json"]].concat()).exits(2);
        assert_eq!(answer.json()["error"]["code"], "no-journal", "{arguments:?}");
    }
    assert!(!place.path(".redress/journal.db").exists());
    place.redress(&["call", "io.fs.exists", "--input", "path=/workspace"]).exits(0);
    assert!(place.path(".redress/journal.db").exists());
    place.redress(&["recover", RUN]).exits(2);
}

#[test]
fn settings_are_found_in_a_parent_and_their_paths_are_relative_to_them() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("a/b")).unwrap();
    let mut below = place.command(&["call", "io.fs.exists", "--input", "path=/workspace"]);
    let output = below.current_dir(place.path("a/b")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(place.path(".redress/journal.db").exists());
}

#[test]
fn variables_go_over_settings_and_flags_over_variables() {
    let place = Place::new();
    place.write("other.yaml", "rules: []\n");
    let arguments = ["call", "io.fs.exists", "--input", "path=/workspace", "--json"];
    let run = |flags: &[&str]| {
        let mut command = place.command(&[&arguments, flags].concat());
        command.env("REDRESS_POLICY", "other.yaml").env("REDRESS_AS", "agent:variable");
        command.env("REDRESS_JOURNAL", "other/journal.db").output().unwrap()
    };
    let denied: crate::common::Answer = run(&[]).into();
    assert_eq!(denied.exits(3).json()["principal"], "agent:variable");
    assert!(place.path("other/journal.db").exists() && !place.path(".redress/journal.db").exists());
    let allowed: crate::common::Answer = run(&["--policy", "policy.yaml", "--as", "agent:demo"]).into();
    assert_eq!(allowed.exits(0).json()["principal"], "agent:demo");
}

#[test]
fn a_mistake_in_the_settings_is_shown_at_its_place() {
    let place = Place::new();
    place.write("redress.yaml", "policy: policy.yaml\nprinciple: agent:demo\n");
    let answer = place.redress(&["call", "io.fs.exists"]).exits(2);
    assert!(answer.stderr.contains("redress.yaml:2:1"), "{answer:?}");
    assert!(answer.stderr.contains("did you mean `principal`?"), "{answer:?}");
    place.write("redress.yaml", format!("{SETTINGS}listen: here\n"));
    let answer = place.redress(&["call", "io.fs.exists", "--json"]).exits(2).json();
    assert_eq!((&answer["error"]["code"], &answer["error"]["line"]), (&"wrong-value".into(), &3.into()));
}

#[test]
fn a_grant_that_holds_what_guards_it_is_refused() {
    let place = Place::with_policy(&POLICY.replace("./workspace", "."));
    let answer = place.redress(&["call", "io.fs.exists", "--input", "path=/workspace"]).exits(2);
    assert!(answer.stderr.contains("policy.yaml:8:"), "{answer:?}");
    place.write("w.yaml", "name: w\nsteps:\n  - { name: a, capability: io.fs.exists, inputs: { path: /workspace } }\n");
    for verb in [&["plan", "w.yaml"][..], &["policy", "check", "policy.yaml"]] {
        assert_eq!(place.redress(verb).exits(2).stderr, answer.stderr, "{verb:?}");
    }
    // Another policy is held against the settings too, and against itself.
    place.write("policy.yaml", POLICY);
    place.write("more/wide.yaml", POLICY.replace("./workspace", ".."));
    place.write("more/own.yaml", POLICY.replace("./workspace", "."));
    for file in ["more/wide.yaml", "more/own.yaml"] {
        let refused = place.redress(&["policy", "check", file, "--json"]).exits(2).json();
        assert_eq!(refused["error"]["code"], "unsafe-grant", "{refused}");
    }
    place.redress(&["policy", "check", "policy.yaml"]).exits(0);
}

#[test]
fn a_mistake_in_usage_is_exit_2_and_json_where_json_is_wanted() {
    let place = Place::empty();
    place.redress(&["fly"]).exits(2);
    place.redress(&["approve", "not-a-run", "a", "--reason", "r"]).exits(2);
    place.redress(&["approve", RUN, "a"]).exits(2);
    place.redress(&["repair", RUN, "a", "resolve", "--reason", "r"]).exits(2);
    let long = place.redress(&["undo", RUN, "--reason", &"x".repeat(100_000), "--json"]).exits(2).json();
    assert!(
        long["error"]["message"].as_str().unwrap().contains("a reason has at most 4096 characters"),
        "{:.300}",
        long["error"]["message"]
    );
    place.redress(&["undo", RUN, "--reason", ""]).exits(2);
    let error = place.redress(&["run", "--json"]).exits(2).json();
    assert_eq!(error["error"]["code"], "usage");
    place.redress(&["--help"]).exits(0);
}
