//! A receiver of webhooks on a loopback address. It answers what the test says and keeps what it was sent.
// Not every test binary needs everything.
#![allow(dead_code)]

use std::net::TcpListener;
use std::sync::Mutex;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::server::{self, Authority, Reply, Server};

/// The secret that sender and receiver share.
pub const SECRET: &str = "whsec_YSBzZWNyZXQgZm9yIHRlc3RzIHRoYXQgaXMgbG9uZyBlbm91Z2g=";
/// The status at which the receiver goes away without an answer.
pub const HANG_UP: u16 = 0;

/// One message as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl From<server::Received> for Received {
    fn from(received: server::Received) -> Received {
        let server::Received { method, path, headers, body } = received;
        let header = |(name, value): (String, String)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(&value).unwrap())
        };
        Received { method, path, headers: headers.into_iter().map(header).collect(), body }
    }
}

impl Received {
    pub fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether a library of others takes the signature.
    pub fn is_signed(&self) -> bool {
        let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
        webhook.verify(&self.body, &self.headers).inspect_err(|error| eprintln!("{error}")).is_ok()
    }
}

/// Listens until it is dropped.
pub struct Receiver(Server);

impl Receiver {
    /// Gives these statuses one after the other, and 204 from then on.
    pub fn answering(statuses: &[u16]) -> Receiver {
        Receiver(Server::start(replies(statuses)))
    }

    /// The same with TLS, as `localhost`.
    pub fn secure(authority: &Authority, statuses: &[u16]) -> Receiver {
        Receiver(Server::start_tls(authority, "localhost", replies(statuses)))
    }

    pub fn url(&self) -> String {
        self.0.url("/hooks/redress?from=test")
    }

    /// Everything that arrived, in order.
    pub fn received(&self) -> Vec<Received> {
        self.0.received().into_iter().map(Received::from).collect()
    }
}

fn replies(statuses: &[u16]) -> impl Fn(&server::Received) -> Reply + Send + Sync + 'static {
    let statuses: Mutex<Vec<u16>> = Mutex::new(statuses.iter().rev().copied().collect());
    move |_| match statuses.lock().unwrap().pop() {
        Some(HANG_UP) => Reply::Close,
        status => Reply::Answer(status.unwrap_or(204), Vec::new(), Vec::new()),
    }
}

/// A place where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}
