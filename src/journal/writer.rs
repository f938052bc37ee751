//! The one thread that writes.
//!
//! It takes everything that waits, opens one transaction, runs each request in a savepoint of its own, commits once and
//! answers everybody. What a request did wrong concerns that request; what the disk did wrong ends all writing.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::book::Book;
use super::chain::Chain;
use super::checkpoint::{Courier, Notary};
use super::error::on_write;
use super::heads::{Heads, Known};
use super::mark::Mark;
use super::outbox::{self, Claim};
use super::pending::Answer;
use super::queue::Queue;
use super::store::{self, Prepared};
use super::system::{HeadAt, SystemEvent};
use super::{
    Appended, Author, Durability, JournalError, Kept, Left, Message, NewRun, OwnerIdentity, Payload, RunRow,
    Submission, Summary, Taken, Tried, reader, targets,
};
use crate::saga::event::{Entry, Event, Owner};
use crate::types::{Digest, PayloadRef, RunId, Timestamp};

/// Something that waits to be written, with the way to answer it.
pub(super) enum Request {
    Create(Box<Create>, Answer<Submission>),
    Append(Box<Batch>, Answer<Appended>),
    TakeOver(Box<TakeOver>, Answer<Taken>),
    Keep(Timestamp, Kept, Answer<()>),
    Record(Timestamp, SystemEvent, Answer<()>),
    Leave(RunId, u64),
    Claim(Claim, Answer<Option<Bytes>>),
    Note(Box<Noted>, Answer<bool>),
    Flush(Answer<()>),
}

pub(super) struct Create {
    pub new: NewRun,
    pub events: [Prepared<Event>; 2],
}

pub(super) struct Batch {
    pub run: RunId,
    pub author: Author,
    pub events: Vec<Prepared<Event>>,
    pub payloads: Vec<Payload>,
    pub messages: Vec<Message>,
    pub summary: Option<Summary>,
    pub needs: Vec<Digest>,
    pub durability: Durability,
}

pub(super) struct TakeOver {
    pub run: RunId,
    pub expected: u64,
    pub owner: OwnerIdentity,
    pub event: Prepared<Event>,
    pub messages: Vec<Message>,
}

/// What came of a try to send a message.
pub(super) struct Noted {
    pub id: String,
    pub owner: String,
    pub tried: Tried,
}

impl Request {
    /// Whether somebody waits for the commit.
    pub fn is_urgent(&self) -> bool {
        match self {
            Request::Append(batch, _) => batch.durability == Durability::Sync,
            Request::Leave(..) => false,
            _ => true,
        }
    }

    /// Events and bytes that it holds.
    pub fn weight(&self) -> (usize, usize) {
        match self {
            Request::Append(batch, _) => {
                let events: usize = batch.events.iter().map(|event| event.bytes.len()).sum();
                let payloads: usize = batch.payloads.iter().map(|payload| payload.bytes().len()).sum();
                let messages: usize = batch.messages.iter().map(|message| message.body.len()).sum();
                (batch.events.len(), events + payloads + messages)
            }
            _ => (1, 0),
        }
    }

    /// Answers without having written anything.
    pub fn refuse(self, error: JournalError) {
        match self {
            Request::Create(_, answer) => drop(answer.send(Err(error))),
            Request::Append(_, answer) => drop(answer.send(Err(error))),
            Request::TakeOver(_, answer) => drop(answer.send(Err(error))),
            Request::Leave(..) => {}
            Request::Claim(_, answer) => drop(answer.send(Err(error))),
            Request::Note(_, answer) => drop(answer.send(Err(error))),
            Request::Keep(_, _, answer) | Request::Record(_, _, answer) | Request::Flush(answer) => {
                drop(answer.send(Err(error)));
            }
        }
    }
}

/// Tells an author how it ended: as found inside the transaction, or why the transaction failed.
type Delivery = Box<dyn FnOnce(Option<&JournalError>)>;

fn delivery<T: 'static>(answer: Answer<T>, result: Result<T, JournalError>) -> Delivery {
    Box::new(move |failure| drop(answer.send(failure.map_or(result, |error| Err(error.clone())))))
}

/// Where a test lets the process die: `REDRESS_CRASH_AT_COMMIT_BEFORE=n` and `REDRESS_CRASH_AT_COMMIT_AFTER=n` kill it with SIGKILL
/// right before or after the writer's `n`-th commit. Only builds with debug assertions look at them.
struct CrashPoints {
    commits: u64,
    before: Option<u64>,
    after: Option<u64>,
}

impl CrashPoints {
    fn from_environment() -> CrashPoints {
        let read = |name| std::env::var(name).ok().filter(|_| cfg!(debug_assertions)).and_then(|n| n.parse().ok());
        CrashPoints {
            commits: 0,
            before: read("REDRESS_CRASH_AT_COMMIT_BEFORE"),
            after: read("REDRESS_CRASH_AT_COMMIT_AFTER"),
        }
    }

    fn before(&mut self) {
        self.commits += 1;
        self.die_at(self.before);
    }

    fn after(&self) {
        self.die_at(self.after);
    }

    fn die_at(&self, commit: Option<u64>) {
        if commit == Some(self.commits) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

pub(super) struct Writer {
    /// It hands over what was stated last, too, and ends before the connection that writes: the last one to end takes the log away.
    courier: Option<Courier>,
    conn: Connection,
    /// The database file, for errors.
    path: PathBuf,
    mark: Mark,
    queue: Arc<Queue>,
    targets: PathBuf,
    book: Book,
    heads: Heads,
    notary: Notary,
    crash: CrashPoints,
    /// Nothing is written any more.
    failed: bool,
}

impl Writer {
    pub fn new(
        conn: Connection,
        path: PathBuf,
        mark: Mark,
        queue: Arc<Queue>,
        targets: PathBuf,
        notary: Notary,
        courier: Option<Courier>,
    ) -> Writer {
        let (book, heads, crash) = (Book::default(), Heads::default(), CrashPoints::from_environment());
        Writer { conn, path, mark, queue, targets, book, heads, notary, courier, crash, failed: false }
    }

    /// Writes until the queue is closed and empty. However it ends, nobody is left waiting.
    pub fn work(mut self) {
        struct Last(Arc<Queue>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.die(JournalError::Closed);
            }
        }
        let last = Last(Arc::clone(&self.queue));
        // After a failure nothing is written, and nothing is due: whoever comes is refused by the queue.
        while !self.failed
            && let Some(requests) = self.queue.take(self.notary.patience())
        {
            self.write(requests, false);
        }
        if !self.failed && self.notary.patience().is_some() {
            self.write(Vec::new(), true);
        }
        drop(last);
    }

    /// Writes what waits; `last` if nothing will come after it.
    fn write(&mut self, requests: Vec<Request>, last: bool) {
        let mut deliveries = Vec::with_capacity(requests.len());
        let mut closed = Vec::new();
        let failure = self.transact(requests, &mut deliveries, &mut closed, last).err();
        if let Some(error) = &failure {
            self.failed = true;
            self.queue.die(error.clone());
        } else {
            for run in &closed {
                self.heads.forget(run);
                targets::forget(&self.targets, run);
            }
        }
        for deliver in deliveries {
            deliver(failure.as_ref());
        }
    }

    fn transact(
        &mut self,
        requests: Vec<Request>,
        deliveries: &mut Vec<Delivery>,
        closed: &mut Vec<RunId>,
        last: bool,
    ) -> Result<(), JournalError> {
        let mut requests = requests.into_iter();
        let result = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fatal)?;
            let before = tx.total_changes();
            let mut memory = Memory { book: &mut self.book, heads: &mut self.heads, closed };
            if !memory.heads.begin(&tx)? {
                self.notary.forget();
            }
            for request in requests.by_ref() {
                let (deliver, result) = request.run(&tx, &mut memory);
                deliveries.push(deliver);
                result?;
            }
            memory.heads.write_rows(&tx)?;
            let wanted = last || !memory.closed.is_empty();
            let stated = self.notary.attend(&tx, wanted)?;
            if tx.total_changes() == before {
                return tx.rollback().map_err(fatal);
            }
            let last = store::last(&tx).map_err(on_write)?;
            self.crash.before();
            tx.commit().map_err(fatal)?;
            self.mark.note(last);
            self.crash.after();
            if let Some(courier) = self.courier.as_ref().filter(|_| stated) {
                courier.tell();
            }
            Ok(())
        })()
        .map_err(|error: JournalError| error.of(&self.path));
        if result.is_err() {
            self.notary.forget();
        }
        if let Err(error) = &result {
            requests.for_each(|request| request.refuse(error.clone()));
        }
        result
    }
}

/// An error where a transaction begins, ends or is taken back: no table is named there, so only the file can be damaged.
fn fatal(error: rusqlite::Error) -> JournalError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => on_write(error),
        _ => JournalError::Fatal(error.to_string()),
    }
}

/// What the writer remembers, and the runs that were closed in this transaction.
struct Memory<'a> {
    book: &'a mut Book,
    heads: &'a mut Heads,
    closed: &'a mut Vec<RunId>,
}

impl Request {
    /// Runs one request in a savepoint. The second result is an error only if all writing must end.
    fn run(self, tx: &Transaction<'_>, memory: &mut Memory<'_>) -> (Delivery, Result<(), JournalError>) {
        match self {
            Request::Create(create, answer) => settle(answer, apart(tx, |conn| create_run(conn, memory, &create))),
            Request::Append(batch, answer) => {
                let result = apart(tx, |conn| append(conn, memory, &batch));
                if let (Err(error), Author::Owner { epoch, .. }, Durability::Lazy) =
                    (&result, batch.author, batch.durability)
                {
                    memory.book.fail(&batch.run, epoch, error.clone());
                }
                settle(answer, result)
            }
            Request::TakeOver(take, answer) => settle(answer, apart(tx, |conn| take_over(conn, memory, &take))),
            Request::Keep(at, kept, answer) => settle(answer, apart(tx, |conn| store::keep(conn, at, &kept))),
            Request::Record(at, event, answer) => settle(answer, apart(tx, |conn| store::record(conn, at, event))),
            Request::Leave(run, epoch) => {
                if memory.book.leave(&run, epoch) {
                    memory.heads.forget(&run);
                }
                (Box::new(|_| {}), Ok(()))
            }
            Request::Claim(claim, answer) => settle(answer, apart(tx, |conn| outbox::claim(conn, &claim))),
            Request::Note(noted, answer) => {
                let Noted { id, owner, tried } = *noted;
                settle(answer, apart(tx, |conn| outbox::note(conn, &id, &owner, &tried)))
            }
            Request::Flush(answer) => settle(answer, Ok(())),
        }
    }
}

fn settle<T: 'static>(answer: Answer<T>, result: Result<T, JournalError>) -> (Delivery, Result<(), JournalError>) {
    let end = match &result {
        Err(error) if error.is_fatal() => Err(error.clone()),
        _ => Ok(()),
    };
    (delivery(answer, result), end)
}

/// Does `work` in a savepoint, and undoes it if it fails. Its statements are kept, since there is one for each request.
fn apart<T>(
    tx: &Transaction<'_>,
    work: impl FnOnce(&Connection) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let say = |sql| tx.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(fatal);
    say("SAVEPOINT request")?;
    match work(tx) {
        Ok(done) => say("RELEASE request").map(|_| done),
        Err(error) => match say("ROLLBACK TO request").and_then(|_| say("RELEASE request")) {
            // What ends all writing is told by what came first.
            Err(then) if !error.is_fatal() => Err(then),
            _ => Err(error),
        },
    }
}

fn entry(head: &super::chain::Walk, event: &Event) -> Entry {
    Entry { seq: head.seq, at: head.at, event: event.clone() }
}

fn create_run(conn: &Connection, memory: &mut Memory<'_>, create: &Create) -> Result<Submission, JournalError> {
    let Create { new, events } = create;
    let run = &new.submitted.run;
    if let Some(key) = &new.submitted.run_key
        && let Some(run) = reader::find_by_key(conn, key, on_write)?
    {
        return Ok(Submission::Existing { run });
    }
    let chain = Chain::Run(run.clone());
    let mut head = store::head(conn, &chain)?;
    if head.seq != 0 {
        return Err(JournalError::RunExists { run: run.clone() });
    }
    store::keep(conn, new.at, &new.kept)?;
    store::add_payloads(conn, run, &new.payloads)?;
    let mut entries = Vec::new();
    for event in events {
        store::require_payloads(conn, &event.event.payloads())?;
        store::link(conn, &chain, &mut head, event)?;
        entries.push(entry(&head, &event.event));
    }
    store::add_row(
        conn,
        &RunRow {
            run: run.clone(),
            workflow: new.submitted.name.clone(),
            principal: new.submitted.principal.clone(),
            state: new.summary.state,
            due: new.summary.due,
            submitted: entries.first().map_or(new.at, |entry| entry.at),
            closed: None,
            run_key: new.submitted.run_key.clone(),
            epoch: 1,
            owner: new.owner.id.clone(),
            seq: head.seq,
            head: head.hash,
        },
    )?;
    store::record_head(conn, run, &head, HeadAt::Start)?;
    memory.book.tell(run, 1, head.seq);
    Ok(Submission::Created { entries })
}

fn append(conn: &Connection, memory: &mut Memory<'_>, batch: &Batch) -> Result<Appended, JournalError> {
    let Memory { book, heads, closed } = memory;
    let run = &batch.run;
    let Known { epoch: current, mut head } = heads.of(conn, run)?;
    if let Author::Owner { epoch, .. } = batch.author
        && let Some(error) = book.failure(run, epoch)
    {
        return Err(error);
    }
    let chain = Chain::Run(run.clone());
    let before = head.seq;
    batch.author.admit(current, before).map_err(|refused| JournalError::not_admitted(run, refused))?;
    store::require_unerased(conn, &batch.needs)?;
    store::add_payloads(conn, run, &batch.payloads)?;
    let mut appended = Appended::default();
    let mut closing = None;
    let comes_with_it = |reference: &PayloadRef| batch.payloads.iter().any(|own| own.reference() == *reference);
    for event in &batch.events {
        let mut payloads = event.event.payloads();
        payloads.retain(|reference| !comes_with_it(reference));
        store::require_payloads(conn, &payloads)?;
        store::link(conn, &chain, &mut head, event)?;
        appended.entries.push(entry(&head, &event.event));
        closing = store::closing(&event.event, head.at).or(closing);
        if matches!(event.event, Event::RunClosed(_)) {
            store::record_head(conn, run, &head, HeadAt::Close)?;
        }
    }
    outbox::add(conn, run, &batch.messages)?;
    if let Some(closed) = closing {
        store::close_row(conn, run, closed)?;
    }
    let ended = matches!(closing, Some(Some(_)));
    match (batch.author, batch.durability) {
        (Author::Anyone { .. }, _) => {}
        (Author::Owner { epoch, .. }, Durability::Lazy) => book.stored_lazily(run, epoch, before, &appended.entries),
        (Author::Owner { epoch, .. }, Durability::Sync) => {
            appended.lazy = book.lazy(run, epoch).to_vec();
            appended.foreign = foreign(conn, book.told(run, epoch).unwrap_or(before), before, run, &appended.lazy)?;
            if ended {
                book.forget(run);
            } else {
                book.tell(run, epoch, head.seq);
            }
        }
    }
    if ended {
        closed.push(run.clone());
    }
    if head.seq != before || batch.summary.is_some() {
        heads.moved(run, Known { epoch: current, head }, batch.summary.as_ref());
    }
    Ok(appended)
}

/// The events after `told`, up to `before`, that are not the owner's own.
fn foreign(conn: &Connection, told: u64, before: u64, run: &RunId, own: &[Entry]) -> Result<Vec<Entry>, JournalError> {
    let between = before.saturating_sub(told);
    if between == own.len() as u64 {
        return Ok(Vec::new());
    }
    let mut entries = reader::entries(conn, run, told, usize::try_from(between).unwrap_or(usize::MAX))?;
    entries.retain(|entry| own.iter().all(|mine| mine.seq != entry.seq));
    Ok(entries)
}

fn take_over(conn: &Connection, memory: &mut Memory<'_>, take: &TakeOver) -> Result<Taken, JournalError> {
    let TakeOver { run, expected, owner, event, messages } = take;
    let Known { epoch: current, mut head } = memory.heads.of(conn, run)?;
    if current != *expected {
        return Err(JournalError::StaleEpoch { run: run.clone(), epoch: *expected, current });
    }
    store::link(conn, &Chain::Run(run.clone()), &mut head, event)?;
    let epoch = current + 1;
    store::own_row(conn, run, epoch, &owner.id)?;
    outbox::add(conn, run, messages)?;
    memory.book.tell(run, epoch, head.seq);
    let taken = Taken { epoch, entry: entry(&head, &event.event) };
    memory.heads.moved(run, Known { epoch, head }, None);
    Ok(taken)
}

/// The event by which a process takes a run.
pub(super) fn owner_event(epoch: u64, owner: &OwnerIdentity, left: Left) -> Event {
    let Left { noted, lost } = left;
    Event::Owner(Owner { noted, lost, ..Owner::new(epoch, owner.id.as_str(), owner.boot.as_str()) })
}
