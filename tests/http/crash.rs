//! I6 with requests: the real binary is killed before and after each commit of the journal, and the shop tells what became
//! of it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use redress::engine::state_of;
use redress::journal::{Journal, RunFilter};
use redress::saga::event::Event;
use redress::types::RunId;
use serde_json::json;

use crate::binary::Place;
use crate::shop::{Shop, Unusual};

fn place(shop: &Shop, last: bool) -> Place {
    let policy = format!(
        r#"
rules:
  - {{ principal: "agent:demo", capabilities: ["*"], action: ALLOW }}
grants:
  - capabilities: ["*"]
    filesystem: [{{ host: ./workspace, guest: /workspace, access: read-only }}]
    network: [{{ url: "{}", methods: [GET, POST, DELETE], query: true }}]
"#,
        shop.server.url("/**")
    );
    let place = Place::with_policy(&policy);
    let make = json!({
        "name": "make", "capability": "net.http.request", "inputs": {
            "url": shop.server.url("/things"), "method": "POST", "json": { "name": "a" },
            "undo": { "url": "/things/{response.json.id}", "method": "DELETE" },
        },
    });
    let fails = json!({ "name": "last", "capability": "io.fs.read_file", "inputs": { "path": "/workspace/missing" } });
    let steps: Vec<_> = [Some(make), last.then_some(fails)].into_iter().flatten().collect();
    place.write("workflow.yaml", json!({ "name": "crash", "steps": steps }).to_string());
    place
}

fn run(place: &Place, arguments: &[&str], crash: Option<(&str, u64)>) -> Output {
    let mut command = place.command(arguments);
    if let Some((when, commit)) = crash {
        command.env(format!("REDRESS_CRASH_AT_COMMIT_{when}"), commit.to_string());
    }
    command.output().unwrap()
}

fn killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

fn runs(place: &Place) -> Vec<(RunId, &'static str)> {
    if !place.path(".redress/journal.db").exists() {
        return Vec::new();
    }
    let journal = place.journal();
    let rows = journal.runs(&RunFilter::default(), None, 10).unwrap_or_default().rows;
    rows.into_iter().map(|row| (row.run.clone(), state_of(&journal, &row.run).unwrap().shown().as_str())).collect()
}

/// Recovers until nothing dies any more.
fn recover(place: &Place, mut crash: Option<(&str, u64)>) {
    for _ in 0..10 {
        if !killed(&run(place, &["recover"], crash.take())) {
            return;
        }
    }
    panic!("recovery never ends");
}

/// Kills at every commit in turn, and once more in the recovery.
fn crash_everywhere(last: bool, end: &str, things: usize, mood: fn() -> Shop) {
    let mut crashes = 0;
    for when in ["BEFORE", "AFTER"] {
        for commit in 1.. {
            let shop = mood();
            let place = place(&shop, last);
            let died = killed(&run(&place, &["run", "workflow.yaml"], Some((when, commit))));
            let here = format!("killed {when} commit {commit}");
            if died {
                crashes += 1;
                let second = commit * 7 % 5 + 1;
                recover(&place, Some((if commit % 2 == 0 { "BEFORE" } else { "AFTER" }, second)));
            }
            match runs(&place).as_slice() {
                [] => assert_eq!((shop.made(), shop.server.connections()), (0, 0), "{here}"),
                [(run, state)] => {
                    assert_eq!((*state, shop.things().len()), (end, things), "{here}: {:?}", shop.log());
                    assert!(shop.made() <= 1, "{here}: made more than once: {:?}", shop.log());
                    // However often it was sent: one key for the request, and one for its undo.
                    for method in ["POST", "DELETE"] {
                        let mut keys = shop.keys(method);
                        keys.dedup();
                        assert!(keys.len() <= 1, "{here}: {keys:?}");
                    }
                    assert!(place.journal().verify().unwrap().findings.is_empty(), "{here}: {run}");
                }
                more => panic!("{here}: {more:?}"),
            }
            if !died {
                assert_eq!(shop.keys("DELETE").len(), usize::from(last), "{here}");
                break;
            }
        }
    }
    assert!(crashes >= 4, "only {crashes} crashes");
}

#[test]
fn a_request_and_its_undo_come_to_the_same_end_after_any_crash() {
    crash_everywhere(true, "ROLLED_BACK", 0, Shop::open);
}

#[test]
fn a_request_that_succeeds_makes_one_thing_after_any_crash() {
    crash_everywhere(false, "COMPLETED", 1, Shop::open);
}

#[test]
fn a_request_whose_first_answer_is_lost_comes_to_the_same_end_after_any_crash() {
    crash_everywhere(true, "ROLLED_BACK", 0, || {
        Shop::with_mood(|number, _| (number == 1).then_some(Unusual::DoesAndCloses))
    });
}

#[test]
fn what_only_the_answer_named_is_undone_by_what_was_appended_before_the_crash() {
    let mut by_what_was_appended = 0;
    for when in ["BEFORE", "AFTER"] {
        for commit in 1.. {
            let shop = Shop::open();
            let place = place(&shop, false);
            if !killed(&run(&place, &["run", "workflow.yaml"], Some((when, commit)))) {
                break;
            }
            let here = format!("killed {when} commit {commit}");
            let Some((id, "RUNNING")) = runs(&place).first().cloned() else { continue };
            let (mut appended, mut ended) = (false, false);
            for entry in place.entries(&id) {
                appended |= matches!(entry.event, Event::UndoAppended(_));
                ended |= matches!(entry.event, Event::Result(_));
            }
            let sent = shop.keys("POST").len();
            let cancel = ["cancel", &id.to_string(), "--reason", "the test wants it undone", "--as", "user:op"];
            run(&place, &cancel, None);
            recover(&place, None);
            assert_eq!((runs(&place)[0].1, shop.things().len()), ("ROLLED_BACK", 0), "{here}: {:?}", shop.log());
            if appended && !ended {
                // Nothing had to be asked again: the id was known.
                assert_eq!((sent, shop.keys("POST").len(), shop.keys("DELETE").len()), (1, 1, 1), "{here}");
                by_what_was_appended += 1;
            }
        }
    }
    assert!(by_what_was_appended > 0);
}
