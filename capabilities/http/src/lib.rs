//! `net.http.*`: requests.
//!
//! A request is what the caller writes, checked as far as it can be before anything is sent; an answer is returned as it
//! came, redirects included. `net.http.request` is the one that can be undone, by a request that the caller gives: see
//! `undo`. Every request that is no read carries the key of its call as `Idempotency-Key`. Secrets are placeholders here:
//! the host puts the values into the headers.

mod answer;
mod request;
mod schema;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod transport;
mod undo;

use redress_guest::serde_json::Value;
use redress_guest::{Call, Capability, Compensation, Effect, Failure, Risk, input};

use answer::Answer;
use request::{Message, Request};
use undo::World;

/// The host.
struct Host;

impl World for Host {
    fn save(&self, record: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        redress_guest::undo::save(record)
    }

    fn append(&self, record: &[u8]) -> Result<(), String> {
        redress_guest::undo::append(record)
    }

    fn send(&self, message: &Message) -> Result<Answer, Failure> {
        transport::send(message)
    }

    fn now(&self) -> u64 {
        status::seconds_now()
    }
}

/// One request without an undo; a read is the same without a key.
fn send(call: &Call, world: &dyn World) -> Result<Value, Failure> {
    let request = input::<Request>(&call.input)?;
    request.check()?;
    let message = request.message(Some(&call.key))?;
    message.expect(&request.expected(), world.send(&message)?)?.output()
}

fn nothing_to_undo(_: &Compensation) -> Result<(), Failure> {
    Ok(())
}

fn capabilities() -> Vec<Capability> {
    vec![
        Capability {
            id: "net.http.get",
            title: "Read from a URL",
            summary: "Sends a GET or HEAD request and returns the answer. Redirects are returned, not followed.",
            risk: Risk::Low,
            effect: Effect::None,
            idempotent: true,
            permissions: &["http:GET,HEAD https://*", "http:GET,HEAD http://*", "secret:*"],
            input: schema::get(),
            output: schema::answer(),
            execute: |call| send(call, &Host),
            compensate: nothing_to_undo,
        },
        Capability {
            id: "net.http.request",
            title: "Send a request that can be undone",
            summary: "Sends a request to a target that honours `Idempotency-Key`. Undo sends the request that the caller gives.",
            risk: Risk::Medium,
            effect: Effect::Reversible,
            idempotent: true,
            permissions: &["http:* https://*", "http:* http://*", "secret:*"],
            input: schema::request(),
            output: schema::answer(),
            execute: |call| undo::execute(call, &Host),
            compensate: |call| undo::compensate(call, &Host),
        },
        Capability {
            id: "net.http.send",
            title: "Send a request that cannot be undone",
            summary: "Sends a request once and returns the answer. Nothing undoes what it did.",
            risk: Risk::High,
            effect: Effect::Irreversible,
            idempotent: false,
            permissions: &["http:* https://*", "http:* http://*", "secret:*"],
            input: schema::send(),
            output: schema::answer(),
            execute: |call| send(call, &Host),
            compensate: nothing_to_undo,
        },
    ]
}

redress_guest::component!(capabilities);
