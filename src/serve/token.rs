//! Tokens: who a secret acts as, and what it may be used for.
//!
//! A token is two events of the system chain, one that adds it and one that revokes it, so that who could act as whom is as much on record
//! as what was done. The secret is shown once and kept nowhere; its digest is. It has 256 random bits, so that nothing is gained by
//! guessing, nor by knowing the digest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::Actor;
use crate::journal::{Journal, JournalError, Scope, SystemEvent};
use crate::types::{Digest, Principal, Timestamp, sha256};

/// What every secret begins with, so that those who look for secrets in files find it.
const PREFIX: &str = "redress_";
const KINDS: [&str; 2] = ["TOKEN_ADDED", "TOKEN_REVOKED"];

/// A token that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub id: String,
    /// Who acts with it, and for whom.
    pub actor: Actor,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// Until when; for ever if nothing is said.
    pub expires: Option<Timestamp>,
}

impl Token {
    /// Whether it counts at this moment, unless it is revoked.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// Users of this machine who need no secret at the socket of the service: what the system says of who is at its other end is enough. Each
/// by its number, with what it acts as and may.
pub type Peers = BTreeMap<u32, (Principal, BTreeSet<Scope>)>;

/// Who a user of this machine acts as, if it is one of `peers`.
pub fn of_peer(peers: &Peers, uid: u32) -> Option<Token> {
    let (principal, scopes) = peers.get(&uid)?.clone();
    Some(Token { id: format!("uid:{uid}"), actor: Actor::alone(principal), scopes, expires: None })
}

/// A new secret, and its digest.
pub fn draw() -> Result<(String, Digest), JournalError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| JournalError::Fatal(format!("the system gives no random bytes: {error}")))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = format!("{PREFIX}{hex}");
    let digest = sha256(secret.as_bytes());
    Ok((secret, digest))
}

/// The tokens of a journal, read again as far as it has grown.
pub struct Tokens {
    journal: Arc<dyn Journal>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    version: Option<u64>,
    /// The last event of the system chain that was read.
    seq: u64,
    by_digest: HashMap<Digest, Token>,
}

impl Tokens {
    /// Those of a journal. Nothing is read yet.
    pub fn of(journal: Arc<dyn Journal>) -> Tokens {
        Tokens { journal, known: Mutex::default() }
    }

    /// The token with this secret, if it was not revoked. It may have expired.
    pub fn find(&self, secret: &str) -> Result<Option<Token>, JournalError> {
        Ok(self.read()?.by_digest.get(&sha256(secret.as_bytes())).cloned())
    }

    /// Whether the token of this name counts now.
    pub fn counts(&self, id: &str, now: Timestamp) -> Result<bool, JournalError> {
        let known = self.read()?;
        Ok(known.by_digest.values().any(|token| token.id == id && token.counts(now)))
    }

    /// All that were not revoked, by their names.
    pub fn all(&self) -> Result<Vec<Token>, JournalError> {
        let mut all: Vec<Token> = self.read()?.by_digest.values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    fn read(&self) -> Result<std::sync::MutexGuard<'_, Known>, JournalError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let version = Some(self.journal.version()?);
        if known.version == version {
            return Ok(known);
        }
        let Known { seq, by_digest, .. } = &mut *known;
        *seq = self.journal.each_of_system(*seq, &KINDS, &mut |entry| match entry.event {
            SystemEvent::TokenAdded { id, digest, principal, acting_for, scopes, expires, .. } => {
                let actor = Actor { principal, acting_for };
                by_digest.insert(digest, Token { id, actor, scopes, expires });
            }
            SystemEvent::TokenRevoked { id, .. } => by_digest.retain(|_, token| token.id != id),
            _ => {}
        })?;
        known.version = version;
        Ok(known)
    }
}
