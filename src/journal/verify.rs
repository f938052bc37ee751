//! Verifying: is the journal what was written?
//!
//! In this order, in one read transaction, so that writing may go on meanwhile; but the first at the same time as the others, in a
//! transaction of its own:
//!
//! 1. the database's own full check, which compares tables and indexes, and whether it ends where writing ended;
//! 2. its tables, indexes, views and triggers against those that a journal is made with;
//! 3. the system chain from its first event, its heads noted in a temporary table on disk, its statements, and the components and
//!    policies that it names: bytes, names and descriptions;
//! 4. every other chain from its first event: place, order, hash, time, form, payloads, the heads that the system chain and
//!    statements that are kept elsewhere recorded for it, what the [`Examiner`] says of it if the system
//!    chain is whole, and its row in the table of runs;
//! 5. what is left over: recorded heads and rows without their events, and what is kept and no event names.
//!
//! Where the database itself is damaged, the rest is looked at as far as it can be read.
//!
//! The system chain says which payloads were erased and which runs were removed; what is missing otherwise is a finding. Its
//! statements must follow from what is before them, and be signed by the key that signs there.
//!
//! Of each chain the first bad place is told; what comes after it in that chain cannot be judged. Whoever can rewrite the
//! whole file can rewrite all chains with it: against that helps only a statement that is kept elsewhere. The journal extends it
//! if the events that it names are there with the hashes that it states.

mod system;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

use super::chain::{GENESIS, SYSTEM, Walk};
use super::checkpoint::PublicKey;
use super::error::{damage, on_read};
use super::reader::{self, bytes};
use super::store::{closing, int, last, uint};
use super::{Finding, Flaw, JournalError, RunRow, schema};
use crate::saga::RunState;
use crate::saga::event::{Entry, Event};
use crate::types::{Digest, PayloadRef, RunId, Timestamp};

pub use system::Held;
use system::{HeldByPlace, Statements};

/// What was verified, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chains that were walked, the system's included.
    pub chains: u64,
    /// Events that follow from those before them.
    pub events: u64,
    /// Payloads that are whole.
    pub payloads: u64,
    /// Payloads that were erased, and whose erasure is on record.
    pub erased: u64,
    /// Runs that were removed, and whose removal is on record.
    pub pruned: u64,
    /// Statements that the system chain holds.
    pub checkpoints: u64,
    /// Events that no statement speaks of yet.
    pub since_checkpoint: u64,
    /// How many statements that are kept elsewhere the journal extends.
    pub extends: u64,
    /// The keys that signed, oldest first; whether the one before vouches for it.
    pub keys: Vec<(PublicKey, bool)>,
    /// The head of the system chain, worth being kept elsewhere: its last event and that event's hash.
    pub head: Option<(u64, Digest)>,
    /// The first bad place of each chain; empty if everything is as it was written.
    pub findings: Vec<Finding>,
}

/// Says whether what happened may have happened so. Is shown the events of one run after another, each once its hash was found to
/// follow.
pub trait Examiner {
    /// The next event of a run, with what its payloads are, in the order of [`Event::payloads`]; none for one that was erased. What is
    /// wrong, if anything is; then nothing more of this run is shown.
    fn event(&mut self, run: &RunId, entry: &Entry, payloads: &[Option<Bytes>]) -> Option<String>;

    /// The run has no more events, and its chain is whole; `row` is what the table of runs has of it.
    fn end(&mut self, run: &RunId, row: &RunRow) -> Option<String>;
}

/// Asks nothing.
pub struct NoExaminer;

impl Examiner for NoExaminer {
    fn event(&mut self, _: &RunId, _: &Entry, _: &[Option<Bytes>]) -> Option<String> {
        None
    }

    fn end(&mut self, _: &RunId, _: &RunRow) -> Option<String> {
        None
    }
}

/// Verifies what `conn` reads, and `beside` at the same time; `known` events are known to have been written.
pub(super) fn verify(
    conn: &mut Connection,
    beside: Connection,
    known: u64,
    held: Held<'_>,
    examiner: &mut dyn Examiner,
) -> Result<Verified, JournalError> {
    conn.execute_batch(CACHE).map_err(on_read)?;
    let tx = conn.transaction().map_err(on_read)?;
    tx.execute_batch(
        "CREATE TEMP TABLE heads (run TEXT, seq INTEGER, hash BLOB, at INTEGER, closed INTEGER, PRIMARY KEY (run, seq));
         CREATE TEMP TABLE named (digest BLOB PRIMARY KEY);
         CREATE TEMP TABLE held (run TEXT, seq INTEGER, hash BLOB, number INTEGER, PRIMARY KEY (run, seq));
         CREATE TEMP TABLE erased (digest BLOB PRIMARY KEY, run TEXT);
         CREATE TEMP TABLE pruned (run TEXT PRIMARY KEY, seq INTEGER, hash BLOB, at INTEGER);",
    )
    .map_err(on_read)?;
    let (by_place, key) = (HeldByPlace::of(held.checkpoints), held.key);
    let (verified, first) = Default::default();
    let mut verifier = Verifier {
        conn: &tx,
        known,
        held: by_place,
        key,
        examiner,
        verified,
        first,
        statements: Statements::default(),
        any_erased: false,
    };
    let (walked, checked) = std::thread::scope(|scope| {
        let started = std::thread::Builder::new().spawn_scoped(scope, move || check(&beside));
        let walked = verifier.walk();
        let checked = started.map(|check| check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (walked, checked.ok())
    });
    walked?;
    let said = match checked.unwrap_or_else(|| check(&tx)) {
        Ok(said) => said,
        Err(error) => Some(damage(&error).ok_or_else(|| on_read(error))?),
    };
    if let Some(said) = said {
        verifier.found(DATABASE, (0, Flaw::Database(said)));
    }
    let Verifier { mut verified, first, .. } = verifier;
    verified.findings = first.into_iter().map(|(chain, (seq, what))| Finding { chain, seq, what }).collect();
    Ok(verified)
}

/// Payloads are looked up by their digests, which are everywhere in their index: 64 MiB hold that of a million.
const CACHE: &str = "PRAGMA cache_size = -65536";

/// What stands for a chain where the file itself is meant, and its tables.
const DATABASE: &str = "database";
const SCHEMA: &str = "schema";

/// The database's own full check: what it found first, if anything.
fn check(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let said: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// The next heads of a run: those that the system chain recorded, and those that statements which are kept elsewhere name.
const RECORDED: &str = "SELECT seq, hash, at FROM temp.heads WHERE run = ? AND seq > ? ORDER BY seq LIMIT 1";
const HELD: &str = "SELECT seq, hash, number FROM temp.held WHERE run = ? AND seq > ? ORDER BY seq LIMIT 1";

/// A head that was noted, and by which event or statement.
struct Noted {
    seq: u64,
    hash: Vec<u8>,
    by: u64,
}

/// The first thing that is wrong with a chain, and where.
type Fault = (u64, Flaw);

struct Verifier<'a> {
    conn: &'a Connection,
    /// How many events are known to have been written.
    known: u64,
    /// Statements that are kept elsewhere.
    held: HeldByPlace<'a>,
    /// The key that was given.
    key: Option<PublicKey>,
    examiner: &'a mut dyn Examiner,
    /// What the statements of the system chain have said so far.
    statements: Statements,
    /// Whether the system chain says of any payload that it was erased.
    any_erased: bool,
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
    /// The payloads that its events name.
    payloads: HashSet<Digest>,
    /// The next heads that are to be compared.
    recorded: Option<Noted>,
    held: Option<Noted>,
    /// The last event up to which it is what statements say that are kept elsewhere.
    agreed: Option<u64>,
}

impl Verifier<'_> {
    fn found(&mut self, chain: &str, (seq, what): Fault) {
        match self.first.get(chain) {
            Some((earlier, _)) if *earlier <= seq => {}
            _ => drop(self.first.insert(chain.to_owned(), (seq, what))),
        }
    }

    fn walk(&mut self) -> Result<(), JournalError> {
        for part in [Verifier::end, Verifier::parts, Verifier::system, Verifier::runs, Verifier::left_over] {
            if let Err(error) = part(self) {
                let damage = damage(&error).ok_or_else(|| on_read(error))?;
                self.found(DATABASE, (0, Flaw::Database(damage)));
            }
        }
        Ok(())
    }

    fn end(&mut self) -> rusqlite::Result<()> {
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
        let (mut progress, mut whole) = (Progress::begin(SYSTEM), true);
        while let Some(row) = rows.next()? {
            let (stored, before) = (Stored::of(row)?, (progress.walk.seq, progress.walk.hash));
            let fault = match progress.pass(&stored) {
                Ok((_, event)) => self.system_event(before, (progress.walk.seq, stored.id), event)?,
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                self.found(SYSTEM, fault);
                whole = false;
                break;
            }
            // What follows within may be looked at all the same.
            if let Some(fault) = self.held_head(&progress.walk) {
                self.found(SYSTEM, fault);
            }
            self.verified.events += 1;
            self.verified.head = Some((progress.walk.seq, progress.walk.hash));
        }
        self.verified.chains += u64::from(progress.walk.seq > 0);
        self.judge_held(&progress.walk, whole)?;
        if whole {
            self.verified.since_checkpoint = last(conn)?.saturating_sub(self.statements.event);
        }
        self.verified.keys = std::mem::take(&mut self.statements.keys);
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
                current = self.begin(&String::from_utf8_lossy(&name))?;
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

    fn begin(&mut self, chain: &str) -> rusqlite::Result<Option<RunWalk>> {
        let Ok(run) = RunId::parse(chain) else {
            self.found(chain, (0, Flaw::Chain));
            return Ok(None);
        };
        let (recorded, held) = (self.next_head(RECORDED, &run, 0)?, self.next_head(HELD, &run, 0)?);
        let (row, payloads, agreed) = Default::default();
        let progress = Progress::begin(chain);
        Ok(Some(RunWalk { run, progress, row, payloads, recorded, held, agreed }))
    }

    fn run_event(&mut self, walk: &mut RunWalk, stored: &Stored<'_>) -> rusqlite::Result<Option<Fault>> {
        let (at, event) = match walk.progress.pass::<Event>(stored) {
            Ok(passed) => passed,
            Err(fault) => return Ok(Some(fault)),
        };
        let seq = walk.progress.walk.seq;
        if let Some(flaw) = self.recorded_head(walk, &event)? {
            return Ok(Some((seq, flaw)));
        }
        let mut payloads = Vec::new();
        for PayloadRef { digest, .. } in event.payloads() {
            match self.payload(walk, digest)? {
                Ok(payload) => payloads.push(payload),
                Err(flaw) => return Ok(Some((seq, flaw))),
            }
        }
        self.verified.events += 1;
        if let Some(flaw) = walk.follow(at, &event) {
            return Ok(Some((seq, flaw)));
        }
        if self.first.contains_key(SYSTEM) {
            // What it would be judged by may have been changed.
            return Ok(None);
        }
        let entry = Entry { seq, at, event };
        Ok(self.examiner.event(&walk.run, &entry, &payloads).map(|what| (seq, Flaw::Meaning(what))))
    }

    /// A payload that an event of this run names; none if it was erased and that is on record.
    fn payload(&mut self, walk: &mut RunWalk, digest: Digest) -> rusqlite::Result<Result<Option<Bytes>, Flaw>> {
        let stored = match reader::stored_payload(self.conn, &digest, Some(&walk.run))? {
            reader::Stored::Missing => return Ok(Err(Flaw::PayloadMissing(digest))),
            reader::Stored::Changed => return Ok(Err(Flaw::PayloadChanged(digest))),
            reader::Stored::Erased => None,
            reader::Stored::Whole(bytes) => Some(bytes),
        };
        let first_time = walk.payloads.insert(digest);
        let erasure = self.any_erased
            && self
                .conn
                .prepare_cached("SELECT 1 FROM temp.erased WHERE digest = ? AND run = ?")?
                .exists(params![digest.0, walk.run.as_str()])?;
        match (&stored, erasure) {
            (Some(_), true) => return Ok(Err(Flaw::NotErased(digest))),
            (None, false) if !self.first.contains_key(SYSTEM) => return Ok(Err(Flaw::PayloadErased(digest))),
            (None, _) => self.verified.erased += u64::from(first_time),
            (Some(_), false) => self.verified.payloads += 1,
        }
        Ok(Ok(stored))
    }

    /// Compares an event with the head that the system chain recorded for it. The second event of a run, its first `OWNER`,
    /// and each `RUN_CLOSED` must have one, unless the system chain cannot be read to its end.
    fn recorded_head(&self, walk: &mut RunWalk, event: &Event) -> rusqlite::Result<Option<Flaw>> {
        let Walk { seq, hash, .. } = walk.progress.walk;
        let must = (seq == 2 || matches!(event, Event::RunClosed(_))) && !self.first.contains_key(SYSTEM);
        match walk.recorded.take_if(|next| next.seq == seq) {
            Some(head) if head.hash != hash.0 => return Ok(Some(Flaw::Head(head.by))),
            None if must => return Ok(Some(Flaw::Unrecorded)),
            Some(_) => walk.recorded = self.next_head(RECORDED, &walk.run, seq)?,
            None => {}
        }
        let Some(head) = walk.held.take_if(|next| next.seq == seq) else { return Ok(None) };
        if head.hash == hash.0 {
            (walk.held, walk.agreed) = (self.next_head(HELD, &walk.run, seq)?, Some(seq));
            return Ok(None);
        }
        Ok(Some(Flaw::Held { number: head.by, agreed: walk.agreed }))
    }

    /// The first head after an event of a run that was noted in a table: asked for once a head, not once an event.
    fn next_head(&self, table: &str, run: &RunId, after: u64) -> rusqlite::Result<Option<Noted>> {
        let make = |row: &Row<'_>| {
            Ok(Noted { seq: uint(row.get(0)?), hash: bytes(row, 1)?.to_owned(), by: uint(row.get(2)?) })
        };
        self.conn.prepare_cached(table)?.query_row(params![run.as_str(), int(after)], make).optional()
    }

    /// Compares a run's row with what follows from its chain.
    fn finish(&mut self, walk: Option<RunWalk>) -> rusqlite::Result<()> {
        let Some(RunWalk { run, row: Some(expected), payloads, .. }) = walk else { return Ok(()) };
        let fault = match reader::run(self.conn, &run) {
            Err(_) => Some((0, Flaw::Row("form"))),
            Ok(None) => Some((0, Flaw::NoRow)),
            Ok(Some(row)) if row.seq > expected.seq => Some((expected.seq + 1, Flaw::Missing)),
            Ok(Some(row)) => match differs(&expected, &row) {
                Some(column) => Some((0, Flaw::Row(column))),
                None if self.first.contains_key(SYSTEM) => None,
                None => self.examiner.end(&run, &row).map(|what| (0, Flaw::Meaning(what))),
            },
        };
        let stored = self
            .conn
            .prepare_cached("SELECT count(*) FROM payloads WHERE run = ?")?
            .query_row([run.as_str()], |row| row.get::<_, i64>(0))?;
        let fault = fault.or_else(|| (uint(stored) != payloads.len() as u64).then_some((0, Flaw::PayloadUnnamed)));
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
             FROM (SELECT run, seq FROM temp.heads UNION SELECT run, seq FROM runs UNION SELECT run, seq FROM temp.held) AS lost
             WHERE NOT EXISTS (SELECT 1 FROM events WHERE chain = lost.run AND seq = lost.seq)
               AND lost.run NOT IN (SELECT run FROM temp.pruned)",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let run = String::from_utf8_lossy(bytes(row, 0)?).into_owned();
            self.found(&run, (uint(row.get(1)?), Flaw::Missing));
        }
        let mut statement = conn.prepare(
            "SELECT run FROM (SELECT runs.run, events.id, lag(events.id) OVER (ORDER BY runs.id) AS before
             FROM runs JOIN events ON events.chain = runs.run AND events.seq = 1) WHERE before > id LIMIT 1",
        )?;
        // Events that are elsewhere say nothing of rows.
        if self.first.is_empty()
            && let Some(row) = statement.query([])?.next()?
        {
            let run = String::from_utf8_lossy(bytes(row, 0)?).into_owned();
            self.found(&run, (0, Flaw::Row("id")));
        }
        // An older journal has no outbox.
        let outbox = if schema::version(conn)? >= schema::OUTBOX { " OR run IN (SELECT run FROM outbox)" } else { "" };
        let mut statement = conn.prepare(&format!(
            "SELECT run, at FROM temp.pruned WHERE run IN (SELECT chain FROM events) OR run IN (SELECT run FROM runs)
             OR run IN (SELECT run FROM payloads){outbox}"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let run = String::from_utf8_lossy(bytes(row, 0)?).into_owned();
            self.found(&run, (0, Flaw::NotPruned(uint(row.get(1)?))));
        }
        let mut statement =
            conn.prepare("SELECT DISTINCT run FROM payloads WHERE run NOT IN (SELECT chain FROM events)")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let run = String::from_utf8_lossy(bytes(row, 0)?).into_owned();
            if !self.first.contains_key(&run) {
                self.found(&run, (0, Flaw::PayloadUnnamed));
            }
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
