//! What `audit verify` can find, one flaw a kind: of the file and its tables, of a chain, of a payload, of what is kept, of the statements
//! in the system chain and of those that are held elsewhere, and of what events mean.

use std::fmt;

use thiserror::Error;

use crate::types::{Digest, RunId};

/// One place of the journal that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The chain: a run's id, `system`, `database` for the file itself, or `schema` for its tables.
    pub chain: String,
    /// The event's place in its chain; 0 for the chain as a whole.
    pub seq: u64,
    /// What is wrong with it.
    pub what: Flaw,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            0 => write!(f, "chain `{}`: {}", self.chain, self.what),
            seq => write!(f, "event {seq} of chain `{}`: {}", self.chain, self.what),
        }
    }
}

/// What can be wrong with an event, as it is read or verified.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The bytes are not strict JSON, or not of the outer form of an event.
    #[error("its bytes are not an event: {0}")]
    Form(String),
    /// Of a version of the format that is not known here.
    #[error("it is of format version {0}, which this program does not know")]
    Version(u64),
    /// A kind, or a field of it, that is not known here.
    #[error("this program cannot read its kind `{kind}`: {error}")]
    Kind {
        /// The kind that it names.
        kind: String,
        /// What the decoder said.
        error: String,
    },
    /// The bytes belong to another place.
    #[error("its bytes belong to event {seq} of chain `{chain}`")]
    Place {
        /// The chain that the bytes name.
        chain: String,
        /// The place that they name.
        seq: u64,
    },
    /// The hash does not follow.
    #[error("its hash does not follow from its bytes and the hash before it")]
    Hash,
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It was not appended in this order.
    #[error("it stands before its predecessor in the order of appending")]
    Order,
    /// Its time is before that of its predecessor.
    #[error("its time is before that of its predecessor")]
    Time,
    /// A payload that it names is neither stored nor marked as erased.
    #[error("its payload `{0}` is missing")]
    PayloadMissing(Digest),
    /// A payload that it names is marked as erased.
    #[error("its payload `{0}` was erased")]
    PayloadErased(Digest),
    /// A payload that it names was changed.
    #[error("its payload `{0}` was changed")]
    PayloadChanged(Digest),
    /// The bytes of the component or policy that it names are missing or were changed.
    #[error("the kept bytes of `{0}` are missing or were changed")]
    KeptChanged(Digest),
    /// What stands beside the kept bytes of a component or policy is not what was recorded of it.
    #[error("the kept `{column}` of `{digest}` is not the one that was recorded")]
    KeptDiffers {
        /// The component or policy.
        digest: Digest,
        /// What differs.
        column: &'static str,
    },
    /// A component or policy is kept that no event names.
    #[error("it does not name `{0}`, which is kept")]
    Unnamed(Digest),
    /// A run begins with `RUN_SUBMITTED`, and only begins with it.
    #[error("a run begins with `RUN_SUBMITTED`, once")]
    Start,
    /// The system chain recorded another hash for it.
    #[error("event {0} of the system chain recorded another hash for it")]
    Head(u64),
    /// The system chain knows nothing of a head that it should have recorded.
    #[error("the system chain did not record it")]
    Unrecorded,
    /// The table of runs says something else.
    #[error("the table of runs has another `{0}`")]
    Row(&'static str),
    /// The chain has no row in the table of runs.
    #[error("the table of runs does not have it")]
    NoRow,
    /// A chain that is neither the system's nor a run's.
    #[error("there is no such kind of chain")]
    Chain,
    /// Tables, indexes, views or triggers are not those of a journal.
    #[error("{0}")]
    Parts(String),
    /// The database ends before what was written last.
    #[error("it has lost its end: {known} events were written, and {found} are there")]
    End {
        /// How many events are there.
        found: u64,
        /// How many are known to have been written.
        known: u64,
    },
    /// A statement is not what follows from the events before it, or not signed by the key that signs.
    #[error("its statement {0}")]
    Statement(&'static str),
    /// A key claims that the one before vouches for it, which it does not.
    #[error("the key before does not vouch for the one that it adds")]
    Key,
    /// It takes something out of the journal, or adds a key, and whoever has the key did not state it.
    #[error("no checkpoint follows on it, so that nobody who has the key says that it was so")]
    NotStated,
    /// A run was removed that was not closed where it says.
    #[error("it says that `{0}` was removed, which had not been closed so")]
    NotClosed(RunId),
    /// Nobody vouches for a key, from the one on that was given.
    #[error("nobody vouches for the key that it adds, from the one on that was given")]
    Unvouched,
    /// The key that was given never signed here.
    #[error("the key that was given never signed here")]
    NotTheKey,
    /// A statement that is kept elsewhere says that this event was another one.
    #[error(
        "checkpoint {number}, which is kept elsewhere, states another hash for it{}",
        agreed.map_or_else(String::new, |seq| format!("; up to event {seq} it agrees with one before"))
    )]
    Held {
        /// The number of the statement.
        number: u64,
        /// The last event of this chain that an earlier such statement agrees with.
        agreed: Option<u64>,
    },
    /// A statement that is kept elsewhere speaks of events after the end of the chain.
    #[error("checkpoint {number}, which is kept elsewhere, states that it was there, and the chain ends before it")]
    Behind {
        /// The number of the statement.
        number: u64,
    },
    /// A statement that is kept elsewhere is signed by a key that never signed here.
    #[error("checkpoint {number}, which is kept elsewhere, is signed by a key that never signed here")]
    Stranger {
        /// The number of the statement.
        number: u64,
    },
    /// A payload is stored that no event of its run names, or for another run.
    #[error("a payload is stored for it that none of its events names")]
    PayloadUnnamed,
    /// A payload of which it is recorded that it was erased is there.
    #[error("its payload `{0}` was erased, and is there again")]
    NotErased(Digest),
    /// A run that was removed is there.
    #[error("event {0} of the system chain says that it was removed, and there is something of it")]
    NotPruned(u64),
    /// What it says cannot have happened so.
    #[error("{0}")]
    Meaning(String),
    /// What the database's own check says.
    #[error("{0}")]
    Database(String),
}
