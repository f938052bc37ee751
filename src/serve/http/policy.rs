//! The policy in force, and why it answers as it does. Nothing here changes it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Service;
use super::body::{Body, Given};
use super::guard::Caller;
use super::problem::Problem;
use crate::engine::{Supposed, explained};
use crate::journal::Scope;
use crate::types::{CapabilityId, Digest, Principal, Risk};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Policy")]
pub(super) struct Shown {
    schema: u32,
    policy: Digest,
    name: String,
    text: String,
    /// The policy that decides beside it, if there is one.
    shadow: Option<Digest>,
}

pub(super) async fn show(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::ReadAll, &service, "see the policy").await?;
    let engine = service.keeper.engine();
    let policy = engine.policy();
    let shadow = engine.shadow().map(|shadow| shadow.digest());
    let (name, text) = (policy.name().to_owned(), policy.text().to_owned());
    Ok(Json(Shown { schema: 1, policy: policy.digest(), name, text, shadow }).into_response())
}

/// Who would do what with which input.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Supposed")]
pub(super) struct Question {
    /// Who would act.
    principal: String,
    /// For whom, if for somebody else.
    acting_for: Option<String>,
    /// What would be called.
    capability: String,
    /// The risk that the step would say.
    risk: Option<String>,
    /// With what; if nothing is said, the input is empty.
    inputs: Option<Map<String, Value>>,
}

pub(super) async fn explain(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: Body<Question>,
) -> Result<Response, Problem> {
    let Given(Question { principal, acting_for, capability, risk, inputs }) = body?;
    caller.must(Scope::ReadAll, &service, "explain the policy").await?;
    let wrong =
        |what: &str, error: &dyn std::fmt::Display| Problem::bad_request("bad-question", format!("`{what}`: {error}"));
    let who = |what, text: String| Principal::parse(&text).map_err(|error| wrong(what, &error));
    let engine = service.keeper.engine();
    let supposed = Supposed {
        principal: who("principal", principal)?,
        acting_for: acting_for.map(|text| who("acting_for", text)).transpose()?,
        capability: CapabilityId::parse(&capability).map_err(|error| wrong("capability", &error))?,
        risk: risk
            .map(|word| Risk::parse(&word).ok_or_else(|| wrong("risk", &"it is LOW, MEDIUM, HIGH or CRITICAL")))
            .transpose()?,
        inputs: inputs.map(Value::Object),
    };
    Ok(Json(explained(&engine.policy(), engine.registry(), &supposed)).into_response())
}
