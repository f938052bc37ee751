//! Checkpoints: signed statements over where all chains end.
//!
//! Whoever can write the journal can write all of it anew, with every hash. A statement that is kept elsewhere shows that: it
//! names the head of the system chain, which binds every event of that chain before it, the earlier statements included, and the
//! heads of the runs that went on since the statement before. So one statement binds all chains as they were then.
//!
//! One is made in the same commit in which a run is closed, or in which enough events or time have gathered since the last one;
//! after a time without writing, and when a journal is closed, if anything is not stated yet. It is an event of the system chain,
//! and is handed over to wherever the operator says ([`HandOver`]), in order, until that has it.
//!
//! A statement is signed over its canonical bytes (RFC 8785) with a key that is made when the journal is first opened for
//! writing. The key lies beside the journal: it keeps others from making statements, not the owner of the machine.

mod hand_over;
mod key;
mod make;

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::types::{CanonicalError, Digest, Duration, RunId, Timestamp, canonical_bytes, sha256};

pub use hand_over::HandOver;
pub(super) use hand_over::{Courier, begin_after};
pub(super) use key::{FILE as KEY_FILE, SigningKey};
pub use key::{PublicKey, Signature};
pub(super) use make::Notary;

/// How a statement is found among the events of the system chain: in the text of anything else its quotation marks are escaped.
const KIND: &[u8] = br#""kind":"CHECKPOINT""#;

/// When statements are made, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// After how many events at the latest. 1000 unless set.
    pub every_events: u64,
    /// After how long at the latest, if anything was written. A minute unless set.
    pub every: Duration,
    /// Where they are handed over to; nowhere unless set.
    pub hand_over: Option<HandOver>,
}

impl Default for Checkpoints {
    fn default() -> Checkpoints {
        Checkpoints { every_events: 1_000, every: Duration::from_secs(60), hand_over: None }
    }
}

/// Where a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Its last event.
    pub seq: u64,
    /// The hash of that event.
    pub hash: Digest,
}

/// Where the chain of a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadOfRun {
    /// The run.
    pub run: RunId,
    /// Its last event.
    pub seq: u64,
    /// The hash of that event.
    pub hash: Digest,
}

/// What is stated. It speaks of everything that was in the journal before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The number of this form: 1.
    pub schema: u32,
    /// 1 for the first statement of a journal, and one more each time.
    pub number: u64,
    /// The time of the last event.
    pub at: Timestamp,
    /// The key that signs it.
    pub key: PublicKey,
    /// The digest of the statement before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The number of the last event in the order of appending.
    pub events: u64,
    /// Where the system chain ends.
    pub system: Head,
    /// Where the chains end that had events since the statement before, by run.
    pub runs: Vec<HeadOfRun>,
}

impl Statement {
    /// The bytes that are signed.
    pub fn canonical(&self) -> Result<Vec<u8>, CanonicalError> {
        let value = serde_json::to_value(self).map_err(|error| CanonicalError::Syntax(error.to_string()))?;
        canonical_bytes(&value)
    }

    /// What the next statement names it by: the SHA-256 of its canonical bytes.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        self.canonical().map(|bytes| sha256(&bytes))
    }
}

/// A statement with its signature, as it stands in the system chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// What is stated.
    pub statement: Statement,
    /// Over the canonical bytes, by the statement's key.
    pub signature: Signature,
}

/// A statement as it is handed over: one line of JSON, with the very bytes that were signed as a text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    statement: String,
    signature: Signature,
}

/// Why a line is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACheckpoint {
    /// Not the JSON that is handed over.
    #[error("it is not a checkpoint: {0}")]
    Form(String),
    /// The statement is not in canonical form, or says something that this version does not know.
    #[error("its statement cannot be read: {0}")]
    Statement(String),
    /// The signature does not fit.
    #[error("its signature is not one of the key that it names")]
    Signature,
}

impl Checkpoint {
    /// Whether the signature fits the statement and the key that it names. Whose key that is, is another question.
    pub fn is_signed(&self) -> bool {
        self.statement.canonical().is_ok_and(|bytes| self.statement.key.verifies(&bytes, &self.signature))
    }

    /// The line that is handed over, without its end.
    pub fn to_line(&self) -> Result<String, CanonicalError> {
        let statement = String::from_utf8_lossy(&self.statement.canonical()?).into_owned();
        serde_json::to_string(&Line { statement, signature: self.signature })
            .map_err(|error| CanonicalError::Syntax(error.to_string()))
    }

    /// Reads a line that was handed over, and checks its signature.
    pub fn from_line(line: &str) -> Result<Checkpoint, NotACheckpoint> {
        let Line { statement: text, signature } =
            serde_json::from_str(line).map_err(|error| NotACheckpoint::Form(error.to_string()))?;
        let statement: Statement =
            serde_json::from_str(&text).map_err(|error| NotACheckpoint::Statement(error.to_string()))?;
        let canonical = statement.canonical().map_err(|error| NotACheckpoint::Statement(error.to_string()))?;
        if canonical != text.as_bytes() {
            return Err(NotACheckpoint::Statement("its bytes are not in canonical form".to_owned()));
        }
        let checkpoint = Checkpoint { statement, signature };
        if checkpoint.is_signed() { Ok(checkpoint) } else { Err(NotACheckpoint::Signature) }
    }
}

/// The key file of the journal at `path`.
pub(super) fn key_file(path: &std::path::Path) -> PathBuf {
    super::place::folder(path).join(KEY_FILE)
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}
