use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use redress::journal::{
    Journal, JournalError, Left, Messages, Options, OwnerLock, RunFilter, SqliteJournal, SystemEvent, TargetNote,
};
use redress::types::{Target, TargetState, Timestamp};
use rusqlite::Connection;

use crate::support::*;

type Open = fn(&Path, Options) -> Result<SqliteJournal, JournalError>;
const ALL: [Open; 3] = [SqliteJournal::create_or_open, SqliteJournal::open_existing, SqliteJournal::open_read_only];
const NEVER_CREATE: [Open; 2] = [SqliteJournal::open_existing, SqliteJournal::open_read_only];

fn error(open: Open, path: &Path) -> JournalError {
    match open(path, Options::default()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_create_or_open_makes_anything() {
    let home = Home::new();
    for open in NEVER_CREATE {
        for path in [home.path(), home.dir.path().join("no/such/folder/journal.db")] {
            assert_eq!(error(open, &path), JournalError::NotFound { path: path.clone() });
            assert!(error(open, &path).help().unwrap().contains("--journal"));
        }
    }
    assert_eq!(fs::read_dir(home.dir.path()).unwrap().count(), 0);
}

#[test]
fn folders_and_files_are_closed_to_others() {
    let home = Home::new();
    let folder = home.dir.path().join("new/.redress");
    let path = folder.join("journal.db");
    let journal = SqliteJournal::create_or_open(&path, Options::default()).unwrap();
    let run = create(&journal, 1);
    let note = TargetNote {
        step: step(),
        attempt: 1,
        target: Target::File { host: "/w/a".into(), guest: "/a".into() },
        before: TargetState::Absent,
    };
    journal.note_target(&run, &note).unwrap();
    let owner = OwnerLock::acquire(&journal.owners_dir()).unwrap();
    for name in ["", "owners", "targets"] {
        assert_eq!(mode(&folder.join(name)), 0o700, "{name}");
    }
    let owner_file = format!("owners/{}", owner.identity().id);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm", &format!("targets/{run}.jsonl"), &owner_file] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(journal.path(), path);
}

#[test]
fn a_file_that_was_open_to_others_is_closed_to_them_and_its_folder_is_left() {
    let home = Home::new();
    drop(home.open());
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o664)).unwrap();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(home.open());
    assert_eq!((mode(&home.path()), mode(home.dir.path())), (0o600, 0o755));
}

#[test]
fn the_page_size_was_set_before_the_log_and_holds() {
    let home = Home::new();
    drop(home.open());
    let conn = home.sql();
    let ask = |what: &str| conn.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(ask("page_size").unwrap(), 8192.into());
    assert_eq!(ask("journal_mode").unwrap(), String::from("wal").into());
}

#[test]
fn what_is_not_a_journal_is_named_and_left_as_it_is() {
    let home = Home::new();
    let other = home.dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1").unwrap();
    let text = home.dir.path().join("text.db");
    fs::write(&text, "this is a letter, not a database, and it is longer than a header of one hundred bytes".repeat(9))
        .unwrap();
    for path in [&other, &text, &home.dir.path().to_owned()] {
        let before = fs::read(path).ok();
        for open in ALL {
            let error = error(open, path);
            assert!(matches!(&error, JournalError::NotAJournal { path: named, .. } if named == path), "{error}");
        }
        assert_eq!(fs::read(path).ok(), before);
    }
}

#[test]
fn beside_what_is_no_regular_file_nothing_is_made() {
    let home = Home::new();
    let (link, socket, folder) = (home.path(), home.dir.path().join("socket"), home.dir.path().join("folder"));
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    fs::create_dir(&folder).unwrap();
    for (path, open) in [&link, &socket, &folder].into_iter().flat_map(|path| ALL.map(|open| (path, open))) {
        let what = "it is no regular file".to_owned();
        assert_eq!(error(open, path), JournalError::NotAJournal { path: path.clone(), what });
    }
    assert_eq!(fs::read_dir(home.dir.path()).unwrap().count(), 3);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn an_empty_file_becomes_a_journal_only_where_one_may_be_made() {
    let home = Home::new();
    fs::write(home.path(), "").unwrap();
    // A process that dies while it makes a journal may also leave a database without tables.
    let begun = Home::new();
    begun.sql().pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(fs::metadata(begun.path()).unwrap().len() > 0);
    for home in [home, begun] {
        for open in NEVER_CREATE {
            assert_eq!(error(open, &home.path()), JournalError::Empty { path: home.path() });
        }
        create(&home.open(), 1);
    }
}

#[test]
fn a_newer_schema_is_an_error_that_says_both_versions() {
    let home = Home::new();
    drop(home.open());
    home.sql().pragma_update(None, "user_version", 4).unwrap();
    for open in ALL {
        assert_eq!(error(open, &home.path()), JournalError::Newer { path: home.path(), found: 4, known: 3 });
    }
}

#[test]
fn a_journal_from_before_the_outbox_is_read_as_it_is_and_brought_up_to_date_by_whoever_writes() {
    let home = Home::new();
    let run = create(&home.open(), 1);
    home.sql().execute_batch(BEFORE_DUE).unwrap();
    home.sql().execute_batch("DROP TABLE outbox; PRAGMA user_version = 1").unwrap();
    let reader = SqliteJournal::open_read_only(&home.path(), Options::default()).unwrap();
    assert_eq!(reader.entries(&run, 0, 9).unwrap().len(), 2);
    assert_eq!(reader.messages(Messages::Waiting, 9), Ok(Vec::new()));
    assert_eq!(reader.verify().unwrap().findings, []);
    let writer = home.open();
    append(&writer, &run, durable(1, sealed()).with_messages(vec![message("msg_1", 7)])).unwrap();
    assert_eq!(reader.messages(Messages::Waiting, 9).unwrap().len(), 1);
    assert_eq!(reader.verify().unwrap().findings, []);
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_journal_with_less_in_it() {
    let home = Home::new();
    let journal = home.open();
    for n in 0..50 {
        create(&journal, n);
    }
    drop(journal);
    let whole = fs::read(home.path()).unwrap();
    assert!(!home.dir.path().join("journal.db-wal").exists());
    let pages = whole.len() / 8192;
    let mut damaged = 0;
    for page in 1..pages {
        let mut file = fs::OpenOptions::new().write(true).open(home.path()).unwrap();
        file.seek(SeekFrom::Start(page as u64 * 8192)).unwrap();
        file.write_all(&[0xff; 64]).unwrap();
        drop(file);
        for open in ALL {
            let error = error(open, &home.path());
            assert!(matches!(error, JournalError::Damaged { .. }), "page {page}: {error}");
        }
        damaged += 1;
        fs::write(home.path(), &whole).unwrap();
    }
    assert!(damaged > 5);
    assert_eq!(home.open().verify().unwrap().findings, []);
}

#[test]
fn a_journal_opened_for_reading_reads_everything_and_writes_nothing() {
    let home = Home::new();
    let writer = home.open();
    let run = create(&writer, 1);
    let reader = SqliteJournal::open_read_only(&home.path(), Options::default()).unwrap();
    assert_eq!(reader.entries(&run, 0, 9).unwrap().len(), 2);
    assert_eq!(reader.runs(&RunFilter::default(), None, 9).unwrap().rows.len(), 1);
    assert_eq!(reader.verify().unwrap().findings, []);
    let read_only = JournalError::ReadOnly;
    assert_eq!(append(&reader, &run, durable(1, sealed())), Err(read_only.clone()));
    assert_eq!(reader.create_run(new_run(2)).wait(), Err(read_only.clone()));
    assert_eq!(
        reader.take_over(&run, 1, &owner("x"), Left::default(), Vec::new(), Timestamp(1)).wait(),
        Err(read_only.clone())
    );
    assert_eq!(reader.keep(Default::default(), Timestamp(1)).wait(), Err(read_only.clone()));
    let event = SystemEvent::Refused { by: None, request: "x".into(), code: "x".into(), message: "x".into() };
    assert_eq!(reader.record(event, Timestamp(1)).wait(), Err(read_only.clone()));
    assert_eq!(reader.flush().wait(), Err(read_only.clone()));
    let note = TargetNote {
        step: step(),
        attempt: 1,
        target: Target::File { host: "/w/a".into(), guest: "/a".into() },
        before: TargetState::Absent,
    };
    assert_eq!(reader.note_target(&run, &note), Err(read_only));
    assert_eq!(reader.commits(), 0);
    let before = reader.version().unwrap();
    append(&writer, &run, durable(1, sealed())).unwrap();
    assert_ne!(reader.version().unwrap(), before);
    assert_eq!(reader.head(&run).unwrap(), Some(3));
    drop(writer);
    assert_eq!(reader.head(&run).unwrap(), Some(3));
}

#[test]
fn an_existing_journal_is_opened_for_writing_without_leave_to_create() {
    let home = Home::new();
    drop(home.open());
    let journal = SqliteJournal::open_existing(&home.path(), Options::default()).unwrap();
    create(&journal, 1);
}

#[test]
fn below_the_reserve_there_is_no_space_for_new_runs() {
    let home = Home::new();
    assert_eq!(home.open().free_space_ok(), Ok(()));
    let options = Options { reserve: u64::MAX, ..Options::default() };
    let journal = SqliteJournal::create_or_open(&home.path(), options).unwrap();
    let error = journal.free_space_ok().unwrap_err();
    assert!(matches!(error, JournalError::LowSpace { reserve: u64::MAX, .. }));
    assert!(error.help().unwrap().contains("rolling back go on"));
    let run = create(&journal, 1);
    append(&journal, &run, durable(1, sealed())).unwrap();
}

#[test]
fn of_many_that_make_a_journal_at_once_each_gets_it() {
    for _ in 0..20 {
        let home = Home::new();
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    drop(home.open());
                });
            }
        });
    }
}

/// The locks of this process on a file, as the system lists them: the list is read in pieces, and one that others change meanwhile may have
/// an entry twice.
fn locks(path: &Path) -> BTreeSet<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner_and_file = (std::process::id().to_string(), format!(":{}", fs::metadata(path).unwrap().ino()));
    let of_file = |line: &&str| {
        let mut fields = line.split_whitespace().skip(4);
        fields.next() == Some(&owner_and_file.0) && fields.next().is_some_and(|file| file.ends_with(&owner_and_file.1))
    };
    let listed = fs::read_to_string("/proc/locks").unwrap();
    listed.lines().filter(of_file).map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

#[test]
fn who_opens_a_journal_again_leaves_the_locks_of_who_has_it_open() {
    let home = Home::new();
    let journal = home.open();
    create(&journal, 1);
    let held = locks(&home.path());
    assert!(!held.is_empty(), "an open journal is held by a lock");
    for open in ALL {
        drop(open(&home.path(), Options::default()).unwrap());
        assert_eq!(locks(&home.path()), held, "without it the next process that ends deletes the log");
    }
    journal.verify().unwrap();
    journal.backup(&home.path().with_file_name("backup.db")).unwrap();
    assert_eq!(locks(&home.path()), held);
}

/// Its log and its owners lie beside one name.
#[test]
fn a_journal_is_opened_by_its_own_name_only() {
    let home = Home::new();
    drop(home.open());
    let (link, name) = (home.dir.path().join("link.db"), home.dir.path().join("name.db"));
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    let refused = SqliteJournal::open_read_only(&link, Options::default()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("it is a link"), "{refused}");
    std::fs::hard_link(home.path(), &name).unwrap();
    for path in [&name, &home.path()] {
        let refused = SqliteJournal::create_or_open(path, Options::default()).map(drop).unwrap_err();
        assert!(refused.to_string().contains("another name"), "{refused}");
    }
    std::fs::remove_file(name).unwrap();
    home.open();
}
