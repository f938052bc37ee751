use redress::journal::{
    Append, Durability, HeadAt, Journal, JournalError, Kept, Left, Options, SqliteJournal, Submission, SystemEvent,
    TargetNote,
};
use redress::saga::RunState;
use redress::saga::event::{Cause, Event, Owner, RollbackStarted};
use redress::types::{Target, TargetState, Timestamp};

use crate::support::*;

/// Holds the database's write lock while `work` enqueues, so that everything lands in two batches at most.
fn while_locked<T>(home: &Home, work: impl FnOnce() -> T) -> T {
    let conn = home.sql();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let result = work();
    conn.execute_batch("ROLLBACK").unwrap();
    result
}

#[test]
fn many_waiting_appends_share_a_commit() {
    let home = Home::new();
    let journal = home.open();
    let runs: Vec<_> = (0..50).map(|n| create(&journal, n)).collect();
    let before = journal.commits();
    let waiting: Vec<_> = while_locked(&home, || {
        runs.iter().flat_map(|run| [2_000, 3_000].map(|at| journal.append(run, durable(at, sealed())))).collect()
    });
    for pending in waiting {
        pending.wait().unwrap();
    }
    assert!(journal.commits() - before <= 2, "{} commits", journal.commits() - before);
    assert!(runs.iter().all(|run| journal.head(run).unwrap() == Some(4)));
}

#[test]
fn a_failing_append_leaves_its_neighbours_in_the_same_commit() {
    let home = Home::new();
    let journal = home.open();
    let (one, two, three) = (create(&journal, 1), create(&journal, 2), create(&journal, 3));
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.chain = '{two}' AND NEW.seq = 4
         BEGIN SELECT RAISE(ABORT, 'no'); END"
    );
    home.sql().execute_batch(&refuse).unwrap();
    let before = journal.commits();
    let lost = payload("never stored");
    let pending = while_locked(&home, || {
        drop(journal.append(&one, lazy(2_000, sealed())));
        let bad = [
            journal.append(
                &two,
                Append::by_owner(1, Durability::Sync, vec![(Timestamp(1), sealed()), (Timestamp(1), cancel())]),
            ),
            journal.append(&three, durable(2_000, undo(&lost))),
            journal.append(&run_id(9), durable(2_000, sealed())),
            journal.append(&three, Append::by_owner(2, Durability::Sync, vec![(Timestamp(1), sealed())])),
        ];
        (bad, journal.append(&three, durable(2_000, sealed())))
    });
    let [refused, dangling, unknown, stale] = pending.0.map(|pending| pending.wait().unwrap_err());
    assert!(matches!(refused, JournalError::Refused(_)), "{refused}");
    assert_eq!(dangling, JournalError::PayloadMissing { digest: lost.reference().digest });
    assert_eq!(unknown, JournalError::UnknownRun { run: run_id(9) });
    assert_eq!(stale, JournalError::StaleEpoch { run: three.clone(), epoch: 2, current: 1 });
    pending.1.wait().unwrap();
    assert!(journal.commits() - before <= 2);
    assert_eq!(kinds(&journal, &one), ["RUN_SUBMITTED", "OWNER", "SEALED"]);
    assert_eq!(kinds(&journal, &two), ["RUN_SUBMITTED", "OWNER"]);
    assert_eq!(kinds(&journal, &three), ["RUN_SUBMITTED", "OWNER", "SEALED"]);
    home.sql().execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn a_stale_epochs_append_is_refused() {
    let home = Home::new();
    let (old, new) = (home.open(), home.open());
    let run = create(&old, 1);
    let taken =
        new.take_over(&run, 1, &owner("owner-2"), Left::default(), Vec::new(), Timestamp(9_000)).wait().unwrap();
    assert_eq!((taken.epoch, taken.entry.seq), (2, 3));
    let stale = JournalError::StaleEpoch { run: run.clone(), epoch: 1, current: 2 };
    assert_eq!(append(&old, &run, durable(9_500, sealed())), Err(stale.clone()));
    assert_eq!(append(&old, &run, nothing()), Err(stale));
    append(&new, &run, Append::by_owner(2, Durability::Sync, vec![(Timestamp(9_500), sealed())])).unwrap();
    assert_eq!(kinds(&old, &run), ["RUN_SUBMITTED", "OWNER", "OWNER", "SEALED"]);
}

#[test]
fn a_refused_lazy_append_comes_back_with_every_later_append_of_its_owner() {
    let home = Home::new();
    let journal = home.open();
    let (run, other) = (create(&journal, 1), create(&journal, 2));
    let lost = payload("never stored");
    let error = JournalError::PayloadMissing { digest: lost.reference().digest };
    drop(journal.append(&run, lazy(2_000, undo(&lost))));
    drop(journal.append(&run, lazy(2_000, sealed())));
    append(&journal, &other, durable(2_000, sealed())).unwrap();
    assert_eq!(append(&journal, &run, durable(2_000, sealed())), Err(error.clone()));
    assert_eq!(append(&journal, &run, nothing()), Err(error));
    assert_eq!(journal.head(&run).unwrap(), Some(2));
    let taken =
        journal.take_over(&run, 1, &owner("owner-2"), Left::default(), Vec::new(), Timestamp(3_000)).wait().unwrap();
    append(&journal, &run, Append::by_owner(taken.epoch, Durability::Sync, vec![(Timestamp(1), sealed())])).unwrap();
}

#[test]
fn two_takers_of_one_dead_owner_exactly_one_wins() {
    let home = Home::new();
    let journals = [home.open(), home.open()];
    for n in 0..20 {
        let run = create(&journals[0], n);
        let pending = [0, 1].map(|i| {
            journals[i].take_over(&run, 1, &owner(&format!("taker-{i}")), Left::default(), Vec::new(), Timestamp(2_000))
        });
        let won = pending.map(|pending| pending.wait());
        assert_eq!(won.iter().filter(|result| result.is_ok()).count(), 1, "{won:?}");
        let lost = won.iter().find_map(|result| result.as_ref().err()).unwrap();
        assert_eq!(*lost, JournalError::StaleEpoch { run: run.clone(), epoch: 1, current: 2 });
        assert_eq!(journals[1].head(&run).unwrap(), Some(3));
        let row = journals[1].run(&run).unwrap().unwrap();
        assert_eq!((row.epoch, row.owner.as_str()), (2, if won[0].is_ok() { "taker-0" } else { "taker-1" }));
    }
}

#[test]
fn what_others_append_is_told_to_the_owner_exactly_once_and_in_order() {
    let home = Home::new();
    let (mine, theirs) = (home.open(), home.open());
    let run = create(&mine, 1);
    append(&theirs, &run, by_anyone(2, vote("first"))).unwrap();
    drop(mine.append(&run, lazy(6_000, sealed())));
    mine.flush().wait().unwrap();
    append(&theirs, &run, by_anyone(4, vote("second"))).unwrap();
    append(&mine, &run, by_anyone(5, vote("from this process"))).unwrap();
    drop(mine.append(&run, lazy(7_000, sealed())));
    let told = append(&mine, &run, durable(8_000, sealed())).unwrap();
    assert_eq!((seqs(&told.entries), seqs(&told.lazy), seqs(&told.foreign)), (vec![8], vec![4, 7], vec![3, 5, 6]));
    let stored = mine.entries(&run, 2, usize::MAX).unwrap();
    assert_eq!(told.in_order(), stored);
    assert_eq!(append(&mine, &run, nothing()).unwrap().in_order(), []);
    append(&theirs, &run, by_anyone(8, cancel())).unwrap();
    let commits = mine.commits();
    assert_eq!(seqs(&append(&mine, &run, nothing()).unwrap().foreign), [9]);
    assert_eq!(mine.commits(), commits, "asking writes nothing");
}

#[test]
fn appends_that_were_enqueued_before_the_first_was_answered_are_told_once() {
    let home = Home::new();
    let (mine, theirs) = (home.open(), home.open());
    let run = create(&mine, 1);
    append(&theirs, &run, by_anyone(2, vote("yes"))).unwrap();
    let [one, two] = [2_000, 3_000].map(|at| mine.append(&run, durable(at, sealed())));
    let (one, two) = (one.wait().unwrap(), two.wait().unwrap());
    assert_eq!((seqs(&one.foreign), seqs(&one.entries)), (vec![3], vec![4]));
    assert_eq!((seqs(&two.foreign), seqs(&two.entries)), (vec![], vec![5]));
}

#[test]
fn a_taker_is_told_what_came_after_its_own_event() {
    let home = Home::new();
    let (journal, other) = (home.open(), home.open());
    let run = create(&journal, 1);
    append(&other, &run, by_anyone(2, vote("before"))).unwrap();
    let taken =
        journal.take_over(&run, 1, &owner("owner-2"), Left::default(), Vec::new(), Timestamp(1)).wait().unwrap();
    append(&other, &run, by_anyone(4, vote("after"))).unwrap();
    let read = journal.entries(&run, 0, usize::try_from(taken.entry.seq).unwrap()).unwrap();
    assert_eq!(read.last(), Some(&taken.entry));
    let told = append(&journal, &run, Append::by_owner(2, Durability::Sync, vec![])).unwrap();
    assert_eq!(seqs(&told.in_order()), [5]);
}

#[test]
fn a_vote_on_a_head_that_moved_is_refused_and_says_where_it_is() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    append(&journal, &run, durable(2_000, sealed())).unwrap();
    let moved = JournalError::HeadMoved { run: run.clone(), expected: 2, seq: 3 };
    assert_eq!(append(&journal, &run, by_anyone(2, vote("yes"))), Err(moved));
    let stored = append(&journal, &run, by_anyone(3, vote("yes"))).unwrap();
    assert_eq!(seqs(&stored.in_order()), [4]);
}

#[test]
fn nobody_appends_what_is_not_theirs() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let taken = Event::Owner(Owner::new(2, "x", "x"));
    for (author, kind) in [(by_anyone(2, sealed()), "SEALED"), (durable(1, taken), "OWNER")] {
        assert_eq!(append(&journal, &run, author), Err(JournalError::Misplaced { kind }));
    }
    let head = SystemEvent::PolicyLoaded { digest: policy("x").digest, name: "x".into() };
    let refused = journal.record(head, Timestamp(1)).wait();
    assert_eq!(refused, Err(JournalError::Misplaced { kind: "POLICY_LOADED" }));
    assert_eq!(journal.head(&run).unwrap(), Some(2));
}

#[test]
fn lazy_events_are_durable_with_and_before_the_next_durable_append_of_anybody() {
    let home = Home::new();
    let journal = home.open();
    let (run, other) = (create(&journal, 1), create(&journal, 2));
    let saved = payload("an undo record");
    let commits = journal.commits();
    let first = journal.append(&run, lazy(2_000, undo(&saved)).with_payloads(vec![saved.clone()]));
    drop(journal.append(&run, lazy(3_000, sealed())));
    let reader = home.open();
    assert_eq!(reader.head(&run).unwrap(), Some(2), "nothing is written before somebody asks");
    append(&journal, &other, durable(2_000, sealed())).unwrap();
    assert_eq!(journal.commits(), commits + 1);
    assert_eq!(kinds(&reader, &run), ["RUN_SUBMITTED", "OWNER", "UNDO_APPENDED", "SEALED"]);
    assert_eq!(reader.payload(&saved.reference().digest).unwrap().unwrap(), *saved.bytes());
    assert_eq!(seqs(&first.wait().unwrap().entries), [3]);
}

#[test]
fn lazy_events_are_durable_once_the_journal_is_closed_or_flushed() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    drop(journal.append(&run, lazy(2_000, sealed())));
    journal.flush().wait().unwrap();
    assert_eq!(home.open().head(&run).unwrap(), Some(3));
    drop(journal.append(&run, lazy(2_000, sealed())));
    drop(journal);
    assert_eq!(home.open().head(&run).unwrap(), Some(4));
}

#[test]
fn lazy_events_that_gather_are_written_without_anybody_asking() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let events = vec![(Timestamp(2_000), sealed()); 50_001];
    let pending = journal.append(&run, Append::by_owner(1, Durability::Lazy, events));
    assert_eq!(pending.wait().unwrap().entries.len(), 50_001);
}

#[test]
fn a_summary_without_events_changes_only_the_row() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    append(&journal, &run, nothing().with_summary(summary(RunState::Paused))).unwrap();
    let row = journal.run(&run).unwrap().unwrap();
    assert_eq!((row.state, row.seq), (RunState::Paused, 2));
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn times_never_go_backwards() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    for at in [5_000, 3_000, u64::MAX, 6_000] {
        append(&journal, &run, durable(at, sealed())).unwrap();
    }
    let times: Vec<u64> = journal.entries(&run, 0, 9).unwrap().iter().map(|entry| entry.at.0).collect();
    assert_eq!(times, [1_000, 1_000, 5_000, 5_000, 1 << 53, 1 << 53]);
}

#[test]
fn a_runs_head_is_recorded_at_its_start_and_close_in_the_same_commit() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    assert_eq!(journal.commits(), 1);
    append(&journal, &run, durable(2_000, closed()).with_summary(summary(RunState::Completed))).unwrap();
    assert_eq!(journal.commits(), 2);
    let row = journal.run(&run).unwrap().unwrap();
    assert_eq!((row.closed, row.state), (Some(Timestamp(2_000)), RunState::Completed));
    let system = journal.system_entries(0, 100).unwrap();
    let kinds: Vec<_> = system.iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds, ["COMPONENT_ADDED", "POLICY_LOADED", "RUN_HEAD", "RUN_HEAD", "KEY_ADDED", "CHECKPOINT"]);
    let close = SystemEvent::RunHead { run: run.clone(), seq: 3, hash: row.head, at: HeadAt::Close };
    assert_eq!(system[3].event, close);
    let cause = Cause::Undo { by: user(), reason: "wrong customer".into() };
    append(&journal, &run, durable(3_000, Event::RollbackStarted(RollbackStarted { cause }))).unwrap();
    assert_eq!(journal.run(&run).unwrap().unwrap().closed, None);
    append(&journal, &run, durable(4_000, closed())).unwrap();
    assert_eq!(journal.run(&run).unwrap().unwrap().closed, Some(Timestamp(4_000)));
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn submitting_twice_under_one_key_is_one_run() {
    let home = Home::new();
    let journal = home.open();
    let keyed = |n| {
        let mut new = new_run(n);
        new.submitted.run_key = Some("nightly".into());
        new
    };
    assert_eq!(journal.find_by_key("nightly").unwrap(), None);
    assert!(matches!(journal.create_run(keyed(1)).wait().unwrap(), Submission::Created { .. }));
    assert_eq!(journal.create_run(keyed(2)).wait().unwrap(), Submission::Existing { run: run_id(1) });
    assert_eq!(journal.find_by_key("nightly").unwrap(), Some(run_id(1)));
    assert_eq!(journal.head(&run_id(2)).unwrap(), None);
    assert_eq!(journal.create_run(new_run(1)).wait(), Err(JournalError::RunExists { run: run_id(1) }));
    let row = journal.run(&run_id(1)).unwrap().unwrap();
    assert_eq!((row.workflow.as_str(), row.run_key.as_deref()), ("onboarding", Some("nightly")));
    assert_eq!((row.epoch, row.owner.as_str(), row.seq), (1, "owner-1", 2));
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn components_and_policies_are_kept_once_and_said_in_the_system_chain() {
    let home = Home::new();
    let journal = home.open();
    create(&journal, 1);
    create(&journal, 2);
    let kept = Kept { components: vec![component("other")], policies: vec![policy("default: DENY")] };
    journal.keep(kept, Timestamp(1)).wait().unwrap();
    let refused =
        SystemEvent::Refused { by: None, request: "run x".into(), code: "unknown".into(), message: "no".into() };
    journal.record(refused.clone(), Timestamp(1)).wait().unwrap();
    let system = journal.system_entries(0, 100).unwrap();
    let kinds: Vec<_> = system.iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds, ["COMPONENT_ADDED", "POLICY_LOADED", "RUN_HEAD", "RUN_HEAD", "COMPONENT_ADDED", "REFUSED"]);
    assert_eq!(journal.system_entries(5, 9).unwrap()[0].event, refused);
    assert_eq!(journal.component(&component("other").digest).unwrap(), Some(component("other")));
    assert_eq!(journal.policy(&policy("default: DENY").digest).unwrap(), Some(policy("default: DENY")));
    assert_eq!(journal.component(&policy("x").digest).unwrap(), None);
    assert_eq!(journal.policy(&policy("x").digest).unwrap(), None);
    for wrong in [
        Kept {
            components: vec![redress::journal::Component { digest: policy("x").digest, ..component("y") }],
            ..Kept::default()
        },
        Kept {
            policies: vec![redress::journal::PolicyText { digest: policy("x").digest, ..policy("y") }],
            ..Kept::default()
        },
    ] {
        let error = JournalError::WrongDigest { digest: policy("x").digest };
        assert_eq!(journal.keep(wrong, Timestamp(1)).wait(), Err(error));
    }
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn an_event_that_has_no_canonical_form_is_refused_at_once() {
    let home = Home::new();
    let journal = home.open();
    let mut new = new_run(1);
    new.submitted.idle_timeout = redress::types::Duration(u64::MAX);
    let error = journal.create_run(new).wait().unwrap_err();
    assert!(matches!(error, JournalError::NotCanonical { kind: "RUN_SUBMITTED", .. }), "{error}");
}

#[test]
fn after_a_failure_to_write_everybody_is_answered_and_nothing_is_tried_again() {
    let home = Home::new();
    let busy_timeout = redress::types::Duration(1);
    let options = Options { busy_timeout, ..Options::default() };
    let journal = SqliteJournal::create_or_open(&home.path(), options).unwrap();
    let run = create(&journal, 1);
    let lock = home.sql();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (0..20).map(|_| journal.append(&run, durable(2_000, sealed()))).collect();
    for pending in waiting {
        assert!(pending.wait().unwrap_err().is_fatal());
    }
    lock.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(append(&journal, &run, durable(2_000, sealed())), Err(JournalError::Fatal(_))));
    assert!(matches!(journal.flush().wait(), Err(JournalError::Fatal(_))));
    assert!(matches!(journal.create_run(new_run(2)).wait(), Err(JournalError::Fatal(_))));
    assert!(matches!(
        journal.take_over(&run, 1, &owner("x"), Left::default(), Vec::new(), Timestamp(1)).wait(),
        Err(JournalError::Fatal(_))
    ));
    assert_eq!(journal.head(&run).unwrap(), Some(2), "reading goes on");
}

/// A checkpoint is due without anybody writing, which must not be after a failure: what a sync lost is not known.
#[test]
fn after_a_failure_to_write_no_checkpoint_is_made_either() {
    let (home, beside) = (Home::new(), Home::new());
    let checkpoints = redress::journal::Checkpoints { every: redress::types::Duration(50), ..Default::default() };
    let options =
        Options { busy_timeout: redress::types::Duration(1), checkpoints: checkpoints.clone(), ..Options::default() };
    let journal = SqliteJournal::create_or_open(&home.path(), options).unwrap();
    let run = create(&journal, 1);
    let lock = home.sql();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(journal.append(&run, durable(2_000, sealed())).wait().unwrap_err().is_fatal());
    let written = journal.commits();
    lock.execute_batch("ROLLBACK").unwrap();
    // Another one, for which nothing is due before, makes its own meanwhile.
    let options = Options { checkpoints, ..Options::default() };
    let other = SqliteJournal::create_or_open(&beside.path(), options).unwrap();
    create(&other, 2);
    let alone = other.commits();
    while other.commits() == alone {
        std::thread::yield_now();
    }
    assert_eq!(journal.commits(), written);
    drop(journal);
    assert_eq!(
        home.sql()
            .query_row("SELECT count(*) FROM events WHERE body LIKE '%CHECKPOINT%'", [], |row| row.get::<_, i64>(0)),
        Ok(0)
    );
}

#[test]
fn a_transaction_that_the_database_ended_is_fatal_for_all_who_shared_it() {
    let home = Home::new();
    let journal = home.open();
    let (one, two) = (create(&journal, 1), create(&journal, 2));
    let end = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.chain = '{two}'
         BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
    );
    home.sql().execute_batch(&end).unwrap();
    let lazy_one = journal.append(&one, lazy(2_000, sealed()));
    let pending = journal.append(&two, durable(2_000, sealed()));
    assert!(pending.wait().unwrap_err().is_fatal());
    assert!(lazy_one.wait().unwrap_err().is_fatal());
    assert_eq!(journal.head(&one).unwrap(), Some(2));
    home.sql().execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(home.open().verify().unwrap().findings, []);
}

#[test]
fn answers_can_be_awaited() {
    let home = Home::new();
    let journal = home.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let told = runtime.block_on(async {
        journal.create_run(new_run(1)).await.unwrap();
        journal.append(&run_id(1), durable(2_000, sealed())).await.unwrap()
    });
    assert_eq!(seqs(&told.entries), [3]);
}

#[test]
fn noted_targets_stay_until_the_run_is_closed() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let note = TargetNote {
        step: step(),
        attempt: 1,
        target: Target::File { host: "/w/a".into(), guest: "/a".into() },
        before: TargetState::Absent,
    };
    journal.note_target(&run, &note).unwrap();
    append(&journal, &run, durable(2_000, sealed())).unwrap();
    assert_eq!(home.open().noted_targets(&run).unwrap(), std::slice::from_ref(&note));
    append(&journal, &run, durable(2_000, closed())).unwrap();
    assert_eq!(journal.noted_targets(&run).unwrap(), []);
    // A process that dies right after the commit leaves them to the next one.
    let (ended, going_on) = (note.clone(), create(&journal, 2));
    journal.note_target(&run, &ended).unwrap();
    journal.note_target(&going_on, &ended).unwrap();
    drop(journal);
    let journal = home.open();
    assert_eq!(journal.noted_targets(&run).unwrap(), []);
    assert_eq!(journal.noted_targets(&going_on).unwrap(), [ended]);
}
