//! Servers that never end, and components that send without measure.

use std::sync::mpsc;

use redress::saga::event::Outcome;
use redress::sandbox::Report;
use redress::types::{EffectStatus, Grant, HttpMethod, Limits, UrlGrant, code};
use serde_json::{Value, json};

use super::passed;
use crate::common::*;
use crate::server::{Reply, Server};

/// A server that answers with `start` and then with `more` for as long as somebody listens.
fn endless(start: &'static str, more: &'static str) -> Server {
    Server::start(move |_| {
        Reply::Talk(Box::new(move |stream| {
            let mut alive = stream.write_all(start.as_bytes()).is_ok();
            let block = more.repeat(4096 / more.len() + 1);
            while alive {
                alive = stream.write_all(block.as_bytes()).and_then(|()| stream.flush()).is_ok();
            }
        }))
    })
}

/// A server that answers with `start` and then with one more byte every few milliseconds.
fn dripping(start: &'static str) -> Server {
    Server::start(move |_| {
        Reply::Talk(Box::new(move |stream| {
            let (_never, pace) = mpsc::channel::<()>();
            let mut alive = stream.write_all(start.as_bytes()).is_ok();
            while alive {
                let _ = pace.recv_timeout(std::time::Duration::from_millis(5));
                alive = stream.write_all(b"x").and_then(|()| stream.flush()).is_ok();
            }
        }))
    })
}

fn send(server: &Server, request: Value, change: impl FnOnce(&mut Limits)) -> Report {
    send_all(server, vec![request], change)
}

fn send_all(server: &Server, mut requests: Vec<Value>, change: impl FnOnce(&mut Limits)) -> Report {
    let reads = requests.iter().all(|request| request["method"] == "GET");
    for request in &mut requests {
        request["url"] = json!(server.url("/"));
    }
    let url = UrlGrant {
        url: server.url("/**"),
        methods: HttpMethod::ALL.to_vec(),
        query: false,
        local: false,
        reads_are_effects: false,
    };
    let mut grant = Grant { network: vec![url], ..Grant::default() };
    change(&mut grant.limits);
    let capability = if reads { "test.http.read" } else { "test.http.change" };
    run(execution(&guest("http"), capability, json!({ "requests": requests }), grant), &Recorder::new())
}

fn get() -> Value {
    json!({ "method": "GET" })
}

#[track_caller]
fn assert_passed(report: Report, outcome: Outcome, limit: &str, value: u64) {
    assert_eq!(report.outcome, outcome, "{report:?}");
    let failure = report.result.unwrap_err();
    assert_eq!((failure.code, failure.message), passed(limit, value));
}

#[test]
pub fn headers_are_bounded_in_both_directions() {
    let small = |limits: &mut Limits| limits.header_bytes = 20_000;
    // One header without end, headers without end, and statuses before the answer without end.
    for start in ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\n"] {
        let more = if start.ends_with(' ') { "y" } else { "a: b\r\n" };
        let report = send(&endless(start, more), get(), small);
        assert_passed(report, Outcome::Clean, "header_bytes", 20_000);
    }
    // What the component sends never leaves.
    let server = Server::start(|_| Reply::ok(""));
    let bomb: serde_json::Map<String, Value> = (0..30).map(|i| (format!("x-{i}"), json!("y".repeat(1_000)))).collect();
    let report = send(&server, json!({ "method": "POST", "headers": bomb }), small);
    assert_eq!((report.evidence.let_out, server.connections()), (false, 0), "{report:?}");
    assert_passed(report, Outcome::Clean, "header_bytes", 20_000);
}

#[test]
pub fn an_endless_answer_is_bounded() {
    let small = |limits: &mut Limits| limits.response_bytes = 1 << 20;
    for start in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let more = if start.contains("chunked") { "4\r\nabcd\r\n" } else { "abcd" };
        let report = send(&endless(start, more), get(), small);
        assert_passed(report, Outcome::Clean, "response_bytes", 1 << 20);
    }
}

#[test]
pub fn the_bodies_of_requests_are_bounded() {
    let server = Server::start(|_| Reply::ok(""));
    let post = json!({ "method": "POST", "body_bytes": 1_001 });
    let report = send(&server, post.clone(), |limits| limits.request_bytes = 1_000);
    assert_passed(report, Outcome::Unclear, "request_bytes", 1_000);
    // Many small ones count as one.
    let small = json!({ "method": "POST", "body_bytes": 400 });
    let report = send_all(&server, vec![small; 3], |limits| limits.request_bytes = 1_000);
    assert_passed(report, Outcome::Unclear, "request_bytes", 1_000);
    assert_eq!(server.received().len(), 2, "the third was not whole");
}

#[test]
pub fn the_number_of_requests_is_bounded() {
    let server = Server::start(|_| Reply::ok(""));
    let report = send_all(&server, vec![get(); 10], |limits| limits.requests = 3);
    assert_passed(report, Outcome::Clean, "requests", 3);
    assert_eq!(server.connections(), 3);
}

#[test]
fn bytes_that_drip_do_not_put_the_end_off() {
    for start in
        ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n"]
    {
        let server = dripping(start);
        for (method, outcome) in [("GET", Outcome::Clean), ("POST", Outcome::Unclear)] {
            let report = send(&server, json!({ "method": method }), |limits| limits.wall_time = 300);
            assert_eq!(failed(&report), code::TIMEOUT, "{start:?} {report:?}");
            assert_eq!(report.outcome, outcome, "{start:?} {report:?}");
        }
    }
}

#[test]
fn an_answer_that_only_ever_announces_itself_ends_with_the_time() {
    let server = endless("", "HTTP/1.1 100 Continue\r\n\r\n");
    let report = send(&server, get(), |limits| limits.wall_time = 300);
    assert_eq!((failed(&report), report.outcome), (code::TIMEOUT, Outcome::Clean), "{report:?}");
}

#[test]
fn a_request_whose_body_never_ends_ends_with_the_time() {
    let server = Server::start(|_| Reply::ok(""));
    let request = json!({ "method": "POST", "body": "begun", "then": "unfinished" });
    let report = send(&server, request, |limits| limits.wall_time = 300);
    assert_eq!((failed(&report), report.outcome), (code::TIMEOUT, Outcome::Unclear), "{report:?}");
    assert_eq!(report.evidence.effects[0].status, EffectStatus::LetOut);
    assert_eq!(server.received().len(), 0, "the server never had the whole of it");
}
