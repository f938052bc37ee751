//! A small shop on loopback: things are made by POST, found by GET and removed by DELETE. It honours `Idempotency-Key`: a
//! request that carries a known key gets the answer of the first, and does nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Received, Reply, Server};

/// What the shop does with a request before it looks at it; the number counts its requests from 1. None: nothing unusual.
type Mood = Box<dyn Fn(usize, &Received) -> Option<Unusual> + Send + Sync>;

/// What goes wrong.
pub enum Unusual {
    /// Answers so, and does nothing.
    Says(u16, Vec<(String, String)>),
    /// Does what is asked, and closes without an answer.
    DoesAndCloses,
    /// Closes without an answer, and does nothing.
    Closes,
}

#[derive(Default)]
struct Stock {
    requests: usize,
    last: u64,
    things: BTreeMap<u64, Value>,
    answered: BTreeMap<String, (u16, Value)>,
}

pub struct Shop {
    pub server: Server,
    stock: Arc<Mutex<Stock>>,
}

impl Shop {
    pub fn open() -> Shop {
        Shop::with_mood(|_, _| None)
    }

    pub fn with_mood(mood: impl Fn(usize, &Received) -> Option<Unusual> + Send + Sync + 'static) -> Shop {
        let stock = Arc::new(Mutex::new(Stock::default()));
        let inside = Arc::clone(&stock);
        let mood: Mood = Box::new(mood);
        let server = Server::start(move |request| {
            let mut stock = inside.lock().unwrap();
            stock.requests += 1;
            match mood(stock.requests, request) {
                Some(Unusual::Says(status, headers)) => Reply::Answer(status, headers, Vec::new()),
                Some(Unusual::Closes) => Reply::Close,
                Some(Unusual::DoesAndCloses) => {
                    stock.serve(request);
                    Reply::Close
                }
                None => {
                    let (status, body) = stock.serve(request);
                    let json = vec![("content-type".to_owned(), "application/json".to_owned())];
                    Reply::Answer(status, json, if body.is_null() { Vec::new() } else { body.to_string().into() })
                }
            }
        });
        Shop { server, stock }
    }

    /// Everything in it, by id.
    pub fn things(&self) -> BTreeMap<u64, Value> {
        self.stock.lock().unwrap().things.clone()
    }

    /// How many things were ever made.
    pub fn made(&self) -> u64 {
        self.stock.lock().unwrap().last
    }

    /// Method, path and key of every request so far.
    pub fn log(&self) -> Vec<(String, String)> {
        let kind = |key: Option<&str>| key.map_or("-", |key| key.split('-').next().unwrap()).to_owned();
        let line = |request: Received| {
            let key = kind(request.header("idempotency-key"));
            (format!("{} {}", request.method, request.path.split('=').next().unwrap()), key)
        };
        self.server.received().into_iter().map(line).collect()
    }

    /// The keys of the requests with this method.
    pub fn keys(&self, method: &str) -> Vec<String> {
        let received = self.server.received().into_iter().filter(|request| request.method == method);
        received.map(|request| request.header("idempotency-key").unwrap().to_owned()).collect()
    }
}

impl Stock {
    fn serve(&mut self, request: &Received) -> (u16, Value) {
        if request.method == "GET" {
            let wanted = request.path.split_once("?ref=").map_or("", |(_, wanted)| wanted);
            let found: Vec<&Value> = self.things.values().filter(|thing| thing["ref"] == wanted).collect();
            return (200, json!({ "found": found }));
        }
        let key = request.header("idempotency-key").expect("every request that is no read has a key").to_owned();
        if let Some(known) = self.answered.get(&key) {
            return known.clone();
        }
        let answer = self.change(request);
        self.answered.insert(key, answer.clone());
        answer
    }

    fn change(&mut self, request: &Received) -> (u16, Value) {
        match (request.method.as_str(), request.path.strip_prefix("/things/").map(|id| id.parse::<u64>())) {
            ("POST", None) => {
                self.last += 1;
                let mut thing: Value = serde_json::from_slice(&request.body).unwrap();
                thing["id"] = json!(self.last);
                self.things.insert(self.last, thing.clone());
                (201, thing)
            }
            ("DELETE", Some(Ok(id))) => match self.things.remove(&id) {
                Some(_) => (204, Value::Null),
                None => (404, Value::Null),
            },
            _ => (405, Value::Null),
        }
    }
}
