//! A journal in memory: what is durable, what waits for the next commit, and who may append.

use std::collections::{BTreeMap, VecDeque};

use redress::saga::event::{Entry, Event, TargetNote};
use redress::saga::{Author, NotAdmitted, State};
use redress::types::{Digest, PayloadRef, Salt, Timestamp};

/// An append that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub ticket: u64,
    pub author: Author,
    pub at: Timestamp,
    pub event: Event,
}

/// The answer to an append.
pub struct Answer {
    pub ticket: u64,
    pub author: Author,
    pub entry: Result<Entry, NotAdmitted>,
}

#[derive(Default)]
pub struct Journal {
    pub durable: Vec<Entry>,
    pub waiting: VecDeque<Waiting>,
    pub epoch: u64,
    pub payloads: BTreeMap<Digest, Vec<u8>>,
    /// States of further targets: not synced, so that they survive the process and not the machine.
    pub noted: Vec<TargetNote>,
    /// How often the machine went down.
    pub boots: u64,
    /// What the durable events amount to.
    pub folded: Option<State>,
    tickets: u64,
}

impl Journal {
    pub fn keep(&mut self, bytes: &[u8]) -> PayloadRef {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&(self.payloads.len() as u64).to_le_bytes());
        let reference = PayloadRef::new(&Salt(salt), bytes);
        self.payloads.insert(reference.digest, bytes.to_vec());
        reference
    }

    pub fn payload(&self, reference: &PayloadRef) -> Vec<u8> {
        self.payloads.get(&reference.digest).cloned().unwrap_or_default()
    }

    pub fn enqueue(&mut self, author: Author, at: Timestamp, event: Event) -> u64 {
        self.tickets += 1;
        self.waiting.push_back(Waiting { ticket: self.tickets, author, at, event });
        self.tickets
    }

    /// Makes everything that waits durable, in order.
    pub fn commit(&mut self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        while let Some(Waiting { ticket, author, at, event }) = self.waiting.pop_front() {
            let head = self.durable.len() as u64;
            let answer = match author.admit(self.epoch, head) {
                Err(refused) => Err(refused),
                Ok(()) => {
                    // I12, without asking the core.
                    if let Author::Owner { epoch, .. } = author
                        && epoch != self.epoch
                    {
                        return Err(format!(
                            "I12: an owner of epoch {epoch} appended {} in epoch {}",
                            event.kind(),
                            self.epoch
                        ));
                    }
                    Ok(self.push(at, event)?)
                }
            };
            answers.push(Answer { ticket, author, entry: answer });
        }
        Ok(answers)
    }

    /// Appends one durable event.
    pub fn push(&mut self, at: Timestamp, event: Event) -> Result<Entry, String> {
        let last = self.durable.last().map_or(Timestamp(0), |entry| entry.at);
        let entry = Entry { seq: self.durable.len() as u64 + 1, at: at.max(last), event };
        match &mut self.folded {
            None => self.folded = Some(State::begin(&entry).map_err(|illegal| illegal.to_string())?),
            Some(state) => {
                if let Err(illegal) = state.apply(&entry) {
                    return Err(format!("the journal cannot be read any more: {illegal}"));
                }
            }
        }
        if let Event::Owner(owner) = &entry.event {
            self.epoch = owner.epoch;
        }
        self.durable.push(entry.clone());
        Ok(entry)
    }
}
