//! A copy of the journal as of one moment, and how a copy becomes a journal again.
//!
//! A backup is made while others write, and holds everything up to one commit. It says of itself that it is one: it is read
//! like a journal and never written, because whoever went on from it would repeat what has happened since. So would whoever went
//! on from a journal that has lost its end, which is adopted in the same way. Adopting is an
//! operator's decision, recorded in the system chain with its reason. In the same commit every run that was going on gets a new
//! owner, dead from the start: attempts that were open become unclear for good and are not executed again, and undos that were
//! open wait for a person. No message says so: whoever adopts is given the runs, and each is recovered only by name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::error::{on_file, on_read, on_write};
use super::mark::Mark;
use super::store::{self, Prepared};
use super::{Chain, JournalError, Summary, SystemEvent, checkpoint, place, reader, schema};
use crate::saga::event::{Entry, Event, Owner, UNKNOWN_BOOT};
use crate::saga::fold;
use crate::types::{Principal, RunId, Timestamp};

/// What [`super::SqliteJournal::adopt`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The runs that were going on when the backup was made.
    pub runs: Vec<RunId>,
}

/// Writes a backup of the journal behind `conn` to `to`, where nothing may be. Durable when it returns.
pub(super) fn write(conn: &Connection, to: &Path) -> Result<(), JournalError> {
    if to.symlink_metadata().is_ok() {
        return Err(JournalError::Exists { path: to.to_owned() });
    }
    // Before the copy says that it is a backup it must not have the name of one.
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let draft = PathBuf::from(name);
    place::make_file(&draft)?;
    let written = copy(conn, &draft).and_then(|()| publish(&draft, to));
    if written.is_err() {
        // Half a copy is worth nothing. That it may stay behind changes nothing for the journal.
        drop(fs::remove_file(&draft));
    }
    written
}

fn copy(conn: &Connection, draft: &Path) -> Result<(), JournalError> {
    let failed = on_file("write the backup", draft);
    let Some(name) = draft.to_str() else { return Err(failed(std::io::ErrorKind::InvalidInput.into())) };
    conn.execute("VACUUM INTO ?1", [name]).map_err(on_read)?;
    schema::mark_as_backup(draft)?;
    File::open(draft).and_then(|file| file.sync_all()).map_err(failed)
}

/// Gives the copy its name, durably, over nothing that is there.
fn publish(draft: &Path, to: &Path) -> Result<(), JournalError> {
    match rustix::fs::renameat_with(CWD, draft, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(JournalError::Exists { path: to.to_owned() }),
        Err(error) => return Err(on_file("write the backup", to)(error.into())),
    }
    File::open(place::folder(to)).and_then(|folder| folder.sync_all()).map_err(on_file("write the backup", to))
}

/// Makes the backup at `path` a journal.
pub(super) fn adopt(path: &Path, by: &Principal, reason: &str, at: Timestamp) -> Result<Adopted, JournalError> {
    let mut conn = schema::open_backup(path)?;
    let mark = Mark::open(path)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(on_write)?;
    let runs = store::going_on(&tx)?;
    for run in &runs {
        let owner = uuid::Uuid::now_v7().to_string();
        let epoch = store::position(&tx, run)?.epoch + 1;
        let event = Event::Owner(Owner { adopted: true, ..Owner::new(epoch, owner.as_str(), UNKNOWN_BOOT) });
        let summary = summary_after(&tx, run, &event, at);
        let kind = event.kind();
        let prepared = Prepared::new(at, event).map_err(|error| JournalError::NotCanonical { kind, error })?;
        let chain = Chain::Run(run.clone());
        let mut head = store::head(&tx, &chain)?;
        store::link(&tx, &chain, &mut head, &prepared)?;
        let (state, due) = summary.map_or((None, None), |summary| (Some(summary.state), summary.due));
        store::move_row(&tx, run, &head, state, due)?;
        store::own_row(&tx, run, epoch, &owner)?;
    }
    let event = SystemEvent::Adopted { by: by.clone(), reason: reason.to_owned(), runs: runs.len() as u64 };
    store::record(&tx, at, event)?;
    let system = store::head(&tx, &Chain::System)?;
    schema::mark_as_journal(&tx).map_err(on_write)?;
    let last = store::last(&tx).map_err(on_write)?;
    // If the process dies from here on, it is adopted once more: what is handed over twice does no harm.
    checkpoint::begin_after(path, system.seq).map_err(on_file("note what is handed over of", path))?;
    tx.commit().map_err(on_write)?;
    // What was known of the journal that it replaces is not true of this one.
    mark.put(last).map_err(on_file("mark", path))?;
    Ok(Adopted { runs })
}

/// What is known of a run after `event`; none if its events cannot be read, which hurts no other.
fn summary_after(conn: &Connection, run: &RunId, event: &Event, at: Timestamp) -> Option<Summary> {
    let entries = reader::entries(conn, run, 0, usize::MAX).ok()?;
    let mut state = fold(&entries).ok()?;
    let entry = Entry { seq: state.seq + 1, at: at.max(state.at), event: event.clone() };
    state.apply(&entry).ok()?;
    Some(Summary::of(&state))
}
