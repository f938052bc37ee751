//! `net.http.request`: a request whose undo is another request.
//!
//! **Before** the request the [`Plan`] is saved: what to send to undo it, and how to find what it made. **After** the answer
//! the values of it that the undo needs are appended, before anything can come between.
//!
//! `compensate` looks for what the request made, in this order, and sends the undo for it:
//!
//! 1. the output, and what was appended: the answer is known;
//! 2. a lookup, if the caller gave one: a GET that can name what was made by `{key}`;
//! 3. a repeat of the request with the same key, which the target answers as it answered the first. So the request has
//!    certainly arrived, and what it made has a name.
//!
//! *Not found* by a lookup is not absence, since the request may still be on its way: then the request is repeated all the
//! same. A target that is still busy with the first request, or that shows nothing yet, is waited for (`not-settled`) until
//! the time that the caller gave it is over; then the outcome is unknown, which an operator must settle.
//!
//! A first request that the target refused (4xx) made nothing: that is appended, and there is nothing to undo.
//!
//! A request that was answered without what the undo needs is never repeated: it has arrived, and a target that does not
//! honour the key would make another thing. That is appended too. Only a lookup can still find what it made.

use redress_guest::serde_json;
use redress_guest::{Call, Compensation, Failure, input};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Answer;
use crate::request::{Message, Method, Request, check_origin, origin};
use crate::status::{Statuses, is_refusal};
use crate::template::{UNRESOLVED, Values, look_up, unresolved};

/// How a capability reaches the world.
pub trait World {
    /// Hands an undo record over and returns those in force.
    fn save(&self, record: &[u8]) -> Result<Vec<Vec<u8>>, String>;
    /// Adds what was learned.
    fn append(&self, record: &[u8]) -> Result<(), String>;
    /// Sends a request and returns its whole answer, whatever its status.
    fn send(&self, message: &Message) -> Result<Answer, Failure>;
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// The input.
#[derive(Deserialize)]
pub struct Input {
    #[serde(flatten)]
    request: Request,
    undo: Request,
    lookup: Option<Lookup>,
    settle_seconds: Option<u64>,
}

/// A GET that finds what the request made.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Lookup {
    #[serde(flatten)]
    request: Request,
    /// The undo request in terms of this answer; the one of the request, if its answer looks the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<Request>,
}

/// How long an unclear outcome is waited for if the caller does not say.
const SETTLE_SECONDS: u64 = 300;

/// The undo record.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Plan {
    schema: u32,
    /// The key that the request carries.
    key: String,
    /// The attempt that sent it first.
    attempt: u32,
    /// When, in seconds since 1970.
    at: u64,
    /// Scheme and host that the undo may go to.
    origin: String,
    undo: Request,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lookup: Option<Lookup>,
    settle_seconds: u64,
}

/// What is appended to it.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Learned {
    /// The values of an answer that the undo refers to.
    Answered(Values),
    /// The target refused: nothing was made.
    Refused { code: String, message: String, details: Option<String> },
    /// The target did it, and its answer does not have what the undo refers to.
    Unresolved { message: String, details: Option<String> },
}

impl Learned {
    /// The failure of an attempt after which none makes sense.
    fn end(&self) -> Option<Failure> {
        let (code, message, details) = match self {
            Learned::Answered(_) => return None,
            Learned::Refused { code, message, details } => (code.as_str(), message, details),
            Learned::Unresolved { message, details } => (UNRESOLVED, message, details),
        };
        Some(Failure { details: details.clone(), ..Failure::new(code, message.clone()) })
    }
}

/// Does the request.
pub fn execute(call: &Call, world: &dyn World) -> Result<Value, Failure> {
    let (request, plan) = plan(call, world.now())?;
    let references = plan.undo.references()?;
    let message = request.message(Some(&call.key))?;
    let record = serde_json::to_vec(&plan).map_err(|error| Failure::invalid_input(error.to_string()))?;
    let (plan, learned) = read(&world.save(&record).map_err(refused_undo)?)?;
    let plan = plan.ok_or_else(|| refused_undo("the host returned no undo record".to_owned()))?;
    if let Some(failure) = learned.iter().find_map(Learned::end) {
        // An earlier attempt got this answer, and the host died before it was told.
        return Err(failure);
    }
    let answer = world.send(&message)?;
    let status = answer.status;
    let values = values(&references, &answer);
    let append = |learned: &Learned| match serde_json::to_vec(learned) {
        // A read is no effect, after which something could be appended.
        Ok(_) if request.method.is_read() => Ok(()),
        Ok(record) => world.append(&record).map_err(refused_undo),
        Err(error) => Err(Failure::invalid_input(error.to_string())),
    };
    let expected = request.expected();
    let new = match &values {
        Ok(values) => Some(Learned::Answered(values.clone())).filter(|_| !values.is_empty()),
        Err(Failure { message, details, .. }) => {
            Some(Learned::Unresolved { message: message.clone(), details: details.clone() })
        }
    };
    let made = expected.contain(status) || (200..300).contains(&status);
    if let Some(new) = new.filter(|new| made && !learned.contains(new)) {
        append(&new)?;
    }
    let answer = match message.expect(&expected, answer) {
        Ok(answer) => answer,
        Err(failure) => {
            // Only the answer to the first request says that none of them did anything.
            if is_refusal(status) && plan.attempt == call.attempt && learned.is_empty() {
                let Failure { code, message, details, .. } = failure.clone();
                append(&Learned::Refused { code, message, details })?;
            }
            return Err(failure);
        }
    };
    plan.undo.filled(&values?, &plan.origin)?.message(None)?;
    answer.output()
}

/// Undoes it.
pub fn compensate(call: &Compensation, world: &dyn World) -> Result<(), Failure> {
    let (Some(plan), learned) = read(&call.undo)? else { return Ok(()) };
    let mut answers: Vec<Values> = Vec::new();
    let mut unusable = None;
    if let Some(output) = &call.output {
        answers.push(values(&plan.undo.references()?, &Answer::from_output(output)?)?);
    }
    for learned in &learned {
        match learned {
            Learned::Answered(values) => answers.push(values.clone()),
            Learned::Refused { .. } if call.output.is_none() => return Ok(()),
            Learned::Refused { .. } => {}
            Learned::Unresolved { .. } => unusable = learned.end(),
        }
    }
    let mut known: Vec<Request> = Vec::new();
    for values in &answers {
        match plan.undo.filled(values, &plan.origin) {
            Ok(undo) if known.contains(&undo) => {}
            Ok(undo) => known.push(undo),
            Err(failure) => unusable = Some(failure),
        }
    }
    if known.is_empty() {
        known.push(Unclear { plan: &plan, world }.find(call, unusable.take())?);
    }
    for (index, undo) in known.iter().enumerate() {
        // A key never reaches two different requests.
        let key = if index == 0 { call.key.clone() } else { format!("{}-{}", call.key, index + 1) };
        send_undo(undo, &key, world)?;
    }
    unusable.map_or(Ok(()), Err)
}

/// The search for what a request made whose answer is not known, or does not say it.
struct Unclear<'a> {
    plan: &'a Plan,
    world: &'a dyn World,
}

impl Unclear<'_> {
    /// The undo request for what was made; `answered` is what is wrong with the answer, if there was one.
    fn find(&self, call: &Compensation, answered: Option<Failure>) -> Result<Request, Failure> {
        if let Some(found) = self.look()? {
            return Ok(found);
        }
        if let Some(failure) = answered {
            let why = format!("the lookup does not name what was made; {}", failure.message);
            let waits = self.plan.lookup.as_ref().and_then(|_| self.settling(&why));
            return Err(waits.unwrap_or(failure));
        }
        let request = input::<Input>(&call.input)?.request.with_key(&self.plan.key);
        let message = request.message(Some(&self.plan.key))?;
        let answer = self.world.send(&message)?;
        if answer.status == 409 && !request.expected().contain(409) {
            return self.not_settled(
                "the target has a conflict with the repeated request, as while it is busy with the first",
            );
        }
        let answer = message.expect(&request.expected(), answer).map_err(|failure| Failure {
            message: format!("{}, when it was repeated to learn what became of the first", failure.message),
            ..failure
        })?;
        match values(&self.plan.undo.references()?, &answer) {
            Ok(values) => self.plan.undo.filled(&values, &self.plan.origin),
            Err(failure) => match self.look()? {
                Some(found) => Ok(found),
                None if self.plan.lookup.is_some() => {
                    self.not_settled("neither the repeated request nor the lookup names what was made")
                }
                None => Err(failure),
            },
        }
    }

    /// What the lookup finds, if there is one and it finds anything.
    fn look(&self) -> Result<Option<Request>, Failure> {
        let Some(lookup) = &self.plan.lookup else { return Ok(None) };
        let message = lookup.request.message(None)?;
        let answer = self.world.send(&message)?;
        let expected = lookup.request.expected();
        if matches!(answer.status, 404 | 410) && !expected.contain(answer.status) {
            return Ok(None);
        }
        let answer = message.expect(&expected, answer)?;
        let undo = lookup.undo.as_ref().unwrap_or(&self.plan.undo);
        match values(&undo.references()?, &answer) {
            Ok(values) => undo.filled(&values, &self.plan.origin).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn not_settled<T>(&self, why: &str) -> Result<T, Failure> {
        Err(self.settling(why).unwrap_or_else(|| {
            Failure::new("outcome-unknown", format!("whether the request did anything cannot be told: {why}"))
                .with_details(format!("look for what carries the key `{}` at the target", self.plan.key))
        }))
    }

    /// That the target is waited for, as long as it has time left.
    fn settling(&self, why: &str) -> Option<Failure> {
        let over = self.plan.at.saturating_add(self.plan.settle_seconds);
        let left = over.saturating_sub(self.world.now());
        let wait = left.min(5).saturating_mul(1_000);
        let message = format!("{why}; it has {left} s left to settle");
        (left > 0).then(|| Failure { retry_after_ms: Some(wait), ..Failure::new("not-settled", message) })
    }
}

fn send_undo(undo: &Request, key: &str, world: &dyn World) -> Result<(), Failure> {
    let expected = match (&undo.expect_status, undo.method) {
        (Some(statuses), _) => statuses.clone(),
        // What is gone was deleted, by an earlier attempt of this undo or by somebody else: it was there.
        (None, Method::Delete) => Statuses::of("2xx", &[404, 410]),
        (None, _) => undo.expected(),
    };
    let message = undo.message(Some(key))?;
    message.expect(&expected, world.send(&message)?).map(drop)
}

/// The request and its plan, with `{key}` replaced and everything checked that can be known before an answer.
fn plan(call: &Call, now: u64) -> Result<(Request, Plan), Failure> {
    let Input { request, undo, lookup, settle_seconds } = input(&call.input)?;
    let (request, undo) = (request.with_key(&call.key), undo.with_key(&call.key));
    let lookup = lookup.map(|lookup| Lookup {
        request: lookup.request.with_key(&call.key),
        undo: lookup.undo.map(|undo| undo.with_key(&call.key)),
    });
    let origin = origin(&request.url)?;
    request.check()?;
    for undo in [Some(&undo), lookup.as_ref().and_then(|lookup| lookup.undo.as_ref())].into_iter().flatten() {
        undo.check()?;
        undo.references()?;
        check_origin(&undo.url, &origin)?;
    }
    if let Some(lookup) = &lookup {
        lookup.request.check()?;
        lookup.request.message(None)?;
    }
    let settle_seconds = settle_seconds.unwrap_or(SETTLE_SECONDS);
    let plan =
        Plan { schema: 1, key: call.key.clone(), attempt: call.attempt, at: now, origin, undo, lookup, settle_seconds };
    Ok((request, plan))
}

fn values(references: &[String], answer: &Answer) -> Result<Values, Failure> {
    let value = |name: &String| {
        let found = look_up(name, answer);
        let found = found.ok_or_else(|| Failure {
            details: answer.excerpt(),
            ..unresolved(format!("the answer, {}, has nothing at `{{{name}}}`, which its undo needs", answer.summary()))
        });
        Ok((name.clone(), found?))
    };
    references.iter().map(value).collect()
}

fn read(records: &[Vec<u8>]) -> Result<(Option<Plan>, Vec<Learned>), Failure> {
    let unknown =
        |error: serde_json::Error| Failure::new("unknown-undo", format!("an undo record cannot be read: {error}"));
    let mut records = records.iter();
    let Some(first) = records.next() else { return Ok((None, Vec::new())) };
    let plan: Plan = serde_json::from_slice(first).map_err(unknown)?;
    if plan.schema != 1 {
        return Err(Failure::new("unknown-undo", format!("the undo record has schema {}, not 1", plan.schema)));
    }
    let learned = records.map(|record| serde_json::from_slice(record)).collect::<Result<_, _>>().map_err(unknown)?;
    Ok((Some(plan), learned))
}

fn refused_undo(reason: String) -> Failure {
    Failure::new("undo-refused", reason)
}
