//! The description of the service, in OpenAPI 3.1. Its schemas are made from the types that requests are read into and answers are written
//! from; what it says of paths is checked against the table that serves them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{approvals, audit, capabilities, events, meta, policy, problem, runs};
use crate::engine::{Change, Explained, Report, RunView};

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let paths = paths(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Redress",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs side effects so that each is permitted, confined, recorded and reversible.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas.all(),
        },
    })
}

/// The schemas that the document names, of what is said and of what is asked.
struct Schemas {
    said: SchemaGenerator,
    asked: SchemaGenerator,
}

impl Schemas {
    fn new() -> Schemas {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Schemas { said: settings().for_serialize().into(), asked: settings().for_deserialize().into() }
    }

    /// What an answer is.
    fn said<T: JsonSchema>(&mut self) -> Value {
        content("application/json", self.said.subschema_for::<T>().as_value())
    }

    /// What a body is.
    fn asked<T: JsonSchema>(&mut self) -> Value {
        content("application/json", self.asked.subschema_for::<T>().as_value())
    }

    /// The fields of a query.
    fn query<T: JsonSchema>(&mut self) -> Vec<Value> {
        let schema = T::json_schema(&mut self.asked);
        let fields = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let one = |(name, mut schema): (String, Value)| {
            // What is not there is left out: in a query nothing is null.
            for key in ["type", "enum"] {
                if let Some(list) = schema.get_mut(key).and_then(Value::as_array_mut) {
                    list.retain(|word| !word.is_null() && word != "null");
                }
            }
            json!({ "name": name, "in": "query", "required": false, "schema": schema })
        };
        fields.into_iter().map(one).collect()
    }

    fn all(mut self) -> Map<String, Value> {
        // Named by every operation.
        self.said.subschema_for::<problem::Body<'_>>();
        let mut all = self.said.take_definitions(true);
        all.extend(self.asked.take_definitions(true));
        all
    }
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({ kind: { "schema": schema } })
}

/// The same object with one more field.
fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    object
}

/// One operation: its id, what it does, and what it answers with, besides problems.
struct Operation {
    id: &'static str,
    summary: &'static str,
    answers: Vec<(&'static str, Value)>,
    problems: &'static [&'static str],
    parameters: Vec<Value>,
    body: Option<Value>,
    open: bool,
}

impl Operation {
    fn new(id: &'static str, summary: &'static str, answer: Value) -> Operation {
        let (parameters, body) = Default::default();
        Operation { id, summary, answers: vec![("200", answer)], problems: &[], parameters, body, open: false }
    }

    fn also(mut self, status: &'static str, answer: Value) -> Operation {
        self.answers.push((status, answer));
        self
    }

    fn only(mut self, status: &'static str) -> Operation {
        for (known, _) in &mut self.answers {
            *known = status;
        }
        self
    }

    fn of_run(mut self) -> Operation {
        let id = json!({ "type": "string", "format": "uuid" });
        self.parameters.push(json!({ "name": "run", "in": "path", "required": true, "schema": id }));
        self
    }

    fn with(mut self, name: &str, place: &str, schema: &Value) -> Operation {
        let required = place == "path";
        self.parameters.push(json!({ "name": name, "in": place, "required": required, "schema": schema }));
        self
    }

    fn asks(mut self, query: Vec<Value>) -> Operation {
        self.parameters.extend(query);
        self
    }

    fn takes(mut self, body: Value) -> Operation {
        self.body = Some(body);
        self
    }

    fn problems(mut self, problems: &'static [&'static str]) -> Operation {
        self.problems = problems;
        self
    }

    fn without_token(mut self) -> Operation {
        self.open = true;
        self
    }

    fn value(self) -> Value {
        let mut answers = Map::new();
        for (status, answer) in self.answers {
            let description = if status == "201" { "Made" } else { "Done" };
            answers.insert(status.to_owned(), json!({ "description": description, "content": answer }));
        }
        let always: &[&str] =
            if self.open { &["400", "403", "405", "503"] } else { &["400", "401", "403", "405", "429", "503"] };
        for status in always.iter().chain(self.problems) {
            let problem = content("application/problem+json", &json!({ "$ref": "#/components/schemas/Problem" }));
            answers.insert((*status).to_owned(), json!({ "description": "A problem", "content": problem }));
        }
        let mut value = json!({ "operationId": self.id, "summary": self.summary, "parameters": self.parameters, "responses": answers });
        if let Some(body) = self.body {
            value = with(value, "requestBody", json!({ "required": true, "content": body }));
        }
        if self.open {
            value = with(value, "security", json!([]));
        }
        value
    }
}

fn paths(schemas: &mut Schemas) -> Value {
    let text = content("text/plain", &json!({ "type": "string" }));
    let run = schemas.said::<RunView>();
    let coming = json!({ "schema": { "type": "string" } });
    let pages = with(schemas.said::<events::Page>(), "text/event-stream", coming);
    let key = json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]([ -~]*[!-~])?$" });
    let string = json!({ "type": "string" });
    const OF_RUN: &[&str] = &["400", "404", "410"];
    const CHANGES: &[&str] = &["400", "404", "409", "410", "413", "415", "422"];
    let why = schemas.asked::<runs::Why>();
    let changes =
        |id, summary| Operation::new(id, summary, run.clone()).of_run().takes(why.clone()).problems(CHANGES).value();
    let of_run = |id, summary, answer| Operation::new(id, summary, answer).of_run();
    let after = schemas.query::<events::After>();
    let any = content("application/json", &json!({ "type": "object" }));
    json!({
        "/healthz": {
            "get": Operation::new("health", "Whether the service lives", text.clone()).without_token().value(),
        },
        "/readyz": {
            "get": Operation::new("ready", "Whether runs can be submitted", text.clone()).without_token().value(),
        },
        "/openapi.json": { "get": Operation::new("openapi", "This document", any).without_token().value() },
        "/metrics": { "get": Operation::new("metrics", "Numbers for Prometheus", text).value() },
        "/v1/whoami": {
            "get": Operation::new("whoami", "Who asks, as the token says", schemas.said::<meta::Who>()).value(),
        },
        "/v1/capabilities": {
            "get": Operation::new(
                "capabilities", "What the caller may ask for, or all", schemas.said::<Vec<capabilities::Shown>>(),
            ).asks(schemas.query::<capabilities::Which>()).problems(&["400"]).value(),
        },
        "/v1/capabilities/{capability}/review": {
            "get": Operation::new(
                "review", "What a capability asked for, was granted and used", schemas.said::<capabilities::Reviewed>(),
            ).with("capability", "path", &string).asks(schemas.query::<capabilities::Since>())
                .problems(&["400", "404"]).value(),
        },
        "/v1/policy": { "get": Operation::new("policy", "The policy in force", schemas.said::<policy::Shown>()).value() },
        "/v1/policy/explain": {
            "post": Operation::new("explain", "Why the policy would answer as it does", schemas.said::<Explained>())
                .takes(schemas.asked::<policy::Question>()).problems(&["400", "413", "415", "422"]).value(),
        },
        "/v1/audit": {
            "get": Operation::new(
                "audit", "How many runs there are, and where the record ends", schemas.said::<audit::Status>(),
            ).value(),
        },
        "/v1/audit/verify": {
            "post": Operation::new("verify", "Whether the record is as it was written", schemas.said::<Report>()).value(),
        },
        "/v1/system/events": {
            "get": Operation::new(
                "systemEvents", "What belongs to no run: refusals, tokens, policies", schemas.said::<audit::Page>(),
            ).asks(after.clone()).problems(&["400"]).value(),
        },
        "/v1/runs": {
            "get": Operation::new("listRuns", "Runs, newest first", schemas.said::<runs::Page>())
                .asks(schemas.query::<runs::Listed>()).problems(&["400"]).value(),
            "post": Operation::new("submit", "Submit a workflow or a call, or open a run", run.clone())
                .also("201", run.clone()).asks(schemas.query::<runs::Waits>()).with("idempotency-key", "header", &key)
                .takes(schemas.asked::<runs::Submission>()).problems(&["400", "409", "413", "415", "422"]).value(),
        },
        "/v1/runs/{run}": {
            "get": of_run("showRun", "One run, step by step", run.clone()).problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/steps": {
            "post": of_run("addStep", "Add a step to an open run, and wait for it", run.clone()).only("201")
                .takes(schemas.asked::<runs::StepBody>()).problems(CHANGES).value(),
        },
        "/v1/runs/{run}/commit": {
            "post": of_run("commit", "End an open run", run.clone()).problems(CHANGES).value(),
        },
        "/v1/runs/{run}/rollback": { "post": changes("rollBack", "Undo everything that an open run did") },
        "/v1/runs/{run}/cancel": { "post": changes("cancel", "Roll a run back") },
        "/v1/runs/{run}/undo": { "post": changes("undo", "Roll a completed run back") },
        "/v1/runs/{run}/events": {
            "get": of_run("events", "The events of a run: a page, or as they come", pages).asks(after).problems(OF_RUN)
                .value(),
        },
        "/v1/runs/{run}/logs": {
            "get": of_run("logs", "What components printed", schemas.said::<Vec<runs::Log>>()).problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/steps/{step}/change": {
            "get": of_run(
                "change", "What a step that waits would change in a file; null if nobody can tell",
                schemas.said::<Option<Change>>(),
            ).with("step", "path", &string).problems(OF_RUN).value(),
        },
        "/v1/runs/{run}/steps/{step}/votes": {
            "post": of_run("vote", "Approve or reject what a step waits for", run.clone())
                .with("step", "path", &string).takes(schemas.asked::<approvals::Ballot>()).problems(CHANGES).value(),
        },
        "/v1/approvals": {
            "get": Operation::new("approvals", "What waits for a person", schemas.said::<approvals::Page>())
                .asks(schemas.query::<approvals::Of>()).problems(&["400"]).value(),
        },
    })
}
