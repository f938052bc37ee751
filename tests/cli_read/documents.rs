//! Policies, capabilities, completions, version.

use std::collections::BTreeSet;
use std::path::Path;

use redress::types::sha256;
use serde_json::json;

use crate::project::{EVIL, POLICY, Project, run_in};

#[test]
fn a_policy_is_checked_without_being_in_force() {
    let project = Project::new();
    let said = project.ends(0, &["policy", "check", "policy.yaml"]);
    assert!(said.stdout.starts_with("policy.yaml is good: 1 of 1 tests passed\nsha256:"), "{}", said.stdout);
    let checked = project.json(0, &["policy", "check", "policy.yaml"]);
    assert_eq!((&checked["passed"], &checked["warnings"]), (&json!(true), &json!([])));

    project.write("failing.yaml", &POLICY.replace("expect: ALLOW", "expect: DENY"));
    let said = project.ends(6, &["policy", "check", "failing.yaml"]);
    assert!(said.stdout.contains("FAIL failing.yaml:15  agent:demo io.fs.read_file -> DENY: "), "{}", said.stdout);
    assert_eq!(project.json(6, &["policy", "check", "failing.yaml"])["passed"], json!(false));

    project.write("broken.yaml", "defualt: DENY\n");
    let said = project.ends(2, &["policy", "check", "broken.yaml"]);
    assert!(said.stderr.contains("broken.yaml:1:1") && said.stderr.contains("`default`"), "{}", said.stderr);
    assert_eq!(project.json(2, &["policy", "check", "broken.yaml"])["error"]["line"], json!(1));
    project.ends(2, &["policy", "check", "missing.yaml"]);
}

#[test]
fn more_tests_of_a_policy_come_from_a_file_of_their_own() {
    let project = Project::new();
    project.write("good.yaml", "tests:\n  - { as: \"agent:other\", do: io.fs.read_file, expect: DENY }\n");
    project.write("bad.yaml", "tests:\n  - { as: \"agent:other\", do: io.fs.read_file, expect: ALLOW }\n");
    let said = project.ends(0, &["policy", "test", "policy.yaml", "--tests", "good.yaml"]);
    assert!(said.stdout.contains("pass good.yaml:2  agent:other io.fs.read_file -> DENY\n"), "{}", said.stdout);
    assert!(said.stdout.ends_with("2 of 2 tests passed\n"), "{}", said.stdout);
    let said = project.ends(6, &["policy", "test", "policy.yaml", "--tests", "bad.yaml"]);
    assert!(said.stdout.contains("FAIL bad.yaml:2 ") && said.stdout.contains("1 of 2 tests"), "{}", said.stdout);
    let tested = project.json(6, &["policy", "test", "policy.yaml", "--tests", "bad.yaml"]);
    assert_eq!((&tested["tests"][1]["file"], &tested["tests"][1]["passed"]), (&json!("bad.yaml"), &json!(false)));
}

#[test]
fn an_answer_is_explained_rule_by_rule() {
    let project = Project::new();
    let said = project.ends(0, &["policy", "explain", "--as", "agent:demo", "--do", "io.fs.delete"]);
    for expected in [
        "rule 1 (line 3) REQUIRE_APPROVAL: is for another capability\n",
        "rule 2 (line 6) ALLOW: matches\n",
        "escalated: HIGH needs a person\n",
        "answer: REQUIRE_APPROVAL\n",
        "what would change it: an approval, or `accept_risk: HIGH` on rule 2\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    let explained = project.json(0, &["policy", "explain", "--as", "user:x", "--do", "io.fs.read_file"]);
    assert_eq!((&explained["decision"]["action"], &explained["installed"]), (&json!("DENY"), &json!(true)));
    let risk = ["policy", "explain", "--do", "io.fs.write_file", "--risk", "CRITICAL"];
    assert_eq!(project.json(0, &risk)["decision"]["action"], json!("REQUIRE_APPROVAL"));
    project.ends(2, &["policy", "explain", "--do", "io.fs.delete", "--inputs", "[1]"]);
    project.ends(2, &["policy", "explain", "--do", "io.fs.delete", "--risk", "high"]);
}

#[test]
fn a_capability_that_nothing_provides_is_denied_whatever_the_rules_say() {
    let project = Project::new();
    project.write("policy.yaml", "rules: [{principal: \"*\", capabilities: [\"*\"], action: ALLOW}]\n");
    let explain = |capability| ["policy", "explain", "--as", "agent:demo", "--do", capability];
    let said = project.ends(0, &explain("io.fs.write_fil"));
    assert!(said.stderr.contains("no installed component provides `io.fs.write_fil`"), "{}", said.stderr);
    for expected in [
        "base: ALLOW\n",
        "answer: DENY\nreason: unknown capability\n",
        "a component that provides `io.fs.write_fil`; did you mean `io.fs.write_file`?\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    let explained = project.json(0, &explain("io.fs.write_fil"));
    assert_eq!((&explained["decision"]["action"], &explained["installed"]), (&json!("DENY"), &json!(false)));
    assert_eq!(explained["decision"]["reason"], json!("unknown capability"));
    let known = project.json(0, &explain("human.approve"));
    assert_eq!((&known["decision"].get("reason"), &known["installed"]), (&None, &json!(true)));
}

#[test]
fn conditions_are_explained_with_the_inputs_that_are_given() {
    let project = Project::new();
    let rule = "default: DENY\nrules:\n  - principal: \"agent:*\"\n    capabilities: [\"io.fs.read_file\"]\n    \
        when: { inputs.path: { glob: \"/workspace/**\" } }\n    action: ALLOW\n";
    project.write("policy.yaml", rule);
    let action = |inputs: &str| {
        let arguments = ["policy", "explain", "--do", "io.fs.read_file", "--inputs", inputs];
        project.json(0, &arguments)["decision"]["action"].clone()
    };
    assert_eq!(action(r#"{"path": "/workspace/a"}"#), json!("ALLOW"));
    assert_eq!(action(r#"{"path": "/etc/passwd"}"#), json!("DENY"));
    assert_eq!(action("{}"), json!("DENY"));
}

#[test]
fn capabilities_are_listed_and_inspected_with_what_they_ask_for_and_get() {
    let project = Project::new();
    let listed = project.json(0, &["capability", "list"]);
    let write = listed.as_array().unwrap().iter().find(|one| one["capability"] == "io.fs.write_file").unwrap();
    assert_eq!((&write["effect"], &write["risk"]), (&json!("reversible"), &json!("MEDIUM")));
    assert!(project.ends(0, &["capability", "list"]).stdout.contains("io.fs.delete"));

    let said = project.ends(0, &["capability", "inspect", "io.fs.write_file"]);
    for expected in [
        "source      standard library: fs\n",
        "provenance  part of this binary\n",
        "\nimports that can lead out\n  redress:capability/undo@0.1.0: ",
        "  wasi:filesystem/preopens@0.2.6: the directories that are granted\n",
        "\n  \"producers\" (",
        "\n    \"processed-by: wit-",
        "grants      to agent:demo, by sha256:",
        "  effect      reversible\n",
        "  asks        fs:read, fs:write\n",
        "  limited     wall_time        10s\n",
        "  wall_time        30s\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    let inspected = project.json(0, &["capability", "inspect", "io.fs.write_file"]);
    let granted = &inspected["capabilities"][0]["granted"]["filesystem"][0];
    assert_eq!((&granted["guest"], &granted["access"]), (&json!("/workspace"), &json!("read-write")));
    assert_eq!(inspected["component"], write["component"]);
    let capability = &inspected["capabilities"][0];
    assert_eq!((&capability["risk"], &capability["declared_risk"]), (&json!("MEDIUM"), &json!("MEDIUM")));
    assert_eq!((&inspected["provenance"], &inspected["installed"]), (&json!("standard"), &json!(true)));
    let privileges = inspected["imports"]["privileges"].as_array().unwrap();
    let kinds: BTreeSet<&str> = privileges.iter().map(|import| import["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["contract", "filesystem"]));
    // Every Rust component imports the file system. Of one that asks for no files it says nothing.
    let hash = project.json(0, &["capability", "inspect", "data.hash"]);
    assert_eq!(hash["imports"]["privileges"], json!([]));
    assert!(!hash["imports"]["floor"].as_array().unwrap().is_empty());

    let said = project.ends(2, &["capability", "inspect", "io.fs.write_fil"]);
    assert!(said.stderr.contains("did you mean `io.fs.write_file`?"), "{}", said.stderr);
    project.write("not.wasm", "hello");
    let said = project.ends(2, &["capability", "inspect", "not.wasm"]);
    assert!(said.stderr.contains("it is not a WebAssembly component"), "{}", said.stderr);
    assert_eq!(project.json(2, &["capability", "inspect", "./missing.wasm"])["error"]["code"], "unreadable");
}

#[test]
fn a_component_is_inspected_without_settings() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["capability", "inspect", "data.hash"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("grants      not known: no policy or no principal is set\n"), "{}", said.stdout);
}

#[test]
fn what_a_strangers_component_says_of_itself_is_quoted_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut bytes = wat::parse_file(root.join("tests/components/harmless.wat")).unwrap();
    for (name, text) in [("description", EVIL.to_owned()), (EVIL, String::new()), ("source", "y".repeat(120))] {
        let content = [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), text.as_bytes()].concat();
        bytes.extend([0, u8::try_from(content.len()).unwrap() | 0x80, 0]);
        bytes.extend(content);
    }
    std::fs::write(folder.path().join("evil.wasm"), bytes).unwrap();
    let said = run_in(folder.path(), &["capability", "inspect", "evil.wasm"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.is_printable(), "{}", said.stdout);
    for expected in [
        "source      evil.wasm\nprovenance  somebody else's\ninstalled   no\n",
        "\nimports that can lead out\n  none\n",
        "\nimports that every toolchain brings along\n  none\n",
        "\n  \"description\" (",
        "\n    \"a\\\" COMPLETED\\u001b[31m",
        "  risk        LOW\n",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n---\n{}", said.stdout);
    }
    let json = run_in(folder.path(), &["capability", "inspect", "evil.wasm", "--json"]).json();
    assert_eq!((&json["provenance"], &json["installed"]), (&json!("external"), &json!(false)));
    let says: Vec<_> = json["sections"]["listed"].as_array().unwrap().iter().map(|one| &one["says"]).collect();
    assert_eq!(says[says.len() - 3..], [&json!([EVIL]), &json!([]), &json!(["y".repeat(120)])]);
}

#[test]
fn completions_are_there_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = run_in(folder.path(), &["completions", shell]);
        assert_eq!(said.code, 0);
        assert!(said.stdout.contains("redress") && said.stdout.contains("approvals"), "{shell}");
        let json = run_in(folder.path(), &["completions", shell, "--json"]).json();
        assert_eq!((&json["schema"], &json["shell"]), (&json!(1), &json!(shell)));
    }
    assert_eq!(run_in(folder.path(), &["completions", "tcsh"]).code, 2);
}

#[test]
fn the_version_names_everything_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["version"]);
    assert_eq!(said.code, 0);
    let version = env!("CARGO_PKG_VERSION");
    assert!(said.stdout.starts_with(&format!("redress {version}\nwasmtime 48.")), "{}", said.stdout);
    assert!(said.stdout.contains("\ncomponent fs sha256:"), "{}", said.stdout);
    let json = run_in(folder.path(), &["version", "--json"]).json();
    assert_eq!((&json["schema"], &json["version"]), (&json!(1), &json!(version)));
    let names: Vec<&str> = json["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fs", "data", "http"]);
}

#[test]
fn the_version_gives_the_digest_of_each_component_that_is_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let json = run_in(folder.path(), &["version", "--json"]).json();
    let built: [(&str, &[u8]); 3] = [
        ("fs", include_bytes!(concat!(env!("OUT_DIR"), "/fs.wasm"))),
        ("data", include_bytes!(concat!(env!("OUT_DIR"), "/data.wasm"))),
        ("http", include_bytes!(concat!(env!("OUT_DIR"), "/http.wasm"))),
    ];
    let expected = built.map(|(name, bytes)| json!({"name": name, "digest": sha256(bytes)}));
    assert_eq!(json["components"], json!(expected));
    let said = run_in(folder.path(), &["version"]);
    for (name, bytes) in built {
        assert!(said.stdout.contains(&format!("\ncomponent {name} {}\n", sha256(bytes))), "{}", said.stdout);
    }
}
