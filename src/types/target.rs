use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// What an effect touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// A path.
    File {
        /// The resolved absolute path on the host.
        host: String,
        /// The path as the component sees it.
        guest: String,
    },
}

impl Target {
    /// The absolute host path of a file target.
    pub fn host_path(&self) -> Option<&str> {
        match self {
            Target::File { host, .. } => Some(host),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File { guest, .. } => f.write_str(guest),
        }
    }
}

/// The state of a file target at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum TargetState {
    /// Nothing is there.
    Absent,
    /// A regular file. Up to 64 MiB its content is digested; above, its time and inode stand in.
    File {
        /// Length in bytes.
        len: u64,
        /// SHA-256 of the content; none above 64 MiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
        /// Modification time in nanoseconds since 1970, where the content was not digested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime_ns: Option<String>,
        /// The inode, in decimal, where the content was not digested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inode: Option<String>,
    },
    /// A directory; device and inode where it was moved.
    Directory {
        /// The device, in decimal, if the directory was moved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        /// The inode, in decimal, if the directory was moved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inode: Option<String>,
    },
    /// A symbolic link and what it says.
    Link {
        /// Its text.
        to: String,
    },
    /// Something that cannot be looked at, with the reason.
    Unknown {
        /// The system's error.
        error: String,
    },
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetState::Absent => f.write_str("absent"),
            TargetState::File { len, sha256: Some(digest), .. } => write!(f, "file of {len} bytes, {}", digest.short()),
            TargetState::File { len, mtime_ns: Some(time), .. } => {
                write!(f, "file of {len} bytes, changed at {time} ns")
            }
            TargetState::File { len, .. } => write!(f, "file of {len} bytes"),
            TargetState::Directory { inode: Some(inode), .. } => write!(f, "directory with inode {inode}"),
            TargetState::Directory { .. } => f.write_str("directory"),
            TargetState::Link { to } => write!(f, "link to {to}"),
            TargetState::Unknown { error } => write!(f, "unknown: {error}"),
        }
    }
}

/// How far an effect came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectStatus {
    /// The host or the system refused it, and nothing changed.
    Refused,
    /// It was let out and not answered.
    LetOut,
    /// It was let out and reported as done.
    Done,
    /// It was let out and reported as failed: it may have changed something.
    Failed,
}

/// One effect, or a group of the same kind on the same target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// Such as `fs.create`, `fs.write`, `fs.truncate`, `fs.mkdir`, `fs.rename`, `fs.unlink`, `fs.rmdir`, `fs.link`, `fs.symlink`, `fs.set-times`.
    pub kind: String,
    /// What it touched; of a rename, where it came from.
    pub target: Target,
    /// Of a rename or link, where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
    /// How far it came.
    pub status: EffectStatus,
    /// Bytes written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
