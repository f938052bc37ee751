//! The outbox: messages for people, stored in the same commit as the events that cause them.
//!
//! A message is claimed before it is sent, by a process with an owner file, and what came of it is noted after. A claim counts
//! as long as its owner lives, as with runs; whoever takes a claim from a dead owner holds that owner's guard. The outbox is
//! no part of a chain: it says what was told to whom, and the chains say what happened.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::JournalError;
use super::error::{on_read, on_write};
use super::reader::parsed;
use super::store::{int, uint};
use crate::types::{RunId, StepName, Timestamp};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A step waits for votes.
    ApprovalRequired,
    /// The undo of a step failed for good.
    RunStuck,
}

impl MessageKind {
    /// The word in messages and in the delivery log.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::ApprovalRequired => "approval_required",
            MessageKind::RunStuck => "run_stuck",
        }
    }

    fn parse(word: &str) -> Option<MessageKind> {
        [MessageKind::ApprovalRequired, MessageKind::RunStuck].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A message as it is put into the outbox. It is due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same in every try.
    pub id: String,
    /// What it is about.
    pub kind: MessageKind,
    /// The step that it is about.
    pub step: StepName,
    /// When it was made.
    pub at: Timestamp,
    /// What is sent, byte for byte.
    pub body: Bytes,
}

/// What came back from one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The status of an HTTP response.
    Status(u16),
    /// No response, and why.
    Failed(String),
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The receiver took it.
    Delivered,
    /// The receiver wants no more of them.
    Refused,
    /// It was tried for as long as messages are.
    GivenUp,
}

impl Ended {
    /// The word in the delivery log.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Delivered => "delivered",
            Ended::Refused => "refused",
            Ended::GivenUp => "given_up",
        }
    }

    fn parse(word: &str) -> Option<Ended> {
        [Ended::Delivered, Ended::Refused, Ended::GivenUp].into_iter().find(|ended| ended.as_str() == word)
    }
}

/// What becomes of a message after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is tried again at this time.
    Again(Timestamp),
    /// It is not tried again.
    End(Ended),
}

/// One try, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// When it ended.
    pub at: Timestamp,
    /// What came back.
    pub answer: Answer,
    /// What follows.
    pub then: Then,
}

/// A message in the delivery log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub kind: MessageKind,
    /// The run that it is about.
    pub run: RunId,
    /// The step that it is about.
    pub step: StepName,
    /// When it was made.
    pub created: Timestamp,
    /// How many tries have ended.
    pub tries: u32,
    /// When the last of them ended, and what came back.
    pub last: Option<(Timestamp, Answer)>,
    /// When it is tried next; none once it has ended.
    pub due: Option<Timestamp>,
    /// The owner that is sending it, or died while it did.
    pub claimed: Option<String>,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// Which messages are listed, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages<'a> {
    /// All of them, newest first, those after `before` if there is one.
    Log {
        /// The last message of the page before.
        before: Option<&'a str>,
    },
    /// Those that have not ended, in the order in which they are due.
    Waiting,
}

/// Takes a message for an owner, if it still is as the row says.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub id: String,
    pub tries: u32,
    pub held: Option<String>,
    pub owner: String,
}

/// Puts messages of a run into the outbox.
pub(super) fn add(conn: &Connection, run: &RunId, messages: &[Message]) -> Result<(), JournalError> {
    for Message { id, kind, step, at, body } in messages {
        conn.prepare_cached(
            "INSERT INTO outbox (message, kind, run, step, body, created, tries, due) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        )
        .and_then(|mut statement| {
            let at = int(at.0);
            statement.execute(params![id, kind.as_str(), run.as_str(), step.as_str(), body.as_ref(), at, at])
        })
        .map_err(on_write)?;
    }
    Ok(())
}

/// The bytes of a message that is claimed now; none if it is not as the claim expects.
pub(super) fn claim(conn: &Connection, claim: &Claim) -> Result<Option<Bytes>, JournalError> {
    let Claim { id, tries, held, owner } = claim;
    conn.prepare_cached(
        "UPDATE outbox SET claimed = ? WHERE message = ? AND tries = ? AND claimed IS ? AND due IS NOT NULL RETURNING body",
    )
    .and_then(|mut statement| {
        let body = |row: &Row<'_>| row.get::<_, Vec<u8>>(0).map(Bytes::from);
        statement.query_row(params![owner, id, tries, held], body).optional()
    })
    .map_err(on_write)
}

/// Notes a try of the owner that holds the claim, and gives the claim up. False if it does not hold it.
pub(super) fn note(conn: &Connection, id: &str, owner: &str, tried: &Tried) -> Result<bool, JournalError> {
    let (status, failure) = match &tried.answer {
        Answer::Status(status) => (Some(*status), None),
        Answer::Failed(why) => (None, Some(why)),
    };
    let (due, ended) = match tried.then {
        Then::Again(due) => (Some(int(due.0)), None),
        Then::End(ended) => (None, Some(ended.as_str())),
    };
    conn.prepare_cached(
        "UPDATE outbox SET tries = tries + 1, tried = ?, status = ?, failure = ?, due = ?, ended = ?, claimed = NULL
         WHERE message = ? AND claimed = ?",
    )
    .and_then(|mut statement| statement.execute(params![int(tried.at.0), status, failure, due, ended, id, owner]))
    .map(|changed| changed == 1)
    .map_err(on_write)
}

/// Up to `limit` messages. None in a journal of a version before there was an outbox.
pub(super) fn list(conn: &Connection, which: Messages<'_>, limit: usize) -> Result<Vec<MessageRow>, JournalError> {
    let rows = || -> rusqlite::Result<Vec<MessageRow>> {
        if !conn.prepare_cached("SELECT 1 FROM sqlite_master WHERE name = 'outbox'")?.exists([])? {
            return Ok(Vec::new());
        }
        let columns = "message, kind, run, step, created, tries, tried, status, failure, due, claimed, ended";
        let (rest, before) = match which {
            Messages::Waiting => ("due IS NOT NULL AND ?1 IS NULL ORDER BY due, id LIMIT ?2", None),
            Messages::Log { before } => {
                ("?1 IS NULL OR id < (SELECT id FROM outbox WHERE message = ?1) ORDER BY id DESC LIMIT ?2", before)
            }
        };
        let mut statement = conn.prepare_cached(&format!("SELECT {columns} FROM outbox WHERE {rest}"))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement.query_map(params![before, limit], row)?.collect()
    };
    rows().map_err(on_read)
}

pub(super) fn count_waiting(conn: &Connection) -> Result<u64, JournalError> {
    let count = || -> rusqlite::Result<i64> {
        if !conn.prepare_cached("SELECT 1 FROM sqlite_master WHERE name = 'outbox'")?.exists([])? {
            return Ok(0);
        }
        conn.prepare_cached("SELECT count(*) FROM outbox WHERE due IS NOT NULL")?.query_row([], |row| row.get(0))
    };
    count().map(uint).map_err(on_read)
}

fn row(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    let time = |number| Timestamp(uint(number));
    let word = |index| row.get::<_, Option<String>>(index);
    let tried = row.get::<_, Option<i64>>(6)?.map(time);
    let answer = match row.get::<_, Option<u16>>(7)? {
        Some(status) => Answer::Status(status),
        None => Answer::Failed(word(8)?.unwrap_or_default()),
    };
    Ok(MessageRow {
        id: row.get(0)?,
        kind: parsed(row, 1, |word| MessageKind::parse(word).ok_or(UnknownWord))?,
        run: parsed(row, 2, RunId::parse)?,
        step: parsed(row, 3, StepName::parse)?,
        created: time(row.get(4)?),
        tries: row.get(5)?,
        last: tried.map(|at| (at, answer)),
        due: row.get::<_, Option<i64>>(9)?.map(time),
        claimed: word(10)?,
        ended: match word(11)? {
            Some(_) => Some(parsed(row, 11, |word| Ended::parse(word).ok_or(UnknownWord))?),
            None => None,
        },
    })
}

#[derive(Debug, thiserror::Error)]
#[error("a word that this program does not know")]
struct UnknownWord;
