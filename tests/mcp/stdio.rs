use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Called, Client};
use crate::common::Place;

const POLICY: &str = r#"
rules:
  - { principal: "agent:demo", capabilities: ["io.fs.delete"], action: DENY }
  - { principal: "agent:demo", capabilities: ["io.fs.move"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:*"], expires: 4h } }
  - { principal: "agent:demo", capabilities: ["net.http.get"], when: { inputs.url: { max_length: 40 } }, action: ALLOW }
  - { principal: "agent:demo", capabilities: ["io.fs.*", "data.*"], action: ALLOW }
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

fn write(name: &str) -> Value {
    json!({ "path": format!("/workspace/{name}"), "content": name })
}

fn names(tools: &[Value]) -> Vec<&str> {
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[test]
fn an_agent_sees_what_it_may_ask_for_with_what_the_host_knows_of_it() {
    let place = Place::with_policy(POLICY);
    let mut client = Client::new(&place);
    let tools = client.tools();
    let names = names(&tools);
    for there in
        ["io-fs-write_file", "io-fs-move", "net-http-get", "data-hash", "transaction_begin", "transaction_status"]
    {
        assert!(names.contains(&there), "{there}: {names:?}");
    }
    for missing in ["io-fs-delete", "net-http-send", "text-template-render"] {
        assert!(!names.contains(&missing), "{missing}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("approve") || name.contains("policy")), "{names:?}");
    let tool = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    let hints = |name: &str| {
        let hints = &tool(name)["annotations"];
        ["readOnlyHint", "destructiveHint", "openWorldHint"].map(|hint| hints[hint] == true)
    };
    assert_eq!(hints("io-fs-read_file"), [true, false, false]);
    assert_eq!(hints("io-fs-write_file"), [false, false, false]);
    assert_eq!(hints("net-http-get"), [true, false, true]);
    let write = tool("io-fs-write_file");
    assert!(write["inputSchema"]["properties"]["path"].is_object(), "{write}");
    assert_eq!(write["_meta"]["redress/capability"], "io.fs.write_file");
    assert!(write["description"].as_str().unwrap().chars().count() <= 200);
    client.ends().exits(0);
}

#[test]
fn a_call_is_a_run_of_one_step() {
    let place = Place::with_policy(POLICY);
    let mut client = Client::new(&place);
    let written = client.calls("io-fs-write_file", write("a")).succeeds();
    assert_eq!((&written["state"], &written["step_state"]), (&"COMPLETED".into(), &"SUCCEEDED".into()));
    assert_eq!(place.read("workspace/a"), "a");
    let read = client.calls("io-fs-read_file", json!({ "path": "/workspace/a" })).succeeds();
    assert_eq!(read["output"]["content"], "a");
    assert_eq!(read["untrusted"][0], "output");
    // What an agent gives is taken as it stands.
    let braces = json!({ "path": "/workspace/b", "content": "{{ inputs.secret }}" });
    client.calls("io-fs-write_file", braces).is("COMPLETED");
    assert_eq!(place.read("workspace/b"), "{{ inputs.secret }}");
    let none = client.calls("io-fs-read_file", json!({ "path": "/workspace/none" })).fails();
    assert_eq!((&none["state"], &none["step_state"]), (&"ROLLED_BACK".into(), &"FAILED".into()));
    assert!(none["error"]["message"].is_string(), "{none}");
    let runs = client.asks("resources/list", json!({}))["resources"].as_array().unwrap().clone();
    assert_eq!(runs.len(), 4);
    let uri = runs[3]["uri"].as_str().unwrap();
    let shown = client.asks("resources/read", json!({ "uri": uri }))["contents"][0]["text"].clone();
    let shown: Value = serde_json::from_str(shown.as_str().unwrap()).unwrap();
    assert_eq!((&shown["run"], &shown["principal"]), (&written["run"], &"agent:demo".into()));
    client.ends().exits(0);
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn what_is_wrong_with_a_call_is_told_before_anything_runs() {
    let place = Place::with_policy(POLICY);
    let mut client = Client::new(&place);
    let misfit = client.calls("io-fs-write_file", json!({ "path": 7 })).fails();
    assert_eq!(misfit["error"]["code"], "invalid-input", "{misfit}");
    for tool in ["io-fs-delete", "io.fs.write_file", "no-such", ""] {
        let error = client.fails("tools/call", json!({ "name": tool, "arguments": {} }));
        assert!(error["message"].as_str().unwrap().contains("there is no tool"), "{tool}: {error}");
    }
    for (id, arguments, why) in [
        ("x", r#"{"path":"/workspace/a","content":"1","content":"2"}"#, "the key `content` stands twice"),
        ("y", r#"{"path":"/workspace/a","content":123456789012345678901234567890}"#, "beyond 2^53"),
    ] {
        client.says_line(&format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","method":"tools/call","params":{{"name":"io-fs-write_file","arguments":{arguments}}}}}"#
        ));
        let said = client.hears();
        assert!(
            said["id"] == id && said["result"]["structuredContent"]["error"]["message"].as_str().unwrap().contains(why),
            "{said}"
        );
    }
    assert_eq!(client.asks("resources/list", json!({}))["resources"], json!([]));
    // A condition denies it once the input is known.
    let denied =
        client.calls("net-http-get", json!({ "url": format!("http://example.com/{}", "x".repeat(40)) })).fails();
    assert!(denied["denied"].is_string(), "{denied}");
    client.ends().exits(0);
}

#[test]
fn a_transaction_is_committed_or_undone_as_a_whole() {
    let place = Place::with_policy(POLICY);
    let mut client = Client::new(&place);
    let begin =
        |client: &mut Client| client.calls("transaction_begin", json!({ "name": "move in" })).succeeds()["run"].clone();
    let add = |client: &mut Client, run: &Value, name: &str| {
        client.calls("transaction_call", json!({ "run": run, "tool": "io-fs-write_file", "arguments": write(name) }))
    };
    let run = begin(&mut client);
    let one = add(&mut client, &run, "a").succeeds();
    assert_eq!((&one["step"], &one["step_state"]), (&"call1".into(), &"SUCCEEDED".into()));
    add(&mut client, &run, "b").succeeds();
    // One call that fails leaves the others, and the transaction.
    let read =
        json!({ "run": run, "tool": "io-fs-read_file", "arguments": { "path": "/workspace/none" }, "step": "look" });
    assert_eq!(client.calls("transaction_call", read).fails()["step"], "look");
    let status = client.calls("transaction_status", json!({ "run": run })).succeeds();
    assert_eq!(status["steps"].as_array().unwrap().len(), 3);
    client.calls("transaction_commit", json!({ "run": run })).is("COMPLETED");
    assert_eq!((place.read("workspace/a"), place.read("workspace/b")), ("a".to_owned(), "b".to_owned()));
    let late = add(&mut client, &run, "c").fails();
    assert!(late["error"]["message"].is_string(), "{late}");

    let run = begin(&mut client);
    add(&mut client, &run, "c").succeeds();
    add(&mut client, &run, "d").succeeds();
    let undone = client.calls("transaction_rollback", json!({ "run": run, "reason": "not wanted" })).is("ROLLED_BACK");
    assert!(undone["steps"].as_array().unwrap().iter().all(|step| step["state"] == "UNDONE"), "{undone}");
    assert!(!place.path("workspace/c").exists() && !place.path("workspace/d").exists());

    // Whoever goes away leaves nothing half done.
    let run = begin(&mut client);
    add(&mut client, &run, "e").succeeds();
    assert_eq!(place.read("workspace/e"), "e");
    client.ends().exits(0);
    assert!(!place.path("workspace/e").exists());
    let shown = place.redress(&["show", run.as_str().unwrap(), "--json"]).exits(0).json();
    assert_eq!(shown["state"], "ROLLED_BACK");
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn a_call_that_waits_for_a_person_is_answered_at_once_and_goes_on_when_somebody_approves() {
    let place = Place::with_policy(POLICY);
    let mut client = Client::new(&place);
    client.calls("io-fs-write_file", write("a")).succeeds();
    let moved = json!({ "from": "/workspace/a", "to": "/workspace/b" });
    let waiting = client.calls("io-fs-move", moved.clone()).succeeds();
    assert_eq!((&waiting["state"], &waiting["waiting"][0]["approvers"][0]), (&"PAUSED".into(), &"user:*".into()));
    assert!(place.path("workspace/a").exists());
    let run = waiting["run"].as_str().unwrap();
    // The agent cannot approve it, whoever it says it is.
    place.redress(&["approve", run, "call", "--reason", "x", "--as", "agent:demo"]).exits(6);
    place.redress(&["approve", run, "call", "--reason", "good", "--as", "user:alice"]).exits(0);
    let done = client.calls("transaction_status", json!({ "run": run })).is("COMPLETED");
    assert_eq!(done["step_state"], "SUCCEEDED");
    assert_eq!(place.read("workspace/b"), "a");
    let again = json!({ "from": "/workspace/b", "to": "/workspace/c" });
    let run = client.calls("io-fs-move", again).is("PAUSED")["run"].clone();
    place.redress(&["reject", run.as_str().unwrap(), "call", "--reason", "no", "--as", "user:alice"]).exits(3);
    client.calls("transaction_status", json!({ "run": run })).is("ROLLED_BACK");
    // In a transaction, too.
    let run = client.calls("transaction_begin", json!({})).succeeds()["run"].clone();
    let add =
        json!({ "run": run, "tool": "io-fs-move", "arguments": { "from": "/workspace/b", "to": "/workspace/d" } });
    client.calls("transaction_call", add).is("PAUSED");
    let state = |client: &mut Client| client.calls("transaction_status", json!({ "run": run })).value["state"].clone();
    let mut approve = place.command(&["approve", run.as_str().unwrap(), "call1", "--reason", "y", "--as", "user:bob"]);
    let mut approve = approve.spawn().unwrap();
    while state(&mut client) == "PAUSED" {}
    client.calls("transaction_commit", json!({ "run": run })).is("COMPLETED");
    approve.wait().unwrap();
    assert_eq!(place.read("workspace/d"), "a");
    client.ends().exits(0);
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn an_agent_sees_its_own_runs_only() {
    let place = Place::with_policy(&POLICY.replace("agent:demo", "agent:*"));
    let other = place.redress(&["call", "data.hash", "--input", "content=x", "--as", "agent:other", "--json"]);
    let other = other.exits(0).run().to_string();
    let mut client = Client::new(&place);
    let unknown = client.calls("transaction_status", json!({ "run": other })).fails();
    assert!(unknown["error"]["message"].as_str().unwrap().contains("no run"), "{unknown}");
    for tool in ["transaction_commit", "transaction_rollback"] {
        client.calls(tool, json!({ "run": other })).fails();
    }
    assert_eq!(client.asks("resources/list", json!({}))["resources"], json!([]));
    client.fails("resources/read", json!({ "uri": format!("redress://runs/{other}") }));
    client.ends().exits(0);
}

#[test]
fn another_policy_makes_other_tools_and_the_client_is_told() {
    let place = Place::with_policy(POLICY);
    let mut client = Client::new(&place);
    assert!(!names(&client.tools()).contains(&"io-fs-delete"));
    place.write(
        "next.yaml",
        POLICY.replace("capabilities: [\"io.fs.delete\"], action: DENY", "capabilities: [\"text.*\"], action: DENY"),
    );
    std::fs::rename(place.path("next.yaml"), place.path("policy.yaml")).unwrap();
    let mut told = client.hears();
    while told["method"] != "notifications/tools/list_changed" {
        told = client.hears();
    }
    assert!(names(&client.tools()).contains(&"io-fs-delete"));
    client.ends().exits(0);
}

#[test]
fn what_is_sensitive_is_masked_for_agents_too() {
    let place = Place::with_policy(&format!(
        "{POLICY}sensitive:\n  - {{ capabilities: [\"io.fs.read_file\"], fields: [\"outputs.content\"] }}\n"
    ));
    place.write("workspace/pin", "the-pin");
    let read = |mut client: Client| {
        let value = client.calls("io-fs-read_file", json!({ "path": "/workspace/pin" })).succeeds();
        client.ends().exits(0);
        value["output"]["content"].clone()
    };
    assert_eq!(read(Client::new(&place)), "(sensitive)");
    assert_eq!(read(Client::begin(&place, &["mcp", "--show-sensitive"])), "the-pin");
}

/// A call that is given up by its client is undone; a process that is told to end leaves everything resumable.
#[test]
fn a_call_that_is_cancelled_is_rolled_back_and_a_process_that_is_told_to_end_ends() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let grant = format!(
        "{POLICY}  - {{ capabilities: [\"net.http.*\"], network: [{{ url: \"http://127.0.0.1:{port}/**\", methods: [GET] }}] }}\n"
    );
    let place = Place::with_policy(&grant);
    let mut client = Client::new(&place);
    let get = json!({ "name": "net-http-get", "arguments": { "url": format!("http://127.0.0.1:{port}/a") } });
    let id = client.sends("tools/call", get);
    // It stands still at a request that nobody answers.
    let (request, _) = listener.accept().unwrap();
    client.says(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id, "reason": "x" } }),
    );
    let state = |place: &Place| place.redress(&["runs", "--json"]).exits(0).json()[0]["state"].clone();
    while state(&place) != "ROLLED_BACK" {}
    drop(request);
    let end = Command::new("kill").args(["-TERM", &client.process().to_string()]).status().unwrap();
    assert!(end.success());
    client.ended().exits(0);
}

/// Whoever asked has gone, and what was asked goes on to its end.
#[test]
fn a_call_whose_client_goes_away_is_finished() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let place = Place::with_policy(&format!(
        "{POLICY}  - {{ capabilities: [\"net.http.*\"], network: [{{ url: \"http://127.0.0.1:{port}/**\", methods: [GET] }}] }}\n"
    ));
    let mut client = Client::new(&place);
    client.sends(
        "tools/call",
        json!({ "name": "net-http-get", "arguments": { "url": format!("http://127.0.0.1:{port}/a") } }),
    );
    let (mut request, _) = listener.accept().unwrap();
    // All of it is read, so that closing does not cut the answer off.
    let mut head = std::io::BufReader::new(&request);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut head, &mut line).unwrap(), 0);
    }
    let ending = std::thread::spawn(move || client.ends());
    std::io::Write::write_all(&mut request, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .unwrap();
    drop(request);
    ending.join().unwrap().exits(0);
    assert_eq!(place.redress(&["runs", "--json"]).exits(0).json()[0]["state"], "COMPLETED");
}

#[test]
fn a_client_that_says_nothing_or_nonsense_ends_the_process_in_order() {
    let place = Place::with_policy(POLICY);
    Client::mute(&place, &["mcp"]).ends().exits(0);
    let mut client = Client::mute(&place, &["mcp"]);
    client.says_line("GET / HTTP/1.1");
    client.says_line("{}");
    let ended = client.ends();
    assert!(ended.code.is_some_and(|code| code != 101), "{ended:#?}");
    let mut command = place.command(&["mcp", "--policy", "none.yaml"]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
    drop(Called { value: Value::Null, is_error: false });
}
