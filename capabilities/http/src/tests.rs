use std::cell::RefCell;
use std::collections::BTreeMap;

use redress_guest::serde_json::{self, Value, json};
use redress_guest::{Call, Compensation, Failure};

use crate::answer::Answer;
use crate::request::Message;
use crate::undo::{World, compensate, execute};

/// A target that answers what is scripted, one answer a request, and a host that keeps records.
#[derive(Default)]
struct Scripted {
    answers: RefCell<Vec<Option<Answer>>>,
    sent: RefCell<Vec<(String, Option<String>, String)>>,
    records: RefCell<Vec<Vec<u8>>>,
    now: u64,
}

impl Scripted {
    fn new(answers: Vec<Option<Answer>>) -> Scripted {
        Scripted { answers: RefCell::new(answers.into_iter().rev().collect()), ..Scripted::default() }
    }

    fn then(self, answers: Vec<Option<Answer>>) -> Scripted {
        self.answers.replace(answers.into_iter().rev().collect());
        self.sent.borrow_mut().clear();
        self
    }

    /// Method and URL, key and body of what was sent.
    fn sent(&self) -> Vec<(String, Option<String>, String)> {
        assert!(self.answers.borrow().is_empty(), "not every answer was asked for");
        self.sent.borrow().clone()
    }
}

impl World for Scripted {
    fn save(&self, record: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut records = self.records.borrow_mut();
        if records.is_empty() {
            records.push(record.to_vec());
        }
        Ok(records.clone())
    }

    fn append(&self, record: &[u8]) -> Result<(), String> {
        self.records.borrow_mut().push(record.to_vec());
        Ok(())
    }

    fn send(&self, message: &Message) -> Result<Answer, Failure> {
        let key = message.headers.iter().find(|(name, _)| name == "idempotency-key").map(|(_, value)| value.clone());
        let body = String::from_utf8(message.body.clone()).unwrap();
        self.sent.borrow_mut().push((message.name(), key, body));
        let answer = self.answers.borrow_mut().pop().expect("an answer is scripted");
        answer.ok_or_else(|| Failure { retryable: true, ..Failure::new("unavailable", "closed") })
    }

    fn now(&self) -> u64 {
        self.now
    }
}

fn answer(status: u16, body: Value) -> Option<Answer> {
    Some(Answer::new(status, [("content-type", "application/json")], body.to_string().into_bytes()))
}

fn post() -> Value {
    json!({
        "url": "https://h/items", "method": "POST", "json": {"name": "a", "ref": "{key}"},
        "undo": {"url": "https://h/items/{response.json.id}", "method": "DELETE"},
    })
}

fn post_with_lookup() -> Value {
    let mut input = post();
    input["lookup"] = json!({
        "url": "https://h/items?ref={key}",
        "undo": {"url": "/items/{response.json.items.0.id}", "method": "DELETE"},
    });
    input
}

fn call(input: &Value, attempt: u32) -> Call {
    Call { capability: "net.http.request".into(), input: input.to_string(), key: "do-1".into(), attempt, timeout_ms: 1 }
}

fn run(input: &Value, attempt: u32, world: &Scripted) -> Result<Value, Failure> {
    execute(&call(input, attempt), world)
}

fn undone(input: &Value, output: Option<&Value>, world: &Scripted) -> Result<(), Failure> {
    let call = Compensation {
        capability: "net.http.request".into(),
        input: input.to_string(),
        execute_key: "do-1".into(),
        key: "undo-1".into(),
        attempt: 1,
        timeout_ms: 1,
        output: output.map(Value::to_string),
        undo: world.records.borrow().clone(),
    };
    compensate(&call, world)
}

fn undo(input: &Value, output: Option<&Value>, world: &Scripted) -> Result<(), String> {
    undone(input, output, world).map_err(|failure| failure.code)
}

fn line(name: &str, key: Option<&str>, body: &str) -> (String, Option<String>, String) {
    (name.to_owned(), key.map(str::to_owned), body.to_owned())
}

const BODY: &str = r#"{"name":"a","ref":"do-1"}"#;

fn first() -> (String, Option<String>, String) {
    line("POST https://h/items", Some("do-1"), BODY)
}

fn delete(id: &str) -> (String, Option<String>, String) {
    line(&format!("DELETE https://h/items/{id}"), Some("undo-1"), "")
}

fn looked() -> (String, Option<String>, String) {
    line("GET https://h/items", None, "")
}

fn words(failure: Failure) -> (String, String, Option<String>) {
    (failure.code, failure.message, failure.details)
}

#[test]
fn what_a_request_made_is_deleted_by_the_id_that_the_target_chose() {
    let world = Scripted::new(vec![answer(201, json!({"id": 7}))]);
    let output = run(&post(), 1, &world).unwrap();
    assert_eq!(output, json!({"status": 201, "headers": {"content-type": "application/json"}, "json": {"id": 7}}));
    assert_eq!(world.sent(), [first()]);
    let world = world.then(vec![answer(204, json!(null))]);
    assert_eq!(undo(&post(), Some(&output), &world), Ok(()));
    assert_eq!(world.sent(), [delete("7")]);
}

#[test]
fn the_id_that_was_learned_is_enough_if_the_output_was_lost() {
    let world = Scripted::new(vec![answer(201, json!({"id": 7}))]);
    run(&post(), 1, &world).unwrap();
    let appended: Value = serde_json::from_slice(&world.records.borrow()[1]).unwrap();
    assert_eq!(appended, json!({"answered": {"response.json.id": 7}}));
    let world = world.then(vec![answer(204, json!(null))]);
    assert_eq!(undo(&post(), None, &world), Ok(()));
    assert_eq!(world.sent(), [delete("7")]);
}

#[test]
fn two_answers_that_name_two_things_are_both_undone_each_with_its_own_key() {
    let world = Scripted::new(vec![answer(201, json!({"id": 7}))]);
    run(&post(), 1, &world).unwrap();
    let world = world.then(vec![answer(201, json!({"id": 8}))]);
    let output = run(&post(), 2, &world).unwrap();
    let world = world.then(vec![answer(204, json!(null)), answer(204, json!(null))]);
    assert_eq!(undo(&post(), Some(&output), &world), Ok(()));
    assert_eq!(world.sent(), [delete("8"), line("DELETE https://h/items/7", Some("undo-1-2"), "")]);
}

#[test]
fn what_is_gone_already_was_deleted_but_any_other_undo_must_say_so() {
    let world = Scripted::new(vec![answer(201, json!({"id": 7}))]);
    let output = run(&post(), 1, &world).unwrap();
    let world = world.then(vec![answer(404, json!(null))]);
    assert_eq!(undo(&post(), Some(&output), &world), Ok(()));
    let cancel = |extra: Value| {
        let mut input = post();
        input["undo"] = json!({"url": "/items/{response.json.id}/cancel", "method": "POST"});
        if !extra.is_null() {
            input["undo"]["expect_status"] = extra;
        }
        let world = Scripted::new(vec![answer(201, json!({"id": 7}))]);
        let output = run(&input, 1, &world).unwrap();
        undo(&input, Some(&output), &world.then(vec![answer(404, json!(null))]))
    };
    assert_eq!(cancel(Value::Null), Err("not-found".into()));
    assert_eq!(cancel(json!(["2xx", 404])), Ok(()));
}

#[test]
fn a_first_request_that_was_refused_made_nothing() {
    let world = Scripted::new(vec![answer(422, json!({"why": "no"}))]);
    let failure = run(&post(), 1, &world).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("unexpected-status", false));
    let world = world.then(vec![]);
    assert_eq!(undo(&post(), None, &world), Ok(()));
    assert_eq!(world.sent(), []);
    // The host died before it told anybody: the next attempt tells the same without asking again.
    assert_eq!(run(&post(), 2, &world).unwrap_err().message, failure.message);
    assert_eq!(world.sent(), []);
}

#[test]
fn a_refusal_after_an_unanswered_request_proves_nothing() {
    let world = Scripted::new(vec![None]);
    assert_eq!(run(&post(), 1, &world).unwrap_err().code, "unavailable");
    let world = world.then(vec![answer(409, json!(null))]);
    assert_eq!(run(&post(), 2, &world).unwrap_err().code, "conflict");
    assert_eq!(world.records.borrow().len(), 1);
}

#[test]
fn an_unanswered_request_is_repeated_with_its_key_and_what_it_names_is_deleted() {
    let world = Scripted::new(vec![None]);
    run(&post(), 1, &world).unwrap_err();
    let world = world.then(vec![answer(201, json!({"id": 7})), answer(204, json!(null))]);
    assert_eq!(undo(&post(), None, &world), Ok(()));
    assert_eq!(world.sent(), [first(), delete("7")]);
}

#[test]
fn an_undo_that_inverts_is_sent_only_after_the_request_has_certainly_arrived() {
    let input = json!({
        "url": "https://h/items", "method": "POST", "json": {"name": "a", "ref": "{key}"},
        "undo": {"url": "/items/credit", "method": "POST", "json": {"amount": 5}},
    });
    let world = Scripted::new(vec![None]);
    run(&input, 1, &world).unwrap_err();
    let world = world.then(vec![answer(200, json!({})), answer(200, json!({}))]);
    assert_eq!(undo(&input, None, &world), Ok(()));
    assert_eq!(world.sent(), [first(), line("POST https://h/items/credit", Some("undo-1"), r#"{"amount":5}"#)]);
}

#[test]
fn a_lookup_finds_what_an_unanswered_request_made_without_repeating_it() {
    let world = Scripted::new(vec![None]);
    run(&post_with_lookup(), 1, &world).unwrap_err();
    let world = world.then(vec![answer(200, json!({"items": [{"id": 9}]})), answer(204, json!(null))]);
    assert_eq!(undo(&post_with_lookup(), None, &world), Ok(()));
    assert_eq!(world.sent(), [looked(), delete("9")]);
}

#[test]
fn a_lookup_that_finds_nothing_is_not_absence() {
    for nothing in [answer(404, json!(null)), answer(200, json!({"items": []}))] {
        let world = Scripted::new(vec![None]);
        run(&post_with_lookup(), 1, &world).unwrap_err();
        let world = world.then(vec![nothing, answer(201, json!({"id": 7})), answer(204, json!(null))]);
        assert_eq!(undo(&post_with_lookup(), None, &world), Ok(()));
        assert_eq!(world.sent(), [looked(), first(), delete("7")]);
    }
}

#[test]
fn a_target_that_is_still_busy_is_waited_for_and_then_the_outcome_is_unknown() {
    let mut input = post_with_lookup();
    input["settle_seconds"] = json!(60);
    let ended = |now: u64, answers: Vec<Option<Answer>>| {
        let world = Scripted::new(vec![None]);
        run(&input, 1, &world).unwrap_err();
        let world = Scripted { now, ..world.then(answers) };
        let failure = undone(&input, None, &world).unwrap_err();
        world.sent();
        (failure.code, failure.retry_after_ms)
    };
    let busy = || vec![answer(404, json!(null)), answer(409, json!(null))];
    assert_eq!(ended(10, busy()), ("not-settled".into(), Some(5_000)));
    assert_eq!(ended(58, busy()), ("not-settled".into(), Some(2_000)));
    assert_eq!(ended(60, busy()), ("outcome-unknown".into(), None));
    let unnamed = vec![answer(404, json!(null)), answer(202, json!({})), answer(404, json!(null))];
    assert_eq!(ended(0, unnamed), ("not-settled".into(), Some(5_000)));
    assert_eq!(ended(0, vec![answer(503, json!(null))]), ("unavailable".into(), None));
    assert_eq!(ended(0, vec![answer(404, json!(null)), answer(400, json!(null))]), ("unexpected-status".into(), None));
}

#[test]
fn an_answer_that_does_not_say_what_the_undo_needs_is_no_success() {
    for (status, body) in [(201, json!({})), (201, json!({"id": null})), (201, json!({"id": ".."})), (202, json!([]))] {
        let world = Scripted::new(vec![answer(status, body.clone())]);
        let failure = run(&post(), 1, &world).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("undo-unresolved", false), "{body}");
        // It was done, so it is never repeated: that could do it twice.
        let world = world.then(vec![]);
        assert_eq!(words(undone(&post(), None, &world).unwrap_err()), words(failure));
        assert_eq!(world.sent(), [], "{body}");
    }
}

#[test]
fn an_answer_without_what_the_undo_needs_is_told_with_the_reference_and_ends_the_attempts() {
    let page = || Some(Answer::new(201, [("content-type", "text/html")], b"<p>7</p>".to_vec()));
    let world = Scripted::new(vec![page()]);
    let failure = run(&post(), 1, &world).unwrap_err();
    assert_eq!(
        failure.message,
        "the answer, status 201 with the content type `text/html`, has nothing at `{response.json.id}`, which its undo needs"
    );
    assert_eq!(failure.details.as_deref(), Some("<p>7</p>"));
    // The host died before it told anybody: the next attempt tells the same without asking again.
    let world = world.then(vec![]);
    assert_eq!(words(run(&post(), 2, &world).unwrap_err()), words(failure));
    assert_eq!(world.sent(), []);
}

#[test]
fn what_an_answer_does_not_name_is_looked_for_until_it_has_had_its_time_and_never_made_again() {
    let mut input = post_with_lookup();
    input["settle_seconds"] = json!(60);
    let ended = |now: u64, answers: Vec<Option<Answer>>| {
        let world = Scripted::new(vec![answer(201, json!({}))]);
        run(&input, 1, &world).unwrap_err();
        let world = Scripted { now, ..world.then(answers) };
        (undo(&input, None, &world), world.sent())
    };
    let found = vec![answer(200, json!({"items": [{"id": 9}]})), answer(204, json!(null))];
    assert_eq!(ended(0, found), (Ok(()), vec![looked(), delete("9")]));
    assert_eq!(ended(0, vec![answer(404, json!(null))]), (Err("not-settled".into()), vec![looked()]));
    assert_eq!(ended(60, vec![answer(404, json!(null))]), (Err("undo-unresolved".into()), vec![looked()]));
}

#[test]
fn an_answer_whose_id_cannot_stand_in_a_url_is_no_success_and_a_lookup_may_still_find_what_it_made() {
    let world = Scripted::new(vec![answer(201, json!({"id": "a/b"}))]);
    assert_eq!(run(&post_with_lookup(), 1, &world).unwrap_err().code, "undo-unresolved");
    let world = world.then(vec![answer(200, json!({"items": [{"id": 9}]})), answer(204, json!(null))]);
    assert_eq!(undo(&post_with_lookup(), None, &world), Ok(()));
    assert_eq!(world.sent(), [looked(), delete("9")]);
}

#[test]
fn an_error_that_happens_to_have_an_id_is_not_taken_for_what_was_made() {
    let world = Scripted::new(vec![answer(503, json!({"id": "error-1"}))]);
    assert_eq!(run(&post(), 1, &world).unwrap_err().code, "unavailable");
    assert_eq!(world.records.borrow().len(), 1);
}

#[test]
fn a_success_that_was_not_expected_is_undone_by_what_it_says() {
    let mut input = post();
    input["expect_status"] = json!([201]);
    let world = Scripted::new(vec![answer(200, json!({"id": 7}))]);
    assert_eq!(run(&input, 1, &world).unwrap_err().code, "unexpected-status");
    let world = world.then(vec![answer(204, json!(null))]);
    assert_eq!(undo(&input, None, &world), Ok(()));
    assert_eq!(world.sent(), [delete("7")]);
}

#[test]
fn what_an_answer_made_is_undone_even_if_no_output_can_hold_the_answer() {
    let mut input = post();
    input["undo"]["url"] = json!("{response.headers.location}");
    let world = Scripted::new(vec![Some(Answer::new(201, [("location", "/items/7")], vec![b'x'; 5 << 20]))]);
    assert_eq!(run(&input, 1, &world).unwrap_err().code, "too-large");
    let world = world.then(vec![answer(204, json!(null))]);
    assert_eq!(undo(&input, None, &world), Ok(()));
    assert_eq!(world.sent(), [delete("7")]);
}

#[test]
fn an_undo_that_cannot_be_meant_is_refused_before_anything_is_sent() {
    for (pointer, value) in [
        ("/undo/url", json!("https://elsewhere/items/{response.json.id}")),
        ("/undo/url", json!("https://h/items/{respnse.json.id}")),
        ("/undo/headers", json!({"Idempotency-Key": "x"})),
        ("/undo/expect_status", json!(["299-200"])),
        ("/lookup/url", json!("h/items")),
        ("/lookup/undo/url", json!("//evil/{response.json.id}")),
        ("/url", json!("https://user@h/items")),
    ] {
        let mut input = post_with_lookup();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        input.pointer_mut(parent).unwrap()[name] = value.clone();
        let world = Scripted::new(vec![]);
        assert_eq!(run(&input, 1, &world).unwrap_err().code, "invalid-input", "{pointer} {value}");
        assert_eq!(world.records.borrow().len(), 0);
    }
}

#[test]
fn a_record_holds_placeholders_and_no_secrets() {
    let mut input = post();
    input["undo"]["headers"] = json!({"authorization": "Bearer ${secret:TOKEN}"});
    let world = Scripted::new(vec![answer(201, json!({"id": 7}))]);
    run(&input, 1, &world).unwrap();
    let plan: BTreeMap<String, Value> = serde_json::from_slice(&world.records.borrow()[0]).unwrap();
    assert_eq!(plan["undo"]["headers"]["authorization"], "Bearer ${secret:TOKEN}");
    assert_eq!(plan["key"], "do-1");
}

#[test]
fn nothing_that_was_saved_is_nothing_to_undo() {
    assert_eq!(undo(&post(), None, &Scripted::new(vec![])), Ok(()));
}
