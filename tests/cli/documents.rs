//! Documents that do not load: exit 2, with the place, the line and what to do.

use crate::common::{POLICY, Place};

fn refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let answer = place.redress(arguments).exits(2);
    for part in parts {
        assert!(answer.stderr.contains(part), "`{part}` is not in {answer:?}");
    }
    assert!(answer.stdout.is_empty(), "{answer:?}");
    assert!(!place.path(".redress/journal.db").exists(), "nothing was journaled");
}

#[test]
fn a_policy_that_grants_by_accident_is_refused_where_it_does() {
    for (text, parts) in [
        (
            "rules:\n  - principal: \"agent:*\"\n    capabilities: io.fs.*\n    action: ALLOW\n",
            ["policy.yaml:3:19", "`capabilities` must be a list"],
        ),
        ("defualt: DENY\n", ["policy.yaml:1:1", "did you mean `default`?"]),
        ("default: DENY\ndefault: DENY\n", ["policy.yaml:2:1", "default"]),
        (
            "rules:\n  - principal: \"agent:*\"\n    capabilities: [\"io.fs.*\"]\n    action: allow\n",
            ["policy.yaml:4:13", "ALLOW"],
        ),
        ("risk:\n  - capabilities: [\"io.fs.delete\"]\n    level: high\n", ["policy.yaml:3:12", "HIGH"]),
    ] {
        let place = Place::with_policy(text);
        refused(&place, &["call", "io.fs.exists", "--input", "path=/workspace"], &parts);
    }
}

#[test]
fn a_policy_whose_own_test_fails_is_refused() {
    let test = "tests:\n  - { as: \"agent:demo\", do: io.fs.read_file, expect: DENY }\n";
    let place = Place::with_policy(&format!("{POLICY}{test}"));
    refused(&place, &["call", "io.fs.exists", "--input", "path=/workspace"], &["the test expects DENY"]);
}

#[test]
fn a_workflow_that_does_not_load_is_refused_where_it_is_wrong() {
    let place = Place::new();
    for (text, parts) in [
        ("name: w\nstep: []\n", ["w.yaml:2:1", "did you mean `steps`?"]),
        (
            "name: w\nsteps:\n  - name: a\n    capability: io.fs.write_fil\n    inputs: {}\n",
            ["w.yaml:4:17", "did you mean `io.fs.write_file`?"],
        ),
        (
            "name: w\nsteps:\n  - name: a\n    capability: io.fs.exists\n    inputs: { path: \"{{ b.path }}\" }\n",
            ["w.yaml:5:", "`b`"],
        ),
        (
            "name: w\nsteps:\n  - name: a\n    capability: io.fs.exists\n    inputs: { path: /workspace }\n    retry: { max_attempts: 0 }\n",
            ["w.yaml:6:28", "max_attempts"],
        ),
    ] {
        place.write("w.yaml", text);
        refused(&place, &["run", "w.yaml"], &parts);
    }
}

#[test]
fn an_input_that_will_not_be_taken_is_refused_at_its_place_before_anything_runs() {
    let place = Place::new();
    let text = "name: w\nsteps:\n  - name: a\n    capability: io.fs.write_file\n    inputs:\n      path: /workspace/a\n      content: [1]\n";
    place.write("w.yaml", text);
    refused(&place, &["run", "w.yaml"], &["w.yaml:7:16", "step `a`", "input.content"]);
    let error = place.redress(&["run", "w.yaml", "--json"]).exits(2).json();
    assert_eq!((&error["error"]["code"], &error["error"]["line"]), (&"invalid-input".into(), &7.into()));
    refused(&place, &["call", "io.fs.exists", "--input", "path:=1"], &["input.path"]);
    assert!(place.world().is_empty());
}

#[test]
fn every_error_of_a_document_is_in_the_json() {
    let place = Place::new();
    place.write("w.yaml", "name: w\nstep: []\nsteps:\n  - name: a\n    capability: io.fs.nothing\n");
    let error = place.redress(&["run", "w.yaml", "--json"]).exits(2).json();
    let keys: Vec<&str> = error["error"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["code", "column", "file", "help", "line", "message"]);
    assert_eq!(error["errors"].as_array().unwrap().len(), 2);
    assert_eq!(error["errors"][0], error["error"]);
}

#[test]
fn what_a_document_says_never_reaches_the_terminal_raw() {
    let place = Place::new();
    place.write(
        "w.yaml",
        "name: \"evil \\u202e\\u200b\"\nsteps:\n  - name: a\n    capability: io.fs.read_file\n    inputs: { path: \"/workspace/\\e[2Jx\" }\n",
    );
    let answer = place.redress(&["run", "w.yaml"]).exits(3);
    let printable = |text: &str| text.chars().all(|c| c == '\n' || (' '..='~').contains(&c));
    assert!(printable(&answer.stdout) && printable(&answer.stderr), "{answer:?}");
    assert!(answer.stdout.contains("\"evil \\u{202e}\\u{200b}\""), "{answer:?}");
}
