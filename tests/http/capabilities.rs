//! `net.http.*` as steps of a run: the whole engine, the real component, servers on loopback.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::{fs, io};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redress::document::Source;
use redress::engine::{Clock, RunView};
use redress::journal::Journal;
use redress::policy::{Policy, effective_grant};
use redress::saga::RunState;
use redress::sandbox::{Resolver, Sandbox, SandboxConfig};
use redress::types::{Catalog, HttpMethod, UrlParts, opened};
use serde_json::{Value, json};

use crate::server::{Authority, Reply, Server};
use crate::shop::{Shop, Unusual};
use crate::world::{ALLOW, World, code, is, states, step, user};

/// Every name is this machine.
struct Here;

impl Resolver for Here {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]) }.boxed()
    }
}

pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
pub static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("http-cache");
    let extra_ca = Some(AUTHORITY.pem().as_bytes().to_vec());
    Sandbox::new(SandboxConfig { cache_dir: Some(cache), resolver: Some(Arc::new(Here)), extra_ca }).unwrap()
});

/// Everything is allowed, with every method on this server, and `more` in the grant.
fn policy(server: &Server, more: &str) -> String {
    format!(
        "{ALLOW}    network: [{{ url: \"{}\", methods: [GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE], query: true, local: {} }}]\n{more}",
        server.url("/**"),
        server.url("").starts_with("https"),
    )
}

fn world(server: &Server) -> World {
    World::within(SANDBOX.clone(), &policy(server, ""))
}

pub fn workflow(steps: &[Value]) -> String {
    json!({ "name": "test", "steps": steps }).to_string()
}

pub fn a_step(name: &str, capability: &str, inputs: Value) -> Value {
    json!({ "name": name, "capability": capability, "inputs": inputs })
}

fn fails() -> Value {
    a_step("last", "test.fail", json!({}))
}

/// Makes a thing in the shop.
fn make(shop: &Shop) -> Value {
    a_step(
        "make",
        "net.http.request",
        json!({
            "url": shop.server.url("/things"), "method": "POST", "json": { "name": "a", "ref": "{key}" },
            "undo": { "url": "/things/{response.json.id}", "method": "DELETE" },
        }),
    )
}

/// The same, once, with a lookup for the unclear case.
fn make_once(shop: &Shop, lookup: bool) -> Value {
    let mut step = make(shop);
    step["retry"] = json!({ "max_attempts": 1 });
    if lookup {
        step["inputs"]["lookup"] = json!({
            "url": shop.server.url("/things?ref={key}"),
            "undo": { "url": "/things/{response.json.found.0.id}", "method": "DELETE" },
        });
    }
    step
}

fn output<'v>(view: &'v RunView, name: &str) -> &'v Value {
    step(view, name).output.as_ref().unwrap_or_else(|| panic!("{view:#?}"))
}

fn line(request: &str, key: &str) -> (String, String) {
    (request.to_owned(), key.to_owned())
}

#[test]
fn the_component_is_part_of_the_standard_library_and_says_what_it_does() {
    let server = Server::start(|_| Reply::Close);
    let world = world(&server);
    let said = |id: &str| {
        let info = world.engine.registry().capability(id).unwrap();
        (info.effect.as_str(), info.risk.as_str(), info.idempotent)
    };
    assert_eq!(said("net.http.get"), ("none", "LOW", true));
    assert_eq!(said("net.http.request"), ("reversible", "MEDIUM", true));
    assert_eq!(said("net.http.send"), ("irreversible", "HIGH", false));
}

#[test]
fn the_example_of_the_guide_fits_the_component_and_its_grant_fits_the_example() {
    let guide = include_str!("../../docs/WORKFLOW_GUIDE.md").split("## Requests").nth(1).unwrap();
    let blocks: Vec<&str> = guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let rules = ALLOW.split("grants:").next().unwrap();
    let world = World::within(SANDBOX.clone(), &format!("{rules}{}", blocks[1]));
    world.workflow(blocks[0]);
    let policy = Policy::load(Source::new("policy.yaml", format!("{rules}{}", blocks[1])), "/base").unwrap().0;
    let capability = world.engine.registry().capability("net.http.request").unwrap();
    let grant = effective_grant(&policy, &[&user("agent:demo")], &capability.id, &capability.permissions);
    let granted = |method: HttpMethod, url: &str| {
        opened(&grant.network, &capability.permissions, method, &UrlParts::parse(url).unwrap()).is_ok()
    };
    assert!(granted(HttpMethod::Post, "https://desk.example.com/api/tickets"));
    assert!(granted(HttpMethod::Get, "https://desk.example.com/api/tickets?reference=do-1"));
    assert!(granted(HttpMethod::Delete, "https://desk.example.com/api/tickets/7"));
    assert!(!granted(HttpMethod::Delete, "https://desk.example.com/api/tickets"));
}

#[tokio::test]
async fn a_body_is_returned_as_json_text_or_bytes_by_its_content_type() {
    let server = Server::start(|request| {
        let kind = |kind: &str| vec![("Content-Type".to_owned(), kind.to_owned())];
        match request.path.as_str() {
            "/json" => Reply::Answer(200, kind("application/vnd.x+json"), br#"{"a":[1]}"#.to_vec()),
            "/text" => Reply::Answer(200, kind("text/plain"), "\u{e4}".into()),
            "/bytes" => Reply::Answer(200, kind("image/png"), vec![0, 255]),
            _ => Reply::Answer(204, Vec::new(), Vec::new()),
        }
    });
    let world = world(&server);
    for (path, name, value) in [
        ("/json", "json", json!({ "a": [1] })),
        ("/text", "body", json!("\u{e4}")),
        ("/bytes", "body_base64", json!("AP8=")),
        ("/nothing", "body", json!("")),
    ] {
        let headers = json!({ "accept": "*/*" });
        let inputs = json!({ "url": server.url(path), "headers": headers });
        let view = world.run(&workflow(&[a_step("get", "net.http.get", inputs)])).await;
        is(&view, RunState::Completed);
        assert_eq!(output(&view, "get")[name], value, "{path}");
    }
    let head = json!({ "url": server.url("/json"), "method": "HEAD" });
    let view = world.run(&workflow(&[a_step("head", "net.http.get", head)])).await;
    assert_eq!(output(&view, "head")["body"], "");
    for request in server.received() {
        let accepts = (request.method == "GET").then_some("*/*");
        assert_eq!((request.header("accept"), request.header("idempotency-key")), (accepts, None));
    }
}

#[tokio::test]
async fn a_redirect_is_returned_and_not_followed() {
    let server = Server::start(|_| Reply::Answer(302, vec![("Location".into(), "/elsewhere".into())], Vec::new()));
    let world = world(&server);
    let mut get = a_step("get", "net.http.get", json!({ "url": server.url("/"), "expect_status": ["3xx"] }));
    let view = world.run(&workflow(&[get.clone()])).await;
    is(&view, RunState::Completed);
    assert_eq!(
        (&output(&view, "get")["status"], &output(&view, "get")["headers"]["location"]),
        (&json!(302), &json!("/elsewhere"))
    );
    get["inputs"] = json!({ "url": server.url("/") });
    let view = world.run(&workflow(&[get])).await;
    is(&view, RunState::RolledBack);
    assert_eq!(code(&view, "get"), "unexpected-status");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_failure_in_a_later_step_sends_the_undo_request_exactly_once_with_its_key() {
    let shop = Shop::open();
    let world = world(&shop.server);
    let view = world.run(&workflow(&[make(&shop), fails()])).await;
    is(&view, RunState::RolledBack);
    assert_eq!(states(&view), [("make", "UNDONE"), ("last", "FAILED")]);
    assert!(!step(&view, "make").checked, "what a request changed only the component can say");
    assert_eq!(shop.log(), [line("POST /things", "do"), line("DELETE /things/1", "undo")]);
    let entries = world.journal.entries(&view.run, 0, usize::MAX).unwrap();
    let intent = entries.iter().find_map(|entry| match &entry.event {
        redress::saga::event::Event::Intent(intent) => Some(intent.key.clone()),
        _ => None,
    });
    let undo = entries.iter().find_map(|entry| match &entry.event {
        redress::saga::event::Event::UndoIntent(intent) => Some(intent.key.clone()),
        _ => None,
    });
    assert_eq!((shop.keys("POST"), shop.keys("DELETE")), (vec![intent.unwrap()], vec![undo.unwrap()]));
    assert!(world.journal.verify().unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_completed_run_can_be_undone_later() {
    let shop = Shop::open();
    let world = world(&shop.server);
    let view = world.run(&workflow(&[make(&shop)])).await;
    is(&view, RunState::Completed);
    assert_eq!(output(&view, "make")["json"]["id"], 1);
    assert_eq!(shop.things().len(), 1);
    world.operate(&view.run, redress::saga::event::Verb::Undo, None).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert_eq!(shop.things().len(), 0);
}

#[tokio::test]
async fn an_answer_503_is_tried_again_with_the_same_key_no_sooner_than_it_asks_for() {
    let dates = |after: &str| {
        vec![
            ("Date".to_owned(), "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            ("Retry-After".to_owned(), after.to_owned()),
        ]
    };
    let shop = Shop::with_mood(move |number, _| match number {
        1 => Some(Unusual::Says(503, dates("7"))),
        2 => Some(Unusual::Says(429, dates("Sun, 06 Nov 1994 08:49:48 GMT"))),
        _ => None,
    });
    let world = world(&shop.server);
    let before = world.clock.now();
    let view = world.run(&workflow(&[make(&shop)])).await;
    is(&view, RunState::Completed);
    assert_eq!(step(&view, "make").attempts, 3);
    assert!(world.clock.now().since(before).0 >= 18_000, "{:?}", world.clock.now().since(before));
    let keys = shop.keys("POST");
    assert_eq!((keys.len(), keys.iter().collect::<std::collections::BTreeSet<_>>().len()), (3, 1));
    assert_eq!(shop.made(), 1);
}

#[tokio::test]
async fn a_read_is_tried_again_and_what_will_not_pass_is_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::start(move |request| match request.path.as_str() {
        "/busy" if counted.fetch_add(1, Ordering::SeqCst) == 0 => Reply::Answer(503, Vec::new(), Vec::new()),
        "/busy" => Reply::ok("at last"),
        path => Reply::Answer(path.trim_start_matches('/').parse().unwrap(), Vec::new(), b"why".to_vec()),
    });
    let world = world(&server);
    let get = |path: &str| workflow(&[a_step("get", "net.http.get", json!({ "url": server.url(path) }))]);
    let view = world.run(&get("/busy")).await;
    assert_eq!((output(&view, "get")["body"].as_str(), step(&view, "get").attempts), (Some("at last"), 2));
    for (path, expected) in [
        ("/401", "unauthorized"),
        ("/403", "unauthorized"),
        ("/404", "not-found"),
        ("/409", "conflict"),
        ("/418", "unexpected-status"),
    ] {
        let view = world.run(&get(path)).await;
        assert_eq!((code(&view, "get").as_str(), step(&view, "get").attempts), (expected, 1), "{path}");
        assert_eq!(step(&view, "get").error.as_ref().unwrap().details.as_deref(), Some("why"));
    }
}

#[tokio::test]
async fn bodies_of_several_mebibytes_go_both_ways() {
    let server = Server::start(|request| {
        let kind = request.header("content-type").unwrap().to_owned();
        Reply::Answer(200, vec![("content-type".into(), kind)], request.body.clone())
    });
    let world = world(&server);
    let text = "0123456789abcde\n".repeat((3 << 20) / 16);
    world.write("text", &text);
    let bytes: Vec<u8> = (0..2_900_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(world.path("bytes"), &bytes).unwrap();
    let undo = json!({ "url": "/", "method": "DELETE" });
    for (name, field) in [("text", "body"), ("bytes", "body_base64")] {
        let content = field.replace("body", "content");
        let mut request = json!({ "url": server.url("/echo"), "method": "PUT", "undo": undo });
        request[field] = json!(format!("{{{{ read.{content} }}}}"));
        let mut write = json!({ "path": format!("/work/{name}-back") });
        write[&content] = json!(format!("{{{{ echo.{field} }}}}"));
        let view = world
            .run(&workflow(&[
                a_step("read", "io.fs.read_file", json!({ "path": format!("/work/{name}") })),
                a_step("echo", "net.http.request", request),
                a_step("write", "io.fs.write_file", write),
            ]))
            .await;
        is(&view, RunState::Completed);
        assert!(fs::read(world.path(name)).unwrap() == fs::read(world.path(&format!("{name}-back"))).unwrap());
    }
}

#[tokio::test]
async fn an_answer_that_no_output_can_hold_fails_by_name() {
    let server = Server::start(|_| Reply::ok(vec![b'x'; 5 << 20]));
    let world = world(&server);
    let view = world.run(&workflow(&[a_step("get", "net.http.get", json!({ "url": server.url("/") }))])).await;
    assert_eq!((code(&view, "get").as_str(), step(&view, "get").attempts), ("too-large", 1));
}

#[tokio::test]
async fn requests_and_their_undo_go_by_tls_and_carry_secrets_that_no_record_holds() {
    const TOKEN: &str = "token-that-nobody-may-see";
    let server = Server::start_tls(&AUTHORITY, "shop.test", |request| match request.method.as_str() {
        "POST" => Reply::Answer(
            201,
            vec![("Location".into(), "/things/7".into())],
            request.header("authorization").unwrap().into(),
        ),
        _ => Reply::Answer(204, Vec::new(), Vec::new()),
    });
    let secrets = format!("    secrets: [{{ name: TOKEN, file: token, hosts: [\"shop.test:{}\"] }}]\n", server.port());
    let policy = policy(&server, &secrets);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), TOKEN).unwrap();
    let policy = policy.replace("file: token", &format!("file: {}", folder.path().join("token").display()));
    let world = World::within(SANDBOX.clone(), &policy);
    let headers = json!({ "authorization": "Bearer ${secret:TOKEN}" });
    let request = json!({
        "url": server.url("/things"), "method": "POST", "body": "x", "headers": headers,
        "undo": { "url": "{response.headers.location}", "method": "DELETE", "headers": headers },
    });
    let view = world.run(&workflow(&[a_step("make", "net.http.request", request), fails()])).await;
    is(&view, RunState::RolledBack);
    let received = server.received();
    assert_eq!(
        received
            .iter()
            .map(|r| (r.method.as_str(), r.path.as_str(), r.header("authorization").unwrap()))
            .collect::<Vec<_>>(),
        [
            ("POST", "/things", "Bearer token-that-nobody-may-see"),
            ("DELETE", "/things/7", "Bearer token-that-nobody-may-see")
        ]
    );
    assert_eq!(output(&view, "make")["body"], "Bearer ${secret:TOKEN}");
    for file in fs::read_dir(world.dir.path().join("journal")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn without_the_grant_no_packet_is_sent() {
    let server = Server::start(|_| Reply::ok(""));
    let (url, undo) = (server.url("/things"), json!({ "url": "/", "method": "DELETE" }));
    let read_only = format!("    network: [{{ url: \"{}\", methods: [GET] }}]\n", server.url("/**"));
    let elsewhere = format!("    network: [{{ url: \"{}\", methods: [GET, POST] }}]\n", server.url("/others/**"));
    let requests = [
        ("net.http.get", json!({ "url": url })),
        ("net.http.request", json!({ "url": url, "method": "POST", "undo": undo })),
        ("net.http.send", json!({ "url": url, "method": "POST" })),
    ];
    for (number, grant) in ["", &read_only, &elsewhere].into_iter().enumerate() {
        let world = World::within(SANDBOX.clone(), &format!("{ALLOW}{grant}"));
        for (capability, inputs) in &requests[usize::from(number == 1)..] {
            let view = world.run(&workflow(&[a_step("a", capability, inputs.clone())])).await;
            is(&view, RunState::RolledBack);
            assert_eq!(
                (states(&view)[0].1, code(&view, "a").as_str()),
                ("FAILED", "not-granted"),
                "{capability} {grant}"
            );
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_undo_to_another_place_or_that_means_nothing_is_refused_before_a_packet_is_sent() {
    let server = Server::start(|_| Reply::ok(""));
    let world = world(&server);
    for undo in ["http://127.0.0.1:1/x", "/things/{respnse.json.id}", "//other/x"] {
        let inputs =
            json!({ "url": server.url("/things"), "method": "POST", "undo": { "url": undo, "method": "DELETE" } });
        let view = world.run(&workflow(&[a_step("a", "net.http.request", inputs)])).await;
        assert_eq!((states(&view)[0].1, code(&view, "a").as_str()), ("FAILED", "invalid-input"), "{undo}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_counts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/things", listener.local_addr().unwrap().port());
    let target = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 413 .\r\ncontent-length: 3\r\n\r\nbig").unwrap();
        io::copy(&mut stream, &mut io::sink()).ok();
        drop(listener);
    });
    let grant = format!("    network: [{{ url: \"{url}\", methods: [POST] }}]\n");
    let world = World::within(SANDBOX.clone(), &format!("{ALLOW}{grant}"));
    world.write("text", &"0123456789abcde\n".repeat((3 << 20) / 16));
    let undo = json!({ "url": "/things/1", "method": "DELETE" });
    let send = json!({ "url": url, "method": "POST", "body": "{{ read.content }}", "undo": undo });
    let view = world
        .run(&workflow(&[
            a_step("read", "io.fs.read_file", json!({ "path": "/work/text" })),
            a_step("send", "net.http.request", send),
        ]))
        .await;
    is(&view, RunState::RolledBack);
    assert_eq!((code(&view, "send").as_str(), step(&view, "send").attempts), ("unexpected-status", 1), "{view:#?}");
    assert_eq!(states(&view)[1].1, "UNDONE");
    target.join().unwrap();
}

#[tokio::test]
async fn a_step_can_be_undone_by_a_request_that_the_workflow_declares() {
    let shop = Shop::open();
    let world = world(&shop.server);
    let mut step = make(&shop);
    step["compensation"] = json!({
        "capability": "net.http.send",
        "inputs": { "url": shop.server.url("/things/{{ make.json.id }}"), "method": "DELETE" },
    });
    let view = world.run(&workflow(&[step, fails()])).await;
    is(&view, RunState::RolledBack);
    assert_eq!(shop.log(), [line("POST /things", "do"), line("DELETE /things/1", "undo")]);
    assert_eq!(shop.things().len(), 0);
}

#[tokio::test]
async fn two_steps_without_an_order_do_not_change_one_url() {
    let shop = Shop::open();
    let world = world(&shop.server);
    let mut steps = [make(&shop), make(&shop)];
    for (step, name) in steps.iter_mut().zip(["one", "two"]) {
        step["name"] = json!(name);
        step["depends_on"] = json!([]);
    }
    let view = world.run(&workflow(&steps)).await;
    is(&view, RunState::RolledBack);
    let codes = [code(&view, "one"), code(&view, "two")];
    assert!(codes.contains(&"conflict".to_owned()), "{codes:?}");
    assert_eq!((shop.made(), shop.things().len()), (1, 0));
}

#[tokio::test]
async fn what_cannot_be_undone_remains_and_is_named() {
    let shop = Shop::open();
    let world = world(&shop.server);
    let inputs = json!({ "url": shop.server.url("/things"), "method": "POST", "json": { "name": "a" } });
    let view = world.run(&workflow(&[a_step("send", "net.http.send", inputs), fails()])).await;
    is(&view, RunState::RolledBackWithResidue);
    assert_eq!(shop.log(), [line("POST /things", "do")]);
    assert_eq!(view.residue.len(), 1);
}

#[tokio::test]
async fn a_send_whose_outcome_is_unclear_is_never_sent_again() {
    let shop = Shop::with_mood(|_, _| Some(Unusual::DoesAndCloses));
    let world = world(&shop.server);
    let inputs = json!({ "url": shop.server.url("/things"), "method": "POST", "json": { "name": "a" } });
    let view = world.run(&workflow(&[a_step("send", "net.http.send", inputs)])).await;
    is(&view, RunState::RolledBackWithResidue);
    assert_eq!((shop.log().len(), shop.made()), (1, 1));
}

#[tokio::test]
async fn an_unclear_request_is_sent_again_with_its_key_and_made_once() {
    let shop = Shop::with_mood(|number, _| (number == 1).then_some(Unusual::DoesAndCloses));
    let world = world(&shop.server);
    let view = world.run(&workflow(&[make(&shop), fails()])).await;
    is(&view, RunState::RolledBack);
    assert_eq!(shop.log(), [line("POST /things", "do"), line("POST /things", "do"), line("DELETE /things/1", "undo")]);
    assert_eq!((shop.made(), shop.things().len()), (1, 0));
}

#[tokio::test]
async fn an_unclear_request_is_found_by_its_lookup_and_undone() {
    let shop = Shop::with_mood(|number, _| (number == 1).then_some(Unusual::DoesAndCloses));
    let world = world(&shop.server);
    let view = world.run(&workflow(&[make_once(&shop, true)])).await;
    is(&view, RunState::RolledBack);
    assert_eq!(
        shop.log(),
        [line("POST /things", "do"), line("GET /things?ref", "-"), line("DELETE /things/1", "undo")]
    );
    assert_eq!((shop.made(), shop.things().len()), (1, 0));
}

#[tokio::test]
async fn an_unclear_request_that_nobody_finds_is_fenced_by_repeating_it() {
    for (lookup, arrived) in [(false, true), (false, false), (true, false)] {
        let shop = Shop::with_mood(move |number, _| {
            (number == 1).then_some(if arrived { Unusual::DoesAndCloses } else { Unusual::Closes })
        });
        let world = world(&shop.server);
        let view = world.run(&workflow(&[make_once(&shop, lookup)])).await;
        is(&view, RunState::RolledBack);
        assert_eq!(states(&view), [("make", "UNDONE")]);
        let mut expected =
            vec![line("POST /things", "do"), line("POST /things", "do"), line("DELETE /things/1", "undo")];
        if lookup {
            expected.insert(1, line("GET /things?ref", "-"));
        }
        assert_eq!(shop.log(), expected);
        assert_eq!((shop.made(), shop.things().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_target_that_is_busy_with_an_unclear_request_is_waited_for_beyond_the_usual_attempts() {
    let shop = Shop::with_mood(|number, _| match number {
        1 => Some(Unusual::DoesAndCloses),
        2..=9 => Some(Unusual::Says(409, Vec::new())),
        _ => None,
    });
    let world = world(&shop.server);
    let view = world.run(&workflow(&[make_once(&shop, false)])).await;
    is(&view, RunState::RolledBack);
    assert_eq!((shop.keys("POST").len(), shop.keys("DELETE").len(), shop.things().len()), (10, 1, 0));
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_an_operators_to_settle() {
    let shop = Shop::with_mood(|number, _| {
        Some(if number == 1 { Unusual::DoesAndCloses } else { Unusual::Says(409, Vec::new()) })
    });
    let world = world(&shop.server);
    let mut step = make_once(&shop, false);
    step["inputs"]["settle_seconds"] = json!(0);
    let view = world.run(&workflow(&[step])).await;
    is(&view, RunState::Stuck);
    assert_eq!(code(&view, "make"), "outcome-unknown");
    assert_eq!((shop.keys("POST").len(), shop.things().len()), (6, 1));
}

#[tokio::test]
async fn a_request_that_was_refused_made_nothing_and_nothing_is_sent_for_it() {
    let shop = Shop::with_mood(|_, _| Some(Unusual::Says(422, Vec::new())));
    let world = world(&shop.server);
    let view = world.run(&workflow(&[make(&shop)])).await;
    is(&view, RunState::RolledBack);
    assert_eq!(shop.log(), [line("POST /things", "do")]);
}

#[tokio::test]
async fn a_request_that_was_answered_without_what_its_undo_needs_is_sent_once_and_an_operator_looks() {
    let server =
        Server::start(|_| Reply::Answer(201, vec![("content-type".into(), "text/plain".into())], b"7".to_vec()));
    let world = world(&server);
    let inputs = json!({
        "url": server.url("/things"), "method": "POST", "json": {},
        "undo": { "url": "/things/{response.json.id}", "method": "DELETE" },
    });
    let view = world.run(&workflow(&[a_step("make", "net.http.request", inputs)])).await;
    is(&view, RunState::Stuck);
    let error = step(&view, "make").error.as_ref().unwrap();
    let told = "the answer, status 201 with the content type `text/plain`, has nothing at `{response.json.id}`";
    assert!(error.code == "undo-unresolved" && error.message.contains(told), "{error:?}");
    assert_eq!(server.received().len(), 1, "what was done is not done again");
}

#[tokio::test]
async fn a_target_that_only_fails_gets_the_request_from_each_attempt_and_from_each_attempt_to_undo() {
    let server = Server::start(|_| Reply::Answer(500, Vec::new(), Vec::new()));
    let world = world(&server);
    let inputs = json!({
        "url": server.url("/things"), "method": "POST", "json": {},
        "undo": { "url": "/things/{response.json.id}", "method": "DELETE" },
    });
    let mut make = a_step("make", "net.http.request", inputs);
    make["retry"] = json!({ "max_attempts": 2 });
    is(&world.run(&workflow(&[make])).await, RunState::Stuck);
    let received = server.received();
    let keys: std::collections::BTreeSet<_> = received.iter().map(|one| one.header("idempotency-key")).collect();
    assert_eq!((received.len(), keys.len()), (7, 1), "two attempts and five to undo, all with one key");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_leaves_nothing_to_undo() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/things", closed.local_addr().unwrap().port());
    drop(closed);
    let grant = format!(
        "    network: [{{ url: \"{url}/**\", methods: [POST, DELETE] }}, {{ url: \"{url}\", methods: [POST] }}]\n"
    );
    let world = World::within(SANDBOX.clone(), &format!("{ALLOW}{grant}"));
    let undo = json!({ "url": "/things/1", "method": "DELETE" });
    for (capability, inputs) in [
        ("net.http.request", json!({ "url": url, "method": "POST", "undo": undo })),
        ("net.http.send", json!({ "url": url, "method": "POST" })),
    ] {
        let view = world.run(&workflow(&[a_step("a", capability, inputs)])).await;
        is(&view, RunState::RolledBack);
        assert_eq!((states(&view)[0].1, code(&view, "a").as_str()), ("FAILED", "unavailable"), "{view:#?}");
        assert_eq!(step(&view, "a").attempts, 3);
    }
}
