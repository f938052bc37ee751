//! What waits for a person, and votes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Service;
use super::body::{Body, Given};
use super::guard::Caller;
use super::problem::Problem;
use super::runs::{Asked, LONGEST, Named, Waits, reason_of};
use crate::engine::{
    EngineError, InForce, MAX_REASON, Mask, VoteRequest, Waiting, change_for, state_of, vote as put_vote,
    waiting as request_of,
};
use crate::journal::{RunFilter, RunOrder, Scope};
use crate::saga::RunState;
use crate::types::{Digest, Principal, RunId, StepName};

/// How many runs are read at a time, about how many requests a page has, and how many runs are looked through for it.
const PAGE: usize = 100;
const LOOKED: usize = 2_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ballot {
    /// The request that was seen.
    request: String,
    /// The `seen` of the step's `change`, for a vote that is to count only if the same stands there still.
    seen: Option<Digest>,
    /// Yes or no.
    approve: bool,
    /// Why; it is recorded.
    #[schemars(length(min = 1, max = MAX_REASON))]
    reason: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    /// Only of this run.
    run: Option<String>,
    /// What the page before answered with.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Approvals")]
pub(super) struct Page {
    /// Those of the runs that were submitted first, the first to expire first.
    waiting: Vec<Request>,
    /// What shows the next page, if there may be one.
    cursor: Option<RunId>,
}

/// A request, and whether the caller may answer it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApprovalRequest")]
struct Request {
    #[serde(flatten)]
    waiting: Waiting,
    /// Why the caller may not, if that is so.
    refused: Option<String>,
}

/// What waits for a person.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    of: Asked<Of>,
) -> Result<Response, Problem> {
    let Query(Of { run, cursor }) = of?;
    caller.must(Scope::Vote, &service, "see what waits for approval").await?;
    let id = |what: &str, text: Option<String>| {
        let parsed = text.map(|text| RunId::parse(&text)).transpose();
        parsed.map_err(|_| Problem::bad_request("bad-query", format!("`{what}` is not one of this service")))
    };
    let (run, cursor) = (id("run", run)?, id("cursor", cursor)?);
    let page = service.read(move |service| waiting_page(&service, caller.principal(), run.as_ref(), cursor)).await?;
    Ok(Json(page).into_response())
}

/// What waits in one run, or in the next runs that are not over, those first that were submitted first.
fn waiting_page(
    service: &Service,
    by: &Principal,
    only: Option<&RunId>,
    mut past: Option<RunId>,
) -> Result<Page, EngineError> {
    let engine = service.keeper.engine();
    let (journal, policy, now) = (&**engine.journal(), engine.policy(), engine.now());
    let mut mask = Mask::new(journal, InForce::Policy(&policy));
    let mut waiting: Vec<Request> = Vec::new();
    let mut add = |waiting: &mut Vec<Request>, run: &RunId| match state_of(journal, run) {
        Ok(state) => {
            for (_, step) in state.awaiting_approval() {
                let found = request_of(journal, &state, step, now, Some(&mut mask))?;
                let voted = step.votes.iter().any(|vote| vote.by == *by);
                let voted = voted.then(|| format!("`{by}` has voted already"));
                let may = step.request().map(|request| state.may_answer(step, request, by));
                let refused = may.and_then(Result::err).or(voted);
                waiting.extend(found.map(|waiting| Request { waiting, refused }));
            }
            Ok::<(), EngineError>(())
        }
        // One run that cannot be read does not hide the requests of the others.
        Err(error) => {
            tracing::warn!(run = %run, "{}", crate::document::escape(&error.to_string()));
            Ok(())
        }
    };
    let filter = RunFilter { closed: Some(false), order: RunOrder::Oldest, ..RunFilter::default() };
    let (mut looked, mut is_last) = (0, false);
    match only {
        Some(run) => {
            is_last = true;
            if journal.run(run)?.is_some() {
                add(&mut waiting, run)?;
            }
        }
        None => {
            while !is_last && waiting.len() < PAGE && looked < LOOKED {
                let page = journal.runs(&filter, past.as_ref(), PAGE)?;
                is_last = page.rows.len() < PAGE;
                looked += page.rows.len();
                for row in &page.rows {
                    past = Some(row.run.clone());
                    if matches!(row.state, RunState::Paused | RunState::Running) {
                        add(&mut waiting, &row.run)?;
                    }
                }
            }
        }
    }
    waiting.sort_by(|a, b| (a.waiting.until, &a.waiting.run).cmp(&(b.waiting.until, &b.waiting.run)));
    Ok(Page { waiting, cursor: if is_last { None } else { past } })
}

/// The step of a run that a path names.
fn step_of(place: Named<(String, String)>) -> Result<(RunId, StepName), Problem> {
    let Path((run, step)) = place?;
    let unknown = || Problem::not_found("there is no such step of a run");
    Ok((RunId::parse(&run).map_err(|_| unknown())?, StepName::parse(&step).map_err(|_| unknown())?))
}

/// What a step that waits would change in a file, for who may answer it; `null` if the host cannot tell.
pub(super) async fn change(
    State(service): State<Arc<Service>>,
    caller: Caller,
    place: Named<(String, String)>,
) -> Result<Response, Problem> {
    let (run, step) = step_of(place)?;
    caller.must(Scope::Vote, &service, &format!("see what {run} {step} would change")).await?;
    service.row(&caller, &run)?;
    let by = caller.principal().clone();
    let change = service
        .read(move |service| {
            let engine = service.keeper.engine();
            let (journal, policy) = (&**engine.journal(), engine.policy());
            let state = state_of(journal, &run)?;
            let mut waiting = state.awaiting_approval().map(|(_, waiting)| waiting);
            let Some(waiting) = waiting.find(|waiting| waiting.spec.name == step) else { return Ok(None) };
            change_for(&by, journal, &state, waiting, Some(&mut Mask::new(journal, InForce::Policy(&policy))))
        })
        .await?;
    Ok(Json(change).into_response())
}

pub(super) async fn vote(
    State(service): State<Arc<Service>>,
    caller: Caller,
    place: Named<(String, String)>,
    body: Body<Ballot>,
) -> Result<Response, Problem> {
    let (run, step) = step_of(place)?;
    let Given(Ballot { request, seen, approve, reason }) = body?;
    caller.must(Scope::Vote, &service, &format!("vote on {run} {step}")).await?;
    let reason = reason_of(&reason)?.to_owned();
    service.row(&caller, &run)?;
    let vote = VoteRequest { step, request: Some(request), seen, by: caller.principal().clone(), approve, reason };
    let (engine, id) = (service.keeper.engine().clone(), run.clone());
    service
        .read(move |_| {
            let (journal, policy) = (&**engine.journal(), engine.policy());
            let mut mask = Mask::new(journal, InForce::Policy(&policy));
            put_vote(journal, &id, &vote, Some(&mut mask), engine.now()).map(drop)
        })
        .await?;
    service.move_on(&run, &Waits { wait: LONGEST }).await?;
    Ok((StatusCode::OK, Json(service.view(&caller, &run)?)).into_response())
}
