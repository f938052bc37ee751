use redress::journal::{Finding, Flaw, Journal, SqliteJournal};
use redress::saga::RunState;
use redress::types::RunId;
use rusqlite::{Connection, params};

use crate::support::*;

/// A journal with two runs, one of them closed, and a connection past it.
fn scene() -> (Home, SqliteJournal, Connection, RunId, RunId) {
    let home = Home::new();
    let journal = home.open();
    let (run, other) = (create(&journal, 1), create(&journal, 2));
    let saved = payload("undo record");
    append(&journal, &run, durable(2_000, undo(&saved)).with_payloads(vec![saved])).unwrap();
    append(&journal, &run, durable(3_000, vote("yes"))).unwrap();
    append(&journal, &run, durable(4_000, sealed())).unwrap();
    append(&journal, &other, durable(4_000, sealed())).unwrap();
    let close = durable(5_000, closed()).with_summary(summary(RunState::Completed));
    append(&journal, &run, close).unwrap();
    let conn = home.sql();
    (home, journal, conn, run, other)
}

fn findings(journal: &SqliteJournal) -> Vec<Finding> {
    journal.verify().unwrap().findings
}

fn places(journal: &SqliteJournal) -> Vec<(String, u64)> {
    findings(journal).into_iter().map(|finding| (finding.chain, finding.seq)).collect()
}

/// What one run of `tamper` makes verify find, and what it finds once everything is as before.
fn tampered<T>(journal: &SqliteJournal, conn: &Connection, tamper: &str, look: impl Fn(&SqliteJournal) -> T) -> T {
    let save = "CREATE TEMP TABLE saved_events AS SELECT * FROM events;
                CREATE TEMP TABLE saved_runs AS SELECT * FROM runs;
                CREATE TEMP TABLE saved_payloads AS SELECT * FROM payloads;";
    let restore = "DELETE FROM events; INSERT INTO events SELECT * FROM saved_events; DROP TABLE saved_events;
                   DELETE FROM runs; INSERT INTO runs SELECT * FROM saved_runs; DROP TABLE saved_runs;
                   DELETE FROM payloads; INSERT INTO payloads SELECT * FROM saved_payloads; DROP TABLE saved_payloads;";
    conn.execute_batch(save).unwrap();
    conn.execute_batch(tamper).unwrap();
    let found = look(journal);
    conn.execute_batch(restore).unwrap();
    assert_eq!(findings(journal), [], "after: {tamper}");
    found
}

#[test]
fn an_untouched_journal_has_no_findings_and_is_counted() {
    let (_home, journal, ..) = scene();
    let verified = journal.verify().unwrap();
    assert_eq!((verified.chains, verified.events, verified.payloads), (3, 6 + 3 + 7, 5));
    assert_eq!(verified.head.unwrap().0, 7);
    assert_eq!(verified.findings, []);
}

#[test]
fn every_changed_byte_of_every_event_and_hash_is_found_where_it_is() {
    let (_home, journal, conn, ..) = scene();
    let mut rows = conn.prepare("SELECT id, chain, seq, body, hash FROM events").unwrap();
    type Stored = (i64, String, u64, Vec<u8>, Vec<u8>);
    let rows: Vec<Stored> = rows
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.try_into().unwrap(), row.get(3)?, row.get(4)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 16);
    let mut changes = 0;
    for (id, chain, seq, body, hash) in rows {
        for (column, bytes) in [("body", body), ("hash", hash)] {
            let sql = format!("UPDATE events SET {column} = ? WHERE id = ?");
            // Each third byte of the bodies, beginning somewhere else in each event; every byte of the hashes.
            let (first, step) = if column == "body" { (usize::try_from(id).unwrap() % 3, 3) } else { (0, 1) };
            for place in (first..bytes.len()).step_by(step) {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << (place % 8);
                conn.execute(&sql, params![changed, id]).unwrap();
                let found = findings(&journal);
                assert!(
                    found.iter().any(|f| f.chain == chain && f.seq == seq),
                    "{column} byte {place} of event {seq} of {chain}: {found:?}"
                );
                changes += 1;
            }
            conn.execute(&sql, params![bytes, id]).unwrap();
        }
    }
    assert!(changes > 1_000, "{changes}");
    assert_eq!(findings(&journal), []);
}

#[test]
fn every_changed_byte_of_a_payload_and_its_salt_is_found_at_its_event() {
    let (_home, journal, conn, run, _) = scene();
    let digest = payload("undo record").reference().digest;
    for column in ["bytes", "salt"] {
        let ask = format!("SELECT {column} FROM payloads WHERE digest = ?");
        let bytes: Vec<u8> = conn.query_row(&ask, [digest.0], |row| row.get(0)).unwrap();
        let sql = format!("UPDATE payloads SET {column} = ? WHERE digest = ?");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x80;
            conn.execute(&sql, params![changed, digest.0]).unwrap();
            let expected = Finding { chain: run.to_string(), seq: 3, what: Flaw::PayloadChanged(digest) };
            assert_eq!(findings(&journal), [expected]);
        }
        conn.execute(&sql, params![bytes, digest.0]).unwrap();
    }
    for (erased, what) in [("NULL", Flaw::PayloadChanged(digest)), ("9000", Flaw::PayloadErased(digest))] {
        let sql = format!("UPDATE payloads SET bytes = NULL, erased = {erased} WHERE digest = ?");
        conn.execute(&sql, [digest.0]).unwrap();
        assert_eq!(findings(&journal), [Finding { chain: run.to_string(), seq: 3, what }]);
    }
    conn.execute("DELETE FROM payloads WHERE digest = ?", [digest.0]).unwrap();
    let expected = Finding { chain: run.to_string(), seq: 3, what: Flaw::PayloadMissing(digest) };
    assert_eq!(findings(&journal), [expected]);
}

#[test]
fn every_removed_event_is_found() {
    let (_home, journal, conn, run, other) = scene();
    for (chain, last) in [(run.as_str(), 6), (other.as_str(), 3), ("system", 7)] {
        for seq in 1..=last {
            let remove = format!("DELETE FROM events WHERE chain = '{chain}' AND seq = {seq}");
            let found = tampered(&journal, &conn, &remove, places);
            if (chain, seq) == ("system", 7) {
                // The file ends before what was written, and nothing is stated by the key that was added.
                assert_eq!(found, [("database".to_owned(), 0), ("system".to_owned(), 6)]);
            } else {
                assert!(found.contains(&(chain.to_owned(), seq)), "{chain} {seq}: {found:?}");
            }
        }
    }
}

#[test]
fn every_swap_of_two_events_is_found_at_the_first_of_them() {
    let (_home, journal, conn, run, _) = scene();
    let (ids, both) = ("id", "body, hash");
    for one in 1..=5 {
        for two in one + 1..=6 {
            let at = |seq: u64| format!("chain = '{run}' AND seq = {seq}");
            let swap_seq = format!(
                "UPDATE events SET seq = 1000 WHERE {}; UPDATE events SET seq = {one} WHERE {};
                 UPDATE events SET seq = {two} WHERE {};",
                at(one),
                at(two),
                at(1000)
            );
            let swap_bytes = format!(
                "CREATE TEMP TABLE held AS SELECT {both} FROM events WHERE {};
                 UPDATE events SET ({both}) = (SELECT {both} FROM events WHERE {}) WHERE {};
                 UPDATE events SET ({both}) = (SELECT {both} FROM held) WHERE {}; DROP TABLE held",
                at(one),
                at(two),
                at(one),
                at(two)
            );
            for swap in [swap_seq, swap_bytes] {
                assert_eq!(tampered(&journal, &conn, &swap, places), [(run.to_string(), one)], "{swap}");
            }
            let swap_order = format!(
                "CREATE TEMP TABLE held AS SELECT {ids} FROM events WHERE {};
                 CREATE TEMP TABLE held2 AS SELECT {ids} FROM events WHERE {};
                 UPDATE events SET id = -1 WHERE {};
                 UPDATE events SET id = (SELECT id FROM held) WHERE {};
                 UPDATE events SET id = (SELECT id FROM held2) WHERE {}; DROP TABLE held; DROP TABLE held2",
                at(one),
                at(two),
                at(one),
                at(two),
                at(one)
            );
            let found = tampered(&journal, &conn, &swap_order, findings);
            assert!(matches!(found[..], [Finding { seq, what: Flaw::Order, .. }] if seq == one + 1), "{found:?}");
        }
    }
}

#[test]
fn a_dropped_run_is_found_from_the_system_chain() {
    let (_home, journal, conn, run, other) = scene();
    for run in [run, other] {
        let drop_it = format!(
            "DELETE FROM events WHERE chain = '{run}'; DELETE FROM runs WHERE run = '{run}';
             DELETE FROM payloads WHERE run = '{run}'"
        );
        let expected = Finding { chain: run.to_string(), seq: 1, what: Flaw::Missing };
        assert_eq!(tampered(&journal, &conn, &drop_it, findings), [expected]);
    }
}

#[test]
fn a_cut_tail_is_found_where_it_was_cut() {
    let (_home, journal, conn, run, other) = scene();
    for keep in 0..6 {
        let cut = format!("DELETE FROM events WHERE chain = '{run}' AND seq > {keep}");
        assert_eq!(tampered(&journal, &conn, &cut, places), [(run.to_string(), keep + 1)]);
    }
    let forget_row = format!("DELETE FROM runs WHERE run = '{other}'");
    let expected = Finding { chain: other.to_string(), seq: 0, what: Flaw::NoRow };
    assert_eq!(tampered(&journal, &conn, &forget_row, findings), [expected]);
    let cut_all = "DELETE FROM events WHERE chain = 'system'";
    let found = tampered(&journal, &conn, cut_all, findings);
    let unrecorded = |run: &RunId| Finding { chain: run.to_string(), seq: 2, what: Flaw::Unrecorded };
    let end = Finding { chain: "database".into(), seq: 0, what: Flaw::End { found: 13, known: 16 } };
    let unnamed = Finding { chain: "system".into(), seq: 0, what: Flaw::Unnamed(component("wasm").digest) };
    assert_eq!(found, [unrecorded(&run), unrecorded(&other), end, unnamed]);
}

#[test]
fn a_chain_that_was_written_anew_is_found_against_its_recorded_heads() {
    let (home, journal, conn, run, _) = scene();
    let forged = Home::new();
    let other = forged.open();
    let mut new = new_run(1);
    new.submitted.name = "innocent".into();
    other.create_run(new).wait().unwrap();
    drop(other);
    let attach = format!("ATTACH '{}' AS forged", forged.path().display());
    conn.execute_batch(&attach).unwrap();
    let replace = format!(
        "DELETE FROM main.events WHERE chain = '{run}'; DELETE FROM main.runs WHERE run = '{run}';
         INSERT INTO main.events (chain, seq, body, hash) SELECT chain, seq, body, hash FROM forged.events WHERE chain = '{run}';
         INSERT INTO main.runs SELECT 100, run, workflow, principal, state, submitted, closed, run_key, epoch, owner, seq, head, due
         FROM forged.runs"
    );
    let found = tampered(&journal, &conn, &replace, findings);
    assert_eq!(found, [Finding { chain: run.to_string(), seq: 2, what: Flaw::Head(3) }]);
    drop(home);
}

#[test]
fn a_row_that_does_not_follow_from_its_chain_is_found() {
    let (_home, journal, conn, run, _) = scene();
    for (column, value) in [
        ("seq", "5"),
        ("head", "zeroblob(32)"),
        ("epoch", "2"),
        ("owner", "'me'"),
        ("workflow", "'other'"),
        ("principal", "'user:bob'"),
        ("submitted", "1"),
        ("closed", "NULL"),
        ("run_key", "'k'"),
    ] {
        let change = format!("UPDATE runs SET {column} = {value} WHERE run = '{run}'");
        let found = tampered(&journal, &conn, &change, findings);
        assert_eq!(found, [Finding { chain: run.to_string(), seq: 0, what: Flaw::Row(column) }]);
    }
    let longer = format!("UPDATE runs SET seq = 9 WHERE run = '{run}'");
    let expected = Finding { chain: run.to_string(), seq: 7, what: Flaw::Missing };
    assert_eq!(tampered(&journal, &conn, &longer, findings), [expected]);
}

#[test]
fn chains_and_kept_bytes_that_do_not_belong_are_found() {
    let (_home, journal, conn, run, _) = scene();
    let stranger = "INSERT INTO events (chain, seq, body, hash) VALUES ('stranger', 1, x'00', x'00')";
    let expected = Finding { chain: "stranger".into(), seq: 0, what: Flaw::Chain };
    assert_eq!(tampered(&journal, &conn, stranger, findings), std::slice::from_ref(&expected));
    assert_eq!(expected.to_string(), "chain `stranger`: there is no such kind of chain");
    let types = format!("UPDATE events SET body = CAST(body AS TEXT), hash = 'x' WHERE chain = '{run}' AND seq = 4");
    assert_eq!(tampered(&journal, &conn, &types, places), [(run.to_string(), 4)]);
    let number = format!("UPDATE events SET seq = 'x' WHERE chain = '{run}' AND seq = 6");
    assert_eq!(tampered(&journal, &conn, &number, places), [(run.to_string(), 6)]);
    let digest = component("wasm").digest;
    for change in
        ["UPDATE components SET bytes = x'00'", "UPDATE components SET bytes = NULL", "DELETE FROM components"]
    {
        conn.execute_batch(change).unwrap();
        let expected = Finding { chain: "system".into(), seq: 1, what: Flaw::KeptChanged(digest) };
        assert_eq!(findings(&journal), [expected], "{change}");
    }
}

#[test]
fn verifying_goes_on_while_others_write() {
    let (home, journal, _conn, _, other) = scene();
    let reader = home.open();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 0..200 {
                append(&journal, &other, durable(6_000 + n, sealed())).unwrap();
            }
        });
        while !writing.is_finished() {
            assert_eq!(findings(&reader), []);
        }
    });
    assert_eq!(reader.verify().unwrap().events, 16 + 200);
}

/// The table of runs says where a run is looked for.
#[test]
fn every_word_and_order_of_the_table_of_runs_is_as_it_is_written() {
    let (_home, journal, conn, run, other) = scene();
    for (change, chain) in [
        (format!("UPDATE runs SET state = lower(state) WHERE run = '{run}'"), &run),
        (format!("UPDATE runs SET id = 1000 WHERE run = '{run}'"), &run),
        (format!("UPDATE runs SET id = -5 WHERE run = '{other}'"), &run),
        (format!("UPDATE payloads SET erased = 1 WHERE run = '{run}'"), &run),
    ] {
        let found = tampered(&journal, &conn, &change, places);
        assert!(found.iter().any(|(found, _)| found == chain.as_str()), "{change}: {found:?}");
    }
}
