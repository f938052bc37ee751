//! `redress audit verify`: is the record what was written?

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit};
use crate::cli::context::shown_path;
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::document::escape;
use crate::engine::misrepresented;
use crate::journal::{Finding, Flaw, JournalError, Options, SqliteJournal, Verified};
use crate::types::{Digest, RunId};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 5 if something is not as it was written. The head of the system chain is worth being \
    kept elsewhere: who can rewrite the whole file can rewrite every chain in it.\n\nExample: redress audit verify"
)]
pub(in crate::cli) struct Arguments {}

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    journal: String,
    whole: bool,
    chains: u64,
    events: u64,
    payloads: u64,
    head: Option<Head>,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Head {
    seq: u64,
    hash: Digest,
}

#[derive(Debug, Serialize)]
struct Found {
    chain: String,
    /// None for the chain as a whole.
    seq: Option<u64>,
    message: String,
}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let (verified, misstated) = verified(context)?;
    let mut findings: Vec<Found> = verified.findings.iter().map(found).collect();
    let of_run = |(run, message): (RunId, String)| Found { chain: run.to_string(), seq: None, message };
    findings.extend(misstated.into_iter().map(of_run));
    let report = Report {
        schema: 1,
        journal: shown_path(context.existing_journal()?),
        whole: findings.is_empty(),
        chains: verified.chains,
        events: verified.events,
        payloads: verified.payloads,
        head: verified.head.map(|(seq, hash)| Head { seq, hash }),
        findings,
    };
    context.output.result(&report, || text(&report))?;
    Ok(if report.whole { Exit::Done } else { Exit::Stuck })
}

/// What was verified; a database that does not pass its own check is a finding, too.
fn verified(context: &Context) -> Result<(Verified, Vec<(RunId, String)>), CliError> {
    let opened = SqliteJournal::open_read_only(context.existing_journal()?, Options::default());
    match opened.and_then(|journal| journal.verify().map(|verified| (verified, journal))) {
        Err(JournalError::Damaged { what, .. }) => {
            let finding = Finding { chain: "database".to_owned(), seq: 0, what: Flaw::Database(what) };
            Ok((Verified { findings: vec![finding], ..Verified::default() }, Vec::new()))
        }
        Ok((verified, journal)) if verified.findings.is_empty() => Ok((verified, misrepresented(&journal)?)),
        Ok((verified, _)) => Ok((verified, Vec::new())),
        Err(error) => Err(error.into()),
    }
}

fn found(finding: &Finding) -> Found {
    let seq = (finding.seq > 0).then_some(finding.seq);
    Found { chain: finding.chain.clone(), seq, message: finding.what.to_string() }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Found { chain, seq, message } in &report.findings {
        let place = seq.map_or_else(|| "the whole".to_owned(), |seq| format!("event {seq}"));
        let _ = writeln!(text, "FOUND {place} of chain {}: {}", quoted(chain), escape(message));
    }
    if !report.findings.is_empty() {
        text.push_str("what comes after the first bad place of a chain cannot be judged\n\n");
    }
    let verdict = if report.whole { "is as it was written" } else { "was changed" };
    let _ = writeln!(text, "the journal {} {verdict}", escape(&report.journal));
    let Report { chains, events, payloads, .. } = report;
    let _ = writeln!(text, "verified: {chains} chains, {events} events, {payloads} payloads");
    if let Some(Head { seq, hash }) = &report.head {
        let _ = writeln!(text, "system chain: event {seq}, {hash}");
    }
    text
}
