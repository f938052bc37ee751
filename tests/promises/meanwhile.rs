//! A journal in which something happens between two looks at it, or that cannot be read for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use redress::journal::{
    Append, Appended, Component, Journal, JournalError, Kept, Left, Message, MessageRow, Messages, NewRun,
    OwnerIdentity, Page, Pending, PolicyText, RunFilter, RunRow, SqliteJournal, Submission, SystemEntry, SystemEvent,
    Taken, TargetNote, Tried,
};
use redress::saga::event::Entry;
use redress::types::{Digest, RunId, Salt, Timestamp};

type Happens = Box<dyn FnOnce(&SqliteJournal, &RunRow) + Send>;

/// What happens right after the row of a run was read for the first time.
pub struct Meanwhile {
    journal: Arc<SqliteJournal>,
    happens: Mutex<Option<Happens>>,
    fails: AtomicBool,
}

impl Meanwhile {
    pub fn new(
        journal: Arc<SqliteJournal>,
        happens: impl FnOnce(&SqliteJournal, &RunRow) + Send + 'static,
    ) -> Arc<Meanwhile> {
        Arc::new(Meanwhile { journal, happens: Mutex::new(Some(Box::new(happens))), fails: AtomicBool::new(false) })
    }

    /// Whether events can be read from now on.
    pub fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }
}

impl Journal for Meanwhile {
    fn run(&self, run: &RunId) -> Result<Option<RunRow>, JournalError> {
        let row = self.journal.run(run)?;
        if let (Some(row), Some(happens)) = (&row, self.happens.lock().unwrap().take()) {
            happens(&self.journal, row);
        }
        Ok(row)
    }

    fn create_run(&self, run: NewRun) -> Pending<Submission> {
        self.journal.create_run(run)
    }

    fn append(&self, run: &RunId, append: Append) -> Pending<Appended> {
        self.journal.append(run, append)
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
        self.journal.take_over(run, expected_epoch, owner, left, messages, at)
    }

    fn leave(&self, run: &RunId, epoch: u64) {
        self.journal.leave(run, epoch);
    }

    fn keep(&self, kept: Kept, at: Timestamp) -> Pending<()> {
        self.journal.keep(kept, at)
    }

    fn record(&self, event: SystemEvent, at: Timestamp) -> Pending<()> {
        self.journal.record(event, at)
    }

    fn flush(&self) -> Pending<()> {
        self.journal.flush()
    }

    fn note_target(&self, run: &RunId, note: &TargetNote) -> Result<(), JournalError> {
        self.journal.note_target(run, note)
    }

    fn noted_targets(&self, run: &RunId) -> Result<Vec<TargetNote>, JournalError> {
        self.journal.noted_targets(run)
    }

    fn entries(&self, run: &RunId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(JournalError::Fatal("the disk is away".to_owned()));
        }
        self.journal.entries(run, after_seq, limit)
    }

    fn each_of(&self, run: &RunId, kinds: &[&str], each: &mut dyn FnMut(Entry)) -> Result<(), JournalError> {
        self.journal.each_of(run, kinds, each)
    }

    fn each_of_system(
        &self,
        after: u64,
        kinds: &[&str],
        each: &mut dyn FnMut(SystemEntry),
    ) -> Result<u64, JournalError> {
        self.journal.each_of_system(after, kinds, each)
    }

    fn system_entries(&self, after: u64, limit: usize) -> Result<Vec<SystemEntry>, JournalError> {
        self.journal.system_entries(after, limit)
    }

    fn system_head(&self) -> Result<Option<redress::journal::Head>, JournalError> {
        self.journal.system_head()
    }

    fn count_runs(&self) -> Result<Vec<(redress::saga::RunState, u64)>, JournalError> {
        self.journal.count_runs()
    }

    fn head(&self, run: &RunId) -> Result<Option<u64>, JournalError> {
        self.journal.head(run)
    }

    fn version(&self) -> Result<u64, JournalError> {
        self.journal.version()
    }

    fn runs(&self, filter: &RunFilter, past: Option<&RunId>, limit: usize) -> Result<Page, JournalError> {
        self.journal.runs(filter, past, limit)
    }

    fn find_by_key(&self, run_key: &str) -> Result<Option<RunId>, JournalError> {
        self.journal.find_by_key(run_key)
    }

    fn payload(&self, digest: &Digest) -> Result<Option<Bytes>, JournalError> {
        self.journal.payload(digest)
    }

    fn salt(&self, digest: &Digest) -> Result<Option<Salt>, JournalError> {
        self.journal.salt(digest)
    }

    fn component(&self, digest: &Digest) -> Result<Option<Component>, JournalError> {
        self.journal.component(digest)
    }

    fn policy(&self, digest: &Digest) -> Result<Option<PolicyText>, JournalError> {
        self.journal.policy(digest)
    }

    fn claim_message(&self, row: &MessageRow, owner: &OwnerIdentity) -> Pending<Option<Bytes>> {
        self.journal.claim_message(row, owner)
    }

    fn note_message(&self, id: &str, owner: &OwnerIdentity, tried: Tried) -> Pending<bool> {
        self.journal.note_message(id, owner, tried)
    }

    fn messages(&self, which: Messages<'_>, limit: usize) -> Result<Vec<MessageRow>, JournalError> {
        self.journal.messages(which, limit)
    }

    fn count_waiting(&self) -> Result<u64, JournalError> {
        self.journal.count_waiting()
    }

    fn free_space_ok(&self) -> Result<(), JournalError> {
        self.journal.free_space_ok()
    }
}
