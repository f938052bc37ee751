//! Damage to the files of a journal, of every kind: it is an error or a finding, and never a journal with less in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use redress::journal::{
    Finding, Flaw, Journal, JournalError, Options, Page, RunFilter, SqliteJournal, Submission, SystemEntry,
};
use redress::saga::RunState;
use redress::saga::event::Entry;
use redress::types::{RunId, Timestamp};
use rusqlite::Connection;

use crate::support::*;

const PAGE: usize = 8192;

/// A journal with more runs than a page holds, every second of them closed, that was left cleanly.
fn scene() -> (Home, Vec<RunId>) {
    let home = Home::new();
    let journal = home.open();
    let runs: Vec<RunId> = (0..60).map(|n| create(&journal, n)).collect();
    for (n, run) in runs.iter().enumerate() {
        let saved = payload(&format!("undo record {n}"));
        append(&journal, run, durable(2_000, undo(&saved)).with_payloads(vec![saved])).unwrap();
        append(&journal, run, durable(3_000, vote("yes"))).unwrap();
        if n % 2 == 0 {
            let close = durable(4_000, closed()).with_summary(summary(RunState::Completed));
            append(&journal, run, close).unwrap();
        }
    }
    drop(journal);
    assert!(!beside(&home.path(), "-wal").exists());
    (home, runs)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn read(path: &Path) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open_read_only(path, Options::default())
}

fn write(path: &Path) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open_existing(path, Options::default())
}

fn refused<T>(result: Result<T, JournalError>) -> JournalError {
    result.err().expect("it is refused")
}

/// What a journal says: its runs, and of each run its events and their payloads, or why they cannot be read.
#[derive(Debug, PartialEq)]
struct Told {
    page: Page,
    events: BTreeMap<RunId, Result<Vec<Entry>, JournalError>>,
    payloads: BTreeMap<RunId, Result<Vec<Option<bytes::Bytes>>, JournalError>>,
    system: Result<Vec<SystemEntry>, JournalError>,
}

fn told(journal: &SqliteJournal, runs: &[RunId]) -> Result<Told, JournalError> {
    let page = journal.runs(&RunFilter::default(), None, 1_000)?;
    let events: BTreeMap<_, _> = runs.iter().map(|run| (run.clone(), journal.entries(run, 0, usize::MAX))).collect();
    let payloads_of = |entries: &Vec<Entry>| {
        let named = entries.iter().flat_map(|entry| entry.event.payloads());
        named.map(|payload| journal.payload(&payload.digest)).collect::<Result<Vec<_>, _>>()
    };
    let payloads = events.iter().filter_map(|(run, entries)| Some((run.clone(), payloads_of(entries.as_ref().ok()?))));
    let payloads = payloads.collect();
    Ok(Told { page, events, payloads, system: journal.system_entries(0, usize::MAX) })
}

/// Whether an error says in its own words what is wrong.
fn is_clear(error: &JournalError) -> bool {
    let named = matches!(
        error,
        JournalError::Damaged { .. }
            | JournalError::NotAJournal { .. }
            | JournalError::Newer { .. }
            | JournalError::Shortened { .. }
            | JournalError::Unreadable(_)
            | JournalError::DamagedRow { .. }
            | JournalError::PayloadMissing { .. }
            | JournalError::Changed { .. }
    );
    named && !error.to_string().contains("SELECT")
}

/// What is read of a damaged journal is what is read of the whole one, or a clear error, or verifying finds something.
/// Events are never others, and never fewer. Whether anything at all was noticed.
fn is_noticed(path: &Path, whole: &Told, runs: &[RunId], what: &str) -> bool {
    let journal = match read(path) {
        Ok(journal) => journal,
        Err(error) => {
            assert!(is_clear(&error), "{what}: {error:?}");
            return true;
        }
    };
    let mut same = journal.lost_end().is_none();
    match told(&journal, runs) {
        Ok(told) => {
            for (run, entries) in &told.events {
                match entries {
                    Ok(entries) => assert_eq!(Ok(entries), whole.events[run].as_ref(), "{what}: {run}"),
                    Err(error) => assert!(is_clear(error), "{what}: {error:?}"),
                }
            }
            for (run, payloads) in &told.payloads {
                match payloads {
                    Ok(payloads) => assert_eq!(Ok(payloads), whole.payloads[run].as_ref(), "{what}: {run}"),
                    Err(error) => assert!(is_clear(error), "{what}: {error:?}"),
                }
            }
            let (rows, all) = (&told.page.rows, whole.page.rows.len());
            assert!(rows.len() == all || !told.page.damaged.is_empty(), "{what}: {} runs are listed", rows.len());
            same &= told == *whole;
        }
        Err(error) => {
            assert!(is_clear(&error), "{what}: {error:?}");
            same = false;
        }
    }
    let found = match journal.verify() {
        Ok(verified) => !verified.findings.is_empty(),
        Err(error) => {
            assert!(is_clear(&error), "{what}: {error:?}");
            true
        }
    };
    assert!(found || same, "{what}: something else is read, and verifying finds nothing");
    found
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_changes_nothing() {
    let (home, runs) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    let before = told(&read(&path).unwrap(), &runs).unwrap();
    assert!(whole.len() > 15 * PAGE, "{}", whole.len());
    // All of the header, then anywhere.
    let mut dice = Dice(7);
    let anywhere: Vec<usize> = (0..1_200).map(|_| dice.roll(whole.len() * 8)).collect();
    let mut noticed = 0;
    for bit in (0..100 * 8).chain(anywhere) {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &changed).unwrap();
        noticed += u32::from(is_noticed(&path, &before, &runs, &format!("bit {bit}, byte {}", bit / 8)));
        assert_eq!(fs::read(&path).unwrap(), changed, "whoever reads it leaves it as it is");
    }
    assert!(noticed > 500, "{noticed}");
    fs::write(&path, &whole).unwrap();
    assert!(!is_noticed(&path, &before, &runs, "nothing"));
}

#[test]
fn a_flipped_bit_is_noticed_before_anything_is_written_over_it() {
    let (home, runs) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    let before = told(&read(&path).unwrap(), &runs).unwrap();
    let mut dice = Dice(11);
    let mut went_on = 0;
    for bit in (0..150).map(|_| dice.roll(whole.len() * 8)) {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &changed).unwrap();
        match write(&path) {
            Ok(journal) => {
                // What can be written is written, and what was there before is there, or known to be damaged.
                let added = journal.create_run(new_run(1_000)).wait();
                assert!(matches!(added, Ok(Submission::Created { .. })), "bit {bit}: {added:?}");
                let written = append(&journal, &runs[1], durable(5_000, sealed()));
                assert!(written.as_ref().err().is_none_or(is_clear), "bit {bit}: {written:?}");
                for run in &runs {
                    match journal.entries(run, 0, usize::MAX) {
                        Ok(mut entries) => {
                            if run == &runs[1] && written.is_ok() {
                                entries.pop();
                            }
                            assert_eq!(Ok(&entries), before.events[run].as_ref(), "bit {bit}: {run}");
                        }
                        Err(error) => assert!(is_clear(&error), "bit {bit}: {error:?}"),
                    }
                }
                went_on += 1;
            }
            Err(error) => assert!(is_clear(&error), "bit {bit}: {error:?}"),
        }
        for end in ["-wal", "-shm", "-mark"] {
            drop(fs::remove_file(beside(&path, end)));
        }
    }
    assert!(went_on > 50, "{went_on}");
}

#[test]
fn a_journal_that_was_cut_anywhere_is_refused_and_left_as_it_is() {
    let (home, _) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    let header = [1, 15, 16, 50, 99, 100, 101, 511, 512, 1_024];
    let pages = (1..whole.len() / PAGE).flat_map(|page| [page * PAGE, page * PAGE + PAGE / 2]);
    let ends = [whole.len() / 2 + 3, whole.len() - PAGE, whole.len() - 1];
    for len in header.into_iter().chain(pages).chain(ends) {
        fs::write(&path, &whole[..len]).unwrap();
        for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing, SqliteJournal::open_read_only] {
            let error = refused(open(&path, Options::default()));
            assert!(matches!(error, JournalError::Damaged { .. }), "cut to {len}: {error:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), whole[..len], "cut to {len}");
    }
    // What was added is damage, too.
    fs::write(&path, [&whole[..], &[0; PAGE]].concat()).unwrap();
    assert!(matches!(refused(read(&path)), JournalError::Damaged { .. }));
    fs::write(&path, &whole).unwrap();
    assert_eq!(home.open().verify().unwrap().findings, []);
}

#[test]
fn a_journal_that_was_emptied_or_is_gone_is_damaged_and_never_begun_anew() {
    let (home, _) = scene();
    let path = home.path();
    let whole = fs::read(&path).unwrap();
    let damaged = |what: &str| JournalError::Damaged { path: path.clone(), what: what.to_owned() };
    fs::write(&path, "").unwrap();
    for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing, SqliteJournal::open_read_only] {
        assert_eq!(refused(open(&path, Options::default())), damaged("it is empty, and 394 events were written"));
    }
    fs::remove_file(&path).unwrap();
    let gone = refused(SqliteJournal::create_or_open(&path, Options::default()));
    assert_eq!(gone, damaged("it is gone, and 394 events were written"));
    assert!(!path.exists());
    // A log alone says as much. SQLite would take it away from beside a file with nothing in it.
    fs::remove_file(beside(&path, "-mark")).unwrap();
    fs::write(beside(&path, "-wal"), "a log").unwrap();
    fs::write(&path, "").unwrap();
    for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing, SqliteJournal::open_read_only] {
        let expected = damaged("it is empty, and the log of a journal is beside it");
        assert_eq!(refused(open(&path, Options::default())), expected);
    }
    assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), b"a log");
    fs::remove_file(beside(&path, "-wal")).unwrap();
    fs::write(&path, whole).unwrap();
    assert_eq!(home.open().verify().unwrap().findings, []);
}

/// The files of a journal as they are while a process has it open: what a crash leaves, or whoever copies them.
fn in_use() -> (Home, RunId, BTreeMap<&'static str, Vec<u8>>) {
    let home = Home::new();
    let run = create(&home.open(), 1);
    let journal = home.open();
    for n in 0..40 {
        append(&journal, &run, durable(2_000 + n, sealed())).unwrap();
    }
    let files = ["", "-wal", "-shm", "-mark"].map(|end| (end, fs::read(beside(&home.path(), end)).unwrap()));
    drop(journal);
    (home, run, files.into())
}

/// Puts files in the place of a journal.
fn put(home: &Home, files: &[(&'static str, &[u8])]) {
    for end in ["", "-wal", "-shm", "-mark"] {
        drop(fs::remove_file(beside(&home.path(), end)));
    }
    for (end, content) in files {
        fs::write(beside(&home.path(), end), content).unwrap();
    }
}

#[test]
fn a_journal_that_lost_its_log_is_missed_and_goes_on_only_once_it_was_adopted() {
    let (home, run, files) = in_use();
    let path = home.path();
    let of = |end: &'static str| (end, &files[end][..]);
    let lost = |found| JournalError::Shortened { path: path.clone(), found, known: 47 };
    put(&home, &[of(""), of("-mark")]);
    for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing] {
        assert_eq!(refused(open(&path, Options::default())), lost(7));
    }
    // What is left can be read, and says that it is not all.
    let journal = read(&path).unwrap();
    assert_eq!(journal.lost_end(), Some(&lost(7)));
    assert_eq!(journal.entries(&run, 0, 99).unwrap().len(), 2);
    let end = Finding { chain: "database".into(), seq: 0, what: Flaw::End { found: 7, known: 47 } };
    assert_eq!(journal.verify().unwrap().findings, [end]);
    drop(journal);
    // Whoever finds the log puts it back.
    put(&home, &[of(""), of("-mark"), of("-wal")]);
    assert_eq!(write(&path).unwrap().entries(&run, 0, 99).unwrap().len(), 42);
    // Whoever does not takes it for a backup.
    put(&home, &[of(""), of("-mark")]);
    let adopted = SqliteJournal::adopt(&path, &user(), "the log is lost", Timestamp(9_000)).unwrap();
    assert_eq!(adopted.runs, std::slice::from_ref(&run));
    let journal = write(&path).unwrap();
    assert_eq!(kinds(&journal, &run), ["RUN_SUBMITTED", "OWNER", "OWNER"]);
    assert_eq!(journal.verify().unwrap().findings, []);
    drop(journal);
    let again = SqliteJournal::adopt(&path, &user(), "again", Timestamp(9_001));
    assert_eq!(again, Err(JournalError::NotABackup { path }));
}

#[test]
fn half_of_a_log_is_missed_wherever_it_was_cut() {
    let (home, run, files) = in_use();
    let (path, log) = (home.path(), &files["-wal"]);
    let whole = log.len();
    let mut seen = 0;
    for len in [0, 31, 32, 100, whole / 4, whole / 2, whole / 2 + 4_096, whole - PAGE - 24, whole - 1] {
        put(&home, &[("", &files[""]), ("-mark", &files["-mark"]), ("-wal", &log[..len])]);
        let JournalError::Shortened { found, known: 47, .. } = refused(write(&path)) else { panic!("cut to {len}") };
        assert!(found >= seen, "cut to {len}");
        seen = found;
        let journal = read(&path).unwrap();
        assert_eq!(journal.entries(&run, 0, 99).unwrap().len() as u64, found - 5, "what was committed before is there");
        assert!(matches!(journal.verify().unwrap().findings[..], [Finding { what: Flaw::End { .. }, .. }]));
    }
    assert!(seen > 7, "{seen}");
    put(&home, &[("", &files[""]), ("-mark", &files["-mark"]), ("-wal", log)]);
    assert_eq!(write(&path).unwrap().entries(&run, 0, 99).unwrap().len(), 42);
}

#[test]
fn a_flipped_bit_in_a_log_never_hides_what_was_committed() {
    let (home, runs, files) = in_use();
    let (path, log) = (home.path(), &files["-wal"]);
    put(&home, &[("", &files[""]), ("-wal", log), ("-mark", &files["-mark"])]);
    let before = told(&read(&path).unwrap(), std::slice::from_ref(&runs)).unwrap();
    let mut dice = Dice(3);
    let mut noticed = 0;
    for bit in (0..200).map(|_| dice.roll(log.len() * 8)) {
        let mut changed = log.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        put(&home, &[("", &files[""]), ("-wal", &changed), ("-mark", &files["-mark"])]);
        let journal = read(&path).unwrap();
        match journal.lost_end() {
            Some(_) => noticed += 1,
            None => assert_eq!(told(&journal, std::slice::from_ref(&runs)).unwrap(), before, "bit {bit}"),
        }
    }
    assert!(noticed > 150, "{noticed}");
}

#[test]
fn the_shared_memory_of_another_time_changes_nothing() {
    let (home, run, files) = in_use();
    let (other, _, others) = in_use();
    drop(other);
    let of = |end: &'static str| (end, &files[end][..]);
    let garbage = [0xa5; 32_768];
    let mut cut = files["-shm"].clone();
    cut.truncate(1_000);
    for shared in [&others["-shm"][..], &garbage, &cut, &[]] {
        put(&home, &[of(""), of("-wal"), of("-mark"), ("-shm", shared)]);
        assert_eq!(read(&home.path()).unwrap().entries(&run, 0, 99).unwrap().len(), 42);
        put(&home, &[of(""), of("-wal"), of("-mark"), ("-shm", shared)]);
        let journal = write(&home.path()).unwrap();
        append(&journal, &run, durable(9_000, sealed())).unwrap();
        assert_eq!(journal.verify().unwrap().findings, []);
    }
}

#[test]
fn a_mark_that_says_nothing_costs_nothing() {
    let (home, runs) = scene();
    for mark in ["", "letters", "00000000000000000009 00000000000000000008\n"] {
        fs::write(beside(&home.path(), "-mark"), mark).unwrap();
        let journal = write(&home.path()).unwrap();
        assert_eq!(journal.verify().unwrap().findings, []);
        append(&journal, &runs[1], durable(5_000, sealed())).unwrap();
    }
}

fn sql(home: &Home, sql: &str) {
    home.sql().execute_batch(sql).unwrap();
}

#[test]
fn a_journal_whose_tables_are_not_all_there_is_damaged_for_everybody() {
    let (home, _) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    let tables = ["events", "payloads", "runs", "components", "policies", "outbox"];
    for table in tables {
        for (change, what) in [
            (format!("DROP TABLE {table}"), format!("its table `{table}` is missing")),
            (
                format!("ALTER TABLE {table} ADD COLUMN more TEXT"),
                format!("its table `{table}` is not that of a journal"),
            ),
        ] {
            fs::write(&path, &whole).unwrap();
            sql(&home, &change);
            let damaged = JournalError::Damaged { path: path.clone(), what };
            for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing, SqliteJournal::open_read_only] {
                assert_eq!(refused(open(&path, Options::default())), damaged, "{change}");
            }
        }
    }
    // While it is open it is met by whoever asks for the table.
    fs::write(&path, &whole).unwrap();
    let journal = write(&path).unwrap();
    sql(&home, "DROP TABLE outbox; DROP TABLE policies");
    let what = "no such table: policies".to_owned();
    assert_eq!(
        journal.policy(&policy("p").digest),
        Err(JournalError::Damaged { path: path.clone(), what: what.clone() })
    );
    let kept = redress::journal::Kept { policies: vec![policy("default: ALLOW")], ..Default::default() };
    assert_eq!(journal.keep(kept, Timestamp(1)).wait(), Err(JournalError::Damaged { path, what }));
    assert!(journal.flush().wait().unwrap_err().is_fatal(), "nothing is written any more");
}

#[test]
fn a_header_that_contradicts_what_is_there_is_damage() {
    let (home, _) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    for (change, what) in [
        ("PRAGMA user_version = 0", "it says that its schema version is 0"),
        ("PRAGMA user_version = -1", "it says that its schema version is -1"),
        ("PRAGMA application_id = 7", "it says that it is a database of another program, and has what a journal has"),
        (
            "PRAGMA application_id = 0; PRAGMA user_version = 0",
            "it says that it is a database of another program, and has what a journal has",
        ),
    ] {
        fs::write(&path, &whole).unwrap();
        sql(&home, change);
        for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing, SqliteJournal::open_read_only] {
            let error = refused(open(&path, Options::default()));
            assert_eq!(error, JournalError::Damaged { path: path.clone(), what: what.to_owned() }, "{change}");
        }
    }
}

#[test]
fn what_somebody_added_to_the_tables_is_found_and_not_written_past() {
    let (home, runs) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    for (change, what) in [
        (
            "CREATE TRIGGER forget AFTER INSERT ON events BEGIN DELETE FROM events WHERE id = new.id - 1; END",
            "a journal has no trigger `forget`",
        ),
        ("CREATE VIEW seen AS SELECT * FROM events", "a journal has no view `seen`"),
        ("CREATE UNIQUE INDEX narrow ON runs (workflow, run)", "a journal has no index `narrow`"),
        ("CREATE TABLE more (x)", "a journal has no table `more`"),
        ("DROP INDEX runs_open", "its index `runs_open` is missing"),
        ("DROP INDEX runs_open; CREATE INDEX runs_open ON runs (id)", "its index `runs_open` is not that of a journal"),
    ] {
        fs::write(&path, &whole).unwrap();
        sql(&home, change);
        for open in [SqliteJournal::create_or_open, SqliteJournal::open_existing] {
            let damaged = JournalError::Damaged { path: path.clone(), what: what.to_owned() };
            assert_eq!(refused(open(&path, Options::default())), damaged, "{change}");
        }
        // Everything that is there can be read.
        let journal = read(&path).unwrap();
        assert_eq!(journal.runs(&RunFilter::default(), None, 999).unwrap().rows.len(), runs.len());
        let expected = Finding { chain: "schema".into(), seq: 0, what: Flaw::Parts(what.to_owned()) };
        assert_eq!(journal.verify().unwrap().findings, [expected], "{change}");
    }
}

#[test]
fn what_is_kept_beside_components_and_policies_is_compared_with_what_was_recorded() {
    let (home, _) = scene();
    let (path, whole) = (home.path(), fs::read(home.path()).unwrap());
    let (component, policy) = (component("wasm").digest, policy("default: DENY").digest);
    let differs =
        |seq, digest, column| Finding { chain: "system".into(), seq, what: Flaw::KeptDiffers { digest, column } };
    for (change, expected) in [
        ("UPDATE components SET describe = '{\"title\":\"harmless\"}'", differs(1, component, "describe")),
        ("UPDATE components SET ids = 'io.fs.read_file'", differs(1, component, "ids")),
        ("UPDATE policies SET name = 'other.yaml'", differs(2, policy, "name")),
        (
            "INSERT INTO policies SELECT zeroblob(32), name, text FROM policies",
            Finding { chain: "system".into(), seq: 0, what: Flaw::Unnamed(redress::types::Digest([0; 32])) },
        ),
        (
            "INSERT INTO components SELECT zeroblob(32), ids, bytes, describe FROM components",
            Finding { chain: "system".into(), seq: 0, what: Flaw::Unnamed(redress::types::Digest([0; 32])) },
        ),
    ] {
        fs::write(&path, &whole).unwrap();
        sql(&home, change);
        assert_eq!(read(&path).unwrap().verify().unwrap().findings, [expected], "{change}");
    }
}

#[test]
fn an_event_that_cannot_be_found_by_its_place_is_missed() {
    let (home, runs) = scene();
    let run = &runs[1];
    let journal = home.open();
    // The last event is there, and its place leads nowhere: so it is when a bit of an index is another one.
    sql(&home, &format!("UPDATE events SET seq = 9 WHERE chain = '{run}' AND seq = 4"));
    let missing = Finding { chain: run.to_string(), seq: 4, what: Flaw::Missing };
    sql(&home, &format!("DELETE FROM events WHERE chain = '{run}' AND seq = 9"));
    assert_eq!(journal.entries(run, 0, 99), Err(JournalError::Unreadable(missing.clone())));
    assert_eq!(journal.entries(run, 0, 3).unwrap().len(), 3);
    assert_eq!(journal.entries(run, 3, 99), Err(JournalError::Unreadable(missing.clone())));
    let refused = append(&journal, run, durable(9_000, sealed()));
    assert_eq!(refused, Err(JournalError::Unreadable(missing)), "nothing is put in its place");
    append(&journal, &runs[3], durable(9_000, sealed())).unwrap();
}

#[test]
fn a_row_of_another_type_ends_its_chain_only() {
    let (home, runs) = scene();
    let journal = home.open();
    for change in ["seq = 'last'", "hash = 'text'", "body = 7"] {
        let run = &runs[1];
        let at = format!("WHERE chain = '{run}' AND id = (SELECT max(id) FROM events WHERE chain = '{run}')");
        sql(&home, &format!("CREATE TABLE held AS SELECT * FROM events {at}; UPDATE events SET {change} {at}"));
        assert!(matches!(journal.entries(run, 0, 99), Err(JournalError::Unreadable(_))), "{change}");
        assert!(
            matches!(append(&journal, run, durable(9_000, sealed())), Err(JournalError::Unreadable(_))),
            "{change}"
        );
        append(&journal, &runs[3], durable(9_000, sealed())).unwrap();
        let back =
            "UPDATE events SET (seq, body, hash) = (SELECT seq, body, hash FROM held) WHERE id = (SELECT id FROM held)";
        sql(&home, &format!("{back}; DROP TABLE held"));
    }
    let conn: Connection = home.sql();
    conn.execute("UPDATE components SET ids = 'no id'", []).unwrap();
    conn.execute("UPDATE policies SET text = CAST(x'ff' AS TEXT)", []).unwrap();
    let (component, policy) = (component("wasm").digest, policy("default: DENY").digest);
    assert_eq!(journal.component(&component), Err(JournalError::Changed { digest: component }));
    assert_eq!(journal.policy(&policy), Err(JournalError::Changed { digest: policy }));
}
