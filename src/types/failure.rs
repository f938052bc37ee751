use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why something did not happen: from a component, the host, the policy or a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(deny_unknown_fields)]
#[error("{code}: {message}")]
pub struct Failure {
    /// A word that programs compare; the host's own are in [`code`].
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// Whether trying again may help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// The least time to wait before the next attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// More for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

impl Failure {
    /// A failure that trying again does not mend.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into(), retryable: false, retry_after_ms: None, details: None }
    }
}

/// The failure codes that the host itself gives. A component's codes are its own, save those named in the contract.
pub mod code {
    /// The policy said DENY.
    pub const DENIED: &str = "denied";
    /// A person said no.
    pub const REJECTED: &str = "rejected";
    /// Nobody approved in time.
    pub const EXPIRED: &str = "expired";
    /// The run was cancelled or rolled back before the step ran.
    pub const CANCELLED: &str = "cancelled";
    /// The step never became due, because one that it depends on failed.
    pub const SKIPPED: &str = "skipped";
    /// The input does not fit the capability's schema, or the component said so.
    pub const INVALID_INPUT: &str = "invalid-input";
    /// The output does not fit the capability's schema.
    pub const INVALID_OUTPUT: &str = "invalid-output";
    /// No component provides the capability.
    pub const UNKNOWN_CAPABILITY: &str = "unknown-capability";
    /// The effect is outside what was granted.
    pub const NOT_GRANTED: &str = "not-granted";
    /// A reversible capability tried an effect before `undo.save`.
    pub const NO_UNDO: &str = "no-undo-saved";
    /// A capability with `effect: none` tried an effect.
    pub const EFFECT_FORBIDDEN: &str = "effect-forbidden";
    /// Another step of the run, which is not an ancestor, touched the same target.
    pub const CONFLICT: &str = "conflict";
    /// The undo record is over its limit.
    pub const UNDO_TOO_LARGE: &str = "undo_too_large";
    /// The guest trapped.
    pub const TRAP: &str = "trap";
    /// The guest called `exit`.
    pub const EXITED: &str = "exited";
    /// The wall-time limit was passed.
    pub const TIMEOUT: &str = "timeout";
    /// The call was interrupted because the run is rolling back or was killed.
    pub const INTERRUPTED: &str = "interrupted";
    /// The fuel limit was passed.
    pub const OUT_OF_FUEL: &str = "out-of-fuel";
    /// The memory limit was passed.
    pub const OUT_OF_MEMORY: &str = "out-of-memory";
    /// The guest's stack was used up.
    pub const STACK_OVERFLOW: &str = "stack-overflow";
    /// Another limit was passed; the message names it.
    pub const LIMIT: &str = "limit-exceeded";
    /// A request was let out and had no whole answer.
    pub const UNANSWERED: &str = "unanswered";
    /// A secret cannot be read on the host.
    pub const NO_SECRET: &str = "no-secret";
    /// The target was changed by somebody after the step.
    pub const CHANGED_SINCE: &str = "changed_since";
    /// The undo ran, and the target is not as it was before.
    pub const NOT_RESTORED: &str = "not_restored";
    /// An undo that must wait; does not use up attempts.
    pub const NOT_SETTLED: &str = "not-settled";
    /// The host died while the attempt ran.
    pub const HOST_DIED: &str = "host-died";
}
