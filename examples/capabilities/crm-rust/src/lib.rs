//! Customer records of a REST service that chooses their ids.
//!
//! - `crm.customer.create`: the record carries a reference made from the idempotency key, which finds it again if the answer
//!   with its id was lost
//! - `crm.customer.delete`: the whole record is saved first, and put back under its id; if it is still there after an unclear end,
//!   the undo waits until no request can arrive any more

use std::time::Duration;

use redress_capability::http::{Request, Response};
use redress_capability::remote::{self, Record, Remote, Sent};
use redress_capability::schemars::JsonSchema;
use redress_capability::serde::{Deserialize, Serialize};
use redress_capability::serde_json::{Value, json};
use redress_capability::{Call, Capability, Compensation, Effect, Failure, Risk, config, export};

/// Any host: the grant opens the one that the operator means.
const PERMISSIONS: &[&str] =
    &["http:GET,POST,PUT,DELETE https://*", "http:GET,POST,PUT,DELETE http://*", "config:crm_url", "secret:CRM_TOKEN"];

/// The service: its URL is configuration, its token a secret that the host puts in.
struct Crm {
    url: String,
}

impl Crm {
    fn of_config() -> Result<Crm, Failure> {
        let url = config("crm_url").ok_or_else(|| {
            Failure::new("not-configured", "the configuration value `crm_url` is not granted")
                .with_details("write `config: { crm_url: \"https://crm.example.com\" }` into the grant")
        })?;
        Ok(Crm { url: url.trim_end_matches('/').to_owned() })
    }

    fn customers(&self) -> String {
        format!("{}/customers", self.url)
    }

    fn customer(&self, id: &str) -> Result<String, Failure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if id.is_empty() || !id.chars().all(plain) {
            return Err(Failure::invalid_input(format!("`{id}` is not the id of a customer")));
        }
        Ok(format!("{}/{id}", self.customers()))
    }

    fn send(&self, request: Request) -> Result<Response, Failure> {
        let request = if self.url.starts_with("https://") {
            request.header("authorization", "Bearer ${secret:CRM_TOKEN}")
        } else {
            request
        };
        request.send()
    }

    fn delete(&self, id: &str) -> Result<(), Failure> {
        let answer = self.send(Request::delete(self.customer(id)?))?;
        if answer.status == 404 { Ok(()) } else { answer.ok().map(drop) }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "redress_capability::serde", deny_unknown_fields)]
#[schemars(crate = "redress_capability::schemars")]
struct NewCustomer {
    /// Their name.
    name: String,
    /// Where they are written to.
    email: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "redress_capability::serde")]
#[schemars(crate = "redress_capability::schemars")]
struct Customer {
    /// The id that the service chose.
    id: String,
}

struct Customers<'a> {
    crm: Crm,
    new: &'a NewCustomer,
}

impl Remote for Customers<'_> {
    type Made = Customer;

    fn find(&self, reference: &str) -> Result<Option<Customer>, Failure> {
        let url = format!("{}?reference={reference}", self.crm.customers());
        let found: Vec<Customer> = self.crm.send(Request::get(url))?.ok()?.json()?;
        Ok(found.into_iter().next())
    }

    fn make(&self, reference: &str) -> Result<Customer, Failure> {
        let body = json!({ "name": self.new.name, "email": self.new.email, "reference": reference });
        self.crm.send(Request::post(self.crm.customers()).key(reference).json(&body))?.ok()?.json()
    }

    fn honours_key(&self) -> bool {
        true
    }

    fn remove(&self, made: &Customer) -> Result<(), Failure> {
        self.crm.delete(&made.id)
    }
}

struct Create;

impl Capability for Create {
    const ID: &'static str = "crm.customer.create";
    const TITLE: &'static str = "Create a customer";
    const SUMMARY: &'static str = "Creates a customer record; the service chooses its id. Undo deletes the record.";
    const RISK: Risk = Risk::Medium;
    const EFFECT: Effect = Effect::Reversible;
    const PERMISSIONS: &'static [&'static str] = PERMISSIONS;
    type Input = NewCustomer;
    type Output = Customer;
    type Undo = Record<Customer>;

    fn execute(call: &Call<Self>) -> Result<Customer, Failure> {
        remote::make(call, &Customers { crm: Crm::of_config()?, new: &call.input })
    }

    fn compensate(undo: &Compensation<Self>) -> Result<(), Failure> {
        remote::unmake(undo, &Customers { crm: Crm::of_config()?, new: &undo.input }, Customer::clone)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "redress_capability::serde", deny_unknown_fields)]
#[schemars(crate = "redress_capability::schemars")]
struct Existing {
    /// The id of the customer.
    id: String,
}

/// What is saved before a record is deleted.
#[derive(Serialize, Deserialize)]
#[serde(crate = "redress_capability::serde")]
struct Deleted {
    /// All of it; none if there was no record.
    record: Option<Value>,
    sent: Sent,
}

/// How long after it was sent a request can still take effect at the service.
const SETTLES: Duration = Duration::from_secs(60);

struct Delete;

impl Capability for Delete {
    const ID: &'static str = "crm.customer.delete";
    const TITLE: &'static str = "Delete a customer";
    const SUMMARY: &'static str = "Deletes a customer record. Undo puts the record back as it was, under its id.";
    const RISK: Risk = Risk::High;
    const EFFECT: Effect = Effect::Reversible;
    const PERMISSIONS: &'static [&'static str] = PERMISSIONS;
    type Input = Existing;
    type Output = Customer;
    type Undo = Deleted;

    fn execute(call: &Call<Self>) -> Result<Customer, Failure> {
        let crm = Crm::of_config()?;
        let id = call.input.id.clone();
        let found = crm.send(Request::get(crm.customer(&id)?))?;
        // An earlier attempt may have deleted it already: then its record is in force, and not this one.
        let gone = found.status == 404 && call.attempt > 1;
        let record = if gone { None } else { Some(found.clone().ok()?.json()?) };
        if call.save(&Deleted { record, sent: Sent::now() })?.saved.record.is_none() {
            return Err(found.failure());
        }
        crm.delete(&id)?;
        Ok(Customer { id })
    }

    fn compensate(undo: &Compensation<Self>) -> Result<(), Failure> {
        let Some(Deleted { record: Some(record), sent }) = undo.in_force.as_ref().map(|records| &records.saved) else {
            return Ok(());
        };
        let (crm, id) = (Crm::of_config()?, &undo.input.id);
        if undo.output.is_none() && crm.send(Request::get(crm.customer(id)?))?.status != 404 {
            // It is still there: perhaps the request never went out, and perhaps it is on its way.
            return sent.settled(SETTLES, "the record is still there; the request that deletes it may be on its way");
        }
        crm.send(Request::put(crm.customer(id)?).json(record))?.ok().map(drop)
    }
}

export!(Create, Delete);
