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

pub use keeper::{Keeper, Kept};

use crate::policy::{Foresight, Policy, Request, foresee};
use crate::types::{Action, CapabilityInfo, Principal};

/// Whether some input of a capability is not denied to somebody.
fn may_ask(policy: &Policy, caller: &Principal, info: &CapabilityInfo) -> bool {
    let request = Request {
        principal: caller.clone(),
        acting_for: None,
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
