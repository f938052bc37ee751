use redress::journal::{Finding, Flaw, GENESIS, Journal, JournalError, RunFilter, RunOrder, link};
use redress::saga::RunState;
use redress::types::{Digest, RunId, sha256};
use rusqlite::params;

use crate::support::*;

/// Appends an event past the journal, with a hash that follows.
fn forge(home: &Home, run: &RunId, body: &str) {
    let conn = home.sql();
    let last = "SELECT hash FROM events WHERE chain = ? ORDER BY seq DESC LIMIT 1";
    let previous: [u8; 32] = conn.query_row(last, [run.as_str()], |row| row.get(0)).unwrap();
    let hash = link(&Digest(previous), body.as_bytes());
    let insert =
        "INSERT INTO events (chain, seq, body, hash) SELECT ?1, max(seq) + 1, ?2, ?3 FROM events WHERE chain = ?1";
    conn.execute(insert, params![run.as_str(), body.as_bytes(), hash.0]).unwrap();
}

#[test]
fn an_unknown_kind_makes_only_its_run_unreadable() {
    let home = Home::new();
    let journal = home.open();
    let (run, other) = (create(&journal, 1), create(&journal, 2));
    forge(&home, &run, &format!(r#"{{"at":9000,"chain":"{run}","event":{{"kind":"DREAM"}},"seq":3,"v":1}}"#));
    let JournalError::Unreadable(finding) = journal.entries(&run, 0, 9).unwrap_err() else { panic!() };
    assert_eq!((finding.chain.as_str(), finding.seq), (run.as_str(), 3));
    assert!(matches!(&finding.what, Flaw::Kind { kind, .. } if kind == "DREAM"), "{finding}");
    assert!(finding.to_string().contains(&format!("event 3 of chain `{run}`")), "{finding}");
    assert_eq!(journal.entries(&run, 0, 2).unwrap().len(), 2);
    append(&journal, &other, durable(2_000, sealed())).unwrap();
    assert_eq!(journal.entries(&other, 0, 9).unwrap().len(), 3);
    assert_eq!(journal.runs(&RunFilter::default(), None, 9).unwrap().rows.len(), 2);
    let foreign = append(&journal, &run, durable(9_000, sealed())).unwrap_err();
    assert_eq!(foreign, JournalError::Unreadable(finding.clone()), "its owner learns it and leaves it");
    assert_eq!(journal.verify().unwrap().findings, [finding]);
}

#[test]
fn an_unknown_version_is_named() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    forge(&home, &run, r#"{"v":2}"#);
    let error = journal.entries(&run, 0, 9).unwrap_err();
    assert!(error.to_string().contains("format version 2"), "{error}");
    assert!(error.help().is_some());
}

#[test]
fn a_changed_event_is_never_read() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    append(&journal, &run, durable(2_000, vote("yes"))).unwrap();
    let change =
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'yes', 'not') AS BLOB) WHERE seq = 3 AND chain = ?";
    assert_eq!(home.sql().execute(change, [run.as_str()]).unwrap(), 1);
    for after in 0..3 {
        let JournalError::Unreadable(finding) = journal.entries(&run, after, 9).unwrap_err() else { panic!() };
        assert_eq!((finding.seq, finding.what), (3, Flaw::Hash));
    }
    let JournalError::Unreadable(finding) = journal.entries(&run, 7, 9).unwrap_err() else { panic!() };
    assert_eq!((finding.seq, finding.what), (7, Flaw::Missing));
}

#[test]
fn a_head_that_cannot_be_read_refuses_appends_to_its_run_only() {
    let home = Home::new();
    let journal = home.open();
    let (run, other) = (create(&journal, 1), create(&journal, 2));
    home.sql().execute("UPDATE events SET body = x'00' WHERE seq = 2 AND chain = ?", [run.as_str()]).unwrap();
    assert!(matches!(append(&journal, &run, durable(1, sealed())), Err(JournalError::Unreadable(_))));
    home.sql().execute("UPDATE events SET hash = x'00' WHERE seq = 2 AND chain = ?", [run.as_str()]).unwrap();
    assert!(matches!(append(&journal, &run, durable(1, sealed())), Err(JournalError::Unreadable(_))));
    append(&journal, &other, durable(1, sealed())).unwrap();
}

#[test]
fn a_page_of_a_chain_goes_on_where_the_last_one_ended() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    for n in 0..10 {
        append(&journal, &run, durable(2_000 + n, sealed())).unwrap();
    }
    let mut all = Vec::new();
    loop {
        let page = journal.entries(&run, all.len() as u64, 5).unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert_eq!(all, journal.entries(&run, 0, usize::MAX).unwrap());
    assert_eq!(seqs(&all), (1..=12).collect::<Vec<_>>());
    assert_eq!(journal.entries(&run_id(9), 0, 5).unwrap(), []);
    assert_eq!(journal.head(&run_id(9)).unwrap(), None);
    assert_ne!(journal.run(&run).unwrap().unwrap().head, GENESIS);
    assert_eq!(journal.run(&run_id(9)).unwrap(), None);
}

#[test]
fn a_payload_is_whole_erased_changed_or_missing() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let digest = payload("inputs 1").reference().digest;
    assert_eq!(journal.payload(&digest).unwrap().unwrap().as_ref(), b"inputs 1");
    let conn = home.sql();
    conn.execute("UPDATE payloads SET bytes = x'00' WHERE digest = ?", [digest.0]).unwrap();
    assert_eq!(journal.payload(&digest), Err(JournalError::Changed { digest }));
    conn.execute("UPDATE payloads SET bytes = NULL, salt = NULL WHERE digest = ?", [digest.0]).unwrap();
    assert_eq!(journal.payload(&digest), Err(JournalError::Changed { digest }), "erased without a mark");
    conn.execute("UPDATE payloads SET erased = 9000 WHERE digest = ?", [digest.0]).unwrap();
    assert_eq!(journal.payload(&digest), Ok(None));
    let expected = Finding { chain: run.to_string(), seq: 1, what: Flaw::PayloadErased(digest) };
    assert_eq!(journal.verify().unwrap().findings, [expected]);
    let missing = sha256(b"missing");
    assert_eq!(journal.payload(&missing), Err(JournalError::PayloadMissing { digest: missing }));
    assert_eq!(journal.entries(&run, 0, 9).unwrap().len(), 2);
}

#[test]
fn changed_components_and_policies_are_never_given_out() {
    let home = Home::new();
    let journal = home.open();
    create(&journal, 1);
    home.sql()
        .execute_batch("UPDATE components SET bytes = x'00'; UPDATE policies SET text = 'default: ALLOW'")
        .unwrap();
    let (component, policy) = (component("wasm").digest, policy("default: DENY").digest);
    assert_eq!(journal.component(&component), Err(JournalError::Changed { digest: component }));
    assert_eq!(journal.policy(&policy), Err(JournalError::Changed { digest: policy }));
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_that_says_so() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    home.sql().execute_batch("UPDATE runs SET principal = 'nobody'").unwrap();
    let error = journal.run(&run).unwrap_err();
    assert!(error.to_string().contains("`nobody` is not a principal"), "{error}");
    let findings = journal.verify().unwrap().findings;
    assert_eq!((findings[0].seq, &findings[0].what), (0, &Flaw::Row("form")));
}

#[test]
fn the_version_changes_with_any_commit_of_any_process_and_only_then() {
    let home = Home::new();
    let (mine, theirs) = (home.open(), home.open());
    let run = create(&mine, 1);
    let before = mine.version().unwrap();
    assert_eq!(mine.version().unwrap(), before);
    append(&theirs, &run, by_anyone(2, vote("yes"))).unwrap();
    let between = mine.version().unwrap();
    assert_ne!(between, before);
    append(&mine, &run, durable(1, sealed())).unwrap();
    assert_ne!(mine.version().unwrap(), between);
}

#[test]
fn ten_thousand_runs_are_listed_page_by_page_newest_first() {
    let home = Home::new();
    let journal = home.open();
    let pending: Vec<_> = (0..10_000).map(|n| journal.create_run(new_run(n))).collect();
    for pending in pending {
        pending.wait().unwrap();
    }
    for n in (0..10_000).step_by(100) {
        let append = durable(2_000, closed()).with_summary(summary(RunState::Completed));
        drop(journal.append(&run_id(n), append));
    }
    journal.flush().wait().unwrap();
    let list = |filter: &RunFilter, size: usize| {
        let mut all: Vec<RunId> = Vec::new();
        loop {
            let page = journal.runs(filter, all.last(), size).unwrap().rows;
            if page.is_empty() {
                return all;
            }
            assert!(page.len() <= size);
            all.extend(page.into_iter().map(|row| row.run));
        }
    };
    let newest_first: Vec<RunId> = (0..10_000).rev().map(run_id).collect();
    assert_eq!(list(&RunFilter::default(), 100), newest_first);
    let completed = RunFilter { state: Some(RunState::Completed), ..RunFilter::default() };
    let oldest = RunFilter { order: RunOrder::Oldest, ..RunFilter::default() };
    assert_eq!(list(&oldest, 333), (0..10_000).map(run_id).collect::<Vec<_>>());
    let oldest = RunFilter { order: RunOrder::Oldest, ..completed.clone() };
    assert_eq!(list(&oldest, 7), (0..100).map(|n| run_id(n * 100)).collect::<Vec<_>>());
    assert_eq!(list(&completed, 7), (0..100).rev().map(|n| run_id(n * 100)).collect::<Vec<_>>());
    assert_eq!(list(&RunFilter { closed: Some(false), ..RunFilter::default() }, 999).len(), 9_900);
    let both = RunFilter { state: Some(RunState::Running), closed: Some(true), ..RunFilter::default() };
    assert_eq!(list(&both, 9).len(), 0);
}
