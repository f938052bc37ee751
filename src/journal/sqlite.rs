//! The journal in one SQLite file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::Connection;

use super::backup::{self, Adopted};
use super::checkpoint::{self, Checkpoints, Courier, Head, Notary, SigningKey};
use super::error::{on_read, on_write};
use super::mark::{self, Mark};
use super::outbox::{self, Claim};
use super::queue::Queue;
use super::store::{Prepared, uint};
use super::verify::{Examiner, Held, NoExaminer};
use super::writer::{self, Batch, Create, Noted, Request, TakeOver, Writer};
use super::{
    Append, Appended, Author, Chain, Component, Durability, Journal, JournalError, Kept, Left, Message, MessageRow,
    Messages, NewRun, OwnerIdentity, Page, Pending, PolicyText, PublicKey, RunFilter, RunRow, StoredEntry, Submission,
    SystemEntry, SystemEvent, Taken, TargetNote, Tried, Verified, place, reader, schema, targets, verify,
};
use crate::saga::event::{Entry, Event};
use crate::types::{Digest, Duration, Principal, RunId, Salt, Timestamp};

/// What can be set when a journal is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of disk that new runs leave free, so that those that go on can be rolled back. 64 MiB unless set.
    pub reserve: u64,
    /// How long the journal waits for another process that writes. If that takes longer, writing ends: such a process hangs
    /// inside a commit. 60 seconds unless set.
    pub busy_timeout: Duration,
    /// When statements over the chains are made, and where they go.
    pub checkpoints: Checkpoints,
}

impl Default for Options {
    fn default() -> Options {
        Options { reserve: 64 << 20, busy_timeout: Duration::from_secs(60), checkpoints: Checkpoints::default() }
    }
}

/// [`Journal`] in a SQLite file, with a thread that writes and connections that read.
///
/// Dropped, it writes what waits and ends its thread; lazy appends are durable then.
pub struct SqliteJournal {
    path: PathBuf,
    folder: PathBuf,
    options: Options,
    readers: Mutex<Vec<Connection>>,
    /// Only to be asked for `data_version`, which counts for each connection on its own.
    watch: Mutex<Option<Connection>>,
    writer: Option<WriterHandle>,
    /// What is said of a journal that is read and has lost its end.
    lost_end: Option<JournalError>,
}

struct WriterHandle {
    queue: Arc<Queue>,
    commits: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteJournal {
    /// Refuses a path at which no journal can lie because something else than a regular file is there, or because one was there
    /// and is gone. Nothing is opened or made.
    pub fn check_path(path: &Path) -> Result<(), JournalError> {
        place::refuse_irregular(path)?;
        schema::refuse_emptied(path)
    }

    /// Opens the journal at `path` for writing, and makes it, its folder and the folders beside it if they are missing.
    ///
    /// The folder is made for this user only; one that is there already stays as it is. The file is always closed to others.
    pub fn create_or_open(path: &Path, options: Options) -> Result<SqliteJournal, JournalError> {
        SqliteJournal::check_path(path)?;
        place::make_folder(&place::folder(path))?;
        place::refuse_network(&place::folder(path))?;
        place::make_file(path)?;
        SqliteJournal::open_for_writing(path, options, true)
    }

    /// Opens the journal at `path` for writing. It never makes one.
    pub fn open_existing(path: &Path, options: Options) -> Result<SqliteJournal, JournalError> {
        must_exist(path)?;
        place::refuse_network(&place::folder(path))?;
        SqliteJournal::open_for_writing(path, options, false)
    }

    /// Opens the journal at `path` for reading. It never makes one and never changes one; whatever would write is answered
    /// with [`JournalError::ReadOnly`]. One that has lost its end is read as far as it goes: see [`SqliteJournal::lost_end`].
    pub fn open_read_only(path: &Path, options: Options) -> Result<SqliteJournal, JournalError> {
        must_exist(path)?;
        place::refuse_network(&place::folder(path))?;
        let watch = schema::open_reader(path, options.busy_timeout.as_std())?;
        let lost_end = schema::check(&watch, path)?;
        Ok(SqliteJournal::around(path, options, watch, None, lost_end))
    }

    fn open_for_writing(path: &Path, options: Options, create: bool) -> Result<SqliteJournal, JournalError> {
        let mut conn = schema::open_writer(path, options.busy_timeout.as_std(), create)?;
        place::close_to_others(path)?;
        let mark = Mark::open(path)?;
        let folder = place::folder(path);
        for beside in [owners(&folder), noted(&folder)] {
            place::make_folder(&beside)?;
        }
        targets::forget_ended(&noted(&folder), |run| {
            reader::run(&conn, run).is_ok_and(|row| row.is_some_and(|row| row.closed.is_some()))
        });
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        };
        conn.commit_hook(Some(count)).map_err(on_write)?;
        let queue = Arc::new(Queue::default());
        let start = |to| Courier::start(path, options.busy_timeout.as_std(), to);
        let courier = options.checkpoints.hand_over.clone().map(start).transpose();
        let courier = courier.map_err(|error| JournalError::Fatal(format!("no thread to hand over with: {error}")))?;
        // A key that cannot be used or made is told before anything begins that could not be stated.
        SigningKey::open_or_make(&checkpoint::key_file(path))?;
        let notary = Notary::new(options.checkpoints.clone(), checkpoint::key_file(path));
        let writer = Writer::new(conn, path.to_owned(), mark, Arc::clone(&queue), noted(&folder), notary, courier);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.work())
            .map_err(|error| JournalError::Fatal(format!("no thread to write with: {error}")))?;
        let watch = schema::open_reader(path, options.busy_timeout.as_std())?;
        let writer = WriterHandle { queue, commits, thread: Some(thread) };
        Ok(SqliteJournal::around(path, options, watch, Some(writer), None))
    }

    fn around(
        path: &Path,
        options: Options,
        watch: Connection,
        writer: Option<WriterHandle>,
        lost_end: Option<JournalError>,
    ) -> SqliteJournal {
        SqliteJournal {
            path: path.to_owned(),
            folder: place::folder(path),
            options,
            readers: Mutex::default(),
            watch: Mutex::new(Some(watch)),
            writer,
            lost_end,
        }
    }

    /// What is to be said of a journal that was opened for reading and ends before what was written last.
    pub fn lost_end(&self) -> Option<&JournalError> {
        self.lost_end.as_ref()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the key lies that signs checkpoints of the journal at `path`.
    pub fn key_file(path: &Path) -> PathBuf {
        checkpoint::key_file(path)
    }

    /// The public half of the key beside the journal at `path`, if there is one.
    pub fn key_beside(path: &Path) -> Result<Option<PublicKey>, JournalError> {
        Ok(SigningKey::open(&checkpoint::key_file(path))?.map(|key| key.public()))
    }

    /// The folder of the owner files, for [`super::OwnerLock`] and [`super::try_lock_dead`].
    pub fn owners_dir(&self) -> PathBuf {
        owners(&self.folder)
    }

    /// How many commits this journal made since it was opened, as SQLite's commit hook counts them.
    pub fn commits(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.commits.load(Ordering::Relaxed))
    }

    /// Up to `limit` events of a chain after `after_seq`, in order, as they are stored, each checked against the hash before it.
    pub fn stored_entries(
        &self,
        chain: &Chain,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, JournalError> {
        self.read(|conn| reader::stored_entries(conn, chain, after_seq, limit))
    }

    /// Checks every chain, every payload, the table of runs and what the system chain recorded, as of one moment. See
    /// [`Verified`]. Memory does not grow with the journal.
    pub fn verify(&self) -> Result<Verified, JournalError> {
        self.verify_with(Held::default(), &mut NoExaminer)
    }

    /// The same, and whether the journal extends what is kept elsewhere; each event is shown to
    /// `examiner`, who knows what events mean.
    pub fn verify_with(&self, held: Held<'_>, examiner: &mut dyn Examiner) -> Result<Verified, JournalError> {
        let known = mark::known(&self.path);
        let open = || schema::open_reader(&self.path, self.options.busy_timeout.as_std());
        verify::verify(&mut open()?, open()?, known, held, examiner).map_err(|error| error.of(&self.path))
    }

    /// Writes a backup to `to`, where nothing may be: everything up to the last commit, in one file for this user only. Others
    /// go on writing meanwhile. Durable when it returns.
    pub fn backup(&self, to: &Path) -> Result<(), JournalError> {
        let conn = schema::open_reader(&self.path, self.options.busy_timeout.as_std())?;
        backup::write(&conn, to).map_err(|error| error.of(&self.path))
    }

    /// Makes the backup at `path` a journal, on the word of `by`; see [`backup`]. Also a journal that has lost its end. Durable when
    /// it returns.
    pub fn adopt(path: &Path, by: &Principal, reason: &str, at: Timestamp) -> Result<Adopted, JournalError> {
        must_exist(path)?;
        place::refuse_network(&place::folder(path))?;
        backup::adopt(path, by, reason, at).map_err(|error| error.of(path))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, JournalError>) -> Result<T, JournalError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => schema::open_reader(&self.path, self.options.busy_timeout.as_std())?,
        };
        let result = work(&conn).map_err(|error| error.of(&self.path));
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        result
    }

    fn enqueue<T>(&self, request: impl FnOnce(super::pending::Answer<T>) -> Request) -> Pending<T> {
        let (answer, pending) = Pending::new();
        match &self.writer {
            Some(writer) => writer.queue.push(request(answer)),
            None => request(answer).refuse(JournalError::ReadOnly),
        }
        pending
    }
}

fn owners(folder: &Path) -> PathBuf {
    folder.join("owners")
}

fn noted(folder: &Path) -> PathBuf {
    folder.join("targets")
}

fn must_exist(path: &Path) -> Result<(), JournalError> {
    match path.try_exists() {
        Ok(true) => place::refuse_irregular(path),
        Ok(false) => Err(JournalError::NotFound { path: path.to_owned() }),
        Err(error) => Err(super::error::on_file("look at", path)(error)),
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        // Whoever closes last takes the log in, if it can write: so those go first that cannot.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = &mut self.writer {
            writer.queue.close();
            drop(writer.thread.take().map(JoinHandle::join));
        }
    }
}

fn prepare(at: Timestamp, event: Event) -> Result<Prepared<Event>, JournalError> {
    let kind = event.kind();
    Prepared::new(at, event).map_err(|error| JournalError::NotCanonical { kind, error })
}

fn may_append(author: Author, event: &Event) -> Result<(), JournalError> {
    if author.may_append(event) { Ok(()) } else { Err(JournalError::Misplaced { kind: event.kind() }) }
}

fn batch(run: &RunId, append: Append) -> Result<Batch, JournalError> {
    let Append { author, events, payloads, messages, summary, needs, durability } = append;
    let durability = match author {
        Author::Owner { .. } => durability,
        Author::Anyone { .. } => Durability::Sync,
    };
    let prepare_one = |(at, event): (Timestamp, Event)| may_append(author, &event).and_then(|()| prepare(at, event));
    let events = events.into_iter().map(prepare_one).collect::<Result<_, _>>()?;
    Ok(Batch { run: run.clone(), author, events, payloads, messages, summary, needs, durability })
}

impl Journal for SqliteJournal {
    fn create_run(&self, run: NewRun) -> Pending<Submission> {
        let submitted = Event::RunSubmitted(Box::new(run.submitted.clone()));
        let events = prepare(run.at, submitted).and_then(|submitted| {
            Ok([submitted, prepare(run.at, writer::owner_event(1, &run.owner, Left::default()))?])
        });
        match events {
            Ok(events) => self.enqueue(|answer| Request::Create(Box::new(Create { new: run, events }), answer)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn append(&self, run: &RunId, append: Append) -> Pending<Appended> {
        match batch(run, append) {
            Ok(batch) => self.enqueue(|answer| Request::Append(Box::new(batch), answer)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn take_over(
        &self,
        run: &RunId,
        expected_epoch: u64,
        owner: &OwnerIdentity,
        left: Left,
        messages: Vec<Message>,
        at: Timestamp,
    ) -> Pending<Taken> {
        match prepare(at, writer::owner_event(expected_epoch + 1, owner, left)) {
            Ok(event) => {
                let (run, expected, owner) = (run.clone(), expected_epoch, owner.clone());
                let take = TakeOver { run, expected, owner, event, messages };
                self.enqueue(|answer| Request::TakeOver(Box::new(take), answer))
            }
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn leave(&self, run: &RunId, epoch: u64) {
        if let Some(writer) = &self.writer {
            writer.queue.push(Request::Leave(run.clone(), epoch));
        }
    }

    fn keep(&self, kept: Kept, at: Timestamp) -> Pending<()> {
        self.enqueue(|answer| Request::Keep(at, kept, answer))
    }

    fn record(&self, event: SystemEvent, at: Timestamp) -> Pending<()> {
        match event {
            SystemEvent::Refused { .. } | SystemEvent::TokenAdded { .. } | SystemEvent::TokenRevoked { .. } => {
                self.enqueue(|answer| Request::Record(at, event, answer))
            }
            other => Pending::ready(Err(JournalError::Misplaced { kind: other.kind() })),
        }
    }

    fn flush(&self) -> Pending<()> {
        self.enqueue(Request::Flush)
    }

    fn note_target(&self, run: &RunId, note: &TargetNote) -> Result<(), JournalError> {
        match self.writer {
            Some(_) => targets::note(&noted(&self.folder), run, note),
            None => Err(JournalError::ReadOnly),
        }
    }

    fn noted_targets(&self, run: &RunId) -> Result<Vec<TargetNote>, JournalError> {
        targets::noted(&noted(&self.folder), run)
    }

    fn entries(&self, run: &RunId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.read(|conn| reader::entries(conn, run, after_seq, limit))
    }

    fn each_of(&self, run: &RunId, kinds: &[&str], each: &mut dyn FnMut(Entry)) -> Result<(), JournalError> {
        self.read(|conn| reader::each_of(conn, run, kinds, each))
    }

    fn each_of_system(
        &self,
        after: u64,
        kinds: &[&str],
        each: &mut dyn FnMut(SystemEntry),
    ) -> Result<u64, JournalError> {
        self.read(|conn| reader::each_of_system(conn, after, kinds, each))
    }

    fn system_entries(&self, after: u64, limit: usize) -> Result<Vec<SystemEntry>, JournalError> {
        self.read(|conn| reader::system_entries(conn, after, limit))
    }

    fn system_head(&self) -> Result<Option<Head>, JournalError> {
        self.read(reader::system_head)
    }

    fn count_runs(&self) -> Result<Vec<(crate::saga::RunState, u64)>, JournalError> {
        self.read(reader::count_runs)
    }

    fn head(&self, run: &RunId) -> Result<Option<u64>, JournalError> {
        self.read(|conn| reader::head(conn, run))
    }

    fn version(&self) -> Result<u64, JournalError> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = watch.as_ref().ok_or(JournalError::Closed)?;
        let version = watch.query_row("PRAGMA data_version", [], |row| row.get(0)).map(uint);
        version.map_err(|error| on_read(error).of(&self.path))
    }

    fn run(&self, run: &RunId) -> Result<Option<RunRow>, JournalError> {
        self.read(|conn| reader::run(conn, run))
    }

    fn runs(&self, filter: &RunFilter, past: Option<&RunId>, limit: usize) -> Result<Page, JournalError> {
        self.read(|conn| reader::runs(conn, filter, past, limit))
    }

    fn find_by_key(&self, run_key: &str) -> Result<Option<RunId>, JournalError> {
        self.read(|conn| reader::find_by_key(conn, run_key, on_read))
    }

    fn payload(&self, digest: &Digest) -> Result<Option<Bytes>, JournalError> {
        self.read(|conn| reader::payload(conn, digest))
    }

    fn salt(&self, digest: &Digest) -> Result<Option<Salt>, JournalError> {
        self.read(|conn| reader::salt(conn, digest))
    }

    fn component(&self, digest: &Digest) -> Result<Option<Component>, JournalError> {
        self.read(|conn| reader::component(conn, digest))
    }

    fn policy(&self, digest: &Digest) -> Result<Option<PolicyText>, JournalError> {
        self.read(|conn| reader::policy(conn, digest))
    }

    fn claim_message(&self, row: &MessageRow, owner: &OwnerIdentity) -> Pending<Option<Bytes>> {
        let MessageRow { id, tries, claimed, .. } = row.clone();
        let claim = Claim { id, tries, held: claimed, owner: owner.id.clone() };
        self.enqueue(|answer| Request::Claim(claim, answer))
    }

    fn note_message(&self, id: &str, owner: &OwnerIdentity, tried: Tried) -> Pending<bool> {
        let noted = Noted { id: id.to_owned(), owner: owner.id.clone(), tried };
        self.enqueue(|answer| Request::Note(Box::new(noted), answer))
    }

    fn messages(&self, which: Messages<'_>, limit: usize) -> Result<Vec<MessageRow>, JournalError> {
        self.read(|conn| outbox::list(conn, which, limit))
    }

    fn count_waiting(&self) -> Result<u64, JournalError> {
        self.read(outbox::count_waiting)
    }

    fn free_space_ok(&self) -> Result<(), JournalError> {
        place::check_space(&self.folder, self.options.reserve)
    }
}
