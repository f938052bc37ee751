//! Who may append: an owner only in its epoch, anybody else only votes and verbs, and whoever counts on the head only to
//! that head.

use thiserror::Error;

use super::event::Event;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The run's owner.
    Owner {
        /// The epoch in which it took the run.
        epoch: u64,
        /// The run's head, if the append is legal only as long as nobody else has appended.
        expected_seq: Option<u64>,
    },
    /// Any process: only `VOTE` and `OPERATOR`, and always durable.
    Anyone {
        /// The run's head when the author checked that the event is legal.
        expected_seq: u64,
    },
}

/// Why an append is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// The author is not the run's owner any more.
    #[error("the epoch is {current}, the append came from epoch {epoch}")]
    StaleEpoch {
        /// The author's epoch.
        epoch: u64,
        /// The run's epoch.
        current: u64,
    },
    /// Somebody else appended first.
    #[error("the run is at event {seq}, not {expected}")]
    HeadMoved {
        /// Where the author thought that it was.
        expected: u64,
        /// Where it is.
        seq: u64,
    },
}

impl Author {
    /// Whether an event of this kind can come from this author at all. `RUN_SUBMITTED` and `OWNER` come from neither: the
    /// journal has calls of their own for them.
    pub fn may_append(&self, event: &Event) -> bool {
        match (self, event) {
            (_, Event::RunSubmitted(_) | Event::Owner(_)) => false,
            (Author::Owner { .. }, _) => true,
            (Author::Anyone { .. }, event) => matches!(event, Event::Vote(_) | Event::Operator(_)),
        }
    }

    /// Whether an append of this author may follow the event `seq` of a run whose owner's epoch is `current`.
    pub fn admit(&self, current: u64, seq: u64) -> Result<(), NotAdmitted> {
        let expected = match *self {
            Author::Owner { epoch, expected_seq } => {
                if epoch != current && !super::planted::is(super::planted::Bug::OwnerEpoch) {
                    return Err(NotAdmitted::StaleEpoch { epoch, current });
                }
                expected_seq
            }
            Author::Anyone { expected_seq } => Some(expected_seq),
        };
        match expected.filter(|expected| *expected != seq) {
            Some(expected) => Err(NotAdmitted::HeadMoved { expected, seq }),
            None => Ok(()),
        }
    }
}
