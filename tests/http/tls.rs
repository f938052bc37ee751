//! What is said where there is no TLS: to the operator why, to the component of what kind it is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rcgen::date_time_ymd;
use redress::saga::RunState;
use serde_json::json;
use tokio_rustls::rustls::ServerConfig;

use crate::binary::Place;
use crate::capabilities::{AUTHORITY, SANDBOX, a_step, workflow};
use crate::server::{Authority, Reply, Server};
use crate::world::{ALLOW, World, code, is, states, step};

/// A server with a certificate of [`AUTHORITY`] for `shop.test`, unless `change` says otherwise.
fn tls(change: impl FnOnce(&mut rcgen::CertificateParams)) -> ServerConfig {
    let mut params = AUTHORITY.certificate("shop.test");
    change(&mut params);
    AUTHORITY.server(params)
}

/// Listens once, and does this with whoever comes.
fn raw(talk: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || talk(listener.accept().unwrap().0));
    port
}

fn some_of(stream: &mut TcpStream) {
    drop(stream.read(&mut [0; 9]));
}

#[tokio::test]
async fn a_request_that_failed_in_tls_says_why_and_was_not_sent() {
    let nothing = |_: &_| Reply::ok("");
    let many: Vec<String> = (1..=9).map(|n| format!("shop-{n}.test")).collect();
    let foreign = rcgen::CertificateParams::new(many).unwrap();
    let http_2_only = {
        let mut config = tls(|_| {});
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    };
    let (stranger, namesake) = (Authority::named("a stranger"), Authority::new());
    for (server, why, told) in [
        (
            tls(|params| *params = AUTHORITY.certificate("other.test")),
            "the certificate of `shop.test` is not for that name, but for `other.test`",
            "TlsCertificateError",
        ),
        (
            AUTHORITY.server(foreign),
            "not for that name, but for `shop-1.test`, `shop-2.test`, `shop-3.test` and 6 more",
            "TlsCertificateError",
        ),
        (
            tls(|params| {
                (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
            }),
            "the certificate of `shop.test` has expired: it was valid until 2021-02-03T00:00:00Z",
            "TlsCertificateError",
        ),
        (
            tls(|params| params.not_before = date_time_ymd(4000, 1, 1)),
            "the certificate of `shop.test` is not valid before 4000-01-01T00:00:00Z",
            "TlsCertificateError",
        ),
        (
            stranger.server(stranger.certificate("shop.test")),
            "from an authority that is not trusted (`extra_ca` in the settings adds one)",
            "TlsCertificateError",
        ),
        (
            namesake.server(namesake.certificate("shop.test")),
            "is not signed by the authority that it names, or that one has another key here",
            "TlsCertificateError",
        ),
        (http_2_only, "`shop.test` has refused TLS: NoApplicationProtocol", "TlsAlertReceived"),
    ] {
        let server = Server::start_with(server, "shop.test", nothing);
        fails(server.port(), why, told).await;
        assert!(server.received().is_empty() && server.connections() > 0, "{why}");
    }
    let no_tls = raw(|mut stream| {
        some_of(&mut stream);
        drop(stream.write_all(b"HTTP/1.1 400 .\r\ncontent-length: 0\r\n\r\n"));
        some_of(&mut stream);
    });
    fails(no_tls, "`shop.test` has answered with something that is not TLS", "TlsProtocolError").await;
}

/// A change to `shop.test` at this port fails before it is sent, and for the reason that is expected. What the component was told
/// does not hold the reason.
async fn fails(port: u16, why: &str, told: &str) {
    let url = format!("https://shop.test:{port}/things");
    let grant = format!("    network: [{{ url: \"{url}\", methods: [POST], local: true }}]\n");
    let world = World::within(SANDBOX.clone(), &format!("{ALLOW}{grant}"));
    let inputs = json!({ "url": url, "method": "POST", "body": "x" });
    let view = world.run(&workflow(&[a_step("send", "net.http.send", inputs)])).await;
    is(&view, RunState::RolledBack);
    assert_eq!((states(&view)[0].1, code(&view, "send").as_str()), ("FAILED", "tls-failed"), "{view:#?}");
    let error = step(&view, "send").error.as_ref().unwrap();
    assert!(error.message.starts_with(&format!("`POST {url}` was not sent: ")), "{error:?}");
    assert!(error.message.contains(why), "{error:?}");
    let details = error.details.as_ref().unwrap();
    assert!(details.contains(&format!("ErrorCode::{told}")) && !details.contains(why), "{error:?}");
    assert_eq!(step(&view, "send").attempts, 1);
}

#[test]
fn the_operator_reads_on_the_command_line_why_tls_failed() {
    let server = |params| Server::start_with(AUTHORITY.server(params), "localhost", |_| Reply::ok("hello"));
    let mut expired = AUTHORITY.certificate("localhost");
    expired.not_after = date_time_ymd(2021, 2, 3);
    for (server, trusted, why) in [
        (server(AUTHORITY.certificate("localhost")), true, None),
        (server(AUTHORITY.certificate("localhost")), false, Some("from an authority that is not trusted")),
        (server(AUTHORITY.certificate("elsewhere.test")), true, Some("is not for that name, but for `elsewhere.test`")),
        (server(expired), true, Some("has expired: it was valid until 2021-02-03T00:00:00Z")),
    ] {
        let place = Place::with_policy(&format!(
            "rules: [{{ principal: \"agent:demo\", capabilities: [net.http.get], action: ALLOW }}]\n\
             grants: [{{ capabilities: [net.http.get], network: [{{ url: \"{}\", methods: [GET], local: true }}] }}]\n",
            server.url("/**")
        ));
        if trusted {
            place.write("ca.pem", AUTHORITY.pem());
            place.write("redress.yaml", format!("{}extra_ca: ca.pem\n", place.read("redress.yaml")));
        }
        let answer = place.redress(&["call", "net.http.get", "--input", &format!("url={}", server.url("/x"))]);
        match why {
            None => drop(answer.exits(0)),
            Some(why) => {
                let answer = answer.exits(3);
                assert!(answer.stdout.contains("tls-failed") && answer.stdout.contains(why), "{answer:#?}");
            }
        }
    }
}
