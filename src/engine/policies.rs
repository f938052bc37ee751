//! The policy in force, the shadow policy that decides beside it, and how another one takes the place of either.
//!
//! In this order: grants are checked as those of the first one were, the text is kept in the journal, then it is in force. So no
//! decision names a policy whose text is not kept. A decision takes both policies once, so that all of it is of the same two.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{Engine, EngineError, Protected, check_grants};
use crate::journal::{Kept, PolicyText};
use crate::policy::Policy;
use crate::types::Digest;

/// What decides.
#[derive(Clone)]
pub(super) struct InForce {
    /// Whose answer holds.
    pub policy: Arc<Policy>,
    /// Whose answer is only recorded, where it is another one.
    pub shadow: Option<Arc<Policy>>,
}

impl InForce {
    fn texts(&self) -> Vec<PolicyText> {
        std::iter::once(&self.policy).chain(&self.shadow).map(|policy| text_of(policy)).collect()
    }
}

pub(super) struct Policies {
    in_force: RwLock<InForce>,
    /// The policies that the journal is known to keep.
    kept: Mutex<HashSet<Digest>>,
}

impl Policies {
    pub(super) fn new(policy: Arc<Policy>, shadow: Option<Arc<Policy>>) -> Policies {
        Policies { in_force: RwLock::new(InForce { policy, shadow }), kept: Mutex::default() }
    }

    /// What decides now.
    pub(super) fn in_force(&self) -> InForce {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_kept(&self, digest: &Digest) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn put(&self, change: impl FnOnce(&mut InForce)) {
        change(&mut self.in_force.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Engine {
    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.inner.policies.in_force().policy
    }

    /// The policy that decides beside it, if there is one.
    pub fn shadow(&self) -> Option<Arc<Policy>> {
        self.inner.policies.in_force().shadow
    }

    /// Puts another policy in force, for steps that are decided from now on. If it is refused, or its text cannot be kept, the
    /// old one stays.
    pub async fn set_policy(&self, policy: Arc<Policy>, protected: &Protected) -> Result<(), EngineError> {
        self.prepare(&policy, protected).await?;
        self.inner.policies.put(|in_force| in_force.policy = policy);
        Ok(())
    }

    /// Puts another policy beside the one in force, in the same way.
    pub async fn set_shadow(&self, shadow: Arc<Policy>, protected: &Protected) -> Result<(), EngineError> {
        self.prepare(&shadow, protected).await?;
        self.inner.policies.put(|in_force| in_force.shadow = Some(shadow));
        Ok(())
    }

    async fn prepare(&self, policy: &Policy, protected: &Protected) -> Result<(), EngineError> {
        check_grants(policy, protected, self.inner.webhook.as_ref())?;
        self.keep(vec![text_of(policy)]).await
    }

    /// The texts of what decides now, for a journal that is to keep them.
    pub(super) fn policy_texts(&self) -> Vec<PolicyText> {
        self.inner.policies.in_force().texts()
    }

    /// Keeps the policies that decide now, before anything is decided by them.
    pub(super) async fn keep_policies(&self) -> Result<(), EngineError> {
        self.keep(self.policy_texts()).await
    }

    async fn keep(&self, mut policies: Vec<PolicyText>) -> Result<(), EngineError> {
        let inner = &self.inner;
        policies.retain(|policy| !inner.policies.is_kept(&policy.digest));
        if policies.is_empty() {
            return Ok(());
        }
        let digests: Vec<Digest> = policies.iter().map(|policy| policy.digest).collect();
        inner.journal.keep(Kept { policies, ..Kept::default() }, inner.clock.now()).await?;
        inner.policies.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(digests);
        Ok(())
    }
}

fn text_of(policy: &Policy) -> PolicyText {
    PolicyText { digest: policy.digest(), name: policy.name().to_owned(), text: policy.text().to_owned() }
}
