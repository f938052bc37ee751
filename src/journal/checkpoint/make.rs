//! Makes statements, inside the transaction that they speak of.

use std::path::PathBuf;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Checkpoint, Checkpoints, Head, HeadOfRun, PublicKey, SigningKey, Statement};
use crate::journal::chain::{self, Chain, SYSTEM};
use crate::journal::error::on_write;
use crate::journal::reader::{bytes, parsed};
use crate::journal::store::{self, int, uint};
use crate::journal::{By, JournalError, SystemEvent};
use crate::types::{Digest, RunId, Timestamp, sha256};

/// The last statement, as the writer knows it.
#[derive(Clone, Copy)]
struct Last {
    number: u64,
    digest: Option<Digest>,
    at: Timestamp,
    /// The number of its own event in the order of appending.
    event: u64,
    key: Option<PublicKey>,
}

/// Says when a statement is due, and makes it.
pub(in crate::journal) struct Notary {
    when: Checkpoints,
    key_file: PathBuf,
    key: Option<SigningKey>,
    /// None until it is looked for, and after another process wrote.
    last: Option<Last>,
    /// Since when something is not stated.
    waiting: Option<Instant>,
}

impl Notary {
    pub fn new(when: Checkpoints, key_file: PathBuf) -> Notary {
        Notary { when, key_file, key: None, last: None, waiting: None }
    }

    /// Another process wrote: what is known may be old.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// Records a new key, for which the one that signs now vouches, and signs with it from here on. Once that is durable the caller
    /// puts it into its place ([`SigningKey::put_next`]). Answers with the key before and the new one.
    pub fn rotate(&mut self, conn: &Connection, by: &By) -> Result<(PublicKey, PublicKey), JournalError> {
        let named = find_last(conn)?.key;
        let key = SigningKey::of_journal(&self.key_file, named)?;
        self.introduce(conn, &key, named, by.at)?;
        let next = SigningKey::make_next(&self.key_file)?;
        let (previous, public) = (key.public(), next.public());
        let event = SystemEvent::KeyAdded {
            key: public,
            previous: Some(previous),
            signature: Some(key.sign(public.to_string().as_bytes())),
            by: Some(by.principal.clone()),
            reason: Some(by.reason.clone()),
        };
        store::record(conn, by.at, event)?;
        (self.key, self.last) = (Some(next), None);
        Ok((previous, public))
    }

    /// Records a key that is not the one that signed last. Nobody vouches for it.
    fn introduce(
        &self,
        conn: &Connection,
        key: &SigningKey,
        named: Option<PublicKey>,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        if named == Some(key.public()) {
            return Ok(());
        }
        if let Some(named) = named {
            let key = key.public();
            tracing::warn!(
                "checkpoints are signed by {key} from now on, for which {named}, which signed before, does not vouch"
            );
        }
        let event =
            SystemEvent::KeyAdded { key: key.public(), previous: None, signature: None, by: None, reason: None };
        store::record(conn, at, event)
    }

    /// How long until a statement is due although nothing more is written.
    pub fn patience(&self) -> Option<std::time::Duration> {
        self.waiting.map(|since| self.when.every.as_std().saturating_sub(since.elapsed()))
    }

    /// Makes a statement if one is due, or if anything is not stated and `now` says so. True if one was made.
    pub fn attend(&mut self, conn: &Connection, now: bool) -> Result<bool, JournalError> {
        let events = store::last(conn).map_err(on_write)?;
        let last = match self.last {
            Some(last) => last,
            None => *self.last.insert(find_last(conn)?),
        };
        let unstated = events.saturating_sub(last.event);
        if unstated == 0 {
            self.waiting = None;
            return Ok(false);
        }
        let since = self.waiting.get_or_insert_with(Instant::now).elapsed();
        let at = time_of(conn, events)?;
        let late = since >= self.when.every.as_std() || (last.number > 0 && at.since(last.at) >= self.when.every);
        if !now && !late && unstated < self.when.every_events {
            return Ok(false);
        }
        self.make(conn, last, at)?;
        self.waiting = None;
        Ok(true)
    }

    fn make(&mut self, conn: &Connection, last: Last, at: Timestamp) -> Result<(), JournalError> {
        if last.key.is_some() && self.key.as_ref().map(SigningKey::public) != last.key {
            self.key = None;
        }
        let key = match self.key.take() {
            Some(key) => key,
            None => SigningKey::of_journal(&self.key_file, last.key)?,
        };
        self.introduce(conn, &key, last.key, at)?;
        let system = store::head(conn, &Chain::System)?;
        let statement = Statement {
            schema: 1,
            number: last.number + 1,
            at,
            key: key.public(),
            previous: last.digest,
            events: store::last(conn).map_err(on_write)?,
            system: Head { seq: system.seq, hash: system.hash },
            runs: moved_since(conn, last.event)?,
        };
        let kind = "CHECKPOINT";
        let bytes = statement.canonical().map_err(|error| JournalError::NotCanonical { kind, error })?;
        let signature = key.sign(&bytes);
        let (number, digest) = (statement.number, Some(sha256(&bytes)));
        store::record(conn, at, SystemEvent::Checkpoint(Checkpoint { statement, signature }))?;
        let event = store::last(conn).map_err(on_write)?;
        self.last = Some(Last { number, digest, at, event, key: Some(key.public()) });
        self.key = Some(key);
        Ok(())
    }
}

/// The most heads that one statement lists.
const MOST_HEADS: usize = 10_000;

/// The heads of the runs with events after the event `after` in the order of appending. If those are very many, as in the first
/// statement of an old journal, only those of the runs that go on: where the others were closed stands in the system chain.
fn moved_since(conn: &Connection, after: u64) -> Result<Vec<HeadOfRun>, JournalError> {
    let moved = heads_of(conn, after, "")?;
    if moved.len() <= MOST_HEADS {
        return Ok(moved);
    }
    heads_of(conn, after, "AND chain IN (SELECT run FROM runs WHERE closed IS NULL)")
}

fn heads_of(conn: &Connection, after: u64, which: &str) -> Result<Vec<HeadOfRun>, JournalError> {
    // Of each group SQLite takes the other columns from the row of its maximum.
    let sql = format!(
        "SELECT chain, max(seq), hash FROM events WHERE id > ? AND chain <> 'system' {which} GROUP BY chain ORDER BY chain"
    );
    let mut statement = conn.prepare_cached(&sql).map_err(on_write)?;
    let heads = statement
        .query_map([int(after)], |row| {
            let run = parsed(row, 0, RunId::parse);
            Ok((run, row.get::<_, i64>(1), row.get(2)))
        })
        .map_err(on_write)?;
    let mut found = Vec::new();
    for head in heads {
        // What is no chain of a run, or has no hash, is `audit verify`'s to tell: it keeps nobody from writing.
        if let (Ok(run), Ok(seq), Ok(hash)) = head.map_err(on_write)? {
            found.push(HeadOfRun { run, seq: uint(seq), hash: Digest(hash) });
        }
    }
    Ok(found)
}

/// When an event happened, by its place in the order of appending.
fn time_of(conn: &Connection, event: u64) -> Result<Timestamp, JournalError> {
    // A body begins with its time, and may be long.
    let begin: Option<Vec<u8>> = conn
        .prepare_cached("SELECT CAST(substr(body, 1, 32) AS BLOB) FROM events WHERE id = ?")
        .and_then(|mut statement| statement.query_row([int(event)], |row| row.get(0)).optional())
        .map_err(on_write)?;
    let digits = begin.as_deref().and_then(|begin| begin.strip_prefix(br#"{"at":"#)).unwrap_or_default();
    let digits: Vec<u8> = digits.iter().copied().take_while(u8::is_ascii_digit).collect();
    Ok(Timestamp(String::from_utf8_lossy(&digits).parse().unwrap_or(0)))
}

/// The last statement in the system chain.
fn find_last(conn: &Connection) -> Result<Last, JournalError> {
    let none = || Ok(Last { number: 0, digest: None, at: Timestamp(0), event: 0, key: current_key(conn, 0)? });
    let found: Option<(i64, i64, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT id, seq, body FROM events WHERE chain = ? AND instr(body, ?) > 0 ORDER BY seq DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, bytes(row, 2)?.to_vec()));
            statement.query_row(params![SYSTEM, super::KIND], row).optional()
        })
        .map_err(on_write)?;
    let Some((event, seq, body)) = found else { return none() };
    let seq = uint(seq);
    // One that cannot be read is `audit verify`'s to tell. It keeps nobody from writing, and so from rolling back.
    let Ok((at, SystemEvent::Checkpoint(Checkpoint { statement, .. }))) = chain::decode(SYSTEM, seq, &body) else {
        return none();
    };
    let Ok(digest) = statement.digest() else { return none() };
    let (number, key) = (statement.number, current_key(conn, seq)?.or(Some(statement.key)));
    Ok(Last { number, digest: Some(digest), at, event: uint(event), key })
}

/// The key that was added after the event `seq` of the system chain, if one was.
fn current_key(conn: &Connection, seq: u64) -> Result<Option<PublicKey>, JournalError> {
    let found: Option<(i64, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT seq, body FROM events WHERE chain = ? AND seq > ? AND instr(body, ?) > 0 ORDER BY seq DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            let kind = br#""kind":"KEY_ADDED""#.as_slice();
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, bytes(row, 1)?.to_vec()));
            statement.query_row(params![SYSTEM, int(seq), kind], row).optional()
        })
        .map_err(on_write)?;
    let Some((seq, body)) = found else { return Ok(None) };
    match chain::decode::<SystemEvent>(SYSTEM, uint(seq), &body) {
        Ok((_, SystemEvent::KeyAdded { key, .. })) => Ok(Some(key)),
        _ => Ok(None),
    }
}
