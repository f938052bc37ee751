//! Components of others: where they come from, whose they are, and which of them runs may use.
//!
//! `redress.lock` beside the settings names every component that was installed, by the digest of its bytes, with what it said
//! of itself then. Runs use these bytes and no others. In this order, a component is installed:
//!
//! 1. its bytes are read once, from a file or a registry, and hashed; nothing is read again afterwards
//! 2. the sandbox loads it, which checks what it says of itself
//! 3. a signature beside it is verified; the policy says whose signatures count for its ids (`signature`, [`crate::policy`])
//! 4. the policy says who may provide which ids; no two components provide the same one
//! 5. if it replaces another version, the difference is shown: one that asks for more, or changes what agents read, is
//!    installed only if somebody accepts it ([`differences`])
//! 6. its bytes are kept, and then the lock is written; a process that dies in between has changed nothing that counts
//!
//! | module | what is inside |
//! |---|---|
//! | `source` | `FILE`, `oci://REGISTRY/NAME:TAG` or `@DIGEST` |
//! | `registry` | pulling from and pushing to registries, in the layout for WebAssembly of the CNCF |
//! | `signature` | detached signatures that minisign makes |
//! | `lock`, `store` | what is installed, and its bytes |
//! | `difference` | what an upgrade changes |

mod difference;
mod lock;
mod registry;
mod signature;
mod source;
mod store;

use std::path::Path;

use thiserror::Error;

pub use difference::{Difference, differences};
pub use lock::{Lock, Locked, SignedBy};
pub use registry::{Artifact, Pushed, Registry};
pub use signature::admit;
pub use source::Source;
pub use store::Store;

/// The largest component that is installed.
pub const MAX_COMPONENT: usize = 128 << 20;

/// Why a component was not installed, or cannot be used.
#[derive(Debug, Error)]
pub enum InstallError {
    /// What was asked for cannot be meant, or does not load.
    #[error("{message}")]
    Usage {
        /// A word for programs.
        code: &'static str,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// It could be done, and is not let.
    #[error("{message}")]
    Refused {
        /// A word for programs.
        code: &'static str,
        /// Why.
        message: String,
        /// What to do.
        help: String,
    },
    /// A folder or file of the host.
    #[error("`{path}`: {error}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

impl InstallError {
    fn usage(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> InstallError {
        InstallError::Usage { code, message: message.into(), help: help.into() }
    }

    /// It could be done, and is not let.
    pub fn refused(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> InstallError {
        InstallError::Refused { code, message: message.into(), help: help.into() }
    }

    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> InstallError {
        let path = path.display().to_string();
        move |error| InstallError::Io { path, error }
    }
}
