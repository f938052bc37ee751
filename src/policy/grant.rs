//! What the sandbox opens: entries of `grants:` that name the capability and every principal, cut down to what the
//! capability asks for.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::types::{
    Access, CapabilityId, DirGrant, Grant, LimitOverrides, Limits, Permission, Principal, SecretGrant, SecretSource,
    UrlGrant,
};

use super::{Pattern, Policy};

/// An entry of `grants:`.
#[derive(Clone, Debug)]
pub(super) struct GrantEntry {
    /// Where it stands.
    pub span: Span,
    pub capabilities: Vec<Pattern>,
    /// Where each of them stands.
    pub capability_spans: Vec<Span>,
    /// None for everybody.
    pub principals: Option<Vec<Pattern>>,
    pub filesystem: Vec<GrantedDir>,
    pub network: Vec<UrlGrant>,
    pub secrets: Vec<GrantedSecret>,
    pub config: Vec<GrantedConfig>,
    pub limits: LimitOverrides,
}

#[derive(Clone, Debug)]
pub(super) struct GrantedDir {
    pub dir: DirGrant,
    /// Where its `host` stands.
    pub host_span: Span,
    /// Where its `guest` stands.
    pub guest_span: Span,
}

#[derive(Clone, Debug)]
pub(super) struct GrantedSecret {
    pub secret: SecretGrant,
    /// Where its name stands.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) struct GrantedConfig {
    pub name: String,
    pub value: String,
    pub span: Span,
}

/// A directory on the host that some grant opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedHost<'p> {
    /// Its absolute path, normalised by its text alone.
    pub host: &'p str,
    /// What components may do there.
    pub access: Access,
    /// Where the policy grants it.
    pub span: Span,
}

impl GrantEntry {
    pub(super) fn covers(&self, principals: &[&Principal], capability: &CapabilityId) -> bool {
        let everybody =
            |patterns: &Vec<Pattern>| principals.iter().all(|principal| Pattern::any(patterns, principal.as_str()));
        Pattern::any(&self.capabilities, capability.as_str()) && self.principals.as_ref().is_none_or(everybody)
    }

    /// Whether both can hold for one call.
    fn overlaps(&self, other: &GrantEntry) -> bool {
        let meet = |a: &[Pattern], b: &[Pattern]| a.iter().any(|a| b.iter().any(|b| a.overlaps(b)));
        let principals = match (&self.principals, &other.principals) {
            (Some(a), Some(b)) => meet(a, b),
            (None, _) | (_, None) => true,
        };
        principals && meet(&self.capabilities, &other.capabilities)
    }
}

/// What a call gets: granted to its capability and to all of `principals`, and asked for. Limits hold also for a
/// capability that asks for nothing.
pub fn effective_grant(
    policy: &Policy,
    principals: &[&Principal],
    capability: &CapabilityId,
    asked: &[Permission],
) -> Grant {
    cut_down(policy.grants.iter().filter(|entry| entry.covers(principals, capability)), asked)
}

/// What one entry of `grants:` opens for a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Patterns of the principals that it is for; none for everybody.
    pub principals: Option<Vec<String>>,
    /// What it opens, cut down to what the capability asks for.
    pub grant: Grant,
}

/// What each entry that names the capability opens for it, for whom it may be; only entries for `principal`, if one is given.
pub fn openings(
    policy: &Policy,
    principal: Option<&Principal>,
    capability: &CapabilityId,
    asked: &[Permission],
) -> Vec<Opening> {
    let principals: Vec<&Principal> = principal.into_iter().collect();
    let entries = policy.grants.iter().filter(|entry| entry.covers(&principals, capability));
    let patterns = |patterns: &Vec<Pattern>| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    entries
        .map(|entry| Opening {
            principals: entry.principals.as_ref().map(patterns),
            grant: cut_down(std::iter::once(entry), asked),
        })
        .collect()
}

/// What entries open together, cut down to what is asked for.
fn cut_down<'e>(entries: impl Iterator<Item = &'e GrantEntry>, asked: &[Permission]) -> Grant {
    let writes = asked.contains(&Permission::FsWrite);
    let reads = writes || asked.contains(&Permission::FsRead);
    let mut filesystem: BTreeMap<&str, DirGrant> = BTreeMap::new();
    let mut network = BTreeSet::new();
    let mut secrets: BTreeMap<&str, SecretGrant> = BTreeMap::new();
    let mut config = BTreeMap::new();
    let mut limits = Limits::default();
    for entry in entries {
        limits = limits.lowered_by(&entry.limits);
        for GrantedConfig { name, value, .. } in &entry.config {
            if asked.contains(&Permission::Config(name.clone())) {
                config.insert(name.clone(), value.clone());
            }
        }
        network.extend(entry.network.iter().filter_map(|url| url.asked_for(asked)));
        for GrantedSecret { secret, .. } in &entry.secrets {
            if asked.iter().any(|permission| permission.covers_secret(&secret.name)) {
                // INVARIANT: entries that can hold for one call agree on the source of a secret.
                let opened =
                    secrets.entry(&secret.name).or_insert_with(|| SecretGrant { hosts: Vec::new(), ..secret.clone() });
                for host in &secret.hosts {
                    if !opened.hosts.contains(host) {
                        opened.hosts.push(host.clone());
                    }
                }
            }
        }
        for GrantedDir { dir, .. } in entry.filesystem.iter().filter(|_| reads) {
            let access = if writes { dir.access } else { Access::ReadOnly };
            // INVARIANT: entries that can hold for one call agree on the host of a guest path.
            let opened = filesystem.entry(&dir.guest).or_insert_with(|| DirGrant { access, ..dir.clone() });
            opened.access = opened.access.max(access);
        }
    }
    Grant {
        filesystem: filesystem.into_values().collect(),
        network: network.into_iter().collect(),
        secrets: secrets.into_values().collect(),
        config,
        limits,
    }
}

impl Policy {
    /// The directories that components may be let into, so that the host can refuse a policy that opens its own files.
    pub fn granted_hosts(&self) -> Vec<GrantedHost<'_>> {
        let dirs = self.grants.iter().flat_map(|entry| &entry.filesystem);
        dirs.map(|granted| GrantedHost { host: &granted.dir.host, access: granted.dir.access, span: granted.host_span })
            .collect()
    }

    /// The files that hold secrets.
    pub fn secret_files(&self) -> Vec<&str> {
        let secrets = self.grants.iter().flat_map(|entry| &entry.secrets);
        secrets
            .filter_map(|granted| match &granted.secret.source {
                SecretSource::File(path) => Some(path.as_str()),
                SecretSource::Env(_) => None,
            })
            .collect()
    }
}

/// Refuses entries that can hold for one call and contradict each other.
pub(super) fn check(entries: &[GrantEntry], diagnostics: &mut Diagnostics) {
    for (index, entry) in entries.iter().enumerate() {
        // An entry can contradict itself, too.
        for (earlier_index, earlier) in entries.iter().take(index + 1).enumerate() {
            for (at, granted) in entry.filesystem.iter().enumerate() {
                let before = if earlier_index == index { at } else { earlier.filesystem.len() };
                for other in earlier.filesystem.iter().take(before) {
                    if let Some(problem) = contradiction(&granted.dir, &other.dir).filter(|_| entry.overlaps(earlier)) {
                        let help = format!("it is granted on line {} already", other.guest_span.line);
                        diagnostics.push(Diagnostic::error("grant-conflict", granted.guest_span, problem).help(help));
                    }
                }
            }
            for (at, granted) in entry.secrets.iter().enumerate() {
                let before = if earlier_index == index { at } else { earlier.secrets.len() };
                let same = |other: &&GrantedSecret| {
                    other.secret.name == granted.secret.name && other.secret.source != granted.secret.source
                };
                let other = earlier.secrets.iter().take(before).find(same).filter(|_| entry.overlaps(earlier));
                if let Some(other) = other {
                    let message = format!("the secret `{}` is granted with two values", granted.secret.name);
                    let help = format!("the other one stands on line {}", other.span.line);
                    diagnostics.push(Diagnostic::error("grant-conflict", granted.span, message).help(help));
                }
            }
            for config in &entry.config {
                let same = |other: &&GrantedConfig| other.name == config.name && other.value != config.value;
                if let Some(other) = earlier.config.iter().find(same).filter(|_| entry.overlaps(earlier)) {
                    let message = format!("the configuration value `{}` is granted with two values", config.name);
                    let help = format!("the other one stands on line {}", other.span.line);
                    diagnostics.push(Diagnostic::error("grant-conflict", config.span, message).help(help));
                }
            }
        }
    }
}

/// What is wrong with opening both for one call.
fn contradiction(a: &DirGrant, b: &DirGrant) -> Option<String> {
    if a.guest == b.guest {
        let message =
            || format!("the guest path `{}` is granted with two hosts, `{}` and `{}`", a.guest, a.host, b.host);
        return (a.host != b.host).then(message);
    }
    let inside = |inner: &DirGrant, outer: &DirGrant| {
        let rest = inner.guest.strip_prefix(outer.guest.trim_end_matches('/'))?;
        rest.starts_with('/').then(|| inner.access != outer.access || inner.host != format!("{}{rest}", outer.host))
    };
    let conflict = inside(a, b).or_else(|| inside(b, a)).unwrap_or(false);
    let message =
        || format!("the guest paths `{}` and `{}` lie in one another and differ in host or access", a.guest, b.guest);
    conflict.then(message)
}

/// `path` seen from `base`, without `.`, `..` and double slashes. Links are not looked at: there is no file system here.
pub(super) fn normalise(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut segments: Vec<&str> = Vec::new();
    for segment in whole.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_path_is_normalised_by_its_text() {
        for (path, expected) in [
            ("./workspace", "/srv/p/workspace"),
            ("../workspace/", "/srv/workspace"),
            ("/data//x/./y/..", "/data/x"),
            ("../../../..", "/"),
            (".", "/srv/p"),
        ] {
            assert_eq!(normalise("/srv/p", path), expected, "{path}");
        }
    }
}
