//! The events of a run: a page, or as they come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Service;
use super::guard::{Caller, Room, StreamSeat};
use super::problem::Problem;
use super::runs::{Asked, Named, run_of};
use crate::engine::rfc3339;
use crate::saga::event::{Entry, Event};
use crate::types::RunId;

const PAGE: usize = 500;
/// How often it is looked whether anything came.
const LOOK: Duration = Duration::from_millis(150);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// The last event that is known already.
    #[serde(default)]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub(super) after: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Events")]
pub(super) struct Page {
    events: Vec<Shown>,
    /// What shows the next page, if there is one now.
    after: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventShown")]
struct Shown {
    seq: u64,
    at: String,
    event: Event,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Shown {
        Shown { seq: entry.seq, at: rfc3339(entry.at), event: entry.event }
    }
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    headers: HeaderMap,
    run: Named<String>,
    asked: Asked<After>,
) -> Result<Response, Problem> {
    let (run, Query(After { after })) = (run_of(run)?, asked?);
    service.row(&caller, &run)?;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::ACCEPT).is_some_and(|wanted| wanted.contains("text/event-stream")) {
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
        let after = last.unwrap_or(after);
        is_there(&service, &run, after)?;
        let seat = Room::stream(&service, &caller)?;
        let stream = Sse::new(coming(service, run, after, (caller, seat)));
        return Ok(stream.keep_alive(KeepAlive::default()).into_response());
    }
    is_there(&service, &run, after)?;
    let entries = service.keeper.engine().journal().entries(&run, after, PAGE)?;
    let next = (entries.len() == PAGE).then(|| entries.last().map(|entry| entry.seq)).flatten();
    Ok(Json(Page { events: entries.into_iter().map(Shown::from).collect(), after: next }).into_response())
}

/// Refuses an event that there is not.
fn is_there(service: &Service, run: &RunId, event: u64) -> Result<(), Problem> {
    let head = service.keeper.engine().journal().head(run)?.unwrap_or(0);
    match event <= head {
        true => Ok(()),
        false => Err(Problem::bad_request("no-such-event", format!("the run has {head} events by now"))),
    }
}

/// Every event after one, until the run is closed or the process is to end. Whoever was cut off goes on with `Last-Event-ID`.
fn coming(
    service: Arc<Service>,
    run: RunId,
    after: u64,
    seat: (Caller, StreamSeat),
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let ending = service.ending.subscribe();
    let begin = (service, run, after, Vec::<Entry>::new().into_iter(), ending, false, seat);
    futures_util::stream::unfold(
        begin,
        |(service, run, mut after, mut waiting, mut ending, mut over, seat)| async move {
            loop {
                if let Some(entry) = waiting.next() {
                    after = entry.seq;
                    let (seq, kind) = (entry.seq.to_string(), entry.event.kind());
                    let event = sse::Event::default().id(seq).event(kind).json_data(Shown::from(entry));
                    let event = event.unwrap_or_else(|_| sse::Event::default().comment("an event has no JSON form"));
                    return Some((Ok(event), (service, run, after, waiting, ending, over, seat)));
                }
                if over || *ending.borrow() {
                    return None;
                }
                if !seat.0.counts(&service) {
                    return None;
                }
                let journal = service.keeper.engine().journal();
                // Asked first: what closes the run is read after that.
                over = journal.run(&run).ok()??.closed.is_some();
                match journal.entries(&run, after, PAGE) {
                    Ok(entries) if entries.is_empty() && !over => {
                        tokio::select! {
                            () = tokio::time::sleep(LOOK) => {}
                            _ = ending.wait_for(|ending| *ending) => return None,
                        }
                    }
                    Ok(entries) => {
                        over = over && entries.len() < PAGE;
                        waiting = entries.into_iter();
                    }
                    Err(error) => {
                        tracing::error!(run = %run, "{}", crate::document::escape(&error.to_string()));
                        return None;
                    }
                }
            }
        },
    )
}
