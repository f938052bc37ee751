//! Why the policy would answer as it does, for a capability that may be installed or not.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Registry;
use crate::document::suggest;
use crate::policy::{Explanation, HUMAN_APPROVE, Policy, Request, effective_grant, explain};
use crate::types::{CapabilityId, Catalog as _, Grant, Principal, Risk};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Supposed {
    /// Who would act.
    pub principal: Principal,
    /// For whom, if for somebody else.
    pub acting_for: Option<Principal>,
    /// What would be called.
    pub capability: CapabilityId,
    /// The risk that the step would say.
    pub risk: Option<Risk>,
    /// With what; if nothing is said, the input is empty.
    pub inputs: Option<Value>,
}

/// What would be answered, and why.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Explanation")]
pub struct Explained {
    /// The number of this schema.
    pub schema: u32,
    /// Whether a component provides the capability; without one the answer is DENY, and the declared risk stands as LOW.
    pub installed: bool,
    /// The answer, rule by rule.
    #[serde(flatten)]
    #[schemars(with = "Map<String, Value>")]
    pub explanation: Explanation,
    /// What the sandbox would open; none if no component provides the capability.
    pub grant: Option<Grant>,
}

/// Explains what `policy` says to it.
pub fn explained(policy: &Policy, registry: &Registry, supposed: &Supposed) -> Explained {
    let Supposed { principal, acting_for, capability, risk, inputs } = supposed;
    let info = registry.capability(capability.as_str());
    let installed = info.is_some() || capability.as_str() == HUMAN_APPROVE;
    let empty = Value::Object(Map::new());
    let request = Request {
        principal: principal.clone(),
        acting_for: acting_for.clone(),
        capability: capability.clone(),
        declared_risk: info.map_or(Risk::Low, |info| info.risk),
        step_risk: *risk,
        inputs: Some(inputs.as_ref().unwrap_or(&empty)),
        unknown: &[],
    };
    let mut explanation = explain(policy, &request);
    if !installed {
        let ids = registry.ids();
        explanation =
            explanation.of_unknown(capability, suggest(capability.as_str(), ids.iter().map(|id| id.as_str())));
    }
    let principals: Vec<&Principal> = std::iter::once(principal).chain(acting_for).collect();
    let grant = info.map(|info| effective_grant(policy, &principals, &info.id, &info.permissions));
    Explained { schema: 1, installed, explanation, grant }
}
