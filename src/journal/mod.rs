//! The journal: the append-only, hash-chained record of every run, and the only source of truth.
//!
//! # What it promises
//!
//! - **Prefix-durable in the order of enqueueing.** What was enqueued earlier is never less durable than what was enqueued
//!   later. An answered [`Durability::Sync`] append survives the loss of power, and so does everything before it.
//! - **All or nothing.** The events of one append, their payloads, messages and the run's row are in one transaction. A refused append
//!   changed nothing, and its neighbours in the same transaction are not concerned.
//! - **One owner.** An append by an owner carries its epoch and is refused once another process took the run over. A run is
//!   taken over only from a process that is dead: see [`OwnerLock`].
//! - **No lost events of others.** Votes and operators' verbs may come from any process between an owner's appends; each is
//!   told to the owner exactly once, in [`Appended::foreign`].
//! - **Fail once, stop for good.** After a failed commit or a disk error every waiting and every later append is answered
//!   with [`JournalError::Fatal`]; nothing is tried again (what a sync that failed once has lost is not known).
//! - **Nothing dangling.** An event that names a payload is refused unless that payload is stored or comes with it.
//! - **One unreadable run hurts no other.** Chains are per run; an event that cannot be read ends the reading of its chain only,
//!   and a row of the table of runs that cannot be read is named beside the others.
//!
//! # How an append goes
//!
//! The caller's thread makes the canonical bytes of the events and enqueues them ([`Journal::append`] never blocks). The one
//! writer thread takes everything that waits, opens one transaction, and for each request in order opens a savepoint, checks
//! its author, stores its payloads, assigns sequence numbers, times and hashes, updates the run's row, and, for the start and
//! the close of a run, the system chain. Then it commits once and answers everybody. Sequence numbers are assigned there and
//! not by the caller because another process may have appended in between.
//!
//! # What lies where
//!
//! Beside the database file: `owners/`, one locked file a living process; `targets/`, states of targets that were noted
//! without a sync; nothing else in them is touched; and a file that ends in `-mark`, which says how far was written, so that a log
//! that is lost is missed; `checkpoint.key`, which signs statements over where all chains end, and a file that ends in
//! `-handed`, which says how far those were handed over. In it: `events` (chains), `payloads` (salted, apart), `runs` (an index for
//! listing, derived from the chains), `components` and `policies` (whatever runs refer to), `outbox` (messages for people, and
//! what came of them).

mod backup;
mod book;
mod chain;
mod checkpoint;
mod error;
mod finding;
mod heads;
mod maintain;
mod mark;
mod outbox;
mod owner;
mod payload;
mod pending;
mod place;
mod queue;
mod reader;
mod schema;
mod sqlite;
mod store;
mod system;
mod targets;
mod verify;
mod writer;

pub use crate::saga::Author;
pub use crate::saga::event::{LostTarget, TargetNote};
pub use backup::Adopted;
pub use chain::{Chain, GENESIS, SYSTEM, VERSION, decode, link};
pub use checkpoint::{
    Checkpoint, Checkpoints, HandOver, Head, HeadOfRun, NotACheckpoint, PublicKey, Signature, Statement,
};
pub use error::JournalError;
pub use finding::{Finding, Flaw};
pub use maintain::{By, Maintenance, Pruned, Retention};
pub use outbox::{Answer, Ended, Message, MessageKind, MessageRow, Messages, Then, Tried};
pub use owner::{Guard, OwnerIdentity, OwnerLock, try_lock_dead};
pub use payload::Payload;
pub use pending::Pending;
pub use place::free_space;
pub use sqlite::{Options, SqliteJournal};
pub use system::{Erasure, HeadAt, Scope, SystemEntry, SystemEvent};
pub use verify::{Examiner, Held, NoExaminer, Verified};

use bytes::Bytes;
use serde_json::Value;

use crate::saga::event::{Entry, Event, RunSubmitted};
use crate::saga::{RunState, State, due};
use crate::types::{CapabilityId, Digest, Principal, RunId, Salt, Timestamp};

/// Where runs are recorded.
///
/// The engine is the only caller. The calls that return a [`Pending`] enqueue synchronously and exactly once, never block and
/// may be made from async code; the order of the calls is the order in the chain. All others read or write files and block
/// for as long as a disk takes.
pub trait Journal: Send + Sync {
    /// Begins a run. Called once a run by its first owner, before anybody is told the run's id.
    ///
    /// Durable: `RUN_SUBMITTED`, `OWNER` with epoch 1, the run's row, its components and policy, and its head in the system
    /// chain are in one commit. If the run has a key under which a run exists, nothing is written and that run is named.
    fn create_run(&self, run: NewRun) -> Pending<Submission>;

    /// Appends events to a run. Called by the run's owner for everything that happens, and by any process for `VOTE` and
    /// `OPERATOR`.
    ///
    /// An owner awaits each [`Durability::Sync`] answer and folds all of it, [`Appended::in_order`]; it may drop a lazy one. A
    /// lazy append that was refused comes back as the error of each later append of the same run and epoch: the owner must
    /// then leave the run. An owner's append without events writes nothing but what waits, and tells what others appended.
    ///
    /// It must not be used for `RUN_SUBMITTED` and `OWNER`, which have calls of their own. It does not check whether an event
    /// is legal: that is the saga's work, before the call, and after [`JournalError::HeadMoved`] again.
    fn append(&self, run: &RunId, append: Append) -> Pending<Appended>;

    /// Makes `owner` the owner of a run. Called by recovery with the [`Guard`] of the owner before in hand, never without.
    ///
    /// `left` is what was found of the owner before; it becomes part of the chain. `messages` are put into the outbox in the same
    /// commit. Durable. When the run is due is not known from then until the new owner says so. Refused with
    /// [`JournalError::StaleEpoch`] if somebody else took it first. The new owner then reads the run's
    /// entries up to [`Taken::entry`]; what stands after it will be told as foreign.
    fn take_over(
        &self,
        run: &RunId,
        expected_epoch: u64,
        owner: &OwnerIdentity,
        left: Left,
        messages: Vec<Message>,
        at: Timestamp,
    ) -> Pending<Taken>;

    /// Says that the owner of this epoch has left a run and appends nothing more: what the journal remembers for it goes. Called
    /// once, after everything that the owner enqueued. Writes nothing, and is not waited for.
    fn leave(&self, run: &RunId, epoch: u64);

    /// Keeps components and policy texts that later events will name. Called before a step of an open run is submitted, and
    /// when a policy is loaded. Durable. What is kept already is not kept twice.
    fn keep(&self, kept: Kept, at: Timestamp) -> Pending<()>;

    /// Appends to the system chain what belongs to no run, such as a refused request. Durable.
    ///
    /// It must not be used for what the journal records by itself: heads, components, policies.
    fn record(&self, event: SystemEvent, at: Timestamp) -> Pending<()>;

    /// Answered when everything that was enqueued before it is durable.
    fn flush(&self) -> Pending<()>;

    /// Notes the state of a further target of an attempt before it is changed. Called by the sandbox, from its own thread,
    /// while the effect waits; once for each target but the first, whose state is in `INTENT`.
    ///
    /// Stored without a sync: it survives the death of the process, not that of the machine. It goes when the run is closed.
    fn note_target(&self, run: &RunId, note: &TargetNote) -> Result<(), JournalError>;

    /// What was noted for a run, oldest first. Called by recovery for attempts without a `RESULT`. Torn notes are left out.
    fn noted_targets(&self, run: &RunId) -> Result<Vec<TargetNote>, JournalError>;

    /// Up to `limit` entries of a run after `after_seq`, in order, each checked against the hash before it.
    ///
    /// Empty for a run that does not exist. An owner that reads here what others appended will be told it once more.
    fn entries(&self, run: &RunId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, JournalError>;

    /// Hands over, in order, the entries of a run whose kinds are among these. The others are checked as these are, but not decoded.
    fn each_of(&self, run: &RunId, kinds: &[&str], each: &mut dyn FnMut(Entry)) -> Result<(), JournalError>;

    /// The same of the system chain, after the event `after`; answers with its last event.
    fn each_of_system(
        &self,
        after: u64,
        kinds: &[&str],
        each: &mut dyn FnMut(SystemEntry),
    ) -> Result<u64, JournalError>;

    /// Up to `limit` entries of the system chain after the event `after`, in order.
    fn system_entries(&self, after: u64, limit: usize) -> Result<Vec<SystemEntry>, JournalError>;

    /// The last event of the system chain; none if there is none.
    fn system_head(&self) -> Result<Option<Head>, JournalError>;

    /// How many runs are in each state.
    fn count_runs(&self) -> Result<Vec<(RunState, u64)>, JournalError>;

    /// The sequence number of a run's last durable event; none if there is no such run.
    fn head(&self, run: &RunId) -> Result<Option<u64>, JournalError>;

    /// A number that changes whenever any process commits anything. An owner that waits for votes polls it and looks at its
    /// runs' heads only when it changed.
    fn version(&self) -> Result<u64, JournalError>;

    /// One run's row.
    fn run(&self, run: &RunId) -> Result<Option<RunRow>, JournalError>;

    /// One page of runs, in the order that the filter names. `past` is the last run of the page before. A page with fewer rows
    /// than `limit` is the last one.
    fn runs(&self, filter: &RunFilter, past: Option<&RunId>, limit: usize) -> Result<Page, JournalError>;

    /// The run that was submitted under a key.
    fn find_by_key(&self, run_key: &str) -> Result<Option<RunId>, JournalError>;

    /// A payload's bytes, checked against their digest; none if they were erased.
    fn payload(&self, digest: &Digest) -> Result<Option<Bytes>, JournalError>;

    /// A payload's salt, which none but whoever has the journal knows; none if it was erased.
    fn salt(&self, digest: &Digest) -> Result<Option<Salt>, JournalError>;

    /// A kept component, checked against its digest.
    fn component(&self, digest: &Digest) -> Result<Option<Component>, JournalError>;

    /// A kept policy, checked against its digest.
    fn policy(&self, digest: &Digest) -> Result<Option<PolicyText>, JournalError>;

    /// Takes a message for `owner` before it is sent, and answers with its body. Called with the [`Guard`] of the owner that
    /// the row names in hand, if it names one.
    ///
    /// None, and nothing is written, if the message is not as `row` says any more: somebody else was faster. Durable.
    fn claim_message(&self, row: &MessageRow, owner: &OwnerIdentity) -> Pending<Option<Bytes>>;

    /// Notes what came of a try, once it has ended, and gives the claim up. False, and nothing is written, if `owner` does not
    /// hold it. Durable.
    fn note_message(&self, id: &str, owner: &OwnerIdentity, tried: Tried) -> Pending<bool>;

    /// Up to `limit` messages of the outbox.
    fn messages(&self, which: Messages<'_>, limit: usize) -> Result<Vec<MessageRow>, JournalError>;

    /// How many messages wait.
    fn count_waiting(&self) -> Result<u64, JournalError>;

    /// Whether there is space for new runs. Called before each [`Journal::create_run`]; never before an append, so that what is
    /// reserved is there for rollbacks.
    fn free_space_ok(&self) -> Result<(), JournalError>;
}

/// What a run begins with.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The first event.
    pub submitted: RunSubmitted,
    /// When.
    pub at: Timestamp,
    /// The process that drives it.
    pub owner: OwnerIdentity,
    /// What the first event names.
    pub payloads: Vec<Payload>,
    /// The components that its steps are pinned to, and the policy in force.
    pub kept: Kept,
    /// The row's first state.
    pub summary: Summary,
}

/// The answer to [`Journal::create_run`].
#[derive(Clone, Debug, PartialEq)]
pub enum Submission {
    /// The run exists now; its owner's epoch is 1.
    Created {
        /// `RUN_SUBMITTED` and `OWNER`, as stored.
        entries: Vec<Entry>,
    },
    /// A run was submitted under the same key before.
    Existing {
        /// That run.
        run: RunId,
    },
}

/// Components and policies that are kept because events name them.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Components.
    pub components: Vec<Component>,
    /// Policies.
    pub policies: Vec<PolicyText>,
}

/// A component as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// The capabilities that it provides.
    pub ids: Vec<CapabilityId>,
    /// The WASM file.
    pub bytes: Bytes,
    /// What `describe` answered.
    pub describe: String,
}

/// A policy as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    /// The SHA-256 of the text.
    pub digest: Digest,
    /// Where it was loaded from, for people.
    pub name: String,
    /// The file as it was read.
    pub text: String,
}

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Written with the next durable append of anybody, or when much has gathered, or when the journal is closed.
    Lazy,
    /// Written at once, together with everything that waits; answered after the commit.
    Sync,
}

/// See [`Journal::append`].
#[derive(Clone, Debug)]
pub struct Append {
    /// Who.
    pub author: Author,
    /// When each happened and what; stored with the later of that time and the one of the event before.
    pub events: Vec<(Timestamp, Event)>,
    /// What the events name and what is not stored yet.
    pub payloads: Vec<Payload>,
    /// What people are to be told because of the events.
    pub messages: Vec<Message>,
    /// The row's new state, if it changes.
    pub summary: Option<Summary>,
    /// What must not be erased for it to be appended.
    pub needs: Vec<Digest>,
    /// When it is answered.
    pub durability: Durability,
}

impl Append {
    /// An append of an owner without payloads.
    pub fn by_owner(epoch: u64, durability: Durability, events: Vec<(Timestamp, Event)>) -> Append {
        Append {
            author: Author::Owner { epoch, expected_seq: None },
            events,
            payloads: Vec::new(),
            messages: Vec::new(),
            summary: None,
            needs: Vec::new(),
            durability,
        }
    }

    /// An append of somebody who is not the owner.
    pub fn by_anyone(expected_seq: u64, at: Timestamp, event: Event) -> Append {
        Append {
            author: Author::Anyone { expected_seq },
            events: vec![(at, event)],
            payloads: Vec::new(),
            messages: Vec::new(),
            summary: None,
            needs: Vec::new(),
            durability: Durability::Sync,
        }
    }

    /// With payloads.
    pub fn with_payloads(mut self, payloads: Vec<Payload>) -> Append {
        self.payloads = payloads;
        self
    }

    /// With messages.
    pub fn with_messages(mut self, messages: Vec<Message>) -> Append {
        self.messages = messages;
        self
    }

    /// With a new state of the row.
    pub fn with_summary(mut self, summary: Summary) -> Append {
        self.summary = Some(summary);
        self
    }
}

/// What a durable append, or a lazy one that became durable, is answered with.
///
/// Of a durable append by an owner, the three lists together are all events of the run since the last such answer, each told
/// once. Of any other, only `entries` has any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// The events of this append, as stored.
    pub entries: Vec<Entry>,
    /// Lazy events of the same owner, as stored.
    pub lazy: Vec<Entry>,
    /// What others appended.
    pub foreign: Vec<Entry>,
}

impl Appended {
    /// The events that it tells of: all of the run after the first number, up to the second. None if there are none.
    pub fn span(&self) -> Option<(u64, u64)> {
        let all = self.lazy.iter().chain(&self.foreign).chain(&self.entries);
        let last = all.clone().map(|entry| entry.seq).max()?;
        Some((last.saturating_sub(all.count() as u64), last))
    }

    /// All of them, in the order of the chain.
    pub fn in_order(self) -> Vec<Entry> {
        let mut all: Vec<Entry> = self.lazy.into_iter().chain(self.foreign).chain(self.entries).collect();
        all.sort_by_key(|entry| entry.seq);
        all
    }
}

/// An event as it is stored: also one of a kind that this version does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry {
    /// 1 for the first event of its chain.
    pub seq: u64,
    /// When; never before the previous event.
    pub at: Timestamp,
    /// Its hash.
    pub hash: Digest,
    /// What happened, as it was hashed.
    pub event: Value,
}

/// What is found of the owner before when a run is taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// What it noted for attempts that have no `RESULT`.
    pub noted: Vec<TargetNote>,
    /// Targets of steps that had succeeded and that are not as they were left.
    pub lost: Vec<LostTarget>,
}

/// The answer to [`Journal::take_over`].
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The new owner's epoch.
    pub epoch: u64,
    /// The `OWNER` event.
    pub entry: Entry,
}

/// What is known of a run without reading its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The last event that is counted in: if others appended what its author does not know, less is kept of it.
    pub seq: u64,
    /// The state as it is shown.
    pub state: RunState,
    /// While it is paused, the earliest moment at which it can move without a person.
    pub due: Option<Timestamp>,
}

impl Summary {
    /// That of a state.
    pub fn of(state: &State) -> Summary {
        let shown = state.shown();
        let due = if shown == RunState::Paused { due(state) } else { None };
        Summary { seq: state.seq, state: shown, due }
    }

    /// When the run is due, if `seq` is its last event: what others appended may have made it due earlier.
    pub(in crate::journal) fn due_after(&self, seq: u64) -> Option<Timestamp> {
        self.due.filter(|_| self.seq == seq)
    }
}

/// See [`Journal::runs`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<RunRow>,
    /// Rows that stand among them and cannot be read.
    pub damaged: Vec<DamagedRow>,
}

/// A row of the table of runs that is not of the form in which rows are written. The chain of its run may be whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRow {
    /// What stands there for the run's id.
    pub run: String,
    /// What is wrong.
    pub what: String,
}

/// A run in the table of runs: an index, derived from its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Its workflow's name.
    pub workflow: String,
    /// On whose behalf.
    pub principal: Principal,
    /// The state of the last [`Summary`].
    pub state: RunState,
    /// If it is paused, the earliest moment at which it can move without a person, as far as that is known. A row does not know
    /// it if an older version of this program wrote it last, or somebody who did not know all of the run's events.
    pub due: Option<Timestamp>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// When it was closed; none while it goes on or is undone.
    pub closed: Option<Timestamp>,
    /// The key under which it was submitted.
    pub run_key: Option<String>,
    /// The epoch of its owner.
    pub epoch: u64,
    /// The process that owns it: the name of its owner file.
    pub owner: String,
    /// Its last event.
    pub seq: u64,
    /// The hash of its last event.
    pub head: Digest,
}

/// Which runs are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those that are shown in this state.
    pub state: Option<RunState>,
    /// Only those that are closed, or only those that are not.
    pub closed: Option<bool>,
    /// Only those of which it is not known that they are due after this moment.
    pub due: Option<Timestamp>,
    /// Which come first.
    pub order: RunOrder,
}

/// In which order runs are listed: that in which they were submitted, or the reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunOrder {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}
