//! When a run is due, as its row says it: never later than its events do.

use redress::journal::{Append, Journal, Left, Options, RunFilter, SqliteJournal, Summary};
use redress::saga::RunState;
use redress::types::{RunId, Timestamp};

use crate::support::*;

/// Of a run that is paused until `due`, if the event `seq` is its last.
fn paused(seq: u64, due: u64) -> Summary {
    Summary { seq, state: RunState::Paused, due: Some(Timestamp(due)) }
}

fn due(journal: &SqliteJournal, run: &RunId) -> Option<u64> {
    journal.run(run).unwrap().unwrap().due.map(|due| due.0)
}

/// Paused runs that are not known to be due after `now`, newest first.
fn not_later(journal: &SqliteJournal, now: u64) -> Vec<RunId> {
    let filter = RunFilter { state: Some(RunState::Paused), due: Some(Timestamp(now)), ..RunFilter::default() };
    journal.runs(&filter, None, 99).unwrap().rows.into_iter().map(|row| row.run).collect()
}

#[test]
fn a_row_says_when_its_run_is_due_only_on_the_word_of_somebody_who_knew_all_of_its_events() {
    let home = Home::new();
    let (journal, other) = (home.open(), home.open());
    let run = create(&journal, 1);
    assert_eq!(due(&journal, &run), None, "a run that is not paused is due by its state");
    append(&journal, &run, durable(2_000, sealed()).with_summary(paused(3, 9_000))).unwrap();
    assert_eq!(due(&journal, &run), Some(9_000));

    // Another process votes; the owner has not heard of it, and says what it knew.
    append(&other, &run, by_anyone(3, vote("r")).with_summary(Summary { due: None, ..paused(4, 0) })).unwrap();
    assert_eq!(due(&journal, &run), None, "a vote makes it due at once");
    append(&journal, &run, durable(3_000, sealed()).with_summary(paused(4, 9_000))).unwrap();
    assert_eq!(due(&journal, &run), None);
    append(&journal, &run, durable(4_000, sealed()).with_summary(paused(6, 9_000))).unwrap();
    assert_eq!(due(&journal, &run), Some(9_000), "it has heard of the vote");

    // The same among lazy appends that are written together.
    drop(journal.append(&run, lazy(5_000, sealed()).with_summary(paused(7, 8_000))));
    drop(journal.append(&run, lazy(5_000, sealed()).with_summary(paused(8, 7_000))));
    journal.flush().wait().unwrap();
    assert_eq!(due(&journal, &run), Some(7_000));

    append(&journal, &run, durable(6_000, sealed())).unwrap();
    assert_eq!(due(&journal, &run), None, "an event of which nobody says what it makes of the run");
    append(&journal, &run, nothing().with_summary(paused(9, 9_000))).unwrap();
    assert_eq!(due(&journal, &run), Some(9_000));
    journal.take_over(&run, 1, &owner("owner-2"), Left::default(), Vec::new(), Timestamp(1)).wait().unwrap();
    assert_eq!(due(&journal, &run), None, "a new owner may have found that something is to be done");
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn runs_that_are_due_or_not_known_to_be_due_later_are_listed() {
    let home = Home::new();
    let journal = home.open();
    let runs: Vec<RunId> = (0..5).map(|n| create(&journal, n)).collect();
    for (n, due) in [(0, Some(10)), (1, Some(20)), (2, None), (3, Some(i64::MAX as u64))] {
        let summary = Summary { due: due.map(Timestamp), ..paused(3, 0) };
        append(&journal, &runs[n], durable(2_000, sealed()).with_summary(summary)).unwrap();
    }
    let newest_first = |which: &[usize]| which.iter().map(|n| runs[*n].clone()).collect::<Vec<_>>();
    assert_eq!(not_later(&journal, 9), newest_first(&[2]));
    assert_eq!(not_later(&journal, 10), newest_first(&[2, 0]));
    assert_eq!(not_later(&journal, 20), newest_first(&[2, 1, 0]));
    // What is no time is met, and damage.
    home.sql().execute("UPDATE runs SET due = 'later' WHERE run = ?", [runs[3].as_str()]).unwrap();
    let filter = RunFilter { state: Some(RunState::Paused), due: Some(Timestamp(9)), ..RunFilter::default() };
    let page = journal.runs(&filter, None, 99).unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!(page.damaged[0].run, runs[3].to_string());
    let found = journal.verify().unwrap().findings;
    assert_eq!((found.len(), &found[0].chain), (1, &runs[3].to_string()));
}

#[test]
fn a_journal_from_before_rows_said_when_runs_are_due_is_read_as_it_is_and_brought_up_to_date_by_whoever_writes() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    append(&journal, &run, durable(2_000, sealed()).with_summary(paused(3, 9_000))).unwrap();
    drop(journal);
    home.sql().execute_batch(BEFORE_DUE).unwrap();
    let reader = SqliteJournal::open_read_only(&home.path(), Options::default()).unwrap();
    assert_eq!((due(&reader, &run), not_later(&reader, 1)), (None, vec![run.clone()]));
    assert_eq!(reader.verify().unwrap().findings, []);
    let writer = home.open();
    assert_eq!((due(&writer, &run), not_later(&writer, 1)), (None, vec![run.clone()]));
    let append_one = Append { summary: Some(paused(4, 9_000)), ..durable(3_000, sealed()) };
    append(&writer, &run, append_one).unwrap();
    assert_eq!((due(&reader, &run), not_later(&reader, 1)), (Some(9_000), Vec::new()));
    assert_eq!(reader.verify().unwrap().findings, []);
}
