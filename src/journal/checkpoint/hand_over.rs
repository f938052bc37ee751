//! Hands statements over to where the operator keeps them.
//!
//! In order, each at least once, by one process at a time: how far that has come is written down beside the journal, under a lock.
//! What cannot be handed over stays for the next time, and is told of in the log. No run waits for it. A process that ends waits, for
//! half a minute at most.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Checkpoint;
use crate::journal::chain::{self, SYSTEM};
use crate::journal::reader::bytes;
use crate::journal::store::{int, uint};
use crate::journal::{SystemEvent, schema};

/// How long a program may take for one statement, and a process that ends for all.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often something that another one does is looked at.
const PAUSE: Duration = Duration::from_millis(5);
/// How many statements are read at a time.
const PAGE: u32 = 100;

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
    /// Nothing comes from it; it is closed when the thread ends.
    ended: Receiver<()>,
}

impl Courier {
    /// Starts the thread. It begins with what an earlier process did not get to.
    pub fn start(journal: &Path, busy: Duration, to: HandOver) -> std::io::Result<Courier> {
        let (tell, told) = sync_channel(1);
        let (end, ended) = sync_channel::<()>(0);
        let journal = journal.to_owned();
        let work = move || {
            deliver_whenever_told(&journal, busy, &to, &told);
            drop(end);
        };
        std::thread::Builder::new().name("checkpoints".to_owned()).spawn(work)?;
        Ok(Courier { tell: Some(tell), ended })
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
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("checkpoints are left to be handed over later: this took longer than {PATIENCE:?}");
        }
    }
}

fn deliver_whenever_told(journal: &Path, busy: Duration, to: &HandOver, told: &Receiver<()>) {
    let mut last = None;
    loop {
        let failure = deliver(journal, busy, to).err();
        if let Some(error) = failure.as_ref().filter(|_| failure != last) {
            tracing::warn!("checkpoints cannot be handed over, and are tried again later: {error}");
        }
        last = failure;
        if told.recv().is_err() {
            return;
        }
    }
}

/// Hands over what has not been.
fn deliver(journal: &Path, busy: Duration, to: &HandOver) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let mut open = OpenOptions::new();
    let handed =
        open.read(true).write(true).create(true).truncate(false).mode(0o600).open(beside(journal)).map_err(said)?;
    lock(&handed)?;
    let mut after = read(&handed).map_err(said)?;
    let conn = schema::open_reader(journal, busy).map_err(|error| error.to_string())?;
    loop {
        let page = made_after(&conn, after).map_err(|error| error.to_string())?;
        for (seq, checkpoint) in &page {
            // One that cannot be read is for `audit verify` to tell.
            if let Some(line) = checkpoint.as_ref().and_then(|checkpoint| checkpoint.to_line().ok()) {
                match to {
                    HandOver::File(path) => {
                        append(path, &line).map_err(|error| format!("`{}`: {error}", path.display()))?
                    }
                    HandOver::Command(command) => run(command, &line)?,
                }
            }
            write(&handed, *seq).map_err(said)?;
            after = *seq;
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

/// The file beside a journal that says how far its statements were handed over: the event of the system chain that the last is.
fn beside(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push("-handed");
    PathBuf::from(name)
}

/// What was handed over of another journal, in whose place this one is now, says nothing of it: only what follows on the event `seq`
/// of the system chain is handed over.
pub(in crate::journal) fn begin_after(journal: &Path, seq: u64) -> std::io::Result<()> {
    match OpenOptions::new().write(true).open(beside(journal)) {
        Ok(file) => write(&file, seq),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn read(file: &File) -> std::io::Result<u64> {
    let mut bytes = [0; 20];
    match file.read_exact_at(&mut bytes, 0) {
        // What is not a number was not written whole: a statement may then be handed over twice.
        Ok(()) => Ok(std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
    }
}

fn write(file: &File, seq: u64) -> std::io::Result<()> {
    file.write_all_at(format!("{seq:020}\n").as_bytes(), 0)
}

/// Waits for another process that hands over.
fn lock(file: &File) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => return Err("another process hands them over, and does not get on".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The next statements after the event `seq` of the system chain, each with its own event; none for one that cannot be read.
fn made_after(conn: &Connection, seq: u64) -> rusqlite::Result<Vec<(u64, Option<Checkpoint>)>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, body FROM events WHERE chain = ? AND seq > ? AND instr(body, ?) > 0 ORDER BY seq LIMIT ?",
    )?;
    let mut rows = statement.query(params![SYSTEM, int(seq), super::KIND, PAGE])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let checkpoint = match chain::decode(SYSTEM, uint(seq), bytes(row, 1)?) {
            Ok((_, SystemEvent::Checkpoint(checkpoint))) => Some(checkpoint),
            _ => None,
        };
        found.push((uint(seq), checkpoint));
    }
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
    let Some((program, arguments)) = command.split_first() else { return Err("the command is empty".to_owned()) };
    let failed = |what: &str| format!("`{program}` {what}");
    // Files without a name, since a pipe would make this wait for a program that does not read, or that says much.
    let files = tempfile::tempfile().and_then(|mut file| {
        file.write_all(format!("{line}\n").as_bytes())?;
        file.rewind()?;
        let said = tempfile::tempfile()?;
        Ok((file, said.try_clone()?, said))
    });
    let (input, errors, mut said) = files.map_err(|error| failed(&format!("cannot be given it: {error}")))?;
    let mut start = Command::new(program);
    start.args(arguments).stdin(input).stdout(Stdio::null()).stderr(errors);
    let mut child = start.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(&format!("ended with {status}{}", last_words(&mut said)))),
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

/// The last line of what a program said, so far as it is short, with what a terminal would obey escaped.
fn last_words(said: &mut File) -> String {
    const MOST: u64 = 4 << 10;
    let mut bytes = Vec::new();
    let len = said.metadata().map_or(0, |meta| meta.len());
    let read = said.seek(std::io::SeekFrom::Start(len.saturating_sub(MOST))).and_then(|_| said.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).filter(|_| read.is_ok());
    line.map_or_else(String::new, |line| format!(": {}", line.trim().escape_debug()))
}
