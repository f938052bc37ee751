//! Runs: submitted, shown, added to, committed, rolled back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Service;
use super::body::{Body, Given};
use super::guard::{Caller, busy, record};
use super::problem::Problem;
use crate::document::Source;
use crate::engine::{
    Driven, Engine, EngineError, InForce, MAX_REASON, Mask, RunView, Submit, check_reason, entries_of,
    refuse_known_problems, rfc3339, view,
};
use crate::journal::{RunFilter, RunRow, Scope};
use crate::saga::RunState;
use crate::saga::event::{Event, Verb};
use crate::serve::{AddedCall, Begun, Kept, Place};
use crate::types::{Principal, RunId, StepName};
use crate::workflow::Workflow;

/// How many runs a page has at most, and how many rows are looked through for it.
const PAGE: usize = 100;
const LOOKED: usize = 2_000;
/// The longest time that a request waits for a run.
pub(super) const LONGEST: u64 = 60;
const MAX_KEY: usize = 128;

/// A submission: a workflow, one call, or an open run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    /// A workflow file, as text.
    workflow: Option<String>,
    /// A capability that is called once.
    capability: Option<String>,
    /// The name of an open run, to which steps are added.
    open: Option<String>,
    /// Inputs of the workflow, or of the call.
    #[serde(default)]
    inputs: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Waits {
    /// How many seconds the answer waits for the run to rest.
    #[serde(default)]
    #[schemars(range(max = 60))]
    pub(super) wait: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step")]
pub(super) struct StepBody {
    /// Its name, unique in the run.
    name: String,
    /// What is called.
    capability: String,
    /// With what.
    #[serde(default)]
    inputs: Map<String, Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    /// Why; it is recorded.
    #[schemars(length(min = 1, max = MAX_REASON))]
    reason: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Only those in this state.
    #[schemars(with = "Option<RunState>")]
    state: Option<String>,
    /// What the page before answered with.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Runs")]
pub(super) struct Page {
    runs: Vec<Line>,
    /// What shows the next page, if there may be one.
    cursor: Option<RunId>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RunLine")]
struct Line {
    run: RunId,
    workflow: String,
    principal: Principal,
    state: RunState,
    submitted: String,
    closed: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Log {
    step: StepName,
    attempt: u32,
    undo: bool,
    text: String,
}

pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;
pub(super) type Named<T> = Result<Path<T>, PathRejection>;

pub(super) fn run_of(path: Named<String>) -> Result<RunId, Problem> {
    let Path(text) = path?;
    RunId::parse(&text).map_err(|_| Problem::not_found("there is no run of that id"))
}

pub(super) fn reason_of(reason: &str) -> Result<&str, Problem> {
    check_reason(reason).map(|()| reason).map_err(|why| Problem::bad_request("bad-reason", why))
}

impl Service {
    /// A run that the caller may see. Whose it is not is not told.
    pub(super) fn view(&self, caller: &Caller, run: &RunId) -> Result<RunView, Problem> {
        let engine = self.keeper.engine();
        let journal = &**engine.journal();
        self.row(caller, run)?;
        let mut shown = view(journal, run)?;
        Mask::new(journal, InForce::Policy(&engine.policy())).run(&mut shown);
        Ok(shown)
    }

    pub(super) fn row(&self, caller: &Caller, run: &RunId) -> Result<RunRow, Problem> {
        let unknown = || Problem::not_found("there is no run of that id");
        let journal = &**self.keeper.engine().journal();
        let row = journal.run(run)?.ok_or_else(unknown)?;
        if caller.sees(journal, &row)? { Ok(row) } else { Err(unknown()) }
    }

    /// Refuses whoever may not change a run: those who did not submit it, unless they operate.
    async fn must_own(&self, caller: &Caller, run: &RunId, request: &str) -> Result<(), Problem> {
        let row = self.row(caller, run)?;
        let owns = caller.token.actor.owns(&**self.keeper.engine().journal(), &row)?;
        let scope = if owns && caller.may(Scope::Submit) { Scope::Submit } else { Scope::Operate };
        caller.must(scope, self, &format!("{request} {run}")).await
    }

    /// Drives a run, and waits for it as long as that is wanted: then it goes on.
    async fn drive(&self, kept: Arc<Kept>, waits: &Waits) -> Result<(), Problem> {
        if waits.wait == 0 {
            self.keeper.go_on(kept);
            return Ok(());
        }
        waits.until(self.keeper.drive(kept)).await
    }
}

impl Waits {
    /// Waits for a run to rest, as long as that is wanted.
    async fn until(&self, rests: impl Future<Output = Result<Driven, EngineError>>) -> Result<(), Problem> {
        match tokio::time::timeout(Duration::from_secs(self.wait.min(LONGEST)), rests).await {
            Ok(driven) => Ok(driven.map(drop)?),
            Err(_) => Ok(()),
        }
    }
}

pub(super) async fn submit(
    State(service): State<Arc<Service>>,
    caller: Caller,
    headers: HeaderMap,
    waits: Asked<Waits>,
    body: Body<Submission>,
) -> Result<Response, Problem> {
    caller.must(Scope::Submit, &service, "submit a run").await?;
    let (Query(waits), Given(submission)) = (waits?, body?);
    let actor = &caller.token.actor;
    // One's key is nobody else's.
    let key = run_key(&headers)?.map(|key| json!([actor.agent(), actor.behalf(), key]).to_string());
    let place = service.keeper.place();
    let known = match &key {
        Some(key) if place.is_none() => service.keeper.engine().journal().find_by_key(key)?.is_some(),
        _ => false,
    };
    if place.is_none() && !known {
        return Err(busy());
    }
    let submit = service.submit_for(actor, key);
    let engine = service.keeper.engine();
    let begun = match submission {
        Submission { workflow: Some(text), capability: None, open: None, inputs } => {
            let (workflow, _) = Workflow::load(&Source::new("workflow", text), engine.registry(), &inputs)?;
            service.begin(&caller, place, workflow, submit).await?
        }
        Submission { workflow: None, capability: Some(capability), open: None, inputs } => {
            let (workflow, _) = Workflow::one_step(&capability, &inputs, engine.registry())?;
            service.begin(&caller, place, workflow, submit).await?
        }
        Submission { workflow: None, capability: None, open: Some(name), inputs } if inputs.is_empty() => {
            service.keeper.begin(place, move |engine| async move { engine.open(&name, &submit).await }).await?
        }
        _ => {
            let detail = "a submission has one of `workflow`, `capability` and `open`, the last without `inputs`";
            return Err(Problem::bad_request("bad-submission", detail));
        }
    };
    let (run, status) = match begun {
        Begun::New(kept, mut driving) => {
            waits.until(driving.rests()).await?;
            (kept.id().clone(), StatusCode::CREATED)
        }
        Begun::Existing(run) => {
            service.move_on(&run, &waits).await?;
            (run, StatusCode::OK)
        }
    };
    created(&service, &caller, &run, status)
}

impl Service {
    /// Begins a run of a workflow.
    async fn begin(
        &self,
        caller: &Caller,
        place: Option<Place>,
        mut workflow: Workflow,
        submit: Submit,
    ) -> Result<Begun, Problem> {
        self.act(caller, &mut workflow).await?;
        refuse_known_problems(&workflow, self.keeper.engine().registry())?;
        let submit = move |engine: Engine| async move { engine.submit(&workflow, &submit).await };
        Ok(self.keeper.begin(place, submit).await?)
    }

    /// Lets the agent act in it that submits it for somebody else.
    async fn act(&self, caller: &Caller, workflow: &mut Workflow) -> Result<(), Problem> {
        let Some(agent) = caller.token.actor.agent() else { return Ok(()) };
        let Err(error) = workflow.let_act(agent) else { return Ok(()) };
        let problem = Problem::new(StatusCode::FORBIDDEN, "acts-for-others", error.to_string());
        record(self, Some(agent.clone()), &format!("run {}", workflow.name), &problem).await;
        Err(problem)
    }
}

fn created(service: &Service, caller: &Caller, run: &RunId, status: StatusCode) -> Result<Response, Problem> {
    let shown = service.view(caller, run)?;
    let mut response = (status, Json(shown)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/runs/{run}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn run_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let bad =
        || Problem::bad_request("bad-key", format!("`Idempotency-Key` has 1 to {MAX_KEY} printable ASCII characters"));
    key.map(|key| Some(key.to_owned())).ok_or_else(bad)
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    asked: Asked<Listed>,
) -> Result<Response, Problem> {
    let Query(Listed { state, cursor }) = asked?;
    let unknown = |what: &str| Problem::bad_request("bad-query", format!("`{what}` is not one of this service"));
    let state = state.map(|word| RunState::parse(&word).ok_or_else(|| unknown("state"))).transpose()?;
    let mut before = cursor.map(|text| RunId::parse(&text).map_err(|_| unknown("cursor"))).transpose()?;
    let filter = RunFilter { state, ..RunFilter::default() };
    let journal = service.keeper.engine().journal();
    let (mut runs, mut looked) = (Vec::new(), 0);
    loop {
        let page = journal.runs(&filter, before.as_ref(), PAGE)?;
        let is_last = page.rows.len() < PAGE;
        for row in page.rows {
            before = Some(row.run.clone());
            looked += 1;
            if caller.sees(&**journal, &row)? {
                runs.push(line(row));
            }
            if runs.len() == PAGE {
                return Ok(Json(Page { runs, cursor: before }).into_response());
            }
        }
        if is_last || looked >= LOOKED {
            let cursor = if is_last { None } else { before };
            return Ok(Json(Page { runs, cursor }).into_response());
        }
    }
}

fn line(row: RunRow) -> Line {
    let RunRow { run, workflow, principal, state, submitted, closed, .. } = row;
    Line { run, workflow, principal, state, submitted: rfc3339(submitted), closed: closed.map(rfc3339) }
}

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
) -> Result<Response, Problem> {
    Ok(Json(service.view(&caller, &run_of(run)?)?).into_response())
}

pub(super) async fn add_step(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
    body: Body<StepBody>,
) -> Result<Response, Problem> {
    let (run, Given(StepBody { name, capability, inputs })) = (run_of(run)?, body?);
    let kept = open(&service, &caller, &run, "add a step to").await?;
    let call = AddedCall { name: Some(name), capability, inputs, agent: caller.token.actor.agent().cloned() };
    service.keeper.call(kept, call).await?;
    Ok((StatusCode::CREATED, Json(service.view(&caller, &run)?)).into_response())
}

pub(super) async fn commit(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
) -> Result<Response, Problem> {
    let run = run_of(run)?;
    let kept = open(&service, &caller, &run, "commit").await?;
    service.keeper.drive_after(kept, |run| async move { run.seal().await }).await?;
    Ok(Json(service.view(&caller, &run)?).into_response())
}

pub(super) async fn roll_back(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
    body: Body<Why>,
) -> Result<Response, Problem> {
    change(&service, &caller, run, body, Verb::Rollback, "roll back").await
}

pub(super) async fn cancel(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
    body: Body<Why>,
) -> Result<Response, Problem> {
    change(&service, &caller, run, body, Verb::Cancel, "cancel").await
}

pub(super) async fn undo(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
    body: Body<Why>,
) -> Result<Response, Problem> {
    change(&service, &caller, run, body, Verb::Undo, "undo").await
}

/// Asks for something as an operator, and waits until that is done.
async fn change(
    service: &Arc<Service>,
    caller: &Caller,
    run: Named<String>,
    body: Body<Why>,
    verb: Verb,
    request: &str,
) -> Result<Response, Problem> {
    let (run, Given(Why { reason })) = (run_of(run)?, body?);
    service.must_own(caller, &run, request).await?;
    service.keeper.operate(&run, verb, caller.principal(), reason_of(&reason)?).await?;
    service.move_on(&run, &Waits { wait: LONGEST }).await?;
    Ok(Json(service.view(caller, &run)?).into_response())
}

impl Service {
    /// Drives a run to which somebody appended. One that another process drives is left to it.
    pub(super) async fn move_on(&self, run: &RunId, waits: &Waits) -> Result<(), Problem> {
        match self.keeper.find_or_take(run).await {
            Ok(kept) => self.drive(kept, waits).await,
            Err(EngineError::Owned { .. } | EngineError::WrongState { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// An open run of the caller.
async fn open(service: &Arc<Service>, caller: &Caller, run: &RunId, request: &str) -> Result<Arc<Kept>, Problem> {
    let row = service.row(caller, run)?;
    let asked = format!("{request} {run}");
    caller.must(Scope::Submit, service, &asked).await?;
    if !caller.token.actor.owns(&**service.keeper.engine().journal(), &row)? {
        let detail = "only who opened a run adds to it and commits it: who operates can cancel it";
        let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
        record(service, Some(caller.principal().clone()), &asked, &problem).await;
        return Err(problem);
    }
    let kept = service.keeper.find_or_take(run).await?;
    match service.keeper.is_open(&kept).await? {
        true => Ok(kept),
        false => Err(Problem::new(StatusCode::CONFLICT, "wrong-state", "the run takes no more steps")),
    }
}

pub(super) async fn logs(
    State(service): State<Arc<Service>>,
    caller: Caller,
    run: Named<String>,
) -> Result<Response, Problem> {
    let run = run_of(run)?;
    service.row(&caller, &run)?;
    let journal = service.keeper.engine().journal();
    let mut logs = Vec::new();
    for entry in entries_of(&**journal, &run)? {
        let (step, attempt, undo, log) = match entry.event {
            Event::Result(result) => (result.step, result.attempt, false, result.log),
            Event::UndoResult(result) => (result.step, result.attempt, true, result.log),
            _ => continue,
        };
        let Some(log) = log else { continue };
        if let Some(bytes) = journal.payload(&log.digest)? {
            logs.push(Log { step, attempt, undo, text: String::from_utf8_lossy(&bytes).into_owned() });
        }
    }
    Ok(Json(logs).into_response())
}
