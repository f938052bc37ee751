//! One thing at a target that chooses its id.
//!
//! Between a request and its answer a process can die, and then nobody knows whether the thing was made. So, in this order:
//!
//! 1. *save* what finds it again: a reference made from the idempotency key, which goes into the thing itself
//! 2. *make* it, with that reference
//! 3. *append* the id that the target chose
//!
//! [`unmake`] removes what the output or an appended record names. Where there is neither, the outcome is unclear: it looks
//! the thing up by its reference. A later attempt looks it up, too, before it makes one. Not finding it is no proof that it will not appear, since the request may still be on
//! its way; so it counts as absent only once the target's own limit for a request has passed since the reference was saved.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Call, Capability, Compensation, Failure, InForce};

/// How things are made, found and removed at a target.
pub trait Remote {
    /// What is known of a thing once it is made: its id, at least.
    type Made: Clone + Serialize + DeserializeOwned;

    /// The thing that carries this reference, if there is one.
    fn find(&self, reference: &str) -> Result<Option<Self::Made>, Failure>;

    /// Makes it, carrying this reference.
    fn make(&self, reference: &str) -> Result<Self::Made, Failure>;

    /// Removes it; success if it is gone already.
    fn remove(&self, made: &Self::Made) -> Result<(), Failure>;

    /// Whether the target answers a second request with the same idempotency key as it answered the first, and does nothing: then
    /// [`Remote::make`] may be called again at once. The reference is the key.
    fn honours_key(&self) -> bool {
        false
    }

    /// How long after it was sent a request can still take effect at the target.
    fn settles_after(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// When a request was about to be sent. Until the target's own limit for a request has passed since then, it can still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent(u64);

impl Sent {
    /// Now: to be saved before the request is sent.
    pub fn now() -> Sent {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Sent(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Success once nothing of it can arrive any more; else a failure by which the undo waits and is tried again. `why`
    /// completes the message for a person.
    pub fn settled(self, after: Duration, why: &str) -> Result<(), Failure> {
        let until = self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        match until.saturating_sub(Sent::now().0) {
            0 => Ok(()),
            left => Err(Failure::not_settled(why, Duration::from_millis(left))),
        }
    }
}

/// The undo record of a capability that makes such a thing: its type `Undo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record<M> {
    /// Before the request: what the thing will carry.
    Planned {
        /// The reference.
        reference: String,
        /// When that was.
        sent: Sent,
    },
    /// After the answer: what was made.
    Made(M),
}

fn made<M: Clone>(records: &InForce<Record<M>>) -> Option<M> {
    records.appended.iter().rev().find_map(|record| match record {
        Record::Made(made) => Some(made.clone()),
        Record::Planned { .. } => None,
    })
}

fn planned<M>(records: &InForce<Record<M>>) -> Result<(&str, Sent), Failure> {
    match &records.saved {
        Record::Planned { reference, sent } => Ok((reference, *sent)),
        Record::Made(_) => Err(Failure::new("unknown-undo", "the undo record does not begin with a reference")),
    }
}

/// Makes the thing once, however many attempts it takes.
pub fn make<C, R>(call: &Call<C>, remote: &R) -> Result<R::Made, Failure>
where
    R: Remote,
    C: Capability<Undo = Record<R::Made>>,
{
    let records = call.save(&Record::Planned { reference: call.key.clone(), sent: Sent::now() })?;
    if let Some(made) = made(&records) {
        return Ok(made);
    }
    let (reference, sent) = planned(&records)?;
    let found = if call.attempt > 1 { remote.find(reference)? } else { None };
    let made = match found {
        Some(made) => made,
        None => {
            // An earlier request may still arrive, and then there would be two.
            if call.attempt > 1 && !remote.honours_key() {
                let why = "an earlier request may still be on its way";
                sent.settled(remote.settles_after(), why)
                    .map_err(|wait| Failure { retry_after_ms: wait.retry_after_ms, ..Failure::unavailable(why) })?;
            }
            remote.make(reference)?
        }
    };
    // Of a thing that an earlier attempt made, this one has changed nothing and may not append: the reference finds it.
    match call.append(&Record::Made(made.clone())) {
        Err(failure) if failure.code != "undo-refused" => Err(failure),
        Ok(()) | Err(_) => Ok(made),
    }
}

/// Removes the thing, if it was made.
pub fn unmake<C, R>(
    undo: &Compensation<C>,
    remote: &R,
    output: impl FnOnce(&C::Output) -> R::Made,
) -> Result<(), Failure>
where
    R: Remote,
    C: Capability<Undo = Record<R::Made>>,
{
    let Some(records) = &undo.in_force else { return Ok(()) };
    let known = undo.output.as_ref().map(output).or_else(|| made(records));
    if let Some(made) = known {
        return remote.remove(&made);
    }
    let (reference, sent) = planned(records)?;
    if let Some(made) = remote.find(reference)? {
        return remote.remove(&made);
    }
    let why = format!("nothing carries the reference `{reference}` yet; a request may still be on its way");
    sent.settled(remote.settles_after(), &why)
}
