//! The service: the same engine for those who never type a verb.
//!
//! | module | what is inside |
//! |---|---|
//! | `keeper` | runs that go on without anybody waiting for them: driven, looked at when somebody voted, left resumable |
//! | `token` | who a secret acts as, and what for |
//! | `http` | the service over HTTP: runs, approvals, events |
//! | `mcp` | capabilities as tools of an agent, over the Model Context Protocol |
//!
//! Nothing here decides: who may do what is asked of the policy by the engine, as for every other caller.

pub mod http;
mod keeper;
pub mod mcp;
pub mod token;

pub use keeper::{AddedCall, Begun, Driving, Keeper, Kept, Place};

use crate::engine::EngineError;
use crate::journal::{Journal, JournalError, RunRow};
use crate::policy::{Foresight, Policy, Request, foresee};
use crate::saga::event::Event;
use crate::types::{Action, CapabilityInfo, Principal};

/// Who acts, and for whom if for somebody else. Both are decided, and both are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who acts.
    pub principal: Principal,
    /// For whom.
    pub acting_for: Option<Principal>,
}

impl Actor {
    /// Somebody who acts for nobody else.
    pub fn alone(principal: Principal) -> Actor {
        Actor { principal, acting_for: None }
    }

    /// Somebody who acts for `acting_for`, if that is said. Only an agent acts for somebody else; the error says what is wrong.
    pub fn acting(principal: Principal, acting_for: Option<Principal>) -> Result<Actor, String> {
        match &acting_for {
            Some(other) if principal.kind() != "agent" => {
                Err(format!("{principal} is no agent, and so does not act for {other}"))
            }
            Some(other) if *other == principal => Err(format!("{other} needs nobody to act for {other}")),
            _ => Ok(Actor { principal, acting_for }),
        }
    }

    /// On whose behalf the runs are.
    pub fn behalf(&self) -> &Principal {
        self.acting_for.as_ref().unwrap_or(&self.principal)
    }

    /// Whether a run is theirs: one of whom they act for, and if they act for somebody else, one that they submitted.
    pub fn owns(&self, journal: &dyn Journal, row: &RunRow) -> Result<bool, JournalError> {
        if row.principal != *self.behalf() {
            return Ok(false);
        }
        let Some(agent) = self.agent() else { return Ok(true) };
        let first = journal.entries(&row.run, 0, 1)?;
        Ok(match first.first().map(|entry| &entry.event) {
            Some(Event::RunSubmitted(submitted)) => submitted.agent.as_ref() == Some(agent),
            _ => false,
        })
    }

    /// The agent that acts in every step, if it acts for somebody else.
    pub fn agent(&self) -> Option<&Principal> {
        self.acting_for.as_ref().map(|_| &self.principal)
    }
}

/// Does what waits for the disk where it keeps nobody else waiting.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| EngineError::Bug { why: error.to_string() }).flatten()
}

/// Whether some input of a capability is not denied to somebody.
fn may_ask(policy: &Policy, actor: &Actor, info: &CapabilityInfo) -> bool {
    let request = Request {
        principal: actor.principal.clone(),
        acting_for: actor.acting_for.clone(),
        capability: info.id.clone(),
        declared_risk: info.risk,
        step_risk: None,
        inputs: None,
        unknown: &[],
    };
    match foresee(policy, &request) {
        Foresight::Decided(decision) => decision.action != Action::Deny,
        Foresight::Depends { possible, .. } => possible.iter().any(|decision| decision.action != Action::Deny),
    }
}
