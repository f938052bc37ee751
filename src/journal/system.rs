//! The system chain: what happened that belongs to no run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, HeadOfRun, PublicKey, Signature};
use crate::types::{CapabilityId, Digest, Principal, RunId, Timestamp};

/// One event of the system chain, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemEntry {
    /// 1 for the first event of the chain.
    pub seq: u64,
    /// When; never before the previous event.
    pub at: Timestamp,
    /// What.
    pub event: SystemEvent,
}

/// What happened that belongs to no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum SystemEvent {
    /// A policy's text was kept for the first time.
    PolicyLoaded {
        /// The digest of its text.
        digest: Digest,
        /// Where it was loaded from.
        name: String,
    },
    /// A component was kept for the first time.
    ComponentAdded {
        /// The digest of its bytes.
        digest: Digest,
        /// The capabilities that it provides.
        ids: Vec<CapabilityId>,
        /// The digest of what it says of itself; none in journals from before that was recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        describe: Option<Digest>,
    },
    /// A run began or was closed: where its chain was then.
    RunHead {
        /// The run.
        run: RunId,
        /// Its event.
        seq: u64,
        /// The hash of that event.
        hash: Digest,
        /// Which of the two.
        at: HeadAt,
    },
    /// A key signs statements from here on.
    KeyAdded {
        /// Its public half.
        key: PublicKey,
        /// The key before, if that vouches for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<PublicKey>,
        /// Of the key before, over the text of this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Signature>,
        /// Who rotated it; none if it was made because there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Principal>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Where all chains ended.
    Checkpoint(Checkpoint),
    /// Payloads of a run were erased: their digests stay in its events.
    Erased {
        /// The run.
        run: RunId,
        /// Why they were.
        why: Erasure,
        /// Their digests.
        payloads: Vec<Digest>,
        /// Who did; none if that is what the settings say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Principal>,
        /// The reason that was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Closed runs were removed, with all that was stored of them.
    Pruned {
        /// Where their chains ended.
        runs: Vec<HeadOfRun>,
        /// Runs that were closed before this moment.
        before: Timestamp,
        /// Who did.
        by: Principal,
        /// The reason that was given.
        reason: String,
    },
    /// Whoever has a secret acts as somebody from here on.
    TokenAdded {
        /// Its name.
        id: String,
        /// The SHA-256 of the secret, which is kept nowhere.
        digest: Digest,
        /// Who it acts as.
        principal: Principal,
        /// For whom, if for somebody else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acting_for: Option<Principal>,
        /// What it may be used for.
        scopes: BTreeSet<Scope>,
        /// Until when; for ever if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
        /// Who made it.
        by: Principal,
        /// Why.
        reason: String,
    },
    /// A token counts no more.
    TokenRevoked {
        /// Its name.
        id: String,
        /// Who revoked it.
        by: Principal,
        /// Why.
        reason: String,
    },
    /// A backup was made the journal.
    Adopted {
        /// Who did.
        by: Principal,
        /// Why.
        reason: String,
        /// How many runs were going on in it.
        runs: u64,
    },
    /// Something was asked for and refused before it became part of a run.
    Refused {
        /// Who asked, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Principal>,
        /// What was asked for.
        request: String,
        /// A word that programs compare.
        code: String,
        /// One sentence for a person.
        message: String,
    },
}

/// The longest text of a refused request that is kept, in bytes.
const LONGEST: usize = 512;

impl SystemEvent {
    /// A refused request. What is long is cut; inputs, reasons and secrets must not be in it.
    pub fn refused(by: Option<Principal>, request: &str, code: &str, message: &str) -> SystemEvent {
        let cut = |text: &str| text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned();
        SystemEvent::Refused { by, request: cut(request), code: cut(code), message: cut(message) }
    }

    /// The kind as it stands in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            SystemEvent::PolicyLoaded { .. } => "POLICY_LOADED",
            SystemEvent::ComponentAdded { .. } => "COMPONENT_ADDED",
            SystemEvent::RunHead { .. } => "RUN_HEAD",
            SystemEvent::KeyAdded { .. } => "KEY_ADDED",
            SystemEvent::Checkpoint(_) => "CHECKPOINT",
            SystemEvent::Erased { .. } => "ERASED",
            SystemEvent::Pruned { .. } => "PRUNED",
            SystemEvent::TokenAdded { .. } => "TOKEN_ADDED",
            SystemEvent::TokenRevoked { .. } => "TOKEN_REVOKED",
            SystemEvent::Adopted { .. } => "ADOPTED",
            SystemEvent::Refused { .. } => "REFUSED",
        }
    }
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// To submit runs and steps, and to see, cancel and roll back one's own.
    Submit,
    /// To see the runs of all.
    ReadAll,
    /// To see what waits for approval, and to vote.
    Vote,
    /// To cancel, undo and repair the runs of all.
    Operate,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 4] = [Scope::Submit, Scope::ReadAll, Scope::Vote, Scope::Operate];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Submit => "submit",
            Scope::ReadAll => "read-all",
            Scope::Vote => "vote",
            Scope::Operate => "operate",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Why payloads were erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Erasure {
    /// An operator asked for it.
    Redacted,
    /// The time for which they are kept was over.
    Expired,
}

impl Erasure {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Erasure::Redacted => "redacted",
            Erasure::Expired => "expired",
        }
    }
}

/// When a run's head is recorded in the system chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadAt {
    /// After `OWNER` with epoch 1.
    Start,
    /// At each `RUN_CLOSED`.
    Close,
}
