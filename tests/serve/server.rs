//! A service in a folder of its own, and what asks it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::common::{Answer, Place};

pub const POLICY: &str = r#"
rules:
  - { principal: "agent:*", capabilities: ["io.fs.move"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:*"], expires: 4h } }
  - { principal: "agent:*", capabilities: ["io.fs.*", "data.*"], action: ALLOW, accept_risk: HIGH }
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
"#;

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub struct Server {
    pub place: Place,
    process: Process,
    pub at: SocketAddr,
    // What it prints is read by nobody, and must not stop it.
    _stdout: BufReader<ChildStdout>,
    _stderr: ChildStderr,
}

/// An answer of the service.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Said {
    #[track_caller]
    pub fn is(self, status: u16) -> Said {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The code of a problem.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:#?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl Server {
    pub fn new() -> Server {
        Server::with_policy(POLICY)
    }

    pub fn with_policy(policy: &str) -> Server {
        Server::at(Place::with_policy(policy))
    }

    /// A server on what is in a folder. It chooses its port.
    pub fn at(place: Place) -> Server {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let stderr = process.stderr.take().unwrap();
        let mut text = String::new();
        while !text.ends_with("}\n") {
            if stdout.read_line(&mut text).unwrap() == 0 {
                let mut told = String::new();
                BufReader::new(stderr).read_to_string(&mut told).unwrap();
                panic!("it ended: {told}");
            }
        }
        let listening: Value = serde_json::from_str(&text).unwrap();
        let at = listening["listen"].as_str().unwrap().parse().unwrap();
        Server { place, process: Process(process), at, _stdout: stdout, _stderr: stderr }
    }

    /// The secret of a new token.
    pub fn token(&self, principal: &str, scopes: &[&str]) -> String {
        let mut arguments = vec!["token", "add", principal, "--reason", "a test", "--as", "user:admin"];
        scopes.iter().for_each(|scope| arguments.extend(["--may", *scope]));
        self.place.redress(&arguments).exits(0).stdout.trim().to_owned()
    }

    /// Sends a request as it stands, and reads the answer to its end.
    pub fn raw(&self, request: &str) -> Said {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let all = String::from_utf8(all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {all}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Said { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub fn asks(&self, method: &str, path: &str, token: &str, more: &str, body: &str) -> Said {
        let (at, length) = (self.at, body.len());
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{token}{json}{more}Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    pub fn get(&self, path: &str, token: &str) -> Said {
        self.asks("GET", path, token, "", "")
    }

    pub fn post(&self, path: &str, token: &str, body: &Value) -> Said {
        self.asks("POST", path, token, "", &body.to_string())
    }

    /// Reads a stream of events until it ends, after the event `last`; the ids and kinds.
    pub fn follow(&self, path: &str, token: &str, last: u64, until: impl Fn(u64) -> bool) -> Vec<(u64, String)> {
        let mut stream = TcpStream::connect(self.at).unwrap();
        let at = self.at;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Accept: text/event-stream\r\nLast-Event-ID: {last}\r\n\r\n"
        )
        .unwrap();
        let (mut events, mut id, mut kind) = (Vec::new(), None, String::new());
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            if let Some(name) = line.strip_prefix("event: ") {
                kind = name.to_owned();
            } else if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.parse().unwrap());
            } else if line.is_empty()
                && let Some(id) = id.take()
            {
                events.push((id, std::mem::take(&mut kind)));
                if until(id) {
                    break;
                }
            }
        }
        events
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Tells it to end.
    pub fn ends(mut self) -> (Place, Answer) {
        self.signal("-TERM");
        let code = self.process.0.wait().unwrap().code();
        let mut stderr = String::new();
        self._stderr.read_to_string(&mut stderr).unwrap();
        (self.place, Answer { code, stdout: String::new(), stderr })
    }

    /// Kills it.
    pub fn dies(mut self) -> Place {
        self.signal("-KILL");
        self.process.0.wait().unwrap();
        self.place
    }
}
