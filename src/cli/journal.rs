//! `redress journal`: the journal as a file: copies of it, and what to do with them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Exit;
use super::context::{Context, shown_path};
use super::error::CliError;
use crate::document::escape;
use crate::journal::SqliteJournal;
use crate::types::RunId;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Copy the journal into a new file, while others go on writing
    Backup(Backup),
    /// Make a backup that was put in the journal's place the journal, or go on with one that has lost its end
    Adopt(Adopt),
}

/// What `journal backup` is given.
#[derive(Args, Debug)]
#[command(
    after_help = "The copy holds everything up to one moment. It can be read like a journal (`--journal FILE`), and is \
    not written before it is adopted.\n\nExample: redress journal backup ../backups/journal-monday.db"
)]
pub(super) struct Backup {
    /// Where to; nothing may be there
    file: PathBuf,
}

/// What `journal adopt` is given.
#[derive(Args, Debug)]
#[command(
    after_help = "What ran after the backup was made is not in it. Attempts that were open become unclear and are not \
    executed again; undos that were open wait for `redress repair`, and no webhook is told. The runs that were going on \
    are listed, and `redress recover` leaves them out unless it is given their names: look at each one first.\n\nExample: redress journal adopt --as user:alice --reason 'the disk of Monday is lost'"
)]
pub(super) struct Adopt {
    /// Why; it is journaled
    #[arg(long, value_parser = super::parse_reason)]
    reason: String,
}

pub(super) fn execute(verb: &Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Backup(arguments) => backup(arguments, context),
        Verb::Adopt(arguments) => adopt(arguments, context),
    }
}

#[derive(Debug, Serialize)]
struct Written {
    schema: u32,
    journal: String,
    backup: String,
    bytes: u64,
}

fn backup(arguments: &Backup, context: &Context) -> Result<Exit, CliError> {
    let (journal, path) = (context.journal_to_read()?, context.existing_journal()?);
    journal.backup(&arguments.file)?;
    let written = Written {
        schema: 1,
        journal: shown_path(path),
        backup: shown_path(&arguments.file),
        bytes: arguments.file.metadata().map_or(0, |file| file.len()),
    };
    context.output.result(&written, || {
        format!("{} is a backup of {}, {} bytes\n", escape(&written.backup), escape(&written.journal), written.bytes)
    })?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Taken {
    schema: u32,
    journal: String,
    /// The runs that were going on in it.
    runs: Vec<RunId>,
}

fn adopt(arguments: &Adopt, context: &Context) -> Result<Exit, CliError> {
    let (by, path) = (context.principal()?, context.existing_journal()?);
    let adopted = SqliteJournal::adopt(path, by, &arguments.reason, context.now())?;
    let taken = Taken { schema: 1, journal: shown_path(path), runs: adopted.runs };
    context.output.result(&taken, || {
        let mut text = format!("{} is the journal now\n", escape(&taken.journal));
        for run in &taken.runs {
            text.push_str(&format!("  {run} was going on: `redress show {run}`, then `redress recover {run}`\n"));
        }
        text
    })?;
    Ok(Exit::Done)
}
