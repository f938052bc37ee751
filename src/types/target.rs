use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, HttpMethod, UrlParts};

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
    /// What a request is sent to.
    Http {
        /// The method.
        method: HttpMethod,
        /// The URL in normal form, with its query.
        url: String,
    },
}

impl Target {
    /// The absolute host path of a file target.
    pub fn host_path(&self) -> Option<&str> {
        match self {
            Target::File { host, .. } => Some(host),
            Target::Http { .. } => None,
        }
    }

    /// What an undo of an effect on it may change: the host path, or the origin of the URL.
    pub fn reach(&self) -> String {
        match self {
            Target::File { host, .. } => host.clone(),
            Target::Http { url, .. } => UrlParts::parse(url).map_or_else(|_| url.clone(), |parts| parts.origin()),
        }
    }

    /// By what steps of a run claim it: the host path, or the URL whatever the method.
    pub fn claim_key(&self) -> &str {
        match self {
            Target::File { host, .. } => host,
            Target::Http { url, .. } => url,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File { guest, .. } => f.write_str(guest),
            Target::Http { method, url } => write!(f, "{method} {url}"),
        }
    }
}

/// The state of a target at one moment.
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
    /// The target of a request: the host cannot look at it.
    Unobserved,
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
            TargetState::Unobserved => f.write_str("not observed by the host"),
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
    /// Such as `fs.create`, `fs.write`, `fs.truncate`, `fs.mkdir`, `fs.rename`, `fs.unlink`, `fs.rmdir`, `fs.link`, `fs.symlink`, `fs.set-times`,
    /// or `http.` and the method in lower case.
    pub kind: String,
    /// What it touched; of a rename, where it came from.
    pub target: Target,
    /// Of a rename or link, where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
    /// How far it came.
    pub status: EffectStatus,
    /// Bytes written to a file, or sent as the body of a request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Of a request, with whom and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

/// A request and its answer, as the host saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The address that was dialled, with its port.
    pub address: String,
    /// The status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the answer's body.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub received: u64,
    /// SHA-256 of the body that was sent, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
    /// The names of the secrets that the host put into headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
