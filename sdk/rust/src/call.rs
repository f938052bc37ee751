use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::exports::redress::capability::provider;
use crate::bindings::redress::capability::undo;
use crate::{Capability, Failure};

/// One attempt of one step.
pub struct Call<C: Capability> {
    /// The input, which the host has checked against the schema.
    pub input: C::Input,
    /// The idempotency key: the same for every attempt of a step, at most 64 characters of `[a-z0-9-]`.
    pub key: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How long the host will wait.
    pub timeout: Duration,
}

/// The undo records that hold: what was saved, and what was appended after it.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce<U> {
    /// What was saved before the first change, by this attempt or by an earlier one.
    pub saved: U,
    /// What was appended after changes, in order.
    pub appended: Vec<U>,
}

/// The undoing of one step.
pub struct Compensation<C: Capability> {
    /// The input that `execute` was given.
    pub input: C::Input,
    /// The idempotency key that `execute` was given.
    pub execute_key: String,
    /// The idempotency key of the undo.
    pub key: String,
    /// 1 for the first attempt of the undo.
    pub attempt: u32,
    /// How long the host will wait.
    pub timeout: Duration,
    /// What `execute` returned; none if its outcome is unclear: it may or may not have happened.
    pub output: Option<C::Output>,
    /// The records that hold; none if nothing was saved, and so nothing changed.
    pub in_force: Option<InForce<C::Undo>>,
}

impl<C: Capability> Call<C> {
    pub(crate) fn read(call: provider::Call) -> Result<Call<C>, Failure> {
        Ok(Call {
            input: input(&call.input)?,
            key: call.key,
            attempt: call.attempt,
            timeout: Duration::from_millis(call.timeout_ms),
        })
    }

    /// Hands over what restores the target, or finds it again; before the first change. Returns the records in force: this
    /// one, or those of an earlier attempt, which then must be used.
    pub fn save(&self, state: &C::Undo) -> Result<InForce<C::Undo>, Failure> {
        let records = undo::save(&bytes(state)?).map_err(refused)?;
        in_force(&records)?.ok_or_else(|| refused("the host has kept no record".into()))
    }

    /// Hands over what was learned from a change, such as an id that the target chose. Durable when it returns.
    pub fn append(&self, state: &C::Undo) -> Result<(), Failure> {
        undo::append(&bytes(state)?).map_err(refused)
    }
}

impl<C: Capability> Compensation<C> {
    pub(crate) fn read(call: provider::Compensation) -> Result<Compensation<C>, Failure> {
        let output = call.output.map(|text| {
            let unknown = |error| Failure::new("unknown-output", format!("the step's output cannot be read: {error}"));
            serde_json::from_str(&text).map_err(unknown)
        });
        Ok(Compensation {
            input: input(&call.input)?,
            execute_key: call.execute_key,
            key: call.key,
            attempt: call.attempt,
            timeout: Duration::from_millis(call.timeout_ms),
            output: output.transpose()?,
            in_force: in_force(&call.undo)?,
        })
    }
}

fn input<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::invalid_input(error.to_string()))
}

fn bytes(state: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(state).map_err(|error| Failure::new("invalid-undo", format!("the undo record: {error}")))
}

fn in_force<U: DeserializeOwned>(records: &[Vec<u8>]) -> Result<Option<InForce<U>>, Failure> {
    let unknown = |error| Failure::new("unknown-undo", format!("the undo record cannot be read: {error}"));
    let mut read = records.iter().map(|record| serde_json::from_slice(record).map_err(unknown));
    let Some(saved) = read.next().transpose()? else { return Ok(None) };
    Ok(Some(InForce { saved, appended: read.collect::<Result<_, _>>()? }))
}

fn refused(why: String) -> Failure {
    Failure::new("undo-refused", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_is_what_was_saved_and_the_others_were_appended() {
        let records = [b"1".to_vec(), b"2".to_vec(), b"3".to_vec()];
        let read = |records: &[Vec<u8>]| in_force::<u8>(records).map_err(|failure| failure.code);
        assert_eq!(read(&records), Ok(Some(InForce { saved: 1, appended: vec![2, 3] })));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"x".to_vec()]), Err("unknown-undo".to_owned()));
    }
}
