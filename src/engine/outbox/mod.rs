//! Telling people: what waits for a person is put into the outbox of the journal, and sent from there to a webhook.
//!
//! # What it promises
//!
//! - **No event without its message, no message without its event.** A message is stored in the commit of the event that causes
//!   it: a `DECISION` that leaves a request waiting, an `UNDO_RESULT` after which the undo has failed for good, or an `OWNER`
//!   that finds out that the host died in the last attempt to undo. Only while a webhook is configured. There is one exception:
//!   adopting a backup makes open undos wait for a person and tells nobody, for an operator does it and is shown the runs.
//! - **At least once.** Each message is sent until the receiver takes it (2xx), wants no more (410), or three days have passed.
//!   Every try sends the same bytes under the same id, so that a receiver can tell that it has seen a message.
//! - **Never twice at the same time.** A message is claimed in the journal before it is sent, under the lock of an owner file.
//!   The claim of a process that died counts no more, nor does one's own for what is not on its way any more.
//! - **Telling changes nothing.** A run neither waits for a webhook nor fails because of one.
//!
//! # When a message is tried
//!
//! At once; then, as long as it fails, after a random part of 5 s, 30 s, 2 min, 15 min, 1 h, 6 h, and from then on of 12 h; for
//! the last time three days after it was made. The times are stored, so that they hold over restarts: whichever process next
//! delivers sends what is due by then.

mod message;
mod webhook;

pub(super) use message::{caused_by, run_stuck};
pub use message::{vote_command, voter};
pub use webhook::{SECRET_PREFIX, Webhook, WebhookError};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::Clock;
use crate::journal::{
    Answer, Ended, Journal, JournalError, MessageRow, Messages, OwnerLock, Then, Tried, try_lock_dead,
};
use crate::sandbox::Net;
use crate::types::{Duration, Timestamp};
use webhook::{Key, TRY};

/// The longest waits after the first failed tries; the last one holds from then on.
const WAITS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(12 * 3_600),
];
/// How long after it was made a message is tried for the last time.
const LAST: Duration = Duration::from_secs(3 * 86_400);
/// How many messages are on their way at the same time.
const AT_ONCE: usize = 8;
/// How often somebody who waits for everything to be sent looks at what other processes did.
const LOOK: Duration = Duration(500);

/// Sends what is in the outbox of a journal.
pub struct Outbox {
    journal: Arc<dyn Journal>,
    owners: PathBuf,
    owner: OwnerLock,
    clock: Arc<dyn Clock>,
    net: Net,
    webhook: Webhook,
    /// The ids of the messages that are on their way.
    flying: Mutex<BTreeSet<String>>,
}

/// A message on its way, until this is dropped.
struct Flight<'o> {
    outbox: &'o Outbox,
    id: String,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.outbox.flying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A message that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message, as it was before.
    pub message: MessageRow,
    /// What came of it.
    pub tried: Tried,
}

impl Outbox {
    /// Messages of `journal`, whose owner files lie in `owners`. Dropped, it gives up its claims.
    pub fn new(
        journal: Arc<dyn Journal>,
        owners: &Path,
        clock: Arc<dyn Clock>,
        net: Net,
        webhook: Webhook,
    ) -> Result<Outbox, JournalError> {
        let owner = OwnerLock::acquire(owners)?;
        Ok(Outbox { journal, owners: owners.to_owned(), owner, clock, net, webhook, flying: Mutex::default() })
    }

    /// Tries each message that is due once, except for those that somebody else is sending. May be dropped at any time: what
    /// was being sent then is sent again, by this outbox too.
    pub async fn deliver(&self) -> Result<Vec<Sent>, WebhookError> {
        Ok(self.deliver_within(std::time::Duration::MAX).await?.0)
    }

    /// As [`Outbox::deliver`], but starts no try that could end after `limit`. The second value is how many messages were left
    /// for that; they stay due.
    pub async fn deliver_within(&self, limit: std::time::Duration) -> Result<(Vec<Sent>, usize), WebhookError> {
        let begun = Instant::now();
        let in_time = || limit.checked_sub(TRY.as_std()).is_some_and(|left| begun.elapsed() < left);
        let now = self.clock.now();
        let waiting = self.journal.messages(Messages::Waiting, usize::MAX)?.into_iter();
        let due: Vec<MessageRow> = waiting.take_while(|message| message.due.is_some_and(|due| due <= now)).collect();
        if due.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let key = self.webhook.key()?;
        let left = AtomicUsize::new(due.len());
        let begin = |message| {
            left.fetch_sub(1, Ordering::Relaxed);
            self.try_one(&key, message)
        };
        let tries = stream::iter(due.into_iter().take_while(|_| in_time())).map(begin).buffer_unordered(AT_ONCE);
        let sent = tries.try_filter_map(|sent| std::future::ready(Ok(sent))).try_collect().await?;
        Ok((sent, left.load(Ordering::Relaxed)))
    }

    /// Whether a message is to be tried now.
    pub fn is_due(&self) -> Result<bool, JournalError> {
        let first = self.journal.messages(Messages::Waiting, 1)?;
        Ok(first.iter().any(|message| message.due.is_some_and(|due| due <= self.clock.now())))
    }

    /// Marks a message as on its way; none if it is already.
    fn fly(&self, id: &str) -> Option<Flight<'_>> {
        let began = self.flying.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        began.then(|| Flight { outbox: self, id: id.to_owned() })
    }

    /// Delivers until nothing waits any more: everything was delivered or given up. `told` learns of each try.
    pub async fn deliver_all(&self, mut told: impl FnMut(&Sent)) -> Result<(), WebhookError> {
        loop {
            self.deliver().await?.iter().for_each(&mut told);
            let waiting = self.journal.messages(Messages::Waiting, usize::MAX)?;
            if waiting.is_empty() {
                return Ok(());
            }
            // What is due and still waits, another process is sending.
            let now = self.clock.now();
            let next = waiting.iter().filter_map(|message| message.due).find(|due| *due > now);
            let moment = async {
                match next {
                    Some(next) => self.clock.until(next, true).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = moment => {}
                () = tokio::time::sleep(LOOK.as_std()) => {}
            }
        }
    }

    async fn try_one(&self, key: &Key, message: MessageRow) -> Result<Option<Sent>, WebhookError> {
        let Some(_flight) = self.fly(&message.id) else { return Ok(None) };
        let owner = self.owner.identity();
        let dead = match &message.claimed {
            // Nothing of this process sends it: somebody here gave up while it was on its way.
            Some(before) if *before == owner.id => None,
            Some(before) => match try_lock_dead(&self.owners, before)? {
                Some(guard) => Some(guard),
                None => return Ok(None),
            },
            None => None,
        };
        let Some(body) = self.journal.claim_message(&message, owner).await? else { return Ok(None) };
        drop(dead);
        let answer = self.webhook.post(&self.net, key, &message.id, self.clock.now(), body).await;
        let at = self.clock.now();
        let then = after(&message, &answer, at, fastrand::u64(..));
        let tried = Tried { at, answer, then };
        self.journal.note_message(&message.id, owner, tried.clone()).await?;
        Ok(Some(Sent { message, tried }))
    }
}

/// Sends a message that is not in the outbox and is tried once, to see whether the webhook works. The first value is its id.
pub async fn send_test(webhook: &Webhook, net: &Net, now: Timestamp) -> Result<(String, Answer), WebhookError> {
    let key = webhook.key()?;
    let data = json!({ "event": "test", "message": "this is a test: nothing waits for you" });
    let (id, body) = (message::message_id(), message::body("test", now, data));
    let answer = webhook.post(net, &key, &id, now, body.into()).await;
    Ok((id, answer))
}

/// What becomes of a message after a try that ended at `now`.
fn after(message: &MessageRow, answer: &Answer, now: Timestamp, random: u64) -> Then {
    let last = message.created.plus(LAST);
    match answer {
        Answer::Status(200..=299) => Then::End(Ended::Delivered),
        Answer::Status(410) => Then::End(Ended::Refused),
        _ if now >= last => Then::End(Ended::GivenUp),
        _ => {
            let failed = usize::try_from(message.tries).unwrap_or(usize::MAX);
            let [.., longest] = WAITS;
            let wait = WAITS.get(failed).copied().unwrap_or(longest);
            Then::Again(now.plus(Duration(random % (wait.0 + 1))).min(last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::MessageKind;
    use crate::types::{RunId, StepName};

    fn message(tries: u32) -> MessageRow {
        MessageRow {
            id: "msg_1".into(),
            kind: MessageKind::RunStuck,
            run: RunId::parse("0192f0c1-2345-7abc-8def-0123456789ab").unwrap(),
            step: StepName::parse("a").unwrap(),
            created: Timestamp(1_000),
            tries,
            last: None,
            due: Some(Timestamp(1_000)),
            claimed: None,
            ended: None,
        }
    }

    /// The longest wait after the failed try number `tries + 1`.
    fn longest(tries: u32) -> Duration {
        let now = Timestamp(1_000);
        let waits = WAITS.iter().map(|wait| match after(&message(tries), &Answer::Status(500), now, wait.0) {
            Then::Again(due) => due.since(now),
            Then::End(ended) => panic!("{ended:?}"),
        });
        waits.max().unwrap()
    }

    #[test]
    fn the_waits_grow_from_seconds_to_half_a_day() {
        let waits: Vec<String> = (0..9).map(|tries| longest(tries).to_string()).collect();
        assert_eq!(waits, ["5s", "30s", "2m", "15m", "1h", "6h", "12h", "12h", "12h"]);
    }

    #[test]
    fn only_taken_refused_and_too_old_messages_end() {
        let now = Timestamp(1_000);
        for (status, ended) in [(200, Ended::Delivered), (204, Ended::Delivered), (410, Ended::Refused)] {
            assert_eq!(after(&message(0), &Answer::Status(status), now, 7), Then::End(ended));
        }
        for answer in [301, 400, 401, 404, 429, 500, 503].map(Answer::Status) {
            assert_eq!(after(&message(0), &answer, now, 7), Then::Again(Timestamp(1_007)));
        }
        let no_answer = Answer::Failed("connection refused".into());
        let last = Timestamp(1_000).plus(LAST);
        assert_eq!(after(&message(9), &no_answer, Timestamp(last.0 - 1), 99), Then::Again(last));
        assert_eq!(after(&message(9), &no_answer, last, 99), Then::End(Ended::GivenUp));
    }
}
