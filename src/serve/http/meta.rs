//! What the service says of itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::guard::Caller;
use super::problem::Problem;
use super::{Service, openapi as described};
use crate::engine::rfc3339;
use crate::journal::{Scope, free_space};
use crate::saga::RunState;
use crate::serve::Actor;
use crate::serve::token::Token;
use crate::types::Principal;

/// Whether it lives.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether runs can be submitted: the journal can be read and written, and there is room for it.
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<&'static str, Problem> {
    let journal = service.keeper.engine().journal();
    let able = journal.version().and_then(|_| journal.free_space_ok());
    let able = match able {
        Ok(()) => journal.flush().await,
        failed => failed,
    };
    able.map_err(|error| {
        tracing::warn!("not ready: {}", crate::document::escape(&error.to_string()));
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the journal takes no runs; the log says why")
    })?;
    Ok("ready\n")
}

pub(super) async fn openapi() -> Response {
    Json(described::document()).into_response()
}

/// Who asks, as the token says.
#[derive(Serialize, JsonSchema)]
pub(super) struct Who {
    schema: u32,
    token: String,
    principal: Principal,
    /// For whom, if for somebody else.
    acting_for: Option<Principal>,
    scopes: BTreeSet<Scope>,
    /// Until when the token counts, if it ends.
    expires: Option<String>,
}

pub(super) async fn whoami(caller: Caller) -> Response {
    let Token { id, actor: Actor { principal, acting_for }, scopes, expires } = caller.token;
    Json(Who { schema: 1, token: id, principal, acting_for, scopes, expires: expires.map(rfc3339) }).into_response()
}

/// Numbers for Prometheus.
pub(super) async fn metrics(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::ReadAll, &service, "see the metrics").await?;
    let (counted, waiting) = service
        .read(|service| {
            let journal = service.keeper.engine().journal();
            Ok((journal.count_runs()?, journal.count_waiting()?))
        })
        .await?;
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
    let codes = service.answers.codes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let codes = codes.into_iter().map(|(code, count)| (format!("{{code=\"{code}\"}}"), count));
    let what = "Refused requests by the code of the problem.";
    family("redress_http_refusals_total", "counter", what, codes.collect());
    family("redress_messages_waiting", "gauge", "Messages of the webhook that wait.", vec![(String::new(), waiting)]);
    if let Some(Ok(free)) = service.about.journal.parent().map(free_space) {
        let what = "Bytes that are free beside the journal.";
        family("redress_journal_free_bytes", "gauge", what, vec![(String::new(), free)]);
    }
    if let Ok(about) = std::fs::metadata(&service.about.journal) {
        let what = "Bytes of the journal, without its log.";
        family("redress_journal_bytes", "gauge", what, vec![(String::new(), about.len())]);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
