use redress::journal::{Journal, JournalError, Options, SqliteJournal, SystemEvent};
use redress::saga::event::Event;
use redress::types::Timestamp;

use crate::support::*;

#[test]
fn a_backup_is_made_while_others_write_and_holds_everything_up_to_one_commit() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    append(&journal, &run, durable(2, sealed())).unwrap();
    let to = home.path().with_file_name("backup.db");
    journal.backup(&to).unwrap();
    append(&journal, &run, durable(3, sealed())).unwrap();
    assert_eq!(journal.backup(&to), Err(JournalError::Exists { path: to.clone() }), "nothing is written over");
    let backup = SqliteJournal::open_read_only(&to, Options::default()).unwrap();
    let entries = journal.entries(&run, 0, usize::MAX).unwrap();
    assert_eq!(backup.entries(&run, 0, usize::MAX).unwrap(), entries[..3]);
    assert_eq!(backup.verify().unwrap().findings, []);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let beside = std::fs::read_dir(to.parent().unwrap()).unwrap();
    assert!(beside.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("partial")));
}

#[test]
fn a_backup_beside_the_log_of_the_journal_that_it_replaces_is_refused() {
    let home = Home::new();
    let journal = home.open();
    create(&journal, 1);
    // A name that would mean something else if it were taken for a part of a URL.
    let to = home.path().with_file_name("back up?100%#.db");
    journal.backup(&to).unwrap();
    let log = to.with_file_name("back up?100%#.db-wal");
    std::fs::write(&log, "what was written to another journal").unwrap();
    let strange = JournalError::StrangeLog { path: to.clone(), log: log.clone() };
    let opened = SqliteJournal::open_read_only(&to, Options::default()).map(drop);
    assert_eq!(opened, Err(strange.clone()));
    assert_eq!(SqliteJournal::adopt(&to, &user(), "lost", Timestamp(9)), Err(strange));
    std::fs::remove_file(log).unwrap();
    SqliteJournal::adopt(&to, &user(), "lost", Timestamp(9)).unwrap();
}

#[test]
fn a_backup_is_not_written_before_somebody_adopts_it_with_a_reason() {
    let home = Home::new();
    let journal = home.open();
    let (run, done) = (create(&journal, 1), create(&journal, 2));
    append(&journal, &done, durable(2, closed())).unwrap();
    let to = home.path().with_file_name("backup.db");
    journal.backup(&to).unwrap();
    let refused = |opened: Result<SqliteJournal, JournalError>| opened.map(drop).unwrap_err();
    for opened in [SqliteJournal::create_or_open, SqliteJournal::open_existing] {
        assert_eq!(refused(opened(&to, Options::default())), JournalError::Backup { path: to.clone() });
    }
    let adopted = SqliteJournal::adopt(&to, &user(), "the disk is lost", Timestamp(99)).unwrap();
    assert_eq!(adopted.runs, std::slice::from_ref(&run));
    let journal = SqliteJournal::open_existing(&to, Options::default()).unwrap();
    let last = journal.entries(&run, 0, usize::MAX).unwrap().pop().unwrap();
    assert!(matches!(&last.event, Event::Owner(owner) if owner.adopted && owner.epoch == 2), "{last:?}");
    assert_eq!(journal.run(&run).unwrap().unwrap().epoch, 2);
    assert_eq!(journal.entries(&done, 0, usize::MAX).unwrap().len(), 3);
    let told = journal.system_entries(0, usize::MAX).unwrap().pop().unwrap().event;
    assert_eq!(told, SystemEvent::Adopted { by: user(), reason: "the disk is lost".into(), runs: 1 });
    assert_eq!(journal.verify().unwrap().findings, []);
    // It is no backup any more.
    drop(journal);
    let again = SqliteJournal::adopt(&to, &user(), "again", Timestamp(100));
    assert_eq!(again, Err(JournalError::NotABackup { path: to }));
}
