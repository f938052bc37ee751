//! Secrets by the real binary: they reach the server in a header, and are in no file and on no stream.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::binary::{Answer, Place, SETTINGS};
use crate::server::{Authority, Received, Reply, Server};

const VARIABLE: &str = "REDRESS_TEST_TOKEN";
/// The secrets, one from the environment and one from a file that lies elsewhere.
const CANARIES: [&str; 2] = ["canary-5d0f93b81c", "canary-e47a2260fd"];

/// Everything that can be logged. The components are compiled already, else this would be very much.
const LOG: &str = "trace";

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Every file below a folder, as it is at this moment.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                // One that is gone meanwhile holds nothing.
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// The files below a folder that hold one of the secrets.
fn with_a_canary(root: &Path) -> Vec<PathBuf> {
    let canary = |bytes: &[u8]| CANARIES.iter().any(|canary| holds(bytes, canary));
    files(root).into_iter().filter(|(_, bytes)| canary(bytes)).map(|(path, _)| path).collect()
}

fn policy(server: &Server, secret_file: &Path) -> String {
    let at = server.url("").strip_prefix("https://").unwrap().to_owned();
    format!(
        r#"
rules:
  - {{ principal: "agent:demo", capabilities: ["net.http.*"], action: ALLOW }}
grants:
  - capabilities: ["net.http.*"]
    network: [{{ url: "{}", methods: [GET, POST, DELETE], local: true }}]
    secrets:
      - {{ name: TOKEN, env: {VARIABLE}, hosts: ["{at}"] }}
      - {{ name: KEY, file: {secret_file:?}, hosts: ["{at}"] }}
"#,
        server.url("/**")
    )
}

fn workflow(server: &Server) -> String {
    let headers = json!({ "authorization": "Bearer ${secret:TOKEN}", "x-key": "${secret:KEY}" });
    let made = json!({
        "name": "make", "capability": "net.http.request", "inputs": {
            "url": server.url("/things"), "method": "POST", "headers": headers, "json": { "name": "a" },
            "undo": { "url": "/things/{response.json.id}", "method": "DELETE", "headers": headers },
        },
    });
    let fails = json!({
        "name": "fails", "capability": "net.http.get", "depends_on": ["make"],
        "inputs": { "url": server.url("/missing"), "headers": headers },
    });
    json!({ "name": "canary", "steps": [made, fails] }).to_string()
}

/// Says again whatever it was told, in the header and in the body of the answer.
fn answer(request: &Received) -> Reply {
    let [token, key] = ["authorization", "x-key"].map(|name| request.header(name).unwrap_or_default().to_owned());
    let body = json!({ "id": 7, "told": [token, key] }).to_string();
    let headers = vec![("content-type".into(), "application/json".into()), ("x-told".into(), token)];
    let status = if request.method == "GET" { 404 } else { 200 };
    Reply::Answer(status, headers, body.into())
}

#[test]
fn the_secrets_of_requests_are_on_the_wire_and_in_no_file_and_on_no_stream() {
    let elsewhere = tempfile::tempdir().unwrap();
    let secret_file = elsewhere.path().join("key");
    fs::write(&secret_file, format!("{}\n", CANARIES[1])).unwrap();
    let place = Place::with_policy("rules: []\n");
    let authority = Authority::new();
    // At each request, while the run is under way: the journal is open and its log is not empty.
    let found_meanwhile = Arc::new(Mutex::new(Vec::new()));
    let (root, found) = (place.path(""), Arc::clone(&found_meanwhile));
    let server = Server::start_tls(&authority, "localhost", move |request| {
        found.lock().unwrap().extend(with_a_canary(&root));
        answer(request)
    });
    place.write("ca.pem", authority.pem());
    place.write("redress.yaml", format!("{SETTINGS}extra_ca: ca.pem\n"));
    place.write("policy.yaml", policy(&server, &secret_file));
    place.write("workflow.yaml", workflow(&server));

    let verbs: [(i32, &[&str]); 9] = [
        (0, &["plan", "workflow.yaml"]),
        (3, &["run", "workflow.yaml", "-v"]),
        (0, &["show", "latest", "-v"]),
        (0, &["show", "latest", "--json"]),
        (0, &["events", "latest"]),
        (0, &["events", "latest", "--json"]),
        (0, &["logs", "latest"]),
        (0, &["audit", "verify", "-v"]),
        (0, &["capability", "inspect", "net.http.request"]),
    ];
    let mut log = String::new();
    for (code, arguments) in verbs {
        let mut command = place.command(arguments);
        command.env(VARIABLE, CANARIES[0]).env("REDRESS_LOG", LOG);
        let answer: Answer = Answer::from(command.output().unwrap()).exits(code);
        for (stream, text) in [("stdout", &answer.stdout), ("stderr", &answer.stderr)] {
            for canary in CANARIES {
                assert!(!text.contains(canary), "{stream} of {arguments:?}: {text}");
            }
        }
        assert_eq!(with_a_canary(&place.path("")), Vec::<PathBuf>::new(), "after {arguments:?}");
        log.push_str(&answer.stderr);
    }
    assert_eq!(*found_meanwhile.lock().unwrap(), Vec::<PathBuf>::new());

    let received = server.received();
    let methods: Vec<&str> = received.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["POST", "GET", "DELETE"]);
    for request in &received {
        assert_eq!(request.header("authorization"), Some(format!("Bearer {}", CANARIES[0]).as_str()));
        assert_eq!(request.header("x-key"), Some(CANARIES[1]));
    }
    // Nor would this have been missed: the log says much, and the journal holds what stands for the secrets as it is.
    assert!(log.contains("TRACE"), "{log}");
    let kept = files(&place.path(".redress"));
    for placeholder in ["${secret:TOKEN}", "${secret:KEY}"] {
        assert!(kept.values().any(|bytes| holds(bytes, placeholder)), "{placeholder}");
    }
}
