//! The tables, and how a database file becomes a journal.
//!
//! In this order: (1) look at the file without changing it: not a database, of another program, damaged, or newer is an error;
//! (2) settings that hold only if they come first, `page_size` before WAL; (3) WAL and full synchronisation, and check that
//! SQLite took them; (4) the missing migrations, each in one transaction.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::JournalError;
use super::error::on_write;

/// `RDRS`, in the header of the file.
const APPLICATION: i64 = 0x5244_5253;

/// `RDRB`, in the header of a backup: it is read like a journal, and not written.
const BACKUP: i64 = 0x5244_5242;

/// One a schema version, oldest first; one that was released is never changed.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        chain TEXT NOT NULL,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL,
        hash BLOB NOT NULL,
        UNIQUE (chain, seq)
    );
    CREATE TABLE payloads (
        digest BLOB PRIMARY KEY NOT NULL,
        run TEXT NOT NULL,
        salt BLOB,
        bytes BLOB,
        erased INTEGER
    );
    CREATE INDEX payloads_by_run ON payloads (run);
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        workflow TEXT NOT NULL,
        principal TEXT NOT NULL,
        state TEXT NOT NULL,
        submitted INTEGER NOT NULL,
        closed INTEGER,
        run_key TEXT UNIQUE,
        epoch INTEGER NOT NULL,
        owner TEXT NOT NULL,
        seq INTEGER NOT NULL,
        head BLOB NOT NULL
    );
    CREATE INDEX runs_by_state ON runs (state);
    CREATE INDEX runs_open ON runs (id) WHERE closed IS NULL;
    CREATE TABLE components (
        digest BLOB PRIMARY KEY NOT NULL,
        ids TEXT NOT NULL,
        bytes BLOB,
        describe TEXT NOT NULL
    );
    CREATE TABLE policies (
        digest BLOB PRIMARY KEY NOT NULL,
        name TEXT NOT NULL,
        text TEXT
    );
",
    "
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY,
        message TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        run TEXT NOT NULL,
        step TEXT NOT NULL,
        body BLOB NOT NULL,
        created INTEGER NOT NULL,
        tries INTEGER NOT NULL,
        tried INTEGER,
        status INTEGER,
        failure TEXT,
        due INTEGER,
        claimed TEXT,
        ended TEXT
    );
    CREATE INDEX outbox_due ON outbox (due, id) WHERE due IS NOT NULL;
",
    "
    ALTER TABLE runs ADD COLUMN due INTEGER;
    DROP INDEX runs_by_state;
    CREATE INDEX runs_by_state ON runs (state, id, due);
",
];

/// The newest schema version.
pub(super) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// The schema version from which a run's row says when it is due.
const DUE: i64 = 3;

/// The oldest schema version that is read as it is: those after it only added a table and a column.
const OLDEST_READABLE: i64 = 1;

/// What a database file is.
enum Content {
    Nothing,
    Journal(i64),
    /// A copy of one.
    Backup(i64),
}

/// A connection that writes. With `create`, an empty file becomes a journal.
pub(super) fn open_writer(path: &Path, busy: Duration, create: bool) -> Result<Connection, JournalError> {
    let mut conn = connect(path, busy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match examine(&conn, path)? {
        Content::Nothing if !create => return Err(JournalError::Empty { path: path.to_owned() }),
        Content::Backup(_) => return Err(JournalError::Backup { path: path.to_owned() }),
        Content::Nothing | Content::Journal(_) => {}
    }
    settle(&conn).map_err(on_write)?;
    switch_log_on(&conn, busy)?;
    migrate(&mut conn, APPLICATION).map_err(on_write)?;
    Ok(conn)
}

/// Switches the write-ahead log on, which is done once in the life of a file.
///
/// It needs the file for itself. Of several processes that open a new file at once each holds what the other needs, so SQLite lets
/// them fail at once instead of waiting; they give up what they hold and try again for as long as anything else is waited for.
fn switch_log_on(conn: &Connection, busy: Duration) -> Result<(), JournalError> {
    const PAUSE: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    let mode = loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && begun.elapsed() < busy =>
            {
                std::thread::sleep(PAUSE);
            }
            answer => break answer.map_err(on_write)?,
        }
    };
    if mode == "wal" {
        return Ok(());
    }
    Err(JournalError::Fatal(format!("the write-ahead log cannot be switched on here, the mode stays `{mode}`")))
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path, busy: Duration) -> Result<Connection, JournalError> {
    connect(path, busy, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Whether a run's row says when it is due: a journal that is only read may be older.
pub(super) fn knows_due(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached("PRAGMA user_version")?.query_row([], |row| Ok(row.get::<_, i64>(0)? >= DUE))
}

/// Checks, without changing anything, that a file is a journal that this program can read.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<(), JournalError> {
    let path = path.to_owned();
    match examine(conn, &path)? {
        Content::Nothing => Err(JournalError::Empty { path }),
        Content::Journal(version) | Content::Backup(version) if version < OLDEST_READABLE => {
            Err(JournalError::NotAJournal { path, what: format!("its schema version is {version}") })
        }
        Content::Journal(_) | Content::Backup(_) => Ok(()),
    }
}

/// Refuses a backup beside the log of another journal: SQLite would replay that log into it, and make it the other one again.
fn refuse_strange_log(path: &Path) -> Result<(), JournalError> {
    for log in ["-wal", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(log);
        let log = PathBuf::from(name);
        if log.metadata().is_ok_and(|file| file.len() > 0) && is_backup_without_its_log(path) {
            return Err(JournalError::StrangeLog { path: path.to_owned(), log });
        }
    }
    Ok(())
}

/// Whether a file says of itself that it is a backup, whatever a log beside it says.
///
/// SQLite is asked, as of a file that never changes, instead of the file: whoever closes a file of its own gives up every lock
/// that the process has on it, and then the next process that ends takes the log away from under the one that goes on. SQLite
/// keeps such a file open until its locks are released.
fn is_backup_without_its_log(path: &Path) -> bool {
    let uri = uri_of(path) + "?immutable=1";
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let application = Connection::open_with_flags(uri, flags)
        .and_then(|conn| conn.query_row("PRAGMA application_id", [], |row| row.get::<_, i64>(0)));
    // What cannot be read is told by whoever opens it in earnest.
    application == Ok(BACKUP)
}

/// A path as SQLite takes it where a path may have options. A path from the root needs two more slashes, or its first name is a host.
fn uri_of(path: &Path) -> String {
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "file:" });
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(byte)),
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri
}

fn connect(path: &Path, busy: Duration, mode: OpenFlags) -> Result<Connection, JournalError> {
    refuse_strange_log(path)?;
    let not_opened =
        |error: rusqlite::Error| JournalError::NotAJournal { path: path.to_owned(), what: error.to_string() };
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(not_opened)?;
    conn.busy_timeout(busy).map_err(not_opened)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn examine(conn: &Connection, path: &Path) -> Result<Content, JournalError> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let wrong = |what: String| JournalError::NotAJournal { path: path.to_owned(), what };
    let damaged = |what: String| JournalError::Damaged { path: path.to_owned(), what };
    let unread = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => damaged(error.to_string()),
        _ => wrong(error.to_string()),
    };
    // As of one moment: another process may be making a journal of it right now.
    let _moment = conn.unchecked_transaction().map_err(unread)?;
    let version = number("PRAGMA user_version").map_err(unread)?;
    let application = number("PRAGMA application_id").map_err(unread)?;
    let tables = number("SELECT count(*) FROM sqlite_master").map_err(unread)?;
    if tables == 0 && version == 0 {
        return Ok(Content::Nothing);
    }
    if application != APPLICATION && application != BACKUP {
        return Err(wrong("it is a database of another program".to_owned()));
    }
    if version > NEWEST {
        return Err(JournalError::Newer { path: path.to_owned(), found: version, known: NEWEST });
    }
    let found: String =
        conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| damaged(error.to_string()))?;
    match found.as_str() {
        "ok" if application == BACKUP => Ok(Content::Backup(version)),
        "ok" => Ok(Content::Journal(version)),
        _ => Err(damaged(found)),
    }
}

/// Says in the file itself that it is a backup.
pub(super) fn mark_as_backup(path: &Path) -> Result<(), JournalError> {
    let conn = connect(path, Duration::ZERO, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "application_id", BACKUP).map_err(on_write)
}

/// Takes that back.
pub(super) fn mark_as_journal(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "application_id", APPLICATION)
}

/// A connection that writes to a backup of the newest schema version; the only one there is.
pub(super) fn open_backup(path: &Path) -> Result<Connection, JournalError> {
    let mut conn = connect(path, Duration::ZERO, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match examine(&conn, path)? {
        Content::Backup(_) => {}
        Content::Nothing | Content::Journal(_) => {
            let what = "it is not a backup: there is nothing to adopt".to_owned();
            return Err(JournalError::NotAJournal { path: path.to_owned(), what });
        }
    }
    settle(&conn).map_err(on_write)?;
    migrate(&mut conn, BACKUP).map_err(on_write)?;
    Ok(conn)
}

fn settle(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
         PRAGMA journal_size_limit = 67108864;",
    )
}

fn migrate(conn: &mut Connection, application: i64) -> rusqlite::Result<()> {
    loop {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let Some(migration) = usize::try_from(version).ok().and_then(|done| MIGRATIONS.get(done)) else {
            return tx.rollback();
        };
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "application_id", application)?;
        tx.pragma_update(None, "user_version", version + 1)?;
        tx.commit()?;
    }
}
