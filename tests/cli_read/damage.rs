//! A journal whose files are damaged, incomplete or out of reach, as its user meets it: each is a clear error that says the way
//! out, or recovers; nothing that is whole is hidden.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::project::{COMPLETED, PAUSED, Project, ROLLED_BACK, Said};

const PAGE: usize = 8192;

/// Verbs that read, and one that writes.
const READ: [&[&str]; 4] = [&["runs"], &["show", "latest"], &["approvals"], &["events", "latest"]];
const WRITE: [&[&str]; 3] =
    [&["call", "io.fs.exists", "--input", "path=/workspace"], &["recover"], &["cancel", "latest", "--reason", "r"]];

/// What a verb answers where the journal is damaged.
fn refuses(project: &Project, verb: &[&str], what: &str) -> Value {
    let error = project.json(1, verb)["error"].clone();
    assert_eq!(error["code"], json!("damaged-journal"), "{what}: {verb:?}: {error}");
    let help = error["help"].as_str().unwrap_or_default();
    assert!(help.contains("journal adopt --reason") || help.contains("--journal FILE"), "{what}: {verb:?}: {error}");
    let said = project.ends(1, verb);
    let plain = !["SELECT", "INSERT", "panicked", "PRAGMA"].iter().any(|word| said.stderr.contains(word));
    assert!(plain && said.stderr.starts_with("error: ") && said.stdout.is_empty(), "{what}: {}", said.stderr);
    error
}

fn whole() -> (Project, Vec<u8>) {
    let project = Project::new();
    project.run(0, COMPLETED);
    project.run(3, ROLLED_BACK);
    project.run(4, PAUSED);
    assert!(!project.path(".redress/journal.db-wal").exists(), "it was left cleanly");
    let bytes = fs::read(project.journal_file()).unwrap();
    (project, bytes)
}

#[test]
fn a_truncated_journal_is_refused_by_every_verb_and_left_as_it_is() {
    let (project, whole) = whole();
    for len in [1, 60, 100, PAGE, PAGE * 3, PAGE * 3 + 4_000, whole.len() / 2, whole.len() - 1] {
        fs::write(project.journal_file(), &whole[..len]).unwrap();
        for verb in READ.iter().chain(&WRITE) {
            refuses(&project, verb, &format!("cut to {len}"));
        }
        let report = project.json(5, &["audit", "verify"]);
        assert_eq!(report["findings"][0]["chain"], json!("database"), "cut to {len}: {report}");
        assert_eq!(fs::read(project.journal_file()).unwrap(), whole[..len]);
    }
}

#[test]
fn a_journal_that_was_emptied_is_not_taken_for_one_that_was_never_made() {
    let (project, whole) = whole();
    fs::write(project.journal_file(), "").unwrap();
    for verb in READ.iter().chain(&WRITE) {
        let error = refuses(&project, verb, "emptied");
        assert!(error["message"].as_str().unwrap().contains("it is empty, and "), "{error}");
    }
    assert_eq!(project.json(5, &["audit", "verify"])["findings"][0]["chain"], json!("database"));
    assert_eq!(fs::metadata(project.journal_file()).unwrap().len(), 0);
    fs::write(project.journal_file(), whole).unwrap();
    project.ends(0, &["audit", "verify"]);
    // Whoever means to begin anew moves all of it away.
    for end in ["", "-mark"] {
        fs::remove_file(project.path(&format!(".redress/journal.db{end}"))).unwrap();
    }
    assert_eq!(project.json(2, &["runs"])["error"]["code"], json!("no-journal"));
    project.run(0, COMPLETED);
    assert_eq!(project.json(0, &["runs"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_flipped_bit_never_makes_a_verb_panic_or_list_less() {
    let (project, whole) = whole();
    let before = project.json(0, &["runs"]);
    let mut state = 5_u64;
    for _ in 0..60 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = usize::try_from(state >> 33).unwrap() % (whole.len() * 8);
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(project.journal_file(), changed).unwrap();
        let verified = project.redress(&["audit", "verify", "--json"]);
        assert!([0, 5].contains(&verified.code), "bit {bit}: {}\n{}", verified.code, verified.stderr);
        let listed = project.redress(&["runs", "--json"]);
        if verified.code == 0 {
            assert_eq!((listed.code, listed.json()), (0, before.clone()), "bit {bit}");
            continue;
        }
        match listed.code {
            0 => {
                let all = listed.json().as_array().unwrap().len() == 3;
                assert!(all || listed.stderr.contains("damaged"), "bit {bit}: {}\n{}", listed.stdout, listed.stderr);
            }
            code => assert_eq!((code, &listed.json()["error"]["code"]), (1, &json!("damaged-journal")), "bit {bit}"),
        }
    }
}

#[test]
fn tables_and_headers_that_are_not_a_journals_are_damage_in_plain_words() {
    let (project, whole) = whole();
    for (sql, what) in [
        ("DROP TABLE outbox", "its table `outbox` is missing"),
        ("DROP TABLE runs", "its table `runs` is missing"),
        ("PRAGMA user_version = 0", "its schema version is 0"),
        ("PRAGMA application_id = 1", "has what a journal has"),
    ] {
        fs::write(project.journal_file(), &whole).unwrap();
        project.database().execute_batch(sql).unwrap();
        for verb in READ.iter().chain(&WRITE) {
            let error = refuses(&project, verb, sql);
            assert!(error["message"].as_str().unwrap().contains(what), "{sql}: {error}");
        }
        let report = project.json(5, &["audit", "verify"]);
        assert!(report["findings"][0]["message"].as_str().unwrap().contains(what), "{sql}: {report}");
    }
}

#[test]
fn a_planted_trigger_is_found_and_keeps_everybody_from_writing() {
    let (project, _) = whole();
    let trigger = "CREATE TRIGGER forget AFTER INSERT ON events BEGIN DELETE FROM events WHERE id < new.id; END";
    project.database().execute_batch(trigger).unwrap();
    for verb in WRITE {
        let error = refuses(&project, verb, "trigger");
        assert!(error["message"].as_str().unwrap().contains("a journal has no trigger `forget`"), "{error}");
    }
    for verb in READ {
        project.ends(0, verb);
    }
    let said = project.ends(5, &["audit", "verify"]);
    assert!(
        said.stdout.contains("FOUND the whole of chain \"schema\": a journal has no trigger `forget`"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_description_or_a_name_that_was_changed_is_found() {
    let (project, whole) = whole();
    for (sql, what) in [
        ("UPDATE components SET describe = replace(describe, 'fs:write', 'fs:read')", "the kept `describe` of"),
        ("UPDATE policies SET name = 'strict.yaml'", "the kept `name` of"),
    ] {
        fs::write(project.journal_file(), &whole).unwrap();
        assert!(project.database().execute(sql, []).unwrap() > 0);
        let report = project.json(5, &["audit", "verify"]);
        assert_eq!(report["findings"][0]["chain"], json!("system"), "{sql}: {report}");
        assert!(report["findings"][0]["message"].as_str().unwrap().contains(what), "{sql}: {report}");
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (project, _) = whole();
    project.database().execute_batch("PRAGMA user_version = 9").unwrap();
    let bytes = fs::read(project.journal_file()).unwrap();
    for verb in READ.iter().chain(&WRITE).chain([&["audit", "verify"][..]].iter()) {
        let error = project.json(1, verb)["error"].clone();
        assert_eq!(error["code"], json!("newer-journal"), "{verb:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains("schema version 9"), "{error}");
        assert!(error["help"].as_str().unwrap().contains("a newer one"), "{error}");
    }
    assert_eq!(fs::read(project.journal_file()).unwrap(), bytes);
}

#[test]
fn a_journal_that_works_is_not_adopted() {
    let (project, bytes) = whole();
    let error = project.json(2, &["journal", "adopt", "--reason", "r", "--as", "user:me"])["error"].clone();
    assert_eq!(error["code"], json!("no-backup"));
    assert!(error["message"].as_str().unwrap().ends_with("is a journal already: there is nothing to adopt"), "{error}");
    assert!(fs::read(project.journal_file()).unwrap() == bytes);
}

/// A folder as a process leaves it that is killed right after its `commit`-th commit, after a run that ended well.
fn crashed(commit: u32) -> Project {
    let project = Project::new();
    project.run(0, COMPLETED);
    project.write("workflow.yaml", ROLLED_BACK);
    let mut command = project.command(&["run", "workflow.yaml"]);
    let output = command.env("REDRESS_CRASH_AT_COMMIT_AFTER", commit.to_string()).output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    assert!(fs::metadata(project.path(".redress/journal.db-wal")).unwrap().len() > 0);
    project
}

/// A copy of it with some of the files of its journal.
fn copied(project: &Project, ends: &[&str]) -> Project {
    let copy = Project::new();
    for end in ends {
        let file = format!(".redress/journal.db{end}");
        fs::copy(project.path(&file), copy.path(&file)).unwrap();
    }
    copy
}

#[test]
fn a_crashed_journal_is_recovered_also_from_a_copy_with_its_log() {
    for ends in [&["", "-wal", "-shm", "-mark"][..], &["", "-wal", "-mark"], &["", "-wal"]] {
        let project = crashed(3);
        let copy = copied(&project, ends);
        let recovered = copy.json(0, &["recover"]);
        assert_eq!(recovered[0]["state"], json!("ROLLED_BACK"), "{ends:?}: {recovered}");
        copy.ends(0, &["audit", "verify"]);
    }
}

#[test]
fn a_log_that_was_lost_after_a_crash_is_missed_and_the_way_out_is_told() {
    let project = crashed(3);
    let copy = copied(&project, &["", "-mark"]);
    for verb in WRITE {
        let error = refuses(&copy, verb, "without its log");
        assert!(error["message"].as_str().unwrap().contains("has lost its end"), "{error}");
        assert!(error["help"].as_str().unwrap().contains("`-wal`"), "{error}");
    }
    // The run before it is there to be read, and it is said that this is not all.
    let listed = copy.ends(0, &["runs", "--json"]);
    assert_eq!(listed.json()[0]["state"], json!("COMPLETED"));
    assert!(listed.stderr.contains("has lost its end"), "{}", listed.stderr);
    assert!(copy.ends(0, &["show", "latest"]).stdout.contains("COMPLETED"));
    let report = copy.json(5, &["audit", "verify"]);
    assert!(report["findings"][0]["message"].as_str().unwrap().starts_with("it has lost its end"), "{report}");
    // With the log back, all of it is.
    let log = ".redress/journal.db-wal";
    fs::copy(project.path(log), copy.path(log)).unwrap();
    assert_eq!(copy.json(0, &["recover"])[0]["state"], json!("ROLLED_BACK"));
    // Without it, somebody has to say that it is to be done without.
    let copy = copied(&project, &["", "-mark"]);
    copy.ends(0, &["journal", "adopt", "--reason", "the log is lost", "--as", "user:me"]);
    copy.ends(0, &["audit", "verify"]);
    copy.run(0, COMPLETED);
}

#[test]
fn half_of_a_log_is_missed_too() {
    let project = crashed(3);
    let copy = copied(&project, &["", "-wal", "-mark"]);
    let log = copy.path(".redress/journal.db-wal");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    let error = refuses(&copy, &["recover"], "half of its log");
    assert!(error["message"].as_str().unwrap().contains("has lost its end"), "{error}");
    copy.ends(0, &["runs"]);
    copy.ends(5, &["audit", "verify"]);
}

/// Runs a verb as somebody who may not write what he has no right to, which the super-user always may.
fn as_nobody(project: &Project, arguments: &[&str]) -> Said {
    const NOBODY: u32 = 65_534;
    let mut command = project.command(arguments);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap().into()
}

/// Gives everything in a folder to nobody if we may, and takes the right to write to files or folders away.
fn seal(path: &Path, files: u32, folders: u32) {
    own(path, 65_534, files, folders);
}

/// Takes it back.
fn unseal(path: &Path) {
    own(path, rustix::process::geteuid().as_raw(), 0o600, 0o700);
}

fn own(path: &Path, owner: u32, files: u32, folders: u32) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(owner), Some(owner)).unwrap();
    }
    let is_dir = path.is_dir();
    if is_dir {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), owner, files, folders);
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(if is_dir { folders } else { files })).unwrap();
}

#[test]
fn a_journal_in_a_folder_that_cannot_be_written_is_read_and_every_write_refused() {
    let (project, whole) = whole();
    let before = READ.map(|verb| project.ends(0, verb).stdout);
    for (files, folders) in [(0o400, 0o500), (0o600, 0o500), (0o400, 0o700)] {
        seal(project.0.path(), files, folders);
        for (verb, before) in READ.iter().zip(&before) {
            let said = as_nobody(&project, verb);
            assert_eq!((said.code, &said.stdout), (0, before), "{verb:?}: {}", said.stderr);
        }
        let said = as_nobody(&project, &["audit", "verify"]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        for verb in WRITE {
            let said = as_nobody(&project, &[verb, &["--json"]].concat());
            let error = said.json()["error"].clone();
            let message = error["message"].as_str().unwrap_or_default();
            assert_eq!(said.code, 1, "{verb:?}: {message}");
            assert!(message.contains(".redress") && message.contains("ermission denied"), "{verb:?}: {error}");
        }
        unseal(project.0.path());
        assert!(fs::read(project.journal_file()).unwrap() == whole, "nothing was changed");
    }
    project.ends(0, &["audit", "verify"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_in_place_of_what_the_database_says() {
    let project = crashed(3);
    fs::remove_file(project.path(".redress/journal.db-shm")).unwrap();
    seal(project.0.path(), 0o600, 0o500);
    for verb in WRITE {
        let error = as_nobody(&project, &[verb, &["--json"]].concat()).json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        let folder = project.path(".redress").canonicalize().unwrap();
        assert!(message.starts_with(&format!("cannot write to `{}`: ", folder.display())), "{verb:?}: {message}");
    }
    unseal(project.0.path());
}

#[test]
fn a_log_that_cannot_be_taken_in_where_it_is_is_named() {
    let project = crashed(3);
    fs::remove_file(project.path(".redress/journal.db-shm")).unwrap();
    seal(project.0.path(), 0o400, 0o500);
    let said = as_nobody(&project, &["runs", "--json"]);
    let message = said.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(said.code, 1, "{message}");
    assert!(
        message.contains("cannot read the log of") && message.contains("copy the journal with its log"),
        "{message}"
    );
    unseal(project.0.path());
    assert_eq!(project.json(0, &["recover"])[0]["state"], json!("ROLLED_BACK"));
}

/// Runs a shell script in the folder of a project, with the binary as `$REDRESS`.
fn script(project: &Project, through: &[&str], script: &str) -> Said {
    let words = [through, &["sh", "-c", script]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(project.0.path());
    command.env("REDRESS", env!("CARGO_BIN_EXE_redress")).env("NO_COLOR", "1").output().unwrap().into()
}

/// What everybody promises where the disk is full: an error in plain words, and a journal with everything that was told.
fn is_full(said: &Said) {
    assert_eq!(said.code, 1, "{}{}", said.stdout, said.stderr);
    let full = ["disk is full", "No space left", "disk I/O error", "File too large"];
    assert!(full.iter().any(|word| said.stderr.contains(word)), "{}", said.stderr);
    assert!(!said.stderr.contains("panicked") && said.stderr.contains("help: "), "{}", said.stderr);
}

#[test]
fn a_disk_that_is_full_ends_the_process_with_an_error_and_the_run_goes_on_once_there_is_space() {
    let (project, _) = whole();
    let size = fs::metadata(project.journal_file()).unwrap().len();
    // No file may grow beyond what the journal has: the system refuses it as a full disk does.
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$REDRESS\"", size.div_ceil(512).max(1));
    let before = project.json(0, &["runs"]);
    project.write("workflow.yaml", &ROLLED_BACK.replace("hello", &"x".repeat(60_000)));
    let said = script(&project, &[], &format!("{limit} run workflow.yaml"));
    is_full(&said);
    project.ends(0, &["audit", "verify"]);
    project.ends(0, &["recover"]);
    let after = project.json(0, &["runs"]);
    assert!(before.as_array().unwrap().iter().all(|run| after.as_array().unwrap().contains(run)), "{after}");
    assert!(!project.path("workspace/b.txt").exists(), "what was begun was undone");
}

#[test]
fn a_file_system_without_space_refuses_new_runs_and_keeps_votes_that_were_told() {
    // A file system of its own, in a name space of its own, goes with the process.
    let through = ["unshare", "--user", "--map-root-user", "--mount"];
    let (project, _) = whole();
    // It takes the place of the project, since what is granted elsewhere would have to be approved anew.
    let mount = "mount -t tmpfs -o size=100m tmpfs full && cp -a .redress policy.yaml redress.yaml workspace full/ && \
                 mount --bind full . && cd \"$PWD\"";
    fs::create_dir(project.path("full")).unwrap();
    if script(&project, &through, &format!("{mount} 2>/dev/null")).code != 0 {
        // Where nobody may mount anything there is the limit of the other test.
        return;
    }
    let fill = "dd if=/dev/zero of=filler bs=4096 2>/dev/null";
    let full = script(
        &project,
        &through,
        &format!("{mount} && {fill}; exec \"$REDRESS\" approve latest more --as user:a --reason r"),
    );
    is_full(&full);
    // No run is begun that might have to be rolled back without space.
    let some = "dd if=/dev/zero of=filler bs=1M count=40 2>/dev/null";
    let refused = script(
        &project,
        &through,
        &format!("{mount} && {some}; exec \"$REDRESS\" call io.fs.exists --input path=/workspace"),
    );
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("are kept for rollbacks") && refused.stderr.contains("free some space"),
        "{}",
        refused.stderr
    );
    // With space again the vote that was refused is given, once.
    let vote = "\"$REDRESS\" approve latest more --as user:a --reason r";
    let then = format!("{mount} && {fill}; {vote} 2>/dev/null; rm filler; {vote} && \"$REDRESS\" audit verify");
    let said = script(&project, &through, &then);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("COMPLETED") && said.stdout.contains("is as it was written"), "{}", said.stdout);
}
