//! What is taken out of a journal, and what keeps it from that.

use redress::journal::{Append, By, Journal, JournalError, Maintenance, Options, SqliteJournal};
use redress::saga::RunState;
use redress::saga::event::{Event, Operator, Verb};
use redress::types::{RunId, Timestamp};

use crate::support::*;

/// A journal with one run that is closed, and has an undo record.
fn completed() -> (Home, SqliteJournal, RunId) {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let saved = payload("undo record");
    append(&journal, &run, durable(2_000, undo(&saved)).with_payloads(vec![saved])).unwrap();
    append(&journal, &run, durable(3_000, closed()).with_summary(summary(RunState::Completed))).unwrap();
    (home, journal, run)
}

fn asks_to_undo(expected_seq: u64) -> Append {
    let operator = Operator { verb: Verb::Undo, by: user(), reason: "wrong".into(), step: None };
    by_anyone(expected_seq, Event::Operator(operator)).with_summary(summary(RunState::RollingBack))
}

fn work(home: &Home) -> Maintenance {
    Maintenance::open(&home.path(), &Options::default()).unwrap()
}

fn by() -> By {
    By { principal: user(), reason: "x".to_owned(), at: Timestamp(10_000_000_000) }
}

/// It stays closed until the undo begins, which whoever drives it does.
#[test]
fn a_run_that_is_to_be_undone_is_neither_pruned_nor_redacted() {
    let (home, journal, run) = completed();
    let head = journal.head(&run).unwrap().unwrap();
    append(&journal, &run, asks_to_undo(head)).unwrap();
    assert!(journal.run(&run).unwrap().unwrap().closed.is_some());
    let mut work = work(&home);
    assert_eq!(work.prune(Timestamp(u64::MAX / 4), &by()).unwrap(), Default::default());
    let refused = work.redact(&run, &[payload("undo record").reference().digest], &by());
    assert_eq!(refused, Err(JournalError::GoesOn { run: run.clone() }));
    assert_eq!(journal.head(&run).unwrap(), Some(head + 1));
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn nobody_is_promised_an_undo_whose_record_is_erased_meanwhile() {
    let (home, journal, run) = completed();
    let needed = payload("undo record").reference().digest;
    let head = journal.head(&run).unwrap().unwrap();
    assert_eq!(work(&home).redact(&run, &[needed], &by()), Ok(1));
    let asked = Append { needs: vec![needed], ..asks_to_undo(head) };
    assert_eq!(append(&journal, &run, asked).unwrap_err(), JournalError::Erased { digest: needed });
    assert_eq!(journal.run(&run).unwrap().unwrap().state, RunState::Completed);
    append(&journal, &run, asks_to_undo(head)).unwrap();
}

#[test]
fn a_checkpoint_of_another_type_keeps_nobody_from_writing() {
    let (home, journal, run) = completed();
    drop(journal);
    let changed = home.sql().execute("UPDATE events SET body = CAST(body AS TEXT) WHERE body LIKE '%CHECKPOINT%'", []);
    assert!(changed.unwrap() > 0);
    let journal = home.open();
    let other = create(&journal, 2);
    append(&journal, &other, durable(9_000, closed()).with_summary(summary(RunState::Completed))).unwrap();
    assert!(journal.run(&run).unwrap().is_some());
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn a_key_that_another_journal_signs_with_is_not_rotated() {
    let (home, _journal, _) = completed();
    let mut work = work(&home);
    let (before, now) = work.rotate_key(&by()).unwrap();
    assert_ne!(before, now);
    assert_eq!(SqliteJournal::key_beside(&home.path()).unwrap(), Some(now));
    let beside = SqliteJournal::create_or_open(&home.dir.path().join("other.db"), Options::default()).unwrap();
    let path = beside.path().to_owned();
    assert_eq!(work.rotate_key(&by()), Err(JournalError::SharedKey { path }));
}
