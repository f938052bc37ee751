use thiserror::Error;

use super::submit::Submittal;
use crate::journal::JournalError;
use crate::saga::{Illegal, RunState};
use crate::sandbox::{LoadError, SandboxError};
use crate::types::{CapabilityId, Digest, RunId};

/// What stops the engine, or makes it refuse.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The journal failed or refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The events of a run contradict the rules: the journal was changed, or the engine has a bug.
    #[error("run {run}: {illegal}")]
    Illegal {
        /// The run.
        run: RunId,
        /// The event and the rule.
        illegal: Illegal,
    },
    /// What somebody asked for is not possible in the state of the run.
    #[error("refused: {why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// A run was submitted under the same key, and not the same way.
    #[error("the run key `{key}` names run {run}, {}", .what.difference())]
    KeyTaken {
        /// The key.
        key: String,
        /// The run that it names.
        run: RunId,
        /// In what the two differ.
        what: Submittal,
    },
    /// There is no such run.
    #[error("there is no run `{0}`")]
    NoSuchRun(RunId),
    /// The run is driven by another process that is alive.
    #[error("run {run} is driven by another process (owner {owner})")]
    Owned {
        /// The run.
        run: RunId,
        /// The id of that process.
        owner: String,
    },
    /// The run does not take what it was given in this state.
    #[error("run {run} is {state}")]
    WrongState {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
    },
    /// A component that a run needs is not there.
    #[error("the component {digest} is neither installed nor kept in the journal")]
    MissingComponent {
        /// Its digest.
        digest: Digest,
    },
    /// No component provides a capability.
    #[error("no component provides `{0}`")]
    UnknownCapability(CapabilityId),
    /// A payload that a run needs was erased.
    #[error("run {run}: the {what} was erased")]
    Erased {
        /// The run.
        run: RunId,
        /// What.
        what: &'static str,
    },
    /// A component does not load.
    #[error("{file}: {error}")]
    Component {
        /// The file.
        file: String,
        /// Why.
        error: LoadError,
    },
    /// Two components provide the same capability.
    #[error("{file}: `{capability}` is provided by {other} already")]
    Duplicate {
        /// The file.
        file: String,
        /// The capability.
        capability: CapabilityId,
        /// The other component.
        other: String,
    },
    /// The sandbox cannot be set up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The host failed in a way that it does not know.
    #[error("the engine failed while it ran a step, which is a bug: {why}")]
    Bug {
        /// What is known of it.
        why: String,
    },
    /// A file or folder cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A grant would let a component change what guards it.
    #[error("{why}")]
    UnsafeGrant {
        /// Which grant, and what it contains.
        why: String,
    },
}

impl EngineError {
    /// A word that programs compare.
    pub fn code(&self) -> &'static str {
        match self {
            EngineError::Journal(_) => "journal",
            EngineError::Illegal { .. } => "illegal-event",
            EngineError::Refused { .. } => "refused",
            EngineError::KeyTaken { .. } => "run-key-taken",
            EngineError::NoSuchRun(_) => "no-such-run",
            EngineError::Owned { .. } => "owned",
            EngineError::WrongState { .. } => "wrong-state",
            EngineError::MissingComponent { .. } => "missing-component",
            EngineError::UnknownCapability(_) => "unknown-capability",
            EngineError::Erased { .. } => "erased",
            EngineError::Component { .. } => "component",
            EngineError::Duplicate { .. } => "duplicate-capability",
            EngineError::Sandbox(_) => "sandbox",
            EngineError::Bug { .. } => "bug",
            EngineError::Io { .. } => "io",
            EngineError::UnsafeGrant { .. } => "unsafe-grant",
        }
    }

    /// Whether the engine works and says no: such a request is recorded. What failed is not a refusal.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            EngineError::Refused { .. }
                | EngineError::KeyTaken { .. }
                | EngineError::WrongState { .. }
                | EngineError::MissingComponent { .. }
                | EngineError::UnknownCapability(_)
        )
    }
}
