//! Verifying, and reading what was tampered with.

use std::fs;

use serde_json::json;

use crate::project::{COMPLETED, PAUSED, Project, ROLLED_BACK};

#[test]
fn a_journal_as_it_was_written_is_whole() {
    let project = Project::new();
    project.run(3, ROLLED_BACK);
    let said = project.ends(0, &["audit", "verify"]);
    assert!(said.stdout.contains("is as it was written\nverified: 2 chains, "), "{}", said.stdout);
    let report = project.json(0, &["audit", "verify"]);
    assert_eq!((&report["whole"], &report["findings"]), (&json!(true), &json!([])));
    assert!(report["head"]["hash"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn what_was_changed_is_found_with_its_place() {
    // What is done behind the journal's back, and the event at which that is found.
    let named = "SELECT max(digest) FROM payloads WHERE bytes != CAST('{}' AS BLOB)";
    let names = format!(
        "SELECT min(seq) FROM events WHERE chain = 'RUN' AND instr(CAST(body AS TEXT), lower(hex(({named})))) > 0"
    );
    let changes = [
        (
            "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'agent:demo', 'agent:mode') AS BLOB) WHERE chain = 'RUN' AND seq = 1".to_owned(),
            "SELECT 1",
        ),
        ("UPDATE events SET hash = zeroblob(32) WHERE chain = 'RUN' AND seq = 3".to_owned(), "SELECT 3"),
        ("DELETE FROM events WHERE chain = 'RUN' AND seq = 4".to_owned(), "SELECT 4"),
        (
            "UPDATE events SET seq = -1 WHERE chain = 'RUN' AND seq = 2; \
             UPDATE events SET seq = 2 WHERE chain = 'RUN' AND seq = 3; \
             UPDATE events SET seq = 3 WHERE chain = 'RUN' AND seq = -1".to_owned(),
            "SELECT 2",
        ),
        (format!("UPDATE payloads SET bytes = CAST('{{}}' AS BLOB) WHERE digest = ({named})"), &*names),
        ("UPDATE runs SET workflow = 'other' WHERE run = 'RUN'".to_owned(), ""),
        ("UPDATE runs SET state = 'COMPLETED' WHERE run = 'RUN'".to_owned(), ""),
        ("UPDATE runs SET due = 9 WHERE run = 'RUN'".to_owned(), ""),
    ];
    let whole = Project::new();
    let run = whole.run(3, ROLLED_BACK);
    drop(whole.database());
    let bytes = fs::read(whole.journal_file()).unwrap();
    for (sql, seq) in changes {
        fs::write(whole.journal_file(), &bytes).unwrap();
        let seq = (!seq.is_empty()).then(|| {
            let found = whole.database().query_row(&seq.replace("RUN", &run), [], |row| row.get::<_, Option<i64>>(0));
            found.unwrap().unwrap_or_else(|| panic!("no event for: {sql}"))
        });
        for statement in sql.replace("RUN", &run).split("; ") {
            whole.tamper(statement);
        }
        let report = whole.json(5, &["audit", "verify"]);
        assert_eq!((&report["schema"], &report["whole"]), (&json!(1), &json!(false)), "{sql}");
        let found = &report["findings"][0];
        assert_eq!(found["chain"], json!(run), "{sql}\n{report}");
        if let Some(seq) = seq {
            assert_eq!(found["seq"], json!(seq), "{sql}\n{report}");
        }
        let said = whole.ends(5, &["audit", "verify"]);
        assert!(said.stdout.contains(&format!("of chain \"{run}\": ")), "{}", said.stdout);
        assert!(said.stdout.contains("was changed"), "{}", said.stdout);
    }
}

#[test]
fn a_paused_run_whose_row_says_that_it_is_due_at_another_time_is_found() {
    let project = Project::new();
    let run = project.run(4, PAUSED);
    let due: i64 = project.database().query_row("SELECT due FROM runs", [], |row| row.get(0)).unwrap();
    let said = |exit: i32| project.ends(exit, &["audit", "verify"]).stdout;
    said(0);
    for (other, found) in [("due + 1", true), ("0", true), ("NULL", false), (&due.to_string(), false)] {
        project.tamper(&format!("UPDATE runs SET due = {other}"));
        let said = said(if found { 5 } else { 0 });
        let expected = format!("of chain \"{run}\": its row says that it can move at ");
        assert_eq!(said.contains(&expected), found, "{other}: {said}");
    }
}

#[test]
fn a_run_that_was_dropped_whole_is_missed() {
    let project = Project::new();
    let run = project.run(0, COMPLETED);
    project.run(3, ROLLED_BACK);
    let conn = project.database();
    conn.execute("DELETE FROM events WHERE chain = ?", [&run]).unwrap();
    conn.execute("DELETE FROM runs WHERE run = ?", [&run]).unwrap();
    drop(conn);
    let report = project.json(5, &["audit", "verify"]);
    assert_eq!(report["findings"][0]["chain"], json!(run));
}

#[test]
fn one_run_that_cannot_be_read_does_not_hide_the_others() {
    let project = Project::new();
    let (good, bad) = (project.run(4, PAUSED), project.run(3, ROLLED_BACK));
    project.tamper(&format!("UPDATE events SET hash = zeroblob(32) WHERE chain = '{bad}' AND seq = 2"));
    let listed = project.ends(0, &["runs"]).stdout;
    assert!(listed.contains(&good) && listed.contains(&bad) && listed.contains("    unreadable: \""), "{listed}");
    let said = project.ends(1, &["show", &bad]);
    assert!(said.stderr.contains("event 2 of chain") && said.stderr.contains("audit verify"), "{}", said.stderr);
    assert!(project.ends(0, &["approvals"]).stdout.contains(&good));
}

#[test]
fn a_database_that_is_damaged_is_found_and_not_an_error() {
    let project = Project::new();
    project.run(0, COMPLETED);
    let conn = project.database();
    let sql = "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 3 WHERE name = 'runs_by_state';";
    conn.execute_batch(sql).unwrap();
    drop(conn);
    let report = project.json(5, &["audit", "verify"]);
    assert_eq!(report["findings"][0]["chain"], json!("database"), "{report}");
}
