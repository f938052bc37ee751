//! `redress audit export --otlp`: runs as traces, to a receiver of OTLP over HTTP.
//!
//! A trace a run, a span a step, and below it a span for each attempt and each undo. All ids follow from the run, the step and the
//! number of the attempt: whoever sends a run twice, or again when it has gone on, sends the same trace. Nothing is sent by
//! itself, and nothing of a payload, a message or a reason is sent at all.

mod send;
mod spans;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Serialize;

use super::select::{Chosen, is_of_one_run, unread};
use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::document::escape;
use crate::engine::EngineError;
use crate::journal::SqliteJournal;

use send::Receiver;

/// How many spans a request has at most.
const BATCH: usize = 1_000;

/// What was sent.
#[derive(Debug, Serialize)]
struct Sent {
    schema: u32,
    receiver: String,
    traces: usize,
    spans: usize,
    unreadable: usize,
}

pub(super) async fn execute(
    url: &str,
    journal: &SqliteJournal,
    chosen: &Chosen,
    context: &Context,
) -> Result<Exit, CliError> {
    let receiver = Receiver::new(url, context.settings()?.extra_ca()?.as_deref())?;
    let runs = chosen.runs(journal)?;
    let mut sent =
        Sent { schema: 1, receiver: receiver.shown().to_owned(), traces: 0, spans: 0, unreadable: runs.damaged.len() };
    let mut batch: Vec<Span> = Vec::new();
    for run in &runs.ids {
        match spans::of_run(journal, run) {
            Ok(spans) => batch.extend(spans),
            Err(EngineError::Journal(error)) if !is_of_one_run(&error) => return Err(error.into()),
            Err(_) => {
                sent.unreadable += 1;
                continue;
            }
        }
        sent.traces += 1;
        while batch.len() >= BATCH {
            let rest = batch.split_off(BATCH);
            sent.spans += send(&receiver, std::mem::replace(&mut batch, rest), context).await?;
        }
    }
    if !batch.is_empty() {
        sent.spans += send(&receiver, batch, context).await?;
    }
    context.output.result(&sent, || {
        let Sent { receiver, traces, spans, .. } = &sent;
        format!("{} took {traces} traces, spans: {spans}", escape(receiver))
    })?;
    if sent.unreadable == 0 {
        return Ok(Exit::Done);
    }
    context.output.note(&unread(sent.unreadable));
    Ok(Exit::Engine)
}

async fn send(receiver: &Receiver, spans: Vec<Span>, context: &Context) -> Result<usize, CliError> {
    let count = spans.len();
    if let Some(warning) = receiver.send(spans).await? {
        context.output.note(&format!("warning: {} says: {}", escape(receiver.shown()), escape(&warning)));
    }
    Ok(count)
}
