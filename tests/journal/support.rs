use std::path::PathBuf;

use redress::journal::{
    Append, Appended, Component, Durability, Journal, JournalError, Kept, Message, MessageKind, NewRun, Options,
    OwnerIdentity, Payload, PolicyText, SqliteJournal, Submission, Summary,
};
use redress::saga::RunState;
use redress::saga::event::{Closed, Event, Mode, Operator, RunClosed, RunSubmitted, Sealed, UndoAppended, Verb, Vote};
use redress::types::{CapabilityId, Duration, Principal, RunId, Salt, StepName, Timestamp, sha256};
use rusqlite::Connection;

pub struct Home {
    pub dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Home {
        Home { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("journal.db")
    }

    pub fn open(&self) -> SqliteJournal {
        SqliteJournal::create_or_open(&self.path(), Options::default()).unwrap()
    }

    /// A connection past the journal, as a tamperer or a test of what is on disk has it.
    pub fn sql(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        conn
    }
}

/// Makes a journal one of schema version 2: rows do not say when their runs are due.
pub const BEFORE_DUE: &str = "DROP INDEX runs_by_state; ALTER TABLE runs DROP COLUMN due;
    CREATE INDEX runs_by_state ON runs (state); PRAGMA user_version = 2";

pub fn run_id(n: u64) -> RunId {
    RunId::parse(&format!("01920000-0000-7000-8000-{n:012x}")).unwrap()
}

pub fn owner(name: &str) -> OwnerIdentity {
    OwnerIdentity { id: name.to_owned(), boot: "boot".to_owned() }
}

pub fn step() -> StepName {
    StepName::parse("a").unwrap()
}

pub fn user() -> Principal {
    Principal::parse("user:alice").unwrap()
}

/// The same payload for the same text, so that tests and stored files come out the same twice.
pub fn payload(text: &str) -> Payload {
    Payload::with_salt(Salt(sha256(text.as_bytes()).0[..16].try_into().unwrap()), text.to_owned().into_bytes())
}

pub fn component(text: &str) -> Component {
    let ids = vec![CapabilityId::parse("io.fs.write_file").unwrap(), CapabilityId::parse("io.fs.copy").unwrap()];
    let bytes = text.to_owned().into_bytes().into();
    Component { digest: sha256(text.as_bytes()), ids, bytes, describe: "{}".to_owned() }
}

pub fn policy(text: &str) -> PolicyText {
    PolicyText { digest: sha256(text.as_bytes()), name: "policy.yaml".to_owned(), text: text.to_owned() }
}

pub fn new_run(n: u64) -> NewRun {
    let (workflow, inputs) = (payload(&format!("workflow {n}")), payload(&format!("inputs {n}")));
    NewRun {
        submitted: RunSubmitted {
            run: run_id(n),
            name: "onboarding".to_owned(),
            version: None,
            principal: user(),
            mode: Mode::Sealed,
            steps: vec![],
            workflow: workflow.reference(),
            inputs: inputs.reference(),
            templates: None,
            engine: "0.1.0".to_owned(),
            binary: None,
            max_parallel: 8,
            deadline: None,
            idle_timeout: Duration::from_secs(600),
            settle_timeout: Duration::from_secs(10),
            undo_window: Duration::from_secs(7 * 86_400),
            run_key: None,
            agent: None,
        },
        at: Timestamp(1_000),
        owner: owner("owner-1"),
        payloads: vec![workflow, inputs],
        kept: Kept { components: vec![component("wasm")], policies: vec![policy("default: DENY")] },
        summary: summary(RunState::Running),
    }
}

/// Of a run that is not known to be due.
pub fn summary(state: RunState) -> Summary {
    Summary { seq: 2, state, due: None }
}

pub fn create(journal: &SqliteJournal, n: u64) -> RunId {
    match journal.create_run(new_run(n)).wait().unwrap() {
        Submission::Created { entries } => assert_eq!(entries.len(), 2),
        other => panic!("{other:?}"),
    }
    run_id(n)
}

pub fn sealed() -> Event {
    Event::Sealed(Sealed {})
}

pub fn vote(reason: &str) -> Event {
    Event::Vote(Vote { step: step(), request: "r1".into(), by: user(), approve: true, reason: reason.into() })
}

pub fn cancel() -> Event {
    Event::Operator(Operator { verb: Verb::Cancel, by: user(), reason: "enough".into(), step: None })
}

pub fn closed() -> Event {
    Event::RunClosed(RunClosed { state: Closed::Completed, residue: vec![] })
}

pub fn undo(payload: &Payload) -> Event {
    Event::UndoAppended(UndoAppended { step: step(), attempt: 1, undo: payload.reference() })
}

pub fn lazy(at: u64, event: Event) -> Append {
    Append::by_owner(1, Durability::Lazy, vec![(Timestamp(at), event)])
}

pub fn durable(at: u64, event: Event) -> Append {
    Append::by_owner(1, Durability::Sync, vec![(Timestamp(at), event)])
}

/// An owner's append without events: what waits, and what others said.
pub fn nothing() -> Append {
    Append::by_owner(1, Durability::Sync, vec![])
}

pub fn by_anyone(expected_seq: u64, event: Event) -> Append {
    Append::by_anyone(expected_seq, Timestamp(5_000), event)
}

pub fn append(journal: &SqliteJournal, run: &RunId, append: Append) -> Result<Appended, JournalError> {
    journal.append(run, append).wait()
}

pub fn kinds(journal: &SqliteJournal, run: &RunId) -> Vec<&'static str> {
    journal.entries(run, 0, usize::MAX).unwrap().iter().map(|entry| entry.event.kind()).collect()
}

pub fn seqs(entries: &[redress::saga::event::Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

/// A message about the step of [`step`], made at `at`.
pub fn message(id: &str, at: u64) -> Message {
    let body = format!("the body of {id}").into_bytes().into();
    Message { id: id.to_owned(), kind: MessageKind::ApprovalRequired, step: step(), at: Timestamp(at), body }
}
