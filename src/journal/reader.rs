//! The statements that read. Each reads what was durable when it began; none blocks the writer.

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use serde::de::DeserializeOwned;

use super::chain::{Chain, SYSTEM, Walk};
use super::error::{is_of_value, on_read, on_row};
use super::owner::is_name;
use super::store::{int, uint};
use super::{
    Component, DamagedRow, Finding, Flaw, Head, JournalError, Page, PolicyText, RunFilter, RunOrder, RunRow,
    StoredEntry, SystemEntry, schema,
};
use crate::saga::RunState;
use crate::saga::event::Entry;
use crate::types::{CapabilityId, Digest, Principal, RunId, Salt, Timestamp, salted_digest, sha256};

/// A column's bytes, whatever type somebody gave them.
pub(super) fn bytes<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<&'row [u8]> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => &[],
    })
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get(column).map(Digest)
}

/// A column that is parsed to a type of ours.
pub(super) fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn unreadable(chain: &str, seq: u64, what: Flaw) -> JournalError {
    JournalError::Unreadable(Finding { chain: chain.to_owned(), seq, what })
}

/// A walk along a chain that begins after one of its events.
fn begin_after(conn: &Connection, chain: &str, after: u64) -> Result<Walk, JournalError> {
    if after == 0 {
        return Ok(Walk::begin(chain));
    }
    let hash: Option<Digest> = conn
        .prepare_cached("SELECT hash FROM events WHERE chain = ? AND seq = ?")
        .and_then(|mut statement| statement.query_row(params![chain, int(after)], |row| digest(row, 0)).optional())
        .map_err(on_read)?;
    Ok(Walk::after(chain, after, hash.ok_or_else(|| unreadable(chain, after, Flaw::Missing))?))
}

/// Up to `limit` events of a chain after `after_seq`, each checked against the one before it.
fn walk<E: DeserializeOwned, T>(
    conn: &Connection,
    chain: &str,
    after_seq: u64,
    limit: usize,
    make: impl Fn(u64, Timestamp, Digest, E) -> T,
) -> Result<Vec<T>, JournalError> {
    let mut walk = begin_after(conn, chain, after_seq)?;
    let mut statement = conn
        .prepare_cached("SELECT seq, body, hash FROM events WHERE chain = ? AND seq > ? ORDER BY seq")
        .map_err(on_read)?;
    // SQLite would prepare a statement with `LIMIT ?` anew each time.
    let mut rows = statement.query(params![chain, int(after_seq)]).map_err(on_read)?;
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(row) = rows.next().map_err(on_read)? else { break };
        let seq = row.get_ref(0).map_err(on_read)?.as_i64().map_or(0, uint);
        let (body, hash) = (bytes(row, 1).map_err(on_read)?, bytes(row, 2).map_err(on_read)?);
        let next = walk.seq + 1;
        let (at, event) = walk.pass(seq, body, hash).map_err(|flaw| unreadable(chain, next, flaw))?;
        found.push(make(seq, at, walk.hash, event));
    }
    Ok(found)
}

pub(super) fn entries(conn: &Connection, run: &RunId, after: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
    of_run(conn, run, after, limit, |seq, at, _, event| Entry { seq, at, event })
}

pub(super) fn stored_entries(
    conn: &Connection,
    chain: &Chain,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEntry>, JournalError> {
    let make = |seq, at, hash, event| StoredEntry { seq, at, hash, event };
    match chain {
        Chain::System => walk(conn, SYSTEM, after, limit, make),
        Chain::Run(run) => of_run(conn, run, after, limit, make),
    }
}

/// The last event of the system chain, as it is stored.
pub(super) fn system_head(conn: &Connection) -> Result<Option<Head>, JournalError> {
    conn.prepare_cached("SELECT seq, hash FROM events WHERE chain = ? ORDER BY seq DESC LIMIT 1")
        .and_then(|mut statement| {
            statement.query_row([SYSTEM], |row| Ok(Head { seq: uint(row.get(0)?), hash: digest(row, 1)? })).optional()
        })
        .map_err(on_read)
}

/// The same as [`walk`] for a run, whose row says how far its chain goes.
fn of_run<E: DeserializeOwned, T>(
    conn: &Connection,
    run: &RunId,
    after: u64,
    limit: usize,
    make: impl Fn(u64, Timestamp, Digest, E) -> T,
) -> Result<Vec<T>, JournalError> {
    // The chain and its row are read as of one moment.
    let _moment = if conn.is_autocommit() { Some(conn.unchecked_transaction().map_err(on_read)?) } else { None };
    let entries = walk(conn, run.as_str(), after, limit, make)?;
    if entries.len() < limit {
        must_end(conn, run, after.saturating_add(entries.len() as u64))?;
    }
    Ok(entries)
}

/// Refuses a chain that ends before its row says: what cannot be found by its place is not there, and a chain without its end looks
/// like a whole one.
fn must_end(conn: &Connection, run: &RunId, last: u64) -> Result<(), JournalError> {
    match row_seq(conn, run)? {
        Some(seq) if seq > last => {
            Err(JournalError::Unreadable(Finding { chain: run.to_string(), seq: last + 1, what: Flaw::Missing }))
        }
        _ => Ok(()),
    }
}

/// See [`super::Journal::each_of`].
pub(super) fn each_of(
    conn: &Connection,
    run: &RunId,
    kinds: &[&str],
    each: &mut dyn FnMut(Entry),
) -> Result<(), JournalError> {
    let _moment = conn.unchecked_transaction().map_err(on_read)?;
    let last = walk_kinds(conn, run.as_str(), 0, kinds, |seq, at, event| each(Entry { seq, at, event }))?;
    must_end(conn, run, last)
}

/// See [`super::Journal::each_of_system`].
pub(super) fn each_of_system(
    conn: &Connection,
    after: u64,
    kinds: &[&str],
    each: &mut dyn FnMut(SystemEntry),
) -> Result<u64, JournalError> {
    let _moment = conn.unchecked_transaction().map_err(on_read)?;
    walk_kinds(conn, SYSTEM, after, kinds, |seq, at, event| each(SystemEntry { seq, at, event }))
}

/// Walks a chain after one of its events, and decodes only some kinds; answers with its last event.
fn walk_kinds<E: DeserializeOwned>(
    conn: &Connection,
    chain: &str,
    after: u64,
    kinds: &[&str],
    mut each: impl FnMut(u64, Timestamp, E),
) -> Result<u64, JournalError> {
    let mut walk = begin_after(conn, chain, after)?;
    let mut statement = conn
        .prepare_cached("SELECT seq, body, hash FROM events WHERE chain = ? AND seq > ? ORDER BY seq")
        .map_err(on_read)?;
    let mut rows = statement.query(params![chain, int(after)]).map_err(on_read)?;
    while let Some(row) = rows.next().map_err(on_read)? {
        let seq = row.get_ref(0).map_err(on_read)?.as_i64().map_or(0, uint);
        let (body, hash) = (bytes(row, 1).map_err(on_read)?, bytes(row, 2).map_err(on_read)?);
        let next = walk.seq + 1;
        let passed = walk.pass_kinds(kinds, seq, body, hash).map_err(|flaw| unreadable(chain, next, flaw))?;
        if let Some((at, event)) = passed {
            each(seq, at, event);
        }
    }
    Ok(walk.seq)
}

/// How many runs are in each state, for those states that there are.
pub(super) fn count_runs(conn: &Connection) -> Result<Vec<(RunState, u64)>, JournalError> {
    let mut statement = conn.prepare_cached("SELECT state, count(*) FROM runs GROUP BY state").map_err(on_read)?;
    let row = |row: &Row<'_>| Ok((state_of(&row.get::<_, String>(0)?), uint(row.get(1)?)));
    let counted: Vec<_> = statement.query_map([], row).and_then(Iterator::collect).map_err(on_read)?;
    Ok(counted.into_iter().filter_map(|(state, count)| Some((state?, count))).collect())
}

/// The last event of a run as its row says it, if that can be read.
fn row_seq(conn: &Connection, run: &RunId) -> Result<Option<u64>, JournalError> {
    conn.prepare_cached("SELECT seq FROM runs WHERE run = ?")
        .and_then(|mut statement| {
            let seq = |row: &Row<'_>| Ok(row.get_ref(0)?.as_i64().ok().map(uint));
            statement.query_row([run.as_str()], seq).optional()
        })
        .map(Option::flatten)
        .map_err(on_read)
}

pub(super) fn system_entries(conn: &Connection, after: u64, limit: usize) -> Result<Vec<SystemEntry>, JournalError> {
    walk(conn, SYSTEM, after, limit, |seq, at, _, event| SystemEntry { seq, at, event })
}

pub(super) fn head(conn: &Connection, run: &RunId) -> Result<Option<u64>, JournalError> {
    conn.prepare_cached("SELECT max(seq) FROM events WHERE chain = ?")
        .and_then(|mut statement| statement.query_row([run.as_str()], |row| row.get::<_, Option<i64>>(0)))
        .map(|seq| seq.map(uint))
        .map_err(on_read)
}

pub(super) fn find_by_key(
    conn: &Connection,
    key: &str,
    otherwise: impl FnOnce(rusqlite::Error) -> JournalError,
) -> Result<Option<RunId>, JournalError> {
    conn.prepare_cached("SELECT run FROM runs WHERE run_key = ?")
        .and_then(|mut statement| statement.query_row([key], |row| parsed(row, 0, RunId::parse)).optional())
        .map_err(|error| on_row(key, error, otherwise))
}

/// The columns of a run's row, in the order of [`run_row`].
fn columns(conn: &Connection) -> Result<String, JournalError> {
    let due = if schema::knows_due(conn).map_err(on_read)? { "due" } else { "NULL" };
    Ok(format!("run, workflow, principal, state, submitted, closed, run_key, epoch, owner, seq, head, {due}"))
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let time = |number| Timestamp(uint(number));
    Ok(RunRow {
        run: parsed(row, 0, RunId::parse)?,
        workflow: row.get(1)?,
        principal: parsed(row, 2, Principal::parse)?,
        state: parsed(row, 3, |word| state_of(word).ok_or(Unknown("a state of a run")))?,
        submitted: time(row.get(4)?),
        closed: row.get::<_, Option<i64>>(5)?.map(time),
        run_key: row.get(6)?,
        epoch: uint(row.get(7)?),
        owner: parsed(row, 8, |name| if is_name(name) { Ok(name.to_owned()) } else { Err(Unknown("an owner")) })?,
        seq: uint(row.get(9)?),
        head: digest(row, 10)?,
        due: row.get::<_, Option<i64>>(11)?.map(time),
    })
}

/// The state that a word in the table of runs is, letter by letter: so it is looked for.
fn state_of(word: &str) -> Option<RunState> {
    RunState::parse(word).filter(|state| state.as_str() == word)
}

/// A word in the table of runs that is not written there.
#[derive(Debug, thiserror::Error)]
#[error("it is not {0}")]
struct Unknown(&'static str);

pub(super) fn run(conn: &Connection, run: &RunId) -> Result<Option<RunRow>, JournalError> {
    conn.prepare_cached(&format!("SELECT {} FROM runs WHERE run = ?", columns(conn)?))
        .and_then(|mut statement| statement.query_row([run.as_str()], run_row).optional())
        .map_err(|error| on_row(run.as_str(), error, on_read))
}

pub(super) fn runs(
    conn: &Connection,
    filter: &RunFilter,
    past: Option<&RunId>,
    limit: usize,
) -> Result<Page, JournalError> {
    let mut sql = format!("SELECT {} FROM runs WHERE 1", columns(conn)?);
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let (beyond, order) = match filter.order {
        RunOrder::Newest => (" AND id < ", " ORDER BY id DESC"),
        RunOrder::Oldest => (" AND id > ", " ORDER BY id"),
    };
    let past = past.map(|run| run.as_str());
    if let Some(run) = &past {
        sql.push_str(beyond);
        sql.push_str("(SELECT id FROM runs WHERE run = ?)");
        values.push(run);
    }
    let state = filter.state.map(RunState::as_str);
    if let Some(state) = &state {
        sql.push_str(" AND state = ?");
        values.push(state);
    }
    match filter.closed {
        Some(true) => sql.push_str(" AND closed IS NOT NULL"),
        Some(false) => sql.push_str(" AND closed IS NULL"),
        None => {}
    }
    let due = filter.due.map(|due| int(due.0));
    if let Some(due) = due.as_ref()
        && schema::knows_due(conn).map_err(on_read)?
    {
        // Whatever is no time stays, to be met as damage.
        sql.push_str(" AND (typeof(due) <> 'integer' OR due <= ?)");
        values.push(due);
    }
    sql.push_str(order);
    let mut statement = conn.prepare_cached(&sql).map_err(on_read)?;
    let mut found = statement.query(values.as_slice()).map_err(on_read)?;
    let mut page = Page::default();
    while page.rows.len() < limit {
        let Some(row) = found.next().map_err(on_read)? else { break };
        match run_row(row) {
            Ok(row) => page.rows.push(row),
            Err(error) => page.damaged.push(damaged(row, &error)?),
        }
    }
    if filter.state.is_some() && past.is_none() {
        page.damaged.extend(in_no_state(conn)?);
    }
    Ok(page)
}

fn damaged(row: &Row<'_>, error: &rusqlite::Error) -> Result<DamagedRow, JournalError> {
    let run = String::from_utf8_lossy(bytes(row, 0).map_err(on_read)?).into_owned();
    Ok(DamagedRow { run, what: error.to_string() })
}

/// Rows with a state that there is not: whoever asks for the runs in one state cannot know that these are in another. What
/// lies between the states is asked for, since the index answers that without a walk through all runs.
fn in_no_state(conn: &Connection) -> Result<Vec<DamagedRow>, JournalError> {
    let mut states = RunState::ALL.map(|state| state.as_str());
    states.sort_unstable();
    let between = states.iter().zip(states.iter().skip(1));
    let mut gaps: Vec<String> = between.map(|(a, b)| format!("state > '{a}' AND state < '{b}'")).collect();
    gaps.extend(states.first().map(|first| format!("state < '{first}'")));
    gaps.extend(states.last().map(|last| format!("state > '{last}'")));
    let sql = format!("SELECT {} FROM runs WHERE {}", columns(conn)?, gaps.join(" OR "));
    let mut statement = conn.prepare_cached(&sql).map_err(on_read)?;
    let mut rows = statement.query([]).map_err(on_read)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(on_read)? {
        if let Err(error) = run_row(row) {
            found.push(damaged(row, &error)?);
        }
    }
    Ok(found)
}

pub(super) fn payload(conn: &Connection, wanted: &Digest) -> Result<Option<Bytes>, JournalError> {
    match stored_payload(conn, wanted, None).map_err(on_read)? {
        Stored::Missing => Err(JournalError::PayloadMissing { digest: *wanted }),
        Stored::Changed => Err(JournalError::Changed { digest: *wanted }),
        Stored::Erased => Ok(None),
        Stored::Whole(bytes) => Ok(Some(bytes)),
    }
}

pub(super) fn salt(conn: &Connection, of: &Digest) -> Result<Option<Salt>, JournalError> {
    let found = conn
        .prepare_cached("SELECT salt FROM payloads WHERE digest = ?")
        .and_then(|mut statement| statement.query_row([of.0], |row| row.get::<_, Option<[u8; 16]>>(0)).optional());
    match found.map_err(|error| on_kept(*of, error))? {
        Some(salt) => Ok(salt.map(Salt)),
        None => Err(JournalError::PayloadMissing { digest: *of }),
    }
}

/// What is stored under a payload's digest.
pub(super) enum Stored {
    Missing,
    Changed,
    Erased,
    Whole(Bytes),
}

/// What is stored of a payload, by `of` if that is given: what is stored for another run is missing there.
pub(super) fn stored_payload(conn: &Connection, wanted: &Digest, of: Option<&RunId>) -> rusqlite::Result<Stored> {
    let mut statement = conn.prepare_cached("SELECT salt, bytes, erased, run FROM payloads WHERE digest = ?")?;
    let mut rows = statement.query([wanted.0])?;
    let Some(row) = rows.next()? else { return Ok(Stored::Missing) };
    let (erased, elsewhere) =
        (row.get_ref(1)? == ValueRef::Null, of.map(|run| bytes(row, 3).map(|of| of != run.as_str().as_bytes())));
    let elsewhere = elsewhere.transpose()?.unwrap_or(false);
    if erased {
        let marked = row.get_ref(2)? != ValueRef::Null;
        return Ok(if !marked {
            Stored::Changed
        } else if elsewhere {
            Stored::Missing
        } else {
            Stored::Erased
        });
    }
    let (salt, found) = (bytes(row, 0)?, bytes(row, 1)?);
    // What is there is not marked as gone.
    let whole = row.get_ref(2)? == ValueRef::Null
        && salt.try_into().is_ok_and(|salt| salted_digest(&Salt(salt), found) == *wanted);
    Ok(if !whole {
        Stored::Changed
    } else if elsewhere {
        Stored::Missing
    } else {
        Stored::Whole(Bytes::copy_from_slice(found))
    })
}

/// An error while something kept is read: a value that cannot be what it should be concerns that row only.
fn on_kept(digest: Digest, error: rusqlite::Error) -> JournalError {
    if is_of_value(&error) { JournalError::Changed { digest } } else { on_read(error) }
}

pub(super) fn component(conn: &Connection, wanted: &Digest) -> Result<Option<Component>, JournalError> {
    let found = conn
        .prepare_cached("SELECT ids, bytes, describe FROM components WHERE digest = ? AND bytes IS NOT NULL")
        .and_then(|mut statement| {
            let make = |row: &Row<'_>| {
                let ids = parsed(row, 0, |ids| ids.split_whitespace().map(CapabilityId::parse).collect())?;
                let bytes = Bytes::copy_from_slice(bytes(row, 1)?);
                Ok(Component { digest: *wanted, ids, bytes, describe: row.get(2)? })
            };
            statement.query_row([wanted.0], make).optional()
        })
        .map_err(|error| on_kept(*wanted, error))?;
    match found {
        Some(component) if sha256(&component.bytes) != *wanted => Err(JournalError::Changed { digest: *wanted }),
        found => Ok(found),
    }
}

pub(super) fn policy(conn: &Connection, wanted: &Digest) -> Result<Option<PolicyText>, JournalError> {
    let found = conn
        .prepare_cached("SELECT name, text FROM policies WHERE digest = ? AND text IS NOT NULL")
        .and_then(|mut statement| {
            let make = |row: &Row<'_>| Ok(PolicyText { digest: *wanted, name: row.get(0)?, text: row.get(1)? });
            statement.query_row([wanted.0], make).optional()
        })
        .map_err(|error| on_kept(*wanted, error))?;
    match found {
        Some(policy) if sha256(policy.text.as_bytes()) != *wanted => Err(JournalError::Changed { digest: *wanted }),
        found => Ok(found),
    }
}
