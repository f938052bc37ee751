//! An agent that acts for somebody.

use serde_json::json;

use crate::server::{POLICY, Server};

/// Alice may write and delete, and her agent may write and hash.
const BOTH: &str = r#"
rules:
  - { principal: "user:alice", capabilities: ["io.fs.write_file", "io.fs.delete"], action: ALLOW, accept_risk: HIGH }
  - { principal: "agent:a", capabilities: ["io.fs.write_file", "data.hash"], action: ALLOW, accept_risk: HIGH }
  - { principal: ["user:alice", "agent:a"], capabilities: ["io.fs.copy"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:*", "agent:*"], expires: 4h } }
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

fn delegated(server: &Server) -> String {
    let arguments =
        ["token", "add", "agent:a", "--for", "user:alice", "--may", "submit", "--reason", "x", "--as", "user:admin"];
    server.place.redress(&arguments).exits(0).stdout.trim().to_owned()
}

#[test]
fn both_are_decided_and_recorded_and_the_run_is_theirs_for_whom_it_is() {
    let server = Server::with_policy(BOTH);
    let (agent, alice) = (delegated(&server), server.token("user:alice", &["submit"]));
    let alone = server.token("agent:a", &["submit"]);
    assert_eq!(server.get("/v1/whoami", &agent).is(200).json()["acting_for"], "user:alice");
    let write = json!({ "capability": "io.fs.write_file", "inputs": { "path": "/workspace/a", "content": "x" } });
    let run = server.post("/v1/runs?wait=30", &agent, &write).is(201).json();
    assert_eq!((&run["state"], &run["principal"]), (&"COMPLETED".into(), &"user:alice".into()));
    assert_eq!(run["steps"][0]["agent"], "agent:a");
    let path = format!("/v1/runs/{}", run["run"].as_str().unwrap());
    server.get(&path, &alice).is(200);
    assert_eq!(
        server.get(&path, &alone).is(404).problem(),
        "not-found",
        "with its own token the agent acts for nobody"
    );
    // Of hers it sees and touches what it submitted, and nothing else.
    let hers = server.post("/v1/runs?wait=30", &alice, &write).is(201).json()["run"].as_str().unwrap().to_owned();
    for path in ["", "/events", "/logs"] {
        server.get(&format!("/v1/runs/{hers}{path}"), &agent).is(404);
    }
    for verb in ["undo", "cancel", "rollback"] {
        server.post(&format!("/v1/runs/{hers}/{verb}"), &agent, &json!({ "reason": "x" })).is(404);
    }
    assert_eq!(server.get("/v1/runs", &agent).is(200).json()["runs"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v1/runs", &alice).is(200).json()["runs"].as_array().unwrap().len(), 2);
    // What only one of them may do, neither does for the other.
    for (capability, inputs) in
        [("io.fs.delete", json!({ "path": "/workspace/a" })), ("data.hash", json!({ "content": "x" }))]
    {
        let body = json!({ "capability": capability, "inputs": inputs });
        let run = server.post("/v1/runs?wait=30", &agent, &body).is(201).json();
        assert_eq!((&run["state"], &run["steps"][0]["decision"]["action"]), (&"ROLLED_BACK".into(), &"DENY".into()));
    }
    assert!(server.place.path("workspace/a").exists());
    let listed = server.get("/v1/capabilities", &agent).is(200).json();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["io.fs.copy", "io.fs.write_file"]);
    // A step that is for another agent is refused: that one was not asked.
    let workflow = "name: w\nsteps:\n  - { name: a, agent: other, capability: io.fs.write_file, inputs: { path: /workspace/b, content: x } }\n";
    assert_eq!(server.post("/v1/runs", &agent, &json!({ "workflow": workflow })).is(403).problem(), "acts-for-others");
    let own = workflow.replace("agent: other", "agent: a");
    let run = server.post("/v1/runs?wait=30", &agent, &json!({ "workflow": own })).is(201).json();
    assert_eq!(run["state"], "COMPLETED");
    let (place, _) = server.ends();
    let events = place.redress(&["events", "system"]).exits(0).stdout;
    assert!(events.contains("acts as agent:a for user:alice to submit"), "{events}");
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn neither_of_them_approves_what_they_ask_for() {
    let server = Server::with_policy(BOTH);
    let agent = delegated(&server);
    let voters = ["agent:a", "user:alice", "user:bob"].map(|name| server.token(name, &["vote"]));
    server.place.write("workspace/a", "x");
    let body = json!({ "capability": "io.fs.copy", "inputs": { "from": "/workspace/a", "to": "/workspace/b" } });
    let run = server.post("/v1/runs?wait=30", &agent, &body).is(201).json();
    let said = server.get("/v1/approvals", &voters[2]).is(200).json();
    let waiting = &said["waiting"];
    assert_eq!(waiting[0]["requesters"], json!(["agent:a", "user:alice"]));
    let yes = json!({ "request": waiting[0]["request"], "approve": true, "reason": "y" });
    let path = format!("/v1/runs/{}/steps/call/votes", run["run"].as_str().unwrap());
    for voter in &voters[..2] {
        assert_eq!(server.post(&path, voter, &yes).is(409).problem(), "refused");
    }
    assert_eq!(server.post(&path, &voters[2], &yes).is(200).json()["state"], "COMPLETED");
}

#[test]
fn in_a_transaction_and_as_a_tool_the_agent_acts_for_the_same() {
    let server = Server::with_policy(BOTH);
    let agent = delegated(&server);
    let call = |tool: &str, arguments: serde_json::Value| {
        let params = json!({ "name": tool, "arguments": arguments });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
        let accept = "Accept: application/json, text/event-stream\r\n";
        server.asks("POST", "/mcp", &agent, accept, &body).is(200).json()["result"]["structuredContent"].clone()
    };
    let open = call("transaction_begin", json!({}))["run"].clone();
    let write = json!({ "path": "/workspace/a", "content": "x" });
    let added = call("transaction_call", json!({ "run": open, "tool": "io-fs-write_file", "arguments": write }));
    assert_eq!(added["step_state"], "SUCCEEDED", "{added}");
    call("transaction_commit", json!({ "run": open }));
    let single = call("io-fs-write_file", json!({ "path": "/workspace/b", "content": "x" }));
    for run in [&open, &single["run"]] {
        let shown = server.get(&format!("/v1/runs/{}", run.as_str().unwrap()), &agent).is(200).json();
        assert_eq!((&shown["principal"], &shown["steps"][0]["agent"]), (&"user:alice".into(), &"agent:a".into()));
    }
}

#[test]
fn a_token_for_somebody_else_only_submits() {
    let server = Server::with_policy(POLICY);
    for wrong in [
        &["token", "add", "user:bob", "--for", "user:alice", "--may", "submit", "--reason", "x"][..],
        &["token", "add", "agent:a", "--for", "user:alice", "--may", "vote", "--reason", "x"],
        &["token", "add", "agent:a", "--for", "agent:a", "--may", "submit", "--reason", "x"],
    ] {
        server.place.redress(wrong).exits(2);
    }
    for wrong in [["--as", "user:bob", "--for", "user:alice"], ["--as", "agent:a", "--for", "agent:a"]] {
        server.place.redress(&[&["mcp"], &wrong[..]].concat()).exits(2);
    }
}
