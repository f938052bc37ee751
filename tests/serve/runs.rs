//! Runs over HTTP.

use serde_json::{Value, json};

use crate::server::Server;

fn write(name: &str) -> Value {
    json!({ "capability": "io.fs.write_file", "inputs": { "path": format!("/workspace/{name}"), "content": name } })
}

#[test]
fn a_run_is_submitted_once_under_its_key_and_is_shown_to_whom_it_belongs() {
    let server = Server::new();
    let (own, other) = (server.token("agent:a", &["submit"]), server.token("agent:b", &["submit"]));
    let made =
        server.asks("POST", "/v1/runs?wait=30", &own, "Idempotency-Key: k1\r\n", &write("a").to_string()).is(201);
    let run = made.json();
    assert_eq!((&run["state"], &run["principal"]), (&"COMPLETED".into(), &"agent:a".into()));
    let id = run["run"].as_str().unwrap();
    assert!(made.head.contains(&format!("location: /v1/runs/{id}")), "{made:#?}");
    assert_eq!(server.place.read("workspace/a"), "a");
    let again = server.asks("POST", "/v1/runs", &own, "Idempotency-Key: k1\r\n", &write("a").to_string()).is(200);
    assert_eq!(again.json()["run"], run["run"]);
    // One's key is nobody else's.
    let theirs = server.asks("POST", "/v1/runs?wait=30", &other, "Idempotency-Key: k1\r\n", &write("c").to_string());
    assert_ne!(theirs.is(201).json()["run"], run["run"]);
    let differs = server.asks("POST", "/v1/runs", &own, "Idempotency-Key: k1\r\n", &write("b").to_string());
    assert_eq!(differs.is(409).problem(), "run-key-taken");
    assert_eq!(server.get(&format!("/v1/runs/{id}"), &own).is(200).json(), run);
    for path in ["", "/events", "/logs"] {
        assert_eq!(server.get(&format!("/v1/runs/{id}{path}"), &other).is(404).problem(), "not-found");
    }
    let refused = server.post(&format!("/v1/runs/{id}/undo"), &other, &json!({ "reason": "x" }));
    assert_eq!(refused.is(404).problem(), "not-found");
    assert_eq!(server.get("/v1/runs", &other).is(200).json()["runs"].as_array().unwrap().len(), 1);
    let reader = server.token("user:reviewer", &["read-all"]);
    assert_eq!(server.get("/v1/runs?state=COMPLETED", &reader).is(200).json()["runs"][1]["run"], run["run"]);
    let undo = server.post(&format!("/v1/runs/{id}/undo"), &reader, &json!({ "reason": "x" }));
    assert_eq!(undo.is(403).problem(), "forbidden");
    let undone = server.post(&format!("/v1/runs/{id}/undo"), &own, &json!({ "reason": "not wanted" })).is(200).json();
    assert_eq!(undone["state"], "ROLLED_BACK");
    assert!(!server.place.path("workspace/a").exists());
    let metrics = server.get("/metrics", &reader).is(200).body;
    assert!(metrics.contains("redress_runs{state=\"ROLLED_BACK\"} 1\n"), "{metrics}");
    let (place, answer) = server.ends();
    answer.exits(0);
    place.redress(&["audit", "verify"]).exits(0);
}

#[test]
fn a_workflow_is_run_and_its_events_come_as_they_happen_and_again_from_any_of_them() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    let workflow = "name: two\ninputs: { word: x }\nsteps:\n  \
        - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, content: \"{{ inputs.word }}\" } }\n  \
        - { name: b, capability: io.fs.copy, inputs: { from: /workspace/a, to: /workspace/b } }\n";
    let body = json!({ "workflow": workflow, "inputs": { "word": "hello" } });
    let run = server.post("/v1/runs", &own, &body).is(201).json();
    let path = format!("/v1/runs/{}/events", run["run"].as_str().unwrap());
    let events = server.follow(&path, &own, 0, |_| false);
    let ids: Vec<u64> = events.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert_eq!((&*events[0].1, &*events.last().unwrap().1), ("RUN_SUBMITTED", "RUN_CLOSED"));
    assert_eq!(server.place.read("workspace/b"), "hello");
    assert_eq!(server.follow(&path, &own, 3, |_| false), events[3..]);
    let page = server.get(&format!("{path}?after=2"), &own).is(200).json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["after"]), (events.len() - 2, &Value::Null));
    assert_eq!(server.get(&format!("{path}?after=1000"), &own).is(400).problem(), "no-such-event");
    let failing = server.post(
        "/v1/runs?wait=30",
        &own,
        &json!({ "capability": "io.fs.read_file", "inputs": { "path": "/workspace/none" } }),
    );
    assert_eq!(failing.is(201).json()["state"], "ROLLED_BACK");
}

#[test]
fn an_open_run_takes_steps_until_it_is_committed_or_rolled_back() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    let open = || {
        server.post("/v1/runs?wait=10", &own, &json!({ "open": "session" })).is(201).json()["run"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let add = |run: &str, name: &str| {
        let body = json!({ "name": name, "capability": "io.fs.write_file", "inputs": { "path": format!("/workspace/{name}"), "content": "x" } });
        server.post(&format!("/v1/runs/{run}/steps"), &own, &body)
    };
    for name in ["", "two\nlines", &"x".repeat(129)] {
        assert_eq!(server.post("/v1/runs", &own, &json!({ "open": name })).is(409).problem(), "refused");
    }
    let run = open();
    // Whoever opens it once more under its key is told which it is, and takes it from nobody.
    let key = "Idempotency-Key: session-1\r\n";
    let keyed = || server.asks("POST", "/v1/runs?wait=10", &own, key, &json!({ "open": "keyed" }).to_string());
    let first = keyed().is(201).json()["run"].as_str().unwrap().to_owned();
    add(&first, "k1").is(201);
    assert_eq!(keyed().is(200).json()["run"], *first);
    add(&first, "k2").is(201);
    let owners = server.place.count(&redress::types::RunId::parse(&first).unwrap(), |event| event.kind() == "OWNER");
    assert_eq!(owners, 1);
    assert_eq!(add(&run, "a").is(201).json()["steps"][0]["state"], "SUCCEEDED");
    assert_eq!(add(&run, "a").is(409).problem(), "refused");
    add(&run, "b").is(201);
    let done = server.asks("POST", &format!("/v1/runs/{run}/commit"), &own, "", "").is(200).json();
    assert_eq!(done["state"], "COMPLETED");
    assert_eq!(add(&run, "c").is(409).problem(), "wrong-state");
    let run = open();
    // Who operates ends the runs of others by undoing them, and neither adds to them nor commits them.
    let operator = server.token("user:op", &["submit", "operate"]);
    let step =
        json!({ "name": "x", "capability": "io.fs.write_file", "inputs": { "path": "/workspace/x", "content": "x" } });
    assert_eq!(server.post(&format!("/v1/runs/{run}/steps"), &operator, &step).is(403).problem(), "forbidden");
    let commit = server.asks("POST", &format!("/v1/runs/{run}/commit"), &operator, "", "");
    assert_eq!(commit.is(403).problem(), "forbidden");
    add(&run, "d").is(201);
    let undone = server.post(&format!("/v1/runs/{run}/rollback"), &own, &json!({ "reason": "x" })).is(200).json();
    assert_eq!(undone["state"], "ROLLED_BACK");
    assert!(!server.place.path("workspace/d").exists() && server.place.path("workspace/b").exists());
}

/// What is begun is bounded: whoever submits more is told to come again, and loses nothing.
#[test]
fn while_there_are_as_many_runs_as_there_may_be_no_more_are_begun() {
    let place = crate::common::Place::with_policy(crate::server::POLICY);
    place.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\nmax_runs: 2\n");
    let server = Server::at(place);
    let own = server.token("agent:a", &["submit"]);
    let open = || server.post("/v1/runs?wait=10", &own, &json!({ "open": "session" }));
    let first = open().is(201).json()["run"].as_str().unwrap().to_owned();
    open().is(201);
    let busy = open().is(503);
    assert!(busy.head.contains("retry-after: 1"), "{busy:#?}");
    assert_eq!(busy.problem(), "busy");
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "transaction_begin", "arguments": {} } });
    let accept = "Accept: application/json, text/event-stream\r\n";
    let said = server.asks("POST", "/mcp", &own, accept, &call.to_string()).is(200).json();
    assert_eq!(said["result"]["structuredContent"]["error"]["code"], "busy");
    server.asks("POST", &format!("/v1/runs/{first}/commit"), &own, "", "").is(200);
    server.post("/v1/runs?wait=30", &own, &write("a")).is(201);
    // What waits for a person takes no room.
    for name in ["b", "c", "d"] {
        server.place.write(format!("workspace/{name}"), "x");
        let inputs = json!({ "from": format!("/workspace/{name}"), "to": "/workspace/z" });
        let body = json!({ "capability": "io.fs.move", "inputs": inputs });
        assert_eq!(server.post("/v1/runs?wait=30", &own, &body).is(201).json()["state"], "PAUSED");
    }
}

/// What was asked for is done whole, whoever waits for the answer: a client may go at any moment.
#[test]
fn a_run_whose_client_goes_away_while_it_is_submitted_comes_to_its_end() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    for i in 0..20 {
        let (at, body) = (server.at, write(&format!("w{i}")).to_string());
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        std::io::Write::write_all(
            &mut stream,
            format!(
                "POST /v1/runs HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {own}\r\nIdempotency-Key: k{i}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .unwrap();
        // What else the service does meanwhile, so that clients go at different moments.
        for _ in 0..i % 5 {
            server.get("/healthz", "").is(200);
        }
        drop(stream);
    }
    for i in 0..20 {
        let (key, body) = (format!("Idempotency-Key: k{i}\r\n"), write(&format!("w{i}")).to_string());
        let said = server.asks("POST", "/v1/runs?wait=30", &own, &key, &body);
        assert!([200, 201].contains(&said.status), "{said:#?}");
        assert_eq!(said.json()["state"], "COMPLETED", "whoever asks again waits for the same run");
    }
    assert_eq!(server.get("/v1/runs", &own).is(200).json()["runs"].as_array().unwrap().len(), 20);
}

/// Whoever submits the same at the same time gets the same run, and nobody takes it from whoever begins it.
#[test]
fn what_is_submitted_many_times_at_once_is_one_run_that_comes_to_its_end() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    for i in 0..20 {
        let (key, body) = (format!("Idempotency-Key: k{i}\r\n"), write(&format!("w{i}")).to_string());
        let asks = || server.asks("POST", "/v1/runs?wait=30", &own, &key, &body).json();
        let said: Vec<Value> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..5).map(|_| scope.spawn(asks)).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        for one in &said {
            assert_eq!((&one["state"], &one["run"]), (&"COMPLETED".into(), &said[0]["run"]));
        }
        let run = redress::types::RunId::parse(said[0]["run"].as_str().unwrap()).unwrap();
        assert_eq!(server.place.count(&run, |event| event.kind() == "OWNER"), 1, "the {i}th");
    }
}

#[test]
fn a_run_that_is_taken_over_for_a_request_that_is_refused_goes_on() {
    let place = crate::common::Place::with_policy(crate::server::POLICY);
    place.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\nidle_timeout: 300ms\n");
    let server = Server::at(place);
    let own = server.token("agent:a", &["submit"]);
    let run = server.post("/v1/runs?wait=10", &own, &json!({ "open": "session" })).is(201).json()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let step =
        json!({ "name": "a", "capability": "io.fs.write_file", "inputs": { "path": "/workspace/a", "content": "x" } });
    server.post(&format!("/v1/runs/{run}/steps"), &own, &step).is(201);
    let server = Server::at(server.dies());
    // Its answer may have been lost, and so it is asked for once more.
    let again = server.post(&format!("/v1/runs/{run}/steps"), &own, &step).is(409).problem();
    assert!(["refused", "wrong-state"].contains(&&*again), "{again}");
    let events = server.follow(&format!("/v1/runs/{run}/events"), &own, 0, |_| false);
    assert_eq!(events.last().unwrap().1, "RUN_CLOSED");
    assert!(!server.place.path("workspace/a").exists());
}

/// Many runs of one process that died are taken over at the same time, and none is taken for one that is still alive.
#[test]
fn after_a_death_every_open_run_is_committed_by_whoever_asks_for_it() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    let open = |_| {
        let made = server.post("/v1/runs?wait=10", &own, &json!({ "open": "session" })).is(201).json();
        made["run"].as_str().unwrap().to_owned()
    };
    let runs: Vec<String> = (0..24).map(open).collect();
    let server = Server::at(server.dies());
    std::thread::scope(|scope| {
        let (server, own) = (&server, &own);
        for run in &runs {
            scope.spawn(move || {
                let done = server.asks("POST", &format!("/v1/runs/{run}/commit"), own, "", "").is(200).json();
                assert_eq!(done["state"], "COMPLETED");
            });
        }
    });
}

#[test]
fn the_key_of_a_run_is_nobody_elses_however_they_are_named() {
    let server = Server::new();
    let (one, other) = (server.token("agent:a", &["submit"]), server.token("agent:a/b", &["submit"]));
    let submitted = |token: &str, key: &str| {
        let said = server.asks(
            "POST",
            "/v1/runs?wait=30",
            token,
            &format!("Idempotency-Key: {key}\r\n"),
            &write("a").to_string(),
        );
        said.is(201).json()["run"].clone()
    };
    assert_ne!(submitted(&one, "b/k"), submitted(&other, "k"));
}

/// Whatever goes on when it dies goes on when it is there again.
#[test]
fn a_service_that_is_killed_and_started_again_brings_every_run_to_rest() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    let steps: String = (0..60)
        .map(|i| format!("  - {{ name: s{i}, capability: io.fs.write_file, inputs: {{ path: \"/workspace/{{{{ inputs.of }}}}-{i}\", content: x }} }}\n"))
        .collect();
    let workflow = format!("name: many\ninputs: {{ of: x }}\nsteps:\n{steps}");
    let mut runs = Vec::new();
    for of in 0..4 {
        let body = json!({ "workflow": workflow, "inputs": { "of": of.to_string() } });
        runs.push(server.post("/v1/runs", &own, &body).is(201).json()["run"].as_str().unwrap().to_owned());
    }
    // In the middle of the first.
    server.follow(&format!("/v1/runs/{}/events", runs[0]), &own, 0, |seq| seq >= 20);
    let server = Server::at(server.dies());
    for run in &runs {
        let events = server.follow(&format!("/v1/runs/{run}/events"), &own, 0, |_| false);
        assert_eq!(events.last().unwrap().1, "RUN_CLOSED");
        assert_eq!(server.get(&format!("/v1/runs/{run}"), &own).is(200).json()["state"], "COMPLETED");
    }
    assert_eq!(std::fs::read_dir(server.place.path("workspace")).unwrap().count(), 4 * 60);
    let (place, answer) = server.ends();
    answer.exits(0);
    place.redress(&["audit", "verify"]).exits(0);
}
