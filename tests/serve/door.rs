//! Who is let in.

use serde_json::{Value, json};

use crate::common::Place;
use crate::server::Server;

#[test]
fn without_a_token_there_is_no_answer_but_to_whether_it_lives_and_what_it_offers() {
    let server = Server::new();
    assert_eq!(server.get("/healthz", "").is(200).body, "ok\n");
    assert_eq!(server.get("/readyz", "").is(200).body, "ready\n");
    let document = server.get("/openapi.json", "").is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    for path in
        document["paths"].as_object().unwrap().keys().filter(|path| path.starts_with("/v1") || *path == "/metrics")
    {
        let path = path.replace("{run}", "01920000-0000-7000-8000-00000000000a").replace("{step}", "a");
        for method in ["GET", "POST"] {
            let said = server.asks(method, &path, "", "", "").is(401);
            assert_eq!(said.problem(), "unauthorized");
            assert!(said.head.contains("www-authenticate: bearer"), "{said:#?}");
        }
    }
    assert_eq!(server.get("/v1/runs", "redress_0000").is(401).problem(), "unauthorized");
    assert_eq!(server.get("/none", "").is(401).problem(), "unauthorized");
    let (place, _) = server.ends();
    let events = place.redress(&["events", "system"]).exits(0).stdout;
    assert_eq!(events.matches("REFUSED").count(), 1, "strangers cannot fill the journal: {events}");
}

#[test]
fn a_token_is_shown_once_counts_for_its_scopes_and_can_be_revoked() {
    let server = Server::new();
    let secret = server.token("agent:a", &["submit"]);
    assert!(secret.starts_with("redress_") && secret.len() == 72, "{secret}");
    server.get("/v1/runs", &secret).is(200);
    assert_eq!(server.get("/v1/approvals", &secret).is(403).problem(), "forbidden");
    assert_eq!(server.get("/metrics", &secret).is(403).problem(), "forbidden");
    let listed = server.place.redress(&["token", "list", "--json"]).exits(0);
    assert!(!listed.stdout.contains(&secret));
    let id = listed.json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed.json()[0]["scopes"], json!(["submit"]));
    server.place.redress(&["token", "revoke", "t0000", "--reason", "x"]).exits(2);
    server.place.redress(&["token", "revoke", &id, "--reason", "it was in a log"]).exits(0);
    server.get("/v1/runs", &secret).is(401);
    let short =
        server.place.redress(&["token", "add", "agent:a", "--may", "submit", "--reason", "x", "--expires", "1ms"]);
    server.get("/v1/runs", short.exits(0).stdout.trim()).is(401);
    let (place, _) = server.ends();
    let events = place.redress(&["events", "system"]).exits(0).stdout;
    assert!(events.contains("TOKEN_ADDED") && events.contains("TOKEN_REVOKED"), "{events}");
    assert!(events.contains("REFUSED") && events.contains("may not be used to `vote`"), "{events}");
    let journal = std::fs::read(place.path(".redress/journal.db")).unwrap();
    assert!(!journal.windows(64).any(|bytes| bytes == &secret.as_bytes()[8..]), "the secret is kept nowhere");
    place.redress(&["audit", "verify"]).exits(0);
}

/// What is refused is on record with who asked, and counted by what it was.
#[test]
fn every_refusal_is_recorded_and_counted() {
    let server = Server::new();
    let own = server.token("agent:a", &["submit", "vote"]);
    let alice = server.token("user:alice", &["vote", "read-all"]);
    let expired =
        ["token", "add", "agent:late", "--may", "submit", "--reason", "x", "--expires", "1ms", "--as", "user:admin"];
    let expired = server.place.redress(&expired).exits(0).stdout.trim().to_owned();
    server.place.write("workspace/a", "x");
    let body = json!({ "capability": "io.fs.move", "inputs": { "from": "/workspace/a", "to": "/workspace/b" } });
    let run = server.post("/v1/runs?wait=30", &own, &body).is(201).json()["run"].as_str().unwrap().to_owned();
    let request = server.get("/v1/approvals", &alice).is(200).json()["waiting"][0]["request"].clone();
    let vote = |token: &str, request: &Value| {
        let ballot = json!({ "request": request, "approve": true, "reason": "y" });
        server.post(&format!("/v1/runs/{run}/steps/call/votes"), token, &ballot)
    };
    // Another name for this host, a page of another origin, no token, an expired one, one for something else.
    server.raw("GET /v1/runs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").is(403);
    server.asks("GET", "/v1/runs", &own, "Origin: https://evil.example\r\n", "").is(403);
    server.get("/v1/runs", "redress_0000").is(401);
    assert_eq!(server.get("/v1/runs", &expired).is(401).problem(), "token-expired");
    server.get("/v1/policy", &own).is(403);
    // Whoever asked for it, and a request that another one took the place of.
    vote(&own, &request).is(409);
    vote(&alice, &"01920000-0000-7000-8000-00000000000a".into()).is(409);
    let metrics = server.get("/metrics", &alice).is(200).body;
    for (code, count) in [("foreign", 2), ("unauthorized", 1), ("token-expired", 1), ("forbidden", 1), ("refused", 2)] {
        let line = format!("redress_http_refusals_total{{code=\"{code}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    for gauge in ["redress_messages_waiting 0", "redress_journal_free_bytes ", "redress_journal_bytes "] {
        assert!(metrics.contains(gauge), "{gauge}: {metrics}");
    }
    let (place, _) = server.ends();
    let events = place.redress(&["events", "system", "--json"]).exits(0).stdout;
    let refused: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
        .filter(|event| event["kind"] == "REFUSED")
        .collect();
    let said: Vec<(&str, &str)> = refused
        .iter()
        .map(|event| (event["by"].as_str().unwrap_or("nobody"), event["code"].as_str().unwrap()))
        .collect();
    let expected = [
        ("nobody", "foreign"),
        ("nobody", "unauthorized"),
        ("agent:late", "token-expired"),
        ("agent:a", "forbidden"),
        ("agent:a", "refused"),
        ("user:alice", "refused"),
    ];
    assert_eq!(said, expected, "what anybody can send is recorded once in a while: {refused:#?}");
}

/// Users of this machine are known by the system, and need no secret.
#[test]
fn a_user_whom_the_settings_name_needs_no_token_at_the_socket() {
    let user = rustix::process::geteuid().as_raw();
    let place = Place::with_policy(crate::server::POLICY);
    let peers = format!("peers: [{{ uid: {user}, principal: \"user:me\", may: [read-all] }}]\n");
    place.write("redress.yaml", format!("policy: policy.yaml\nprincipal: agent:demo\nsocket: s.sock\n{peers}"));
    let server = Server::at(place);
    let at = server.place.path("s.sock");
    let asks = |request: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&at).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        text
    };
    let get = |path: &str| asks(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let who = get("/v1/whoami");
    assert!(who.starts_with("HTTP/1.1 200") && who.contains("\"principal\":\"user:me\""), "{who}");
    assert!(get("/v1/runs").starts_with("HTTP/1.1 200"));
    assert!(get("/v1/approvals").starts_with("HTTP/1.1 403"), "and may no more than is said");
    // Over the network the same user is nobody.
    server.get("/v1/whoami", "").is(401);
    // A token says who one is at the socket, too.
    let token = server.token("agent:a", &["submit"]);
    let head = format!("Host: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert!(asks(&format!("GET /v1/whoami HTTP/1.1\r\n{head}")).contains("\"principal\":\"agent:a\""));
    let other = "GET /v1/whoami HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(asks(other).starts_with("HTTP/1.1 403"));
    // What a process that died left there keeps nobody from listening, and what ends well leaves nothing.
    let server = Server::at(server.dies());
    assert!(get("/v1/whoami").starts_with("HTTP/1.1 200"));
    let (place, _) = server.ends();
    assert!(!place.path("s.sock").exists());
    place.write("s.sock", "a file of somebody");
    let refused = place.redress(&["serve"]).exits(1);
    assert!(refused.stderr.contains("nobody can listen at"), "{refused:#?}");
    assert_eq!(place.read("s.sock"), "a file of somebody");
}

#[test]
fn a_user_whom_nobody_names_is_nobody_at_the_socket_too() {
    let place = Place::with_policy(crate::server::POLICY);
    place.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\n");
    let path = place.path("s.sock");
    let mut command = place.command(&["serve", "--json", "--socket", path.to_str().unwrap()]);
    let mut process = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut stdout = std::io::BufReader::new(process.stdout.take().unwrap());
    while !text.ends_with("}\n") {
        assert_ne!(std::io::BufRead::read_line(&mut stdout, &mut text).unwrap(), 0, "{text}");
    }
    let listening: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listening["listen"], Value::Null, "without an address it listens at no port");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /v1/runs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

/// Browsers on the same machine send what any page asks for.
#[test]
fn a_page_of_another_origin_and_another_name_for_this_host_get_no_answer() {
    let server = Server::new();
    let secret = server.token("agent:a", &["submit"]);
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(server.asks("GET", "/v1/runs", &secret, foreign, "").is(403).problem(), "foreign");
    assert_eq!(server.asks("GET", "/healthz", "", foreign, "").is(403).problem(), "foreign");
    let own = format!("Origin: http://{}\r\n", server.at);
    server.asks("GET", "/v1/runs", &secret, &own, "").is(200);
    let rebound = "GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(server.raw(rebound).is(403).problem(), "foreign");
    let local = format!("GET /healthz HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", server.at.port());
    let said = server.raw(&local).is(200);
    for header in
        ["cache-control: no-store", "x-content-type-options: nosniff", "content-security-policy: default-src 'none'"]
    {
        assert!(said.head.contains(header), "{header}: {said:#?}");
    }
}

#[test]
fn what_is_no_request_is_a_problem_and_nothing_of_it_is_an_error_of_the_service() {
    let server = Server::new();
    let secret = server.token("agent:a", &["submit", "read-all", "vote", "operate"]);
    let run = "01920000-0000-7000-8000-00000000000a";
    for (method, path, body, status) in [
        ("GET", "/none", "", 404),
        ("DELETE", "/v1/runs", "", 405),
        ("GET", "/v1/runs?state=DREAMING", "", 400),
        ("GET", "/v1/runs?cursor=x", "", 400),
        ("GET", "/v1/runs?colour=red", "", 400),
        ("GET", "/v1/runs/x", "", 404),
        ("GET", &format!("/v1/runs/{run}"), "", 404),
        ("GET", &format!("/v1/runs/{run}/events?after=-1"), "", 400),
        ("POST", "/v1/runs", "", 415),
        ("POST", "/v1/runs", "{", 400),
        ("POST", "/v1/runs", "[]", 422),
        ("POST", "/v1/runs", "{}", 400),
        ("POST", "/v1/runs", r#"{"capability": "io.fs.none"}"#, 422),
        ("POST", "/v1/runs", r#"{"capability": "io.fs.write_file", "inputs": {"path": 7}}"#, 422),
        ("POST", "/v1/runs", r#"{"workflow": "name: x\nsteps: []"}"#, 422),
        ("POST", "/v1/runs", r#"{"capability": "data.hash", "inputs": {"text": "a", "text": "b"}}"#, 422),
        ("POST", "/v1/runs", r#"{"workflow": "name: x", "inputs": {"v": {"a": 1, "a": 2}}}"#, 422),
        ("POST", "/v1/runs", r#"{"workflow": "name: x", "inputs": {"v": [123456789012345678901234567890]}}"#, 422),
        ("POST", "/v1/runs", r#"{"workflow": "name: x", "inputs": {"v": 1e17}}"#, 422),
        ("POST", "/v1/runs", r#"{"capability": "a", "workflow": "b"}"#, 400),
        ("POST", &format!("/v1/runs/{run}/cancel"), r#"{"reason": "x"}"#, 404),
        ("POST", &format!("/v1/runs/{run}/steps/a/votes"), r#"{"request": "r", "approve": true, "reason": "x"}"#, 404),
    ] {
        let said = server.asks(method, path, &secret, "", body).is(status);
        assert!(!said.problem().is_empty(), "{method} {path}");
    }
    for twice in [
        "Host: evil.example",
        "Authorization: Bearer another",
        "Content-Type: text/plain",
        "Idempotency-Key: a\r\nIdempotency-Key: b",
    ] {
        let said = server.asks("POST", "/v1/runs", &secret, &format!("{twice}\r\n"), r#"{"open": "x"}"#).is(400);
        assert!(said.problem() == "bad-header" && said.body.contains("stands twice"), "{said:#?}");
    }
    let long = "x".repeat(18 << 20);
    let said = server.post("/v1/runs", &secret, &json!({ "workflow": long }));
    assert_eq!(said.is(413).problem(), "bad-body");
}

/// Who is slow keeps nobody from ending it, and who was let in is let out again.
#[test]
fn a_client_that_says_half_of_a_request_does_not_keep_the_service_from_ending() {
    let place = Place::with_policy(crate::server::POLICY);
    place.write("redress.yaml", "policy: policy.yaml\nprincipal: agent:demo\nsettle_timeout: 300ms\n");
    let server = Server::at(place);
    let mut half = std::net::TcpStream::connect(server.at).unwrap();
    std::io::Write::write_all(&mut half, b"GET /hea").unwrap();
    let mut body = std::net::TcpStream::connect(server.at).unwrap();
    let head = format!("POST /v1/runs HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n\r\nx", server.at);
    std::io::Write::write_all(&mut body, head.as_bytes()).unwrap();
    let (_, answer) = server.ends();
    answer.exits(0);
    drop((half, body));
}

#[test]
fn a_stream_of_events_ends_when_its_token_is_revoked() {
    let server = Server::new();
    let secret = server.token("agent:a", &["submit"]);
    let run = server.post("/v1/runs", &secret, &json!({ "open": "session" })).is(201).json();
    let path = format!("/v1/runs/{}/events", run["run"].as_str().unwrap());
    let id = server.place.redress(&["token", "list", "--json"]).exits(0).json()[0]["id"].as_str().unwrap().to_owned();
    let events = server.follow(&path, &secret, 0, |seq| {
        if seq == 1 {
            server.place.redress(&["token", "revoke", &id, "--reason", "x"]).exits(0);
        }
        false
    });
    assert!(!events.is_empty(), "and it came to its end");
}

#[test]
fn where_nobody_can_listen_is_told_and_settings_say_where_it_is() {
    let server = Server::new();
    let place = Place::new();
    let taken = place.redress(&["serve", "--listen", &server.at.to_string()]).exits(1);
    assert!(taken.stderr.contains("nobody can listen at"), "{taken:#?}");
    place.write("redress.yaml", format!("policy: policy.yaml\nlisten: {}\n", server.at));
    assert!(place.redress(&["serve"]).exits(1).stderr.contains("nobody can listen at"));
    place.write("redress.yaml", "policy: policy.yaml\nlisten: here\n");
    place.redress(&["serve"]).exits(2);
    let (_, answer) = server.ends();
    answer.exits(0);
}
