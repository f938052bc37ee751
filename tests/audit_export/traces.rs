//! Runs as traces: what a receiver gets, decoded with the types of OpenTelemetry.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::binary::Place;
use crate::server::{Reply, Server};
use crate::{EVIL_NAME, Examples, examples};

fn receiver() -> Server {
    Server::start(|_| Reply::ok(ExportTraceServiceResponse::default().encode_to_vec()))
}

fn spans(server: &Server) -> Vec<Span> {
    let mut spans = Vec::new();
    for received in server.received() {
        assert_eq!((&*received.method, &*received.path), ("POST", "/v1/traces"));
        assert_eq!(received.header("content-type"), Some("application/x-protobuf"));
        let request = ExportTraceServiceRequest::decode(received.body.as_slice()).unwrap();
        for resource in request.resource_spans {
            let service = &resource.resource.as_ref().unwrap().attributes[0];
            assert_eq!(service.key, "service.name");
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    })
}

fn send(place: &Place, server: &Server, run: &str) -> Vec<Span> {
    let url = server.url("");
    place.redress(&["audit", "export", "--otlp", url.trim_end_matches('/'), "--run", run]).exits(0);
    spans(server)
}

#[test]
fn a_run_is_one_trace_with_a_span_for_each_step_attempt_and_undo() {
    let Examples { place, rolled_back, .. } = examples();
    let server = receiver();
    let spans = send(place, &server, rolled_back);
    let trace: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&rolled_back.replace('-', "")[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(spans.iter().all(|span| span.trace_id == trace && span.span_id.len() == 8));
    let ids: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    assert_eq!(ids.len(), spans.len());
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!((roots.len(), &*roots[0].name), (1, "rollback"));
    assert_eq!(attribute(roots[0], "redress.state").as_deref(), Some("ROLLED_BACK"));
    for span in spans.iter().filter(|span| !span.parent_span_id.is_empty()) {
        assert!(ids.contains_key(&*span.parent_span_id), "{span:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0, "{span:?}");
    }
    let names: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
    for name in ["append", "execute io.fs.append_file", "undo io.fs.append_file", "fails", "execute io.fs.read_file"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert!(!names.contains("undo io.fs.read_file"));
    let step = spans.iter().find(|span| span.name == "append").unwrap();
    for (key, value) in [
        ("redress.principal", "agent:demo"),
        ("redress.capability", "io.fs.append_file"),
        ("redress.decision.action", "ALLOW"),
        ("redress.decision.rule", "2"),
        ("redress.decision.rule_name", "demo-files"),
        ("redress.decision.risk", "MEDIUM"),
        ("redress.undone", "true"),
        ("redress.checked", "true"),
    ] {
        assert_eq!(attribute(step, key).as_deref(), Some(value), "{key}");
    }
    assert!(attribute(step, "redress.component").unwrap().starts_with("sha256:"));
    assert_ne!(attribute(step, "redress.effects").unwrap(), "0");
    let failed = spans.iter().find(|span| span.name == "execute io.fs.read_file").unwrap();
    assert_eq!(attribute(failed, "redress.outcome").as_deref(), Some("clean"));
    assert_eq!(attribute(failed, "redress.error.code").as_deref(), Some("not-found"));
}

#[test]
fn sending_a_run_twice_is_the_same_trace() {
    let Examples { place, approved, .. } = examples();
    let server = receiver();
    let once = send(place, &server, approved);
    let both = send(place, &server, approved);
    assert_eq!(both[..once.len()], both[once.len()..]);
    let publish = once.iter().find(|span| span.name == "publish").unwrap();
    assert_eq!(publish.events[0].name, "approved");
    // A step that only waits was never called.
    assert!(once.iter().any(|span| span.name == "announce") && !once.iter().any(|span| span.name == "execute "));
}

#[test]
fn traces_hold_no_payload_no_reason_and_no_control_character() {
    let Examples { place, .. } = examples();
    let server = receiver();
    place.redress(&["audit", "export", "--otlp", server.url("").trim_end_matches('/')]).exits(0);
    let all = format!("{:?}", spans(&server));
    for secret in ["written by agent", "Spring prices", "looks right", "wrong customer"] {
        assert!(!all.contains(secret), "{secret}");
    }
    let place = Place::new();
    let workflow = serde_json::json!({"name": EVIL_NAME, "steps": [{"name": "a", "capability": "data.json.merge", "inputs": {"target": {}, "patch": {}}}]});
    place.write("evil.yaml", workflow.to_string());
    let run = place.redress(&["run", "evil.yaml", "--json"]).exits(0).run().to_string();
    for span in send(&place, &receiver(), &run) {
        let texts = span.attributes.iter().filter_map(|attribute| attribute.value.clone()?.value);
        let texts = texts.filter_map(|value| if let Value::StringValue(text) = value { Some(text) } else { None });
        for text in texts.chain([span.name.clone()]) {
            assert!(text.chars().all(|c| (' '..='~').contains(&c)), "{text:?}");
        }
    }
}

#[test]
fn a_receiver_that_does_not_take_all_of_it_is_an_error_that_says_why() {
    let Examples { place, completed, .. } = examples();
    let to =
        |url: &str, code| place.redress(&["audit", "export", "--run", completed, "--otlp", url]).exits(code).stderr;
    let answering = |status, body: Vec<u8>| Server::start(move |_| Reply::Answer(status, Vec::new(), body.clone()));
    let part = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too \u{1b}[31mold".into() };
    let part = ExportTraceServiceResponse { partial_success: Some(part) }.encode_to_vec();
    // `google.rpc.Status`: a code, and a message under the tag 2.
    let status = [&[0x08, 0x0d, 0x12, 0x07][..], b"no room"].concat();
    for (answer, said) in [
        (answering(200, part), "refused 3 of the spans: too \\u{1b}[31mold"),
        (answering(503, status), "answered 503: no room"),
        (answering(404, b"not here".to_vec()), "answered 404"),
        (answering(302, Vec::new()), "answered 302"),
        (answering(200, b"<html>".to_vec()), "did not answer as OTLP has it"),
        (Server::start(|_| Reply::Close), "was not reached"),
    ] {
        let stderr = to(answer.url("").trim_end_matches('/'), 1);
        assert!(stderr.contains(said) && stderr.contains("the same runs are the same traces"), "{said}: {stderr}");
    }
    let warning = ExportTracePartialSuccess { rejected_spans: 0, error_message: "soon old".into() };
    let warning = ExportTraceServiceResponse { partial_success: Some(warning) }.encode_to_vec();
    assert!(to(answering(200, warning).url("").trim_end_matches('/'), 0).contains("says: soon old"));
    for refused in ["http://otlp.example.com", "127.0.0.1:4318"] {
        assert!(to(refused, 2).contains("--otlp"));
    }
}
