use std::fs;
use std::sync::Arc;

use redress::engine::{Clock, Outbox, Webhook, WebhookError};
use redress::journal::{Answer, Append, Durability, Ended, Journal, MessageRow, Messages, Then};
use redress::saga::RunState;
use redress::saga::event::{Event, UndoIntent, UndoOutcome, UndoResult, Verb};
use redress::sandbox::{Net, SystemResolver};
use redress::types::{Digest, Failure, SecretSource, Timestamp};
use serde_json::{Value, json};

use crate::receiver::{HANG_UP, Received, Receiver, SECRET, nobody};
use crate::world::{ALLOW, World, is, name, step};

const ASKING: &str = r#"
name: asking
steps:
  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: a } }
  - { name: b, capability: io.fs.write_file, agent: writer, risk_level: HIGH, inputs: { path: /work/b, content: "a private sentence" } }
"#;

/// As [`ALLOW`], for an agent and another one that acts for it, and a HIGH risk asks a person.
fn asking() -> String {
    ALLOW.replace("    accept_risk: HIGH\n", "").replace("\"agent:demo\"", "\"agent:*\"")
}

fn outbox(world: &World, url: &str) -> Outbox {
    let secret = world.dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let webhook = Webhook::new(url, SecretSource::File(secret.to_str().unwrap().into())).unwrap();
    let net = Net::new(Arc::new(SystemResolver), None).unwrap();
    let journal: Arc<dyn Journal> = world.journal.clone();
    Outbox::new(journal, &world.journal.owners_dir(), Arc::new(world.clock.clone()), net, webhook).unwrap()
}

fn messages(world: &World) -> Vec<MessageRow> {
    world.journal.messages(Messages::Log { before: None }, 99).unwrap()
}

/// The one message that arrived so often, always signed and always the same.
fn one(received: &[Received], times: usize) -> Value {
    assert_eq!(received.len(), times);
    for again in received {
        assert!(again.is_signed());
        assert_eq!((again.id(), &again.body), (received[0].id(), &received[0].body));
    }
    received[0].json()
}

#[tokio::test]
async fn a_request_for_approval_reaches_a_receiver_that_is_down_for_three_tries() {
    let world = World::telling(&asking());
    let receiver = Receiver::answering(&[503, HANG_UP, 429]);
    let view = world.run(ASKING).await;
    is(&view, RunState::Paused);
    assert_eq!(receiver.received(), [], "nothing is sent while a run is driven");
    outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
    let message = one(&receiver.received(), 4);
    let asked = step(&view, "b").approval.as_ref().unwrap();
    let command =
        |verb: &str| format!("redress {verb} {} b --request {} --as user:NAME --reason REASON", view.run, asked.id);
    let decision = step(&view, "b").decision.as_ref().unwrap();
    assert_eq!(message["type"], "approval_required");
    assert_eq!(
        message["data"],
        json!({
            "event": "approval_required", "run": view.run, "workflow": "asking", "step": "b",
            "capability": "io.fs.write_file", "component": step(&view, "b").component,
            "input": { "path": "text of 7 characters", "content": "text of 18 characters" },
            "risk": "HIGH", "escalated": true, "rule": { "index": 1, "line": decision.line, "name": null },
            "policy": decision.policy, "requester": "agent:writer", "acting_for": "agent:demo", "request": asked.id,
            "approvers": ["user:*"], "also": [], "quorum": 1, "expires": asked.expires,
            "approve": command("approve"), "reject": command("reject"),
        })
    );
    let first = &receiver.received()[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/hooks/redress?from=test"));
    let [row] = messages(&world).try_into().unwrap();
    assert_eq!((row.tries, row.ended, row.due, row.claimed), (4, Some(Ended::Delivered), None, None));
    assert_eq!(row.last.unwrap().1, Answer::Status(204));
    outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
    assert_eq!(receiver.received().len(), 4, "what was delivered is not sent again");
}

#[tokio::test]
async fn every_new_request_is_told_once_and_a_vote_is_not() {
    let world = World::telling(&asking());
    let view = world.run(ASKING).await;
    assert_eq!(messages(&world).len(), 1);
    world.vote(&view.run, "b", "user:alice", true).unwrap();
    let others = asking().replace(
        "rules:\n",
        "rules:\n  - principal: \"*\"\n    capabilities: [\"*\"]\n    action: REQUIRE_APPROVAL\n    approval: { approvers: [\"user:boss\"] }\n",
    );
    let world = world.restart(&others);
    is(&world.resume(&view.run).await, RunState::Paused);
    assert_eq!(messages(&world).len(), 2, "the request was made anew");
    world.vote(&view.run, "b", "user:boss", false).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert_eq!(messages(&world).len(), 2);
    let requests: Vec<String> = {
        let receiver = Receiver::answering(&[]);
        outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
        receiver.received().iter().map(|one| one.json()["data"]["request"].to_string()).collect()
    };
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0], requests[1]);
}

const STUCK: &str = r#"
name: stuck
steps:
  - { name: a, capability: test.failing_undo, inputs: { path: /work/f, content: after, flag: /work/flag } }
  - { name: b, capability: test.fail, inputs: {} }
"#;

#[tokio::test]
async fn a_stuck_undo_is_told_with_the_commands_that_repair_it() {
    let world = World::telling(ALLOW);
    world.write("flag", "");
    let receiver = Receiver::answering(&[]);
    let view = world.run(STUCK).await;
    is(&view, RunState::Stuck);
    outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
    let data = one(&receiver.received(), 1)["data"].clone();
    assert_eq!((&data["event"], &data["step"], &data["attempts"]), (&json!("run_stuck"), &json!("a"), &json!(5)));
    assert_eq!(data["failure"], step(&view, "a").error.as_ref().unwrap().code.as_str());
    assert_eq!(data["resolve_left"], format!("redress repair {} a resolve --left --reason REASON", view.run));
    // It fails again: that is another message.
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("a")).unwrap();
    is(&world.resume(&view.run).await, RunState::Stuck);
    assert_eq!(messages(&world).len(), 2);
    fs::remove_file(world.path("flag")).unwrap();
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("a")).unwrap();
    is(&world.resume(&view.run).await, RunState::RolledBack);
    assert_eq!(messages(&world).len(), 2);
}

#[tokio::test]
async fn a_code_that_a_component_made_up_does_not_leave() {
    let world = World::telling(ALLOW);
    let receiver = Receiver::answering(&[]);
    let view = world.run(&STUCK.replace("failing_undo", "unknown_undo")).await;
    is(&view, RunState::Stuck);
    assert_eq!(step(&view, "a").error.as_ref().unwrap().code, "unknown-undo", "the journal has it");
    outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
    let received = receiver.received();
    assert_eq!(one(&received, 1)["data"]["failure"], "failed");
    assert!(!String::from_utf8_lossy(&received[0].body).contains("unknown-undo"));
}

#[tokio::test]
async fn a_message_whose_sender_gave_up_on_the_way_is_sent_by_it_again() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    // It takes the connection and says nothing: the sender is dropped while it waits for the answer.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sender = outbox(&world, &format!("http://{}/", silent.local_addr().unwrap()));
    for _ in 0..2 {
        tokio::select! {
            biased;
            sent = sender.deliver() => panic!("nobody answered: {sent:?}"),
            taken = silent.accept() => drop(taken.unwrap()),
        }
        let [row] = messages(&world).try_into().unwrap();
        assert!(row.claimed.is_some() && row.tries == 0, "{row:?}");
    }
}

#[tokio::test]
async fn no_try_begins_that_could_not_end_in_time() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    let receiver = Receiver::answering(&[]);
    let outbox = outbox(&world, &receiver.url());
    let (sent, left) = outbox.deliver_within(std::time::Duration::from_secs(9)).await.unwrap();
    assert_eq!((sent.len(), left, receiver.received().len()), (0, 1, 0));
    let [row] = messages(&world).try_into().unwrap();
    assert_eq!((row.tries, row.claimed), (0, None), "it is as it was");
    let (sent, left) = outbox.deliver_within(std::time::Duration::from_secs(3_600)).await.unwrap();
    assert_eq!((sent.len(), left, receiver.received().len()), (1, 0, 1));
}

#[tokio::test]
async fn a_run_that_is_stuck_because_the_host_died_in_its_last_undo_is_told_by_whoever_takes_it() {
    let world = World::telling(ALLOW);
    world.write("flag", "");
    let view = world.run(STUCK).await;
    assert_eq!(messages(&world).len(), 1);
    world.operate(&view.run, Verb::RepairRetry { component: None }, Some("a")).unwrap();
    // Five more attempts, of which the last has no end: the process dies here.
    let epoch = world.journal.run(&view.run).unwrap().unwrap().epoch;
    let at = world.clock.now();
    for attempt in 6..=10 {
        let intent = UndoIntent { step: name("a"), attempt, key: "k".into(), component: Digest([0; 32]) };
        let result = UndoResult {
            step: name("a"),
            attempt,
            outcome: UndoOutcome::Failed,
            checked: false,
            error: Some(Failure::new("busy", "not now")),
            evidence: Default::default(),
            log: None,
            retry_at: Some(at),
        };
        let mut events = vec![(at, Event::UndoIntent(intent))];
        if attempt < 10 {
            events.push((at, Event::UndoResult(Box::new(result))));
        }
        world.journal.append(&view.run, Append::by_owner(epoch, Durability::Sync, events)).wait().unwrap();
    }
    let world = world.restart(ALLOW);
    assert_eq!(messages(&world).len(), 1);
    is(&world.resume(&view.run).await, RunState::Stuck);
    let told = messages(&world);
    assert_eq!(told.len(), 2);
    let receiver = Receiver::answering(&[]);
    outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
    // Both are sent at once: which comes first is up to the network.
    let received = receiver.received();
    let mut failures: Vec<_> = received.iter().map(|one| one.json()["data"]["failure"].to_string()).collect();
    failures.sort();
    assert_eq!(failures, [r#""failed""#, r#""host-died""#]);
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_given_up_after_three_days() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    let mut tries = Vec::new();
    outbox(&world, &nobody()).deliver_all(|sent| tries.push(sent.clone())).await.unwrap();
    let [row] = messages(&world).try_into().unwrap();
    assert_eq!((row.ended, row.due), (Some(Ended::GivenUp), None));
    assert_eq!(usize::try_from(row.tries).unwrap(), tries.len());
    let (at, answer) = row.last.unwrap();
    assert_eq!(at, Timestamp(row.created.0 + 3 * 86_400_000));
    assert!(matches!(answer, Answer::Failed(why) if why.contains("refused")));
    assert!(tries.len() >= 7, "{} tries in three days", tries.len());
    assert!(tries.iter().all(|sent| sent.message.id == row.id));
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_left_in_peace() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    let receiver = Receiver::answering(&[410]);
    let outbox = outbox(&world, &receiver.url());
    let sent = outbox.deliver().await.unwrap();
    assert_eq!(sent[0].tried.then, Then::End(Ended::Refused));
    outbox.deliver_all(|_| {}).await.unwrap();
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    let receiver = Receiver::answering(&[302, 308]);
    outbox(&world, &receiver.url()).deliver_all(|_| {}).await.unwrap();
    one(&receiver.received(), 3);
}

#[tokio::test]
async fn two_processes_never_send_one_message_at_the_same_time() {
    let world = World::telling(&asking());
    for _ in 0..20 {
        world.run(ASKING).await;
    }
    let receiver = Receiver::answering(&[]);
    let (first, second) = (outbox(&world, &receiver.url()), outbox(&world, &receiver.url()));
    let (first, second) = tokio::join!(first.deliver(), second.deliver());
    assert_eq!(first.unwrap().len() + second.unwrap().len(), 20);
    let mut ids: Vec<String> = receiver.received().iter().map(Received::id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), receiver.received().len()), (20, 20));
}

#[tokio::test]
async fn the_claim_of_a_living_process_is_kept_and_that_of_a_dead_one_is_not() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    let receiver = Receiver::answering(&[]);
    let [message] = messages(&world).try_into().unwrap();
    let other = redress::journal::OwnerLock::acquire(&world.journal.owners_dir()).unwrap();
    assert!(world.journal.claim_message(&message, other.identity()).wait().unwrap().is_some());
    let outbox = outbox(&world, &receiver.url());
    assert_eq!(outbox.deliver().await.unwrap(), []);
    drop(other);
    assert_eq!(outbox.deliver().await.unwrap().len(), 1);
    one(&receiver.received(), 1);
}

#[tokio::test]
async fn without_a_webhook_nothing_is_put_into_the_outbox() {
    let world = World::new(&asking());
    is(&world.run(ASKING).await, RunState::Paused);
    world.write("flag", "");
    assert_eq!(messages(&world), []);
}

#[tokio::test]
async fn a_secret_that_is_missing_stops_sending_and_loses_nothing() {
    let world = World::telling(&asking());
    world.run(ASKING).await;
    let receiver = Receiver::answering(&[]);
    let outbox = outbox(&world, &receiver.url());
    fs::remove_file(world.dir.path().join("secret")).unwrap();
    assert!(matches!(outbox.deliver().await, Err(WebhookError::Secret { .. })));
    assert_eq!(messages(&world)[0].tries, 0);
    fs::write(world.dir.path().join("secret"), SECRET).unwrap();
    outbox.deliver().await.unwrap();
    one(&receiver.received(), 1);
}
