//! The statements that write, each inside the savepoint of its request.

use std::cmp::Ordering;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::chain::{self, Chain, Walk};
use super::error::{on_read, on_row, on_write};
use super::reader::bytes;
use super::{Component, Finding, Flaw, HeadAt, JournalError, Kept, Payload, PolicyText, RunRow, SystemEvent};
use crate::saga::RunState;
use crate::saga::event::Event;
use crate::types::{CanonicalError, CapabilityId, Digest, PayloadRef, RunId, Timestamp, sha256};

/// A number for the database, which keeps 63 bits of it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from the database.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An event with its canonical bytes, which its author's thread made.
#[derive(Clone, Debug)]
pub(super) struct Prepared<E> {
    pub at: Timestamp,
    pub event: E,
    pub bytes: Vec<u8>,
}

impl<E: Serialize> Prepared<E> {
    pub fn new(at: Timestamp, event: E) -> Result<Prepared<E>, CanonicalError> {
        let at = Timestamp(at.0.min(crate::types::MAX_SAFE_INTEGER));
        let bytes = chain::encode(&event)?;
        Ok(Prepared { at, event, bytes })
    }
}

/// Where a chain ends.
pub(super) fn head(conn: &Connection, chain: &Chain) -> Result<Walk, JournalError> {
    let last = conn
        .prepare_cached("SELECT seq, hash, body FROM events WHERE chain = ? ORDER BY seq DESC LIMIT 1")
        .and_then(|mut statement| {
            // What somebody gave another type cannot be read below, and ends this chain only.
            let stored = |row: &Row<'_>| {
                let seq = row.get_ref(0)?.as_i64().map_or(0, uint);
                Ok((seq, bytes(row, 1)?.to_vec(), bytes(row, 2)?.to_vec()))
            };
            statement.query_row([chain.as_str()], stored).optional()
        })
        .map_err(on_write)?;
    let Some((seq, hash, body)) = last else { return Ok(Walk::begin(chain.as_str())) };
    let unreadable = |what| JournalError::Unreadable(Finding { chain: chain.as_str().to_owned(), seq, what });
    let hash = Digest(hash.try_into().map_err(|_| unreadable(Flaw::Hash))?);
    let (at, _) = chain::decode::<serde_json::Value>(chain.as_str(), seq, &body).map_err(unreadable)?;
    let mut walk = Walk::after(chain.as_str(), seq, hash);
    walk.at = at;
    Ok(walk)
}

/// Appends one event after `head` and moves it there.
pub(super) fn link<E>(
    conn: &Connection,
    chain: &Chain,
    head: &mut Walk,
    event: &Prepared<E>,
) -> Result<(), JournalError> {
    let (seq, at) = (head.seq + 1, event.at.max(head.at));
    let body = chain::body(chain, seq, at, &event.bytes);
    let hash = chain::link(&head.hash, &body);
    conn.prepare_cached("INSERT INTO events (chain, seq, body, hash) VALUES (?, ?, ?, ?)")
        .and_then(|mut statement| statement.execute(params![chain.as_str(), int(seq), body, hash.0]))
        .map_err(on_write)?;
    (head.seq, head.at, head.hash) = (seq, at, hash);
    Ok(())
}

/// Appends one event to the system chain.
pub(super) fn record(conn: &Connection, at: Timestamp, event: SystemEvent) -> Result<(), JournalError> {
    let kind = event.kind();
    let event = Prepared::new(at, event).map_err(|error| JournalError::NotCanonical { kind, error })?;
    let mut end = head(conn, &Chain::System)?;
    link(conn, &Chain::System, &mut end, &event)
}

/// Records where a run's chain is.
pub(super) fn record_head(conn: &Connection, run: &RunId, head: &Walk, at: HeadAt) -> Result<(), JournalError> {
    record(conn, head.at, SystemEvent::RunHead { run: run.clone(), seq: head.seq, hash: head.hash, at })
}

/// Stores payloads.
pub(super) fn add_payloads(conn: &Connection, run: &RunId, payloads: &[Payload]) -> Result<(), JournalError> {
    for payload in payloads {
        conn.prepare_cached(
            "INSERT INTO payloads (digest, run, salt, bytes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| {
            let digest = payload.reference().digest.0;
            statement.execute(params![digest, run.as_str(), payload.salt().0, payload.bytes().as_ref()])
        })
        .map_err(on_write)?;
    }
    Ok(())
}

/// Refuses an event whose payloads are not there.
pub(super) fn require_payloads(conn: &Connection, payloads: &[PayloadRef]) -> Result<(), JournalError> {
    for PayloadRef { digest, .. } in payloads {
        let there = conn
            .prepare_cached("SELECT 1 FROM payloads WHERE digest = ?")
            .and_then(|mut statement| statement.exists([digest.0]))
            .map_err(on_write)?;
        if !there {
            return Err(JournalError::PayloadMissing { digest: *digest });
        }
    }
    Ok(())
}

/// Refuses if one of these payloads is erased.
pub(super) fn require_unerased(conn: &Connection, payloads: &[Digest]) -> Result<(), JournalError> {
    for digest in payloads {
        let erased = conn
            .prepare_cached("SELECT 1 FROM payloads WHERE digest = ? AND bytes IS NULL")
            .and_then(|mut statement| statement.exists([digest.0]))
            .map_err(on_write)?;
        if erased {
            return Err(JournalError::Erased { digest: *digest });
        }
    }
    Ok(())
}

/// The ids of a component as they are kept.
pub(super) fn joined(ids: &[CapabilityId]) -> String {
    let names: Vec<&str> = ids.iter().map(CapabilityId::as_str).collect();
    names.join(" ")
}

/// Keeps what is not kept yet, and says so in the system chain.
pub(super) fn keep(conn: &Connection, at: Timestamp, kept: &Kept) -> Result<(), JournalError> {
    for Component { digest, ids, bytes, describe } in &kept.components {
        if sha256(bytes) != *digest {
            return Err(JournalError::WrongDigest { digest: *digest });
        }
        let sql = "INSERT INTO components (digest, ids, bytes, describe) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let values = params![digest.0, joined(ids), bytes.as_ref(), describe];
        if conn.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(on_write)? == 1 {
            let describe = Some(sha256(describe.as_bytes()));
            record(conn, at, SystemEvent::ComponentAdded { digest: *digest, ids: ids.clone(), describe })?;
        }
    }
    for PolicyText { digest, name, text } in &kept.policies {
        if sha256(text.as_bytes()) != *digest {
            return Err(JournalError::WrongDigest { digest: *digest });
        }
        let sql = "INSERT INTO policies (digest, name, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let values = params![digest.0, name, text];
        if conn.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(on_write)? == 1 {
            record(conn, at, SystemEvent::PolicyLoaded { digest: *digest, name: name.clone() })?;
        }
    }
    Ok(())
}

/// Where a run is, as its row says it.
pub(super) struct Position {
    /// The epoch of its owner.
    pub epoch: u64,
    seq: u64,
    head: Digest,
}

impl Position {
    /// Refuses to go on from the end of a chain that is not the one that the row knows: events would be lost behind it.
    pub fn agrees_with(&self, chain: &Chain, head: &Walk) -> Result<(), JournalError> {
        let (seq, what) = match self.seq.cmp(&head.seq) {
            // What stands after the end that the row knows is read before anybody builds on it.
            Ordering::Less => return Ok(()),
            Ordering::Equal if self.head == head.hash => return Ok(()),
            Ordering::Equal => (0, Flaw::Row("head")),
            Ordering::Greater => (head.seq + 1, Flaw::Missing),
        };
        Err(JournalError::Unreadable(Finding { chain: chain.as_str().to_owned(), seq, what }))
    }
}

/// Where a run is.
pub(super) fn position(conn: &Connection, run: &RunId) -> Result<Position, JournalError> {
    let position =
        |row: &Row<'_>| Ok(Position { epoch: uint(row.get(0)?), seq: uint(row.get(1)?), head: Digest(row.get(2)?) });
    conn.prepare_cached("SELECT epoch, seq, head FROM runs WHERE run = ?")
        .and_then(|mut statement| statement.query_row([run.as_str()], position).optional())
        .map_err(|error| on_row(run.as_str(), error, on_write))?
        .ok_or_else(|| JournalError::UnknownRun { run: run.clone() })
}

/// The number of the event that was written last; 0 if there is none.
pub(super) fn last(conn: &Connection) -> rusqlite::Result<u64> {
    let last = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
    Ok(conn.prepare_cached("SELECT max(id) FROM events")?.query_row([], last)?.map_or(0, uint))
}

/// The runs that are not closed, oldest first.
pub(super) fn going_on(conn: &Connection) -> Result<Vec<RunId>, JournalError> {
    let mut rows = conn.prepare("SELECT run FROM runs WHERE closed IS NULL ORDER BY id").map_err(on_read)?;
    let read = rows.query_map([], |row| row.get::<_, String>(0)).map_err(on_read)?;
    let mut runs = Vec::new();
    for run in read {
        // A row that is damaged is `audit verify`'s to tell.
        runs.extend(RunId::parse(&run.map_err(on_read)?).ok());
    }
    Ok(runs)
}

/// Adds a run's row.
pub(super) fn add_row(conn: &Connection, row: &RunRow) -> Result<(), JournalError> {
    conn.prepare_cached(
        "INSERT INTO runs (run, workflow, principal, state, submitted, run_key, epoch, owner, seq, head, due)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            row.run.as_str(),
            row.workflow,
            row.principal.as_str(),
            row.state.as_str(),
            int(row.submitted.0),
            row.run_key,
            int(row.epoch),
            row.owner,
            int(row.seq),
            row.head.0,
            row.due.map(|due| int(due.0))
        ])
    })
    .map_err(on_write)?;
    Ok(())
}

/// Moves a run's row to a new head. Its state stays if there is none; when it is due is not known if that is none.
pub(super) fn move_row(
    conn: &Connection,
    run: &RunId,
    head: &Walk,
    state: Option<RunState>,
    due: Option<Timestamp>,
) -> Result<(), JournalError> {
    let (state, due) = (state.map(RunState::as_str), due.map(|due| int(due.0)));
    conn.prepare_cached("UPDATE runs SET seq = ?, head = ?, state = coalesce(?, state), due = ? WHERE run = ?")
        .and_then(|mut statement| statement.execute(params![int(head.seq), head.hash.0, state, due, run.as_str()]))
        .map_err(on_write)?;
    Ok(())
}

/// Writes down that a run was closed, or opened again by an undo.
pub(super) fn close_row(conn: &Connection, run: &RunId, closed: Option<Timestamp>) -> Result<(), JournalError> {
    conn.prepare_cached("UPDATE runs SET closed = ? WHERE run = ?")
        .and_then(|mut statement| statement.execute(params![closed.map(|at| int(at.0)), run.as_str()]))
        .map_err(on_write)?;
    Ok(())
}

/// Writes a new owner into a run's row.
pub(super) fn own_row(conn: &Connection, run: &RunId, epoch: u64, owner: &str) -> Result<(), JournalError> {
    conn.prepare_cached("UPDATE runs SET epoch = ?, owner = ? WHERE run = ?")
        .and_then(|mut statement| statement.execute(params![int(epoch), owner, run.as_str()]))
        .map_err(on_write)?;
    Ok(())
}

/// What an event says about when its run was closed: closed at a time, open again, or nothing.
pub(super) fn closing(event: &Event, at: Timestamp) -> Option<Option<Timestamp>> {
    match event {
        Event::RunClosed(_) => Some(Some(at)),
        Event::RollbackStarted(_) => Some(None),
        _ => None,
    }
}
