//! `redress audit export`: the record as JSON, one object a line, for whoever keeps or searches it elsewhere.
//!
//! The lines are described by `schemas/audit-export.schema.json`. With the times, the events and the number of the format in the
//! first line, each hash can be computed again from the lines alone. No more than a page of events is in memory at a time.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::payloads::{Printed, Printer};
use super::select::{Chosen, PAGE, Selection, Told, is_of_one_run, unread};
use super::sink::Sink;
use super::{Context, Exit, otlp};
use crate::cli::context::shown_path;
use crate::cli::error::CliError;
use crate::cli::lookup::damage_note;
use crate::document::{escape, escape_json};
use crate::engine::rfc3339;
use crate::journal::{Chain, Head, Journal as _, JournalError, SqliteJournal, StoredEntry, VERSION};
use crate::saga::event::Event;
use crate::types::{Digest, Principal, RunId};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "The first line says what was exported and where the system chain ends; then come the events of the system \
    chain and those of each run, each with its hash. A run is exported whole. With a principal, a capability or a run only, of \
    the system chain only what concerns it is there. --otlp sends a trace for each run, without payloads, and writes \
    nothing: its id is that of the run, so that sending it again changes nothing.\n\n\
    Example: redress audit export --since 30d --output november.jsonl\nExample: redress audit export --otlp http://127.0.0.1:4318"
)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Into a new file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As traces to this receiver of OTLP over HTTP; `/v1/traces` is added to a URL without a path
    #[arg(long, value_name = "URL", conflicts_with_all = ["with_payloads", "output"])]
    otlp: Option<String>,
}

/// A line.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'l> {
    Header {
        schema: u32,
        redress: &'static str,
        exported: String,
        journal: String,
        /// The version of the form in which events are hashed.
        format: u64,
        system: Option<Head>,
        selection: Told,
        payloads: bool,
    },
    Event {
        schema: u32,
        chain: &'l str,
        seq: u64,
        at: String,
        hash: Digest,
        kind: &'l str,
        event: &'l Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        payloads: Option<Vec<Printed>>,
    },
    /// The rest of this chain cannot be read.
    Unreadable { schema: u32, chain: &'l str, message: String },
}

/// What was written, for whoever asked for a file.
#[derive(Debug, Serialize)]
struct Written {
    schema: u32,
    file: String,
    runs: usize,
    events: u64,
    unreadable: usize,
}

pub(super) async fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let chosen = arguments.selection.understand(&journal, context)?;
    if let Some(url) = &arguments.otlp {
        return otlp::execute(url, &journal, &chosen, context).await;
    }
    let sink = Sink::open(arguments.output.as_deref())?;
    let policy = context.policy_to_mask_by();
    let printer = Printer::new(&journal, context.mask(&journal, policy.in_force()));
    let with_payloads = arguments.selection.with_payloads;
    let mut export = Export { journal: &journal, sink, printer, with_payloads, events: 0, unreadable: 0 };
    let runs = export.all(&chosen, context)?;
    let Export { sink, events, unreadable, .. } = export;
    sink.finish()?;
    if let Some(file) = &arguments.output {
        let written = Written { schema: 1, file: shown_path(file), runs, events, unreadable };
        context.output.result(&written, || format!("{} has {events} events, runs: {runs}", escape(&written.file)))?;
    }
    if unreadable == 0 {
        return Ok(Exit::Done);
    }
    context.output.note(&unread(unreadable));
    Ok(Exit::Engine)
}

struct Export<'j> {
    journal: &'j SqliteJournal,
    sink: Sink,
    printer: Printer<'j>,
    with_payloads: bool,
    events: u64,
    unreadable: usize,
}

impl Export<'_> {
    /// The whole; how many runs there were.
    fn all(&mut self, chosen: &Chosen, context: &Context) -> Result<usize, CliError> {
        // What is written from now on to the system chain is not part of it.
        let system = self.journal.system_head()?;
        let runs = chosen.runs(self.journal)?;
        self.line(&Line::Header {
            schema: 1,
            redress: env!("CARGO_PKG_VERSION"),
            exported: rfc3339(context.now()),
            journal: shown_path(self.journal.path()),
            format: VERSION,
            system,
            selection: chosen.told(),
            payloads: self.with_payloads,
        })?;
        let mine: Option<HashSet<&RunId>> = chosen.is_narrow().then(|| runs.ids.iter().collect());
        let last = system.map_or(0, |head| head.seq);
        self.chain(&Chain::System, |stored| {
            stored.seq <= last
                && chosen.covers(stored.at)
                && mine.as_ref().is_none_or(|mine| concerns(&stored.event, mine, chosen))
        })?;
        for damaged in &runs.damaged {
            let message = damage_note(&damaged.run, &damaged.what);
            self.unreadable(&damaged.run, message)?;
        }
        for run in &runs.ids {
            if self.sink.is_gone() {
                break;
            }
            self.chain(&Chain::Run(run.clone()), |_| true)?;
        }
        Ok(runs.ids.len())
    }

    fn chain(&mut self, chain: &Chain, wanted: impl Fn(&StoredEntry) -> bool) -> Result<(), CliError> {
        let mut after = 0;
        loop {
            let page = match self.journal.stored_entries(chain, after, PAGE) {
                Err(error) if is_of_one_run(&error) => return self.broken(chain, after, &error, wanted),
                page => page?,
            };
            for stored in page.iter().filter(|stored| wanted(stored)) {
                self.event(chain, stored)?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE && !self.sink.is_gone() => after = last.seq,
                _ => return Ok(()),
            }
        }
    }

    /// What stands before the place at which a chain breaks is written one by one.
    fn broken(
        &mut self,
        chain: &Chain,
        mut after: u64,
        error: &JournalError,
        wanted: impl Fn(&StoredEntry) -> bool,
    ) -> Result<(), CliError> {
        while let Ok(page) = self.journal.stored_entries(chain, after, 1) {
            let Some(stored) = page.first() else { break };
            if wanted(stored) {
                self.event(chain, stored)?;
            }
            after = stored.seq;
        }
        self.unreadable(chain.as_str(), error.to_string())
    }

    fn unreadable(&mut self, chain: &str, message: String) -> Result<(), CliError> {
        self.unreadable += 1;
        self.line(&Line::Unreadable { schema: 1, chain, message })
    }

    fn event(&mut self, chain: &Chain, stored: &StoredEntry) -> Result<(), CliError> {
        let StoredEntry { seq, at, hash, event } = stored;
        let payloads = match chain {
            Chain::Run(run) if self.with_payloads => {
                let known: Option<Event> = serde_json::from_value(event.clone()).ok();
                known.map(|event| self.printer.of_event(run, &event)).transpose()?
            }
            _ => None,
        };
        self.events += 1;
        self.line(&Line::Event {
            schema: 1,
            chain: chain.as_str(),
            seq: *seq,
            at: rfc3339(*at),
            hash: *hash,
            kind: event.get("kind").and_then(Value::as_str).unwrap_or_default(),
            event,
            payloads,
        })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), CliError> {
        let text = serde_json::to_string(line)
            .map_err(|error| CliError::engine("output", format!("a line has no JSON form: {error}")))?;
        self.sink.write(escape_json(&text).as_bytes())?;
        self.sink.write(b"\n")
    }
}

/// Whether an event of the system chain concerns these runs, or everybody.
fn concerns(event: &Value, runs: &HashSet<&RunId>, chosen: &Chosen) -> bool {
    match event.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "RUN_HEAD" | "ERASED" => {
            let run = event.get("run").and_then(Value::as_str).and_then(|run| RunId::parse(run).ok());
            run.is_some_and(|run| runs.contains(&run))
        }
        "REFUSED" => {
            let by = event.get("by").and_then(Value::as_str).and_then(|by| Principal::parse(by).ok());
            chosen.covers_refused(by.as_ref())
        }
        _ => true,
    }
}
