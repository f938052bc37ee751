//! Why the journal did not do what was asked, sorted by what follows from it.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Finding;
use crate::saga::NotAdmitted;
use crate::types::{CanonicalError, Digest, RunId};

/// Why the journal did not do what was asked.
///
/// By consequence: the opening errors leave nothing behind; a refused append changed nothing and its neighbours are not
/// concerned; after [`JournalError::Fatal`] nothing is written any more and the process should end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// A run that goes on, where only one that is closed may be.
    #[error("run {run} goes on")]
    GoesOn {
        /// The run.
        run: RunId,
    },
    /// A key that another journal signs with, too.
    #[error("the journal `{}` signs with the same key", path.display())]
    SharedKey {
        /// The other journal.
        path: PathBuf,
    },
    /// What an undo needs is erased.
    #[error("the payload {digest} was erased")]
    Erased {
        /// The payload.
        digest: Digest,
    },
    /// Opened without leave to create, and there is nothing.
    #[error("there is no journal at `{}`", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Opened without leave to create, and nothing was written into the file yet: whoever made it died before it was a journal.
    #[error("there is no journal at `{}` yet: the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file that is something else.
    #[error("`{}` is not a journal: {what}", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        what: String,
    },
    /// The database does not pass a check, or what was read of it cannot be.
    #[error("the journal `{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found first.
        what: String,
    },
    /// The database is whole, and ends before what was written last: its log is lost, or an older copy is in its place.
    #[error("the journal `{}` has lost its end: {known} events were written, and {found} are there", path.display())]
    Shortened {
        /// The file.
        path: PathBuf,
        /// How many events are there.
        found: u64,
        /// How many are known to have been written.
        known: u64,
    },
    /// Written by a newer version of this program.
    #[error("the journal `{}` has schema version {found}, and this program reads versions up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// On a filesystem whose locks cannot be trusted.
    #[error("`{}` is on a network filesystem ({kind})", path.display())]
    Network {
        /// The folder.
        path: PathBuf,
        /// The kind of filesystem.
        kind: &'static str,
    },
    /// Too little space for new runs.
    #[error("{free} bytes are free at `{}`, and {reserve} are kept for rollbacks", path.display())]
    LowSpace {
        /// The journal's folder.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that are kept.
        reserve: u64,
    },
    /// A file or folder beside the journal.
    #[error("cannot {what} `{}`: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        error: String,
    },
    /// Something was to be written through a journal that was opened for reading.
    #[error("the journal was opened for reading only")]
    ReadOnly,
    /// A backup was to be written.
    #[error("`{}` is a backup of a journal: it is read and not written", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
    },
    /// What was to be adopted is no backup.
    #[error("`{}` is a journal already: there is nothing to adopt", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// A backup lies beside the log of another journal.
    #[error("`{}` is a backup, and `{}` beside it is the log of another journal", path.display(), log.display())]
    StrangeLog {
        /// The backup.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// Something is where a backup was to be written.
    #[error("`{}` is there already, and nothing is written over it", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The author is not the run's owner any more.
    #[error("run `{run}` was taken over: its epoch is {current}, the append came from epoch {epoch}")]
    StaleEpoch {
        /// The run.
        run: RunId,
        /// The author's epoch.
        epoch: u64,
        /// The run's epoch.
        current: u64,
    },
    /// Somebody else appended first: read again, check again, try again.
    #[error("run `{run}` is at event {seq}, not {expected}")]
    HeadMoved {
        /// The run.
        run: RunId,
        /// Where the author thought that it was.
        expected: u64,
        /// Where it is.
        seq: u64,
    },
    /// No such run.
    #[error("there is no run `{run}`")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// The id of a new run is taken.
    #[error("there already is a run `{run}`")]
    RunExists {
        /// The run.
        run: RunId,
    },
    /// An event that is not this author's to append, or not by this call.
    #[error("a `{kind}` event cannot be appended here")]
    Misplaced {
        /// Its kind.
        kind: &'static str,
    },
    /// An event that cannot be written down.
    #[error("the `{kind}` event has no canonical form: {error}")]
    NotCanonical {
        /// Its kind.
        kind: &'static str,
        /// Why not.
        error: CanonicalError,
    },
    /// A payload that an event names is neither stored nor given with it.
    #[error("payload `{digest}` is not in the journal")]
    PayloadMissing {
        /// Its salted digest.
        digest: Digest,
    },
    /// Stored bytes are not those that the digest was made of.
    #[error("the stored bytes of `{digest}` were changed")]
    Changed {
        /// The digest under which they are stored.
        digest: Digest,
    },
    /// Bytes to be kept are not those of their digest.
    #[error("the bytes that should be kept as `{digest}` have another digest")]
    WrongDigest {
        /// The digest that was given.
        digest: Digest,
    },
    /// An event of a chain cannot be read, and with it everything after it in that chain.
    #[error("{0}")]
    Unreadable(Finding),
    /// A row of the table of runs is not of the form in which rows are written.
    #[error("the row of `{run}` in the table of runs is damaged: {what}")]
    DamagedRow {
        /// The run, or the key, by which it was looked for.
        run: String,
        /// What is wrong with it.
        what: String,
    },
    /// The database refused one request.
    #[error("the journal refused an append: {0}")]
    Refused(String),
    /// The database could not be read.
    #[error("the journal cannot be read: {0}")]
    Read(String),
    /// A write failed. Nothing is written any more; what was durable before is whole.
    #[error("the journal can no longer be written: {0}")]
    Fatal(String),
    /// The journal was closed while something still waited.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// An append that the saga core does not admit to this run.
    pub(super) fn not_admitted(run: &RunId, refused: NotAdmitted) -> JournalError {
        let run = run.clone();
        match refused {
            NotAdmitted::StaleEpoch { epoch, current } => JournalError::StaleEpoch { run, epoch, current },
            NotAdmitted::HeadMoved { expected, seq } => JournalError::HeadMoved { run, expected, seq },
        }
    }

    /// What a person can do about it.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            JournalError::NotFound { .. } | JournalError::Empty { .. } => {
                "name the journal with `--journal FILE`, or begin with `redress run`"
            }
            JournalError::NotAJournal { .. } => {
                "name another file with `--journal FILE`; nothing was changed in this one. If it was the journal, it is damaged"
            }
            JournalError::Damaged { .. } => {
                "keep it as evidence: move it away with the files beside it whose names begin with its own, put the last \
                 backup in its place, and `redress journal adopt --reason REASON`"
            }
            JournalError::Shortened { .. } => {
                "put the file beside it back that ends in `-wal`; if that is lost, `redress journal adopt --reason REASON` \
                 goes on without what was in it"
            }
            JournalError::Newer { .. } => "use the version of `redress` that wrote the journal, or a newer one",
            JournalError::Network { .. } => "keep the journal on a local disk",
            JournalError::LowSpace { .. } => "free some space: running and rolling back go on, new runs wait",
            JournalError::Read(_) => "look whether the disk is full or failing, and try again",
            JournalError::Fatal(_) => {
                "mend what the message names, start again, and `redress recover` finishes the runs"
            }
            JournalError::Unreadable(_) | JournalError::DamagedRow { .. } => {
                "`redress audit verify` shows what else was changed; other runs are not concerned"
            }
            JournalError::StrangeLog { .. } => {
                "move it away with the damaged journal that it belongs to, and the file that ends in `-shm`, too"
            }
            JournalError::Backup { .. } => {
                "`redress journal adopt --reason REASON` makes it the journal; what ran after it was made is not in it"
            }
            JournalError::StaleEpoch { .. } => "another process drives this run now; `redress show` follows it",
            _ => return None,
        })
    }

    /// Whether the process should end: nothing can be written any more.
    pub fn is_fatal(&self) -> bool {
        matches!(self, JournalError::Fatal(_) | JournalError::Damaged { .. } | JournalError::Closed)
    }

    /// The same, told of the file `path` if it is told of none.
    pub(super) fn of(mut self, file: &Path) -> JournalError {
        if let JournalError::Damaged { path, .. } = &mut self
            && path.as_os_str().is_empty()
        {
            file.clone_into(path);
        }
        self
    }
}

/// What an error says that can only come of what is in the file.
pub(super) fn damage(error: &rusqlite::Error) -> Option<String> {
    use rusqlite::Error::{SqlInputError, SqliteFailure};
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    Some(match error {
        // The statements are always the same ones: if one cannot be understood, its table is not what it should be.
        SqlInputError { msg, .. } => msg.clone(),
        SqliteFailure(code, message) if matches!(code.code, DatabaseCorrupt | NotADatabase | Unknown) => {
            message.clone().unwrap_or_else(|| code.to_string())
        }
        error if is_of_value(error) => format!("a row has a value that is never written: {error}"),
        _ => return None,
    })
}

/// An error of the database: damage to its file, of which whoever knows it tells with [`JournalError::of`], or something else.
fn sort(error: rusqlite::Error, otherwise: impl FnOnce(String) -> JournalError) -> JournalError {
    match damage(&error) {
        Some(what) => JournalError::Damaged { path: PathBuf::new(), what },
        None => otherwise(error.to_string()),
    }
}

/// Sorts an error of the database while something is written: what concerns one request only, and what ends all writing.
pub(super) fn on_write(error: rusqlite::Error) -> JournalError {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig};
    match error.sqlite_error_code() {
        Some(ConstraintViolation | TooBig) => JournalError::Refused(error.to_string()),
        _ => sort(error, JournalError::Fatal),
    }
}

/// An error of the database while something is read.
pub(super) fn on_read(error: rusqlite::Error) -> JournalError {
    sort(error, JournalError::Read)
}

/// An error while one row of the table of runs is read: a value that cannot be what it should be concerns that row only.
pub(super) fn on_row(
    run: &str,
    error: rusqlite::Error,
    otherwise: impl FnOnce(rusqlite::Error) -> JournalError,
) -> JournalError {
    if is_of_value(&error) {
        return JournalError::DamagedRow { run: run.to_owned(), what: error.to_string() };
    }
    otherwise(error)
}

/// Whether an error is that a value in a row is not of its form.
pub(super) fn is_of_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// An error of the system with a file.
pub(super) fn on_file(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |error| JournalError::File { what, path, error: error.to_string() }
}
