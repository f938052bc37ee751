//! The service over HTTP: what the command line does, for programs and for people who are elsewhere.
//!
//! In this order each request is asked:
//!
//! 1. Is there room for it? Connections are bounded, and so is the time that the head of a request may take. What is too much at once is
//!    answered with 503, of one token with 429; bodies have a bound.
//! 2. Is it for us? The `Host` must be one that is listened on, and a page of another origin may ask nothing: browsers on the same machine
//!    send requests for whichever page is open in them.
//! 3. Who asks? A token, in `Authorization: Bearer`; at the socket also a user of this machine whom the settings name. Without one there is no
//!    answer but to whether the service lives and what it offers, and the files of the console, which hold nothing of the service's.
//! 4. May that token be used for this? If not, the system chain records who asked for what.
//! 5. Whatever a run does is decided by the policy, as everywhere.
//!
//! At `/mcp` agents find capabilities as tools, with the same tokens.
//!
//! Errors are problems of RFC 9457. What is asked for goes on if the client goes away. When the process is to end, what is being
//! answered is answered, and every run can be resumed.

mod approvals;
mod audit;
mod body;
mod capabilities;
mod console;
mod events;
mod guard;
mod listen;
mod meta;
mod openapi;
mod policy;
mod problem;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Router, middleware};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::watch;

use self::guard::Caller;
use self::problem::{Code, Problem};
use super::keeper::Keeper;
use super::mcp::{Acting, Connection, strict};
use super::token::{Peers, Tokens};
use super::{Actor, blocking};
use crate::engine::{EngineError, Submit};
use crate::journal::Scope;

pub use listen::Doors;
pub use openapi::document;

/// The longest body that is taken: a workflow may have 16 MiB.
const MAX_BODY: usize = 17 << 20;

/// What all requests share.
pub struct Service {
    keeper: Keeper,
    tokens: Tokens,
    /// The bounds of runs; who they are for is the token's.
    submit: Submit,
    about: About,
    room: guard::Room,
    answers: Answers,
    agents: Agents,
    /// Set once the process is to end.
    ending: watch::Sender<bool>,
}

/// What is said of a service where it is started.
pub struct About {
    /// The values of `Host` that are ours, each with its port.
    pub hosts: BTreeSet<String>,
    /// Who needs no token at the socket.
    pub peers: Peers,
    /// The file of the journal.
    pub journal: PathBuf,
}

/// How many requests were answered with what.
#[derive(Default)]
struct Answers {
    good: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    /// The refusals among them by their codes.
    codes: Mutex<BTreeMap<&'static str, u64>>,
}

impl Answers {
    fn count(&self, answer: &Response) {
        let status = answer.status().as_u16();
        if let (400..=499, Some(Code(code))) = (status, answer.extensions().get::<Code>()) {
            *self.codes.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
        }
        let counter = match status {
            0..=399 => &self.good,
            400..=499 => &self.refused,
            _ => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Service {
    /// What `keeper` drives, with these bounds of runs.
    pub fn new(keeper: Keeper, submit: Submit, about: About) -> Arc<Service> {
        let tokens = Tokens::of(keeper.engine().journal().clone());
        let (room, answers) = Default::default();
        let (agents, ending) = (agents(&keeper, &submit), watch::Sender::new(false));
        Arc::new(Service { keeper, tokens, submit, about, room, answers, agents, ending })
    }

    /// Reads, or appends, where that keeps nobody else waiting.
    async fn read<T: Send + 'static>(
        self: &Arc<Service>,
        work: impl FnOnce(Arc<Service>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, Problem> {
        let service = self.clone();
        Ok(blocking(move || work(service)).await?)
    }

    /// The same for what takes as long as all of the journal: few of these go on at the same time.
    async fn read_all<T: Send + 'static>(
        self: &Arc<Service>,
        work: impl FnOnce(Arc<Service>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.room.long()?;
        let work = move |service| {
            // It is read to its end, also if whoever asked has gone.
            let _place = place;
            work(service)
        };
        self.read(work).await
    }

    fn submit_for(&self, actor: &Actor, run_key: Option<String>) -> Submit {
        let (principal, agent) = (actor.behalf().clone(), actor.agent().cloned());
        Submit { principal, agent, run_key, ..self.submit.clone() }
    }
}

type Handled = MethodRouter<Arc<Service>>;
type Agents = StreamableHttpService<Connection, NeverSessionManager>;

/// Every path, and what answers there. The description of the service is checked against this table.
fn routes() -> Vec<(&'static str, Handled)> {
    vec![
        ("/healthz", get(meta::health)),
        ("/readyz", get(meta::ready)),
        ("/openapi.json", get(meta::openapi)),
        ("/metrics", get(meta::metrics)),
        ("/v1/whoami", get(meta::whoami)),
        ("/v1/capabilities", get(capabilities::list)),
        ("/v1/capabilities/{capability}/review", get(capabilities::review)),
        ("/v1/policy", get(policy::show)),
        ("/v1/policy/explain", post(policy::explain)),
        ("/v1/audit", get(audit::status)),
        ("/v1/audit/verify", post(audit::verify)),
        ("/v1/system/events", get(audit::events)),
        ("/v1/runs", get(runs::list).post(runs::submit)),
        ("/v1/runs/{run}", get(runs::show)),
        ("/v1/runs/{run}/steps", post(runs::add_step)),
        ("/v1/runs/{run}/commit", post(runs::commit)),
        ("/v1/runs/{run}/rollback", post(runs::roll_back)),
        ("/v1/runs/{run}/cancel", post(runs::cancel)),
        ("/v1/runs/{run}/undo", post(runs::undo)),
        ("/v1/runs/{run}/events", get(events::list)),
        ("/v1/runs/{run}/logs", get(runs::logs)),
        ("/v1/runs/{run}/steps/{step}/change", get(approvals::change)),
        ("/v1/runs/{run}/steps/{step}/votes", post(approvals::vote)),
        ("/v1/approvals", get(approvals::list)),
    ]
}

fn router(service: Arc<Service>) -> Router {
    let mut router = Router::new();
    for (path, handled) in routes() {
        router = router.route(path, handled.fallback(problem::wrong_method));
    }
    for (path, file) in console::FILES {
        router = router.route(path, get(move || console::answer(file)).fallback(problem::wrong_method));
    }
    router
        .route("/", get(console::go_there))
        .route("/console/", get(console::go_there))
        .route("/mcp", any(tools))
        .fallback(problem::no_such_path)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(service.clone(), guard::admit))
        .with_state(service)
}

/// Capabilities as tools. Who is let in at all is asked before: see the guard.
fn agents(keeper: &Keeper, submit: &Submit) -> Agents {
    let (keeper, submit) = (keeper.clone(), submit.clone());
    let make = move || Ok(Connection::of_requests(keeper.clone(), submit.clone()));
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY)
        .disable_allowed_hosts();
    StreamableHttpService::new(make, Arc::new(NeverSessionManager::default()), config)
}

/// Answers an agent with a token.
async fn tools(State(service): State<Arc<Service>>, caller: Caller, mut request: Request) -> Result<Response, Problem> {
    caller.must(Scope::Submit, &service, "use a tool").await?;
    request.extensions_mut().insert(Acting(caller.token.actor.clone()));
    let (mut parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        let detail = format!("a message has at most {MAX_BODY} bytes, and comes to its end");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "bad-body", detail)
    })?;
    let message = strict(&bytes).into_owned();
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(service.agents.handle(Request::from_parts(parts, Body::from(message))).await.into_response())
}

/// Answers until `ends`, and then what was asked by then, for as long as attempts that run are given.
pub async fn serve(service: Arc<Service>, doors: Doors, ends: impl Future<Output = ()>) {
    let (ending, last) = (service.clone(), service.submit.settle_timeout.as_std());
    let until = async move {
        ends.await;
        ending.ending.send_replace(true);
    };
    listen::answer(doors, router(service), until, last).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_path_and_no_other() {
        let document = document();
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let served: BTreeSet<&str> = routes().iter().map(|(path, _)| *path).collect();
        assert_eq!(described, served);
    }
}
