//! Where the chains of runs end, as the writer knows it, and the rows that are to follow them.
//!
//! The end of a chain is read once, and known from then on for as long as no other process commits anything: SQLite says so. The rows
//! of the table of runs are moved once a transaction, however many appends are in it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::chain::{Chain, Walk};
use super::error::on_write;
use super::{JournalError, Summary, store};
use crate::saga::RunState;
use crate::types::{RunId, Timestamp};

/// How many runs are known at most between two transactions.
const MOST: usize = 4_096;

/// What is known of a run.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The epoch of its owner.
    pub epoch: u64,
    /// The end of its chain.
    pub head: Walk,
}

#[derive(Debug, Default)]
pub(super) struct Heads {
    /// What SQLite said when a transaction began last.
    version: Option<i64>,
    known: HashMap<RunId, Known>,
    /// Runs whose rows are behind.
    behind: BTreeMap<RunId, News>,
}

/// What a row is to say besides where its chain ends.
#[derive(Debug, Default)]
struct News {
    /// The run's state, if that changed.
    state: Option<RunState>,
    /// When the run is due, if that is known.
    due: Option<Timestamp>,
}

impl Heads {
    /// A transaction that nobody can write beside has begun.
    /// True if nobody else has written since the last one.
    pub fn begin(&mut self, conn: &Connection) -> Result<bool, JournalError> {
        let version = conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
            .map_err(on_write)?;
        let alone = self.version.replace(version) == Some(version);
        if !alone || self.known.len() > MOST {
            self.known.clear();
        }
        Ok(alone)
    }

    /// A run's end and epoch.
    pub fn of(&self, conn: &Connection, run: &RunId) -> Result<Known, JournalError> {
        if let Some(known) = self.known.get(run) {
            return Ok(known.clone());
        }
        let row = store::position(conn, run)?;
        let chain = Chain::Run(run.clone());
        let head = store::head(conn, &chain)?;
        row.agrees_with(&chain, &head)?;
        Ok(Known { epoch: row.epoch, head })
    }

    /// A request ended well and left a run so; `summary` is what its author said of it. Called last, since nothing takes it back.
    pub fn moved(&mut self, run: &RunId, known: Known, summary: Option<&Summary>) {
        let behind = self.behind.entry(run.clone()).or_default();
        behind.state = summary.map(|summary| summary.state).or(behind.state);
        behind.due = summary.and_then(|summary| summary.due_after(known.head.seq));
        self.known.insert(run.clone(), known);
    }

    /// Nothing more will be appended to a run by this process.
    pub fn forget(&mut self, run: &RunId) {
        self.known.remove(run);
    }

    /// Moves the rows that are behind. Called before each commit.
    pub fn write_rows(&mut self, conn: &Connection) -> Result<(), JournalError> {
        for (run, News { state, due }) in std::mem::take(&mut self.behind) {
            let head = self.of(conn, &run)?.head;
            store::move_row(conn, &run, &head, state, due)?;
        }
        Ok(())
    }
}
