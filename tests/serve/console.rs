//! What the console asks for, and the files that it is made of.

use serde_json::{Value, json};

use crate::server::{POLICY, Server};

/// The policy, with a rule under which writing a file waits for a person.
fn writing_waits() -> Server {
    let rule = r#"  - { principal: "agent:*", capabilities: ["io.fs.write_file", "io.fs.append_file", "io.fs.delete"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:*"], expires: 4h } }
"#;
    Server::with_policy(&POLICY.replace("rules:\n", &format!("rules:\n{rule}")))
}

fn paused(server: &Server, own: &str, capability: &str, inputs: &Value) -> String {
    let body = json!({ "capability": capability, "inputs": inputs });
    let run = server.post("/v1/runs?wait=30", own, &body).is(201).json();
    assert_eq!(run["state"], "PAUSED", "{run}");
    run["run"].as_str().unwrap().to_owned()
}

#[test]
fn the_files_of_the_console_are_given_to_everybody_and_may_do_nothing_but_ask_this_service() {
    let server = Server::new();
    let said = server.get("/", "").is(303);
    assert!(said.head.contains("location: /console"), "{said:#?}");
    let page = server.get("/console", "").is(200);
    for part in [
        "content-type: text/html; charset=utf-8",
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(part), "{part}: {}", page.head);
    }
    assert!(!page.head.contains("unsafe"), "{}", page.head);
    // Every file that a file names is there, and nothing that is elsewhere.
    let (mut left, mut seen) = (vec!["/console".to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        let text = server.get(&path, "").is(200).body;
        for word in text.split(['"', '\'']) {
            let elsewhere = word.starts_with("//") && !word.contains(' ') || word.starts_with("https:");
            assert!(!elsewhere, "{path}: {word}");
            let named = match word.strip_prefix("./") {
                Some(name) if name.ends_with(".js") => format!("/console/{name}"),
                _ if word.starts_with("/console/") => word.to_owned(),
                _ => continue,
            };
            if !seen.contains(&named) {
                seen.push(named.clone());
                left.push(named);
            }
        }
        assert!(!text.contains("innerHTML") && !text.contains("eval("), "{path}");
    }
    assert_eq!(seen.len(), 13, "{seen:?}");
    // The states that can be chosen are those that there are.
    let runs = server.get("/console/runs.js", "").is(200).body;
    for state in redress::saga::RunState::ALL {
        assert!(runs.contains(&format!("'{state}'")), "{state}");
    }
    assert_eq!(server.asks("POST", "/console", "", "", "").is(405).problem(), "wrong-method");
    assert_eq!(server.get("/console/none.js", "").is(401).problem(), "unauthorized");
}

#[test]
fn whoever_asks_is_told_as_whom_the_token_counts() {
    let server = Server::new();
    let voter = server.token("user:alice", &["vote", "read-all"]);
    let who = server.get("/v1/whoami", &voter).is(200).json();
    assert_eq!((&who["principal"], &who["scopes"]), (&"user:alice".into(), &json!(["read-all", "vote"])));
    assert!(who["expires"].is_string() && who["acting_for"].is_null(), "{who}");
}

#[test]
fn a_write_that_waits_shows_line_by_line_what_it_would_change() {
    let server = writing_waits();
    let (own, voter) = (server.token("agent:a", &["submit"]), server.token("user:alice", &["vote"]));
    server.place.write("workspace/a", "one\ntwo\nthree\n");
    let inputs = json!({ "path": "/workspace/a", "content": "one\n2\nthree\n" });
    let run = paused(&server, &own, "io.fs.write_file", &inputs);
    let path = format!("/v1/runs/{run}/steps/call/change");
    let change = server.get(&path, &voter).is(200).json();
    let lines: Vec<(&str, &str)> = change["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["kind"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    assert_eq!(lines, [("stays", "one"), ("removed", "two"), ("added", "2"), ("stays", "three")]);
    assert_eq!((&change["now"], &change["target"]), (&"file".into(), &"/workspace/a".into()));
    assert_eq!(server.get(&path, &own).is(403).problem(), "forbidden");
    let waiting = server.get(&format!("/v1/approvals?run={run}"), &voter).is(200).json()["waiting"].clone();
    assert_eq!(waiting.as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v1/approvals?run=x", &voter).is(400).problem(), "bad-query");
    let none = "01920000-0000-7000-8000-00000000000a";
    assert_eq!(server.get(&format!("/v1/approvals?run={none}"), &voter).is(200).json()["waiting"], json!([]));
    assert_eq!(server.get(&format!("/v1/runs/{none}/steps/call/change"), &voter).is(404).problem(), "not-found");
    assert_eq!(server.get(&format!("/v1/runs/{run}/steps/none/change"), &voter).is(200).json(), Value::Null);
    // Of others it is known only where the file is, and what the sandbox would not open is not looked at.
    std::os::unix::fs::symlink("/etc/hostname", server.place.path("workspace/out")).unwrap();
    for (capability, inputs, why) in [
        ("io.fs.write_file", json!({ "path": "/workspace/out", "content": "x" }), "it cannot be read under the grant"),
        (
            "io.fs.delete",
            json!({ "path": "/workspace/out" }),
            "what stands there is a link, which the call refuses to delete",
        ),
    ] {
        let run = paused(&server, &own, capability, &inputs);
        let change = server.get(&format!("/v1/runs/{run}/steps/call/change"), &voter).is(200).json();
        assert_eq!((&change["lines"], &change["why"]), (&json!([]), &why.into()));
        let waiting = server.get(&format!("/v1/approvals?run={run}"), &voter).is(200).json()["waiting"][0].clone();
        // Approved for a link, it is not for the file that somebody puts in its place.
        std::fs::rename(server.place.path("workspace/out"), server.place.path("workspace/kept")).unwrap();
        server.place.write("workspace/out", "x");
        let yes = json!({ "request": waiting["request"], "seen": change["seen"], "approve": true, "reason": "y" });
        let said = server.post(&format!("/v1/runs/{run}/steps/call/votes"), &voter, &yes).is(409);
        assert!(said.body.contains("not as it was seen"), "{said:#?}");
        std::fs::rename(server.place.path("workspace/kept"), server.place.path("workspace/out")).unwrap();
    }
    server.place.write("workspace/b", "\u{fffd}");
    std::fs::write(server.place.path("workspace/b"), [0xff, 0xfe]).unwrap();
    let run = paused(&server, &own, "io.fs.delete", &json!({ "path": "/workspace/b" }));
    let change = server.get(&format!("/v1/runs/{run}/steps/call/change"), &voter).is(200).json();
    assert_eq!(change["why"], "it is not text");
}

/// A vote that names what was seen is for that alone.
#[test]
fn a_vote_counts_only_if_what_was_seen_stands_there_still() {
    let server = writing_waits();
    let (own, voter) = (server.token("agent:a", &["submit"]), server.token("user:alice", &["vote"]));
    let run = paused(&server, &own, "io.fs.write_file", &json!({ "path": "/workspace/a", "content": "new\n" }));
    let request = server.get("/v1/approvals", &voter).is(200).json()["waiting"][0]["request"].clone();
    let seen = || server.get(&format!("/v1/runs/{run}/steps/call/change"), &voter).is(200).json()["seen"].clone();
    let vote = |seen: &Value| {
        let body = json!({ "request": request, "seen": seen, "approve": true, "reason": "y" });
        server.post(&format!("/v1/runs/{run}/steps/call/votes"), &voter, &body)
    };
    let nothing = seen();
    server.place.write("workspace/a", "");
    let empty = seen();
    server.place.write("workspace/a", "theirs\n");
    assert_ne!(nothing, empty, "a file that is empty is not none");
    for before in [&nothing, &empty] {
        let said = vote(before).is(409);
        assert!(said.problem() == "refused" && said.body.contains("not as it was seen"), "{said:#?}");
    }
    assert_eq!(vote(&"sha256:0".into()).is(422).problem(), "bad-body");
    assert_eq!(server.place.read("workspace/a"), "theirs\n");
    let told = server.place.redress(&["events", "system", "--json"]).exits(0).stdout;
    assert_eq!(told.matches("not as it was seen").count(), 2, "{told}");
    let theirs = seen();
    server.place.write("workspace/b", "theirs\n");
    let other = paused(&server, &own, "io.fs.write_file", &json!({ "path": "/workspace/b", "content": "new\n" }));
    let path = format!("/v1/runs/{other}/steps/call");
    let same = server.get(&format!("{path}/change"), &voter).is(200).json()["seen"].clone();
    assert_ne!(same, theirs, "what names the content of a file for one request says nothing to another");
    // A no is one, whatever stands there.
    let waiting = server.get(&format!("/v1/approvals?run={other}"), &voter).is(200).json()["waiting"][0].clone();
    let no = json!({ "request": waiting["request"], "approve": false, "reason": "n" });
    assert_eq!(server.post(&format!("{path}/votes"), &voter, &no).is(200).json()["state"], "ROLLED_BACK");
    assert_eq!(vote(&theirs).is(200).json()["state"], "COMPLETED");
    assert_eq!(server.place.read("workspace/a"), "new\n");
    // Once it is decided, that is what one is told, and nothing of what stands there.
    for seen in [&theirs, &nothing] {
        let said = vote(seen).is(409);
        assert!(!said.body.contains("seen"), "{said:#?}");
    }
}

/// A look at what a call would change is no way to read what one may not.
#[test]
fn what_a_call_would_change_is_shown_to_those_alone_who_may_answer_it() {
    let server = writing_waits();
    let (own, agent) = (server.token("agent:a", &["submit", "vote"]), server.token("agent:other", &["vote"]));
    server.place.write("workspace/a", "secret\n");
    let run = paused(&server, &own, "io.fs.delete", &json!({ "path": "/workspace/a" }));
    let path = format!("/v1/runs/{run}/steps/call/change");
    for token in [&own, &agent] {
        let said = server.get(&path, token).is(409);
        assert!(!said.body.contains("secret") && said.problem() == "refused", "{said:#?}");
    }
    let (mut place, _) = server.ends();
    let policy = place.read("policy.yaml");
    for (marked, target) in [
        ("io.fs.read_file\"], fields: [\"outputs.content", "/workspace/a"),
        ("io.fs.delete\"], fields: [\"inputs.path", "(sensitive)"),
    ] {
        place.write("policy.yaml", format!("{policy}sensitive:\n  - {{ capabilities: [\"{marked}\"] }}\n"));
        let server = Server::at(place);
        let voter = server.token("user:alice", &["vote"]);
        let change = server.get(&path, &voter).is(200).json();
        assert_eq!((&change["lines"], &change["target"]), (&json!([]), &target.into()), "{change}");
        (place, _) = server.ends();
    }
}

#[test]
fn a_reviewer_sees_what_was_asked_granted_and_used_and_why_the_policy_answers() {
    let server = Server::new();
    let (own, reader) = (server.token("agent:a", &["submit"]), server.token("user:reviewer", &["read-all"]));
    let write = json!({ "capability": "io.fs.write_file", "inputs": { "path": "/workspace/a", "content": "x" } });
    server.post("/v1/runs?wait=30", &own, &write).is(201);
    let review = server.get("/v1/capabilities/io.fs.write_file/review?since=1d", &reader).is(200).json();
    assert_eq!(review["runs"], 1);
    assert_eq!(review["capabilities"][0]["used"]["changed"][0]["guest"], "/workspace");
    assert!(!review["capabilities"][0]["asked"].as_array().unwrap().is_empty());
    assert_eq!(server.get("/v1/capabilities/none.such/review", &reader).is(404).problem(), "not-found");
    let bad = server.get("/v1/capabilities/io.fs.write_file/review?since=soon", &reader);
    assert_eq!(bad.is(400).problem(), "bad-query");

    let ids = |path: &str, token: &str| server.get(path, token).is(200).json().as_array().unwrap().len();
    assert!(ids("/v1/capabilities?all=true", &reader) > ids("/v1/capabilities", &own));
    assert_eq!(ids("/v1/capabilities", &reader), 0, "the policy lets a reviewer ask for nothing");
    assert_eq!(server.get("/v1/capabilities?all=true", &own).is(403).problem(), "forbidden");

    let policy = server.get("/v1/policy", &reader).is(200).json();
    assert_eq!((&policy["text"], &policy["shadow"]), (&POLICY.into(), &Value::Null));
    let explain = |body: Value| server.post("/v1/policy/explain", &reader, &body);
    let said = explain(json!({ "principal": "agent:a", "capability": "io.fs.move" })).is(200).json();
    assert_eq!((&said["decision"]["action"], &said["installed"]), (&"REQUIRE_APPROVAL".into(), &true.into()));
    let both = json!({ "principal": "agent:a", "acting_for": "user:alice", "capability": "io.fs.write_file" });
    assert_eq!(explain(both).is(200).json()["decision"]["action"], "DENY", "the stricter answer holds");
    let none = explain(json!({ "principal": "agent:a", "capability": "io.fs.movee" })).is(200).json();
    assert_eq!((&none["installed"], &none["decision"]["action"]), (&false.into(), &"DENY".into()));
    for wrong in [
        json!({ "principal": "a b", "capability": "io.fs.move" }),
        json!({ "principal": "agent:a", "capability": "a b" }),
        json!({ "principal": "agent:a", "capability": "io.fs.move", "risk": "SOME" }),
    ] {
        assert_eq!(explain(wrong).is(400).problem(), "bad-question");
    }

    let status = server.get("/v1/audit", &reader).is(200).json();
    assert_eq!(status["runs"].as_array().unwrap().iter().filter(|one| one["count"] != 0).count(), 1);
    let report = server.asks("POST", "/v1/audit/verify", &reader, "", "").is(200).json();
    assert_eq!((&report["whole"], &report["findings"]), (&true.into(), &json!([])));
    assert!(report["decisions"].as_u64() >= Some(1), "{report}");
    let events = server.get("/v1/system/events", &reader).is(200).json();
    let kinds: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|entry| entry["event"]["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"TOKEN_ADDED") && kinds.contains(&"POLICY_LOADED"), "{kinds:?}");
    let beyond = server.get("/v1/system/events?after=9007199254740992", &reader);
    assert_eq!(beyond.is(400).problem(), "no-such-event");
    for path in ["/v1/policy", "/v1/audit", "/v1/system/events", "/v1/capabilities/io.fs.move/review"] {
        assert_eq!(server.get(path, &own).is(403).problem(), "forbidden", "{path}");
    }
    assert_eq!(server.asks("POST", "/v1/audit/verify", &own, "", "").is(403).problem(), "forbidden");
}
