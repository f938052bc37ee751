//! Things at a target that chooses their ids: once as it should be, and three times with one promise broken.

use std::time::Duration;

use redress_capability::http::Request;
use redress_capability::remote::{self, Record, Remote};
use redress_capability::schemars::{self, JsonSchema};
use redress_capability::serde_json::{Value, json};
use redress_capability::{Call, Capability, Compensation, Effect, Failure, Risk, export};
use serde::{Deserialize, Serialize};

const THINGS: &str = "https://things.example.com/things";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Thing {
    id: String,
}

fn create(body: &Value) -> Result<Thing, Failure> {
    Request::post(THINGS).json(body).send()?.ok()?.json()
}

fn delete(id: &str) -> Result<(), Failure> {
    let answer = Request::delete(format!("{THINGS}/{id}")).send()?;
    if answer.status == 404 { Ok(()) } else { answer.ok().map(drop) }
}

fn find(reference: &str) -> Result<Option<Thing>, Failure> {
    let found: Vec<Thing> = Request::get(format!("{THINGS}?reference={reference}")).send()?.ok()?.json()?;
    Ok(found.into_iter().next())
}

struct Things<'a>(&'a str, Duration);

impl Remote for Things<'_> {
    type Made = Thing;

    fn find(&self, reference: &str) -> Result<Option<Thing>, Failure> {
        find(reference)
    }

    fn make(&self, reference: &str) -> Result<Thing, Failure> {
        create(&json!({ "name": self.0, "reference": reference }))
    }

    fn remove(&self, thing: &Thing) -> Result<(), Failure> {
        delete(&thing.id)
    }

    fn settles_after(&self) -> Duration {
        self.1
    }
}

macro_rules! capability {
    ($name:ident, $id:literal, $undo:ty, $execute:expr, $compensate:expr) => {
        struct $name;

        impl Capability for $name {
            const ID: &'static str = $id;
            const TITLE: &'static str = "Create a thing";
            const SUMMARY: &'static str = "For the tests.";
            const RISK: Risk = Risk::Medium;
            const EFFECT: Effect = Effect::Reversible;
            const PERMISSIONS: &'static [&'static str] = &["http:GET,POST,DELETE https://things.example.com/**"];
            type Input = Input;
            type Output = Thing;
            type Undo = $undo;

            fn execute(call: &Call<Self>) -> Result<Thing, Failure> {
                $execute(call)
            }

            fn compensate(undo: &Compensation<Self>) -> Result<(), Failure> {
                $compensate(undo)
            }
        }
    };
}

capability!(
    Right,
    "right.remote.create",
    Record<Thing>,
    |call: &Call<Self>| remote::make(call, &Things(&call.input.name, Duration::from_secs(60))),
    |undo: &Compensation<Self>| remote::unmake(undo, &Things(&undo.input.name, Duration::from_secs(60)), Thing::clone)
);

capability!(
    ForgetsLateRequests,
    "wrong.remote.forgets_late_requests",
    Record<Thing>,
    |call: &Call<Self>| remote::make(call, &Things(&call.input.name, Duration::ZERO)),
    |undo: &Compensation<Self>| remote::unmake(undo, &Things(&undo.input.name, Duration::ZERO), Thing::clone)
);

capability!(
    IgnoresKey,
    "wrong.remote.ignores_key",
    Option<Thing>,
    |call: &Call<Self>| {
        call.save(&None)?;
        let made = create(&json!({ "name": call.input.name }))?;
        call.append(&Some(made.clone()))?;
        Ok(made)
    },
    |undo: &Compensation<Self>| {
        let appended = undo.in_force.iter().flat_map(|records| records.appended.iter().flatten());
        appended.chain(&undo.output).try_for_each(|thing| delete(&thing.id))
    }
);

capability!(
    IgnoresStatus,
    "wrong.remote.ignores_status",
    Record<Thing>,
    |call: &Call<Self>| {
        let things = Things(&call.input.name, Duration::from_secs(60));
        let made = remote::make(call, &things);
        Ok(made.unwrap_or(Thing { id: String::new() }))
    },
    |undo: &Compensation<Self>| remote::unmake(undo, &Things(&undo.input.name, Duration::from_secs(60)), Thing::clone)
);

capability!(
    MakesTwo,
    "wrong.remote.makes_two",
    Option<Thing>,
    |call: &Call<Self>| {
        call.save(&None)?;
        let found = if call.attempt > 1 { find(&call.key)? } else { None };
        match found {
            Some(thing) => Ok(thing),
            None => create(&json!({ "name": call.input.name, "reference": call.key })),
        }
    },
    |undo: &Compensation<Self>| match &undo.output {
        Some(thing) => delete(&thing.id),
        None => find(&undo.execute_key)?.map_or(Ok(()), |thing| delete(&thing.id)),
    }
);

capability!(
    UndoIgnoresStatus,
    "wrong.remote.undo_ignores_status",
    Record<Thing>,
    |call: &Call<Self>| remote::make(call, &Things(&call.input.name, Duration::from_secs(60))),
    |undo: &Compensation<Self>| {
        if let Some(thing) = &undo.output {
            let _ = Request::delete(format!("{THINGS}/{}", thing.id)).send();
            return Ok(());
        }
        remote::unmake(undo, &Things(&undo.input.name, Duration::from_secs(60)), Thing::clone)
    }
);

export!(Right, ForgetsLateRequests, IgnoresKey, IgnoresStatus, MakesTwo, UndoIgnoresStatus);
