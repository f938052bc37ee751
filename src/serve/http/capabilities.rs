//! Capabilities: what the caller may ask for, and what each asked for, was granted and used.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Service;
use super::guard::Caller;
use super::problem::Problem;
use super::runs::{Asked, Named};
use crate::engine::review::{Review, Reviewer};
use crate::engine::{EngineError, LookedThrough, each_run};
use crate::journal::Scope;
use crate::serve::may_ask;
use crate::types::{CapabilityId, CapabilityInfo, Catalog as _, Digest, Duration, Permission, Timestamp};

/// How far a review looks back unless something else is said.
const SINCE: Duration = Duration::from_secs(30 * 86_400);
/// How many runs it looks at, the newest first.
const REVIEWED: usize = 5_000;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Capability")]
pub(super) struct Shown {
    id: CapabilityId,
    component: Digest,
    title: String,
    summary: String,
    risk: &'static str,
    effect: &'static str,
    idempotent: bool,
    /// What its component asks for.
    asks: Vec<String>,
    input: Value,
    output: Value,
}

impl Shown {
    fn of(info: &CapabilityInfo) -> Shown {
        let CapabilityInfo {
            id, component, title, summary, risk, effect, idempotent, permissions, input, output, ..
        } = info.clone();
        let (risk, effect) = (risk.as_str(), effect.as_str());
        let asks = permissions.iter().map(Permission::to_string).collect();
        Shown { id, component, title, summary, risk, effect, idempotent, asks, input, output }
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// All that there are, and not only those that the caller may ask for.
    #[serde(default)]
    all: bool,
}

/// Capabilities that the caller may at least ask for, or all.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    which: Asked<Which>,
) -> Result<Response, Problem> {
    let Query(Which { all }) = which?;
    if all {
        caller.must(Scope::ReadAll, &service, "see all capabilities").await?;
    }
    let engine = service.keeper.engine();
    let (registry, policy) = (engine.registry(), engine.policy());
    let ids = registry.ids();
    let infos = ids.iter().filter_map(|id| registry.capability(id.as_str()));
    let shown = infos.filter(|info| all || may_ask(&policy, &caller.token.actor, info)).map(Shown::of);
    Ok(Json(shown.collect::<Vec<Shown>>()).into_response())
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// How far back, such as `7d`.
    since: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Review")]
pub(super) struct Reviewed {
    schema: u32,
    /// Whether there were older runs that were not looked at for there being so many.
    more: bool,
    /// How many runs could not be read.
    unreadable: u64,
    #[serde(flatten)]
    #[schemars(with = "serde_json::Map<String, Value>")]
    review: Review,
}

/// What a capability asked for, was granted and used.
pub(super) async fn review(
    State(service): State<Arc<Service>>,
    caller: Caller,
    capability: Named<String>,
    since: Asked<Since>,
) -> Result<Response, Problem> {
    let (Path(id), Query(Since { since })) = (capability?, since?);
    caller.must(Scope::ReadAll, &service, "see what a capability used").await?;
    let bad = || Problem::bad_request("bad-query", "`since` is a length of time, such as `7d`");
    let since = since.map_or(Ok(SINCE), |text| Duration::parse(&text).map_err(|_| bad()))?;
    let unknown = || Problem::not_found("no installed component provides that");
    let id = CapabilityId::parse(&id).map_err(|_| unknown())?;
    if service.keeper.engine().registry().capability(id.as_str()).is_none() {
        return Err(unknown());
    }
    let reviewed = service.read_all(move |service| reviewed(&service, &id, since)).await?;
    Ok(Json(reviewed).into_response())
}

fn reviewed(service: &Service, id: &CapabilityId, since: Duration) -> Result<Reviewed, EngineError> {
    let engine = service.keeper.engine();
    let journal = &**engine.journal();
    let since = Timestamp(engine.now().0.saturating_sub(since.0));
    let mut reviewer = Reviewer::new(engine.registry().capability(id.as_str()).into_iter().collect(), None);
    let LookedThrough { unreadable, more } = each_run(journal, Some(since), REVIEWED, |entries| reviewer.run(entries))?;
    Ok(Reviewed { schema: 1, more, unreadable, review: reviewer.finish(&engine.policy()) })
}
