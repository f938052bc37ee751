//! Whatever somebody does to a journal is found, with its place, against checkpoints that are kept elsewhere; and what an
//! operator takes out of it is never called that. `REDRESS_TAMPERINGS=10000` tries that many of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use redress::engine::Auditor;
use redress::journal::{
    By, Checkpoint, Finding, Flaw, Held, Journal, JournalError, Maintenance, Options, Retention, SqliteJournal,
    SystemEvent, link,
};
use redress::saga::RunState;
use redress::types::{Digest, Duration, Principal, RunId, Timestamp, canonical_bytes, sha256};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{ALLOW, World, is};

const DAY: u64 = 86_400_000;

/// A journal with runs that ended in many ways, as bytes, and what somebody keeps elsewhere.
struct Scene {
    /// As it is.
    now: Vec<u8>,
    /// As it was earlier, and with fewer runs.
    earlier: Vec<u8>,
    key: String,
    /// All checkpoints of it.
    held: Vec<Checkpoint>,
    runs: Vec<RunId>,
    /// The runs that go on.
    open: Vec<RunId>,
    at: Timestamp,
}

const THREE: &str = "name: three\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /work/a, content: one } }\n  \
    - { name: b, capability: io.fs.write_file, inputs: { path: /work/b, content: two } }\n  \
    - { name: c, capability: data.hash, inputs: { content: three } }\n";
const FAILS: &str = "name: fails\nsteps:\n  - { name: a, capability: io.fs.make_dir, inputs: { path: /work/d } }\n  \
    - { name: b, capability: test.count, inputs: { path: /work/n, fail_times: 9 } }\n";
const ASKS: &str = "name: asks\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /work/x, content: x } }\n  \
    - { name: b, capability: test.count, risk_level: HIGH, inputs: { path: /work/m } }\n";

async fn scene() -> Scene {
    let world = World::new(&ALLOW.replace("    accept_risk: HIGH\n", ""));
    is(&world.run(THREE).await, RunState::Completed);
    let paused = world.run(ASKS).await;
    is(&paused, RunState::Paused);
    let path = world.journal.path().to_owned();
    let copy = |to: &Path| {
        world.journal.backup(to).unwrap();
        let bytes = as_journal(to);
        fs::remove_file(to).unwrap();
        bytes
    };
    let beside = world.dir.path().join("copy.db");
    is(&world.run(FAILS).await, RunState::RolledBack);
    let earlier = copy(&beside);
    world.vote(&paused.run, "b", "user:alice", true).unwrap();
    is(&world.resume(&paused.run).await, RunState::Completed);
    let open = world.run(&ASKS.replace("/work/x", "/work/y").replace("/work/m", "/work/o")).await;
    is(&open, RunState::Paused);
    is(&world.run(&THREE.replace("one", "four")).await, RunState::Completed);
    let held = checkpoints(&world.journal);
    let runs = ["three", "fails", "asks"].len() + 2;
    let rows = world.journal.runs(&Default::default(), None, 10).unwrap().rows;
    assert_eq!(rows.len(), runs);
    let last = rows.iter().map(|row| row.submitted).max().unwrap();
    Scene {
        now: copy(&beside),
        earlier,
        key: fs::read_to_string(path.with_file_name("checkpoint.key")).unwrap(),
        held,
        runs: rows.into_iter().map(|row| row.run).collect(),
        open: vec![open.run],
        at: last,
    }
}

/// The bytes of a backup that says of itself that it is the journal.
fn as_journal(backup: &Path) -> Vec<u8> {
    let conn = Connection::open(backup).unwrap();
    conn.execute_batch("PRAGMA application_id = 0x52445253; PRAGMA journal_mode = DELETE").unwrap();
    drop(conn);
    fs::read(backup).unwrap()
}

fn checkpoints(journal: &SqliteJournal) -> Vec<Checkpoint> {
    let events = journal.system_entries(0, usize::MAX).unwrap();
    let found = events.into_iter().filter_map(|entry| match entry.event {
        SystemEvent::Checkpoint(checkpoint) => Some(checkpoint),
        _ => None,
    });
    // As they come back from where they are kept.
    found.map(|checkpoint| Checkpoint::from_line(&checkpoint.to_line().unwrap()).unwrap()).collect()
}

struct Copy {
    dir: TempDir,
}

impl Copy {
    fn of(bytes: &[u8], key: &str) -> Copy {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("journal.db"), bytes).unwrap();
        let file = dir.path().join("checkpoint.key");
        fs::write(&file, key).unwrap();
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Copy { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal.db")
    }

    fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn findings(&self, held: &[Checkpoint]) -> Vec<Finding> {
        self.against(Held { checkpoints: held, key: None })
    }

    fn against(&self, held: Held<'_>) -> Vec<Finding> {
        let journal = SqliteJournal::open_read_only(&self.path(), Options::default()).unwrap();
        journal.verify_with(held, &mut Auditor::new(&journal)).unwrap().findings
    }
}

/// One event as it is stored.
struct Row {
    id: i64,
    chain: String,
    seq: u64,
    body: Vec<u8>,
}

fn rows(conn: &Connection) -> Vec<Row> {
    let mut statement = conn.prepare("SELECT id, chain, seq, body FROM events ORDER BY id").unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row { id: row.get(0)?, chain: row.get(1)?, seq: row.get::<_, i64>(2)?.unsigned_abs(), body: row.get(3)? })
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn key_of(pem: &str) -> Ed25519KeyPair {
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::prelude::BASE64_STANDARD.decode(der).unwrap();
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap()
}

fn public(key: &Ed25519KeyPair) -> Value {
    json!(format!("ed25519:{}", base64::prelude::BASE64_STANDARD.encode(key.public_key())))
}

/// A key of somebody else.
fn foreign() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn signed(key: &Ed25519KeyPair, statement: &Value) -> Value {
    json!(base64::prelude::BASE64_STANDARD.encode(key.sign(&canonical_bytes(statement).unwrap())))
}

/// What the owner of the machine can do, who has the key: every chain is written anew, with hashes, recorded heads, statements and
/// signatures that follow. With another key, what anybody else can do.
fn write_anew(conn: &Connection, key: &Ed25519KeyPair) {
    let mut ends: BTreeMap<String, (u64, Digest)> = BTreeMap::new();
    let mut hashes: BTreeMap<(String, u64), Digest> = BTreeMap::new();
    let mut previous: Option<(u64, Digest)> = None;
    for row in rows(conn) {
        let (seq, before) = ends.get(&row.chain).copied().unwrap_or((0, Digest([0; 32])));
        let seq = seq + 1;
        let mut body: Value = serde_json::from_slice(&row.body).unwrap();
        body["seq"] = json!(seq);
        let event = &mut body["event"];
        let at_of = |run: &Value, seq: &Value| hashes.get(&(run.as_str().unwrap().to_owned(), seq.as_u64().unwrap()));
        if event["kind"] == "RUN_HEAD"
            && let Some(hash) = at_of(&event["run"], &event["seq"])
        {
            event["hash"] = json!(hash);
        }
        if event["kind"] == "KEY_ADDED" {
            event["key"] = public(key);
        }
        if event["kind"] == "CHECKPOINT" {
            event["statement"]["key"] = public(key);
            let statement = &mut event["statement"];
            statement["system"] = json!({ "seq": seq - 1, "hash": before });
            statement["number"] = json!(previous.map_or(1, |(number, _)| number + 1));
            statement["events"] = json!(row.id - 1);
            match previous {
                Some((_, digest)) => statement["previous"] = json!(digest),
                None => drop(statement.as_object_mut().unwrap().remove("previous")),
            }
            let runs = statement["runs"].as_array_mut().unwrap();
            runs.retain(|head| hashes.contains_key(&(head["run"].as_str().unwrap().to_owned(), 1)));
            for head in runs {
                if let Some(hash) = at_of(&head["run"], &head["seq"]) {
                    head["hash"] = json!(hash);
                }
            }
            let bytes = canonical_bytes(statement).unwrap();
            previous = Some((statement["number"].as_u64().unwrap(), sha256(&bytes)));
            event["signature"] = signed(key, statement);
        }
        let bytes = canonical_bytes(&body).unwrap();
        let hash = link(&before, &bytes);
        let seq_in_row = i64::try_from(seq).unwrap();
        conn.execute(
            "UPDATE events SET seq = -seq WHERE chain = ? AND seq = ? AND id <> ?",
            params![row.chain, seq_in_row, row.id],
        )
        .unwrap();
        conn.execute(
            "UPDATE events SET seq = ?, body = ?, hash = ? WHERE id = ?",
            params![seq_in_row, bytes, hash.0, row.id],
        )
        .unwrap();
        hashes.insert((row.chain.clone(), seq), hash);
        ends.insert(row.chain, (seq, hash));
    }
    for (chain, (seq, hash)) in ends {
        conn.execute(
            "UPDATE runs SET seq = ?, head = ? WHERE run = ?",
            params![i64::try_from(seq).unwrap(), hash.0, chain],
        )
        .unwrap();
    }
}

/// Appends to the system chain what follows on it, as anybody can who knows how hashes are made.
fn append_to_system(conn: &Connection, event: &Value) -> u64 {
    let last = rows(conn).into_iter().rfind(|row| row.chain == "system").unwrap();
    let at: Value = serde_json::from_slice(&last.body).unwrap();
    let body = json!({ "at": at["at"], "chain": "system", "event": event, "seq": last.seq + 1, "v": 1 });
    let bytes = canonical_bytes(&body).unwrap();
    let hash = link(&Digest(hash_of(conn, "system", last.seq)), &bytes);
    let seq = i64::try_from(last.seq + 1).unwrap();
    conn.execute("INSERT INTO events (chain, seq, body, hash) VALUES ('system', ?, ?, ?)", params![seq, bytes, hash.0])
        .unwrap();
    last.seq + 1
}

/// A payload is erased, and somebody who has no key writes that it was redacted.
fn erase_and_say_so(conn: &Connection, random: &mut fastrand::Rng) -> u64 {
    let mut statement = conn.prepare("SELECT digest, run FROM payloads ORDER BY digest").unwrap();
    let all: Vec<([u8; 32], String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let (digest, run) = &all[random.usize(..all.len())];
    conn.execute("UPDATE payloads SET salt = NULL, bytes = NULL, erased = 1 WHERE digest = ?", [digest]).unwrap();
    let event = json!({ "kind": "ERASED", "run": run, "why": "expired", "payloads": [Digest(*digest)] });
    append_to_system(conn, &event)
}

/// What somebody does, and where that must be found: a chain, and the first event at which it can be.
fn tamper(scene: &Scene, other: &Scene, copy: &Copy, kind: usize, random: &mut fastrand::Rng) -> (String, u64) {
    let conn = copy.sql();
    let all = rows(&conn);
    let some = |random: &mut fastrand::Rng| all.get(random.usize(..all.len())).unwrap();
    let run = |random: &mut fastrand::Rng| scene.runs[random.usize(..scene.runs.len())].to_string();
    match kind {
        // A byte of an event is another one.
        0 => {
            let row = some(random);
            let mut body = row.body.clone();
            let place = random.usize(..body.len());
            body[place] ^= 1 << random.u8(..8);
            conn.execute("UPDATE events SET body = ? WHERE id = ?", params![body, row.id]).unwrap();
            (row.chain.clone(), row.seq)
        }
        // An event is gone.
        1 => {
            let row = some(random);
            conn.execute("DELETE FROM events WHERE id = ?", [row.id]).unwrap();
            (row.chain.clone(), row.seq)
        }
        // Two events of one chain stand in each other's place.
        2 => loop {
            let (one, two) = (some(random), some(random));
            if one.chain == two.chain && one.seq < two.seq {
                let sql =
                    "UPDATE events SET (body, hash) = (SELECT body, hash FROM events WHERE id = ?2) WHERE id = ?1";
                let hash: Vec<u8> =
                    conn.query_row("SELECT hash FROM events WHERE id = ?", [one.id], |row| row.get(0)).unwrap();
                conn.execute(sql, [one.id, two.id]).unwrap();
                let put = "UPDATE events SET body = ?, hash = ? WHERE id = ?";
                conn.execute(put, params![one.body, hash, two.id]).unwrap();
                break (one.chain.clone(), one.seq);
            }
        },
        // A chain ends earlier.
        3 => {
            let row = some(random);
            let cut = "DELETE FROM events WHERE chain = ? AND seq >= ?";
            conn.execute(cut, params![row.chain, i64::try_from(row.seq).unwrap()]).unwrap();
            (row.chain.clone(), row.seq)
        }
        // A run was never there.
        4 => {
            let run = run(random);
            drop_run(&conn, &run);
            (run, 1)
        }
        // A run of another journal is there.
        5 => {
            let run = splice(&conn, other, random);
            (run, 1)
        }
        // An older copy is put back.
        6 => {
            drop(conn);
            fs::write(copy.path(), &scene.earlier).unwrap();
            ("system".to_owned(), 1)
        }
        // A statement says something else, signed by nobody.
        7 => {
            let statements: Vec<&Row> =
                all.iter().filter(|row| row.body.windows(12).any(|w| w == b"\"CHECKPOINT\"")).collect();
            let row = statements[random.usize(..statements.len())];
            let mut body: Value = serde_json::from_slice(&row.body).unwrap();
            body["event"]["statement"]["at"] = json!(random.u32(..));
            let mut before: Digest = Digest(hash_of(&conn, "system", row.seq - 1));
            let edit = "UPDATE events SET body = ?, hash = ? WHERE id = ?";
            for next in all.iter().filter(|next| next.chain == "system" && next.seq >= row.seq) {
                let bytes = if next.seq == row.seq { canonical_bytes(&body).unwrap() } else { next.body.clone() };
                before = link(&before, &bytes);
                conn.execute(edit, params![bytes, before.0, next.id]).unwrap();
            }
            ("system".to_owned(), row.seq)
        }
        // A payload is another one, another's, gone, or one too many.
        8 => payload(&conn, random),
        // The rest: the owner of the machine, who has the key, and writes everything anew. A call used other fuel.
        9 => {
            let (row, mut body) = loop {
                let row = some(random);
                let body: Value = serde_json::from_slice(&row.body).unwrap();
                if body["event"]["kind"] == "RESULT" {
                    break (row, body);
                }
            };
            body["event"]["evidence"]["fuel"] = json!(random.u32(..));
            let bytes = canonical_bytes(&body).unwrap();
            conn.execute("UPDATE events SET body = ? WHERE id = ?", params![bytes, row.id]).unwrap();
            write_anew(&conn, &key_of(&scene.key));
            (row.chain.clone(), row.seq)
        }
        // A run was never there.
        10 => {
            let run = run(random);
            drop_run(&conn, &run);
            for row in all.iter().filter(|row| row.chain == "system") {
                let body: Value = serde_json::from_slice(&row.body).unwrap();
                if body["event"]["kind"] == "RUN_HEAD" && body["event"]["run"] == json!(run) {
                    conn.execute("DELETE FROM events WHERE id = ?", [row.id]).unwrap();
                }
            }
            renumber(&conn);
            write_anew(&conn, &key_of(&scene.key));
            (run, 1)
        }
        // Somebody who has no key takes something out, and writes that it was taken out.
        12 => ("system".to_owned(), erase_and_say_so(&conn, random)),
        13 => {
            let run = loop {
                let run = run(random);
                if run != scene.open[0].as_str() {
                    break run;
                }
            };
            let (seq, head): (i64, [u8; 32]) = conn
                .query_row("SELECT seq, head FROM runs WHERE run = ?", [&run], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            drop_run(&conn, &run);
            let runs = json!([{ "run": run, "seq": seq, "hash": Digest(head) }]);
            let event = json!({ "kind": "PRUNED", "runs": runs, "before": 1, "by": "user:op", "reason": "old" });
            ("system".to_owned(), append_to_system(&conn, &event))
        }
        // The same, who signs it with a key of their own.
        14 => {
            erase_and_say_so(&conn, random);
            let key = foreign();
            let seq = append_to_system(&conn, &json!({ "kind": "KEY_ADDED", "key": public(&key) }));
            let last = rows(&conn);
            let held = &scene.held.last().unwrap().statement;
            let mut statement = serde_json::to_value(held).unwrap();
            statement["number"] = json!(held.number + 1);
            statement["previous"] = json!(held.digest().unwrap());
            statement["key"] = public(&key);
            statement["events"] = json!(last.last().unwrap().id);
            statement["system"] = json!({ "seq": seq, "hash": Digest(hash_of(&conn, "system", seq)) });
            statement["runs"] = json!([]);
            let signature = signed(&key, &statement);
            append_to_system(&conn, &json!({ "kind": "CHECKPOINT", "statement": statement, "signature": signature }));
            ("system".to_owned(), seq)
        }
        // Somebody who has no key writes everything anew, with a key of their own or without any statement.
        15 => {
            write_anew(&conn, &foreign());
            ("system".to_owned(), 0)
        }
        16 => {
            for row in all.iter().filter(|row| row.chain == "system") {
                let body: Value = serde_json::from_slice(&row.body).unwrap();
                if body["event"]["kind"] == "KEY_ADDED" || body["event"]["kind"] == "CHECKPOINT" {
                    conn.execute("DELETE FROM events WHERE id = ?", [row.id]).unwrap();
                }
            }
            renumber(&conn);
            write_anew(&conn, &key_of(&scene.key));
            ("system".to_owned(), 0)
        }
        // The last events of a run that goes on never happened.
        _ => {
            let open = scene.open[0].to_string();
            let last = all.iter().rfind(|row| row.chain == open).unwrap();
            let cut = i64::try_from(random.u64(3..=last.seq)).unwrap();
            conn.execute("DELETE FROM events WHERE chain = ? AND seq >= ?", params![open, cut]).unwrap();
            let kept = rows(&conn);
            let named: Vec<String> = kept
                .iter()
                .filter(|row| row.chain == open)
                .map(|row| String::from_utf8_lossy(&row.body).into_owned())
                .collect();
            let mut digests = conn.prepare("SELECT digest FROM payloads WHERE run = ?").unwrap();
            let digests: Vec<[u8; 32]> =
                digests.query_map([&open], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            for digest in digests {
                if !named.iter().any(|body| body.contains(&Digest(digest).to_string())) {
                    conn.execute("DELETE FROM payloads WHERE digest = ?", [digest]).unwrap();
                }
            }
            conn.execute("UPDATE runs SET state = 'RUNNING', due = NULL WHERE run = ?", [&open]).unwrap();
            for row in kept.iter().filter(|row| row.chain == "system") {
                let mut body: Value = serde_json::from_slice(&row.body).unwrap();
                if body["event"]["kind"] != "CHECKPOINT" {
                    continue;
                }
                for head in body["event"]["statement"]["runs"].as_array_mut().into_iter().flatten() {
                    if head["run"] == json!(open) && head["seq"].as_i64().unwrap() >= cut {
                        head["seq"] = json!(cut - 1);
                    }
                }
                let bytes = canonical_bytes(&body).unwrap();
                conn.execute("UPDATE events SET body = ? WHERE id = ?", params![bytes, row.id]).unwrap();
            }
            renumber(&conn);
            write_anew(&conn, &key_of(&scene.key));
            (open, u64::try_from(cut).unwrap())
        }
    }
}

fn hash_of(conn: &Connection, chain: &str, seq: u64) -> [u8; 32] {
    let sql = "SELECT hash FROM events WHERE chain = ? AND seq = ?";
    conn.query_row(sql, params![chain, i64::try_from(seq).unwrap()], |row| row.get(0)).unwrap()
}

fn drop_run(conn: &Connection, run: &str) {
    for sql in
        ["DELETE FROM events WHERE chain = ?", "DELETE FROM payloads WHERE run = ?", "DELETE FROM runs WHERE run = ?"]
    {
        conn.execute(sql, [run]).unwrap();
    }
}

/// Events have the numbers that they would have if nothing had been taken out.
fn renumber(conn: &Connection) {
    for (index, row) in rows(conn).iter().enumerate() {
        conn.execute("UPDATE events SET id = ? WHERE id = ?", [i64::try_from(index + 1).unwrap(), row.id]).unwrap();
    }
}

fn splice(conn: &Connection, other: &Scene, random: &mut fastrand::Rng) -> String {
    let run = other.runs[random.usize(..other.runs.len())].to_string();
    let beside = Copy::of(&other.now, &other.key);
    conn.execute("ATTACH ? AS other", [beside.path().to_str().unwrap()]).unwrap();
    let columns = "run, workflow, principal, state, submitted, closed, run_key, epoch, owner, seq, head, due";
    conn.execute_batch(&format!(
        "INSERT INTO events (chain, seq, body, hash) SELECT chain, seq, body, hash FROM other.events WHERE chain = '{run}' ORDER BY id;
         INSERT INTO payloads SELECT * FROM other.payloads WHERE run = '{run}';
         INSERT INTO runs ({columns}) SELECT {columns} FROM other.runs WHERE run = '{run}';"
    ))
    .unwrap();
    conn.execute_batch("DETACH other").unwrap();
    run
}

fn payload(conn: &Connection, random: &mut fastrand::Rng) -> (String, u64) {
    let mut statement = conn.prepare("SELECT digest, run FROM payloads").unwrap();
    let all: Vec<([u8; 32], String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let (digest, run) = &all[random.usize(..all.len())];
    let named = format!("%{}%", Digest(*digest));
    let seq = "SELECT min(seq) FROM events WHERE chain = ? AND CAST(body AS TEXT) LIKE ?";
    let seq: i64 = conn.query_row(seq, params![run, named], |row| row.get(0)).unwrap();
    match random.u8(..5) {
        0 => {
            let (other, _) = all.iter().find(|(other, _)| other != digest).unwrap();
            let sql = "UPDATE payloads SET (salt, bytes) = (SELECT salt, bytes FROM payloads WHERE digest = ?2) WHERE digest = ?1";
            conn.execute(sql, params![digest, other]).unwrap();
        }
        1 => drop(conn.execute("DELETE FROM payloads WHERE digest = ?", [digest]).unwrap()),
        2 => {
            let erase = "UPDATE payloads SET salt = NULL, bytes = NULL, erased = 1 WHERE digest = ?";
            conn.execute(erase, [digest]).unwrap();
        }
        3 => {
            let to = all.iter().map(|(_, other)| other).find(|other| *other != run).unwrap();
            conn.execute("UPDATE payloads SET run = ? WHERE digest = ?", params![to, digest]).unwrap();
        }
        _ => {
            let more =
                "INSERT INTO payloads (digest, run, salt, bytes) VALUES (randomblob(32), ?, randomblob(16), x'00')";
            conn.execute(more, [run]).unwrap();
            return (run.clone(), 0);
        }
    }
    (run.clone(), seq.unsigned_abs())
}

fn tries(of: usize) -> usize {
    std::env::var("REDRESS_TAMPERINGS").ok().and_then(|number| number.parse().ok()).unwrap_or(of)
}

fn seed() -> u64 {
    std::env::var("REDRESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

const KINDS: usize = 17;

#[tokio::test]
async fn whatever_somebody_does_to_a_journal_is_found_where_it_was_done() {
    let (scene, other) = (scene().await, scene().await);
    let whole = Copy::of(&scene.now, &scene.key);
    assert_eq!(whole.findings(&scene.held), []);
    for n in 0..tries(20 * KINDS) {
        let seed = seed();
        let (kind, mut random) = (n % KINDS, fastrand::Rng::with_seed(seed));
        let copy = Copy::of(&scene.now, &scene.key);
        let (chain, seq) = tamper(&scene, &other, &copy, kind, &mut random);
        let found = copy.findings(&scene.held);
        let told = || format!("REDRESS_SEED={seed}, kind {kind}, done at {chain} {seq}, found {found:?}");
        match kind {
            // Somebody who writes everything anew is not found within, and is found where the next statement speaks of that chain.
            9..=11 => {
                assert_eq!(copy.findings(&[]), [], "{}", told());
                let at = found.iter().find(|finding| finding.chain == chain).unwrap_or_else(|| panic!("{}", told()));
                let good = match at.what {
                    Flaw::Held { agreed, .. } => agreed.unwrap_or(0) < seq && seq <= at.seq,
                    Flaw::Missing => at.seq == seq,
                    _ => false,
                };
                assert!(good, "{}", told());
            }
            // An older copy is whole, and ends before what somebody else knows.
            6 => {
                assert_eq!(copy.findings(&[]), []);
                let behind = |finding: &Finding| matches!(finding.what, Flaw::Behind { .. });
                assert!(found.iter().any(|finding| finding.chain == chain && behind(finding)), "{}", told());
            }
            // Somebody with another key is found by who knows the right one.
            14..=16 => {
                assert_eq!(copy.findings(&[]), [], "{}", told());
                let found = copy.against(Held { checkpoints: &[], key: Some(scene.held[0].statement.key) });
                let [Finding { what, .. }] = &found[..] else { panic!("{}: {found:?}", told()) };
                let wanted = if kind == 14 { Flaw::Unvouched } else { Flaw::NotTheKey };
                assert!(*what == wanted && found[0].seq == seq, "{}: {found:?}", told());
            }
            5 => assert!(found.iter().any(|finding| finding.chain == chain), "{}", told()),
            _ => {
                // What a statement must follow is told where that is, if the statement is what was cut off.
                let cut = |one: &Finding| matches!(kind, 1 | 3) && one.what == Flaw::NotStated && one.seq + 1 == seq;
                let there = |one: &Finding| one.chain == chain && (one.seq == seq || cut(one));
                assert!(found.iter().any(there), "{}", told());
            }
        }
    }
}

#[tokio::test]
async fn what_an_operator_takes_out_is_on_record_and_never_called_tampering() {
    let scene = scene().await;
    let by = |at: Timestamp| By {
        principal: Principal::parse("user:op").unwrap(),
        reason: "the customer asked for it".to_owned(),
        at,
    };
    let options = Options::default();
    for n in 0..tries(60) {
        let seed = seed();
        let mut random = fastrand::Rng::with_seed(seed);
        let copy = Copy::of(&scene.now, &scene.key);
        let path = copy.path();
        let mut at = scene.at;
        let mut work = Maintenance::open(&path, &options).unwrap();
        for _ in 0..=random.u8(..3) {
            at = at.plus(Duration(random.u64(..9 * DAY)));
            match (n + random.usize(..2)) % 4 {
                0 | 1 => {
                    let run = loop {
                        let run = &scene.runs[random.usize(..scene.runs.len())];
                        if !scene.open.contains(run) {
                            break run;
                        }
                    };
                    let conn = copy.sql();
                    let sql = "SELECT digest FROM payloads WHERE run = ? AND bytes IS NOT NULL";
                    let mut there = conn.prepare(sql).unwrap();
                    let there: Vec<Digest> = there
                        .query_map([run.as_str()], |row| row.get(0).map(Digest))
                        .unwrap()
                        .map(Result::unwrap)
                        .collect();
                    let mut some = conn.prepare("SELECT digest FROM payloads WHERE run = ? AND random() % 2").unwrap();
                    let some: Vec<Digest> = some
                        .query_map([run.as_str()], |row| row.get(0).map(Digest))
                        .unwrap()
                        .map(Result::unwrap)
                        .collect();
                    let still_there: Vec<&Digest> = some.iter().filter(|digest| there.contains(digest)).collect();
                    match work.redact(run, &some, &by(at)) {
                        Ok(erased) => assert_eq!(erased > 0, !still_there.is_empty()),
                        // It was pruned before.
                        error => assert_eq!(error, Err(JournalError::UnknownRun { run: run.clone() })),
                    }
                }
                2 => {
                    let retention = Retention { undo: Some(Duration(random.u64(..DAY))), logs: Some(Duration(DAY)) };
                    work.expire(retention, at).unwrap();
                }
                _ => drop(work.prune(Timestamp(scene.at.0 + random.u64(..2)), &by(at)).unwrap()),
            }
            if random.u8(..4) == 0 {
                work.rotate_key(&by(at)).unwrap();
            }
        }
        work.give_space_back().unwrap();
        drop(work);
        assert_eq!(copy.findings(&scene.held), [], "REDRESS_SEED={seed}, {n}");
    }
}
