//! A receiver of webhooks on a loopback address. It answers what the test says and keeps what it was sent.
// Not every test binary needs everything.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// The secret that sender and receiver share.
pub const SECRET: &str = "whsec_YSBzZWNyZXQgZm9yIHRlc3RzIHRoYXQgaXMgbG9uZyBlbm91Z2g=";
/// The value of `status` at which the receiver goes away without an answer.
pub const HANG_UP: u16 = 0;

/// One message as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// `POST /path HTTP/1.1`.
    pub line: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
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

struct Inner {
    answers: Mutex<Vec<u16>>,
    received: Mutex<Vec<Received>>,
    stopped: AtomicBool,
}

/// Answers one connection after the other until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Gives these statuses one after the other, and 204 from then on.
    pub fn answering(statuses: &[u16]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            answers: Mutex::new(statuses.iter().rev().copied().collect()),
            received: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever is killed in the middle of a message has not sent one.
                drop(serve(&shared, stream.unwrap()));
            }
        });
        Receiver { address, inner, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks/redress?from=test", self.address)
    }

    /// Everything that arrived, in order.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn serve(inner: &Inner, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut headers = HeaderMap::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    inner.received.lock().unwrap().push(Received { line: lines[0].clone(), headers, body });
    let status = inner.answers.lock().unwrap().pop().unwrap_or(204);
    if status == HANG_UP {
        return Ok(());
    }
    let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    reader.into_inner().write_all(answer.as_bytes())
}

/// A place where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}
