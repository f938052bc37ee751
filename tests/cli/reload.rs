//! A policy file that changes while a run is driven. The run stands still at a request that the test answers when it has seen what
//! it waits for.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};

use redress::document::Source;
use redress::journal::Journal as _;
use redress::policy::Policy;
use redress::saga::event::Event;

use super::common::{POLICY, Place, SETTINGS};

/// A run that stands still in its first step.
struct Held {
    process: Child,
    told: BufReader<ChildStderr>,
    request: TcpStream,
}

impl Held {
    fn run(place: &Place) -> Held {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        place.write("policy.yaml", policy(port, ""));
        place.write(
            "w.yaml",
            format!(
                "name: w\nsteps:\n  - {{ name: ask, capability: net.http.get, inputs: {{ url: \"http://127.0.0.1:{port}/a\" }} }}\n  \
                 - {{ name: write, capability: io.fs.write_file, inputs: {{ path: /workspace/a, content: x }} }}\n"
            ),
        );
        let mut command = place.command(&["run", "w.yaml", "--json"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(process.stderr.take().unwrap());
        let (mut request, _) = listener.accept().unwrap();
        let mut first = [0; 1];
        request.read_exact(&mut first).unwrap();
        Held { process, told, request }
    }

    /// The port at which it waits.
    fn port(&self) -> u16 {
        self.request.local_addr().unwrap().port()
    }

    /// Waits for a line on stderr.
    fn wait_for(&mut self, words: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.told.read_line(&mut line).unwrap(), 0, "no `{words}` in {all}");
            if line.contains(words) {
                return line;
            }
            all += &line;
        }
    }

    /// Answers the request; how the process ended.
    fn go_on(mut self) -> i32 {
        self.request.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        self.process.wait().unwrap().code().unwrap()
    }
}

fn policy(port: u16, first: &str) -> String {
    let more = format!(
        "  - {{ capabilities: [\"net.http.*\"], network: [{{ url: \"http://127.0.0.1:{port}/**\", methods: [GET] }}] }}\n"
    );
    let rules = format!(
        "rules:\n{first}  - {{ principal: \"agent:demo\", capabilities: [\"net.http.get\"], action: ALLOW }}\n"
    );
    POLICY.replace("rules:\n", &rules) + &more
}

fn digest(text: &str) -> String {
    Policy::load(Source::new("policy.yaml", text), "/base").unwrap().0.digest().to_string()
}

#[test]
fn a_changed_policy_decides_the_next_step_and_one_that_does_not_load_leaves_the_old_one() {
    let place = Place::new();
    let mut held = Held::run(&place);
    let old = place.read("policy.yaml");
    // Written in place, and wrong.
    place.write("policy.yaml", old.replace("action: ALLOW", "action: PERMIT"));
    let refused = held.wait_for("is not taken");
    assert!(refused.contains(&digest(&old)), "{refused}");
    // A test of the file that fails refuses it, too; put in its place by renaming.
    let failing = old.clone() + "tests: [{ as: \"agent:demo\", do: io.fs.read_file, expect: DENY }]\n";
    place.write("next.yaml", &failing);
    fs::rename(place.path("next.yaml"), place.path("policy.yaml")).unwrap();
    held.wait_for("is not taken");
    // So do grants that open what guards them.
    place.write("policy.yaml", old.replace("./workspace", "."));
    held.wait_for("is not taken");
    let deny = "  - { name: stop, principal: \"*\", capabilities: [\"io.fs.*\"], action: DENY }\n";
    let new = policy(held.port(), deny);
    place.write("next.yaml", &new);
    fs::rename(place.path("next.yaml"), place.path("policy.yaml")).unwrap();
    held.wait_for("decides from now on");
    assert_eq!(held.go_on(), 3);

    let run = place.redress(&["runs", "--json"]).exits(0).json()[0]["run"].as_str().unwrap().to_owned();
    let run = redress::types::RunId::parse(&run).unwrap();
    let decided: Vec<(String, String)> = place
        .entries(&run)
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Decision(decision) => Some((decision.step.to_string(), decision.policy.to_string())),
            _ => None,
        })
        .collect();
    assert_eq!(decided, [("ask".to_owned(), digest(&old)), ("write".to_owned(), digest(&new))]);
    let kept = place.journal().policy(&digest_of(&new)).unwrap();
    assert_eq!(kept.unwrap().text, new);
    let system = place.redress(&["events", "system", "--json"]).exits(0).stdout;
    let refusals: Vec<&str> = system.lines().filter(|line| line.contains("reload of the policy")).collect();
    assert_eq!(refusals.len(), 3, "{system}");
    assert!(refusals[1].contains("test-failed") && refusals[1].contains(&digest_of(&failing).to_string()));
    assert!(refusals.iter().all(|line| line.contains(&digest(&old))), "{refusals:?}");
    place.redress(&["audit", "verify"]).exits(0);
}

fn digest_of(text: &str) -> redress::types::Digest {
    redress::types::sha256(text.as_bytes())
}

#[test]
fn a_policy_behind_links_is_followed_and_one_that_is_gone_stays_in_force() {
    let place = Place::new();
    // As a mounted configuration is replaced: a link to a folder is renamed over.
    place.write("redress.yaml", SETTINGS.replace("policy.yaml", "conf/policy.yaml"));
    fs::create_dir(place.path("conf")).unwrap();
    fs::create_dir(place.path("conf/one")).unwrap();
    std::os::unix::fs::symlink("one", place.path("conf/now")).unwrap();
    std::os::unix::fs::symlink("now/policy.yaml", place.path("conf/policy.yaml")).unwrap();
    std::os::unix::fs::symlink("conf/one/policy.yaml", place.path("linked.yaml")).unwrap();
    fs::remove_file(place.path("policy.yaml")).unwrap();
    std::os::unix::fs::symlink("conf/one/policy.yaml", place.path("policy.yaml")).unwrap();
    let mut held = Held::run(&place);
    let deny = "  - { principal: \"*\", capabilities: [\"io.fs.*\"], action: DENY }\n";
    place.write("conf/two/policy.yaml", policy(held.port(), deny).replace("./workspace", "../../workspace"));
    std::os::unix::fs::symlink("two", place.path("conf/next")).unwrap();
    fs::rename(place.path("conf/next"), place.path("conf/now")).unwrap();
    held.wait_for("decides from now on");
    // What is watched has moved with the link.
    fs::remove_file(place.path("conf/two/policy.yaml")).unwrap();
    held.wait_for("is not taken (unreadable)");
    assert_eq!(held.go_on(), 3);
}

#[test]
fn a_changed_shadow_policy_decides_beside_from_then_on() {
    let place = Place::new();
    place.write("redress.yaml", format!("{SETTINGS}policy_shadow: shadow.yaml\n"));
    place.write("shadow.yaml", "default: REQUIRE_APPROVAL\nrules: []\n");
    let mut held = Held::run(&place);
    place.write("next.yaml", "rules: []\n");
    fs::rename(place.path("next.yaml"), place.path("shadow.yaml")).unwrap();
    held.wait_for("the shadow policy `shadow.yaml` has changed");
    assert_eq!(held.go_on(), 0);
    let told = place.redress(&["policy", "simulate", "--shadow", "--json"]).exits(0).json();
    let is: Vec<_> = told["flips"].as_array().unwrap().iter().map(|f| (&f["step"], &f["is"]["action"])).collect();
    assert_eq!(is, [(&"ask".into(), &"REQUIRE_APPROVAL".into()), (&"write".into(), &"DENY".into())]);
}
