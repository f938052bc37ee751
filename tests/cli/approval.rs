//! Approving and rejecting on the command line.

use redress::engine::{Driven, SimClock, Submit, Submitted};
use redress::saga::RunState;
use redress::saga::event::Event;
use redress::types::{Catalog, Duration, Principal, RunId, Timestamp};
use redress::workflow::Workflow;

use crate::common::{Answer, POLICY, Place};

const DELETE: [&str; 4] = ["call", "io.fs.delete", "--input", "path=/workspace/a"];

fn paused(place: &Place) -> RunId {
    place.write("workspace/a", "content");
    place.redress(&[&DELETE[..], &["--json"]].concat()).exits(4).run()
}

fn vote(place: &Place, verb: &str, run: &RunId, by: &str, more: &[&str]) -> Answer {
    let arguments = [verb, run.as_str(), "call", "--reason", "r", "--as", by];
    place.redress(&[&arguments[..], more].concat())
}

#[test]
fn an_approved_step_runs_exactly_once_with_the_approved_input() {
    let place = Place::new();
    let run = paused(&place);
    assert!(place.path("workspace/a").exists());
    let done = vote(&place, "approve", &run, "user:alice", &["--json"]).exits(0);
    assert!(!place.path("workspace/a").exists());
    assert_eq!(done.json()["steps"][0]["input"]["path"], "/workspace/a");
    assert_eq!(place.count(&run, |event| matches!(event, Event::Intent(_))), 1);

    place.write("workspace/a", "made again");
    let again = vote(&place, "approve", &run, "user:bob", &["--json"]).exits(6);
    assert_eq!(again.json()["error"]["code"], "refused");
    assert!(place.path("workspace/a").exists());
}

#[test]
fn the_requester_cannot_vote_and_an_agent_only_if_a_rule_names_it() {
    let place = Place::new();
    let run = paused(&place);
    for by in ["agent:demo", "agent:other"] {
        for verb in ["approve", "reject"] {
            let refused = vote(&place, verb, &run, by, &[]).exits(6);
            assert!(refused.stderr.contains(by), "{refused:?}");
        }
    }
    assert_eq!(place.count(&run, |event| matches!(event, Event::Vote(_))), 0);
    let wrong = vote(&place, "approve", &run, "user:alice", &["--request", "another"]).exits(6);
    assert!(wrong.stderr.contains("look at it again"), "{wrong:?}");
    let request = place.redress(&["recover", run.as_str(), "--json"]).exits(4).json()["steps"][0]["approval"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    vote(&place, "approve", &run, "user:alice", &["--request", &request]).exits(0);
}

#[test]
fn a_rejected_run_rolls_back() {
    let place = Place::new();
    let run = paused(&place);
    let view = vote(&place, "reject", &run, "user:alice", &["--json"]).exits(3).json();
    assert_eq!((&view["state"], &view["steps"][0]["error"]["code"]), (&"ROLLED_BACK".into(), &"rejected".into()));
    assert!(place.path("workspace/a").exists());
}

#[test]
fn a_run_that_needs_two_votes_stays_paused_after_one() {
    let rule = "rules:\n  - principal: \"agent:demo\"\n    capabilities: [\"io.fs.delete\"]\n    action: REQUIRE_APPROVAL\n    approval: { quorum: 2 }\n";
    let place = Place::with_policy(&POLICY.replace("\nrules:\n", &format!("\n{rule}")));
    let run = paused(&place);
    vote(&place, "approve", &run, "user:alice", &[]).exits(4);
    vote(&place, "approve", &run, "user:alice", &[]).exits(6);
    assert!(place.path("workspace/a").exists());
    vote(&place, "approve", &run, "user:bob", &[]).exits(0);
    assert!(!place.path("workspace/a").exists());
}

#[test]
fn a_policy_that_now_denies_fails_an_approved_step() {
    let place = Place::new();
    let run = paused(&place);
    place.write("policy.yaml", POLICY.replace("action: ALLOW", "action: DENY"));
    let view = vote(&place, "approve", &run, "user:alice", &["--json"]).exits(3).json();
    assert_eq!(view["steps"][0]["error"]["code"], "denied");
    assert!(place.path("workspace/a").exists());
    let shown = place.redress(&["show", run.as_str()]).exits(0).stdout;
    let void = "  void vote   approved by user:alice: \"r\"\n              void: the policy was changed, and";
    assert!(shown.contains(void), "{shown}");
}

#[test]
fn who_may_vote_stands_in_the_commands_that_are_suggested() {
    for (approvers, voter) in [
        ("agent:demo\", \"agent:reviewer", "agent:reviewer"),
        ("agent:ops-*", "agent:ops-NAME"),
        ("user:*", "user:NAME"),
        ("*", "user:NAME"),
    ] {
        let rule = format!(
            "rules:\n  - principal: \"agent:demo\"\n    capabilities: [\"io.fs.delete\"]\n    action: REQUIRE_APPROVAL\n    approval: {{ approvers: [\"{approvers}\"] }}\n"
        );
        let place = Place::with_policy(&POLICY.replace("\nrules:\n", &format!("\n{rule}")));
        place.write("workspace/a", "content");
        let told = place.redress(&DELETE).exits(4).stderr;
        assert!(told.contains(&format!(" call --as {voter} --reason REASON`\n")), "{told}");
        let listed = place.redress(&["approvals"]).exits(0).stdout;
        assert_eq!(listed.matches(&format!(" --as {voter} --reason REASON\n")).count(), 2, "{listed}");
    }
}

#[test]
fn what_a_call_would_change_is_shown_line_by_line_and_a_vote_can_be_for_that_alone() {
    let place = Place::new();
    place.write("workspace/a", "one\n\u{1b}[2J\ttwo  \n\\u{1b}");
    place.redress(&DELETE).exits(4);
    assert!(!place.redress(&["approvals"]).exits(0).stdout.contains("changes"));
    let shown = place.redress(&["approvals", "--changes"]).exits(0).stdout;
    let lines = "  changes     \"/workspace/a\" would be deleted\n    - one\n    - \\u{1b}[2J\\u{9}two\\u{20}\\u{20}\n    - \\u{5c}u{1b}\n    \\ no end of line\n";
    assert!(shown.contains(lines), "{shown}");
    let waiting = place.redress(&["approvals", "--changes", "--json"]).exits(0).json();
    let run = waiting[0]["run"].as_str().unwrap();
    let seen = waiting[0]["change"]["seen"].as_str().unwrap();
    let command = format!("--reason REASON --seen {seen}");
    assert!(shown.contains(&command) && waiting[0]["approve"].as_str().unwrap().ends_with(&command), "{shown}");
    let approve =
        |seen: &str| place.redress(&["approve", run, "call", "--seen", seen, "--as", "user:ann", "--reason", "y"]);
    place.write("workspace/a", "another\n");
    let refused = approve(seen).exits(6).stderr;
    assert!(refused.contains("not as it was seen: look at it again"), "{refused}");
    assert!(refused.contains("redress approvals --changes"), "{refused}");
    assert!(place.path("workspace/a").exists());
    place.write("workspace/a", "one\n\u{1b}[2J\ttwo  \n\\u{1b}");
    approve(seen).exits(0);
    assert!(!place.path("workspace/a").exists());
    assert!(approve("sha256:12").exits(2).stderr.contains("64 hexadecimal digits"));
}

/// A run that was paused two days ago, by a process that has ended.
fn paused_long_ago(place: &Place, deadline: Option<Duration>) -> RunId {
    place.write("workspace/a", "content");
    let two_days_ago =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64 - 2 * 86_400_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = place.engine(SimClock::standing(Timestamp(two_days_ago)));
        let inputs = serde_json::json!({"path": "/workspace/a"});
        let catalog: &dyn Catalog = engine.registry();
        let mut workflow = Workflow::one_step("io.fs.delete", inputs.as_object().unwrap(), catalog).unwrap().0;
        workflow.deadline = deadline;
        let submit = Submit::by(Principal::parse("agent:demo").unwrap());
        let Submitted::New(run) = engine.submit(&workflow, &submit).await.unwrap() else { panic!("a new run") };
        assert_eq!(run.finish().await.unwrap(), Driven::Rest(RunState::Paused));
        run.id().clone()
    })
}

#[test]
fn a_vote_after_expiry_is_refused_even_if_no_process_ran_meanwhile() {
    let place = Place::new();
    let run = paused_long_ago(&place, None);
    let refused = vote(&place, "approve", &run, "user:alice", &[]).exits(6);
    assert!(refused.stderr.contains("expired"), "{refused:?}");
    let view = place.redress(&["recover", run.as_str(), "--json"]).exits(3).json();
    assert_eq!(view["steps"][0]["error"]["code"], "expired");
    assert!(place.path("workspace/a").exists());
}

#[test]
fn a_vote_after_the_deadline_is_refused_and_the_list_of_what_waits_says_why() {
    let place = Place::new();
    let run = paused_long_ago(&place, Some(Duration::from_secs(3_600)));
    let waiting = place.redress(&["approvals", "--json"]).exits(0).json();
    assert!(
        waiting[0]["expired"] == true && waiting[0]["deadline"].as_str() < waiting[0]["expires"].as_str(),
        "{waiting}"
    );
    let refused = vote(&place, "approve", &run, "user:alice", &[]).exits(6);
    assert!(refused.stderr.contains("the deadline of the run passed at "), "{refused:?}");
    assert_eq!(place.count(&run, |event| matches!(event, Event::Vote(_))), 0);
    let view = place.redress(&["recover", run.as_str(), "--json"]).exits(3).json();
    assert_eq!(view["reason"]["code"], "deadline");
}

#[test]
fn recover_finds_a_paused_run_whose_request_has_expired() {
    let place = Place::new();
    let run = paused_long_ago(&place, None);
    let rows = place.redress(&["recover", "--json"]).exits(0).json();
    assert_eq!((&rows[0]["run"], &rows[0]["state"]), (&run.as_str().into(), &"ROLLED_BACK".into()));
    assert!(rows[0].get("steps").is_none());
}
