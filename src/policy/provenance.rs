//! Whose components are let in: who may provide which ids, and whose signatures count.

use super::{Pattern, Policy};

/// A signer whom the operator trusts, for what comes from certain places and provides certain ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// What the policy calls them.
    pub name: String,
    /// The public key of minisign: the second line of its `.pub` file.
    pub key: String,
    pub(super) from: Vec<Pattern>,
    pub(super) capabilities: Vec<Pattern>,
    /// Whether what they are trusted for must be signed.
    pub(super) require: bool,
}

/// Who may provide the ids that some patterns match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) capabilities: Vec<Pattern>,
    pub(super) from: Vec<Pattern>,
    pub(super) signer: Option<String>,
}

/// A component that asks to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Where it comes from, without tag and digest: `oci://registry.example.com/acme/notes`, or `file:///...`.
    pub origin: &'a str,
    /// The ids that it provides.
    pub ids: &'a [&'a str],
    /// Name and key of whoever signed it.
    pub signer: Option<(&'a str, &'a str)>,
}

impl Signer {
    fn covers(&self, origin: &str, id: &str) -> bool {
        Pattern::any(&self.from, origin) && Pattern::any(&self.capabilities, id)
    }
}

impl Policy {
    /// The signers whose signature counts for a component: those that are trusted for where it comes from and for every id
    /// that it provides.
    pub fn signers_for<'a>(&'a self, origin: &'a str, ids: &'a [&'a str]) -> impl Iterator<Item = &'a Signer> {
        self.signers.iter().filter(move |signer| ids.iter().all(|id| signer.covers(origin, id)))
    }

    /// Whether anything is said of components at all.
    pub fn has_provenance(&self) -> bool {
        !self.signers.is_empty() || !self.providers.is_empty()
    }

    /// Whether a component may provide what it provides; or why not. For each of its ids in this order:
    ///
    /// 1. the first entry of `providers:` that matches the id says where it may come from, and who must have signed it
    /// 2. a signer with `require: true` who is trusted for it, and for where it comes from, makes a signature of theirs, or of
    ///    another signer who is trusted for it, a condition
    ///
    /// An id that no entry matches may be provided by anybody.
    pub fn admit(&self, offer: &Offer<'_>) -> Result<(), String> {
        let Offer { origin, ids, signer } = *offer;
        let trusted = |id: &str| {
            let signed = |known: &&Signer| signer == Some((known.name.as_str(), known.key.as_str()));
            self.signers.iter().find(|known| signed(known) && known.covers(origin, id))
        };
        for id in ids {
            if let Some(provider) = self.providers.iter().find(|entry| Pattern::any(&entry.capabilities, id)) {
                if !Pattern::any(&provider.from, origin) {
                    let from: Vec<String> = provider.from.iter().map(|pattern| format!("`{pattern}`")).collect();
                    return Err(format!("`{id}` may come only from {}, and not from `{origin}`", from.join(", ")));
                }
                if let Some(wanted) = &provider.signer
                    && trusted(id).is_none_or(|known| known.name != *wanted)
                {
                    return Err(format!("`{id}` must be signed by `{wanted}`, and {}", signed_by(signer)));
                }
            }
            let required = self.signers.iter().find(|known| known.require && known.covers(origin, id));
            if let Some(required) = required.filter(|_| trusted(id).is_none()) {
                return Err(format!(
                    "`{id}` from `{origin}` must be signed by `{}`, and {}",
                    required.name,
                    signed_by(signer)
                ));
            }
        }
        Ok(())
    }
}

fn signed_by(signer: Option<(&str, &str)>) -> String {
    match signer {
        Some((name, _)) => format!("its signature, by `{name}`, does not count for that"),
        None => "it has no signature that counts".to_owned(),
    }
}
