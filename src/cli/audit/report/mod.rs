//! `redress audit report`: the record of a period on one page, for a person who reviews it.
//!
//! The page is one HTML file without scripts and without anything from elsewhere. Runs are read one after the other; the list and
//! the runs wait in temporary files until the summary, which stands above them, is known.

mod page;
mod shown;
mod tally;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::select::{Chosen, PAGE, Selection, Told, is_of_one_run, unread};
use super::sink::Sink;
use super::{Context, Exit};
use crate::cli::context::shown_path;
use crate::cli::error::CliError;
use crate::document::escape;
use crate::engine::{EngineError, Mask, entries_of, rfc3339, view};
use crate::journal::{Head, Journal as _, JournalError, SYSTEM, SqliteJournal, SystemEvent};
use crate::types::{CapabilityId, Digest, RunId, Timestamp};
use page::Page;
use shown::Shown;
use tally::{Figure, Tally};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "The page is one file that opens in any browser and can be printed: it holds no script and loads nothing. A run \
    is told whole, also what it did outside of the period.\n\n\
    Example: redress audit report --since 30d --output november.html"
)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Where to; nothing may be there
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// The top of the page.
#[derive(Serialize)]
struct Top<'t> {
    made: &'t str,
    redress: &'static str,
    journal: String,
    selection: Told,
    narrow: bool,
    payloads: bool,
    head: Option<Head>,
    policies: Vec<Policy>,
    figures: Vec<Figure>,
    unreadable: &'t [Unreadable],
    runs: usize,
}

/// A policy by which something was decided.
#[derive(Serialize)]
struct Policy {
    digest: Digest,
    name: Option<String>,
    decisions: u64,
}

#[derive(Serialize)]
struct Unreadable {
    run: String,
    message: String,
}

/// The end of the page.
#[derive(Default, Serialize)]
struct Tail {
    made: String,
    redress: &'static str,
    runs: usize,
    /// Whether the selection says nothing of refused requests.
    refused_hidden: bool,
    refused: Vec<Refused>,
    came: Vec<Came>,
}

#[derive(Serialize)]
struct Refused {
    at: String,
    by: Option<String>,
    request: String,
    code: String,
    message: String,
}

/// What came to the host.
#[derive(Serialize)]
struct Came {
    at: String,
    what: String,
    digest: Option<Digest>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    schema: u32,
    file: String,
    runs: usize,
    unreadable: usize,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let chosen = arguments.selection.understand(&journal, context)?;
    let mut sink = Sink::open(Some(&arguments.output))?;
    let (made, page) = (rfc3339(context.now()), Page::new()?);
    let head = journal.system_head()?;
    let mut body = Body::new()?;
    let policy = context.policy_to_mask_by();
    let mut mask = context.mask(&journal, policy.in_force());
    body.runs(&journal, &chosen, &page, arguments.selection.with_payloads, &mut mask)?;
    let (mut tail, broken) = tail(&journal, &chosen, head, &body.told)?;
    body.unreadable.extend(broken.map(|error| Unreadable { run: SYSTEM.to_owned(), message: error.to_string() }));
    let top = Top {
        made: &made,
        redress: env!("CARGO_PKG_VERSION"),
        journal: shown_path(journal.path()),
        selection: chosen.told(),
        narrow: chosen.is_narrow(),
        payloads: arguments.selection.with_payloads,
        head,
        policies: body.policies(&journal)?,
        figures: Vec::new(),
        unreadable: &body.unreadable,
        runs: body.count,
    };
    let figures = body.tally.figures(tail.refused.len() as u64);
    sink.write(page.render("head.html", &Top { figures, ..top })?.as_bytes())?;
    sink.copy(&mut body.list)?;
    sink.write(page.render("middle.html", &body.count_only())?.as_bytes())?;
    sink.copy(&mut body.articles)?;
    (tail.made, tail.runs) = (made, body.count);
    sink.write(page.render("tail.html", &tail)?.as_bytes())?;
    sink.finish()?;
    let unreadable = body.unreadable.len();
    let written = Written { schema: 1, file: shown_path(&arguments.output), runs: body.count, unreadable };
    context.output.result(&written, || format!("{} tells of runs: {}", escape(&written.file), written.runs))?;
    if unreadable == 0 {
        return Ok(Exit::Done);
    }
    context.output.note(&unread(unreadable));
    Ok(Exit::Engine)
}

/// What is known once all runs were read.
struct Body {
    list: File,
    articles: File,
    count: usize,
    /// The runs that were chosen.
    told: HashSet<RunId>,
    tally: Tally,
    unreadable: Vec<Unreadable>,
}

/// How many runs the page tells of.
#[derive(Serialize)]
struct Count {
    runs: usize,
}

impl Body {
    fn new() -> Result<Body, CliError> {
        let file = || tempfile::tempfile().map_err(|error| beside(&error));
        let (tally, unreadable) = (Tally::default(), Vec::new());
        Ok(Body { list: file()?, articles: file()?, count: 0, told: HashSet::new(), tally, unreadable })
    }

    fn count_only(&self) -> Count {
        Count { runs: self.count }
    }

    fn runs(
        &mut self,
        journal: &SqliteJournal,
        chosen: &Chosen,
        page: &Page,
        with_payloads: bool,
        mask: &mut Option<Mask<'_>>,
    ) -> Result<(), CliError> {
        let runs = chosen.runs(journal)?;
        for damaged in runs.damaged {
            self.unreadable.push(Unreadable { run: damaged.run, message: damaged.what });
        }
        self.told = runs.ids.iter().cloned().collect();
        for run in &runs.ids {
            match read(journal, run, with_payloads, mask) {
                Ok(shown) => self.add(&shown, page)?,
                Err(EngineError::Journal(error)) if !is_of_one_run(&error) => return Err(error.into()),
                Err(error) => self.unreadable.push(Unreadable { run: run.to_string(), message: error.to_string() }),
            }
        }
        for file in [&mut self.list, &mut self.articles] {
            file.rewind().map_err(|error| beside(&error))?;
        }
        Ok(())
    }

    fn add(&mut self, shown: &Shown, page: &Page) -> Result<(), CliError> {
        self.count += 1;
        self.tally.add(shown);
        let texts = [("row.html", &mut self.list), ("run.html", &mut self.articles)];
        for (name, file) in texts {
            let text = page.render(name, shown)?;
            file.write_all(text.as_bytes()).map_err(|error| beside(&error))?;
        }
        Ok(())
    }

    fn policies(&self, journal: &SqliteJournal) -> Result<Vec<Policy>, CliError> {
        let named = |(digest, decisions): (&Digest, &u64)| {
            let kept = match journal.policy(digest) {
                Err(error) if is_of_one_run(&error) => None,
                kept => kept?,
            };
            Ok(Policy { digest: *digest, name: kept.map(|kept| kept.name), decisions: *decisions })
        };
        self.tally.policies.iter().map(named).collect()
    }
}

fn read(
    journal: &SqliteJournal,
    run: &RunId,
    with_payloads: bool,
    mask: &mut Option<Mask<'_>>,
) -> Result<Shown, EngineError> {
    let mut view = view(journal, run)?;
    if let Some(mask) = mask {
        mask.run(&mut view);
    }
    Ok(Shown::of(&view, &entries_of(journal, run)?, with_payloads))
}

fn beside(error: &std::io::Error) -> CliError {
    CliError::engine("output", format!("a temporary file cannot be written: {error}"))
}

/// What the system chain says of the period, up to its head, and why it could not be read further, if so. Of what was erased only
/// that is told which is of these runs, if not all are told of.
fn tail(
    journal: &SqliteJournal,
    chosen: &Chosen,
    head: Option<Head>,
    runs: &HashSet<RunId>,
) -> Result<(Tail, Option<JournalError>), CliError> {
    let redress = env!("CARGO_PKG_VERSION");
    let mut tail = Tail { redress, refused_hidden: chosen.hides_refused(), ..Tail::default() };
    let mut after = 0;
    loop {
        let page = match journal.system_entries(after, PAGE) {
            Err(error) if is_of_one_run(&error) => return Ok((tail, Some(error))),
            page => page?,
        };
        let end = head.map_or(0, |head| head.seq);
        for entry in page.iter().filter(|entry| entry.seq <= end && chosen.covers(entry.at)) {
            let of_others = |run: &RunId| chosen.is_narrow() && !runs.contains(run);
            match &entry.event {
                SystemEvent::Erased { run, .. } if of_others(run) => {}
                event => tail.add(entry.at, event, chosen),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE && last.seq < end => after = last.seq,
            _ => return Ok((tail, None)),
        }
    }
}

impl Tail {
    fn add(&mut self, at: Timestamp, event: &SystemEvent, chosen: &Chosen) {
        let at = rfc3339(at);
        match event {
            SystemEvent::PolicyLoaded { digest, name } => {
                self.came.push(Came { at, what: format!("policy {name}"), digest: Some(*digest) });
            }
            SystemEvent::ComponentAdded { digest, ids, .. } => {
                let ids: Vec<&str> = ids.iter().map(CapabilityId::as_str).collect();
                self.came.push(Came { at, what: format!("component with {}", ids.join(", ")), digest: Some(*digest) });
            }
            SystemEvent::Adopted { by, reason, runs } => {
                let what =
                    format!("a backup became the journal, by {by}: “{reason}”; runs that were going on in it: {runs}");
                self.came.push(Came { at, what, digest: None });
            }
            SystemEvent::Refused { by, request, code, message } if chosen.covers_refused(by.as_ref()) => {
                let (request, code, message) = (request.clone(), code.clone(), message.clone());
                self.refused.push(Refused { at, by: by.as_ref().map(ToString::to_string), request, code, message });
            }
            SystemEvent::KeyAdded { key, by, .. } => {
                let by = by.as_ref().map_or_else(String::new, |by| format!(", rotated by {by}"));
                self.came.push(Came { at, what: format!("key {key} for checkpoints{by}"), digest: None });
            }
            SystemEvent::Erased { run, why, payloads, by, reason } => {
                let why = why.as_str();
                let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": “{reason}”"));
                let what = format!("payloads of run {run} {why}{by}{reason}; how many: {}", payloads.len());
                self.came.push(Came { at, what, digest: None });
            }
            SystemEvent::Pruned { runs, by, reason, .. } => {
                let what = format!("old runs removed by {by}: “{reason}”; how many: {}", runs.len());
                self.came.push(Came { at, what, digest: None });
            }
            SystemEvent::TokenAdded { id, principal, acting_for, by, reason, .. } => {
                let whose = acting_for.as_ref().map_or_else(String::new, |other| format!(" for {other}"));
                let what = format!("token {id}, which acts as {principal}{whose}, by {by}: “{reason}”");
                self.came.push(Came { at, what, digest: None });
            }
            SystemEvent::TokenRevoked { id, by, reason } => {
                self.came.push(Came { at, what: format!("token {id} revoked by {by}: “{reason}”"), digest: None });
            }
            SystemEvent::Refused { .. } | SystemEvent::RunHead { .. } | SystemEvent::Checkpoint(_) => {}
        }
    }
}
