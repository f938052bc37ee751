//! The description of the service, in OpenAPI 3.1.

use serde_json::{Map, Value, json};

/// The document. What it says of paths is checked against the table that serves them.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Redress",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs side effects so that each is permitted, confined, recorded and reversible.",
        },
        "security": [{ "token": [] }],
        "paths": paths(),
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({ kind: { "schema": schema } })
}

/// The same object with one more field.
fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    object
}

/// One operation: its id, what it does, and what it answers with, besides problems.
struct Operation {
    id: &'static str,
    summary: &'static str,
    answers: Vec<(&'static str, Value)>,
    problems: &'static [&'static str],
    parameters: Vec<Value>,
    body: Option<&'static str>,
    open: bool,
}

impl Operation {
    fn new(id: &'static str, summary: &'static str, answer: Value) -> Operation {
        let (parameters, body) = Default::default();
        Operation { id, summary, answers: vec![("200", answer)], problems: &[], parameters, body, open: false }
    }

    fn also(mut self, status: &'static str, answer: Value) -> Operation {
        self.answers.push((status, answer));
        self
    }

    fn only(mut self, status: &'static str) -> Operation {
        for (known, _) in &mut self.answers {
            *known = status;
        }
        self
    }

    fn of_run(mut self) -> Operation {
        let id = json!({ "type": "string", "format": "uuid" });
        self.parameters.push(json!({ "name": "run", "in": "path", "required": true, "schema": id }));
        self
    }

    fn with(mut self, name: &str, place: &str, schema: &Value) -> Operation {
        let required = place == "path";
        self.parameters.push(json!({ "name": name, "in": place, "required": required, "schema": schema }));
        self
    }

    fn takes(mut self, body: &'static str) -> Operation {
        self.body = Some(body);
        self
    }

    fn problems(mut self, problems: &'static [&'static str]) -> Operation {
        self.problems = problems;
        self
    }

    fn without_token(mut self) -> Operation {
        self.open = true;
        self
    }

    fn value(self) -> Value {
        let mut answers = Map::new();
        for (status, answer) in self.answers {
            let description = if status == "201" { "Made" } else { "Done" };
            answers.insert(status.to_owned(), json!({ "description": description, "content": answer }));
        }
        let always: &[&str] = if self.open { &["403", "405", "503"] } else { &["401", "403", "405", "429", "503"] };
        for status in always.iter().chain(self.problems) {
            let problem = content("application/problem+json", &schema("Problem"));
            answers.insert((*status).to_owned(), json!({ "description": "A problem", "content": problem }));
        }
        let mut value = json!({ "operationId": self.id, "summary": self.summary, "parameters": self.parameters, "responses": answers });
        if let Some(body) = self.body {
            let content = content("application/json", &schema(body));
            value = with(value, "requestBody", json!({ "required": true, "content": content }));
        }
        if self.open {
            value = with(value, "security", json!([]));
        }
        value
    }
}

fn paths() -> Value {
    let text = content("text/plain", &json!({ "type": "string" }));
    let run = || content("application/json", &schema("Run"));
    let coming = json!({ "schema": { "type": "string" } });
    let pages = with(content("application/json", &schema("Events")), "text/event-stream", coming);
    let json = |name: &str| content("application/json", &schema(name));
    let list = |name: &str| content("application/json", &json!({ "type": "array", "items": schema(name) }));
    let wait = json!({ "type": "integer", "minimum": 0, "maximum": 60 });
    let state = json!({ "type": "string", "enum": states() });
    let seq = json!({ "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 });
    let key = json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]([ -~]*[!-~])?$" });
    let string = json!({ "type": "string" });
    const OF_RUN: &[&str] = &["400", "404", "410"];
    const CHANGES: &[&str] = &["400", "404", "409", "410", "413", "415", "422"];
    let changes = |id, summary| Operation::new(id, summary, run()).of_run().takes("Why").problems(CHANGES).value();
    json!({
        "/healthz": { "get": Operation::new("health", "Whether the service lives", text.clone()).without_token().value() },
        "/readyz": { "get": Operation::new("ready", "Whether runs can be submitted", text.clone()).without_token().value() },
        "/openapi.json": {
            "get": Operation::new("openapi", "This document", content("application/json", &json!({ "type": "object" })))
                .without_token().value(),
        },
        "/metrics": { "get": Operation::new("metrics", "Numbers for Prometheus", text).value() },
        "/v1/whoami": {
            "get": Operation::new("whoami", "Who asks, as the token says", json("Who")).value(),
        },
        "/v1/capabilities": {
            "get": Operation::new("capabilities", "What the caller may ask for, or all", list("Capability"))
                .with("all", "query", &json!({ "type": "boolean" })).problems(&["400"]).value(),
        },
        "/v1/capabilities/{capability}/review": {
            "get": Operation::new("review", "What a capability asked for, was granted and used", json("Review"))
                .with("capability", "path", &string).with("since", "query", &string).problems(&["400", "404"]).value(),
        },
        "/v1/policy": { "get": Operation::new("policy", "The policy in force", json("Policy")).value() },
        "/v1/policy/explain": {
            "post": Operation::new("explain", "Why the policy would answer as it does", json("Explanation"))
                .takes("Supposed").problems(&["400", "413", "415", "422"]).value(),
        },
        "/v1/audit": { "get": Operation::new("audit", "How many runs there are, and where the record ends", json("Audit")).value() },
        "/v1/audit/verify": {
            "post": Operation::new("verify", "Whether the record is as it was written", json("Report")).value(),
        },
        "/v1/system/events": {
            "get": Operation::new("systemEvents", "What belongs to no run: refusals, tokens, policies", json("Events"))
                .with("after", "query", &seq).problems(&["400"]).value(),
        },
        "/v1/runs": {
            "get": Operation::new("listRuns", "Runs, newest first", content("application/json", &schema("Runs")))
                .with("state", "query", &state).with("cursor", "query", &string).problems(&["400"]).value(),
            "post": Operation::new("submit", "Submit a workflow or a call, or open a run", run()).also("201", run())
                .with("wait", "query", &wait).with("idempotency-key", "header", &key).takes("Submission")
                .problems(&["400", "409", "413", "415", "422"]).value(),
        },
        "/v1/runs/{run}": {
            "get": Operation::new("showRun", "One run, step by step", run()).of_run().problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/steps": {
            "post": Operation::new("addStep", "Add a step to an open run, and wait for it", run()).only("201").of_run()
                .takes("Step").problems(CHANGES).value(),
        },
        "/v1/runs/{run}/commit": {
            "post": Operation::new("commit", "End an open run", run()).of_run().problems(CHANGES).value(),
        },
        "/v1/runs/{run}/rollback": { "post": changes("rollBack", "Undo everything that an open run did") },
        "/v1/runs/{run}/cancel": { "post": changes("cancel", "Roll a run back") },
        "/v1/runs/{run}/undo": { "post": changes("undo", "Roll a completed run back") },
        "/v1/runs/{run}/events": {
            "get": Operation::new("events", "The events of a run: a page, or as they come", pages)
                .of_run().with("after", "query", &seq).problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/logs": {
            "get": Operation::new("logs", "What components printed", list("Log")).of_run().problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/steps/{step}/change": {
            "get": Operation::new("change", "What a step that waits would change in a file; null if nobody can tell", json("Change"))
                .of_run().with("step", "path", &string).problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/steps/{step}/votes": {
            "post": Operation::new("vote", "Approve or reject what a step waits for", run()).of_run()
                .with("step", "path", &string).takes("Vote").problems(CHANGES).value(),
        },
        "/v1/approvals": {
            "get": Operation::new("approvals", "What waits for a person", list("Waiting"))
                .with("run", "query", &string).problems(&["400"]).value(),
        },
    })
}

fn states() -> Vec<&'static str> {
    crate::saga::RunState::ALL.map(crate::saga::RunState::as_str).to_vec()
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let maybe = json!({ "type": ["string", "null"] });
    let (state, any) = (json!({ "type": "string", "enum": states() }), json!({ "type": "object" }));
    let number = json!({ "type": "integer", "minimum": 0 });
    let list = |item: &Value| json!({ "type": "array", "items": item });
    let closed = |schema: Value| with(schema, "additionalProperties", json!(false));
    json!({
        "Problem": object(&["type", "title", "status", "detail", "code"], &json!({
            "type": text, "title": text, "status": number, "detail": text, "code": text,
        })),
        "Submission": closed(object(&[], &json!({
            "workflow": { "type": "string", "description": "A workflow file" },
            "capability": { "type": "string", "description": "A capability that is called once" },
            "open": { "type": "string", "description": "The name of an open run" },
            "inputs": any,
        }))),
        "Step": closed(object(&["name", "capability"], &json!({ "name": text, "capability": text, "inputs": any }))),
        "Why": closed(object(&["reason"], &json!({ "reason": { "type": "string", "minLength": 1, "maxLength": 4096 } }))),
        "Vote": closed(object(&["request", "approve", "reason"], &json!({
            "request": { "type": "string", "description": "The request that was seen" },
            "approve": { "type": "boolean" },
            "reason": { "type": "string", "minLength": 1, "maxLength": 4096 },
        }))),
        "Run": object(&["schema", "run", "workflow", "principal", "state", "submitted", "steps", "residue"], &json!({
            "schema": number, "run": text, "workflow": text, "principal": text, "host": any, "state": state,
            "reason": { "type": ["object", "null"] }, "submitted": text, "closed": maybe,
            "steps": list(&schema("ShownStep")), "residue": list(&any),
        })),
        "ShownStep": object(&["name", "state", "attempts", "effects", "undos"], &json!({
            "name": text, "capability": maybe, "depends_on": list(&text), "state": text, "checked": { "type": "boolean" }, "attempts": number,
            "decision": { "type": ["object", "null"] }, "approval": { "type": ["object", "null"] },
            "error": { "type": ["object", "null"] }, "effects": list(&any), "undos": list(&any),
        })),
        "Runs": object(&["runs", "cursor"], &json!({ "cursor": maybe, "runs": list(&object(
            &["run", "workflow", "principal", "state", "submitted", "closed"],
            &json!({ "run": text, "workflow": text, "principal": text, "state": state, "submitted": text, "closed": maybe }),
        )) })),
        "Events": object(&["events", "after"], &json!({
            "after": { "type": ["integer", "null"] },
            "events": list(&object(&["seq", "at", "event"], &json!({ "seq": number, "at": text, "event": any }))),
        })),
        "Log": object(&["step", "attempt", "undo", "text"], &json!({
            "step": text, "attempt": number, "undo": { "type": "boolean" }, "text": text,
        })),
        "Waiting": object(&["run", "step", "request", "approvers", "expires", "requesters"], &json!({
            "run": text, "step": text, "workflow": text, "request": text, "approvers": list(&text), "expires": text,
            "requesters": list(&text), "input": {}, "masked": { "type": "boolean" }, "risk": text, "undo": text,
        })),
        "Who": object(&["schema", "token", "principal", "acting_for", "scopes", "expires"], &json!({
            "schema": number, "token": text, "principal": text, "acting_for": maybe, "scopes": list(&text), "expires": maybe,
        })),
        "Review": object(&["schema", "more", "unreadable", "policy", "runs", "capabilities", "suggested"], &json!({
            "schema": number, "more": { "type": "boolean" }, "unreadable": number, "policy": text, "runs": number,
            "capabilities": list(&any), "suggested": list(&any),
        })),
        "Policy": object(&["schema", "policy", "name", "text", "shadow"], &json!({
            "schema": number, "policy": text, "name": text, "text": text, "shadow": maybe,
        })),
        "Supposed": closed(object(&["principal", "capability"], &json!({
            "principal": text, "acting_for": maybe, "capability": text, "risk": maybe, "inputs": { "type": ["object", "null"] },
        }))),
        "Explanation": object(&["schema", "installed", "principals", "declared_risk", "decision", "help", "grant"], &json!({
            "schema": number, "installed": { "type": "boolean" }, "principals": list(&any), "declared_risk": text,
            "decision": any, "help": text, "grant": { "type": ["object", "null"] },
        })),
        "Audit": object(&["schema", "head", "runs"], &json!({
            "schema": number, "head": { "type": ["object", "null"] },
            "runs": list(&object(&["state", "count"], &json!({ "state": state, "count": number }))),
        })),
        "Report": object(&["schema", "journal", "whole", "chains", "events", "findings"], &json!({
            "schema": number, "journal": text, "whole": { "type": "boolean" }, "chains": number, "events": number,
            "payloads": number, "decisions": number, "checkpoints": number, "findings": list(&any),
        })),
        "Change": { "oneOf": [{ "type": "null" }, object(&["schema", "target", "now", "lines", "why"], &json!({
            "schema": number, "target": text, "now": { "enum": ["absent", "file", "other"] }, "why": maybe,
            "lines": list(&object(&["kind", "now", "then", "text"], &json!({
                "kind": { "enum": ["stays", "added", "removed", "left_out"] },
                "now": { "type": ["integer", "null"] }, "then": { "type": ["integer", "null"] }, "text": text,
            }))),
        }))] },
        "Capability": object(&["id", "component", "title", "summary", "risk", "effect", "idempotent", "asks", "input", "output"], &json!({
            "id": text, "component": text, "title": text, "summary": text, "risk": text, "effect": text, "asks": list(&text),
            "idempotent": { "type": "boolean" }, "input": {}, "output": {},
        })),
    })
}
