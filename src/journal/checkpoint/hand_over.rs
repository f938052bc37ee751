//! Hands statements over to where the operator keeps them.
//!
//! In order, each at least once, by one process at a time: what was handed over last is written down beside the journal, under a
//! lock. What cannot be handed over stays for the next time, and is told of in the log; nothing else waits for it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

use super::Checkpoint;
use crate::journal::chain::{self, SYSTEM};
use crate::journal::store::uint;
use crate::journal::{SystemEvent, place, schema};

/// The file beside the journal that says what was handed over last.
const HANDED: &str = "checkpoints-handed";
/// How long a command may take for one statement.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where statements are handed over to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// Each is appended to this file as a line, and synced.
    File(PathBuf),
    /// This program is run with these arguments for each, with the line on its standard input; 0 says that it has it.
    Command(Vec<String>),
}

/// A thread that hands over what it is told of.
pub(in crate::journal) struct Courier {
    tell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Courier {
    /// Starts the thread. It begins with what an earlier process did not get to.
    pub fn start(journal: &Path, busy: Duration, to: HandOver) -> std::io::Result<Courier> {
        let (tell, told) = sync_channel(1);
        let journal = journal.to_owned();
        let work = move || deliver_whenever_told(&journal, busy, &to, &told);
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(work)?;
        Ok(Courier { tell: Some(tell), thread: Some(thread) })
    }

    /// A statement was made and is durable. Never waits.
    pub fn tell(&self) {
        if let Some(tell) = &self.tell {
            // Told already: one look takes all.
            let _: Result<(), TrySendError<()>> = tell.try_send(());
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.tell = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn deliver_whenever_told(journal: &Path, busy: Duration, to: &HandOver, told: &Receiver<()>) {
    loop {
        if let Err(error) = deliver(journal, busy, to) {
            tracing::warn!("checkpoints cannot be handed over, and are tried again later: {error}");
        }
        if told.recv().is_err() {
            return;
        }
    }
}

/// Hands over what has not been.
fn deliver(journal: &Path, busy: Duration, to: &HandOver) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let beside = place::folder(journal).join(HANDED);
    let mut open = OpenOptions::new();
    let handed = open.read(true).write(true).create(true).truncate(false).mode(0o600).open(&beside).map_err(said)?;
    flock(&handed, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
    let last = last_handed(&handed).map_err(said)?;
    let conn = schema::open_reader(journal, busy).map_err(|error| error.to_string())?;
    for checkpoint in made_after(&conn, last).map_err(|error| error.to_string())? {
        let line = checkpoint.to_line().map_err(|error| error.to_string())?;
        match to {
            HandOver::File(path) => append(path, &line).map_err(|error| format!("`{}`: {error}", path.display()))?,
            HandOver::Command(command) => run(command, &line)?,
        }
        handed.write_all_at(format!("{:020}\n", checkpoint.statement.number).as_bytes(), 0).map_err(said)?;
    }
    Ok(())
}

fn last_handed(file: &File) -> std::io::Result<u64> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text)?;
    // What is not a number was not written whole: a statement may then be handed over twice.
    Ok(text.trim().parse().unwrap_or(0))
}

/// The statements after the one with this number, oldest first.
fn made_after(conn: &Connection, number: u64) -> rusqlite::Result<Vec<Checkpoint>> {
    let mut statement = conn.prepare("SELECT seq, body FROM events WHERE chain = ? ORDER BY seq DESC")?;
    let mut rows = statement.query([SYSTEM])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        // What cannot be read is for `audit verify` to tell.
        if let Ok((_, SystemEvent::Checkpoint(checkpoint))) = chain::decode(SYSTEM, uint(seq), &body) {
            if checkpoint.statement.number <= number {
                break;
            }
            found.push(checkpoint);
        }
    }
    found.reverse();
    Ok(found)
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // A line that was torn, by a full disk say, stands alone: it must not spoil this one.
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1)?;
    }
    let start = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{start}{line}\n").as_bytes())?;
    file.sync_all()
}

fn run(command: &[String], line: &str) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(5);
    let Some((program, arguments)) = command.split_first() else { return Err("the command is empty".to_owned()) };
    let failed = |what: &str| format!("`{program}` {what}");
    // A file without a name, since a pipe would make this wait for a program that does not read.
    let input = tempfile::tempfile().and_then(|mut file| {
        file.write_all(format!("{line}\n").as_bytes())?;
        file.rewind().map(|()| file)
    });
    let input = input.map_err(|error| failed(&format!("cannot be given it: {error}")))?;
    let mut start = Command::new(program);
    start.args(arguments).stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = start.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(&format!("ended with {status}"))),
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("did not end in 30 seconds"));
            }
            Err(error) => return Err(failed(&error.to_string())),
        }
    }
}
