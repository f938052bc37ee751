//! What the service says of itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::guard::Caller;
use super::problem::Problem;
use super::{Service, openapi as described};
use crate::journal::Scope;
use crate::saga::RunState;
use crate::serve::may_ask;
use crate::types::{CapabilityId, CapabilityInfo, Catalog as _, Digest};

#[derive(Serialize)]
struct Shown {
    id: CapabilityId,
    component: Digest,
    title: String,
    summary: String,
    risk: &'static str,
    effect: &'static str,
    idempotent: bool,
    input: Value,
    output: Value,
}

impl Shown {
    fn of(info: &CapabilityInfo) -> Shown {
        let CapabilityInfo { id, component, title, summary, risk, effect, idempotent, input, output, .. } =
            info.clone();
        let (risk, effect) = (risk.as_str(), effect.as_str());
        Shown { id, component, title, summary, risk, effect, idempotent, input, output }
    }
}

/// Whether it lives.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether runs can be submitted: the journal can be read, and there is room for it.
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<&'static str, Problem> {
    let journal = service.keeper.engine().journal();
    let able = journal.version().and_then(|_| journal.free_space_ok());
    able.map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the journal takes no runs; the log says why")
    })?;
    Ok("ready\n")
}

pub(super) async fn openapi() -> Response {
    Json(described::document()).into_response()
}

/// Capabilities that the caller may at least ask for.
pub(super) async fn capabilities(State(service): State<Arc<Service>>, caller: Caller) -> Response {
    let engine = service.keeper.engine();
    let (registry, policy) = (engine.registry(), engine.policy());
    let ids = registry.ids();
    let infos = ids.iter().filter_map(|id| registry.capability(id.as_str()));
    let shown: Vec<Shown> = infos.filter(|info| may_ask(&policy, caller.principal(), info)).map(Shown::of).collect();
    Json(shown).into_response()
}

/// Numbers for Prometheus.
pub(super) async fn metrics(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::ReadAll, &service, "see the metrics").await?;
    let counted = service.keeper.engine().journal().count_runs()?;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, values: Vec<(String, u64)>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let of = |state: RunState| counted.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| *count);
    let states = RunState::ALL.map(|state| (format!("{{state=\"{state}\"}}"), of(state)));
    family("redress_runs", "gauge", "Runs in the journal by their states.", states.into());
    let kept = service.keeper.count() as u64;
    family("redress_runs_kept", "gauge", "Runs that this process drives or waits for.", vec![(String::new(), kept)]);
    let answers = &service.answers;
    let answered = [("good", &answers.good), ("refused", &answers.refused), ("failed", &answers.failed)];
    let answered = answered.map(|(kind, count)| (format!("{{answer=\"{kind}\"}}"), count.load(Ordering::Relaxed)));
    family("redress_http_requests_total", "counter", "Requests by how they were answered.", answered.into());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
