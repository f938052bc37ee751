//! `redress audit`: is the record what was written?

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Exit;
use super::context::Context;
use super::error::CliError;
use crate::document::escape;
use crate::journal::{Finding, JournalError, Verified};
use crate::types::Digest;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Check every chain, every payload and what was recorded of them
    Verify(Arguments),
}

/// What `audit verify` is given.
#[derive(Args, Debug)]
#[command(after_help = "Exits with 5 if something is not as it was written. The head of the system chain is worth being \
    kept elsewhere: who can rewrite the whole file can rewrite every chain in it.\n\nExample: redress audit verify")]
pub(super) struct Arguments {}

impl Verb {
    pub(super) fn execute(&self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Verb::Verify(_) => verify(context),
        }
    }
}

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

fn verify(context: &Context) -> Result<Exit, CliError> {
    let report = match context.verified()? {
        Ok(verified) => report(context, verified)?,
        Err(what) => {
            let found = Found { chain: "database".to_owned(), seq: None, message: what };
            Report { findings: vec![found], whole: false, ..report(context, Verified::default())? }
        }
    };
    context.output.result(&report, || text(&report))?;
    Ok(if report.whole { Exit::Done } else { Exit::Stuck })
}
