//! Webhooks with the real binary: what is told, what the verbs answer, and that no death of the process loses a message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "common/binary.rs"]
mod binary;
#[path = "common/receiver.rs"]
mod receiver;
#[path = "http/server.rs"]
#[allow(dead_code, reason = "another test needs the rest")]
mod server;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use redress::journal::{Ended, Journal, MessageRow, Messages, RunFilter};
use redress::saga::RunState;
use rusqlite::Connection;

use binary::{Answer, POLICY, Place, SETTINGS};
use receiver::{HANG_UP, Received, Receiver, SECRET, nobody};
use server::Authority;

/// Where the settings of these tests look for the secret.
const VARIABLE: &str = "REDRESS_TEST_WEBHOOK_SECRET";
const CANARY: &str = "a sentence that concerns nobody else";

const WORKFLOW: &str = r#"
name: asking
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, content: a } }
  - { name: b, capability: io.fs.write_file, risk_level: HIGH, inputs: { path: /workspace/b, content: "a sentence that concerns nobody else" } }
"#;

/// A folder whose settings name a webhook.
fn place(url: &str) -> Place {
    let place = Place::with_policy(POLICY);
    place.write("redress.yaml", format!("{SETTINGS}webhook:\n  url: \"{url}\"\n  secret: {{ env: {VARIABLE} }}\n"));
    place.write("workflow.yaml", WORKFLOW);
    place
}

fn output(place: &Place, arguments: &[&str], crash: Option<(&str, u64)>) -> Output {
    let mut command = place.command(arguments);
    command.env(VARIABLE, SECRET);
    if let Some((when, commit)) = crash {
        command.env(format!("REDRESS_CRASH_AT_COMMIT_{when}"), commit.to_string());
    }
    command.output().unwrap()
}

fn redress(place: &Place, arguments: &[&str]) -> Answer {
    output(place, arguments, None).into()
}

fn killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

fn messages(place: &Place) -> Vec<MessageRow> {
    place.journal().messages(Messages::Log { before: None }, 99).unwrap()
}

/// Makes every message due now, as if its time had come.
fn let_time_pass(place: &Place) {
    let conn = Connection::open(place.path(".redress/journal.db")).unwrap();
    conn.execute("UPDATE outbox SET due = 1 WHERE due IS NOT NULL", []).unwrap();
}

/// The id of the one message that arrived, however often.
#[track_caller]
fn one_id(received: &[Received]) -> String {
    assert!(!received.is_empty());
    for again in received {
        assert!(again.is_signed());
        assert_eq!((again.id(), &again.body), (received[0].id(), &received[0].body));
    }
    received[0].id()
}

#[test]
fn a_run_that_pauses_tells_at_once_and_its_exit_code_is_its_own() {
    let receiver = Receiver::answering(&[]);
    let place = place(&receiver.url());
    let run = redress(&place, &["run", "workflow.yaml", "--json"]).exits(4);
    assert_eq!(run.json()["state"], "PAUSED");
    let received = receiver.received();
    let id = one_id(&received);
    let data = &received[0].json()["data"];
    assert_eq!(data["run"], run.run().as_str());
    assert!(!String::from_utf8_lossy(&received[0].body).contains(CANARY));
    // The command that it names works as it stands.
    let command = data["approve"].as_str().unwrap().replace("NAME", "alice").replace("REASON", "fine");
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    redress(&place, &arguments).exits(0);
    let log = redress(&place, &["webhook", "list", "--json"]).exits(0).json();
    assert_eq!((&log[0]["id"], &log[0]["state"], &log[0]["status"]), (&id.into(), &"delivered".into(), &204.into()));
    assert_eq!((log.as_array().unwrap().len(), receiver.received().len()), (1, 1));
}

#[test]
fn a_message_leads_to_the_page_of_the_console_on_which_it_is_answered() {
    let receiver = Receiver::answering(&[]);
    let place = place(&receiver.url());
    let settings = place.read("redress.yaml");
    for (console, wrong) in
        [("https://redress.example.com/", None), ("https://redress.example.com/?a", Some(())), ("x", Some(()))]
    {
        place.write("redress.yaml", format!("{settings}  console: \"{console}\"\n"));
        if wrong.is_some() {
            let said = redress(&place, &["run", "workflow.yaml"]).exits(2);
            assert!(said.stderr.contains("`console`"), "{said:#?}");
            continue;
        }
        let run = redress(&place, &["run", "workflow.yaml", "--json"]).exits(4).run();
        let link = receiver.received()[0].json()["data"]["console"].clone();
        assert_eq!(link, format!("https://redress.example.com/console#/approvals/{run}/b"));
    }
}

#[test]
fn a_service_sends_what_was_not_taken_without_anybody_asking_for_it() {
    let receiver = Receiver::answering(&[503, 503]);
    let place = place(&receiver.url());
    redress(&place, &["run", "workflow.yaml"]).exits(4);
    let tried = receiver.received().len();
    let serve = || {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env(VARIABLE, SECRET).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    // What a process before it has left.
    let_time_pass(&place);
    let mut service = serve();
    while receiver.received().len() <= tried {}
    // And what is due again while it runs.
    while receiver.received().len() <= tried + 1 {
        let_time_pass(&place);
    }
    while messages(&place)[0].ended != Some(Ended::Delivered) {}
    service.kill().unwrap();
    service.wait().unwrap();
    one_id(&receiver.received());
}

#[test]
fn a_receiver_that_is_not_there_changes_nothing_but_a_line() {
    let place = place(&nobody());
    let run = redress(&place, &["run", "workflow.yaml"]).exits(4);
    assert!(run.stderr.contains("webhook: approval_required of run"), "{}", run.stderr);
    assert!(run.stderr.contains("waiting") && run.stderr.contains("redress webhook list"), "{}", run.stderr);
    assert_eq!((messages(&place).len(), messages(&place)[0].tries), (1, 1));
    let_time_pass(&place);
    redress(&place, &["webhook", "deliver"]).exits(6);
    let waiting = redress(&place, &["webhook", "list", "--waiting", "--json"]).exits(0).json();
    assert_eq!((&waiting[0]["state"], &waiting[0]["tries"]), (&"waiting".into(), &2.into()));
    assert!(waiting[0]["failure"].as_str().unwrap().contains("refused"));
}

#[test]
fn a_run_that_rolls_back_tells_nobody_and_one_that_is_stuck_does() {
    let receiver = Receiver::answering(&[]);
    let place = place(&receiver.url());
    let fails = "name: fails\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, content: a } }\n  - { name: b, capability: io.fs.read_file, inputs: { path: /workspace/none } }\n";
    place.write("fails.yaml", fails);
    redress(&place, &["run", "fails.yaml"]).exits(3);
    assert_eq!((messages(&place), receiver.received()), (vec![], vec![]));
    let write = ["call", "io.fs.write_file", "--input", "path=/workspace/c", "--input", "content=c", "--json"];
    let run = redress(&place, &write).exits(0).run();
    fs::write(place.path("workspace/c"), "somebody's work").unwrap();
    redress(&place, &["undo", run.as_str(), "--reason", "a mistake"]).exits(5);
    let received = receiver.received();
    one_id(&received);
    let data = &received[0].json()["data"];
    assert_eq!((&data["event"], &data["failure"]), (&"run_stuck".into(), &"changed_since".into()));
    assert!(!String::from_utf8_lossy(&received[0].body).contains("/workspace"), "a failure's text may say too much");
}

/// Kills the binary before and after each commit of one verb in turn, and lets the next processes recover and deliver. Whatever
/// was killed: if the run `tells`, its one message arrives, under one id; else there is none.
fn told_whoever_dies(prepare: impl Fn(&Place), verb: &[&str], tells: &str) {
    let (mut stored_only, mut sent_only) = (0, 0);
    for when in ["BEFORE", "AFTER"] {
        for commit in 1.. {
            let receiver = Receiver::answering(&[]);
            let place = place(&receiver.url());
            prepare(&place);
            let first = output(&place, verb, Some((when, commit)));
            if !killed(&first) {
                assert_eq!(receiver.received().len(), 1);
                break;
            }
            stored_only += usize::from(receiver.received().is_empty() && messages(&place).len() == 1);
            let here = format!("killed {when} commit {commit}");
            redress(&place, &["recover"]);
            redress(&place, &["webhook", "deliver", "--wait"]);
            let runs = place.journal().runs(&RunFilter::default(), None, 9).unwrap().rows;
            // Killed before it had said what it was about to do, it has not done it.
            if runs.is_empty() || runs[0].state == RunState::Completed {
                assert_eq!((receiver.received(), messages(&place)), (vec![], vec![]), "{here}");
                continue;
            }
            assert_eq!(runs[0].state.as_str(), tells, "{here}");
            let id = one_id(&receiver.received());
            let [row] = messages(&place).try_into().unwrap();
            assert_eq!((row.id, row.ended), (id, Some(Ended::Delivered)), "{here}");
            assert_eq!(place.journal().verify().unwrap().findings, [], "{here}");
            sent_only += usize::from(receiver.received().len() > 1);
        }
    }
    assert!(stored_only > 0, "it was never killed between storing and sending");
    assert!(sent_only > 0, "it was never killed between sending and noting the answer");
}

/// The commits: making the run, putting the message into the outbox with its event, claiming it, noting what came back.
#[test]
fn a_message_survives_the_death_of_the_process_at_every_commit() {
    told_whoever_dies(|_| {}, &["run", "workflow.yaml"], "PAUSED");
}

/// The commits: the beginning of the rollback, of the undo, its failure with the message, claiming that, noting what came back.
#[test]
fn that_a_run_is_stuck_is_told_though_the_process_dies_at_any_commit() {
    let changed_since = |place: &Place| {
        let write = ["call", "io.fs.write_file", "--input", "path=/workspace/c", "--input", "content=c"];
        redress(place, &write).exits(0);
        fs::write(place.path("workspace/c"), "somebody's work").unwrap();
    };
    told_whoever_dies(changed_since, &["undo", "latest", "--reason", "a mistake"], "STUCK");
}

#[test]
fn a_receiver_that_is_down_for_three_tries_is_told_though_the_sender_is_killed_in_each() {
    for when in ["BEFORE", "AFTER"] {
        // Claiming the message, and noting what came of it.
        for commit in 1..=2 {
            let here = format!("killed {when} commit {commit}");
            let receiver = Receiver::answering(&[503, HANG_UP, 500]);
            let place = place(&receiver.url());
            redress(&place, &["run", "workflow.yaml"]).exits(4);
            for _ in 0..3 {
                let_time_pass(&place);
                let sender = output(&place, &["webhook", "deliver"], Some((when, commit)));
                assert!(killed(&sender), "{here}: {sender:?}");
            }
            let_time_pass(&place);
            while messages(&place)[0].ended.is_none() {
                redress(&place, &["webhook", "deliver"]);
                let_time_pass(&place);
            }
            let received = receiver.received();
            one_id(&received);
            assert!(received.len() >= 4, "{here}");
        }
    }
}

#[test]
fn the_secret_is_in_no_file_and_on_no_stream() {
    let receiver = Receiver::answering(&[500]);
    let place = place(&receiver.url());
    let mut streams = Vec::new();
    let verbs: [&[&str]; 7] = [
        &["run", "workflow.yaml", "--verbose"],
        &["webhook", "deliver", "--verbose"],
        &["webhook", "list", "--json"],
        &["webhook", "test", "--json"],
        &["runs"],
        &["show", "latest", "--json"],
        &["events", "latest"],
    ];
    for arguments in verbs {
        let_time_pass_if_there(&place);
        let mut command = place.command(arguments);
        let output = command.env(VARIABLE, SECRET).env("REDRESS_LOG", "trace").output().unwrap();
        streams.extend([output.stdout, output.stderr]);
    }
    assert!(receiver.received().len() >= 3);
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut folders = vec![place.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(fs::read(path).unwrap()) }
        }
    }
    let secret = SECRET.strip_prefix("whsec_").unwrap();
    let decoded = b"a secret for tests that is long enough";
    for bytes in files.iter().chain(&streams) {
        let holds = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!holds(secret.as_bytes()) && !holds(decoded));
    }
    // Nor the path of the URL, outside the settings.
    for bytes in &streams {
        assert!(!String::from_utf8_lossy(bytes).contains("hooks/redress"));
    }
}

fn let_time_pass_if_there(place: &Place) {
    if place.path(".redress/journal.db").exists() {
        let_time_pass(place);
    }
}

#[test]
fn a_test_message_says_what_came_back() {
    let receiver = Receiver::answering(&[200, 401]);
    let place = place(&receiver.url());
    let answer = redress(&place, &["webhook", "test", "--json"]).exits(0).json();
    assert_eq!((&answer["delivered"], &answer["status"]), (&true.into(), &200.into()));
    let received = receiver.received();
    assert_eq!(answer["id"], one_id(&received));
    assert_eq!(received[0].json()["type"], "test");
    let refused = redress(&place, &["webhook", "test"]).exits(6);
    assert!(refused.stdout.contains("did not take the test message: status 401"), "{}", refused.stdout);
    assert!(!place.path(".redress/journal.db").exists(), "a test needs no journal");
}

#[test]
fn by_https_the_receiver_must_have_a_certificate_that_is_trusted() {
    let authority = Authority::new();
    let receiver = Receiver::secure(&authority, &[]);
    assert!(receiver.url().starts_with("https://localhost:"));
    let place = place(&receiver.url());
    let strange = redress(&place, &["webhook", "test", "--json"]).exits(6).json();
    assert!(strange["failure"].as_str().unwrap().contains("certificate"), "{strange}");
    assert_eq!(receiver.received(), [], "nothing is sent to a stranger");
    place.write("ca.pem", authority.pem());
    place.write("redress.yaml", format!("{}extra_ca: ca.pem\n", place.read("redress.yaml")));
    redress(&place, &["webhook", "test"]).exits(0);
    one_id(&receiver.received());
}

#[test]
fn whoever_waits_for_all_to_be_delivered_can_be_interrupted() {
    let receiver = Receiver::answering(&[500; 99]);
    let place = place(&receiver.url());
    redress(&place, &["run", "workflow.yaml"]).exits(4);
    let_time_pass(&place);
    let mut command = place.command(&["webhook", "deliver", "--wait"]);
    let mut waiting = command.env(VARIABLE, SECRET).spawn().unwrap();
    while receiver.received().len() < 2 {
        assert!(waiting.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&waiting), rustix::process::Signal::INT).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    assert_eq!(messages(&place)[0].ended, None);
}

#[test]
fn a_grant_that_contains_the_secret_of_the_webhook_is_refused() {
    let place = place(&nobody());
    place.write("workspace/secret", SECRET);
    let settings = place.read("redress.yaml").replace(&format!("env: {VARIABLE}"), "file: workspace/secret");
    place.write("redress.yaml", settings);
    let refused = redress(&place, &["run", "workflow.yaml"]).exits(2);
    assert!(refused.stderr.contains("workspace/secret, which holds a secret"), "{}", refused.stderr);
}

#[test]
fn a_webhook_that_is_not_set_or_has_no_secret_is_an_error_that_says_how() {
    let receiver = Receiver::answering(&[]);
    let set = place(&receiver.url());
    let answer: Answer = set.redress(&["webhook", "test"]);
    let answer = answer.exits(2);
    assert!(answer.stderr.contains(&format!("the variable `{VARIABLE}` is not set")), "{}", answer.stderr);
    // A run goes on without it, and the message waits.
    let run: Answer = set.redress(&["run", "workflow.yaml"]);
    assert!(run.exits(4).stderr.contains("webhook: the webhook's secret cannot be used"));
    assert_eq!((messages(&set).len(), messages(&set)[0].tries), (1, 0));
    redress(&set, &["webhook", "deliver"]).exits(0);
    one_id(&receiver.received());

    let unset = Place::with_policy(POLICY);
    unset.write("workflow.yaml", WORKFLOW);
    for verb in ["test", "deliver"] {
        let answer = redress(&unset, &["webhook", verb]).exits(2);
        assert!(answer.stderr.contains("not set: a webhook"), "{}", answer.stderr);
        assert!(answer.stderr.contains("webhook: { url:"), "{}", answer.stderr);
    }
    redress(&unset, &["run", "workflow.yaml"]).exits(4);
    assert_eq!(messages(&unset), []);
}
