//! The gate itself, with a component that does whatever it is told.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redress::saga::event::Outcome;
use redress::sandbox::{
    Call, CallKind, Cancel, Component, Provenance, Reach, Report, Resolver, Sandbox, SandboxConfig, Watcher,
};
use redress::types::{
    Effect, EffectStatus, Failure, Grant, HttpMethod, Limits, SecretGrant, SecretSource, Target, UrlGrant, code, sha256,
};
use serde_json::{Value, json};

use crate::common::{Asked, Recorder, compensation, execution, failed, guests};
use crate::server::{Authority, Reply, Server};

/// Names and what each look-up of them says, the last one again and again.
#[derive(Default)]
struct Names(Mutex<HashMap<String, Name>>);

#[derive(Default)]
struct Name {
    looked_up: usize,
    answers: Vec<Vec<IpAddr>>,
}

impl Names {
    fn set(&self, name: &str, answers: &[&[&str]]) {
        let answers =
            answers.iter().map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect()).collect();
        self.0.lock().unwrap().insert(name.into(), Name { looked_up: 0, answers });
    }

    fn looked_up(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).map_or(0, |name| name.looked_up)
    }
}

impl Resolver for &'static Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let mut names = self.0.lock().unwrap();
        let answer = names.get_mut(host).map(|name| {
            name.looked_up += 1;
            name.answers[(name.looked_up - 1).min(name.answers.len() - 1)].clone()
        });
        let answer = answer.ok_or_else(|| io::Error::other("no such name"));
        async move { Ok(answer?.into_iter().map(|address| SocketAddr::new(address, port)).collect()) }.boxed()
    }
}

static NAMES: LazyLock<Names> = LazyLock::new(Names::default);
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let names: &'static Names = &NAMES;
    let extra_ca = Some(AUTHORITY.pem().as_bytes().to_vec());
    Sandbox::new(SandboxConfig { resolver: Some(Arc::new(names)), extra_ca, ..SandboxConfig::default() }).unwrap()
});
static GUEST: LazyLock<Arc<Component>> = LazyLock::new(|| {
    let bytes = std::fs::read(guests::component("http")).unwrap();
    SANDBOX.load(&bytes, Provenance::External).unwrap()
});

fn url_grant(url: impl Into<String>, methods: &[HttpMethod]) -> UrlGrant {
    UrlGrant { url: url.into(), methods: methods.to_vec(), query: false, local: false, reads_are_effects: false }
}

/// Everything on this server, with every method.
fn all_of(server: &Server) -> Grant {
    Grant { network: vec![url_grant(server.url("/**"), &HttpMethod::ALL)], ..Grant::default() }
}

fn call(capability: &str, input: Value, grant: Grant) -> Call {
    execution(&GUEST, capability, input, grant)
}

fn run(call: Call, watcher: &Arc<Recorder>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(SANDBOX.call(call, Arc::clone(watcher) as Arc<dyn Watcher>, Cancel::new()))
}

/// Sends one request by `test.http.change`, or by `test.http.read` if it reads.
fn send(method: &str, url: &str, grant: Grant) -> Report {
    let capability = if matches!(method, "GET" | "HEAD" | "OPTIONS") { "test.http.read" } else { "test.http.change" };
    let input =
        json!({ "requests": [{ "method": method, "url": url, "body": if method == "GET" { "" } else { "hello" } }] });
    run(call(capability, input, grant), &Recorder::new())
}

fn output(report: &Report) -> Value {
    let text = report.result.as_ref().unwrap_or_else(|failure| panic!("{failure:?}")).as_ref().unwrap();
    serde_json::from_str::<Value>(text).unwrap()
}

fn first_answer(report: &Report) -> Value {
    output(report)["answers"][0].clone()
}

fn only(effects: &[Effect]) -> &Effect {
    let [effect] = effects else { panic!("one was expected: {effects:?}") };
    effect
}

fn failure(report: &Report) -> &Failure {
    report.result.as_ref().expect_err("it was to fail")
}

#[test]
fn a_get_that_is_granted_is_answered_and_recorded_as_egress() {
    let server = Server::start(|_| Reply::ok("pong"));
    let report = send("GET", &server.url("/ping"), all_of(&server));
    assert_eq!(
        (first_answer(&report)["status"].as_u64(), first_answer(&report)["body"].as_str()),
        (Some(200), Some("pong"))
    );
    assert_eq!(report.evidence.effects, []);
    assert!(!report.evidence.let_out);
    let read = only(&report.evidence.egress);
    assert_eq!((read.kind.as_str(), read.status), ("http.get", EffectStatus::Done));
    assert_eq!(read.target, Target::Http { method: HttpMethod::Get, url: server.url("/ping") });
    let exchange = read.exchange.as_ref().unwrap();
    assert_eq!(exchange.address, format!("127.0.0.1:{}", server.port()));
    assert_eq!((exchange.status, exchange.received, exchange.body), (Some(200), 4, None));
    let received = server.received();
    assert_eq!(received[0].header("host"), Some(format!("127.0.0.1:{}", server.port()).as_str()));
    assert_eq!(received[0].path, "/ping");
}

#[test]
fn a_post_is_sent_only_when_its_intent_is_durable_and_its_record_says_all() {
    let server = Arc::new(Server::start(|_| Reply::Answer(201, vec![], b"made".to_vec())));
    let seen = Arc::clone(&server);
    let watcher = Recorder::looking(move |asked| {
        if matches!(asked, Asked::Intent { .. }) {
            assert_eq!(seen.received().len(), 0, "the intent comes first");
        }
        Ok(())
    });
    let input = json!({ "requests": [{ "method": "POST", "url": server.url("/things"), "body": "hello" }] });
    let report = run(call("test.http.change", input, all_of(&server)), &watcher);
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    let url = server.url("/things");
    assert_eq!(
        watcher
            .asked()
            .iter()
            .map(|asked| format!("{asked:?}").split(['(', ' ']).next().unwrap().to_owned())
            .collect::<Vec<_>>(),
        ["Claim", "Intent"]
    );
    let [Asked::Intent { undo: Some(undo), target, .. }] = &watcher.intents()[..] else { panic!() };
    assert_eq!((undo.as_slice(), target.as_str()), (&b"key-1"[..], format!("POST {url}").as_str()));
    let effect = only(&report.evidence.effects);
    assert_eq!((effect.kind.as_str(), effect.status, effect.bytes), ("http.post", EffectStatus::Done, 5));
    let exchange = effect.exchange.as_ref().unwrap();
    assert_eq!((exchange.status, exchange.received, exchange.body), (Some(201), 4, Some(sha256(b"hello"))));
    assert_eq!(server.received()[0].body, b"hello");
}

#[test]
fn without_a_grant_no_packet_is_sent() {
    let server = Server::start(|_| Reply::ok(""));
    let port = server.port();
    let elsewhere = |url: &str, method| Grant { network: vec![url_grant(url, &[method])], ..Grant::default() };
    for (method, path, grant) in [
        ("GET", "/", Grant::default()),
        ("POST", "/", Grant::default()),
        ("GET", "/", elsewhere("http://127.0.0.1/**", HttpMethod::Get)),
        ("GET", "/", elsewhere("http://127.0.0.1:8443/**", HttpMethod::Get)),
        ("GET", "/", elsewhere(&format!("https://127.0.0.1:{port}/**"), HttpMethod::Get)),
        ("GET", "/", elsewhere(&format!("http://127.0.0.2:{port}/**"), HttpMethod::Get)),
        ("POST", "/", elsewhere(&server.url("/**"), HttpMethod::Get)),
        ("DELETE", "/", elsewhere(&server.url("/**"), HttpMethod::Post)),
        ("GET", "/x", elsewhere(&server.url("/api/**"), HttpMethod::Get)),
        ("GET", "/api/../x", elsewhere(&server.url("/api/**"), HttpMethod::Get)),
        ("GET", "/api/%2e%2e/x", elsewhere(&server.url("/api/**"), HttpMethod::Get)),
        ("GET", "/api/a%2f..%2fx", elsewhere(&server.url("/api/**"), HttpMethod::Get)),
        ("GET", "/api//x", elsewhere(&server.url("/api/**"), HttpMethod::Get)),
        ("GET", "/api/x?q=1", elsewhere(&server.url("/api/**"), HttpMethod::Get)),
    ] {
        let report = send(method, &server.url(path), grant);
        let read = method == "GET";
        let refused = only(if read { &report.evidence.egress } else { &report.evidence.effects });
        assert_eq!(refused.status, EffectStatus::Refused, "{method} {path}");
        if read {
            assert!(first_answer(&report)["error"].as_str().unwrap().contains("HttpRequestDenied"), "{report:?}");
        } else {
            assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NOT_GRANTED), "{method} {path}");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn odd_authorities_methods_and_overriding_headers_are_refused() {
    let server = Server::start(|_| Reply::ok(""));
    let port = server.port();
    let any = || Grant { network: vec![url_grant("http://*/**", &HttpMethod::ALL)], ..Grant::default() };
    for (method, url) in [
        ("POST", format!("http://user@127.0.0.1:{port}/")),
        ("POST", format!("http://127.1:{port}/")),
        ("POST", format!("http://2130706433:{port}/")),
        ("POST", format!("http://0x7f000001:{port}/")),
        ("POST", format!("http://127.0.0.1.:{port}/")),
        ("POST", format!("http://[::ffff:127.0.0.1]:{port}/")),
        ("POST", format!("http://127.0.0.1:{port}/")),
        ("CONNECT", server.url("/")),
        ("PURGE", server.url("/")),
    ] {
        let report = send(method, &url, any());
        assert_eq!(report.outcome, Outcome::Clean, "{method} {url}: {report:?}");
    }
    let input = json!({ "requests": [
        { "method": "POST", "url": server.url("/"), "headers": { "X-HTTP-Method-Override": "DELETE" } },
    ] });
    let report = run(call("test.http.change", input, all_of(&server)), &Recorder::new());
    assert!(first_answer(&report)["error"].as_str().unwrap().contains("Forbidden"), "{report:?}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_the_capability_does_not_ask_for_is_not_sent_even_if_it_is_granted() {
    let server = Server::start(|_| Reply::ok(""));
    let input = json!({ "requests": [{ "method": "POST", "url": server.url("/only") }] });
    let report = run(call("test.http.careless", input, all_of(&server)), &Recorder::new());
    assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NOT_GRANTED));
    assert!(failure(&report).message.contains("is not among what the capability asks for"), "{report:?}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn without_a_saved_undo_or_the_right_to_change_anything_no_packet_is_sent() {
    let server = Server::start(|_| Reply::ok(""));
    let input = json!({ "requests": [{ "method": "POST", "url": server.url("/") }] });
    let report = run(call("test.http.no_save", input.clone(), all_of(&server)), &Recorder::new());
    assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NO_UNDO));
    let mut pure = call("test.http.change", input, all_of(&server));
    pure.capability.effect = redress::types::EffectKind::None;
    let report = run(pure, &Recorder::new());
    assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::EFFECT_FORBIDDEN));
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_conflict_or_an_intent_that_cannot_be_written_lets_nothing_out() {
    let server = Server::start(|_| Reply::ok(""));
    let input = json!({ "requests": [{ "method": "POST", "url": server.url("/") }] });
    for (which, expected) in [("Claim", code::CONFLICT), ("Intent", code::INTERRUPTED)] {
        let watcher = Recorder::looking(move |asked| match format!("{asked:?}").starts_with(which) {
            true => Err(Failure::new(expected, "no")),
            false => Ok(()),
        });
        let report = run(call("test.http.change", input.clone(), all_of(&server)), &watcher);
        assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, expected));
    }
    assert_eq!(server.received().len(), 0);
}

#[test]
fn requests_that_go_out_together_share_one_intent() {
    let server = Server::start(|received| Reply::ok(received.path.clone()));
    let requests: Vec<Value> =
        (0..5).map(|n| json!({ "method": "PUT", "url": server.url(&format!("/{n}")), "body": "x" })).collect();
    let watcher = Recorder::new();
    let input = json!({ "requests": requests, "together": true });
    let report = run(call("test.http.change", input, all_of(&server)), &watcher);
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    assert_eq!((watcher.intents().len(), server.received().len()), (1, 5));
    assert_eq!((report.evidence.targets.len(), report.evidence.effects_total), (5, 5));
}

#[test]
fn a_name_that_leads_into_the_machine_or_its_networks_is_refused() {
    let server = Server::start(|_| Reply::ok(""));
    for (index, address) in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "fe80::1",
        "fd00::1",
        "224.0.0.1",
        "255.255.255.255",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("n{index}.inside.test");
        NAMES.set(&name, &[&["93.184.216.34", address]]);
        let grant = Grant {
            network: vec![url_grant(
                "http://*.inside.test:*/**".replace(":*", &format!(":{}", server.port())),
                &HttpMethod::ALL,
            )],
            ..Grant::default()
        };
        let report = send("POST", &format!("http://{name}:{}/", server.port()), grant);
        assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NOT_GRANTED), "{address}: {report:?}");
        assert!(failure(&report).message.contains(address), "{}", failure(&report).message);
        assert_eq!(NAMES.looked_up(&name), 1);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_local_host_that_is_named_is_dialled_at_the_address_that_was_checked() {
    let server = Server::start(|_| Reply::ok("local"));
    NAMES.set("db.local.test", &[&["127.0.0.1"], &["169.254.169.254"]]);
    let url = format!("http://db.local.test:{}/", server.port());
    let grant = || {
        let local = UrlGrant { local: true, ..url_grant(url.clone(), &[HttpMethod::Get]) };
        Grant { network: vec![local], ..Grant::default() }
    };
    let report = send("GET", &url, grant());
    assert_eq!(first_answer(&report)["body"], "local");
    assert_eq!(NAMES.looked_up("db.local.test"), 1, "what was checked is what was dialled");
    // The second look-up says something else: each request is decided by its own.
    let report = send("GET", &url, grant());
    assert!(first_answer(&report)["error"].as_str().unwrap().contains("DestinationIpProhibited"), "{report:?}");
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_redirect_is_an_answer_and_where_it_leads_is_a_new_request() {
    let inside = Server::start(|_| Reply::ok("secret"));
    let location = inside.url("/");
    let server = Server::start(move |_| Reply::Answer(302, vec![("location".into(), location.clone())], vec![]));
    let grant = all_of(&server);
    let report = send("GET", &server.url("/"), grant.clone());
    assert_eq!(first_answer(&report)["status"], 302);
    let report = send("GET", &inside.url("/"), grant);
    assert!(first_answer(&report)["error"].as_str().unwrap().contains("HttpRequestDenied"));
    assert_eq!((server.connections(), inside.connections()), (1, 0));
}

#[test]
fn a_redirect_to_a_granted_name_that_leads_to_the_metadata_of_the_machine_is_refused_by_its_address() {
    NAMES.set("meta.redirect.test", &[&["169.254.169.254"]]);
    let location = "http://meta.redirect.test/latest/meta-data/";
    let server = Server::start(move |_| Reply::Answer(302, vec![("location".into(), location.into())], vec![]));
    for (local, looked_up) in [(false, 1), (true, 2)] {
        let mut grant = all_of(&server);
        let there = url_grant("http://meta.redirect.test/**", &HttpMethod::ALL);
        grant.network.push(UrlGrant { local, ..there });
        let answer = first_answer(&send("GET", &server.url("/"), grant.clone()));
        assert_eq!(answer["status"], 302);
        assert!(answer["headers"].as_array().unwrap().contains(&json!(["location", location])), "{answer}");
        let report = send("GET", location, grant);
        let error = first_answer(&report)["error"].as_str().unwrap().to_owned();
        assert!(error.contains("DestinationIpProhibited"), "{error}");
        assert_eq!(only(&report.evidence.egress).status, EffectStatus::Refused, "{report:?}");
        assert_eq!(NAMES.looked_up("meta.redirect.test"), looked_up);
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_port_is_opened_by_a_grant_that_names_it_and_the_usual_one_by_a_grant_that_names_none() {
    let grant = |url: &str| Grant { network: vec![url_grant(url, &HttpMethod::ALL)], ..Grant::default() };
    for (number, (granted, port, opened)) in [
        ("https://NAME:8443/**", "", false),
        ("https://NAME:8443/**", ":8444", false),
        ("https://NAME:8443/**", ":8443", true),
        ("https://NAME/**", ":8443", false),
        ("https://NAME/**", "", true),
        ("https://*/**", ":22", false),
        ("https://*/**", "", true),
        ("https://*.ports.test/**", ":22", false),
        ("https://*.ports.test:22/**", ":22", true),
        ("https://*.ports.test:22/**", "", false),
    ]
    .into_iter()
    .enumerate()
    {
        // What is opened is looked up, and goes no further: the address is one that is never sent to.
        let name = format!("h{number}.ports.test");
        NAMES.set(&name, &[&["0.0.0.0"]]);
        let report = send("POST", &format!("https://{name}{port}/a"), grant(&granted.replace("NAME", &name)));
        assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NOT_GRANTED), "{granted} {port}");
        let why = if opened { "0.0.0.0" } else { "is not in a granted URL" };
        assert!(failure(&report).message.contains(why), "{granted} {port}: {report:?}");
        assert_eq!(NAMES.looked_up(&name), usize::from(opened), "{granted} {port}");
    }
}

#[test]
fn tls_is_for_the_name_and_for_no_other() {
    let server = Server::start_tls(&AUTHORITY, "api.tls.test", |received| {
        Reply::ok(received.header("host").unwrap_or_default())
    });
    NAMES.set("api.tls.test", &[&["127.0.0.1"]]);
    NAMES.set("other.tls.test", &[&["127.0.0.1"]]);
    let grant = |host: &str| {
        let url = format!("https://{host}:{}/**", server.port());
        Grant { network: vec![UrlGrant { local: true, ..url_grant(url, &HttpMethod::ALL) }], ..Grant::default() }
    };
    let report = send("POST", &server.url("/x"), grant("api.tls.test"));
    assert_eq!(first_answer(&report)["body"], format!("api.tls.test:{}", server.port()));
    let other = format!("https://other.tls.test:{}/x", server.port());
    let report = send("POST", &other, grant("other.tls.test"));
    assert!(first_answer(&report)["error"].as_str().unwrap().contains("TlsCertificateError"), "{report:?}");
    // The request was never let out, whatever the component makes of it.
    assert!(!report.evidence.let_out);
    assert_eq!(only(&report.evidence.effects).status, EffectStatus::Refused);
    assert_eq!(server.received().len(), 1);
    // An authority that is not trusted.
    let stranger = Server::start_tls(&Authority::new(), "api.tls.test", |_| Reply::ok(""));
    let url = format!("https://api.tls.test:{}/**", stranger.port());
    let grant =
        Grant { network: vec![UrlGrant { local: true, ..url_grant(url, &HttpMethod::ALL) }], ..Grant::default() };
    let report = send("POST", &stranger.url("/"), grant);
    assert!(!report.evidence.let_out && stranger.received().is_empty(), "{report:?}");
}

#[test]
fn of_several_addresses_one_whose_certificate_is_wrong_is_told_and_not_those_where_nobody_listens() {
    let server = Server::start_tls(&AUTHORITY, "api.tls.test", |_| Reply::ok(""));
    NAMES.set("both.tls.test", &[&["127.0.0.1", "::1"]]);
    let url = format!("https://both.tls.test:{}/x", server.port());
    let granted = UrlGrant { local: true, ..url_grant(url.clone(), &HttpMethod::ALL) };
    let grant = Grant { network: vec![granted], ..Grant::default() };
    let report = send("GET", &url, grant.clone());
    assert!(first_answer(&report)["error"].as_str().unwrap().contains("TlsCertificateError"), "{report:?}");
    // Whoever goes on to another request and fails for its own reasons is not explained by that.
    let later = Server::start(|_| Reply::Answer(404, Vec::new(), Vec::new()));
    let grant = Grant { network: [grant.network, all_of(&later).network].concat(), ..Grant::default() };
    let first = json!({ "method": "GET", "url": url });
    let ends = |requests: Value| {
        run(call("test.http.read", json!({ "requests": requests, "fail": true }), grant.clone()), &Recorder::new())
    };
    let alone = ends(json!([first]));
    assert!(failure(&alone).message.contains("is not for that name, but for `api.tls.test`"), "{alone:?}");
    let with_another = ends(json!([first, { "method": "GET", "url": later.url("/") }]));
    assert!(!failure(&with_another).message.contains("is not for that name"), "{with_another:?}");
}

#[test]
fn a_refused_connection_is_clean() {
    let port = Server::start(|_| Reply::ok("")).port();
    let url = format!("http://127.0.0.1:{port}/");
    let grant = Grant { network: vec![url_grant(url.clone(), &HttpMethod::ALL)], ..Grant::default() };
    let input = json!({ "requests": [{ "method": "POST", "url": url }], "fail": true });
    let watcher = Recorder::new();
    let report = run(call("test.http.change", input, grant), &watcher);
    assert_eq!((report.outcome, report.evidence.let_out), (Outcome::Clean, false), "{report:?}");
    assert_eq!(watcher.intents(), []);
    assert_eq!(only(&report.evidence.effects).status, EffectStatus::Refused);
}

#[test]
fn a_request_without_its_whole_answer_is_unclear_whatever_the_component_says() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    for (name, reply) in [("close", None), ("half", Some(half))] {
        let server = Server::start(move |_| reply.clone().map_or(Reply::Close, Reply::Raw));
        let input = json!({ "requests": [{ "method": "POST", "url": server.url("/"), "body": "x" }] });
        let report = run(call("test.http.change", input, all_of(&server)), &Recorder::new());
        assert_eq!((report.outcome, failed(&report)), (Outcome::Unclear, code::UNANSWERED), "{name}: {report:?}");
        assert_eq!(only(&report.evidence.effects).status, EffectStatus::LetOut);
    }
    // A read that was not answered has changed nothing.
    let server = Server::start(|_| Reply::Close);
    let report = send("GET", &server.url("/"), all_of(&server));
    assert_eq!((report.outcome, only(&report.evidence.egress).status), (Outcome::Succeeded, EffectStatus::LetOut));
}

#[test]
fn a_request_that_the_component_gives_up_is_over_when_the_call_is() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let server = Server::start(move |_| {
        let held = Arc::clone(&held);
        Reply::Talk(Box::new(move |_| held.lock().unwrap().recv().unwrap_or_default()))
    });
    for then in ["leave", "unfinished"] {
        let input = json!({ "requests": [{ "method": "POST", "url": server.url("/"), "body": "x", "then": then }] });
        let mut leaving = call("test.http.change", input, all_of(&server));
        leaving.grant.limits = Limits { wall_time: 2_000, ..Limits::default() };
        let report = run(leaving, &Recorder::new());
        // What was let out has no answer; what was not let out yet never is.
        match report.evidence.let_out {
            true => assert_eq!(report.outcome, Outcome::Unclear, "{then}: {report:?}"),
            false => assert!(report.evidence.effects.is_empty(), "{then}: {report:?}"),
        }
    }
    let input = json!({ "requests": [{ "method": "GET", "url": server.url("/"), "then": "drop" }] });
    let report = run(call("test.http.read", input, all_of(&server)), &Recorder::new());
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    drop(release);
}

#[test]
fn an_answer_that_never_comes_ends_in_a_timeout() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let server = Server::start(move |_| {
        let held = Arc::clone(&held);
        Reply::Talk(Box::new(move |_| held.lock().unwrap().recv().unwrap_or_default()))
    });
    for (method, outcome) in [("POST", Outcome::Unclear), ("GET", Outcome::Clean)] {
        let mut grant = all_of(&server);
        grant.limits = Limits { wall_time: 300, ..Limits::default() };
        let report = send(method, &server.url("/"), grant);
        assert_eq!((report.outcome, failed(&report)), (outcome, code::TIMEOUT), "{method}: {report:?}");
    }
    drop(release);
}

#[test]
fn bodies_headers_and_the_number_of_requests_are_limited_by_name() {
    let large = vec![b'y'; 3 << 20];
    let server = Server::start(move |received| match received.path.as_str() {
        "/large" => Reply::ok(large.clone()),
        "/headers" => Reply::Answer(200, vec![("x-large".into(), "z".repeat(200 << 10))], vec![]),
        _ => Reply::ok(""),
    });
    let with = |limits: Limits| Grant { limits, ..all_of(&server) };
    let one = |request: Value| json!({ "requests": [request] });
    let large = json!({ "method": "POST", "url": server.url("/large") });
    let default = Limits::default;
    let report = run(call("test.http.change", one(large.clone()), with(default())), &Recorder::new());
    assert_eq!(first_answer(&report)["length"], 3 << 20);
    for (limit, request, limits) in [
        ("response_bytes", large, Limits { response_bytes: 1 << 20, ..default() }),
        ("header_bytes", json!({ "method": "POST", "url": server.url("/headers") }), default()),
        (
            "request_bytes",
            json!({ "method": "POST", "url": server.url("/"), "body_bytes": 3 << 20 }),
            Limits { request_bytes: 1 << 20, ..default() },
        ),
    ] {
        let report = run(call("test.http.change", one(request), with(limits)), &Recorder::new());
        assert_eq!((report.outcome, failed(&report)), (Outcome::Unclear, code::LIMIT), "{limit}: {report:?}");
        assert!(failure(&report).message.contains(&format!("`{limit}`")), "{limit}: {report:?}");
    }
    let many: Vec<Value> = (0..5).map(|_| json!({ "method": "GET", "url": server.url("/") })).collect();
    let before = server.received().len();
    let limits = Limits { requests: 3, ..default() };
    let report = run(call("test.http.read", json!({ "requests": many }), with(limits)), &Recorder::new());
    assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::LIMIT), "{report:?}");
    assert_eq!(server.received().len() - before, 3);
}

#[test]
fn reads_are_effects_where_the_grant_says_so() {
    let server = Server::start(|_| Reply::ok("x"));
    let reads = UrlGrant { reads_are_effects: true, ..url_grant(server.url("/**"), &[HttpMethod::Get]) };
    let grant = Grant { network: vec![reads], ..Grant::default() };
    let input = json!({ "requests": [{ "method": "GET", "url": server.url("/") }] });
    let report = run(call("test.http.read", input.clone(), grant.clone()), &Recorder::new());
    assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::EFFECT_FORBIDDEN));
    assert_eq!(server.connections(), 0);
    let watcher = Recorder::new();
    let report = run(call("test.http.change", input, grant), &watcher);
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!((watcher.intents().len(), only(&report.evidence.effects).kind.as_str()), (1, "http.get"));
}

#[test]
fn an_undo_changes_no_origin_that_its_step_did_not_change() {
    let (server, other) = (Server::start(|_| Reply::ok("")), Server::start(|_| Reply::ok("")));
    let mut grant = all_of(&server);
    grant.network.extend(all_of(&other).network);
    for (to, undone) in [(&server, true), (&other, false)] {
        let input = json!({
            "requests": [{ "method": "POST", "url": server.url("/x") }],
            "undo": [{ "method": "DELETE", "url": to.url("/x/1") }],
        });
        let executed = call("test.http.change", input, grant.clone());
        let report = run(executed.clone(), &Recorder::new());
        let touched = report.evidence.targets.iter().map(|record| record.target.clone()).collect();
        let mut undo = compensation(&executed, report.result.unwrap(), vec![b"key-1".to_vec()]);
        if let CallKind::Compensate { may_change, .. } = &mut undo.kind {
            *may_change = Reach::Only(touched);
        }
        let report = run(undo, &Recorder::new());
        assert_eq!(report.result.is_ok(), undone, "{report:?}");
    }
    assert_eq!((server.received().len(), other.connections()), (3, 0));
}

fn with_secret(server: &Server, host: &str, source: SecretSource) -> Grant {
    let url = format!("https://{host}:{}/**", server.port());
    Grant {
        network: vec![UrlGrant { local: true, ..url_grant(url, &HttpMethod::ALL) }],
        secrets: vec![SecretGrant { name: "TOKEN".into(), source, hosts: vec![format!("{host}:{}", server.port())] }],
        ..Grant::default()
    }
}

const CANARY: &str = "canary-6f1d2b7e";

#[test]
fn a_secret_is_on_the_wire_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{CANARY}\n")).unwrap();
    let server = Server::start_tls(&AUTHORITY, "echo.tls.test", |received| {
        let sent = received.header("authorization").unwrap_or_default().to_owned();
        Reply::Answer(200, vec![("x-echo".into(), sent.clone())], format!("you sent {sent}").into_bytes())
    });
    NAMES.set("echo.tls.test", &[&["127.0.0.1"]]);
    let grant = with_secret(&server, "echo.tls.test", SecretSource::File(file.to_string_lossy().into_owned()));
    let headers = json!({ "authorization": "Bearer ${secret:TOKEN}" });
    let input = json!({ "requests": [{ "method": "POST", "url": server.url("/"), "headers": headers, "body": "x" }] });
    let watcher = Recorder::new();
    let report = run(call("test.http.change", input, grant), &watcher);
    assert_eq!(server.received()[0].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(first_answer(&report)["body"], "you sent Bearer ${secret:TOKEN}");
    let length = "you sent Bearer ${secret:TOKEN}".len().to_string();
    let said = first_answer(&report)["headers"].as_array().unwrap().clone();
    assert!(said.contains(&json!(["content-length", length])), "{said:?}");
    assert!(said.contains(&json!(["x-echo", "Bearer ${secret:TOKEN}"])), "{said:?}");
    let exchange = only(&report.evidence.effects).exchange.clone().unwrap();
    assert_eq!(exchange.secrets, ["TOKEN"]);
    for told in
        [format!("{report:?}"), format!("{:?}", watcher.asked()), serde_json::to_string(&report.evidence).unwrap()]
    {
        assert!(!told.contains(CANARY), "{told}");
    }
}

#[test]
fn a_secret_goes_to_its_hosts_by_https_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, CANARY).unwrap();
    let source = || SecretSource::File(file.to_string_lossy().into_owned());
    let plain = Server::start(|_| Reply::ok(""));
    let tls = Server::start_tls(&AUTHORITY, "one.tls.test", |_| Reply::ok(""));
    NAMES.set("one.tls.test", &[&["127.0.0.1"]]);
    NAMES.set("two.tls.test", &[&["127.0.0.1"]]);
    let headers = |name: &str| json!({ "authorization": format!("${{secret:{name}}}") });
    let ask = |url: String, name: &str, grant: Grant| {
        let input = json!({ "requests": [{ "method": "POST", "url": url, "headers": headers(name) }] });
        run(call("test.http.change", input, grant), &Recorder::new())
    };
    let mut by_http = with_secret(&plain, "127.0.0.1", source());
    by_http.network = all_of(&plain).network;
    let mut elsewhere = with_secret(&tls, "two.tls.test", source());
    elsewhere.network.extend(with_secret(&tls, "one.tls.test", source()).network);
    let missing = SecretSource::Env("REDRESS_TEST_NO_SUCH_VARIABLE".into());
    for (name, report) in [
        ("by http", ask(plain.url("/"), "TOKEN", by_http)),
        ("to another host", ask(tls.url("/"), "TOKEN", elsewhere)),
        ("by another name", ask(tls.url("/"), "OTHER", with_secret(&tls, "one.tls.test", source()))),
    ] {
        assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NOT_GRANTED), "{name}: {report:?}");
        assert!(failure(&report).message.contains("secret"), "{name}: {report:?}");
    }
    let report = ask(tls.url("/"), "TOKEN", with_secret(&tls, "one.tls.test", missing));
    assert_eq!((report.outcome, failed(&report)), (Outcome::Clean, code::NO_SECRET), "{report:?}");
    assert_eq!((plain.connections(), tls.connections()), (0, 0));
}

/// Connections to this port that this side still holds, by the system's own table.
fn held_open(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_port = |row: &Vec<&str>| row[2].ends_with(&format!(":{port:04X}"));
    rows.filter(to_port).filter(|row| [ESTABLISHED, CLOSE_WAIT].contains(&row[3])).count()
}

#[test]
fn every_connection_is_closed_when_its_call_is_over() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => Reply::Close,
        1 => Reply::ok("x"),
        _ => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec()),
    });
    let how = ["read", "ignore", "drop", "leave", "unfinished"];
    let one = |n: usize| json!({ "method": "GET", "url": server.url("/"), "then": how[n % how.len()] });
    let requests: Vec<Value> = (0..50).map(one).collect();
    for _ in 0..20 {
        let input = json!({ "requests": requests, "together": true });
        let report = run(call("test.http.read", input, all_of(&server)), &Recorder::new());
        assert_eq!(held_open(server.port()), 0, "{report:?}");
    }
    assert!(server.connections() > 500);
}
