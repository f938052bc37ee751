use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use redress::journal::{Journal, Options, OwnerLock, SqliteJournal, try_lock_dead};
use redress::types::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

const JOURNAL: &str = "REDRESS_TEST_JOURNAL";

/// This test binary as another process, in the role of one of the ignored tests below.
fn process(role: &str, home: &Home) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", &format!("processes::{role}"), "--nocapture"]).env(JOURNAL, home.path());
    command
}

#[test]
#[ignore = "a role for other tests, which start it as a process of its own"]
fn role_owner() {
    let Some(path) = std::env::var_os(JOURNAL) else { return };
    let journal = SqliteJournal::create_or_open(path.as_ref(), Options::default()).unwrap();
    let owner = OwnerLock::acquire(&journal.owners_dir()).unwrap();
    println!("\nowner={}", owner.identity().id);
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

struct OwnerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    _stdout: BufReader<ChildStdout>,
    id: String,
}

fn start_owner(home: &Home) -> OwnerProcess {
    let mut child = process("role_owner", home).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let id = (&mut stdout).lines().find_map(|line| line.unwrap().strip_prefix("owner=").map(str::to_owned)).unwrap();
    OwnerProcess { stdin: child.stdin.take(), child, _stdout: stdout, id }
}

#[test]
fn a_live_owner_is_never_taken_over_even_if_it_is_stopped_and_a_killed_one_is() {
    let home = Home::new();
    let journal = home.open();
    let mut owner = start_owner(&home);
    let dead = || try_lock_dead(&journal.owners_dir(), &owner.id).unwrap().is_some();
    assert!(!dead());
    let pid = Pid::from_child(&owner.child);
    kill_process(pid, Signal::STOP).unwrap();
    assert!(!dead());
    kill_process(pid, Signal::CONT).unwrap();
    assert!(!dead());
    kill_process(pid, Signal::KILL).unwrap();
    owner.child.wait().unwrap();
    assert!(try_lock_dead(&journal.owners_dir(), &owner.id).unwrap().is_some());
}

#[test]
fn an_owner_that_ends_leaves_no_file() {
    let home = Home::new();
    let journal = home.open();
    let mut owner = start_owner(&home);
    assert!(journal.owners_dir().join(&owner.id).exists());
    drop(owner.stdin.take());
    owner.child.wait().unwrap();
    assert!(!journal.owners_dir().join(&owner.id).exists());
    assert!(try_lock_dead(&journal.owners_dir(), &owner.id).unwrap().is_some());
}

/// The work that is interrupted: five commits, with two and three events of run 1 in them.
#[test]
#[ignore = "a role for other tests, which start it as a process of its own"]
fn role_author() {
    let Some(path) = std::env::var_os(JOURNAL) else { return };
    let journal = SqliteJournal::create_or_open(path.as_ref(), Options::default()).unwrap();
    let run = create(&journal, 1);
    for n in 0..3 {
        drop(journal.append(&run, lazy(2_000 + n, sealed())));
        append(&journal, &run, durable(3_000 + n, vote("yes"))).unwrap();
    }
    append(&journal, &run, durable(9_000, closed())).unwrap();
}

#[test]
fn a_process_that_dies_at_any_commit_leaves_a_whole_journal_with_what_was_committed() {
    let heads = [None, Some(2), Some(4), Some(6), Some(8), Some(9)];
    for (variable, more) in [("REDRESS_CRASH_AT_COMMIT_BEFORE", 0), ("REDRESS_CRASH_AT_COMMIT_AFTER", 1)] {
        for commit in 1..=5 {
            let home = Home::new();
            let status = process("role_author", &home).env(variable, commit.to_string()).output().unwrap().status;
            assert!(!status.success(), "{variable}={commit}: it lived");
            let reader = SqliteJournal::open_read_only(&home.path(), Options::default()).unwrap();
            assert_eq!(reader.head(&run_id(1)).unwrap(), heads[commit - 1 + more], "{variable}={commit}");
            assert_eq!(reader.verify().unwrap().findings, []);
            let journal = home.open();
            if let Some(row) = journal.run(&run_id(1)).unwrap() {
                journal
                    .take_over(&run_id(1), row.epoch, &owner("owner-2"), Vec::new(), Vec::new(), Timestamp(9_999))
                    .wait()
                    .unwrap();
            }
            assert_eq!(journal.verify().unwrap().findings, []);
        }
        let home = Home::new();
        assert!(process("role_author", &home).env(variable, "6").output().unwrap().status.success());
    }
}

/// Appends until the disk refuses, and says how far it came.
#[test]
#[ignore = "a role for other tests, which start it as a process of its own"]
fn role_author_on_a_small_disk() {
    let Some(path) = std::env::var_os(JOURNAL) else { return };
    let journal = SqliteJournal::create_or_open(path.as_ref(), Options::default()).unwrap();
    let run = create(&journal, 1);
    for n in 3.. {
        let record = payload(&format!("{n}").repeat(20_000));
        let append_it = durable(2_000, undo(&record)).with_payloads(vec![record]);
        if let Err(error) = append(&journal, &run, append_it) {
            assert!(error.is_fatal(), "{error}");
            assert!(append(&journal, &run, durable(2_000, sealed())).unwrap_err().is_fatal());
            println!("\nhead={}", n - 1);
            return;
        }
    }
}

#[test]
fn a_disk_that_refuses_ends_all_writing_and_loses_nothing_that_was_answered() {
    let home = Home::new();
    let role = process("role_author_on_a_small_disk", &home);
    // Files of at most 2048 blocks; a write beyond that is an error and not a signal.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(role.get_program())
        .args(role.get_args())
        .env(JOURNAL, home.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let head: u64 = said.lines().find_map(|line| line.strip_prefix("head=")).unwrap().parse().unwrap();
    assert!(head > 4, "{head}");
    let journal = home.open();
    assert_eq!(journal.head(&run_id(1)).unwrap(), Some(head));
    assert_eq!(journal.verify().unwrap().findings, []);
    append(&journal, &run_id(1), durable(2_000, sealed())).unwrap();
}
