//! Events from anywhere are read or refused, and a fold takes them or says why not: it never fails in another way, and what
//! it refuses has changed nothing.
//!
//! Each line is the bytes of an event as they stand in a journal (`{"at":..,"chain":"c","event":{..},"seq":..,"v":1}`) or
//! the event alone. Bytes that begin with `~` choose what happens next in a run: mostly what the run asks for, sometimes
//! anything else.

use std::collections::BTreeSet;

#[cfg(feature = "host")]
use redress::journal::{GENESIS, SYSTEM, decode, link};
use redress::saga::event::{Entry, Event};
use redress::saga::{Command, InFlight, KeyUse, Phase, State, fold, key, next, retry_at, undo_retry_at};
use redress::types::{RunId, Timestamp, canonical_bytes, parse_strict};
use serde_json::{Value, json};

use super::Bytes;

const CHAIN: &str = "c";

/// What the journal does with an event's bytes, as far as the pure rooms can do it.
#[cfg(not(feature = "host"))]
fn decode(_chain: &str, _seq: u64, bytes: &[u8]) -> Result<(Timestamp, Event), String> {
    let mut value = parse_strict(bytes).map_err(|error| error.to_string())?;
    let at = value.get("at").and_then(Value::as_u64).ok_or("no time")?;
    let event = value.get_mut("event").map(Value::take).ok_or("no event")?;
    let event = serde_json::from_value(event).map_err(|error| error.to_string())?;
    Ok((Timestamp(at), event))
}

/// See the module.
pub fn run(data: &[u8]) {
    let mut told = Told::default();
    match data.split_first() {
        Some((b'~', rest)) => lead(&mut Bytes(rest), &mut told),
        _ => {
            for line in data.split(|b| *b == b'\n').take(64) {
                let seq = told.entries.len() as u64 + 1;
                let read = if line.starts_with(b"{\"kind\"") {
                    let end = format!(",\"seq\":{seq},\"v\":1}}");
                    let whole = [&b"{\"at\":0,\"chain\":\"c\",\"event\":"[..], line, end.as_bytes()].concat();
                    decode(CHAIN, seq, &whole)
                } else {
                    decode(CHAIN, seq, line)
                };
                if let Ok((at, event)) = read {
                    told.take(at.max(told.at()), event);
                }
            }
        }
    }
    if told.entries.is_empty() {
        return;
    }
    assert_eq!(fold(&told.entries).ok(), told.state, "the events that were taken do not fold to the same state");
}

/// A run as far as it was told.
#[derive(Default)]
struct Told {
    entries: Vec<Entry>,
    state: Option<State>,
}

impl Told {
    fn at(&self) -> Timestamp {
        self.state.as_ref().map_or(Timestamp(0), |state| state.at)
    }

    /// Takes an event in if it may stand here; whether it could.
    fn take(&mut self, at: Timestamp, event: Event) -> bool {
        written_and_read(&event);
        let entry = Entry { seq: self.entries.len() as u64 + 1, at, event };
        let taken = match &mut self.state {
            None => match State::begin(&entry) {
                Ok(state) => {
                    self.state = Some(state);
                    true
                }
                Err(illegal) => {
                    assert!(!illegal.to_string().is_empty());
                    false
                }
            },
            Some(state) => {
                let before = state.clone();
                let mut late = state.clone();
                late.absorb_late(&entry);
                assert_eq!(late.seq, before.seq + 1);
                look_at(&late);
                match state.apply(&entry) {
                    Ok(()) => true,
                    Err(_) => {
                        assert_eq!(*state, before, "a refused event changed the state");
                        false
                    }
                }
            }
        };
        if taken {
            self.entries.push(entry);
        }
        if let Some(state) = &self.state {
            look_at(state);
        }
        taken
    }
}

/// An event is read back as it was written, and only at its place.
fn written_and_read(event: &Event) {
    let value = serde_json::to_value(event).expect("an event is JSON");
    // Numbers beyond 2^53 are refused; they cannot have been read either.
    let Ok(bytes) = canonical_bytes(&value) else { return };
    assert_eq!(parse_strict(&bytes).ok(), Some(value));
    let text = String::from_utf8(bytes).expect("JSON is text");
    let body = format!("{{\"at\":5,\"chain\":\"c\",\"event\":{text},\"seq\":7,\"v\":1}}");
    assert_eq!(decode(CHAIN, 7, body.as_bytes()).ok(), Some((Timestamp(5), event.clone())));
    #[cfg(feature = "host")]
    {
        assert!(decode::<Event>(CHAIN, 8, body.as_bytes()).is_err());
        assert!(decode::<Event>(SYSTEM, 7, body.as_bytes()).is_err());
        assert_ne!(link(&GENESIS, body.as_bytes()), GENESIS);
    }
    let _ = (event.payloads(), event.step(), event.kind());
}

/// Everything that a reader asks of a state.
fn look_at(state: &State) {
    let _ = (state.shown(), state.end(), state.is_idle());
    for (index, step) in state.steps.iter().enumerate() {
        let _ =
            (state.shown_step(index), state.ancestors(index), state.requesters(step), key(state, step, KeyUse::Undo));
        assert!(!state.is_ancestor(index, index), "a step comes before itself");
        if let Some(error) = &step.last_error {
            let _ = retry_at(state, step, redress::saga::event::Outcome::Clean, error, state.at, u64::MAX);
            let _ = undo_retry_at(step, error, state.at, u64::MAX);
        }
        assert!(state.phase == Phase::Closed || !(step.open.is_some() && step.undo.open.is_some()));
    }
    for now in [state.at, Timestamp(u64::MAX)] {
        let commands = next(state, now, &InFlight::default());
        assert!(commands.len() <= state.steps.len() + 1);
    }
}

fn payload(byte: u8) -> Value {
    json!({"digest": format!("sha256:{}", format!("{byte:02x}").repeat(32)), "len": byte})
}

fn made_step(bytes: &mut Bytes<'_>, name: &str, parents: Vec<String>) -> Value {
    let mut step = json!({
        "name": name, "effect": bytes.pick(&["reversible", "reversible", "irreversible", "none"]),
        "idempotent": bytes.one_in(2), "risk": "MEDIUM", "depends_on": parents,
        "retry": {"max_attempts": 1 + bytes.below(3), "initial_interval": 1, "multiplier_milli": 2000, "max_interval": 9},
    });
    if !bytes.one_in(6) {
        step["capability"] = json!("test.write");
        step["component"] = payload(7)["digest"].clone();
    }
    if bytes.one_in(6) {
        step["compensation"] = json!({"capability": "test.undo", "component": payload(8)["digest"]});
    }
    if bytes.one_in(6) {
        step["agent"] = json!("agent:b");
    }
    step
}

fn name_of(state: &State, index: usize) -> String {
    state.steps.get(index).map_or_else(|| "nobody".to_owned(), |step| step.spec.name.to_string())
}

/// Leads a run as the bytes say, up to a hundred events.
fn lead(bytes: &mut Bytes<'_>, told: &mut Told) {
    let count = 1 + bytes.below(5);
    let steps: Vec<Value> = (0..count)
        .map(|index| {
            // Now and then a step depends on one that comes later, or on itself: that is refused.
            let until = if bytes.one_in(16) { count } else { index };
            let parents = (0..until).filter(|_| bytes.one_in(3)).map(|parent| format!("s{parent}")).collect();
            made_step(bytes, &format!("s{index}"), parents)
        })
        .collect();
    let mut submitted = json!({
        "kind": "RUN_SUBMITTED", "run": "01920000-0000-7000-8000-000000000001", "name": "w", "principal": "agent:a",
        "mode": if bytes.one_in(3) { "open" } else { "sealed" }, "steps": steps, "workflow": payload(1), "inputs": payload(2),
        "engine": "0", "max_parallel": bytes.below(4), "idle_timeout": 50, "settle_timeout": 10, "undo_window": 100,
    });
    if bytes.one_in(4) {
        submitted["deadline"] = json!(bytes.byte());
    }
    assert!(RunId::parse("01920000-0000-7000-8000-000000000001").is_ok());
    say(told, 1, submitted);
    let mut now = 1;
    for _ in 0..100 {
        let Some(state) = told.state.as_ref() else { return };
        if bytes.is_empty() {
            return;
        }
        let choice = bytes.byte();
        now += u64::from(choice >> 6) * u64::from(bytes.byte() % 20);
        let asked = next(state, Timestamp(now), &in_flight(state));
        let event = match asked.get(bytes.below(asked.len().max(1))) {
            Some(command) if !choice.is_multiple_of(4) => obey(bytes, state, command),
            _ => anything(bytes, state),
        };
        say(told, now, event);
    }
}

fn in_flight(state: &State) -> InFlight {
    let which = |wanted: fn(&redress::saga::Step) -> bool| -> BTreeSet<usize> {
        state.steps.iter().enumerate().filter(|(_, step)| wanted(step)).map(|(index, _)| index).collect()
    };
    InFlight { attempts: which(|step| step.open.is_some()), undos: which(|step| step.undo.open.is_some()) }
}

fn say(told: &mut Told, now: u64, event: Value) {
    let read = serde_json::from_value::<Event>(event.clone());
    let event = read.unwrap_or_else(|error| panic!("{error}: {event}"));
    told.take(Timestamp(now).max(told.at()), event);
}

fn error(bytes: &mut Bytes<'_>) -> Value {
    let code = bytes.pick(&["unavailable", "trap", "timeout", "interrupted", "not-settled", "host-died", "denied"]);
    json!({"code": code, "message": "m", "retryable": bytes.one_in(2)})
}

fn file(bytes: &mut Bytes<'_>) -> Value {
    let path = bytes.pick(&["/w/a", "/w/b", "/w/c"]);
    json!({"file": {"host": format!("/srv{path}"), "guest": path}})
}

fn look(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(3) {
        0 => json!("absent"),
        1 => json!({"file": {"len": bytes.byte()}}),
        _ => json!("unobserved"),
    }
}

fn evidence(bytes: &mut Bytes<'_>, let_out: bool) -> Value {
    let mut evidence = json!({"let_out": let_out, "effects_total": 1, "fuel": 1, "wall_ms": 1});
    if let_out && bytes.one_in(2) {
        evidence["targets"] = json!([{"target": file(bytes), "before": look(bytes), "after": look(bytes)}]);
    }
    evidence
}

fn decision(bytes: &mut Bytes<'_>, step: &str, seq: u64) -> Value {
    let action = bytes.pick(&["ALLOW", "ALLOW", "ALLOW", "REQUIRE_APPROVAL", "REQUIRE_APPROVAL", "DENY"]);
    let mut decision = json!({
        "kind": "DECISION", "step": step, "action": action, "base": action, "risk": "MEDIUM", "escalated": false,
        "policy": payload(3)["digest"], "input": payload(4),
        "grant": {"filesystem": [], "limits": redress::types::Limits::default()},
    });
    if (action == "REQUIRE_APPROVAL") != bytes.one_in(16) {
        let expires = u64::from(bytes.byte()) * 4;
        let approvers = [bytes.pick(&["user:*", "*", "agent:*", "user:b*c"])];
        let quorum = bytes.below(3);
        decision["approval"] =
            json!({"id": format!("r{seq}"), "approvers": approvers, "quorum": quorum, "expires": expires});
    }
    decision
}

fn result(bytes: &mut Bytes<'_>, state: &State, index: usize, attempt: u64) -> Value {
    let open = state.steps.get(index).is_some_and(|step| step.open.is_some());
    let outcome = match (open && attempt > 0, bytes.below(3)) {
        (_, 0) => "succeeded",
        (true, 1) => "unclear",
        _ => "clean",
    };
    let let_out = if outcome == "succeeded" { open } else { outcome == "unclear" };
    let mut result = json!({
        "kind": "RESULT", "step": name_of(state, index), "attempt": attempt, "outcome": outcome,
        "evidence": evidence(bytes, let_out),
    });
    if outcome == "succeeded" {
        result["output"] = payload(5);
    } else {
        result["error"] = error(bytes);
        if bytes.one_in(2) {
            result["retry_at"] = json!(state.at.0 + u64::from(bytes.byte()));
        }
    }
    result
}

fn undo_result(bytes: &mut Bytes<'_>, state: &State, index: usize, attempt: u64) -> Value {
    let outcome = bytes.pick(&["undone", "undone", "failed", "changed_since", "not_restored"]);
    let mut result = json!({
        "kind": "UNDO_RESULT", "step": name_of(state, index), "attempt": attempt, "outcome": outcome,
        "checked": bytes.one_in(2), "evidence": evidence(bytes, true),
    });
    if outcome != "undone" {
        result["error"] = error(bytes);
    }
    if outcome == "failed" && bytes.one_in(2) {
        result["retry_at"] = json!(state.at.0 + u64::from(bytes.byte()));
    }
    result
}

fn intent(bytes: &mut Bytes<'_>, state: &State, index: usize, attempt: u32) -> Value {
    let mut intent = json!({
        "kind": "INTENT", "step": name_of(state, index), "attempt": attempt, "key": "do-1", "component": payload(7)["digest"],
        "target": file(bytes), "before": look(bytes),
    });
    if bytes.one_in(2) {
        intent["undo"] = payload(bytes.byte());
    }
    intent
}

/// What follows from a command.
fn obey(bytes: &mut Bytes<'_>, state: &State, command: &Command) -> Value {
    match command {
        Command::Decide { step } => decision(bytes, &name_of(state, *step), state.seq),
        Command::Execute { step, attempt } if bytes.one_in(3) => result(bytes, state, *step, u64::from(*attempt)),
        Command::Execute { step, attempt } => intent(bytes, state, *step, *attempt),
        Command::Settle { step } | Command::Expire { step } => result(bytes, state, *step, 0),
        Command::StartRollback(cause) => json!({"kind": "ROLLBACK_STARTED", "cause": cause}),
        Command::Interrupt { step } => {
            let open = state.steps.get(*step).and_then(|step| step.open.as_ref()).map_or(0, |open| open.number);
            result(bytes, state, *step, open.into())
        }
        Command::Undo { step, .. } if bytes.one_in(4) => undo_result(bytes, state, *step, 0),
        Command::Undo { step, attempt } => json!({
            "kind": "UNDO_INTENT", "step": name_of(state, *step), "attempt": attempt, "key": "undo-1",
            "component": payload(7)["digest"],
        }),
        Command::Close(closed) => {
            let mut event = serde_json::to_value(closed).expect("an event is JSON");
            event["kind"] = json!("RUN_CLOSED");
            event
        }
        Command::WaitUntil(_) => anything(bytes, state),
    }
}

/// What others do, and what should not happen.
fn anything(bytes: &mut Bytes<'_>, state: &State) -> Value {
    let beyond = usize::from(bytes.one_in(16));
    let index = bytes.below(state.steps.len() + beyond);
    let name = name_of(state, index);
    let open = state.steps.get(index).and_then(|step| step.open.as_ref()).map_or(1, |open| open.number);
    let undoing = state.steps.get(index).and_then(|step| step.undo.open).unwrap_or(1);
    match bytes.below(14) {
        0 => {
            let noted = if bytes.one_in(3) {
                vec![json!({"step": name, "attempt": open, "target": file(bytes), "before": look(bytes)})]
            } else {
                vec![]
            };
            let epoch = state.epoch() + if bytes.one_in(16) { 2 } else { 1 };
            json!({"kind": "OWNER", "epoch": epoch, "owner": "p", "boot": "b", "noted": noted})
        }
        1 | 2 => {
            let request = state.steps.get(index).and_then(|step| step.request()).map_or("none", |request| &request.id);
            let by = bytes.pick(&["user:v", "user:boc", "agent:a", "agent:c"]);
            json!({"kind": "VOTE", "step": name, "request": request, "by": by, "approve": !bytes.one_in(4), "reason": "r"})
        }
        3 => {
            json!({"kind": "OPERATOR", "verb": {"verb": bytes.pick(&["cancel", "rollback", "undo", "kill"])}, "by": "user:o", "reason": "r"})
        }
        4 => {
            let verb = bytes.pick(&["repair_retry", "resolve_undone", "resolve_left"]);
            json!({"kind": "OPERATOR", "verb": {"verb": verb}, "by": "user:o", "reason": "r", "step": name})
        }
        5 => json!({"kind": "SEALED"}),
        6 => {
            let parents = if bytes.one_in(2) { vec![name] } else { vec![] };
            let own = format!("s{}", bytes.below(8));
            json!({"kind": "STEP_SUBMITTED", "step": made_step(bytes, &own, parents), "inputs": payload(9)})
        }
        7 => json!({"kind": "UNDO_APPENDED", "step": name, "attempt": open, "undo": payload(bytes.byte())}),
        8 | 9 => result(bytes, state, index, open.into()),
        10 | 11 => undo_result(bytes, state, index, undoing.into()),
        12 => json!({"kind": "ROLLBACK_STARTED", "cause": {"code": bytes.pick(&["deadline", "idle"])}}),
        _ => json!({"kind": "RUN_CLOSED", "state": bytes.pick(&["COMPLETED", "ROLLED_BACK", "KILLED"])}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::drawn;
    use super::*;

    #[test]
    fn runs_that_are_made_from_bytes_go_far() {
        let lengths = (0..200).map(|seed| {
            let mut told = Told::default();
            lead(&mut Bytes(&drawn(seed)), &mut told);
            told.entries.len()
        });
        let far = lengths.filter(|length| *length > 8).count();
        assert!(far > 50, "{far} of 200");
    }
}
