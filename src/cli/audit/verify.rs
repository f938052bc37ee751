//! `redress audit verify`: is the record what was written?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, Exit};
use crate::cli::context::shown_path;
use crate::cli::error::CliError;
use crate::cli::output::quoted;
use crate::document::escape;
use crate::engine::{Found, Report, Signer, audit};
use crate::journal::{Checkpoint, Head, NotACheckpoint, PublicKey, SqliteJournal};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "Needs nothing but the journal: chains, payloads, heads and checkpoints are checked; every run is told again by the rules of \
    the core,\nand every decision is decided again under the policy that it names. Exits with 5 if something is not as it was \
    written.\n\nWhoever can write the whole file can write it anew, checkpoints and all. `--checkpoint FILE` compares it with \
    checkpoints that\nwere handed over to somewhere else.\n\n\
    Example: redress audit verify --checkpoint /mnt/elsewhere/checkpoints.jsonl"
)]
pub(in crate::cli) struct Arguments {
    /// Checkpoints that were kept elsewhere, one a line; may be given again
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The key that signs here, or once did, as `redress audit key` prints it: the text, or a PEM file
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
}

pub(super) fn execute(arguments: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let mut held = Vec::new();
    for file in &arguments.checkpoint {
        held.extend(checkpoints_of(file, context)?);
    }
    let key = arguments.key.as_deref().map(key_of).transpose()?;
    let path = context.existing_journal()?;
    let report = audit(path, shown_path(path), &held, key)?;
    let signs = SqliteJournal::key_beside(path).ok().flatten();
    if let (Some(key), Some(Signer { key: last, .. })) = (signs, report.keys.last())
        && key != *last
    {
        context
            .output
            .note(&format!("the key beside the journal is {key}, and the last one that signed in it is {last}"));
    }
    context.output.result(&report, || text(&report, held.len()))?;
    Ok(if report.whole { Exit::Done } else { Exit::Stuck })
}

/// A key, from its text or a file.
fn key_of(given: &str) -> Result<PublicKey, CliError> {
    if let Some(key) = PublicKey::parse(given.trim()).or_else(|| PublicKey::from_pem(given)) {
        return Ok(key);
    }
    let text = std::fs::read_to_string(given).map_err(|error| CliError::unreadable(given, &error))?;
    PublicKey::from_pem(&text).ok_or_else(|| {
        CliError::usage("bad-key", format!("there is no Ed25519 key in `{}`", escape(given)))
            .help("give what `redress audit key` prints, or `ed25519:` and the text of `audit verify --json`")
    })
}

/// Checkpoints that were handed over to a file.
fn checkpoints_of(file: &Path, context: &Context) -> Result<Vec<Checkpoint>, CliError> {
    let name = shown_path(file);
    let text = std::fs::read_to_string(file).map_err(|error| CliError::unreadable(&name, &error))?;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let message = |error: &NotACheckpoint| format!("line {} of `{name}`: {error}", index + 1);
        match Checkpoint::from_line(line) {
            Ok(checkpoint) => found.push(checkpoint),
            // A full disk tears a line. The others are worth as much as before.
            Err(error @ NotACheckpoint::Form(_)) => {
                context.output.note(&format!("{}; it is left out", message(&error)))
            }
            Err(error) => {
                let help = "give a file to which checkpoints were handed over, one a line, as `checkpoints:` in the settings says";
                return Err(CliError::usage("bad-checkpoint", message(&error)).help(help));
            }
        }
    }
    if found.is_empty() {
        let message = format!("there is no checkpoint in `{name}`");
        return Err(CliError::usage("bad-checkpoint", message));
    }
    Ok(found)
}

fn text(report: &Report, given: usize) -> String {
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
    let Report { chains, events, payloads, erased, pruned, decisions, not_redecidable, policy_unknown, .. } = report;
    let _ = writeln!(
        text,
        "verified: {chains} chains, {events} events, {payloads} payloads, {decisions} decisions decided again"
    );
    if *erased + *pruned > 0 {
        let _ = writeln!(text, "on record: {erased} payloads redacted or expired, {pruned} runs pruned");
    }
    if *policy_unknown > 0 {
        let _ = writeln!(text, "not decided again: {policy_unknown} decisions, whose policy this version cannot load");
    }
    if *not_redecidable > 0 {
        let _ = writeln!(text, "not re-decidable: {not_redecidable} decisions, whose inputs were erased");
    }
    if let Some(Head { seq, hash }) = &report.head {
        let _ = writeln!(text, "system chain: event {seq}, {hash}");
    }
    for Signer { key, .. } in report.keys.iter().skip(1).filter(|key| !key.vouched) {
        let _ = writeln!(text, "note: the key before does not vouch for {key}");
    }
    let Report { checkpoints, since_checkpoint, extends, key_given, .. } = report;
    let _ = writeln!(text, "checkpoints: {checkpoints} in the journal; {since_checkpoint} events since the last one");
    if *key_given {
        text.push_str(
            "from the key on that was given, each checkpoint is signed by it or by one that it vouches for\n",
        );
    }
    if given > 0 {
        let _ = writeln!(text, "it extends {extends} of {given} checkpoints that are kept elsewhere");
    } else {
        let (who, with) = match key_given {
            true => ("the key and can write the journal", "`--checkpoint FILE`"),
            false => ("write access to the journal", "`--key KEY`, `--checkpoint FILE`"),
        };
        let _ = writeln!(
            text,
            "none was compared that is kept elsewhere: whoever has {who} can write all of it anew, checkpoints and all ({with})"
        );
    }
    text
}
