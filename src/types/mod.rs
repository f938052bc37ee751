//! Plain types that every room shares: ids, digests, times, risk, grants, failures.
//!
//! They are parsed once, at the edge, and are valid from then on. Nothing here does I/O, reads a clock or draws a random
//! number, and no type here knows a room.

mod address;
mod canonical;
mod capability;
mod digest;
mod failure;
mod glob;
mod grant;
mod id;
mod limits;
mod network;
mod permission;
mod resource;
mod retry;
mod target;
mod time;

pub use address::AddressClass;
pub use canonical::{
    CanonicalError, MAX_SAFE_INTEGER, canonical_bytes, is_written_as_unsafe, parse_strict, reads_strictly,
};
pub use capability::{CapabilityInfo, Catalog, EffectKind, MapCatalog, Risk};
pub use digest::{Digest, PayloadRef, Salt, salted_digest, sha256};
pub use failure::{Failure, MAX_MESSAGE, code, cut};
pub use glob::{PatternError, check_characters, wild};
pub use grant::{Access, DirGrant, Grant, below};
pub use id::{CapabilityId, IdError, Principal, RunId, StepName};
pub use limits::{LimitOverrides, LimitUnit, Limits};
pub use network::{HttpMethod, Opened, SecretGrant, SecretSource, UrlGrant, opened};
pub use permission::{Permission, PermissionError};
pub use resource::{ResourceGlob, UrlParts};
pub use retry::Retry;
pub use target::{Effect, EffectStatus, Exchange, Target, TargetState};
pub use time::{Duration, DurationError, Timestamp};

use serde::{Deserialize, Serialize};

/// The policy's answer, ordered from the loosest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// The step may run.
    Allow,
    /// The step runs after sufficient valid votes.
    RequireApproval,
    /// The step does not run.
    Deny,
}

impl Action {
    /// The word in files and output: `ALLOW`, `REQUIRE_APPROVAL`, `DENY`.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "ALLOW",
            Action::RequireApproval => "REQUIRE_APPROVAL",
            Action::Deny => "DENY",
        }
    }

    /// Reads the word, exactly as written in [`Action::as_str`].
    pub fn parse(word: &str) -> Option<Action> {
        [Action::Allow, Action::RequireApproval, Action::Deny].into_iter().find(|a| a.as_str() == word)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
