//! The tables, and how a database file becomes a journal.
//!
//! In this order: (1) look at the file without changing it: not a database, of another program, damaged, or newer is an error;
//! (2) settings that hold only if they come first, `page_size` before WAL; (3) WAL and full synchronisation, and check that
//! SQLite took them; (4) the missing migrations, each in one transaction.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior};
use rustix::fs::{Access, access};

use super::error::{on_file, on_read, on_write};
use super::reader::bytes;
use super::store::{last, uint};
use super::{JournalError, mark, place};

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

/// The schema version from which there is an outbox.
pub(super) const OUTBOX: i64 = 2;

/// The schema version from which a run's row says when it is due.
const DUE: i64 = 3;

/// What a database file is.
enum Content {
    Nothing,
    Journal(Found),
    /// A copy of one.
    Backup(Found),
}

/// What was found of a journal.
struct Found {
    /// What its tables, indexes, views and triggers have that none has, or lack.
    strange: Vec<StrangePart>,
    /// How many events were written to it: the number of the last one.
    last: u64,
}

/// Where a file is that is being opened, and what is known of it beforehand.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a Path,
    /// How many events are known to have been written to it.
    known: u64,
}

impl File<'_> {
    /// The file at `path`. Refused if it was emptied, or is gone: SQLite would take the log beside it away, and an empty journal
    /// in its place would look like one in which nothing happened.
    fn at(path: &Path) -> Result<File<'_>, JournalError> {
        let file = File { path, known: mark::known(path) };
        let what = match path.metadata().map(|meta| meta.len()) {
            Ok(1..) => return Ok(file),
            Ok(0) => "it is empty",
            Err(_) => "it is gone",
        };
        if file.known > 0 {
            return Err(file.damaged(format!("{what}, and {} events were written", file.known)));
        }
        if has_content(&beside(path, "-wal")) {
            return Err(file.damaged(format!("{what}, and the log of a journal is beside it")));
        }
        Ok(file)
    }

    fn len(self) -> u64 {
        self.path.metadata().map_or(0, |meta| meta.len())
    }

    /// Whether nothing of it stands in a log, and nobody has written to it since it had `len` bytes.
    fn is_all_there_is(self, len: u64) -> bool {
        !has_content(&beside(self.path, "-wal")) && self.len() == len
    }

    fn damaged(self, what: String) -> JournalError {
        JournalError::Damaged { path: self.path.to_owned(), what }
    }

    fn strange(self, what: String) -> JournalError {
        JournalError::NotAJournal { path: self.path.to_owned(), what }
    }

    /// An error while it is looked at for the first time.
    fn unread(self, error: rusqlite::Error) -> JournalError {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly, SystemIoFailure,
        };
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt) => self.damaged(error.to_string()),
            Some(NotADatabase) if self.known > 0 => self.damaged(error.to_string()),
            Some(CannotOpen | PermissionDenied | ReadOnly) => not_opened(self.path, error.to_string()),
            Some(DatabaseBusy | SystemIoFailure) => on_read(error),
            _ => self.strange(error.to_string()),
        }
    }

    /// Refuses to write to one with something in it that no journal has: a trigger would change what is written.
    fn refuse_strange(self, found: &Found) -> Result<(), JournalError> {
        found.strange.first().map_or(Ok(()), |part| Err(self.damaged(part.to_string())))
    }

    /// Refuses one that ends before what is known to have been written.
    fn refuse_shortened(self, found: &Found) -> Result<(), JournalError> {
        if found.last >= self.known {
            return Ok(());
        }
        Err(JournalError::Shortened { path: self.path.to_owned(), found: found.last, known: self.known })
    }
}

fn not_opened(path: &Path, error: String) -> JournalError {
    JournalError::File { what: "open", path: path.to_owned(), error }
}

/// Why a journal is not opened for writing. The database only says that it cannot be: it makes files beside itself, which takes the
/// right to write to its folder.
fn unwritable(path: &Path, error: JournalError) -> JournalError {
    let folder = place::folder(path);
    let why = || access(&folder, Access::WRITE_OK | Access::EXEC_OK).err();
    match error {
        JournalError::File { what: "open", .. } => why().map_or(error, |why| on_file("write to", &folder)(why.into())),
        error => error,
    }
}

/// The file beside a database whose name ends so.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn has_content(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.len() > 0)
}

/// Refuses a journal that was emptied or is gone. Nothing is opened.
pub(super) fn refuse_emptied(path: &Path) -> Result<(), JournalError> {
    File::at(path).map(drop)
}

/// A connection that writes. With `create`, an empty file becomes a journal.
pub(super) fn open_writer(path: &Path, busy: Duration, create: bool) -> Result<Connection, JournalError> {
    let file = File::at(path)?;
    let opened = connect(path, busy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let mut conn = opened.map_err(|error| unwritable(path, error))?;
    match examine(&conn, file).map_err(|error| unwritable(path, error))? {
        Content::Nothing if !create => return Err(JournalError::Empty { path: path.to_owned() }),
        Content::Backup(_) => return Err(JournalError::Backup { path: path.to_owned() }),
        Content::Journal(found) => {
            file.refuse_shortened(&found)?;
            file.refuse_strange(&found)?;
        }
        Content::Nothing => {}
    }
    if conn.is_readonly("main").map_err(on_write)? {
        return Err(JournalError::File {
            what: "write to",
            path: path.to_owned(),
            error: std::io::Error::from(std::io::ErrorKind::PermissionDenied).to_string(),
        });
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
///
/// In a folder that cannot be written SQLite has no place for what several processes share of a log. If there is no log, nobody
/// writes, and the file is read as one that does not change.
pub(super) fn open_reader(path: &Path, busy: Duration) -> Result<Connection, JournalError> {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    let conn = connect(path, busy, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match conn.query_row("PRAGMA schema_version", [], |_| Ok(())).map_err(|error| error.sqlite_error_code()) {
        Err(Some(CannotOpen | ReadOnly)) if has_content(&beside(path, "-wal")) => Err(JournalError::File {
            what: "read the log of",
            path: path.to_owned(),
            error: "its folder cannot be written: copy the journal with its log into one that can".to_owned(),
        }),
        Err(Some(CannotOpen | ReadOnly)) => as_unchanging(path).map_err(|error| not_opened(path, error.to_string())),
        // Any other error is told by whoever looks at it in earnest.
        _ => Ok(conn),
    }
}

/// Whether a run's row says when it is due: a journal that is only read may be older.
pub(super) fn knows_due(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached("PRAGMA user_version")?.query_row([], |row| Ok(row.get::<_, i64>(0)? >= DUE))
}

/// Checks, without changing anything, that a file is a journal that this program can read. If it has lost its end, the answer
/// says so: what is left can be read.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<Option<JournalError>, JournalError> {
    let file = File::at(path)?;
    match examine(conn, file)? {
        Content::Nothing => Err(JournalError::Empty { path: path.to_owned() }),
        Content::Journal(found) => Ok(file.refuse_shortened(&found).err()),
        Content::Backup(_) => Ok(None),
    }
}

/// Refuses a backup beside the log of another journal: SQLite would replay that log into it, and make it the other one again.
fn refuse_strange_log(path: &Path) -> Result<(), JournalError> {
    for log in ["-wal", "-journal"].map(|end| beside(path, end)) {
        if has_content(&log) && is_backup_without_its_log(path) {
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
    // What cannot be read is told by whoever opens it in earnest.
    as_unchanging(path).and_then(|conn| is_backup(&conn)) == Ok(true)
}

/// A connection to a file that nobody writes, without its log.
fn as_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri_of(path) + "?immutable=1", flags)?;
    distrust(&conn)?;
    Ok(conn)
}

/// Whatever lies in the file runs no code of its own, and pages are looked at closely.
fn distrust(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")
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
    refuse_emptied(path)?;
    refuse_strange_log(path)?;
    let failed = |error: rusqlite::Error| not_opened(path, error.to_string());
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    conn.busy_timeout(busy).map_err(failed)?;
    distrust(&conn).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// What a file is, from what it says of itself and what is in it.
fn examine(conn: &Connection, file: File<'_>) -> Result<Content, JournalError> {
    // Before the database is asked: it only grows.
    let len = file.len();
    // As of one moment, or somebody else may make it a journal between two questions.
    let tx = conn.unchecked_transaction().map_err(|error| file.unread(error))?;
    let number = |sql: &str| tx.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|error| file.unread(error));
    let (version, application) = (number("PRAGMA user_version")?, number("PRAGMA application_id")?);
    let parts = Parts::of(&tx).map_err(|error| file.unread(error))?;
    let ours = application == APPLICATION || application == BACKUP;
    if parts.0.is_empty() && version == 0 && (ours || application == 0) {
        return match file.known {
            0 => Ok(Content::Nothing),
            known => Err(file.damaged(format!("nothing is in it, and {known} events were written"))),
        };
    }
    if !ours {
        let all = (1..=NEWEST).filter_map(|version| Parts::made(version).ok());
        return Err(match { all }.any(|made| made.lost_in(&parts).next().is_none()) {
            true => file.damaged("it says that it is a database of another program, and has what a journal has".into()),
            false => file.strange("it is a database of another program".to_owned()),
        });
    }
    if version > NEWEST {
        return Err(JournalError::Newer { path: file.path.to_owned(), found: version, known: NEWEST });
    }
    if version < 1 {
        return Err(file.damaged(format!("it says that its schema version is {version}")));
    }
    let strange = parts.strange_to(&Parts::made(version).map_err(on_read)?);
    if let Some(lost) = strange.iter().find(|part| part.is_lost_table()) {
        return Err(file.damaged(lost.to_string()));
    }
    let pages = uint(number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?));
    if pages < len || (len < pages && file.is_all_there_is(len)) {
        return Err(file.damaged(format!("it says that it has {pages} bytes, and has {len}")));
    }
    let encoding: String = tx.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(|error| file.unread(error))?;
    if number("PRAGMA auto_vacuum")? != 0 || encoding != "UTF-8" {
        return Err(file.damaged("its header is not that of a journal".to_owned()));
    }
    let found: String =
        tx.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| file.damaged(error.to_string()))?;
    if found != "ok" {
        return Err(file.damaged(found));
    }
    let found = Found { strange, last: last(&tx).map_err(on_read)? };
    Ok(if application == BACKUP { Content::Backup(found) } else { Content::Journal(found) })
}

/// What is strange about the tables of a journal: what it lost, and what it has that none has.
pub(super) fn strange_parts(conn: &Connection, version: i64) -> rusqlite::Result<Vec<StrangePart>> {
    Ok(Parts::of(conn)?.strange_to(&Parts::made(version)?))
}

/// The schema version that a database says that it has.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether a database says of itself that it is a backup.
pub(super) fn is_backup(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA application_id", [], |row| row.get::<_, i64>(0)).map(|found| found == BACKUP)
}

/// The tables, indexes, views and triggers of a database: of each its kind and name, and how it was made.
struct Parts(BTreeMap<(String, String), String>);

/// Something about them that is not as in any journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StrangePart {
    Missing { kind: String, name: String },
    Changed { kind: String, name: String },
    Added { kind: String, name: String },
}

impl StrangePart {
    /// Whether it is a table without which nothing can be read.
    fn is_lost_table(&self) -> bool {
        matches!(self, StrangePart::Missing { kind, .. } | StrangePart::Changed { kind, .. } if kind == "table")
    }
}

impl fmt::Display for StrangePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StrangePart::Missing { kind, name } => write!(f, "its {kind} `{name}` is missing"),
            StrangePart::Changed { kind, name } => write!(f, "its {kind} `{name}` is not that of a journal"),
            StrangePart::Added { kind, name } => write!(f, "a journal has no {kind} `{name}`"),
        }
    }
}

impl Parts {
    /// Those of a database.
    fn of(conn: &Connection) -> rusqlite::Result<Parts> {
        let mut statement = conn.prepare("SELECT type, name, sql FROM sqlite_master")?;
        let text = |row: &Row<'_>, column| bytes(row, column).map(|text| String::from_utf8_lossy(text).into_owned());
        let part = |row: &Row<'_>| Ok(((text(row, 0)?, text(row, 1)?), text(row, 2)?));
        Ok(Parts(statement.query_map([], part)?.collect::<rusqlite::Result<_>>()?))
    }

    /// Those that a journal of this schema version is made with.
    fn made(version: i64) -> rusqlite::Result<Parts> {
        let conn = Connection::open_in_memory()?;
        for migration in MIGRATIONS.iter().take(usize::try_from(version).unwrap_or(0)) {
            conn.execute_batch(migration)?;
        }
        Parts::of(&conn)
    }

    /// What of these others lack, or have in another way.
    fn lost_in(&self, others: &Parts) -> impl Iterator<Item = StrangePart> {
        self.0.iter().filter_map(|((kind, name), sql)| {
            let (kind, name) = (kind.clone(), name.clone());
            match others.0.get(&(kind.clone(), name.clone())) {
                Some(other) if other == sql => None,
                Some(_) => Some(StrangePart::Changed { kind, name }),
                None => Some(StrangePart::Missing { kind, name }),
            }
        })
    }

    /// What these lack, and what they have, that those which were made do not.
    fn strange_to(&self, made: &Parts) -> Vec<StrangePart> {
        let added = self.0.keys().filter(|key| !made.0.contains_key(*key));
        let added = added.map(|(kind, name)| StrangePart::Added { kind: kind.clone(), name: name.clone() });
        made.lost_in(self).chain(added).collect()
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

/// A connection that writes to a backup of the newest schema version, or to a journal that has lost its end; the only one there is.
pub(super) fn open_backup(path: &Path) -> Result<Connection, JournalError> {
    let file = File::at(path)?;
    let mut conn = connect(path, Duration::ZERO, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let application = match examine(&conn, file)? {
        Content::Nothing => return Err(JournalError::Empty { path: path.to_owned() }),
        Content::Journal(found) if file.refuse_shortened(&found).is_ok() => {
            return Err(JournalError::NotABackup { path: path.to_owned() });
        }
        Content::Journal(found) => {
            file.refuse_strange(&found)?;
            APPLICATION
        }
        Content::Backup(found) => {
            file.refuse_strange(&found)?;
            BACKUP
        }
    };
    settle(&conn).map_err(on_write)?;
    migrate(&mut conn, application).map_err(on_write)?;
    Ok(conn)
}

/// What was deleted or moved is overwritten, so that what is erased later leaves nothing behind.
fn settle(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON;",
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
