//! What an operator takes out of a journal, and what stays there to say so.
//!
//! Each piece of work is one commit of its own, beside whatever other processes write: a checkpoint over all that is there, the change
//! with its event in the system chain, and a checkpoint over that. So what was taken out was stated before, and that it was
//! taken out is stated by whoever has the key. The bytes are overwritten in the file. In the log they stand until it is emptied, which
//! others who read can put off: [`Maintenance::empty_log`] says so.

use std::path::{Path, PathBuf};
use std::time::Duration as Time;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::checkpoint::{self, Courier, HeadOfRun, Notary, SigningKey};
use super::error::{on_file, on_read, on_write};
use super::mark::{self, Mark};
use super::owner;
use super::reader::{self, parsed};
use super::store::{self, int, uint};
use super::system::{Erasure, SystemEvent};
use super::{JournalError, Options, PublicKey, RunRow, place, schema};
use crate::saga::RunState;
use crate::saga::event::{Entry, Event};
use crate::types::{Digest, Duration, PayloadRef, Principal, RunId, Timestamp};

/// How many runs one event of the system chain takes out at most, and about how many events of theirs.
const RUNS_AT_ONCE: usize = 200;
const EVENTS_AT_ONCE: u64 = 50_000;
/// How long the log waits for others to be emptied. Meanwhile nobody can write.
const LOG_PATIENCE: Time = Time::from_secs(2);

/// Who changes a journal, and why.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub principal: Principal,
    /// The reason that is given.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How long payloads of closed runs are kept; for ever where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// What an undo needs, after the run cannot be undone any more.
    pub undo: Option<Duration>,
    /// What components printed, after the run was closed.
    pub logs: Option<Duration>,
}

/// What pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The runs that were removed, oldest first.
    pub runs: Vec<RunId>,
    /// How many runs that were closed before are kept, because they can still be undone.
    pub undoable: u64,
    /// How many runs that were closed before cannot be read, and are kept.
    pub unreadable: u64,
}

/// A journal that is changed in this way.
pub struct Maintenance {
    /// It reads, and ends before the connection that writes: the last one to end takes the log away.
    courier: Option<Courier>,
    conn: Connection,
    path: PathBuf,
    owners: PathBuf,
    key_file: PathBuf,
    busy: Time,
    mark: Mark,
    notary: Notary,
}

impl Maintenance {
    /// Opens the journal at `path`, which is there.
    pub fn open(path: &Path, options: &Options) -> Result<Maintenance, JournalError> {
        let folder = place::folder(path);
        place::refuse_network(&folder)?;
        let busy = options.busy_timeout.as_std();
        let conn = schema::open_writer(path, busy, false)?;
        // A copy of the whole journal is made when space is given back: not in memory.
        conn.execute_batch("PRAGMA temp_store = FILE").map_err(on_write)?;
        let key_file = checkpoint::key_file(path);
        let start = |to| Courier::start(path, busy, to);
        let courier = options.checkpoints.hand_over.clone().map(start).transpose();
        let courier = courier.map_err(|error| JournalError::Fatal(format!("no thread to hand over with: {error}")))?;
        let notary = Notary::new(options.checkpoints.clone(), key_file.clone());
        Ok(Maintenance {
            conn,
            path: path.to_owned(),
            owners: folder.join("owners"),
            key_file,
            busy,
            mark: Mark::open(path)?,
            notary,
            courier,
        })
    }

    /// Makes another key sign checkpoints. Answers with the one before and the new one.
    pub fn rotate_key(&mut self, by: &By) -> Result<(PublicKey, PublicKey), JournalError> {
        let neighbour = mark::neighbour(&self.path).map_err(on_file("look beside", &self.path))?;
        if let Some(path) = neighbour {
            // It would find a key that nothing in it vouches for.
            return Err(JournalError::SharedKey { path });
        }
        let keys = self.change(|tx, notary| notary.rotate(tx, by))?;
        // If the process dies before this, whoever signs next does it.
        SigningKey::put_next(&self.key_file)?;
        Ok(keys)
    }

    /// Erases payloads of a run. Those that are erased already are left out; answers with how many were erased now.
    pub fn redact(&mut self, run: &RunId, payloads: &[Digest], by: &By) -> Result<u64, JournalError> {
        self.change(|tx, _| {
            must_be_closed(tx, run)?;
            let gone = erase(tx, run, payloads, by.at)?;
            if !gone.is_empty() {
                record_erasure(tx, run, &gone, Erasure::Redacted, by.at, Some(by))?;
            }
            Ok(gone.len() as u64)
        })
    }

    /// Erases what closed runs keep beyond its time. Answers with how many payloads those were.
    pub fn expire(&mut self, retention: Retention, now: Timestamp) -> Result<u64, JournalError> {
        let mut erased = 0;
        if retention == Retention::default() {
            return Ok(erased);
        }
        for Old { run, closed, .. } in closed_before(&self.conn, now)? {
            let Ok(entries) = reader::entries(&self.conn, &run, 0, usize::MAX) else { continue };
            let mut over = expired(&entries, closed, retention, now);
            over.retain(|digest| {
                matches!(reader::stored_payload(&self.conn, digest, None), Ok(reader::Stored::Whole(_)))
            });
            if over.is_empty() {
                continue;
            }
            erased += self.change(|tx, _| {
                match must_be_closed(tx, &run) {
                    Err(JournalError::GoesOn { .. } | JournalError::UnknownRun { .. }) => return Ok(0),
                    other => other?,
                }
                let gone = erase(tx, &run, &over, now)?;
                if !gone.is_empty() {
                    record_erasure(tx, &run, &gone, Erasure::Expired, now, None)?;
                }
                Ok(gone.len() as u64)
            })?;
        }
        Ok(erased)
    }

    /// Removes runs that were closed before a moment, and cannot be undone any more. Their heads stay in the system chain.
    pub fn prune(&mut self, before: Timestamp, by: &By) -> Result<Pruned, JournalError> {
        let mut done = Pruned::default();
        let mut old = Vec::new();
        for one in closed_before(&self.conn, before)? {
            match undo_window(&self.conn, &one.run) {
                Some(window) if one.closed.plus(window) > by.at && !gave_up_undo(&self.conn, &one.run) => {
                    done.undoable += 1;
                }
                Some(_) => old.push(one),
                None => done.unreadable += 1,
            }
        }
        let mut rest = old.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(one_commit(rest));
            let mut heads = self.change(|tx, _| {
                let mut heads = Vec::new();
                for one in now {
                    heads.extend(remove(tx, &one.run)?);
                }
                if !heads.is_empty() {
                    let (by, reason, at) = (by.principal.clone(), by.reason.clone(), by.at);
                    store::record(tx, at, SystemEvent::Pruned { runs: heads.clone(), before, by, reason })?;
                }
                Ok(heads)
            })?;
            done.runs.extend(heads.drain(..).map(|head| head.run));
            rest = later;
        }
        Ok(done)
    }

    /// Gives the space back that is not used any more, by a copy of the whole journal in the folder for temporary files. False, and
    /// nothing is done, if another process drives runs: it could not write meanwhile.
    pub fn give_space_back(&mut self) -> Result<bool, JournalError> {
        if owner::any_lives(&self.owners) {
            return Ok(false);
        }
        self.conn.execute_batch("VACUUM").map_err(on_write)?;
        Ok(true)
    }

    /// Moves what stands in the log into the file, where what was erased is overwritten, and empties it. False if others who read
    /// keep it from that: then what was erased can still be found in the log.
    pub fn empty_log(&self) -> Result<bool, JournalError> {
        self.conn.busy_timeout(LOG_PATIENCE).map_err(on_write)?;
        let busy = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.conn.busy_timeout(self.busy).map_err(on_write)?;
        Ok(busy.map_err(on_write)? == 0)
    }

    fn change<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Notary) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(on_write)?;
        self.notary.forget();
        self.notary.attend(&tx, true)?;
        let done = work(&tx, &mut self.notary)?;
        self.notary.attend(&tx, true)?;
        let last = store::last(&tx).map_err(on_write)?;
        tx.commit().map_err(on_write)?;
        self.mark.note(last);
        if let Some(courier) = &self.courier {
            courier.tell();
        }
        Ok(done)
    }
}

/// A run that was closed.
struct Old {
    run: RunId,
    closed: Timestamp,
    /// How many events it has.
    events: u64,
}

/// How many of the first of these go in one commit: at least one.
fn one_commit(runs: &[Old]) -> usize {
    let mut events = 0;
    let fits = |one: &&Old| {
        events += one.events;
        events <= EVENTS_AT_ONCE
    };
    runs.iter().take(RUNS_AT_ONCE).take_while(fits).count().max(1)
}

/// Closed runs, oldest first, but for those that are to be undone.
fn closed_before(conn: &Connection, before: Timestamp) -> Result<Vec<Old>, JournalError> {
    let ends: Vec<String> =
        RunState::ALL.iter().filter(|state| state.is_end()).map(|state| format!("'{state}'")).collect();
    let sql =
        format!("SELECT run, closed, seq FROM runs WHERE closed < ? AND state IN ({}) ORDER BY id", ends.join(", "));
    let mut rows = conn.prepare(&sql).map_err(on_read)?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Old { run: parsed(row, 0, RunId::parse)?, closed: Timestamp(uint(row.get(1)?)), events: uint(row.get(2)?) })
    };
    // A row that is damaged is `audit verify`'s to tell.
    let found = rows.query_map([int(before.0)], row).map_err(on_read)?.filter_map(Result::ok).collect();
    Ok(found)
}

/// How long after its end a run can be undone; nothing if it did not complete. None if it cannot be read.
fn undo_window(conn: &Connection, run: &RunId) -> Option<Duration> {
    let completed = reader::run(conn, run).ok()??.state == RunState::Completed;
    match reader::entries(conn, run, 0, 1).ok()?.pop()?.event {
        Event::RunSubmitted(submitted) => Some(if completed { submitted.undo_window } else { Duration(0) }),
        _ => None,
    }
}

/// Whether what its undo needs was erased.
fn gave_up_undo(conn: &Connection, run: &RunId) -> bool {
    let Ok(entries) = reader::entries(conn, run, 0, usize::MAX) else { return false };
    let named = entries.iter().flat_map(|entry| entry.event.named_payloads());
    let mut needed = named.filter(|(kind, _)| kind.serves_undo()).map(|(_, payload)| payload);
    needed.any(|payload| matches!(reader::stored_payload(conn, &payload.digest, None), Ok(reader::Stored::Erased)))
}

/// The payloads of a closed run whose time is over.
fn expired(entries: &[Entry], closed: Timestamp, retention: Retention, now: Timestamp) -> Vec<Digest> {
    let Some(Event::RunSubmitted(submitted)) = entries.first().map(|entry| &entry.event) else { return Vec::new() };
    let over = |after: Option<Duration>, from: Timestamp| after.is_some_and(|after| from.plus(after) <= now);
    let undo = over(retention.undo, closed.plus(submitted.undo_window));
    let logs = over(retention.logs, closed);
    let mut found: Vec<PayloadRef> = Vec::new();
    for entry in entries {
        match &entry.event {
            Event::Intent(intent) if undo => found.extend(intent.undo),
            Event::UndoAppended(appended) if undo => found.push(appended.undo),
            Event::Result(result) => {
                found.extend(result.compensation.filter(|_| undo));
                found.extend(result.log.filter(|_| logs));
            }
            Event::UndoResult(result) if logs => found.extend(result.log),
            _ => {}
        }
    }
    found.into_iter().map(|reference| reference.digest).collect()
}

/// Whether a run is over: one that is asked to be undone is not, although it stays closed until that begins.
fn is_over(row: &RunRow) -> bool {
    row.closed.is_some() && row.state.is_end()
}

/// Refuses a run that goes on: somebody may have begun to undo it since it was looked at.
fn must_be_closed(conn: &Connection, run: &RunId) -> Result<(), JournalError> {
    match reader::run(conn, run)? {
        Some(row) if is_over(&row) => Ok(()),
        Some(_) => Err(JournalError::GoesOn { run: run.clone() }),
        None => Err(JournalError::UnknownRun { run: run.clone() }),
    }
}

/// Erases the bytes and salts that are there; which those were.
fn erase(conn: &Connection, run: &RunId, payloads: &[Digest], at: Timestamp) -> Result<Vec<Digest>, JournalError> {
    let mut gone = Vec::new();
    for digest in payloads {
        let sql = "UPDATE payloads SET salt = NULL, bytes = NULL, erased = ? WHERE digest = ? AND run = ? AND bytes IS NOT NULL";
        let changed = conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![int(at.0), digest.0, run.as_str()]))
            .map_err(on_write)?;
        if changed > 0 {
            gone.push(*digest);
        }
    }
    Ok(gone)
}

fn record_erasure(
    conn: &Connection,
    run: &RunId,
    payloads: &[Digest],
    why: Erasure,
    at: Timestamp,
    by: Option<&By>,
) -> Result<(), JournalError> {
    let (principal, reason) = by.map(|by| (by.principal.clone(), by.reason.clone())).unzip();
    let event = SystemEvent::Erased { run: run.clone(), why, payloads: payloads.to_vec(), by: principal, reason };
    store::record(conn, at, event)
}

/// Removes all that is stored of a run; where its chain ended. None if it is gone already.
fn remove(conn: &Connection, run: &RunId) -> Result<Option<HeadOfRun>, JournalError> {
    // Somebody may have pruned it, or begun to undo it, since it was looked at.
    let Some(row) = reader::run(conn, run)?.filter(is_over) else { return Ok(None) };
    for sql in [
        "DELETE FROM events WHERE chain = ?",
        "DELETE FROM payloads WHERE run = ?",
        "DELETE FROM outbox WHERE run = ?",
        "DELETE FROM runs WHERE run = ?",
    ] {
        conn.prepare_cached(sql).and_then(|mut statement| statement.execute([run.as_str()])).map_err(on_write)?;
    }
    Ok(Some(HeadOfRun { run: run.clone(), seq: row.seq, hash: row.head }))
}
