//! Who is let in: see the page of [`super`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use super::{Service, console};
use crate::journal::{Journal, JournalError, RunRow, Scope, SystemEvent};
use crate::serve::token::{Token, of_peer};
use crate::types::Principal;

/// How many requests are answered at the same time, and how many of one token.
const AT_ONCE: usize = 512;
const OF_ONE: usize = 128;
/// How many streams of events are open at the same time.
const STREAMS: usize = 256;
/// How often it is recorded at most that somebody asked who cannot be known: anybody can.
const STRANGERS: Duration = Duration::from_secs(10);

/// How many requests go on at the same time that read all of the journal.
const LONG: usize = 2;

/// Paths that are answered without a token: nothing of theirs is anybody's.
fn is_open(path: &str) -> bool {
    ["/", "/console/", "/healthz", "/readyz", "/openapi.json"].contains(&path)
        || console::FILES.iter().any(|(open, _)| *open == path)
}

/// How much goes on.
pub(super) struct Room {
    all: Semaphore,
    streams: Arc<Semaphore>,
    long: Arc<Semaphore>,
    of_token: Mutex<HashMap<String, usize>>,
    /// When something was last recorded of those whom nobody knows, by what it was.
    strangers: Mutex<HashMap<String, Instant>>,
}

impl Default for Room {
    fn default() -> Room {
        let (of_token, strangers) = Default::default();
        let (all, streams, long) =
            (Semaphore::new(AT_ONCE), Arc::new(Semaphore::new(STREAMS)), Arc::new(Semaphore::new(LONG)));
        Room { all, streams, long, of_token, strangers }
    }
}

pub(super) fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much is asked at once")
        .with_header(header::RETRY_AFTER, "1")
}

fn too_many() -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "too much is asked at once with this token")
        .with_header(header::RETRY_AFTER, "1")
}

impl Room {
    /// A permit for one of the requests that read all of the journal, for as long as they read.
    pub fn long(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.long.clone().try_acquire_owned().map_err(|_| busy())
    }

    /// A seat for a stream of events, until it is dropped.
    pub fn stream(service: &Arc<Service>, caller: &Caller) -> Result<StreamSeat, Problem> {
        let permit = service.room.streams.clone().try_acquire_owned().map_err(|_| busy())?;
        let seat = Seat::take(service, &caller.token.id).ok_or_else(too_many)?;
        Ok(StreamSeat { _permit: permit, _seat: seat })
    }
}

/// A seat among the requests of a token, until this is dropped.
struct Seat {
    service: Arc<Service>,
    id: String,
}

impl Seat {
    fn take(service: &Arc<Service>, id: &str) -> Option<Seat> {
        let mut of_token = service.room.of_token.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = of_token.entry(id.to_owned()).or_default();
        if *taken >= OF_ONE {
            return None;
        }
        *taken += 1;
        Some(Seat { service: service.clone(), id: id.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut of_token = self.service.room.of_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = of_token.get_mut(&self.id) {
            *taken -= 1;
            if *taken == 0 {
                of_token.remove(&self.id);
            }
        }
    }
}

/// Holds a seat among all streams, and one among what is asked with a token.
pub(super) struct StreamSeat {
    _permit: OwnedSemaphorePermit,
    _seat: Seat,
}

/// The user of this machine who is at the other end of a connection, as the system says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub u32);

/// Whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The token that was shown, or what stands for one.
    pub token: Token,
    /// Whether it is known by who is at the other end of the socket, without a secret.
    is_peer: bool,
}

impl Caller {
    /// Who acts.
    pub fn principal(&self) -> &Principal {
        &self.token.actor.principal
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.token.scopes.contains(&scope)
    }

    /// Whether it still counts.
    pub fn counts(&self, service: &Service) -> bool {
        self.is_peer || service.tokens.counts(&self.token.id, service.keeper.engine().now()).unwrap_or(false)
    }

    /// Whether a run is shown: to whom it belongs, and to those who look after the runs of all.
    pub fn sees(&self, journal: &dyn Journal, row: &RunRow) -> Result<bool, JournalError> {
        let all = [Scope::ReadAll, Scope::Operate, Scope::Vote].into_iter().any(|scope| self.may(scope));
        Ok(all || self.token.actor.owns(journal, row)?)
    }

    /// Refuses if the token may not be used for this. That is recorded.
    pub async fn must(&self, scope: Scope, service: &Service, request: &str) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        let detail = format!("the token `{}` may not be used to `{}`", self.token.id, scope.as_str());
        let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
        record(service, Some(self.principal().clone()), request, &problem).await;
        Err(problem)
    }
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Caller, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(no_token)
    }
}

fn no_token() -> Problem {
    let detail = "a token is needed: `redress token add` makes one, and `Authorization: Bearer SECRET` shows it";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(header::WWW_AUTHENTICATE, "Bearer")
}

fn expired(token: &Token) -> Problem {
    let detail = format!("the token `{}` has expired: `redress token add` makes another one", token.id);
    Problem::new(StatusCode::UNAUTHORIZED, "token-expired", detail).with_header(header::WWW_AUTHENTICATE, "Bearer")
}

/// Lets a request in, or says why not.
pub(super) async fn admit(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let answer = match service.room.all.try_acquire() {
        Ok(_permit) => match check(&service, request).await {
            Ok((request, _seat)) => next.run(request).await,
            Err(problem) => problem.into_response(),
        },
        Err(_) => busy().into_response(),
    };
    service.answers.count(&answer);
    with_headers(answer)
}

/// What every answer says to browsers: it is no page, and nobody's to keep.
fn with_headers(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(axum::http::HeaderValue::from_static(value));
    }
    answer
}

async fn check(service: &Arc<Service>, mut request: Request) -> Result<(Request, Option<Seat>), Problem> {
    said_once(request.headers())?;
    if let Err(problem) = is_ours(service, &request) {
        record_stranger(service, None, "an answer for another place", &problem).await;
        return Err(problem);
    }
    if is_open(request.uri().path()) {
        return Ok((request, None));
    }
    let found = match (bearer(request.headers()), request.extensions().get::<Peer>()) {
        (Some(secret), _) => service.tokens.find(secret)?.map(|token| (token, false)),
        (None, Some(Peer(uid))) => of_peer(&service.about.peers, *uid).map(|token| (token, true)),
        (None, None) => None,
    };
    let Some((token, is_peer)) = found else {
        let problem = no_token();
        // What the path names may be a secret of somebody.
        record_stranger(service, None, "an answer without a token", &problem).await;
        return Err(problem);
    };
    if !token.counts(service.keeper.engine().now()) {
        let problem = expired(&token);
        record_stranger(service, Some(&token), "an answer with an expired token", &problem).await;
        return Err(problem);
    }
    let seat = Seat::take(service, &token.id).ok_or_else(too_many)?;
    request.extensions_mut().insert(Caller { token, is_peer });
    Ok((request, Some(seat)))
}

impl Room {
    /// Whether nothing of the kind was recorded lately. Of kinds there are few: one for each token, and some.
    fn is_first(&self, kind: String) -> bool {
        let mut all = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, last| last.elapsed() < STRANGERS);
        let first = !all.contains_key(&kind);
        all.entry(kind).or_insert_with(Instant::now);
        first
    }
}

/// Records the refusal of a request that anybody could make, unless that was done lately.
async fn record_stranger(service: &Service, by: Option<&Token>, request: &str, problem: &Problem) {
    let kind = format!("{} {}", problem.code(), by.map_or("", |token| &token.id));
    if service.room.is_first(kind) {
        let by = by.map(|token| token.actor.principal.clone());
        record(service, by, request, problem).await;
    }
}

/// Refuses a request that says twice who asks, for whom it is or what it brings: what stands before this service may have read the other one.
fn said_once(headers: &HeaderMap) -> Result<(), Problem> {
    for name in ["host", "origin", "authorization", "content-type", "idempotency-key"] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Problem::bad_request("bad-header", format!("`{name}` stands twice")));
        }
    }
    Ok(())
}

/// Refuses what a page of another origin sends, and what is not for a name of ours: a name of others may lead here, too.
fn is_ours(service: &Service, request: &Request) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "foreign", detail);
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let host = host.map(str::to_ascii_lowercase).filter(|host| service.about.hosts.contains(host));
    let Some(host) = host else {
        return Err(refused("this service is not at that host: `redress serve --host NAME` says that it is"));
    };
    match request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
        Some(origin) if origin != format!("http://{host}") && origin != format!("https://{host}") => {
            Err(refused("a page of another origin asks"))
        }
        _ => Ok(()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// Records a refusal in the system chain.
pub(super) async fn record(service: &Service, by: Option<Principal>, request: &str, problem: &Problem) {
    let event = SystemEvent::refused(by, request, problem.code(), problem.detail());
    let engine = service.keeper.engine();
    if let Err(error) = engine.journal().record(event, engine.now()).await {
        tracing::error!("a refusal cannot be recorded: {}", crate::document::escape(&error.to_string()));
    }
}
