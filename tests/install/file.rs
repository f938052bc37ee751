use std::fs;

use serde_json::Value;

use super::{Place, place, put};

fn stored(place: &Place) -> Vec<String> {
    let folder = place.path(".redress/components");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_installed_is_locked_and_runs_use_it() {
    let place = place();
    place.redress(&["run", "workflow.yaml"]).exits(2);
    let added = place.redress(&["capability", "add", "notes.wasm", "--json"]).exits(0).json();
    assert_eq!((added["change"].as_str(), added["name"].as_str()), (Some("added"), Some("notes")));
    assert_eq!(added["capabilities"][0]["asks"], serde_json::json!(["fs:read", "fs:write"]));
    assert_eq!(added["capabilities"][0]["granted"]["filesystem"][0]["guest"], "/workspace");
    let lock: Value = serde_json::from_str(&place.read("redress.lock")).unwrap();
    assert_eq!(lock["components"][0]["digest"], added["digest"]);
    assert_eq!(lock["components"][0]["description"]["capabilities"][0]["id"], "acme.notes.write");
    // The file is not needed any more.
    fs::remove_file(place.path("notes.wasm")).unwrap();
    place.redress(&["run", "workflow.yaml"]).exits(0);
    assert_eq!(place.read("workspace/a.txt"), "new");
    place.redress(&["capability", "verify"]).exits(0);
}

#[test]
fn a_changed_file_is_refused_with_the_difference_until_somebody_accepts_it() {
    let place = place();
    let first = place.redress(&["capability", "add", "notes.wasm", "--json"]).exits(0).json();
    assert_eq!(place.redress(&["capability", "add", "notes.wasm", "--json"]).exits(0).json()["change"], "unchanged");
    place.redress(&["capability", "outdated"]).exits(0);
    put(&place, "notes_2");
    let outdated = place.redress(&["capability", "outdated"]).exits(6);
    assert!(outdated.stdout.contains("to see the difference"), "{outdated:#?}");
    let lock = place.read("redress.lock");
    let refused = place.redress(&["capability", "add", "notes.wasm"]).exits(6);
    for expected in [
        "! acme.notes.write: permissions",
        "http:POST https://collect.example.com/**",
        "! acme.notes.write: summary",
        "always prefer it",
        "NOT installed",
        "--accept",
    ] {
        assert!(refused.stdout.contains(expected), "{expected}: {refused:#?}");
    }
    assert_eq!(place.read("redress.lock"), lock);
    let accepted = place.redress(&["capability", "add", "notes.wasm", "--accept", "--json"]).exits(0).json();
    assert_eq!((&accepted["change"], &accepted["replaces"]), (&"replaced".into(), &first["digest"]));
    assert_eq!(stored(&place).len(), 1);
}

#[test]
fn a_run_rolls_back_with_the_version_that_executed_it_although_that_is_gone() {
    let place = place();
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    place.write("workspace/a.txt", "old");
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0).run().to_string();
    put(&place, "notes_2");
    place.redress(&["capability", "add", "notes.wasm", "--accept"]).exits(0);
    place.redress(&["undo", &run, "--reason", "the first version can"]).exits(3);
    assert_eq!(place.read("workspace/a.txt"), "old");
    // What the second version did it cannot undo; a mended one gets the run out.
    place.write("policy.yaml", super::POLICY.replace("action: ALLOW", "action: ALLOW\n    accept_risk: HIGH"));
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0).run().to_string();
    place.redress(&["capability", "remove", "notes"]).exits(0);
    assert_eq!(stored(&place), Vec::<String>::new());
    place.redress(&["undo", &run, "--reason", "the second cannot"]).exits(5);
    put(&place, "notes_1");
    let mended = place.redress(&["capability", "add", "notes.wasm", "--json"]).exits(0).json();
    let digest = mended["digest"].as_str().unwrap().to_owned();
    place.redress(&["repair", &run, "note", "retry", "--component", &digest, "--reason", "mended"]).exits(3);
    assert_eq!(place.read("workspace/a.txt"), "old");
}

#[test]
fn bytes_that_were_changed_under_hand_are_not_run() {
    let place = place();
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    let file = place.path(".redress/components").join(&stored(&place)[0]);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    for (arguments, code) in [(vec!["run", "workflow.yaml"], 2), (vec!["capability", "verify"], 6)] {
        let answer = place.redress(&arguments).exits(code);
        assert!(format!("{}{}", answer.stdout, answer.stderr).contains("was changed"), "{answer:#?}");
    }
    fs::remove_file(&file).unwrap();
    let answer = place.redress(&["run", "workflow.yaml"]).exits(2);
    assert!(answer.stderr.contains("install it again: redress capability add"), "{answer:#?}");
    // Which mends it.
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    place.redress(&["run", "workflow.yaml"]).exits(0);
}

#[test]
fn nobody_takes_over_an_id_or_a_name_of_another() {
    let place = place();
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    fs::copy(super::guests::component("notes_2"), place.path("other.wasm")).unwrap();
    let answer = place.redress(&["capability", "add", "other.wasm"]).exits(6);
    assert!(answer.stderr.contains("`acme.notes.write` is provided by file://"), "{answer:#?}");
    fs::copy(super::guests::component("plain"), place.path("plain.wasm")).unwrap();
    let answer = place.redress(&["capability", "add", "plain.wasm", "--name", "notes"]).exits(6);
    assert!(answer.stderr.contains("`notes` is installed from"), "{answer:#?}");
    fs::copy(super::guests::component("liar_stolen_id"), place.path("stolen.wasm")).unwrap();
    place.redress(&["capability", "add", "stolen.wasm"]).exits(2);
    place.redress(&["capability", "add", "plain.wasm", "--name", "a b"]).exits(2);
    place.redress(&["capability", "add", "plain.wasm", "--name", "plain"]).exits(0);
    assert_eq!(stored(&place).len(), 2);
}

#[test]
fn what_cannot_be_meant_is_told() {
    let place = place();
    for (arguments, code, expected) in [
        (vec!["capability", "add", "none.wasm"], 2, "none.wasm"),
        (vec!["capability", "add", "workflow.yaml"], 2, "not a WebAssembly component"),
        (vec!["capability", "add", "oci://notes"], 2, "names no registry"),
        (vec!["capability", "add", "https://example.com/notes.wasm"], 2, "neither a file nor an artifact"),
        (vec!["capability", "remove", "notes"], 2, "no component `notes` is installed"),
        (vec!["capability", "verify", "notes"], 2, "no component `notes` is installed"),
        (vec!["capability", "push", "notes.wasm", "notes:1"], 2, "oci://"),
    ] {
        let answer = place.redress(&arguments).exits(code);
        assert!(answer.stderr.contains(expected), "{arguments:?}: {answer:#?}");
    }
    place.write("redress.lock", "{}");
    let answer = place.redress(&["capability", "list"]).exits(2);
    assert!(answer.stderr.contains("redress.lock"), "{answer:#?}");
    let nowhere = Place::empty();
    put(&nowhere, "notes_1");
    let answer = nowhere.redress(&["capability", "add", "notes.wasm"]).exits(2);
    assert!(answer.stderr.contains("redress init"), "{answer:#?}");
}

#[test]
fn no_component_can_be_let_write_what_is_installed() {
    let place = place();
    for folder in ["./.redress/components", "."] {
        place.write("policy.yaml", super::POLICY.replace("./workspace", folder));
        let answer = place.redress(&["run", "workflow.yaml"]).exits(2);
        assert!(answer.stderr.contains("grant"), "{answer:#?}");
    }
}

#[test]
fn of_two_installs_at_once_none_is_lost() {
    let place = place();
    fs::copy(super::guests::component("plain"), place.path("plain.wasm")).unwrap();
    let children: Vec<_> = ["notes.wasm", "plain.wasm"]
        .map(|file| place.command(&["capability", "add", file]).stdout(std::process::Stdio::null()).spawn().unwrap())
        .into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let lock: Value = serde_json::from_str(&place.read("redress.lock")).unwrap();
    assert_eq!(lock["components"].as_array().unwrap().len(), 2);
    assert_eq!(stored(&place).len(), 2);
}

#[test]
fn a_component_that_cannot_be_used_any_more_stands_in_the_way_of_no_undo() {
    let place = place();
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    fs::copy(super::guests::component("plain"), place.path("plain.wasm")).unwrap();
    place.redress(&["capability", "add", "plain.wasm"]).exits(0);
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0).run().to_string();
    for file in stored(&place) {
        fs::remove_file(place.path(".redress/components").join(file)).unwrap();
    }
    place.redress(&["run", "workflow.yaml"]).exits(2);
    let undone = place.redress(&["undo", &run, "--reason", "the journal has what it needs"]).exits(3);
    assert!(undone.stderr.contains("warning: not used: the bytes of `notes` are not there"), "{undone:#?}");
    assert!(!place.path("workspace/a.txt").exists());
    // Nor does a lock that cannot be read.
    let place = super::place();
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    let run = place.redress(&["run", "workflow.yaml", "--json"]).exits(0).run().to_string();
    place.write("redress.lock", "{");
    place.redress(&["undo", &run, "--reason", "the same"]).exits(3);
}

#[test]
fn only_files_are_read() {
    let place = place();
    for source in ["/dev/zero", "workspace"] {
        let answer = place.redress(&["capability", "add", source]).exits(2);
        assert!(answer.stderr.contains("is not a file"), "{answer:#?}");
    }
    let answer = place.redress(&["capability", "add", "notes.wasm", "--signature", "/dev/zero"]).exits(2);
    assert!(answer.stderr.contains("not the file of a signature"), "{answer:#?}");
    fs::create_dir(place.path("notes.wasm.minisig")).unwrap();
    place.redress(&["capability", "add", "notes.wasm"]).exits(2);
}

#[test]
fn what_is_not_there_is_installed_again_one_after_the_other_under_the_name_that_it_had() {
    let place = place();
    place.redress(&["capability", "add", "notes.wasm", "--name", "mine"]).exits(0);
    fs::copy(super::guests::component("plain"), place.path("plain.wasm")).unwrap();
    place.redress(&["capability", "add", "plain.wasm"]).exits(0);
    fs::remove_dir_all(place.path(".redress/components")).unwrap();
    place.redress(&["run", "workflow.yaml"]).exits(2);
    for file in ["notes.wasm", "plain.wasm"] {
        place.redress(&["capability", "add", file]).exits(0);
    }
    let verified = place.redress(&["capability", "verify", "mine"]).exits(0);
    assert!(verified.stdout.starts_with("mine "), "{verified:#?}");
    place.redress(&["run", "workflow.yaml"]).exits(0);
}

#[test]
fn a_lock_that_says_another_origin_than_its_source_or_forges_a_line_is_refused() {
    let place = place();
    place.redress(&["capability", "add", "notes.wasm"]).exits(0);
    let lock: Value = serde_json::from_str(&place.read("redress.lock")).unwrap();
    for (key, value) in [("origin", "oci://registry.example.com/acme/notes"), ("name", "a\nhelp: all is well")] {
        let mut lock = lock.clone();
        lock["components"][0][key] = value.into();
        place.write("redress.lock", lock.to_string());
        let refused = place.redress(&["run", "workflow.yaml"]).exits(2);
        assert!(refused.stderr.contains("does not come from where it says"), "{refused:#?}");
        assert!(!refused.stderr.contains("\nhelp: all is well"), "{refused:#?}");
    }
}
