use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Limits, SecretGrant, UrlGrant};

/// How a directory is opened for a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// Reading and changing.
    ReadWrite,
}

impl Access {
    /// The word in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::ReadOnly => "read-only",
            Access::ReadWrite => "read-write",
        }
    }
}

/// One directory that the sandbox opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirGrant {
    /// The absolute path on the host.
    pub host: String,
    /// The absolute path that the component sees.
    pub guest: String,
    /// What it may do there.
    pub access: Access,
}

/// What the sandbox opens for one step: the intersection of what the capability asks for and what the operator grants to
/// its capability and principals. It is journaled with the decision, and the undo of the step runs under the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Directories; each guest path stands once.
    pub filesystem: Vec<DirGrant>,
    /// URLs; what matches any of them may be sent to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<UrlGrant>,
    /// Secrets; each name stands once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretGrant>,
    /// Configuration values by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The limits of each call.
    pub limits: Limits,
}

/// The part of `path` below `above`, both absolute, without a leading slash; none if it is not below or the same.
pub fn below<'p>(path: &'p str, above: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(above.trim_end_matches('/'))?;
    if rest.is_empty() || rest == "/" { Some("") } else { rest.strip_prefix('/') }
}

impl Grant {
    /// The granted directory in which a path lies that a component sees, the innermost one, and the rest of the path beneath it; the
    /// directory's own name has no rest.
    pub fn holding<'g, 'p>(&'g self, guest: &'p str) -> Option<(&'g DirGrant, &'p str)> {
        let holding = self.filesystem.iter().filter_map(|dir| Some((dir, below(guest, &dir.guest)?)));
        holding.max_by_key(|(dir, _)| dir.guest.len())
    }

    /// Whether this opens anything that `other` does not.
    pub fn opens_more_than(&self, other: &Grant) -> bool {
        let dir = |dir: &DirGrant| {
            let same = |o: &&DirGrant| (&o.host, &o.guest) == (&dir.host, &dir.guest);
            other.filesystem.iter().find(same).is_some_and(|o| dir.access <= o.access)
        };
        let url = |url: &UrlGrant| {
            url.methods.iter().all(|method| {
                other.network.iter().any(|o| {
                    o.url == url.url
                        && o.methods.contains(method)
                        && (o.query || !url.query)
                        && (o.local || !url.local)
                        && (url.reads_are_effects || !o.reads_are_effects)
                })
            })
        };
        let secret = |secret: &SecretGrant| {
            let same = |o: &&SecretGrant| (&o.name, &o.source) == (&secret.name, &secret.source);
            other.secrets.iter().find(same).is_some_and(|o| secret.hosts.iter().all(|host| o.hosts.contains(host)))
        };
        let higher = self.limits.entries().into_iter().zip(other.limits.entries()).any(|(a, b)| a.1 > b.1);
        !(self.filesystem.iter().all(dir) && self.network.iter().all(url) && self.secrets.iter().all(secret))
            || self.config.iter().any(|(name, value)| other.config.get(name) != Some(value))
            || higher
    }
}
