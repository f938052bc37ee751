//! Capabilities as tools over HTTP.

use serde_json::{Value, json};

use crate::server::{Said, Server};

fn asks(server: &Server, token: &str, method: &str, params: &Value) -> Said {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    server.asks("POST", "/mcp", token, "Accept: application/json, text/event-stream\r\n", &body)
}

fn calls(server: &Server, token: &str, tool: &str, arguments: &Value) -> Value {
    let said = asks(server, token, "tools/call", &json!({ "name": tool, "arguments": arguments })).is(200).json();
    said["result"].clone()
}

#[test]
fn an_agent_with_a_token_uses_tools_as_who_the_token_says() {
    let server = Server::new();
    let (own, other) = (server.token("agent:a", &["submit"]), server.token("agent:b", &["submit"]));
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    let info = asks(&server, &own, "initialize", &hello).is(200).json();
    assert_eq!(info["result"]["serverInfo"]["name"], "redress");
    let tools = asks(&server, &own, "tools/list", &json!({})).is(200).json();
    assert!(tools.to_string().contains("io-fs-write_file"), "{tools}");
    let write = json!({ "path": "/workspace/a", "content": "x" });
    let written = calls(&server, &own, "io-fs-write_file", &write);
    assert_eq!(written["structuredContent"]["state"], "COMPLETED");
    let run = &written["structuredContent"]["run"];
    assert_eq!(server.get(&format!("/v1/runs/{}", run.as_str().unwrap()), &own).is(200).json()["principal"], "agent:a");
    let open = calls(&server, &own, "transaction_begin", &json!({}))["structuredContent"]["run"].clone();
    let add = json!({ "run": open, "tool": "io-fs-delete", "arguments": { "path": "/workspace/a" } });
    assert_eq!(calls(&server, &other, "transaction_call", &add)["isError"], true, "it is not theirs");
    assert!(server.place.path("workspace/a").exists());
    assert_eq!(calls(&server, &own, "transaction_call", &add)["structuredContent"]["step_state"], "SUCCEEDED");
    assert!(!server.place.path("workspace/a").exists());
    let undone = calls(&server, &own, "transaction_rollback", &json!({ "run": open }));
    assert_eq!(undone["structuredContent"]["state"], "ROLLED_BACK");
    assert_eq!(server.place.read("workspace/a"), "x");
    assert_eq!(calls(&server, &other, "transaction_status", &json!({ "run": run }))["isError"], true);
}

#[test]
fn an_agent_without_a_token_for_it_gets_no_tool() {
    let server = Server::new();
    assert_eq!(asks(&server, "", "tools/list", &json!({})).is(401).problem(), "unauthorized");
    let reader = server.token("user:reviewer", &["read-all", "vote", "operate"]);
    assert_eq!(asks(&server, &reader, "tools/list", &json!({})).is(403).problem(), "forbidden");
    let own = server.token("agent:a", &["submit"]);
    let foreign = "Accept: application/json, text/event-stream\r\nOrigin: https://evil.example\r\n";
    assert_eq!(server.asks("POST", "/mcp", &own, foreign, "{}").is(403).problem(), "foreign");
    assert!(
        server.asks("POST", "/mcp", &own, "Accept: application/json, text/event-stream\r\n", "nonsense").status < 500
    );
    // Of two keys one reader takes the first and another the last.
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"io-fs-write_file","arguments":{"path":"/workspace/a","path":"/workspace/b","content":"x"}}}"#;
    let said =
        server.asks("POST", "/mcp", &own, "Accept: application/json, text/event-stream\r\n", twice).is(200).json();
    assert!(
        said["result"]["structuredContent"]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("the key `path` stands twice"),
        "{said}"
    );
    assert_eq!(server.get("/v1/runs", &own).is(200).json()["runs"], json!([]));
}

/// An open run whose client never comes back is undone.
#[test]
fn a_transaction_that_nobody_ends_is_rolled_back_when_it_was_idle_for_too_long() {
    let place = crate::common::Place::with_policy(crate::server::POLICY);
    place.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\nidle_timeout: 300ms\n");
    let server = Server::at(place);
    let own = server.token("agent:a", &["submit"]);
    let open = calls(&server, &own, "transaction_begin", &json!({}))["structuredContent"]["run"].clone();
    let write = json!({ "path": "/workspace/a", "content": "x" });
    calls(&server, &own, "transaction_call", &json!({ "run": open, "tool": "io-fs-write_file", "arguments": write }));
    let events = server.follow(&format!("/v1/runs/{}/events", open.as_str().unwrap()), &own, 0, |_| false);
    assert_eq!(events.last().unwrap().1, "RUN_CLOSED");
    assert!(!server.place.path("workspace/a").exists());
}
