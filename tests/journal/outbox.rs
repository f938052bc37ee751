use redress::journal::{
    Answer, Ended, Journal, JournalError, MessageRow, Messages, Options, SqliteJournal, Then, Tried,
};
use redress::types::Timestamp;

use crate::support::*;

fn ids(rows: &[MessageRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

fn waiting(journal: &SqliteJournal) -> Vec<MessageRow> {
    journal.messages(Messages::Waiting, usize::MAX).unwrap()
}

fn tried(at: u64, status: u16, then: Then) -> Tried {
    Tried { at: Timestamp(at), answer: Answer::Status(status), then }
}

#[test]
fn a_message_is_stored_with_its_event_or_not_at_all() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let with = |append: redress::journal::Append, id: &str| append.with_messages(vec![message(id, 5)]);
    append(&journal, &run, with(durable(1, sealed()), "msg_1")).unwrap();
    assert_eq!(ids(&waiting(&journal)), ["msg_1"]);
    let stale = redress::journal::Append::by_owner(9, redress::journal::Durability::Sync, Vec::new());
    assert!(matches!(append(&journal, &run, with(stale, "msg_2")), Err(JournalError::StaleEpoch { .. })));
    assert!(append(&journal, &run, with(by_anyone(77, vote("late")), "msg_3")).is_err());
    // A message that is there already takes its event with it.
    let head = journal.head(&run).unwrap();
    assert!(append(&journal, &run, with(durable(2, sealed()), "msg_1")).is_err());
    assert_eq!((journal.head(&run).unwrap(), ids(&waiting(&journal)).len()), (head, 1));
    // A lazy one is durable with the next commit, like its event.
    drop(journal.append(&run, with(lazy(3, sealed()), "msg_4")));
    journal.flush().wait().unwrap();
    assert_eq!(ids(&waiting(&journal)), ["msg_1", "msg_4"]);
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn whoever_takes_a_run_over_may_bring_messages() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let take = |epoch| {
        let messages = vec![message(&format!("msg_{epoch}"), 5)];
        journal.take_over(&run, epoch, &owner("owner-2"), Vec::new(), messages, Timestamp(9)).wait()
    };
    take(1).unwrap();
    assert!(matches!(take(1), Err(JournalError::StaleEpoch { .. })));
    assert_eq!(ids(&waiting(&journal)), ["msg_1"]);
}

#[test]
fn a_message_has_one_sender_at_a_time_and_the_same_bytes_in_every_try() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    append(&journal, &run, durable(1, sealed()).with_messages(vec![message("msg_1", 5)])).unwrap();
    let (one, other) = (owner("owner-1"), owner("owner-2"));
    let claim = |row: &MessageRow, by| journal.claim_message(row, by).wait().unwrap();
    let row = waiting(&journal).remove(0);
    assert_eq!((row.tries, row.due, &row.last, &row.claimed), (0, Some(Timestamp(5)), &None, &None));
    assert_eq!(claim(&row, &one).as_deref(), Some(&b"the body of msg_1"[..]));
    assert_eq!(claim(&row, &other), None, "it is not as the row says any more");
    let again = tried(6, 500, Then::Again(Timestamp(60)));
    assert!(!journal.note_message("msg_1", &other, again.clone()).wait().unwrap(), "the claim is another's");
    assert!(journal.note_message("msg_1", &one, again.clone()).wait().unwrap());
    assert!(!journal.note_message("msg_1", &one, again).wait().unwrap(), "a try is noted once");
    assert_eq!(claim(&row, &other), None, "it was tried meanwhile");
    let row = waiting(&journal).remove(0);
    assert_eq!((row.tries, row.due), (1, Some(Timestamp(60))));
    assert_eq!(row.last, Some((Timestamp(6), Answer::Status(500))));
    assert_eq!(claim(&row, &other).as_deref(), Some(&b"the body of msg_1"[..]));
    // Its owner died, and somebody who holds the guard takes it.
    let held = waiting(&journal).remove(0);
    assert_eq!(held.claimed.as_deref(), Some("owner-2"));
    assert!(claim(&held, &one).is_some());
    assert!(journal.note_message("msg_1", &one, tried(70, 200, Then::End(Ended::Delivered))).wait().unwrap());
    assert_eq!(waiting(&journal), []);
    let [row] = journal.messages(Messages::Log { before: None }, 9).unwrap().try_into().unwrap();
    assert_eq!((row.tries, row.ended, row.due), (2, Some(Ended::Delivered), None));
    assert_eq!(claim(&row, &other), None, "it has ended");
}

#[test]
fn the_log_is_read_in_pages_newest_first_and_what_waits_in_the_order_of_its_time() {
    let home = Home::new();
    let journal = home.open();
    let run = create(&journal, 1);
    let messages = [("msg_a", 30), ("msg_b", 10), ("msg_c", 20)].map(|(id, at)| message(id, at)).to_vec();
    append(&journal, &run, durable(1, sealed()).with_messages(messages)).unwrap();
    assert_eq!(ids(&waiting(&journal)), ["msg_b", "msg_c", "msg_a"]);
    let page = |before| journal.messages(Messages::Log { before }, 2).unwrap();
    assert_eq!(ids(&page(None)), ["msg_c", "msg_b"]);
    assert_eq!(ids(&page(Some("msg_b"))), ["msg_a"]);
    assert_eq!(page(Some("msg_a")), []);
    let reader = SqliteJournal::open_read_only(&home.path(), Options::default()).unwrap();
    let row = waiting(&reader).remove(0);
    assert_eq!(reader.claim_message(&row, &owner("x")).wait(), Err(JournalError::ReadOnly));
    let ended = tried(1, 200, Then::End(Ended::Delivered));
    assert_eq!(reader.note_message("msg_a", &owner("x"), ended).wait(), Err(JournalError::ReadOnly));
}
