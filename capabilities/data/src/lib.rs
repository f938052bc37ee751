//! `data.*` and `text.*`: pure computations; they read nothing and change nothing.

mod digest;
mod json;
mod schema;
mod template;
mod text;

use redress_guest::serde_json::Value;
use redress_guest::{Call, Capability, Compensation, Effect, Failure, Risk, input};

fn nothing_to_undo(_: &Compensation) -> Result<(), Failure> {
    Ok(())
}

fn computes(
    id: &'static str,
    title: &'static str,
    summary: &'static str,
    (input, output): (Value, Value),
    execute: fn(&Call) -> Result<Value, Failure>,
) -> Capability {
    Capability {
        id,
        title,
        summary,
        risk: Risk::Low,
        effect: Effect::None,
        idempotent: true,
        permissions: &[],
        input,
        output,
        execute,
        compensate: nothing_to_undo,
    }
}

fn capabilities() -> Vec<Capability> {
    vec![
        computes(
            "data.json.query",
            "Query JSON",
            "Returns the values that a JSONPath query (RFC 9535) selects.",
            schema::query(),
            |call| json::query(&input(&call.input)?),
        ),
        computes(
            "data.json.merge",
            "Merge JSON",
            "Applies a merge patch (RFC 7386): null removes a field, anything else that is not an object replaces.",
            schema::merge(),
            |call| Ok(json::merge(input(&call.input)?)),
        ),
        computes(
            "text.template.render",
            "Render a template",
            "Replaces each `{{ name.path }}` by the value it names. References only: no logic, no escaping.",
            schema::render(),
            |call| template::render(&input(&call.input)?),
        ),
        computes(
            "text.regex.match",
            "Match a regular expression",
            "Returns the matches of a pattern (syntax of the Rust crate regex: linear time, no back-references).",
            schema::regex(),
            |call| text::find(&input(&call.input)?),
        ),
        computes("data.hash", "Digest content", "Returns the SHA-256 of text or bytes.", schema::digest(), |call| {
            digest::digest(input(&call.input)?)
        }),
    ]
}

redress_guest::component!(capabilities);
