//! What the events of the system chain say of other chains, of what is kept, and of each other.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Fault, Verifier};
use crate::journal::chain::{SYSTEM, Walk};
use crate::journal::checkpoint::{Checkpoint, HeadOfRun, PublicKey, Statement};
use crate::journal::reader::bytes;
use crate::journal::store::{int, joined, uint};
use crate::journal::{Flaw, HeadAt, SystemEvent};
use crate::types::{Digest, RunId, sha256};

/// Statements that are kept elsewhere, and the key from which on others vouch for each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held<'a> {
    /// The statements, in any order.
    pub checkpoints: &'a [Checkpoint],
    /// The key. Without one those are taken that the journal itself names.
    pub key: Option<PublicKey>,
}

/// The same statements by their places.
#[derive(Default)]
pub(super) struct HeldByPlace<'a> {
    pub all: &'a [Checkpoint],
    by_number: BTreeMap<u64, Vec<&'a Checkpoint>>,
    by_system: BTreeMap<u64, Vec<&'a Checkpoint>>,
}

impl<'a> HeldByPlace<'a> {
    pub fn of(all: &'a [Checkpoint]) -> HeldByPlace<'a> {
        let mut held = HeldByPlace { all, ..HeldByPlace::default() };
        for one in all {
            held.by_number.entry(one.statement.number).or_default().push(one);
            held.by_system.entry(one.statement.system.seq).or_default().push(one);
        }
        held
    }
}

/// What the statements of the system chain have said so far.
#[derive(Default)]
pub(super) struct Statements {
    /// The last one's number and digest.
    last: Option<(u64, Digest)>,
    /// Its place in the order of appending.
    pub event: u64,
    /// The keys, oldest first; whether the one before vouches for it.
    pub keys: Vec<(PublicKey, bool)>,
    /// The event that a statement must follow on.
    open: Option<u64>,
    /// Whether a run was closed that no statement followed yet: one is made with it.
    closed: bool,
}

impl Verifier<'_> {
    /// Looks at one event of the system chain. `before` is the event before it with its hash; `place` its own number, and that in the
    /// order of appending.
    pub(super) fn system_event(
        &mut self,
        before: (u64, Digest),
        place: (u64, i64),
        event: SystemEvent,
    ) -> rusqlite::Result<Option<Fault>> {
        let (conn, seq) = (self.conn, place.0);
        if let Some(open) = self.statements.open
            && !matches!(event, SystemEvent::Checkpoint(_) | SystemEvent::KeyAdded { .. })
        {
            return Ok(Some((open, Flaw::NotStated)));
        }
        let (digest, flaw) = match event {
            SystemEvent::RunHead { run, seq: head, hash, at } => {
                let agrees = note_head(conn, (&run, head, &hash), seq)?;
                if at == HeadAt::Close {
                    conn.prepare_cached("UPDATE temp.heads SET closed = 1 WHERE run = ? AND seq = ?")?
                        .execute(params![run.as_str(), int(head)])?;
                    if !self.statements.keys.is_empty() {
                        self.statements.closed = true;
                    }
                }
                return Ok((!agrees).then_some((seq, Flaw::Statement("of a head contradicts an earlier one"))));
            }
            SystemEvent::Refused { .. }
            | SystemEvent::Adopted { .. }
            | SystemEvent::TokenAdded { .. }
            | SystemEvent::TokenRevoked { .. } => return Ok(None),
            SystemEvent::KeyAdded { key, previous, signature, .. } => {
                let current = self.statements.keys.last().map(|(key, _)| *key);
                let vouched = match (previous, signature) {
                    (None, None) => false,
                    (Some(previous), Some(signature)) => {
                        let fits = previous.verifies(key.to_string().as_bytes(), &signature);
                        if !fits || current != Some(previous) {
                            return Ok(Some((seq, Flaw::Key)));
                        }
                        true
                    }
                    (None, Some(_)) | (Some(_), None) => return Ok(Some((seq, Flaw::Key))),
                };
                let trusted =
                    self.key.is_some_and(|given| self.statements.keys.iter().any(|(known, _)| *known == given));
                if trusted && !vouched {
                    return Ok(Some((seq, Flaw::Unvouched)));
                }
                self.statements.keys.push((key, vouched));
                self.statements.open.get_or_insert(seq);
                return Ok(None);
            }
            SystemEvent::Checkpoint(checkpoint) => return self.checkpoint(before, place, &checkpoint),
            SystemEvent::Erased { run, payloads, .. } => {
                self.any_erased = true;
                for digest in payloads {
                    conn.prepare_cached("INSERT OR IGNORE INTO temp.erased VALUES (?, ?)")?
                        .execute(params![digest.0, run.as_str()])?;
                }
                self.statements.open.get_or_insert(seq);
                return Ok(None);
            }
            SystemEvent::Pruned { runs, .. } => {
                self.statements.open.get_or_insert(seq);
                for head in runs {
                    if !was_closed_with(conn, &head)? {
                        return Ok(Some((seq, Flaw::NotClosed(head.run))));
                    }
                    let values = params![head.run.as_str(), int(head.seq), head.hash.0, int(seq)];
                    conn.prepare_cached("INSERT OR IGNORE INTO temp.pruned VALUES (?, ?, ?, ?)")?.execute(values)?;
                    self.verified.pruned += 1;
                }
                return Ok(None);
            }
            SystemEvent::ComponentAdded { digest, ids, describe } => {
                (digest, kept_component(conn, &digest, &joined(&ids), describe.as_ref())?)
            }
            SystemEvent::PolicyLoaded { digest, name } => (digest, kept_policy(conn, &digest, &name)?),
        };
        conn.prepare_cached("INSERT OR IGNORE INTO temp.named VALUES (?)")?.execute([digest.0])?;
        Ok(flaw.map(|flaw| (seq, flaw)))
    }

    /// A statement must follow from what is before it.
    fn checkpoint(
        &mut self,
        before: (u64, Digest),
        (seq, id): (u64, i64),
        checkpoint: &Checkpoint,
    ) -> rusqlite::Result<Option<Fault>> {
        let Statement { schema, number, previous, key, system, events, runs, .. } = &checkpoint.statement;
        let said = &mut self.statements;
        let expected = (said.last.map_or(1, |(number, _)| number + 1), said.last.map(|(_, digest)| digest));
        let wrong = if *schema != 1 {
            Some("is of another form than this program knows")
        } else if (*number, *previous) != expected {
            Some("does not follow the one before")
        } else if said.keys.last().map(|(key, _)| key) != Some(key) {
            Some("names a key that does not sign here")
        } else if !checkpoint.is_signed() {
            Some("has a signature that is not of its key")
        } else if (system.seq, system.hash) != before || events + 1 != uint(id) {
            Some("speaks of another end of the system chain")
        } else {
            None
        };
        let Ok(digest) = checkpoint.statement.digest() else {
            return Ok(Some((seq, Flaw::Statement("cannot be read"))));
        };
        if let Some(wrong) = wrong {
            return Ok(Some((seq, Flaw::Statement(wrong))));
        }
        (said.last, said.event, said.open, said.closed) = (Some((*number, digest)), uint(id), None, false);
        let of_it = self.held.by_number.get(number).into_iter().flatten();
        if of_it.into_iter().any(|held| held.statement != checkpoint.statement) {
            return Ok(Some((seq, Flaw::Held { number: *number, agreed: None })));
        }
        self.verified.checkpoints += 1;
        for head in runs {
            if !note_head(self.conn, (&head.run, head.seq, &head.hash), seq)? {
                return Ok(Some((seq, Flaw::Statement("of a head contradicts an earlier one"))));
            }
        }
        Ok(None)
    }

    /// Compares an event of the system chain with what statements say that are kept elsewhere.
    pub(super) fn held_head(&self, walk: &Walk) -> Option<Fault> {
        let of_it = self.held.by_system.get(&walk.seq)?;
        let other = of_it.iter().find(|held| held.statement.system.hash != walk.hash)?;
        let agreed = self.held.by_system.range(..walk.seq).next_back().map(|(seq, _)| *seq);
        Some((walk.seq, Flaw::Held { number: other.statement.number, agreed }))
    }

    /// Notes what statements that are kept elsewhere say of runs, once the system chain was walked to its end; `whole` if that is where
    /// it ends, and not its first bad place.
    pub(super) fn judge_held(&mut self, end: &Walk, whole: bool) -> rusqlite::Result<()> {
        let conn = self.conn;
        let mut faults = Vec::new();
        for held in self.held.all {
            let Statement { number, key, system, runs, .. } = &held.statement;
            // Its own event is there, too: it was handed over after that was durable.
            if system.seq >= end.seq {
                faults.extend(whole.then_some((end.seq + 1, Flaw::Behind { number: *number })));
            } else if !self.statements.keys.iter().any(|(known, _)| known == key) {
                faults.push((0, Flaw::Stranger { number: *number }));
            } else {
                self.verified.extends += 1;
            }
            for head in runs {
                let values = params![head.run.as_str(), int(head.seq), head.hash.0, int(*number)];
                conn.prepare_cached("INSERT OR IGNORE INTO temp.held VALUES (?, ?, ?, ?)")?.execute(values)?;
            }
        }
        let Statements { open, closed, .. } = &self.statements;
        // Where a closed run should be stated is after it.
        if let (true, Some(open)) = (whole, open.or(closed.then_some(end.seq + 1))) {
            faults.push((open, Flaw::NotStated));
        }
        if let Some(given) = self.key
            && whole
            && !self.statements.keys.iter().any(|(known, _)| *known == given)
        {
            faults.push((0, Flaw::NotTheKey));
        }
        for fault in faults {
            self.found(SYSTEM, fault);
        }
        Ok(())
    }
}

/// Notes where a run's chain was; false if another hash was noted for that place.
fn note_head(conn: &Connection, (run, seq, hash): (&RunId, u64, &Digest), at: u64) -> rusqlite::Result<bool> {
    let known = conn
        .prepare_cached("SELECT hash FROM temp.heads WHERE run = ? AND seq = ?")?
        .query_row(params![run.as_str(), int(seq)], |row| Ok(bytes(row, 0)? == hash.0))
        .optional()?;
    if let Some(same) = known {
        return Ok(same);
    }
    conn.prepare_cached("INSERT INTO temp.heads (run, seq, hash, at) VALUES (?, ?, ?, ?)")?.execute(params![
        run.as_str(),
        int(seq),
        hash.0,
        int(at)
    ])?;
    Ok(true)
}

/// Whether the last head that was noted of a run is this one, and was noted when it was closed.
fn was_closed_with(conn: &Connection, head: &HeadOfRun) -> rusqlite::Result<bool> {
    let last = conn
        .prepare_cached("SELECT seq, hash, closed FROM temp.heads WHERE run = ? ORDER BY seq DESC LIMIT 1")?
        .query_row([head.run.as_str()], |row| {
            let same = uint(row.get(0)?) == head.seq && bytes(row, 1)? == head.hash.0;
            Ok(same && row.get::<_, Option<i64>>(2)? == Some(1))
        })
        .optional()?;
    Ok(last == Some(true))
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
