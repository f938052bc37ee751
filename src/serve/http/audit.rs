//! Is the record what was written? And what does it say that belongs to no run: refusals, tokens, policies.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::Service;
use super::events::After;
use super::guard::Caller;
use super::problem::Problem;
use super::runs::Asked;
use crate::engine::{audit, rfc3339};
use crate::journal::{Head, Scope, SystemEvent};
use crate::saga::RunState;

const PAGE: usize = 500;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditStatus")]
pub(super) struct Status {
    schema: u32,
    /// The last event of the system chain.
    head: Option<Head>,
    /// How many runs are in which state.
    runs: Vec<Counted>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RunsInState")]
struct Counted {
    state: RunState,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SystemEvents")]
pub(super) struct Page {
    events: Vec<Shown>,
    /// What shows the next page, if there is one now.
    after: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SystemEventShown")]
struct Shown {
    seq: u64,
    at: String,
    event: SystemEvent,
}

pub(super) async fn status(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::ReadAll, &service, "see how the record is").await?;
    let status = service
        .read(|service| {
            let journal = service.keeper.engine().journal();
            let runs = journal.count_runs()?.into_iter().map(|(state, count)| Counted { state, count }).collect();
            Ok(Status { schema: 1, head: journal.system_head()?, runs })
        })
        .await?;
    Ok(Json(status).into_response())
}

/// Verifies all of the record, which takes as long as reading it. Few of these go on at the same time.
pub(super) async fn verify(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::ReadAll, &service, "verify the record").await?;
    let report = service
        .read_all(|service| {
            let name = service.about.journal.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(audit(&service.about.journal, name, &[], None)?)
        })
        .await?;
    Ok(Json(report).into_response())
}

pub(super) async fn events(
    State(service): State<Arc<Service>>,
    caller: Caller,
    asked: Asked<After>,
) -> Result<Response, Problem> {
    let Query(After { after }) = asked?;
    caller.must(Scope::ReadAll, &service, "see the system chain").await?;
    let (head, entries) = service
        .read(move |service| {
            let journal = service.keeper.engine().journal();
            let head = journal.system_head()?.map_or(0, |head| head.seq);
            Ok((head, if after <= head { journal.system_entries(after, PAGE)? } else { Vec::new() }))
        })
        .await?;
    if after > head {
        return Err(Problem::bad_request("no-such-event", format!("the system chain has {head} events by now")));
    }
    let next = (entries.len() == PAGE).then(|| entries.last().map(|entry| entry.seq)).flatten();
    let shown = entries.into_iter().map(|entry| Shown { seq: entry.seq, at: rfc3339(entry.at), event: entry.event });
    Ok(Json(Page { events: shown.collect(), after: next }).into_response())
}
