//! `redress audit key`: the keys that sign checkpoints, for whoever checks them elsewhere.

use clap::Args;
use serde::Serialize;

use super::{Context, Exit};
use crate::cli::error::CliError;
use crate::engine::rfc3339;
use crate::journal::{Journal as _, PublicKey, SystemEvent};

/// See [`Verb`](super::Verb).
#[derive(Args, Debug)]
#[command(
    after_help = "Prints the key that signs now as a PEM file, which `openssl` takes; with `--json`, all keys and since when.\n\n\
    Example: redress audit key > checkpoint.pub.pem"
)]
pub(in crate::cli) struct Arguments {}

#[derive(Serialize)]
struct Keys {
    schema: u32,
    keys: Vec<Since>,
}

#[derive(Serialize)]
struct Since {
    key: PublicKey,
    since: String,
    /// Whether the key before vouches for it.
    vouched: bool,
    pem: String,
}

pub(super) fn execute(_: &Arguments, context: &Context) -> Result<Exit, CliError> {
    let journal = context.journal_to_read()?;
    let mut keys = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.system_entries(after, 1_000)?;
        for entry in &page {
            if let SystemEvent::KeyAdded { key, previous, .. } = &entry.event {
                let (vouched, pem) = (previous.is_some(), key.to_pem());
                keys.push(Since { key: *key, since: rfc3339(entry.at), vouched, pem });
            }
        }
        match page.last() {
            Some(last) => after = last.seq,
            None => break,
        }
    }
    let Some(pem) = keys.last().map(|key| key.pem.clone()) else {
        return Err(CliError::usage("no-key", "the journal has no checkpoint yet")
            .help("the first one is made when a run is closed"));
    };
    context.output.result(&Keys { schema: 1, keys }, || pem)?;
    Ok(Exit::Done)
}
