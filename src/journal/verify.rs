//! Verifying: is the journal what was written?
//!
//! In this order, in one read transaction, so that writing may go on meanwhile:
//!
//! 1. the database's own full check, which compares tables and indexes, and whether it ends where writing ended;
//! 2. its tables, indexes, views and triggers against those that a journal is made with;
//! 3. the system chain from its first event, its heads noted in a temporary table on disk, and the components and policies that it
//!    names: bytes, names and descriptions;
//! 4. every other chain from its first event: place, order, hash, time, form, payloads, the heads that the system chain
//!    recorded for it, and its row in the table of runs;
//! 5. what is left over: recorded heads and rows without their events, and what is kept and no event names.
//!
//! Where the database itself is damaged, the rest is looked at as far as it can be read.
//!
//! Bytes that were erased are a finding like bytes that were changed: the format has a mark for it, and no verb sets it.
//!
//! Of each chain the first bad place is told; what comes after it in that chain cannot be judged. Whoever can rewrite the
//! whole file can rewrite all chains with it: against that helps only a head that is kept elsewhere.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

use super::chain::{GENESIS, SYSTEM, Walk};
use super::error::{damage, on_read};
use super::reader::{self, bytes};
use super::store::{closing, int, joined, last, uint};
use super::{Finding, Flaw, JournalError, RunRow, SystemEvent, schema};
use crate::saga::RunState;
use crate::saga::event::Event;
use crate::types::{Digest, PayloadRef, RunId, Timestamp, sha256};

/// What was verified, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chains that were walked, the system's included.
    pub chains: u64,
    /// Events that follow from those before them.
    pub events: u64,
    /// Payloads that are whole.
    pub payloads: u64,
    /// The head of the system chain, worth being kept elsewhere: its last event and that event's hash.
    pub head: Option<(u64, Digest)>,
    /// The first bad place of each chain; empty if everything is as it was written.
    pub findings: Vec<Finding>,
}

/// Verifies what `conn` reads; `known` events are known to have been written.
pub(super) fn verify(conn: &mut Connection, known: u64) -> Result<Verified, JournalError> {
    let tx = conn.transaction().map_err(on_read)?;
    tx.execute_batch(
        "CREATE TEMP TABLE heads (run TEXT, seq INTEGER, hash BLOB, at INTEGER, PRIMARY KEY (run, seq));
         CREATE TEMP TABLE named (digest BLOB PRIMARY KEY);",
    )
    .map_err(on_read)?;
    let mut verifier = Verifier { conn: &tx, known, verified: Verified::default(), first: BTreeMap::new() };
    for part in [Verifier::database, Verifier::parts, Verifier::system, Verifier::runs, Verifier::left_over] {
        if let Err(error) = part(&mut verifier) {
            let damage = damage(&error).ok_or_else(|| on_read(error))?;
            verifier.found(DATABASE, (0, Flaw::Database(damage)));
        }
    }
    let Verifier { mut verified, first, .. } = verifier;
    verified.findings = first.into_iter().map(|(chain, (seq, what))| Finding { chain, seq, what }).collect();
    Ok(verified)
}

/// What stands for a chain where the file itself is meant, and its tables.
const DATABASE: &str = "database";
const SCHEMA: &str = "schema";

/// The first thing that is wrong with a chain, and where.
type Fault = (u64, Flaw);

struct Verifier<'conn> {
    conn: &'conn Connection,
    /// How many events are known to have been written.
    known: u64,
    verified: Verified,
    /// The first bad place of each chain.
    first: BTreeMap<String, Fault>,
}

/// One event as it is stored; what somebody gave another type is empty or 0.
struct Stored<'row> {
    id: i64,
    seq: u64,
    body: &'row [u8],
    hash: &'row [u8],
}

impl<'row> Stored<'row> {
    /// Of the columns `id, seq, body, hash`.
    fn of(row: &'row Row<'_>) -> rusqlite::Result<Stored<'row>> {
        Ok(Stored {
            id: row.get(0)?,
            seq: row.get_ref(1)?.as_i64().map_or(0, uint),
            body: bytes(row, 2)?,
            hash: bytes(row, 3)?,
        })
    }
}

/// A walk along one chain that also looks at the order of appending.
struct Progress {
    walk: Walk,
    last_id: i64,
}

impl Progress {
    fn begin(chain: &str) -> Progress {
        Progress { walk: Walk::begin(chain), last_id: i64::MIN }
    }

    fn pass<E: DeserializeOwned>(&mut self, stored: &Stored<'_>) -> Result<(Timestamp, E), Fault> {
        let next = self.walk.seq + 1;
        let passed = self.walk.pass(stored.seq, stored.body, stored.hash).map_err(|flaw| (next, flaw))?;
        if std::mem::replace(&mut self.last_id, stored.id) > stored.id {
            return Err((next, Flaw::Order));
        }
        Ok(passed)
    }
}

/// One run's chain, and the row that follows from it.
struct RunWalk {
    run: RunId,
    progress: Progress,
    row: Option<RunRow>,
}

impl Verifier<'_> {
    fn found(&mut self, chain: &str, (seq, what): Fault) {
        match self.first.get(chain) {
            Some((earlier, _)) if *earlier <= seq => {}
            _ => drop(self.first.insert(chain.to_owned(), (seq, what))),
        }
    }

    fn database(&mut self) -> rusqlite::Result<()> {
        let said: String = self.conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            self.found(DATABASE, (0, Flaw::Database(said)));
        }
        let found = last(self.conn)?;
        if found < self.known && !schema::is_backup(self.conn)? {
            self.found(DATABASE, (0, Flaw::End { found, known: self.known }));
        }
        Ok(())
    }

    fn parts(&mut self) -> rusqlite::Result<()> {
        let strange = schema::strange_parts(self.conn, schema::version(self.conn)?)?;
        if !strange.is_empty() {
            let all: Vec<String> = strange.iter().map(ToString::to_string).collect();
            self.found(SCHEMA, (0, Flaw::Parts(all.join("; "))));
        }
        Ok(())
    }

    fn system(&mut self) -> rusqlite::Result<()> {
        let conn = self.conn;
        let mut statement =
            conn.prepare("SELECT id, seq, body, hash FROM events WHERE chain = 'system' ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut progress = Progress::begin(SYSTEM);
        while let Some(row) = rows.next()? {
            let fault = match progress.pass(&Stored::of(row)?) {
                Ok((_, event)) => system_event(conn, progress.walk.seq, event)?,
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                self.found(SYSTEM, fault);
                break;
            }
            self.verified.events += 1;
            self.verified.head = Some((progress.walk.seq, progress.walk.hash));
        }
        self.verified.chains += u64::from(progress.walk.seq > 0);
        Ok(())
    }

    fn runs(&mut self) -> rusqlite::Result<()> {
        let conn = self.conn;
        let mut statement =
            conn.prepare("SELECT id, seq, body, hash, chain FROM events WHERE chain <> 'system' ORDER BY chain, seq")?;
        let mut rows = statement.query([])?;
        let mut name = Vec::new();
        let mut current = None;
        while let Some(row) = rows.next()? {
            if bytes(row, 4)? != name {
                self.finish(current)?;
                name = bytes(row, 4)?.to_owned();
                self.verified.chains += 1;
                current = self.begin(&String::from_utf8_lossy(&name));
            }
            if let Some(walk) = &mut current
                && let Some(fault) = self.run_event(walk, &Stored::of(row)?)?
            {
                self.found(&String::from_utf8_lossy(&name), fault);
                current = None;
            }
        }
        self.finish(current)
    }

    fn begin(&mut self, chain: &str) -> Option<RunWalk> {
        match RunId::parse(chain) {
            Ok(run) => Some(RunWalk { run, progress: Progress::begin(chain), row: None }),
            Err(_) => {
                self.found(chain, (0, Flaw::Chain));
                None
            }
        }
    }

    fn run_event(&mut self, walk: &mut RunWalk, stored: &Stored<'_>) -> rusqlite::Result<Option<Fault>> {
        let (at, event) = match walk.progress.pass::<Event>(stored) {
            Ok(passed) => passed,
            Err(fault) => return Ok(Some(fault)),
        };
        let seq = walk.progress.walk.seq;
        for PayloadRef { digest, .. } in event.payloads() {
            match reader::stored_payload(self.conn, &digest)? {
                reader::Stored::Missing => return Ok(Some((seq, Flaw::PayloadMissing(digest)))),
                reader::Stored::Changed => return Ok(Some((seq, Flaw::PayloadChanged(digest)))),
                reader::Stored::Erased => return Ok(Some((seq, Flaw::PayloadErased(digest)))),
                reader::Stored::Whole(_) => self.verified.payloads += 1,
            }
        }
        if let Some(flaw) = self.recorded_head(walk, &event)? {
            return Ok(Some((seq, flaw)));
        }
        self.verified.events += 1;
        Ok(walk.follow(at, &event).map(|flaw| (seq, flaw)))
    }

    /// Compares an event with the head that the system chain recorded for it. The second event of a run, its first `OWNER`,
    /// and each `RUN_CLOSED` must have one, unless the system chain cannot be read to its end.
    fn recorded_head(&self, walk: &RunWalk, event: &Event) -> rusqlite::Result<Option<Flaw>> {
        let Walk { seq, hash, .. } = walk.progress.walk;
        let recorded = self
            .conn
            .prepare_cached("SELECT hash, at FROM temp.heads WHERE run = ? AND seq = ?")?
            .query_row(params![walk.run.as_str(), int(seq)], |row| Ok((bytes(row, 0)? == hash.0, uint(row.get(1)?))))
            .optional()?;
        let must = (seq == 2 || matches!(event, Event::RunClosed(_))) && !self.first.contains_key(SYSTEM);
        Ok(match recorded {
            Some((false, at)) => Some(Flaw::Head(at)),
            None if must => Some(Flaw::Unrecorded),
            Some((true, _)) | None => None,
        })
    }

    /// Compares a run's row with what follows from its chain.
    fn finish(&mut self, walk: Option<RunWalk>) -> rusqlite::Result<()> {
        let Some(RunWalk { run, row: Some(expected), .. }) = walk else { return Ok(()) };
        let fault = match reader::run(self.conn, &run) {
            Err(_) => Some((0, Flaw::Row("form"))),
            Ok(None) => Some((0, Flaw::NoRow)),
            Ok(Some(row)) if row.seq > expected.seq => Some((expected.seq + 1, Flaw::Missing)),
            Ok(Some(row)) => differs(&expected, &row).map(|column| (0, Flaw::Row(column))),
        };
        if let Some(fault) = fault {
            self.found(run.as_str(), fault);
        }
        Ok(())
    }

    /// Finds recorded heads and rows whose events are not there, and what is kept although no event says so.
    fn left_over(&mut self) -> rusqlite::Result<()> {
        let conn = self.conn;
        let mut statement = conn.prepare(
            "SELECT lost.run, (SELECT coalesce(max(seq), 0) + 1 FROM events WHERE chain = lost.run AND typeof(seq) = 'integer')
             FROM (SELECT run, seq FROM temp.heads UNION SELECT run, seq FROM runs) AS lost
             WHERE NOT EXISTS (SELECT 1 FROM events WHERE chain = lost.run AND seq = lost.seq)",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let run = String::from_utf8_lossy(bytes(row, 0)?).into_owned();
            self.found(&run, (uint(row.get(1)?), Flaw::Missing));
        }
        if self.first.contains_key(SYSTEM) {
            return Ok(());
        }
        let mut statement = conn.prepare(
            "SELECT digest FROM (SELECT digest FROM components UNION ALL SELECT digest FROM policies)
             WHERE digest NOT IN (SELECT digest FROM temp.named) LIMIT 1",
        )?;
        if let Some(row) = statement.query([])?.next()? {
            let digest = bytes(row, 0)?.try_into().map_or(GENESIS, Digest);
            self.found(SYSTEM, (0, Flaw::Unnamed(digest)));
        }
        Ok(())
    }
}

/// Notes a head, or looks at what is kept because of the event.
fn system_event(conn: &Connection, seq: u64, event: SystemEvent) -> rusqlite::Result<Option<Fault>> {
    let (digest, flaw) = match event {
        SystemEvent::RunHead { run, seq: head, hash, .. } => {
            conn.prepare_cached("INSERT OR REPLACE INTO temp.heads VALUES (?, ?, ?, ?)")?.execute(params![
                run.as_str(),
                int(head),
                hash.0,
                int(seq)
            ])?;
            return Ok(None);
        }
        SystemEvent::Refused { .. } | SystemEvent::Adopted { .. } => return Ok(None),
        SystemEvent::ComponentAdded { digest, ids, describe } => {
            (digest, kept_component(conn, &digest, &joined(&ids), describe.as_ref())?)
        }
        SystemEvent::PolicyLoaded { digest, name } => (digest, kept_policy(conn, &digest, &name)?),
    };
    conn.prepare_cached("INSERT OR IGNORE INTO temp.named VALUES (?)")?.execute([digest.0])?;
    Ok(flaw.map(|flaw| (seq, flaw)))
}

/// Compares a kept component with what was recorded when it was added.
fn kept_component(
    conn: &Connection,
    digest: &Digest,
    ids: &str,
    describe: Option<&Digest>,
) -> rusqlite::Result<Option<Flaw>> {
    let mut statement = conn.prepare_cached("SELECT bytes, ids, describe FROM components WHERE digest = ?")?;
    let mut rows = statement.query([digest.0])?;
    let Some(row) = rows.next()?.filter(|row| is_whole(row, digest)) else {
        return Ok(Some(Flaw::KeptChanged(*digest)));
    };
    let same = [
        ("ids", bytes(row, 1)? == ids.as_bytes()),
        ("describe", describe.is_none_or(|said| bytes(row, 2).is_ok_and(|text| sha256(text) == *said))),
    ];
    Ok(differing(*digest, same))
}

/// Compares a kept policy with what was recorded when it was loaded.
fn kept_policy(conn: &Connection, digest: &Digest, name: &str) -> rusqlite::Result<Option<Flaw>> {
    let mut statement = conn.prepare_cached("SELECT text, name FROM policies WHERE digest = ?")?;
    let mut rows = statement.query([digest.0])?;
    let Some(row) = rows.next()?.filter(|row| is_whole(row, digest)) else {
        return Ok(Some(Flaw::KeptChanged(*digest)));
    };
    Ok(differing(*digest, [("name", bytes(row, 1)? == name.as_bytes())]))
}

/// Whether the first column has the bytes of a digest.
fn is_whole(row: &Row<'_>, digest: &Digest) -> bool {
    let stored = row.get_ref(0).is_ok_and(|value| value != ValueRef::Null);
    stored && bytes(row, 0).is_ok_and(|bytes| sha256(bytes) == *digest)
}

fn differing<const N: usize>(digest: Digest, columns: [(&'static str, bool); N]) -> Option<Flaw> {
    let other = columns.into_iter().find(|(_, same)| !same);
    other.map(|(column, _)| Flaw::KeptDiffers { digest, column })
}

impl RunWalk {
    /// Brings the expected row up to date with an event.
    fn follow(&mut self, at: Timestamp, event: &Event) -> Option<Flaw> {
        let Walk { seq, hash, .. } = self.progress.walk;
        match (event, &mut self.row) {
            (Event::RunSubmitted(submitted), row @ None) => {
                *row = Some(RunRow {
                    run: submitted.run.clone(),
                    workflow: submitted.name.clone(),
                    principal: submitted.principal.clone(),
                    state: RunState::Running,
                    due: None,
                    submitted: at,
                    closed: None,
                    run_key: submitted.run_key.clone(),
                    epoch: 0,
                    owner: String::new(),
                    seq,
                    head: hash,
                });
            }
            (Event::RunSubmitted(_), Some(_)) | (_, None) => return Some(Flaw::Start),
            (event, Some(row)) => {
                if let Event::Owner(owner) = event {
                    (row.epoch, row.owner) = (owner.epoch, owner.owner.clone());
                }
                row.closed = closing(event, at).unwrap_or(row.closed);
                (row.seq, row.head) = (seq, hash);
            }
        }
        None
    }
}

/// The first column that differs; `state` and `due` are not derived from the chain here.
fn differs(expected: &RunRow, row: &RunRow) -> Option<&'static str> {
    let columns = [
        ("seq", expected.seq == row.seq),
        ("head", expected.head == row.head),
        ("epoch", expected.epoch == row.epoch),
        ("owner", expected.owner == row.owner),
        ("workflow", expected.workflow == row.workflow),
        ("principal", expected.principal == row.principal),
        ("submitted", expected.submitted == row.submitted),
        ("closed", expected.closed == row.closed),
        ("run_key", expected.run_key == row.run_key),
    ];
    columns.into_iter().find(|(_, same)| !same).map(|(column, _)| column)
}
