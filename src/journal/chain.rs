//! Chains: the bytes of an event, and the hash that ties it to all events before it.
//!
//! An event's bytes are the RFC 8785 form of `{"at": ms, "chain": name, "event": {..}, "seq": n, "v": 1}`; its hash is
//! `SHA-256(hash of the event before || bytes)`, and that of the first is made with 32 zero bytes. The bytes name their own
//! place, so that no event can stand in for another. [`Walk`] is the only reader of chains: it checks place, order, hash and
//! time of each event, in this order, before it decodes it, so that a changed event is never acted on.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Flaw;
use crate::types::{CanonicalError, Digest, RunId, Timestamp, canonical_bytes, parse_strict, reads_strictly};

/// The version of the format that is written; every version that was ever released is read.
pub const VERSION: u64 = 1;

/// What stands for the hash before the first event.
pub const GENESIS: Digest = Digest([0; 32]);

/// The name of the system chain.
pub const SYSTEM: &str = "system";

/// Which chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    /// What belongs to no run, and each run's head at its start and close.
    System,
    /// The events of one run.
    Run(RunId),
}

impl Chain {
    /// Its name in the journal: `system`, or the run's id.
    pub fn as_str(&self) -> &str {
        match self {
            Chain::System => SYSTEM,
            Chain::Run(run) => run.as_str(),
        }
    }
}

/// The canonical bytes of one event, without its place.
pub(super) fn encode<E: Serialize>(event: &E) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(event).map_err(|error| CanonicalError::Syntax(error.to_string()))?;
    canonical_bytes(&value)
}

/// The canonical bytes of an event at its place; `event` are those that [`encode`] gave.
///
/// The keys are written in their sorted order and a chain's name needs no escapes, so this is the canonical form of the
/// whole.
pub(super) fn body(chain: &Chain, seq: u64, at: Timestamp, event: &[u8]) -> Vec<u8> {
    let mut bytes = format!(r#"{{"at":{},"chain":"{}","event":"#, at.0, chain.as_str()).into_bytes();
    bytes.extend_from_slice(event);
    bytes.extend_from_slice(format!(r#","seq":{seq},"v":{VERSION}}}"#).as_bytes());
    bytes
}

/// The hash of an event whose bytes are `body`.
pub fn link(previous: &Digest, body: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(previous.0);
    hasher.update(body);
    Digest(hasher.finalize().into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    at: u64,
    chain: String,
    event: Value,
    seq: u64,
    #[serde(rename = "v")]
    _version: u64,
}

/// The same, read in one go.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<'a, E> {
    at: u64,
    #[serde(borrow)]
    chain: &'a str,
    event: E,
    seq: u64,
    v: u64,
}

/// No more of an event than what it is.
#[derive(Deserialize)]
struct Kind<'a> {
    kind: &'a str,
}

/// Reads an event's bytes at its place, refusing whatever this version would not write. Whether the hash follows is not
/// looked at.
pub fn decode<E: DeserializeOwned>(chain: &str, seq: u64, bytes: &[u8]) -> Result<(Timestamp, E), Flaw> {
    whole(chain, seq, bytes).map_or_else(|| step_by_step(chain, seq, bytes), Ok)
}

/// What is as it is written is read at once; of anything else [`step_by_step`] says what is wrong with it.
fn whole<E: DeserializeOwned>(chain: &str, seq: u64, bytes: &[u8]) -> Option<(Timestamp, E)> {
    if !reads_strictly(bytes) {
        return None;
    }
    let body: Whole<'_, E> = serde_json::from_slice(bytes).ok()?;
    ((body.v, body.chain, body.seq) == (VERSION, chain, seq)).then_some((Timestamp(body.at), body.event))
}

/// The time and the kind of an event at its place.
fn outline<'b>(chain: &str, seq: u64, bytes: &'b [u8]) -> Option<(Timestamp, &'b str)> {
    let body: Whole<'b, Kind<'b>> = serde_json::from_slice(bytes).ok()?;
    ((body.v, body.chain, body.seq) == (VERSION, chain, seq)).then_some((Timestamp(body.at), body.event.kind))
}

fn step_by_step<E: DeserializeOwned>(chain: &str, seq: u64, bytes: &[u8]) -> Result<(Timestamp, E), Flaw> {
    let value = parse_strict(bytes).map_err(|error| Flaw::Form(error.to_string()))?;
    match value.get("v").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(Flaw::Version(other)),
        None => return Err(Flaw::Form("it has no version".to_owned())),
    }
    let body: Body = serde_json::from_value(value).map_err(|error| Flaw::Form(error.to_string()))?;
    if body.chain != chain || body.seq != seq {
        return Err(Flaw::Place { chain: body.chain, seq: body.seq });
    }
    let kind = body.event.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let event = serde_json::from_value(body.event).map_err(|error| Flaw::Kind { kind, error: error.to_string() })?;
    Ok((Timestamp(body.at), event))
}

/// A walk along one chain, from its begin or from a known event.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    chain: String,
    /// The last event that was passed; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// Its time.
    pub at: Timestamp,
}

impl Walk {
    /// Before the first event.
    pub fn begin(chain: &str) -> Walk {
        Walk { chain: chain.to_owned(), seq: 0, hash: GENESIS, at: Timestamp(0) }
    }

    /// After the event `seq`, whose hash is trusted.
    pub fn after(chain: &str, seq: u64, hash: Digest) -> Walk {
        Walk { chain: chain.to_owned(), seq, hash, at: Timestamp(0) }
    }

    /// Passes the next event as it is stored. An error concerns the event after the last one that was passed.
    pub fn pass<E: DeserializeOwned>(&mut self, seq: u64, body: &[u8], hash: &[u8]) -> Result<(Timestamp, E), Flaw> {
        self.pass_as(seq, body, hash, decode)
    }

    /// The same, and decodes only an event whose kind is among these.
    pub fn pass_kinds<E: DeserializeOwned>(
        &mut self,
        kinds: &[&str],
        seq: u64,
        body: &[u8],
        hash: &[u8],
    ) -> Result<Option<(Timestamp, E)>, Flaw> {
        let (at, event) = self.pass_as(seq, body, hash, |chain, seq, body| match outline(chain, seq, body) {
            Some((at, kind)) if !kinds.contains(&kind) => Ok((at, None)),
            _ => decode(chain, seq, body).map(|(at, event)| (at, Some(event))),
        })?;
        Ok(event.map(|event| (at, event)))
    }

    fn pass_as<T>(
        &mut self,
        seq: u64,
        body: &[u8],
        hash: &[u8],
        decode_as: impl FnOnce(&str, u64, &[u8]) -> Result<(Timestamp, T), Flaw>,
    ) -> Result<(Timestamp, T), Flaw> {
        if seq != self.seq + 1 {
            return Err(Flaw::Missing);
        }
        let expected = link(&self.hash, body);
        if expected.0 != hash {
            return Err(match decode::<Value>(&self.chain, seq, body) {
                Err(flaw @ Flaw::Place { .. }) => flaw,
                _ => Flaw::Hash,
            });
        }
        let (at, event) = decode_as(&self.chain, seq, body)?;
        if at < self.at {
            return Err(Flaw::Time);
        }
        (self.seq, self.hash, self.at) = (seq, expected, at);
        Ok((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saga::event::{Event, Sealed};

    fn run() -> Chain {
        Chain::Run(RunId::parse("01920000-0000-7000-8000-00000000000a").unwrap())
    }

    fn sealed(seq: u64, at: u64) -> Vec<u8> {
        body(&run(), seq, Timestamp(at), &encode(&Event::Sealed(Sealed {})).unwrap())
    }

    #[test]
    fn the_bytes_of_an_event_are_the_canonical_form_of_the_whole() {
        let bytes = sealed(7, 1_000);
        let value = parse_strict(&bytes).unwrap();
        assert_eq!(canonical_bytes(&value).unwrap(), bytes);
        let text =
            r#"{"at":1000,"chain":"01920000-0000-7000-8000-00000000000a","event":{"kind":"SEALED"},"seq":7,"v":1}"#;
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn an_event_is_read_back_as_it_was_written() {
        let (at, event) = decode::<Event>(run().as_str(), 7, &sealed(7, 1_000)).unwrap();
        assert_eq!((at, event), (Timestamp(1_000), Event::Sealed(Sealed {})));
        assert!(whole::<Event>(run().as_str(), 7, &sealed(7, 1_000)).is_some(), "it is read in one go");
    }

    #[test]
    fn what_this_version_would_not_write_is_refused_by_name() {
        let reads = |text: &str| decode::<Event>("c", 1, text.as_bytes()).unwrap_err().to_string();
        for (text, part) in [
            ("not json", "not an event"),
            (r#"{"at":1}"#, "no version"),
            (r#"{"v":2,"anything":1}"#, "format version 2"),
            (r#"{"at":1,"at":1,"chain":"c","event":{"kind":"SEALED"},"seq":1,"v":1}"#, "stands twice"),
            (r#"{"at":1,"chain":"c","event":{"kind":"SEALED"},"more":0,"seq":1,"v":1}"#, "unknown field `more`"),
            (r#"{"at":1,"chain":"d","event":{"kind":"SEALED"},"seq":1,"v":1}"#, "event 1 of chain `d`"),
            (r#"{"at":1,"chain":"c","event":{"kind":"DREAM"},"seq":1,"v":1}"#, "kind `DREAM`"),
            (r#"{"at":1,"chain":"c","event":{"kind":"SEALED","why":1},"seq":1,"v":1}"#, "unknown field `why`"),
        ] {
            assert!(reads(text).contains(part), "{text}: {}", reads(text));
        }
    }

    #[test]
    fn a_walk_stops_at_the_first_event_that_does_not_follow() {
        let (one, two) = (sealed(1, 10), sealed(2, 9));
        let first = link(&GENESIS, &one);
        let mut walk = Walk::begin(run().as_str());
        assert_eq!(walk.pass::<Event>(2, &two, &link(&first, &two).0), Err(Flaw::Missing));
        assert_eq!(walk.pass::<Event>(1, &one, &[0; 32]), Err(Flaw::Hash));
        assert_eq!(walk.pass::<Event>(1, &two, &first.0), Err(Flaw::Place { chain: run().as_str().into(), seq: 2 }));
        assert!(walk.pass::<Event>(1, &one, &first.0).is_ok());
        assert_eq!(walk.pass::<Event>(2, &two, &link(&first, &two).0), Err(Flaw::Time));
        assert_eq!(walk.seq, 1);
    }
}
