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
    /// A failure that trying again does not mend. What a component makes part of its message cannot make it long: it is cut.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Failure {
        let message = cut(message.into(), MAX_MESSAGE);
        Failure { code: code.into(), message, retryable: false, retry_after_ms: None, details: None }
    }
}

/// The most characters of a failure's message.
pub const MAX_MESSAGE: usize = 4 << 10;

/// The text, or its first `most` characters.
pub fn cut(text: String, most: usize) -> String {
    if text.len() > most { text.chars().take(most).collect() } else { text }
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
    /// What the undo needs is gone.
    pub const CANNOT_UNDO: &str = "cannot-undo";
    /// The failure has no code that can be shown.
    pub const FAILED: &str = "failed";

    /// Codes that only the host gives: a component that uses one is not believed.
    pub const HOST: [&str; 24] = [
        DENIED,
        REJECTED,
        EXPIRED,
        CANCELLED,
        SKIPPED,
        INVALID_OUTPUT,
        UNKNOWN_CAPABILITY,
        NOT_GRANTED,
        NO_UNDO,
        EFFECT_FORBIDDEN,
        TRAP,
        EXITED,
        TIMEOUT,
        INTERRUPTED,
        OUT_OF_FUEL,
        OUT_OF_MEMORY,
        STACK_OVERFLOW,
        LIMIT,
        UNANSWERED,
        NO_SECRET,
        CHANGED_SINCE,
        NOT_RESTORED,
        HOST_DIED,
        CANNOT_UNDO,
    ];

    /// Codes that the contract gives a meaning: a component may use them.
    pub const CONTRACT: [&str; 8] = [
        INVALID_INPUT,
        "not-found",
        "unauthorized",
        "rate-limited",
        "unavailable",
        CONFLICT,
        UNDO_TOO_LARGE,
        NOT_SETTLED,
    ];

    /// A code of the host or of the contract; [`FAILED`] in place of a word that a component made up.
    pub fn documented(code: &str) -> &'static str {
        HOST.into_iter().chain(CONTRACT).find(|known| *known == code).unwrap_or(FAILED)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::code;

    #[test]
    fn every_code_of_the_host_that_the_contract_does_not_name_is_the_hosts_alone() {
        let source = include_str!("failure.rs");
        let text = |line: &'static str| line.split_once(": &str = \"")?.1.strip_suffix("\";");
        let all: BTreeSet<&str> = source.lines().filter_map(text).filter(|code| *code != code::FAILED).collect();
        let listed: BTreeSet<&str> = code::HOST.into_iter().collect();
        assert!(all.len() > 20 && listed.len() == code::HOST.len());
        let others: Vec<&&str> = all.iter().filter(|code| !code::CONTRACT.contains(code)).collect();
        assert_eq!(others, listed.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_word_that_a_component_made_up_is_no_documented_code() {
        assert_eq!(code::documented("changed_since"), "changed_since");
        assert_eq!(code::documented("not-found"), "not-found");
        for own in ["sk-live-4711", "component-timeout", "not-found ", ""] {
            assert_eq!(code::documented(own), "failed");
        }
    }
}
