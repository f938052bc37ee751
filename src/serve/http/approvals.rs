//! What waits for a person, and votes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Service;
use super::guard::Caller;
use super::problem::Problem;
use super::runs::{Body, Named, reason_of};
use crate::engine::{EngineError, InForce, Mask, VoteRequest, state_of, vote as put_vote, waiting_in};
use crate::journal::{RunFilter, Scope};
use crate::saga::RunState;
use crate::types::{RunId, StepName};

/// How many runs are read at a time.
const PAGE: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ballot {
    /// The request that was seen.
    request: String,
    approve: bool,
    reason: String,
}

pub(super) async fn list(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::Vote, &service, "see what waits for approval").await?;
    let engine = service.keeper.engine();
    let (journal, policy, now) = (&**engine.journal(), engine.policy(), engine.now());
    let mut mask = Mask::new(journal, InForce::Policy(&policy));
    let mut waiting = Vec::new();
    for state in [RunState::Paused, RunState::Running] {
        let filter = RunFilter { state: Some(state), ..RunFilter::default() };
        let mut before: Option<RunId> = None;
        loop {
            let page = journal.runs(&filter, before.as_ref(), PAGE)?;
            for row in &page.rows {
                match state_of(journal, &row.run) {
                    Ok(state) => waiting.extend(waiting_in(journal, &state, now, Some(&mut mask))?),
                    // One run that cannot be read does not hide the requests of the others.
                    Err(error) => tracing::warn!(run = %row.run, "{}", crate::document::escape(&error.to_string())),
                }
            }
            before = page.rows.last().map(|row| row.run.clone());
            if page.rows.len() < PAGE {
                break;
            }
        }
    }
    waiting.sort_by(|a, b| (&a.expires, &a.run).cmp(&(&b.expires, &b.run)));
    Ok(Json(waiting).into_response())
}

pub(super) async fn vote(
    State(service): State<Arc<Service>>,
    caller: Caller,
    place: Named<(String, String)>,
    body: Body<Ballot>,
) -> Result<Response, Problem> {
    let (Path((run, step)), Json(Ballot { request, approve, reason })) = (place?, body?);
    let unknown = || Problem::not_found("there is no such step of a run");
    let (run, step) = (RunId::parse(&run).map_err(|_| unknown())?, StepName::parse(&step).map_err(|_| unknown())?);
    caller.must(Scope::Vote, &service, &format!("vote on {run} {step}")).await?;
    let reason = reason_of(&reason)?.to_owned();
    service.row(&caller, &run)?;
    let vote = VoteRequest { step, request: Some(request), by: caller.principal().clone(), approve, reason };
    let (engine, id) = (service.keeper.engine().clone(), run.clone());
    let voted =
        tokio::task::spawn_blocking(move || put_vote(&**engine.journal(), &id, &vote, engine.now()).map(drop)).await;
    voted.map_err(|error| EngineError::Bug { why: error.to_string() })??;
    service.move_on(&run).await?;
    Ok((StatusCode::OK, Json(service.view(&caller, &run)?)).into_response())
}
