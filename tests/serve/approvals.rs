//! Approvals over HTTP.

use serde_json::json;

use crate::server::{POLICY, Server};

#[test]
fn a_person_sees_exactly_what_waits_and_votes_for_the_request_that_was_seen() {
    let server = Server::new();
    let (own, voter) = (server.token("agent:a", &["submit", "vote"]), server.token("user:alice", &["vote"]));
    server.place.write("workspace/a", "x");
    let body = json!({ "capability": "io.fs.move", "inputs": { "from": "/workspace/a", "to": "/workspace/b" } });
    let run = server.post("/v1/runs?wait=30", &own, &body).is(201).json();
    assert_eq!(run["state"], "PAUSED");
    let id = run["run"].as_str().unwrap();
    let said = server.get("/v1/approvals", &voter).is(200).json();
    let waiting = &said["waiting"];
    assert_eq!((&waiting[0]["run"], &waiting[0]["input"]["to"]), (&run["run"], &"/workspace/b".into()));
    let request = waiting[0]["request"].as_str().unwrap();
    let vote = |token: &str, request: &str, approve: bool| {
        let body = json!({ "request": request, "approve": approve, "reason": "because" });
        server.post(&format!("/v1/runs/{id}/steps/call/votes"), token, &body)
    };
    // Whoever asks does not answer, another request is not this one, and a reason is needed.
    assert_eq!(vote(&own, request, true).is(409).problem(), "refused");
    assert_eq!(vote(&voter, "another", true).is(409).problem(), "refused");
    for nothing in ["", " \t", "\u{202e}\u{0}\u{1b}", &"é".repeat(4097)] {
        let mute = json!({ "request": request, "approve": true, "reason": nothing });
        let said = server.post(&format!("/v1/runs/{id}/steps/call/votes"), &voter, &mute);
        assert_eq!(said.is(400).problem(), "bad-reason");
    }
    assert!(server.place.path("workspace/a").exists());
    let done = vote(&voter, request, true).is(200).json();
    assert_eq!(done["state"], "COMPLETED");
    assert_eq!(server.place.read("workspace/b"), "x");
    assert_eq!(vote(&voter, request, true).is(409).problem(), "refused");
    assert_eq!(server.get("/v1/approvals", &voter).is(200).json()["waiting"], json!([]));
    let back = json!({ "capability": "io.fs.move", "inputs": { "from": "/workspace/b", "to": "/workspace/a" } });
    let run = server.post("/v1/runs?wait=30", &own, &back).is(201).json()["run"].as_str().unwrap().to_owned();
    let request = server.get("/v1/approvals", &voter).is(200).json()["waiting"][0]["request"].clone();
    let no = json!({ "request": request, "approve": false, "reason": "no" });
    let rejected = server.post(&format!("/v1/runs/{run}/steps/call/votes"), &voter, &no).is(200).json();
    assert_eq!(rejected["state"], "ROLLED_BACK");
}

/// What came later does not push what waits out of sight.
#[test]
fn what_waits_longest_is_on_the_first_page() {
    let server = Server::new();
    let (own, voter) = (server.token("agent:a", &["submit"]), server.token("user:alice", &["vote"]));
    let runs: Vec<String> = (0..103).map(|_| submitted(&server, &own)).collect();
    let page = |cursor: &str| {
        let page = server.get(&format!("/v1/approvals{cursor}"), &voter).is(200).json();
        let waiting = page["waiting"].as_array().unwrap();
        let runs: Vec<String> = waiting.iter().map(|one| one["run"].as_str().unwrap().to_owned()).collect();
        (runs, page["cursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = page("");
    assert_eq!(first, runs[..100]);
    assert_eq!(page(&format!("?cursor={}", cursor.unwrap())), (runs[100..].to_vec(), None));
}

/// A run that waits for a person, moving a file.
fn submitted(server: &Server, own: &str) -> String {
    server.place.write("workspace/a", "x");
    let body = json!({ "capability": "io.fs.move", "inputs": { "from": "/workspace/a", "to": "/workspace/b" } });
    server.post("/v1/runs?wait=30", own, &body).is(201).json()["run"].as_str().unwrap().to_owned()
}

#[test]
fn what_waits_goes_on_when_somebody_approves_in_another_process() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit"]);
    let run = submitted(&server, &own);
    // It finds the run in the hands of this one.
    server.place.redress(&["approve", &run, "call", "--reason", "y", "--as", "user:bob"]).exits(0);
    assert_eq!(server.place.read("workspace/b"), "x");
}

#[test]
fn what_waits_ends_when_its_time_is_over() {
    let server = Server::with_policy(&POLICY.replace("expires: 4h", "expires: 500ms"));
    let own = server.token("agent:a", &["submit"]);
    let run = submitted(&server, &own);
    let events = server.follow(&format!("/v1/runs/{run}/events"), &own, 0, |_| false);
    assert_eq!(events.last().unwrap().1, "RUN_CLOSED");
    assert_eq!(server.get(&format!("/v1/runs/{run}"), &own).is(200).json()["state"], "ROLLED_BACK");
    assert!(server.place.path("workspace/a").exists());
}

/// What waits is not lost, and not counted twice, when the service dies.
#[test]
fn a_vote_counts_once_also_if_the_service_dies_before_and_after() {
    let server = Server::with_policy(&POLICY.replace("expires: 4h", "expires: 4h, quorum: 2"));
    let own = server.token("agent:a", &["submit"]);
    let voters = ["user:alice", "user:bob"].map(|name| server.token(name, &["vote"]));
    server.place.write("workspace/a", "x");
    let body = json!({ "capability": "io.fs.move", "inputs": { "from": "/workspace/a", "to": "/workspace/b" } });
    let run = server.post("/v1/runs?wait=30", &own, &body).is(201).json()["run"].as_str().unwrap().to_owned();
    let server = Server::at(server.dies());
    let request = server.get("/v1/approvals", &voters[0]).is(200).json()["waiting"][0]["request"].clone();
    let yes = json!({ "request": request, "approve": true, "reason": "y" });
    let path = format!("/v1/runs/{run}/steps/call/votes");
    assert_eq!(server.post(&path, &voters[0], &yes).is(200).json()["state"], "PAUSED");
    let server = Server::at(server.dies());
    assert_eq!(server.post(&path, &voters[0], &yes).is(409).problem(), "refused");
    assert_eq!(server.post(&path, &voters[1], &yes).is(200).json()["state"], "COMPLETED");
    assert_eq!(server.place.read("workspace/b"), "x");
}
