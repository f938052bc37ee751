//! A client that says what a test tells it, and reads what comes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::common::{Answer, Place};

pub struct Client {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    last: u64,
    /// Notifications that came meanwhile.
    pub told: Vec<Value>,
}

/// What a tool answered.
#[derive(Debug)]
pub struct Called {
    pub value: Value,
    pub is_error: bool,
}

impl Client {
    /// A client that has said who it is.
    pub fn new(place: &Place) -> Client {
        Client::begin(place, &["mcp"])
    }

    pub fn begin(place: &Place, arguments: &[&str]) -> Client {
        let mut client = Client::mute(place, arguments);
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
        let info = client.asks("initialize", hello);
        assert_eq!(info["serverInfo"]["name"], "redress");
        client.says(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    /// One that has said nothing yet.
    pub fn mute(place: &Place, arguments: &[&str]) -> Client {
        let mut command = place.command(arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Client { input: process.stdin.take(), process, output, last: 0, told: Vec::new() }
    }

    pub fn says(&mut self, message: &Value) {
        self.says_line(&message.to_string());
    }

    pub fn says_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn hears(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended: {:?}", self.process.wait());
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Asks, and does not wait for the answer.
    pub fn sends(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        self.says(&json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params }));
        self.last
    }

    pub fn answer_to(&mut self, id: u64) -> Value {
        loop {
            let message = self.hears();
            if message["id"] == id {
                return message;
            }
            self.told.push(message);
        }
    }

    /// The result of a request.
    pub fn asks(&mut self, method: &str, params: Value) -> Value {
        let id = self.sends(method, params);
        let answer = self.answer_to(id);
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }

    /// The error of a request.
    pub fn fails(&mut self, method: &str, params: Value) -> Value {
        let id = self.sends(method, params);
        let answer = self.answer_to(id);
        assert!(answer.get("error").is_some(), "{answer}");
        answer["error"].clone()
    }

    pub fn calls(&mut self, tool: &str, arguments: Value) -> Called {
        Called::of(&self.asks("tools/call", json!({ "name": tool, "arguments": arguments })))
    }

    pub fn tools(&mut self) -> Vec<Value> {
        self.asks("tools/list", json!({}))["tools"].as_array().unwrap().clone()
    }

    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Says nothing more, and waits for the process to end.
    pub fn ends(mut self) -> Answer {
        self.input = None;
        self.ended()
    }

    /// Waits for the process to end, which is told to by others.
    pub fn ended(self) -> Answer {
        let Client { process, input, output, .. } = self;
        drop(output);
        let answer = process.wait_with_output().unwrap().into();
        drop(input);
        answer
    }
}

impl Called {
    pub fn of(result: &Value) -> Called {
        let value = result["structuredContent"].clone();
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, value, "clients that read only text read the same");
        Called { value, is_error: result["isError"] == true }
    }

    #[track_caller]
    pub fn is(self, state: &str) -> Value {
        assert_eq!(self.value["state"], state, "{self:#?}");
        self.value
    }

    #[track_caller]
    pub fn succeeds(self) -> Value {
        assert!(!self.is_error, "{self:#?}");
        self.value
    }

    #[track_caller]
    pub fn fails(self) -> Value {
        assert!(self.is_error, "{self:#?}");
        self.value
    }
}
