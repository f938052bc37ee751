//! `run` and `call`: inputs, keys, the JSON object, what is journaled.

use redress::saga::event::Event;
use serde_json::Value;

use crate::common::{POLICY, Place};
use crate::guests;

const COPY: &str = r#"
name: copy
inputs: { text: default }
steps:
  - name: first
    capability: io.fs.write_file
    inputs: { path: /workspace/a, content: "{{ inputs.text }}" }
  - name: second
    capability: io.fs.copy
    inputs: { from: "{{ first.path }}", to: /workspace/b }
"#;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_run_is_printed_as_one_object_with_everything_about_it() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    let answer = place.redress(&["run", "w.yaml", "--json"]).exits(0);
    let view = answer.json();
    let of_run = [
        "closed",
        "host",
        "principal",
        "reason",
        "residue",
        "run",
        "schema",
        "state",
        "steps",
        "submitted",
        "workflow",
    ];
    assert_eq!(keys(&view), of_run);
    assert_eq!((&view["schema"], &view["state"], &view["workflow"]), (&1.into(), &"COMPLETED".into(), &"copy".into()));
    assert_eq!((&view["principal"], &view["reason"]), (&"agent:demo".into(), &Value::Null));
    assert!(view["submitted"].as_str().unwrap().ends_with('Z'));
    let step = &view["steps"][0];
    for key in [
        "name",
        "capability",
        "component",
        "state",
        "checked",
        "attempts",
        "decision",
        "output",
        "error",
        "effects",
        "egress",
        "reads",
        "unlisted",
        "undos",
    ] {
        assert!(step.get(key).is_some(), "{key}: {step}");
    }
    assert_eq!((&step["state"], &step["attempts"]), (&"SUCCEEDED".into(), &1.into()));
    assert!(step["component"].as_str().unwrap().starts_with("sha256:"));
    for (key, value) in [("action", "ALLOW"), ("risk", "MEDIUM")] {
        assert_eq!(step["decision"][key], value);
    }
    assert_eq!((&step["decision"]["rule"], &step["decision"]["escalated"]), (&1.into(), &false.into()));
    assert!(step["decision"]["policy"].as_str().unwrap().starts_with("sha256:"));
    assert!(!answer.stderr.contains("first:"), "no progress with --json: {answer:?}");
}

#[test]
fn progress_is_told_in_plain_lines_on_stderr() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    let answer = place.redress(&["run", "w.yaml"]).exits(0);
    assert!(answer.stderr.contains("\nfirst: succeeded\nsecond: succeeded\n"), "{answer:?}");
    assert!(!answer.stdout.contains('\u{1b}') && !answer.stderr.contains('\u{1b}'), "{answer:?}");
    let log = place.redress(&["run", "w.yaml", "-v"]).exits(0);
    assert!(log.stderr.contains("attempt 1 of 3"), "{log:?}");
}

#[test]
fn inputs_are_text_json_or_files_and_later_ones_go_over_earlier_ones() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    place.write("inputs.yaml", "text: from yaml\n");
    place.write("inputs.json", "{\"text\": \"from json\"}");
    place.write("text.txt", "from a file {{ inputs.text }}");
    for (arguments, expected) in [
        (vec![], "default"),
        (vec!["--input", "text=a=b"], "a=b"),
        (vec!["--input", "text:=\"@x\""], "@x"),
        (vec!["--input", "text=@text.txt"], "from a file {{ inputs.text }}"),
        (vec!["--inputs", "inputs.yaml"], "from yaml"),
        (vec!["--inputs", "inputs.json"], "from json"),
        (vec!["--inputs", "inputs.json", "--input", "text=one", "--input", "text=two"], "two"),
    ] {
        place.redress(&[vec!["run", "w.yaml"], arguments].concat()).exits(0);
        assert_eq!(place.read("workspace/b"), expected);
    }
    for wrong in ["text", "=x", "text:=no", "text=@none.txt", "other=x"] {
        place.redress(&["run", "w.yaml", "--input", wrong]).exits(2);
    }
    place.write("list.yaml", "[a]\n");
    place.redress(&["run", "w.yaml", "--inputs", "list.yaml"]).exits(2);
}

#[test]
fn submitting_twice_under_one_key_is_one_run() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    let run = ["run", "w.yaml", "--run-key", "monday", "--json"];
    let first = place.redress(&run).exits(0);
    place.write("workspace/a", "changed by somebody");
    let second = place.redress(&run).exits(0);
    assert_eq!(first.run(), second.run());
    assert_eq!(place.read("workspace/a"), "changed by somebody");
    assert_eq!(place.count(&first.run(), |event| matches!(event, Event::Intent(_))), 2);
    for no_key in ["", "two\nlines", &"k".repeat(257)] {
        place.redress(&["run", "w.yaml", "--run-key", no_key]).exits(2);
    }
}

#[test]
fn a_used_key_is_refused_for_another_workflow_principal_or_input() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    place.write("other.yaml", COPY.replace("/workspace/b", "/workspace/c"));
    let run = ["run", "w.yaml", "--run-key", "monday", "--json"];
    let first = place.redress(&run).exits(0).run();
    let events = place.entries(&first).len();
    let world = place.world();
    for (arguments, difference) in [
        (&["run", "other.yaml"][..], "which was made of another workflow"),
        (&["run", "w.yaml", "--as", "agent:other"], "which acts for another principal"),
        (&["run", "w.yaml", "--input", "text=other"], "which was given other inputs"),
    ] {
        let refused = place.redress(&[arguments, &["--run-key", "monday", "--json"]].concat()).exits(2).json();
        let error = &refused["error"];
        assert_eq!(error["code"], "run-key-taken");
        assert_eq!(error["message"], format!("the run key `monday` names run {first}, {difference}"));
        assert!(error["help"].as_str().unwrap().contains("a key of its own"), "{error}");
    }
    let same = place.redress(&[&run[..], &["--input", "text=default"]].concat()).exits(0).run();
    assert_eq!((same, place.entries(&first).len(), place.world()), (first, events, world));
    let rows = place.redress(&["runs", "--json"]).exits(0).json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
}

#[test]
fn a_call_is_a_run_of_one_step() {
    let place = Place::new();
    let write = ["call", "io.fs.write_file", "--input", "path=/workspace/a", "--input", "content={{ not.a.template }}"];
    let view = place.redress(&[&write[..], &["--json"]].concat()).exits(0).json();
    assert_eq!((&view["workflow"], &view["steps"][0]["name"]), (&"io.fs.write_file".into(), &"call".into()));
    assert_eq!(place.read("workspace/a"), "{{ not.a.template }}");
    let unknown = place.redress(&["call", "io.fs.write_fil"]).exits(2);
    assert!(unknown.stderr.contains("did you mean `io.fs.write_file`?"), "{unknown:?}");
    place.redress(&["call", "io.fs.read_file", "--input", "path=/workspace/none"]).exits(3);
}

#[test]
fn what_is_wrong_with_a_call_is_said_at_what_was_typed() {
    let place = Place::new();
    place.write("inputs.yaml", "path: [1]\n");
    let write = "io.fs.write_file";
    for (arguments, message, (line, column), typed) in [
        (&["io.fs.write_fil"][..], "no component provides `io.fs.write_fil`", (1, 1), "redress call io.fs.write_fil"),
        (
            &[write, "--input", "path=/workspace/a"],
            "`input`: give `content` or `content_base64`",
            (1, 1),
            "redress call io.fs.write_file",
        ),
        (
            &[write, "--input", "path=/a", "--input", "content=x", "--input", "content_base64=eA=="],
            "`input`: give only one of `content` and `content_base64`",
            (1, 1),
            "redress call io.fs.write_file",
        ),
        (
            &[write, "--input", "content=x\u{1b}", "--input", "path=/a", "--input", "path:=5"],
            "`input.path`: 5 is not of type \"string\"",
            (4, 11),
            "  --input path:=5",
        ),
        (
            &[write, "--inputs", "inputs.yaml", "--input", "content=x"],
            "`input.path`: [1] is not of type \"string\"",
            (2, 12),
            "  --inputs inputs.yaml",
        ),
    ] {
        let call = [&["call"], arguments].concat();
        let error = place.redress(&[&call[..], &["--json"]].concat()).exits(2).json()["error"].clone();
        assert_eq!((&error["message"], &error["file"]), (&message.into(), &"command line".into()));
        assert_eq!((&error["line"], &error["column"]), (&line.into(), &column.into()));
        let told = place.redress(&call).exits(2).stderr;
        assert!(told.contains(&format!("\n --> command line:{line}:{column}\n{line} | {typed}\n")), "{told}");
        assert!(!told.contains('\u{1b}'), "{told}");
    }
    place.write(
        "w.yaml",
        "name: w\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a } }\n",
    );
    let told = place.redress(&["run", "w.yaml"]).exits(2).stderr;
    assert!(told.contains("step `a`: `input`: give `content` or `content_base64`\n --> w.yaml:3:"), "{told}");
}

#[test]
fn a_denied_run_is_journaled_as_well_as_one_that_succeeds() {
    let place = Place::with_policy("rules: []\n");
    let denied = place.redress(&["call", "io.fs.exists", "--input", "path=/workspace", "--json"]).exits(3);
    assert_eq!(denied.json()["steps"][0]["decision"]["action"], "DENY");
    let kinds: Vec<&str> = place.entries(&denied.run()).iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds.first(), Some(&"RUN_SUBMITTED"));
    assert!(kinds.contains(&"DECISION") && kinds.last() == Some(&"RUN_CLOSED"), "{kinds:?}");
}

#[test]
fn a_plan_decides_and_executes_nothing() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    let plan = place.redress(&["plan", "w.yaml", "--json"]).exits(0).json();
    assert_eq!(keys(&plan), ["egress", "policy", "principal", "residue", "schema", "steps", "workflow"]);
    let decisions: Vec<&str> =
        plan["steps"].as_array().unwrap().iter().map(|step| step["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["ALLOW", "ALLOW"]);
    let text = place.redress(&["plan", "w.yaml"]).exits(0);
    assert!(text.stdout.contains("rule 1, risk MEDIUM, undo: by its own compensate"), "{text:?}");
    assert!(place.world().is_empty());
    assert!(!place.path(".redress/journal.db").exists());
}

#[test]
fn a_plan_warns_of_a_granted_folder_that_is_not_there_with_its_place_in_the_policy() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    std::fs::remove_dir(place.path("workspace")).unwrap();
    let plan = place.redress(&["plan", "w.yaml", "--json"]).exits(0).json();
    let folder = place.path("").canonicalize().unwrap().join("workspace");
    let line = POLICY.lines().position(|line| line.contains("./workspace")).unwrap() + 1;
    let way_out = format!("make it, or mend policy.yaml:{line}:26");
    let warning = format!("the granted folder `{}` is not there: {way_out}", folder.display());
    assert_eq!(plan["steps"][0]["warnings"], serde_json::json!([warning]));
    let text = place.redress(&["plan", "w.yaml"]).exits(0).stdout;
    assert!(text.contains(&format!("      warning: {warning}\n")), "{text}");
}

#[test]
fn a_plan_says_what_is_asked_for_and_not_granted_and_what_is_not_known_yet() {
    let policy = POLICY.split_once("grants:").unwrap().0;
    let place = Place::with_policy(policy);
    place.write("w.yaml", COPY);
    let warning = "it asks for `fs:read` and `fs:write`, which is not granted: whatever needs that will fail";
    let plan = place.redress(&["plan", "w.yaml", "--json"]).exits(0).json();
    assert_eq!(plan["steps"][0]["warnings"], serde_json::json!([warning]));
    assert_eq!(plan["steps"][1]["unknown"], serde_json::json!(["inputs.from"]));
    let text = place.redress(&["plan", "w.yaml"]).exits(0).stdout;
    assert!(text.contains(&format!("      grant nothing\n      warning: {warning}\n")), "{text}");
    assert!(text.contains("      input {\"from\":depends,"), "{text}");
    place.write("policy.yaml", format!("{policy}grants:\n  - capabilities: [\"io.fs.*\"]\n    filesystem: [{{ host: ./workspace, guest: /workspace, access: read-only }}]\n"));
    let text = place.redress(&["plan", "w.yaml"]).exits(0).stdout;
    assert!(text.contains("      warning: it asks for `fs:write`, which is not granted"), "{text}");
}

#[test]
fn a_plan_ends_with_6_if_a_step_is_denied_or_its_input_does_not_fit() {
    let place = Place::new();
    place.write("w.yaml", COPY);
    place.redress(&["plan", "w.yaml", "--as", "user:nobody"]).exits(6);
    place.write("misfit.yaml", COPY.replace("content:", "contents:"));
    let plan = place.redress(&["plan", "misfit.yaml", "--json"]).exits(6).json();
    assert_eq!(plan["steps"][0]["problem"]["code"], "invalid-input");
}

#[test]
fn a_plan_says_where_data_could_leave_to_at_worst() {
    let grants = r#"  - capabilities: ["test.http.*"]
    network:
      - { url: "https://api.example.com/v1/**", methods: [GET, POST], query: true }
    secrets: [{ name: token, env: TOKEN, hosts: ["api.example.com"] }]
"#;
    let policy = POLICY.replace("\"io.fs.*\", \"data", "\"test.*\", \"io.fs.*\", \"data");
    let policy = policy
        .replace("rules:\n", "rules:\n  - { principal: \"*\", capabilities: [\"io.fs.delete\"], action: DENY }\n");
    let place = Place::with_policy(&format!("{policy}{grants}"));
    place.with_component(&guests::component("http"));
    place.write(
        "w.yaml",
        "name: w
steps:
  - { name: a, capability: io.fs.exists, inputs: { path: /workspace } }
  - { name: b, capability: test.http.read, inputs: {} }
  - { name: c, capability: io.fs.write_file, inputs: { path: /workspace/a, content: a }, compensation: { capability: test.http.change, inputs: {} } }
  - { name: d, capability: io.fs.delete, inputs: { path: /workspace/a }, compensation: { capability: test.http.change, inputs: {} } }
",
    );
    let plan = place.redress(&["plan", "w.yaml", "--json"]).exits(6).json();
    assert_eq!(
        plan["egress"],
        serde_json::json!([
            { "url": "https://api.example.com/v1/**", "methods": ["GET"], "query": true, "steps": ["b"] },
            { "url": "https://api.example.com/v1/**", "methods": ["GET", "POST"], "query": true, "steps": ["c"] }
        ])
    );
    let text = place.redress(&["plan", "w.yaml"]).exits(6).stdout;
    let url = "\"https://api.example.com/v1/**\", with query by";
    let leaves = format!("can leave to the network:\n  GET {url} b\n  GET, POST {url} c\n");
    assert!(text.ends_with(&leaves), "{text}");
    assert!(text.contains("      grant secret token from variable \"TOKEN\", for api.example.com\n"), "{text}");
    let nothing = place.redress(&["plan", "w.yaml", "--as", "user:nobody"]).exits(6).stdout;
    assert!(nothing.ends_with("can leave to the network: nothing\n"), "{nothing}");
}

#[test]
fn a_request_without_an_answer_is_told_once_and_by_the_host_alone() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let rule = POLICY.replace("\"io.fs.*\", \"data", "\"net.*\", \"io.fs.*\", \"data");
    let grant = format!("  - capabilities: [\"net.*\"]\n    network: [{{ url: \"{url}**\", methods: [GET] }}]\n");
    let place = Place::with_policy(&format!("{rule}{grant}"));
    let told = place.redress(&["call", "net.http.get", "--input", &format!("url={url}")]).exits(3);
    assert!(told.stdout.contains("has no answer") && !told.stderr.contains("WARN"), "{told:?}");
}

#[test]
fn a_log_that_cannot_be_written_changes_nothing() {
    let place = Place::with_policy("rules: []\n");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["-v", "call", "io.fs.exists", "--input", "path=/workspace", "--json"]);
    let output = command.stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"ROLLED_BACK\""));
}
