//! Which runs leave the record: those that went on in a period, of a principal, with a capability.

use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::lookup;
use crate::document::escape;
use crate::engine::rfc3339;
use crate::journal::{DamagedRow, Journal, JournalError, RunFilter, RunRow};
use crate::policy::{HUMAN_APPROVE, Pattern};
use crate::saga::event::{Event, StepSpec};
use crate::types::{Principal, RunId, Timestamp};

/// How many runs or events are read at a time.
pub(super) const PAGE: usize = 500;

/// What `audit export` and `audit report` are given to say what is told.
#[derive(Args, Debug)]
pub(super) struct Selection {
    /// Only runs that went on at this moment or later: `2026-11-01T00:00:00Z`, or a length of time such as `30d`
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Only runs that were submitted before this moment
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Only runs of this principal, or with a step in which it acts; `--as` says the same
    #[arg(long = "principal", value_name = "PRINCIPAL", value_parser = crate::cli::parse_principal)]
    of: Option<Principal>,
    /// Only runs with a step of such a capability, such as `io.fs.*`
    #[arg(long, value_name = "GLOB", value_parser = parse_capability)]
    capability: Option<Pattern>,
    /// Only this run: its id, the beginning of it, or `latest`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// With what steps were given and returned; an export has undo records and logs, too
    #[arg(long)]
    pub with_payloads: bool,
}

fn parse_capability(text: &str) -> Result<Pattern, String> {
    Pattern::capability(text).map_err(|error| format!("{error}: {}", error.help))
}

/// The same, understood.
pub(super) struct Chosen {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    principal: Option<Principal>,
    capability: Option<Pattern>,
    run: Option<RunId>,
}

/// The same for whoever reads what came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Told {
    /// From when on, RFC 3339.
    pub since: Option<String>,
    /// Until when, RFC 3339.
    pub until: Option<String>,
    /// Of whom.
    pub principal: Option<String>,
    /// Of which capabilities.
    pub capability: Option<String>,
    /// Which run.
    pub run: Option<RunId>,
}

impl Selection {
    /// What is meant, at this moment and in this journal.
    pub(super) fn understand(&self, journal: &dyn Journal, context: &Context) -> Result<Chosen, CliError> {
        let moment =
            |text: &Option<String>| text.as_deref().map(|text| lookup::moment(text, context.now())).transpose();
        let (since, until) = (moment(&self.since)?, moment(&self.until)?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            let message = format!("nothing lies between {} and {}", rfc3339(since), rfc3339(until));
            return Err(CliError::usage("bad-time", message).help("`--since` is the earlier of the two"));
        }
        let given = (&self.of, &context.globals.principal);
        if let (Some(of), Some(acting)) = given
            && of != acting
        {
            let message = format!("`--principal` says `{of}`, `--as` says `{acting}`");
            return Err(CliError::usage("usage", message).help("here both say whose runs are meant: write one of them"));
        }
        Ok(Chosen {
            since,
            until,
            principal: given.0.as_ref().or(given.1.as_ref()).cloned(),
            capability: self.capability.clone(),
            run: self.run.as_deref().map(|run| lookup::run(journal, run)).transpose()?,
        })
    }
}

/// The runs that were chosen, in the order in which they were submitted.
pub(super) struct Runs {
    /// Their ids.
    pub ids: Vec<RunId>,
    /// Rows among them that cannot be read: whether they were meant is not known.
    pub damaged: Vec<DamagedRow>,
}

impl Chosen {
    /// For whoever reads what came of it.
    pub(super) fn told(&self) -> Told {
        Told {
            since: self.since.map(rfc3339),
            until: self.until.map(rfc3339),
            principal: self.principal.as_ref().map(ToString::to_string),
            capability: self.capability.as_ref().map(|pattern| pattern.as_str().to_owned()),
            run: self.run.clone(),
        }
    }

    /// Whether it leaves runs of the period out.
    pub(super) fn is_narrow(&self) -> bool {
        self.principal.is_some() || self.capability.is_some() || self.run.is_some()
    }

    /// Whether a moment lies in the period.
    pub(super) fn covers(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    /// Whether a request that never became part of a run is meant: whose it was is all that is known of it.
    pub(super) fn covers_refused(&self, by: Option<&Principal>) -> bool {
        !self.hides_refused() && self.principal.as_ref().is_none_or(|wanted| by == Some(wanted))
    }

    /// Whether it means no such request at all.
    pub(super) fn hides_refused(&self) -> bool {
        self.capability.is_some() || self.run.is_some()
    }

    /// The runs. A run that cannot be read is one of them, so that somebody hears of it.
    pub(super) fn runs(&self, journal: &dyn Journal) -> Result<Runs, CliError> {
        let mut runs = Runs { ids: Vec::new(), damaged: Vec::new() };
        let mut before = None;
        loop {
            let page = journal.runs(&RunFilter::default(), before.as_ref(), PAGE)?;
            if self.run.is_none() {
                runs.damaged.extend(page.damaged);
            }
            for row in &page.rows {
                if self.row(row) && self.steps(journal, row)? {
                    runs.ids.push(row.run.clone());
                }
            }
            match page.rows.last() {
                Some(last) if page.rows.len() == PAGE => before = Some(last.run.clone()),
                _ => break,
            }
        }
        runs.ids.reverse();
        Ok(runs)
    }

    /// A run goes on from its submission until it is closed, and longer if it is undone later.
    fn row(&self, row: &RunRow) -> bool {
        let named = self.run.as_ref().is_none_or(|run| *run == row.run);
        let ended_before = |since: Timestamp| row.closed.is_some_and(|closed| closed < since);
        named && self.until.is_none_or(|until| row.submitted < until) && !self.since.is_some_and(ended_before)
    }

    fn steps(&self, journal: &dyn Journal, row: &RunRow) -> Result<bool, CliError> {
        let principal = self.principal.as_ref().filter(|wanted| **wanted != row.principal);
        if principal.is_none() && self.capability.is_none() {
            return Ok(true);
        }
        let (mut acts, mut does) = (principal.is_none(), self.capability.is_none());
        let mut look = |step: &StepSpec| {
            acts |= step.agent.as_ref() == principal;
            let id = step.capability.as_ref().map_or(HUMAN_APPROVE, |id| id.as_str());
            does |= self.capability.as_ref().is_none_or(|pattern| pattern.matches(id));
            acts && does
        };
        let mut after = 0;
        loop {
            let page = match journal.entries(&row.run, after, PAGE) {
                Err(error) if is_of_one_run(&error) => return Ok(true),
                page => page?,
            };
            for entry in &page {
                let found = match &entry.event {
                    Event::RunSubmitted(submitted) => submitted.steps.iter().any(&mut look),
                    Event::StepSubmitted(submitted) => look(&submitted.step),
                    _ => false,
                };
                if found {
                    return Ok(true);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.seq,
                _ => return Ok(false),
            }
        }
    }
}

/// Whether an error concerns one run only, so that the others are read.
pub(super) fn is_of_one_run(error: &JournalError) -> bool {
    matches!(error, JournalError::Unreadable(_) | JournalError::DamagedRow { .. } | JournalError::Changed { .. })
}

/// What is said of runs of which nothing could be read.
pub(super) fn unread(runs: usize) -> String {
    escape(&format!("{runs} runs could not be read as a whole: `redress audit verify` says more"))
}
